"""Who is told when a buffer changes."""

import gc
import sys
import weakref

import pytest

from cyevent import EvBuffer


def recorder(calls):
    def callback(buf, original, added, removed):
        calls.append((original, added, removed))

    return callback


def test_counts(make):
    calls = []
    buf = make()
    buf.add_callback(recorder(calls))
    buf.add(b"abcde")
    buf.remove(2)
    buf.drain(1)
    buf.prepend(b"xy")
    buf.add_reference(b"lent")
    buf.add(b"")
    buf.drain(0)
    buf.readline()
    buf.add(b"\n")
    buf.readline()
    assert calls == [
        (0, 5, 0), (5, 0, 2), (3, 0, 1), (2, 2, 0), (4, 4, 0), (8, 1, 0), (9, 0, 9),
    ]  # fmt: skip


def test_moving_tells_both(make):
    one, two = make(b"12345"), make()
    calls = []
    one.add_callback(lambda buf, *counts: calls.append(("one", *counts)))
    two.add_callback(lambda buf, *counts: calls.append(("two", *counts)))
    one.move_to(two, 2)
    two.add_buffer(one)
    one.prepend_buffer(two)
    two.add_buffer_reference(one)
    assert sorted(calls[:2]) == [("one", 5, 0, 2), ("two", 0, 2, 0)]
    assert sorted(calls[2:4]) == [("one", 3, 0, 3), ("two", 2, 3, 0)]
    assert sorted(calls[4:6]) == [("one", 0, 5, 0), ("two", 5, 0, 5)]
    assert calls[6:] == [("two", 0, 5, 0)]


def test_newest_first_and_removal(make):
    calls = []
    buf = make()
    first = buf.add_callback(lambda *_: calls.append("first"))
    second = buf.add_callback(lambda *_: calls.append("second"))
    buf.add(b"x")
    assert calls == ["second", "first"]
    second.remove()
    second.remove()
    buf.add(b"x")
    assert calls[2:] == ["first"]
    first.remove()
    buf.add(b"x")
    assert len(calls) == 3
    with pytest.raises(ValueError, match="removed"):
        first.enabled = True


def test_disabling(make):
    calls = []
    buf = make()
    handle = buf.add_callback(recorder(calls))
    assert handle.enabled and not handle.nodefer
    handle.enabled = False
    buf.add(b"unheard")
    assert calls == []
    handle.enabled = True
    buf.add(b"!")
    assert calls == [(7, 1, 0)]


def test_removing_others_inside(make):
    """Callbacks may remove each other, in any order, while they run."""
    buf = make()
    calls = []
    handles = []

    def remove_all(*_):
        calls.append(1)
        for handle in handles:
            handle.remove()

    handles += [buf.add_callback(remove_all) for _ in range(3)]
    buf.add(b"x")
    assert calls == [1]
    buf.add(b"x")
    assert calls == [1]


def test_changing_inside(make):
    buf = make()
    seen = []

    def limit(buf, original, added, removed):
        seen.append((original, added, removed))
        if len(buf) > 4:
            buf.drain(len(buf) - 4)

    buf.add_callback(limit)
    buf.add(b"abcdefgh")
    assert bytes(buf) == b"efgh"
    assert seen == [(0, 8, 0), (8, 0, 4)]


def test_adding_inside(make):
    buf = make()
    late = []
    buf.add_callback(
        lambda *_: late or late.append(buf.add_callback(lambda *_: late.append("called")))
    )
    buf.add(b"x")
    buf.add(b"y")
    assert late[1:] == ["called"]


def test_exception_is_reported(make, monkeypatch):
    reports = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reports.append(report.exc_type))
    buf = make()
    buf.add_callback(lambda *_: 1 / 0)
    buf.add(b"x")
    assert bytes(buf) == b"x"
    assert reports == [ZeroDivisionError]


def test_cycles_are_collected(make):
    buf = make()
    buf.add_callback(lambda *_: buf)  # noqa: F821
    gone = weakref.ref(buf)
    del buf
    gc.collect()
    assert gone() is None


def test_deferred(base):
    calls = []
    buf = EvBuffer()
    buf.defer_callbacks(base)
    buf.add_callback(recorder(calls))
    at_once = []
    buf.add_callback(recorder(at_once), nodefer=True)
    buf.add(b"abc")
    buf.add(b"de")
    buf.drain(1)
    assert calls == []
    assert len(at_once) == 3
    base.loop(2)
    assert calls == [(0, 5, 1)]
    buf.add(b"f")
    base.dispatch()
    assert calls[1:] == [(4, 1, 0)]


def test_deferred_callback_hears_nothing_of_what_was_before_it(base):
    calls = []
    buf = EvBuffer()
    buf.defer_callbacks(base)
    early = buf.add_callback(recorder(calls))
    buf.add(b"abc")
    early.remove()
    buf.add(b"de")
    buf.add_callback(recorder(calls))
    buf.add(b"f")
    base.loop(2)
    assert calls == [(5, 1, 0)]


def test_deferred_exception_goes_to_the_base(base):
    handled = []
    base.set_exception_handler(lambda exc, callback: handled.append(type(exc)))
    buf = EvBuffer()
    buf.defer_callbacks(base)
    buf.add_callback(lambda *_: 1 / 0)
    buf.add(b"x")
    base.dispatch()
    assert handled == [ZeroDivisionError]


def test_deferred_and_gone(base):
    """A buffer that dies with callbacks due, and a base that is closed before."""
    buf = EvBuffer()
    buf.defer_callbacks(base)
    buf.add_callback(lambda *_: None)
    buf.add(b"x")
    del buf
    base.loop(2)
    buf = EvBuffer()
    buf.defer_callbacks(base)
    buf.add_callback(lambda *_: None)
    buf.add(b"x")
    base.close()
    buf.add(b"y")
    assert bytes(buf) == b"xy"
