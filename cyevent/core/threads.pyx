"""Lock and condition tables, and the POSIX threads that fill them by default."""

from libc.string cimport memset
from cyevent.core.log cimport event_errx_, event_exit_, event_warnx_
from cyevent.core.memory cimport mm_malloc, mm_free
from cyevent.core.sys cimport *
from cyevent.core.sys cimport pthread_mutex_t, pthread_cond_t

cdef extern from *:
    """
    #if defined(_POSIX_THREAD_PRIO_INHERIT) && _POSIX_THREAD_PRIO_INHERIT > 0
    static int cyevent_inherit_priority(pthread_mutexattr_t *attr) {
        return pthread_mutexattr_setprotocol(attr, PTHREAD_PRIO_INHERIT);
    }
    #define CYEVENT_HAVE_PRIO_INHERIT 1
    #else
    static int cyevent_inherit_priority(ev_pthread_mutexattr_t *attr) { (void)attr; return -1; }
    #define CYEVENT_HAVE_PRIO_INHERIT 0
    #endif
    """
    int cyevent_inherit_priority(pthread_mutexattr_t *attr) noexcept nogil
    int CYEVENT_HAVE_PRIO_INHERIT

cdef enum:
    DEBUG_SIGNATURE = 0x6c6f636b
    MAX_GLOBALS = 16

# A lock under lock debugging, around one of the table that was in force.
cdef struct debug_lock:
    unsigned signature
    unsigned locktype
    void *lock
    unsigned long owner
    int count                  # how often the owner holds it

cdef bint inherit_priority = False
cdef bint debugging = False
cdef evthread_lock_callbacks inner_locks
cdef evthread_condition_callbacks inner_conditions
cdef evthread_lock_callbacks locks
cdef evthread_condition_callbacks conditions
cdef unsigned long (*id_callback)() noexcept nogil
cdef int locks_in_use = 0               # somebody has made one, global ones apart
cdef int conditions_in_use = 0
cdef bint strict = False
cdef void **globals_[MAX_GLOBALS]
cdef int nglobals = 0


cdef void *posix_lock_alloc(unsigned locktype) noexcept nogil:
    cdef pthread_mutexattr_t attr
    cdef pthread_mutex_t *mutex = <pthread_mutex_t *>mm_malloc(sizeof(pthread_mutex_t))
    cdef int failed
    if mutex == NULL:
        return NULL
    if pthread_mutexattr_init(&attr):
        mm_free(mutex)
        return NULL
    if locktype & EVTHREAD_LOCKTYPE_RECURSIVE:
        pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE)
    if inherit_priority:
        cyevent_inherit_priority(&attr)
    failed = pthread_mutex_init(mutex, &attr)
    pthread_mutexattr_destroy(&attr)
    if failed:
        mm_free(mutex)
        return NULL
    return mutex


cdef void posix_lock_free(void *lock, unsigned locktype) noexcept nogil:
    pthread_mutex_destroy(<pthread_mutex_t *>lock)
    mm_free(lock)


cdef int posix_lock(unsigned mode, void *lock) noexcept nogil:
    if mode & EVTHREAD_TRY:
        return pthread_mutex_trylock(<pthread_mutex_t *>lock)
    return pthread_mutex_lock(<pthread_mutex_t *>lock)


cdef int posix_unlock(unsigned mode, void *lock) noexcept nogil:
    return pthread_mutex_unlock(<pthread_mutex_t *>lock)


cdef unsigned long posix_id() noexcept nogil:
    return ev_thread_self()


cdef void *posix_cond_alloc(unsigned condtype) noexcept nogil:
    cdef pthread_cond_t *cond = <pthread_cond_t *>mm_malloc(sizeof(pthread_cond_t))
    if cond == NULL:
        return NULL
    if pthread_cond_init(cond, NULL):
        mm_free(cond)
        return NULL
    return cond


cdef void posix_cond_free(void *cond) noexcept nogil:
    pthread_cond_destroy(<pthread_cond_t *>cond)
    mm_free(cond)


