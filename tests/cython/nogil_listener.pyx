"""Listeners through libevent's names."""

import os

from libc.errno cimport EINVAL, errno
from libc.string cimport memset, strcpy
from posix.unistd cimport close, usleep

from cyevent cimport (
    event_base, event_base_dispatch, event_base_loop, evconnlistener,
    evconnlistener_disable, evconnlistener_enable, evconnlistener_free, evconnlistener_get_base,
    evconnlistener_get_fd, evconnlistener_new, evconnlistener_new_bind, evconnlistener_set_cb,
    evconnlistener_set_error_cb, EVLOOP_ONCE, LEV_OPT_BIND_IPV4_AND_IPV6,
    LEV_OPT_BIND_IPV6ONLY, LEV_OPT_CLOSE_ON_EXEC, LEV_OPT_CLOSE_ON_FREE, LEV_OPT_DEFERRED_ACCEPT,
    LEV_OPT_DISABLED, LEV_OPT_LEAVE_SOCKETS_BLOCKING, LEV_OPT_REUSEABLE, LEV_OPT_REUSEABLE_PORT,
    LEV_OPT_THREADSAFE, sockaddr,
)
from rig cimport Rig

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <pthread.h>
    #include <sys/resource.h>
    #include <sys/socket.h>
    #include <sys/un.h>

    static void loopback(struct sockaddr_in *sin) {
        memset(sin, 0, sizeof(*sin));
        sin->sin_family = AF_INET;
        sin->sin_addr.s_addr = htonl(0x7f000001);
    }
    static int begin_to_connect(int listening) {
        struct sockaddr_storage ss;
        socklen_t n = sizeof(ss);
        int fd;
        getsockname(listening, (struct sockaddr *)&ss, &n);
        fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fd, (struct sockaddr *)&ss, n);
        return fd;
    }
    static int port_of(int fd) {
        struct sockaddr_in sin;
        socklen_t n = sizeof(sin);
        return getsockname(fd, (struct sockaddr *)&sin, &n) ? -1 : ntohs(sin.sin_port);
    }
    static int option_of(int fd, int level, int name) {
        int value = -1;
        socklen_t n = sizeof(value);
        getsockopt(fd, level, name, &value, &n);
        return value;
    }
    static int limit_descriptors(int n) {
        struct rlimit limit;
        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = n;
        return setrlimit(RLIMIT_NOFILE, &limit);
    }
    """
    struct sockaddr_in:
        pass
    struct sockaddr_in6:
        unsigned short sin6_family
    struct sockaddr_un:
        unsigned short sun_family
        char sun_path[108]
    ctypedef unsigned long pthread_t
    int AF_INET6, AF_UNIX, SOL_SOCKET, SO_REUSEADDR, SO_REUSEPORT, IPPROTO_IPV6, IPV6_V6ONLY
    int F_GETFD, F_GETFL, FD_CLOEXEC, O_NONBLOCK
    void loopback(sockaddr_in *sin) nogil
    int begin_to_connect(int listening) nogil
    int port_of(int fd) nogil
    int option_of(int fd, int level, int name) nogil
    int limit_descriptors(int n) nogil
    int fcntl(int fd, int what, ...) nogil
    int pthread_create(pthread_t *thread, void *attributes, void *(*run)(void *) noexcept nogil,
                       void *arg) nogil
    int pthread_join(pthread_t thread, void **result) nogil

# Limits of the process are changed.
FORKED = ("test_error_unlock",)


cdef struct Notes:
    int wanted                 # connections until the listener is disabled
    int accepted
    int errors
    int flags                  # of the last descriptor
    bint free
    pthread_t thread
    bint started


cdef void accept(evconnlistener *lev, int fd, sockaddr *address, int socklen, void *arg) noexcept nogil:
    cdef Notes *notes = <Notes *>arg
    notes.accepted += 1
    notes.flags = fcntl(fd, F_GETFL) & O_NONBLOCK
    if fcntl(fd, F_GETFD) & FD_CLOEXEC:
        notes.flags |= FD_CLOEXEC
    close(fd)
    if notes.accepted == notes.wanted:
        if notes.free:
            evconnlistener_free(lev)
        else:
            evconnlistener_disable(lev)


cdef void failed(evconnlistener *lev, void *arg) noexcept nogil:
    (<Notes *>arg).errors += 1
    evconnlistener_disable(lev)


cdef evconnlistener *bind_loopback(event_base *base, Notes *notes, unsigned flags) except NULL:
    cdef sockaddr_in sin
    cdef evconnlistener *lev
    loopback(&sin)
    lev = evconnlistener_new_bind(base, accept, notes, flags, -1, <sockaddr *>&sin, sizeof(sin))
    assert lev != NULL
    return lev


cdef int pick_a_port(str method, unsigned more) except -1:
    cdef Rig rig = Rig(method)
    cdef unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC | more
    cdef Notes notes[2]
    cdef evconnlistener *one
    cdef evconnlistener *two
    memset(notes, 0, sizeof(notes))
    notes[0].wanted = 2
    notes[1].wanted = 1
    one = bind_loopback(rig.base, &notes[0], flags)
    two = bind_loopback(rig.base, &notes[1], flags)
    assert port_of(evconnlistener_get_fd(one)) > 0
    assert port_of(evconnlistener_get_fd(two)) not in (-1, 0, port_of(evconnlistener_get_fd(one)))
    assert evconnlistener_get_base(one) == rig.base
    fds = [begin_to_connect(evconnlistener_get_fd(one)), begin_to_connect(evconnlistener_get_fd(one)),
           begin_to_connect(evconnlistener_get_fd(two))]
    event_base_dispatch(rig.base)
    assert (notes[0].accepted, notes[1].accepted) == (2, 1)
    assert notes[0].flags == O_NONBLOCK | FD_CLOEXEC
    for fd in fds:
        close(fd)
    evconnlistener_free(one)
    evconnlistener_free(two)
    return 0


def test_randport(method):
    pick_a_port(method, 0)


def test_randport_ts(method):
    pick_a_port(method, LEV_OPT_THREADSAFE)


def test_error(method):
    """A socket that is no listener."""
    cdef Rig rig
    cdef Notes notes
    cdef evconnlistener *lev
    for flags in (0, LEV_OPT_THREADSAFE):
        rig = Rig(method)
        memset(&notes, 0, sizeof(notes))
        rig.send(1, b"hello")
        lev = evconnlistener_new(rig.base, accept, &notes, LEV_OPT_REUSEABLE | flags, 0, rig.pair[0])
        assert lev != NULL
        evconnlistener_set_error_cb(lev, failed)
        event_base_dispatch(rig.base)
        assert (notes.errors, notes.accepted) == (1, 0)
        evconnlistener_free(lev)


def test_error_unlock(method):
    """Without descriptors, and with a lock."""
    cdef Rig rig = Rig(method)
    cdef Notes notes
    cdef evconnlistener *lev
    memset(&notes, 0, sizeof(notes))
    rig.send(1, b"hello")
    lev = evconnlistener_new(rig.base, accept, &notes, LEV_OPT_THREADSAFE, 0, rig.pair[0])
    assert lev != NULL
    assert limit_descriptors(rig.pair[1]) == 0
    event_base_loop(rig.base, EVLOOP_ONCE)
    # Nobody holds the lock.
    assert evconnlistener_disable(lev) == 0
    evconnlistener_free(lev)


def test_close_accepted_fd(method):
    """Freed in the callback."""
    cdef Rig rig = Rig(method)
    cdef Notes notes
    cdef int fd
    memset(&notes, 0, sizeof(notes))
    notes.wanted = 1
    notes.free = True
    fd = begin_to_connect(evconnlistener_get_fd(
        bind_loopback(rig.base, &notes, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE)))
    event_base_dispatch(rig.base)
    assert notes.accepted == 1
    close(fd)


def test_immediate_close(method):
    """Disabled in the callback while others wait."""
    cdef Rig rig = Rig(method)
    cdef Notes notes
    cdef evconnlistener *lev
    memset(&notes, 0, sizeof(notes))
    notes.wanted = 1
    lev = bind_loopback(rig.base, &notes, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE)
    fds = [begin_to_connect(evconnlistener_get_fd(lev)) for _ in range(2)]
    event_base_dispatch(rig.base)
    assert notes.accepted == 1
    assert evconnlistener_enable(lev) == 0
    event_base_loop(rig.base, EVLOOP_ONCE)
    assert notes.accepted == 2
    evconnlistener_free(lev)
    for fd in fds:
        close(fd)


cdef void *disable(void *arg) noexcept nogil:
    evconnlistener_disable(<evconnlistener *>arg)
    return NULL


cdef void disable_elsewhere(evconnlistener *lev, Notes *notes) noexcept nogil:
    """While this callback runs."""
    if not notes.started:
        notes.started = pthread_create(&notes.thread, NULL, disable, lev) == 0
        usleep(5000)


cdef void accept_slowly(evconnlistener *lev, int fd, sockaddr *address, int socklen,
                        void *arg) noexcept nogil:
    close(fd)
    disable_elsewhere(lev, <Notes *>arg)


cdef void fail_slowly(evconnlistener *lev, void *arg) noexcept nogil:
    disable_elsewhere(lev, <Notes *>arg)


def test_disable_in_thread(method):
    cdef Rig rig = Rig(method)
    cdef Notes notes
    cdef evconnlistener *lev
    cdef int fd
    memset(&notes, 0, sizeof(notes))
    lev = bind_loopback(rig.base, &notes, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_THREADSAFE)
    evconnlistener_set_cb(lev, accept_slowly, &notes)
    fd = begin_to_connect(evconnlistener_get_fd(lev))
    with nogil:
        event_base_loop(rig.base, EVLOOP_ONCE)
    assert notes.started
    assert pthread_join(notes.thread, NULL) == 0
    # Nothing is waited for.
    event_base_dispatch(rig.base)
    evconnlistener_free(lev)
    close(fd)


def test_disable_in_thread_error(method):
    cdef Rig rig = Rig(method)
    cdef Notes notes
    cdef evconnlistener *lev
    memset(&notes, 0, sizeof(notes))
    rig.send(1, b"hello")
    lev = evconnlistener_new(rig.base, accept, &notes, LEV_OPT_THREADSAFE, 0, rig.pair[0])
    evconnlistener_set_error_cb(lev, fail_slowly)
    with nogil:
        event_base_loop(rig.base, EVLOOP_ONCE)
    assert notes.started
    assert pthread_join(notes.thread, NULL) == 0
    event_base_dispatch(rig.base)
    evconnlistener_free(lev)


def test_reuseport_on_unix_socket(method):
    cdef Rig rig = Rig(method)
    cdef Notes notes
    cdef sockaddr_un sun
    cdef evconnlistener *lev
    memset(&notes, 0, sizeof(notes))
    memset(&sun, 0, sizeof(sun))
    sun.sun_family = AF_UNIX
    # An abstract name.
    strcpy(sun.sun_path + 1, b"cyevent nogil listener")
    lev = evconnlistener_new_bind(rig.base, accept, &notes, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE_PORT,
                                  -1, <sockaddr *>&sun, 30)
    assert lev == NULL
    assert errno == EINVAL
    lev = evconnlistener_new_bind(rig.base, accept, &notes, LEV_OPT_CLOSE_ON_FREE, -1,
                                  <sockaddr *>&sun, 30)
    assert lev != NULL
    evconnlistener_free(lev)


# --- options ----------------------------------------------------------------------------------------

def test_options_reach_the_socket(method):
    cdef Rig rig = Rig(method)
    cdef Notes notes
    cdef evconnlistener *lev
    cdef int fd
    memset(&notes, 0, sizeof(notes))
    lev = bind_loopback(rig.base, &notes, LEV_OPT_REUSEABLE | LEV_OPT_REUSEABLE_PORT
                        | LEV_OPT_DEFERRED_ACCEPT | LEV_OPT_CLOSE_ON_EXEC)
    fd = evconnlistener_get_fd(lev)
    assert option_of(fd, SOL_SOCKET, SO_REUSEADDR) == 1
    assert option_of(fd, SOL_SOCKET, SO_REUSEPORT) == 1
    assert fcntl(fd, F_GETFL) & O_NONBLOCK
    assert fcntl(fd, F_GETFD) & FD_CLOEXEC
    evconnlistener_free(lev)
    # Not closed without LEV_OPT_CLOSE_ON_FREE.
    assert close(fd) == 0


def test_leave_sockets_blocking_and_inheritable(method):
    cdef Rig rig = Rig(method)
    cdef Notes notes
    cdef evconnlistener *lev
    cdef int fd
    memset(&notes, 0, sizeof(notes))
    notes.wanted = 1
    lev = bind_loopback(rig.base, &notes, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_LEAVE_SOCKETS_BLOCKING)
    assert not fcntl(evconnlistener_get_fd(lev), F_GETFD) & FD_CLOEXEC
    fd = begin_to_connect(evconnlistener_get_fd(lev))
    event_base_dispatch(rig.base)
    assert (notes.accepted, notes.flags) == (1, 0)
    evconnlistener_free(lev)
    close(fd)


def test_disabled_and_without_a_callback(method):
    cdef Rig rig = Rig(method)
    cdef Notes notes
    cdef evconnlistener *lev
    cdef int fd
    memset(&notes, 0, sizeof(notes))
    lev = bind_loopback(rig.base, &notes, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_DISABLED)
    fd = begin_to_connect(evconnlistener_get_fd(lev))
    event_base_dispatch(rig.base)
    assert notes.accepted == 0
    evconnlistener_set_cb(lev, NULL, NULL)
    evconnlistener_enable(lev)
    event_base_dispatch(rig.base)
    assert notes.accepted == 0
    # Enabled already: it only needed somebody to tell.
    notes.wanted = 1
    evconnlistener_set_cb(lev, accept, &notes)
    event_base_dispatch(rig.base)
    assert notes.accepted == 1
    evconnlistener_free(lev)
    close(fd)


def test_ipv6_options(method):
    cdef Rig rig = Rig(method)
    cdef Notes notes
    cdef sockaddr_in6 sin
    cdef evconnlistener *lev
    memset(&notes, 0, sizeof(notes))
    memset(&sin, 0, sizeof(sin))
    sin.sin6_family = AF_INET6
    for flag, expected in ((LEV_OPT_BIND_IPV6ONLY, 1), (LEV_OPT_BIND_IPV4_AND_IPV6, 0)):
        lev = evconnlistener_new_bind(rig.base, accept, &notes, LEV_OPT_CLOSE_ON_FREE | flag, -1,
                                      <sockaddr *>&sin, sizeof(sin))
        assert lev != NULL
        assert option_of(evconnlistener_get_fd(lev), IPPROTO_IPV6, IPV6_V6ONLY) == expected
        evconnlistener_free(lev)


def test_a_crowd_is_accepted_in_parts(method):
    """So that it does not keep the loop from others."""
    cdef Rig rig = Rig(method)
    cdef Notes notes
    cdef evconnlistener *lev
    cdef int before
    memset(&notes, 0, sizeof(notes))
    lev = bind_loopback(rig.base, &notes, LEV_OPT_CLOSE_ON_FREE)
    fds = [begin_to_connect(evconnlistener_get_fd(lev)) for _ in range(300)]
    turns = []
    while notes.accepted < 300:
        before = notes.accepted
        event_base_loop(rig.base, EVLOOP_ONCE)
        turns.append(notes.accepted - before)
    # With a port it is the kernel that accepts, and the rest follows in turns of the same loop.
    assert max(turns) <= 128 or "EVENT_USE_COMPLETION" in os.environ
    assert len(turns) <= 10
    evconnlistener_free(lev)
    for fd in fds:
        close(fd)
