"""Filters.

Facts: a filter that must not read (not enabled, or its input is at the high watermark) leaves bytes in the
underlying bufferevent's input, and nobody will be told of those again.

What follows: the underlying one's reading is suspended meanwhile, so no more than one read's worth lies
there, and when the filter may read again its turn is scheduled in the loop. The filters' functions are
entered one at a time: what a function or a callback adds to the output while the output is being filtered
waits for the round that is under way. The underlying one never lets go of the lock for our callbacks, for
only that lock keeps us alive in them; ours obey our own options.
"""

from libc.errno cimport errno
from cyevent.buffer.callbacks cimport (
    evbuffer_attach_cb_, evbuffer_cb_clear_flags, evbuffer_cb_set_flags,
)
from cyevent.buffer.transfer cimport evbuffer_remove_buffer
from cyevent.buffer.types cimport evbuffer_cb_info, EVBUFFER_CB_ENABLED
from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.timeouts cimport *
from cyevent.bufferevent.types cimport *
from cyevent.core.log cimport event_warnx_
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.sys cimport set_errno, EINVAL
from cyevent.core.types cimport EV_READ, EV_WRITE, EVLIST_TIMEOUT

cdef struct bufferevent_filtered:
    bufferevent_private bev    # must be first
    bufferevent *underlying    # referenced; destroy() gives that up
    bufferevent_filter_cb process_in
    bufferevent_filter_cb process_out
    void (*free_context)(void *ctx) noexcept nogil
    void *context
    bint unlocked              # the underlying one had BEV_OPT_UNLOCK_CALLBACKS

cdef bufferevent_ops filter_ops


cdef bufferevent_filter_result pass_on(evbuffer *source, evbuffer *destination, ev_ssize_t dst_limit,
                                       bufferevent_flush_mode mode, void *ctx) noexcept nogil:
    cdef size_t n = source.total_len if dst_limit < 0 else <size_t>dst_limit
    return BEV_OK if evbuffer_remove_buffer(source, destination, n) >= 0 else BEV_ERROR


cdef inline bint input_full(bufferevent *bev, bufferevent_flush_mode mode) noexcept nogil:
    return mode == BEV_NORMAL and bev.wm_read.high != 0 and bev.input.total_len >= bev.wm_read.high


cdef inline bint output_full(bufferevent *underlying, bufferevent_flush_mode mode) noexcept nogil:
    return mode == BEV_NORMAL and underlying.wm_write.high != 0 \
        and underlying.output.total_len >= underlying.wm_write.high


cdef bint process_input(bufferevent_filtered *filter, bufferevent_flush_mode mode) noexcept nogil:
    """True if the function has written to the filter's input. The lock and a reference are held."""
    cdef bufferevent *bev = &filter.bev.bev
    cdef bufferevent *underlying = filter.underlying
    cdef bufferevent_filter_result result = BEV_OK
    cdef ev_ssize_t limit
    cdef bint processed = False
    if mode == BEV_NORMAL and (not bev.enabled & EV_READ or input_full(bev, mode)):
        return False
    while True:
        limit = -1
        if mode == BEV_NORMAL and bev.wm_read.high:
            limit = <ev_ssize_t>(bev.wm_read.high - bev.input.total_len)
        result = filter.process_in(underlying.input, bev.input, limit, mode, filter.context)
        if result != BEV_OK:
            break
        processed = True
        if not bev.enabled & EV_READ or underlying.input.total_len == 0 or input_full(bev, mode):
            break
    if processed and bev.enabled & EV_READ and not filter.bev.read_suspended:
        reset_read_timeout(bev)
    return processed


cdef bint has_output(bufferevent_filtered *filter, bufferevent_flush_mode mode) noexcept nogil:
    cdef bufferevent *bev = &filter.bev.bev
    return bev.enabled & EV_WRITE and bev.output.total_len != 0 \
        and not output_full(filter.underlying, mode)


