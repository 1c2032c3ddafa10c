"""Prepare and check watchers."""

import gc
import weakref

import pytest

import cyevent


def test_callback_ordering(base):
    """Prepare before check, each kind in the order in which they were made; a closed one is not called."""
    log = []
    cyevent.PrepareWatcher(base, lambda timeout: log.append("P"))
    cyevent.CheckWatcher(base, lambda: log.append("C"))
    prepare = cyevent.PrepareWatcher(base, lambda timeout, name: log.append(name), "Q")
    check = cyevent.CheckWatcher(base, log.append, "D")
    cyevent.Timer(base, log.append, "T").add(0.02)
    base.dispatch()
    turns = (len(log) - 1) // 4
    assert turns >= 1
    assert log == ["P", "Q", "C", "D"] * turns + ["T"]
    log.clear()
    prepare.close()
    check.close()
    assert prepare.closed and check.closed
    cyevent.Timer(base, log.append, "T").add(0.02)
    base.dispatch()
    assert log == ["P", "C"] * ((len(log) - 1) // 2) + ["T"]


def test_timeout_is_that_of_the_first_timer(base):
    timeouts = []
    cyevent.PrepareWatcher(base, timeouts.append)
    cyevent.Timer(base, lambda: None).add(0.05)
    cyevent.Timer(base, lambda: None).add(0.03)
    base.dispatch()
    assert 0.0 < timeouts[0] <= 0.03
    assert all(timeout <= 0.05 for timeout in timeouts)


def test_timeout_unavailable(base, pair):
    timeouts = []
    cyevent.PrepareWatcher(base, timeouts.append)
    pair[1].send(b"x")
    cyevent.Event(base, pair[0], cyevent.READ, lambda fd, what: None).add()
    base.dispatch()
    assert timeouts == [None]


def test_timeout_is_zero_when_something_is_active(base):
    timeouts = []
    cyevent.PrepareWatcher(base, timeouts.append)
    cyevent.Timer(base, lambda: None).activate(cyevent.TIMEOUT)
    base.dispatch()
    assert timeouts == [0.0]


def test_closing_within_a_callback(base):
    log = []

    def closing(timeout):
        log.append("closing")
        first.close()
        second.close()

    first = cyevent.PrepareWatcher(base, closing)
    second = cyevent.PrepareWatcher(base, log.append)
    for _ in range(2):
        cyevent.Timer(base, lambda: None).activate(cyevent.TIMEOUT)
        base.dispatch()
    assert log == ["closing"]


def test_the_base_keeps_a_watcher_until_it_is_closed(method):
    base = cyevent.EventBase(method)
    watcher = cyevent.CheckWatcher(base, lambda: None)
    assert watcher.base is base
    reference = weakref.ref(watcher)
    del watcher
    gc.collect()
    assert reference() is not None
    base.close()
    gc.collect()
    assert reference() is None


def test_with_block(base):
    log = []
    with cyevent.CheckWatcher(base, log.append, 1) as watcher:
        cyevent.Timer(base, lambda: None).activate(cyevent.TIMEOUT)
        base.dispatch()
    assert watcher.closed
    watcher.close()
    cyevent.Timer(base, lambda: None).activate(cyevent.TIMEOUT)
    base.dispatch()
    assert log == [1]


def test_exceptions_go_to_the_handler(method):
    seen = []

    def broken(*args):
        raise KeyError("watcher")

    with cyevent.EventBase(method) as base:
        base.set_exception_handler(lambda error, callback: seen.append((type(error), callback)))
        cyevent.PrepareWatcher(base, broken)
        cyevent.CheckWatcher(base, broken)
        cyevent.Timer(base, lambda: None).activate(cyevent.TIMEOUT)
        base.dispatch()
    assert seen == [(KeyError, broken)] * 2


@pytest.mark.parametrize("kind", [cyevent.PrepareWatcher, cyevent.CheckWatcher])
def test_bad_arguments(base, kind):
    with pytest.raises(TypeError, match="callback"):
        kind(base, 3)
    with pytest.raises(TypeError):
        kind(None, print)
    base.close()
    with pytest.raises(ValueError, match="closed"):
        kind(base, print)
