"""Several threads and one base: waking the loop, waiting for callbacks, sharing the interpreter.

Nothing here measures how promptly a thread is served. A wake-up that is forgotten shows as a loop
that sleeps until a far timeout, minutes away, which the tests notice as a hang.
"""

import contextvars
import ctypes
import os
import signal
import sys
import threading
import time
import weakref

import clock
import fds
import pytest

import cyevent
from cyevent import PERSIST, READ, TIMEOUT, Event, EventBase, Signal, Timer

FAR = 600.0
WAIT = 30.0


class LoopThread(threading.Thread):
    """Runs a base's loop; the test that starts it makes sure that it ends."""

    def __init__(self, base, flags=0):
        super().__init__(daemon=True)
        self.base = base
        self.flags = flags
        self.result = None
        self.error = None
        self.start()

    def run(self):
        try:
            self.result = self.base.loop(self.flags)
        except BaseException as error:
            self.error = error

    def finish(self):
        self.join(WAIT)
        assert not self.is_alive(), "the loop was not woken"
        if self.error is not None:
            raise self.error
        return self.result


@pytest.fixture
def started(base):
    """Starts loops and returns once they are sure to be running."""

    def start(flags=0):
        running = threading.Event()
        Timer(base, running.set).activate(TIMEOUT)
        thread = LoopThread(base, flags)
        assert running.wait(WAIT)
        # It has run a callback; a moment later it waits.
        time.sleep(0.005)
        return thread

    yield start
    if not base.closed:
        base.loopbreak()


# --- waking --------------------------------------------------------------------------------------


def test_loopbreak_from_another_thread(base, started):
    Timer(base, pytest.fail).add(FAR)
    thread = started()
    base.loopbreak()
    assert thread.finish() == 0
    assert base.got_break


def test_loopexit_from_another_thread(base, started):
    Timer(base, pytest.fail).add(FAR)
    thread = started()
    base.loopexit()
    assert thread.finish() == 0
    assert base.got_exit


def test_an_earlier_timer_wakes_the_loop(base, started):
    Timer(base, pytest.fail).add(FAR)
    thread = started()
    Timer(base, base.loopbreak).add(0.01)
    thread.finish()


def test_adding_a_descriptor_wakes_the_loop(base, pair, started):
    left, right = pair
    Timer(base, pytest.fail).add(FAR)
    right.send(b"x")
    thread = started()
    Event(base, left, READ, lambda fd, what: base.loopbreak()).add()
    thread.finish()


def test_activating_wakes_the_loop(base, pair, started):
    Timer(base, pytest.fail).add(FAR)
    ev = Event(base, pair[0], READ, lambda fd, what: base.loopbreak())
    thread = started()
    ev.activate(READ)
    thread.finish()


def test_active_by_fd_wakes_the_loop(base, pair, started):
    Timer(base, pytest.fail).add(FAR)
    Event(base, pair[0], READ, lambda fd, what: base.loopbreak()).add()
    thread = started()
    base.active_by_fd(pair[0], READ)
    thread.finish()


def test_deleting_the_last_event_ends_the_loop(base, pair, started):
    ev = Event(base, pair[0], READ | PERSIST, pytest.fail)
    ev.add()
    thread = started()
    ev.delete()
    assert thread.finish() == 1


def test_deleting_the_last_timer_ends_the_loop(base, started):
    ev = Timer(base, pytest.fail, persist=True)
    ev.add(FAR)
    thread = started()
    ev.delete()
    assert thread.finish() == 1


def test_closing_the_last_event_ends_the_loop(base, pair, started):
    ev = Event(base, pair[0], READ, pytest.fail)
    ev.add(timeout=FAR)
    thread = started()
    ev.close()
    assert thread.finish() == 1


def test_a_signal_for_a_loop_in_another_thread(base, started):
    Signal(base, signal.SIGUSR1, lambda signum: base.loopbreak()).add()
    thread = started()
    os.kill(os.getpid(), signal.SIGUSR1)
    thread.finish()


