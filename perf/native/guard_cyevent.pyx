"""The core paths whose instructions are counted: each function does one of them n times.

What the kernel does is not counted, nor does any of them depend on the clock or on chance.
"""

from libc.stdlib cimport free
from libc.string cimport memset
from cyevent cimport *
from cyevent cimport bufferevent, evbuffer, evconnlistener, event, event_base, event_config, sockaddr, timeval
from cyevent.core.reactor cimport EventBase

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <sys/socket.h>
    #include <unistd.h>
    #include <valgrind/callgrind.h>
    static void count_begin(void) {
        CALLGRIND_START_INSTRUMENTATION;
        CALLGRIND_ZERO_STATS;
    }
    static void count_end(const char *name) {
        CALLGRIND_DUMP_STATS_AT(name);
        CALLGRIND_STOP_INSTRUMENTATION;
    }
    """
    struct in_addr:
        unsigned s_addr
    struct sockaddr_in:
        unsigned short sin_family
        in_addr sin_addr
    int AF_INET, AF_UNIX, SOCK_STREAM, SOCK_NONBLOCK, INADDR_LOOPBACK
    unsigned htonl(unsigned n) nogil
    int socket(int domain, int kind, int protocol) nogil
    int socketpair(int domain, int kind, int protocol, int *fds) nogil
    int connect(int fd, sockaddr *address, unsigned n) nogil
    int getsockname(int fd, sockaddr *address, unsigned *n) nogil
    int close(int fd) nogil
    ssize_t recv(int fd, void *data, size_t n, int flags) nogil
    ssize_t send(int fd, const void *data, size_t n, int flags) nogil
    void count_begin()
    void count_end(const char *name)

cdef enum:
    SIZE = 1024
    PENDING = 1000

cdef char data[SIZE]
cdef char text[64 * 100]
cdef int called


def begin():
    """Begins to count."""
    count_begin()


def end(bytes name):
    """Ends counting, and has callgrind write it under a name."""
    count_end(name)


cdef event_base *open_base() except NULL:
    cdef event_config *config = event_config_new()
    cdef event_base *base
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV)
    base = event_base_new_with_config(config)
    event_config_free(config)
    if base == NULL:
        raise MemoryError()
    return base


cdef void count_call(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    global called
    called += 1


# A callback that has the next one follow, so that a loop is entered once for all of them.
cdef struct driver:
    event_base *base
    int other                 # where the next byte is written
    int left
    size_t got


cdef void read_byte(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    global called
    cdef driver *d = <driver *>arg
    cdef char byte
    called += recv(fd, &byte, 1, 0) == 1
    d.left -= 1
    if d.left:
        send(d.other, data, 1, 0)
    else:
        event_base_loopbreak(d.base)


cdef void client_reads(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    """The echo's client: sends again when all is back."""
    global called
    cdef driver *d = <driver *>arg
    cdef char got[SIZE]
    d.got += recv(fd, got, SIZE, 0)
    if d.got < SIZE:
        return
    d.got = 0
    called += 1
    d.left -= 1
    if d.left:
        send(fd, data, SIZE, 0)
    else:
        event_base_loopbreak(d.base)


cdef int checked(int n) except -1:
    """Each must have been done as often as asked for."""
    global called
    if called != n:
        raise RuntimeError(f"{called} of {n}")
    called = 0
    return 0


# --- events and timers ------------------------------------------------------------------------------

def event_add_del(int n):
    cdef event_base *base = open_base()
    cdef int fds[2]
    cdef event *ev
    cdef int _i
    socketpair(AF_UNIX, SOCK_STREAM, 0, fds)
    ev = event_new(base, fds[0], EV_READ | EV_PERSIST, count_call, NULL)
    with nogil:
        for _i in range(n):
            event_add(ev, NULL)
            event_del(ev)
    event_free(ev)
    event_base_free(base)
    close(fds[0])
    close(fds[1])


