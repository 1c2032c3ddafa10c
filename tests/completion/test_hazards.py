"""Sockets over io_uring where that could go wrong: buffers that run out, descriptors that are closed, threads,
forks, sandboxes."""

import gc
import os
import platform
import socket
import sys
import threading
import time

import pytest
from loops import run_until
from rings import answer_of, echo, needs_ring, pairs

import cyevent
from cyevent import (
    BEV_EVENT_EOF,
    BEV_EVENT_READING,
    EVLOOP_NONBLOCK,
    EVLOOP_ONCE,
    READ,
    WRITE,
    EvBuffer,
    EventBase,
    Listener,
    PrepareWatcher,
    SocketBufferEvent,
    Timer,
)

BUFFERS = 1024  # of a ring
BUFFER = 4096  # bytes in one


pytestmark = needs_ring


def open_descriptors():
    return set(os.listdir("/proc/self/fd"))


# --- asking for it --------------------------------------------------------------------------------


def test_it_is_had_on_demand():
    with EventBase(completion=True) as base:
        assert (base.method, base.completion) == ("epoll", "io_uring")
    for asked in (False, None):
        with EventBase(completion=asked) as base:
            assert base.completion is None
    with pytest.raises(TypeError, match="completion"):
        EventBase(completion=1)


def test_the_environment_asks_for_it(monkeypatch):
    monkeypatch.setenv("EVENT_USE_COMPLETION", "1")
    with EventBase() as base:
        assert base.completion == "io_uring"
    with EventBase(ignore_env=True) as base:
        assert base.completion is None


def test_a_method_without_a_descriptor_goes_without():
    with EventBase("poll", completion=True) as base:
        assert base.completion is None


# --- buffers --------------------------------------------------------------------------------------


def test_exhausted_buffers(base):
    """More is received than the ring has buffers for, and nobody drains."""
    made = pairs(64)
    rounds = BUFFERS * 2 // len(made)
    readers = [SocketBufferEvent(base, right) for _, right in made]
    for reader in readers:
        reader.enable(READ)
    for number in range(rounds):
        for left, _ in made:
            left.send(bytes([number % 256]) * 600)
        wanted = 600 * (number + 1)
        run_until(base, lambda: all(len(reader.input) == wanted for reader in readers))
    expected = b"".join(bytes([number % 256]) * 600 for number in range(rounds))
    for reader in readers:
        assert reader.read() == expected
    # The buffers are back.
    for left, _ in made:
        left.send(b"again")
    run_until(base, lambda: all(len(reader.input) == 5 for reader in readers))
    for reader, (left, _) in zip(readers, made, strict=True):
        reader.close()
        left.close()


def test_received_bytes_outlive_the_ring(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, right)
    bev.enable(READ)
    kept = EvBuffer()
    for number in range(20):
        left.send(bytes([number]) * 1000)
        run_until(base, lambda: len(bev.input) == 1000)
        kept.add_buffer(bev.input)
    view = kept.peek()[0]
    bev.close()
    base.close()
    del base
    bev = None
    gc.collect()
    assert bytes(kept) == b"".join(bytes([number]) * 1000 for number in range(20))
    assert bytes(view) == bytes(1000)
    del view
    kept.drain(len(kept))


