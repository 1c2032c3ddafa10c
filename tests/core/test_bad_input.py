"""Bad arguments: each raises the documented exception, names the argument, and leaves no trace."""

import datetime
import os
import signal
import subprocess
import sys

import pytest

from cyevent import PERSIST, READ, SIGNAL, TIMEOUT, WRITE, Event, EventBase, Signal, Timer

HUGE = 2**31 - 1


def nothing(*args):
    pass


def closed_descriptor():
    """A number that is no open file: far above those in use, so that nobody else can take it."""
    return 900


# --- descriptors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fd", [-1, -2, -(2**31)])
@pytest.mark.parametrize("what", [READ, WRITE | PERSIST])
def test_a_negative_descriptor(base, fd, what):
    with pytest.raises(ValueError, match=r"\bfd\b"):
        Event(base, fd, what, nothing)
    with pytest.raises(ValueError, match=r"\bfd\b"):
        base.once(fd, what & ~PERSIST, nothing)


@pytest.mark.parametrize("fd", [2**31, 2**63, 2**200, -(2**63)])
def test_a_descriptor_that_is_no_c_int(base, fd):
    with pytest.raises((ValueError, OverflowError), match=r"\bfd\b"):
        Event(base, fd, READ, nothing)


@pytest.mark.parametrize("fd", ["stdin", 1.0, None, b"1", object()])
def test_a_descriptor_of_the_wrong_type(base, fd):
    with pytest.raises(TypeError, match=r"\bfd\b"):
        Event(base, fd, READ, nothing)
    with pytest.raises(TypeError, match=r"\bfd\b"):
        base.active_by_fd(fd, READ)


def test_a_fileno_that_fails(base):
    class Bad:
        def fileno(self):
            raise OSError("no descriptor here")

    class Negative:
        def fileno(self):
            return -1

    class Text:
        def fileno(self):
            return "7"

    with pytest.raises(OSError, match="no descriptor here"):
        Event(base, Bad(), READ, nothing)
    with pytest.raises(ValueError, match=r"\bfd\b"):
        Event(base, Negative(), READ, nothing)
    with pytest.raises(TypeError):
        Event(base, Text(), READ, nothing)


def test_a_closed_socket(base, pair):
    pair[0].close()
    with pytest.raises(ValueError, match=r"\bfd\b"):
        Event(base, pair[0], READ, nothing)


def test_a_closed_descriptor(base):
    fd = closed_descriptor()
    ev = Event(base, fd, READ, nothing)
    with pytest.raises(OSError) as caught:
        ev.add()
    assert caught.value.errno
    assert not ev.pending()
    with pytest.raises(OSError):
        ev.add(timeout=1)
    assert not ev.pending()
    with pytest.raises(OSError):
        base.once(fd, READ, nothing)
    assert base.num_events() == 0
    assert base.dispatch() == 1


