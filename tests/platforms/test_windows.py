"""What is particular to Windows: its signals, sockets whose numbers are handles, select() and AFD polling."""

import gc
import signal
import socket
import sys
import threading

import fds
import pytest

import cyevent
from cyevent import (
    CLOSED,
    PERSIST,
    READ,
    TIMEOUT,
    WRITE,
    Event,
    EventBase,
    PrepareWatcher,
    Signal,
    Timer,
)

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="this is about Windows")

TURN = cyevent.EVLOOP_NONBLOCK | cyevent.EVLOOP_ONCE
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
]


def test_the_methods():
    assert EventBase.supported_methods() == ("afd", "win32")
    with EventBase() as base:
        assert base.method == "afd"
        assert base.features == cyevent.EV_FEATURE_O1 | cyevent.EV_FEATURE_EARLY_CLOSE


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_again_and_again(base, signum):
    """The C runtime takes a handler away when it calls it."""
    got = []
    ev = Signal(base, signum, got.append)
    ev.add()
    for n in range(1, 4):
        signal.raise_signal(signum)
        base.loop(cyevent.EVLOOP_ONCE)
        assert got == [signum] * n
    ev.delete()


@pytest.mark.parametrize("signum", SIGNALS)
def test_pythons_handler_is_put_back(base, signum):
    got = []
    before = signal.signal(signum, lambda signum, frame: got.append("python"))
    try:
        ev = Signal(base, signum, lambda signum: got.append("event"))
        ev.add()
        signal.raise_signal(signum)
        base.loop(cyevent.EVLOOP_ONCE)
        ev.delete()
        signal.raise_signal(signum)
        assert got == ["event", "python"]
    finally:
        signal.signal(signum, before)


def test_a_signal_that_windows_does_not_have(base):
    ev = Signal(base, 9, print)
    with pytest.raises(OSError):
        ev.add()
    assert base.num_events() == 0


def test_a_signal_ends_a_wait(base):
    got = []
    ev = Signal(base, signal.SIGTERM, lambda signum: (got.append(signum), ev.delete()))
    ev.add()
    thread = threading.Timer(0.1, signal.raise_signal, (signal.SIGTERM,))
    thread.start()
    base.dispatch()
    thread.join()
    assert got == [signal.SIGTERM]


def test_ctrl_c_ends_the_loop(base):
    Timer(base, pytest.fail).add(60)
    Timer(base, lambda: signal.raise_signal(signal.SIGINT)).add(0.01)
    with pytest.raises(KeyboardInterrupt):
        base.dispatch()


# --- sockets --------------------------------------------------------------------------------------


def test_a_refused_connection_is_told_to_the_writer(base):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = closed.getsockname()
        sock = socket.socket()
        sock.setblocking(False)
        got = []
        with sock:
            with pytest.raises(BlockingIOError):
                sock.connect(address)
            Event(base, sock, WRITE, lambda fd, what: got.append(what)).add(30)
            base.dispatch()
            assert got == [WRITE]
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def test_a_number_that_another_socket_takes(base):
    """Handles are reused at once; what was asked of the first must not be taken for the second's."""
    numbers = []
    for i in range(20):
        left, right = socket.socketpair()
        with left, right:
            numbers.append(left.fileno())
            got = []
            ev = Event(base, left, READ | PERSIST, lambda fd, what: got.append(left.recv(10)))
            ev.add()
            base.loop(TURN)
            assert got == []
            right.send(b"%d" % i)
            base.loop(cyevent.EVLOOP_ONCE)
            assert got == [b"%d" % i]
            ev.delete()
    assert len(set(numbers)) < len(numbers)


def test_a_socket_closed_before_its_event_is_deleted(base, pair):
    left, right = pair
    got = []
    ev = Event(base, left, READ, lambda fd, what: got.append(what))
    ev.add()
    base.loop(TURN)
    left.close()
    Timer(base, base.loopbreak).add(0.2)
    base.dispatch()
    assert got in ([], [READ])
    ev.delete()
    assert base.num_events() == 0


def test_wanting_more_and_less_while_waiting(base, pair):
    """What is asked for changes under a request that waits, in every order."""
    left, right = pair
    got = []
    reader = Event(base, left, READ | PERSIST, lambda fd, what: got.append(("read", left.recv(1))))
    writer = Event(base, left, WRITE | PERSIST, lambda fd, what: got.append(("write", what)))
    reader.add()
    base.loop(TURN)
    writer.add()
    base.loop(cyevent.EVLOOP_ONCE)
    assert got == [("write", WRITE)]
    writer.delete()
    base.loop(TURN)
    assert got == [("write", WRITE)]
    right.send(b"ab")
    base.loop(cyevent.EVLOOP_ONCE)
    reader.delete()
    base.loop(TURN)
    assert got[1:] == [("read", b"a")]
    reader.add()
    writer.add()
    for _ in range(5):
        base.loop(cyevent.EVLOOP_ONCE)
    assert set(got[2:]) == {("read", b"b"), ("write", WRITE)}


def test_hundreds_of_sockets(base):
    """More than fd_set has room for, and than one handle of the driver's serves."""
    pairs = [socket.socketpair() for _ in range(300)]
    got = []
    try:
        for left, _ in pairs:
            Event(base, left, READ, lambda fd, what: got.append(fd)).add()
        for _, right in pairs:
            right.send(b"x")
        assert base.dispatch() == 1
        assert sorted(got) == sorted(left.fileno() for left, right in pairs)
    finally:
        for left, right in pairs:
            left.close()
            right.close()


def test_waiting_is_no_busy_loop(base, pair):
    turns = []
    watcher = PrepareWatcher(base, lambda *args: turns.append(1))
    left, right = pair
    for ev in (
        Event(base, left, READ | PERSIST, pytest.fail),
        Event(base, right, READ, pytest.fail),
    ):
        ev.add()
    Timer(base, base.loopbreak).add(0.3)
    base.dispatch()
    watcher.close()
    assert len(turns) < 10


def test_the_peers_end_without_reading(pair):
    """Windows tells of it at once, Wine when what came before was read."""
    left, right = pair
    with EventBase("afd") as base:
        got = []
        Event(base, left, CLOSED, lambda fd, what: got.append(what)).add(30)
        right.shutdown(socket.SHUT_WR)
        base.dispatch()
        assert got == [CLOSED]


def test_a_wake_up_needs_no_handle():
    def handles(**options):
        gc.collect()
        before = fds.opened()
        with EventBase("afd", **options):
            return fds.opened() - before

    handles()
    # A condition variable and a critical section have none either.
    assert handles() == handles(threadsafe=False)


@pytest.mark.parametrize("rounds", [200])
def test_no_handle_is_left_by_bases_and_events(method, rounds):
    def once():
        left, right = socket.socketpair()
        with left, right, EventBase(method) as base:
            left.setblocking(False)
            Event(base, left, READ | PERSIST, print).add()
            Event(base, left, WRITE, lambda fd, what: None).add()
            Signal(base, signal.SIGTERM, print).add()
            base.loop(TURN)

    for _ in range(20):
        once()
    before = fds.opened()
    for _ in range(rounds):
        once()
    assert fds.opened() <= before + 5


def test_a_timer_beside_a_socket_that_stays_quiet(base, pair):
    got = []
    Event(base, pair[0], READ, lambda fd, what: got.append(what)).add(0.05)
    base.dispatch()
    assert got == [TIMEOUT]
