"""Token buckets.

Ticks are counted from when the bucket was made, and who waits waits for the very tick that fills it again: no
drift. A bucket that nobody waits for is filled when somebody looks at it, so that an idle one costs nothing.
"""

from cyevent.bufferevent.types cimport EV_RATE_LIMIT_MAX, ev_ssize_t
from cyevent.core.clock cimport NS_PER_MS, NS_PER_S
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.sys cimport set_errno, EINVAL

cdef enum:
    MAX_TICK_SECONDS = 0x7fffffff // 1000


cdef ev_token_bucket_cfg *ev_token_bucket_cfg_new(size_t read_rate, size_t read_burst,
                                                  size_t write_rate, size_t write_burst,
                                                  const timeval *tick_len) noexcept nogil:
    cdef ev_token_bucket_cfg *cfg
    cdef timeval tick
    cdef int64_t ms
    tick.tv_sec = 1
    tick.tv_usec = 0
    if tick_len != NULL:
        tick = tick_len[0]
    set_errno(EINVAL)
    if tick.tv_sec < 0 or tick.tv_sec > MAX_TICK_SECONDS or tick.tv_usec < 0:
        return NULL
    ms = <int64_t>tick.tv_sec * 1000 + tick.tv_usec // 1000
    if ms == 0 or read_rate < 1 or write_rate < 1 or read_rate > read_burst \
            or write_rate > write_burst or read_burst > <size_t>EV_RATE_LIMIT_MAX \
            or write_burst > <size_t>EV_RATE_LIMIT_MAX:
        return NULL
    cfg = <ev_token_bucket_cfg *>mm_calloc(1, sizeof(ev_token_bucket_cfg))
    if cfg == NULL:
        return NULL
    cfg.read_rate = read_rate
    cfg.read_maximum = read_burst
    cfg.write_rate = write_rate
    cfg.write_maximum = write_burst
    cfg.tick_timeout = tick
    cfg.tick = ms * NS_PER_MS
    return cfg


cdef void ev_token_bucket_cfg_free(ev_token_bucket_cfg *cfg) noexcept nogil:
    mm_free(cfg)


cdef inline ev_ssize_t filled(ev_ssize_t limit, size_t rate, size_t most, int64_t ticks) noexcept nogil:
    # By division: the product may be too large.
    if limit >= <ev_ssize_t>most:
        return <ev_ssize_t>most
    if (most - <size_t>limit) // rate < <size_t>ticks:
        return <ev_ssize_t>most
    return limit + <ev_ssize_t>(<size_t>ticks * rate)


cdef bint bucket_fill_(ev_token_bucket *bucket, const ev_token_bucket_cfg *cfg, int64_t now) noexcept nogil:
    cdef int64_t ticks = (now - bucket.refilled) // cfg.tick
    if ticks <= 0:
        return False
    bucket.read_limit = filled(bucket.read_limit, cfg.read_rate, cfg.read_maximum, ticks)
    bucket.write_limit = filled(bucket.write_limit, cfg.write_rate, cfg.write_maximum, ticks)
    bucket.refilled += ticks * cfg.tick
    return True


cdef void bucket_begin_(ev_token_bucket *bucket, const ev_token_bucket_cfg *cfg, int64_t now,
                        bint again) noexcept nogil:
    if not again:
        bucket.read_limit = <ev_ssize_t>cfg.read_rate
        bucket.write_limit = <ev_ssize_t>cfg.write_rate
    bucket.refilled = now
    if bucket.read_limit > <ev_ssize_t>cfg.read_maximum:
        bucket.read_limit = <ev_ssize_t>cfg.read_maximum
    if bucket.write_limit > <ev_ssize_t>cfg.write_maximum:
        bucket.write_limit = <ev_ssize_t>cfg.write_maximum


cdef inline int64_t ticks_until(ev_ssize_t limit, size_t rate) noexcept nogil:
    """Ticks until there are tokens, at least one."""
    return 1 if limit > 0 else <int64_t>(<size_t>(-limit) // rate) + 1


cdef int64_t bucket_wait_(const ev_token_bucket *bucket, const ev_token_bucket_cfg *cfg, bint reading,
                          bint writing, int64_t now) noexcept nogil:
    cdef int64_t ticks = MAX_TICK_SECONDS
    cdef int64_t other
    cdef int64_t time
    if reading:
        ticks = ticks_until(bucket.read_limit, cfg.read_rate)
    if writing:
        other = ticks_until(bucket.write_limit, cfg.write_rate)
        if other < ticks:
            ticks = other
    if ticks > MAX_TICK_SECONDS * <int64_t>NS_PER_S // cfg.tick:
        ticks = MAX_TICK_SECONDS * <int64_t>NS_PER_S // cfg.tick
    time = bucket.refilled + ticks * cfg.tick - now
    return time if time > 0 else 0
