"""The loop: waiting, and running what became active.

One turn: collect what was put off, wait in the backend, look at the timers, run the active callbacks of
the most urgent priority. The base's lock is held throughout, except while the backend waits and while a
callback runs.
"""

from libc.limits cimport INT_MAX
from libc.stdint cimport uint16_t
from cyevent.core.clock cimport monotonic_ns, ns_to_timeval
from cyevent.core.event cimport (
    base_now, callback_to_event, event_add_nolock_, event_del_nolock_,
    timeout_process_,
)
from cyevent.core.clock cimport timeval_to_ns
from cyevent.core.debug cimport debug_run_, debug_teardown_, debug_wait_, EVENT_GONE_FINALIZED_
from cyevent.core.log cimport debugging_, event_debugx_, event_warn_, event_warnx_
from cyevent.core.memory cimport mm_free
from cyevent.core.once cimport event_base_once_release_
from cyevent.core.queue cimport (
    evthread_notify_base_, has_events, in_loop_thread, insert_active, needs_notify, queue_unlink,
    release_waiters, remove_active,
)
from cyevent.core.signals cimport evsig_claim_
from cyevent.core.sys cimport (
    set_errno, ev_store_int, ev_store_ulong, EDEADLK, EINVAL, EV_LIKELY, EV_UNLIKELY,
)
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK, evthread_id_
from cyevent.core.timers cimport timer_heap_top
from cyevent.core.types cimport *
from cyevent.core.types cimport (
    event_callback, event_callback_fn, event_queue, evwatch, evwatch_prepare_cb_info,
    evwatch_check_cb_info,
)

cdef enum:
    # turn()'s answers beside a count; -1 is run_queue()'s loopbreak.
    NOTHING = -2
    FAILED = -3


# --- running callbacks ------------------------------------------------------------------------------

cdef void run_signal(event_base *base, event *ev) noexcept nogil:
    cdef uint16_t ncalls = ev.evcb.ncalls
    cdef event_callback_fn callback = ev.evcb.cb.callback
    cdef void *arg = ev.evcb.arg
    cdef int signum = ev.fd
    cdef short res = ev.res
    # event_del() and event_free(), from the callback or another thread, reach the count through the base:
    # the event may be gone when the callback returns. The count is the lock's, as all of the base is.
    base.current_ncalls = &ncalls
    while ncalls:
        ncalls -= 1
        EVLOCK_UNLOCK(base.lock)
        callback(signum, res, arg)
        EVLOCK_LOCK(base.lock)
        if base.event_break:
            break
    base.current_ncalls = NULL


cdef inline void restart_timeout(event_base *base, event *ev) noexcept nogil:
    """A persistent event's timeout runs again: from its last deadline when it was the timeout that fired,
    so that a period does not drift, from now when it was I/O, or when we are late by a whole period."""
    cdef int64_t now = base_now(base)
    cdef int64_t deadline
    if ev.res & EV_TIMEOUT:
        deadline = ev.deadline + ev.interval
        if deadline < now:
            deadline = now + ev.interval
    else:
        deadline = now + ev.interval
    if event_add_nolock_(ev, deadline, True, ev.evcb.common_index) < 0:
        event_warn_(b"event_base_loop: the timeout of a persistent event is lost")


cdef void run_finalizer(event_base *base, event_callback *cb) noexcept nogil:
    cdef event *ev
    base.current_event = NULL
    EVLOCK_UNLOCK(base.lock)
    if cb.closure == EV_CLOSURE_CB_FINALIZE:
        cb.cb.cbfinalize(cb, cb.arg)
        EVLOCK_LOCK(base.lock)
        return
    ev = callback_to_event(cb)
    if debugging_():
        # Before the finalizer, which may assign the event anew.
        debug_teardown_(ev, EVENT_GONE_FINALIZED_)
    # Read first: event_finalize()'s callback may free the event.
    if cb.closure == EV_CLOSURE_EVENT_FINALIZE_FREE:
        cb.cb.evfinalize(ev, cb.arg)
        mm_free(ev)
    else:
        cb.cb.evfinalize(ev, cb.arg)
    EVLOCK_LOCK(base.lock)


