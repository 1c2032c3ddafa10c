# Socket helpers. Unless something else is said they return 0, or -1 with errno.

from cyevent.core.sys cimport evutil_socket_t, sockaddr, ev_socklen_t, EAGAIN, EINTR, EWOULDBLOCK
from cyevent.core.sys cimport ECONNABORTED, EINPROGRESS, ECONNREFUSED

cdef int evutil_make_socket_nonblocking(evutil_socket_t sock) noexcept nogil
cdef int evutil_make_socket_closeonexec(evutil_socket_t sock) noexcept nogil
# A listener's address may be bound again at once after a restart.
cdef int evutil_make_listen_socket_reuseable(evutil_socket_t sock) noexcept nogil
# Several sockets may listen on one port. -1 where the system has no such thing.
cdef int evutil_make_listen_socket_reuseable_port(evutil_socket_t sock) noexcept nogil
cdef int evutil_make_listen_socket_ipv6only(evutil_socket_t sock) noexcept nogil
cdef int evutil_make_listen_socket_not_ipv6only(evutil_socket_t sock) noexcept nogil
# Connections are accepted once their first data is there.
cdef int evutil_make_tcp_listen_socket_deferred(evutil_socket_t sock) noexcept nogil
# timeout: seconds of silence after which the peer is given up.
cdef int evutil_set_tcp_keepalive(evutil_socket_t sock, int on, int timeout) noexcept nogil
cdef int evutil_closesocket(evutil_socket_t sock) noexcept nogil
cdef int evutil_socketpair(int family, int kind, int protocol, evutil_socket_t *sv) noexcept nogil
# The last error of a socket call, and its text.
cdef int evutil_socket_geterror(evutil_socket_t sock) noexcept nogil
cdef const char *evutil_socket_error_to_string(int errcode) noexcept nogil
# "1.2.3.4", "1.2.3.4:80", "::1", "[::1]", "[::1]:80", "[fe80::1%eth0]:80". outlen: the room in *out, then the
# length used. -1 for what is none of these, or does not fit.
cdef int evutil_parse_sockaddr_port(const char *text, sockaddr *out, int *outlen) noexcept nogil
# Orders addresses; with or without their ports.
cdef int evutil_sockaddr_cmp(const sockaddr *a, const sockaddr *b, int include_port) noexcept nogil

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
    return error == EAGAIN or error == EINTR or error == EWOULDBLOCK


cdef inline bint accept_again(int error) noexcept nogil:
    return would_block(error) or error == ECONNABORTED
