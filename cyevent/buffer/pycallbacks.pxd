# A Python callback of a buffer.

from cyevent.buffer.pyevbuffer cimport EvBuffer
from cyevent.buffer.types cimport evbuffer, evbuffer_cb_entry

cdef class BufferCallback:
    cdef EvBuffer buffer_
    cdef evbuffer_cb_entry *entry  # NULL once removed
    cdef object callback_

    cdef void drop(self) noexcept
    cdef evbuffer *live(self) except NULL
    cdef int set_flag(self, unsigned flag, bint value) except -1


# Calls a callable after each change of the buffer.
cdef BufferCallback add_buffer_callback(EvBuffer buffer, object callback, bint nodefer)
