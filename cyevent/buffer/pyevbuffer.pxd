# The evbuffer's extension class.

from cyevent.buffer.types cimport evbuffer
from cyevent.core.reactor cimport EventBase


cdef class EvBuffer:
    # Owned, unless `owner` says that it is a bufferevent's. NULL once closed, and while another thread reads
    # or writes with it.
    cdef evbuffer *buf
    cdef bint busy
    cdef bint borrowed
    cdef bint looped           # without a lock it is for a loop's thread alone
    cdef bint detached         # what was borrowed is given back
    cdef EventBase owner       # whose exception handler gets what a callback raises; or None
    cdef list callbacks        # the BufferCallbacks that are added
    cdef object reserved       # the Reservation that commit() is about, or None
    cdef object __weakref__

    # The struct, locked. Raises ValueError when closed. leave() unlocks it.
    cdef evbuffer *enter(self) except NULL
    cdef int unusable(self) except -1
    # The bufferevent gives its buffers up.
    cdef void detach(self) noexcept
    cdef int from_other(self, EvBuffer other, int (*function)(evbuffer *, evbuffer *) noexcept nogil,
                        bint at_front, bint moves) except -1
    cdef object transfer(self, int fd, Py_ssize_t n, bint out)


# In debug mode: RuntimeError for what a loop works on without a lock, in another thread.
cdef int check_thread(evbuffer *buf) except -1
# A view of a bufferevent's buffer.
cdef EvBuffer evbuffer_view(evbuffer *buf, EventBase owner)
