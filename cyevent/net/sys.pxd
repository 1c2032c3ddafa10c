# The system's declarations for sockets and addresses, beyond those of the core.

from libc.stdint cimport uint16_t, uint32_t
from cyevent.core.sys cimport ev_socklen_t, sockaddr, sockaddr_storage

cdef extern from *:
    """
    #ifndef CYEVENT_NET_SYS_H
    #define CYEVENT_NET_SYS_H
    #ifdef _WIN32
      #include <afunix.h>
    #else
      #include <arpa/inet.h>
      #include <net/if.h>
      #include <netinet/in.h>
      #include <netinet/tcp.h>
      #include <stddef.h>
      #include <sys/un.h>
    #endif
    #ifndef SOCK_NONBLOCK
      #define SOCK_NONBLOCK 0
    #endif
    #ifndef SOCK_CLOEXEC
      #define SOCK_CLOEXEC 0
    #endif
    #ifdef __linux__
      /* Declared by <sys/socket.h> on demand only. */
      extern int accept4(int, struct sockaddr *, socklen_t *, int);
      #define ev_accept4 accept4
      #define EV_HAVE_ACCEPT4 1
    #else
      #define EV_HAVE_ACCEPT4 0
      #define ev_accept4(fd, sa, len, flags) accept(fd, sa, len)
    #endif
    #ifdef SO_REUSEPORT
      #define EV_SO_REUSEPORT SO_REUSEPORT
    #else
      #define EV_SO_REUSEPORT -1
    #endif
    #ifdef TCP_DEFER_ACCEPT
      #define EV_TCP_DEFER_ACCEPT TCP_DEFER_ACCEPT
    #else
      #define EV_TCP_DEFER_ACCEPT -1
    #endif
    #if defined(TCP_KEEPIDLE)
      #define EV_TCP_KEEPIDLE TCP_KEEPIDLE
    #elif defined(TCP_KEEPALIVE)
      #define EV_TCP_KEEPIDLE TCP_KEEPALIVE
    #else
      #define EV_TCP_KEEPIDLE -1
    #endif
    #ifdef TCP_KEEPINTVL
      #define EV_TCP_KEEPINTVL TCP_KEEPINTVL
    #else
      #define EV_TCP_KEEPINTVL -1
    #endif
    #ifdef TCP_KEEPCNT
      #define EV_TCP_KEEPCNT TCP_KEEPCNT
    #else
      #define EV_TCP_KEEPCNT -1
    #endif
    #if defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__NetBSD__) \\
        || defined(__DragonFly__)
      /* Addresses there begin with their length. */
      #define ev_set_sa_len(sa, n) ((sa)->sa_len = (n))
    #else
      #define ev_set_sa_len(sa, n) ((void)0)
    #endif
    #endif
    """
    struct in_addr:
        uint32_t s_addr

    struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr

    struct in6_addr:
        unsigned char s6_addr[16]

    struct sockaddr_in6:
        unsigned short sin6_family
        uint16_t sin6_port
        uint32_t sin6_flowinfo
        in6_addr sin6_addr
        uint32_t sin6_scope_id

    struct sockaddr_un:
        unsigned short sun_family
        char sun_path[108]

    int SOCK_NONBLOCK, SOCK_CLOEXEC, SO_REUSEADDR, SO_KEEPALIVE, IPPROTO_TCP, IPPROTO_IPV6, IPV6_V6ONLY
    int TCP_NODELAY
    int EV_HAVE_ACCEPT4, EV_SO_REUSEPORT, EV_TCP_DEFER_ACCEPT, EV_TCP_KEEPIDLE, EV_TCP_KEEPINTVL
    int EV_TCP_KEEPCNT, INET_ADDRSTRLEN, INET6_ADDRSTRLEN

    uint16_t htons(uint16_t n) noexcept nogil
    uint16_t ntohs(uint16_t n) noexcept nogil
    uint32_t htonl(uint32_t n) noexcept nogil
    uint32_t ntohl(uint32_t n) noexcept nogil
    void ev_set_sa_len(sockaddr *address, int n) noexcept nogil
    int ev_accept4(int fd, sockaddr *address, ev_socklen_t *length, int flags) noexcept nogil
    int bind(int fd, const sockaddr *address, ev_socklen_t length) noexcept nogil
    int listen(int fd, int backlog) noexcept nogil
    int connect(int fd, const sockaddr *address, ev_socklen_t length) noexcept nogil
    int setsockopt(int fd, int level, int name, const void *value, ev_socklen_t n) noexcept nogil
    int getsockopt(int fd, int level, int name, void *value, ev_socklen_t *n) noexcept nogil
    int getsockname(int fd, sockaddr *address, ev_socklen_t *n) noexcept nogil
    int getpeername(int fd, sockaddr *address, ev_socklen_t *n) noexcept nogil
    int inet_pton(int family, const char *text, void *out) noexcept nogil
    const char *inet_ntop(int family, const void *address, char *out, ev_socklen_t n) noexcept nogil
    unsigned if_nametoindex(const char *name) noexcept nogil
