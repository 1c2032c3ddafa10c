"""Bufferevents that speak TLS: when records are read and written, and what the event callback is told.

Facts:
- A handshake reads and writes whatever the user has enabled, and takes a millisecond of computing.
- A callback of Python's (verification, SNI) takes the GIL for itself; so the handshake must run without it, or
  it would be kept from everybody for that time.
- Reading may make something to write (an alert, an answer to a key update), and before TLS 1.3 writing may
  have to wait for reading.
- What has arrived is no more seen by the backend. Reading that was stopped has to be taken up by ourselves.

Decision: everything runs in callbacks of ev_read and ev_write. A socket's readiness makes them active; so does
an underlying bufferevent's callback, and whatever has to go on without either. The handshake gives up the GIL
first: the loop calls these callbacks, so nothing is on the stack that relies on it.

The end: close_notify by the peer is BEV_EVENT_EOF, and one can still write. Anything else that ends the
connection ends both directions, for an SSL that failed cannot be used any more.
"""

from libc.errno cimport errno
from cyevent.buffer.callbacks cimport evbuffer_add_cb
from cyevent.buffer.evbuffer cimport evbuffer_free, evbuffer_new, evbuffer_set_max_read
from cyevent.buffer.io cimport evbuffer_write
from cyevent.buffer.types cimport evbuffer, evbuffer_cb_info
from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.ratelimit cimport *
from cyevent.bufferevent.socket cimport bufferevent_is_socket_
from cyevent.bufferevent.ssl_library cimport *
from cyevent.bufferevent.ssl_library cimport openssl_functions
from cyevent.bufferevent.ssl_records cimport *
from cyevent.bufferevent.ssl_records cimport bufferevent_ssl, bufferevent_ssl_state, ssl_outcome
from cyevent.bufferevent.types cimport *
from cyevent.core.event cimport (
    event_active, event_add, event_assign, event_del, event_priority_set, event_remove_timer,
)
from cyevent.core.log cimport event_warnx_
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.queue cimport event_callback_activate_later_nolock_
from cyevent.core.sys cimport *
from cyevent.core.types cimport *
from cyevent.net.sys cimport getpeername
from cyevent.net.util cimport evutil_socket_finished_connecting_

cdef enum:
    PENDING = 0x2a                 # EVLIST_INSERTED | EVLIST_ACTIVE | EVLIST_ACTIVE_LATER
    ACTIVE = 0x28                  # EVLIST_ACTIVE | EVLIST_ACTIVE_LATER
    KNOWN_FLAGS = 3                # BUFFEREVENT_SSL_*
    WRITE_AT_ONCE = 262144         # plaintext; then it is the others' turn
    READ_RECORDS_AT_ONCE = 131072

cdef bufferevent_ops ssl_ops


cdef inline bufferevent_ssl *upcast(bufferevent *bev) noexcept nogil:
    return <bufferevent_ssl *>bev


cdef inline bint can_read(bufferevent *bev) noexcept nogil:
    return bev.enabled & EV_READ and not BEV_UPCAST(bev).read_suspended


cdef inline bint can_write(bufferevent *bev) noexcept nogil:
    return bev.enabled & EV_WRITE and not BEV_UPCAST(bev).write_suspended


# --- waiting ----------------------------------------------------------------------------------------

cdef void again(event *ev, short what) noexcept nogil:
    """Goes on in the next turn of the loop, after others had theirs."""
    if ev.evcb.flags & ACTIVE:
        return
    EVLOCK_LOCK(ev.base.lock)
    ev.res = what
    event_callback_activate_later_nolock_(ev.base, &ev.evcb)
    EVLOCK_UNLOCK(ev.base.lock)


cdef inline void soon(event *ev, short what) noexcept nogil:
    """Goes on in this turn of the loop."""
    if not ev.evcb.flags & ACTIVE:
        event_active(ev, what, 1)


cdef int watch(event *ev, const timeval *tv) noexcept nogil:
    """Waits for the socket; over an underlying bufferevent, just for the timeout."""
    if ev.events & (EV_READ | EV_WRITE) or tv.tv_sec or tv.tv_usec:
        return bufferevent_add_event_(ev, tv)
    return 0


