# The system's own declarations, gathered in one place, by POSIX's names. What Windows has instead is in
# windows.pxd; names in C begin with ev_ where the two differ.

from libc.stdint cimport int64_t
cimport cyevent.core.windows

cdef extern from *:
    """
    #ifndef CYEVENT_SYS_H
    #define CYEVENT_SYS_H
    #include <stdarg.h>
    #include <stdint.h>
    #ifndef _WIN32
      #include <sys/types.h>
      #include <sys/time.h>
      #include <sys/socket.h>
      #include <sys/uio.h>
      #include <unistd.h>
      #include <fcntl.h>
      #include <errno.h>
      #include <signal.h>
      #include <string.h>
      #include <time.h>
      #include <pthread.h>
      #include <sched.h>
      typedef int evutil_socket_t;
      typedef socklen_t ev_socklen_t;
      typedef pthread_mutex_t ev_pthread_mutex_t;
      typedef pthread_mutexattr_t ev_pthread_mutexattr_t;
      typedef pthread_cond_t ev_pthread_cond_t;
      typedef sigset_t ev_sigset_t;
      #define ev_sigaction_t sigaction
      #define ev_sigaction sigaction
      #define ev_sigemptyset sigemptyset
      #define ev_sigfillset sigfillset
      #define ev_sigaddset sigaddset
      #define ev_sigdelset sigdelset
      #define ev_handle_again(signum, handler) ((void)0)
      #define ev_recv recv
      #define ev_send send
      #define ev_read read
      #define ev_write write
      #define ev_readv readv
      #define ev_writev writev
      #define ev_socket socket
      #define ev_close_socket close
      #define ev_close_file close
      #define ev_error_text strerror
      #define ev_clock_gettime clock_gettime
      #define ev_gettimeofday gettimeofday
      #define EV_MUTEX_RECURSIVE PTHREAD_MUTEX_RECURSIVE
      #define ev_pthread_mutexattr_init pthread_mutexattr_init
      #define ev_pthread_mutexattr_settype pthread_mutexattr_settype
      #define ev_pthread_mutexattr_destroy pthread_mutexattr_destroy
      #define ev_pthread_mutex_init pthread_mutex_init
      #define ev_pthread_mutex_destroy pthread_mutex_destroy
      #define ev_pthread_mutex_lock pthread_mutex_lock
      #define ev_pthread_mutex_trylock pthread_mutex_trylock
      #define ev_pthread_mutex_unlock pthread_mutex_unlock
      #define ev_pthread_cond_init pthread_cond_init
      #define ev_pthread_cond_destroy pthread_cond_destroy
      #define ev_pthread_cond_signal pthread_cond_signal
      #define ev_pthread_cond_broadcast pthread_cond_broadcast
      #define ev_pthread_cond_wait pthread_cond_wait
      #define ev_pthread_cond_timedwait pthread_cond_timedwait
      #define ev_pthread_sigmask pthread_sigmask
      #define ev_thread_self() ((unsigned long)pthread_self())
      #define ev_sched_yield sched_yield
      #define ev_process_id() ((long)getpid())
      static inline void set_errno(int value) { errno = value; }
      static inline int ev_set_nonblocking(evutil_socket_t fd) {
          int flags = fcntl(fd, F_GETFL);
          if (flags < 0)
              return -1;
          return flags & O_NONBLOCK ? 0 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
      }
      static inline int ev_set_blocking(evutil_socket_t fd) {
          int flags = fcntl(fd, F_GETFL);
          if (flags < 0)
              return -1;
          return flags & O_NONBLOCK ? fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) : 0;
      }
      static inline int ev_set_closeonexec(evutil_socket_t fd) {
          int flags = fcntl(fd, F_GETFD);
          if (flags < 0)
              return -1;
          return flags & FD_CLOEXEC ? 0 : fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
      }
      static inline int ev_clear_closeonexec(evutil_socket_t fd) {
          int flags = fcntl(fd, F_GETFD);
          return flags < 0 ? -1 : fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC);
      }
      static inline int ev_is_open(evutil_socket_t fd) { return fcntl(fd, F_GETFD) >= 0; }
      static inline int ev_is_blocking(evutil_socket_t fd) {
          int flags = fcntl(fd, F_GETFL);
          return flags >= 0 && !(flags & O_NONBLOCK);
      }
      static inline int ev_wake_pair(evutil_socket_t *fds) {
          int i, code;
          if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0) {
              fds[0] = fds[1] = -1;
              return -1;
          }
          for (i = 0; i < 2; i++)
              if (ev_set_nonblocking(fds[i]) < 0 || ev_set_closeonexec(fds[i]) < 0) {
                  code = errno;
                  close(fds[0]);
                  close(fds[1]);
                  errno = code;
                  fds[0] = fds[1] = -1;
                  return -1;
              }
          return 0;
      }
    #endif
    static inline void ev_close_wake_pair(evutil_socket_t *fds) {
        if (fds[0] >= 0)
            ev_close_socket(fds[0]);
        if (fds[1] >= 0 && fds[1] != fds[0])
            ev_close_socket(fds[1]);
        fds[0] = fds[1] = -1;
    }
    /* Handles of Windows are multiples of four. */
    #ifdef _WIN32
      #define ev_slot_of(fd) ((int)((fd) >> 2))
      #define ev_fd_of(slot) ((evutil_socket_t)(slot) << 2)
      #define EV_NO_FD(fd) (((fd) & 3) != 0 || (fd) > 0x7fffffff)
    #else
      #define ev_slot_of(fd) (fd)
      #define ev_fd_of(slot) (slot)
      #define EV_NO_FD(fd) 0
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
    # A descriptor's place in an array, and back.
    int ev_slot_of(evutil_socket_t fd) noexcept nogil
    evutil_socket_t ev_fd_of(int slot) noexcept nogil
    # What cannot be a descriptor, whatever is open.
    bint EV_NO_FD(evutil_socket_t fd) noexcept nogil
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

    ctypedef struct sigset_t "ev_sigset_t":
        pass

    ctypedef struct va_list:
        pass

    ctypedef void (*sighandler_fn)(int) noexcept nogil

    struct sigaction_t "ev_sigaction_t":
        sighandler_fn sa_handler
        sigset_t sa_mask
        int sa_flags

    ctypedef struct pthread_mutex_t "ev_pthread_mutex_t":
        pass
    ctypedef struct pthread_mutexattr_t "ev_pthread_mutexattr_t":
        pass
    ctypedef struct pthread_cond_t "ev_pthread_cond_t":
        pass

    int PTHREAD_MUTEX_RECURSIVE "EV_MUTEX_RECURSIVE"
    int CLOCK_MONOTONIC
    int CLOCK_REALTIME
    int EINTR, EAGAIN, EWOULDBLOCK, EBADF, ENOENT, EEXIST, EPERM, EINVAL, ENOMEM, ERANGE, ENOSYS
    int ECONNRESET, ECONNREFUSED, ECONNABORTED, EINPROGRESS, EMFILE, ENFILE, ENOBUFS, EPIPE, EDEADLK
    int ETIMEDOUT, ENOTSUP, EALREADY, ENOTCONN, ENOTSOCK, EPROTO
    int F_GETFL, F_SETFL, F_GETFD, F_SETFD, O_NONBLOCK, FD_CLOEXEC
    int AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, SOCK_STREAM, SOCK_DGRAM, SOL_SOCKET, SO_ERROR
    int SHUT_RD, SHUT_WR, SHUT_RDWR, MSG_NOSIGNAL
    int NSIG, SA_RESTART, SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK
    sighandler_fn SIG_ERR, SIG_DFL, SIG_IGN

    int clock_gettime "ev_clock_gettime"(int clock, timespec *ts) noexcept nogil
    int gettimeofday "ev_gettimeofday"(timeval *tv, void *tz) noexcept nogil
    ssize_t read "ev_read"(evutil_socket_t fd, void *data, size_t n) noexcept nogil
    ssize_t write "ev_write"(evutil_socket_t fd, const void *data, size_t n) noexcept nogil
    ssize_t readv "ev_readv"(evutil_socket_t fd, const iovec *vectors, int n) noexcept nogil
    ssize_t writev "ev_writev"(evutil_socket_t fd, const iovec *vectors, int n) noexcept nogil
    ssize_t recv "ev_recv"(evutil_socket_t fd, void *data, size_t n, int flags) noexcept nogil
    ssize_t send "ev_send"(evutil_socket_t fd, const void *data, size_t n, int flags) noexcept nogil
    # Descriptors of files are another kind on Windows.
    int ev_close_socket(evutil_socket_t fd) noexcept nogil
    int ev_close_file(int fd) noexcept nogil
    int ev_set_nonblocking(evutil_socket_t fd) noexcept nogil
    int ev_set_blocking(evutil_socket_t fd) noexcept nogil
    int ev_set_closeonexec(evutil_socket_t fd) noexcept nogil
    int ev_clear_closeonexec(evutil_socket_t fd) noexcept nogil
    bint ev_is_open(evutil_socket_t fd) noexcept nogil
    # False where it cannot be known.
    bint ev_is_blocking(evutil_socket_t fd) noexcept nogil
    # What is sent to fds[1] is received from fds[0]; they may be the same. Neither blocks or is inherited.
    int ev_wake_pair(evutil_socket_t *fds) noexcept nogil
    void ev_close_wake_pair(evutil_socket_t *fds) noexcept nogil
    const char *ev_error_text(int error) noexcept nogil
    # Within a signal's handler, which some systems take away when they call it.
    void ev_handle_again(int signum, sighandler_fn handler) noexcept nogil
    int socket "ev_socket"(int domain, int kind, int protocol) noexcept nogil
    int sigaction "ev_sigaction"(int signum, const sigaction_t *action, sigaction_t *old) noexcept nogil
    int sigemptyset "ev_sigemptyset"(sigset_t *mask) noexcept nogil
    int sigfillset "ev_sigfillset"(sigset_t *mask) noexcept nogil
    int sigaddset "ev_sigaddset"(sigset_t *mask, int signum) noexcept nogil
    int sigdelset "ev_sigdelset"(sigset_t *mask, int signum) noexcept nogil
    int pthread_sigmask "ev_pthread_sigmask"(int how, const sigset_t *mask, sigset_t *old) noexcept nogil
    int pthread_mutexattr_init "ev_pthread_mutexattr_init"(pthread_mutexattr_t *attr) noexcept nogil
    int pthread_mutexattr_settype "ev_pthread_mutexattr_settype"(pthread_mutexattr_t *attr,
                                                                 int kind) noexcept nogil
    int pthread_mutexattr_destroy "ev_pthread_mutexattr_destroy"(pthread_mutexattr_t *attr) noexcept nogil
    int pthread_mutex_init "ev_pthread_mutex_init"(pthread_mutex_t *mutex,
                                                   const pthread_mutexattr_t *attr) noexcept nogil
    int pthread_mutex_destroy "ev_pthread_mutex_destroy"(pthread_mutex_t *mutex) noexcept nogil
    int pthread_mutex_lock "ev_pthread_mutex_lock"(pthread_mutex_t *mutex) noexcept nogil
    int pthread_mutex_trylock "ev_pthread_mutex_trylock"(pthread_mutex_t *mutex) noexcept nogil
    int pthread_mutex_unlock "ev_pthread_mutex_unlock"(pthread_mutex_t *mutex) noexcept nogil
    int pthread_cond_init "ev_pthread_cond_init"(pthread_cond_t *cond, const void *attr) noexcept nogil
    int pthread_cond_destroy "ev_pthread_cond_destroy"(pthread_cond_t *cond) noexcept nogil
    int pthread_cond_signal "ev_pthread_cond_signal"(pthread_cond_t *cond) noexcept nogil
    int pthread_cond_broadcast "ev_pthread_cond_broadcast"(pthread_cond_t *cond) noexcept nogil
    int pthread_cond_wait "ev_pthread_cond_wait"(pthread_cond_t *cond, pthread_mutex_t *mutex) noexcept nogil
    int pthread_cond_timedwait "ev_pthread_cond_timedwait"(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                                           const timespec *until) noexcept nogil
    unsigned long ev_thread_self() noexcept nogil
    int sched_yield "ev_sched_yield"() noexcept nogil
    # Another one in a forked child.
    long ev_process_id() noexcept nogil

    # Of POSIX alone.
    int close(int fd) noexcept nogil
    int fcntl(int fd, int command, ...) noexcept nogil
    int pipe(int *fds) noexcept nogil
    int socketpair(int domain, int kind, int protocol, int *fds) noexcept nogil
