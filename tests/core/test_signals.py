"""Signals: through the self-pipe and signalfd, several events, restoring what was there before."""

import contextlib
import os
import signal
import sys
import threading
import time

import pytest

import cyevent
from cyevent import Event, EventBase, Signal, Timer

if sys.platform == "win32":
    pytest.skip(
        "these are POSIX's signals; test_windows.py has the others", allow_module_level=True
    )


@pytest.fixture(params=[False, True], ids=["pipe", "signalfd"])
def base(request, method):
    """In place of the shared fixture: both ways in which signals reach the loop."""
    with EventBase(method, signalfd=request.param) as base:
        yield base


@pytest.fixture(autouse=True)
def handlers():
    """Leaves the process's handlers and signal mask as they were."""
    signums = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGCONT, signal.SIGHUP)
    before = {signum: signal.getsignal(signum) for signum in signums}
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for signum, handler in before.items():
        signal.signal(signum, handler)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(signums)


def send(signum=signal.SIGUSR1):
    # To this very thread: another, left by a test that failed, may not have blocked what a signalfd reads.
    signal.pthread_kill(threading.main_thread().ident, signum)


@contextlib.contextmanager
def sent_soon(signum):
    """A thread sends it. Where the loop could not wait for it, it does not reach what comes after the test."""
    thread = threading.Timer(0.02, send, (signum,))
    thread.start()
    try:
        yield
    finally:
        handler = signal.signal(signum, signal.SIG_IGN)
        thread.join()
        signal.signal(signum, handler)


def wait_for(condition):
    """Python runs its handlers between two instructions of the main thread; gives it a second."""
    for _ in range(1000):
        if condition():
            break
        time.sleep(0.001)


def disposition(signum):
    """What the kernel holds, which Python's own table may not know: ignored, caught, blocked."""
    with open("/proc/self/status") as status:
        masks = dict(line.rstrip().split(":\t") for line in status if line.startswith("Sig"))
    bit = 1 << (signum - 1)
    return {name: bool(int(masks[name], 16) & bit) for name in ("SigBlk", "SigIgn", "SigCgt")}


@pytest.mark.parametrize("reorder", [False, True], ids=["simple", "re_order"])
def test_an_alarm(base, reorder):
    got = []
    ev = Signal(base, signal.SIGALRM, lambda signum: (got.append(signum), ev.delete()))
    ev.add()
    if reorder:
        ev.delete()
        ev.add()
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    base.dispatch()
    assert got == [signal.SIGALRM]


def test_two_events_for_one_signal(base):
    got = []

    def on_signal(signum, i):
        got.append((signum, i))
        events[i].delete()

    events = [Signal(base, signal.SIGALRM, on_signal, i) for i in range(2)]
    for ev in events:
        ev.add()
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    base.dispatch()
    assert sorted(got) == [(signal.SIGALRM, 0), (signal.SIGALRM, 1)]


def test_a_signal_that_is_there_already(base):
    got = []
    ev = Signal(base, signal.SIGUSR1, got.append)
    ev.add()
    send()
    base.loop(cyevent.EVLOOP_NONBLOCK)
    ev.delete()
    assert got == [signal.SIGUSR1]


def test_a_signal_that_no_loop_has_looked_at_goes_with_its_event(base):
    """It does not do what the signal does by default, which here would end the process."""
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    got = []
    ev = Signal(base, signal.SIGUSR1, got.append)
    ev.add()
    send()
    send()
    ev.delete()
    base.loop(cyevent.EVLOOP_NONBLOCK)
    assert got == []


def test_different_signals_are_told_apart(base):
    got = []
    for signum in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        Signal(base, signum, lambda signum, name: got.append((signum, name)), str(signum)).add()
    send(signal.SIGUSR2)
    base.loop(cyevent.EVLOOP_ONCE)
    send(signal.SIGHUP)
    send(signal.SIGUSR1)
    base.loop(cyevent.EVLOOP_NONBLOCK)
    assert got[0] == (signal.SIGUSR2, str(signal.SIGUSR2))
    assert sorted(got[1:]) == sorted(
        (signum, str(signum)) for signum in (signal.SIGUSR1, signal.SIGHUP)
    )


