"""Bufferevents that connect, by address and by name, through libevent's names; triggered callbacks."""

from libc.errno cimport ECONNREFUSED, errno
from libc.string cimport memcmp, memset
from posix.unistd cimport close

from cyevent cimport (
    BEV_EVENT_CONNECTED, BEV_EVENT_EOF, BEV_EVENT_ERROR, BEV_OPT_CLOSE_ON_FREE,
    BEV_OPT_DEFER_CALLBACKS, BEV_OPT_THREADSAFE, BEV_OPT_UNLOCK_CALLBACKS,
    BEV_TRIG_DEFER_CALLBACKS, BEV_TRIG_IGNORE_WATERMARKS, bufferevent, bufferevent_disable,
    bufferevent_enable, bufferevent_free, bufferevent_get_input, bufferevent_get_output,
    bufferevent_getfd, bufferevent_getwatermark, bufferevent_read, bufferevent_setcb,
    bufferevent_setwatermark, bufferevent_socket_connect, bufferevent_socket_connect_hostname,
    bufferevent_socket_get_dns_error, bufferevent_socket_new, bufferevent_trigger,
    bufferevent_trigger_event, bufferevent_write, EV_READ, EV_WRITE, evbuffer_get_length,
    event_base, event_base_dispatch, event_base_loopexit, evconnlistener,
    evconnlistener_free, evconnlistener_get_fd, evconnlistener_new_bind,
    LEV_OPT_CLOSE_ON_FREE, LEV_OPT_REUSEABLE, sockaddr,
)
from rig cimport Rig

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <netinet/in.h>
    #include <sys/socket.h>

    static void loopback(struct sockaddr_in *sin) {
        memset(sin, 0, sizeof(*sin));
        sin->sin_family = AF_INET;
        sin->sin_addr.s_addr = htonl(0x7f000001);
    }
    static int address_of(int fd, struct sockaddr_in *sin) {
        socklen_t n = sizeof(*sin);
        return getsockname(fd, (struct sockaddr *)sin, &n);
    }
    /* Bound, and nobody listens. */
    static int bound(struct sockaddr_in *sin) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        loopback(sin);
        bind(fd, (struct sockaddr *)sin, sizeof(*sin));
        address_of(fd, sin);
        return fd;
    }
    """
    struct sockaddr_in:
        unsigned short sin_port
    int AF_INET, AF_UNIX
    void loopback(sockaddr_in *sin) nogil
    int address_of(int fd, sockaddr_in *sin) nogil
    int bound(sockaddr_in *sin) nogil
    unsigned short ntohs(unsigned short n) nogil

WORDS = b"Now is the time for all good events to signal for the good of their protocol"

cdef struct Notes:
    event_base *base
    int options
    int trigger
    int strings
    int reads
    int expected
    int events
    int what
    int code


cdef void sent(bufferevent *bev, void *arg) noexcept nogil:
    if evbuffer_get_length(bufferevent_get_output(bev)) == 0:
        bufferevent_disable(bev, EV_READ | EV_WRITE)
        bufferevent_free(bev)


cdef const char *words = WORDS


cdef void serve(evconnlistener *lev, int fd, sockaddr *address, int socklen, void *arg) noexcept nogil:
    cdef Notes *notes = <Notes *>arg
    cdef bufferevent *bev = bufferevent_socket_new(notes.base, fd, notes.options)
    bufferevent_setcb(bev, NULL, sent, NULL, NULL)
    bufferevent_write(bev, words, 77)


cdef void count_read(bufferevent *bev, void *arg) noexcept nogil:
    (<Notes *>arg).reads += 1


cdef void happened(bufferevent *bev, short what, void *arg) noexcept nogil:
    cdef Notes *notes = <Notes *>arg
    cdef char data[512]
    cdef size_t n
    notes.events += 1
    notes.what = what
    notes.code = errno
    if what & BEV_EVENT_CONNECTED:
        bufferevent_enable(bev, EV_READ)
    if what & BEV_EVENT_EOF:
        n = bufferevent_read(bev, data, sizeof(data))
        if n == 77 and memcmp(data, words, n) == 0:
            notes.strings += 1
        if notes.strings == 2:
            event_base_loopexit(notes.base, NULL)


cdef evconnlistener *listen(event_base *base, Notes *notes, sockaddr_in *sin) except NULL:
    cdef evconnlistener *lev
    loopback(sin)
    lev = evconnlistener_new_bind(base, serve, notes, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 16,
                                  <sockaddr *>sin, sizeof(sockaddr_in))
    assert lev != NULL
    assert address_of(evconnlistener_get_fd(lev), sin) == 0
    return lev


cdef int connect(str method, int options) except -1:
    cdef Rig rig = Rig(method)
    cdef Notes notes
    cdef sockaddr_in sin
    cdef evconnlistener *lev
    cdef bufferevent *bevs[2]
    cdef int i
    memset(&notes, 0, sizeof(notes))
    notes.base = rig.base
    notes.options = options | BEV_OPT_CLOSE_ON_FREE
    lev = listen(rig.base, &notes, &sin)
    for i in range(2):
        bevs[i] = bufferevent_socket_new(rig.base, -1, notes.options)
        bufferevent_setcb(bevs[i], count_read, NULL, happened, &notes)
        bufferevent_enable(bevs[i], EV_READ)
        assert bufferevent_socket_connect(bevs[i], <sockaddr *>&sin, sizeof(sin)) == 0
    event_base_dispatch(rig.base)
    assert notes.strings == 2
    assert notes.reads >= 2
    assert notes.events == 4
    evconnlistener_free(lev)
    for i in range(2):
        bufferevent_free(bevs[i])
    return 0


def test_bufferevent_connect(method):
    connect(method, 0)


def test_bufferevent_connect_defer(method):
    connect(method, BEV_OPT_DEFER_CALLBACKS)


def test_bufferevent_connect_lock(method):
    connect(method, BEV_OPT_THREADSAFE)


def test_bufferevent_connect_lock_defer(method):
    connect(method, BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS)


def test_bufferevent_connect_unlocked_cbs(method):
    connect(method, BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS | BEV_OPT_UNLOCK_CALLBACKS)


def test_unlocked_callbacks_are_deferred(method):
    cdef Rig rig = Rig(method)
    assert bufferevent_socket_new(rig.base, -1, BEV_OPT_UNLOCK_CALLBACKS) == NULL


def test_bufferevent_connect_fail(method):
    """One event and no data, whether callbacks are deferred or not."""
    cdef Rig rig
    cdef Notes notes
    cdef sockaddr_in sin
    cdef bufferevent *bev
    cdef int fd
    for options in (0, BEV_OPT_DEFER_CALLBACKS):
        rig = Rig(method)
        memset(&notes, 0, sizeof(notes))
        notes.base = rig.base
        fd = bound(&sin)
        bev = bufferevent_socket_new(rig.base, -1, BEV_OPT_CLOSE_ON_FREE | options)
        bufferevent_setcb(bev, count_read, count_read, happened, &notes)
        bufferevent_enable(bev, EV_READ | EV_WRITE)
        assert bufferevent_socket_connect(bev, <sockaddr *>&sin, sizeof(sin)) == 0
        assert notes.events == 0
        event_base_dispatch(rig.base)
        assert (notes.events, notes.what, notes.reads) == (1, BEV_EVENT_ERROR, 0)
        assert notes.code == ECONNREFUSED
        close(fd)
        bufferevent_free(bev)


# --- triggered callbacks ----------------------------------------------------------------------------

cdef void triggered_event(bufferevent *bev, short what, void *arg) noexcept nogil:
    if what == ~0:
        event_base_loopexit((<Notes *>arg).base, NULL)
    else:
        happened(bev, what, arg)


cdef void triggered_read(bufferevent *bev, void *arg) noexcept nogil:
    (<Notes *>arg).reads += 1
    bufferevent_trigger_event(bev, ~0, (<Notes *>arg).trigger)


cdef void first_read(bufferevent *bev, void *arg) noexcept nogil:
    cdef Notes *notes = <Notes *>arg
    cdef size_t low, high
    notes.reads += 1
    bufferevent_setcb(bev, triggered_read, NULL, triggered_event, arg)
    bufferevent_getwatermark(bev, EV_READ, &low, &high)
    bufferevent_setwatermark(bev, EV_READ, evbuffer_get_length(bufferevent_get_input(bev)) + 1, 0)
    # The watermark keeps this one back.
    bufferevent_trigger(bev, EV_READ, notes.trigger)
    notes.expected += notes.reads == 1
    bufferevent_trigger(bev, EV_READ, notes.trigger | BEV_TRIG_IGNORE_WATERMARKS)
    if notes.trigger & BEV_TRIG_DEFER_CALLBACKS or notes.options & BEV_OPT_DEFER_CALLBACKS:
        notes.expected += notes.reads == 1
    else:
        notes.expected += notes.reads == 2
    bufferevent_setwatermark(bev, EV_READ, low, high)


cdef int trigger(str method, int options, int how) except -1:
    cdef Rig rig = Rig(method)
    cdef Notes notes
    cdef sockaddr_in sin
    cdef evconnlistener *lev
    cdef bufferevent *bev
    memset(&notes, 0, sizeof(notes))
    notes.base = rig.base
    notes.options = options | BEV_OPT_CLOSE_ON_FREE
    notes.trigger = how
    lev = listen(rig.base, &notes, &sin)
    bev = bufferevent_socket_new(rig.base, -1, notes.options)
    bufferevent_setcb(bev, first_read, NULL, triggered_event, &notes)
    bufferevent_enable(bev, EV_READ)
    assert bufferevent_socket_connect(bev, <sockaddr *>&sin, sizeof(sin)) == 0
    event_base_dispatch(rig.base)
    assert notes.reads == 2
    assert notes.expected == 2
    evconnlistener_free(lev)
    bufferevent_free(bev)
    return 0


def test_bufferevent_trigger(method):
    trigger(method, 0, 0)


def test_bufferevent_trigger_defer(method):
    trigger(method, BEV_OPT_DEFER_CALLBACKS, 0)


def test_bufferevent_trigger_postpone(method):
    trigger(method, 0, BEV_TRIG_DEFER_CALLBACKS)


def test_bufferevent_trigger_defer_postpone(method):
    trigger(method, BEV_OPT_DEFER_CALLBACKS, BEV_TRIG_DEFER_CALLBACKS)


# --- by name ------------------------------------------------------------------------------------------

def test_connect_hostname(method):
    cdef Rig rig
    cdef Notes notes
    cdef sockaddr_in sin
    cdef evconnlistener *lev
    cdef bufferevent *bevs[2]
    cdef int i
    for options in (0, BEV_OPT_DEFER_CALLBACKS, BEV_OPT_THREADSAFE):
        rig = Rig(method)
        memset(&notes, 0, sizeof(notes))
        notes.base = rig.base
        notes.options = options | BEV_OPT_CLOSE_ON_FREE
        lev = listen(rig.base, &notes, &sin)
        for i in range(2):
            bevs[i] = bufferevent_socket_new(rig.base, -1, notes.options)
            bufferevent_setcb(bevs[i], count_read, NULL, happened, &notes)
            bufferevent_enable(bevs[i], EV_READ)
            assert bufferevent_socket_connect_hostname(bevs[i], NULL, AF_INET, b"localhost",
                                                       ntohs(sin.sin_port)) == 0
        assert bufferevent_getfd(bevs[0]) == -1
        event_base_dispatch(rig.base)
        assert notes.strings == 2
        assert bufferevent_socket_get_dns_error(bevs[0]) == 0
        evconnlistener_free(lev)
        for i in range(2):
            bufferevent_free(bevs[i])


def test_connect_hostname_fails(method):
    cdef Rig rig = Rig(method)
    cdef Notes notes
    cdef bufferevent *bev = bufferevent_socket_new(rig.base, -1, BEV_OPT_CLOSE_ON_FREE)
    memset(&notes, 0, sizeof(notes))
    bufferevent_setcb(bev, NULL, NULL, happened, &notes)
    assert bufferevent_socket_connect_hostname(bev, NULL, AF_UNIX, b"localhost", 80) == -1
    assert bufferevent_socket_connect_hostname(bev, NULL, AF_INET, b"localhost", 0) == -1
    assert bufferevent_socket_connect_hostname(bev, NULL, AF_INET, b"localhost", 65536) == -1
    assert bufferevent_socket_connect_hostname(bev, NULL, AF_INET, b"::1", 80) == 0
    event_base_dispatch(rig.base)
    assert (notes.events, notes.what) == (1, BEV_EVENT_ERROR)
    assert bufferevent_socket_get_dns_error(bev) != 0
    # Freed with a name under way: nothing is left to wait for.
    assert bufferevent_socket_connect_hostname(bev, NULL, AF_INET, b"localhost", 80) == 0
    assert bufferevent_socket_get_dns_error(bev) == 0
    bufferevent_free(bev)
    event_base_dispatch(rig.base)
    assert notes.events == 1
