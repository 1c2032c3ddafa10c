# Socket helpers. Unless something else is said they return 0, or -1 with errno.

from cyevent.core.sys cimport evutil_socket_t, sockaddr, ev_socklen_t
from cyevent.net.sys cimport EVUTIL_ERR_ACCEPT_RETRIABLE, EVUTIL_ERR_RW_RETRIABLE

cdef int evutil_make_socket_nonblocking(evutil_socket_t sock) noexcept nogil
cdef int evutil_make_socket_closeonexec(evutil_socket_t sock) noexcept nogil
# A listener's address may be bound again at once after a restart.
cdef int evutil_make_listen_socket_reuseable(evutil_socket_t sock) noexcept nogil
# Several sockets may listen on one port, and the kernel spreads the connections over them. -1 where it does
# not: macOS and most BSDs have an option of that name which gives all connections to one socket.
cdef int evutil_make_listen_socket_reuseable_port(evutil_socket_t sock) noexcept nogil
cdef int evutil_make_listen_socket_ipv6only(evutil_socket_t sock) noexcept nogil
cdef int evutil_make_listen_socket_not_ipv6only(evutil_socket_t sock) noexcept nogil
# Connections are accepted once their first data is there; 0 also where the system has no such thing.
cdef int evutil_make_tcp_listen_socket_deferred(evutil_socket_t sock) noexcept nogil
# timeout: seconds of silence before the peer is asked; it is given up after as many again. Turning it on with a
# timeout of 0 or less changes nothing.
cdef int evutil_set_tcp_keepalive(evutil_socket_t sock, int on, int timeout) noexcept nogil
cdef int evutil_closesocket(evutil_socket_t sock) noexcept nogil
# Two connected sockets. AF_UNIX has them from the kernel. With AF_INET and SOCK_STREAM they are two ends of a
# connection over 127.0.0.1, which fails with ECONNABORTED should a stranger get in between.
# kind may hold EVUTIL_SOCK_NONBLOCK and EVUTIL_SOCK_CLOEXEC.
cdef int evutil_socketpair(int family, int kind, int protocol, evutil_socket_t *sv) noexcept nogil
# The last error of a socket call, and its text.
cdef int evutil_socket_geterror(evutil_socket_t sock) noexcept nogil
cdef const char *evutil_socket_error_to_string(int errcode) noexcept nogil

# socket() with SOCK_NONBLOCK and SOCK_CLOEXEC in `kind` wherever we are.
cdef evutil_socket_t evutil_socket_(int domain, int kind, int protocol) noexcept nogil
# accept() with the same flags.
cdef evutil_socket_t evutil_accept4_(evutil_socket_t sock, sockaddr *address, ev_socklen_t *length,
                                     int flags) noexcept nogil
# Begins to connect *sock, made if it is -1. 0: under way, 1: connected, 2: refused at once, -1: failed.
cdef int evutil_socket_connect_(evutil_socket_t *sock, const sockaddr *address,
                                int length) noexcept nogil
# 1: connected, 0: still under way, -1: failed, with errno.
cdef int evutil_socket_finished_connecting_(evutil_socket_t sock) noexcept nogil


# The call may be made again later.
cdef inline bint would_block(int error) noexcept nogil:
    return EVUTIL_ERR_RW_RETRIABLE(error)


cdef inline bint accept_again(int error) noexcept nogil:
    return EVUTIL_ERR_ACCEPT_RETRIABLE(error)
