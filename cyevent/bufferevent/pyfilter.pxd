# The extension class of filters.

from cyevent.bufferevent.pybase cimport BufferEvent


cdef class FilterBufferEvent(BufferEvent):
    cdef BufferEvent below             # None once closed
    cdef object process_in             # callables or None
    cdef object process_out
    cdef bint close_below
