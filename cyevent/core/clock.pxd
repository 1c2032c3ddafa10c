# Time: int64 nanoseconds of the monotonic clock inside, struct timeval only at the API's edge.

from libc.stdint cimport int64_t
from cyevent.core.sys cimport timeval, timespec, clock_gettime, CLOCK_MONOTONIC

cdef extern from *:
    """
    /* No enumerators: to some compilers each is an int. */
    #define CYEVENT_MAX_SECONDS ((int64_t)4000000000)
    #define CYEVENT_COMMON_TIMEOUT_MASK 0xf0000000u
    """
    const int64_t MAX_SECONDS "CYEVENT_MAX_SECONDS"
    const unsigned COMMON_TIMEOUT_MASK "CYEVENT_COMMON_TIMEOUT_MASK"

cdef enum:
    NS_PER_US = 1000
    NS_PER_MS = 1000000
    NS_PER_S = 1000000000

# A common timeout's timeval carries its queue's index above the microseconds, under a magic number.
cdef enum:
    MICROSECONDS_MASK = 0x000fffff
    COMMON_TIMEOUT_IDX_MASK = 0x0ff00000
    COMMON_TIMEOUT_IDX_SHIFT = 20
    COMMON_TIMEOUT_MAGIC = 0x50000000
    MAX_COMMON_TIMEOUTS = 256


# The precise clock is read rather than the coarse one: it costs some 20 ns more, once a turn, and a
# timer set from a coarse reading fires up to a tick (1 to 10 ms) too early.
cdef inline int64_t monotonic_ns() noexcept nogil:
    cdef timespec ts
    clock_gettime(CLOCK_MONOTONIC, &ts)
    return <int64_t>ts.tv_sec * NS_PER_S + ts.tv_nsec


# Saturates instead of overflowing: a timeval of a century is "never".
cdef inline int64_t timeval_to_ns(const timeval *tv) noexcept nogil:
    if tv.tv_sec >= MAX_SECONDS:
        return MAX_SECONDS * NS_PER_S
    return <int64_t>tv.tv_sec * NS_PER_S + (tv.tv_usec & MICROSECONDS_MASK) * <int64_t>NS_PER_US


cdef inline void ns_to_timeval(int64_t ns, timeval *tv) noexcept nogil:
    tv.tv_sec = ns // NS_PER_S
    tv.tv_usec = (ns % NS_PER_S) // NS_PER_US


cdef int64_t wall_clock_ns() noexcept nogil
