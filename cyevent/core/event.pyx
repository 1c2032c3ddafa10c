"""Events: assigning, adding, deleting, activating, finalizing."""

from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memset
from cyevent.core.clock cimport (
    timeval_to_ns, ns_to_timeval, wall_clock_ns, NS_PER_S, COMMON_TIMEOUT_MASK,
    COMMON_TIMEOUT_MAGIC, COMMON_TIMEOUT_IDX_MASK, COMMON_TIMEOUT_IDX_SHIFT, MAX_COMMON_TIMEOUTS,
)
from cyevent.core.fdmap cimport (
    evmap_io_add_, evmap_io_del_, evmap_signal_add_, evmap_signal_del_, evmap_io_active_,
    evmap_signal_active_,
)
from cyevent.core.debug cimport (
    debug_active_, debug_add_, debug_added_, debug_assign_, debug_delete_, debug_last_use_, debug_teardown_,
    debug_use_, EVENT_GONE_FREED_,
)
from cyevent.core.log cimport debugging_, event_warnx_
from cyevent.core.memory cimport mm_calloc, mm_free, mm_malloc, mm_realloc
from cyevent.core.queue cimport (
    count_event, uncount_event, remove_active, remove_active_later, needs_notify, in_loop_thread,
    has_events, evthread_notify_base_, event_callback_activate_nolock_, notify_later,
    unlock_and_notify,
)
from cyevent.core.sys cimport set_errno, EINVAL, EV_UNLIKELY
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK, evthread_cond_wait_
from cyevent.core.timers cimport (
    timer_heap_reserve, timer_heap_push, timer_heap_remove, timer_heap_adjust, timer_heap_top,
)

cdef enum:
    EV_IO = 0x86        # EV_READ | EV_WRITE | EV_CLOSED
    WALL_OFFSET_LIFE = 5   # seconds

cdef char self_cbarg_marker


cdef void *event_self_cbarg() noexcept nogil:
    return <void *>&self_cbarg_marker


# --- assigning -------------------------------------------------------------------------------------

