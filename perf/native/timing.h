/* What the timers' benchmarks of libevent and of cyevent share. */
#ifndef CYEVENT_PERF_TIMING_H
#define CYEVENT_PERF_TIMING_H

#include <stdint.h>
#include <sys/time.h>
#include <time.h>

static inline int64_t
timing_clock(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static inline struct timeval
timing_timeval(int64_t microseconds)
{
    struct timeval tv = {microseconds / 1000000, microseconds % 1000000};
    return tv;
}

#endif
