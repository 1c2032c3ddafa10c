# Bytes from one buffer to another, for EvBuffer's methods. None of the two is locked yet; what fails raises.

from cyevent.buffer.types cimport evbuffer

# One of evbuffer_add_buffer() and its relatives. moves: the source's front must not be frozen.
cdef int take_from(evbuffer *buf, evbuffer *source, int (*function)(evbuffer *, evbuffer *) noexcept nogil,
                   bint at_front, bint moves) except -1
# The first n bytes, all if negative, to the end of another buffer. How many.
cdef Py_ssize_t move_bytes(evbuffer *buf, evbuffer *target, Py_ssize_t n) except -1