cdef int posix_cond_signal(void *cond, int broadcast) noexcept nogil:
    if broadcast:
        return -1 if pthread_cond_broadcast(<pthread_cond_t *>cond) else 0
    return -1 if pthread_cond_signal(<pthread_cond_t *>cond) else 0


cdef int posix_cond_wait(void *cond, void *lock, const timeval *timeout) noexcept nogil:
    cdef timeval now
    cdef timespec until
    cdef int result
    if timeout == NULL:
        result = pthread_cond_wait(<pthread_cond_t *>cond, <pthread_mutex_t *>lock)
        return -1 if result else 0
    gettimeofday(&now, NULL)
    until.tv_sec = now.tv_sec + timeout.tv_sec
    until.tv_nsec = (now.tv_usec + timeout.tv_usec) * 1000
    if until.tv_nsec >= 1000000000:
        until.tv_sec += 1
        until.tv_nsec -= 1000000000
    result = pthread_cond_timedwait(<pthread_cond_t *>cond, <pthread_mutex_t *>lock, &until)
    if result == ETIMEDOUT:
        return 1
    return -1 if result else 0


cdef int evthread_use_pthreads() noexcept nogil:
    return evthread_use_pthreads_with_flags(0)


cdef int evthread_use_pthreads_with_flags(int flags) noexcept nogil:
    global inherit_priority
    cdef evthread_lock_callbacks lock_table
    cdef evthread_condition_callbacks condition_table
    if not EVTHREAD_USE_PTHREADS_IMPLEMENTED:
        set_errno(ENOSYS)
        return -1
    check_strict()
    if flags & EVTHREAD_PTHREAD_PRIO_INHERIT and not CYEVENT_HAVE_PRIO_INHERIT:
        return -1
    lock_table.lock_api_version = EVTHREAD_LOCK_API_VERSION
    lock_table.supported_locktypes = EVTHREAD_LOCKTYPE_RECURSIVE
    lock_table.alloc = posix_lock_alloc
    lock_table.free = posix_lock_free
    lock_table.lock = posix_lock
    lock_table.unlock = posix_unlock
    condition_table.condition_api_version = EVTHREAD_CONDITION_API_VERSION
    condition_table.alloc_condition = posix_cond_alloc
    condition_table.free_condition = posix_cond_free
    condition_table.signal_condition = posix_cond_signal
    condition_table.wait_condition = posix_cond_wait
    if set_locks(&lock_table) < 0 or set_conditions(&condition_table) < 0:
        return -1
    inherit_priority = (flags & EVTHREAD_PTHREAD_PRIO_INHERIT) != 0
    evthread_set_id_callback(posix_id)
    return 0


# --- the tables -------------------------------------------------------------------------------------

cdef int no_lock(unsigned mode, void *lock) noexcept nogil:
    return 0


cdef bint same_locks(const evthread_lock_callbacks *a, const evthread_lock_callbacks *b) noexcept nogil:
    return a.lock_api_version == b.lock_api_version and a.supported_locktypes == b.supported_locktypes \
        and a.alloc == b.alloc and a.free == b.free and a.lock == b.lock and a.unlock == b.unlock


cdef bint same_conditions(const evthread_condition_callbacks *a,
                          const evthread_condition_callbacks *b) noexcept nogil:
    return a.condition_api_version == b.condition_api_version \
        and a.alloc_condition == b.alloc_condition and a.free_condition == b.free_condition \
        and a.signal_condition == b.signal_condition and a.wait_condition == b.wait_condition


cdef int set_locks(const evthread_lock_callbacks *callbacks) noexcept nogil:
    """Puts the table in force, unless locks of another one exist. Ours, which is there from the start, may go
    as long as nobody has made a lock with it."""
    cdef evthread_lock_callbacks *target = &inner_locks if debugging else &locks
    if target.alloc != NULL and same_locks(target, callbacks):
        return 0
    if target.alloc != NULL and locks_in_use:
        event_warnx_(b"evthread_set_lock_callbacks: can't change lock callbacks once they are in use")
        return -1
    evthread_free_globals_()
    target[0] = callbacks[0]
    evthread_make_globals_()
    return 0


