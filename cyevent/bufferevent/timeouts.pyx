"""Timeouts of the kinds of bufferevents that have no descriptor."""

from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.types cimport *
from cyevent.core.event cimport event_assign
from cyevent.core.types cimport EV_FINALIZE, EV_READ, EV_WRITE


cdef void time_out(bufferevent *bev, short direction, short what) noexcept nogil:
    bufferevent_lock_in_loop_(bev)
    BEV_UPCAST(bev).refcnt += 1
    bufferevent_disable(bev, direction)
    bufferevent_run_eventcb_(bev, BEV_EVENT_TIMEOUT | what, 0)
    bufferevent_decref_and_unlock_(bev)


cdef void read_timed_out(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    time_out(<bufferevent *>arg, EV_READ, BEV_EVENT_READING)


cdef void write_timed_out(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    time_out(<bufferevent *>arg, EV_WRITE, BEV_EVENT_WRITING)


cdef void bufferevent_init_generic_timeout_cbs_(bufferevent *bev) noexcept nogil:
    event_assign(&bev.ev_read, bev.ev_base, -1, EV_FINALIZE, read_timed_out, bev)
    event_assign(&bev.ev_write, bev.ev_base, -1, EV_FINALIZE, write_timed_out, bev)


cdef int bufferevent_generic_adj_timeouts_(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef int read_result
    cdef int write_result
    if bev.enabled & EV_READ and not p.read_suspended \
            and (bev.timeout_read.tv_sec or bev.timeout_read.tv_usec):
        read_result = event_add(&bev.ev_read, &bev.timeout_read)
    else:
        read_result = event_del(&bev.ev_read)
    # Only bytes that wait can be late.
    if bev.enabled & EV_WRITE and not p.write_suspended and bev.output.total_len \
            and (bev.timeout_write.tv_sec or bev.timeout_write.tv_usec):
        write_result = event_add(&bev.ev_write, &bev.timeout_write)
    else:
        write_result = event_del(&bev.ev_write)
    return -1 if read_result < 0 or write_result < 0 else 0
