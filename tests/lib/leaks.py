"""Memory that nobody refers to any more, as LeakSanitizer finds it in a sanitized run (tools/sanitize.py).

It looks when the tests are over, before the interpreter takes itself apart: what CPython leaves at its end is
not in the way then, so that nothing has to be forgiven. What another library leaves while it is imported is not
looked at. Forked children do not look: there, what threads of the parent referred to is lost to nobody's harm.
"""

import atexit
import contextlib
import ctypes
import os


def look_at_the_end():
    """Has what is found reported; to be called before anything else imports the libraries of others."""
    if os.name != "posix":
        return
    process = ctypes.CDLL(None)
    look = getattr(process, "__lsan_do_recoverable_leak_check", None)
    if look is None:
        return
    process.__lsan_disable()
    with contextlib.suppress(ImportError):
        import OpenSSL.SSL  # noqa: F401
    process.__lsan_enable()
    # No earlier than in atexit: where a running function's variables are the sanitizer does not look.
    atexit.register(look)
