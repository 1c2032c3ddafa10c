"""Forked children: a base that is made anew in the child, and the parent's that stays as it was."""

import contextlib
import os
import signal
import socket
import threading
import time

import pytest

import cyevent
from cyevent import PERSIST, READ, Event, EventBase, PrepareWatcher, Signal, Timer


def test_child_reinitializes_and_parent_goes_on(base, pair, in_child):
    left, right = pair
    got = []
    until_end = [True]

    def on_read(fd, what):
        data = os.read(fd, 256)
        got.append(data)
        if data and until_end[0]:
            reader.add()

    def on_signal(signum, holder):
        got.append(signum)
        holder[0].delete()

    def catch(signum):
        holder = []
        holder.append(Signal(base, signum, on_signal, holder))
        holder[0].add()
        return holder[0]

    reader = Event(base, right, READ, on_read)
    reader.add()
    left.sendall(b"for the child")
    catch(signal.SIGUSR2)
    dropped = catch(signal.SIGCHLD)

    def child():
        until_end[0] = False
        base.reinit()
        dropped.delete()
        catch(signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert base.dispatch() == 1
        assert len(got) == 3, got
        assert set(got) == {b"for the child", signal.SIGUSR1, signal.SIGUSR2}, got
        base.close()

    in_child(child)
    # The child took what was sent, and its signals were its own.
    left.sendall(b"for the parent")
    left.shutdown(socket.SHUT_WR)
    os.kill(os.getpid(), signal.SIGUSR2)
    base.dispatch()
    assert set(got) == {b"for the parent", b"", signal.SIGUSR2, signal.SIGCHLD}


def test_child_does_not_disturb_the_parents_kernel_object(base, pair, in_child):
    """An epoll set is shared with the child: deleting there must not delete here."""
    left, right = pair
    seen = []
    ev = Event(base, left, READ | PERSIST, lambda fd, what: seen.append(what))
    ev.add()

    def child():
        base.reinit()
        ev.delete()
        assert base.dispatch() == 1

    in_child(child)
    right.send(b"x")
    base.loop(cyevent.EVLOOP_ONCE)
    assert seen == [READ]


def test_child_keeps_timers_and_edges(base, pair, in_child):
    left, right = pair
    seen = []
    Timer(base, seen.append, "timer").add(0.005)
    Event(base, left, READ | cyevent.ET | PERSIST, lambda fd, what: seen.append(what & READ)).add()
    right.send(b"x")

    def child():
        base.reinit()
        base.loopexit(0.02)
        base.dispatch()
        assert "timer" in seen, seen
        assert READ in seen, seen
        if base.features & cyevent.EV_FEATURE_ET:
            assert seen.count(READ) == 1, seen

    in_child(child)


def test_wake_ups_are_not_shared_with_the_child(base, in_child):
    """The child's own threads wake its loop, not the parent's."""
    Timer(base, pytest.fail).add(600)
    base.loop(cyevent.EVLOOP_NONBLOCK)

    def child():
        base.reinit()
        ready = threading.Event()
        Timer(base, ready.set).add(0)

        def stop():
            assert ready.wait(30)
            base.loopbreak()

        thread = threading.Thread(target=stop)
        thread.start()
        base.dispatch()
        thread.join()
        assert base.got_break

    in_child(child)


@pytest.mark.parametrize("signalfd", [False, True], ids=["pipe", "signalfd"])
def test_reinit_in_the_same_process(method, pair, signalfd):
    with EventBase(method, signalfd=signalfd) as base:
        left, right = pair
        seen = []
        Event(base, left, READ, lambda fd, what: seen.append("read")).add()
        ev = Signal(base, signal.SIGUSR1, lambda signum: (seen.append("signal"), ev.delete()))
        ev.add()
        base.reinit()
        base.reinit()
        right.send(b"x")
        os.kill(os.getpid(), signal.SIGUSR1)
        base.dispatch()
        assert sorted(seen) == ["read", "signal"]


def test_a_child_may_just_close_its_copy(base, pair, in_child):
    Event(base, pair[0], READ, print).add()

    def child():
        base.reinit()
        base.close()

    in_child(child)
    pair[1].send(b"x")
    seen = []
    Event(base, pair[0], READ, lambda fd, what: seen.append(what)).add()
    base.loop(cyevent.EVLOOP_ONCE)
    assert seen == [READ]


# --- children that close their copy without reinit() ----------------------------------------------


def turn(base):
    """Waits for something, but not for ever."""
    base.loopexit(20)
    base.loop(cyevent.EVLOOP_ONCE)


def another_thread_wakes(base):
    """Whether one ends a wait of this base's."""
    told = []
    about_to_wait, called = threading.Event(), threading.Event()
    watcher = PrepareWatcher(base, lambda timeout: about_to_wait.set())

    def wake():
        told.append(about_to_wait.wait(30))
        # Most likely it sleeps by then.
        time.sleep(0.02)
        base.call_soon(called.set)
        told.append(called.wait(20))
        base.loopbreak()

    thread = threading.Thread(target=wake)
    thread.start()
    # Without a wake-up it ends all the same.
    base.loopexit(40)
    base.dispatch()
    thread.join()
    watcher.close()
    return told == [True, True]


@pytest.mark.parametrize("threadsafe", [True, False])
@pytest.mark.parametrize("changelist", [False, True])
def test_closing_in_a_child_takes_nothing_from_the_parent(
    method, pair, in_child, threadsafe, changelist
):
    left, right = pair
    with EventBase(method, threadsafe=threadsafe, epoll_changelist=changelist) as base:
        seen = []
        Event(base, left, READ | PERSIST, lambda fd, what: seen.append(left.recv(10))).add()
        base.loop(cyevent.EVLOOP_NONBLOCK)
        in_child(base.close)
        right.send(b"x")
        turn(base)
        assert seen == [b"x"]
        assert not threadsafe or another_thread_wakes(base)


@pytest.mark.parametrize("signalfd", [False, True], ids=["pipe", "signalfd"])
def test_closing_in_a_child_leaves_the_parent_its_signals(method, in_child, signalfd):
    with EventBase(method, signalfd=signalfd) as base:
        seen = []
        for signum in (signal.SIGUSR1, signal.SIGUSR2):
            Signal(base, signum, seen.append).add()
        in_child(base.close)
        for signum in (signal.SIGUSR1, signal.SIGUSR2):
            os.kill(os.getpid(), signum)
        turn(base)
        base.loop(cyevent.EVLOOP_NONBLOCK)
        assert sorted(seen) == [signal.SIGUSR1, signal.SIGUSR2]


def test_a_child_closes_and_makes_one_of_its_own(base, pair, in_child):
    left, right = pair
    seen = []
    Event(base, left, READ | PERSIST, lambda fd, what: seen.append(left.recv(10))).add()

    def child():
        base.close()
        with EventBase(base_method) as own:
            Event(own, left, READ, lambda fd, what: seen.append(left.recv(10))).add()
            right.send(b"child")
            own.dispatch()
            assert another_thread_wakes(own)
        assert seen == [b"child"]

    base_method = base.method
    in_child(child)
    right.send(b"x")
    turn(base)
    assert seen == [b"x"]
    assert another_thread_wakes(base)


def test_a_finalizer_in_a_child_that_closes(base, pair, in_child):
    """What it adds and deletes then is nobody's."""
    left, right = pair
    seen = []
    ev = Event(base, left, READ | PERSIST, lambda fd, what: seen.append(left.recv(10)))
    ev.add()

    def child():
        called = []

        def finalized(event):
            called.append(event)
            other = Event(base, right, READ, print)
            with contextlib.suppress(OSError, ValueError):
                other.add()

        Event(base, right, READ, print).finalize(finalized)
        base.close()
        assert len(called) == 1

    in_child(child)
    right.send(b"x")
    turn(base)
    assert seen == [b"x"]


def test_a_child_that_exits_takes_nothing_from_the_parent(method, run_python):
    """Its interpreter frees all that the parent's program made."""
    program = """if True:
        import os, socket, sys
        from cyevent import *

        base = EventBase(sys.argv[1])
        pairs = [socket.socketpair() for _ in range(2)]
        got = set()
        ev = Event(base, pairs[0][1], READ | PERSIST, lambda fd, what: told(pairs[0][1].recv(10)))
        ev.add()
        bev = SocketBufferEvent(base, pairs[1][1], read=lambda bev: told(bev.read()))
        bev.enable(READ)
        listener = Listener(base, ("127.0.0.1", 0), lambda *connection: told("accepted"))

        def told(what):
            got.add(what)
            if len(got) == 3:
                base.loopbreak()

        base.loop(EVLOOP_NONBLOCK)
        pid = os.fork()
        if pid == 0:
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        pairs[0][0].send(b"event")
        pairs[1][0].send(b"bufferevent")
        with socket.create_connection(listener.address):
            base.loopexit(20)
            base.dispatch()
        assert base.got_break, got
    """
    run_python(program, method)
