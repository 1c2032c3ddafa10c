"""Rate limits of groups.

Who reads first must not take it all, and who is idle must not keep the others from its part. A group deals in
rounds: in each, every member may pass the same quantum, the bucket divided by the members. Who has used its
own is suspended. When a turn of the loop brings no more bytes from the others, what is left in the bucket is
the next round's, divided by those that wait. When it is empty all wait for a tick; who comes first then
changes from tick to tick, as the last of a bucket may not do for all. Nothing runs while all wait.

Locks: a bufferevent's, then a group's, then a base's. A group therefore cannot suspend or wake its members
itself: those find out when they next want to pass bytes, and are woken through a callback of their own.
"""

from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.tokens cimport bucket_begin_, bucket_fill_, bucket_wait_
from cyevent.bufferevent.types cimport *
from cyevent.bufferevent.types cimport group_direction, member_direction
from cyevent.core.event cimport (
    base_now, event_add_ns_, event_assign, event_del, event_remove_timer,
    wait_for_callback_,
)
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.queue cimport (
    event_callback_activate_later_nolock_, event_callback_activate_nolock_,
    event_callback_cancel_nolock_, event_deferred_cb_init_,
)
from cyevent.core.sys cimport set_errno, EINVAL
from cyevent.core.threads cimport evthread_lock_alloc_, evthread_lock_free_
from cyevent.core.types cimport *
from cyevent.core.types cimport event_callback


# --- with the group's lock held ------------------------------------------------------------------------

cdef inline event_base *base_of(bufferevent_rate_limit_group *group) noexcept nogil:
    return group.refill.base


cdef void next_round_later(bufferevent_rate_limit_group *group) noexcept nogil:
    cdef event_base *base = base_of(group)
    EVLOCK_LOCK(base.lock)
    event_callback_activate_later_nolock_(base, &group.next_round)
    EVLOCK_UNLOCK(base.lock)


cdef void wait_for_group_tick(bufferevent_rate_limit_group *group) noexcept nogil:
    if not group.reading.suspended and not group.writing.suspended:
        event_remove_timer(&group.refill)
        return
    event_add_ns_(&group.refill, bucket_wait_(&group.bucket, &group.cfg, group.reading.suspended,
                                              group.writing.suspended, base_now(base_of(group))))


cdef inline ev_ssize_t share_of(bufferevent_rate_limit_group *group, ev_ssize_t limit, int n) noexcept nogil:
    cdef ev_ssize_t share = limit // n if n > 1 else limit
    return share if share > group.min_share else group.min_share


cdef int number_waiting(bufferevent_rate_limit_group *group, bint reading) noexcept nogil:
    cdef bufferevent_rate_limit *limits = group.first
    cdef int n = 0
    while limits != NULL:
        n += limits.reading.waiting if reading else limits.writing.waiting
        limits = limits.next
    return n


cdef void wake(bufferevent_rate_limit *limits) noexcept nogil:
    cdef event_base *base = (<bufferevent_private *>limits.wake.arg).bev.ev_base
    EVLOCK_LOCK(base.lock)
    event_callback_activate_nolock_(base, &limits.wake)
    EVLOCK_UNLOCK(base.lock)


cdef void begin_round(bufferevent_rate_limit_group *group, bint reading, int among) noexcept nogil:
    """Deals what is in the bucket to so many, and wakes all that wait."""
    cdef group_direction *direction = &group.reading if reading else &group.writing
    cdef bufferevent_rate_limit *limits = group.first
    cdef member_direction *member
    direction.round += 1
    direction.waiting = direction.progress = False
    direction.quantum = share_of(group, group.bucket.read_limit if reading else group.bucket.write_limit,
                                 among)
    while limits != NULL:
        member = &limits.reading if reading else &limits.writing
        if member.waiting:
            member.waiting = False
            wake(limits)
        limits = limits.next


cdef void rotate(bufferevent_rate_limit_group *group) noexcept nogil:
    """The first member becomes the last."""
    cdef bufferevent_rate_limit *limits = group.first
    if limits == group.last:
        return
    group.first = limits.next
    group.first.prev = NULL
    limits.next = NULL
    limits.prev = group.last
    group.last.next = limits
    group.last = limits


cdef void look_at_group(bufferevent_rate_limit_group *group, bint reading) noexcept nogil:
    """After the bucket or the limits changed."""
    cdef group_direction *direction = &group.reading if reading else &group.writing
    cdef bint empty = (group.bucket.read_limit if reading else group.bucket.write_limit) <= 0
    if empty == direction.suspended:
        return
    direction.suspended = empty
    if not empty:
        rotate(group)
        begin_round(group, reading, number_waiting(group, reading))
    wait_for_group_tick(group)