cdef inline void run_one(event_base *base, event_callback *cb) noexcept nogil:
    cdef event *ev = callback_to_event(cb)
    cdef event_callback_fn callback
    cdef void *arg
    cdef evutil_socket_t fd
    cdef short res
    if EV_LIKELY(cb.closure == EV_CLOSURE_EVENT_PERSIST or cb.closure == EV_CLOSURE_EVENT):
        if cb.closure == EV_CLOSURE_EVENT_PERSIST and ev.interval:
            restart_timeout(base, ev)
        # Copied before the lock goes: from then on another thread may reuse the event.
        callback = cb.cb.callback
        arg = cb.arg
        fd = ev.fd
        res = ev.res
        EVLOCK_UNLOCK(base.lock)
        callback(fd, res, arg)
        EVLOCK_LOCK(base.lock)
    elif cb.closure == EV_CLOSURE_CB_SELF:
        EVLOCK_UNLOCK(base.lock)
        cb.cb.selfcb(cb, cb.arg)
        EVLOCK_LOCK(base.lock)
    elif cb.closure == EV_CLOSURE_EVENT_SIGNAL:
        run_signal(base, ev)
    else:
        run_finalizer(base, cb)


cdef int run_queue(event_base *base, event_queue *queue, int limit, int64_t end) noexcept nogil:
    """Runs at most `limit` callbacks, or until the time `end` (0: no end). Returns how many of the
    user's own it ran, or -1 for loopbreak."""
    cdef event_callback *cb
    cdef int count = 0
    while True:
        cb = queue.first
        if cb == NULL:
            break
        if cb.flags & EVLIST_INIT:
            if (<event *>cb).events & EV_PERSIST or cb.flags & EVLIST_FINALIZING:
                remove_active(base, cb)
            else:
                event_del_nolock_(callback_to_event(cb), EVENT_DEL_NOBLOCK)
        else:
            remove_active(base, cb)
        if debugging_() and cb.flags & EVLIST_INIT:
            debug_run_(callback_to_event(cb))
        if not (cb.flags & EVLIST_INTERNAL):
            count += 1
        base.current_event = cb
        base.current_event_waiters = 0
        run_one(base, cb)
        base.current_event = NULL
        if EV_UNLIKELY(base.current_event_waiters):
            release_waiters(base)
        if EV_UNLIKELY(base.event_break):
            return -1
        if count >= limit:
            return count
        if end and count and monotonic_ns() >= end:
            return count
        if EV_UNLIKELY(base.event_continue):
            break
    return count


cdef int process_active(event_base *base) noexcept nogil:
    """Runs the most urgent priority that has something of the user's own. Returns how many it ran."""
    cdef int i, count = 0
    cdef int64_t end = 0
    cdef bint limited
    cdef event_queue *queue
    if base.max_dispatch_interval >= 0:
        end = base_now(base) + base.max_dispatch_interval
    for i in range(base.queues_allocated):
        queue = &base.queues[i]
        if queue.first == NULL:
            continue
        base.running_priority = i
        limited = i >= base.limit_callbacks_after_prio
        # One call, so that it is compiled into the loop.
        count = run_queue(base, queue, base.max_dispatch_callbacks if limited else INT_MAX,
                          end if limited else 0)
        if count:
            # A callback of ours alone does not count: the next priority has its turn too.
            break
    base.running_priority = -1
    return count


cdef inline void activate_later(event_base *base) noexcept nogil:
    cdef event_callback *cb
    while True:
        cb = base.later.first
        if cb == NULL:
            return
        queue_unlink(&base.later, cb)
        # Still counted as active: only its queue changes.
        base.event_count_active -= 1
        if not (cb.flags & EVLIST_INTERNAL):
            base.event_count -= 1
        cb.flags = <uint16_t>(cb.flags & ~EVLIST_ACTIVE_LATER)
        insert_active(base, cb)


