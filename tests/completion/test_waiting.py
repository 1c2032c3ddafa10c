"""Where a loop over io_uring waits: in the ring, or in epoll when that alone has something to tell."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading

import pytest
from loops import run_until
from rings import answer_of, echo, needs_ring, pairs

from cyevent import (
    BEV_EVENT_EOF,
    BEV_EVENT_READING,
    BEV_EVENT_TIMEOUT,
    EVLOOP_NONBLOCK,
    EVLOOP_ONCE,
    PERSIST,
    READ,
    Event,
    EventBase,
    PrepareWatcher,
    SocketBufferEvent,
    Timer,
)

pytestmark = needs_ring

# So many turns of readiness alone are more than enough for the loop to wait in epoll.
MANY = 20


def only_readiness(base, times=MANY):
    """Lets an event that is not of the ring happen again and again."""
    left, right = socket.socketpair()
    with left, right:
        seen = []
        event = Event(base, right, READ | PERSIST, lambda fd, what: seen.append(right.recv(10)))
        event.add()
        for number in range(times):
            left.send(b"x")
            run_until(base, lambda number=number: len(seen) == number + 1)
        event.delete()


def exchange(base, left, message, answer_size=None):
    """Sends a message; returns the answer."""
    answer = []

    def client():
        left.sendall(message)
        got = b""
        while len(got) < (answer_size or len(message)):
            got += left.recv(1 << 20)
        answer.append(got)
        base.loopbreak()

    left.setblocking(True)
    left.settimeout(20)
    thread = threading.Thread(target=client)
    thread.start()
    base.dispatch()
    thread.join()
    return answer[0]


# --- which calls are made -------------------------------------------------------------------------

COUNTED = """
import os, socket, threading
from cyevent import READ, EventBase, SocketBufferEvent
base = EventBase(completion=True)
left, right = socket.socketpair()
right.setblocking(False)
bev = SocketBufferEvent(base, right, read=lambda bev: bev.write(bev.read()))
bev.enable(READ)
def client(rounds):
    for _ in range(rounds):
        left.sendall(bytes({size}))
        n = 0
        while n < {size}:
            n += len(left.recv({size}))
    base.loopbreak()
for rounds in 50, {rounds}:
    os.getppid()
    thread = threading.Thread(target=client, args=(rounds,))
    thread.start()
    base.dispatch()
    thread.join()
os.getppid()
"""


@pytest.mark.parametrize(("size", "ring"), [(65536, False), (100, True)])
def test_one_call_a_turn(size, ring, package_env, tmp_path):
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "log"
    command = [strace, "-f", "-o", str(log), "-e", "trace=getppid,io_uring_enter,epoll_wait"]
    rounds = 200
    program = COUNTED.format(size=size, rounds=rounds)
    if subprocess.run([strace, "-f", "-o", "/dev/null", "true"], capture_output=True).returncode:
        pytest.skip("strace may not trace here")
    subprocess.run(
        [*command, sys.executable, "-c", program], check=True, env=package_env, cwd=tmp_path
    )
    lines = log.read_text().splitlines()
    marks = [i for i, line in enumerate(lines) if "getppid(" in line]
    last = "\n".join(lines[marks[1] : marks[2]])
    entered = len(re.findall(r"io_uring_enter\(", last))
    waited = len(re.findall(r"epoll_wait\(", last))
    # The end of the loop is told by an event, too.
    if ring:
        assert entered >= rounds and waited <= 5
    else:
        assert waited >= rounds and entered <= 5


# --- nobody is forgotten --------------------------------------------------------------------------


def test_the_ring_is_heard_while_the_loop_waits_in_epoll(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, right, read=echo)
    bev.enable(READ)
    for number in range(5):
        only_readiness(base)
        message = b"%d" % number
        assert exchange(base, left, message) == message
    bev.close()


def test_what_is_begun_while_the_loop_waits_in_epoll(base):
    """From the loop, and from another thread."""
    only_readiness(base)
    made = pairs(6)
    bevs = []
    for number, (left, right) in enumerate(made):
        bev = SocketBufferEvent(base, right, read=echo)
        if number % 2:
            bev.enable(READ)
        else:
            thread = threading.Thread(target=lambda bev=bev: bev.enable(READ))
            timer = Timer(base, thread.start)
            timer.add(0.01)
            run_until(base, lambda thread=thread: thread.ident is not None)
            thread.join()
        bevs.append(bev)
        only_readiness(base)
        assert exchange(base, left, b"hello") == b"hello"
        left.close()
    for bev in bevs:
        bev.close()


def test_idle_after_readiness_alone(base, pair):
    _, right = pair
    bev = SocketBufferEvent(base, right)
    bev.enable(READ)
    only_readiness(base)
    turns = []
    watcher = PrepareWatcher(base, lambda *_: turns.append(1))
    Timer(base, base.loopbreak).add(0.3)
    base.dispatch()
    watcher.close()
    assert len(turns) <= 4
    bev.close()


def test_a_ring_that_goes_while_epoll_watches_it(pair):
    """No descriptor stays, nobody is woken by it, and another base's is not affected."""
    before = set(os.listdir("/proc/self/fd"))
    with EventBase(completion=True) as other:
        for _ in range(3):
            with EventBase(completion=True) as base:
                only_readiness(base)
            only_readiness(other)
    assert set(os.listdir("/proc/self/fd")) == before


