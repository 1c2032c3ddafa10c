"""The loop: its flags, its ends, what it returns, how much it runs in one turn."""

import time

import clock
import fds
import pytest

import cyevent
from cyevent import PERSIST, READ, TIMEOUT, WRITE, Event, EventBase, Timer


def nothing(*args):
    pass


# --- ends ----------------------------------------------------------------------------------------


def test_an_empty_base_returns_1_at_once(base):
    assert base.dispatch() == 1
    assert base.loop() == 1
    assert base.loop(cyevent.EVLOOP_ONCE) == 1
    assert base.loop(cyevent.EVLOOP_NONBLOCK) == 1


def test_loopexit_after_a_while(base):
    Timer(base, nothing).add(86400)
    base.loopexit(0.03)
    start = clock.monotonic()
    assert base.dispatch() == 0
    assert clock.monotonic() - start >= 0.03
    assert base.got_exit
    assert not base.got_break


def test_the_earliest_loopexit_counts(base):
    start = clock.monotonic()
    base.loopexit(0.02)
    base.loopexit(30)
    assert base.dispatch() == 0
    assert 0.02 <= clock.monotonic() - start < 20
    assert base.got_exit


def test_loopexit_lets_the_active_events_run(base):
    ran = []

    def exit_then_more():
        ran.append("exit")
        base.loopexit()

    Timer(base, exit_then_more).activate(TIMEOUT)
    Timer(base, ran.append, "second").activate(TIMEOUT)
    base.dispatch()
    assert ran == ["exit", "second"]
    assert base.got_exit


def test_loopbreak_leaves_the_active_events_for_later(base):
    ran = []

    def stop():
        ran.append("break")
        base.loopbreak()

    Timer(base, stop).activate(TIMEOUT)
    second = Timer(base, ran.append, "second")
    second.activate(TIMEOUT)
    assert base.dispatch() == 0
    assert ran == ["break"]
    assert base.got_break
    assert not base.got_exit
    assert second.pending(TIMEOUT)
    base.dispatch()
    assert ran == ["break", "second"]
    assert not base.got_break


def test_loopcontinue_looks_for_new_events_first(method):
    with EventBase(method, priorities=2) as base:
        ran = []

        def first():
            ran.append("first")
            urgent.add(0)
            base.loopcontinue()

        urgent = Timer(base, ran.append, "urgent", priority=0)
        Timer(base, first, priority=1).activate(TIMEOUT)
        Timer(base, ran.append, "second", priority=1).activate(TIMEOUT)
        base.dispatch()
        assert ran == ["first", "urgent", "second"]


def test_loopcontinue_does_not_end_the_loop(base):
    ran = []

    def count():
        ran.append(1)
        base.loopcontinue()
        if len(ran) == 5:
            base.loopbreak()

    Timer(base, count, persist=True).add(0)
    assert base.dispatch() == 0
    assert len(ran) == 5


def test_a_loopbreak_before_the_loop_is_forgotten(base):
    ran = []
    base.loopbreak()
    Timer(base, ran.append, 1).add(0)
    assert base.dispatch() == 1
    assert ran == [1]


# --- flags ---------------------------------------------------------------------------------------


def test_once_waits_for_one_batch(base, pair):
    left, right = pair
    ran = []
    reader = Event(base, left, READ | PERSIST, lambda fd, what: ran.append(fds.read(fd, 1)))
    reader.add()
    Timer(base, right.send, b"ab").add(0.01)
    assert base.loop(cyevent.EVLOOP_ONCE) == 0
    assert ran == []
    assert base.loop(cyevent.EVLOOP_ONCE) == 0
    assert ran == [b"a"]
    assert base.loop(cyevent.EVLOOP_ONCE) == 0
    assert ran == [b"a", b"b"]
    reader.delete()


def test_nonblock_never_waits(base, pair):
    Event(base, pair[0], READ, nothing).add()
    start = clock.monotonic()
    assert base.loop(cyevent.EVLOOP_NONBLOCK) == 0
    assert base.loop(cyevent.EVLOOP_NONBLOCK | cyevent.EVLOOP_ONCE) == 0
    assert clock.monotonic() - start < 5
    assert base.num_events() == 1


