"""Sockets over Windows' completion ports where that could go wrong: what is freed or closed with operations
under way, sockets that are tied elsewhere, threads that end, files, errors, and handles."""

import ctypes
import errno
import gc
import socket
import sys
import threading

import fds
import pytest
from loops import run_until

from cyevent import (
    BEV_EVENT_CONNECTED,
    BEV_EVENT_EOF,
    BEV_EVENT_ERROR,
    BEV_EVENT_READING,
    BEV_EVENT_TIMEOUT,
    BEV_EVENT_WRITING,
    EVLOOP_NONBLOCK,
    READ,
    WRITE,
    EventBase,
    Listener,
    PrepareWatcher,
    SocketBufferEvent,
    Timer,
)

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="this is about Windows")

MUCH = 5_000_000
PATTERN = bytes(range(251)) * 20000


def receive_all(base, sock, n):
    """Runs the loop until n bytes have come."""
    data = bytearray()

    def more():
        try:
            while len(data) < n:
                got = sock.recv(65536)
                if not got:
                    break
                data.extend(got)
        except BlockingIOError:
            pass
        return len(data) >= n

    run_until(base, more)
    return bytes(data)


def tie_elsewhere(sock):
    """Ties a socket to a port that nobody waits for."""
    kernel = ctypes.windll.kernel32
    kernel.CreateIoCompletionPort.restype = ctypes.c_void_p
    kernel.CreateIoCompletionPort.argtypes = [
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_uint,
    ]
    port = kernel.CreateIoCompletionPort(ctypes.c_void_p(-1).value, None, None, 0)
    assert kernel.CreateIoCompletionPort(sock.fileno(), port, None, 0) == port
    return port


def join_wholly(thread):
    """Waits for the system's thread too, which ends a moment after Python's.

    Wine would have that thread finish what it began, and when it ends just then the operation completes,
    unfinished, with the status that it is pending."""
    kernel = ctypes.windll.kernel32
    kernel.OpenThread.restype = ctypes.c_void_p
    thread.join()
    handle = kernel.OpenThread(0x100000, False, thread.native_id)
    if handle is not None:
        assert kernel.WaitForSingleObject(ctypes.c_void_p(handle), 20_000) == 0
        kernel.CloseHandle(ctypes.c_void_p(handle))


def echo(bev):
    bev.write(bev.read())


# --- asking for it --------------------------------------------------------------------------------


def test_it_is_had_on_demand():
    with EventBase(completion=True) as base:
        assert (base.method, base.completion) == ("afd", "iocp")
    for asked in (False, None):
        with EventBase(completion=asked) as base:
            assert base.completion is None


def test_select_goes_without():
    with EventBase("win32", completion=True) as base:
        assert base.completion is None


# --- what is freed or closed too early ------------------------------------------------------------


def test_a_bufferevent_freed_with_a_receive_under_way(base, pair):
    left, right = pair
    for _ in range(20):
        bev = SocketBufferEvent(base, left, close_on_free=False)
        bev.enable(READ)
        base.loop(EVLOOP_NONBLOCK)
        bev.close()
    right.send(b"for nobody's memory")
    base.loop(EVLOOP_NONBLOCK)
    assert base.num_events() == 0
    # What was cancelled has not taken it.
    assert left.recv(100) == b"for nobody's memory"


def test_a_freed_bufferevent_ends_the_connection(base):
    left, right = socket.socketpair()
    with right:
        bev = SocketBufferEvent(base, left.detach())
        bev.enable(READ)
        base.loop(EVLOOP_NONBLOCK)
        bev.close()
        right.settimeout(10)
        assert right.recv(1) == b""


def test_a_bufferevent_freed_with_a_send_under_way(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, left, close_on_free=False)
    bev.write(PATTERN)
    base.loop(EVLOOP_NONBLOCK)
    assert len(bev.output)
    bev.close()
    del bev
    gc.collect()
    # Takes the memory again if it is free.
    others = [bytes([n]) * 65536 for n in range(50)]
    data = receive_all(base, right, 500_000)
    assert data == PATTERN[: len(data)]
    del others


def test_a_socket_closed_with_operations_under_way(base):
    events = []
    numbers = set()
    for _ in range(10):
        left, right = socket.socketpair()
        numbers.add(left.fileno())
        bev = SocketBufferEvent(base, left, close_on_free=False)
        bev.set_callbacks(event=lambda bev, what: events.append((what, bev.error.errno)))
        bev.enable(READ)
        base.loop(EVLOOP_NONBLOCK)
        left.close()
        run_until(base, lambda: events)
        assert events.pop() == (BEV_EVENT_ERROR | BEV_EVENT_READING, 10053)
        bev.close()
        right.close()
    # A number may be another socket's at once.
    assert len(numbers) < 10


