"""Socket helpers.

Facts:
- Linux, the BSDs and Solaris take SOCK_NONBLOCK and SOCK_CLOEXEC in socket(), socketpair() and accept4(); macOS
  and Windows do not, and there each costs a call more.
- A child that is forked between socket() and fcntl() inherits the descriptor where they are two calls.
- A loopback listener that nobody knows of can be connected to by anybody on the machine.

So the flags go to the kernel where it takes them, and a pair made over loopback compares the names of both ends
before it is given out.
"""

from libc.string cimport memset
from cyevent.core.sys cimport *
from cyevent.core.sys cimport sockaddr, ev_socklen_t
from cyevent.net.sys cimport *
from cyevent.net.sys cimport sockaddr_in

cdef extern from *:
    """
    #ifdef _WIN32
      #define ev_socketpair(family, kind, protocol, sv) (set_errno(WSAEAFNOSUPPORT), -1)
      #define EV_HAVE_SOCKETPAIR 0
      static int ev_socket_error(evutil_socket_t sock) {
          int error = WSAGetLastError(), pending = 0, n = sizeof(pending);
          if (error != WSAEWOULDBLOCK || sock == (evutil_socket_t)INVALID_SOCKET)
              return error;
          if (getsockopt((SOCKET)sock, SOL_SOCKET, SO_ERROR, (char *)&pending, &n) == 0 && pending)
              return pending;
          return error;
      }
    #else
      #define ev_socketpair socketpair
      #define EV_HAVE_SOCKETPAIR 1
      #define ev_socket_error(sock) (errno)
    #endif
    """
    bint EV_HAVE_SOCKETPAIR
    int ev_socketpair(int family, int kind, int protocol, evutil_socket_t *sv) noexcept nogil
    int ev_socket_error(evutil_socket_t sock) noexcept nogil

cdef enum:
    DEFER_ACCEPT_SECONDS = 1
    KEEPALIVE_QUESTIONS = 3


cdef int evutil_make_socket_nonblocking(evutil_socket_t sock) noexcept nogil:
    return ev_set_nonblocking(sock)


cdef int evutil_make_socket_closeonexec(evutil_socket_t sock) noexcept nogil:
    return ev_set_closeonexec(sock)


# An option that the system lacks has a negative name.
cdef inline int set_option(evutil_socket_t sock, int level, int name, int value) noexcept nogil:
    if name < 0:
        set_errno(EV_ENOTSUP)
        return -1
    return setsockopt(sock, level, name, <const char *>&value, sizeof(value))


cdef int evutil_make_listen_socket_reuseable(evutil_socket_t sock) noexcept nogil:
    if EV_SO_REUSEADDR < 0:
        return 0
    return set_option(sock, SOL_SOCKET, EV_SO_REUSEADDR, 1)


cdef int evutil_make_listen_socket_reuseable_port(evutil_socket_t sock) noexcept nogil:
    return set_option(sock, SOL_SOCKET, EV_SO_REUSEPORT, 1)


cdef int evutil_make_listen_socket_ipv6only(evutil_socket_t sock) noexcept nogil:
    if EV_IPV6_V6ONLY < 0:
        return 0
    return set_option(sock, IPPROTO_IPV6, EV_IPV6_V6ONLY, 1)


cdef int evutil_make_listen_socket_not_ipv6only(evutil_socket_t sock) noexcept nogil:
    if EV_IPV6_V6ONLY < 0:
        return 0
    return set_option(sock, IPPROTO_IPV6, EV_IPV6_V6ONLY, 0)


cdef int evutil_make_tcp_listen_socket_deferred(evutil_socket_t sock) noexcept nogil:
    # Where there is no such option connections are simply accepted sooner.
    if EV_TCP_DEFER_ACCEPT < 0:
        return 0
    return set_option(sock, IPPROTO_TCP, EV_TCP_DEFER_ACCEPT, DEFER_ACCEPT_SECONDS)