cdef bint process_output(bufferevent_filtered *filter, bufferevent_flush_mode mode) noexcept nogil:
    """True if the function has written to the underlying output. The lock and a reference are held; the write
    callback is called."""
    cdef bufferevent *bev = &filter.bev.bev
    cdef bufferevent *underlying = filter.underlying
    cdef bufferevent_filter_result result
    cdef ev_ssize_t limit
    cdef bint processed
    cdef bint processed_any = False
    if mode == BEV_NORMAL and not has_output(filter, mode):
        return False
    evbuffer_cb_clear_flags(bev.output, &filter.bev.output_cb, EVBUFFER_CB_ENABLED)
    while True:
        processed = False
        while True:
            limit = -1
            if mode == BEV_NORMAL and underlying.wm_write.high:
                limit = <ev_ssize_t>(underlying.wm_write.high - underlying.output.total_len)
            result = filter.process_out(bev.output, underlying.output, limit, mode, filter.context)
            if result != BEV_OK:
                break
            processed = processed_any = True
            if not has_output(filter, mode):
                break
        if not processed:
            break
        bufferevent_trigger_nolock_(bev, EV_WRITE, 0)
        # The write callback may have added more, or freed the filter.
        if result != BEV_OK or not has_output(filter, mode):
            break
    evbuffer_cb_set_flags(bev.output, &filter.bev.output_cb, EVBUFFER_CB_ENABLED)
    if processed_any and bev.enabled & EV_WRITE:
        if bev.output.total_len:
            reset_write_timeout(bev)
        else:
            delete_write_timeout(bev)
    return processed_any


