"""Sockets, clocks, random bytes and memory through libevent's names."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time

from libc.errno cimport errno
from libc.stdint cimport int64_t
from libc.string cimport memset, strcmp

from cyevent cimport (
    EV_MONOT_FALLBACK, EV_MONOT_PRECISE, EV_SIZE_MAX, EVENT_LOG_MSG, EVENT_LOG_WARN,
    EVUTIL_INVALID_SOCKET, EVUTIL_SET_SOCKET_ERROR, EVUTIL_SOCK_CLOEXEC, EVUTIL_SOCK_NONBLOCK,
    EVUTIL_SOCKET_ERROR, event_set_fatal_callback, event_set_log_callback, evutil_closesocket,
    evutil_configure_monotonic_time, evutil_gettime_monotonic, evutil_gettimeofday,
    evutil_make_listen_socket_ipv6only, evutil_make_listen_socket_not_ipv6only,
    evutil_make_listen_socket_reuseable, evutil_make_listen_socket_reuseable_port,
    evutil_make_socket_closeonexec, evutil_make_socket_nonblocking, evutil_make_tcp_listen_socket_deferred,
    evutil_monotonic_timer, evutil_monotonic_timer_free, evutil_monotonic_timer_new,
    evutil_secure_rng_add_bytes, evutil_secure_rng_get_bytes, evutil_secure_rng_init,
    evutil_secure_rng_set_urandom_device_file, evutil_set_tcp_keepalive, evutil_socket_error_to_string,
    evutil_socket_geterror, evutil_socketpair, timeval,
)
from cyevent.core.log cimport event_errx_, event_msgx_, event_warn_, event_warnx_
from cyevent.core.memory cimport mm_calloc, mm_free, mm_malloc, mm_strdup
from cyevent.core.monotonic cimport evutil_adjust_monotonic_time_
from cyevent.core.sys cimport set_errno
from cyevent.net.sys cimport (
    EVUTIL_ERR_ACCEPT_RETRIABLE, EVUTIL_ERR_CONNECT_REFUSED, EVUTIL_ERR_CONNECT_RETRIABLE,
    EVUTIL_ERR_RW_RETRIABLE,
)
from rig cimport sleep_ms

FORKED = {"test_log", "test_fatal"}

cdef extern from "<sys/socket.h>" nogil:
    int AF_UNIX, AF_INET, AF_INET6, AF_UNSPEC, SOCK_STREAM, SOCK_DGRAM, SOCK_RAW

cdef extern from "<errno.h>" nogil:
    int EINVAL, ENOMEM, ENOENT, EBADF, EAGAIN, EINTR, EINPROGRESS, ECONNREFUSED, ECONNABORTED, ECONNRESET, EPIPE

cdef extern from "<stdlib.h>" nogil:
    void _exit "_Exit"(int status)


# --- sockets -----------------------------------------------------------------------------------------

cdef tuple pair(int family, int kind, int protocol=0):
    """Two sockets, or None with errno."""
    cdef int[2] sv
    sv[0] = sv[1] = EVUTIL_INVALID_SOCKET
    if evutil_socketpair(family, kind, protocol, sv) < 0:
        assert sv[0] == sv[1] == EVUTIL_INVALID_SOCKET
        return None
    return socket.socket(fileno=sv[0]), socket.socket(fileno=sv[1])


cdef flags(sock):
    return (bool(fcntl.fcntl(sock, fcntl.F_GETFL) & os.O_NONBLOCK),
            bool(fcntl.fcntl(sock, fcntl.F_GETFD) & fcntl.FD_CLOEXEC))


def test_socketpair_create():
    for family, kind, protocol in [
        (AF_UNSPEC, SOCK_STREAM, 0), (AF_INET6, SOCK_STREAM, 0), (AF_INET, SOCK_RAW, 0),
        (AF_INET, SOCK_DGRAM, 0), (AF_INET, SOCK_STREAM, 1),
    ]:
        assert pair(family, kind, protocol) is None, (family, kind, protocol)
    for family, kind in [(AF_UNIX, SOCK_STREAM), (AF_UNIX, SOCK_DGRAM), (AF_INET, SOCK_STREAM)]:
        left, right = pair(family, kind)
        with left, right:
            assert left.family == family and right.type == kind
            assert flags(left) == flags(right) == (False, False)
            left.sendall(b"there")
            assert right.recv(100) == b"there"
            right.sendall(b"back")
            assert left.recv(100) == b"back"


def test_socketpair_flags():
    for family in (AF_UNIX, AF_INET):
        for nonblocking in (False, True):
            for cloexec in (False, True):
                kind = SOCK_STREAM
                kind |= EVUTIL_SOCK_NONBLOCK if nonblocking else 0
                kind |= EVUTIL_SOCK_CLOEXEC if cloexec else 0
                left, right = pair(family, kind)
                with left, right:
                    assert flags(left) == flags(right) == (nonblocking, cloexec)


def test_socketpair_over_loopback_leaves_no_listener():
    left, right = pair(AF_INET, SOCK_STREAM)
    with left, right:
        assert left.getpeername() == right.getsockname() and right.getpeername() == left.getsockname()
        with socket.socket() as other:
            try:
                other.connect(right.getsockname())
            except ConnectionRefusedError:
                refused = True
            else:
                refused = False
    assert refused


def test_socketpair_without_descriptors():
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    try:
        # Room for none, for the listener, and for all but one.
        for room in range(3):
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + room, hard))
            assert pair(AF_INET, SOCK_STREAM) is None
            assert os.dup(0) == lowest if room else True
            if room:
                os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 3, hard))
        left, right = pair(AF_INET, SOCK_STREAM)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    left.close()
    right.close()


def test_nonblocking_and_closeonexec():
    left, right = pair(AF_UNIX, SOCK_STREAM)
    with left, right:
        for _ in range(2):
            assert evutil_make_socket_nonblocking(left.fileno()) == 0
            assert flags(left) == (True, False)
        for _ in range(2):
            assert evutil_make_socket_closeonexec(right.fileno()) == 0
            assert flags(right) == (False, True)
    assert evutil_make_socket_nonblocking(EVUTIL_INVALID_SOCKET) == -1
    assert errno == EBADF
    assert evutil_make_socket_closeonexec(EVUTIL_INVALID_SOCKET) == -1
    assert evutil_closesocket(EVUTIL_INVALID_SOCKET) == -1


def test_listening_options():
    with socket.socket() as sock:
        assert evutil_make_listen_socket_reuseable(sock.fileno()) == 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        if evutil_make_listen_socket_reuseable_port(sock.fileno()) == 0:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            with socket.socket() as second:
                assert evutil_make_listen_socket_reuseable_port(second.fileno()) == 0
                second.bind(sock.getsockname())
                second.listen()
        assert evutil_make_tcp_listen_socket_deferred(sock.fileno()) == 0
        if hasattr(socket, "TCP_DEFER_ACCEPT"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) > 0
    with socket.socket(socket.AF_INET6) as sock:
        assert evutil_make_listen_socket_ipv6only(sock.fileno()) == 0
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        assert evutil_make_listen_socket_not_ipv6only(sock.fileno()) == 0
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
    for option in (evutil_make_listen_socket_reuseable(-1), evutil_make_listen_socket_reuseable_port(-1),
                   evutil_make_listen_socket_ipv6only(-1), evutil_make_listen_socket_not_ipv6only(-1)):
        assert option == -1


cdef keepalive(sock):
    return (sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            *(sock.getsockopt(socket.IPPROTO_TCP, name)
              for name in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)))


def test_tcp_keepalive():
    if not hasattr(socket, "TCP_KEEPIDLE"):
        return
    with socket.socket() as sock:
        before = keepalive(sock)
        # No timeout, no change.
        assert evutil_set_tcp_keepalive(sock.fileno(), 1, 0) == 0
        assert evutil_set_tcp_keepalive(sock.fileno(), 1, -1) == 0
        assert keepalive(sock) == before
        assert evutil_set_tcp_keepalive(sock.fileno(), 1, 30) == 0
        assert keepalive(sock) == (1, 30, 10, 3)
        assert evutil_set_tcp_keepalive(sock.fileno(), 5, 1) == 0
        assert keepalive(sock) == (1, 1, 1, 3)
        assert evutil_set_tcp_keepalive(sock.fileno(), 0, 30) == 0
        assert keepalive(sock)[0] == 0
        assert evutil_set_tcp_keepalive(sock.fileno(), 1, 30) == 0
        assert evutil_set_tcp_keepalive(sock.fileno(), 0, 0) == 0
        assert keepalive(sock)[0] == 0
        assert evutil_set_tcp_keepalive(sock.fileno(), 1, 1000000) == -1
        assert errno == EINVAL
    assert evutil_set_tcp_keepalive(-1, 1, 30) == -1


def test_socket_errors():
    EVUTIL_SET_SOCKET_ERROR(ECONNRESET)
    assert EVUTIL_SOCKET_ERROR() == ECONNRESET
    assert evutil_socket_geterror(EVUTIL_INVALID_SOCKET) == ECONNRESET
    assert bytes(evutil_socket_error_to_string(ECONNRESET)) == os.strerror(ECONNRESET).encode()


def test_error_predicates():
    every = {EAGAIN, EINTR, EINPROGRESS, ECONNREFUSED, ECONNABORTED, ECONNRESET, EPIPE, 0}
    assert {e for e in every if EVUTIL_ERR_RW_RETRIABLE(e)} == {EAGAIN, EINTR}
    assert {e for e in every if EVUTIL_ERR_ACCEPT_RETRIABLE(e)} == {EAGAIN, EINTR, ECONNABORTED}
    assert {e for e in every if EVUTIL_ERR_CONNECT_RETRIABLE(e)} == {EINTR, EINPROGRESS}
    assert {e for e in every if EVUTIL_ERR_CONNECT_REFUSED(e)} == {ECONNREFUSED}


# --- random bytes ------------------------------------------------------------------------------------

def test_rand():
    cdef unsigned char[32] out
    cdef int begin, end, i
    assert evutil_secure_rng_init() == 0
    for begin in range(4):
        for end in range(29, 33):
            seen = [0] * 32
            for _ in range(16):
                memset(out, 0, sizeof(out))
                evutil_secure_rng_get_bytes(out + begin, end - begin)
                for i in range(32):
                    seen[i] |= out[i]
            # Each byte that was asked for was written, and none else. Wrong once in 2 ** 128 for each.
            assert [bool(value) for value in seen] == [begin <= i < end for i in range(32)]


cdef bytes random_bytes(size_t n):
    cdef unsigned char[1024] out
    assert n <= sizeof(out)
    evutil_secure_rng_get_bytes(out, n)
    return (<char *>out)[:n]


def test_rand_of_many_bytes():
    """More than the system gives whole, and each value of a byte about as often as any other."""
    data = b"".join(random_bytes(1024) for _ in range(64))
    counts = [data.count(bytes([value])) for value in range(256)]
    # 256 each on average, with a standard deviation of 16.
    assert 128 < min(counts) and max(counts) < 384
    evutil_secure_rng_get_bytes(NULL, 0)


def test_rand_differs_after_a_fork():
    random_bytes(16)
    reader, writer = os.pipe()
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            os.write(writer, random_bytes(16))
            os._exit(0)
        os.waitpid(pid, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        drawn = [pipe.read(16), pipe.read(16), random_bytes(16)]
    assert len(set(drawn)) == 3 and all(len(data) == 16 for data in drawn)


def test_rand_takes_no_file_and_no_seed():
    assert evutil_secure_rng_set_urandom_device_file(b"/dev/zero") == -1
    evutil_secure_rng_add_bytes(b"0", 1)
    assert random_bytes(16) != bytes(16)


# --- clocks ------------------------------------------------------------------------------------------

cdef int64_t microseconds(evutil_monotonic_timer *timer):
    cdef timeval tv
    assert evutil_gettime_monotonic(timer, &tv) == 0
    assert 0 <= tv.tv_usec < 1000000
    return <int64_t>tv.tv_sec * 1000000 + tv.tv_usec


cdef int check_resolution(int flags, long ms, int64_t slack) except -1:
    """The timer agrees with the system's own clock about how long something took."""
    cdef evutil_monotonic_timer *timer = evutil_monotonic_timer_new()
    cdef int64_t before, after
    assert timer != NULL
    assert evutil_configure_monotonic_time(timer, flags) == 0
    before = microseconds(timer)
    begin = time.monotonic_ns()
    sleep_ms(ms)
    took = (time.monotonic_ns() - begin) // 1000
    after = microseconds(timer)
    # What the readings themselves take, and a pause between them, can only add.
    assert after - before >= took - slack
    assert after - before >= ms * 1000 - slack
    evutil_monotonic_timer_free(timer)
    return 0


