# What bufferevents on sockets do alike, whether they are told of readiness (socket.pyx) or of completions
# (completion.pyx). All with the bufferevent's lock held.

from libc.errno cimport errno
from libc.limits cimport INT_MAX
from cyevent.buffer.io cimport evbuffer_write_atmost
from cyevent.buffer.types cimport ev_ssize_t
from cyevent.bufferevent.bufferevent cimport (
    BEV_UPCAST, BEV_SUSPEND_WM, bufferevent_disable, bufferevent_run_eventcb_, bufferevent_suspend_read_,
)
from cyevent.bufferevent.ratelimit cimport bufferevent_get_read_max_
from cyevent.bufferevent.types cimport (
    BEV_EVENT_EOF, BEV_EVENT_ERROR, BEV_EVENT_WRITING, bufferevent, bufferevent_private,
)
from cyevent.core.event cimport event_assign, event_priority_set
from cyevent.core.queue cimport event_callback_activate_later_nolock_
from cyevent.core.sys cimport evutil_socket_t, set_errno
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport event, event_callback_fn, EV_FINALIZE, EV_PERSIST, EV_WRITE
from cyevent.net.util cimport would_block


# In the next turn of the loop: a write callback that always adds more must not keep the loop from others.
cdef inline void bufferevent_write_later_(bufferevent *bev) noexcept nogil:
    cdef event *ev = &bev.ev_write
    EVLOCK_LOCK(ev.base.lock)
    ev.res = EV_WRITE
    event_callback_activate_later_nolock_(ev.base, &ev.evcb)
    EVLOCK_UNLOCK(ev.base.lock)


# Ends a direction and tells why; errno is the reason of BEV_EVENT_ERROR.
cdef inline void bufferevent_fail_(bufferevent *bev, short direction, short what) noexcept nogil:
    cdef int code = errno
    bufferevent_disable(bev, direction)
    set_errno(code)
    bufferevent_run_eventcb_(bev, what, 0)


# Writes what the socket takes; *n: evbuffer_write_atmost()'s result. False: it failed, and the user has heard.
cdef inline bint bufferevent_write_now_(bufferevent *bev, ev_ssize_t most, int *n) noexcept nogil:
    bev.output.freeze_start = False
    n[0] = evbuffer_write_atmost(bev.output, bev.ev_write.fd, most)
    bev.output.freeze_start = True
    if n[0] < 0 and not would_block(errno):
        bufferevent_fail_(bev, EV_WRITE, BEV_EVENT_WRITING | BEV_EVENT_ERROR)
        return False
    if n[0] == 0:
        bufferevent_fail_(bev, EV_WRITE, BEV_EVENT_WRITING | BEV_EVENT_EOF)
        return False
    return True


# How many bytes may be read now. 0: reading is suspended.
cdef inline ev_ssize_t bufferevent_most_to_read_(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef ev_ssize_t most = p.max_single_read if p.max_single_read else INT_MAX
    if bev.wm_read.high:
        if bev.input.total_len >= bev.wm_read.high:
            # The mark was lowered.
            bufferevent_suspend_read_(bev, BEV_SUSPEND_WM)
            return 0
        if bev.wm_read.high - bev.input.total_len < <size_t>most:
            most = <ev_ssize_t>(bev.wm_read.high - bev.input.total_len)
    if p.rate_limiting != NULL and bufferevent_get_read_max_(p) < most:
        most = bufferevent_get_read_max_(p)
    return 0 if p.read_suspended else most


# After a read: it filled what was offered, so that more may be there, and nobody has set a limit for one read,
# which is one for a turn.
cdef inline bint bufferevent_may_read_again_(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    return bev.input.read_filled and p.max_single_read == 0 and p.rate_limiting == NULL


# Gives both events a descriptor, for the first time or again: their priority stays.
cdef inline void bufferevent_assign_events_(bufferevent *bev, evutil_socket_t fd, short read, short write,
                                            event_callback_fn readable,
                                            event_callback_fn writable) noexcept nogil:
    cdef int priority = bev.ev_read.evcb.priority
    cdef bint again = bev.ev_read.base != NULL
    event_assign(&bev.ev_read, bev.ev_base, fd, EV_PERSIST | EV_FINALIZE | read, readable, bev)
    event_assign(&bev.ev_write, bev.ev_base, fd, EV_PERSIST | EV_FINALIZE | write, writable, bev)
    if again:
        event_priority_set(&bev.ev_read, priority)
        event_priority_set(&bev.ev_write, priority)