cdef int start_reading(bufferevent_ssl *s) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    if s.underlying != NULL:
        bufferevent_unsuspend_read_(s.underlying, BEV_SUSPEND_FILT_READ)
    elif bev.ev_read.fd < 0:
        return 0
    return watch(&bev.ev_read, &bev.timeout_read)


cdef void stop_reading(bufferevent_ssl *s) noexcept nogil:
    if s.underlying != NULL:
        bufferevent_suspend_read_(s.underlying, BEV_SUSPEND_FILT_READ)
    event_del(&s.p.bev.ev_read)


cdef void wait_for_room(bufferevent_ssl *s) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    if not bev.ev_write.evcb.flags & (EVLIST_INSERTED | EVLIST_TIMEOUT):
        watch(&bev.ev_write, &bev.timeout_write)


cdef void account(bufferevent_ssl *s) noexcept nogil:
    """Limits count what is on the wire, as in libevent. May suspend reading and writing."""
    if s.p.rate_limiting != NULL:
        if s.wire_in:
            bufferevent_decrement_read_buckets_(&s.p, <ssize_t>s.wire_in)
        if s.wire_out:
            bufferevent_decrement_write_buckets_(&s.p, <ssize_t>s.wire_out)
    s.wire_in = s.wire_out = 0


# --- ending -----------------------------------------------------------------------------------------

cdef void fail(bufferevent_ssl *s, short directions, short what) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    cdef int code = errno
    bufferevent_disable(bev, directions)
    set_errno(code)
    bufferevent_run_eventcb_(bev, what, 0)


cdef void ended(bufferevent_ssl *s, ssl_outcome outcome, short direction) noexcept nogil:
    """Tells of an outcome that leaves nothing more to do in a direction; direction: BEV_EVENT_*."""
    cdef size_t n
    if outcome == SSL_FAILED:
        # The alert that tells the peer why.
        ssl_send_(s, s.p.bev.ev_write.fd, &n)
    if outcome != SSL_BROKEN:
        set_errno(0)
    if outcome == SSL_CLOSED:
        fail(s, EV_READ, direction | BEV_EVENT_EOF)
        return
    if outcome == SSL_CUT and s.flags & BUFFEREVENT_SSL_DIRTY_SHUTDOWN:
        s.n_errors = 0
        fail(s, EV_READ | EV_WRITE, direction | BEV_EVENT_EOF)
        return
    s.failed = True
    s.ended = outcome
    fail(s, EV_READ | EV_WRITE, direction | BEV_EVENT_ERROR)


# --- writing ----------------------------------------------------------------------------------------

