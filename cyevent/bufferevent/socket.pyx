"""Bufferevents on sockets: readiness into reads and writes.

Facts: a socket nearly always takes what is written, and has nothing to read before the backend says so. A read
that leaves room in the buffer has emptied the socket; to make sure would cost a call, which a level-triggered
backend makes superfluous. A read that filled the buffer has probably left something.

What follows: a write is tried before EV_WRITE is asked for, once for all that a callback has added. A readable
socket is read once, and again without waiting only after a read that filled what was offered, up to
READS_AT_ONCE times, so that others get their turn: at most one call of a turn finds nothing. A connection that
sends and answers in turn costs a wait, a read and a write, and no call to the backend besides.
"""

from libc.errno cimport errno
from cyevent.buffer.callbacks cimport evbuffer_attach_cb_, evbuffer_set_base_
from cyevent.buffer.evbuffer cimport evbuffer_set_flags
from cyevent.buffer.io cimport evbuffer_read
from cyevent.buffer.types cimport evbuffer_cb_info, zerocopy_of, EVBUFFER_FLAG_DRAINS_TO_FD
from cyevent.buffer.zerosockets cimport evbuffer_zerocopy_closing_
from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.completion cimport *
from cyevent.bufferevent.ratelimit cimport *
from cyevent.bufferevent.sending cimport sending_output_changed_
from cyevent.bufferevent.sockets cimport *
from cyevent.bufferevent.types cimport *
from cyevent.completion.port cimport completion_port_of_, completion_set_priority_
from cyevent.core.event cimport (
    event_active, event_add, event_base_set, event_del, event_initialized,
    event_priority_set,
)
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.queue cimport event_deferred_cb_set_priority_
from cyevent.core.sys cimport *
from cyevent.core.types cimport *
from cyevent.net.util cimport (
    evutil_socket_connect_, evutil_socket_finished_connecting_, would_block,
)

cdef enum:
    PENDING = 0x2a             # EVLIST_INSERTED | EVLIST_ACTIVE | EVLIST_ACTIVE_LATER

cdef bufferevent_ops socket_ops


# --- writing ----------------------------------------------------------------------------------------

cdef int start_timeout(event *ev, const timeval *tv) noexcept nogil:
    """Without a descriptor only the timeout can happen."""
    if (tv.tv_sec or tv.tv_usec) and not ev.evcb.flags & EVLIST_TIMEOUT:
        return event_add(ev, tv)
    return 0