def test_a_loop_without_events_is_served(base):
    """Events come from another thread only; the loop stays for them, and runs each."""
    order = []
    events = [Event(base, -1, 0, lambda fd, what, i: order.append(i), i) for i in range(4)]
    last = Event(base, -1, 0, lambda fd, what: base.loopbreak())

    def wait_for(n):
        deadline = clock.monotonic() + WAIT
        while len(order) < n and clock.monotonic() < deadline:
            time.sleep(0.001)

    def feed():
        events[0].activate(TIMEOUT)
        wait_for(1)
        events[1].activate(TIMEOUT)
        events[2].add(timeout=0.01)
        events[3].add(timeout=0.02)
        wait_for(4)
        last.activate(TIMEOUT)

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert base.loop(cyevent.EVLOOP_NO_EXIT_ON_EMPTY) == 0
    feeder.join(WAIT)
    assert base.got_break
    assert order == [0, 1, 2, 3]


def test_many_threads_add_timers(base):
    """A hundred threads share the loop: each sets a timer and waits for it, again and again."""
    nthreads, rounds = 50, 20
    left = [nthreads]
    fired = []
    lock = threading.Lock()
    keep = Timer(base, pytest.fail)
    keep.add(FAR)

    def work():
        done = threading.Event()
        timer = Timer(base, done.set)
        for _ in range(rounds):
            done.clear()
            timer.add(0.001)
            assert done.wait(WAIT)
            with lock:
                fired.append(1)
        with lock:
            left[0] -= 1
            if left[0] == 0:
                base.loopexit()

    threads = [threading.Thread(target=work) for _ in range(nthreads)]
    for thread in threads:
        thread.start()
    assert base.dispatch() == 0
    for thread in threads:
        thread.join(WAIT)
    assert len(fired) == nthreads * rounds


def test_adding_and_deleting_from_many_threads_while_the_loop_runs(base, pair, started):
    thread = started(cyevent.EVLOOP_NO_EXIT_ON_EMPTY)
    errors = []

    def churn(seed):
        try:
            for i in range(300):
                timer = Timer(base, int)
                timer.add(((i * seed) % 5) / 1000)
                ev = Event(base, pair[seed % 2], READ, print)
                ev.add()
                if i % 3:
                    timer.delete()
                ev.delete()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=churn, args=(seed,)) for seed in range(1, 5)]
    for worker in threads:
        worker.start()
    for worker in threads:
        worker.join(WAIT)
    base.loopexit(0.01)
    thread.finish()
    assert errors == []
    assert base.num_events() == 0


# --- waiting for a running callback --------------------------------------------------------------


def test_delete_waits_for_the_running_callback(base, pair):
    left, right = pair
    inside = threading.Event()
    done = []

    def slow(fd, what):
        fds.read(fd, 100)
        inside.set()
        time.sleep(0.05)
        done.append(clock.monotonic())

    ev = Event(base, left, READ | PERSIST, slow)
    ev.add()
    thread = LoopThread(base)
    right.send(b"x")
    assert inside.wait(WAIT)
    ev.delete()
    assert len(done) == 1
    assert clock.monotonic() >= done[0]
    assert thread.finish() == 1


def test_delete_does_not_wait_for_another_events_callback(base):
    inside = threading.Event()
    proceed = threading.Event()

    def blocked():
        inside.set()
        assert proceed.wait(WAIT)

    Timer(base, blocked).add(0)
    other = Timer(base, pytest.fail)
    other.add(FAR)
    thread = LoopThread(base)
    assert inside.wait(WAIT)
    other.delete()
    proceed.set()
    thread.finish()


def test_delete_in_the_loops_own_thread_never_waits(base, pair):
    ran = []

    def on_read(fd, what):
        ev.delete()
        ran.append(what)

    pair[1].send(b"x")
    ev = Event(base, pair[0], READ | PERSIST, on_read)
    ev.add()
    base.dispatch()
    assert ran == [READ]


