"""Bufferevents that speak TLS: their callbacks in the loop, and their kind.

Facts:
- A handshake takes a millisecond of computing.
- A callback of Python's (verification, server names) takes the GIL for itself; so the handshake must run
  without it, or it would be kept from everybody for that time.

Decision: everything runs in callbacks of ev_read and ev_write. A socket's readiness makes them active; so does
an underlying bufferevent's callback, and whatever has to go on without either. The handshake gives up the GIL
first: the loop calls these callbacks, so nothing is on the stack that relies on it. Over completions, what
comes and goes on an open connection is told of by its operations' callbacks, and both events are timers.
"""

from libc.errno cimport errno
from cyevent.buffer.callbacks cimport evbuffer_attach_cb_
from cyevent.buffer.evbuffer cimport evbuffer_free, evbuffer_new, evbuffer_set_max_read
from cyevent.buffer.io cimport evbuffer_write
from cyevent.buffer.types cimport evbuffer, evbuffer_cb_info
from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.socket cimport bufferevent_is_socket_
from cyevent.bufferevent.ssl_completion cimport *
from cyevent.bufferevent.ssl_library cimport *
from cyevent.bufferevent.ssl_library cimport openssl_functions
from cyevent.bufferevent.ssl_records cimport *
from cyevent.bufferevent.ssl_records cimport bufferevent_ssl, bufferevent_ssl_state
from cyevent.bufferevent.ssl_traffic cimport *
from cyevent.bufferevent.types cimport *
from cyevent.bufferevent.types cimport ssl_st
from cyevent.completion.port cimport completion, COMPLETION_IDLE
from cyevent.core.event cimport (
    event_active, event_add, event_assign, event_del, event_priority_set, event_remove_timer,
)
from cyevent.core.log cimport event_warnx_
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.sys cimport *
from cyevent.core.types cimport *

cdef enum:
    ACTIVE = 0x28                  # EVLIST_ACTIVE | EVLIST_ACTIVE_LATER
    PENDING = 0x2a                 # EVLIST_INSERTED | EVLIST_ACTIVE | EVLIST_ACTIVE_LATER
    KNOWN_FLAGS = 3                # BUFFEREVENT_SSL_*
    RECEIVE_MOST = 131072          # read from the socket at once

cdef bufferevent_ops ssl_ops


cdef inline bufferevent_ssl *upcast(bufferevent *bev) noexcept nogil:
    return <bufferevent_ssl *>bev


# --- the loop's callbacks ---------------------------------------------------------------------------

cdef void enter(bufferevent_ssl *s) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    if s.state != BUFFEREVENT_SSL_OPEN and bev.ev_base.before_wait != NULL:
        bev.ev_base.before_wait(bev.ev_base.binding)
    bufferevent_lock_in_loop_(bev)
    s.p.refcnt += 1
    s.p.in_callback = True


cdef inline bint may_write(bufferevent_ssl *s) noexcept nogil:
    """And nothing is under way that will do so."""
    return ssl_can_write(&s.p.bev) and not s.p.bev.ev_write.evcb.flags & PENDING and not ssl_is_leaving(s)


cdef void leave(bufferevent_ssl *s) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    # Unless the callback freed it: only our own reference is left then.
    if s.state == BUFFEREVENT_SSL_OPEN and s.p.refcnt > 1:
        if s.goes_over:
            go_over(s)
        elif ssl_over_completions(s) and ssl_had_better_come_back_(s):
            come_back(s)
    if s.p.write_wanted and s.p.refcnt > 1:
        s.p.write_wanted = False
        if may_write(s) and bev.output.total_len:
            ssl_write_output_(s)
        if s.p.write_wanted and s.p.refcnt > 1 and may_write(s):
            # By the write callback, which must not keep the loop from others.
            ssl_again_(&bev.ev_write, EV_WRITE)
    s.p.write_wanted = False
    s.p.in_callback = False
    bufferevent_decref_and_unlock_(bev)


