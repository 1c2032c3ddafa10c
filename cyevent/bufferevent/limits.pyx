"""How much a bufferevent reads and writes at once."""

from libc.stdint cimport uint32_t
from cyevent.buffer.evbuffer cimport evbuffer_set_max_read
from cyevent.bufferevent.bufferevent cimport BEV_LOCK, BEV_UNLOCK, BEV_UPCAST
from cyevent.bufferevent.types cimport bufferevent_private


cdef int bufferevent_set_max_single_read(bufferevent *bev, size_t size) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef int result
    BEV_LOCK(bev)
    p.max_single_read = <uint32_t>size if size <= 0x7fffffff else 0
    result = evbuffer_set_max_read(bev.input, size if p.max_single_read else READ_AT_ONCE)
    BEV_UNLOCK(bev)
    return result


cdef int bufferevent_set_max_single_write(bufferevent *bev, size_t size) noexcept nogil:
    BEV_LOCK(bev)
    BEV_UPCAST(bev).max_single_write = <uint32_t>size if size <= 0x7fffffff else 0
    BEV_UNLOCK(bev)
    return 0


cdef ev_ssize_t bufferevent_get_max_single_read(bufferevent *bev) noexcept nogil:
    cdef ev_ssize_t size = BEV_UPCAST(bev).max_single_read
    return size if size else MAX_SINGLE_READ_DEFAULT


cdef ev_ssize_t bufferevent_get_max_single_write(bufferevent *bev) noexcept nogil:
    cdef ev_ssize_t size = BEV_UPCAST(bev).max_single_write
    return size if size else MAX_SINGLE_WRITE_DEFAULT
