# The evbuffer's extension class.

from cpython.buffer cimport Py_buffer
from cyevent.buffer.types cimport (
    evbuffer, evbuffer_cb_entry, evbuffer_chain, evbuffer_iovec, evbuffer_ptr,
)
from cyevent.core.reactor cimport EventBase


cdef class EvBuffer:
    # Owned, unless `owner` says that it is a bufferevent's. NULL once closed, and while another thread reads
    # or writes with it.
    cdef evbuffer *buf
    cdef bint busy
    cdef bint borrowed
    cdef EventBase owner       # whose exception handler gets what a callback raises; or None
    cdef list callbacks        # the BufferCallbacks that are added
    cdef Reservation reserved  # what commit() is about
    cdef object __weakref__

    # The struct, locked. Raises ValueError when closed. leave() unlocks it.
    cdef evbuffer *enter(self) except NULL
    cdef int unusable(self) except -1
    # The bufferevent gives its buffers up.
    cdef void detach(self) noexcept
    cdef int position(self, evbuffer *buf, object offset, str name, evbuffer_ptr *pos) except -1
    cdef int from_other(self, EvBuffer other, int (*function)(evbuffer *, evbuffer *) noexcept nogil,
                        bint at_front, bint moves) except -1
    cdef object transfer(self, int fd, Py_ssize_t n, bint out)


cdef class BufferCallback:
    cdef EvBuffer buffer_
    cdef evbuffer_cb_entry *entry  # NULL once removed
    cdef object callback_

    cdef void drop(self) noexcept
    cdef evbuffer *live(self) except NULL
    cdef int set_flag(self, unsigned flag, bint value) except -1


cdef class Reservation:
    cdef EvBuffer buffer_
    cdef evbuffer_iovec vec[2]
    cdef int nvec
    cdef list views

    cdef void end(self) noexcept


# A view of a bufferevent's buffer.
cdef EvBuffer evbuffer_view(evbuffer *buf, EventBase owner)
# Adds a bytes-like object's bytes, by copy or by reference. 0, or raises naming the argument.
cdef int add_object(evbuffer *buf, object data, str name) except -1
cdef int add_object_reference(evbuffer *buf, object data, Py_ssize_t offset, Py_ssize_t length) except -1
# Removes the first n bytes (all if negative), as far as there are, with the lock held.
cdef bytes take_bytes(evbuffer *buf, Py_ssize_t n)