cdef void output_changed(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_ssl *s = upcast(bev)
    if info.n_added == 0 or s.state != BUFFEREVENT_SSL_OPEN or not can_write(bev) \
            or bev.ev_write.evcb.flags & PENDING or s.write_blocked_on_read or s.failed:
        return
    if s.p.in_callback:
        s.p.write_wanted = True
    else:
        event_active(&bev.ev_write, EV_WRITE, 1)


cdef void write_output(bufferevent_ssl *s) noexcept nogil:
    """Encrypts and sends until the output is empty, or no more is taken."""
    cdef bufferevent *bev = &s.p.bev
    cdef size_t left = <size_t>s.p.max_single_write if s.p.max_single_write else WRITE_AT_ONCE
    cdef ssize_t limit
    cdef size_t before
    cdef size_t sent
    cdef size_t total = 0
    cdef ssl_outcome outcome = SSL_DONE
    cdef ssl_outcome sealing = SSL_DONE
    if s.failed:
        return
    if s.p.rate_limiting != NULL and can_write(bev):
        limit = bufferevent_get_write_max_(&s.p)
        if limit < <ssize_t>left:
            left = <size_t>limit if limit > 0 else 0
    while True:
        if can_write(bev) and left and sealing == SSL_DONE and s.state == BUFFEREVENT_SSL_OPEN:
            before = s.sealed
            sealing = ssl_seal_(s, left)
            left -= s.sealed - before
            if s.finishing and sealing == SSL_DONE and s.sealed == bev.output.total_len:
                ssl_close_notify_(s)
        outcome = ssl_send_(s, bev.ev_write.fd, &sent)
        total += sent
        if outcome != SSL_DONE or sent == 0 or sealing != SSL_DONE or left == 0 \
                or bev.output.total_len == 0:
            break
    s.write_blocked_on_read = sealing == SSL_STARVED
    account(s)
    if outcome == SSL_BROKEN:
        ended(s, outcome, BEV_EVENT_WRITING)
        return
    if outcome == SSL_STUFFED:
        if can_write(bev):
            wait_for_room(s)
    else:
        if bev.ev_write.evcb.flags & (EVLIST_INSERTED | EVLIST_TIMEOUT):
            event_del(&bev.ev_write)
        if sealing == SSL_STARVED:
            start_reading(s)
        elif sealing == SSL_DONE and left == 0 and bev.output.total_len and can_write(bev):
            # It is we who stopped.
            again(&bev.ev_write, EV_WRITE)
    if total:
        bufferevent_trigger_nolock_(bev, EV_WRITE, 0)
    if sealing > SSL_STUFFED and s.p.refcnt > 1:
        ended(s, sealing, BEV_EVENT_WRITING)


# --- reading ----------------------------------------------------------------------------------------

cdef size_t read_limit(bufferevent *bev) noexcept nogil:
    cdef size_t most = READ_RECORDS_AT_ONCE
    if BEV_UPCAST(bev).max_single_read:
        most = <size_t>BEV_UPCAST(bev).max_single_read
    if bev.wm_read.high:
        if bev.input.total_len >= bev.wm_read.high:
            # The mark was lowered.
            bufferevent_suspend_read_(bev, BEV_SUSPEND_WM)
            return 0
        if bev.wm_read.high - bev.input.total_len < most:
            most = bev.wm_read.high - bev.input.total_len
    return most


cdef void check_renegotiation(bufferevent_ssl *s) noexcept nogil:
    if s.renegotiating and not openssl_().SSL_renegotiate_pending(s.ssl):
        s.renegotiating = False
        bufferevent_run_eventcb_(&s.p.bev, BEV_EVENT_CONNECTED, 0)


cdef void read_input(bufferevent_ssl *s) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    cdef ssl_outcome outcome = SSL_DONE
    cdef size_t most
    cdef ssize_t wire = -1
    cdef size_t n = 0
    if s.write_blocked_on_read and not can_read(bev):
        # What the peer has to say first is no data.
        most = 1
    elif not can_read(bev):
        return
    else:
        most = read_limit(bev)
        if most == 0:
            return
    if s.ended == SSL_DONE:
        if s.underlying == NULL and s.arrived.total_len == 0 and not s.eof:
            if s.p.rate_limiting != NULL:
                wire = bufferevent_get_read_max_(&s.p)
                if s.p.read_suspended:
                    return
            if ssl_receive_(s, bev.ev_read.fd, wire) == SSL_BROKEN and s.arrived.total_len == 0:
                s.ended = SSL_BROKEN
                s.p.errno_pending = errno
        if s.ended == SSL_DONE:
            outcome = ssl_open_records_(s, most, &n)
            if s.state == BUFFEREVENT_SSL_OPEN and not bev.ev_write.evcb.flags & EVLIST_INSERTED \
                    and (s.write_blocked_on_read or ssl_wire_length_(s)):
                soon(&bev.ev_write, EV_WRITE)
    account(s)
    if n and s.underlying != NULL and bev.ev_read.evcb.flags & EVLIST_TIMEOUT:
        event_add(&bev.ev_read, &bev.timeout_read)
    if n:
        bufferevent_trigger_nolock_(bev, EV_READ, 0)
    if s.p.refcnt == 1:
        # The callback freed it; only our own reference is left.
        return
    check_renegotiation(s)
    if outcome == SSL_DONE and s.ended == SSL_DONE:
        if can_read(bev) and ssl_has_input_(s):
            again(&bev.ev_read, EV_READ)
        return
    if s.ended != SSL_DONE and can_read(bev):
        set_errno(s.p.errno_pending)
        ended(s, s.ended, BEV_EVENT_READING)


# --- the handshake ----------------------------------------------------------------------------------

cdef void opened(bufferevent_ssl *s) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    s.state = BUFFEREVENT_SSL_OPEN
    if not can_read(bev):
        stop_reading(s)
    elif ssl_has_input_(s):
        soon(&bev.ev_read, EV_READ)
    if bev.ev_write.evcb.flags & (EVLIST_INSERTED | EVLIST_TIMEOUT):
        event_del(&bev.ev_write)
    set_errno(0)
    bufferevent_run_eventcb_(bev, BEV_EVENT_CONNECTED, 0)
    if s.p.refcnt > 1 and (s.finishing or ssl_wire_length_(s) or (bev.output.total_len and can_write(bev))):
        soon(&bev.ev_write, EV_WRITE)


cdef void handshake(bufferevent_ssl *s, bint readable) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    cdef ssl_outcome outcome
    cdef ssl_outcome sending
    cdef size_t n
    if s.failed:
        return
    if readable and s.underlying == NULL and not s.eof and ssl_receive_(s, bev.ev_read.fd, -1) == SSL_BROKEN:
        ended(s, SSL_BROKEN, BEV_EVENT_READING)
        return
    outcome = ssl_handshake_(s)
    sending = ssl_send_(s, bev.ev_write.fd, &n)
    account(s)
    if outcome == SSL_DONE:
        if sending == SSL_BROKEN:
            # A peer that has gone does not want our last words (tickets, say), but may have sent its own before.
            ssl_discard_(s)
        opened(s)
    elif outcome > SSL_STUFFED:
        ended(s, outcome, BEV_EVENT_READING)
    elif sending == SSL_BROKEN:
        ended(s, sending, BEV_EVENT_READING)
    else:
        if not bev.ev_read.evcb.flags & (EVLIST_INSERTED | EVLIST_TIMEOUT):
            start_reading(s)
        if sending == SSL_STUFFED:
            wait_for_room(s)
        elif bev.ev_write.evcb.flags & (EVLIST_INSERTED | EVLIST_TIMEOUT):
            event_del(&bev.ev_write)


cdef bint connected(bufferevent_ssl *s) noexcept nogil:
    """Whether the socket is; if it failed, the event callback has heard."""
    cdef bufferevent *bev = &s.p.bev
    cdef ev_socklen_t length = sizeof(s.p.conn_address)
    cdef int outcome
    if not s.p.connecting:
        return True
    outcome = evutil_socket_finished_connecting_(bev.ev_write.fd)
    if outcome == 0:
        return False
    s.p.connecting = False
    if outcome < 0:
        s.failed = True
        fail(s, EV_READ | EV_WRITE, BEV_EVENT_ERROR)
        return False
    getpeername(bev.ev_write.fd, <sockaddr *>&s.p.conn_address, &length)
    return True


# --- the loop's callbacks ---------------------------------------------------------------------------

cdef void enter(bufferevent_ssl *s) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    if s.state != BUFFEREVENT_SSL_OPEN and bev.ev_base.before_wait != NULL:
        bev.ev_base.before_wait(bev.ev_base.binding)
    bufferevent_lock_in_loop_(bev)
    s.p.refcnt += 1
    s.p.in_callback = True


cdef void leave(bufferevent_ssl *s) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    # Unless the callback freed it: only our own reference is left then.
    if s.p.write_wanted and s.p.refcnt > 1:
        s.p.write_wanted = False
        if not bev.ev_write.evcb.flags & PENDING and bev.output.total_len and can_write(bev):
            write_output(s)
        if s.p.write_wanted and s.p.refcnt > 1 and can_write(bev) \
                and not bev.ev_write.evcb.flags & PENDING:
            # By the write callback, which must not keep the loop from others.
            again(&bev.ev_write, EV_WRITE)
    s.p.write_wanted = False
    s.p.in_callback = False
    bufferevent_decref_and_unlock_(bev)


cdef void timed_out(bufferevent_ssl *s, short direction, short what) noexcept nogil:
    if s.state == BUFFEREVENT_SSL_OPEN:
        fail(s, direction, what | BEV_EVENT_TIMEOUT)
        return
    s.failed = True
    if s.underlying == NULL:
        # As in libevent: it is the handshake as a whole that took too long.
        what = 0
    fail(s, EV_READ | EV_WRITE, what | BEV_EVENT_TIMEOUT)


cdef void ssl_readable(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_ssl *s = upcast(bev)
    enter(s)
    if what == EV_TIMEOUT:
        set_errno(ETIMEDOUT)
        timed_out(s, EV_READ, BEV_EVENT_READING)
    elif s.state == BUFFEREVENT_SSL_OPEN:
        read_input(s)
    elif connected(s):
        handshake(s, True)
    leave(s)


cdef void ssl_writable(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_ssl *s = upcast(bev)
    enter(s)
    if what == EV_TIMEOUT:
        set_errno(ETIMEDOUT)
        timed_out(s, EV_WRITE, BEV_EVENT_WRITING)
    elif s.state == BUFFEREVENT_SSL_OPEN:
        write_output(s)
    elif connected(s):
        handshake(s, False)
    leave(s)


# --- the underlying bufferevent's callbacks ---------------------------------------------------------

cdef void underlying_readable(bufferevent *underlying, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    if not upcast(bev).failed:
        soon(&bev.ev_read, EV_READ)


cdef void underlying_writable(bufferevent *underlying, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_ssl *s = upcast(bev)
    if not s.failed and (ssl_wire_length_(s) or bev.output.total_len):
        soon(&bev.ev_write, EV_WRITE)


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
        soon(&bev.ev_read, EV_READ)
    elif what & (BEV_EVENT_EOF | BEV_EVENT_ERROR):
        s.failed = True
        s.ended = SSL_BROKEN
        set_errno(code)
        fail(s, EV_READ | EV_WRITE, what)
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
                if not bev.ev_read.evcb.flags & (EVLIST_INSERTED | EVLIST_TIMEOUT) and start_reading(s) < 0:
                    return -1
                soon(&bev.ev_write, EV_WRITE)
        return 0
    if events & EV_READ:
        if s.ended == SSL_DONE and not s.eof and start_reading(s) < 0:
            return -1
        if ssl_has_input_(s):
            soon(&bev.ev_read, EV_READ)
    if events & EV_WRITE and not s.failed:
        if bev.ev_write.evcb.flags & EVLIST_INSERTED:
            return watch(&bev.ev_write, &bev.timeout_write)
        if bev.output.total_len or ssl_wire_length_(s) or s.finishing:
            soon(&bev.ev_write, EV_WRITE)
    return 0


cdef int ssl_disable(bufferevent *bev, short events) noexcept nogil:
    cdef bufferevent_ssl *s = upcast(bev)
    if s.state != BUFFEREVENT_SSL_OPEN and not s.failed:
        return 0
    if events & EV_READ and (s.failed or not s.write_blocked_on_read):
        stop_reading(s)
    if events & EV_WRITE and event_del(&bev.ev_write) < 0:
        return -1
    return 0


cdef void push(bufferevent *under) noexcept nogil:
    """Sends what the underlying bufferevent has at once: it may be freed before the loop comes to it."""
    if not bufferevent_is_socket_(under):
        bufferevent_flush(under, EV_WRITE, BEV_FLUSH)
    elif under.output.total_len and under.ev_write.fd >= 0 and can_write(under):
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
            ssl_send_(s, s.p.bev.ev_write.fd, &n)
        return
    ssl_send_(s, -1, &n)
    push(under)


cdef void ssl_unlink(bufferevent *bev) noexcept nogil:
    cdef bufferevent_ssl *s = upcast(bev)
    cdef bufferevent *under = s.underlying
    if s.p.options & BEV_OPT_CLOSE_ON_FREE or s.polite:
        say_goodbye(s)
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
        if s.p.options & BEV_OPT_CLOSE_ON_FREE and bev.ev_read.fd >= 0:
            close(bev.ev_read.fd)
        evbuffer_free(s.arrived)
    if s.release != NULL:
        s.release(s.release_arg)
    elif s.p.options & BEV_OPT_CLOSE_ON_FREE:
        openssl_().SSL_free(s.ssl)


cdef int ssl_flush(bufferevent *bev, short iotype, bufferevent_flush_mode mode) noexcept nogil:
    cdef bufferevent_ssl *s = upcast(bev)
    if not iotype & EV_WRITE or mode == BEV_NORMAL:
        return 0
    bufferevent_incref_and_lock_(bev)
    if mode == BEV_FINISHED:
        s.finishing = True
    if s.state == BUFFEREVENT_SSL_OPEN and not s.failed and can_write(bev) \
            and (s.underlying != NULL or bev.ev_write.fd >= 0):
        write_output(s)
        if s.underlying != NULL and s.p.refcnt > 1:
            push(s.underlying)
    bufferevent_decref_and_unlock_(bev)
    return 0


cdef int adjust(bufferevent_ssl *s, event *ev, const timeval *tv, bint waiting) noexcept nogil:
    """Over an underlying bufferevent: the timeout while something is waited for."""
    if waiting and (tv.tv_sec or tv.tv_usec):
        return event_add(ev, tv)
    return event_remove_timer(ev)


cdef int ssl_adj_timeouts(bufferevent *bev) noexcept nogil:
    cdef bufferevent_ssl *s = upcast(bev)
    cdef bint open = s.state == BUFFEREVENT_SSL_OPEN
    cdef bint sending
    cdef int read_result
    cdef int write_result
    if s.underlying == NULL:
        return bufferevent_adj_existing_timeouts_(bev)
    sending = open and can_write(bev) and (bev.output.total_len or ssl_wire_length_(s))
    read_result = adjust(s, &bev.ev_read, &bev.timeout_read, not s.failed and (not open or can_read(bev)))
    write_result = adjust(s, &bev.ev_write, &bev.timeout_write, not s.failed and sending)
    return -1 if read_result < 0 or write_result < 0 else 0


cdef void assign_events(bufferevent *bev, evutil_socket_t fd) noexcept nogil:
    cdef int priority = bev.ev_read.evcb.priority
    cdef bint before = bev.ev_read.base != NULL
    # Without a descriptor they are timers, that are made active by hand.
    event_assign(&bev.ev_read, bev.ev_base, fd,
                 EV_PERSIST | EV_FINALIZE | (EV_READ if fd >= 0 else 0), ssl_readable, bev)
    event_assign(&bev.ev_write, bev.ev_base, fd,
                 EV_PERSIST | EV_FINALIZE | (EV_WRITE if fd >= 0 else 0), ssl_writable, bev)
    if before:
        event_priority_set(&bev.ev_read, priority)
        event_priority_set(&bev.ev_write, priority)


cdef int set_descriptor(bufferevent_ssl *s, evutil_socket_t fd) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    if s.underlying != NULL:
        return bufferevent_setfd(s.underlying, fd)
    event_del(&bev.ev_read)
    event_del(&bev.ev_write)
    assign_events(bev, fd)
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

cdef bufferevent_ssl *make(event_base *base, bufferevent *underlying, void *ssl,
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
    s.p.options = options
    s.arrived = underlying.input if underlying != NULL else evbuffer_new()
    if underlying != NULL:
        bufferevent_incref(underlying)
    if s.arrived == NULL or ssl_attach_(s) < 0 \
            or evbuffer_add_cb(s.p.bev.output, output_changed, s) == NULL \
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


cdef bufferevent *bufferevent_openssl_socket_new(event_base *base, evutil_socket_t fd, void *ssl,
                                                 bufferevent_ssl_state state, int options) noexcept nogil:
    cdef bufferevent_ssl *s = make(base, NULL, ssl, state, options)
    if s == NULL:
        return NULL
    evbuffer_set_max_read(s.arrived, READ_RECORDS_AT_ONCE)
    assign_events(&s.p.bev, fd)
    if fd >= 0:
        ssl_enable(&s.p.bev, EV_WRITE)
    return &s.p.bev


cdef bufferevent *bufferevent_openssl_filter_new(event_base *base, bufferevent *underlying, void *ssl,
                                                 bufferevent_ssl_state state, int options) noexcept nogil:
    cdef bufferevent_ssl *s
    if underlying == NULL:
        set_errno(EINVAL)
        return NULL
    s = make(base, underlying, ssl, state, options)
    if s == NULL:
        return NULL
    assign_events(&s.p.bev, -1)
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


cdef void *bufferevent_openssl_get_ssl(bufferevent *bev) noexcept nogil:
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
            soon(&bev.ev_write, EV_WRITE)
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
