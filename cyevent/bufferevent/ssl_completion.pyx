"""TLS sockets over completions: how the ciphertext comes and goes, once the handshake is done.

Facts: a ring saves a system call for each recv() and send(), some per cent of what a small message costs over
TLS; a handshake costs a hundred times that.

What follows: connecting and the handshake are a matter of readiness, as ever, and an open connection goes over
to the port. Where each operation is begun by a call of its own (IOCP) nothing is to be won, and none goes over.

Receiving is as in completion.pyx: bytes as they come while nothing limits them; else the operation tells that
the socket is readable. A connection over which much comes at once goes back to readiness for good: its system
calls are as many either way, and those that only tell are saved. What was sealed for a send moves from wbio to
`leaving`, of which the kernel sends until nothing is left; then the next is sealed. In a turn in which little
has come it is written at once instead. `sealed` and the output are as if the socket took no more meanwhile.
"""

from cyevent.buffer.evbuffer cimport evbuffer_drain, evbuffer_free, evbuffer_new
from cyevent.buffer.io cimport evbuffer_write
from cyevent.bufferevent.ssl_records cimport bufferevent_ssl
from cyevent.bufferevent.types cimport bufferevent
from cyevent.completion.port cimport *
from cyevent.completion.port cimport completion, completion_port
from cyevent.core.sys cimport set_errno, EAGAIN
from cyevent.core.types cimport EVLIST_ACTIVE, EVLIST_ACTIVE_LATER
from cyevent.net.util cimport would_block

cdef extern from *:
    int ECANCELED

cdef enum:
    # ssl_receive_ doubles and halves it with what is read: above it, much comes at once.
    BULK = 8192
    MOST_AT_ONCE = 0x40000000


cdef inline completion_port *port_of(const bufferevent_ssl *s) noexcept nogil:
    return completion_port_of_(s.p.bev.ev_base)


cdef bint ssl_may_go_over_(bufferevent_ssl *s) noexcept nogil:
    cdef completion_port *port = port_of(s)
    return port != NULL and not port.begins_at_once and s.underlying == NULL and s.leaving == NULL \
        and s.p.bev.ev_read.fd >= 0 and not s.p.connecting and not s.failed


cdef int ssl_go_over_(bufferevent_ssl *s, completion_fn received, completion_fn sent) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    cdef int priority = bev.ev_read.evcb.priority
    s.p.receiving = completion_new_(port_of(s), COMPLETION_RECEIVE, priority, received, bev)
    s.p.sending = completion_new_(port_of(s), COMPLETION_SEND, priority, sent, bev)
    s.leaving = evbuffer_new()
    if s.p.receiving == NULL or s.p.sending == NULL or s.leaving == NULL:
        ssl_come_back_(s)
        return -1
    return 0


cdef bint ssl_had_better_come_back_(const bufferevent_ssl *s) noexcept nogil:
    return s.read_size > BULK and s.p.sending.state == COMPLETION_IDLE and not ssl_is_sending_(s) \
        and s.leaving.total_len == 0 and not s.failed


cdef void ssl_come_back_(bufferevent_ssl *s) noexcept nogil:
    completion_free_(s.p.receiving)
    completion_free_(s.p.sending)
    s.p.receiving = s.p.sending = NULL
    if s.leaving != NULL:
        evbuffer_free(s.leaving)
    s.leaving = NULL


# --- receiving --------------------------------------------------------------------------------------

cdef inline bint takes_bytes(bufferevent_ssl *s) noexcept nogil:
    """Whatever comes, as it comes."""
    return not s.p.bev.wm_read.high and s.p.rate_limiting == NULL and not s.p.max_single_read \
        and s.read_size <= BULK


cdef int ssl_start_receiving_(bufferevent_ssl *s) noexcept nogil:
    cdef completion *op = s.p.receiving
    cdef bint bytes = takes_bytes(s)
    if op.total or op.ended or op.readable:
        completion_wake_(op)
        return 0
    if op.state == COMPLETION_UNDER_WAY:
        if op.bytes == bytes:
            return 0
        completion_cancel_(op)
    return completion_receive_(op, s.p.bev.ev_read.fd, bytes)


cdef void ssl_stop_receiving_(bufferevent_ssl *s) noexcept nogil:
    completion_cancel_(s.p.receiving)


cdef ssize_t ssl_take_received_(bufferevent_ssl *s) noexcept nogil:
    cdef completion *op = s.p.receiving
    cdef ssize_t n
    if op.total:
        n = completion_take_(op, s.arrived, 0)
        if op.port.large and <size_t>n >= op.port.large and s.read_size <= BULK:
            s.read_size = 2 * BULK
        return n
    if op.readable:
        op.readable = False
        return -2
    if not op.ended:
        set_errno(EAGAIN)
        return -1
    op.ended = False
    if op.result == 0:
        return 0
    set_errno(<int>-op.result)
    return -1


# --- sending ----------------------------------------------------------------------------------------

cdef bint ssl_is_sending_(const bufferevent_ssl *s) noexcept nogil:
    """Under way, or over and its callback is still to come."""
    cdef const completion *op = s.p.sending
    return op.state == COMPLETION_UNDER_WAY or op.done.flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER)


cdef int take_away(bufferevent_ssl *s) noexcept nogil:
    """What was sent leaves `leaving`. -1 with errno when nothing more can be sent."""
    cdef completion *op = s.p.sending
    cdef ssize_t n = <ssize_t>op.result
    op.result = 0
    if n > 0 and op.kind != COMPLETION_WRITABLE:
        evbuffer_drain(s.leaving, <size_t>n)
    if n >= 0 or n == -ECANCELED or would_block(<int>-n):
        return 0
    set_errno(<int>-n)
    return -1


cdef ssl_sending ssl_go_on_sending_(bufferevent_ssl *s) noexcept nogil:
    cdef completion *op = s.p.sending
    if ssl_is_sending_(s):
        return SSL_SENDING
    if op.state == COMPLETION_CANCELLING:
        completion_await_(op)
        return SSL_SENDING
    if take_away(s) < 0:
        return SSL_UNSENT
    return ssl_give_(s) if s.leaving.total_len else SSL_SENT


cdef ssl_sending ssl_give_(bufferevent_ssl *s) noexcept nogil:
    if completion_send_(s.p.sending, s.p.bev.ev_write.fd, s.leaving, MOST_AT_ONCE) < 0:
        return SSL_UNSENT
    return SSL_SENDING


cdef bint ssl_sends_at_once_(bufferevent_ssl *s) noexcept nogil:
    return port_of(s).sparse


cdef int ssl_await_room_(bufferevent_ssl *s) noexcept nogil:
    if s.p.sending.state != COMPLETION_IDLE:
        return 0
    return completion_writable_(s.p.sending, s.p.bev.ev_write.fd)


cdef void ssl_stop_sending_(bufferevent_ssl *s) noexcept nogil:
    completion_cancel_(s.p.sending)
    if s.p.sending.state == COMPLETION_IDLE:
        take_away(s)


cdef bint ssl_push_leaving_(bufferevent_ssl *s) noexcept nogil:
    if s.p.sending.state == COMPLETION_UNDER_WAY and s.p.sending.kind == COMPLETION_WRITABLE:
        return False
    completion_cancel_(s.p.sending)
    # Else nobody knows how much of it has left.
    if s.p.sending.state != COMPLETION_IDLE or take_away(s) < 0:
        return False
    if s.leaving.total_len:
        # What fails here fails again when the loop tries.
        evbuffer_write(s.leaving, s.p.bev.ev_write.fd)
    return s.leaving.total_len == 0