def event_ready(int n):
    """A byte arrives, and the callback reads it."""
    cdef event_base *base = open_base()
    cdef int fds[2]
    cdef driver d
    cdef event *ev
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds)
    d = driver(base, fds[1], n, 0)
    ev = event_new(base, fds[0], EV_READ | EV_PERSIST, read_byte, &d)
    event_add(ev, NULL)
    send(fds[1], data, 1, 0)
    with nogil:
        event_base_dispatch(base)
    event_free(ev)
    event_base_free(base)
    close(fds[0])
    close(fds[1])
    checked(n)


def event_activate(int n):
    cdef event_base *base = open_base()
    cdef event *ev = event_new(base, -1, EV_PERSIST, count_call, NULL)
    cdef int _i
    with nogil:
        for _i in range(n):
            event_active(ev, EV_TIMEOUT, 1)
            event_base_loop(base, EVLOOP_NONBLOCK)
    event_free(ev)
    event_base_free(base)
    checked(n)


cdef struct timers:
    event_base *base
    event *pending[PENDING]


cdef int open_timers(timers *t) except -1:
    cdef timeval tv
    cdef int i
    t.base = open_base()
    for i in range(PENDING):
        tv.tv_sec = 1000 + i * 7919 % PENDING
        tv.tv_usec = 0
        t.pending[i] = event_new(t.base, -1, 0, count_call, NULL)
        event_add(t.pending[i], &tv)
    return 0


cdef void close_timers(timers *t) noexcept:
    cdef int i
    for i in range(PENDING):
        event_free(t.pending[i])
    event_base_free(t.base)


def timer_add_del(int n):
    """Among a thousand others."""
    cdef timers t
    cdef timeval tv
    cdef event *ev
    cdef int i
    open_timers(&t)
    ev = event_new(t.base, -1, 0, count_call, NULL)
    with nogil:
        for i in range(n):
            tv.tv_sec = 1000 + i * 6007 % PENDING
            tv.tv_usec = 0
            event_add(ev, &tv)
            event_del(ev)
    event_free(ev)
    close_timers(&t)


def timer_expire(int n):
    """One that is due at once, among a thousand others."""
    cdef timers t
    cdef timeval tv
    cdef event *ev
    cdef int _i
    open_timers(&t)
    memset(&tv, 0, sizeof(tv))
    ev = event_new(t.base, -1, 0, count_call, NULL)
    with nogil:
        for _i in range(n):
            event_add(ev, &tv)
            event_base_loop(t.base, EVLOOP_ONCE)
    event_free(ev)
    close_timers(&t)
    checked(n)


# --- buffers ----------------------------------------------------------------------------------------

def buffer_add_drain(int n):
    cdef evbuffer *buf = evbuffer_new()
    cdef int _i
    with nogil:
        for _i in range(n):
            evbuffer_add(buf, data, SIZE)
            evbuffer_drain(buf, SIZE)
    evbuffer_free(buf)


def buffer_add_buffer(int n):
    """A piece added, and the whole buffer moved to another one."""
    cdef evbuffer *one = evbuffer_new()
    cdef evbuffer *two = evbuffer_new()
    cdef int _i
    with nogil:
        for _i in range(n):
            evbuffer_add(one, data, SIZE)
            evbuffer_add_buffer(two, one)
            evbuffer_drain(two, SIZE)
    evbuffer_free(one)
    evbuffer_free(two)


cdef void fill_text() noexcept nogil:
    cdef int i
    memset(text, 97, sizeof(text))
    for i in range(100):
        text[64 * i + 62] = 13
        text[64 * i + 63] = 10