def test_received_bytes_are_drained_in_other_threads(base):
    made = pairs(8)
    lock = threading.Lock()
    taken = []
    kept = []
    done = []

    def read(bev):
        mine = EvBuffer()
        mine.add_buffer(bev.input)
        with lock:
            kept.append(mine)

    def drain():
        while not done or kept:
            with lock:
                mine = kept.pop() if kept else None
            if mine is not None:
                taken.append(len(mine))
                mine.drain(len(mine))

    readers = [SocketBufferEvent(base, right, read=read) for _, right in made]
    for reader in readers:
        reader.enable(READ)
    thread = threading.Thread(target=drain)
    thread.start()
    sent = 0
    for _ in range(3 * BUFFERS // len(made)):
        for left, _ in made:
            sent += left.send(b"x" * 700)
        run_until(base, lambda: not base.loop(EVLOOP_NONBLOCK) and len(readers[0].input) == 0)
    done.append(True)
    deadline = time.monotonic() + 10
    while sum(taken) < sent:
        assert time.monotonic() < deadline
        base.loop(EVLOOP_NONBLOCK)
    thread.join()
    assert sum(taken) == sent
    for reader in readers:
        reader.close()


def test_large_and_small_messages_in_turn(base, pair):
    """Reading changes its way with the sizes, and loses nothing of what is under way then."""
    left, right = pair
    left.setblocking(True)
    left.settimeout(10)
    bev = SocketBufferEvent(base, right, read=echo)
    bev.enable(READ)
    sizes = [10, 4096, 20_000, 100, 4097, 300_000, 1, 1, 1, 1, 1, 1, 1, 1, 8192, 3, 70_000, 12]
    messages = [os.urandom(size) for size in sizes]
    answers = []

    def client():
        for message in messages:
            sender = threading.Thread(target=left.sendall, args=(message,))
            sender.start()
            answer = b""
            while len(answer) < len(message):
                answer += left.recv(65536)
            sender.join()
            answers.append(answer)
        base.loopbreak()

    thread = threading.Thread(target=client)
    thread.start()
    base.dispatch()
    thread.join()
    assert answers == messages
    bev.close()


# --- descriptors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["outside", "in a callback", "in another bufferevent's"])
def test_closing_with_a_receive_under_way(base, pair, where):
    """The peer hears of it, although the kernel still had the file."""
    left, right = pair
    fd = right.fileno()
    bev = SocketBufferEvent(base, right)
    bev.enable(READ)
    base.loop(EVLOOP_NONBLOCK)
    left.setblocking(True)
    left.settimeout(10)
    if where == "outside":
        bev.close()
    elif where == "in a callback":
        bev.set_callbacks(read=lambda bev: bev.close())
        left.send(b"x")
        assert base.dispatch() == 1
    else:
        base.call_soon(bev.close)
        assert base.dispatch() == 1
    assert left.recv(10) == b""
    with pytest.raises(OSError):
        os.fstat(fd)


def test_a_descriptor_that_is_given_back_goes_on(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, right, close_on_free=False)
    bev.enable(READ)
    base.loop(EVLOOP_NONBLOCK)
    bev.close()
    # Nothing of ours takes what is for others now.
    left.send(b"for others")
    base.loop(EVLOOP_NONBLOCK)
    assert right.recv(100) == b"for others"


def test_what_was_written_leaves_before_the_end(base, pair):
    """Queued by one callback, closed by the next of the same turn."""
    left, right = pair
    bev = SocketBufferEvent(base, right)
    base.loop(EVLOOP_NONBLOCK)

    def write():
        bev.write(b"the last words")

    def end():
        bev.close()

    base.call_soon(write)
    base.loop(EVLOOP_NONBLOCK)
    end()
    base.loop(EVLOOP_NONBLOCK)
    assert left.recv(100) == b"the last words"
    assert left.recv(100) == b""


# --- changing one's mind --------------------------------------------------------------------------


def test_disable_in_the_read_callback(base, pair):
    left, right = pair
    got = []

    def read(bev):
        got.append(bev.read())
        bev.disable(READ)

    bev = SocketBufferEvent(base, right, read=read)
    bev.enable(READ)
    for number in range(5):
        left.send(bytes([number]))
        run_until(base, lambda: len(b"".join(got)) == number + 1)
        left.send(b"")
        base.loop(EVLOOP_NONBLOCK)
        bev.enable(READ)
    bev.disable(READ)
    base.loop(EVLOOP_NONBLOCK)
    left.send(b"more")
    left.shutdown(socket.SHUT_WR)
    for _ in range(5):
        base.loop(EVLOOP_NONBLOCK)
    assert got == [bytes([number]) for number in range(5)]
    ends = []
    bev.set_callbacks(read=lambda bev: got.append(bev.read()), event=lambda _, w: ends.append(w))
    bev.enable(READ)
    run_until(base, lambda: ends)
    assert got[5:] == [b"more"] and ends == [BEV_EVENT_READING | BEV_EVENT_EOF]
    bev.close()


def test_disable_and_enable_in_the_read_callback(base, pair):
    left, right = pair
    got = []

    def read(bev):
        bev.disable(READ)
        got.append(bev.read())
        bev.enable(READ)
        if len(got) % 3 == 0:
            bev.set_watermark(READ, 0, 10 if len(got) % 2 else 0)

    bev = SocketBufferEvent(base, right, read=read)
    bev.enable(READ)
    sent = b""
    for number in range(100):
        piece = bytes([number]) * (number * 7 % 50 + 1)
        left.send(piece)
        sent += piece
        if number % 5 == 0:
            base.loop(EVLOOP_NONBLOCK)
    run_until(base, lambda: len(b"".join(got)) == len(sent))
    assert b"".join(got) == sent
    bev.close()


def test_disable_while_something_is_being_sent(base, pair):
    """What has left is not sent again, and what has not is not lost."""
    left, right = pair
    data = os.urandom(3_000_000)
    bev = SocketBufferEvent(base, right)
    bev.write(data)
    got = b""
    turn = 0
    deadline = time.monotonic() + 20
    while len(got) < len(data):
        assert time.monotonic() < deadline
        turn += 1
        bev.disable(WRITE)
        base.loop(EVLOOP_NONBLOCK)
        try:
            got += left.recv(50_000)
        except BlockingIOError:
            pass
        bev.enable(WRITE)
        base.loop(EVLOOP_NONBLOCK)
    assert got == data
    run_until(base, lambda: len(bev.output) == 0)
    bev.close()


# --- threads and processes ------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [True, False], ids=["ended", "alive"])
def test_a_loop_in_another_thread_than_before(base, pair, ends):
    left, right = pair
    bev = SocketBufferEvent(base, right, read=echo)
    bev.enable(READ)
    looped = threading.Event()
    over = threading.Event()

    def first():
        left.send(b"one")
        for _ in range(3):
            base.loop(EVLOOP_NONBLOCK)
        looped.set()
        if not ends:
            over.wait(60)

    thread = threading.Thread(target=first)
    thread.start()
    looped.wait(60)
    if ends:
        thread.join()
    assert left.recv(10) == b"one"
    left.send(b"two")
    assert answer_of(base, left) == b"two"
    over.set()
    thread.join()
    bev.close()


def test_closed_by_another_thread(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, right)
    bev.enable(READ)
    thread = threading.Thread(target=lambda: base.loop(EVLOOP_NONBLOCK))
    thread.start()
    thread.join()
    bev.close()
    base.close()
    left.settimeout(10)
    assert left.recv(10) == b""


@pytest.mark.parametrize("reinit", [True, False])
def test_fork_with_a_ring(base, pair, in_child, reinit):
    left, right = pair
    bev = SocketBufferEvent(base, right, read=echo)
    bev.enable(READ)
    left.send(b"before")
    assert answer_of(base, left) == b"before"

    def child():
        if reinit:
            base.reinit()
        left.send(b"child")
        assert answer_of(base, left) == b"child"
        bev.close()
        base.close()

    # The parent does not look meanwhile.
    in_child(child)
    left.send(b"parent")
    assert answer_of(base, left) == b"parent"
    bev.close()


def test_a_child_that_only_ends_disturbs_nobody(base, pair, in_child):
    left, right = pair
    bev = SocketBufferEvent(base, right)
    bev.enable(READ)
    base.loop(EVLOOP_NONBLOCK)

    def child():
        bev.close()
        base.close()

    in_child(child)
    left.send(b"x")
    run_until(base, lambda: len(bev.input) == 1)
    bev.close()


SANDBOXED = """
import ctypes, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
# Load the call's number; io_uring_setup() fails with EPERM, all else is allowed.
program = struct.pack(
    "HBBI" * 4,
    0x20, 0, 0, 0,
    0x15, 0, 1, 425,
    0x06, 0, 0, 0x00050000 | 1,
    0x06, 0, 0, 0x7FFF0000,
)
memory = ctypes.create_string_buffer(program, len(program))
fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(memory)))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, fprog, 0, 0) == 0

from cyevent import READ, EventBase, SocketBufferEvent
base = EventBase(completion=True)
assert base.completion is None and base.method == "epoll"
left, right = socket.socketpair()
bev = SocketBufferEvent(base, right, read=lambda bev: (bev.write(bev.read()), base.loopexit()))
bev.enable(READ)
left.send(b"all the same")
base.dispatch()
left.settimeout(10)
base.loop(2)
assert left.recv(100) == b"all the same"
"""


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64") or sys.maxsize < 2**32,
    reason="the filter is for 64-bit machines",
)
def test_a_sandbox_that_refuses_io_uring(run_python):
    done = run_python(SANDBOXED)
    assert done.stderr == ""


