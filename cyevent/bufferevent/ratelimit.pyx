"""Rate limits of single bufferevents, and what the kinds of bufferevents ask of all limits."""

from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.limits cimport MAX_SINGLE_READ_DEFAULT, MAX_SINGLE_WRITE_DEFAULT
from cyevent.bufferevent.rategroup cimport bufferevent_limits_, group_share_, group_take_
from cyevent.bufferevent.tokens cimport bucket_begin_, bucket_fill_, bucket_wait_
from cyevent.bufferevent.types cimport *
from cyevent.core.event cimport base_now, event_add_ns_, event_assign, event_remove_timer
from cyevent.core.types cimport *


# --- one bufferevent's ------------------------------------------------------------------------------

cdef int wait_for_tick(bufferevent_private *p) noexcept nogil:
    """Sets the timer that ends BEV_SUSPEND_BW."""
    cdef bufferevent_rate_limit *limits = p.rate_limiting
    cdef bint reading = p.read_suspended & BEV_SUSPEND_BW != 0
    cdef bint writing = p.write_suspended & BEV_SUSPEND_BW != 0
    if not reading and not writing:
        return event_remove_timer(&limits.refill)
    return event_add_ns_(&limits.refill, bucket_wait_(&limits.bucket, limits.cfg, reading, writing,
                                                      base_now(p.bev.ev_base)))


cdef int look_at_read_bucket(bufferevent_private *p) noexcept nogil:
    """Suspends or goes on, as the bucket has it."""
    if (p.rate_limiting.bucket.read_limit <= 0) == (p.read_suspended & BEV_SUSPEND_BW != 0):
        return 0
    if p.rate_limiting.bucket.read_limit <= 0:
        bufferevent_suspend_read_(&p.bev, BEV_SUSPEND_BW)
        return wait_for_tick(p)
    bufferevent_unsuspend_read_(&p.bev, BEV_SUSPEND_BW)
    return wait_for_tick(p)


cdef int look_at_write_bucket(bufferevent_private *p) noexcept nogil:
    if (p.rate_limiting.bucket.write_limit <= 0) == (p.write_suspended & BEV_SUSPEND_BW != 0):
        return 0
    if p.rate_limiting.bucket.write_limit <= 0:
        bufferevent_suspend_write_(&p.bev, BEV_SUSPEND_BW)
        return wait_for_tick(p)
    bufferevent_unsuspend_write_(&p.bev, BEV_SUSPEND_BW)
    return wait_for_tick(p)


cdef inline void fill_own(bufferevent_private *p) noexcept nogil:
    bucket_fill_(&p.rate_limiting.bucket, p.rate_limiting.cfg, base_now(p.bev.ev_base))


