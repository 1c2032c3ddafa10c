"""Who keeps whom alive: pending events, cycles, freeing in callbacks, closing, shutdown."""

import gc
import os
import signal
import sys
import weakref

import fds
import pytest

import cyevent
from cyevent import PERSIST, READ, TIMEOUT, WRITE, Event, EventBase, Signal, Timer


class Callback:
    """A callable whose end can be watched."""

    def __init__(self, log=None):
        self.log = [] if log is None else log

    def __call__(self, *args):
        self.log.append(args)


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- pending events are kept ---------------------------------------------------------------------


def test_a_timer_without_a_variable_fires(base):
    log = []
    Timer(base, log.append, "fired").add(0.005)
    gc.collect()
    base.dispatch()
    assert log == ["fired"]


def test_a_read_event_without_a_variable_fires(base, pair):
    log = []
    Event(base, pair[0], READ, lambda fd, what: log.append(what)).add()
    gc.collect()
    pair[1].send(b"x")
    base.dispatch()
    assert log == [READ]


def test_an_active_event_without_a_variable_runs(base):
    log = []
    Event(base, -1, 0, lambda fd, what: log.append(what)).activate(READ)
    gc.collect()
    base.dispatch()
    assert log == [READ]


def test_an_event_lives_exactly_as_long_as_it_is_pending(base, pair):
    ev = Event(base, pair[0], WRITE, print)
    ref = weakref.ref(ev)
    ev.add()
    del ev
    gc.collect()
    assert ref() is not None
    ref().delete()
    gc.collect()
    assert ref() is None


def test_a_fired_event_is_let_go(base):
    callback = Callback()
    timer = Timer(base, callback)
    refs = [weakref.ref(timer), weakref.ref(callback)]
    timer.add(0)
    log = callback.log
    del timer, callback
    base.dispatch()
    gc.collect()
    assert log == [()]
    assert [ref() for ref in refs] == [None, None]


def test_a_persistent_event_is_kept_until_deleted(base):
    log = []
    timer = Timer(base, log.append, 1, persist=True)
    ref = weakref.ref(timer)
    timer.add(1e-6)
    del timer
    while len(log) < 3:
        assert base.loop(cyevent.EVLOOP_ONCE) == 0
        gc.collect()
    ref().delete()
    gc.collect()
    assert ref() is None


def test_an_event_that_adds_itself_again_stays(base):
    log = []

    def again():
        log.append(1)
        if len(log) < 3:
            holder[0]().add(0)

    timer = Timer(base, again)
    holder = [weakref.ref(timer)]
    timer.add(0)
    del timer
    base.dispatch()
    gc.collect()
    assert log == [1, 1, 1]
    assert holder[0]() is None


def test_an_unadded_event_is_freed_at_once(base, pair):
    refs = [
        weakref.ref(Event(base, pair[0], READ, print)),
        weakref.ref(Timer(base, print)),
    ]
    gc.collect()
    assert [ref() for ref in refs] == [None, None]
    assert base.num_events() == 0


def test_an_event_keeps_the_file_it_was_given(base):
    class Reader:
        def __init__(self, fd):
            self.fd = fd

        def fileno(self):
            return self.fd

        def __del__(self):
            fds.close(self.fd)

    reader, writer = fds.pipe()
    fds.write(writer, b"x")
    fds.close(writer)
    log = []
    Event(base, Reader(reader), READ, lambda fd, what: log.append(fds.read(fd, 1))).add()
    gc.collect()
    base.dispatch()
    assert log == [b"x"]
    gc.collect()
    assert not fds.is_open(reader)


def test_once_lets_its_callback_go(base, pair):
    fired, never = Callback(), Callback()
    refs = [weakref.ref(fired), weakref.ref(never)]
    base.once(-1, TIMEOUT, fired)
    base.once(pair[0], READ, never, timeout=600)
    log = fired.log
    del fired, never
    base.loop(cyevent.EVLOOP_ONCE)
    gc.collect()
    assert log == [(-1, TIMEOUT)]
    assert refs[0]() is None
    assert refs[1]() is not None
    base.close()
    gc.collect()
    assert refs[1]() is None


# --- bases ---------------------------------------------------------------------------------------


def test_dropping_a_base_with_events_pending(method, pair):
    base = EventBase(method)
    callback = Callback()
    refs = [weakref.ref(base), weakref.ref(callback)]
    Timer(base, callback).add(600)
    Event(base, pair[0], READ, callback).add()
    Event(base, -1, 0, callback).activate(READ)
    Signal(base, signal.SIGUSR1, callback).add()
    base.once(-1, TIMEOUT, callback, timeout=600)
    del base, callback
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


def test_an_event_keeps_its_base(method):
    timer = Timer(EventBase(method), print)
    gc.collect()
    assert timer.base.method == method
    timer.add(0.001)
    timer.delete()


def test_a_base_with_a_handler_that_knows_it_is_collected(method):
    base = EventBase(method)
    base.set_exception_handler(lambda exc, callback, base=base: None)
    ref = weakref.ref(base)
    del base
    gc.collect()
    assert ref() is None