cdef int set_conditions(const evthread_condition_callbacks *callbacks) noexcept nogil:
    global conditions
    cdef evthread_condition_callbacks *target = &inner_conditions if debugging else &conditions
    if target.alloc_condition != NULL and same_conditions(target, callbacks):
        return 0
    if target.alloc_condition != NULL and conditions_in_use:
        event_warnx_(b"evthread_set_condition_callbacks: can't change condition callbacks once they are "
                     b"in use")
        return -1
    target[0] = callbacks[0]
    if debugging:
        conditions = callbacks[0]
        conditions.wait_condition = debug_cond_wait
    return 0


cdef void check_strict() noexcept nogil:
    if strict and (locks_in_use or conditions_in_use):
        event_exit_(1, b"evthread initialization must be called BEFORE anything else!")


cdef int evthread_set_lock_callbacks(const evthread_lock_callbacks *callbacks) noexcept nogil:
    cdef evthread_lock_callbacks *target = &inner_locks if debugging else &locks
    check_strict()
    if callbacks == NULL:
        if target.alloc != NULL and locks_in_use:
            event_warnx_(b"Trying to disable lock functions after they have been set up will probably "
                         b"not work.")
        evthread_free_globals_()
        memset(target, 0, sizeof(target[0]))
        # Locks that exist are no longer taken.
        target.lock = target.unlock = no_lock
        evthread_make_globals_()
        return 0
    if callbacks.lock_api_version != EVTHREAD_LOCK_API_VERSION or callbacks.alloc == NULL \
            or callbacks.free == NULL or callbacks.lock == NULL or callbacks.unlock == NULL:
        return -1
    return set_locks(callbacks)


cdef int evthread_set_condition_callbacks(
        const evthread_condition_callbacks *callbacks) noexcept nogil:
    check_strict()
    if callbacks == NULL:
        if conditions.alloc_condition != NULL and conditions_in_use:
            event_warnx_(b"Trying to disable condition functions after they have been set up "
                         b"will probably not work.")
        memset(&conditions, 0, sizeof(conditions))
        memset(&inner_conditions, 0, sizeof(inner_conditions))
        return 0
    if callbacks.condition_api_version != EVTHREAD_CONDITION_API_VERSION \
            or callbacks.alloc_condition == NULL or callbacks.free_condition == NULL \
            or callbacks.signal_condition == NULL or callbacks.wait_condition == NULL:
        return -1
    return set_conditions(callbacks)


cdef void evthread_set_id_callback(unsigned long (*id_fn)() noexcept nogil) noexcept nogil:
    global id_callback
    id_callback = id_fn if id_fn != NULL else posix_id


cdef void evthread_set_strict_(bint value) noexcept nogil:
    global strict
    strict = value


# --- global locks -----------------------------------------------------------------------------------

cdef void evthread_global_lock_(void **lock) noexcept nogil:
    global nglobals
    if nglobals == MAX_GLOBALS:
        event_errx_(b"evthread_global_lock_: too many global locks")
    globals_[nglobals] = lock
    nglobals += 1
    if lock[0] == NULL and locks.alloc != NULL:
        lock[0] = locks.alloc(EVTHREAD_LOCKTYPE_RECURSIVE)


cdef void evthread_make_globals_() noexcept nogil:
    cdef int i
    for i in range(nglobals):
        if globals_[i][0] == NULL and locks.alloc != NULL:
            globals_[i][0] = locks.alloc(EVTHREAD_LOCKTYPE_RECURSIVE)


cdef void evthread_free_globals_() noexcept nogil:
    cdef int i
    for i in range(nglobals):
        if globals_[i][0] != NULL and locks.free != NULL:
            locks.free(globals_[i][0], EVTHREAD_LOCKTYPE_RECURSIVE)
            globals_[i][0] = NULL


