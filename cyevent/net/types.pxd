# What util.h of libevent has as macros: integers of a size and their limits, arithmetic on struct timeval,
# socket errors, and the flags and errors of evutil_getaddrinfo().
#
# A function with variable arguments cannot be written in Cython, and a macro has no address. So this part is C:
# cimported from here it is compiled into the module that uses it, and the C header has a copy of the text. The
# header alone has evutil_timercmp() and evutil_offsetof(), whose arguments are an operator and a field.

from libc.stdint cimport (
    int8_t, int16_t, int32_t, int64_t, intptr_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t,
)
from cyevent.core.sys cimport evutil_socket_t, timeval, va_list
from cyevent.net.sys cimport addrinfo

ctypedef int8_t ev_int8_t
ctypedef int16_t ev_int16_t
ctypedef int32_t ev_int32_t
ctypedef int64_t ev_int64_t
ctypedef intptr_t ev_intptr_t
ctypedef uint8_t ev_uint8_t
ctypedef uint16_t ev_uint16_t
ctypedef uint32_t ev_uint32_t
ctypedef uint64_t ev_uint64_t
ctypedef uintptr_t ev_uintptr_t

# A list of addresses; ai_next is NULL in the last one.
ctypedef addrinfo evutil_addrinfo

cdef extern from *:
    """
    #ifndef CYEVENT_NET_TYPES_H
    #define CYEVENT_NET_TYPES_H
    #include <errno.h>
    #include <limits.h>
    #include <stdarg.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <time.h>
    #ifdef _WIN32
      #include <winsock2.h>
      #include <ws2tcpip.h>
    #else
      #include <netdb.h>
      #include <sys/socket.h>
      #include <sys/time.h>
      #include <sys/types.h>
    #endif

    #define EV_UINT64_MAX UINT64_MAX
    #define EV_INT64_MAX INT64_MAX
    #define EV_INT64_MIN INT64_MIN
    #define EV_UINT32_MAX UINT32_MAX
    #define EV_INT32_MAX INT32_MAX
    #define EV_INT32_MIN INT32_MIN
    #define EV_UINT16_MAX UINT16_MAX
    #define EV_INT16_MAX INT16_MAX
    #define EV_INT16_MIN INT16_MIN
    #define EV_UINT8_MAX UINT8_MAX
    #define EV_INT8_MAX INT8_MAX
    #define EV_INT8_MIN INT8_MIN
    #define EV_SIZE_MAX SIZE_MAX
    #if SIZE_MAX == UINT64_MAX
      #define EV_SSIZE_MAX INT64_MAX
    #else
      #define EV_SSIZE_MAX INT32_MAX
    #endif
    #define EV_SSIZE_MIN ((-EV_SSIZE_MAX) - 1)

    #ifdef _WIN32
      #define EVUTIL_INVALID_SOCKET INVALID_SOCKET
      #define EVUTIL_SOCKET_ERROR() WSAGetLastError()
      #define EVUTIL_SET_SOCKET_ERROR(code) do { WSASetLastError(code); } while (0)
    #else
      #define EVUTIL_INVALID_SOCKET -1
      #define EVUTIL_SOCKET_ERROR() (errno)
      #define EVUTIL_SET_SOCKET_ERROR(code) do { errno = (code); } while (0)
    #endif
    #define EVUTIL_CLOSESOCKET(s) evutil_closesocket(s)
    /* Where the system has no such flags they are ours, and are taken out again before it sees them. */
    #ifdef SOCK_NONBLOCK
      #define EVUTIL_SOCK_NONBLOCK SOCK_NONBLOCK
    #else
      #define EVUTIL_SOCK_NONBLOCK 0x4000000
    #endif
    #ifdef SOCK_CLOEXEC
      #define EVUTIL_SOCK_CLOEXEC SOCK_CLOEXEC
    #else
      #define EVUTIL_SOCK_CLOEXEC 0x8000000
    #endif

    /* Flags and errors that a system lacks get values that none uses. */
    #ifdef EAI_ADDRFAMILY
      #define EVUTIL_EAI_ADDRFAMILY EAI_ADDRFAMILY
    #else
      #define EVUTIL_EAI_ADDRFAMILY -901
    #endif
    #define EVUTIL_EAI_AGAIN EAI_AGAIN
    #define EVUTIL_EAI_BADFLAGS EAI_BADFLAGS
    #define EVUTIL_EAI_FAIL EAI_FAIL
    #define EVUTIL_EAI_FAMILY EAI_FAMILY
    #define EVUTIL_EAI_MEMORY EAI_MEMORY
    /* Windows has it as another name of EAI_NONAME. */
    #if defined(EAI_NODATA) && EAI_NODATA != EAI_NONAME
      #define EVUTIL_EAI_NODATA EAI_NODATA
    #else
      #define EVUTIL_EAI_NODATA -907
    #endif
    #define EVUTIL_EAI_NONAME EAI_NONAME
    #define EVUTIL_EAI_SERVICE EAI_SERVICE
    #define EVUTIL_EAI_SOCKTYPE EAI_SOCKTYPE
    #ifdef EAI_SYSTEM
      #define EVUTIL_EAI_SYSTEM EAI_SYSTEM
    #else
      #define EVUTIL_EAI_SYSTEM -911
    #endif
    #define EVUTIL_EAI_CANCEL -90001

    #define EVUTIL_AI_PASSIVE AI_PASSIVE
    #define EVUTIL_AI_CANONNAME AI_CANONNAME
    #define EVUTIL_AI_NUMERICHOST AI_NUMERICHOST
    #ifdef AI_NUMERICSERV
      #define EVUTIL_AI_NUMERICSERV AI_NUMERICSERV
    #else
      #define EVUTIL_AI_NUMERICSERV 0x8000
    #endif
    #ifdef AI_V4MAPPED
      #define EVUTIL_AI_V4MAPPED AI_V4MAPPED
    #else
      #define EVUTIL_AI_V4MAPPED 0x10000
    #endif
    #ifdef AI_ALL
      #define EVUTIL_AI_ALL AI_ALL
    #else
      #define EVUTIL_AI_ALL 0x20000
    #endif
    #ifdef AI_ADDRCONFIG
      #define EVUTIL_AI_ADDRCONFIG AI_ADDRCONFIG
    #else
      #define EVUTIL_AI_ADDRCONFIG 0x40000
    #endif

    #define evutil_timercmp(a, b, op) \\
        (((a)->tv_sec == (b)->tv_sec) ? ((a)->tv_usec op (b)->tv_usec) : ((a)->tv_sec op (b)->tv_sec))
    #define evutil_offsetof(type, field) offsetof(type, field)

    static inline void evutil_timeradd(const struct timeval *a, const struct timeval *b,
                                       struct timeval *sum) {
        sum->tv_sec = a->tv_sec + b->tv_sec;
        sum->tv_usec = a->tv_usec + b->tv_usec;
        if (sum->tv_usec >= 1000000) {
            sum->tv_sec++;
            sum->tv_usec -= 1000000;
        }
    }
    static inline void evutil_timersub(const struct timeval *a, const struct timeval *b,
                                       struct timeval *difference) {
        difference->tv_sec = a->tv_sec - b->tv_sec;
        difference->tv_usec = a->tv_usec - b->tv_usec;
        if (difference->tv_usec < 0) {
            difference->tv_sec--;
            difference->tv_usec += 1000000;
        }
    }
    static inline void evutil_timerclear(struct timeval *tv) { tv->tv_sec = 0; tv->tv_usec = 0; }
    static inline int evutil_timerisset(const struct timeval *tv) { return tv->tv_sec || tv->tv_usec; }

    /* C99's vsnprintf, except that no room at all is 0 rather than the length. */
    static inline int evutil_vsnprintf(char *buf, size_t buflen, const char *format, va_list arguments) {
        return buflen ? vsnprintf(buf, buflen, format, arguments) : 0;
    }
    #if defined(__GNUC__) || defined(__clang__)
    __attribute__((format(printf, 3, 4)))
    #endif
    static inline int evutil_snprintf(char *buf, size_t buflen, const char *format, ...) {
        va_list arguments;
        int length;
        va_start(arguments, format);
        length = evutil_vsnprintf(buf, buflen, format, arguments);
        va_end(arguments);
        return length;
    }
    #endif
    """
    const uint64_t EV_UINT64_MAX
    const int64_t EV_INT64_MAX, EV_INT64_MIN
    const uint32_t EV_UINT32_MAX
    const int32_t EV_INT32_MAX, EV_INT32_MIN
    const uint16_t EV_UINT16_MAX
    const int16_t EV_INT16_MAX, EV_INT16_MIN
    const uint8_t EV_UINT8_MAX
    const int8_t EV_INT8_MAX, EV_INT8_MIN
    const size_t EV_SIZE_MAX
    const ssize_t EV_SSIZE_MAX, EV_SSIZE_MIN

    const evutil_socket_t EVUTIL_INVALID_SOCKET
    # Of the last socket call of this thread, and setting it.
    int EVUTIL_SOCKET_ERROR() noexcept nogil
    void EVUTIL_SET_SOCKET_ERROR(int code) noexcept nogil
    # For evutil_socketpair(), beside SOCK_STREAM.
    const int EVUTIL_SOCK_NONBLOCK, EVUTIL_SOCK_CLOEXEC

    const int EVUTIL_EAI_ADDRFAMILY, EVUTIL_EAI_AGAIN, EVUTIL_EAI_BADFLAGS, EVUTIL_EAI_FAIL
    const int EVUTIL_EAI_FAMILY, EVUTIL_EAI_MEMORY, EVUTIL_EAI_NODATA, EVUTIL_EAI_NONAME
    const int EVUTIL_EAI_SERVICE, EVUTIL_EAI_SOCKTYPE, EVUTIL_EAI_SYSTEM, EVUTIL_EAI_CANCEL
    const int EVUTIL_AI_PASSIVE, EVUTIL_AI_CANONNAME, EVUTIL_AI_NUMERICHOST, EVUTIL_AI_NUMERICSERV
    const int EVUTIL_AI_V4MAPPED, EVUTIL_AI_ALL, EVUTIL_AI_ADDRCONFIG

    # The result may be one of the arguments. A difference that is negative has tv_sec < 0 <= tv_usec.
    void evutil_timeradd(const timeval *a, const timeval *b, timeval *sum) noexcept nogil
    void evutil_timersub(const timeval *a, const timeval *b, timeval *difference) noexcept nogil
    void evutil_timerclear(timeval *tv) noexcept nogil
    bint evutil_timerisset(const timeval *tv) noexcept nogil

    # Returns the length of the whole text; buflen or more says that it was cut. It always ends with a NUL.
    int evutil_snprintf(char *buf, size_t buflen, const char *format, ...) noexcept nogil
    int evutil_vsnprintf(char *buf, size_t buflen, const char *format, va_list arguments) noexcept nogil