def test_nonblock_runs_all_that_becomes_active(base):
    ran = []

    def chain(n):
        ran.append(n)
        if n:
            Timer(base, chain, n - 1).activate(TIMEOUT)

    Timer(base, chain, 3).activate(TIMEOUT)
    base.loop(cyevent.EVLOOP_NONBLOCK)
    assert ran == [3, 2, 1, 0]


def test_no_exit_on_empty_waits_for_loopexit(base):
    start = clock.monotonic()
    base.loopexit(0.02)
    assert base.loop(cyevent.EVLOOP_NO_EXIT_ON_EMPTY) == 0
    assert clock.monotonic() - start >= 0.02


# --- what may not be -----------------------------------------------------------------------------


def test_a_loop_in_a_callback_is_refused(base):
    seen = []

    def nested():
        for call in (base.loop, base.dispatch):
            try:
                call()
            except Exception as error:
                seen.append(type(error))

    Timer(base, nested).activate(WRITE)
    assert base.dispatch() == 1
    assert seen == [RuntimeError, RuntimeError]
    # And the outer one is none the worse.
    Timer(base, seen.append, "after").add(0)
    base.dispatch()
    assert seen[-1] == "after"


def test_another_bases_loop_in_a_callback_is_fine(base, method):
    ran = []

    def inner():
        with EventBase(method) as other:
            Timer(other, ran.append, "inner").add(0.01)
            assert other.dispatch() == 1

    Timer(base, inner).add(0)
    Timer(base, ran.append, "outer").add(0.02)
    base.dispatch()
    assert ran == ["inner", "outer"]


# --- how much a turn runs ------------------------------------------------------------------------


def test_max_dispatch_callbacks_looks_at_the_descriptors_between(method):
    """With a limit, an urgent event that becomes ready need not wait for the whole queue."""
    with EventBase(method, priorities=2, max_dispatch_callbacks=10, min_priority=1) as base:
        ran = []

        def work(n):
            ran.append(n)
            if n == 0:
                urgent.add(0)

        urgent = Timer(base, ran.append, "urgent", priority=0)
        timers = [Timer(base, work, n, priority=1) for n in range(50)]
        for timer in timers:
            timer.activate(TIMEOUT)
        base.dispatch()
        assert ran.index("urgent") == 10
        assert [n for n in ran if n != "urgent"] == list(range(50))


def test_max_dispatch_callbacks_leaves_urgent_priorities_alone(method):
    with EventBase(method, priorities=2, max_dispatch_callbacks=10, min_priority=1) as base:
        ran = []

        def work(n):
            ran.append(n)
            if n == 0:
                late.add(0)

        late = Timer(base, ran.append, "late", priority=0)
        for n in range(50):
            Timer(base, work, n, priority=0).activate(TIMEOUT)
        base.dispatch()
        assert ran == [*range(50), "late"]


def test_max_dispatch_interval_looks_at_the_descriptors_between(method):
    with EventBase(method, priorities=2, max_dispatch_interval=0.005, min_priority=0) as base:
        ran = []

        def work(n):
            ran.append(n)
            time.sleep(0.002)
            if n == 0:
                urgent.add(0)

        urgent = Timer(base, ran.append, "urgent", priority=0)
        for n in range(20):
            Timer(base, work, n, priority=1).activate(TIMEOUT)
        base.dispatch()
        assert 1 <= ran.index("urgent") < 20
        assert len(ran) == 21


def test_events_that_activate_each_other_share_a_limited_turn(method, pair):
    left, right = pair
    reads = []
    bounces = []

    def bounce(other):
        bounces.append(other)
        events[other].activate(TIMEOUT)
        if len(bounces) % 50 == 0:
            right.send(b"x")

    def on_read(fd, what):
        reads.append(fds.read(fd, 4096))
        if len(reads) == 5:
            base.loopbreak()

    with EventBase(method, max_dispatch_callbacks=16) as base:
        events = [Timer(base, bounce, 1), Timer(base, bounce, 0)]
        Event(base, left, READ | PERSIST, on_read).add()
        events[0].activate(TIMEOUT)
        base.dispatch()
        assert len(reads) == 5
        assert len(bounces) >= 250


@pytest.mark.parametrize("persist", [False, True])
def test_dispatch_result_tells_why_it_ended(base, persist):
    timer = Timer(base, nothing, persist=persist)
    timer.add(1e-6)
    if persist:
        base.loopexit(0.01)
    assert base.dispatch() == (0 if persist else 1)
