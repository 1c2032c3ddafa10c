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


cdef inline ev_ssize_t *tokens(bufferevent_rate_limit *limits, bint reading) noexcept nogil:
    return &limits.bucket.read_limit if reading else &limits.bucket.write_limit


cdef int look_at_bucket(bufferevent_private *p, bint reading) noexcept nogil:
    """Suspends or goes on, as the bucket has it."""
    cdef bint empty = tokens(p.rate_limiting, reading)[0] <= 0
    cdef unsigned short suspended = p.read_suspended if reading else p.write_suspended
    if empty == (suspended & BEV_SUSPEND_BW != 0):
        return 0
    if reading and empty:
        bufferevent_suspend_read_(&p.bev, BEV_SUSPEND_BW)
    elif reading:
        bufferevent_unsuspend_read_(&p.bev, BEV_SUSPEND_BW)
    elif empty:
        bufferevent_suspend_write_(&p.bev, BEV_SUSPEND_BW)
    else:
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
        look_at_bucket(p, True)
        look_at_bucket(p, False)
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
            look_at_bucket(p, True)
            look_at_bucket(p, False)
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


cdef ev_ssize_t limit_now(bufferevent *bev, bint reading) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef ev_ssize_t limit = EV_RATE_LIMIT_MAX
    BEV_LOCK(bev)
    if p.rate_limiting != NULL and p.rate_limiting.cfg != NULL:
        fill_own(p)
        limit = tokens(p.rate_limiting, reading)[0]
    BEV_UNLOCK(bev)
    return limit


cdef ev_ssize_t bufferevent_get_read_limit(bufferevent *bev) noexcept nogil:
    return limit_now(bev, True)


cdef ev_ssize_t bufferevent_get_write_limit(bufferevent *bev) noexcept nogil:
    return limit_now(bev, False)


cdef int decrement(bufferevent *bev, bint reading, ev_ssize_t decr) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef int result = -1
    BEV_LOCK(bev)
    if p.rate_limiting != NULL and p.rate_limiting.cfg != NULL:
        fill_own(p)
        tokens(p.rate_limiting, reading)[0] -= decr
        result = look_at_bucket(p, reading)
    BEV_UNLOCK(bev)
    return result


cdef int bufferevent_decrement_read_limit(bufferevent *bev, ev_ssize_t decr) noexcept nogil:
    return decrement(bev, True, decr)


cdef int bufferevent_decrement_write_limit(bufferevent *bev, ev_ssize_t decr) noexcept nogil:
    return decrement(bev, False, decr)


# --- what the kinds of bufferevents ask -----------------------------------------------------------------

cdef inline ev_ssize_t most_now(bufferevent_private *p, bint reading, ev_ssize_t most) noexcept nogil:
    """`most` is what applies without limits."""
    cdef bufferevent_rate_limit *limits = p.rate_limiting
    cdef ev_ssize_t share
    if limits == NULL:
        return most
    if limits.cfg != NULL:
        fill_own(p)
        most = tokens(limits, reading)[0]
    if limits.group != NULL:
        share = group_share_(p, reading)
        if share < most:
            most = share
    return most if most > 0 else 0


cdef ev_ssize_t bufferevent_get_read_max_(bufferevent_private *p) noexcept nogil:
    return most_now(p, True, p.max_single_read if p.max_single_read else MAX_SINGLE_READ_DEFAULT)


cdef ev_ssize_t bufferevent_get_write_max_(bufferevent_private *p) noexcept nogil:
    return most_now(p, False, p.max_single_write if p.max_single_write else MAX_SINGLE_WRITE_DEFAULT)


cdef inline int take(bufferevent_private *p, bint reading, ev_ssize_t bytes) noexcept nogil:
    cdef bufferevent_rate_limit *limits = p.rate_limiting
    cdef int result = 0
    if limits == NULL:
        return 0
    if limits.cfg != NULL:
        tokens(limits, reading)[0] -= bytes
        result = look_at_bucket(p, reading)
    if limits.group != NULL:
        group_take_(p, reading, bytes)
    return result


cdef int bufferevent_decrement_read_buckets_(bufferevent_private *p, ev_ssize_t bytes) noexcept nogil:
    return take(p, True, bytes)


cdef int bufferevent_decrement_write_buckets_(bufferevent_private *p, ev_ssize_t bytes) noexcept nogil:
    return take(p, False, bytes)


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
