"""Socket helpers."""

from libc.errno cimport errno
from libc.stdint cimport uint16_t
from libc.string cimport memcmp, memcpy, memset, strchr, strerror, strlen
from cyevent.core.sys cimport *
from cyevent.core.sys cimport sockaddr, ev_socklen_t
from cyevent.net.sys cimport *
from cyevent.net.sys cimport sockaddr_in, sockaddr_in6

cdef enum:
    ADDRESS_MAX = 128
    DEFER_ACCEPT_SECONDS = 1


cdef int evutil_make_socket_nonblocking(evutil_socket_t sock) noexcept nogil:
    cdef int flags = fcntl(sock, F_GETFL)
    if flags < 0:
        return -1
    if flags & O_NONBLOCK:
        return 0
    return 0 if fcntl(sock, F_SETFL, flags | O_NONBLOCK) == 0 else -1


cdef int evutil_make_socket_closeonexec(evutil_socket_t sock) noexcept nogil:
    cdef int flags = fcntl(sock, F_GETFD)
    if flags < 0:
        return -1
    if flags & FD_CLOEXEC:
        return 0
    return 0 if fcntl(sock, F_SETFD, flags | FD_CLOEXEC) == 0 else -1


cdef inline int set_option(evutil_socket_t sock, int level, int name, int value) noexcept nogil:
    if name < 0:
        set_errno(ENOTSUP)
        return -1
    return setsockopt(sock, level, name, &value, sizeof(value))


cdef int evutil_make_listen_socket_reuseable(evutil_socket_t sock) noexcept nogil:
    return set_option(sock, SOL_SOCKET, SO_REUSEADDR, 1)


cdef int evutil_make_listen_socket_reuseable_port(evutil_socket_t sock) noexcept nogil:
    return set_option(sock, SOL_SOCKET, EV_SO_REUSEPORT, 1)


cdef int evutil_make_listen_socket_ipv6only(evutil_socket_t sock) noexcept nogil:
    return set_option(sock, IPPROTO_IPV6, IPV6_V6ONLY, 1)


cdef int evutil_make_listen_socket_not_ipv6only(evutil_socket_t sock) noexcept nogil:
    return set_option(sock, IPPROTO_IPV6, IPV6_V6ONLY, 0)


cdef int evutil_make_tcp_listen_socket_deferred(evutil_socket_t sock) noexcept nogil:
    # Where there is no such option connections are simply accepted sooner.
    if EV_TCP_DEFER_ACCEPT < 0:
        return 0
    return set_option(sock, IPPROTO_TCP, EV_TCP_DEFER_ACCEPT, DEFER_ACCEPT_SECONDS)


cdef int evutil_set_tcp_keepalive(evutil_socket_t sock, int on, int timeout) noexcept nogil:
    cdef int interval
    if set_option(sock, SOL_SOCKET, SO_KEEPALIVE, on != 0) < 0:
        return -1
    if not on:
        return 0
    if timeout <= 0:
        return 0
    # One third of the time in silence, then three questions.
    interval = timeout / 3
    if interval < 1:
        interval = 1
    if EV_TCP_KEEPIDLE >= 0 and set_option(sock, IPPROTO_TCP, EV_TCP_KEEPIDLE, timeout) < 0:
        return -1
    if EV_TCP_KEEPINTVL >= 0 and set_option(sock, IPPROTO_TCP, EV_TCP_KEEPINTVL, interval) < 0:
        return -1
    if EV_TCP_KEEPCNT >= 0 and set_option(sock, IPPROTO_TCP, EV_TCP_KEEPCNT, 3) < 0:
        return -1
    return 0


cdef int evutil_closesocket(evutil_socket_t sock) noexcept nogil:
    return close(sock)


cdef int evutil_socketpair(int family, int kind, int protocol, evutil_socket_t *sv) noexcept nogil:
    return socketpair(family, kind, protocol, sv)


cdef int evutil_socket_geterror(evutil_socket_t sock) noexcept nogil:
    return errno


cdef const char *evutil_socket_error_to_string(int errcode) noexcept nogil:
    return strerror(errcode)


cdef evutil_socket_t evutil_socket_(int domain, int kind, int protocol) noexcept nogil:
    # Linux, the BSDs and Solaris take both flags here.
    return socket(domain, kind, protocol)


cdef evutil_socket_t evutil_accept4_(evutil_socket_t sock, sockaddr *address, ev_socklen_t *length,
                                     int flags) noexcept nogil:
    cdef evutil_socket_t fd = ev_accept4(sock, address, length, flags)
    if fd < 0 or EV_HAVE_ACCEPT4:
        return fd
    if (flags & SOCK_NONBLOCK and evutil_make_socket_nonblocking(fd) < 0) \
            or (flags & SOCK_CLOEXEC and evutil_make_socket_closeonexec(fd) < 0):
        close(fd)
        return -1
    return fd


