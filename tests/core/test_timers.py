"""Timeouts: when they fire, what restarts them, common timeouts, the order of the heap.

A timer may be late on a busy machine, so no test asks how late. None may be early, and that is
asserted to the nanosecond where it was set outside the loop.
"""

import datetime
import random
import signal
import time

import clock
import fds
import pytest

import cyevent
from cyevent import PERSIST, READ, TIMEOUT, Event, EventBase, Signal, Timer


def nothing(*args):
    pass


# --- one timer -----------------------------------------------------------------------------------


def test_a_timer_fires_once_and_not_early(base):
    fired = []
    start = clock.monotonic()
    Timer(base, lambda: fired.append(clock.monotonic())).add(0.03)
    assert base.dispatch() == 1
    assert len(fired) == 1
    assert fired[0] - start >= 0.03


def test_timer_arguments(base):
    got = []
    Timer(base, lambda *args: got.append(args), 1, "two").add(0)
    base.dispatch()
    assert got == [(1, "two")]


def test_durations(base):
    ran = []
    for duration in (0, 0.0, 0.001, 1e-9, datetime.timedelta(milliseconds=1)):
        timer = Timer(base, ran.append, duration)
        timer.add(duration)
        assert timer.pending(TIMEOUT)
    base.dispatch()
    assert len(ran) == 5


def test_a_very_long_timer_is_never(base):
    timers = [Timer(base, nothing) for _ in range(3)]
    for timer, seconds in zip(timers, (1e9, 1e15, 1e300), strict=True):
        try:
            timer.add(seconds)
        except (OverflowError, ValueError):
            continue
        assert timer.expires > base.monotonic() + 9e8
    base.loop(cyevent.EVLOOP_NONBLOCK)


def test_timer_add_again_postpones(base):
    fired = []
    timer = Timer(base, lambda: fired.append(clock.monotonic()))
    timer.add(0.005)
    start = clock.monotonic()
    timer.add(0.04)
    base.dispatch()
    assert len(fired) == 1
    assert fired[0] - start >= 0.04


def test_timer_add_again_can_also_advance(base):
    timer = Timer(base, base.loopbreak)
    timer.add(3600)
    timer.add(0.001)
    base.dispatch()
    assert base.got_break


def test_a_deleted_timer_does_not_fire(base):
    timer = Timer(base, pytest.fail)
    timer.add(0.005)
    timer.delete()
    Timer(base, nothing).add(0.02)
    base.dispatch()


def test_readding_a_timer_that_has_fired_but_not_run(base):
    """The new timeout takes the place of the firing that is still queued."""
    ran = []

    def first():
        ran.append("first")
        second.add(0.01)

    second = Timer(base, ran.append, "second")
    Timer(base, first).add(0)
    second.add(0)
    base.loop(cyevent.EVLOOP_ONCE)
    assert ran == ["first"]
    base.dispatch()
    assert ran == ["first", "second"]


# --- timeouts of other events --------------------------------------------------------------------


def test_a_read_event_times_out(base, pair):
    seen = []
    ev = Event(base, pair[0], READ, lambda fd, what: seen.append(what))
    ev.add(timeout=0.01)
    base.dispatch()
    assert seen == [TIMEOUT]
    assert not ev.pending()


def test_data_before_the_timeout(base, pair):
    seen = []
    pair[1].send(b"x")
    Event(base, pair[0], READ, lambda fd, what: seen.append(what)).add(timeout=30)
    base.dispatch()
    assert seen == [READ]


def test_timeout_and_activation_together_are_both_told(base, pair):
    seen = []
    ev = Event(base, pair[0], TIMEOUT | READ, lambda fd, what: seen.append(what))
    ev.add(timeout=0.0001)
    ev.activate(READ)
    time.sleep(0.01)
    base.loop(cyevent.EVLOOP_ONCE | cyevent.EVLOOP_NONBLOCK)
    assert seen == [READ | TIMEOUT]


def test_remove_timer_keeps_the_rest_of_the_event(base, pair):
    left, right = pair
    seen = []

    def on_read(fd, what):
        fds.read(fd, 1)
        seen.append(what)
        if len(seen) == 2:
            reader.delete()

    reader = Event(base, left, READ | PERSIST, on_read)
    lone = Timer(base, lambda: seen.append("lone timer"))

    def remove_both():
        reader.remove_timer()
        lone.remove_timer()

    Timer(base, remove_both).add(0.005)
    Timer(base, right.send, b"A").add(0.01)
    reader.add(timeout=0.12)
    lone.add(0.12)
    # Had the first read restarted the timeout, it would come before this.
    Timer(base, right.send, b"A").add(0.2)
    base.dispatch()
    assert seen == [READ, READ]