def test_a_base_closed_with_everything_under_way(pair):
    left, right = pair
    base = EventBase(completion=True)
    accepted = []
    listener = Listener(base, ("127.0.0.1", 0), lambda lev, fd, peer: accepted.append(fd))
    bev = SocketBufferEvent(base, left, close_on_free=False)
    bev.enable(READ)
    bev.write(PATTERN)
    unconnected = SocketBufferEvent(base)
    unconnected.connect(listener.address)
    reader = SocketBufferEvent(base, right, close_on_free=False)
    reader.set_watermark(READ, 0, 100)
    reader.enable(READ)
    base.loop(EVLOOP_NONBLOCK)
    base.close()
    for thing in (bev, reader, unconnected, listener):
        thing.close()
    for fd in accepted:
        fds.close(fd)
    gc.collect()


def test_cancelled_in_the_callback(base, pair):
    left, right = pair
    got = []

    def read(bev):
        got.append(bev.read())
        bev.disable(READ)

    bev = SocketBufferEvent(base, left, read=read, close_on_free=False)
    for n in range(10):
        bev.enable(READ)
        right.send(b"%d" % n)
        run_until(base, lambda: len(got) > n)
        right.send(b"+")
        base.loop(EVLOOP_NONBLOCK)
        assert len(got) == n + 1
        bev.enable(READ)
        run_until(base, lambda: len(got) > n + 1)
        assert got.pop() == b"+"
    assert got == [b"%d" % n for n in range(10)]
    bev.close()


def test_closed_in_the_callback(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, left, read=lambda bev: bev.close(), close_on_free=False)
    bev.enable(READ)
    right.send(b"x")
    assert base.dispatch() == 1
    assert bev.closed


# --- sending --------------------------------------------------------------------------------------


def test_a_send_that_is_disabled_and_enabled_again(base, pair):
    """Nobody knows how much of a send has left; still each byte leaves once."""
    left, right = pair
    bev = SocketBufferEvent(base, left, close_on_free=False)
    bev.write(PATTERN)
    data = b""
    while len(data) < len(PATTERN):
        bev.enable(WRITE)
        base.loop(EVLOOP_NONBLOCK)
        bev.disable(WRITE)
        bev.enable(WRITE)
        data += receive_all(base, right, min(700_001, len(PATTERN) - len(data)))
    assert data == PATTERN
    run_until(base, lambda: not len(bev.output))
    bev.close()


def test_a_disabled_send_does_not_keep_the_loop(base, pair):
    left, right = pair
    events = []
    bev = SocketBufferEvent(base, left, close_on_free=False)
    bev.set_callbacks(event=lambda bev, what: events.append(what))
    bev.set_timeouts(write=0.1)
    bev.write(PATTERN)
    assert base.dispatch() == 1
    assert events == [BEV_EVENT_TIMEOUT | BEV_EVENT_WRITING]
    bev.close()


@pytest.mark.parametrize("head", [b"", b"head of it\r\n"])
@pytest.mark.parametrize("offset", [0, 12345])
def test_a_file(base, pair, tmp_path, head, offset):
    left, right = pair
    path = tmp_path / "file"
    path.write_bytes(PATTERN)
    bev = SocketBufferEvent(base, left, close_on_free=False)
    with path.open("rb") as file:
        bev.write(head)
        bev.output.add_file(file, offset=offset)
        bev.write(b"tail")
        expected = head + PATTERN[offset:] + b"tail"
        assert receive_all(base, right, len(expected)) == expected
    bev.close()


def test_a_file_that_has_become_shorter(base, pair, tmp_path):
    left, right = pair
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100_000)
    events = []
    bev = SocketBufferEvent(base, left, close_on_free=False)
    bev.set_callbacks(event=lambda bev, what: events.append((what, bev.error.errno)))
    with path.open("rb+") as file:
        bev.output.add_file(file)
        file.truncate(1000)
        data = receive_all(base, right, 1000)
        run_until(base, lambda: events)
    assert data == b"x" * 1000
    assert events == [(BEV_EVENT_ERROR | BEV_EVENT_WRITING, errno.EIO)]
    bev.close()


# --- sockets that are tied elsewhere --------------------------------------------------------------


def test_both_directions_of_a_socket_tied_elsewhere(base, pair):
    left, right = pair
    ports = [tie_elsewhere(left)]
    events = []
    bev = SocketBufferEvent(base, left, read=echo, close_on_free=False)
    bev.set_callbacks(read=echo, event=lambda bev, what: events.append(what))
    bev.enable(READ)
    right.send(b"hello")
    assert receive_all(base, right, 5) == b"hello"
    bev.write(PATTERN)
    assert receive_all(base, right, len(PATTERN)) == PATTERN
    right.shutdown(socket.SHUT_WR)
    run_until(base, lambda: events)
    assert events == [BEV_EVENT_EOF | BEV_EVENT_READING]
    bev.close()
    for port in ports:
        ctypes.windll.kernel32.CloseHandle(ctypes.c_void_p(port))


