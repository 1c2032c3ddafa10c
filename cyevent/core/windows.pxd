# What sys.pxd declares, on Windows. On other systems this is empty.
#
# Facts:
# - A socket is a kernel handle, not a descriptor of the C runtime, and is read and closed by functions of its
#   own. Handles are multiples of four, small at first, and 32 bits of them count.
# - Winsock has errors of its own (WSAGetLastError), numbered apart from errno. Python uses these numbers as
#   errno.
# - The C runtime aborts the program that gives it a bad descriptor, unless the thread has a handler for that.
# - signal() handles a signal once, in another thread for Ctrl-C, and aborts for a number it does not have.
# - select(), WSAPoll() and the others wait for sockets alone; there are no pipes that they know.
#
# What follows: the core calls the system by POSIX's names and reads errno, as elsewhere. The functions below
# set errno from Winsock's error, and where both have a number for the same error it is Winsock's, as in
# Python. What reads or writes a number takes it for a socket first, and for a descriptor of the runtime if it
# is none. Instead of a pair of sockets, wake-ups go through one UDP socket that is connected to itself: no
# listener for strangers to connect to, and the system drops what others send there.

cdef extern from *:
    """
    #if defined(_WIN32) && !defined(CYEVENT_WINDOWS_H)
    #define CYEVENT_WINDOWS_H
    #ifndef NOMINMAX
      #define NOMINMAX
    #endif
    #ifndef WIN32_LEAN_AND_MEAN
      #define WIN32_LEAN_AND_MEAN
    #endif
    #include <winsock2.h>
    #include <ws2tcpip.h>
    #include <mswsock.h>
    #include <windows.h>
    #include <errno.h>
    #include <io.h>
    #include <signal.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <time.h>

    #if defined(_MSC_VER) && !defined(CYEVENT_HAVE_SSIZE_T)
      #define CYEVENT_HAVE_SSIZE_T
      typedef intptr_t ssize_t;
    #endif
    #ifndef CYEVENT_HAVE_SUSECONDS_T
      #define CYEVENT_HAVE_SUSECONDS_T
      typedef long suseconds_t;
    #endif
    typedef intptr_t evutil_socket_t;
    typedef int ev_socklen_t;

    #ifndef CYEVENT_HAVE_IOVEC
      #define CYEVENT_HAVE_IOVEC
      /* Laid out as WSABUF, whose 32 bits of length are the lower half of these where there are 64. Nobody
         reads or writes more than 2 GiB at once. */
      struct iovec { size_t iov_len; void *iov_base; };
    #endif

    /* --- errors --- */

    #undef EWOULDBLOCK
    #undef EAGAIN
    #undef EINPROGRESS
    #undef EALREADY
    #undef ENOTSOCK
    #undef EOPNOTSUPP
    #undef ENOTSUP
    #undef EAFNOSUPPORT
    #undef EADDRINUSE
    #undef EADDRNOTAVAIL
    #undef ENETUNREACH
    #undef ECONNABORTED
    #undef ECONNRESET
    #undef ENOBUFS
    #undef ENOTCONN
    #undef ETIMEDOUT
    #undef ECONNREFUSED
    #undef EHOSTUNREACH
    #define EWOULDBLOCK WSAEWOULDBLOCK
    #define EAGAIN WSAEWOULDBLOCK
    #define EINPROGRESS WSAEINPROGRESS
    #define EALREADY WSAEALREADY
    #define ENOTSOCK WSAENOTSOCK
    #define EOPNOTSUPP WSAEOPNOTSUPP
    #define ENOTSUP WSAEOPNOTSUPP
    #define EAFNOSUPPORT WSAEAFNOSUPPORT
    #define EADDRINUSE WSAEADDRINUSE
    #define EADDRNOTAVAIL WSAEADDRNOTAVAIL
    #define ENETUNREACH WSAENETUNREACH
    #define ECONNABORTED WSAECONNABORTED
    #define ECONNRESET WSAECONNRESET
    #define ENOBUFS WSAENOBUFS
    #define ENOTCONN WSAENOTCONN
    #define ETIMEDOUT WSAETIMEDOUT
    #define ECONNREFUSED WSAECONNREFUSED
    #define EHOSTUNREACH WSAEHOSTUNREACH

    static inline void set_errno(int value) {
        errno = value;
        WSASetLastError(value);
    }
    /* The few errors that are the same as ours. */
    static inline int ev_errno_of(int error) {
        switch (error) {
        case WSAEINTR: case WSAEBADF: case WSAEACCES: case WSAEFAULT: case WSAEINVAL: case WSAEMFILE:
            return error - WSABASEERR;
        case WSA_NOT_ENOUGH_MEMORY: return ENOMEM;
        case WSA_INVALID_HANDLE: return EBADF;
        case WSAESHUTDOWN: return EPIPE;
        default: return error;
        }
    }
    static inline int ev_failed(int result) {
        if (result < 0)
            errno = ev_errno_of(WSAGetLastError());
        return result;
    }
    static inline evutil_socket_t ev_made(SOCKET sock) {
        if (sock == INVALID_SOCKET) {
            errno = ev_errno_of(WSAGetLastError());
            return -1;
        }
        return (evutil_socket_t)sock;
    }
    static inline void ev_set_errno_from_windows(DWORD error) {
        errno = error == ERROR_NOT_ENOUGH_MEMORY ? ENOMEM : error == ERROR_INVALID_HANDLE ? EBADF
            : error == ERROR_ACCESS_DENIED ? EACCES : error == ERROR_HANDLE_EOF ? 0 : EIO;
    }
    /* Good until the thread asks for another. */
    static inline const char *ev_error_text(int error) {
    #ifdef _MSC_VER
        static __declspec(thread) char text[256];
    #else
        static __thread char text[256];
    #endif
        DWORD n;
        if (error < WSABASEERR)
            return strerror(error);
        n = FormatMessageA(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, (DWORD)error,
                           MAKELANGID(LANG_ENGLISH, SUBLANG_ENGLISH_US), text, sizeof(text), NULL);
        if (n == 0)
            n = FormatMessageA(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL,
                               (DWORD)error, 0, text, sizeof(text), NULL);
        while (n && (text[n - 1] == 10 || text[n - 1] == 13))
            text[--n] = 0;
        if (n == 0)
            snprintf(text, sizeof(text), "winsock error %d", error);
        return text;
    }

    /* --- sockets --- */

    #define MSG_NOSIGNAL 0
    #define MSG_MORE 0
    #ifndef AF_UNIX
      #define AF_UNIX 1
    #endif
    #define SHUT_RD SD_RECEIVE
    #define SHUT_WR SD_SEND
    #define SHUT_RDWR SD_BOTH
    #define EV_LEAST(n) ((n) > 0x7ffff000 ? 0x7ffff000 : (int)(n))
    #define ev_recv(fd, data, n, flags) \\
        ((ssize_t)ev_failed(recv((SOCKET)(fd), (char *)(data), EV_LEAST(n), flags)))
    #define ev_send(fd, data, n, flags) \\
        ((ssize_t)ev_failed(send((SOCKET)(fd), (const char *)(data), EV_LEAST(n), flags)))
    #define ev_socket(domain, kind, protocol) ev_made(socket(domain, kind, protocol))
    #define ev_accept(fd, address, n) ev_made(accept((SOCKET)(fd), address, n))
    #define ev_bind(fd, address, n) ev_failed(bind((SOCKET)(fd), address, n))
    #define ev_listen(fd, n) ev_failed(listen((SOCKET)(fd), n))
    #define ev_connect(fd, address, n) ev_failed(connect((SOCKET)(fd), address, n))
    #define ev_setsockopt(fd, level, name, value, n) \\
        ev_failed(setsockopt((SOCKET)(fd), level, name, (const char *)(value), n))
    #define ev_getsockopt(fd, level, name, value, n) \\
        ev_failed(getsockopt((SOCKET)(fd), level, name, (char *)(value), n))
    #define ev_getsockname(fd, address, n) ev_failed(getsockname((SOCKET)(fd), address, n))
    #define ev_getpeername(fd, address, n) ev_failed(getpeername((SOCKET)(fd), address, n))
    #define ev_shutdown(fd, how) ev_failed(shutdown((SOCKET)(fd), how))
    #define ev_close_socket(fd) ev_failed(closesocket((SOCKET)(fd)))

    static inline int ev_set_nonblocking(evutil_socket_t fd) {
        unsigned long on = 1;
        return ev_failed(ioctlsocket((SOCKET)fd, FIONBIO, &on));
    }
    static inline int ev_set_blocking(evutil_socket_t fd) {
        unsigned long off = 0;
        return ev_failed(ioctlsocket((SOCKET)fd, FIONBIO, &off));
    }
    /* Those of socket() are inherited. */
    static inline int ev_set_closeonexec(evutil_socket_t fd) {
        SetHandleInformation((HANDLE)fd, HANDLE_FLAG_INHERIT, 0);
        return 0;
    }
    static inline int ev_clear_closeonexec(evutil_socket_t fd) {
        SetHandleInformation((HANDLE)fd, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT);
        return 0;
    }
    static inline int ev_is_open(evutil_socket_t fd) {
        int kind, n = sizeof(kind);
        return ev_failed(getsockopt((SOCKET)fd, SOL_SOCKET, SO_TYPE, (char *)&kind, &n)) == 0;
    }
    /* It cannot be asked. */
    static inline int ev_is_blocking(evutil_socket_t fd) { (void)fd; return 0; }

    static inline int ev_wake_pair(evutil_socket_t *fds) {
        struct sockaddr_in address = {0};
        int n = sizeof(address);
        SOCKET sock = socket(AF_INET, SOCK_DGRAM, 0);
        fds[0] = fds[1] = -1;
        if (sock == INVALID_SOCKET)
            return ev_failed(-1);
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (bind(sock, (struct sockaddr *)&address, n) < 0
                || getsockname(sock, (struct sockaddr *)&address, &n) < 0
                || connect(sock, (struct sockaddr *)&address, n) < 0
                || ev_set_nonblocking((evutil_socket_t)sock) < 0) {
            ev_failed(-1);
            closesocket(sock);
            return -1;
        }
        ev_set_closeonexec((evutil_socket_t)sock);
        fds[0] = fds[1] = (evutil_socket_t)sock;
        return 0;
    }

    /* --- descriptors of the C runtime --- */

    static inline void ev_ignore_bad_descriptor(const wchar_t *a, const wchar_t *b, const wchar_t *c,
                                                unsigned d, uintptr_t e) {
        (void)a; (void)b; (void)c; (void)d; (void)e;
    }
    #if !defined(_MSC_VER) && !defined(CYEVENT_HAVE_INVALID_PARAMETER)
      #define CYEVENT_HAVE_INVALID_PARAMETER
      __declspec(dllimport) _invalid_parameter_handler
          _set_thread_local_invalid_parameter_handler(_invalid_parameter_handler);
    #endif
    #define EV_WITH_DESCRIPTOR(expression) do { \\
        _invalid_parameter_handler before_ = \\
            _set_thread_local_invalid_parameter_handler(ev_ignore_bad_descriptor); \\
        expression; \\
        _set_thread_local_invalid_parameter_handler(before_); \\
    } while (0)

    /* -1 with EBADF if it is none. */
    static inline HANDLE ev_handle_of(int fd) {
        intptr_t handle;
        EV_WITH_DESCRIPTOR(handle = _get_osfhandle(fd));
        if (handle < 0)
            errno = EBADF;
        return handle < 0 ? INVALID_HANDLE_VALUE : (HANDLE)handle;
    }
    static inline int ev_close_file(int fd) {
        int result;
        EV_WITH_DESCRIPTOR(result = _close(fd));
        return result;
    }
    /* At an offset, or where the file stands if that is negative. Reading at an offset moves where it stands,
       and here back again: who reads on from there in another thread at that moment is disturbed. What pipes
       say at their end is no error. */
    static inline ssize_t ev_read_file(int fd, void *data, size_t n, int64_t offset) {
        HANDLE handle = ev_handle_of(fd);
        OVERLAPPED at = {0};
        LARGE_INTEGER nowhere = {0}, before;
        DWORD done = 0, error = 0;
        if (handle == INVALID_HANDLE_VALUE)
            return -1;
        at.Offset = (DWORD)offset;
        at.OffsetHigh = (DWORD)((uint64_t)offset >> 32);
        if (offset >= 0 && !SetFilePointerEx(handle, nowhere, &before, FILE_CURRENT))
            offset = -1;
        if (!ReadFile(handle, data, (DWORD)EV_LEAST(n), &done, offset < 0 ? NULL : &at))
            error = GetLastError();
        if (offset >= 0)
            SetFilePointerEx(handle, before, NULL, FILE_BEGIN);
        if (error == 0)
            return (ssize_t)done;
        if (error == ERROR_HANDLE_EOF || error == ERROR_BROKEN_PIPE)
            return 0;
        ev_set_errno_from_windows(error);
        return -1;
    }
    static inline ssize_t ev_write_file(int fd, const void *data, size_t n) {
        HANDLE handle = ev_handle_of(fd);
        DWORD done = 0;
        if (handle == INVALID_HANDLE_VALUE)
            return -1;
        if (WriteFile(handle, data, (DWORD)EV_LEAST(n), &done, NULL))
            return (ssize_t)done;
        if (GetLastError() == ERROR_NO_DATA || GetLastError() == ERROR_BROKEN_PIPE)
            errno = EPIPE;
        else
            ev_set_errno_from_windows(GetLastError());
        return -1;
    }
    static inline ssize_t ev_read(evutil_socket_t fd, void *data, size_t n) {
        ssize_t got = ev_recv(fd, data, n, 0);
        return got >= 0 || (errno != ENOTSOCK && errno != EBADF) ? got : ev_read_file((int)fd, data, n, -1);
    }
    static inline ssize_t ev_write(evutil_socket_t fd, const void *data, size_t n) {
        ssize_t done = ev_send(fd, data, n, 0);
        return done >= 0 || (errno != ENOTSOCK && errno != EBADF) ? done : ev_write_file((int)fd, data, n);
    }
    static inline ssize_t ev_readv(evutil_socket_t fd, const struct iovec *vectors, int n) {
        DWORD done = 0, flags = 0;
        if (WSARecv((SOCKET)fd, (WSABUF *)vectors, (DWORD)n, &done, &flags, NULL, NULL) == 0)
            return (ssize_t)done;
        errno = ev_errno_of(WSAGetLastError());
        if (errno != ENOTSOCK && errno != EBADF)
            return -1;
        return ev_read_file((int)fd, vectors[0].iov_base, vectors[0].iov_len, -1);
    }
    static inline ssize_t ev_writev(evutil_socket_t fd, const struct iovec *vectors, int n) {
        DWORD done = 0;
        if (WSASend((SOCKET)fd, (WSABUF *)vectors, (DWORD)n, &done, 0, NULL, NULL) == 0)
            return (ssize_t)done;
        errno = ev_errno_of(WSAGetLastError());
        if (errno != ENOTSOCK && errno != EBADF)
            return -1;
        return ev_write_file((int)fd, vectors[0].iov_base, vectors[0].iov_len);
    }

    /* --- clocks --- */

    #ifndef CLOCK_REALTIME
      #define CLOCK_REALTIME 0
    #endif
    #ifndef CLOCK_MONOTONIC
      #define CLOCK_MONOTONIC 1
    #endif
    static inline int ev_clock_gettime(int clock, struct timespec *ts) {
        static LARGE_INTEGER frequency;
        LARGE_INTEGER now;
        FILETIME wall;
        if (clock == CLOCK_REALTIME) {
            /* 100 ns since 1601. */
            GetSystemTimePreciseAsFileTime(&wall);
            now.LowPart = wall.dwLowDateTime;
            now.HighPart = (LONG)wall.dwHighDateTime;
            now.QuadPart -= 116444736000000000LL;
            ts->tv_sec = now.QuadPart / 10000000;
            ts->tv_nsec = (long)(now.QuadPart % 10000000 * 100);
            return 0;
        }
        if (frequency.QuadPart == 0)
            /* The same for all threads, and does not change. */
            QueryPerformanceFrequency(&frequency);
        QueryPerformanceCounter(&now);
        ts->tv_sec = now.QuadPart / frequency.QuadPart;
        ts->tv_nsec = (long)(now.QuadPart % frequency.QuadPart * 1000000000 / frequency.QuadPart);
        return 0;
    }
    static inline int ev_gettimeofday(struct timeval *tv, void *tz) {
        struct timespec now;
        (void)tz;
        ev_clock_gettime(CLOCK_REALTIME, &now);
        tv->tv_sec = (long)now.tv_sec;
        tv->tv_usec = now.tv_nsec / 1000;
        return 0;
    }

    /* --- locks, for what is locked beside the tables of threads.pxd --- */

    typedef CRITICAL_SECTION ev_pthread_mutex_t;
    typedef CONDITION_VARIABLE ev_pthread_cond_t;
    typedef int ev_pthread_mutexattr_t;
    #define EV_MUTEX_RECURSIVE 1
    #define ev_pthread_mutexattr_init(attr) (*(attr) = 0)
    #define ev_pthread_mutexattr_settype(attr, kind) (*(attr) = (kind))
    #define ev_pthread_mutexattr_destroy(attr) ((void)(attr), 0)
    #define ev_pthread_mutex_init(mutex, attr) ((void)(attr), InitializeCriticalSection(mutex), 0)
    #define ev_pthread_mutex_destroy(mutex) (DeleteCriticalSection(mutex), 0)
    #define ev_pthread_mutex_lock(mutex) (EnterCriticalSection(mutex), 0)
    #define ev_pthread_mutex_trylock(mutex) (TryEnterCriticalSection(mutex) ? 0 : EBUSY)
    #define ev_pthread_mutex_unlock(mutex) (LeaveCriticalSection(mutex), 0)
    #define ev_pthread_cond_init(cond, attr) ((void)(attr), InitializeConditionVariable(cond), 0)
    #define ev_pthread_cond_destroy(cond) ((void)(cond), 0)
    #define ev_pthread_cond_signal(cond) (WakeConditionVariable(cond), 0)
    #define ev_pthread_cond_broadcast(cond) (WakeAllConditionVariable(cond), 0)
    #define ev_pthread_cond_wait(cond, mutex) (SleepConditionVariableCS(cond, mutex, INFINITE) ? 0 : EINVAL)
    static inline int ev_pthread_cond_timedwait(ev_pthread_cond_t *cond, ev_pthread_mutex_t *mutex,
                                                const struct timespec *until) {
        struct timespec now;
        int64_t ms;
        ev_clock_gettime(CLOCK_REALTIME, &now);
        ms = (until->tv_sec - now.tv_sec) * 1000LL + (until->tv_nsec - now.tv_nsec + 999999) / 1000000;
        if (ms < 0)
            ms = 0;
        if (SleepConditionVariableCS(cond, mutex, ms < 0x7fffffff ? (DWORD)ms : 0x7fffffff))
            return 0;
        return GetLastError() == ERROR_TIMEOUT ? ETIMEDOUT : EINVAL;
    }
    #define ev_thread_self() ((unsigned long)GetCurrentThreadId())
    #define ev_sched_yield() (SwitchToThread(), 0)
    #define ev_process_id() 0L       /* there are no forked children */

    /* --- signals --- */

    typedef unsigned ev_sigset_t;
    struct ev_sigaction_t { void (*sa_handler)(int); ev_sigset_t sa_mask; int sa_flags; };
    #define SA_RESTART 0
    #define SIG_BLOCK 0
    #define SIG_UNBLOCK 1
    #define SIG_SETMASK 2
    #define ev_sigemptyset(set) (*(set) = 0, 0)
    #define ev_sigfillset(set) (*(set) = ~0u, 0)
    #define ev_sigaddset(set, n) (*(set) |= 1u << (n), 0)
    #define ev_sigdelset(set, n) (*(set) &= ~(1u << (n)), 0)
    #define ev_pthread_sigmask(how, set, old) ((void)(set), ENOSYS)
    static inline int ev_sigaction(int signum, const struct ev_sigaction_t *action,
                                   struct ev_sigaction_t *old) {
        void (*before)(int);
        if (signum != SIGINT && signum != SIGILL && signum != SIGABRT && signum != SIGFPE
                && signum != SIGSEGV && signum != SIGTERM && signum != SIGBREAK) {
            errno = EINVAL;
            return -1;
        }
        before = signal(signum, action != NULL ? action->sa_handler : SIG_GET);
        if (before == SIG_ERR)
            return -1;
        if (old != NULL) {
            old->sa_handler = before;
            old->sa_mask = 0;
            old->sa_flags = 0;
        }
        return 0;
    }
    /* Within a handler: again for the next time. */
    #define ev_handle_again(signum, handler) ((void)signal(signum, handler))
    #endif
    """
    # Nothing of it is declared here: sys.pxd does that for all systems.
    pass
