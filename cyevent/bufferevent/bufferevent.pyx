"""What all kinds of bufferevents have in common.

A bufferevent's end: its last reference may go while the loop's thread is inside one of its callbacks, or
while its buffers call back. Then its memory goes in a callback of the loop of its own; otherwise at once, and
with it the descriptor.
"""

from libc.errno cimport errno
from cyevent.buffer.callbacks cimport *
from cyevent.buffer.evbuffer cimport *
from cyevent.bufferevent.limits cimport READ_AT_ONCE
from cyevent.buffer.transfer cimport evbuffer_add_buffer
from cyevent.buffer.types cimport evbuffer_cb_info, EVBUFFER_CB_ENABLED, EVBUFFER_CB_NODEFER
from cyevent.core.event cimport (
    event_add, event_del_nolock_, event_initialized, event_remove_timer,
)
from cyevent.core.log cimport event_warnx_
from cyevent.core.debug cimport debug_teardown_, EVENT_GONE_FREED_
from cyevent.core.log cimport debugging_
from cyevent.core.memory cimport mm_free
from cyevent.core.queue cimport (
    event_callback_activate_nolock_, event_callback_cancel_nolock_, event_deferred_cb_init_,
    event_deferred_cb_schedule_, in_loop_thread,
)
from cyevent.core.sys cimport ev_close_socket, set_errno, EINVAL
from cyevent.core.threads cimport evthread_lock_alloc_, evthread_lock_free_
from cyevent.core.types cimport *
from cyevent.core.types cimport event_callback


# --- suspending -------------------------------------------------------------------------------------

cdef void bufferevent_suspend_read_(bufferevent *bev, unsigned short why) noexcept nogil:
    BEV_LOCK(bev)
    if not BEV_UPCAST(bev).read_suspended:
        bev.be_ops.disable(bev, EV_READ)
    BEV_UPCAST(bev).read_suspended |= why
    BEV_UNLOCK(bev)


cdef void bufferevent_unsuspend_read_(bufferevent *bev, unsigned short why) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef bint was
    BEV_LOCK(bev)
    was = p.read_suspended != 0
    p.read_suspended &= <unsigned short>~why
    if was and not p.read_suspended and bev.enabled & EV_READ:
        bev.be_ops.enable(bev, EV_READ)
    BEV_UNLOCK(bev)


cdef void bufferevent_suspend_write_(bufferevent *bev, unsigned short why) noexcept nogil:
    BEV_LOCK(bev)
    if not BEV_UPCAST(bev).write_suspended:
        bev.be_ops.disable(bev, EV_WRITE)
    BEV_UPCAST(bev).write_suspended |= why
    BEV_UNLOCK(bev)


cdef void bufferevent_unsuspend_write_(bufferevent *bev, unsigned short why) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef bint was
    BEV_LOCK(bev)
    was = p.write_suspended != 0
    p.write_suspended &= <unsigned short>~why
    if was and not p.write_suspended and bev.enabled & EV_WRITE:
        bev.be_ops.enable(bev, EV_WRITE)
    BEV_UNLOCK(bev)


# --- calling back -----------------------------------------------------------------------------------

cdef void check_input_watermark(bufferevent *bev) noexcept nogil:
    """A read callback that leaves the input above the high watermark will hear of no more bytes, for none are
    read: it is called again."""
    if bev.wm_read.high and bev.enabled & EV_READ and bev.input.total_len >= bev.wm_read.high \
            and not BEV_UPCAST(bev).read_suspended & BEV_SUSPEND_FILT_READ:
        bufferevent_trigger(bev, EV_READ, BEV_TRIG_DEFER_CALLBACKS)


cdef void schedule(bufferevent_private *p) noexcept nogil:
    if event_deferred_cb_schedule_(p.bev.ev_base, &p.deferred):
        p.refcnt += 1


