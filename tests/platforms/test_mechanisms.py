"""What is particular to kqueue, event ports and /dev/poll, there or over their emulations.

On a machine that has neither (Linux without the test build) all of this is skipped; test_emulated.py runs it.
"""

import os
import signal
import socket
import threading

import pytest

import cyevent
from cyevent import (
    CLOSED,
    ET,
    PERSIST,
    READ,
    WRITE,
    Event,
    EventBase,
    PrepareWatcher,
    Signal,
    Timer,
)

TURN = cyevent.EVLOOP_NONBLOCK | cyevent.EVLOOP_ONCE
METHODS = EventBase.supported_methods()


def named(*names):
    found = [method for method in METHODS if method.removesuffix("-emulated") in names]
    return found or [
        pytest.param(None, marks=pytest.mark.skip(reason=f"no {', '.join(names)} here"))
    ]


kqueue = pytest.mark.parametrize("mechanism", named("kqueue"))
collecting = pytest.mark.parametrize("mechanism", named("kqueue", "evport", "devpoll"))
waking = pytest.mark.parametrize("mechanism", named("kqueue", "evport"))


# --- signals --------------------------------------------------------------------------------------


@kqueue
def test_signals_are_the_kernel_queues_own(mechanism):
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    with EventBase(mechanism) as base:
        assert base.signal_method == "kqueue_signal"
        opened = set(os.listdir("/proc/self/fd")) - before if before else set()
        ev = Signal(base, signal.SIGUSR1, print)
        ev.add()
        # No pipe.
        if before:
            assert set(os.listdir("/proc/self/fd")) - before == opened
        ev.delete()


@kqueue
def test_each_base_gets_a_signal_that_both_wait_for(mechanism):
    got = []
    with EventBase(mechanism) as one, EventBase(mechanism) as two:
        for name, base in (("one", one), ("two", two)):
            Signal(base, signal.SIGUSR1, lambda signum, name: got.append(name), name).add()
        os.kill(os.getpid(), signal.SIGUSR1)
        one.loop(cyevent.EVLOOP_NONBLOCK)
        two.loop(cyevent.EVLOOP_NONBLOCK)
    assert got == ["one", "two"]


@kqueue
@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_a_base_with_a_pipe_beside_one_with_a_queue(mechanism, order):
    """Whichever waits first, and whichever ends first, the other goes on receiving."""
    got = []
    bases = {"queue": EventBase(mechanism), "pipe": EventBase("poll")}
    names = list(bases) if order[0] == "first" else list(reversed(bases))
    previous = signal.signal(signal.SIGUSR1, lambda signum, frame: got.append("python"))
    try:
        for name in names:
            Signal(bases[name], signal.SIGUSR1, lambda signum, name: got.append(name), name).add()
        os.kill(os.getpid(), signal.SIGUSR1)
        for name in names:
            bases[name].loop(TURN)
        assert sorted(got) == ["pipe", "queue"]
        got.clear()
        bases[names[0]].close()
        os.kill(os.getpid(), signal.SIGUSR1)
        bases[names[1]].loop(TURN)
        assert got == [names[1]]
        bases[names[1]].close()
        assert signal.getsignal(signal.SIGUSR1) is not None
    finally:
        for base in bases.values():
            base.close()
        signal.signal(signal.SIGUSR1, previous)


@kqueue
def test_children_leave_their_status(mechanism):
    """Which they do not where SIGCHLD is ignored."""
    with EventBase(mechanism) as base:
        got = []
        ev = Signal(base, signal.SIGCHLD, lambda signum: (got.append(signum), ev.delete()))
        ev.add()
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        base.dispatch()
        assert got == [signal.SIGCHLD]
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


@kqueue
def test_a_program_executed_by_a_child_has_the_signal_as_it_was(mechanism, run_python):
    """What is ignored stays ignored across exec, what is caught does not."""
    with EventBase(mechanism) as base:
        ev = Signal(base, signal.SIGTERM, print)
        ev.add()
        done = run_python(
            "import signal; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"
        )
        ev.delete()
    assert done.stdout.split() == ["True"]


@kqueue
def test_signals_are_counted(mechanism):
    with EventBase(mechanism) as base:
        got = []
        ev = Signal(base, signal.SIGUSR1, got.append)
        ev.add()
        for _ in range(5):
            os.kill(os.getpid(), signal.SIGUSR1)
        base.loop(cyevent.EVLOOP_NONBLOCK)
        ev.delete()
    assert got == [signal.SIGUSR1] * 5


# --- wake-ups -------------------------------------------------------------------------------------


@waking
def test_a_wake_up_needs_no_descriptor(mechanism):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no list of descriptors here")

    def opened(**options):
        before = set(os.listdir("/proc/self/fd"))
        with EventBase(mechanism, **options):
            return len(set(os.listdir("/proc/self/fd")) - before)

    assert opened() == opened(threadsafe=False)