def test_an_event_that_refers_to_itself_is_collected(base, pair):
    makers = (
        lambda *callback: Event(base, pair[0], READ, *callback),
        lambda *callback: Timer(base, *callback),
        lambda *callback: Signal(base, signal.SIGUSR1, *callback),
    )
    for make in makers:
        holder = []
        # Through the callback's closure and through its arguments.
        holder.append(make(lambda *args, holder=holder: holder, holder))
        ref = weakref.ref(holder[0])
        del holder
        gc.collect()
        assert ref() is None


def test_a_self_referring_event_that_was_added_is_collected_afterwards(base):
    class Owner:
        def __init__(self):
            self.timer = Timer(base, self.on_timer)
            self.timer.add(0)

        def on_timer(self):
            pass

    ref = weakref.ref(Owner())
    gc.collect()
    assert ref() is not None
    base.dispatch()
    gc.collect()
    assert ref() is None


def test_a_pending_event_survives_the_collector(base):
    class Owner:
        def __init__(self):
            self.log = []
            self.timer = Timer(base, self.on_timer)
            self.timer.add(0.005)

        def on_timer(self):
            log.append(self.timer.pending())

    log = []
    Owner()
    for _ in range(3):
        gc.collect()
    base.dispatch()
    assert log == [0]


# --- freeing in callbacks ------------------------------------------------------------------------


@pytest.mark.parametrize("persist", [False, True], ids=["once", "persist"])
def test_closing_an_event_in_its_own_callback(base, pair, persist):
    log = []

    def on_write(fd, what):
        ev.close()
        log.append(what)
        with pytest.raises(ValueError):
            ev.add()

    ev = Event(base, pair[0], WRITE | (PERSIST if persist else 0), on_write)
    ev.add(timeout=600)
    base.dispatch()
    assert log == [WRITE]


def test_dropping_the_last_reference_in_the_callback(base, pair):
    log = []

    def on_write(fd, what):
        holder.clear()
        gc.collect()
        log.append(what)

    holder = [Event(base, pair[0], WRITE, on_write)]
    holder[0].add()
    base.dispatch()
    assert log == [WRITE]


def test_closing_another_active_event(base):
    ran = []

    def kill(name, other):
        ran.append(name)
        timers[other].close()

    timers = {"one": Timer(base, kill, "one", "two"), "two": Timer(base, kill, "two", "one")}
    for timer in timers.values():
        timer.activate(TIMEOUT)
    base.dispatch()
    assert ran == ["one"]


def test_collecting_in_every_callback(base, pair):
    """The collector runs while the core is between two callbacks of one batch."""
    for _ in range(20):
        Timer(base, gc.collect).activate(TIMEOUT)
        Event(base, pair[0], WRITE, lambda fd, what: gc.collect(0)).add()
    assert base.dispatch() == 1
    assert base.num_events() == 0


# --- closing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Event, Timer, Signal])
def test_a_closed_event_refuses_use(base, pair, kind):
    arguments = {Event: (pair[0], READ), Timer: (), Signal: (signal.SIGUSR1,)}[kind]
    ev = kind(base, *arguments, print)
    ev.add(1)
    ev.close()
    ev.close()
    for use in (
        lambda: ev.add(1),
        lambda: ev.activate(READ),
        ev.finalize,
        lambda: setattr(ev, "priority", 0),
    ):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert "closed" in repr(ev)
    assert base.num_events() == 0


def test_a_closed_base_refuses_use(method, pair):
    base = EventBase(method)
    ev = Event(base, pair[0], READ, print)
    ev.add()
    timer = Timer(base, print)
    base.close()
    for use in (
        base.dispatch,
        base.loop,
        base.loopexit,
        base.loopbreak,
        base.loopcontinue,
        base.reinit,
        base.update_time,
        base.num_events,
        lambda: base.max_events(cyevent.EVENT_BASE_COUNT_ACTIVE),
        lambda: base.once(-1, TIMEOUT, print),
        lambda: base.common_timeout(1),
        lambda: base.active_by_fd(pair[0], READ),
        lambda: base.active_by_signal(signal.SIGUSR1),
        lambda: base.dump_events(sys.stderr),
        lambda: list(base),
        lambda: base.method,
        lambda: base.features,
        lambda: base.time(),
        lambda: Event(base, pair[0], READ, print),
        lambda: Timer(base, print),
        lambda: Signal(base, signal.SIGUSR1, print),
        lambda: base.__enter__(),
        ev.add,
        lambda: ev.activate(READ),
        lambda: timer.add(1),
    ):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert base.closed
    # Giving up what is gone already is no mistake.
    ev.close()
    timer.close()
    assert "closed" in repr(base)


def test_closing_a_base_lets_its_events_go(method, pair):
    base = EventBase(method)
    callback = Callback()
    ref = weakref.ref(callback)
    Event(base, pair[0], READ, callback).add()
    base.close()
    del callback
    gc.collect()
    assert ref() is None


# --- leaks ---------------------------------------------------------------------------------------