def test_a_socket_that_was_another_bases(pair):
    left, right = pair
    for _ in range(3):
        with EventBase(completion=True) as base:
            bev = SocketBufferEvent(base, left, read=echo, close_on_free=False)
            bev.enable(READ)
            right.send(b"x" * 10000)
            assert receive_all(base, right, 10000) == b"x" * 10000
            bev.close()


def test_a_listener_tied_elsewhere(base):
    accepted = []
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        port = tie_elsewhere(sock)
        listener = Listener(
            base, sock, lambda lev, fd, peer: accepted.append(fd), close_on_free=False
        )
        for n in range(5):
            with socket.create_connection(listener.address):
                run_until(base, lambda: len(accepted) > n)
            fds.close(accepted[n])
        listener.close()
        ctypes.windll.kernel32.CloseHandle(ctypes.c_void_p(port))


# --- connecting and accepting ---------------------------------------------------------------------


def test_connect(base):
    accepted = []
    events = []
    with Listener(base, ("127.0.0.1", 0), lambda lev, fd, peer: accepted.append((fd, peer))) as lev:
        bev = SocketBufferEvent(base, event=lambda bev, what: events.append(what))
        bev.connect(lev.address)
        assert bev.connecting
        run_until(base, lambda: accepted and events)
        assert events == [BEV_EVENT_CONNECTED]
        # Wholly made, both of them.
        ours = socket.socket(fileno=accepted[0][0])
        assert ours.getpeername() == accepted[0][1]
        assert bev.peer == lev.address
        ours.shutdown(socket.SHUT_WR)
        bev.enable(READ)
        run_until(base, lambda: len(events) > 1)
        assert events[1] == BEV_EVENT_EOF | BEV_EVENT_READING
        ours.close()
        bev.close()


def test_refused(base):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        events = []
        bev = SocketBufferEvent(base)
        bev.set_callbacks(event=lambda bev, what: events.append((what, bev.error)))
        bev.connect(sock.getsockname())
        base.dispatch()
        assert [what for what, _ in events] == [BEV_EVENT_ERROR]
        assert isinstance(events[0][1], ConnectionRefusedError)
        bev.close()


def test_freed_while_connecting(base):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        for _ in range(5):
            bev = SocketBufferEvent(base, event=pytest.fail)
            bev.connect(sock.getsockname())
            bev.close()
        base.loop(EVLOOP_NONBLOCK)
    assert base.dispatch() == 1


def test_more_are_accepted_at_once_when_more_come(base):
    accepted = []
    with Listener(base, ("127.0.0.1", 0), lambda lev, fd, peer: accepted.append(fd)) as listener:
        socks = [socket.create_connection(listener.address) for _ in range(200)]
        run_until(base, lambda: len(accepted) == 200)
        assert len(set(accepted)) == 200
        for sock in socks:
            sock.close()
    for fd in accepted:
        fds.close(fd)


# --- threads --------------------------------------------------------------------------------------


def test_a_thread_that_begins_a_receive_and_ends(base, pair):
    left, right = pair
    got = []
    bev = SocketBufferEvent(
        base, left, read=lambda bev: got.append(bev.read()), close_on_free=False
    )
    thread = threading.Thread(target=bev.enable, args=(READ,))
    thread.start()
    join_wholly(thread)
    base.loop(EVLOOP_NONBLOCK)
    right.send(b"x")
    run_until(base, lambda: got)
    assert got == [b"x"]
    bev.close()


def test_output_of_another_thread(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, left, close_on_free=False)
    bev.enable(READ)
    right.setblocking(True)
    right.settimeout(20)
    got = []

    def talk():
        for n in range(50):
            bev.write(b"%02d" % n)
            got.append(right.recv(2, socket.MSG_WAITALL))
        right.send(b"end")

    bev.set_callbacks(read=lambda bev: base.loopbreak())
    thread = threading.Thread(target=talk)
    thread.start()
    base.dispatch()
    thread.join()
    assert got == [b"%02d" % n for n in range(50)]
    bev.close()


# --- waiting, and handles -------------------------------------------------------------------------


def test_waiting_is_no_busy_loop(base, pair):
    left, right = pair
    turns = []
    listener = Listener(base, ("127.0.0.1", 0), pytest.fail)
    idle = SocketBufferEvent(base, left, close_on_free=False)
    idle.enable(READ)
    idle.write(PATTERN)
    full = SocketBufferEvent(base, right, close_on_free=False)
    full.set_watermark(READ, 0, 1000)
    full.enable(READ)
    run_until(base, lambda: len(full.input) == 1000)
    for _ in range(20):
        base.loop(EVLOOP_NONBLOCK)
    watcher = PrepareWatcher(base, lambda *args: turns.append(1))
    Timer(base, base.loopbreak).add(0.3)
    base.dispatch()
    watcher.close()
    assert len(turns) < 10
    for thing in (idle, full, listener):
        thing.close()