def test_remove_timer_without_one(base, pair):
    ev = Event(base, pair[0], READ, nothing)
    ev.remove_timer()
    ev.add()
    ev.remove_timer()
    assert ev.pending() == READ


# --- persistent timeouts -------------------------------------------------------------------------


def test_a_persistent_timer_repeats(base):
    fired = []

    def on_timer():
        fired.append(clock.monotonic())
        if len(fired) == 6:
            base.loopexit()

    start = clock.monotonic()
    Timer(base, on_timer, persist=True).add(0.004)
    base.dispatch()
    assert len(fired) == 6
    # Each deadline is the one before plus the interval, so the sixth is six intervals away.
    assert fired[5] - start >= 6 * 0.004


def test_a_persistent_timer_of_no_duration_repeats_every_turn(base):
    ran = []

    def on_timer():
        ran.append(1)
        if len(ran) == 5:
            timer.delete()

    timer = Timer(base, on_timer, persist=True)
    timer.add(0)
    for _ in range(10):
        base.loop(cyevent.EVLOOP_NONBLOCK | cyevent.EVLOOP_ONCE)
    assert len(ran) == 5


def test_a_persistent_timer_that_was_late_does_not_catch_up(base):
    ran = []
    timer = Timer(base, ran.append, 1, persist=True)
    timer.add(0.1)
    time.sleep(0.25)
    base.loopexit(0.01)
    base.dispatch()
    assert ran == [1]


def test_a_persistent_event_starts_its_timeout_again_on_each_firing(base):
    seen = []
    ev = Event(base, -1, TIMEOUT | PERSIST, lambda fd, what: seen.append((what, clock.monotonic())))
    start = clock.monotonic()
    ev.add(timeout=0.06)
    Timer(base, ev.activate, READ).add(0.03)
    while len(seen) < 3:
        assert base.loop(cyevent.EVLOOP_ONCE) == 0
    ev.delete()
    # A loop that is late finds both at once.
    assert seen[0][0] in (READ, READ | TIMEOUT)
    assert [what for what, _ in seen[1:]] == [TIMEOUT, TIMEOUT]
    assert seen[0][1] - start >= 0.03
    assert seen[1][1] - start >= 0.03 + 0.06
    assert seen[2][1] - start >= 0.03 + 0.06 + 0.06


def test_persistent_read_event_with_timeout(base, pair):
    left, right = pair
    seen = []

    def on_event(fd, what):
        seen.append(what)
        if what & READ:
            fds.read(fd, 100)
        if len(seen) == 4:
            ev.delete()

    ev = Event(base, left, READ | PERSIST, on_event)
    ev.add(timeout=0.02)
    right.send(b"x")
    base.dispatch()
    # On a machine that is slow for a moment both have happened.
    assert seen[0] & READ
    assert seen[1:] == [TIMEOUT, TIMEOUT, TIMEOUT]


def test_a_signal_event_can_time_out(base):
    seen = []
    ev = Signal(base, signal.SIGUSR1, seen.append, persist=False)
    ev.add(0.001)
    base.loop(cyevent.EVLOOP_ONCE)
    ev.delete()
    assert seen == [signal.SIGUSR1]


# --- expiry and clocks ---------------------------------------------------------------------------


@pytest.mark.parametrize("precise", [False, True], ids=["default_clock", "precise_clock"])
def test_expiry_is_never_further_away_than_asked(method, precise):
    with EventBase(method, precise_timers=precise) as base:
        timer = Timer(base, nothing)
        for _ in range(1000):
            before = clock.monotonic()
            timer.add(0.0001)
            after = clock.monotonic()
            assert before + 0.0001 - 1e-9 <= timer.expires <= after + 0.0001 + 1e-9


@pytest.mark.parametrize("precise", [False, True], ids=["default", "precise"])
def test_short_timers_are_not_early(method, precise):
    with EventBase(method, precise_timers=precise) as base:
        timer = Timer(base, nothing)
        for i in range(50):
            wait = 0.0001 + i * 0.00001
            start = clock.monotonic()
            timer.add(wait)
            base.dispatch()
            assert clock.monotonic() - start >= wait


def test_precise_timers_are_not_rounded_to_milliseconds(method):
    """The best of many 300 us waits: rounding up would make each of them a whole millisecond."""
    best = 1.0
    with EventBase(method, precise_timers=True) as base:
        timer = Timer(base, nothing)
        for _ in range(200):
            start = clock.monotonic()
            timer.add(0.0003)
            base.dispatch()
            took = clock.monotonic() - start
            assert took >= 0.0003
            best = min(best, took)
    if method == "epoll":
        assert best < 0.001