cdef void output_changed(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    if info.n_added == 0 or not bev.enabled & EV_WRITE:
        return
    bufferevent_incref_and_lock_(bev)
    process_output(<bufferevent_filtered *>bev, BEV_NORMAL)
    if bev.enabled & EV_WRITE and bev.output.total_len \
            and not bev.ev_write.evcb.flags & EVLIST_TIMEOUT:
        reset_write_timeout(bev)
    bufferevent_decref_and_unlock_(bev)


# --- from below -------------------------------------------------------------------------------------

cdef void underlying_read(bufferevent *underlying, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    bufferevent_incref_and_lock_(bev)
    if process_input(<bufferevent_filtered *>bev, BEV_NORMAL):
        bufferevent_trigger_nolock_(bev, EV_READ, 0)
    bufferevent_decref_and_unlock_(bev)


cdef void underlying_wrote(bufferevent *underlying, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    bufferevent_incref_and_lock_(bev)
    process_output(<bufferevent_filtered *>bev, BEV_NORMAL)
    bufferevent_decref_and_unlock_(bev)


cdef void underlying_event(bufferevent *underlying, short what, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef int code = errno
    bufferevent_incref_and_lock_(bev)
    set_errno(code)
    bufferevent_run_eventcb_(bev, what, 0)
    bufferevent_decref_and_unlock_(bev)


# --- the kind ---------------------------------------------------------------------------------------

cdef int filter_enable(bufferevent *bev, short events) noexcept nogil:
    cdef bufferevent *underlying = (<bufferevent_filtered *>bev).underlying
    if events & EV_WRITE:
        reset_write_timeout(bev)
        if bev.output.total_len:
            bufferevent_trigger_nolock_(underlying, EV_WRITE, BEV_TRIG_DEFER_CALLBACKS)
    if events & EV_READ:
        reset_read_timeout(bev)
        bufferevent_unsuspend_read_(underlying, BEV_SUSPEND_FILT_READ)
        if underlying.input.total_len:
            bufferevent_trigger_nolock_(underlying, EV_READ, BEV_TRIG_DEFER_CALLBACKS)
    return 0


cdef int filter_disable(bufferevent *bev, short events) noexcept nogil:
    if events & EV_WRITE:
        delete_write_timeout(bev)
    if events & EV_READ:
        delete_read_timeout(bev)
        bufferevent_suspend_read_((<bufferevent_filtered *>bev).underlying, BEV_SUSPEND_FILT_READ)
    return 0


cdef void filter_unlink(bufferevent *bev) noexcept nogil:
    cdef bufferevent_filtered *filter = <bufferevent_filtered *>bev
    cdef bufferevent *underlying = filter.underlying
    if filter.unlocked:
        BEV_UPCAST(underlying).options |= BEV_OPT_UNLOCK_CALLBACKS
    if filter.bev.options & BEV_OPT_CLOSE_ON_FREE:
        # Ours is one reference, which destroy() gives up; its maker's is the other.
        if BEV_UPCAST(underlying).refcnt < 2:
            event_warnx_(b"bufferevent: a filter's underlying bufferevent was freed before the filter")
        else:
            bufferevent_free(underlying)
        return
    if underlying.errorcb == underlying_event and underlying.cbarg == bev:
        bufferevent_setcb(underlying, NULL, NULL, NULL, NULL)
    bufferevent_unsuspend_read_(underlying, BEV_SUSPEND_FILT_READ)


cdef void filter_destruct(bufferevent *bev) noexcept nogil:
    cdef bufferevent_filtered *filter = <bufferevent_filtered *>bev
    if filter.free_context != NULL:
        filter.free_context(filter.context)


cdef int filter_flush(bufferevent *bev, short iotype, bufferevent_flush_mode mode) noexcept nogil:
    cdef bufferevent_filtered *filter = <bufferevent_filtered *>bev
    cdef bint processed = False
    bufferevent_incref_and_lock_(bev)
    if iotype & EV_READ and process_input(filter, mode):
        processed = True
        bufferevent_trigger_nolock_(bev, EV_READ, BEV_TRIG_DEFER_CALLBACKS)
    if iotype & EV_WRITE and process_output(filter, mode):
        processed = True
    bufferevent_flush(filter.underlying, iotype, mode)
    bufferevent_decref_and_unlock_(bev)
    return processed


cdef int filter_ctrl(bufferevent *bev, bufferevent_ctrl_op op, bufferevent_ctrl_data *data) noexcept nogil:
    cdef bufferevent *underlying = (<bufferevent_filtered *>bev).underlying
    if op == BEV_CTRL_GET_UNDERLYING:
        data.ptr = underlying
        return 0
    if (op == BEV_CTRL_SET_FD or op == BEV_CTRL_GET_FD) and underlying.be_ops.ctrl != NULL:
        return underlying.be_ops.ctrl(underlying, op, data)
    return -1


filter_ops.type = b"filter"
filter_ops.mem_offset = 0
filter_ops.enable = filter_enable
filter_ops.disable = filter_disable
filter_ops.unlink = filter_unlink
filter_ops.destruct = filter_destruct
filter_ops.adj_timeouts = bufferevent_generic_adj_timeouts_
filter_ops.flush = filter_flush
filter_ops.ctrl = filter_ctrl


cdef bufferevent *bufferevent_filter_new(bufferevent *underlying, bufferevent_filter_cb input_filter,
                                         bufferevent_filter_cb output_filter, int options,
                                         void (*free_context)(void *ctx) noexcept nogil,
                                         void *ctx) noexcept nogil:
    cdef bufferevent_filtered *filter
    cdef bufferevent_private *below
    cdef bufferevent *bev
    if underlying == NULL:
        set_errno(EINVAL)
        return NULL
    below = BEV_UPCAST(underlying)
    if options & BEV_OPT_THREADSAFE and below.lock == NULL \
            and bufferevent_enable_locking_(underlying, NULL) < 0:
        return NULL
    filter = <bufferevent_filtered *>mm_calloc(1, sizeof(bufferevent_filtered))
    if filter == NULL:
        return NULL
    bev = &filter.bev.bev
    if bufferevent_init_common_(&filter.bev, underlying.ev_base, &filter_ops,
                                options & ~BEV_OPT_THREADSAFE) < 0:
        mm_free(filter)
        return NULL
    bufferevent_init_generic_timeout_cbs_(bev)
    # On every way out from here destroy() gives this reference up.
    bufferevent_incref(underlying)
    filter.underlying = underlying
    if below.lock != NULL:
        bufferevent_enable_locking_(bev, below.lock)
        filter.bev.options |= BEV_OPT_THREADSAFE
    # Disabled while the output is being filtered.
    evbuffer_attach_cb_(bev.output, &filter.bev.output_cb, output_changed, bev)
    filter.process_in = input_filter if input_filter != NULL else pass_on
    filter.process_out = output_filter if output_filter != NULL else pass_on
    filter.free_context = free_context
    filter.context = ctx
    BEV_LOCK(underlying)
    filter.unlocked = below.options & BEV_OPT_UNLOCK_CALLBACKS != 0
    below.options &= ~BEV_OPT_UNLOCK_CALLBACKS
    bufferevent_setcb(underlying, underlying_read, underlying_wrote, underlying_event, bev)
    # Suspended first, so that the backend is not asked for what nobody wants yet.
    bufferevent_suspend_read_(underlying, BEV_SUSPEND_FILT_READ)
    bufferevent_enable(underlying, EV_READ | EV_WRITE)
    BEV_UNLOCK(underlying)
    return bev