def test_monotonic_res():
    # A tick early and a tick late.
    check_resolution(0, 60, 20000)


def test_monotonic_res_precise():
    check_resolution(EV_MONOT_PRECISE, 20, 10)


def test_monotonic_res_fallback():
    # The wall clock may be slewed by up to 500 parts in a million.
    check_resolution(EV_MONOT_FALLBACK, 20, 100)


cdef int64_t smallest_step(int flags):
    cdef evutil_monotonic_timer timer
    cdef int64_t last, now, best = 1000000
    evutil_configure_monotonic_time(&timer, flags)
    last = microseconds(&timer)
    for _ in range(10):
        now = microseconds(&timer)
        while now == last:
            now = microseconds(&timer)
        assert now > last
        best = min(best, now - last)
        last = now
    return best


def test_monotonic_prc():
    assert smallest_step(0) < 25000


def test_monotonic_prc_precise():
    assert smallest_step(EV_MONOT_PRECISE) < 500


def test_monotonic_prc_fallback():
    assert smallest_step(EV_MONOT_FALLBACK) < 500


def test_monotonic_time_does_not_go_backwards():
    """A wall clock that is set back stands still for a moment, and then goes on at its own pace."""
    cdef evutil_monotonic_timer timer
    evutil_configure_monotonic_time(&timer, EV_MONOT_FALLBACK)
    readings = [100, 150, 150, 30, 40, 90, 20, 30, 1000]
    expected = [100, 150, 150, 150, 160, 210, 210, 220, 1190]
    assert [evutil_adjust_monotonic_time_(&timer, reading) for reading in readings] == expected


