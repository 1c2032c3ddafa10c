"""How the output of a socket bufferevent leaves over completions.

Facts: a send that is under way cannot be taken back, and nobody knows how much of it has left. A send that is
queued for the turn's one call costs less than a call of its own, if there are others; but by then the bytes of
all of them have gone through the processor's cache, which with much for each means that each is fetched from
memory again (ten connections that echo 256 KiB: 1.6 times the processor time).

What follows: output leaves with one call to the kernel for all bufferevents of a turn: it is queued when the
loop's callback returns. In a turn in which little has come (port.sparse), or when it is much, it is written at
once instead, and only what the socket does not take is queued. What is queued stays at the output's front,
held, until the kernel says how much of it has left; disabling does not take it back.

Chains that are to leave without being copied (EVBUFFER_FLAG_ZEROCOPY) are written by the buffer itself, as on
any base; the port only tells when there is room for the rest. io_uring has an operation for them, but what the
kernel says of it is heard by the ring's thread alone: memory would stay lent when its loop has ended, or the
base is closed, for as long as the thread does something else.
"""

from libc.errno cimport errno
from cyevent.buffer.evbuffer cimport evbuffer_drain
from cyevent.buffer.io cimport evbuffer_write
from cyevent.buffer.types cimport evbuffer_chain, CHAIN_FILESEGMENT
from cyevent.buffer.zerocopy cimport leaves_uncopied
from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.completion cimport completion_socket_receive_
from cyevent.bufferevent.ratelimit cimport *
from cyevent.bufferevent.sending cimport *
from cyevent.bufferevent.sockets cimport *
from cyevent.bufferevent.types cimport *
from cyevent.completion.port cimport *
from cyevent.completion.port cimport completion
from cyevent.core.event cimport event_active, event_add, event_del
from cyevent.core.sys cimport *
from cyevent.core.types cimport *
from cyevent.net.util cimport evutil_socket_finished_connecting_, would_block

cdef extern from *:
    int ECANCELED, ENOTSOCK

cdef enum:
    MOST_AT_ONCE = 0x40000000
    # Bytes: so much is written while the processor still has it at hand.
    MUCH = 32768


cdef bint sending_make_(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if p.sending == NULL:
        p.sending = completion_new_(port_of(bev), COMPLETION_SEND, bev.ev_write.evcb.priority, send_done, bev)
    return p.sending != NULL


cdef inline bint writes_itself(bufferevent *bev) noexcept nogil:
    """What comes first is not for the port."""
    return bev.output.plain_fd or (bev.output.first != NULL and leaves_uncopied(
        bev.output, bev.output.first, bev.output.total_len))


cdef int queue_output(bufferevent *bev, size_t most) noexcept nogil:
    """Has the kernel send from the front, or tell when that is possible."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if not sending_make_(bev):
        return -1
    if is_set(&bev.timeout_write):
        event_add(&bev.ev_write, &bev.timeout_write)
    if writes_itself(bev):
        return completion_writable_(p.sending, bev.ev_write.fd)
    return completion_send_(p.sending, bev.ev_write.fd, bev.output, most)


cdef bint sending_may_write_(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef completion *op = p.sending
    if not bev.enabled & EV_WRITE or p.write_suspended or p.connecting or bev.ev_write.fd < 0 or is_busy(op):
        return False
    if op == NULL:
        return True
    if op.state == COMPLETION_CANCELLING:
        completion_await_(op)
        return False
    sending_settle_(bev)
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


cdef inline bint best_at_once(bufferevent *bev) noexcept nogil:
    return port_of(bev).sparse or bev.output.total_len >= MUCH or writes_itself(bev)


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
    if (at_once and not holds_file(bev)) or writes_itself(bev):
        if not bufferevent_write_now_(bev, most, &n):
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
    if not bev.output.total_len or not sending_may_write_(bev) or bev.ev_write.evcb.flags & ACTIVE:
        return
    p.in_callback = True
    write_output(bev, False, best_at_once(bev))
    p.in_callback = False
    if p.write_wanted:
        # By the write callback.
        p.write_wanted = False
        if not bev.ev_write.evcb.flags & ACTIVE and sending_may_write_(bev):
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
        completion_socket_receive_(bev)
    if bev.output.total_len and sending_may_write_(bev):
        write_output(bev, False, True)


cdef void continue_output(bufferevent *bev, completion *op) noexcept nogil:
    """The kernel is done with what it was given."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef ssize_t n = <ssize_t>op.result
    if op.kind == COMPLETION_WRITABLE:
        if n < 0:
            set_errno(<int>-n)
            bufferevent_fail_(bev, EV_WRITE, BEV_EVENT_WRITING | BEV_EVENT_ERROR)
        elif sending_may_write_(bev):
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
    elif sending_may_write_(bev):
        write_output(bev, False, writes_itself(bev))
    if n > 0:
        bufferevent_trigger_nolock_(bev, EV_WRITE, 0)


cdef void sending_after_callback_(bufferevent *bev) noexcept nogil:
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
    sending_after_callback_(bev)


cdef void sending_due_(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    bufferevent_lock_in_loop_(bev)
    p.refcnt += 1
    p.in_callback = True
    if what == EV_TIMEOUT:
        bufferevent_fail_(bev, EV_WRITE, BEV_EVENT_WRITING | BEV_EVENT_TIMEOUT)
    elif fd == bev.ev_write.fd and sending_may_write_(bev):
        write_output(bev, True, writes_itself(bev))
    sending_after_callback_(bev)


cdef void sending_output_changed_(bufferevent *bev) noexcept nogil:
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


cdef void sending_settle_(bufferevent *bev) noexcept nogil:
    cdef completion *op = BEV_UPCAST(bev).sending
    if op == NULL or op.state != COMPLETION_IDLE or op.kind == COMPLETION_WRITABLE or op.result <= 0:
        return
    bev.output.freeze_start = False
    evbuffer_drain(bev.output, <size_t>op.result)
    bev.output.freeze_start = True
    op.result = 0


cdef void sending_push_(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if bev.ev_write.fd < 0 or p.connecting:
        return
    if is_under_way(p.sending) and p.sending.kind == COMPLETION_WRITABLE:
        # There was no room. If there is now, then perhaps because a forked parent goes on sending the same.
        return
    completion_cancel_(p.sending)
    sending_settle_(bev)
    if bev.output.total_len == 0 or (p.sending != NULL and p.sending.state != COMPLETION_IDLE):
        return
    # What fails here fails again when the loop tries.
    bev.output.freeze_start = False
    evbuffer_write(bev.output, bev.ev_write.fd)
    bev.output.freeze_start = True
