"""Lock and condition tables, and the POSIX threads that fill them by default."""

from libc.string cimport memset
from cyevent.core.log cimport event_errx_
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
    static int cyevent_inherit_priority(pthread_mutexattr_t *attr) { (void)attr; return -1; }
    #define CYEVENT_HAVE_PRIO_INHERIT 0
    #endif
    """
    int cyevent_inherit_priority(pthread_mutexattr_t *attr) noexcept nogil
    int CYEVENT_HAVE_PRIO_INHERIT

cdef enum:
    DEBUG_SIGNATURE = 0x6c6f636b

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
    return <unsigned long>pthread_self()


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
    global id_callback, inherit_priority
    if flags & EVTHREAD_PTHREAD_PRIO_INHERIT and not CYEVENT_HAVE_PRIO_INHERIT:
        return -1
    inherit_priority = (flags & EVTHREAD_PTHREAD_PRIO_INHERIT) != 0
    locks.lock_api_version = EVTHREAD_LOCK_API_VERSION
    locks.supported_locktypes = EVTHREAD_LOCKTYPE_RECURSIVE
    locks.alloc = posix_lock_alloc
    locks.free = posix_lock_free
    locks.lock = posix_lock
    locks.unlock = posix_unlock
    conditions.condition_api_version = EVTHREAD_CONDITION_API_VERSION
    conditions.alloc_condition = posix_cond_alloc
    conditions.free_condition = posix_cond_free
    conditions.signal_condition = posix_cond_signal
    conditions.wait_condition = posix_cond_wait
    id_callback = posix_id
    return 0


cdef int evthread_set_lock_callbacks(const evthread_lock_callbacks *callbacks) noexcept nogil:
    global locks
    if callbacks == NULL:
        memset(&locks, 0, sizeof(locks))
        return 0
    if callbacks.lock_api_version != EVTHREAD_LOCK_API_VERSION or callbacks.alloc == NULL \
            or callbacks.free == NULL or callbacks.lock == NULL or callbacks.unlock == NULL:
        return -1
    locks = callbacks[0]
    return 0


cdef int evthread_set_condition_callbacks(
        const evthread_condition_callbacks *callbacks) noexcept nogil:
    global conditions
    if callbacks == NULL:
        memset(&conditions, 0, sizeof(conditions))
        return 0
    if callbacks.condition_api_version != EVTHREAD_CONDITION_API_VERSION \
            or callbacks.alloc_condition == NULL or callbacks.free_condition == NULL \
            or callbacks.signal_condition == NULL or callbacks.wait_condition == NULL:
        return -1
    conditions = callbacks[0]
    return 0


cdef void evthread_set_id_callback(unsigned long (*id_fn)() noexcept nogil) noexcept nogil:
    global id_callback
    id_callback = id_fn if id_fn != NULL else posix_id


# --- lock debugging ---------------------------------------------------------------------------------

cdef void *debug_lock_alloc(unsigned locktype) noexcept nogil:
    cdef debug_lock *lock = <debug_lock *>mm_malloc(sizeof(debug_lock))
    if lock == NULL:
        return NULL
    lock.signature = DEBUG_SIGNATURE
    lock.locktype = locktype
    lock.owner = 0
    lock.count = 0
    # Recursive whatever was asked for: a wrong second locking is to be reported, not to hang.
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
    inner_locks.free(lock.lock, locktype | EVTHREAD_LOCKTYPE_RECURSIVE)
    lock.signature = 0
    mm_free(lock)


cdef int debug_lock_lock(unsigned mode, void *memory) noexcept nogil:
    cdef debug_lock *lock = checked(memory)
    cdef int failed = inner_locks.lock(mode, lock.lock)
    if failed:
        return failed
    lock.count += 1
    if lock.count > 1:
        if not lock.locktype & EVTHREAD_LOCKTYPE_RECURSIVE:
            event_errx_(b"lock debugging: a lock that is not recursive is locked twice")
    lock.owner = id_callback()
    return 0


cdef int debug_lock_unlock(unsigned mode, void *memory) noexcept nogil:
    cdef debug_lock *lock = checked(memory)
    if lock.count == 0 or lock.owner != id_callback():
        event_errx_(b"lock debugging: a lock is unlocked by a thread that does not hold it")
    lock.count -= 1
    if lock.count == 0:
        lock.owner = 0
    return inner_locks.unlock(mode, lock.lock)


cdef int debug_cond_wait(void *cond, void *memory, const timeval *timeout) noexcept nogil:
    cdef debug_lock *lock = checked(memory)
    cdef int result
    if lock.count != 1 or lock.owner != id_callback():
        event_errx_(b"lock debugging: a condition is waited for without holding its lock once")
    lock.count = 0
    lock.owner = 0
    result = inner_conditions.wait_condition(cond, lock.lock, timeout)
    lock.count = 1
    lock.owner = id_callback()
    return result


cdef void evthread_enable_lock_debugging() noexcept nogil:
    global debugging, inner_locks, inner_conditions
    if debugging or locks.alloc == NULL:
        return
    debugging = True
    inner_locks = locks
    inner_conditions = conditions
    locks.supported_locktypes = EVTHREAD_LOCKTYPE_RECURSIVE
    locks.alloc = debug_lock_alloc
    locks.free = debug_lock_free
    locks.lock = debug_lock_lock
    locks.unlock = debug_lock_unlock
    conditions.wait_condition = debug_cond_wait


cdef void evthread_enable_lock_debuging() noexcept nogil:
    evthread_enable_lock_debugging()


cdef bint evthread_is_held_(void *lock) noexcept nogil:
    if not debugging or lock == NULL:
        return True
    return checked(lock).count > 0 and checked(lock).owner == id_callback()


# --- what the core calls ----------------------------------------------------------------------------

cdef void *evthread_lock_alloc_() noexcept nogil:
    if locks.alloc == NULL:
        return NULL
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
    return conditions.alloc_condition(0)


cdef void evthread_cond_free_(void *cond) noexcept nogil:
    if cond != NULL and conditions.free_condition != NULL:
        conditions.free_condition(cond)


cdef void evthread_cond_broadcast_(void *cond) noexcept nogil:
    conditions.signal_condition(cond, 1)


cdef int evthread_cond_wait_(void *cond, void *lock) noexcept nogil:
    return conditions.wait_condition(cond, lock, NULL)


cdef unsigned long evthread_id_() noexcept nogil:
    return id_callback()


evthread_use_pthreads()
