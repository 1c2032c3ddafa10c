# Between buffers and descriptors. errno is the system call's.

from cyevent.core.sys cimport evutil_socket_t
from cyevent.buffer.types cimport evbuffer, ev_ssize_t

# Reads once, at most `howmuch` bytes (negative: as the buffer sees fit), never more than max_read. Returns how
# many, 0 at the end of the stream, -1 for an error.
cdef int evbuffer_read(evbuffer *buf, evutil_socket_t fd, int howmuch) noexcept nogil
# Writes once, at most `howmuch` bytes (negative: all), and drains what was written. Returns how many; -1 for
# an error, a frozen front, and nothing to write. EIO: a file that is queued has become shorter; the bytes
# that it lacks stay in the buffer for the owner to drain.
cdef int evbuffer_write_atmost(evbuffer *buf, evutil_socket_t fd, ev_ssize_t howmuch) noexcept nogil
cdef int evbuffer_write(evbuffer *buf, evutil_socket_t fd) noexcept nogil
