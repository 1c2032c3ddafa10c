# What the tests of buffers start from. A test that is decorated with `in_each_mode` runs with the usual
# chains and with tiny ones, so that everything crosses chain borders, each with and without locks;
# new_buffer() and usual() follow the mode.

from cyevent cimport evbuffer

cdef evbuffer *new_buffer() except NULL
# Whether chains have their usual size.
cdef bint usual() noexcept
cdef bint locked() noexcept
# The buffer's bytes, which stay in it.
cdef bytes content(evbuffer *buf)
# The same through pullup, which puts them in one piece.
cdef bytes pulled(evbuffer *buf)
cdef int add(evbuffer *buf, bytes data) except -1
# By reference; the object has to live as long as its bytes are in a buffer. Note that no bytes make no chain.
cdef int lend(evbuffer *buf, bytes data) except -1
# Asserts what holds between any two calls.
cdef int validate(evbuffer *buf) except -1
# The room that chains have, what lies idle in it between bytes, and what is used.
cdef (size_t, size_t, size_t) waste(evbuffer *buf) noexcept
