"""Bases: construction, destruction, questions."""

from libc.limits cimport INT_MAX
from libc.stdint cimport int64_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport strcmp, strlen
from cyevent.backends.registry cimport backend_count, backend_at
from cyevent.backends.vtable cimport backend_host, event_op
from cyevent.completion.vtable cimport completion_loop_ops, completion_registered_
from cyevent.core.clock cimport (
    monotonic_ns, ns_to_timeval, wall_clock_ns, )
from cyevent.core.debug cimport debug_base_, debug_teardown_, event_debug_unassign, EVENT_GONE_FINALIZED_
from cyevent.core.event cimport (
    base_now, base_wall_offset_, callback_to_event, event_add_nolock_, event_assign,
    event_del_nolock_,
)
from cyevent.core.fdmap cimport (
    evmap_clear_, evmap_io_active_, evmap_moved_, evmap_reinit_io_, evmap_signaled_,
)
from cyevent.core.log cimport debugging_, event_msgx_, event_warn_, event_warnx_
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.queue cimport (
    evthread_notify_quiesce_, remove_active, remove_active_later,
)
from cyevent.core.signals cimport (
    evsig_dealloc_, evsig_init_, evsig_leave_, evsig_method_, evsig_reinit_,
)
from cyevent.core.sys cimport *
from cyevent.core.threads cimport (
    EVLOCK_LOCK, EVLOCK_UNLOCK, evthread_cond_alloc_, evthread_cond_free_, evthread_lock_alloc_,
    evthread_lock_free_, evthread_locking_enabled_, evthread_make_globals_,
)
from cyevent.core.timers cimport timer_heap_free, timer_heap_top
from cyevent.core.types cimport *
from cyevent.core.types cimport (
    event, event_callback, event_config_entry, event_once, event_queue, evwatch,
)

cdef extern from *:
    """
    #ifdef __linux__
      #include <sys/eventfd.h>
    #else
      #define EFD_NONBLOCK 0
      #define EFD_CLOEXEC 0
      static inline int eventfd(unsigned n, int flags) { (void)n; (void)flags; errno = ENOSYS; return -1; }
    #endif
    #if defined(__GLIBC__)
      #define cyevent_secure_getenv secure_getenv
    #else
      #define cyevent_secure_getenv getenv
    #endif
    """
    int EFD_NONBLOCK, EFD_CLOEXEC
    int eventfd(unsigned n, int flags) noexcept nogil
    const char *cyevent_secure_getenv(const char *name) noexcept nogil

cdef enum:
    MAX_METHODS = 16
    VERSION_NUMBER = 0x02020100      # the libevent API that is spoken here

cdef const char *method_names[MAX_METHODS + 1]

# In the place of the mechanism, when a forked child ends a base that is its parent's.
cdef event_op left_ops


# --- choosing a backend -----------------------------------------------------------------------------

cdef bint avoided(const event_config *config, const char *method) noexcept nogil:
    cdef event_config_entry *entry
    if config == NULL:
        return False
    entry = config.avoided
    while entry != NULL:
        if entry.avoid_method != NULL and strcmp(entry.avoid_method, method) == 0:
            return True
        entry = entry.next
    return False


cdef bint disabled_by_environment(const char *method) noexcept nogil:
    """EVENT_NOEPOLL and its like, as libevent reads them."""
    cdef char name[64]
    cdef int i
    snprintf(name, sizeof(name), b"EVENT_NO%s", method)
    for i in range(<int>strlen(name)):
        if b'a' <= name[i] <= b'z':
            name[i] -= 32
    return cyevent_secure_getenv(name) != NULL


# --- construction -----------------------------------------------------------------------------------

cdef event_base *event_base_new() noexcept nogil:
    return event_base_new_with_config(NULL)


cdef int choose_backend(event_base *base, const event_config *config) noexcept nogil:
    cdef int i
    cdef const event_op *ops
    cdef bint ignore_environment = (base.flags & EVENT_BASE_FLAG_IGNORE_ENV) != 0
    for i in range(backend_count()):
        ops = backend_at(i)
        if avoided(config, ops.name):
            continue
        if config != NULL and (ops.features & config.require_features) != config.require_features:
            continue
        if not ignore_environment and disabled_by_environment(ops.name):
            continue
        base.host.name = ops.name
        base.backend = ops.init(&base.host)
        if base.backend != NULL:
            base.ops = ops
            return 0
    return -1


cdef void open_port(event_base *base) noexcept nogil:
    cdef const completion_loop_ops *ops = completion_registered_()
    if ops != NULL and base.flags & (EVENT_BASE_FLAG_COMPLETION | EVENT_BASE_FLAG_STARTUP_IOCP):
        base.port = ops.open(base, base.flags)


