# The system's own declarations, gathered in one place. Nothing here is implemented by cyevent.

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifndef CYEVENT_SYS_H
    #define CYEVENT_SYS_H
    #include <stdarg.h>
    #include <stdint.h>
    #ifdef _WIN32
      #include <winsock2.h>
      #include <ws2tcpip.h>
      typedef intptr_t evutil_socket_t;
      typedef int ev_socklen_t;
    #else
      #include <sys/types.h>
      #include <sys/time.h>
      #include <sys/socket.h>
      #include <sys/uio.h>
      #include <unistd.h>
      #include <fcntl.h>
      #include <errno.h>
      #include <signal.h>
      #include <time.h>
      #include <pthread.h>
      #include <sched.h>
      typedef int evutil_socket_t;
      typedef socklen_t ev_socklen_t;
    #endif
    #if defined(__GNUC__) || defined(__clang__)
      #define EV_LIKELY(x) __builtin_expect(!!(x), 1)
      #define EV_UNLIKELY(x) __builtin_expect(!!(x), 0)
      #define ev_ctz64(x) __builtin_ctzll(x)
    #else
      #define EV_LIKELY(x) (x)
      #define EV_UNLIKELY(x) (x)
      static inline int ev_ctz64(unsigned long long x) {
          int n = 0;
          while (!(x & 1)) { x >>= 1; n++; }
          return n;
      }
    #endif
    static inline void set_errno(int value) { errno = value; }
    #if defined(__GNUC__) || defined(__clang__)
      static inline int ev_add_int(int *p, int n) { return __atomic_add_fetch(p, n, __ATOMIC_SEQ_CST); }
      static inline void ev_set_bits(int *p, int n) { __atomic_fetch_or(p, n, __ATOMIC_SEQ_CST); }
      static inline void ev_clear_bits(int *p, int n) { __atomic_fetch_and(p, ~n, __ATOMIC_SEQ_CST); }
      #define EV_ATOMIC(type, name) \
          static inline type ev_load_##name(const type *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); } \
          static inline void ev_store_##name(type *p, type v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
    #else
      #ifdef _WIN32
        #include <intrin.h>
        static inline int ev_add_int(int *p, int n) {
            return _InterlockedExchangeAdd((volatile long *)p, n) + n;
        }
        static inline void ev_set_bits(int *p, int n) { _InterlockedOr((volatile long *)p, n); }
        static inline void ev_clear_bits(int *p, int n) { _InterlockedAnd((volatile long *)p, ~n); }
      #endif
      #define EV_ATOMIC(type, name) \
          static inline type ev_load_##name(const type *p) { return *(const volatile type *)p; } \
          static inline void ev_store_##name(type *p, type v) { *(volatile type *)p = v; }
    #endif
    EV_ATOMIC(int, int)
    EV_ATOMIC(unsigned long, ulong)
    typedef const void *ev_pointer;
    EV_ATOMIC(ev_pointer, pointer)
    #endif
    """
    # A descriptor: `int` on POSIX, a pointer-sized SOCKET on Windows.
    ctypedef int evutil_socket_t
    ctypedef unsigned int ev_socklen_t
    ctypedef long time_t
    ctypedef long suseconds_t
    bint EV_LIKELY(bint x) noexcept nogil
    bint EV_UNLIKELY(bint x) noexcept nogil
    int ev_ctz64(unsigned long long x) noexcept nogil
    # For what is read without the lock: whole, but in no order with anything else. As cheap as plain access.
    int ev_load_int(const int *p) noexcept nogil
    void ev_store_int(int *p, int value) noexcept nogil
    # In order with everything; returns the sum.
    int ev_add_int(int *p, int n) noexcept nogil
    # Of a word that others read with ev_load_int().
    void ev_set_bits(int *word, int bits) noexcept nogil
    void ev_clear_bits(int *word, int bits) noexcept nogil
    unsigned long ev_load_ulong(const unsigned long *p) noexcept nogil
    void ev_store_ulong(unsigned long *p, unsigned long value) noexcept nogil
    void ev_store_pointer(const void **p, const void *value) noexcept nogil
    # An assignment to libc's errno would make a local variable in Cython.
    void set_errno(int value) noexcept nogil

    struct timeval:
        time_t tv_sec
        suseconds_t tv_usec

    struct timespec:
        time_t tv_sec
        long tv_nsec

    struct iovec:
        void *iov_base
        size_t iov_len

    struct sockaddr:
        unsigned short sa_family

    struct sockaddr_storage:
        unsigned short ss_family

    ctypedef struct sigset_t:
        pass

    ctypedef struct va_list:
        pass

    ctypedef void (*sighandler_fn)(int) noexcept nogil

    struct sigaction_t "sigaction":
        sighandler_fn sa_handler
        sigset_t sa_mask
        int sa_flags

    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_mutexattr_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    ctypedef struct pthread_condattr_t:
        pass
    ctypedef unsigned long pthread_t

    int PTHREAD_MUTEX_RECURSIVE
    int CLOCK_MONOTONIC
    int CLOCK_REALTIME
    int EINTR, EAGAIN, EWOULDBLOCK, EBADF, ENOENT, EEXIST, EPERM, EINVAL, ENOMEM, ERANGE, ENOSYS
    int ECONNRESET, ECONNREFUSED, ECONNABORTED, EINPROGRESS, EMFILE, ENFILE, ENOBUFS, EPIPE, EDEADLK
    int ETIMEDOUT, ENOTSUP, EALREADY, ENOTCONN, EPROTO
    int F_GETFL, F_SETFL, F_GETFD, F_SETFD, O_NONBLOCK, FD_CLOEXEC
    int AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, SOCK_STREAM, SOCK_DGRAM, SOL_SOCKET, SO_ERROR
    int SHUT_RD, SHUT_WR, SHUT_RDWR, MSG_NOSIGNAL
    int NSIG, SA_RESTART, SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK
    sighandler_fn SIG_ERR, SIG_DFL, SIG_IGN

    int clock_gettime(int clock, timespec *ts) noexcept nogil
    int gettimeofday(timeval *tv, void *tz) noexcept nogil
    ssize_t read(int fd, void *data, size_t n) noexcept nogil
    ssize_t write(int fd, const void *data, size_t n) noexcept nogil
    ssize_t readv(int fd, const iovec *vectors, int n) noexcept nogil
    ssize_t writev(int fd, const iovec *vectors, int n) noexcept nogil
    ssize_t recv(int fd, void *data, size_t n, int flags) noexcept nogil
    ssize_t send(int fd, const void *data, size_t n, int flags) noexcept nogil
    int close(int fd) noexcept nogil
    int fcntl(int fd, int command, ...) noexcept nogil
    int pipe(int *fds) noexcept nogil
    int socket(int domain, int kind, int protocol) noexcept nogil
    int socketpair(int domain, int kind, int protocol, int *fds) noexcept nogil
    int sigaction(int signum, const sigaction_t *action, sigaction_t *old) noexcept nogil
    int sigemptyset(sigset_t *mask) noexcept nogil
    int sigfillset(sigset_t *mask) noexcept nogil
    int sigaddset(sigset_t *mask, int signum) noexcept nogil
    int sigdelset(sigset_t *mask, int signum) noexcept nogil
    int pthread_sigmask(int how, const sigset_t *mask, sigset_t *old) noexcept nogil
    int pthread_mutexattr_init(pthread_mutexattr_t *attr) noexcept nogil
    int pthread_mutexattr_settype(pthread_mutexattr_t *attr, int kind) noexcept nogil
    int pthread_mutexattr_destroy(pthread_mutexattr_t *attr) noexcept nogil
    int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr) noexcept nogil
    int pthread_mutex_destroy(pthread_mutex_t *mutex) noexcept nogil
    int pthread_mutex_lock(pthread_mutex_t *mutex) noexcept nogil
    int pthread_mutex_trylock(pthread_mutex_t *mutex) noexcept nogil
    int pthread_mutex_unlock(pthread_mutex_t *mutex) noexcept nogil
    int pthread_condattr_init(pthread_condattr_t *attr) noexcept nogil
    int pthread_condattr_destroy(pthread_condattr_t *attr) noexcept nogil
    int pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr) noexcept nogil
    int pthread_cond_destroy(pthread_cond_t *cond) noexcept nogil
    int pthread_cond_signal(pthread_cond_t *cond) noexcept nogil
    int pthread_cond_broadcast(pthread_cond_t *cond) noexcept nogil
    int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex) noexcept nogil
    int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                               const timespec *until) noexcept nogil
    pthread_t pthread_self() noexcept nogil
    int sched_yield() noexcept nogil