def test_a_signal_without_persist_is_told_once(base):
    got = []
    ev = Signal(base, signal.SIGUSR1, got.append, persist=False)
    ev.add()
    send()
    assert base.dispatch() == 1
    assert got == [signal.SIGUSR1]
    assert not ev.pending()


def test_an_event_with_the_signal_flag(base):
    got = []
    ev = Event(base, signal.SIGUSR1, cyevent.SIGNAL, lambda *args: got.append(args))
    ev.add()
    send()
    base.dispatch()
    assert got == [(signal.SIGUSR1, cyevent.SIGNAL)]


def test_signal_wakes_a_waiting_loop(base):
    Signal(base, signal.SIGUSR1, lambda signum: base.loopbreak()).add()
    with sent_soon(signal.SIGUSR1):
        base.dispatch()
        assert base.got_break


def test_signals_while_a_signal_is_processed(base):
    got = []

    def on_signal(signum):
        got.append(signum)
        if len(got) < 5:
            send()
        else:
            base.loopexit()

    Signal(base, signal.SIGUSR1, on_signal).add()
    Timer(base, send).add(0)
    guard = Timer(base, base.loopbreak)
    guard.add(30)
    base.dispatch()
    assert len(got) == 5
    assert base.got_exit


def test_signal_event_freed_in_its_callback(base):
    got = []

    def on_signal(signum):
        got.append(signum)
        ev.close()

    ev = Signal(base, signal.SIGUSR1, on_signal)
    ev.add()
    send()
    send()
    base.loop()
    assert got == [signal.SIGUSR1]


def test_activated_by_hand(base):
    got = []
    ev = Signal(base, signal.SIGHUP, got.append)
    ev.add()
    base.active_by_signal(signal.SIGHUP)
    base.active_by_signal(signal.SIGUSR1)
    base.loop(cyevent.EVLOOP_ONCE)
    ev.delete()
    assert got == [signal.SIGHUP]


def test_pending_signal(base):
    ev = Signal(base, signal.SIGUSR1, print)
    assert not ev.pending()
    ev.add()
    assert ev.pending() == cyevent.SIGNAL
    ev.delete()
    assert not ev.pending()


# --- what was there before -----------------------------------------------------------------------


def test_closing_the_base_after_delete(method):
    base = EventBase(method)
    ev = Signal(base, signal.SIGUSR1, print)
    ev.add()
    ev.delete()
    base.close()


def test_closing_the_base_with_the_signal_added(base):
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    Signal(base, signal.SIGUSR1, print).add()
    base.close()
    assert disposition(signal.SIGUSR1) == {"SigBlk": False, "SigIgn": True, "SigCgt": False}
    send()


def test_a_python_handler_is_put_back(base):
    got = []
    signal.signal(signal.SIGUSR1, lambda signum, frame: got.append(signum))
    ev = Signal(base, signal.SIGUSR1, pytest.fail)
    ev.add()
    ev.delete()
    send()
    wait_for(lambda: got)
    assert got == [signal.SIGUSR1]


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL], ids=["ignored", "default"])
def test_the_kernels_disposition_is_put_back(base, handler):
    signal.signal(signal.SIGUSR1, handler)
    before = disposition(signal.SIGUSR1)
    ev = Signal(base, signal.SIGUSR1, print)
    other = Signal(base, signal.SIGUSR1, print)
    ev.add()
    assert disposition(signal.SIGUSR1) != before
    other.add()
    ev.delete()
    assert disposition(signal.SIGUSR1) != before
    other.delete()
    assert disposition(signal.SIGUSR1) == before


def test_a_deleted_signal_event_is_really_gone(base):
    # SIGCONT does nothing where nobody catches it.
    ev = Signal(base, signal.SIGCONT, pytest.fail)
    ev.add()
    ev.delete()
    send(signal.SIGCONT)
    base.loop(cyevent.EVLOOP_NONBLOCK)