@pytest.mark.parametrize("fd", [HUGE, HUGE // 2])
def test_a_descriptor_beyond_all_limits(base, fd):
    ev = Event(base, fd, READ, nothing)
    with pytest.raises((OSError, MemoryError)):
        ev.add()
    assert not ev.pending()
    assert base.num_events() == 0


def test_a_regular_file(base, method, tmp_path):
    """epoll and Windows refuse what is always ready; the others report it as ready."""
    with open(tmp_path / "file", "wb") as file:
        seen = []
        ev = Event(base, file, WRITE, lambda fd, what: seen.append(what))
        if method == "epoll" or sys.platform == "win32":
            with pytest.raises(PermissionError if method == "epoll" else OSError):
                ev.add()
            assert base.num_events() == 0
        else:
            ev.add()
            base.dispatch()
            assert seen == [WRITE]


# --- callbacks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("callback", [None, 42, "print", b"", object()])
def test_a_callback_that_is_not_callable(base, pair, callback):
    for make in (
        lambda: Event(base, pair[0], READ, callback),
        lambda: Timer(base, callback),
        lambda: Signal(base, signal.SIGUSR1, callback),
        lambda: base.once(-1, TIMEOUT, callback),
    ):
        with pytest.raises(TypeError, match=r"\bcallback\b"):
            make()
    assert base.num_events() == 0


# --- times ---------------------------------------------------------------------------------------

BAD_TIMES = [-1, -1e-9, -0.5, float("nan"), float("-inf"), datetime.timedelta(seconds=-1)]


@pytest.mark.parametrize("seconds", BAD_TIMES, ids=repr)
def test_a_negative_time(base, pair, seconds):
    ev = Event(base, pair[0], READ, nothing)
    timer = Timer(base, nothing)
    sig = Signal(base, signal.SIGUSR1, nothing)
    for use in (
        lambda: ev.add(seconds),
        lambda: ev.add(timeout=seconds),
        lambda: sig.add(seconds),
        lambda: base.once(-1, TIMEOUT, nothing, timeout=seconds),
        lambda: base.once(pair[0], READ, nothing, timeout=seconds),
    ):
        with pytest.raises(ValueError, match=r"\btimeout\b"):
            use()
    with pytest.raises(ValueError, match=r"\bseconds\b"):
        timer.add(seconds)
    with pytest.raises(ValueError, match=r"\bafter\b"):
        base.loopexit(seconds)
    with pytest.raises(ValueError, match=r"\bseconds\b"):
        base.common_timeout(seconds)
    with pytest.raises(ValueError, match=r"\bmax_dispatch_interval\b"):
        EventBase(max_dispatch_interval=seconds)
    assert base.num_events() == 0
    assert not ev.pending()
    assert not timer.pending()


@pytest.mark.parametrize("seconds", ["1", b"1", [], object(), 1j])
def test_a_time_of_the_wrong_type(base, pair, seconds):
    with pytest.raises(TypeError, match=r"\btimeout\b"):
        Event(base, pair[0], READ, nothing).add(seconds)
    with pytest.raises(TypeError, match=r"\bseconds\b"):
        Timer(base, nothing).add(seconds)
    with pytest.raises(TypeError, match=r"\bafter\b"):
        base.loopexit(seconds)


def test_a_timer_needs_a_time(base):
    with pytest.raises(TypeError):
        Timer(base, nothing).add()


# --- signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [-1, 0, 65, 1000, HUGE, -(2**31)])
def test_a_signal_number_out_of_range(base, signum):
    with pytest.raises(ValueError, match=r"\bsignum\b"):
        Signal(base, signum, nothing)
    with pytest.raises(ValueError, match=r"\bfd\b|\bsignum\b"):
        Event(base, signum, SIGNAL, nothing)
    with pytest.raises(ValueError, match=r"\bsignum\b"):
        base.active_by_signal(signum)


@pytest.mark.parametrize("signum", ["SIGINT", None, 1.5])
def test_a_signal_number_of_the_wrong_type(base, signum):
    with pytest.raises(TypeError, match=r"\bsignum\b"):
        Signal(base, signum, nothing)


@pytest.mark.parametrize("signum", [getattr(signal, "SIGKILL", 9), getattr(signal, "SIGSTOP", 19)])
def test_a_signal_that_cannot_be_caught(base, signum):
    with pytest.raises((OSError, ValueError)):
        Signal(base, signum, nothing).add()
    assert base.num_events() == 0


# --- events --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [SIGNAL | READ, SIGNAL | WRITE, 0x4000, -1, 2**40])
def test_contradictory_or_unknown_events(base, pair, what):
    with pytest.raises((ValueError, OverflowError), match=r"\bevents\b|\bwhat\b"):
        Event(base, pair[0], what, nothing)


@pytest.mark.parametrize("what", ["READ", None, 1.0])
def test_events_of_the_wrong_type(base, pair, what):
    with pytest.raises(TypeError):
        Event(base, pair[0], what, nothing)


@pytest.mark.parametrize("priority", [-1, 1, 256, 2**40])
def test_a_priority_that_the_base_does_not_have(base, pair, priority):
    for make in (
        lambda: Event(base, pair[0], READ, nothing, priority=priority),
        lambda: Timer(base, nothing, priority=priority),
        lambda: Signal(base, signal.SIGUSR1, nothing, priority=priority),
        lambda: setattr(Timer(base, nothing), "priority", priority),
    ):
        with pytest.raises((ValueError, OverflowError), match=r"\bpriority\b"):
            make()


# --- bases ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, 42, "base", object()])
def test_a_base_that_is_none(pair, kind):
    for make in (
        lambda: Event(kind, pair[0], READ, nothing),
        lambda: Timer(kind, nothing),
        lambda: Signal(kind, signal.SIGUSR1, nothing),
    ):
        with pytest.raises(TypeError, match=r"\bbase\b"):
            make()


def test_adding_an_event_whose_base_is_closed(method, pair):
    base = EventBase(method)
    events = [
        Event(base, pair[0], READ, nothing),
        Timer(base, nothing),
        Signal(base, signal.SIGUSR1, nothing),
    ]
    base.close()
    for ev in events:
        with pytest.raises(ValueError, match=r"\bbase\b"):
            ev.add(1)
        with pytest.raises(ValueError, match=r"\bbase\b"):
            ev.activate(READ)
    with pytest.raises(ValueError, match="closed"):
        Timer(base, nothing)


@pytest.mark.parametrize("name", ["nonesuch", "", "EPOLL", "epoll ", "kqueue\0"])
def test_a_method_that_does_not_exist(name):
    with pytest.raises(ValueError, match=r"\bmethod\b"):
        EventBase(name)


@pytest.mark.parametrize(
    ("keyword", "value", "error"),
    [
        ("method", 42, TypeError),
        ("method", b"epoll", TypeError),
        ("avoid", 42, TypeError),
        ("avoid", [42], TypeError),
        ("require", "ET", TypeError),
        ("require", -1, (ValueError, OverflowError)),
        ("priorities", 0, ValueError),
        ("priorities", -1, ValueError),
        ("priorities", 257, ValueError),
        ("priorities", "many", TypeError),
        ("max_dispatch_interval", "long", TypeError),
        ("max_dispatch_callbacks", -1, ValueError),
        ("max_dispatch_callbacks", "many", TypeError),
        ("min_priority", -1, ValueError),
    ],
)
def test_a_bad_keyword(keyword, value, error):
    with pytest.raises(error, match=keyword):
        EventBase(**{keyword: value})


def test_avoid_is_a_collection_of_names_not_one_name():
    with pytest.raises(TypeError, match="avoid"):
        EventBase(avoid="epoll")


def test_an_unknown_keyword():
    with pytest.raises(TypeError, match="nonesuch"):
        EventBase(nonesuch=True)


@pytest.mark.parametrize("flags", ["ONCE", None, 1.5])
def test_loop_flags_of_the_wrong_type(base, flags):
    with pytest.raises(TypeError):
        base.loop(flags)


def test_objects_made_without_init_are_harmless(base):
    """object.__new__ skips __init__; what it gives must raise, not crash."""
    for kind in (EventBase, Event, Timer, Signal):
        thing = kind.__new__(kind)
        for name in dir(thing):
            if name.startswith("__"):
                continue
            try:
                value = getattr(thing, name)
                if callable(value):
                    value()
            except (AttributeError, TypeError, ValueError, RuntimeError):
                pass
        repr(thing)
        del thing


def test_init_called_twice_is_harmless(base, pair):
    ev = Event(base, pair[0], READ, nothing)
    ev.add()
    try:
        ev.__init__(base, pair[1], READ, nothing)
    except (TypeError, ValueError, RuntimeError):
        pass
    ev.delete()
    assert base.num_events() == 0
    try:
        base.__init__("poll")
    except (TypeError, ValueError, RuntimeError):
        pass
    assert base.dispatch() == 1


def test_dump_needs_a_file(base):
    with pytest.raises((TypeError, AttributeError)):
        base.dump_events(42)


# --- all of it again, with every warning an error ------------------------------------------------


@pytest.mark.skipif(bool(sys.flags.dev_mode), reason="this is the run in development mode")
def test_in_development_mode(package_env):
    done = subprocess.run(
        [
            sys.executable,
            *("-X", "dev", "-W", "error", "-m", "pytest", "-q", "-x", "-W", "error"),
            *("-p", "no:cacheprovider", __file__),
        ],
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
        env=package_env,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