def test_closing_an_event_waits_for_its_callback(base):
    inside = threading.Event()
    done = []

    def slow():
        inside.set()
        time.sleep(0.03)
        done.append(1)

    timer = Timer(base, slow)
    timer.add(0)
    thread = LoopThread(base)
    assert inside.wait(WAIT)
    timer.close()
    assert done == [1]
    thread.finish()


def test_delete_waits_for_one_run_of_an_event_that_adds_itself_again(base, started):
    """Not for the next run as well, and so on for ever."""
    thread = started(cyevent.EVLOOP_NO_EXIT_ON_EMPTY)
    runs = []

    def again():
        runs.append(1)
        timer.add(0)

    timer = Timer(base, again)
    for _ in range(200):
        timer.add(0)
        timer.delete()
    while timer.pending():
        timer.delete()
    base.loopbreak()
    thread.finish()


def test_an_event_that_is_let_go_before_its_callback_gets_the_interpreter(base, started):
    """The loop has taken the event off its queue, and waits for the interpreter, when another thread makes it
    idle and drops it."""
    if sys.platform == "win32":
        pytest.skip("Windows has no usleep()")
    hold = ctypes.PyDLL(None).usleep
    thread = started(cyevent.EVLOOP_NO_EXIT_ON_EMPTY)
    ran = []
    for i in range(20):
        timer = Timer(base, ran.append, i)
        timer.add(0)
        gone = weakref.ref(timer)
        # Without giving up the interpreter's lock.
        hold(2000)
        timer.remove_timer()
        del timer
        base.call_soon(int)
        deadline = clock.monotonic() + WAIT
        while gone() is not None and clock.monotonic() < deadline:
            time.sleep(0.001)
        assert gone() is None
    base.loopbreak()
    thread.finish()
    assert set(ran) <= set(range(20))
    assert ran


def test_a_signal_event_takes_orders_while_its_callback_runs(base):
    """Adding, activating and finalizing it never wait for the callback, which here waits for them."""
    inside, proceed, finalized = threading.Event(), threading.Event(), threading.Event()

    def blocked(signum):
        inside.set()
        assert proceed.wait(WAIT)

    event = Signal(base, signal.SIGUSR1, blocked)
    event.activate(cyevent.SIGNAL)
    thread = LoopThread(base, cyevent.EVLOOP_NO_EXIT_ON_EMPTY)
    try:
        assert inside.wait(WAIT)
        event.add(FAR)
        event.activate(cyevent.SIGNAL)
        event.finalize(lambda event: finalized.set())
        proceed.set()
        assert finalized.wait(WAIT)
    finally:
        proceed.set()
        base.loopbreak()
    thread.finish()


@pytest.mark.parametrize("kind", [cyevent.PrepareWatcher, cyevent.CheckWatcher])
def test_closing_a_watcher_waits_for_its_callback(base, started, kind):
    inside = threading.Event()
    done = []

    def slow(*args):
        inside.set()
        time.sleep(0.03)
        done.append(1)

    thread = started(cyevent.EVLOOP_NO_EXIT_ON_EMPTY)
    watcher = kind(base, slow)
    base.call_soon(int)
    assert inside.wait(WAIT)
    watcher.close()
    calls = len(done)
    assert calls >= 1
    base.call_soon(base.loopbreak)
    thread.finish()
    assert len(done) == calls


# --- handing the interpreter over ----------------------------------------------------------------


def test_other_threads_run_while_the_loop_waits(base, started):
    Timer(base, pytest.fail).add(FAR)
    thread = started()
    total = 0
    for i in range(100000):
        total += i
    assert total
    base.loopbreak()
    thread.finish()


def test_other_threads_run_between_python_callbacks(base):
    """A loop that always has a callback due still gives the others their turns."""
    spins = []
    stop = threading.Event()
    worked = []

    def worker():
        for i in range(200):
            worked.append(i)
            time.sleep(0)
        stop.set()

    def spin():
        spins.append(1)
        if stop.is_set() or len(spins) > 5_000_000:
            base.loopbreak()

    Timer(base, spin, persist=True).add(0)
    thread = threading.Thread(target=worker)
    thread.start()
    base.dispatch()
    thread.join(WAIT)
    assert len(worked) == 200


