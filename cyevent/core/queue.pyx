"""Active queues, deferred callbacks and cross-thread notification."""

from libc.stdint cimport uint8_t, uint64_t
from cyevent.backends.vtable cimport event_op
from cyevent.core.sys cimport (
    EAGAIN, EINTR, ev_add_int, ev_load_int, ev_process_id, ev_store_int, sched_yield, write,
)
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from libc.errno cimport errno

cdef enum:
    # A turn runs at most this many callbacks that were deferred in the same turn; the others wait for the
    # next one, so that two callbacks that defer each other cannot starve the descriptors.
    MAX_DEFERREDS_QUEUED = 32


# What it takes is all that it uses: without the lock, nothing else of the base may be read.
cdef int write_notification(const event_op *ops, void *backend, int fd) noexcept nogil:
    cdef uint64_t one = 1
    if fd < 0:
        return ops.notify(backend)
    # An eventfd takes eight bytes; so does the socketpair, whose reader drains it.
    while write(fd, &one, sizeof(one)) < 0:
        if errno == EAGAIN:
            break
        if errno != EINTR:
            return -1
    return 0


cdef int evthread_notify_base_(event_base *base) noexcept nogil:
    if not base.notifiable:
        return -1
    if ev_load_int(&base.is_notify_pending):
        return 0
    ev_store_int(&base.is_notify_pending, True)
    if base.notify_later:
        base.notify_due = True
        return 0
    if write_notification(base.ops, base.backend, base.notify_fds[1]) < 0:
        ev_store_int(&base.is_notify_pending, False)
        return -1
    return 0


cdef void notify_without_lock_(event_base *base) noexcept nogil:
    cdef const event_op *ops = base.ops
    cdef void *backend = base.backend
    cdef int fd = base.notify_fds[1]
    base.notify_due = False
    # The loop may end and its base be freed as soon as the lock goes: freeing waits for this count, and has the
    # lock, so that it must not be needed any more.
    ev_add_int(&base.notifying, 1)
    EVLOCK_UNLOCK(base.lock)
    if write_notification(ops, backend, fd) < 0:
        ev_store_int(&base.is_notify_pending, False)
    ev_add_int(&base.notifying, -1)


cdef void evthread_notify_quiesce_(event_base *base) noexcept nogil:
    while ev_add_int(&base.notifying, 0) != 0:
        if base.process != ev_process_id():
            # A forked child has none of the threads that were about to write.
            ev_store_int(&base.notifying, 0)
            break
        sched_yield()


cdef int event_callback_activate_nolock_(event_base *base, event_callback *cb) noexcept nogil:
    cdef int added = 1
    if cb.flags & (EVLIST_FINALIZING | EVLIST_ACTIVE) or base.closed:
        return 0
    if cb.flags & EVLIST_ACTIVE_LATER:
        remove_active_later(base, cb)
        added = 0
    insert_active(base, cb)
    if needs_notify(base):
        evthread_notify_base_(base)
    return added


cdef int event_callback_activate_later_nolock_(event_base *base,
                                               event_callback *cb) noexcept nogil:
    if cb.flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER | EVLIST_FINALIZING) or base.closed:
        return 0
    insert_active_later(base, cb)
    if needs_notify(base):
        evthread_notify_base_(base)
    return 1


cdef void event_active_later_nolock_(event *ev, int what) noexcept nogil:
    if ev.evcb.flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER):
        ev.res |= <short>what
        return
    ev.res = <short>what
    event_callback_activate_later_nolock_(ev.base, &ev.evcb)


cdef void event_active_later_(event *ev, int what) noexcept nogil:
    EVLOCK_LOCK(ev.base.lock)
    event_active_later_nolock_(ev, what)
    EVLOCK_UNLOCK(ev.base.lock)


cdef void event_callback_cancel_nolock_(event_base *base, event_callback *cb) noexcept nogil:
    if cb.flags & EVLIST_ACTIVE:
        remove_active(base, cb)
    elif cb.flags & EVLIST_ACTIVE_LATER:
        remove_active_later(base, cb)


cdef void event_deferred_cb_init_(event_callback *cb, int priority, deferred_cb_fn fn,
                                  void *arg) noexcept nogil:
    cb.next = cb.prev = NULL
    cb.flags = 0
    cb.priority = <uint8_t>priority
    cb.closure = EV_CLOSURE_CB_SELF
    cb.ncalls = 0
    cb.common_index = 0
    cb.cb.selfcb = fn
    cb.arg = arg


cdef void event_deferred_cb_set_priority_(event_callback *cb, int priority) noexcept nogil:
    cb.priority = <uint8_t>priority


cdef int event_deferred_cb_schedule_(event_base *base, event_callback *cb) noexcept nogil:
    cdef int added
    EVLOCK_LOCK(base.lock)
    notify_later(base)
    if base.ndeferreds_queued > MAX_DEFERREDS_QUEUED:
        added = event_callback_activate_later_nolock_(base, cb)
    else:
        added = event_callback_activate_nolock_(base, cb)
        base.ndeferreds_queued += added
    unlock_and_notify(base)
    return added


cdef void event_deferred_cb_cancel_(event_base *base, event_callback *cb) noexcept nogil:
    EVLOCK_LOCK(base.lock)
    event_callback_cancel_nolock_(base, cb)
    EVLOCK_UNLOCK(base.lock)


cdef void event_base_add_virtual_(event_base *base) noexcept nogil:
    EVLOCK_LOCK(base.lock)
    base.virtual_event_count += 1
    if base.virtual_event_count > base.virtual_event_count_max:
        base.virtual_event_count_max = base.virtual_event_count
    EVLOCK_UNLOCK(base.lock)


cdef void event_base_del_virtual_(event_base *base) noexcept nogil:
    EVLOCK_LOCK(base.lock)
    base.virtual_event_count -= 1
    if base.virtual_event_count == 0 and needs_notify(base):
        evthread_notify_base_(base)
    EVLOCK_UNLOCK(base.lock)