cdef void fill_group(bufferevent_rate_limit_group *group) noexcept nogil:
    if not bucket_fill_(&group.bucket, &group.cfg, base_now(base_of(group))):
        return
    if group.reading.suspended:
        look_at_group(group, True)
    else:
        begin_round(group, True, group.n_members)
    if group.writing.suspended:
        look_at_group(group, False)
    else:
        begin_round(group, False, group.n_members)


cdef inline void new_quantum(group_direction *direction, member_direction *member) noexcept nogil:
    if member.round != direction.round:
        member.round = direction.round
        member.left = direction.quantum


cdef void group_tick(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef bufferevent_rate_limit_group *group = <bufferevent_rate_limit_group *>arg
    EVLOCK_LOCK(group.lock)
    fill_group(group)
    wait_for_group_tick(group)
    EVLOCK_UNLOCK(group.lock)


cdef void look_at_round(bufferevent_rate_limit_group *group, bint reading) noexcept nogil:
    cdef group_direction *direction = &group.reading if reading else &group.writing
    if not direction.waiting or direction.suspended:
        return
    if direction.progress:
        direction.progress = False
        next_round_later(group)
    else:
        begin_round(group, reading, number_waiting(group, reading))


cdef void next_round_due(event_callback *cb, void *arg) noexcept nogil:
    """A turn has gone by since somebody had used up its quantum."""
    cdef bufferevent_rate_limit_group *group = <bufferevent_rate_limit_group *>arg
    EVLOCK_LOCK(group.lock)
    look_at_round(group, True)
    look_at_round(group, False)
    EVLOCK_UNLOCK(group.lock)


cdef bint take_from_group(bufferevent_rate_limit *limits, bint reading, ev_ssize_t bytes) noexcept nogil:
    """True if the member has to wait."""
    cdef bufferevent_rate_limit_group *group = limits.group
    cdef group_direction *direction = &group.reading if reading else &group.writing
    cdef member_direction *member = &limits.reading if reading else &limits.writing
    new_quantum(direction, member)
    member.left -= bytes
    direction.progress = True
    if reading:
        group.total_read += bytes
        group.bucket.read_limit -= bytes
    else:
        group.total_written += bytes
        group.bucket.write_limit -= bytes
    look_at_group(group, reading)
    if direction.suspended:
        member.waiting = True
    elif member.left <= 0:
        member.waiting = True
        if not direction.waiting:
            direction.waiting = True
            next_round_later(group)
    return member.waiting


# --- members -------------------------------------------------------------------------------------------

cdef ev_ssize_t group_share_(bufferevent_private *p, bint reading) noexcept nogil:
    cdef bufferevent_rate_limit *limits = p.rate_limiting
    cdef bufferevent_rate_limit_group *group = limits.group
    cdef group_direction *direction = &group.reading if reading else &group.writing
    cdef member_direction *member = &limits.reading if reading else &limits.writing
    cdef ev_ssize_t share = 0
    EVLOCK_LOCK(group.lock)
    fill_group(group)
    new_quantum(direction, member)
    if direction.suspended:
        member.waiting = True
    elif not member.waiting:
        share = member.left
    EVLOCK_UNLOCK(group.lock)
    if share == 0:
        if reading:
            bufferevent_suspend_read_(&p.bev, BEV_SUSPEND_BW_GROUP)
        else:
            bufferevent_suspend_write_(&p.bev, BEV_SUSPEND_BW_GROUP)
    return share


cdef void group_take_(bufferevent_private *p, bint reading, ev_ssize_t bytes) noexcept nogil:
    cdef bufferevent_rate_limit_group *group = p.rate_limiting.group
    cdef bint waits
    EVLOCK_LOCK(group.lock)
    waits = take_from_group(p.rate_limiting, reading, bytes)
    EVLOCK_UNLOCK(group.lock)
    if waits and reading:
        bufferevent_suspend_read_(&p.bev, BEV_SUSPEND_BW_GROUP)
    elif waits:
        bufferevent_suspend_write_(&p.bev, BEV_SUSPEND_BW_GROUP)


cdef bufferevent_rate_limit *bufferevent_limits_(bufferevent_private *p) noexcept nogil:
    cdef bufferevent_rate_limit *limits = p.rate_limiting
    if limits != NULL:
        return limits
    limits = <bufferevent_rate_limit *>mm_calloc(1, sizeof(bufferevent_rate_limit))
    if limits == NULL:
        return NULL
    limits.leave = leave_group
    event_deferred_cb_init_(&limits.wake, bufferevent_get_priority(&p.bev), woken, p)
    p.rate_limiting = limits
    return limits


cdef void woken(event_callback *cb, void *arg) noexcept nogil:
    """The group goes on."""
    cdef bufferevent_private *p = <bufferevent_private *>arg
    cdef bufferevent_rate_limit *limits
    cdef bint read_on = False
    cdef bint write_on = False
    bufferevent_lock_in_loop_(&p.bev)
    p.refcnt += 1
    limits = p.rate_limiting
    if limits.group != NULL:
        EVLOCK_LOCK(limits.group.lock)
        # It may have come to a stop again.
        limits.reading.waiting |= limits.group.reading.suspended \
            and p.read_suspended & BEV_SUSPEND_BW_GROUP != 0
        limits.writing.waiting |= limits.group.writing.suspended \
            and p.write_suspended & BEV_SUSPEND_BW_GROUP != 0
        read_on = not limits.reading.waiting
        write_on = not limits.writing.waiting
        EVLOCK_UNLOCK(limits.group.lock)
    if read_on:
        bufferevent_unsuspend_read_(&p.bev, BEV_SUSPEND_BW_GROUP)
    if write_on:
        bufferevent_unsuspend_write_(&p.bev, BEV_SUSPEND_BW_GROUP)
    bufferevent_decref_and_unlock_(&p.bev)


# --- the API ------------------------------------------------------------------------------------------

cdef bufferevent_rate_limit_group *bufferevent_rate_limit_group_new(
        event_base *base, const ev_token_bucket_cfg *cfg) noexcept nogil:
    cdef bufferevent_rate_limit_group *group
    group = <bufferevent_rate_limit_group *>mm_calloc(1, sizeof(bufferevent_rate_limit_group))
    if group == NULL:
        return NULL
    if base.lock != NULL:
        group.lock = evthread_lock_alloc_()
        if group.lock == NULL:
            mm_free(group)
            return NULL
    group.cfg = cfg[0]
    event_assign(&group.refill, base, -1, 0, group_tick, group)
    event_deferred_cb_init_(&group.next_round, base.nqueues // 2, next_round_due, group)
    bucket_begin_(&group.bucket, cfg, base_now(base), False)
    bufferevent_rate_limit_group_set_min_share(group, MIN_SHARE_DEFAULT)
    return group


cdef int bufferevent_rate_limit_group_set_cfg(bufferevent_rate_limit_group *group,
                                              const ev_token_bucket_cfg *cfg) noexcept nogil:
    if group == NULL or cfg == NULL:
        set_errno(EINVAL)
        return -1
    EVLOCK_LOCK(group.lock)
    bucket_fill_(&group.bucket, &group.cfg, base_now(base_of(group)))
    group.cfg = cfg[0]
    bucket_begin_(&group.bucket, cfg, base_now(base_of(group)), True)
    bufferevent_rate_limit_group_set_min_share(group, group.configured_min_share)
    look_at_group(group, True)
    look_at_group(group, False)
    wait_for_group_tick(group)
    EVLOCK_UNLOCK(group.lock)
    return 0


cdef int bufferevent_rate_limit_group_set_min_share(bufferevent_rate_limit_group *group,
                                                    size_t share) noexcept nogil:
    if share > <size_t>EV_RATE_LIMIT_MAX:
        set_errno(EINVAL)
        return -1
    EVLOCK_LOCK(group.lock)
    group.configured_min_share = share
    if share > group.cfg.read_rate:
        share = group.cfg.read_rate
    if share > group.cfg.write_rate:
        share = group.cfg.write_rate
    # Nobody gets on by steps of nothing.
    group.min_share = <ev_ssize_t>share if share else 1
    EVLOCK_UNLOCK(group.lock)
    return 0


cdef void bufferevent_rate_limit_group_free(bufferevent_rate_limit_group *group) noexcept nogil:
    cdef event_base *base = base_of(group)
    event_del(&group.refill)
    EVLOCK_LOCK(base.lock)
    event_callback_cancel_nolock_(base, &group.next_round)
    wait_for_callback_(base, &group.next_round)
    EVLOCK_UNLOCK(base.lock)
    evthread_lock_free_(group.lock)
    mm_free(group)


cdef int bufferevent_add_to_rate_limit_group(bufferevent *bev,
                                             bufferevent_rate_limit_group *group) noexcept nogil:
    cdef bufferevent_rate_limit *limits
    cdef bint read_waits
    cdef bint write_waits
    BEV_LOCK(bev)
    limits = bufferevent_limits_(BEV_UPCAST(bev))
    if limits == NULL or limits.group == group:
        BEV_UNLOCK(bev)
        return -1 if limits == NULL else 0
    if limits.group != NULL:
        bufferevent_remove_from_rate_limit_group(bev)
    EVLOCK_LOCK(group.lock)
    limits.group = group
    limits.next = group.first
    limits.prev = NULL
    if group.first != NULL:
        group.first.prev = limits
    else:
        group.last = limits
    group.first = limits
    group.n_members += 1
    fill_group(group)
    # For it, and those who have passed nothing in this round.
    group.reading.quantum = share_of(group, group.bucket.read_limit, group.n_members)
    group.writing.quantum = share_of(group, group.bucket.write_limit, group.n_members)
    limits.reading.round = group.reading.round - 1
    limits.writing.round = group.writing.round - 1
    limits.reading.waiting = read_waits = group.reading.suspended
    limits.writing.waiting = write_waits = group.writing.suspended
    EVLOCK_UNLOCK(group.lock)
    if read_waits:
        bufferevent_suspend_read_(bev, BEV_SUSPEND_BW_GROUP)
    if write_waits:
        bufferevent_suspend_write_(bev, BEV_SUSPEND_BW_GROUP)
    BEV_UNLOCK(bev)
    return 0


cdef void leave_group(bufferevent_private *p) noexcept nogil:
    cdef bufferevent_rate_limit *limits = p.rate_limiting
    cdef bufferevent_rate_limit_group *group = limits.group
    if group == NULL:
        return
    EVLOCK_LOCK(group.lock)
    if limits.prev != NULL:
        limits.prev.next = limits.next
    else:
        group.first = limits.next
    if limits.next != NULL:
        limits.next.prev = limits.prev
    else:
        group.last = limits.prev
    group.n_members -= 1
    limits.group = NULL
    limits.next = limits.prev = NULL
    limits.reading.waiting = limits.writing.waiting = False
    EVLOCK_UNLOCK(group.lock)


cdef int bufferevent_remove_from_rate_limit_group(bufferevent *bev) noexcept nogil:
    BEV_LOCK(bev)
    if BEV_UPCAST(bev).rate_limiting != NULL:
        leave_group(BEV_UPCAST(bev))
        bufferevent_unsuspend_read_(bev, BEV_SUSPEND_BW_GROUP)
        bufferevent_unsuspend_write_(bev, BEV_SUSPEND_BW_GROUP)
    BEV_UNLOCK(bev)
    return 0


cdef ev_ssize_t bufferevent_rate_limit_group_get_read_limit(
        bufferevent_rate_limit_group *group) noexcept nogil:
    cdef ev_ssize_t limit
    EVLOCK_LOCK(group.lock)
    fill_group(group)
    limit = group.bucket.read_limit
    EVLOCK_UNLOCK(group.lock)
    return limit


cdef ev_ssize_t bufferevent_rate_limit_group_get_write_limit(
        bufferevent_rate_limit_group *group) noexcept nogil:
    cdef ev_ssize_t limit
    EVLOCK_LOCK(group.lock)
    fill_group(group)
    limit = group.bucket.write_limit
    EVLOCK_UNLOCK(group.lock)
    return limit


cdef int bufferevent_rate_limit_group_decrement_read(bufferevent_rate_limit_group *group,
                                                     ev_ssize_t decr) noexcept nogil:
    EVLOCK_LOCK(group.lock)
    fill_group(group)
    group.bucket.read_limit -= decr
    look_at_group(group, True)
    EVLOCK_UNLOCK(group.lock)
    return 0


cdef int bufferevent_rate_limit_group_decrement_write(bufferevent_rate_limit_group *group,
                                                      ev_ssize_t decr) noexcept nogil:
    EVLOCK_LOCK(group.lock)
    fill_group(group)
    group.bucket.write_limit -= decr
    look_at_group(group, False)
    EVLOCK_UNLOCK(group.lock)
    return 0


cdef void bufferevent_rate_limit_group_get_totals(bufferevent_rate_limit_group *group,
                                                  uint64_t *total_read_out,
                                                  uint64_t *total_written_out) noexcept nogil:
    EVLOCK_LOCK(group.lock)
    if total_read_out != NULL:
        total_read_out[0] = group.total_read
    if total_written_out != NULL:
        total_written_out[0] = group.total_written
    EVLOCK_UNLOCK(group.lock)


cdef void bufferevent_rate_limit_group_reset_totals(bufferevent_rate_limit_group *group) noexcept nogil:
    EVLOCK_LOCK(group.lock)
    group.total_read = group.total_written = 0
    EVLOCK_UNLOCK(group.lock)
