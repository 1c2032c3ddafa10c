# Windows' locks for evthread. The names are there on every system, so that one source compiles on all:
# elsewhere the constant is 0 and the function fails with ENOSYS. (libevent leaves both out.)

cdef extern from *:
    """
    #ifndef EVTHREAD_USE_WINDOWS_THREADS_IMPLEMENTED
      #ifdef _WIN32
        #define EVTHREAD_USE_WINDOWS_THREADS_IMPLEMENTED 1
      #else
        #define EVTHREAD_USE_WINDOWS_THREADS_IMPLEMENTED 0
      #endif
    #endif
    """
    const int EVTHREAD_USE_WINDOWS_THREADS_IMPLEMENTED

# Critical sections and condition variables. 0, or -1 where there are none or other locks are in use.
cdef int evthread_use_windows_threads() noexcept nogil