cdef int event_assign(event *ev, event_base *base, evutil_socket_t fd, short events,
                      event_callback_fn callback, void *arg) noexcept nogil:
    if arg == <void *>&self_cbarg_marker:
        arg = ev
    if events & EV_SIGNAL and events & EV_IO:
        event_warnx_(b"event_assign: EV_SIGNAL is not compatible with EV_READ, EV_WRITE or EV_CLOSED")
        set_errno(EINVAL)
        return -1
    if debugging_():
        debug_assign_(ev, fd, events, callback)
    memset(ev, 0, sizeof(event))
    ev.base = base
    ev.fd = fd
    ev.events = events
    ev.evcb.cb.callback = callback
    ev.evcb.arg = arg
    ev.evcb.flags = EVLIST_INIT
    if events & EV_SIGNAL:
        ev.evcb.closure = EV_CLOSURE_EVENT_SIGNAL
    elif events & EV_PERSIST:
        ev.evcb.closure = EV_CLOSURE_EVENT_PERSIST
    else:
        ev.evcb.closure = EV_CLOSURE_EVENT
    if base != NULL:
        ev.evcb.priority = <uint8_t>(base.nqueues // 2)
    return 0


cdef event *event_new(event_base *base, evutil_socket_t fd, short events,
                      event_callback_fn callback, void *arg) noexcept nogil:
    cdef event *ev = <event *>mm_malloc(sizeof(event))
    if ev == NULL:
        return NULL
    if event_assign(ev, base, fd, events, callback, arg) < 0:
        mm_free(ev)
        return NULL
    return ev


cdef void event_forget_(event *ev) noexcept nogil:
    cdef event_base *base = ev.base
    EVLOCK_LOCK(base.lock)
    event_del_nolock_(ev, EVENT_DEL_AUTOBLOCK)
    if base.current_event == &ev.evcb:
        base.current_event = NULL
    EVLOCK_UNLOCK(base.lock)


cdef void event_free(event *ev) noexcept nogil:
    if debugging_():
        debug_last_use_(ev, b"event_free")
    if ev.base == NULL:
        event_warnx_(b"event_free: event has no event_base set")
    else:
        event_forget_(ev)
    if debugging_():
        debug_teardown_(ev, EVENT_GONE_FREED_)
    mm_free(ev)


cdef int event_base_set(event_base *base, event *ev) noexcept nogil:
    if debugging_():
        debug_use_(ev, b"event_base_set")
    if ev.evcb.flags != EVLIST_INIT:
        return -1
    ev.base = base
    ev.evcb.priority = <uint8_t>(base.nqueues // 2)
    return 0


# --- timeouts --------------------------------------------------------------------------------------

cdef void common_timeout_schedule(common_timeout *queue, event *head) noexcept nogil:
    event_add_nolock_(&queue.timeout_event, head.deadline, True, 0)


cdef void common_timeout_fired(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef common_timeout *queue = <common_timeout *>arg
    cdef event_base *base = queue.base
    cdef event *ev
    cdef int64_t now
    EVLOCK_LOCK(base.lock)
    now = base_now(base)
    while True:
        ev = queue.first
        if ev == NULL or ev.deadline > now:
            break
        timeout_due(ev)
    if ev != NULL:
        common_timeout_schedule(queue, ev)
    EVLOCK_UNLOCK(base.lock)


cdef bint insert_timeout(event_base *base, event *ev, int common_index) noexcept nogil:
    """Files ev by its deadline; True when that made it the first of its queue."""
    cdef common_timeout *queue
    cdef event *after
    count_event(base, ev.evcb.flags)
    ev.evcb.flags |= EVLIST_TIMEOUT
    ev.evcb.common_index = <uint16_t>common_index
    if common_index == 0:
        timer_heap_push(&base.heap, ev)
        return timer_heap_top(&base.heap) == ev
    queue = base.common[common_index - 1]
    # Deadlines come in order unless a clock reading was cached in between, so this walks hardly ever.
    after = queue.last
    while after != NULL and after.deadline > ev.deadline:
        after = after.timer.common.prev
    ev.timer.common.prev = after
    if after != NULL:
        ev.timer.common.next = after.timer.common.next
        after.timer.common.next = ev
    else:
        ev.timer.common.next = queue.first
        queue.first = ev
    if ev.timer.common.next != NULL:
        ev.timer.common.next.timer.common.prev = ev
    else:
        queue.last = ev
    if queue.first == ev:
        common_timeout_schedule(queue, ev)
    return False


cdef void remove_timeout(event_base *base, event *ev) noexcept nogil:
    cdef common_timeout *queue
    uncount_event(base, ev.evcb.flags)
    ev.evcb.flags &= <uint16_t>~EVLIST_TIMEOUT
    if ev.evcb.common_index == 0:
        timer_heap_remove(&base.heap, ev)
        return
    queue = base.common[ev.evcb.common_index - 1]
    if ev.timer.common.prev != NULL:
        ev.timer.common.prev.timer.common.next = ev.timer.common.next
    else:
        queue.first = ev.timer.common.next
    if ev.timer.common.next != NULL:
        ev.timer.common.next.timer.common.prev = ev.timer.common.prev
    else:
        queue.last = ev.timer.common.prev


cdef const timeval *event_base_init_common_timeout(event_base *base,
                                                   const timeval *duration) noexcept nogil:
    cdef int64_t ns
    cdef int i, n
    cdef common_timeout **grown
    cdef common_timeout *queue
    cdef const timeval *result = NULL
    # A caller may hand back what an earlier call returned: timeval_to_ns leaves the magic out.
    ns = timeval_to_ns(duration)
    EVLOCK_LOCK(base.lock)
    for i in range(base.ncommon):
        if base.common[i].duration == ns:
            EVLOCK_UNLOCK(base.lock)
            return &base.common[i].tv
    if base.ncommon == MAX_COMMON_TIMEOUTS:
        event_warnx_(b"event_base_init_common_timeout: too many common timeouts; at most 256")
        EVLOCK_UNLOCK(base.lock)
        return NULL
    if base.ncommon == base.common_allocated:
        n = base.common_allocated * 2 if base.common_allocated else 16
        grown = <common_timeout **>mm_realloc(base.common, n * sizeof(common_timeout *))
        if grown == NULL:
            EVLOCK_UNLOCK(base.lock)
            return NULL
        base.common = grown
        base.common_allocated = n
    queue = <common_timeout *>mm_calloc(1, sizeof(common_timeout))
    if queue != NULL:
        queue.base = base
        queue.duration = ns
        ns_to_timeval(ns, &queue.tv)
        queue.tv.tv_usec |= COMMON_TIMEOUT_MAGIC | (base.ncommon << COMMON_TIMEOUT_IDX_SHIFT)
        event_assign(&queue.timeout_event, base, -1, 0, common_timeout_fired, queue)
        queue.timeout_event.evcb.flags |= EVLIST_INTERNAL
        queue.timeout_event.evcb.priority = 0
        base.common[base.ncommon] = queue
        base.ncommon += 1
        result = &queue.tv
    EVLOCK_UNLOCK(base.lock)
    return result


cdef int common_index_of_(event_base *base, const timeval *tv) noexcept nogil:
    cdef int index
    if (tv.tv_usec & COMMON_TIMEOUT_MASK) != COMMON_TIMEOUT_MAGIC:
        return 0
    index = (tv.tv_usec & COMMON_TIMEOUT_IDX_MASK) >> COMMON_TIMEOUT_IDX_SHIFT
    return index + 1 if index < base.ncommon else 0


cdef inline void timeout_due(event *ev) noexcept nogil:
    # A persistent event stays with its descriptor: its closure starts the timeout again, and the backend
    # is not told of a deletion and an addition that cancel out. One that is active already is told of both.
    if ev.evcb.closure == EV_CLOSURE_EVENT_PERSIST or ev.evcb.flags & EVLIST_ACTIVE:
        remove_timeout(ev.base, ev)
    else:
        event_del_nolock_(ev, EVENT_DEL_NOBLOCK)
    event_active_nolock_(ev, EV_TIMEOUT, 1)


cdef void timeout_process_(event_base *base) noexcept nogil:
    cdef event *ev = timer_heap_top(&base.heap)
    cdef int64_t now
    if ev == NULL:
        return
    now = base_now(base)
    while ev != NULL and ev.deadline <= now:
        timeout_due(ev)
        ev = timer_heap_top(&base.heap)


# --- adding ----------------------------------------------------------------------------------------

cdef void wait_for_callback_(event_base *base, event_callback *cb) noexcept nogil:
    # For the end of this run: if the callback added its event again, the next run may have begun when we
    # get the lock, and so on for ever.
    cdef unsigned round = base.wait_round
    while base.current_event == cb and base.wait_round == round and not in_loop_thread(base) \
            and base.current_event_cond != NULL:
        base.current_event_waiters += 1
        evthread_cond_wait_(base.current_event_cond, base.lock)


cdef int event_add_nolock_(event *ev, int64_t timeout, bint absolute,
                           int common_index) noexcept nogil:
    cdef int result
    if debugging_():
        debug_add_(ev, timeout)
        result = add(ev, timeout, absolute, common_index)
        if result == 0:
            debug_added_(ev)
        return result
    return add(ev, timeout, absolute, common_index)


cdef inline int add(event *ev, int64_t timeout, bint absolute, int common_index) noexcept nogil:
    cdef event_base *base = ev.base
    cdef int result = 0
    cdef bint notify = False
    cdef int64_t old_deadline
    cdef event *old_top
    if ev.evcb.flags & EVLIST_FINALIZING or base.closed:
        set_errno(EINVAL)
        return -1
    # Room first, so that nothing can fail once the event is inserted. A common timeout's queue needs a place in
    # the heap too, for its own timer.
    if timeout >= 0 and timer_heap_reserve(&base.heap) < 0:
        return -1
    if ev.events & (EV_IO | EV_SIGNAL) \
            and not (ev.evcb.flags & (EVLIST_INSERTED | EVLIST_ACTIVE | EVLIST_ACTIVE_LATER)):
        if ev.events & EV_SIGNAL:
            result = evmap_signal_add_(base, ev)
        else:
            result = evmap_io_add_(base, ev)
        if result < 0:
            return -1
        count_event(base, ev.evcb.flags)
        ev.evcb.flags |= EVLIST_INSERTED
        notify = result == 1
    if timeout >= 0:
        if ev.evcb.closure == EV_CLOSURE_EVENT_PERSIST and not absolute:
            ev.interval = timeout
        if ev.evcb.flags & EVLIST_ACTIVE and ev.res & EV_TIMEOUT:
            # It fired and is not yet run: the new timeout takes that firing's place.
            if ev.events & EV_SIGNAL and base.current_ncalls != NULL \
                    and base.current_event == &ev.evcb:
                base.current_ncalls[0] = 0
            remove_active(base, &ev.evcb)
        if not absolute:
            timeout += base_now(base)
        old_top = timer_heap_top(&base.heap)
        old_deadline = ev.deadline
        if ev.evcb.flags & EVLIST_TIMEOUT and common_index == 0 and ev.evcb.common_index == 0:
            ev.deadline = timeout
            timer_heap_adjust(&base.heap, ev)
        else:
            if ev.evcb.flags & EVLIST_TIMEOUT:
                remove_timeout(base, ev)
            ev.deadline = timeout
            insert_timeout(base, ev, common_index)
        # A loop that waits for a later time has to be told.
        if timer_heap_top(&base.heap) == ev and (old_top != ev or ev.deadline < old_deadline):
            notify = True
    if notify and needs_notify(base):
        evthread_notify_base_(base)
    return 0


cdef int event_add(event *ev, const timeval *timeout) noexcept nogil:
    cdef event_base *base
    cdef int result
    cdef int64_t ns
    if debugging_():
        # Before anything is read from it.
        debug_use_(ev, b"event_add")
    base = ev.base
    if EV_UNLIKELY(base == NULL):
        event_warnx_(b"event_add: event has no event_base set")
        set_errno(EINVAL)
        return -1
    EVLOCK_LOCK(base.lock)
    notify_later(base)
    if timeout == NULL:
        result = event_add_nolock_(ev, -1, False, 0)
    else:
        ns = timeval_to_ns(timeout)
        result = event_add_nolock_(ev, ns if ns > 0 else 0, False, common_index_of_(base, timeout))
    unlock_and_notify(base)
    return result


cdef int event_add_ns_(event *ev, int64_t timeout) noexcept nogil:
    cdef event_base *base = ev.base
    cdef int result
    EVLOCK_LOCK(base.lock)
    notify_later(base)
    result = event_add_nolock_(ev, timeout, False, 0)
    unlock_and_notify(base)
    return result


cdef int event_remove_timer(event *ev) noexcept nogil:
    if debugging_():
        debug_use_(ev, b"event_remove_timer")
    if ev.base == NULL:
        event_warnx_(b"event_remove_timer: event has no event_base set")
        return -1
    EVLOCK_LOCK(ev.base.lock)
    if ev.evcb.flags & EVLIST_TIMEOUT:
        remove_timeout(ev.base, ev)
    ev.interval = 0
    EVLOCK_UNLOCK(ev.base.lock)
    return 0


# --- deleting --------------------------------------------------------------------------------------

cdef int event_del_nolock_(event *ev, int blocking) noexcept nogil:
    cdef event_base *base = ev.base
    cdef int result = 0
    cdef bint notify = False
    if debugging_():
        debug_delete_(ev)
    if base == NULL:
        return -1
    if blocking != EVENT_DEL_EVEN_IF_FINALIZING and ev.evcb.flags & EVLIST_FINALIZING:
        return 0
    if ev.events & EV_SIGNAL and base.current_event == &ev.evcb and base.current_ncalls != NULL:
        base.current_ncalls[0] = 0
    if ev.evcb.flags & EVLIST_TIMEOUT:
        # A loop that wakes for it finds nothing and waits again: no need to tell it.
        remove_timeout(base, ev)
    if ev.evcb.flags & EVLIST_ACTIVE:
        remove_active(base, &ev.evcb)
    elif ev.evcb.flags & EVLIST_ACTIVE_LATER:
        remove_active_later(base, &ev.evcb)
    if ev.evcb.flags & EVLIST_INSERTED:
        uncount_event(base, ev.evcb.flags)
        ev.evcb.flags &= <uint16_t>~EVLIST_INSERTED
        if ev.events & EV_IO:
            result = evmap_io_del_(base, ev)
        else:
            result = evmap_signal_del_(base, ev)
        notify = result == 1
        if result > 0:
            result = 0
    # The loop ends when nothing is left, and has to wake for that.
    if not notify and needs_notify(base) and not has_events(base) and not base.event_count_active:
        notify = True
    if notify and needs_notify(base):
        evthread_notify_base_(base)
    if blocking != EVENT_DEL_NOBLOCK and base.current_event == &ev.evcb \
            and (blocking == EVENT_DEL_BLOCK or not (ev.events & EV_FINALIZE)):
        wait_for_callback_(base, &ev.evcb)
    return result


cdef int delete_event(event *ev, int blocking) noexcept nogil:
    cdef int result
    if debugging_():
        # Before anything is read from it.
        debug_last_use_(ev, b"event_del")
    if EV_UNLIKELY(ev.base == NULL):
        event_warnx_(b"event_del: event has no event_base set")
        set_errno(EINVAL)
        return -1
    EVLOCK_LOCK(ev.base.lock)
    result = event_del_nolock_(ev, blocking)
    EVLOCK_UNLOCK(ev.base.lock)
    return result


cdef int event_del(event *ev) noexcept nogil:
    return delete_event(ev, EVENT_DEL_AUTOBLOCK)


cdef int event_del_block(event *ev) noexcept nogil:
    return delete_event(ev, EVENT_DEL_BLOCK)


cdef int event_del_noblock(event *ev) noexcept nogil:
    return delete_event(ev, EVENT_DEL_NOBLOCK)


# --- activating ------------------------------------------------------------------------------------

cdef void event_active_nolock_(event *ev, int what, short ncalls) noexcept nogil:
    cdef event_base *base = ev.base
    if debugging_():
        debug_active_(ev, what)
    if ev.evcb.flags & EVLIST_FINALIZING or base.closed:
        return
    if ev.evcb.flags & EVLIST_ACTIVE:
        ev.res |= <short>what
        return
    if ev.evcb.flags & EVLIST_ACTIVE_LATER:
        ev.res |= <short>what
    else:
        ev.res = <short>what
    if ev.evcb.priority < base.running_priority:
        base.event_continue = True
    if ev.events & EV_SIGNAL:
        ev.evcb.ncalls = <uint16_t>ncalls
    event_callback_activate_nolock_(base, &ev.evcb)


cdef void event_active(event *ev, int what, short ncalls) noexcept nogil:
    cdef event_base *base
    if debugging_():
        debug_use_(ev, b"event_active")
    base = ev.base
    if EV_UNLIKELY(base == NULL):
        event_warnx_(b"event_active: event has no event_base set")
        return
    EVLOCK_LOCK(base.lock)
    notify_later(base)
    event_active_nolock_(ev, what, ncalls)
    unlock_and_notify(base)


cdef void event_base_active_by_fd(event_base *base, evutil_socket_t fd, short what) noexcept nogil:
    cdef event *ev
    cdef int i
    EVLOCK_LOCK(base.lock)
    if what & EV_IO:
        evmap_io_active_(&base.host, fd, what & EV_IO)
    if what & EV_TIMEOUT:
        # Walking the heap's array while activating is safe: event_active_nolock_ leaves it alone.
        for i in range(<int>base.heap.count):
            ev = base.heap.slots[3 + i].ev
            if ev.fd == fd and not (ev.evcb.flags & EVLIST_INTERNAL):
                event_active_nolock_(ev, EV_TIMEOUT, 1)
        for i in range(base.ncommon):
            ev = base.common[i].first
            while ev != NULL:
                if ev.fd == fd:
                    event_active_nolock_(ev, EV_TIMEOUT, 1)
                ev = ev.timer.common.next
    if needs_notify(base):
        evthread_notify_base_(base)
    EVLOCK_UNLOCK(base.lock)


cdef void event_base_active_by_signal(event_base *base, int signum) noexcept nogil:
    EVLOCK_LOCK(base.lock)
    evmap_signal_active_(base, signum, 1)
    if needs_notify(base):
        evthread_notify_base_(base)
    EVLOCK_UNLOCK(base.lock)


# --- asking ----------------------------------------------------------------------------------------

cdef int64_t base_wall_offset_(event_base *base) noexcept nogil:
    cdef int64_t now = base_now(base)
    if base.wall_offset_at == 0 or now - base.wall_offset_at > WALL_OFFSET_LIFE * <int64_t>NS_PER_S:
        base.wall_offset = wall_clock_ns() - monotonic_ns()
        base.wall_offset_at = now
    return base.wall_offset


cdef int event_pending(const event *ev, short what, timeval *tv) noexcept nogil:
    cdef int flags = 0
    cdef event_base *base
    if debugging_():
        debug_use_(ev, b"event_pending")
    base = ev.base
    if base == NULL:
        event_warnx_(b"event_pending: event has no event_base set")
        return 0
    EVLOCK_LOCK(base.lock)
    if ev.evcb.flags & EVLIST_INSERTED:
        flags |= ev.events & (EV_IO | EV_SIGNAL)
    if ev.evcb.flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER):
        flags |= ev.res
    if ev.evcb.flags & EVLIST_TIMEOUT:
        flags |= EV_TIMEOUT
    what &= EV_TIMEOUT | EV_IO | EV_SIGNAL
    if tv != NULL and flags & what & EV_TIMEOUT:
        ns_to_timeval(ev.deadline + base_wall_offset_(base), tv)
    EVLOCK_UNLOCK(base.lock)
    return flags & what


cdef int event_initialized(const event *ev) noexcept nogil:
    return (ev.evcb.flags & EVLIST_INIT) != 0


cdef int event_priority_set(event *ev, int priority) noexcept nogil:
    cdef int result = -1
    if debugging_():
        debug_use_(ev, b"event_priority_set")
    if ev.base == NULL:
        return -1
    # The lock, because the loop's thread may make it active at any time, in the queue of its priority.
    EVLOCK_LOCK(ev.base.lock)
    if not (ev.evcb.flags & EVLIST_ACTIVE) and 0 <= priority < ev.base.nqueues:
        ev.evcb.priority = <uint8_t>priority
        result = 0
    EVLOCK_UNLOCK(ev.base.lock)
    return result


cdef int event_get_priority(const event *ev) noexcept nogil:
    cdef int priority
    if debugging_():
        debug_use_(ev, b"event_get_priority")
    if ev.base == NULL:
        return ev.evcb.priority
    EVLOCK_LOCK(ev.base.lock)
    priority = ev.evcb.priority
    EVLOCK_UNLOCK(ev.base.lock)
    return priority


cdef evutil_socket_t event_get_fd(const event *ev) noexcept nogil:
    if debugging_():
        debug_use_(ev, b"event_get_fd")
    return ev.fd


cdef event_base *event_get_base(const event *ev) noexcept nogil:
    if debugging_():
        debug_use_(ev, b"event_get_base")
    return ev.base


cdef short event_get_events(const event *ev) noexcept nogil:
    if debugging_():
        debug_use_(ev, b"event_get_events")
    return ev.events


cdef event_callback_fn event_get_callback(const event *ev) noexcept nogil:
    if debugging_():
        debug_use_(ev, b"event_get_callback")
    return ev.evcb.cb.callback


cdef void *event_get_callback_arg(const event *ev) noexcept nogil:
    if debugging_():
        debug_use_(ev, b"event_get_callback_arg")
    return ev.evcb.arg


cdef void event_get_assignment(const event *ev, event_base **base_out, evutil_socket_t *fd_out,
                               short *events_out, event_callback_fn *callback_out,
                               void **arg_out) noexcept nogil:
    if debugging_():
        debug_use_(ev, b"event_get_assignment")
    if base_out != NULL:
        base_out[0] = ev.base
    if fd_out != NULL:
        fd_out[0] = ev.fd
    if events_out != NULL:
        events_out[0] = ev.events
    if callback_out != NULL:
        callback_out[0] = ev.evcb.cb.callback
    if arg_out != NULL:
        arg_out[0] = ev.evcb.arg


cdef size_t event_get_struct_event_size() noexcept nogil:
    return sizeof(event)
