# Clocks by libevent's names, for programs that measure time beside a loop; the core itself uses clock.pxd.

from libc.stdint cimport int64_t
from cyevent.core.sys cimport timeval

cdef enum:
    EV_MONOT_PRECISE = 1           # rather than a clock that is faster to read but moves in ticks of 1 to 16 ms
    EV_MONOT_FALLBACK = 2          # as on a system without a monotonic clock: the wall clock, never backwards

# For one thread at a time.
cdef struct evutil_monotonic_timer:
    int source                     # which clock is read
    int64_t shift                  # nanoseconds by which the wall clock was set back, all told
    int64_t last                   # nanoseconds told last

# NULL without memory. To be configured before it is asked; until then it is precise.
cdef evutil_monotonic_timer *evutil_monotonic_timer_new() noexcept nogil
cdef void evutil_monotonic_timer_free(evutil_monotonic_timer *timer) noexcept nogil
# EV_MONOT_* flags; 0: the fast clock. Returns 0.
cdef int evutil_configure_monotonic_time(evutil_monotonic_timer *timer, int flags) noexcept nogil
# Time since some moment that stays the same, and is not told. 0, or -1 with errno.
cdef int evutil_gettime_monotonic(evutil_monotonic_timer *timer, timeval *tp) noexcept nogil
# Time since 1970. 0 or -1. tz is NULL; what POSIX systems write there means nothing.
cdef int evutil_gettimeofday(timeval *tv, void *tz) noexcept nogil

# Turns readings of a clock that can be set back into times that do not go backwards: it stands still at the
# moment of the jump and goes on from there.
cdef int64_t evutil_adjust_monotonic_time_(evutil_monotonic_timer *timer, int64_t reading) noexcept nogil
