"""How bytes and handshakes of TLS go on, and what they lead to: readiness waited for, callbacks called.

Facts:
- A handshake reads and writes whatever the user has enabled.
- Reading may make something to write (an alert, an answer to a key update), and before TLS 1.3 writing may
  have to wait for reading.
- What has arrived is no more seen by the backend. Reading that was stopped has to be taken up by ourselves.

The end: close_notify by the peer is BEV_EVENT_EOF, and one can still write. Anything else that ends the
connection ends both directions, for an SSL that failed cannot be used any more.
"""

from libc.errno cimport errno
from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.ratelimit cimport *
from cyevent.bufferevent.ssl cimport BUFFEREVENT_SSL_DIRTY_SHUTDOWN
from cyevent.bufferevent.ssl_completion cimport *
from cyevent.bufferevent.ssl_library cimport openssl_
from cyevent.bufferevent.ssl_records cimport *
from cyevent.bufferevent.ssl_records cimport bufferevent_ssl, ssl_outcome
from cyevent.bufferevent.types cimport *
from cyevent.core.event cimport event_active, event_add, event_del
from cyevent.core.queue cimport event_callback_activate_later_nolock_
from cyevent.core.sys cimport *
from cyevent.core.types cimport *
from cyevent.net.util cimport evutil_socket_finished_connecting_

cdef enum:
    ACTIVE = 0x28                  # EVLIST_ACTIVE | EVLIST_ACTIVE_LATER
    WRITE_AT_ONCE = 262144         # plaintext; then it is the others' turn
    READ_RECORDS_AT_ONCE = 131072


# --- waiting ----------------------------------------------------------------------------------------

cdef void ssl_again_(event *ev, short what) noexcept nogil:
    """Goes on in the next turn of the loop, after others had theirs."""
    if ev.evcb.flags & ACTIVE:
        return
    EVLOCK_LOCK(ev.base.lock)
    ev.res = what
    event_callback_activate_later_nolock_(ev.base, &ev.evcb)
    EVLOCK_UNLOCK(ev.base.lock)


cdef void ssl_soon_(event *ev, short what) noexcept nogil:
    """Goes on in this turn of the loop."""
    if not ev.evcb.flags & ACTIVE:
        event_active(ev, what, 1)


cdef int ssl_watch_(event *ev, const timeval *tv) noexcept nogil:
    """Waits for the socket; over an underlying bufferevent or completions, just for the timeout."""
    if ev.events & (EV_READ | EV_WRITE) or tv.tv_sec or tv.tv_usec:
        return bufferevent_add_event_(ev, tv)
    return 0


cdef int ssl_start_reading_(bufferevent_ssl *s) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    if s.underlying != NULL:
        bufferevent_unsuspend_read_(s.underlying, BEV_SUSPEND_FILT_READ)
    elif bev.ev_read.fd < 0:
        return 0
    elif ssl_over_completions(s) and ssl_start_receiving_(s) < 0:
        return -1
    return ssl_watch_(&bev.ev_read, &bev.timeout_read)


cdef void ssl_stop_reading_(bufferevent_ssl *s) noexcept nogil:
    if s.underlying != NULL:
        bufferevent_suspend_read_(s.underlying, BEV_SUSPEND_FILT_READ)
    elif ssl_over_completions(s):
        ssl_stop_receiving_(s)
    event_del(&s.p.bev.ev_read)


cdef void wait_for_room(bufferevent_ssl *s) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    if ssl_over_completions(s):
        ssl_await_room_(s)
    if not bev.ev_write.evcb.flags & (EVLIST_INSERTED | EVLIST_TIMEOUT):
        ssl_watch_(&bev.ev_write, &bev.timeout_write)


cdef void account(bufferevent_ssl *s) noexcept nogil:
    """Limits count what is on the wire, as in libevent. May suspend reading and writing."""
    if s.p.rate_limiting != NULL:
        if s.wire_in:
            bufferevent_decrement_read_buckets_(&s.p, <ssize_t>s.wire_in)
        if s.wire_out:
            bufferevent_decrement_write_buckets_(&s.p, <ssize_t>s.wire_out)
    s.wire_in = s.wire_out = 0


# --- ending -----------------------------------------------------------------------------------------

