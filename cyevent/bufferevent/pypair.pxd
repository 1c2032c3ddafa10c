# The extension class of linked pairs.

from cyevent.bufferevent.pybase cimport BufferEvent


cdef class PairBufferEvent(BufferEvent):
    cdef PairBufferEvent partner_      # None once either end is closed