@waking
def test_many_wake_ups_from_a_thread(mechanism):
    with EventBase(mechanism) as base:
        seen = []
        done = threading.Event()

        def work():
            for _ in range(200):
                told = threading.Event()
                Timer(base, lambda told=told: (seen.append(1), told.set())).add(0)
                assert told.wait(30)
            base.loopbreak()
            done.set()

        Timer(base, pytest.fail).add(600)
        thread = threading.Thread(target=work)
        thread.start()
        base.dispatch()
        thread.join()
        assert done.is_set()
        assert len(seen) == 200


# --- descriptors ----------------------------------------------------------------------------------


@kqueue
@pytest.mark.parametrize("flags", [PERSIST, PERSIST | ET], ids=["level", "edge"])
def test_closed_alone_does_not_spin_on_unread_data(mechanism, pair, flags):
    left, right = pair
    with EventBase(mechanism) as base:
        got = []
        # To tell a wait from a busy loop.
        seen = []
        watcher = PrepareWatcher(base, lambda *args: seen.append(1))
        Event(base, left, CLOSED | flags, lambda fd, what: got.append(what & CLOSED)).add()
        right.send(b"never read")
        Timer(base, base.loopbreak).add(0.05)
        base.dispatch()
        assert got == []
        assert 0 < len(seen) < 10
        watcher.close()
        right.close()
        base.loop(cyevent.EVLOOP_ONCE)
        assert got == [CLOSED]


@kqueue
def test_closed_stays_true(mechanism, pair):
    left, right = pair
    with EventBase(mechanism) as base:
        got = []
        ev = Event(base, left, CLOSED | PERSIST, lambda fd, what: got.append(what))
        ev.add()
        right.send(b"never read")
        right.close()
        for _ in range(3):
            base.loop(cyevent.EVLOOP_ONCE)
        assert got == [CLOSED] * 3
        ev.delete()
        base.loop(TURN)
        assert got == [CLOSED] * 3


@kqueue
def test_reading_comes_and_goes_beside_closed(mechanism, pair):
    """The same filter of the kernel's, registered in another way."""
    left, right = pair
    with EventBase(mechanism) as base:
        got = []
        Event(base, left, CLOSED | PERSIST, lambda fd, what: got.append("closed")).add()
        reader = Event(base, left, READ | PERSIST, lambda fd, what: got.append("read"))
        right.send(b"x")
        base.loop(TURN)
        assert got == []
        reader.add()
        base.loop(TURN)
        base.loop(TURN)
        assert got == ["read", "read"]
        reader.delete()
        got.clear()
        base.loop(TURN)
        base.loop(TURN)
        assert got == []
        right.close()
        base.loop(TURN)
        assert got == ["closed"]


@kqueue
def test_a_pipe_whose_reader_is_gone_is_told(mechanism):
    """Adding it fails in the kernel, which its writer has to learn."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with EventBase(mechanism) as base:
            got = []
            Event(base, writer, WRITE, lambda fd, what: got.append(what)).add()
            base.loop(cyevent.EVLOOP_ONCE)
            assert got == [WRITE]
    finally:
        os.close(writer)


@collecting
def test_a_failed_change_costs_the_others_nothing(mechanism, pair):
    left, right = pair
    with EventBase(mechanism) as base:
        readers = []
        for _ in range(50):
            reader, writer = os.pipe()
            ev = Event(base, reader, READ | PERSIST, pytest.fail)
            ev.add()
            readers.append((ev, reader, writer))
        base.loop(TURN)
        got = []
        Event(base, left, READ, lambda fd, what: got.append(what)).add()
        right.send(b"x")
        for ev, reader, writer in readers:
            os.close(reader)
            os.close(writer)
            ev.delete()
        base.loop(TURN)
        assert got == [READ]


@collecting
def test_hundreds_of_changes_in_one_turn(mechanism):
    """More than fit into the arrays at first."""
    pairs = [socket.socketpair() for _ in range(300)]
    try:
        with EventBase(mechanism) as base:
            got = []
            for left, right in pairs:
                right.send(b"x")
                for what in (READ, WRITE):
                    Event(base, left, what, lambda fd, what: got.append((fd, what))).add()
            assert base.dispatch() == 1
            fds = [left.fileno() for left, _ in pairs]
            assert sorted(got) == sorted((fd, what) for fd in fds for what in (READ, WRITE))
    finally:
        for left, right in pairs:
            left.close()
            right.close()


@collecting
def test_regular_files_are_always_ready(mechanism, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with EventBase(mechanism) as base, path.open("r+b") as file:
        assert base.features & cyevent.EV_FEATURE_FDS
        got = []
        for _ in range(3):
            Event(base, file, READ, lambda fd, what: got.append(what)).add()
            base.loop(cyevent.EVLOOP_ONCE)
        assert got == [READ] * 3


@collecting
def test_a_child_has_a_kernel_object_of_its_own(mechanism, pair, in_child):
    left, right = pair
    with EventBase(mechanism) as base:
        got = []
        Event(base, left, READ | PERSIST, lambda fd, what: got.append(left.recv(10))).add()
        base.loop(TURN)

        def child():
            base.reinit()
            right.send(b"x")
            base.loop(cyevent.EVLOOP_ONCE)
            assert got == [b"x"], got
            base.close()

        in_child(child)
        right.send(b"y")
        base.loop(cyevent.EVLOOP_ONCE)
        assert got == [b"y"]
