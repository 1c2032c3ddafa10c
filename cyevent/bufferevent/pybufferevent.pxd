# The extension class of socket bufferevents.

from cyevent.buffer.pyevbuffer cimport EvBuffer
from cyevent.bufferevent.types cimport bufferevent
from cyevent.core.reactor cimport EventBase


cdef class SocketBufferEvent:
    cdef bufferevent *bev      # owned; NULL once closed
    cdef EventBase owner
    cdef object readcb         # callables or None
    cdef object writecb
    cdef object eventcb
    cdef EvBuffer input_       # made when they are asked for
    cdef EvBuffer output_
    cdef bint kept             # the base holds a reference
    cdef object __weakref__

    # Raises ValueError when closed.
    cdef bufferevent *live(self) except NULL
    # live(), and locked: BEV_UNLOCK() follows.
    cdef bufferevent *enter(self) except NULL
    cdef int keep(self) except -1
    # Lets the base drop its reference when nothing can happen any more.
    cdef void settle(self) noexcept
    cdef void install(self) noexcept


# The event callback of all kinds: calls the Python one, whose argument `arg` is, and settles.
cdef void event_happened(bufferevent *bev, short what, void *arg) noexcept nogil