def test_no_references_are_lost(base, pair):
    def callback(*args):
        pass

    def use():
        for _ in range(50):
            Event(base, pair[0], WRITE, callback, callback).add()
            Timer(base, callback, callback).add(0)
            Timer(base, callback).activate(TIMEOUT)
            base.once(-1, TIMEOUT, callback, callback)
            ev = Event(base, pair[1], READ, callback)
            ev.add(timeout=5)
            ev.delete()
            Signal(base, signal.SIGUSR1, callback).close()
            ev.finalize(callback)
        base.dispatch()
        gc.collect()

    use()
    before = sys.getrefcount(callback), sys.getrefcount(base), len(gc.get_objects())
    for _ in range(5):
        use()
    after = sys.getrefcount(callback), sys.getrefcount(base), len(gc.get_objects())
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 50


def test_no_memory_is_lost(method, pair):
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("needs /proc")
    with open("/proc/self/maps") as maps:
        if "libasan" in maps.read():
            pytest.skip("the address sanitizer keeps freed memory back")

    def use(rounds):
        for _ in range(rounds):
            with EventBase(method) as base:
                events = [Event(base, pair[0], WRITE, print) for _ in range(20)]
                for ev in events:
                    ev.add(timeout=60)
                base.common_timeout(1)
                base.once(-1, TIMEOUT, int, timeout=60)
                Signal(base, signal.SIGUSR1, print).add()
                Timer(base, base.loopbreak).activate(TIMEOUT)
                base.loop(cyevent.EVLOOP_NONBLOCK)

    saved = sys.stdout
    with open(os.devnull, "w") as sys.stdout:
        try:
            use(200)
            gc.collect()
            before = resident()
            use(1000)
            gc.collect()
            grown = resident() - before
        finally:
            sys.stdout = saved
    # A struct lost per round would be some hundred KiB, one lost per event several MiB.
    assert grown < 2 * 1024 * 1024, grown


def test_errors_lose_no_references(base, pair):
    def callback(*args):
        pass

    def use():
        for bad in (
            lambda: Event(base, -5, READ, callback),
            lambda: Event(base, pair[0], READ, callback, priority=99),
            lambda: Timer(base, callback).add(-1),
            lambda: Signal(base, 5000, callback),
            lambda: base.once(-5, READ, callback),
        ):
            with pytest.raises(ValueError):
                bad()
        gc.collect()

    use()
    before = sys.getrefcount(callback), sys.getrefcount(base)
    for _ in range(20):
        use()
    assert (sys.getrefcount(callback), sys.getrefcount(base)) == before


# --- the end of the interpreter ------------------------------------------------------------------

SHUTDOWN = """
import sys, threading, cyevent
base = cyevent.EventBase(sys.argv[1])
ready = threading.Event()
ev = cyevent.Timer(base, ready.set, persist=True)
ev.add(0.001 if sys.argv[2] == "busy" else 1e-6)
if sys.argv[2] == "waiting":
    ev.delete()
    cyevent.Timer(base, ready.set).add(0)
    cyevent.Timer(base, print).add(600)
threading.Thread(target=base.dispatch, daemon=True).start()
assert ready.wait(30)
print("done")
"""


@pytest.mark.parametrize("how", ["busy", "spinning", "waiting"])
def test_shutdown_with_a_loop_alive_in_a_daemon_thread(method, how, run_python):
    done = run_python(SHUTDOWN, method, how)
    assert done.stdout == "done\n"
    assert done.stderr == ""


def test_shutdown_with_everything_pending(method, run_python):
    program = """
import sys, socket, signal, cyevent
base = cyevent.EventBase(sys.argv[1])
pair = socket.socketpair()
events = [cyevent.Event(base, pair[0], cyevent.READ, print),
          cyevent.Timer(base, print), cyevent.Signal(base, signal.SIGUSR1, print)]
events[0].add(); events[1].add(600); events[2].add()
cyevent.Timer(base, print).activate(cyevent.TIMEOUT)
base.once(-1, cyevent.TIMEOUT, print, timeout=600)
sys.stdout.write("done")
"""
    done = run_python(program, method, options=("-X", "dev", "-W", "error"))
    assert done.stdout == "done"
    assert "Error" not in done.stderr


def test_pending_events_are_kept_by_identity(base):
    """What a subclass thinks of equality has no say in who is alive."""

    class AllTheSame(Timer):
        def __eq__(self, other):
            return True

        def __hash__(self):
            return 1

    class Unhashable(Timer):
        __hash__ = None

    ran = []
    for n in range(3):
        AllTheSame(base, ran.append, n).add(0.001 * n)
        Unhashable(base, ran.append, n).add(0.001 * n)
    gc.collect()
    base.dispatch()
    assert sorted(ran) == [0, 0, 1, 1, 2, 2]


def test_subclasses_with_attributes_take_part_in_collection(base):
    class MyTimer(Timer):
        pass

    timer = MyTimer(base, print)
    timer.me = timer
    ref = weakref.ref(timer)
    del timer
    gc.collect()
    assert ref() is None