cdef void run_deferred(event_callback *cb, void *arg) noexcept nogil:
    cdef bufferevent_private *p = <bufferevent_private *>arg
    cdef bufferevent *bev = &p.bev
    cdef bint unlocked = p.options & BEV_OPT_UNLOCK_CALLBACKS != 0
    cdef bufferevent_data_cb data_cb
    cdef bufferevent_event_cb event_cb
    cdef void *cbarg
    cdef short what
    cdef int code
    bufferevent_lock_in_loop_(bev)
    # Being connected came before anything that was read or written.
    if p.eventcb_pending & BEV_EVENT_CONNECTED and bev.errorcb != NULL:
        event_cb = bev.errorcb
        cbarg = bev.cbarg
        p.eventcb_pending &= ~BEV_EVENT_CONNECTED
        if unlocked:
            BEV_UNLOCK(bev)
        event_cb(bev, BEV_EVENT_CONNECTED, cbarg)
        if unlocked:
            bufferevent_lock_in_loop_(bev)
    if p.readcb_pending and bev.readcb != NULL:
        data_cb = bev.readcb
        cbarg = bev.cbarg
        p.readcb_pending = False
        if unlocked:
            BEV_UNLOCK(bev)
        data_cb(bev, cbarg)
        if unlocked:
            bufferevent_lock_in_loop_(bev)
        check_input_watermark(bev)
    if p.writecb_pending and bev.writecb != NULL:
        data_cb = bev.writecb
        cbarg = bev.cbarg
        p.writecb_pending = False
        if unlocked:
            BEV_UNLOCK(bev)
        data_cb(bev, cbarg)
        if unlocked:
            bufferevent_lock_in_loop_(bev)
    if p.eventcb_pending and bev.errorcb != NULL:
        event_cb = bev.errorcb
        cbarg = bev.cbarg
        what = p.eventcb_pending
        code = p.errno_pending
        p.eventcb_pending = 0
        if unlocked:
            BEV_UNLOCK(bev)
        set_errno(code)
        event_cb(bev, what, cbarg)
        if unlocked:
            bufferevent_lock_in_loop_(bev)
    bufferevent_decref_and_unlock_(bev)


cdef void bufferevent_run_readcb_(bufferevent *bev, int options) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if bev.readcb == NULL:
        return
    if (p.options | options) & BEV_OPT_DEFER_CALLBACKS:
        p.readcb_pending = True
        schedule(p)
    else:
        bev.readcb(bev, bev.cbarg)
        check_input_watermark(bev)


cdef void bufferevent_run_writecb_(bufferevent *bev, int options) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if bev.writecb == NULL:
        return
    if (p.options | options) & BEV_OPT_DEFER_CALLBACKS:
        p.writecb_pending = True
        schedule(p)
    else:
        bev.writecb(bev, bev.cbarg)


cdef void bufferevent_run_eventcb_(bufferevent *bev, short what, int options) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if bev.errorcb == NULL:
        return
    # Of other events it says nothing, being what some call before has left.
    if what & BEV_EVENT_ERROR:
        p.errno_pending = errno
    elif what & BEV_EVENT_CONNECTED:
        p.errno_pending = 0
    if (p.options | options) & BEV_OPT_DEFER_CALLBACKS:
        p.eventcb_pending |= what
        schedule(p)
    else:
        bev.errorcb(bev, what, bev.cbarg)


cdef void bufferevent_trigger(bufferevent *bev, short iotype, int options) noexcept nogil:
    bufferevent_incref_and_lock_(bev)
    bufferevent_trigger_nolock_(bev, iotype, options & (BEV_TRIG_IGNORE_WATERMARKS
                                                        | BEV_TRIG_DEFER_CALLBACKS))
    bufferevent_decref_and_unlock_(bev)


cdef void bufferevent_trigger_event(bufferevent *bev, short what, int options) noexcept nogil:
    bufferevent_incref_and_lock_(bev)
    bufferevent_run_eventcb_(bev, what, options & BEV_TRIG_DEFER_CALLBACKS)
    bufferevent_decref_and_unlock_(bev)


# --- beginning --------------------------------------------------------------------------------------