cdef void ssl_fail_(bufferevent_ssl *s, short directions, short what) noexcept nogil:
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
        ssl_push_(s, s.p.bev.ev_write.fd, &n)
    if outcome != SSL_BROKEN:
        set_errno(0)
    if outcome == SSL_CLOSED:
        ssl_fail_(s, EV_READ, direction | BEV_EVENT_EOF)
        return
    if outcome == SSL_CUT and s.flags & BUFFEREVENT_SSL_DIRTY_SHUTDOWN:
        s.n_errors = 0
        ssl_fail_(s, EV_READ | EV_WRITE, direction | BEV_EVENT_EOF)
        return
    s.failed = True
    s.ended = outcome
    ssl_fail_(s, EV_READ | EV_WRITE, direction | BEV_EVENT_ERROR)


# --- writing ----------------------------------------------------------------------------------------

cdef void ssl_write_output_(bufferevent_ssl *s) noexcept nogil:
    """Encrypts and sends until the output is empty, or no more is taken."""
    cdef bufferevent *bev = &s.p.bev
    cdef size_t left = <size_t>s.p.max_single_write if s.p.max_single_write else WRITE_AT_ONCE
    cdef ssize_t limit
    cdef size_t before
    cdef size_t sent
    cdef size_t total = 0
    cdef ssl_outcome outcome = SSL_DONE
    cdef ssl_outcome sealing = SSL_DONE
    cdef bint leaving
    if s.failed:
        return
    if s.p.rate_limiting != NULL and ssl_can_write(bev):
        limit = bufferevent_get_write_max_(&s.p)
        if limit < <ssize_t>left:
            left = <size_t>limit if limit > 0 else 0
    while True:
        # What the kernel has sent leaves the output before more is sealed.
        leaving = ssl_over_completions(s) and s.leaving.total_len != 0
        if not leaving and ssl_can_write(bev) and left and sealing == SSL_DONE \
                and s.state == BUFFEREVENT_SSL_OPEN:
            before = s.sealed
            sealing = ssl_seal_(s, left)
            left -= s.sealed - before
            if s.finishing and sealing == SSL_DONE and s.sealed == bev.output.total_len:
                ssl_close_notify_(s)
        outcome = ssl_send_(s, bev.ev_write.fd, &sent)
        total += sent
        if leaving and outcome == SSL_DONE:
            continue
        if outcome != SSL_DONE or sent == 0 or sealing != SSL_DONE or left == 0 \
                or bev.output.total_len == 0:
            break
    s.write_blocked_on_read = sealing == SSL_STARVED
    account(s)
    if outcome == SSL_BROKEN:
        ended(s, outcome, BEV_EVENT_WRITING)
        return
    if outcome == SSL_STUFFED:
        if ssl_can_write(bev):
            wait_for_room(s)
    else:
        if bev.ev_write.evcb.flags & (EVLIST_INSERTED | EVLIST_TIMEOUT):
            event_del(&bev.ev_write)
        if sealing == SSL_STARVED:
            ssl_start_reading_(s)
        elif sealing == SSL_DONE and left == 0 and bev.output.total_len and ssl_can_write(bev):
            # It is we who stopped.
            ssl_again_(&bev.ev_write, EV_WRITE)
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


cdef inline bint waits_for_room(bufferevent_ssl *s) noexcept nogil:
    return s.p.bev.ev_write.evcb.flags & EVLIST_INSERTED or ssl_is_leaving(s)


cdef void ssl_answer_(bufferevent_ssl *s) noexcept nogil:
    if s.state == BUFFEREVENT_SSL_OPEN and not s.failed and not waits_for_room(s) and ssl_wire_length_(s):
        ssl_soon_(&s.p.bev.ev_write, EV_WRITE)


cdef void check_renegotiation(bufferevent_ssl *s) noexcept nogil:
    if s.renegotiating and not openssl_().SSL_renegotiate_pending(s.ssl):
        s.renegotiating = False
        bufferevent_run_eventcb_(&s.p.bev, BEV_EVENT_CONNECTED, 0)


