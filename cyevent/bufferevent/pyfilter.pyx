"""FilterBufferEvent.

The struct's filters are set only where there is a Python one. The underlying bufferevent is closed here rather
than by the struct, for its object has to learn of it.
"""

from cyevent.buffer.pyevbuffer cimport EvBuffer
from cyevent.buffer.types cimport evbuffer, ev_ssize_t
from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.filter cimport bufferevent_filter_new
from cyevent.bufferevent.pybase cimport BufferEvent, check_options, enter_python, leave_python
from cyevent.bufferevent.types cimport *
from cyevent.core.types cimport EV_READ, EV_WRITE

ctypedef int (*run_filter_fn)(void *thing, bint incoming, ev_ssize_t limit, int mode) noexcept nogil


cdef bufferevent_filter_result filter_input(evbuffer *source, evbuffer *destination, ev_ssize_t limit,
                                            bufferevent_flush_mode mode, void *ctx) noexcept nogil:
    return enter_filter(<bufferevent *>source.parent, True, limit, mode, ctx)


cdef bufferevent_filter_result filter_output(evbuffer *source, evbuffer *destination, ev_ssize_t limit,
                                             bufferevent_flush_mode mode, void *ctx) noexcept nogil:
    return enter_filter(<bufferevent *>source.parent, False, limit, mode, ctx)


cdef bufferevent_filter_result enter_filter(bufferevent *bev, bint incoming, ev_ssize_t limit,
                                            int mode, void *ctx) noexcept nogil:
    cdef int token = enter_python(bev)
    cdef int result = (<run_filter_fn>run_filter)(ctx, incoming, limit, mode)
    leave_python(token)
    return <bufferevent_filter_result>result


cdef int run_filter(void *thing, bint incoming, ev_ssize_t limit, int mode) noexcept:
    cdef FilterBufferEvent self = <FilterBufferEvent>thing
    cdef object callback = self.process_in if incoming else self.process_out
    cdef EvBuffer source, target
    cdef size_t before
    if self.bev == NULL or self.below is None or self.below.bev == NULL:
        # Closed in the middle of it.
        return BEV_ERROR
    try:
        source = self.below.input if incoming else self.output
        target = self.input if incoming else self.below.output
        before = target.buf.total_len if target.buf != NULL else 0
        result = callback(source, target, limit, mode)
        if result is None:
            return BEV_OK if target.buf != NULL and target.buf.total_len > before else BEV_NEED_MORE
        if result not in (BEV_OK, BEV_NEED_MORE, BEV_ERROR):
            raise ValueError(f"a filter must return BEV_OK, BEV_NEED_MORE, BEV_ERROR or None, not {result!r}")
        return result
    except BaseException as exception:
        self.owner.failed(exception, callback)
        return BEV_ERROR


cdef class FilterBufferEvent(BufferEvent):
    """A bufferevent whose bytes pass through functions on their way from and to another one.

    underlying: any bufferevent. Its callbacks belong to the filter from now on, and it reads when the filter
    does. With close_on_free (the default) it is closed with the filter; otherwise it gets its callbacks back.
    input: what comes from the underlying bufferevent's input for this one's; None passes everything on.
    output: what comes from this one's output for the underlying one's; None passes everything on.
    options: as for SocketBufferEvent. The lock, if there is one, is the underlying bufferevent's.
    read, write, event: callbacks, as for `set_callbacks`.

    The functions are called as f(source, target, limit, mode) with two EvBuffers. They take from `source` and
    add to `target`, if possible no more than `limit` bytes (-1: any number). mode is BEV_NORMAL, or BEV_FLUSH
    or BEV_FINISHED when `flush` was called. They return BEV_OK after adding something, BEV_NEED_MORE when they
    have to wait for more, BEV_ERROR when they cannot go on; None is one of the first two. They are called again
    as long as they return BEV_OK and there is more. What they raise goes to the base's exception handler, and
    is BEV_ERROR.

    TypeError or ValueError names an argument that is wrong, such as an underlying bufferevent that is closed or
    has a filter already.
    """

    def __init__(self, BufferEvent underlying not None, input=None, output=None, options=0, *,
                 bint close_on_free=True, read=None, write=None, event=None):
        cdef bufferevent *below = underlying.live()
        cdef bufferevent *bev
        cdef int flags = check_options(options, read, write, event) & ~BEV_OPT_CLOSE_ON_FREE
        cdef bufferevent_filter_cb incoming = NULL
        cdef bufferevent_filter_cb outgoing = NULL
        if self.owner is not None:
            raise RuntimeError("FilterBufferEvent.__init__() was called twice")
        if underlying.filtered:
            raise ValueError("underlying must not have a filter already")
        if input is not None:
            if not callable(input):
                raise TypeError(f"input must be callable or None, not {type(input).__name__}")
            incoming = filter_input
        if output is not None:
            if not callable(output):
                raise TypeError(f"output must be callable or None, not {type(output).__name__}")
            outgoing = filter_output
        underlying.owner.checked()
        self.process_in = input
        self.process_out = output
        self.below = underlying
        self.close_below = close_on_free
        underlying.enter()
        underlying.filtered = True
        bev = bufferevent_filter_new(below, incoming, outgoing, flags, NULL, <void *>self)
        if bev == NULL:
            underlying.filtered = False
        BEV_UNLOCK(below)
        self.begin(underlying.owner, bev, read, write, event)
        if underlying.kept:
            # It lives as long as this one.
            self.keep()
            underlying.kept = False
            underlying.owner.release(underlying)

    @property
    def underlying(self):
        """The bufferevent that is filtered; None once closed."""
        return self.below

    # An end or an error disables the underlying bufferevent alone; what was filtered may still be on its way.

    cdef bint reads(self) noexcept:
        return BufferEvent.reads(self) and self.below is not None and self.below.reads()

    cdef bint writes(self) noexcept:
        return self.below is not None and (BufferEvent.writes(self) or self.below.writes())

    cdef int closing(self) except -1:
        # If the struct is in use yet, by a callback that this is called from, it enters our functions no more.
        BEV_LOCK(self.bev)
        bufferevent_disable(self.bev, EV_READ | EV_WRITE)
        BEV_UNLOCK(self.bev)
        return 0

    cdef void closed_(self) noexcept:
        cdef BufferEvent below = self.below
        self.below = None
        self.process_in = self.process_out = None
        if below is None or below.bev == NULL:
            return
        below.filtered = False
        if self.close_below:
            below.close()
            return
        BEV_LOCK(below.bev)
        below.install()
        BEV_UNLOCK(below.bev)
        if below.reads() or below.writes():
            try:
                below.keep()
            except ValueError:
                # The base is closed.
                pass
