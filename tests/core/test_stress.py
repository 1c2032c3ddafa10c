"""Many Python threads and one base: nothing crashes, hangs, is forgotten or is kept for ever.

How long each goes on is CYEVENT_STRESS_SECONDS, or a second or two; the slow ones go on for a minute. The
same without the interpreter is in cython/nogil_stress.
"""

import gc
import os
import random
import sys
import threading
import time
import weakref

import clock
import pytest

import cyevent
from cyevent import (
    FINALIZE,
    PERSIST,
    READ,
    TIMEOUT,
    WRITE,
    CheckWatcher,
    Event,
    EventBase,
    PrepareWatcher,
    Timer,
)

THREADS = 8
GUARD = 60.0
SECONDS = float(os.environ.get("CYEVENT_STRESS_SECONDS", "1.5"))


@pytest.fixture(autouse=True)
def hasty():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Crowd:
    """Threads that do something until told to stop; whatever one raises fails the test."""

    def __init__(self, *targets):
        self.stop = threading.Event()
        self.errors = []
        self.threads = [
            threading.Thread(target=self.run, args=(target, seed), daemon=True)
            for seed, target in enumerate(targets)
        ]
        for thread in self.threads:
            thread.start()

    def run(self, target, seed):
        generator = random.Random(seed)
        try:
            while not self.stop.is_set():
                target(generator)
        except BaseException as error:
            self.errors.append(error)
            self.stop.set()

    def finish(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(GUARD)
            assert not thread.is_alive(), "a thread hangs"
        if self.errors:
            raise self.errors[0]


class Looper(threading.Thread):
    """Runs the base's loop until it is broken."""

    def __init__(self, base):
        super().__init__(daemon=True)
        self.base = base
        self.start()

    def run(self):
        self.base.loop(cyevent.EVLOOP_NO_EXIT_ON_EMPTY)

    def finish(self):
        self.base.loopbreak()
        self.join(GUARD)
        assert not self.is_alive(), "the loop was not woken"


class Storm:
    """Random calls on events that all threads share and on those that only one of them has."""

    def __init__(self, base, pair):
        self.base = base
        self.pair = pair
        self.shared = [self.make(random.Random(i), self.nothing) for i in range(500)]
        self.tracked = []
        self.finalized = []
        self.to_finalize = 0
        self.soon = 0
        self.to_call = 0
        self.lock = threading.Lock()

    @staticmethod
    def nothing(*args):
        pass

    def make(self, generator, callback, *args):
        kind = generator.randrange(4)
        extra = generator.choice((0, PERSIST, FINALIZE, PERSIST | FINALIZE))
        priority = generator.randrange(3)
        if kind == 0:
            return Timer(self.base, callback, *args, priority=priority)
        if kind == 1:
            return Event(self.base, -1, extra, callback, *args, priority=priority)
        fd = self.pair[kind - 2]
        what = READ if kind == 2 else WRITE
        # A socket that can be written to is ready in every turn.
        extra = extra & FINALIZE if what == WRITE else extra
        return Event(self.base, fd, what | extra, callback, *args, priority=priority)

    def touch_shared(self, generator):
        event = generator.choice(self.shared)
        what = generator.randrange(8)
        if what < 2:
            event.add(generator.random() * 0.01)
        elif what < 4:
            event.delete()
        elif what == 4:
            event.activate(WRITE)
        elif what == 5:
            try:
                event.priority = generator.randrange(3)
            except RuntimeError:
                pass  # it was active
        elif what == 6:
            event.remove_timer()
        else:
            assert event.pending() >= 0
            assert event.expires is None or event.expires > 0

    def touch_own(self, generator):
        state = {"running": False}

        def callback(*args):
            state["running"] = True
            time.sleep(0)
            state["running"] = False

        event = self.make(generator, callback)
        if generator.random() < 0.02:
            self.tracked.append(weakref.ref(event))
        event.add(generator.random() * 0.001)
        if generator.random() < 0.5:
            event.activate(TIMEOUT)
        how = generator.randrange(4)
        if how == 0:
            event.delete()
            assert event.events & FINALIZE or not state["running"]
        elif how == 1:
            with self.lock:
                self.to_finalize += 1
            event.finalize(self.on_finalized)
        elif how == 2:
            event.close()
        # Else the base keeps it until it has fired.
        elif event.events & PERSIST:
            event.delete()

    def on_finalized(self, event):
        self.finalized.append(1)

    def count_soon(self):
        self.soon += 1

    def other_calls(self, generator):
        what = generator.randrange(6)
        if what == 0:
            with self.lock:
                self.to_call += 1
            self.base.call_soon(self.count_soon)
        elif what == 1:
            watcher = generator.choice((PrepareWatcher, CheckWatcher))(self.base, self.nothing)
            if generator.random() < 0.5:
                time.sleep(0)
            watcher.close()
        elif what == 2:
            assert all(isinstance(event, Event) for event in self.base)
        elif what == 3:
            running = self.base.running_event
            assert running is None or isinstance(running, Event)
        elif what == 4:
            self.base.once(None, TIMEOUT, self.nothing, timeout=0.001)
        elif generator.random() < 0.02:
            gc.collect()

    def handshake(self, generator):
        """One callback, from a loop that may be asleep."""
        done = threading.Event()
        how = generator.randrange(3)
        if how == 0:
            Timer(self.base, done.set, priority=0).add(0)
        elif how == 1:
            Timer(self.base, done.set, priority=0).activate(TIMEOUT)
        else:
            self.base.call_soon(done.set)
        assert done.wait(GUARD), "a wake-up was lost"

    def step(self, generator):
        what = generator.randrange(20)
        if what == 0:
            self.handshake(generator)
        elif what < 5:
            self.other_calls(generator)
        elif what < 12:
            self.touch_own(generator)
        else:
            self.touch_shared(generator)


def run_storm(base, pair, seconds):
    base.priorities = 3
    storm = Storm(base, pair)
    looper = Looper(base)
    crowd = Crowd(*[storm.step] * THREADS)
    crowd.stop.wait(seconds)
    crowd.finish()
    for event in storm.shared:
        event.delete()
    deadline = clock.monotonic() + GUARD
    # What was asked for and needs the loop: timers of one shot, finalizers, calls.
    while base.num_events() and clock.monotonic() < deadline:
        time.sleep(0.001)
    assert base.num_events() == 0, list(base)
    looper.finish()
    assert storm.soon == storm.to_call
    assert len(storm.finalized) == storm.to_finalize
    storm.shared.clear()
    gc.collect()
    assert storm.tracked
    assert [ref() for ref in storm.tracked if ref() is not None] == []


def test_storm(base, pair):
    run_storm(base, pair, SECONDS)


@pytest.mark.slow
def test_storm_for_a_minute(base, pair):
    run_storm(base, pair, 60.0)


def test_closing_a_base_that_others_go_on_using(method):
    """Their calls fail with a ValueError from then on, and nothing worse."""
    end = clock.monotonic() + SECONDS
    rounds = 0
    while clock.monotonic() < end or rounds < 3:
        rounds += 1
        base = EventBase(method)
        timers = [Timer(base, int, persist=True) for _ in range(20)]

        def use(generator, base=base, timers=timers):
            try:
                timer = generator.choice(timers)
                timer.add(generator.random() * 0.001)
                timer.delete()
                base.call_soon(int)
                Timer(base, int).add(0.001)
                CheckWatcher(base, int).close()
                base.num_events()
                Timer(base, int).finalize()
            except ValueError:
                assert base.closed
                time.sleep(0.0001)

        looper = Looper(base)
        crowd = Crowd(*[use] * 4)
        time.sleep(0.003)
        looper.finish()
        base.close()
        time.sleep(0.001)
        crowd.finish()
        assert base.closed


def test_loops_and_closes_compete(method):
    """One of several threads that want to run the loop does, the others are refused; so with closing."""
    end = clock.monotonic() + SECONDS / 2
    while clock.monotonic() < end:
        base = EventBase(method)
        refused, ran = [], []

        def enter(generator, base=base, refused=refused, ran=ran):
            try:
                base.loop(cyevent.EVLOOP_NONBLOCK)
                ran.append(1)
            except (RuntimeError, ValueError):
                refused.append(1)

        def close(generator, base=base, refused=refused):
            time.sleep(0.001)
            try:
                base.close()
            except RuntimeError:
                refused.append(1)

        crowd = Crowd(enter, enter, enter, close, close)
        deadline = clock.monotonic() + GUARD
        while not base.closed and clock.monotonic() < deadline:
            time.sleep(0.001)
        crowd.finish()
        assert base.closed
