"""Checking arguments: a bad type is a TypeError, a bad value a ValueError, and both name the argument."""

import os
from datetime import timedelta

from libc.errno cimport errno
from libc.math cimport isfinite
from cyevent.core.clock cimport NS_PER_S
from cyevent.core.sys cimport ev_error_text
from cyevent.core.types cimport *

cdef enum:
    ALL_EVENTS = 0xff          # EV_TIMEOUT to EV_CLOSED


cdef long long duration_ns(object value, str name) except -2:
    cdef double seconds
    if value is None:
        return -1
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, (int, float)):
        seconds = value
    else:
        try:
            seconds = value.__float__()
        except (AttributeError, TypeError):
            raise TypeError(f"{name} must be a number of seconds, a timedelta or None, "
                            f"not {type(value).__name__}") from None
    if not isfinite(seconds):
        raise ValueError(f"{name} must be finite, not {seconds}")
    if seconds < 0:
        raise ValueError(f"{name} must not be negative, but is {seconds}")
    if seconds > 4e9:
        raise ValueError(f"{name} must be at most 4e9 seconds, but is {seconds}")
    return <long long>(seconds * NS_PER_S + 0.5)


cdef int descriptor(object value, str name) except -2:
    cdef object number = value
    cdef long long fd
    if not isinstance(value, int):
        try:
            number = value.fileno()
        except AttributeError:
            raise TypeError(f"{name} must be a descriptor or have fileno(), "
                            f"not {type(value).__name__}") from None
        if not isinstance(number, int):
            raise TypeError(f"{name}.fileno() must return an int, not {type(number).__name__}")
    if number < 0 or number > 0x7fffffff:
        raise ValueError(f"{name} must be a valid descriptor, not {number}")
    fd = number
    return <int>fd


cdef long long integer(object value, str name, long long low, long long high) except? -1:
    """value as a C integer; what is out of range or no integer is an error that names it."""
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {int(value)}")
    return value


cdef str error_text(int code):
    # Python has no text for Winsock's errors.
    return os.strerror(code) if code < 10000 else ev_error_text(code).decode("utf-8", "replace")


cdef object os_error(str what):
    cdef int code = errno
    return OSError(code, f"{what}: {error_text(code)}")


cdef short event_bits(object what) except -1:
    if not isinstance(what, int):
        raise TypeError(f"what must be an int of READ, WRITE and their like, "
                        f"not {type(what).__name__}")
    if what < 0 or what & ~ALL_EVENTS:
        raise ValueError(f"what has unknown bits: {int(what):#x}")
    return what


cdef object check_callable(object callback, str name):
    if not callable(callback):
        raise TypeError(f"{name} must be callable, not {type(callback).__name__}")
    return callback
