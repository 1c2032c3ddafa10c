# Locks below the line, behind libevent's replaceable function tables. POSIX threads, or on Windows its own, are
# installed from the start, so a base has a lock unless it is made with EVENT_BASE_FLAG_NOLOCK.

from cyevent.core.sys cimport timeval

cdef enum:
    EVTHREAD_LOCK_API_VERSION = 1
    EVTHREAD_CONDITION_API_VERSION = 1
    EVTHREAD_LOCKTYPE_RECURSIVE = 1
    EVTHREAD_LOCKTYPE_READWRITE = 2
    EVTHREAD_WRITE = 0x04
    EVTHREAD_READ = 0x08
    EVTHREAD_TRY = 0x10
    EVTHREAD_PTHREAD_PRIO_INHERIT = 0x01

cdef extern from *:
    """
    #ifndef EVTHREAD_USE_PTHREADS_IMPLEMENTED
      #ifdef _WIN32
        #define EVTHREAD_USE_PTHREADS_IMPLEMENTED 0
      #else
        #define EVTHREAD_USE_PTHREADS_IMPLEMENTED 1
      #endif
    #endif
    """
    const int EVTHREAD_USE_PTHREADS_IMPLEMENTED

cdef struct evthread_lock_callbacks:
    int lock_api_version
    unsigned supported_locktypes
    void *(*alloc)(unsigned locktype) noexcept nogil
    void (*free)(void *lock, unsigned locktype) noexcept nogil
    int (*lock)(unsigned mode, void *lock) noexcept nogil      # 0, or non-zero when not taken
    int (*unlock)(unsigned mode, void *lock) noexcept nogil

cdef struct evthread_condition_callbacks:
    int condition_api_version
    void *(*alloc_condition)(unsigned condtype) noexcept nogil
    void (*free_condition)(void *cond) noexcept nogil
    int (*signal_condition)(void *cond, int broadcast) noexcept nogil
    # 0 signalled, 1 timed out, -1 failed; timeout NULL waits without end.
    int (*wait_condition)(void *cond, void *lock, const timeval *timeout) noexcept nogil

# Copies the table; NULL takes locking away. Both return 0, or -1 for a table that is incomplete or of another
# version, or other than the one from which a lock or a condition was made already. With lock debugging, the
# tables are those underneath. Fatal in debug mode once there is a base.
cdef int evthread_set_lock_callbacks(const evthread_lock_callbacks *callbacks) noexcept nogil
cdef int evthread_set_condition_callbacks(const evthread_condition_callbacks *callbacks) noexcept nogil
# NULL restores the system's own thread numbers.
cdef void evthread_set_id_callback(unsigned long (*id_fn)() noexcept nogil) noexcept nogil
# POSIX threads; -1 with ENOSYS on Windows. EVTHREAD_PTHREAD_PRIO_INHERIT makes locks lend their holder the
# priority of who waits; -1 where the system has no such thing.
cdef int evthread_use_pthreads() noexcept nogil
cdef int evthread_use_pthreads_with_flags(int flags) noexcept nogil
# From now on locks check their use: unlocking what is not held, freeing what is, waiting without holding, all
# end in a fatal error. Call it before any lock is made; the library's own global ones are taken along.
cdef void evthread_enable_lock_debugging() noexcept nogil
# libevent's first spelling of it.
cdef void evthread_enable_lock_debuging() noexcept nogil

# A lock that lasts as long as the process, kept in *lock: made now, made again when the tables change, wrapped
# when lock debugging begins. Freed by evthread_free_globals_(), after which evthread_make_globals_() is needed.
cdef void evthread_global_lock_(void **lock) noexcept nogil
cdef void evthread_make_globals_() noexcept nogil
cdef void evthread_free_globals_() noexcept nogil
# Frees them, and takes it that no lock of the table is left: the table may be replaced again.
cdef void evthread_shutdown_() noexcept nogil
# In debug mode changing a table that is in use is fatal.
cdef void evthread_set_strict_(bint strict) noexcept nogil

# False when the lock table was taken away.
cdef bint evthread_locking_enabled_() noexcept nogil
cdef void *evthread_lock_alloc_() noexcept nogil
cdef void evthread_lock_free_(void *lock) noexcept nogil
cdef int evthread_lock_(void *lock) noexcept nogil
cdef void evthread_unlock_(void *lock) noexcept nogil
cdef void *evthread_cond_alloc_() noexcept nogil
cdef void evthread_cond_free_(void *cond) noexcept nogil
cdef void evthread_cond_broadcast_(void *cond) noexcept nogil
cdef void evthread_cond_signal_(void *cond) noexcept nogil
cdef int evthread_cond_wait_(void *cond, void *lock) noexcept nogil
# 1 when the time was over first.
cdef int evthread_cond_wait_timed_(void *cond, void *lock, const timeval *timeout) noexcept nogil
cdef unsigned long evthread_id_() noexcept nogil
# True unless lock debugging knows that this thread does not hold the lock.
cdef bint evthread_is_held_(void *lock) noexcept nogil


cdef inline void EVLOCK_LOCK(void *lock) noexcept nogil:
    if lock != NULL:
        evthread_lock_(lock)


cdef inline void EVLOCK_UNLOCK(void *lock) noexcept nogil:
    if lock != NULL:
        evthread_unlock_(lock)
