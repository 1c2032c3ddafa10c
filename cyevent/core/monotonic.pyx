"""Clocks by libevent's names.

Facts:
- CLOCK_MONOTONIC is read without a system call on all systems of today; the coarse clocks of Linux and FreeBSD
  cost less still, and show the time of the last tick.
- Windows counts milliseconds since its start in ticks of some 16 ms; its performance counter is precise, and
  steady on every machine on which a supported version runs.
- A wall clock can be set back at any time.
"""

from libc.stdint cimport int64_t
from cyevent.core.clock cimport ns_to_timeval
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.sys cimport gettimeofday

cdef enum:
    PRECISE_CLOCK = 0
    FAST_CLOCK = 1
    WALL_CLOCK = 2

cdef extern from *:
    """
    #ifdef _WIN32
      static int ev_read_clock(int source, int64_t *ns) {
          struct timespec now;
          if (source == 1) {
              *ns = (int64_t)GetTickCount64() * 1000000;
              return 0;
          }
          ev_clock_gettime(source == 2 ? CLOCK_REALTIME : CLOCK_MONOTONIC, &now);
          *ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
          return 0;
      }
    #else
      #include <time.h>
      #if defined(CLOCK_MONOTONIC_COARSE)
        #define EV_CLOCK_FAST CLOCK_MONOTONIC_COARSE
      #elif defined(CLOCK_MONOTONIC_FAST)
        #define EV_CLOCK_FAST CLOCK_MONOTONIC_FAST
      #else
        #define EV_CLOCK_FAST CLOCK_MONOTONIC
      #endif
      static int ev_read_clock(int source, int64_t *ns) {
          struct timespec now;
          if (clock_gettime(source == 1 ? EV_CLOCK_FAST : source == 2 ? CLOCK_REALTIME : CLOCK_MONOTONIC,
                            &now) < 0)
              return -1;
          *ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
          return 0;
      }
    #endif
    """
    int ev_read_clock(int source, int64_t *ns) noexcept nogil


cdef evutil_monotonic_timer *evutil_monotonic_timer_new() noexcept nogil:
    return <evutil_monotonic_timer *>mm_calloc(1, sizeof(evutil_monotonic_timer))


cdef void evutil_monotonic_timer_free(evutil_monotonic_timer *timer) noexcept nogil:
    mm_free(timer)


cdef int evutil_configure_monotonic_time(evutil_monotonic_timer *timer, int flags) noexcept nogil:
    timer.shift = timer.last = 0
    if flags & EV_MONOT_FALLBACK:
        timer.source = WALL_CLOCK
    elif flags & EV_MONOT_PRECISE:
        timer.source = PRECISE_CLOCK
    else:
        timer.source = FAST_CLOCK
    return 0


cdef int64_t evutil_adjust_monotonic_time_(evutil_monotonic_timer *timer, int64_t reading) noexcept nogil:
    cdef int64_t now = reading + timer.shift
    if now < timer.last:
        timer.shift += timer.last - now
        now = timer.last
    timer.last = now
    return now


cdef int evutil_gettime_monotonic(evutil_monotonic_timer *timer, timeval *tp) noexcept nogil:
    cdef int64_t now
    if ev_read_clock(timer.source, &now) < 0:
        return -1
    if timer.source == WALL_CLOCK:
        now = evutil_adjust_monotonic_time_(timer, now)
    ns_to_timeval(now, tp)
    return 0


cdef int evutil_gettimeofday(timeval *tv, void *tz) noexcept nogil:
    return gettimeofday(tv, tz)