cdef inline void read_input(bufferevent_ssl *s) noexcept nogil:
    ssl_read_input_(s)
    if s.p.refcnt > 1 and not (s.p.write_wanted and may_write(s) and s.p.bev.output.total_len):
        ssl_answer_(s)


cdef void timed_out(bufferevent_ssl *s, short direction, short what) noexcept nogil:
    if s.state == BUFFEREVENT_SSL_OPEN:
        ssl_fail_(s, direction, what | BEV_EVENT_TIMEOUT)
        return
    s.failed = True
    if s.underlying == NULL:
        # As in libevent: it is the handshake as a whole that took too long.
        what = 0
    ssl_fail_(s, EV_READ | EV_WRITE, what | BEV_EVENT_TIMEOUT)


cdef void ssl_readable(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_ssl *s = upcast(bev)
    enter(s)
    if what == EV_TIMEOUT:
        set_errno(ETIMEDOUT)
        timed_out(s, EV_READ, BEV_EVENT_READING)
    elif s.state == BUFFEREVENT_SSL_OPEN:
        read_input(s)
    elif ssl_connected_(s):
        ssl_shake_hands_(s, True)
    leave(s)


cdef void ssl_writable(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_ssl *s = upcast(bev)
    enter(s)
    if what == EV_TIMEOUT:
        set_errno(ETIMEDOUT)
        timed_out(s, EV_WRITE, BEV_EVENT_WRITING)
    elif s.state == BUFFEREVENT_SSL_OPEN:
        ssl_write_output_(s)
    elif ssl_connected_(s):
        ssl_shake_hands_(s, False)
    leave(s)


cdef void output_changed(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_ssl *s = upcast(bev)
    if info.n_added == 0 or s.state != BUFFEREVENT_SSL_OPEN or not may_write(s) or s.write_blocked_on_read \
            or s.failed:
        return
    if s.p.in_callback:
        s.p.write_wanted = True
    else:
        event_active(&bev.ev_write, EV_WRITE, 1)


# --- completions ------------------------------------------------------------------------------------

cdef void ssl_received(completion *op, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_ssl *s = upcast(bev)
    enter(s)
    # Meanwhile another thread may have given it another descriptor.
    if s.p.receiving == op and not bev.finalizing:
        read_input(s)
    leave(s)


cdef void ssl_sent(completion *op, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_ssl *s = upcast(bev)
    enter(s)
    if s.p.sending == op and op.state == COMPLETION_IDLE and not bev.finalizing:
        ssl_write_output_(s)
    leave(s)


cdef void go_over(bufferevent_ssl *s) noexcept nogil:
    """An open connection's bytes are the port's matter from now on."""
    cdef bufferevent *bev = &s.p.bev
    cdef bint reading = bev.ev_read.evcb.flags & ACTIVE != 0
    cdef bint writing = bev.ev_write.evcb.flags & PENDING != 0
    s.goes_over = False
    if not ssl_may_go_over_(s) or ssl_go_over_(s, ssl_received, ssl_sent) < 0:
        return
    event_del(&bev.ev_read)
    event_del(&bev.ev_write)
    assign_events(bev, bev.ev_read.fd, False)
    if s.ended == SSL_DONE and not s.eof and ssl_can_read(bev):
        ssl_start_reading_(s)
    if reading:
        ssl_soon_(&bev.ev_read, EV_READ)
    if writing:
        ssl_soon_(&bev.ev_write, EV_WRITE)


cdef void come_back(bufferevent_ssl *s) noexcept nogil:
    """To readiness, for good."""
    cdef bufferevent *bev = &s.p.bev
    watch_descriptor(s, bev.ev_read.fd)
    if s.ended == SSL_DONE and not s.eof and (ssl_can_read(bev) or s.write_blocked_on_read):
        ssl_start_reading_(s)
        if ssl_has_input_(s):
            ssl_soon_(&bev.ev_read, EV_READ)
    if ssl_wire_length_(s) or s.finishing or (bev.output.total_len and ssl_can_write(bev)):
        ssl_soon_(&bev.ev_write, EV_WRITE)


# --- the underlying bufferevent's callbacks ---------------------------------------------------------

cdef void underlying_readable(bufferevent *underlying, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    if not upcast(bev).failed:
        ssl_soon_(&bev.ev_read, EV_READ)


cdef void underlying_writable(bufferevent *underlying, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_ssl *s = upcast(bev)
    if not s.failed and (ssl_wire_length_(s) or bev.output.total_len):
        ssl_soon_(&bev.ev_write, EV_WRITE)


cdef void underlying_event(bufferevent *underlying, short what, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_ssl *s = upcast(bev)
    cdef int code = errno
    BEV_LOCK(bev)
    s.p.refcnt += 1
    if s.failed:
        pass
    elif what & BEV_EVENT_EOF and not what & BEV_EVENT_WRITING:
        # What came before is still to be read; then the SSL says whether this was the time to end.
        s.eof = True
        openssl_().BIO_set_mem_eof_return(s.rbio, 0)
        ssl_soon_(&bev.ev_read, EV_READ)
    elif what & (BEV_EVENT_EOF | BEV_EVENT_ERROR):
        s.failed = True
        s.ended = SSL_BROKEN
        set_errno(code)
        ssl_fail_(s, EV_READ | EV_WRITE, what)
    elif what & BEV_EVENT_TIMEOUT:
        # Not one of ours.
        set_errno(code)
        bufferevent_run_eventcb_(bev, what, 0)
    bufferevent_decref_and_unlock_(bev)


# --- the kind ---------------------------------------------------------------------------------------

cdef int ssl_enable(bufferevent *bev, short events) noexcept nogil:
    cdef bufferevent_ssl *s = upcast(bev)
    if s.failed and s.ended == SSL_DONE:
        return 0
    if s.state != BUFFEREVENT_SSL_OPEN:
        # The handshake needs neither permission. It is on its way if there is a way.
        if s.underlying != NULL or bev.ev_read.fd >= 0:
            if not s.p.connecting and not s.started:
                if not bev.ev_read.evcb.flags & (EVLIST_INSERTED | EVLIST_TIMEOUT) \
                        and ssl_start_reading_(s) < 0:
                    return -1
                ssl_soon_(&bev.ev_write, EV_WRITE)
        return 0
    if s.goes_over:
        go_over(s)
    if events & EV_READ:
        if s.ended == SSL_DONE and not s.eof and ssl_start_reading_(s) < 0:
            return -1
        if ssl_has_input_(s):
            ssl_soon_(&bev.ev_read, EV_READ)
    if events & EV_WRITE and not s.failed:
        if bev.ev_write.evcb.flags & EVLIST_INSERTED or ssl_is_leaving(s):
            return ssl_watch_(&bev.ev_write, &bev.timeout_write)
        if bev.output.total_len or ssl_wire_length_(s) or s.finishing:
            ssl_soon_(&bev.ev_write, EV_WRITE)
    return 0


cdef int ssl_disable(bufferevent *bev, short events) noexcept nogil:
    cdef bufferevent_ssl *s = upcast(bev)
    if s.state != BUFFEREVENT_SSL_OPEN and not s.failed:
        return 0
    if events & EV_READ and (s.failed or not s.write_blocked_on_read):
        ssl_stop_reading_(s)
    if not events & EV_WRITE:
        return 0
    if ssl_over_completions(s):
        ssl_stop_sending_(s)
    return event_del(&bev.ev_write)


cdef void push(bufferevent *under) noexcept nogil:
    """Sends what the underlying bufferevent has at once: it may be freed before the loop comes to it."""
    if not bufferevent_is_socket_(under):
        bufferevent_flush(under, EV_WRITE, BEV_FLUSH)
    elif under.output.total_len and under.ev_write.fd >= 0 and ssl_can_write(under):
        # What fails here fails again when the loop tries.
        under.output.freeze_start = False
        evbuffer_write(under.output, under.ev_write.fd)
        under.output.freeze_start = True


cdef void say_goodbye(bufferevent_ssl *s) noexcept nogil:
    """close_notify and what is before it, as far as they are taken at once."""
    cdef bufferevent *under = s.underlying
    cdef size_t n
    ssl_close_notify_(s)
    if s.failed or not s.finished:
        return
    if under == NULL:
        if s.p.bev.ev_write.fd >= 0:
            ssl_push_(s, s.p.bev.ev_write.fd, &n)
        return
    ssl_send_(s, -1, &n)
    push(under)


cdef void ssl_unlink(bufferevent *bev) noexcept nogil:
    cdef bufferevent_ssl *s = upcast(bev)
    cdef bufferevent *under = s.underlying
    if s.p.options & BEV_OPT_CLOSE_ON_FREE or s.polite:
        say_goodbye(s)
    if ssl_over_completions(s):
        # Until it is destroyed they may be running. A turn later it would have left, too.
        ssl_stop_receiving_(s)
        ssl_push_leaving_(s)
    if under == NULL:
        return
    if s.unlocked:
        BEV_UPCAST(under).options |= BEV_OPT_UNLOCK_CALLBACKS
    if under.errorcb == underlying_event and under.cbarg == bev:
        bufferevent_setcb(under, NULL, NULL, NULL, NULL)
    if not s.p.options & BEV_OPT_CLOSE_ON_FREE:
        bufferevent_unsuspend_read_(under, BEV_SUSPEND_FILT_READ)
    elif BEV_UPCAST(under).refcnt < 2:
        event_warnx_(b"bufferevent_openssl: the underlying bufferevent has too few references to be freed")
    else:
        # Our reference stays until the end.
        bufferevent_free(under)


cdef void ssl_destruct(bufferevent *bev) noexcept nogil:
    cdef bufferevent_ssl *s = upcast(bev)
    if s.underlying == NULL:
        # Before the descriptor is closed, or it stays open.
        ssl_come_back_(s)
        if s.p.options & BEV_OPT_CLOSE_ON_FREE and bev.ev_read.fd >= 0:
            ev_close_socket(bev.ev_read.fd)
        evbuffer_free(s.arrived)
    if s.release != NULL:
        s.release(s.release_arg)
    elif s.p.options & BEV_OPT_CLOSE_ON_FREE:
        openssl_().SSL_free(s.ssl)


cdef void write_at_once(bufferevent_ssl *s) noexcept nogil:
    """Who asks for it may be about to free it."""
    cdef bint pushed = True
    ssl_write_output_(s)
    while pushed and s.p.refcnt > 1 and ssl_over_completions(s) and s.leaving.total_len:
        pushed = ssl_push_leaving_(s)
        ssl_write_output_(s)


cdef int ssl_flush(bufferevent *bev, short iotype, bufferevent_flush_mode mode) noexcept nogil:
    cdef bufferevent_ssl *s = upcast(bev)
    if not iotype & EV_WRITE or mode == BEV_NORMAL:
        return 0
    bufferevent_incref_and_lock_(bev)
    if mode == BEV_FINISHED:
        s.finishing = True
    if s.state == BUFFEREVENT_SSL_OPEN and not s.failed and ssl_can_write(bev) \
            and (s.underlying != NULL or bev.ev_write.fd >= 0):
        write_at_once(s)
        if s.underlying != NULL and s.p.refcnt > 1:
            push(s.underlying)
    bufferevent_decref_and_unlock_(bev)
    return 0


cdef int adjust(bufferevent_ssl *s, event *ev, const timeval *tv, bint waiting) noexcept nogil:
    """Over an underlying bufferevent or completions: the timeout while something is waited for."""
    if waiting and (tv.tv_sec or tv.tv_usec):
        return event_add(ev, tv)
    return event_remove_timer(ev)


cdef int ssl_adj_timeouts(bufferevent *bev) noexcept nogil:
    cdef bufferevent_ssl *s = upcast(bev)
    cdef bint open = s.state == BUFFEREVENT_SSL_OPEN
    cdef bint sending
    cdef int read_result
    cdef int write_result
    if s.underlying == NULL and not ssl_over_completions(s):
        return bufferevent_adj_existing_timeouts_(bev)
    sending = open and ssl_can_write(bev) and (bev.output.total_len or ssl_wire_length_(s))
    read_result = adjust(s, &bev.ev_read, &bev.timeout_read, not s.failed and (not open or ssl_can_read(bev)))
    write_result = adjust(s, &bev.ev_write, &bev.timeout_write, not s.failed and sending)
    return -1 if read_result < 0 or write_result < 0 else 0


cdef void assign_events(bufferevent *bev, evutil_socket_t fd, bint watched) noexcept nogil:
    cdef int priority = bev.ev_read.evcb.priority
    cdef bint before = bev.ev_read.base != NULL
    # Those that are not watched are timers, that are made active by hand.
    event_assign(&bev.ev_read, bev.ev_base, fd,
                 EV_PERSIST | EV_FINALIZE | (EV_READ if watched else 0), ssl_readable, bev)
    event_assign(&bev.ev_write, bev.ev_base, fd,
                 EV_PERSIST | EV_FINALIZE | (EV_WRITE if watched else 0), ssl_writable, bev)
    if before:
        event_priority_set(&bev.ev_read, priority)
        event_priority_set(&bev.ev_write, priority)


cdef void watch_descriptor(bufferevent_ssl *s, evutil_socket_t fd) noexcept nogil:
    """By readiness, wherever its bytes have come from so far."""
    event_del(&s.p.bev.ev_read)
    event_del(&s.p.bev.ev_write)
    if ssl_over_completions(s):
        ssl_reclaim_(s)
        ssl_come_back_(s)
    assign_events(&s.p.bev, fd, fd >= 0)


cdef int set_descriptor(bufferevent_ssl *s, evutil_socket_t fd) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    if s.underlying != NULL:
        return bufferevent_setfd(s.underlying, fd)
    s.goes_over = True
    watch_descriptor(s, fd)
    if fd < 0:
        return 0
    if s.started and s.role != BUFFEREVENT_SSL_OPEN:
        # The SSL is half-way through a conversation with somebody else, and cannot be made new.
        set_errno(EALREADY)
        return -1
    s.failed = False
    return bufferevent_enable(bev, bev.enabled)


cdef int ssl_ctrl(bufferevent *bev, bufferevent_ctrl_op op, bufferevent_ctrl_data *data) noexcept nogil:
    cdef bufferevent_ssl *s = upcast(bev)
    if op == BEV_CTRL_SET_FD:
        return set_descriptor(s, data.fd)
    if op == BEV_CTRL_GET_FD:
        data.fd = bufferevent_getfd(s.underlying) if s.underlying != NULL else bev.ev_read.fd
        return 0
    if op == BEV_CTRL_GET_UNDERLYING:
        data.ptr = s.underlying
        return 0
    return -1


ssl_ops.type = b"ssl"
ssl_ops.mem_offset = 0
ssl_ops.enable = ssl_enable
ssl_ops.disable = ssl_disable
ssl_ops.unlink = ssl_unlink
ssl_ops.destruct = ssl_destruct
ssl_ops.adj_timeouts = ssl_adj_timeouts
ssl_ops.flush = ssl_flush
ssl_ops.ctrl = ssl_ctrl


# --- making one -------------------------------------------------------------------------------------

cdef bufferevent_ssl *make(event_base *base, bufferevent *underlying, ssl_st *ssl,
                           bufferevent_ssl_state state, int options) noexcept nogil:
    cdef bufferevent_ssl *s
    if openssl_() == NULL:
        event_warnx_(b"bufferevent_openssl: OpenSSL is not loaded; call cyevent.bufferevent.ssl_library.load()")
        set_errno(ENOSYS)
        return NULL
    if ssl == NULL or (state != BUFFEREVENT_SSL_OPEN and state != BUFFEREVENT_SSL_CONNECTING
                       and state != BUFFEREVENT_SSL_ACCEPTING):
        set_errno(EINVAL)
        return NULL
    s = <bufferevent_ssl *>mm_calloc(1, sizeof(bufferevent_ssl))
    if s == NULL:
        return NULL
    if bufferevent_init_common_(&s.p, base, &ssl_ops, options & ~BEV_OPT_THREADSAFE) < 0:
        mm_free(s)
        return NULL
    s.ssl = ssl
    s.state = state
    s.role = state
    s.underlying = underlying
    s.p.options = <unsigned char>options
    s.p.events_work = True
    s.arrived = underlying.input if underlying != NULL else evbuffer_new()
    if underlying != NULL:
        bufferevent_incref(underlying)
    evbuffer_attach_cb_(s.p.bev.output, &s.p.output_cb, output_changed, s)
    if s.arrived == NULL or ssl_attach_(s) < 0 \
            or ((options & BEV_OPT_THREADSAFE or (underlying != NULL and BEV_UPCAST(underlying).lock != NULL))
                and bufferevent_enable_locking_(&s.p.bev, NULL) < 0):
        # Freed as bufferevent_free() would, but nothing has been taken over.
        s.failed = True
        s.p.options &= ~BEV_OPT_CLOSE_ON_FREE
        bufferevent_free(&s.p.bev)
        return NULL
    if state == BUFFEREVENT_SSL_CONNECTING:
        openssl_().SSL_set_connect_state(ssl)
    elif state == BUFFEREVENT_SSL_ACCEPTING:
        openssl_().SSL_set_accept_state(ssl)
    s.p.bev.input.freeze_end = True
    s.p.bev.output.freeze_start = True
    return s


cdef bufferevent *bufferevent_openssl_socket_new(event_base *base, evutil_socket_t fd, ssl_st *ssl,
                                                 bufferevent_ssl_state state, int options) noexcept nogil:
    cdef bufferevent_ssl *s = make(base, NULL, ssl, state, options)
    if s == NULL:
        return NULL
    evbuffer_set_max_read(s.arrived, RECEIVE_MOST)
    s.goes_over = True
    assign_events(&s.p.bev, fd, fd >= 0)
    if fd >= 0:
        ssl_enable(&s.p.bev, EV_WRITE)
    return &s.p.bev


cdef bufferevent *bufferevent_openssl_filter_new(event_base *base, bufferevent *underlying, ssl_st *ssl,
                                                 bufferevent_ssl_state state, int options) noexcept nogil:
    cdef bufferevent_ssl *s
    if underlying == NULL:
        set_errno(EINVAL)
        return NULL
    s = make(base, underlying, ssl, state, options)
    if s == NULL:
        return NULL
    assign_events(&s.p.bev, -1, False)
    BEV_LOCK(underlying)
    # Only its lock keeps us alive in its callbacks.
    s.unlocked = BEV_UPCAST(underlying).options & BEV_OPT_UNLOCK_CALLBACKS != 0
    BEV_UPCAST(underlying).options &= ~BEV_OPT_UNLOCK_CALLBACKS
    bufferevent_setcb(underlying, underlying_readable, underlying_writable, underlying_event, s)
    bufferevent_setwatermark(underlying, EV_READ, 0, 0)
    if state == BUFFEREVENT_SSL_OPEN:
        bufferevent_suspend_read_(underlying, BEV_SUSPEND_FILT_READ)
    bufferevent_enable(underlying, EV_READ | EV_WRITE)
    if state != BUFFEREVENT_SSL_OPEN:
        ssl_enable(&s.p.bev, EV_WRITE)
    BEV_UNLOCK(underlying)
    return &s.p.bev


# --- asking it --------------------------------------------------------------------------------------

cdef bufferevent_ssl *bufferevent_ssl_upcast_(bufferevent *bev) noexcept nogil:
    return upcast(bev) if bev.be_ops == &ssl_ops else NULL


cdef void bufferevent_ssl_set_release_(bufferevent *bev, void (*release)(void *arg) noexcept nogil,
                                       void *arg) noexcept nogil:
    upcast(bev).release = release
    upcast(bev).release_arg = arg


cdef ssl_st *bufferevent_openssl_get_ssl(bufferevent *bev) noexcept nogil:
    return upcast(bev).ssl if bev.be_ops == &ssl_ops else NULL


cdef int bufferevent_ssl_renegotiate(bufferevent *bev) noexcept nogil:
    cdef bufferevent_ssl *s = upcast(bev)
    cdef const openssl_functions *lib = openssl_()
    cdef int result = -1
    if bev.be_ops != &ssl_ops:
        return -1
    BEV_LOCK(bev)
    if s.state == BUFFEREVENT_SSL_OPEN and not s.failed:
        lib.ERR_clear_error()
        if lib.SSL_renegotiate(s.ssl) == 1:
            # Says hello; the rest comes with the bytes that are read, among which may still be data.
            lib.SSL_do_handshake(s.ssl)
            s.renegotiating = True
            ssl_soon_(&bev.ev_write, EV_WRITE)
            result = 0
        lib.ERR_clear_error()
    BEV_UNLOCK(bev)
    return result


cdef unsigned long bufferevent_get_openssl_error(bufferevent *bev) noexcept nogil:
    cdef bufferevent_ssl *s = upcast(bev)
    cdef unsigned long code = 0
    if bev.be_ops != &ssl_ops:
        return 0
    BEV_LOCK(bev)
    if s.n_errors:
        s.n_errors -= 1
        code = s.errors[s.n_errors]
    BEV_UNLOCK(bev)
    return code


cdef uint64_t bufferevent_ssl_get_flags(bufferevent *bev) noexcept nogil:
    return upcast(bev).flags if bev.be_ops == &ssl_ops else ~<uint64_t>0


cdef uint64_t change_flags(bufferevent *bev, uint64_t clear, uint64_t set) noexcept nogil:
    cdef uint64_t before = ~<uint64_t>0
    if (set | clear) & KNOWN_FLAGS and bev.be_ops == &ssl_ops:
        BEV_LOCK(bev)
        before = upcast(bev).flags
        upcast(bev).flags = <unsigned char>((before & ~clear | set) & KNOWN_FLAGS)
        BEV_UNLOCK(bev)
    return before


cdef uint64_t bufferevent_ssl_set_flags(bufferevent *bev, uint64_t flags) noexcept nogil:
    return change_flags(bev, 0, flags)


cdef uint64_t bufferevent_ssl_clear_flags(bufferevent *bev, uint64_t flags) noexcept nogil:
    return change_flags(bev, flags, 0)


cdef int bufferevent_openssl_get_allow_dirty_shutdown(bufferevent *bev) noexcept nogil:
    if bev.be_ops != &ssl_ops:
        return -1
    return upcast(bev).flags & BUFFEREVENT_SSL_DIRTY_SHUTDOWN


cdef void bufferevent_openssl_set_allow_dirty_shutdown(bufferevent *bev,
                                                       int allow_dirty_shutdown) noexcept nogil:
    if allow_dirty_shutdown:
        change_flags(bev, 0, BUFFEREVENT_SSL_DIRTY_SHUTDOWN)
    else:
        change_flags(bev, BUFFEREVENT_SSL_DIRTY_SHUTDOWN, 0)
