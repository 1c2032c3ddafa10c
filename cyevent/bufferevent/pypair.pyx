"""PairBufferEvent and bufferevent_pair()."""

from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.pair cimport bufferevent_pair_new
from cyevent.bufferevent.pybase cimport ALL_OPTIONS, BufferEvent
from cyevent.bufferevent.types cimport *
from cyevent.core.arguments cimport integer
from cyevent.core.reactor cimport EventBase
from cyevent.core.types cimport event_base, EVLIST_ACTIVE, EVLIST_ACTIVE_LATER


cdef class PairBufferEvent(BufferEvent):
    """One end of a linked pair: what one writes the other reads. Made by `bufferevent_pair`.

    `flush(WRITE, BEV_FINISHED)` tells the other end of an end of stream; closing one end does not.
    """

    def __init__(self):
        raise TypeError("PairBufferEvent is made by bufferevent_pair()")

    @property
    def partner(self):
        """The other end; None once one of them is closed."""
        return self.partner_

    # Alone, it has nothing to wait for but its own callbacks.

    cdef bint reads(self) noexcept:
        return BufferEvent.reads(self) and (
            self.partner_ is not None
            or BEV_UPCAST(self.bev).deferred.flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER) != 0)

    cdef bint writes(self) noexcept:
        return self.partner_ is not None and BufferEvent.writes(self)

    cdef void closed_(self) noexcept:
        cdef PairBufferEvent partner = self.partner_
        if partner is not None:
            self.partner_ = partner.partner_ = None
            partner.settle()


def bufferevent_pair(EventBase base not None, options=0):
    """Returns two linked PairBufferEvents, a tuple. Callbacks come from the loop.

    base: the EventBase of both.
    options: BEV_OPT_THREADSAFE and BEV_OPT_UNLOCK_CALLBACKS, or none of them.

    Bytes move from one end's output to the other's input without a system call and without a copy, when the
    other end reads and its input is below the high watermark. They share a lock with BEV_OPT_THREADSAFE.
    """
    cdef event_base *native = base.checked()
    cdef int flags = <int>integer(options, "options", 0, ALL_OPTIONS) | BEV_OPT_DEFER_CALLBACKS
    cdef bufferevent *ends[2]
    cdef PairBufferEvent left = PairBufferEvent.__new__(PairBufferEvent)
    cdef PairBufferEvent right = PairBufferEvent.__new__(PairBufferEvent)
    if bufferevent_pair_new(native, flags, ends) < 0:
        raise MemoryError()
    left.begin(base, ends[0], None, None, None)
    right.begin(base, ends[1], None, None, None)
    left.partner_ = right
    right.partner_ = left
    return left, right