cdef int bufferevent_init_common_(bufferevent_private *p, event_base *base,
                                  const bufferevent_ops *ops, int options) noexcept nogil:
    cdef bufferevent *bev = &p.bev
    if options & (BEV_OPT_DEFER_CALLBACKS | BEV_OPT_UNLOCK_CALLBACKS) == BEV_OPT_UNLOCK_CALLBACKS:
        event_warnx_(b"bufferevent: BEV_OPT_UNLOCK_CALLBACKS requires BEV_OPT_DEFER_CALLBACKS")
        set_errno(EINVAL)
        return -1
    bev.input = evbuffer_new()
    bev.output = evbuffer_new()
    bev.ev_base = base
    bev.be_ops = ops
    p.refcnt = 1
    p.options = options
    if bev.input == NULL or bev.output == NULL \
            or (options & BEV_OPT_THREADSAFE and bufferevent_enable_locking_(bev, NULL) < 0):
        evbuffer_free(bev.input)
        evbuffer_free(bev.output)
        return -1
    evbuffer_set_max_read(bev.input, READ_AT_ONCE)
    # Writing wants no permission; what is read has nowhere to go until somebody asks for it.
    bev.enabled = EV_WRITE
    event_deferred_cb_init_(&p.deferred, base.nqueues // 2 if base != NULL else 0, run_deferred, p)
    bev.input.parent = bev.output.parent = bev
    bev.input.cb_queue = bev.output.cb_queue = base
    return 0


cdef int bufferevent_enable_locking_(bufferevent *bev, void *lock) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef bufferevent *underlying
    if p.lock != NULL:
        return -1
    underlying = bufferevent_get_underlying(bev)
    if lock == NULL and underlying != NULL:
        # The lock belongs to the one at the bottom, which may outlive those above it.
        if BEV_UPCAST(underlying).lock == NULL and bufferevent_enable_locking_(underlying, NULL) < 0:
            return -1
        lock = BEV_UPCAST(underlying).lock
    if lock == NULL:
        lock = evthread_lock_alloc_()
        if lock == NULL:
            return -1
        p.own_lock = True
    p.lock = lock
    evbuffer_enable_locking(bev.input, lock)
    evbuffer_enable_locking(bev.output, lock)
    return 0


# --- ending -----------------------------------------------------------------------------------------

cdef void destroy(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef bufferevent *underlying
    cdef void *lock
    BEV_LOCK(bev)
    underlying = bufferevent_get_underlying(bev)
    if bev.be_ops.destruct != NULL:
        bev.be_ops.destruct(bev)
    if debugging_():
        debug_teardown_(&bev.ev_read, EVENT_GONE_FREED_)
        debug_teardown_(&bev.ev_write, EVENT_GONE_FREED_)
        if p.rate_limiting != NULL:
            debug_teardown_(&p.rate_limiting.refill, EVENT_GONE_FREED_)
    # Only now: who owns a lock that is shared is known at the end.
    lock = p.lock if p.own_lock else NULL
    evbuffer_free(bev.input)
    evbuffer_free(bev.output)
    BEV_UNLOCK(bev)
    evthread_lock_free_(lock)
    mm_free(p.rate_limiting)
    mm_free(<char *>bev - bev.be_ops.mem_offset)
    if underlying != NULL:
        bufferevent_decref(underlying)


cdef void delete_events(bufferevent *bev) noexcept nogil:
    """The base's lock is held."""
    if event_initialized(&bev.ev_read):
        event_del_nolock_(&bev.ev_read, EVENT_DEL_NOBLOCK)
        event_del_nolock_(&bev.ev_write, EVENT_DEL_NOBLOCK)
    if BEV_UPCAST(bev).rate_limiting != NULL:
        event_del_nolock_(&BEV_UPCAST(bev).rate_limiting.refill, EVENT_DEL_NOBLOCK)
        event_callback_cancel_nolock_(bev.ev_base, &BEV_UPCAST(bev).rate_limiting.wake)


cdef void finalizer(event_callback *cb, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    # A callback that was waiting for the lock may have added one again.
    EVLOCK_LOCK(bev.ev_base.lock)
    delete_events(bev)
    EVLOCK_UNLOCK(bev.ev_base.lock)
    destroy(bev)


cdef bint runs_elsewhere(bufferevent *bev) noexcept nogil:
    """True while another thread's loop is inside a callback of this bufferevent. The base's lock is held."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef event_callback *current = bev.ev_base.current_event
    if current == NULL or in_loop_thread(bev.ev_base):
        return False
    if p.rate_limiting != NULL and (current == &p.rate_limiting.refill.evcb
                                    or current == &p.rate_limiting.wake):
        return True
    if p.receiving != NULL and current == &p.receiving.done or p.sending != NULL and current == &p.sending.done:
        return True
    return current == &bev.ev_read.evcb or current == &bev.ev_write.evcb or current == &p.deferred \
        or current == &bev.input.deferred or current == &bev.output.deferred


cdef void last_reference_gone(bufferevent *bev) noexcept nogil:
    """The lock is held; it is not afterwards."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef event_base *base = bev.ev_base
    cdef bint wait
    if p.finalizing:
        # A callback that was waiting for the lock has come and gone.
        BEV_UNLOCK(bev)
        return
    p.finalizing = True
    # A callback of its buffers that is still to come begins nothing any more.
    bev.enabled = 0
    if bev.be_ops.unlink != NULL:
        bev.be_ops.unlink(bev)
    if p.rate_limiting != NULL:
        p.rate_limiting.leave(p)
    wait = bev.input.walking or bev.output.walking
    if base != NULL:
        EVLOCK_LOCK(base.lock)
        delete_events(bev)
        wait = (wait or runs_elsewhere(bev)) and not base.closed
        if wait:
            event_callback_cancel_nolock_(base, &p.deferred)
            p.deferred.closure = EV_CLOSURE_CB_FINALIZE
            p.deferred.cb.cbfinalize = finalizer
            p.deferred.arg = bev
            event_callback_activate_nolock_(base, &p.deferred)
            p.deferred.flags |= EVLIST_FINALIZING
        EVLOCK_UNLOCK(base.lock)
    BEV_UNLOCK(bev)
    if not wait:
        destroy(bev)


cdef void bufferevent_decref_and_unlock_(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    p.refcnt -= 1
    if p.refcnt:
        BEV_UNLOCK(bev)
    else:
        last_reference_gone(bev)


cdef int bufferevent_decref(bufferevent *bev) noexcept nogil:
    cdef int last
    BEV_LOCK(bev)
    last = BEV_UPCAST(bev).refcnt == 1
    bufferevent_decref_and_unlock_(bev)
    return last


cdef void bufferevent_incref(bufferevent *bev) noexcept nogil:
    BEV_LOCK(bev)
    BEV_UPCAST(bev).refcnt += 1
    BEV_UNLOCK(bev)


cdef void bufferevent_lock(bufferevent *bev) noexcept nogil:
    bufferevent_incref_and_lock_(bev)


cdef void bufferevent_unlock(bufferevent *bev) noexcept nogil:
    bufferevent_decref_and_unlock_(bev)


cdef void bufferevent_free(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef event_base *base = bev.ev_base
    cdef bufferevent_ctrl_data data
    BEV_LOCK(bev)
    bufferevent_setcb(bev, NULL, NULL, NULL, NULL)
    bufferevent_cancel_lookup_(bev)
    if bev.be_ops.ctrl != NULL:
        data.ptr = NULL
        bev.be_ops.ctrl(bev, BEV_CTRL_CANCEL_ALL, &data)
    if base != NULL:
        # Deferred callbacks have nobody to call any more; what is queued holds a reference.
        EVLOCK_LOCK(base.lock)
        if p.deferred.flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER) \
                and not p.deferred.flags & EVLIST_FINALIZING:
            event_callback_cancel_nolock_(base, &p.deferred)
            p.refcnt -= 1
        EVLOCK_UNLOCK(base.lock)
    bufferevent_decref_and_unlock_(bev)


# --- settings ---------------------------------------------------------------------------------------

cdef void bufferevent_setcb(bufferevent *bev, bufferevent_data_cb readcb,
                            bufferevent_data_cb writecb, bufferevent_event_cb eventcb,
                            void *cbarg) noexcept nogil:
    BEV_LOCK(bev)
    bev.readcb = readcb
    bev.writecb = writecb
    bev.errorcb = eventcb
    bev.cbarg = cbarg
    BEV_UNLOCK(bev)


cdef void bufferevent_getcb(bufferevent *bev, bufferevent_data_cb *readcb,
                            bufferevent_data_cb *writecb, bufferevent_event_cb *eventcb,
                            void **cbarg) noexcept nogil:
    BEV_LOCK(bev)
    if readcb != NULL:
        readcb[0] = bev.readcb
    if writecb != NULL:
        writecb[0] = bev.writecb
    if eventcb != NULL:
        eventcb[0] = bev.errorcb
    if cbarg != NULL:
        cbarg[0] = bev.cbarg
    BEV_UNLOCK(bev)


cdef event_base *bufferevent_get_base(bufferevent *bev) noexcept nogil:
    return bev.ev_base


cdef evbuffer *bufferevent_get_input(bufferevent *bev) noexcept nogil:
    return bev.input


cdef evbuffer *bufferevent_get_output(bufferevent *bev) noexcept nogil:
    return bev.output


cdef int bufferevent_get_priority(const bufferevent *bev) noexcept nogil:
    if event_initialized(&bev.ev_read):
        return bev.ev_read.evcb.priority
    return bev.ev_base.nqueues // 2


cdef int control(bufferevent *bev, bufferevent_ctrl_op op, bufferevent_ctrl_data *data) noexcept nogil:
    cdef int result = -1
    BEV_LOCK(bev)
    if bev.be_ops.ctrl != NULL:
        result = bev.be_ops.ctrl(bev, op, data)
    BEV_UNLOCK(bev)
    return result


cdef bufferevent *bufferevent_get_underlying(bufferevent *bev) noexcept nogil:
    cdef bufferevent_ctrl_data data
    data.ptr = NULL
    if control(bev, BEV_CTRL_GET_UNDERLYING, &data) < 0:
        return NULL
    return <bufferevent *>data.ptr


cdef int bufferevent_setfd(bufferevent *bev, evutil_socket_t fd) noexcept nogil:
    cdef bufferevent_ctrl_data data
    data.fd = fd
    return control(bev, BEV_CTRL_SET_FD, &data)


cdef int bufferevent_replacefd(bufferevent *bev, evutil_socket_t fd) noexcept nogil:
    cdef evutil_socket_t old
    cdef int result
    BEV_LOCK(bev)
    old = bufferevent_getfd(bev)
    # Deleted before it is closed: a backend does not always see that a descriptor is gone.
    result = bufferevent_setfd(bev, -1)
    if result == 0 and old >= 0:
        result = ev_close_socket(old)
    if result == 0:
        result = bufferevent_setfd(bev, fd)
    BEV_UNLOCK(bev)
    return result


cdef evutil_socket_t bufferevent_getfd(bufferevent *bev) noexcept nogil:
    cdef bufferevent_ctrl_data data
    data.fd = -1
    return data.fd if control(bev, BEV_CTRL_GET_FD, &data) == 0 else -1


# --- bytes ------------------------------------------------------------------------------------------

cdef int bufferevent_write(bufferevent *bev, const void *data, size_t size) noexcept nogil:
    return evbuffer_add(bev.output, data, size)


cdef int bufferevent_write_buffer(bufferevent *bev, evbuffer *buf) noexcept nogil:
    return evbuffer_add_buffer(bev.output, buf)


cdef size_t bufferevent_read(bufferevent *bev, void *data, size_t size) noexcept nogil:
    cdef int n = evbuffer_remove(bev.input, data, size)
    return n if n > 0 else 0


cdef int bufferevent_read_buffer(bufferevent *bev, evbuffer *buf) noexcept nogil:
    return evbuffer_add_buffer(buf, bev.input)


cdef int bufferevent_flush(bufferevent *bev, short iotype, bufferevent_flush_mode mode) noexcept nogil:
    cdef int result = -1
    BEV_LOCK(bev)
    if bev.be_ops.flush != NULL:
        result = bev.be_ops.flush(bev, iotype, mode)
    BEV_UNLOCK(bev)
    return result


# --- enabling ---------------------------------------------------------------------------------------

cdef int bufferevent_enable(bufferevent *bev, short events) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef short now = events
    cdef int result = 0
    bufferevent_incref_and_lock_(bev)
    if p.read_suspended:
        now &= ~EV_READ
    if p.write_suspended:
        now &= ~EV_WRITE
    bev.enabled |= events
    if now:
        result = bev.be_ops.enable(bev, now)
    bufferevent_decref_and_unlock_(bev)
    return result


cdef int bufferevent_disable(bufferevent *bev, short events) noexcept nogil:
    cdef int result
    BEV_LOCK(bev)
    bev.enabled &= ~events
    result = bev.be_ops.disable(bev, events)
    BEV_UNLOCK(bev)
    return result


cdef short bufferevent_get_enabled(bufferevent *bev) noexcept nogil:
    cdef short result
    BEV_LOCK(bev)
    result = bev.enabled
    BEV_UNLOCK(bev)
    return result


# --- timeouts ---------------------------------------------------------------------------------------

cdef inline bint is_set(const timeval *tv) noexcept nogil:
    return tv.tv_sec != 0 or tv.tv_usec != 0


cdef int bufferevent_add_event_(event *ev, const timeval *tv) noexcept nogil:
    return event_add(ev, tv if is_set(tv) else NULL)


cdef int adjust(event *ev, const timeval *tv) noexcept nogil:
    if not ev.evcb.flags & (EVLIST_INSERTED | EVLIST_TIMEOUT):
        return 0
    if is_set(tv):
        return event_add(ev, tv)
    return event_remove_timer(ev)


cdef int bufferevent_adj_existing_timeouts_(bufferevent *bev) noexcept nogil:
    cdef int read_result = adjust(&bev.ev_read, &bev.timeout_read)
    cdef int write_result = adjust(&bev.ev_write, &bev.timeout_write)
    return -1 if read_result < 0 or write_result < 0 else 0


cdef int bufferevent_set_timeouts(bufferevent *bev, const timeval *timeout_read,
                                  const timeval *timeout_write) noexcept nogil:
    cdef timeval none
    cdef int result = 0
    none.tv_sec = 0
    none.tv_usec = 0
    BEV_LOCK(bev)
    bev.timeout_read = timeout_read[0] if timeout_read != NULL else none
    bev.timeout_write = timeout_write[0] if timeout_write != NULL else none
    if bev.be_ops.adj_timeouts != NULL:
        result = bev.be_ops.adj_timeouts(bev)
    BEV_UNLOCK(bev)
    return result


# --- watermarks -------------------------------------------------------------------------------------

cdef void input_changed(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    if buf.total_len >= bev.wm_read.high:
        bufferevent_suspend_read_(bev, BEV_SUSPEND_WM)
    else:
        bufferevent_unsuspend_read_(bev, BEV_SUSPEND_WM)


cdef void set_read_watermark(bufferevent *bev, size_t lowmark, size_t highmark) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    bev.wm_read.low = lowmark
    bev.wm_read.high = highmark
    if not highmark:
        if p.read_watermarks_cb != NULL:
            evbuffer_cb_clear_flags(bev.input, p.read_watermarks_cb, EVBUFFER_CB_ENABLED)
        bufferevent_unsuspend_read_(bev, BEV_SUSPEND_WM)
        return
    if p.read_watermarks_cb == NULL:
        p.read_watermarks_cb = evbuffer_add_cb(bev.input, input_changed, bev)
        if p.read_watermarks_cb == NULL:
            # Reading still stops at the mark; that draining goes unnoticed is all that is lost.
            return
    evbuffer_cb_set_flags(bev.input, p.read_watermarks_cb, EVBUFFER_CB_ENABLED | EVBUFFER_CB_NODEFER)
    input_changed(bev.input, NULL, bev)


cdef void bufferevent_setwatermark(bufferevent *bev, short events, size_t lowmark,
                                   size_t highmark) noexcept nogil:
    BEV_LOCK(bev)
    if events & EV_WRITE:
        bev.wm_write.low = lowmark
        bev.wm_write.high = highmark
    if events & EV_READ:
        set_read_watermark(bev, lowmark, highmark)
    BEV_UNLOCK(bev)


cdef int bufferevent_getwatermark(bufferevent *bev, short events, size_t *lowmark,
                                  size_t *highmark) noexcept nogil:
    cdef event_watermark *mark
    if events == EV_READ:
        mark = &bev.wm_read
    elif events == EV_WRITE:
        mark = &bev.wm_write
    else:
        return -1
    BEV_LOCK(bev)
    if lowmark != NULL:
        lowmark[0] = mark.low
    if highmark != NULL:
        highmark[0] = mark.high
    BEV_UNLOCK(bev)
    return 0