def test_another_thread_while_epoll_watches_the_ring(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, right, read=echo)
    bev.enable(READ)
    for number in range(4):
        thread = threading.Thread(target=only_readiness, args=(base,))
        thread.start()
        thread.join()
        if number % 2:
            only_readiness(base)
        assert exchange(base, left, b"hello") == b"hello"
    bev.close()


@pytest.mark.parametrize("reinit", [True, False])
def test_fork_while_epoll_watches_the_ring(base, pair, in_child, reinit):
    left, right = pair
    bev = SocketBufferEvent(base, right, read=echo)
    bev.enable(READ)
    only_readiness(base)

    def child():
        if reinit:
            base.reinit()
            only_readiness(base)
        assert exchange(base, left, b"child") == b"child"
        base.close()

    in_child(child)
    # The parent is still told of its ring.
    assert exchange(base, left, b"parent") == b"parent"
    only_readiness(base)
    assert exchange(base, left, b"parent") == b"parent"
    bev.close()


# --- readers of much ------------------------------------------------------------------------------


def test_much_and_little_for_one_and_for_many(base):
    """Readers go from the ring to events and back with what comes, and with how many they are."""
    made = pairs(12)
    bevs = [SocketBufferEvent(base, right, read=echo) for _, right in made]
    for bev in bevs:
        bev.enable(READ)
    lefts = [left for left, _ in made]
    message = os.urandom(40_000)
    for number in range(6):
        for active in (lefts[:1], lefts):
            for size in (40_000, 10):
                for _ in range(8):
                    got = {left: b"" for left in active}
                    sent = dict.fromkeys(active, 0)

                    def pump(got=got, sent=sent, size=size):
                        for left in got:
                            try:
                                if sent[left] < size:
                                    sent[left] += left.send(message[sent[left] : size])
                                got[left] += left.recv(65536)
                            except BlockingIOError:
                                pass
                        return all(len(data) == size for data in got.values())

                    run_until(base, pump)
                    assert all(data == message[:size] for data in got.values()), number
    for bev, left in zip(bevs, lefts, strict=True):
        bev.close()
        left.close()
    assert base.num_events() == 0


def reads_by_event(base, left, bev, size=200_000):
    """Has it get much until it is told by an event."""
    for _ in range(3):
        message = os.urandom(size)
        assert exchange(base, left, message) == message


def test_disabled_and_enabled_while_it_reads_by_event(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, right, read=echo)
    bev.enable(READ)
    reads_by_event(base, left, bev)
    bev.disable(READ)
    left.send(b"later")
    for _ in range(3):
        base.loop(EVLOOP_NONBLOCK)
    assert len(bev.input) == 0
    bev.enable(READ)
    left.setblocking(False)
    assert answer_of(base, left) == b"later"
    # A limit comes and goes, and the bytes stay in their order.
    for number in range(20):
        bev.set_watermark(READ, 0, 1000 if number % 2 else 0)
        message = os.urandom(5000)
        assert exchange(base, left, message) == message
    bev.close()


def test_a_timeout_and_the_end_while_it_reads_by_event(base, pair):
    left, right = pair
    ends = []
    bev = SocketBufferEvent(base, right, read=echo, event=lambda bev, what: ends.append(what))
    bev.enable(READ)
    reads_by_event(base, left, bev)
    bev.set_timeouts(read=0.05)
    run_until(base, lambda: ends)
    assert ends == [BEV_EVENT_READING | BEV_EVENT_TIMEOUT]
    bev.set_timeouts(read=None)
    bev.enable(READ)
    message = os.urandom(200_000)
    assert exchange(base, left, message) == message
    left.close()
    run_until(base, lambda: len(ends) > 1)
    assert ends[1:] == [BEV_EVENT_READING | BEV_EVENT_EOF]
    bev.close()


@pytest.mark.parametrize("where", ["outside", "in its callback", "replaced"])
def test_closed_while_it_reads_by_event(base, pair, where):
    left, right = pair
    bev = SocketBufferEvent(base, right, read=echo)
    bev.enable(READ)
    reads_by_event(base, left, bev)
    if where == "outside":
        bev.close()
    elif where == "in its callback":
        bev.set_callbacks(read=lambda bev: bev.close())
        left.send(b"x")
        base.loop(EVLOOP_ONCE)
        assert bev.closed
    else:
        other_left, other_right = socket.socketpair()
        other_right.setblocking(False)
        bev.replace_fd(other_right)
        assert exchange(base, other_left, b"hello") == b"hello"
        bev.close()
        other_left.close()
    assert left.recv(10) == b""
    assert base.num_events() == 0