@pytest.mark.parametrize("timerfd", [False, True])
def test_precise_timers_with_and_without_timerfd(timerfd):
    if "epoll" not in EventBase.supported_methods():
        pytest.skip("no epoll here")
    with EventBase("epoll", precise_timers=True, timerfd=timerfd) as base:
        fired = []
        start = clock.monotonic()
        for wait in (0.004, 0.0005, 0.002):
            Timer(base, fired.append, wait).add(wait)
        base.dispatch()
        assert fired == [0.0005, 0.002, 0.004]
        assert clock.monotonic() - start >= 0.004


def test_waiting_takes_no_processor_time(method):
    """A wait rounded down would spin until the deadline."""
    for precise in (False, True):
        with EventBase(method, precise_timers=precise) as base:
            Timer(base, nothing).add(0.2)
            used = time.thread_time()
            base.dispatch()
            assert time.thread_time() - used < 0.1


# --- common timeouts -----------------------------------------------------------------------------


def test_common_timeouts_mixed_with_others(base):
    short = base.common_timeout(0.02)
    long = base.common_timeout(0.04)
    counts = [0] * 100
    first = {}

    def on_timer(i):
        counts[i] += 1
        first.setdefault(i, clock.monotonic())
        if counts[i] >= 4:
            timers[i].delete()

    timers = [Timer(base, on_timer, i, persist=True) for i in range(100)]
    start = clock.monotonic()
    for i, timer in enumerate(timers):
        if i % 2 == 0:
            timer.add(long)
        elif i % 20 == 1:
            timer.add(long)
            timer.add(0.02)
        elif i % 20 == 3:
            timer.add(0.04)
            timer.add(short)
        elif i % 20 == 5:
            timer.add(long)
            timer.add(short)
        else:
            timer.add(short)
    base.dispatch()
    assert counts == [4] * 100
    for i, when in first.items():
        assert when - start >= (0.02 if i % 2 else 0.04)
    # Closing the base with some of them added is fine.
    for i, timer in enumerate(timers):
        timer.add(short if i % 2 else long)
    base.close()


def test_common_timeouts_fire_in_order_of_adding(base):
    ran = []
    wait = base.common_timeout(0.005)
    for n in range(20):
        Timer(base, ran.append, n).add(wait)
    base.dispatch()
    assert ran == list(range(20))


def test_equal_common_timeouts_are_one(base):
    wait = base.common_timeout(0.05)
    assert base.common_timeout(0.05) == wait
    assert base.common_timeout(5) == base.common_timeout(5.0)
    assert base.common_timeout(0.06) != wait


def test_common_timeout_of_a_read_event(base, pair):
    seen = []
    wait = base.common_timeout(0.005)
    ev = Event(base, pair[0], READ, lambda fd, what: seen.append(what))
    ev.add(timeout=wait)
    base.dispatch()
    assert seen == [TIMEOUT]


def test_at_most_256_common_timeouts(base):
    waits = [base.common_timeout(1 + n / 1000) for n in range(256)]
    assert len(set(map(id, waits))) == 256
    with pytest.raises((OSError, ValueError, RuntimeError)):
        base.common_timeout(2)
    base.common_timeout(1.001)


def test_a_common_timeout_belongs_to_its_base(base, method):
    with EventBase(method) as other:
        foreign = other.common_timeout(0.001)
        timer = Timer(base, nothing)
        with pytest.raises(ValueError, match=r"\btimeout\b|\bseconds\b"):
            timer.add(foreign)


# --- the heap ------------------------------------------------------------------------------------


def test_timers_fire_in_the_order_of_their_deadlines(base):
    """Whatever was added, moved and deleted before."""
    rng = random.Random(22)
    fired = []
    timers = [Timer(base, fired.append, i) for i in range(1024)]
    for _ in range(4):
        for timer in timers:
            if rng.random() < 0.3:
                timer.delete()
            else:
                timer.add(10 + rng.random())
    for timer in rng.sample(timers, 1024):
        timer.add(rng.random() * 0.02)
    for timer in rng.sample(timers, 512):
        timer.delete()
    waiting = [i for i, timer in enumerate(timers) if timer.pending(TIMEOUT)]
    assert len(waiting) == 512
    deadlines = {i: timers[i].expires for i in waiting}
    base.dispatch()
    assert sorted(fired) == waiting
    # Two of them may share one.
    assert [deadlines[i] for i in fired] == sorted(deadlines.values())
