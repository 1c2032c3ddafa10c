"""Memory that nobody refers to any more, as LeakSanitizer finds it in a sanitized run (tools/sanitize.py).

It is asked while the interpreter still lives: what CPython leaves at its end is not in the way then, so that
nothing has to be forgiven. What another library leaves while it is imported is not looked at. A forked child is
not asked: what threads of its parent referred to looks lost there.
"""

import contextlib
import ctypes

_process = ctypes.CDLL(None)
_sanitized = hasattr(_process, "__lsan_do_recoverable_leak_check")


def import_others():
    """Imports what the tests will, where it has leaks of its own."""
    if not _sanitized:
        return
    _process.__lsan_disable()
    with contextlib.suppress(ImportError):
        import OpenSSL.SSL  # noqa: F401
    _process.__lsan_enable()


def found():
    """Whether there are any; the sanitizer's report has where each was allocated. Never without a sanitizer."""
    return _sanitized and bool(_process.__lsan_do_recoverable_leak_check())