# --- waiting ----------------------------------------------------------------------------------------

cdef inline void start_watcher(event_base *base, evwatch *watcher) noexcept nogil:
    base.next_watcher = watcher.next
    base.current_watcher = watcher
    base.current_event_waiters = 0
    EVLOCK_UNLOCK(base.lock)


cdef inline evwatch *end_watcher(event_base *base) noexcept nogil:
    EVLOCK_LOCK(base.lock)
    base.current_watcher = NULL
    if EV_UNLIKELY(base.current_event_waiters):
        release_waiters(base)
    return base.next_watcher


cdef void run_prepare_watchers(event_base *base, int64_t timeout) noexcept nogil:
    cdef evwatch *watcher = base.watchers[EVWATCH_PREPARE]
    cdef evwatch_prepare_cb_info info
    cdef timeval tv
    if timeout >= 0:
        ns_to_timeval(timeout, &tv)
        info.timeout = &tv
    else:
        info.timeout = NULL
    while watcher != NULL:
        start_watcher(base, watcher)
        watcher.cb.prepare(watcher, &info, watcher.arg)
        watcher = end_watcher(base)


cdef void run_check_watchers(event_base *base) noexcept nogil:
    cdef evwatch *watcher = base.watchers[EVWATCH_CHECK]
    cdef evwatch_check_cb_info info
    info.unused = NULL
    while watcher != NULL:
        start_watcher(base, watcher)
        watcher.cb.check(watcher, &info, watcher.arg)
        watcher = end_watcher(base)


cdef inline int64_t time_to_wait(event_base *base, int flags) noexcept nogil:
    cdef event *first
    cdef int64_t left
    if base.event_count_active or flags & EVLOOP_NONBLOCK:
        return 0
    first = timer_heap_top(&base.heap)
    if first == NULL:
        return -1
    left = first.deadline - base_now(base)
    return left if left > 0 else 0


cdef int turn(event_base *base, int flags) noexcept nogil:
    """Waits once and runs what became active. Returns how many of the user's callbacks ran, NOTHING when
    none was active, FAILED for a failure of the backend."""
    cdef int64_t timeout
    cdef int result
    if base.later.first != NULL:
        activate_later(base)
    timeout = time_to_wait(base, flags)
    base.waiting = timeout != 0
    if base.watchers[EVWATCH_PREPARE] != NULL:
        run_prepare_watchers(base, timeout)
    # Forgotten before the wait; the first to need the time after it reads it for all.
    base.cached_ns = 0
    base.time_cacheable = False
    if debugging_():
        debug_wait_(base, timeout)
    if base.before_wait != NULL:
        # Whoever gets what is given up may want the lock next.
        EVLOCK_UNLOCK(base.lock)
        base.before_wait(base.binding)
        EVLOCK_LOCK(base.lock)
    if base.port == NULL or base.port.ops.dispatch == NULL:
        result = base.ops.dispatch(&base.host, base.backend, timeout)
    else:
        result = base.port.ops.dispatch(base.port, timeout)
    base.waiting = False
    base.time_cacheable = not (base.flags & EVENT_BASE_FLAG_NO_CACHE_TIME)
    if EV_UNLIKELY(result < 0):
        return FAILED
    if EV_UNLIKELY(base.host.interrupted):
        base.host.interrupted = False
        if base.interrupted != NULL:
            EVLOCK_UNLOCK(base.lock)
            base.interrupted(base.binding)
            EVLOCK_LOCK(base.lock)
    if base.watchers[EVWATCH_CHECK] != NULL:
        run_check_watchers(base)
    if base.heap.count:
        timeout_process_(base)
    if base.event_count_active:
        return process_active(base)
    return NOTHING