cdef void unmake(event_base *base) noexcept nogil:
    mm_free(base.queues)
    mm_free(base.port)
    evthread_cond_free_(base.current_event_cond)
    evthread_lock_free_(base.lock)
    mm_free(base)


cdef event_base *event_base_new_with_config(const event_config *config) noexcept nogil:
    cdef event_base *base = <event_base *>mm_calloc(1, sizeof(event_base))
    cdef char message[128]
    debug_base_()
    evthread_make_globals_()
    if base == NULL:
        set_errno(ENOMEM)
        return NULL
    base.process = ev_process_id()
    base.notify_fds[0] = base.notify_fds[1] = -1
    base.running_priority = -1
    base.max_dispatch_interval = -1
    base.max_dispatch_callbacks = INT_MAX
    if config != NULL:
        base.flags = config.flags
        base.max_dispatch_interval = config.max_dispatch_interval
        base.max_dispatch_callbacks = config.max_dispatch_callbacks
        base.limit_callbacks_after_prio = config.limit_callbacks_after_prio
    if not (base.flags & EVENT_BASE_FLAG_IGNORE_ENV):
        if cyevent_secure_getenv(b"EVENT_EPOLL_USE_CHANGELIST") != NULL:
            base.flags |= EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST
        if cyevent_secure_getenv(b"EVENT_PRECISE_TIMER") != NULL:
            base.flags |= EVENT_BASE_FLAG_PRECISE_TIMER
        if cyevent_secure_getenv(b"EVENT_USE_SIGNALFD") != NULL:
            base.flags |= EVENT_BASE_FLAG_USE_SIGNALFD
        if cyevent_secure_getenv(b"EVENT_USE_COMPLETION") != NULL:
            base.flags |= EVENT_BASE_FLAG_COMPLETION
    if not (base.flags & EVENT_BASE_FLAG_NOLOCK) and evthread_locking_enabled_():
        base.lock = evthread_lock_alloc_()
        base.current_event_cond = evthread_cond_alloc_()
        if base.lock == NULL or base.current_event_cond == NULL:
            unmake(base)
            set_errno(ENOMEM)
            return NULL
    base.host.ready = evmap_io_active_
    base.host.moved = evmap_moved_
    base.host.lock = base.lock
    base.host.flags = base.flags
    base.host.signaled = evmap_signaled_
    base.host.notified = notify_heard
    if event_base_priority_init(base, 1) < 0:
        unmake(base)
        return NULL
    if choose_backend(base, config) < 0:
        event_warnx_(b"event_base_new_with_config: no event mechanism available")
        unmake(base)
        set_errno(EINVAL)
        return NULL
    open_port(base)
    evsig_init_(base)
    base.need_reinit_after_fork = base.ops.need_reinit
    if not (base.flags & EVENT_BASE_FLAG_IGNORE_ENV) \
            and cyevent_secure_getenv(b"EVENT_SHOW_METHOD") != NULL:
        snprintf(message, sizeof(message), b"cyevent using: %s", base.host.name)
        event_msgx_(message)
    if base.lock != NULL and evthread_make_base_notifiable(base) < 0:
        event_warn_(b"event_base_new_with_config: cannot make the base notifiable")
        event_base_free(base)
        return NULL
    return base