def test_monotonic_timers_are_freed():
    evutil_monotonic_timer_free(NULL)


def test_gettimeofday():
    cdef timeval tv
    before = time.time_ns() // 1000
    assert evutil_gettimeofday(&tv, NULL) == 0
    after = time.time_ns() // 1000
    assert before <= <int64_t>tv.tv_sec * 1000000 + tv.tv_usec <= after


# --- memory ------------------------------------------------------------------------------------------

def test_mm_malloc():
    cdef void *memory
    set_errno(0)
    assert mm_malloc(0) == NULL and errno == 0
    memory = mm_malloc(8)
    assert memory != NULL and errno == 0
    mm_free(memory)
    mm_free(NULL)


def test_mm_calloc():
    cdef char *memory
    set_errno(0)
    assert mm_calloc(0, 0) == NULL and mm_calloc(0, 1) == NULL and mm_calloc(1, 0) == NULL
    assert errno == 0
    memory = <char *>mm_calloc(8, 8)
    assert memory != NULL and memory[:64] == bytes(64)
    mm_free(memory)


def test_mm_calloc_enomem():
    set_errno(0)
    assert mm_calloc(EV_SIZE_MAX, EV_SIZE_MAX) == NULL
    assert errno == ENOMEM


def test_mm_strdup():
    cdef char *copy
    cdef const char *text
    set_errno(0)
    assert mm_strdup(NULL) == NULL and errno == EINVAL
    set_errno(0)
    for word in (b"", b"foo"):
        text = word
        copy = mm_strdup(text)
        assert copy != NULL and copy != text and errno == 0
        assert strcmp(copy, text) == 0
        mm_free(copy)


