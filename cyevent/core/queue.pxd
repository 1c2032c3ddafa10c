# Active queues, the counts that say whether a base still has work, and waking a base from another thread.
# All of it is called with the base's lock held.

from libc.stdint cimport uint8_t
from cyevent.core.sys cimport EV_UNLIKELY, ev_load_ulong
from cyevent.core.types cimport *
from cyevent.core.types cimport event_base, event_callback, event_queue, event, deferred_cb_fn
from cyevent.core.threads cimport EVLOCK_UNLOCK, evthread_cond_broadcast_, evthread_id_

cdef int evthread_notify_base_(event_base *base) noexcept nogil
# See unlock_and_notify().
cdef void notify_without_lock_(event_base *base) noexcept nogil
# Waits until no thread is about to write to the descriptor of notifications any more; none begins to without
# the lock.
cdef void evthread_notify_quiesce_(event_base *base) noexcept nogil
# Puts a deferred callback on its active queue; 1 if it was not there already.
cdef int event_callback_activate_nolock_(event_base *base, event_callback *cb) noexcept nogil
cdef int event_callback_activate_later_nolock_(event_base *base, event_callback *cb) noexcept nogil
# Makes an event active in the next turn of the loop rather than in this one.
cdef void event_active_later_nolock_(event *ev, int what) noexcept nogil
cdef void event_active_later_(event *ev, int what) noexcept nogil
cdef void event_callback_cancel_nolock_(event_base *base, event_callback *cb) noexcept nogil

# Deferred callbacks: work for the next free moment of the loop, without a descriptor or a timer.
cdef void event_deferred_cb_init_(event_callback *cb, int priority, deferred_cb_fn fn,
                                  void *arg) noexcept nogil
cdef void event_deferred_cb_set_priority_(event_callback *cb, int priority) noexcept nogil
# These two take the lock themselves. schedule returns 1 if it was not scheduled already.
cdef int event_deferred_cb_schedule_(event_base *base, event_callback *cb) noexcept nogil
cdef void event_deferred_cb_cancel_(event_base *base, event_callback *cb) noexcept nogil
# A virtual event keeps a loop running that has no other event (a completion under way, say).
cdef void event_base_add_virtual_(event_base *base) noexcept nogil
cdef void event_base_del_virtual_(event_base *base) noexcept nogil


cdef inline bint in_loop_thread(event_base *base) noexcept nogil:
    return base.lock == NULL or ev_load_ulong(&base.owner) == evthread_id_()


# A loop that does not sleep finds what is new by itself, so waking it costs a system call only when it does.
cdef inline bint needs_notify(event_base *base) noexcept nogil:
    return base.waiting and not in_loop_thread(base)


# Around a change that may have to wake the loop: notify_later() after locking, unlock_and_notify() instead of
# unlocking. The first thing that a woken loop wants is the lock, so the waking system call is made without it.
# Nothing in between may wait for a condition.
cdef inline void notify_later(event_base *base) noexcept nogil:
    base.notify_later = True


cdef inline void unlock_and_notify(event_base *base) noexcept nogil:
    base.notify_later = False
    if base.notify_due:
        notify_without_lock_(base)
    else:
        EVLOCK_UNLOCK(base.lock)


# Whoever waits for the end of the running callback, an event's or a watcher's, may go on.
cdef inline void release_waiters(event_base *base) noexcept nogil:
    base.current_event_waiters = 0
    base.wait_round += 1
    evthread_cond_broadcast_(base.current_event_cond)


cdef inline bint has_events(event_base *base) noexcept nogil:
    return base.virtual_event_count > 0 or base.event_count > 0


cdef inline void count_event(event_base *base, int flags) noexcept nogil:
    if not (flags & EVLIST_INTERNAL):
        base.event_count += 1
        if base.event_count > base.event_count_max:
            base.event_count_max = base.event_count


cdef inline void uncount_event(event_base *base, int flags) noexcept nogil:
    if not (flags & EVLIST_INTERNAL):
        base.event_count -= 1


cdef inline void queue_append(event_queue *queue, event_callback *cb) noexcept nogil:
    cb.next = NULL
    cb.prev = queue.last
    if queue.last != NULL:
        queue.last.next = cb
    else:
        queue.first = cb
    queue.last = cb


cdef inline void queue_unlink(event_queue *queue, event_callback *cb) noexcept nogil:
    if cb.prev != NULL:
        cb.prev.next = cb.next
    else:
        queue.first = cb.next
    if cb.next != NULL:
        cb.next.prev = cb.prev
    else:
        queue.last = cb.prev


cdef inline void insert_active(event_base *base, event_callback *cb) noexcept nogil:
    count_event(base, cb.flags)
    cb.flags |= EVLIST_ACTIVE
    base.event_count_active += 1
    if base.event_count_active > base.event_count_active_max:
        base.event_count_active_max = base.event_count_active
    if EV_UNLIKELY(cb.priority >= base.nqueues):
        # Made when the base had more priorities.
        cb.priority = <uint8_t>(base.nqueues - 1)
    queue_append(&base.queues[cb.priority], cb)


cdef inline void remove_active(event_base *base, event_callback *cb) noexcept nogil:
    uncount_event(base, cb.flags)
    cb.flags &= <uint16_t>~EVLIST_ACTIVE
    base.event_count_active -= 1
    queue_unlink(&base.queues[cb.priority], cb)


cdef inline void insert_active_later(event_base *base, event_callback *cb) noexcept nogil:
    if cb.flags & (EVLIST_ACTIVE_LATER | EVLIST_ACTIVE):
        return
    count_event(base, cb.flags)
    cb.flags |= EVLIST_ACTIVE_LATER
    base.event_count_active += 1
    if base.event_count_active > base.event_count_active_max:
        base.event_count_active_max = base.event_count_active
    queue_append(&base.later, cb)


cdef inline void remove_active_later(event_base *base, event_callback *cb) noexcept nogil:
    uncount_event(base, cb.flags)
    cb.flags &= <uint16_t>~EVLIST_ACTIVE_LATER
    base.event_count_active -= 1
    queue_unlink(&base.later, cb)
