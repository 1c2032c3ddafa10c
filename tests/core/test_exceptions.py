"""Exceptions in callbacks: reported and survived, except those that mean to stop the program."""

import signal
import sys
import traceback

import pytest

import cyevent
from cyevent import READ, TIMEOUT, Event, EventBase, Signal, Timer


class Oops(Exception):
    pass


def fail(*args):
    raise Oops("in the callback")


def test_the_loop_goes_on(base, pair):
    caught = []
    base.set_exception_handler(lambda exc, callback: caught.append((exc, callback)))
    ran = []
    left, right = pair
    Timer(base, fail).add(0)
    Timer(base, ran.append, "timer").add(0.002)
    right.send(b"x")
    Event(base, left, READ, fail).add()
    Event(base, left, READ, lambda fd, what: ran.append("read")).add()
    base.once(-1, TIMEOUT, fail)
    assert base.dispatch() == 1
    assert sorted(ran) == ["read", "timer"]
    assert [type(exc) for exc, _ in caught] == [Oops] * 3
    assert all(callback is fail for _, callback in caught)
    assert all(exc.__traceback__ is not None for exc, _ in caught)
    assert sys.exc_info() == (None, None, None)
    base.set_exception_handler(None)


def test_the_handler_can_be_read_and_changed(method):
    with EventBase(method) as base:
        assert base.exception_handler is None

        def handler(exc, callback):
            pass

        base.set_exception_handler(handler)
        assert base.exception_handler is handler
        base.exception_handler = None
        assert base.exception_handler is None
        base.exception_handler = handler
        assert base.exception_handler is handler
        for bad in (42, "text"):
            with pytest.raises(TypeError, match="handler"):
                base.exception_handler = bad
            with pytest.raises(TypeError, match="handler"):
                base.set_exception_handler(bad)


def test_the_handler_may_stop_the_loop(base):
    base.set_exception_handler(lambda exc, callback: base.loopbreak())
    Timer(base, fail).add(0)
    Timer(base, pytest.fail).add(600)
    base.dispatch()
    assert base.got_break
    base.set_exception_handler(None)


def test_signal_callbacks_too(base):
    caught = []
    base.set_exception_handler(lambda exc, callback: (caught.append(exc), ev.delete()))
    ev = Signal(base, signal.SIGUSR1, fail)
    ev.add()
    ev.activate(cyevent.SIGNAL)
    base.dispatch()
    assert [type(exc) for exc in caught] == [Oops]
    base.set_exception_handler(None)


def test_without_a_handler_the_report_goes_to_the_unraisable_hook(method, monkeypatch):
    seen = []
    monkeypatch.setattr(
        sys, "unraisablehook", lambda args: seen.append((args.exc_type, args.object))
    )
    with EventBase(method) as base:
        Timer(base, fail).add(0)
        base.dispatch()
    assert seen == [(Oops, fail)]


REPORT = """
import sys
import cyevent

def the_callback(divisor):
    return 1 / divisor

def bad_handler(exc, callback):
    raise LookupError("the handler failed")

base = cyevent.EventBase(sys.argv[1])
if sys.argv[2] == "handler":
    base.set_exception_handler(bad_handler)
cyevent.Timer(base, the_callback, 0).add(0)
cyevent.Timer(base, print, "the loop went on").add(0.001)
assert base.dispatch() == 1
"""


def test_the_default_report(method, run_python):
    done = run_python(REPORT, method, "default")
    assert done.stdout == "the loop went on\n"
    assert "the_callback" in done.stderr
    assert "Traceback (most recent call last)" in done.stderr
    assert "in the_callback" in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_a_handler_that_fails_is_reported_and_survived(method, run_python):
    done = run_python(REPORT, method, "handler")
    assert done.stdout == "the loop went on\n"
    assert "the handler failed" in done.stderr
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_stopping_exceptions_leave_the_loop(base, kind):
    ran = []
    error = kind("stop")

    def stop():
        raise error

    Timer(base, stop).activate(TIMEOUT)
    second = Timer(base, ran.append, "second")
    second.activate(TIMEOUT)
    for call in (base.dispatch, base.loop):
        with pytest.raises(kind) as caught:
            call()
        assert caught.value is error
        assert ran == []
        if call == base.dispatch:
            second.delete()
            Timer(base, stop).activate(TIMEOUT)
            second.activate(TIMEOUT)
    # What was left runs when the loop is run again.
    assert base.dispatch() == 1
    assert ran == ["second"]


def test_a_subclass_of_system_exit_stops_too(base):
    class Quit(SystemExit):
        pass

    def leave():
        raise Quit(3)

    Timer(base, leave).add(0)
    with pytest.raises(Quit) as caught:
        base.dispatch()
    assert caught.value.code == 3


def test_sys_exit_in_a_callback_ends_the_program(method, run_python):
    program = """
import sys, cyevent
base = cyevent.EventBase(sys.argv[1])
cyevent.Timer(base, sys.exit, 7).add(0)
cyevent.Timer(base, print, "not reached").add(60)
base.dispatch()
"""
    done = run_python(program, method, check=False)
    assert done.returncode == 7
    assert done.stdout == done.stderr == ""


def test_the_traceback_reaches_into_the_callback(base):
    caught = []
    base.set_exception_handler(lambda exc, callback: caught.append(exc))

    def outer():
        inner()

    def inner():
        raise Oops

    Timer(base, outer).add(0)
    base.dispatch()
    names = [frame.name for frame in traceback.extract_tb(caught[0].__traceback__)]
    assert names[-2:] == ["outer", "inner"]
    base.set_exception_handler(None)
