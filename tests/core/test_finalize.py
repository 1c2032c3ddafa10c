"""Finalizers: called in the loop's thread once nothing can be running the event any more."""

import gc
import threading
import weakref

import pytest

import cyevent
from cyevent import FINALIZE, READ, TIMEOUT, Event, EventBase, Timer


def make(base, log, name="ran"):
    return Timer(base, log.append, name)


def test_finalizing_an_idle_event(base):
    log = []
    timer = make(base, log)
    timer.finalize(lambda ev: log.append(ev))
    assert base.dispatch() == 1
    assert log == [timer]


def test_finalizing_without_a_callback(base):
    log = []
    timer = make(base, log)
    timer.add(10)
    timer.finalize()
    assert base.dispatch() == 1
    assert log == []


def test_finalizing_an_active_event_drops_its_activation(base):
    log = []
    timer = make(base, log)
    timer.activate(TIMEOUT)
    timer.finalize(lambda ev: log.append("finalized"))
    base.dispatch()
    assert log == ["finalized"]


def test_finalizing_an_added_event_deletes_it(base, pair):
    log = []
    timer = make(base, log)
    timer.add(10)
    timer.finalize(lambda ev: log.append("timer"))
    pair[1].send(b"x")
    reader = Event(base, pair[0], READ, lambda fd, what: log.append("read"))
    reader.add()
    reader.finalize(lambda ev: log.append("reader"))
    assert base.dispatch() == 1
    assert sorted(log) == ["reader", "timer"]


def test_a_finalized_event_takes_no_more_orders(base):
    log = []
    timer = make(base, log)
    timer.finalize(lambda ev: log.append("finalized"))
    with pytest.raises((OSError, ValueError)):
        timer.add(10)
    timer.delete()
    timer.activate(TIMEOUT)
    base.dispatch()
    assert log == ["finalized"]


@pytest.mark.parametrize("persist", [False, True], ids=["once", "persist"])
def test_finalizing_within_a_callback(base, persist):
    log = []

    def on_timer(name):
        log.append(name)
        for timer in timers:
            timer.finalize(lambda ev: log.append("finalized"))

    timers = [Timer(base, on_timer, name, persist=persist) for name in ("one", "two")]
    for timer in timers:
        timer.activate(TIMEOUT)
    base.dispatch()
    assert log == ["one", "finalized", "finalized"]


def test_the_event_is_collected_after_its_finalizer(base):
    log = []
    timer = make(base, log)
    ref = weakref.ref(timer)
    timer.finalize(lambda ev: log.append("finalized"))
    del timer
    base.dispatch()
    assert log == ["finalized"]
    gc.collect()
    assert ref() is None


def test_a_base_closed_before_the_finalizer_runs_it(method):
    log = []
    base = EventBase(method)
    timer = make(base, log)
    timer.add(10)
    timer.finalize(lambda ev: log.append("finalized"))
    base.close()
    assert log == ["finalized"]


def test_finalizing_from_another_thread_waits_for_the_callback(base):
    log = []
    inside = threading.Event()
    proceed = threading.Event()

    def callback(fd, what):
        inside.set()
        proceed.wait(30)
        log.append("callback")

    ev = Event(base, -1, FINALIZE, callback)
    ev.activate(TIMEOUT)
    loop = threading.Thread(target=base.dispatch)
    loop.start()
    assert inside.wait(30)
    # The flag promises that this does not wait.
    ev.delete()
    ev.finalize(lambda ev: log.append("finalized"))
    assert log == []
    proceed.set()
    loop.join(30)
    assert log == ["callback", "finalized"]


def test_an_exception_in_a_finalizer_is_reported(base):
    caught = []
    base.set_exception_handler(lambda exc, callback: caught.append(type(exc)))
    timer = make(base, [])
    timer.finalize(lambda ev: 1 / 0)
    base.dispatch()
    assert caught == [ZeroDivisionError]
    base.set_exception_handler(None)


def test_finalizer_must_be_callable(base):
    timer = make(base, [])
    with pytest.raises(TypeError, match=r"\bcallback\b|\bcb\b"):
        timer.finalize(42)
    assert cyevent.FINALIZE == cyevent.EV_FINALIZE
