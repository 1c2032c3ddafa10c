# Timeouts of the kinds that have no descriptor: ev_read and ev_write are timers.

from cyevent.bufferevent.types cimport bufferevent
from cyevent.core.event cimport event_add, event_del

cdef void bufferevent_init_generic_timeout_cbs_(bufferevent *bev) noexcept nogil
cdef int bufferevent_generic_adj_timeouts_(bufferevent *bev) noexcept nogil


# These begin a timeout anew, if there is one.
cdef inline void reset_read_timeout(bufferevent *bev) noexcept nogil:
    if bev.timeout_read.tv_sec or bev.timeout_read.tv_usec:
        event_add(&bev.ev_read, &bev.timeout_read)


cdef inline void reset_write_timeout(bufferevent *bev) noexcept nogil:
    if bev.timeout_write.tv_sec or bev.timeout_write.tv_usec:
        event_add(&bev.ev_write, &bev.timeout_write)


cdef inline void delete_read_timeout(bufferevent *bev) noexcept nogil:
    event_del(&bev.ev_read)


cdef inline void delete_write_timeout(bufferevent *bev) noexcept nogil:
    event_del(&bev.ev_write)
