"""Socket bufferevents over completions: what socket.pyx does when told of readiness, done when told of bytes.

Facts: bytes arrive while nobody looks, in pieces of the kernel's choosing; a limit that is set meanwhile comes
too late for them. A send that is under way cannot be taken back, and nobody knows how much of it has left.

What follows: bytes are received as they come only while nothing limits them: no high watermark, no rate limit,
no largest read. Otherwise, and for sockets on which much comes at once, the operation only tells that the
socket is readable, and the bytes are read as socket.pyx reads them. What has come for one that does not read at
the moment stays with the operation. Reading begins when the socket is connected.

Output leaves with one call to the kernel for all bufferevents of a turn: it is queued when the loop's callback
returns. In a turn in which little has come it is written at once instead (port.sparse), and only what the
socket does not take is queued. What is queued stays at the output's front, held, until the kernel says how much
of it has left; disabling does not take it back.

ev_read and ev_write are timers here. ev_write is also made active, as in socket.pyx, when output has to leave
that was not added by a callback of the loop's.
"""

from libc.errno cimport errno
from cyevent.buffer.callbacks cimport evbuffer_remove_all_callbacks_
from cyevent.buffer.evbuffer cimport evbuffer_drain
from cyevent.buffer.types cimport evbuffer_chain, CHAIN_FILESEGMENT
from cyevent.buffer.io cimport evbuffer_read, evbuffer_write, evbuffer_write_atmost
from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.ratelimit cimport *
from cyevent.bufferevent.sockets cimport *
from cyevent.bufferevent.types cimport *
from cyevent.completion.port cimport *
from cyevent.completion.port cimport completion, completion_port
from cyevent.core.event cimport (
    event_active, event_add, event_del, event_remove_timer,
)
from cyevent.core.sys cimport *
from cyevent.core.types cimport *
from cyevent.net.sys cimport SOCK_CLOEXEC, SOCK_NONBLOCK
from cyevent.net.util cimport evutil_socket_, evutil_socket_finished_connecting_, would_block

cdef extern from *:
    int ECANCELED, ENOTSOCK

cdef enum:
    ACTIVE = 0x28              # EVLIST_ACTIVE | EVLIST_ACTIVE_LATER
    # buffer.io doubles and halves it with what is read: above it, much comes at once.
    BULK = 8192
    MOST_AT_ONCE = 0x40000000

cdef bufferevent_ops completion_socket_ops


cdef inline completion_port *port_of(bufferevent *bev) noexcept nogil:
    return completion_port_of_(bev.ev_base)


cdef inline bint is_set(const timeval *tv) noexcept nogil:
    return tv.tv_sec != 0 or tv.tv_usec != 0


cdef inline bint is_under_way(const completion *op) noexcept nogil:
    return op != NULL and op.state == COMPLETION_UNDER_WAY


cdef inline bint is_busy(const completion *op) noexcept nogil:
    """Under way, or over and nobody has taken away yet what it has sent."""
    return op != NULL and (op.state == COMPLETION_UNDER_WAY or op.done.flags & ACTIVE)


# --- writing ----------------------------------------------------------------------------------------