cdef void ssl_read_input_(bufferevent_ssl *s) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    cdef ssl_outcome outcome = SSL_DONE
    cdef size_t most
    cdef ssize_t wire = -1
    cdef size_t n = 0
    if s.write_blocked_on_read and not ssl_can_read(bev):
        # What the peer has to say first is no data.
        most = 1
    elif not ssl_can_read(bev):
        return
    else:
        most = read_limit(bev)
        if most == 0:
            return
    if s.ended == SSL_DONE:
        if s.underlying == NULL and not s.eof and ssl_is_used_up_(s):
            if s.p.rate_limiting != NULL:
                wire = bufferevent_get_read_max_(&s.p)
                if s.p.read_suspended:
                    return
            if ssl_receive_(s, bev.ev_read.fd, wire) == SSL_BROKEN and ssl_is_used_up_(s):
                s.ended = SSL_BROKEN
                s.p.errno_pending = <short>errno
        if s.ended == SSL_DONE:
            outcome = ssl_open_records_(s, most, &n)
            if s.write_blocked_on_read and not waits_for_room(s):
                ssl_soon_(&bev.ev_write, EV_WRITE)
    account(s)
    if n and (s.underlying != NULL or ssl_over_completions(s)) and bev.ev_read.evcb.flags & EVLIST_TIMEOUT:
        event_add(&bev.ev_read, &bev.timeout_read)
    if n:
        bufferevent_trigger_nolock_(bev, EV_READ, 0)
    if s.p.refcnt == 1:
        # The callback freed it; only our own reference is left.
        return
    check_renegotiation(s)
    if ssl_over_completions(s) and s.ended == SSL_DONE and not s.eof \
            and (ssl_can_read(bev) or s.write_blocked_on_read):
        ssl_start_receiving_(s)
    if outcome == SSL_DONE and s.ended == SSL_DONE:
        if ssl_can_read(bev) and ssl_has_input_(s):
            ssl_again_(&bev.ev_read, EV_READ)
        return
    if s.ended != SSL_DONE and ssl_can_read(bev):
        set_errno(s.p.errno_pending)
        ended(s, s.ended, BEV_EVENT_READING)


# --- the handshake ----------------------------------------------------------------------------------

cdef void opened(bufferevent_ssl *s) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    s.state = BUFFEREVENT_SSL_OPEN
    if not ssl_can_read(bev):
        ssl_stop_reading_(s)
    elif ssl_has_input_(s):
        ssl_soon_(&bev.ev_read, EV_READ)
    if bev.ev_write.evcb.flags & (EVLIST_INSERTED | EVLIST_TIMEOUT):
        event_del(&bev.ev_write)
    set_errno(0)
    bufferevent_run_eventcb_(bev, BEV_EVENT_CONNECTED, 0)
    if s.p.refcnt > 1 and (s.finishing or ssl_wire_length_(s) or (bev.output.total_len and ssl_can_write(bev))):
        ssl_soon_(&bev.ev_write, EV_WRITE)


cdef void ssl_shake_hands_(bufferevent_ssl *s, bint readable) noexcept nogil:
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
            # A peer that has gone does not want our last words (tickets, say), but may have sent its own.
            ssl_discard_(s)
        opened(s)
    elif outcome > SSL_STUFFED:
        ended(s, outcome, BEV_EVENT_READING)
    elif sending == SSL_BROKEN:
        ended(s, sending, BEV_EVENT_READING)
    else:
        if not bev.ev_read.evcb.flags & (EVLIST_INSERTED | EVLIST_TIMEOUT):
            ssl_start_reading_(s)
        if sending == SSL_STUFFED:
            wait_for_room(s)
        elif bev.ev_write.evcb.flags & (EVLIST_INSERTED | EVLIST_TIMEOUT):
            event_del(&bev.ev_write)


cdef bint ssl_connected_(bufferevent_ssl *s) noexcept nogil:
    """Whether the socket is; if it failed, the event callback has heard."""
    cdef bufferevent *bev = &s.p.bev
    cdef int outcome
    if not s.p.connecting:
        return True
    outcome = evutil_socket_finished_connecting_(bev.ev_write.fd)
    if outcome == 0:
        return False
    s.p.connecting = False
    if outcome < 0:
        s.failed = True
        ssl_fail_(s, EV_READ | EV_WRITE, BEV_EVENT_ERROR)
        return False
    return True
