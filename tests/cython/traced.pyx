"""What the tests that look at system calls run under a tracer; each function reports on standard output."""

import os
import socket

from libc.errno cimport EAGAIN, errno

from cyevent cimport (
    evbuffer, evbuffer_add_file_segment, evbuffer_copyout, evbuffer_file_segment,
    evbuffer_file_segment_free, evbuffer_file_segment_new, evbuffer_free, evbuffer_get_length,
    evbuffer_get_zerocopy_stats, evbuffer_new, evbuffer_read, evbuffer_set_flags, evbuffer_write,
    EVBUFFER_FLAG_ZEROCOPY, evbuffer_zerocopy_stats,
)
from bufrig cimport add, lend
from zerocopy_peers import receive, tcp_pair


cdef int add_file(evbuffer *buf, str path, unsigned flags, int times) except -1:
    cdef int fd = os.open(path, os.O_RDONLY)
    cdef evbuffer_file_segment *seg = evbuffer_file_segment_new(fd, 0, -1, flags)
    assert seg != NULL
    for _ in range(times):
        assert evbuffer_add_file_segment(buf, seg, 0, -1) == 0
    evbuffer_file_segment_free(seg)
    return 0


cdef object send_all(evbuffer *buf, int fd, object receiver):
    """What arrives, or the errno of a write that fails."""
    got = b""
    os.set_blocking(fd, False)
    receiver.setblocking(False)
    while True:
        if evbuffer_get_length(buf) and evbuffer_write(buf, fd) < 0 and errno != EAGAIN:
            return errno
        try:
            got += receiver.recv(1 << 20)
        except BlockingIOError:
            return got


def send_file(path, flags):
    """A head and the file to a socket."""
    cdef evbuffer *buf = evbuffer_new()
    left, right = socket.socketpair()
    lend(buf, b"head")
    add_file(buf, path, flags, 1)
    got = send_all(buf, left.fileno(), right)
    if not isinstance(got, bytes):
        print("errno", got)
    else:
        with open(path, "rb") as file:
            print("whole" if got == b"head" + file.read() else "different")
    evbuffer_free(buf)


def load_file(path, flags):
    """The file's bytes in memory, from several chains."""
    cdef evbuffer *buf = evbuffer_new()
    cdef char data[300]
    cdef int n
    add_file(buf, path, flags, 3)
    n = evbuffer_copyout(buf, data, 300)
    print(f"errno {errno}" if n < 0 else f"{n} bytes")
    evbuffer_free(buf)


CHUNKS = [b"%02d" % i for i in range(100)]


def many_chains(target):
    """A hundred chains to a socket or a pipe, by one evbuffer_write()."""
    cdef evbuffer *buf = evbuffer_new()
    if target == "socket":
        left, right = socket.socketpair()
        ends = right.detach(), left.detach()
    else:
        ends = os.pipe()
    for chunk in CHUNKS:
        lend(buf, chunk)
    print(evbuffer_write(buf, ends[1]), os.read(ends[0], 1000) == b"".join(CHUNKS))
    evbuffer_free(buf)


def one_write_one_read():
    cdef evbuffer *buf = evbuffer_new()
    left, right = socket.socketpair()
    add(buf, b"interrupted")
    print(evbuffer_write(buf, left.fileno()), end=" ")
    print(evbuffer_read(buf, right.fileno(), -1), evbuffer_get_length(buf))
    evbuffer_free(buf)


def send_uncopied():
    """A head, three large pieces and a tail to a TCP socket; what became of the calls."""
    cdef evbuffer *buf = evbuffer_new()
    cdef evbuffer_zerocopy_stats stats
    data = bytes(range(256)) * 200
    left, right = tcp_pair()
    evbuffer_set_flags(buf, EVBUFFER_FLAG_ZEROCOPY)
    lend(buf, b"head")
    for _ in range(3):
        lend(buf, data)
    lend(buf, b"tail")
    got = send_all(buf, left.fileno(), right)
    while len(got) < 3 * len(data) + 8:
        got += receive(right, 3 * len(data) + 8 - len(got))
    assert got == b"head" + 3 * data + b"tail"
    evbuffer_get_zerocopy_stats(buf, &stats)
    print(stats.sent, stats.refused)
    evbuffer_free(buf)
