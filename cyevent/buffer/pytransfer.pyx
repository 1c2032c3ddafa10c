"""Bytes from one buffer to another. Whoever has one of the locks may be waiting for the GIL."""

from libc.errno cimport errno
from cyevent.buffer.pybytes cimport frozen_or_memory
from cyevent.buffer.transfer cimport evbuffer_remove_buffer
from cyevent.core.sys cimport ENOMEM, set_errno

cdef enum:
    AT_ONCE = 0x40000000       # the core's result is an int


cdef int take_from(evbuffer *buf, evbuffer *source, int (*function)(evbuffer *, evbuffer *) noexcept nogil,
                   bint at_front, bint moves) except -1:
    cdef int result
    set_errno(0)
    if buf.lock != NULL or source.lock != NULL:
        with nogil:
            result = function(buf, source)
    else:
        result = function(buf, source)
    if result == 0:
        return 0
    if buf.freeze_start if at_front else buf.freeze_end:
        frozen_or_memory(buf, at_front)
    if moves and source.freeze_start:
        frozen_or_memory(source, True)
    if errno == ENOMEM:
        raise MemoryError()
    raise ValueError("other must not hold referenced bytes of a buffer or be this buffer")


cdef Py_ssize_t move_bytes(evbuffer *buf, evbuffer *target, Py_ssize_t n) except -1:
    cdef size_t length = buf.total_len
    cdef size_t left, step
    cdef int moved
    if n >= 0 and <size_t>n < length:
        length = n
    left = length
    while left:
        step = left if left < AT_ONCE else AT_ONCE
        if buf.lock != NULL or target.lock != NULL:
            with nogil:
                moved = evbuffer_remove_buffer(buf, target, step)
        else:
            moved = evbuffer_remove_buffer(buf, target, step)
        if moved < 0:
            if buf.freeze_start:
                frozen_or_memory(buf, True)
            frozen_or_memory(target, False)
        if moved == 0:
            break
        left -= moved
    return length - left