cdef int event_base_loop(event_base *base, int flags) noexcept nogil:
    cdef int result = 0
    cdef int ran
    EVLOCK_LOCK(base.lock)
    if base.closed:
        EVLOCK_UNLOCK(base.lock)
        set_errno(EINVAL)
        return -1
    if base.running_loop:
        event_warnx_(b"event_base_loop: the loop of this base is running already; "
                     b"only one can run on each base at once")
        EVLOCK_UNLOCK(base.lock)
        set_errno(EDEADLK)
        return -1
    base.running_loop = True
    base.cached_ns = 0
    base.time_cacheable = False
    if base.sig.count:
        evsig_claim_(base)
    if base.lock != NULL or debugging_():
        ev_store_ulong(&base.owner, evthread_id_())
    base.gotterm = base.event_break = False
    if base.port != NULL and base.port.ops.begin(base.port) < 0:
        event_warn_(b"event_base_loop: the completion port cannot be used")
        base.running_loop = False
        EVLOCK_UNLOCK(base.lock)
        return -1
    while True:
        base.event_continue = False
        base.ndeferreds_queued = 0
        if base.gotterm or base.event_break:
            break
        if not (flags & EVLOOP_NO_EXIT_ON_EMPTY) and not has_events(base) \
                and not base.event_count_active:
            event_debugx_(b"event_base_loop: no events registered.")
            result = 1
            break
        ran = turn(base, flags)
        if EV_UNLIKELY(ran == FAILED):
            event_debugx_(b"event_base_loop: dispatch returned unsuccessfully.")
            result = -1
            break
        if ran == NOTHING:
            if flags & EVLOOP_NONBLOCK:
                break
        elif flags & EVLOOP_ONCE and ran != 0 and not base.event_count_active:
            break
    base.cached_ns = 0
    base.time_cacheable = False
    if base.port != NULL:
        base.port.ops.end(base.port)
    base.running_loop = False
    EVLOCK_UNLOCK(base.lock)
    return result


cdef int event_base_dispatch(event_base *base) noexcept nogil:
    return event_base_loop(base, 0)


# --- ending -----------------------------------------------------------------------------------------

cdef void exit_due(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef event_base *base = <event_base *>arg
    EVLOCK_LOCK(base.lock)
    base.gotterm = True
    EVLOCK_UNLOCK(base.lock)


cdef int event_base_loopexit(event_base *base, const timeval *after) noexcept nogil:
    return event_base_once_release_(base, -1, EV_TIMEOUT, exit_due, base,
                                    timeval_to_ns(after) if after != NULL else -1, NULL)


cdef int event_base_loopbreak(event_base *base) noexcept nogil:
    cdef int result = 0
    if base == NULL:
        return -1
    EVLOCK_LOCK(base.lock)
    ev_store_int(<int *>&base.event_break, True)
    if needs_notify(base):
        result = evthread_notify_base_(base)
    EVLOCK_UNLOCK(base.lock)
    return result


cdef int event_base_loopcontinue(event_base *base) noexcept nogil:
    cdef int result = 0
    if base == NULL:
        return -1
    EVLOCK_LOCK(base.lock)
    base.event_continue = True
    if needs_notify(base):
        result = evthread_notify_base_(base)
    EVLOCK_UNLOCK(base.lock)
    return result


cdef int event_base_got_exit(event_base *base) noexcept nogil:
    cdef int result
    EVLOCK_LOCK(base.lock)
    result = base.gotterm
    EVLOCK_UNLOCK(base.lock)
    return result


cdef int event_base_got_break(event_base *base) noexcept nogil:
    cdef int result
    EVLOCK_LOCK(base.lock)
    result = base.event_break
    EVLOCK_UNLOCK(base.lock)
    return result


cdef event *event_base_get_running_event(event_base *base) noexcept nogil:
    cdef event *ev = NULL
    EVLOCK_LOCK(base.lock)
    # In another thread it would be gone before the answer is looked at.
    if base.current_event != NULL and in_loop_thread(base) and base.current_event.flags & EVLIST_INIT:
        ev = callback_to_event(base.current_event)
    EVLOCK_UNLOCK(base.lock)
    return ev