# --- rest and flood -------------------------------------------------------------------------------


def test_an_idle_base_sleeps(base):
    made = pairs(20)
    bevs = [SocketBufferEvent(base, right) for _, right in made]
    for bev in bevs:
        bev.enable(READ)
    with Listener(base, ("127.0.0.1", 0), lambda *_: None):
        base.loop(EVLOOP_NONBLOCK)
        turns = []
        watcher = PrepareWatcher(base, lambda *_: turns.append(1))
        Timer(base, base.loopbreak).add(0.3)
        base.dispatch()
        watcher.close()
    assert len(turns) <= 5
    for bev in bevs:
        bev.close()


def flood(base, connections, at_once):
    ends = []
    bevs = set()

    def end(bev, what):
        ends.append(what)
        bevs.discard(bev)
        bev.close()

    def accept(listener, fd, address):
        bev = SocketBufferEvent(base, socket.socket(fileno=fd), read=echo, event=end)
        bev.enable(READ)
        bevs.add(bev)

    with Listener(base, ("127.0.0.1", 0), accept) as listener:
        address = listener.address
        for first in range(0, connections, at_once):
            clients = [socket.create_connection(address) for _ in range(at_once)]
            for number, client in enumerate(clients):
                if number % 3:
                    client.send(b"hello")
                if number % 3 == 2:
                    client.close()
            run_until(base, lambda: len(ends) >= first + at_once // 3)
            for client in clients:
                client.close()
            run_until(base, lambda: len(ends) == first + at_once)
    assert not bevs


@pytest.mark.parametrize(
    "connections", [600, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_connections_leave_nothing(base, connections):
    flood(base, 60, 30)
    before = open_descriptors()
    flood(base, connections, 60 if connections < 1000 else 200)
    base.loop(EVLOOP_NONBLOCK)
    assert open_descriptors() == before
    assert base.num_events() == 0
    assert base.loop(EVLOOP_ONCE) == 1


def test_bases_leave_no_descriptors():
    gc.collect()
    before = open_descriptors()
    for _ in range(20):
        with EventBase(completion=True) as base:
            left, right = socket.socketpair()
            bev = SocketBufferEvent(base, right)
            bev.enable(READ)
            base.loop(EVLOOP_NONBLOCK)
            left.close()
            bev.close()
        del base, bev
    gc.collect()
    assert open_descriptors() == before
    assert cyevent.EventBase.supported_methods()