def test_no_descriptor_is_left_by_two_bases(method):
    before = set(os.listdir("/proc/self/fd"))
    one = EventBase(method)
    two = EventBase(method)
    for base in (one, two):
        Signal(base, signal.SIGUSR1, print).add()
        base.loop(cyevent.EVLOOP_NONBLOCK)
    two.close()
    one.close()
    assert set(os.listdir("/proc/self/fd")) == before


def test_signals_go_to_the_base_that_runs_its_loop(method):
    """One self-pipe is written at a time: that of the base whose loop ran last."""
    got = []
    with EventBase(method) as one, EventBase(method) as two:
        for name, base in (("one", one), ("two", two)):
            Signal(base, signal.SIGUSR1, lambda signum, name: got.append(name), name).add()
        for base, name in ((one, "one"), (two, "two"), (one, "one")):
            base.loop(cyevent.EVLOOP_NONBLOCK)
            send()
            base.loop(cyevent.EVLOOP_NONBLOCK)
            assert name in got
            got.clear()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first_first", "last_first"])
def test_two_bases_closed_in_any_order(method, order):
    """The one that is left goes on receiving, and after both the old handler is back."""
    got = []
    signal.signal(signal.SIGUSR1, lambda signum, frame: got.append("python"))
    bases = [EventBase(method) for _ in order]
    for i, base in enumerate(bases):
        Signal(base, signal.SIGUSR1, lambda signum, i: got.append(i), i).add()
    bases[order[0]].close()
    left = bases[order[1]]
    left.loop(cyevent.EVLOOP_NONBLOCK)
    send()
    left.loop(cyevent.EVLOOP_NONBLOCK)
    assert got == [order[1]]
    left.close()
    send()
    wait_for(lambda: len(got) == 2)
    assert got == [order[1], "python"]


# --- Python's side -------------------------------------------------------------------------------


def test_a_python_handler_runs_while_the_loop_waits(base):
    """A signal that no event is for interrupts the wait, and Python's handler runs at once."""
    got = []

    def handler(signum, frame):
        got.append(signum)
        base.loopbreak()

    signal.signal(signal.SIGUSR2, handler)
    Timer(base, pytest.fail).add(60)
    with sent_soon(signal.SIGUSR2):
        base.dispatch()
        assert got == [signal.SIGUSR2]


def test_a_python_handlers_exception_leaves_dispatch(base):
    def handler(signum, frame):
        raise LookupError("from the handler")

    signal.signal(signal.SIGUSR2, handler)
    Timer(base, pytest.fail).add(60)
    with sent_soon(signal.SIGUSR2):
        with pytest.raises(LookupError, match="from the handler"):
            base.dispatch()
        # The loop can be run again.
        assert base.loop(cyevent.EVLOOP_NONBLOCK) == 0


def test_ctrl_c_interrupts_a_waiting_loop(base):
    Timer(base, pytest.fail).add(60)
    with sent_soon(signal.SIGINT):
        with pytest.raises(KeyboardInterrupt):
            base.dispatch()


def test_ctrl_c_interrupts_a_loop_without_events(base):
    with sent_soon(signal.SIGINT):
        with pytest.raises(KeyboardInterrupt):
            base.loop(cyevent.EVLOOP_NO_EXIT_ON_EMPTY)


def test_ctrl_c_interrupts_a_busy_loop(base):
    """Also when the loop never waits, since a callback is always due."""
    Timer(base, lambda: None, persist=True).add(0)
    with sent_soon(signal.SIGINT):
        with pytest.raises(KeyboardInterrupt):
            base.dispatch()


def test_a_signal_event_takes_ctrl_c_over(base):
    got = []
    ev = Signal(base, signal.SIGINT, lambda signum: (got.append(signum), base.loopbreak()))
    ev.add()
    with sent_soon(signal.SIGINT):
        base.dispatch()
        ev.delete()
        assert got == [signal.SIGINT]