cdef void evthread_shutdown_() noexcept nogil:
    evthread_free_globals_()
    ev_clear_bits(&locks_in_use, 1)
    ev_clear_bits(&conditions_in_use, 1)


# --- lock debugging ---------------------------------------------------------------------------------

cdef void *debug_lock_alloc(unsigned locktype) noexcept nogil:
    cdef debug_lock *lock = <debug_lock *>mm_malloc(sizeof(debug_lock))
    if lock == NULL:
        return NULL
    lock.signature = DEBUG_SIGNATURE
    lock.locktype = locktype
    lock.owner = 0
    lock.count = 0
    lock.lock = NULL
    # Recursive whatever was asked for: a wrong second locking is to be reported, not to hang. Without a table
    # underneath it checks all the same.
    if inner_locks.alloc != NULL:
        lock.lock = inner_locks.alloc(locktype | EVTHREAD_LOCKTYPE_RECURSIVE)
        if lock.lock == NULL:
            mm_free(lock)
            return NULL
    return lock


cdef debug_lock *checked(void *lock) noexcept nogil:
    if (<debug_lock *>lock).signature != DEBUG_SIGNATURE:
        event_errx_(b"lock debugging: not a lock, or one from before lock debugging was enabled")
    return <debug_lock *>lock


cdef void debug_lock_free(void *memory, unsigned locktype) noexcept nogil:
    cdef debug_lock *lock = checked(memory)
    if lock.count:
        event_errx_(b"lock debugging: a lock is freed while it is held")
    if lock.locktype != locktype:
        event_errx_(b"lock debugging: a lock is freed as one of another type")
    if inner_locks.free != NULL and lock.lock != NULL:
        inner_locks.free(lock.lock, locktype | EVTHREAD_LOCKTYPE_RECURSIVE)
    lock.signature = 0
    mm_free(lock)


cdef void check_mode(debug_lock *lock, unsigned mode) noexcept nogil:
    cdef bint shared = (mode & (EVTHREAD_READ | EVTHREAD_WRITE)) != 0
    if shared != ((lock.locktype & EVTHREAD_LOCKTYPE_READWRITE) != 0):
        event_errx_(b"lock debugging: EVTHREAD_READ or EVTHREAD_WRITE is for read-write locks, and needed "
                    b"there")


cdef int debug_lock_lock(unsigned mode, void *memory) noexcept nogil:
    cdef debug_lock *lock = checked(memory)
    cdef int failed = 0
    check_mode(lock, mode)
    if inner_locks.lock != NULL and lock.lock != NULL:
        failed = inner_locks.lock(mode, lock.lock)
    if failed:
        return failed
    mark_locked(lock)
    return 0


cdef void mark_locked(debug_lock *lock) noexcept nogil:
    cdef unsigned long me = id_callback()
    lock.count += 1
    if lock.count > 1:
        if not lock.locktype & EVTHREAD_LOCKTYPE_RECURSIVE:
            event_errx_(b"lock debugging: a lock that is not recursive is locked twice")
        if lock.owner != me:
            event_errx_(b"lock debugging: two threads hold one lock")
    lock.owner = me


cdef int debug_lock_unlock(unsigned mode, void *memory) noexcept nogil:
    cdef debug_lock *lock = checked(memory)
    check_mode(lock, mode)
    if lock.count == 0 or lock.owner != id_callback():
        event_errx_(b"lock debugging: a lock is unlocked by a thread that does not hold it")
    lock.count -= 1
    if lock.count == 0:
        lock.owner = 0
    if inner_locks.unlock == NULL or lock.lock == NULL:
        return 0
    return inner_locks.unlock(mode, lock.lock)


cdef int debug_cond_wait(void *cond, void *memory, const timeval *timeout) noexcept nogil:
    cdef debug_lock *lock = checked(memory)
    cdef int result
    if lock.count != 1 or lock.owner != id_callback():
        event_errx_(b"lock debugging: a condition is waited for without holding its lock once")
    lock.count = 0
    lock.owner = 0
    result = inner_conditions.wait_condition(cond, lock.lock, timeout)
    mark_locked(lock)
    return result