cdef inline int keepalive_time(int seconds) noexcept nogil:
    if seconds < EV_KEEPALIVE_LEAST:
        seconds = EV_KEEPALIVE_LEAST
    if seconds > EV_KEEPALIVE_MOST:
        seconds = EV_KEEPALIVE_MOST
    return seconds * EV_KEEPALIVE_UNIT


cdef int evutil_set_tcp_keepalive(evutil_socket_t sock, int on, int timeout) noexcept nogil:
    if on and timeout <= 0:
        return 0
    if set_option(sock, SOL_SOCKET, SO_KEEPALIVE, on != 0) < 0:
        return -1
    if not on:
        return 0
    # After the silence three questions in the same time again.
    if EV_KEEPALIVE_IN_ONE:
        return ev_set_keepalive(sock, keepalive_time(timeout),
                                keepalive_time(timeout // KEEPALIVE_QUESTIONS))
    if EV_TCP_KEEPIDLE >= 0 \
            and set_option(sock, IPPROTO_TCP, EV_TCP_KEEPIDLE, keepalive_time(timeout)) < 0:
        return -1
    if EV_TCP_KEEPINTVL >= 0 and set_option(sock, IPPROTO_TCP, EV_TCP_KEEPINTVL,
                                            keepalive_time(timeout // KEEPALIVE_QUESTIONS)) < 0:
        return -1
    if EV_TCP_KEEPCNT >= 0 \
            and set_option(sock, IPPROTO_TCP, EV_TCP_KEEPCNT, KEEPALIVE_QUESTIONS) < 0:
        return -1
    return 0


cdef int evutil_closesocket(evutil_socket_t sock) noexcept nogil:
    return ev_close_socket(sock)


# Closes a socket on the way out of a failure, whose error has to last.
cdef void drop(evutil_socket_t sock) noexcept nogil:
    cdef int error
    if sock < 0:
        return
    error = ev_socket_error(-1)
    ev_close_socket(sock)
    set_errno(error)


cdef int set_flags(evutil_socket_t sock, int flags) noexcept nogil:
    if flags & SOCK_NONBLOCK and ev_set_nonblocking(sock) < 0:
        return -1
    if flags & SOCK_CLOEXEC and ev_set_closeonexec(sock) < 0:
        return -1
    return 0


# Whether `sock` is the other end of `peer`.
cdef bint are_connected(evutil_socket_t sock, evutil_socket_t peer) noexcept nogil:
    cdef sockaddr_in ours, theirs
    cdef ev_socklen_t n = sizeof(ours)
    cdef ev_socklen_t m = sizeof(theirs)
    if getsockname(sock, <sockaddr *>&ours, &n) < 0 or getpeername(peer, <sockaddr *>&theirs, &m) < 0:
        return False
    return n == m and ours.sin_port == theirs.sin_port and ours.sin_addr.s_addr == theirs.sin_addr.s_addr


cdef int connect_over_loopback(evutil_socket_t listener, evutil_socket_t *sv) noexcept nogil:
    cdef sockaddr_in address
    cdef ev_socklen_t n = sizeof(address)
    memset(&address, 0, sizeof(address))
    ev_set_sa_len(<sockaddr *>&address, sizeof(address))
    address.sin_family = AF_INET
    address.sin_addr.s_addr = htonl(0x7f000001)
    if bind(listener, <sockaddr *>&address, n) < 0 or listen(listener, 1) < 0 \
            or getsockname(listener, <sockaddr *>&address, &n) < 0:
        return -1
    sv[0] = evutil_socket_(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)
    if sv[0] < 0 or connect(sv[0], <sockaddr *>&address, n) < 0:
        return -1
    sv[1] = evutil_accept4_(listener, NULL, NULL, SOCK_CLOEXEC)
    if sv[1] < 0:
        return -1
    if not are_connected(sv[0], sv[1]):
        set_errno(EV_ECONNABORTED)
        return -1
    return 0


cdef int loopback_pair(int kind, int protocol, evutil_socket_t *sv) noexcept nogil:
    cdef evutil_socket_t listener
    cdef evutil_socket_t[2] made
    cdef int result
    made[0] = made[1] = -1
    if protocol or kind & ~(SOCK_NONBLOCK | SOCK_CLOEXEC) != SOCK_STREAM:
        set_errno(EV_EAFNOSUPPORT)
        return -1
    listener = evutil_socket_(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)
    if listener < 0:
        return -1
    result = connect_over_loopback(listener, made)
    drop(listener)
    # Children of a program that asked for sockets that stay open expect them to be.
    if result == 0 and not kind & SOCK_CLOEXEC:
        result = -1 if ev_clear_closeonexec(made[0]) < 0 or ev_clear_closeonexec(made[1]) < 0 else 0
    if result == 0 and kind & SOCK_NONBLOCK:
        result = -1 if ev_set_nonblocking(made[0]) < 0 or ev_set_nonblocking(made[1]) < 0 else 0
    if result < 0:
        drop(made[0])
        drop(made[1])
        return -1
    sv[0] = made[0]
    sv[1] = made[1]
    return 0


cdef int evutil_socketpair(int family, int kind, int protocol, evutil_socket_t *sv) noexcept nogil:
    cdef int flags = kind & (SOCK_NONBLOCK | SOCK_CLOEXEC)
    cdef evutil_socket_t[2] made
    if family == AF_INET or (family == AF_UNIX and not EV_HAVE_SOCKETPAIR):
        return loopback_pair(kind, protocol, sv)
    # Linux writes numbers there also when it fails.
    if ev_socketpair(family, kind if EV_HAVE_SOCK_FLAGS else kind & ~flags, protocol, made) < 0:
        return -1
    if not EV_HAVE_SOCK_FLAGS and (set_flags(made[0], flags) < 0 or set_flags(made[1], flags) < 0):
        drop(made[0])
        drop(made[1])
        return -1
    sv[0] = made[0]
    sv[1] = made[1]
    return 0


cdef int evutil_socket_geterror(evutil_socket_t sock) noexcept nogil:
    return ev_socket_error(sock)


cdef const char *evutil_socket_error_to_string(int errcode) noexcept nogil:
    return ev_error_text(errcode)


cdef evutil_socket_t evutil_socket_(int domain, int kind, int protocol) noexcept nogil:
    cdef evutil_socket_t sock
    if EV_HAVE_SOCK_FLAGS:
        return socket(domain, kind, protocol)
    sock = socket(domain, kind & ~(SOCK_NONBLOCK | SOCK_CLOEXEC), protocol)
    if sock >= 0 and set_flags(sock, kind) < 0:
        drop(sock)
        return -1
    return sock


cdef evutil_socket_t evutil_accept4_(evutil_socket_t sock, sockaddr *address, ev_socklen_t *length,
                                     int flags) noexcept nogil:
    cdef evutil_socket_t fd = ev_accept4(sock, address, length, flags)
    if fd < 0 or EV_HAVE_ACCEPT4:
        return fd
    # Outside Linux it begins with its listener's flags.
    if set_flags(fd, flags) < 0 or (not flags & SOCK_NONBLOCK and ev_set_blocking(fd) < 0):
        drop(fd)
        return -1
    return fd


cdef int evutil_socket_connect_(evutil_socket_t *sock, const sockaddr *address,
                                int length) noexcept nogil:
    cdef bint made = False
    cdef int error
    if sock[0] < 0:
        sock[0] = evutil_socket_(address.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        if sock[0] < 0:
            return -1
        made = True
    if connect(sock[0], address, length) == 0:
        return 1
    error = ev_socket_error(sock[0])
    if EVUTIL_ERR_CONNECT_RETRIABLE(error):
        return 0
    if EVUTIL_ERR_CONNECT_REFUSED(error):
        return 2
    if made:
        drop(sock[0])
        sock[0] = -1
    return -1


cdef int evutil_socket_finished_connecting_(evutil_socket_t sock) noexcept nogil:
    cdef int error = 0
    cdef ev_socklen_t n = sizeof(error)
    if getsockopt(sock, SOL_SOCKET, SO_ERROR, <char *>&error, &n) < 0:
        return -1
    if error == 0:
        return 1
    if EVUTIL_ERR_CONNECT_RETRIABLE(error):
        return 0
    set_errno(error)
    return -1
