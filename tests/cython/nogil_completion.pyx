"""Completion ports: each operation through the interface that bufferevents and listeners use."""

from libc.errno cimport ECONNREFUSED
from libc.string cimport memset
from posix.unistd cimport close, read, write

from cyevent cimport (
    EVENT_BASE_FLAG_COMPLETION, EVLOOP_NONBLOCK, EVLOOP_ONCE, evbuffer, evbuffer_add, evbuffer_add_file,
    evbuffer_add_reference, evbuffer_drain, evbuffer_free, evbuffer_get_length, evbuffer_new, event_base_loop,
    sockaddr,
)
from cyevent.completion.port cimport *
from cyevent.completion.port cimport completion, completion_port
from bufrig cimport content
from rig cimport Rig, now

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <stdlib.h>
    #include <sys/socket.h>
    static int listen_on_loopback(struct sockaddr_in *sin) {
        socklen_t n = sizeof(*sin);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        memset(sin, 0, sizeof(*sin));
        sin->sin_family = AF_INET;
        sin->sin_addr.s_addr = htonl(0x7f000001);
        if (bind(fd, (struct sockaddr *)sin, n) || listen(fd, 100))
            return -1;
        getsockname(fd, (struct sockaddr *)sin, &n);
        return fd;
    }
    static int stream_socket(void) { return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0); }
    static int file_of(const char *text, int n) {
        char name[] = "/tmp/completionXXXXXX";
        int fd = mkstemp(name);
        unlink(name);
        return write(fd, text, n) == n ? fd : -1;
    }
    """
    struct sockaddr_in:
        pass
    int listen_on_loopback(sockaddr_in *sin)
    int stream_socket()
    int file_of(const char *text, int n)
    int SHUT_WR, SOCK_CLOEXEC
    int shutdown(int fd, int how)

# What a callback has seen, and what it is to do.
cdef struct seen:
    int calls
    bint cancels
    bint frees


cdef void done(completion *op, void *arg) noexcept nogil:
    cdef seen *self = <seen *>arg
    self.calls += 1
    if self.cancels:
        completion_cancel_(op)
    if self.frees:
        completion_free_(op)


cdef class Ports(Rig):
    cdef completion_port *port
    cdef seen told

    def __init__(self, method, *args):
        self.port = completion_port_of_(self.base)

    cdef completion *new(self, completion_kind kind) except NULL:
        cdef completion *op = completion_new_(self.port, kind, 0, done, &self.told)
        assert op != NULL
        return op

    cdef int run(self, int calls) except -1:
        """Until done has been called so often."""
        cdef double end = now() + 10
        while self.told.calls < calls:
            assert now() < end
            assert event_base_loop(self.base, EVLOOP_NONBLOCK) >= 0
        return 0

    cdef int settle(self) except -1:
        cdef int _i
        for _i in range(3):
            event_base_loop(self.base, EVLOOP_NONBLOCK)
        return 0


cdef Ports make(method):
    """None where the machine has no port."""
    cdef Ports ports = Ports(method, EVENT_BASE_FLAG_COMPLETION)
    return ports if ports.port != NULL else None


def test_receive(method):
    cdef Ports ports = make(method)
    cdef completion *op
    cdef evbuffer *buf
    if ports is None:
        return
    buf = evbuffer_new()
    op = ports.new(COMPLETION_RECEIVE)
    assert op.state == COMPLETION_IDLE
    assert completion_receive_(op, ports.pair[0], True) == 0
    assert op.state == COMPLETION_UNDER_WAY
    # Submitted is submitted.
    assert completion_receive_(op, ports.pair[0], True) == -1
    ports.send(1, b"some bytes")
    ports.run(1)
    assert not op.ended and op.total == 10
    # In parts, too.
    assert completion_take_(op, buf, 4) == 4
    assert content(buf) == b"some" and op.total == 6
    ports.send(1, b" and more")
    ports.run(2)
    assert completion_take_(op, buf, 0) == 15
    assert content(buf) == b"some bytes and more"
    shutdown(ports.pair[1], SHUT_WR)
    ports.run(3)
    assert op.ended and op.result == 0 and op.state == COMPLETION_IDLE
    completion_free_(op)
    evbuffer_free(buf)
    assert event_base_loop(ports.base, 0) == 1


def test_receive_tells_only(method):
    cdef Ports ports = make(method)
    cdef completion *op
    cdef char data[10]
    if ports is None:
        return
    op = ports.new(COMPLETION_RECEIVE)
    assert completion_receive_(op, ports.pair[0], False) == 0
    ports.settle()
    assert ports.told.calls == 0
    ports.send(1, b"x")
    ports.run(1)
    assert op.readable and op.total == 0 and op.state == COMPLETION_IDLE
    assert read(ports.pair[0], data, 10) == 1
    completion_free_(op)


def test_cancel(method):
    cdef Ports ports = make(method)
    cdef completion *op
    if ports is None:
        return
    op = ports.new(COMPLETION_RECEIVE)
    for begun in (False, True):
        assert completion_receive_(op, ports.pair[0], True) == 0
        if begun:
            ports.settle()
        completion_cancel_(op)
        assert event_base_loop(ports.base, 0) == 1
        ports.settle()
        assert op.state == COMPLETION_IDLE and ports.told.calls == 0
    # What comes afterwards is for others.
    ports.send(1, b"x")
    ports.settle()
    assert op.total == 0
    # Again, before the cancelling is over.
    assert completion_receive_(op, ports.pair[0], True) == 0
    ports.run(1)
    completion_cancel_(op)
    assert completion_receive_(op, ports.pair[0], True) == 0
    ports.send(1, b"y")
    ports.run(2)
    assert op.total == 2
    completion_free_(op)


def test_cancel_and_free_in_the_callback(method):
    cdef Ports ports = make(method)
    cdef completion *op
    if ports is None:
        return
    op = ports.new(COMPLETION_RECEIVE)
    ports.told.cancels = True
    assert completion_receive_(op, ports.pair[0], True) == 0
    ports.send(1, b"x")
    ports.run(1)
    ports.send(1, b"y")
    ports.settle()
    assert ports.told.calls == 1 and op.state == COMPLETION_IDLE
    ports.told.frees = True
    assert completion_receive_(op, ports.pair[0], True) == 0
    ports.send(1, b"z")
    ports.run(2)
    ports.settle()
    assert ports.told.calls == 2
    assert event_base_loop(ports.base, 0) == 1


def test_freed_while_it_is_under_way(method):
    cdef Ports ports = make(method)
    cdef completion *op
    cdef char data[10]
    if ports is None:
        return
    for begun in (False, True):
        op = ports.new(COMPLETION_RECEIVE)
        assert completion_receive_(op, ports.pair[0], True) == 0
        if begun:
            ports.settle()
        completion_free_(op)
        ports.settle()
        ports.send(1, b"x")
        ports.settle()
        assert read(ports.pair[0], data, 10) == 1
    # And when the base goes.
    op = ports.new(COMPLETION_RECEIVE)
    assert completion_receive_(op, ports.pair[0], True) == 0
    ports.settle()
    assert ports.told.calls == 0
    completion_free_(op)


def test_send(method):
    cdef Ports ports = make(method)
    cdef completion *op
    cdef evbuffer *buf
    cdef char data[100]
    cdef int _i
    if ports is None:
        return
    buf = evbuffer_new()
    op = ports.new(COMPLETION_SEND)
    assert completion_send_(op, ports.pair[0], buf, 100) == -1
    for _i in range(12):
        assert evbuffer_add_reference(buf, b"piece ", 6, NULL, NULL) == 0
    buf.freeze_start = True
    assert completion_send_(op, ports.pair[0], buf, 20) == 0
    ports.run(1)
    assert op.result == 20 and op.state == COMPLETION_IDLE
    buf.freeze_start = False
    evbuffer_drain(buf, 20)
    assert completion_send_(op, ports.pair[0], buf, 1000) == 0
    ports.run(2)
    assert 0 < op.result <= 52
    evbuffer_drain(buf, <size_t>op.result)
    assert read(ports.pair[1], data, 100) == 72 - <int>evbuffer_get_length(buf)
    ports.close_end(1)
    evbuffer_add(buf, b"nobody", 6)
    assert completion_send_(op, ports.pair[0], buf, 1000) == 0
    ports.run(3)
    assert op.result < 0
    completion_free_(op)
    evbuffer_free(buf)


def test_a_full_socket(method):
    """A send waits until there is room; its bytes are held, whatever becomes of the buffer."""
    cdef Ports ports = make(method)
    cdef completion *op
    cdef completion *waiting
    cdef evbuffer *buf
    cdef char data[65536]
    cdef ssize_t n = 1
    if ports is None:
        return
    buf = evbuffer_new()
    memset(data, b'-', sizeof(data))
    while n > 0:
        n = write(ports.pair[0], data, sizeof(data))
    op = ports.new(COMPLETION_SEND)
    waiting = ports.new(COMPLETION_SEND)
    evbuffer_add(buf, b"at last", 7)
    assert completion_send_(op, ports.pair[0], buf, 7) == 0
    assert completion_writable_(waiting, ports.pair[0]) == 0
    ports.settle()
    assert ports.told.calls == 0
    evbuffer_free(buf)
    text = b""
    while not text.endswith(b"at last"):
        n = read(ports.pair[1], data, sizeof(data))
        if n > 0:
            text = data[:n]
        event_base_loop(ports.base, EVLOOP_NONBLOCK)
    ports.run(2)
    assert op.result == 7 and waiting.result == 0
    completion_free_(op)
    completion_free_(waiting)


def test_sendfile(method):
    cdef Ports ports = make(method)
    cdef completion *op
    cdef evbuffer *buf
    cdef char data[100]
    cdef int fd = file_of(b"0123456789", 10)
    if ports is None:
        close(fd)
        return
    buf = evbuffer_new()
    op = ports.new(COMPLETION_SEND)
    assert evbuffer_add_file(buf, fd, 2, 6) == 0
    assert completion_send_(op, ports.pair[0], buf, 5) == 0
    assert op.kind == COMPLETION_SENDFILE
    ports.run(1)
    assert op.result == 5
    assert read(ports.pair[1], data, 100) == 5
    assert data[:5] == b"23456"
    completion_free_(op)
    evbuffer_free(buf)


def test_accept_and_connect(method):
    cdef Ports ports = make(method)
    cdef completion *accepting
    cdef completion *connecting
    cdef sockaddr_in sin
    cdef int listening
    cdef int fds[3]
    cdef int i
    if ports is None:
        return
    listening = listen_on_loopback(&sin)
    accepting = ports.new(COMPLETION_ACCEPT)
    assert completion_accept_(accepting, listening, SOCK_CLOEXEC) == 0
    for i in range(3):
        fds[i] = stream_socket()
        connecting = ports.new(COMPLETION_SEND)
        assert completion_connect_(connecting, fds[i], <sockaddr *>&sin, sizeof(sin)) == 0
        while connecting.state == COMPLETION_UNDER_WAY:
            event_base_loop(ports.base, EVLOOP_ONCE)
        assert connecting.result == 0
        completion_free_(connecting)
    ports.settle()
    assert accepting.state == COMPLETION_UNDER_WAY
    # One of them stays, and is closed with the operation.
    for i in range(2):
        fd = completion_accepted_(accepting)
        assert fd >= 0
        close(fd)
        close(fds[i])
    completion_free_(accepting)
    close(listening)
    ports.settle()
    assert read(fds[2], &i, 1) == 0
    close(fds[2])
    # Nobody listens any more.
    i = stream_socket()
    connecting = ports.new(COMPLETION_SEND)
    assert completion_connect_(connecting, i, <sockaddr *>&sin, sizeof(sin)) == 0
    while connecting.state == COMPLETION_UNDER_WAY:
        event_base_loop(ports.base, EVLOOP_ONCE)
    assert connecting.result == -ECONNREFUSED
    completion_free_(connecting)
    close(i)
