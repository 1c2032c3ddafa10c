"""Memory that nobody refers to any more, as LeakSanitizer finds it in a sanitized run (tools/sanitize.py).

It is asked while the interpreter still lives: what CPython leaves at its end is not in the way then, so that
nothing has to be forgiven. What another library leaves while it is imported is not looked at.
"""

import contextlib
import ctypes

_process = ctypes.CDLL(None)


def _call(name):
    function = getattr(_process, name, None)
    return function() if function else 0


def import_others():
    """Imports what the tests will, where it has leaks of its own."""
    _call("__lsan_disable")
    with contextlib.suppress(ImportError):
        import OpenSSL.SSL  # noqa: F401
    _call("__lsan_enable")


def found():
    """Whether there are any; the sanitizer's report has where each was allocated. Never without a sanitizer."""
    return bool(_call("__lsan_do_recoverable_leak_check"))