cdef bint make_sending(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if p.sending == NULL:
        p.sending = completion_new_(port_of(bev), COMPLETION_SEND, bev.ev_write.evcb.priority, send_done, bev)
    return p.sending != NULL


cdef int queue_output(bufferevent *bev, size_t most) noexcept nogil:
    """Has the kernel send from the front, or tell when that is possible."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if not make_sending(bev):
        return -1
    if is_set(&bev.timeout_write):
        event_add(&bev.ev_write, &bev.timeout_write)
    if bev.output.plain_fd:
        return completion_writable_(p.sending, bev.ev_write.fd)
    return completion_send_(p.sending, bev.ev_write.fd, bev.output, most)


cdef bint may_write(bufferevent *bev) noexcept nogil:
    """Also takes away what a cancelled send has sent, or waits to hear of it."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef completion *op = p.sending
    if not bev.enabled & EV_WRITE or p.write_suspended or p.connecting or bev.ev_write.fd < 0 or is_busy(op):
        return False
    if op == NULL:
        return True
    if op.state == COMPLETION_CANCELLING:
        completion_await_(op)
        return False
    settle(bev)
    return True


cdef void wrote(bufferevent *bev, ssize_t n, bint was_told) noexcept nogil:
    """n bytes have left. The rest follows; the user hears of it."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if n > 0 and p.rate_limiting != NULL:
        bufferevent_decrement_write_buckets_(p, n)
    if bev.output.total_len == 0 and not is_busy(p.sending):
        event_del(&bev.ev_write)
    if n > 0 or was_told:
        bufferevent_trigger_nolock_(bev, EV_WRITE, 0)


cdef inline bint is_file(const evbuffer_chain *chain) noexcept nogil:
    return chain != NULL and chain.flags & CHAIN_FILESEGMENT and chain.buffer == NULL


cdef inline bint holds_file(bufferevent *bev) noexcept nogil:
    """A file that the kernel had better send comes first, or behind its head."""
    cdef const evbuffer_chain *chain = bev.output.first
    return port_of(bev).sends_files and chain != NULL and (is_file(chain) or is_file(chain.next))


cdef void write_output(bufferevent *bev, bint was_told, bint at_once) noexcept nogil:
    """at_once: with a call of its own; the kernel gets what the socket does not take."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef ev_ssize_t most = p.max_single_write if p.max_single_write else MOST_AT_ONCE
    cdef int n = 0
    if bev.output.total_len == 0:
        wrote(bev, 0, was_told)
        return
    if p.rate_limiting != NULL:
        most = bufferevent_get_write_max_(p)
        if p.write_suspended:
            return
    if (at_once and not holds_file(bev)) or bev.output.plain_fd:
        bev.output.freeze_start = False
        n = evbuffer_write_atmost(bev.output, bev.ev_write.fd, most)
        bev.output.freeze_start = True
        if n < 0 and not would_block(errno):
            bufferevent_fail_(bev, EV_WRITE, BEV_EVENT_WRITING | BEV_EVENT_ERROR)
            return
        if n == 0:
            bufferevent_fail_(bev, EV_WRITE, BEV_EVENT_WRITING | BEV_EVENT_EOF)
            return
        if n > 0 and n == most and bev.output.total_len:
            # It is we who stopped, not the socket.
            bufferevent_write_later_(bev)
            wrote(bev, n, False)
            return
    if bev.output.total_len and queue_output(bev, most if n <= 0 else <size_t>MOST_AT_ONCE) < 0:
        bufferevent_fail_(bev, EV_WRITE, BEV_EVENT_WRITING | BEV_EVENT_ERROR)
        return
    if n > 0:
        wrote(bev, n, False)


cdef inline void write_wanted(bufferevent *bev) noexcept nogil:
    """Something was added in the callback that has just returned."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    p.write_wanted = False
    if not bev.output.total_len or not may_write(bev) or bev.ev_write.evcb.flags & ACTIVE:
        return
    p.in_callback = True
    write_output(bev, False, port_of(bev).sparse)
    p.in_callback = False
    if p.write_wanted:
        # By the write callback.
        p.write_wanted = False
        if not bev.ev_write.evcb.flags & ACTIVE and may_write(bev):
            bufferevent_write_later_(bev)


cdef int outcome_of_connecting(bufferevent *bev) noexcept nogil:
    """1; 0: not yet; -1 with errno."""
    cdef completion *op = BEV_UPCAST(bev).sending
    if op.kind != COMPLETION_CONNECT:
        return evutil_socket_finished_connecting_(bev.ev_write.fd)
    if op.result == 0:
        return 1
    set_errno(<int>-op.result)
    return -1


cdef void finish_connecting(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef int outcome = outcome_of_connecting(bev)
    if outcome == 0:
        completion_writable_(p.sending, bev.ev_write.fd)
        return
    p.connecting = False
    event_del(&bev.ev_write)
    if outcome < 0:
        p.errno_pending = <short>errno
        event_del(&bev.ev_read)
        set_errno(p.errno_pending)
        bufferevent_run_eventcb_(bev, BEV_EVENT_ERROR, 0)
        return
    bufferevent_run_eventcb_(bev, BEV_EVENT_CONNECTED, 0)
    if bev.finalizing or p.connecting:
        return
    if bev.enabled & EV_READ and not p.read_suspended:
        receive(bev)
    if bev.output.total_len and may_write(bev):
        write_output(bev, False, True)


cdef void continue_output(bufferevent *bev, completion *op) noexcept nogil:
    """The kernel is done with what it was given."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef ssize_t n = <ssize_t>op.result
    if op.kind == COMPLETION_WRITABLE:
        if n < 0:
            set_errno(<int>-n)
            bufferevent_fail_(bev, EV_WRITE, BEV_EVENT_WRITING | BEV_EVENT_ERROR)
        elif may_write(bev):
            write_output(bev, False, True)
        return
    op.result = 0
    if n == -ENOTSOCK:
        bev.output.plain_fd = True
        n = -EAGAIN
    if n < 0 and n != -ECANCELED and not would_block(<int>-n):
        set_errno(<int>-n)
        bufferevent_fail_(bev, EV_WRITE, BEV_EVENT_WRITING | BEV_EVENT_ERROR)
        return
    if n > 0:
        bev.output.freeze_start = False
        evbuffer_drain(bev.output, n)
        bev.output.freeze_start = True
        if p.rate_limiting != NULL:
            bufferevent_decrement_write_buckets_(p, n)
    if bev.output.total_len == 0:
        event_del(&bev.ev_write)
    elif may_write(bev):
        write_output(bev, False, bev.output.plain_fd)
    if n > 0:
        bufferevent_trigger_nolock_(bev, EV_WRITE, 0)


cdef void after_callback(bufferevent *bev) noexcept nogil:
    """Unless the callback freed it: only the loop's own reference is left then."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    p.in_callback = False
    if p.write_wanted and p.refcnt > 1:
        write_wanted(bev)
    bufferevent_decref_and_unlock_(bev)


cdef void send_done(completion *op, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    bufferevent_lock_in_loop_(bev)
    p.refcnt += 1
    p.in_callback = True
    # Meanwhile another thread may have given it another descriptor, or have begun with it again.
    if p.sending == op and op.state == COMPLETION_IDLE and not bev.finalizing:
        if p.connecting:
            finish_connecting(bev)
        else:
            continue_output(bev, op)
    after_callback(bev)


cdef void write_due(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    bufferevent_lock_in_loop_(bev)
    p.refcnt += 1
    p.in_callback = True
    if what == EV_TIMEOUT:
        bufferevent_fail_(bev, EV_WRITE, BEV_EVENT_WRITING | BEV_EVENT_TIMEOUT)
    elif fd == bev.ev_write.fd and may_write(bev):
        write_output(bev, True, bev.output.plain_fd)
    after_callback(bev)


cdef void completion_socket_output_changed_(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if not bev.enabled & EV_WRITE or p.write_suspended or p.connecting or is_busy(p.sending) \
            or bev.ev_write.evcb.flags & ACTIVE:
        return
    if bev.ev_write.fd < 0:
        if is_set(&bev.timeout_write) and not bev.ev_write.evcb.flags & EVLIST_TIMEOUT:
            event_add(&bev.ev_write, &bev.timeout_write)
    elif p.in_callback:
        p.write_wanted = True
    else:
        event_active(&bev.ev_write, EV_WRITE, 1)


# --- reading ----------------------------------------------------------------------------------------

cdef inline bint takes_bytes(bufferevent *bev) noexcept nogil:
    """Whatever comes, as it comes."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    return not bev.wm_read.high and p.rate_limiting == NULL and not p.max_single_read \
        and not bev.input.plain_fd and bev.input.read_size <= BULK


cdef int receive(bufferevent *bev) noexcept nogil:
    """Begins, or goes on, to receive: the descriptor is connected, reading enabled and not suspended."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef completion *op = p.receiving
    cdef bint bytes = takes_bytes(bev)
    if op == NULL:
        op = completion_new_(port_of(bev), COMPLETION_RECEIVE, bev.ev_read.evcb.priority, receive_done, bev)
        if op == NULL:
            return -1
        p.receiving = op
    if op.total or op.ended or op.readable:
        completion_wake_(op)
        return 0
    if is_under_way(op):
        if op.bytes == bytes:
            return 0
        completion_cancel_(op)
    return completion_receive_(op, bev.ev_read.fd, bytes)


cdef inline bint may_read(bufferevent *bev, const completion *op) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    return bev.enabled & EV_READ and not p.read_suspended and p.receiving == op and not bev.finalizing


cdef void arrived(bufferevent *bev, ssize_t n) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if is_set(&bev.timeout_read):
        event_add(&bev.ev_read, &bev.timeout_read)
    if p.rate_limiting != NULL:
        bufferevent_decrement_read_buckets_(p, n)
    bufferevent_trigger_nolock_(bev, EV_READ, 0)


cdef void take(bufferevent *bev, completion *op) noexcept nogil:
    """What was received."""
    cdef ev_ssize_t most = bufferevent_most_to_read_(bev)
    cdef size_t large = op.port.large
    cdef ssize_t n
    if most == 0:
        return
    bev.input.freeze_end = False
    n = completion_take_(op, bev.input, <size_t>most)
    bev.input.freeze_end = True
    if large and <size_t>n >= large and bev.input.read_size <= BULK:
        bev.input.read_size = 2 * BULK
    if n > 0:
        arrived(bev, n)


cdef void read_input(bufferevent *bev, completion *op) noexcept nogil:
    """The descriptor is readable."""
    cdef ev_ssize_t most = bufferevent_most_to_read_(bev)
    cdef int n
    if most == 0:
        return
    op.readable = False
    bev.input.freeze_end = False
    n = evbuffer_read(bev.input, bev.ev_read.fd, <int>most)
    bev.input.freeze_end = True
    if n > 0:
        arrived(bev, n)
    elif n == 0:
        bufferevent_fail_(bev, EV_READ, BEV_EVENT_READING | BEV_EVENT_EOF)
    elif not would_block(errno):
        bufferevent_fail_(bev, EV_READ, BEV_EVENT_READING | BEV_EVENT_ERROR)


cdef void end_of_input(bufferevent *bev, completion *op) noexcept nogil:
    op.ended = False
    if op.result == -ENOTSOCK and not bev.input.plain_fd:
        bev.input.plain_fd = True
    elif op.result == 0:
        bufferevent_fail_(bev, EV_READ, BEV_EVENT_READING | BEV_EVENT_EOF)
    else:
        set_errno(<int>-op.result)
        bufferevent_fail_(bev, EV_READ, BEV_EVENT_READING | BEV_EVENT_ERROR)


cdef void receive_done(completion *op, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef int more = READS_AT_ONCE - 1
    bufferevent_lock_in_loop_(bev)
    p.refcnt += 1
    p.in_callback = True
    # Each step may call the user back, who may change everything.
    if may_read(bev, op) and op.total:
        take(bev, op)
    if may_read(bev, op) and op.readable and not op.total:
        read_input(bev, op)
        while more and bufferevent_may_read_again_(bev) and may_read(bev, op) and not op.total:
            more -= 1
            read_input(bev, op)
    if may_read(bev, op) and op.ended and not op.total:
        end_of_input(bev, op)
    if may_read(bev, op):
        receive(bev)
    after_callback(bev)


cdef void read_due(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    """Only a timeout; or somebody makes the event active, as if there were something."""
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    bufferevent_lock_in_loop_(bev)
    p.refcnt += 1
    p.in_callback = True
    if what == EV_TIMEOUT:
        bufferevent_fail_(bev, EV_READ, BEV_EVENT_READING | BEV_EVENT_TIMEOUT)
    after_callback(bev)


cdef int start_timeout(event *ev, const timeval *tv) noexcept nogil:
    # Without a descriptor it goes on.
    if not is_set(tv) or (ev.fd < 0 and ev.evcb.flags & EVLIST_TIMEOUT):
        return 0
    return event_add(ev, tv)


# --- the kind ---------------------------------------------------------------------------------------

cdef int enable(bufferevent *bev, short events) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if events & EV_READ:
        if start_timeout(&bev.ev_read, &bev.timeout_read) < 0:
            return -1
        if bev.ev_read.fd >= 0 and not p.connecting and receive(bev) < 0:
            return -1
    if not events & EV_WRITE:
        return 0
    if bev.ev_write.fd < 0 or p.connecting or is_busy(p.sending):
        if start_timeout(&bev.ev_write, &bev.timeout_write) < 0:
            return -1
        if bev.ev_write.fd < 0 or is_busy(p.sending):
            return 0
        return completion_writable_(p.sending, bev.ev_write.fd) if make_sending(bev) else -1
    # As if the socket had said that it is writable; if it is not, that is found out by trying.
    event_active(&bev.ev_write, EV_WRITE, 1)
    return 0


cdef int disable(bufferevent *bev, short events) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if events & EV_READ:
        completion_cancel_(p.receiving)
        if event_del(&bev.ev_read) < 0:
            return -1
    # Connecting goes on.
    if events & EV_WRITE and not p.connecting:
        completion_cancel_(p.sending)
        if event_del(&bev.ev_write) < 0:
            return -1
    return 0


cdef int adjust(event *ev, const timeval *tv, bint wanted) noexcept nogil:
    if not wanted:
        return 0
    return event_add(ev, tv) if is_set(tv) else event_remove_timer(ev)


cdef int adj_timeouts(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef bint reading = bev.ev_read.evcb.flags & EVLIST_TIMEOUT != 0 \
        or (bev.ev_read.fd >= 0 and bev.enabled & EV_READ and not p.read_suspended)
    cdef bint writing = bev.ev_write.evcb.flags & EVLIST_TIMEOUT != 0 or is_under_way(p.sending)
    cdef int read_result = adjust(&bev.ev_read, &bev.timeout_read, reading)
    cdef int write_result = adjust(&bev.ev_write, &bev.timeout_write, writing)
    return -1 if read_result < 0 or write_result < 0 else 0


cdef void settle(bufferevent *bev) noexcept nogil:
    """Takes away what was sent, if its callback is still to come."""
    cdef completion *op = BEV_UPCAST(bev).sending
    if op == NULL or op.state != COMPLETION_IDLE or op.kind == COMPLETION_WRITABLE or op.result <= 0:
        return
    bev.output.freeze_start = False
    evbuffer_drain(bev.output, <size_t>op.result)
    bev.output.freeze_start = True
    op.result = 0


cdef void push(bufferevent *bev) noexcept nogil:
    """Writes at once what the kernel has not begun to send."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if bev.ev_write.fd < 0 or p.connecting:
        return
    completion_cancel_(p.sending)
    settle(bev)
    if bev.output.total_len == 0 or (p.sending != NULL and p.sending.state != COMPLETION_IDLE):
        return
    # What fails here fails again when the loop tries.
    bev.output.freeze_start = False
    evbuffer_write(bev.output, bev.ev_write.fd)
    bev.output.freeze_start = True


cdef void let_go(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    completion_free_(p.receiving)
    completion_free_(p.sending)
    p.receiving = p.sending = NULL


cdef void unlink(bufferevent *bev) noexcept nogil:
    """Until it is destroyed they may be running."""
    completion_cancel_(BEV_UPCAST(bev).receiving)


cdef void destruct(bufferevent *bev) noexcept nogil:
    if is_under_way(BEV_UPCAST(bev).sending):
        # A turn later it would have left, too.
        evbuffer_remove_all_callbacks_(bev.output)
        push(bev)
    # Before the descriptor is closed, or it stays open.
    let_go(bev)
    if BEV_UPCAST(bev).options & BEV_OPT_CLOSE_ON_FREE and bev.ev_read.fd >= 0:
        ev_close_socket(bev.ev_read.fd)


cdef int flush(bufferevent *bev, short iotype, bufferevent_flush_mode mode) noexcept nogil:
    # Who asks for it may be about to free what is above and below.
    if iotype & EV_WRITE and mode != BEV_NORMAL and bev.enabled & EV_WRITE \
            and not BEV_UPCAST(bev).write_suspended:
        push(bev)
        if bev.output.total_len and may_write(bev):
            bufferevent_write_later_(bev)
    return 0


cdef void completion_socket_assign_(bufferevent *bev, evutil_socket_t fd) noexcept nogil:
    bufferevent_assign_events_(bev, fd, 0, 0, read_due, write_due)


cdef bint completion_socket_is_busy_(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    return is_under_way(p.receiving) or is_under_way(p.sending)


cdef void completion_socket_leave_(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if p.receiving != NULL:
        # Reading what the kernel has handed over already is for whoever has the input.
        completion_cancel_(p.receiving)
        bev.input.freeze_end = False
        completion_take_(p.receiving, bev.input, 0)
        bev.input.freeze_end = True
    if p.sending != NULL:
        settle(bev)
        completion_cancel_(p.sending)
    let_go(bev)


cdef void take_descriptor(bufferevent *bev, evutil_socket_t fd) noexcept nogil:
    bufferevent_cancel_lookup_(bev)
    event_del(&bev.ev_read)
    event_del(&bev.ev_write)
    completion_socket_leave_(bev)
    completion_socket_assign_(bev, fd)
    bev.input.plain_fd = bev.output.plain_fd = False


cdef bint completion_socket_connects_(bufferevent *bev) noexcept nogil:
    return bev.be_ops == &completion_socket_ops and port_of(bev).connects


cdef int connect_socket(bufferevent *bev, evutil_socket_t fd, const sockaddr *address,
                        int socklen) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    take_descriptor(bev, fd)
    if not make_sending(bev) or completion_connect_(p.sending, fd, address, socklen) < 0:
        return -1
    p.connecting = True
    if bufferevent_enable(bev, bev.enabled) == 0 and enable(bev, EV_WRITE) == 0:
        return 0
    p.connecting = False
    return -1


cdef int completion_socket_connect_(bufferevent *bev, const sockaddr *address, int socklen) noexcept nogil:
    cdef evutil_socket_t fd = bev.ev_write.fd
    cdef bint made = fd < 0
    cdef int code
    if made:
        fd = evutil_socket_(address.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        if fd < 0:
            return -1
    if connect_socket(bev, fd, address, socklen) == 0:
        return 0
    code = errno
    if code == ECONNREFUSED:
        bufferevent_run_eventcb_(bev, BEV_EVENT_ERROR, BEV_OPT_DEFER_CALLBACKS)
        bufferevent_disable(bev, EV_READ | EV_WRITE)
        return 0
    if made:
        set_descriptor(bev, -1)
        ev_close_socket(fd)
    set_errno(code)
    return -1


cdef void set_descriptor(bufferevent *bev, evutil_socket_t fd) noexcept nogil:
    take_descriptor(bev, fd)
    if fd >= 0:
        bufferevent_enable(bev, bev.enabled)


cdef int control(bufferevent *bev, bufferevent_ctrl_op op, bufferevent_ctrl_data *data) noexcept nogil:
    if op == BEV_CTRL_SET_FD:
        set_descriptor(bev, data.fd)
        return 0
    if op == BEV_CTRL_GET_FD:
        data.fd = bev.ev_read.fd
        return 0
    return -1


completion_socket_ops.type = b"socket"
completion_socket_ops.mem_offset = 0
completion_socket_ops.enable = enable
completion_socket_ops.disable = disable
completion_socket_ops.unlink = unlink
completion_socket_ops.destruct = destruct
completion_socket_ops.adj_timeouts = adj_timeouts
completion_socket_ops.flush = flush
completion_socket_ops.ctrl = control


cdef const bufferevent_ops *completion_socket_ops_() noexcept nogil:
    return &completion_socket_ops