cdef int evutil_socket_connect_(evutil_socket_t *sock, const sockaddr *address,
                                int length) noexcept nogil:
    cdef bint made = False
    cdef int code
    if sock[0] < 0:
        sock[0] = evutil_socket_(address.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        if sock[0] < 0:
            return -1
        made = True
    if connect(sock[0], address, length) == 0:
        return 1
    if errno == EINTR or errno == EINPROGRESS:
        return 0
    if errno == ECONNREFUSED:
        return 2
    if made:
        code = errno
        close(sock[0])
        sock[0] = -1
        set_errno(code)
    return -1


cdef int evutil_socket_finished_connecting_(evutil_socket_t sock) noexcept nogil:
    cdef int code = 0
    cdef ev_socklen_t n = sizeof(code)
    if getsockopt(sock, SOL_SOCKET, SO_ERROR, &code, &n) < 0:
        return -1
    if code == 0:
        return 1
    if code == EINTR or code == EINPROGRESS:
        return 0
    set_errno(code)
    return -1


# --- addresses --------------------------------------------------------------------------------------

cdef int parse_port(const char *text) noexcept nogil:
    cdef int port = 0
    if text[0] == 0:
        return -1
    while text[0]:
        if text[0] < 48 or text[0] > 57:
            return -1
        port = port * 10 + text[0] - 48
        if port > 65535:
            return -1
        text += 1
    return port if port > 0 else -1


cdef int parse_scope(const char *text, unsigned *scope) noexcept nogil:
    cdef unsigned number = if_nametoindex(text)
    if number == 0:
        if text[0] == 0:
            return -1
        while text[0]:
            if text[0] < 48 or text[0] > 57 or number > 0xfffffff:
                return -1
            number = number * 10 + text[0] - 48
            text += 1
    scope[0] = number
    return 0


cdef int evutil_parse_sockaddr_port(const char *text, sockaddr *out, int *outlen) noexcept nogil:
    cdef char host[ADDRESS_MAX]
    cdef const char *begin = text
    cdef const char *end
    cdef const char *port_text = NULL
    cdef const char *colon = strchr(text, 58)
    cdef char *percent
    cdef sockaddr_in v4
    cdef sockaddr_in6 v6
    cdef unsigned scope = 0
    cdef int port = 0
    cdef bint is_v6 = False
    if text[0] == 91:                              # [
        begin = text + 1
        end = strchr(begin, 93)
        if end == NULL:
            return -1
        if end[1] == 58:
            port_text = end + 2
        elif end[1]:
            return -1
        is_v6 = True
    elif colon != NULL and strchr(colon + 1, 58) != NULL:
        end = text + strlen(text)
        is_v6 = True
    elif colon != NULL:
        end = colon
        port_text = colon + 1
    else:
        end = text + strlen(text)
    if end - begin >= ADDRESS_MAX:
        return -1
    memcpy(host, begin, end - begin)
    host[end - begin] = 0
    if port_text != NULL:
        port = parse_port(port_text)
        if port < 0:
            return -1
    if is_v6:
        percent = strchr(host, 37)
        if percent != NULL:
            percent[0] = 0
            if parse_scope(percent + 1, &scope) < 0:
                return -1
        memset(&v6, 0, sizeof(v6))
        ev_set_sa_len(<sockaddr *>&v6, sizeof(v6))
        v6.sin6_family = AF_INET6
        v6.sin6_port = htons(<uint16_t>port)
        v6.sin6_scope_id = scope
        if inet_pton(AF_INET6, host, &v6.sin6_addr) != 1 or outlen[0] < <int>sizeof(v6):
            return -1
        memset(out, 0, outlen[0])
        memcpy(out, &v6, sizeof(v6))
        outlen[0] = sizeof(v6)
        return 0
    memset(&v4, 0, sizeof(v4))
    ev_set_sa_len(<sockaddr *>&v4, sizeof(v4))
    v4.sin_family = AF_INET
    v4.sin_port = htons(<uint16_t>port)
    if inet_pton(AF_INET, host, &v4.sin_addr) != 1 or outlen[0] < <int>sizeof(v4):
        return -1
    memset(out, 0, outlen[0])
    memcpy(out, &v4, sizeof(v4))
    outlen[0] = sizeof(v4)
    return 0


cdef int evutil_sockaddr_cmp(const sockaddr *a, const sockaddr *b, int include_port) noexcept nogil:
    cdef const sockaddr_in *a4
    cdef const sockaddr_in *b4
    cdef const sockaddr_in6 *a6
    cdef const sockaddr_in6 *b6
    cdef int result = <int>a.sa_family - <int>b.sa_family
    if result:
        return result
    if a.sa_family == AF_INET:
        a4 = <const sockaddr_in *>a
        b4 = <const sockaddr_in *>b
        result = memcmp(&a4.sin_addr, &b4.sin_addr, 4)
        if result == 0 and include_port:
            result = <int>a4.sin_port - <int>b4.sin_port
        return result
    if a.sa_family == AF_INET6:
        a6 = <const sockaddr_in6 *>a
        b6 = <const sockaddr_in6 *>b
        result = memcmp(&a6.sin6_addr, &b6.sin6_addr, 16)
        if result == 0 and include_port:
            result = <int>a6.sin6_port - <int>b6.sin6_port
        return result
    return 1