# --- messages ----------------------------------------------------------------------------------------

logged = []


cdef void take_message(int severity, const char *message) noexcept nogil:
    with gil:
        logged.append((severity, bytes(message)))


cdef void exit_with_seven(int err) noexcept nogil:
    _exit(7)


def test_log():
    event_set_log_callback(take_message)
    event_warnx_(b"Far too many wombats (99)")
    event_msgx_(b"Connecting lime to coconut")
    set_errno(ENOENT)
    event_warn_(b"Couldn't open /bad/file")
    assert errno == ENOENT
    assert logged == [
        (EVENT_LOG_WARN, b"Far too many wombats (99)"),
        (EVENT_LOG_MSG, b"Connecting lime to coconut"),
        (EVENT_LOG_WARN, b"Couldn't open /bad/file: " + os.strerror(ENOENT).encode()),
    ]


def die():
    event_errx_(b"Fatal error; too many kumquats (5)")


def test_fatal():
    """The callback ends the program its own way; without one it aborts."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 2)
        event_set_fatal_callback(exit_with_seven)
        die()
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 7
    assert b"Fatal error; too many kumquats (5)" in said
    # In a process of its own: in a fork Python's report would wait for a thread that is not there.
    path = [os.path.dirname(__file__), *sys.path]
    program = f"import sys; sys.path[:0] = {path!r}; import nogil_util_system as m; m.die()"
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == -signal.SIGABRT
    assert b"Fatal error; too many kumquats (5)" in done.stderr
