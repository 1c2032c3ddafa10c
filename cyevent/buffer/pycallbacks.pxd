# A Python callback of a buffer.

from cyevent.buffer.pyevbuffer cimport EvBuffer
from cyevent.buffer.types cimport evbuffer, evbuffer_cb_entry, evbuffer_cb_info

# The struct's callback; its argument is a BufferCallback, not a reference.
cdef void buffer_changed(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept nogil


cdef class BufferCallback:
    cdef EvBuffer buffer_
    cdef evbuffer_cb_entry *entry  # NULL once removed
    cdef object callback_

    cdef void drop(self) noexcept
    cdef evbuffer *live(self) except NULL
    cdef int set_flag(self, unsigned flag, bint value) except -1
