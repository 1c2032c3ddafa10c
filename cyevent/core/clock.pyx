"""Clocks."""

from cyevent.core.sys cimport CLOCK_REALTIME


cdef int64_t wall_clock_ns() noexcept nogil:
    cdef timespec ts
    clock_gettime(CLOCK_REALTIME, &ts)
    return <int64_t>ts.tv_sec * NS_PER_S + ts.tv_nsec