def buffer_readln(int n):
    """Lines of 62 bytes; a hundred are added at once."""
    global called
    cdef evbuffer *buf = evbuffer_new()
    cdef char *line
    cdef size_t length
    cdef int _i
    with nogil:
        fill_text()
        for _i in range(n // 100):
            evbuffer_add(buf, text, sizeof(text))
            while True:
                line = evbuffer_readln(buf, &length, EVBUFFER_EOL_CRLF)
                if line == NULL:
                    break
                called += 1
                free(line)
    evbuffer_free(buf)
    checked(n)


def buffer_search(int n):
    """What is not in 6400 bytes, though its beginnings are."""
    global called
    cdef evbuffer *buf = evbuffer_new()
    cdef int _i
    with nogil:
        fill_text()
        evbuffer_add(buf, text, sizeof(text))
        for _i in range(n):
            called += evbuffer_search(buf, b"\r\na\r", 4, NULL).pos < 0
    evbuffer_free(buf)
    checked(n)


# --- bufferevents -----------------------------------------------------------------------------------

cdef void drain_all(bufferevent *bev, void *arg) noexcept nogil:
    global called
    cdef evbuffer *input = bufferevent_get_input(bev)
    evbuffer_drain(input, evbuffer_get_length(input))
    called += 1


cdef void echo(bufferevent *bev, void *arg) noexcept nogil:
    bufferevent_write_buffer(bev, bufferevent_get_input(bev))


def pair_write_read(int n):
    cdef event_base *base = open_base()
    cdef bufferevent *ends[2]
    cdef int _i
    bufferevent_pair_new(base, 0, ends)
    bufferevent_setcb(ends[1], drain_all, NULL, NULL, NULL)
    bufferevent_enable(ends[1], EV_READ)
    with nogil:
        for _i in range(n):
            bufferevent_write(ends[0], data, SIZE)
            event_base_loop(base, EVLOOP_NONBLOCK)
    bufferevent_free(ends[0])
    bufferevent_free(ends[1])
    event_base_loop(base, EVLOOP_NONBLOCK)
    event_base_free(base)
    checked(n)


def socket_echo(int n):
    """A round trip of 1 KiB; the client is an event on the same base."""
    cdef event_base *base = open_base()
    cdef bufferevent *bev
    cdef event *ev
    cdef driver d
    cdef int fds[2]
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds)
    bev = bufferevent_socket_new(base, fds[0], BEV_OPT_CLOSE_ON_FREE)
    bufferevent_setcb(bev, echo, NULL, NULL, NULL)
    bufferevent_enable(bev, EV_READ)
    d = driver(base, fds[1], n, 0)
    ev = event_new(base, fds[1], EV_READ | EV_PERSIST, client_reads, &d)
    event_add(ev, NULL)
    send(fds[1], data, SIZE, 0)
    with nogil:
        event_base_dispatch(base)
    event_free(ev)
    bufferevent_free(bev)
    event_base_loop(base, EVLOOP_NONBLOCK)
    event_base_free(base)
    close(fds[1])
    checked(n)


def be_client(EventBase base, int fd, int n):
    """The same client, on a base whose server is in Python."""
    cdef driver d = driver(base.base, fd, n, 0)
    cdef event *ev = event_new(base.base, fd, EV_READ | EV_PERSIST, client_reads, &d)
    event_add(ev, NULL)
    send(fd, data, SIZE, 0)
    base.dispatch()
    event_free(ev)
    checked(n)


cdef void accepted(evconnlistener *lev, evutil_socket_t fd, sockaddr *address, int n,
                   void *arg) noexcept nogil:
    global called
    close(fd)
    called += 1


def listener_accept(int n):
    """A connection that is accepted and closed; with the client's part of it."""
    cdef event_base *base = open_base()
    cdef evconnlistener *lev
    cdef sockaddr_in sin
    cdef unsigned size = sizeof(sin)
    cdef int _i, fd
    memset(&sin, 0, sizeof(sin))
    sin.sin_family = AF_INET
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    lev = evconnlistener_new_bind(base, accepted, NULL, LEV_OPT_CLOSE_ON_FREE, -1, <sockaddr *>&sin,
                                  sizeof(sin))
    if lev == NULL:
        raise OSError("cannot listen")
    getsockname(evconnlistener_get_fd(lev), <sockaddr *>&sin, &size)
    with nogil:
        for _i in range(n):
            fd = socket(AF_INET, SOCK_STREAM, 0)
            if connect(fd, <sockaddr *>&sin, sizeof(sin)) == 0:
                event_base_loop(base, EVLOOP_ONCE)
            close(fd)
    evconnlistener_free(lev)
    event_base_free(base)
    checked(n)
