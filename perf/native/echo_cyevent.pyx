"""An echo server of C callbacks on cyevent's listener and bufferevents: what a Cython program would write."""

from libc.string cimport memset
from cyevent cimport *
from cyevent cimport bufferevent, evconnlistener, event_base, event_config, sockaddr

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


cdef void echo(bufferevent *bev, void *arg) noexcept nogil:
    bufferevent_write_buffer(bev, bufferevent_get_input(bev))


cdef void end(bufferevent *bev, short what, void *arg) noexcept nogil:
    bufferevent_free(bev)


cdef void on_accept(evconnlistener *lev, evutil_socket_t fd, sockaddr *address, int n,
                    void *arg) noexcept nogil:
    cdef bufferevent *bev = bufferevent_socket_new(evconnlistener_get_base(lev), fd, BEV_OPT_CLOSE_ON_FREE)
    cdef int on = 1
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))
    bufferevent_setcb(bev, echo, NULL, end, NULL)
    bufferevent_enable(bev, EV_READ)


def serve(bint completion=False):
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
