# The system's declarations for sockets and addresses, beyond those of the core.

from libc.stdint cimport uint16_t, uint32_t
from cyevent.core.sys cimport ev_socklen_t, evutil_socket_t, sockaddr, sockaddr_storage

cdef extern from *:
    """
    #ifndef CYEVENT_NET_SYS_H
    #define CYEVENT_NET_SYS_H
    #ifdef _WIN32
      #include <iphlpapi.h>
      #include <mstcpip.h>
      #ifndef UNIX_PATH_MAX
        #define UNIX_PATH_MAX 108
        struct sockaddr_un { unsigned short sun_family; char sun_path[UNIX_PATH_MAX]; };
      #endif
    #else
      #include <arpa/inet.h>
      #include <net/if.h>
      #include <netdb.h>
      #include <netinet/in.h>
      #include <netinet/tcp.h>
      #include <stddef.h>
      #include <sys/un.h>
      #define ev_accept accept
      #define ev_bind bind
      #define ev_listen listen
      #define ev_connect connect
      #define ev_setsockopt setsockopt
      #define ev_getsockopt getsockopt
      #define ev_getsockname getsockname
      #define ev_getpeername getpeername
    #endif
    /* Where the system does not take these flags they are ours, and evutil_socket_(), evutil_accept4_() and
       evutil_socketpair() do what they say. */
    #if defined(SOCK_NONBLOCK) && defined(SOCK_CLOEXEC)
      #define EV_HAVE_SOCK_FLAGS 1
    #else
      #define EV_HAVE_SOCK_FLAGS 0
      #define SOCK_NONBLOCK 0x4000000
      #define SOCK_CLOEXEC 0x8000000
    #endif
    #ifdef __linux__
      /* Declared by <sys/socket.h> on demand only. */
      extern int accept4(int, struct sockaddr *, socklen_t *, int);
      #define ev_accept4 accept4
      #define EV_HAVE_ACCEPT4 1
    #else
      #define EV_HAVE_ACCEPT4 0
      #define ev_accept4(fd, sa, len, flags) ev_accept(fd, sa, len)
    #endif
    /* On Windows it lets another program take the address away; what we want is the default there. */
    #ifdef _WIN32
      #define EV_SO_REUSEADDR -1
    #else
      #define EV_SO_REUSEADDR SO_REUSEADDR
    #endif
    /* Only where the kernel spreads connections: elsewhere the socket that was bound last gets all of them. */
    #if defined(SO_REUSEPORT_LB)
      #define EV_SO_REUSEPORT SO_REUSEPORT_LB
    #elif defined(SO_REUSEPORT) && (defined(__linux__) || defined(__DragonFly__) || defined(_AIX73) \\
        || (defined(__sun) && defined(SO_FLOW_NAME)))
      #define EV_SO_REUSEPORT SO_REUSEPORT
    #else
      #define EV_SO_REUSEPORT -1
    #endif
    #ifdef IPV6_V6ONLY
      #define EV_IPV6_V6ONLY IPV6_V6ONLY
    #else
      #define EV_IPV6_V6ONLY -1
    #endif
    #ifdef TCP_DEFER_ACCEPT
      #define EV_TCP_DEFER_ACCEPT TCP_DEFER_ACCEPT
    #else
      #define EV_TCP_DEFER_ACCEPT -1
    #endif
    /* Windows has these options since 2017, the call for all of them since ever. */
    #ifdef _WIN32
      static inline int ev_set_keepalive(evutil_socket_t fd, int seconds, int again) {
          struct tcp_keepalive times;
          DWORD n = 0;
          times.onoff = 1;
          times.keepalivetime = seconds < 4000000 ? (ULONG)seconds * 1000 : 4000000000u;
          times.keepaliveinterval = again < 4000000 ? (ULONG)again * 1000 : 4000000000u;
          return ev_failed(WSAIoctl((SOCKET)fd, SIO_KEEPALIVE_VALS, &times, sizeof(times), NULL, 0, &n, NULL,
                                    NULL));
      }
      #define EV_KEEPALIVE_IN_ONE 1
    #else
      #define EV_KEEPALIVE_IN_ONE 0
      #define ev_set_keepalive(fd, seconds, again) (-1)
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
    /* The unit of the times above in seconds or milliseconds, and the bounds that the kernel accepts. */
    #if (defined(__DragonFly__) && __DragonFly_version < 500702) \\
        || (defined(__sun) && !defined(SO_FLOW_NAME))
      #define EV_KEEPALIVE_UNIT 1000
    #else
      #define EV_KEEPALIVE_UNIT 1
    #endif
    #ifdef __sun
      #define EV_KEEPALIVE_LEAST 10
      #define EV_KEEPALIVE_MOST 864000
    #else
      #define EV_KEEPALIVE_LEAST 1
      #define EV_KEEPALIVE_MOST 0x7fffffff
    #endif
    #if defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__NetBSD__) \\
        || defined(__DragonFly__)
      /* Addresses there begin with their length. */
      #define ev_set_sa_len(sa, n) ((sa)->sa_len = (n))
    #else
      #define ev_set_sa_len(sa, n) ((void)0)
    #endif
    /* The errors of non-blocking calls; Windows has numbers of its own for them. */
    #ifdef _WIN32
      #define EVUTIL_ERR_RW_RETRIABLE(e) ((e) == WSAEWOULDBLOCK || (e) == WSAEINTR || (e) == EINTR)
      #define EVUTIL_ERR_CONNECT_RETRIABLE(e) \\
          (EVUTIL_ERR_RW_RETRIABLE(e) || (e) == WSAEINPROGRESS || (e) == WSAEINVAL)
      #define EVUTIL_ERR_ACCEPT_RETRIABLE(e) EVUTIL_ERR_RW_RETRIABLE(e)
      #define EVUTIL_ERR_CONNECT_REFUSED(e) ((e) == WSAECONNREFUSED)
      #define EV_EAFNOSUPPORT WSAEAFNOSUPPORT
      #define EV_ECONNABORTED WSAECONNABORTED
      #define EV_ENOTSUP WSAEOPNOTSUPP
    #else
      #define EVUTIL_ERR_RW_RETRIABLE(e) ((e) == EINTR || (e) == EAGAIN || (e) == EWOULDBLOCK)
      #define EVUTIL_ERR_CONNECT_RETRIABLE(e) ((e) == EINTR || (e) == EINPROGRESS)
      #define EVUTIL_ERR_ACCEPT_RETRIABLE(e) (EVUTIL_ERR_RW_RETRIABLE(e) || (e) == ECONNABORTED)
      #define EVUTIL_ERR_CONNECT_REFUSED(e) ((e) == ECONNREFUSED)
      #define EV_EAFNOSUPPORT EAFNOSUPPORT
      #define EV_ECONNABORTED ECONNABORTED
      #define EV_ENOTSUP ENOTSUP
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

    struct addrinfo:
        int ai_flags               # EVUTIL_AI_*
        int ai_family              # AF_UNSPEC, AF_INET, AF_INET6
        int ai_socktype            # SOCK_*, 0: any
        int ai_protocol            # IPPROTO_*, 0: any
        ev_socklen_t ai_addrlen
        sockaddr *ai_addr
        char *ai_canonname         # with EVUTIL_AI_CANONNAME, in the first entry
        addrinfo *ai_next

    int SOCK_NONBLOCK, SOCK_CLOEXEC, SO_REUSEADDR, SO_KEEPALIVE, IPPROTO_TCP, IPPROTO_IPV6, IPV6_V6ONLY
    int TCP_NODELAY, IPPROTO_UDP, SOCK_RAW, SOCK_SEQPACKET
    int EV_HAVE_SOCK_FLAGS, EV_HAVE_ACCEPT4, EV_SO_REUSEADDR, EV_SO_REUSEPORT, EV_IPV6_V6ONLY
    int EV_TCP_DEFER_ACCEPT, EV_TCP_KEEPIDLE, EV_TCP_KEEPINTVL, EV_TCP_KEEPCNT, EV_KEEPALIVE_UNIT
    int EV_KEEPALIVE_LEAST, EV_KEEPALIVE_MOST, EV_KEEPALIVE_IN_ONE, INET_ADDRSTRLEN, INET6_ADDRSTRLEN
    int EV_EAFNOSUPPORT, EV_ECONNABORTED, EV_ENOTSUP, ENOSPC

    bint EVUTIL_ERR_RW_RETRIABLE(int error) noexcept nogil
    bint EVUTIL_ERR_CONNECT_RETRIABLE(int error) noexcept nogil
    bint EVUTIL_ERR_ACCEPT_RETRIABLE(int error) noexcept nogil
    bint EVUTIL_ERR_CONNECT_REFUSED(int error) noexcept nogil

    uint16_t htons(uint16_t n) noexcept nogil
    uint16_t ntohs(uint16_t n) noexcept nogil
    uint32_t htonl(uint32_t n) noexcept nogil
    uint32_t ntohl(uint32_t n) noexcept nogil
    # The silence, and the time between the questions after it, where one call sets both.
    int ev_set_keepalive(evutil_socket_t fd, int seconds, int again) noexcept nogil
    void ev_set_sa_len(sockaddr *address, int n) noexcept nogil
    evutil_socket_t ev_accept4(evutil_socket_t fd, sockaddr *address, ev_socklen_t *length,
                               int flags) noexcept nogil
    int bind "ev_bind"(evutil_socket_t fd, const sockaddr *address, ev_socklen_t length) noexcept nogil
    int listen "ev_listen"(evutil_socket_t fd, int backlog) noexcept nogil
    int connect "ev_connect"(evutil_socket_t fd, const sockaddr *address, ev_socklen_t length) noexcept nogil
    int setsockopt "ev_setsockopt"(evutil_socket_t fd, int level, int name,
                                   const void *value, ev_socklen_t n) noexcept nogil
    int getsockopt "ev_getsockopt"(evutil_socket_t fd, int level, int name,
                                   void *value, ev_socklen_t *n) noexcept nogil
    int getsockname "ev_getsockname"(evutil_socket_t fd, sockaddr *address, ev_socklen_t *n) noexcept nogil
    int getpeername "ev_getpeername"(evutil_socket_t fd, sockaddr *address, ev_socklen_t *n) noexcept nogil
    int inet_pton(int family, const char *text, void *out) noexcept nogil
    const char *inet_ntop(int family, const void *address, char *out, ev_socklen_t n) noexcept nogil
    unsigned if_nametoindex(const char *name) noexcept nogil
    int getaddrinfo(const char *host, const char *service, const addrinfo *hints,
                    addrinfo **out) noexcept nogil
    void freeaddrinfo(addrinfo *list) noexcept nogil
    const char *gai_strerror(int code) noexcept nogil