cdef void wrap_globals() noexcept nogil:
    """The global locks are from before; the table underneath becomes theirs."""
    cdef int i
    cdef debug_lock *lock
    for i in range(nglobals):
        if globals_[i][0] == NULL:
            continue
        lock = <debug_lock *>mm_malloc(sizeof(debug_lock))
        if lock == NULL:
            event_errx_(b"lock debugging: no memory")
        lock.signature = DEBUG_SIGNATURE
        lock.locktype = EVTHREAD_LOCKTYPE_RECURSIVE
        lock.owner = 0
        lock.count = 0
        lock.lock = globals_[i][0]
        globals_[i][0] = lock


cdef void evthread_enable_lock_debugging() noexcept nogil:
    global debugging, inner_locks, inner_conditions
    if debugging:
        return
    debugging = True
    inner_locks = locks
    inner_conditions = conditions
    locks.lock_api_version = EVTHREAD_LOCK_API_VERSION
    locks.supported_locktypes = EVTHREAD_LOCKTYPE_RECURSIVE
    locks.alloc = debug_lock_alloc
    locks.free = debug_lock_free
    locks.lock = debug_lock_lock
    locks.unlock = debug_lock_unlock
    conditions.wait_condition = debug_cond_wait
    wrap_globals()
    evthread_make_globals_()


cdef void evthread_enable_lock_debuging() noexcept nogil:
    evthread_enable_lock_debugging()


cdef bint evthread_is_held_(void *lock) noexcept nogil:
    if not debugging or lock == NULL:
        return True
    return checked(lock).count > 0 and checked(lock).owner == id_callback()


# --- what the core calls ----------------------------------------------------------------------------

cdef bint evthread_locking_enabled_() noexcept nogil:
    return locks.alloc != NULL


cdef void *evthread_lock_alloc_() noexcept nogil:
    if locks.alloc == NULL:
        return NULL
    if not ev_load_int(&locks_in_use):
        ev_set_bits(&locks_in_use, 1)
    return locks.alloc(EVTHREAD_LOCKTYPE_RECURSIVE)


cdef void evthread_lock_free_(void *lock) noexcept nogil:
    if lock != NULL and locks.free != NULL:
        locks.free(lock, EVTHREAD_LOCKTYPE_RECURSIVE)


cdef int evthread_lock_(void *lock) noexcept nogil:
    return locks.lock(0, lock)


cdef void evthread_unlock_(void *lock) noexcept nogil:
    locks.unlock(0, lock)


cdef void *evthread_cond_alloc_() noexcept nogil:
    if conditions.alloc_condition == NULL:
        return NULL
    if not ev_load_int(&conditions_in_use):
        ev_set_bits(&conditions_in_use, 1)
    return conditions.alloc_condition(0)


cdef void evthread_cond_free_(void *cond) noexcept nogil:
    if cond != NULL and conditions.free_condition != NULL:
        conditions.free_condition(cond)


cdef void evthread_cond_broadcast_(void *cond) noexcept nogil:
    if conditions.signal_condition != NULL:
        conditions.signal_condition(cond, 1)


cdef void evthread_cond_signal_(void *cond) noexcept nogil:
    if conditions.signal_condition != NULL:
        conditions.signal_condition(cond, 0)


cdef int evthread_cond_wait_(void *cond, void *lock) noexcept nogil:
    return evthread_cond_wait_timed_(cond, lock, NULL)


cdef int evthread_cond_wait_timed_(void *cond, void *lock, const timeval *timeout) noexcept nogil:
    if conditions.wait_condition == NULL:
        return -1
    return conditions.wait_condition(cond, lock, timeout)


cdef unsigned long evthread_id_() noexcept nogil:
    return id_callback()


evthread_set_id_callback(NULL)
if EVTHREAD_USE_PTHREADS_IMPLEMENTED:
    evthread_use_pthreads()