cdef void output_changed(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    if bev.be_ops != &socket_ops:
        if info.n_added:
            sending_output_changed_(bev)
        return
    if info.n_added == 0 or not bev.enabled & EV_WRITE or p.write_suspended \
            or bev.ev_write.evcb.flags & PENDING:
        return
    if bev.ev_write.fd < 0:
        start_timeout(&bev.ev_write, &bev.timeout_write)
    elif p.in_callback:
        p.write_wanted = True
    else:
        event_active(&bev.ev_write, EV_WRITE, 1)


cdef void write_output(bufferevent *bev, bint was_told) noexcept nogil:
    """Writes what the socket takes. was_told: the user's callback is due even if there was nothing."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef ev_ssize_t most = p.max_single_write if p.max_single_write else -1
    cdef int n = 0
    if bev.output.total_len:
        if p.rate_limiting != NULL:
            most = bufferevent_get_write_max_(p)
            if p.write_suspended:
                return
        if not bufferevent_write_now_(bev, most, &n):
            return
        if n > 0 and p.rate_limiting != NULL:
            bufferevent_decrement_write_buckets_(p, n)
    if bev.output.total_len == 0:
        if bev.ev_write.evcb.flags & PENDING:
            event_del(&bev.ev_write)
    elif not bev.ev_write.evcb.flags & EVLIST_INSERTED and not p.write_suspended:
        if n > 0 and n == most:
            # It is we who stopped, not the socket.
            bufferevent_write_later_(bev)
        else:
            bufferevent_add_event_(&bev.ev_write, &bev.timeout_write)
    if n > 0 or (n == 0 and was_told):
        bufferevent_trigger_nolock_(bev, EV_WRITE, 0)


cdef inline void write_wanted(bufferevent *bev) noexcept nogil:
    """Something was added in the callback that has just returned."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    p.write_wanted = False
    if bev.output.total_len and bev.enabled & EV_WRITE and not p.write_suspended \
            and not p.connecting and not bev.ev_write.evcb.flags & PENDING:
        p.in_callback = True
        write_output(bev, False)
        p.in_callback = False
        if p.write_wanted:
            # By the write callback.
            p.write_wanted = False
            if not bev.ev_write.evcb.flags & PENDING and bev.enabled & EV_WRITE \
                    and not p.write_suspended:
                bufferevent_write_later_(bev)


cdef void finish_connecting(bufferevent *bev) noexcept nogil:
    """The write side is ready, or says so."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef int outcome = evutil_socket_finished_connecting_(bev.ev_write.fd)
    if p.connection_refused:
        p.connection_refused = False
        set_errno(ECONNREFUSED)
        outcome = -1
    if outcome == 0:
        return
    p.connecting = False
    if outcome < 0:
        p.errno_pending = <short>errno
        event_del(&bev.ev_write)
        event_del(&bev.ev_read)
        set_errno(p.errno_pending)
        bufferevent_run_eventcb_(bev, BEV_EVENT_ERROR, 0)
        return
    bufferevent_run_eventcb_(bev, BEV_EVENT_CONNECTED, 0)
    if not bev.enabled & EV_WRITE or p.write_suspended:
        event_del(&bev.ev_write)
    elif bev.ev_write.evcb.flags & EVLIST_INSERTED:
        write_output(bev, False)


cdef void socket_writable(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    bufferevent_lock_in_loop_(bev)
    p.refcnt += 1
    p.in_callback = True
    if what == EV_TIMEOUT:
        bufferevent_fail_(bev, EV_WRITE, BEV_EVENT_WRITING | BEV_EVENT_TIMEOUT)
    elif p.connecting:
        finish_connecting(bev)
    elif not p.write_suspended and fd == bev.ev_write.fd:
        write_output(bev, True)
    p.in_callback = False
    if p.write_wanted:
        p.write_wanted = False
        if bev.output.total_len and bev.enabled & EV_WRITE and not p.write_suspended \
                and not bev.ev_write.evcb.flags & PENDING:
            bufferevent_write_later_(bev)
    bufferevent_decref_and_unlock_(bev)


# --- reading ----------------------------------------------------------------------------------------

cdef void read_input(bufferevent *bev, evutil_socket_t fd) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef ev_ssize_t most = bufferevent_most_to_read_(bev)
    cdef int n
    if most == 0:
        return
    bev.input.freeze_end = False
    n = evbuffer_read(bev.input, fd, <int>most)
    bev.input.freeze_end = True
    if n > 0:
        if p.rate_limiting != NULL:
            bufferevent_decrement_read_buckets_(p, n)
        bufferevent_trigger_nolock_(bev, EV_READ, 0)
    elif n == 0:
        bufferevent_fail_(bev, EV_READ, BEV_EVENT_READING | BEV_EVENT_EOF)
    elif would_block(errno):
        pass
    elif errno == ECONNREFUSED and p.connecting:
        # Reported when the write side says so.
        p.connection_refused = True
    else:
        bufferevent_fail_(bev, EV_READ, BEV_EVENT_READING | BEV_EVENT_ERROR)


cdef void socket_readable(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef int more = READS_AT_ONCE - 1
    bufferevent_lock_in_loop_(bev)
    p.refcnt += 1
    p.in_callback = True
    if what == EV_TIMEOUT:
        bufferevent_fail_(bev, EV_READ, BEV_EVENT_READING | BEV_EVENT_TIMEOUT)
    else:
        read_input(bev, fd)
        while more and bufferevent_may_read_again_(bev) and p.refcnt > 1 and bev.enabled & EV_READ \
                and not p.read_suspended and bev.ev_read.fd == fd:
            more -= 1
            read_input(bev, fd)
    p.in_callback = False
    # Unless the callback freed it: only our own reference is left then.
    if p.write_wanted and p.refcnt > 1:
        write_wanted(bev)
    bufferevent_decref_and_unlock_(bev)


# --- the kind ---------------------------------------------------------------------------------------

cdef int socket_enable(bufferevent *bev, short events) noexcept nogil:
    cdef event *ev = &bev.ev_write
    if ev.fd < 0:
        # The rest comes with the descriptor.
        if events & EV_READ and start_timeout(&bev.ev_read, &bev.timeout_read) < 0:
            return -1
        return start_timeout(ev, &bev.timeout_write) if events & EV_WRITE else 0
    if events & EV_READ and bufferevent_add_event_(&bev.ev_read, &bev.timeout_read) < 0:
        return -1
    if events & EV_WRITE:
        if BEV_UPCAST(bev).connecting or ev.evcb.flags & EVLIST_INSERTED:
            if ev.evcb.flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER) \
                    and not ev.evcb.flags & EVLIST_INSERTED:
                event_del(ev)
            return bufferevent_add_event_(ev, &bev.timeout_write)
        # As if the socket had said that it is writable; if it is not, that is found out by trying.
        event_active(ev, EV_WRITE, 1)
    return 0


cdef int socket_disable(bufferevent *bev, short events) noexcept nogil:
    if events & EV_READ and event_del(&bev.ev_read) < 0:
        return -1
    # Connecting goes on.
    if events & EV_WRITE and not BEV_UPCAST(bev).connecting and event_del(&bev.ev_write) < 0:
        return -1
    return 0


cdef void socket_destruct(bufferevent *bev) noexcept nogil:
    if BEV_UPCAST(bev).options & BEV_OPT_CLOSE_ON_FREE and bev.ev_read.fd >= 0:
        if zerocopy_of(bev.output) != NULL:
            evbuffer_zerocopy_closing_(bev.output)
        ev_close_socket(bev.ev_read.fd)


cdef int socket_flush(bufferevent *bev, short iotype, bufferevent_flush_mode mode) noexcept nogil:
    return 0


cdef void assign_events(bufferevent *bev, evutil_socket_t fd) noexcept nogil:
    # Without a descriptor they are timers.
    bufferevent_assign_events_(bev, fd, EV_READ if fd >= 0 else 0, EV_WRITE if fd >= 0 else 0, socket_readable,
                               socket_writable)


cdef void set_descriptor(bufferevent *bev, evutil_socket_t fd) noexcept nogil:
    bufferevent_cancel_lookup_(bev)
    event_del(&bev.ev_read)
    event_del(&bev.ev_write)
    assign_events(bev, fd)
    bev.input.plain_fd = bev.output.plain_fd = False
    if fd >= 0:
        bufferevent_enable(bev, bev.enabled)


cdef int socket_ctrl(bufferevent *bev, bufferevent_ctrl_op op,
                     bufferevent_ctrl_data *data) noexcept nogil:
    if op == BEV_CTRL_SET_FD:
        set_descriptor(bev, data.fd)
        return 0
    if op == BEV_CTRL_GET_FD:
        data.fd = bev.ev_read.fd
        return 0
    return -1


socket_ops.type = b"socket"
socket_ops.mem_offset = 0
socket_ops.enable = socket_enable
socket_ops.disable = socket_disable
socket_ops.unlink = NULL
socket_ops.destruct = socket_destruct
socket_ops.adj_timeouts = bufferevent_adj_existing_timeouts_
socket_ops.flush = socket_flush
socket_ops.ctrl = socket_ctrl


cdef void assign(bufferevent *bev, evutil_socket_t fd) noexcept nogil:
    if bev.be_ops == &socket_ops:
        assign_events(bev, fd)
    else:
        completion_socket_assign_(bev, fd)


cdef bint bufferevent_is_socket_(bufferevent *bev) noexcept nogil:
    return bev.be_ops == &socket_ops


cdef bufferevent *bufferevent_socket_new(event_base *base, evutil_socket_t fd,
                                         int options) noexcept nogil:
    cdef bufferevent_private *p = <bufferevent_private *>mm_calloc(1, sizeof(bufferevent_private))
    cdef bint completes = completion_port_of_(base) != NULL
    cdef bufferevent *bev
    if p == NULL:
        return NULL
    if bufferevent_init_common_(p, base, completion_socket_ops_() if completes else &socket_ops, options) < 0:
        mm_free(p)
        return NULL
    bev = &p.bev
    p.events_work = True
    evbuffer_attach_cb_(bev.output, &p.output_cb, output_changed, bev)
    assign(bev, fd)
    evbuffer_set_flags(bev.output, EVBUFFER_FLAG_DRAINS_TO_FD)
    bev.input.freeze_end = True
    bev.output.freeze_start = True
    return bev


cdef int bufferevent_socket_connect(bufferevent *bev, const sockaddr *address,
                                    int socklen) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef evutil_socket_t fd
    cdef int outcome = 0
    cdef int result = -1
    bufferevent_incref_and_lock_(bev)
    fd = bev.ev_read.fd
    if fd < 0 and address == NULL:
        set_errno(EINVAL)
    elif address != NULL and completion_socket_connects_(bev):
        result = completion_socket_connect_(bev, address, socklen)
    else:
        if address != NULL:
            outcome = evutil_socket_connect_(&fd, address, socklen)
        if outcome >= 0:
            result = 0
            p.connecting = outcome != 2
            # Connected at once or not, the event callback is told from the loop, when it is writable.
            bufferevent_setfd(bev, fd)
            if outcome == 2:
                set_errno(ECONNREFUSED)
                bufferevent_run_eventcb_(bev, BEV_EVENT_ERROR, BEV_OPT_DEFER_CALLBACKS)
                bufferevent_disable(bev, EV_READ | EV_WRITE)
            else:
                # TLS over a socket connects as a socket does, too; its own enabling is for what comes after.
                if bev.be_ops == completion_socket_ops_():
                    result = bev.be_ops.enable(bev, EV_WRITE)
                else:
                    result = socket_enable(bev, EV_WRITE)
                if result < 0:
                    p.connecting = False
    bufferevent_decref_and_unlock_(bev)
    return result


cdef int bufferevent_priority_set(bufferevent *bev, int priority) noexcept nogil:
    cdef int result = -1
    BEV_LOCK(bev)
    if BEV_UPCAST(bev).events_work and event_priority_set(&bev.ev_read, priority) == 0 \
            and event_priority_set(&bev.ev_write, priority) == 0:
        event_deferred_cb_set_priority_(&BEV_UPCAST(bev).deferred, priority)
        completion_set_priority_(BEV_UPCAST(bev).receiving, priority)
        completion_set_priority_(BEV_UPCAST(bev).sending, priority)
        result = 0
    BEV_UNLOCK(bev)
    return result


cdef int bufferevent_base_set(event_base *base, bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef event_base *old = bev.ev_base
    cdef int result = -1
    cdef bint completed = bev.be_ops == completion_socket_ops_()
    cdef bint completes = completion_port_of_(base) != NULL
    BEV_LOCK(bev)
    if (bev.be_ops == &socket_ops or (completed and not completion_socket_is_busy_(bev))) \
            and not p.deferred.flags & PENDING \
            and event_base_set(base, &bev.ev_read) == 0 and event_base_set(base, &bev.ev_write) == 0:
        if completed:
            completion_socket_leave_(bev)
        bev.ev_base = base
        evbuffer_set_base_(bev.input, old, base)
        evbuffer_set_base_(bev.output, old, base)
        event_deferred_cb_set_priority_(&p.deferred, base.nqueues // 2)
        result = 0
        if completed or completes:
            bev.be_ops = completion_socket_ops_() if completes else &socket_ops
            assign(bev, bev.ev_read.fd)
        if p.rate_limiting != NULL and event_initialized(&p.rate_limiting.refill):
            result = event_base_set(base, &p.rate_limiting.refill)
    BEV_UNLOCK(bev)
    return result