cdef void notify_seen(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef event_base *base = <event_base *>arg
    EVLOCK_LOCK(base.lock)
    ev_store_int(&base.is_notify_pending, False)
    EVLOCK_UNLOCK(base.lock)


cdef void notify_heard(backend_host *host) noexcept nogil:
    ev_store_int(&(<event_base *>host).is_notify_pending, False)


cdef void notify_drain(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef event_base *base = <event_base *>arg
    cdef char bytes[256]
    EVLOCK_LOCK(base.lock)
    # An eventfd gives its count in one read; a socket pair whatever was written.
    while read(fd, bytes, sizeof(bytes)) == <ssize_t>sizeof(bytes):
        pass
    ev_store_int(&base.is_notify_pending, False)
    EVLOCK_UNLOCK(base.lock)


cdef int open_notify(event_base *base) noexcept nogil:
    cdef int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    if fd >= 0:
        base.notify_fds[0] = base.notify_fds[1] = fd
        return 0
    return ev_wake_pair(base.notify_fds)


cdef void close_notify(event_base *base) noexcept nogil:
    if base.notifiable and base.notify_fds[0] >= 0:
        event_del_nolock_(&base.notify_event, EVENT_DEL_NOBLOCK)
        event_debug_unassign(&base.notify_event)
    base.notifiable = False
    evthread_notify_quiesce_(base)
    ev_close_wake_pair(base.notify_fds)
    ev_store_int(&base.is_notify_pending, False)


cdef int make_notifiable(event_base *base) noexcept nogil:
    if base.notifiable:
        return 0
    if base.ops.notify_init != NULL and base.ops.notify_init(&base.host, base.backend) == 0:
        base.notifiable = True
        return 0
    if open_notify(base) < 0:
        return -1
    if base.notify_fds[0] == base.notify_fds[1] and base.ops.features & EV_FEATURE_ET:
        # Each write to an eventfd is an edge, also when its count is not zero: it need not be read, and
        # its 64 bits do not overflow.
        event_assign(&base.notify_event, base, base.notify_fds[0], EV_READ | EV_PERSIST | EV_ET,
                     notify_seen, base)
    else:
        event_assign(&base.notify_event, base, base.notify_fds[0], EV_READ | EV_PERSIST,
                     notify_drain, base)
    base.notify_event.evcb.flags |= EVLIST_INTERNAL
    base.notify_event.evcb.priority = 0
    if event_add_nolock_(&base.notify_event, -1, False, 0) < 0:
        close_notify(base)
        return -1
    base.notifiable = True
    return 0


cdef int evthread_make_base_notifiable(event_base *base) noexcept nogil:
    cdef int result
    if base == NULL:
        return -1
    EVLOCK_LOCK(base.lock)
    result = make_notifiable(base)
    EVLOCK_UNLOCK(base.lock)
    return result


cdef int event_base_priority_init(event_base *base, int npriorities) noexcept nogil:
    cdef event_queue *queues
    cdef int result = -1
    EVLOCK_LOCK(base.lock)
    # While callbacks run, the loop is in one of the queues.
    if base.event_count_active == 0 and base.running_priority < 0 and 1 <= npriorities < EVENT_MAX_PRIORITIES:
        if npriorities <= base.queues_allocated:
            base.nqueues = base.host.npriorities = npriorities
            result = 0
        else:
            queues = <event_queue *>mm_calloc(npriorities, sizeof(event_queue))
            if queues == NULL:
                event_warn_(b"event_base_priority_init")
            else:
                mm_free(base.queues)
                base.queues = queues
                base.nqueues = base.queues_allocated = npriorities
                base.host.npriorities = npriorities
                result = 0
    EVLOCK_UNLOCK(base.lock)
    return result


cdef int event_base_get_npriorities(event_base *base) noexcept nogil:
    cdef int n
    EVLOCK_LOCK(base.lock)
    n = base.nqueues
    EVLOCK_UNLOCK(base.lock)
    return n


# --- destruction ------------------------------------------------------------------------------------

cdef void cancel_callback(event_base *base, event_callback *cb, bint run_finalizers) noexcept nogil:
    """Takes an active callback off its queue; a finalizer still gets its call."""
    cdef int closure = cb.closure
    cdef event *ev = callback_to_event(cb)
    if cb.flags & EVLIST_INIT and not (cb.flags & EVLIST_FINALIZING):
        event_del_nolock_(ev, EVENT_DEL_EVEN_IF_FINALIZING)
        return
    if cb.flags & EVLIST_ACTIVE:
        remove_active(base, cb)
    else:
        remove_active_later(base, cb)
    if not run_finalizers:
        return
    if cb.flags & EVLIST_INIT and debugging_():
        debug_teardown_(ev, EVENT_GONE_FINALIZED_)
    EVLOCK_UNLOCK(base.lock)
    if closure == EV_CLOSURE_EVENT_FINALIZE or closure == EV_CLOSURE_EVENT_FINALIZE_FREE:
        cb.cb.evfinalize(ev, cb.arg)
        if closure == EV_CLOSURE_EVENT_FINALIZE_FREE:
            mm_free(ev)
    elif closure == EV_CLOSURE_CB_FINALIZE:
        cb.cb.cbfinalize(cb, cb.arg)
    EVLOCK_LOCK(base.lock)


cdef void cancel_active(event_base *base, bint run_finalizers) noexcept nogil:
    cdef int i
    cdef bint more = True
    # A finalizer may make something else active.
    while more:
        more = False
        for i in range(base.queues_allocated):
            while base.queues[i].first != NULL:
                cancel_callback(base, base.queues[i].first, run_finalizers)
                more = True
        while base.later.first != NULL:
            cancel_callback(base, base.later.first, run_finalizers)
            more = True


cdef void delete_all(event_base *base) noexcept nogil:
    cdef int i
    cdef event *ev
    for i in range(base.nio):
        while base.io[i].first != NULL:
            event_del_nolock_(base.io[i].first, EVENT_DEL_EVEN_IF_FINALIZING)
    for i in range(base.nsignals):
        while base.signals[i].first != NULL:
            event_del_nolock_(base.signals[i].first, EVENT_DEL_EVEN_IF_FINALIZING)
    for i in range(base.ncommon):
        while base.common[i].first != NULL:
            event_del_nolock_(base.common[i].first, EVENT_DEL_EVEN_IF_FINALIZING)
        event_del_nolock_(&base.common[i].timeout_event, EVENT_DEL_EVEN_IF_FINALIZING)
    while True:
        ev = timer_heap_top(&base.heap)
        if ev == NULL:
            break
        event_del_nolock_(ev, EVENT_DEL_EVEN_IF_FINALIZING)


cdef int left_add(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
                  uint64_t *fdinfo) noexcept nogil:
    return 0


cdef int left_delete(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
                     uint64_t *fdinfo) noexcept nogil:
    return 0


cdef int left_signal(backend_host *host, void *backend, int signum) noexcept nogil:
    return 0


cdef void left_dealloc(backend_host *host, void *backend) noexcept nogil:
    pass


cdef int left_dispatch(backend_host *host, void *backend, int64_t timeout) noexcept nogil:
    return -1


cdef void *left_init(backend_host *host) noexcept nogil:
    return NULL


cdef void leave_to_the_parent(event_base *base) noexcept nogil:
    if base.closed or base.process == ev_process_id():
        return
    if base.need_reinit_after_fork and base.ops != &left_ops:
        base.ops.dealloc(&base.host, base.backend)
        base.backend = NULL
        base.ops = &left_ops
    evsig_leave_(base)


cdef void event_base_ending_(event_base *base) noexcept nogil:
    EVLOCK_LOCK(base.lock)
    leave_to_the_parent(base)
    EVLOCK_UNLOCK(base.lock)


cdef int event_base_shut_(event_base *base, bint run_finalizers) noexcept nogil:
    cdef int i
    cdef event_once *once
    cdef event_once *next_once
    cdef evwatch *watcher
    EVLOCK_LOCK(base.lock)
    if base.running_loop:
        EVLOCK_UNLOCK(base.lock)
        event_warnx_(b"event_base_free: the loop of this base is running")
        return -1
    if base.closed:
        EVLOCK_UNLOCK(base.lock)
        return 0
    # Finalizers run without the lock; no loop may begin meanwhile.
    base.running_loop = True
    leave_to_the_parent(base)
    close_notify(base)
    delete_all(base)
    cancel_active(base, run_finalizers)
    # Finalizers may have added events again.
    delete_all(base)
    cancel_active(base, run_finalizers)
    base.closed = True
    base.running_loop = False
    evsig_dealloc_(base)
    while base.once_events != NULL:
        once = base.once_events
        base.once_events = once.next
        if once.release != NULL:
            once.release(once.arg)
        event_debug_unassign(&once.ev)
        mm_free(once)
    for i in range(EVWATCH_MAX):
        while base.watchers[i] != NULL:
            watcher = base.watchers[i]
            base.watchers[i] = watcher.next
            mm_free(watcher)
        base.last_watcher[i] = NULL
    if base.port != NULL:
        base.port.ops.close(base.port)
    if base.ops != NULL:
        base.ops.dealloc(&base.host, base.backend)
    base.backend = NULL
    for i in range(base.ncommon):
        event_debug_unassign(&base.common[i].timeout_event)
        mm_free(base.common[i])
    mm_free(base.common)
    base.common = NULL
    base.ncommon = 0
    timer_heap_free(&base.heap)
    evmap_clear_(base)
    once = base.once_events
    base.once_events = NULL
    EVLOCK_UNLOCK(base.lock)
    while once != NULL:
        next_once = once.next
        if once.release != NULL:
            once.release(once.arg)
        mm_free(once)
        once = next_once
    return 0


cdef void free_base(event_base *base, bint run_finalizers) noexcept nogil:
    if base == NULL:
        event_warnx_(b"event_base_free: no base to free")
    elif event_base_shut_(base, run_finalizers) == 0:
        unmake(base)


cdef void event_base_free(event_base *base) noexcept nogil:
    free_base(base, True)


cdef void event_base_free_nofinalize(event_base *base) noexcept nogil:
    free_base(base, False)


cdef int event_reinit(event_base *base) noexcept nogil:
    cdef int result = 0
    cdef bint was_notifiable
    cdef void *fresh
    EVLOCK_LOCK(base.lock)
    was_notifiable = base.notifiable
    # Before what they write to goes away.
    evthread_notify_quiesce_(base)
    # What the child shares with its parent goes first, while the old backend can still be told nothing:
    # removing a registration from a shared epoll descriptor would remove the parent's.
    if base.need_reinit_after_fork:
        fresh = base.ops.init(&base.host)
        if fresh == NULL:
            # It stays as it was, for another try.
            event_warnx_(b"event_reinit: could not reinitialize the event mechanism")
            EVLOCK_UNLOCK(base.lock)
            return -1
        base.ops.dealloc(&base.host, base.backend)
        base.backend = fresh
        if evmap_reinit_io_(base) < 0:
            result = -1
    base.process = ev_process_id()
    if base.port != NULL and base.port.ops.reinit(base.port) < 0:
        result = -1
    close_notify(base)
    if base.sig.count:
        if evsig_reinit_(base) < 0:
            result = -1
    if was_notifiable and make_notifiable(base) < 0:
        result = -1
    EVLOCK_UNLOCK(base.lock)
    return result


# --- questions --------------------------------------------------------------------------------------

cdef const char *event_base_get_method(const event_base *base) noexcept nogil:
    return base.host.name


cdef const char *event_base_get_signal_method(const event_base *base) noexcept nogil:
    return evsig_method_(<event_base *>base)


cdef int event_base_get_features(const event_base *base) noexcept nogil:
    return base.ops.features


cdef const char **event_get_supported_methods() noexcept nogil:
    cdef int i, n = backend_count()
    if n > MAX_METHODS:
        n = MAX_METHODS
    # Always the same values, so threads may write them at once.
    for i in range(n):
        ev_store_pointer(<const void **>&method_names[i], backend_at(i).name)
    ev_store_pointer(<const void **>&method_names[n], NULL)
    return method_names


cdef int event_base_get_num_events(event_base *base, unsigned flags) noexcept nogil:
    cdef int n = 0
    EVLOCK_LOCK(base.lock)
    if flags & EVENT_BASE_COUNT_ACTIVE:
        n += base.event_count_active
    if flags & EVENT_BASE_COUNT_VIRTUAL:
        n += base.virtual_event_count
    if flags & EVENT_BASE_COUNT_ADDED:
        n += base.event_count
    EVLOCK_UNLOCK(base.lock)
    return n


cdef int event_base_get_max_events(event_base *base, unsigned flags, int clear) noexcept nogil:
    cdef int n = 0
    EVLOCK_LOCK(base.lock)
    if flags & EVENT_BASE_COUNT_ACTIVE:
        n += base.event_count_active_max
        if clear:
            base.event_count_active_max = 0
    if flags & EVENT_BASE_COUNT_VIRTUAL:
        n += base.virtual_event_count_max
        if clear:
            base.virtual_event_count_max = 0
    if flags & EVENT_BASE_COUNT_ADDED:
        n += base.event_count_max
        if clear:
            base.event_count_max = 0
    EVLOCK_UNLOCK(base.lock)
    return n


cdef int event_base_gettimeofday_cached(event_base *base, timeval *tv) noexcept nogil:
    if base == NULL:
        ns_to_timeval(wall_clock_ns(), tv)
        return 0
    EVLOCK_LOCK(base.lock)
    if base.cached_ns == 0 and not base.time_cacheable:
        ns_to_timeval(wall_clock_ns(), tv)
    else:
        ns_to_timeval(base_now(base) + base_wall_offset_(base), tv)
    EVLOCK_UNLOCK(base.lock)
    return 0


cdef int event_base_update_cache_time(event_base *base) noexcept nogil:
    if base == NULL:
        return -1
    EVLOCK_LOCK(base.lock)
    if base.running_loop and base.time_cacheable:
        base.cached_ns = monotonic_ns()
    EVLOCK_UNLOCK(base.lock)
    return 0


cdef int event_gettime_monotonic(event_base *base, timeval *tv) noexcept nogil:
    if base == NULL or tv == NULL:
        return -1
    EVLOCK_LOCK(base.lock)
    ns_to_timeval(monotonic_ns(), tv)
    EVLOCK_UNLOCK(base.lock)
    return 0


cdef const char *event_get_version() noexcept nogil:
    return b"2.2.1-cyevent"


cdef unsigned int event_get_version_number() noexcept nogil:
    return VERSION_NUMBER


left_ops.name = b"left to the parent"
left_ops.init = left_init
left_ops.add = left_add
left_ops.delete = left_delete
left_ops.dispatch = left_dispatch
left_ops.dealloc = left_dealloc
left_ops.signal_add = left_signal
left_ops.signal_delete = left_signal
