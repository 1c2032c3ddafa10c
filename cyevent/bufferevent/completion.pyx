"""Socket bufferevents over completions: what socket.pyx does when told of readiness, done when told of bytes.

Facts: bytes arrive while nobody looks, in pieces of the kernel's choosing; a limit that is set meanwhile comes
too late for them. A send that is under way cannot be taken back, and nobody knows how much of it has left.

What follows: bytes are received as they come only while nothing limits them: no high watermark, no rate limit,
no largest read. Otherwise, and for sockets on which much comes at once, the bufferevent only hears that the
socket is readable, and reads as socket.pyx does. It hears so from ev_read, an ordinary event then, where the
port's loop waits for both alike and that costs less (port.reading_events); otherwise from the operation, once
each time. What has come for one that does not read at the moment stays with the operation. Reading begins when
the socket is connected.

Either the operation is under way, or ev_read waits for EV_READ, never both: bytes would change places. ev_read
gets EV_READ only when the operation is idle and empty, and loses it before that begins again; without it,
ev_read is a timer, and ev_write always is. How output leaves is in sending.pyx.
"""

from libc.errno cimport errno
from cyevent.buffer.callbacks cimport evbuffer_remove_all_callbacks_
from cyevent.buffer.io cimport evbuffer_read
from cyevent.buffer.types cimport zerocopy_of
from cyevent.buffer.zerosockets cimport evbuffer_zerocopy_closing_
from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.ratelimit cimport *
from cyevent.bufferevent.sending cimport *
from cyevent.bufferevent.sockets cimport *
from cyevent.bufferevent.types cimport *
from cyevent.completion.port cimport *
from cyevent.completion.port cimport completion
from cyevent.core.event cimport (
    event_active, event_add, event_del, event_remove_timer,
)
from cyevent.core.sys cimport *
from cyevent.core.types cimport *
from cyevent.net.sys cimport SOCK_CLOEXEC, SOCK_NONBLOCK
from cyevent.net.util cimport evutil_socket_, would_block

cdef enum:
    # buffer.io doubles and halves it with what is read: above it, much comes at once.
    BULK = 8192
    # And so large are those of one that gets all that fits.
    FLOOD = 65536

cdef bufferevent_ops completion_socket_ops


# --- reading ----------------------------------------------------------------------------------------

cdef inline bint takes_bytes(bufferevent *bev) noexcept nogil:
    """Whatever comes, as it comes."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    return not bev.wm_read.high and p.rate_limiting == NULL and not p.max_single_read \
        and not bev.input.plain_fd and bev.input.read_size <= BULK


cdef inline bint reads_by_event(bufferevent *bev, const completion *op) noexcept nogil:
    """One that does not take bytes as they come."""
    if bev.input.plain_fd or op.state != COMPLETION_IDLE:
        return False
    return op.port.reading_events == COMPLETION_EVENTS_ALWAYS \
        or (op.port.reading_events and bev.input.read_size >= FLOOD)


cdef int watch(bufferevent *bev) noexcept nogil:
    cdef event *ev = &bev.ev_read
    if ev.events & EV_READ and ev.evcb.flags & EVLIST_INSERTED:
        return 0
    event_del(ev)
    ev.events |= EV_READ
    return event_add(ev, &bev.timeout_read if is_set(&bev.timeout_read) else NULL)


cdef void stop_watching(bufferevent *bev) noexcept nogil:
    cdef event *ev = &bev.ev_read
    if not ev.events & EV_READ:
        return
    event_del(ev)
    ev.events &= ~EV_READ
    if is_set(&bev.timeout_read):
        event_add(ev, &bev.timeout_read)


cdef int completion_socket_receive_(bufferevent *bev) noexcept nogil:
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
    if not bytes and reads_by_event(bev, op):
        return watch(bev)
    stop_watching(bev)
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


cdef void read_repeatedly(bufferevent *bev, completion *op) noexcept nogil:
    cdef int more = READS_AT_ONCE - 1
    read_input(bev, op)
    while more and bufferevent_may_read_again_(bev) and may_read(bev, op) and not op.total:
        more -= 1
        read_input(bev, op)


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
    bufferevent_lock_in_loop_(bev)
    p.refcnt += 1
    p.in_callback = True
    # Each step may call the user back, who may change everything.
    if may_read(bev, op) and op.total:
        take(bev, op)
    if may_read(bev, op) and op.readable and not op.total:
        read_repeatedly(bev, op)
    if may_read(bev, op) and op.ended and not op.total:
        end_of_input(bev, op)
    if may_read(bev, op):
        completion_socket_receive_(bev)
    sending_after_callback_(bev)


cdef void read_due(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    """A timeout; or there is something to read; or somebody makes the event active, as if there were."""
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef completion *op
    bufferevent_lock_in_loop_(bev)
    op = p.receiving
    p.refcnt += 1
    p.in_callback = True
    if what == EV_TIMEOUT:
        bufferevent_fail_(bev, EV_READ, BEV_EVENT_READING | BEV_EVENT_TIMEOUT)
    elif bev.ev_read.events & EV_READ and fd == bev.ev_read.fd and may_read(bev, op):
        read_repeatedly(bev, op)
        if may_read(bev, op):
            completion_socket_receive_(bev)
    sending_after_callback_(bev)


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
        if bev.ev_read.fd >= 0 and not p.connecting and completion_socket_receive_(bev) < 0:
            return -1
    if not events & EV_WRITE:
        return 0
    if bev.ev_write.fd < 0 or p.connecting or is_busy(p.sending):
        if start_timeout(&bev.ev_write, &bev.timeout_write) < 0:
            return -1
        if bev.ev_write.fd < 0 or is_busy(p.sending):
            return 0
        return completion_writable_(p.sending, bev.ev_write.fd) if sending_make_(bev) else -1
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
        sending_push_(bev)
    # Before the descriptor is closed, or it stays open.
    let_go(bev)
    if BEV_UPCAST(bev).options & BEV_OPT_CLOSE_ON_FREE and bev.ev_read.fd >= 0:
        if zerocopy_of(bev.output) != NULL:
            evbuffer_zerocopy_closing_(bev.output)
        ev_close_socket(bev.ev_read.fd)


cdef int flush(bufferevent *bev, short iotype, bufferevent_flush_mode mode) noexcept nogil:
    # Who asks for it may be about to free what is above and below.
    if iotype & EV_WRITE and mode != BEV_NORMAL and bev.enabled & EV_WRITE \
            and not BEV_UPCAST(bev).write_suspended:
        sending_push_(bev)
        if bev.output.total_len and sending_may_write_(bev):
            bufferevent_write_later_(bev)
    return 0


cdef void completion_socket_assign_(bufferevent *bev, evutil_socket_t fd) noexcept nogil:
    bufferevent_assign_events_(bev, fd, 0, 0, read_due, sending_due_)


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
        sending_settle_(bev)
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
    if not sending_make_(bev) or completion_connect_(p.sending, fd, address, socklen) < 0:
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
