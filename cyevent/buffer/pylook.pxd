# What a buffer's bytes are, for EvBuffer's methods that look. `buf` is locked; what fails raises.

from cyevent.buffer.types cimport evbuffer, evbuffer_eol_style, evbuffer_ptr

# A position, in the buffer or at its end; the argument's name is for the exception.
cdef int position(evbuffer *buf, object offset, str name, evbuffer_ptr *pos) except -1
# -1 when `what` is not there between the two; end NULL: anywhere behind start.
cdef Py_ssize_t find_bytes(evbuffer *buf, object what, evbuffer_ptr *start, evbuffer_ptr *end) except -2
# (where it ends, how many bytes its end has) of the first line; None without one.
cdef object find_line(evbuffer *buf, evbuffer_ptr *start, evbuffer_eol_style style)
# Takes the first line without its end; None without one.
cdef object take_line(evbuffer *buf, evbuffer_eol_style style)
# The bytes from a position on, as far as there are: copied, or as memoryviews. n < 0: all.
cdef bytes copy_bytes(evbuffer *buf, Py_ssize_t n, evbuffer_ptr *start)
cdef list view_bytes(evbuffer *buf, Py_ssize_t n, evbuffer_ptr *start)
# The first n bytes in one piece.
cdef object pull_up(evbuffer *buf, Py_ssize_t n)
cdef Py_ssize_t count_chains(evbuffer *buf) noexcept
