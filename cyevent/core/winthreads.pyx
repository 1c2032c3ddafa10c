"""Windows' critical sections and condition variables behind the evthread tables.

Facts: a CRITICAL_SECTION is recursive and stays within the process; a CONDITION_VARIABLE works with it from
Windows Vista on, needs no destruction, and times out in milliseconds of the system's tick (10 to 16 ms).
What follows: locks need no care for their type, and a timed wait rounds up, so that it never ends early.
"""

from cyevent.core.memory cimport mm_free, mm_malloc
from cyevent.core.sys cimport ENOSYS, set_errno, timeval
from cyevent.core.threads cimport *
from cyevent.core.threads cimport evthread_condition_callbacks, evthread_lock_callbacks

cdef extern from *:
    """
    #ifdef _WIN32
      #include <windows.h>
      #include <limits.h>
      static int cyevent_win_lock(unsigned mode, void *lock, int try_mode) {
          if (mode & try_mode)
              return TryEnterCriticalSection((CRITICAL_SECTION *)lock) ? 0 : 1;
          EnterCriticalSection((CRITICAL_SECTION *)lock);
          return 0;
      }
      static int cyevent_win_wait(void *cond, void *lock, long long us) {
          DWORD ms = INFINITE;
          if (us >= 0) {
              long long n = (us + 999) / 1000;
              ms = n < INFINITE ? (DWORD)n : INFINITE - 1;
          }
          if (SleepConditionVariableCS((CONDITION_VARIABLE *)cond, (CRITICAL_SECTION *)lock, ms))
              return 0;
          return GetLastError() == ERROR_TIMEOUT ? 1 : -1;
      }
    #else
      typedef struct { int unused; } CRITICAL_SECTION;
      typedef struct { int unused; } CONDITION_VARIABLE;
      #define InitializeCriticalSectionAndSpinCount(lock, n) 0
      #define DeleteCriticalSection(lock) ((void)(lock))
      #define LeaveCriticalSection(lock) ((void)(lock))
      #define InitializeConditionVariable(cond) ((void)(cond))
      #define WakeConditionVariable(cond) ((void)(cond))
      #define WakeAllConditionVariable(cond) ((void)(cond))
      #define GetCurrentThreadId() 0UL
      #define cyevent_win_lock(mode, lock, try_mode) ((void)(mode), (void)(lock), -1)
      #define cyevent_win_wait(cond, lock, us) ((void)(cond), (void)(lock), (void)(us), -1)
    #endif
    """
    ctypedef struct CRITICAL_SECTION:
        pass
    ctypedef struct CONDITION_VARIABLE:
        pass
    int InitializeCriticalSectionAndSpinCount(CRITICAL_SECTION *lock, unsigned spins) noexcept nogil
    void DeleteCriticalSection(CRITICAL_SECTION *lock) noexcept nogil
    void LeaveCriticalSection(CRITICAL_SECTION *lock) noexcept nogil
    void InitializeConditionVariable(CONDITION_VARIABLE *cond) noexcept nogil
    void WakeConditionVariable(CONDITION_VARIABLE *cond) noexcept nogil
    void WakeAllConditionVariable(CONDITION_VARIABLE *cond) noexcept nogil
    unsigned long GetCurrentThreadId() noexcept nogil
    int cyevent_win_lock(unsigned mode, void *lock, int try_mode) noexcept nogil
    int cyevent_win_wait(void *cond, void *lock, long long us) noexcept nogil

cdef enum:
    SPINS = 2000               # tries before a waiter sleeps: a base's lock is held briefly


cdef void *lock_alloc(unsigned locktype) noexcept nogil:
    cdef CRITICAL_SECTION *lock = <CRITICAL_SECTION *>mm_malloc(sizeof(CRITICAL_SECTION))
    if lock == NULL:
        return NULL
    if not InitializeCriticalSectionAndSpinCount(lock, SPINS):
        mm_free(lock)
        return NULL
    return lock


cdef void lock_free(void *lock, unsigned locktype) noexcept nogil:
    DeleteCriticalSection(<CRITICAL_SECTION *>lock)
    mm_free(lock)


cdef int lock_lock(unsigned mode, void *lock) noexcept nogil:
    return cyevent_win_lock(mode, lock, EVTHREAD_TRY)


cdef int lock_unlock(unsigned mode, void *lock) noexcept nogil:
    LeaveCriticalSection(<CRITICAL_SECTION *>lock)
    return 0


cdef void *cond_alloc(unsigned condtype) noexcept nogil:
    cdef CONDITION_VARIABLE *cond = <CONDITION_VARIABLE *>mm_malloc(sizeof(CONDITION_VARIABLE))
    if cond != NULL:
        InitializeConditionVariable(cond)
    return cond


cdef void cond_free(void *cond) noexcept nogil:
    mm_free(cond)


cdef int cond_signal(void *cond, int broadcast) noexcept nogil:
    if broadcast:
        WakeAllConditionVariable(<CONDITION_VARIABLE *>cond)
    else:
        WakeConditionVariable(<CONDITION_VARIABLE *>cond)
    return 0


cdef int cond_wait(void *cond, void *lock, const timeval *timeout) noexcept nogil:
    if timeout == NULL:
        return cyevent_win_wait(cond, lock, -1)
    return cyevent_win_wait(cond, lock, <long long>timeout.tv_sec * 1000000 + timeout.tv_usec)


cdef unsigned long thread_id() noexcept nogil:
    return GetCurrentThreadId()


cdef int evthread_use_windows_threads() noexcept nogil:
    cdef evthread_lock_callbacks locks
    cdef evthread_condition_callbacks conditions
    if not EVTHREAD_USE_WINDOWS_THREADS_IMPLEMENTED:
        set_errno(ENOSYS)
        return -1
    locks.lock_api_version = EVTHREAD_LOCK_API_VERSION
    locks.supported_locktypes = EVTHREAD_LOCKTYPE_RECURSIVE
    locks.alloc = lock_alloc
    locks.free = lock_free
    locks.lock = lock_lock
    locks.unlock = lock_unlock
    conditions.condition_api_version = EVTHREAD_CONDITION_API_VERSION
    conditions.alloc_condition = cond_alloc
    conditions.free_condition = cond_free
    conditions.signal_condition = cond_signal
    conditions.wait_condition = cond_wait
    if evthread_set_lock_callbacks(&locks) < 0 or evthread_set_condition_callbacks(&conditions) < 0:
        return -1
    evthread_set_id_callback(thread_id)
    return 0


if EVTHREAD_USE_WINDOWS_THREADS_IMPLEMENTED:
    evthread_use_windows_threads()
