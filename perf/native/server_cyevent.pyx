"""Servers of C callbacks on cyevent's listener and bufferevents: what a Cython program would write."""

import os

from libc.stdint cimport uintptr_t
from libc.stdlib cimport free
from libc.string cimport memset
from cyevent cimport *
from cyevent cimport (
    bufferevent, evbuffer, evbuffer_file_segment, evconnlistener, event_base, event_config, sockaddr, ssl_st,
)

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <netinet/tcp.h>
    #include <sys/socket.h>
    """
    struct in_addr:
        unsigned s_addr
    struct sockaddr_in:
        unsigned short sin_family
        unsigned short sin_port
        in_addr sin_addr
    int AF_INET, INADDR_LOOPBACK, IPPROTO_TCP, TCP_NODELAY
    unsigned htonl(unsigned n) nogil
    unsigned short ntohs(unsigned short n) nogil
    int setsockopt(int fd, int level, int name, const void *value, unsigned n) nogil
    int getsockname(int fd, sockaddr *address, unsigned *n) nogil


cdef char *HEADER = b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n"

cdef ssl_st *(*new_ssl)(void *context) noexcept nogil
cdef void *tls_context = NULL
cdef evbuffer_file_segment *segment = NULL


# --- callbacks --------------------------------------------------------------------------------------

cdef void echo(bufferevent *bev, void *arg) noexcept nogil:
    bufferevent_write_buffer(bev, bufferevent_get_input(bev))


cdef void send_file(bufferevent *bev, void *arg) noexcept nogil:
    """Answers when the empty line after a request's headers is there."""
    cdef evbuffer *input = bufferevent_get_input(bev)
    cdef size_t n
    cdef char *line
    while True:
        line = evbuffer_readln(input, &n, EVBUFFER_EOL_CRLF)
        if line == NULL:
            return
        free(line)
        if n == 0:
            bufferevent_write(bev, HEADER, 59)
            evbuffer_add_file_segment(bufferevent_get_output(bev), segment, 0, -1)
            bufferevent_setcb(bev, NULL, close_it, end, NULL)


cdef void close_it(bufferevent *bev, void *arg) noexcept nogil:
    bufferevent_free(bev)


cdef void end(bufferevent *bev, short what, void *arg) noexcept nogil:
    if what & (BEV_EVENT_EOF | BEV_EVENT_ERROR):
        bufferevent_free(bev)


cdef void on_accept(evconnlistener *lev, evutil_socket_t fd, sockaddr *address, int n,
                    void *arg) noexcept nogil:
    cdef event_base *base = evconnlistener_get_base(lev)
    cdef bufferevent *bev
    cdef int on = 1
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))
    if tls_context != NULL:
        bev = bufferevent_openssl_socket_new(base, fd, new_ssl(tls_context), BUFFEREVENT_SSL_ACCEPTING,
                                             BEV_OPT_CLOSE_ON_FREE)
    else:
        bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE)
    bufferevent_setcb(bev, send_file if segment != NULL else echo, NULL, end, NULL)
    bufferevent_enable(bev, EV_READ)


# --- the program ------------------------------------------------------------------------------------

context = None


def use_tls(cert, key):
    """Has the server speak TLS: with the OpenSSL that pyOpenSSL has, as bufferevents do."""
    global context, new_ssl, tls_context
    from cryptography.hazmat.bindings._rust import _openssl
    from OpenSSL import SSL

    from cyevent.bufferevent import ssl_library

    ssl_library.load()
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_file(cert)
    context.use_privatekey_file(key)
    ffi = _openssl.ffi
    function = ffi.cast("uintptr_t", ffi.addressof(_openssl.lib, "SSL_new"))
    new_ssl = <ssl_st *(*)(void *) noexcept nogil><uintptr_t>int(function)
    tls_context = <void *><uintptr_t>int(ffi.cast("uintptr_t", context._context))


def use_file(path):
    """Has the server answer each request with a file."""
    global segment
    segment = evbuffer_file_segment_new(os.open(path, os.O_RDONLY), 0, -1, EVBUF_FS_CLOSE_ON_FREE)
    if segment == NULL:
        raise OSError("the file cannot be sent")


def serve(bint completion):
    """Prints the port and serves for ever."""
    cdef sockaddr_in sin
    cdef unsigned size = sizeof(sin)
    cdef event_config *config = event_config_new()
    cdef event_base *base
    cdef evconnlistener *lev
    # Neither has its peer locks, which come with evthread_use_pthreads().
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK)
    if completion:
        event_config_set_flag(config, EVENT_BASE_FLAG_COMPLETION)
    base = event_base_new_with_config(config)
    event_config_free(config)
    memset(&sin, 0, sizeof(sin))
    sin.sin_family = AF_INET
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    lev = evconnlistener_new_bind(base, on_accept, NULL, LEV_OPT_CLOSE_ON_FREE, -1, <sockaddr *>&sin,
                                  sizeof(sin))
    if lev == NULL:
        raise OSError("cannot listen")
    getsockname(evconnlistener_get_fd(lev), <sockaddr *>&sin, &size)
    print(ntohs(sin.sin_port), flush=True)
    with nogil:
        event_base_dispatch(base)