def test_two_loops_in_two_threads(method, base):
    """Each loop takes and gives back the interpreter on its own."""
    with EventBase(method) as other:
        ran = {"one": 0, "two": 0}

        def count(name, which):
            ran[name] += 1
            if ran[name] == 200:
                which.loopbreak()

        Timer(base, count, "one", base, persist=True).add(0)
        Timer(other, count, "two", other, persist=True).add(0)
        threads = [LoopThread(base), LoopThread(other)]
        for thread in threads:
            thread.finish()
        assert ran == {"one": 200, "two": 200}


def test_messages_between_two_loops(method, base):
    with EventBase(method) as other:
        hops = []

        def hop(i):
            hops.append(threading.get_ident())
            if len(hops) == 400:
                base.loopbreak()
                other.loopbreak()
                return
            balls[1 - i].activate(TIMEOUT)

        balls = [
            Event(b, -1, 0, lambda fd, what, i: hop(i), i) for i, b in enumerate((base, other))
        ]
        threads = [LoopThread(b, cyevent.EVLOOP_NO_EXIT_ON_EMPTY) for b in (base, other)]
        balls[0].activate(TIMEOUT)
        for thread in threads:
            thread.finish()
        assert len(set(hops[0::2])) == len(set(hops[1::2])) == 1
        assert hops[0] != hops[1]


def test_trace_functions_see_callbacks(base):
    """The thread state in callbacks is the loop thread's own."""
    seen = []
    sys.setprofile(lambda frame, what, arg: seen.append(frame.f_code.co_name))
    try:

        def traced_callback():
            pass

        Timer(base, traced_callback).add(0)
        base.dispatch()
    finally:
        sys.setprofile(None)
    assert "traced_callback" in seen


def test_thread_locals_and_context_are_the_loop_threads(base):
    var = contextvars.ContextVar("var", default="default")
    local = threading.local()
    local.value = "here"
    var.set("set")
    got = []
    Timer(base, lambda: got.append((var.get(), local.value))).add(0)
    base.dispatch()
    assert got == [("set", "here")]


# --- not thread-safe -----------------------------------------------------------------------------


def test_a_base_without_a_lock_does_all_a_single_thread_needs(method, pair):
    left, right = pair
    with EventBase(method, threadsafe=False) as base:
        ran = []
        right.send(b"x")
        Event(base, left, READ, lambda fd, what: ran.append("read")).add()
        Timer(base, ran.append, "timer").add(0.005)
        ev = Event(base, -1, 0, lambda fd, what: ran.append("active"))
        ev.activate(TIMEOUT)
        assert base.dispatch() == 1
        assert sorted(ran) == ["active", "read", "timer"]
        Timer(base, base.loopbreak).add(0)
        base.dispatch()
        assert base.got_break


def test_a_base_without_a_lock_may_live_in_any_one_thread(method):
    ran = []

    def work():
        with EventBase(method, threadsafe=False) as base:
            Timer(base, ran.append, 1).add(0.001)
            base.dispatch()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert ran == [1] * 4


def test_a_second_thread_is_refused_while_the_loop_runs(base, started):
    Timer(base, pytest.fail).add(FAR)
    thread = started()
    with pytest.raises(RuntimeError):
        base.dispatch()
    base.loopbreak()
    thread.finish()


def test_closing_while_another_thread_runs_the_loop_is_refused(base, started):
    """Freeing what a running loop uses cannot end well; it says so rather than crash."""
    Timer(base, pytest.fail).add(FAR)
    thread = started()
    with pytest.raises(RuntimeError):
        base.close()
    base.loopbreak()
    thread.finish()
    base.close()


def test_closing_in_a_callback_is_refused(base):
    caught = []

    def close():
        try:
            base.close()
        except RuntimeError as error:
            caught.append(error)

    Timer(base, close).add(0)
    base.dispatch()
    assert len(caught) == 1
    assert not base.closed