cdef void refill_due(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef bufferevent_private *p = <bufferevent_private *>arg
    bufferevent_lock_in_loop_(&p.bev)
    p.refcnt += 1
    if p.rate_limiting.cfg != NULL:
        fill_own(p)
        look_at_read_bucket(p)
        look_at_write_bucket(p)
        wait_for_tick(p)
    bufferevent_decref_and_unlock_(&p.bev)


cdef int bufferevent_set_rate_limit(bufferevent *bev, ev_token_bucket_cfg *cfg) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef bufferevent_rate_limit *limits
    cdef int result = 0
    cdef bint again
    BEV_LOCK(bev)
    if cfg == NULL:
        if p.rate_limiting != NULL and p.rate_limiting.cfg != NULL:
            p.rate_limiting.cfg = NULL
            event_remove_timer(&p.rate_limiting.refill)
            bufferevent_unsuspend_read_(bev, BEV_SUSPEND_BW)
            bufferevent_unsuspend_write_(bev, BEV_SUSPEND_BW)
    else:
        limits = bufferevent_limits_(p)
        if limits == NULL:
            result = -1
        elif limits.cfg != cfg:
            if limits.refill.base == NULL:
                event_assign(&limits.refill, bev.ev_base, -1, EV_FINALIZE, refill_due, p)
            again = limits.cfg != NULL
            if again:
                fill_own(p)
            limits.cfg = cfg
            bucket_begin_(&limits.bucket, cfg, base_now(bev.ev_base), again)
            look_at_read_bucket(p)
            look_at_write_bucket(p)
            result = wait_for_tick(p)
    BEV_UNLOCK(bev)
    return result


cdef const ev_token_bucket_cfg *bufferevent_get_token_bucket_cfg(const bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = <bufferevent_private *>bev
    cdef const ev_token_bucket_cfg *cfg = NULL
    EVLOCK_LOCK(p.lock)
    if p.rate_limiting != NULL:
        cfg = p.rate_limiting.cfg
    EVLOCK_UNLOCK(p.lock)
    return cfg


cdef ev_ssize_t bufferevent_get_read_limit(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef ev_ssize_t limit = EV_RATE_LIMIT_MAX
    BEV_LOCK(bev)
    if p.rate_limiting != NULL and p.rate_limiting.cfg != NULL:
        fill_own(p)
        limit = p.rate_limiting.bucket.read_limit
    BEV_UNLOCK(bev)
    return limit


cdef ev_ssize_t bufferevent_get_write_limit(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef ev_ssize_t limit = EV_RATE_LIMIT_MAX
    BEV_LOCK(bev)
    if p.rate_limiting != NULL and p.rate_limiting.cfg != NULL:
        fill_own(p)
        limit = p.rate_limiting.bucket.write_limit
    BEV_UNLOCK(bev)
    return limit


cdef int bufferevent_decrement_read_limit(bufferevent *bev, ev_ssize_t decr) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef int result = -1
    BEV_LOCK(bev)
    if p.rate_limiting != NULL and p.rate_limiting.cfg != NULL:
        fill_own(p)
        p.rate_limiting.bucket.read_limit -= decr
        result = look_at_read_bucket(p)
    BEV_UNLOCK(bev)
    return result


cdef int bufferevent_decrement_write_limit(bufferevent *bev, ev_ssize_t decr) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef int result = -1
    BEV_LOCK(bev)
    if p.rate_limiting != NULL and p.rate_limiting.cfg != NULL:
        fill_own(p)
        p.rate_limiting.bucket.write_limit -= decr
        result = look_at_write_bucket(p)
    BEV_UNLOCK(bev)
    return result


# --- what the kinds of bufferevents ask -----------------------------------------------------------------

cdef ev_ssize_t bufferevent_get_read_max_(bufferevent_private *p) noexcept nogil:
    cdef bufferevent_rate_limit *limits = p.rate_limiting
    cdef ev_ssize_t most = p.max_single_read if p.max_single_read else MAX_SINGLE_READ_DEFAULT
    cdef ev_ssize_t share
    if limits == NULL:
        return most
    if limits.cfg != NULL:
        fill_own(p)
        most = limits.bucket.read_limit
    if limits.group != NULL:
        share = group_share_(p, True)
        if share < most:
            most = share
    return most if most > 0 else 0


cdef ev_ssize_t bufferevent_get_write_max_(bufferevent_private *p) noexcept nogil:
    cdef bufferevent_rate_limit *limits = p.rate_limiting
    cdef ev_ssize_t most = p.max_single_write if p.max_single_write else MAX_SINGLE_WRITE_DEFAULT
    cdef ev_ssize_t share
    if limits == NULL:
        return most
    if limits.cfg != NULL:
        fill_own(p)
        most = limits.bucket.write_limit
    if limits.group != NULL:
        share = group_share_(p, False)
        if share < most:
            most = share
    return most if most > 0 else 0


cdef int bufferevent_decrement_read_buckets_(bufferevent_private *p, ev_ssize_t bytes) noexcept nogil:
    cdef bufferevent_rate_limit *limits = p.rate_limiting
    cdef int result = 0
    if limits == NULL:
        return 0
    if limits.cfg != NULL:
        limits.bucket.read_limit -= bytes
        result = look_at_read_bucket(p)
    if limits.group != NULL:
        group_take_(p, True, bytes)
    return result


cdef int bufferevent_decrement_write_buckets_(bufferevent_private *p, ev_ssize_t bytes) noexcept nogil:
    cdef bufferevent_rate_limit *limits = p.rate_limiting
    cdef int result = 0
    if limits == NULL:
        return 0
    if limits.cfg != NULL:
        limits.bucket.write_limit -= bytes
        result = look_at_write_bucket(p)
    if limits.group != NULL:
        group_take_(p, False, bytes)
    return result


cdef ev_ssize_t bufferevent_get_max_to_read(bufferevent *bev) noexcept nogil:
    cdef ev_ssize_t most
    BEV_LOCK(bev)
    most = bufferevent_get_read_max_(BEV_UPCAST(bev))
    BEV_UNLOCK(bev)
    return most


cdef ev_ssize_t bufferevent_get_max_to_write(bufferevent *bev) noexcept nogil:
    cdef ev_ssize_t most
    BEV_LOCK(bev)
    most = bufferevent_get_write_max_(BEV_UPCAST(bev))
    BEV_UNLOCK(bev)
    return most
