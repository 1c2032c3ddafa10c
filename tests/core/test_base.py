"""Making and describing a base: methods, features, environment, counts, listings, priorities."""

import io
import os
import re
import signal
import sys
import time

import clock
import fds
import pytest

import cyevent
from cyevent import Event, EventBase, Signal, Timer


def nothing(*args):
    pass


METHODS = EventBase.supported_methods()


# --- choosing a method ---------------------------------------------------------------------------


def test_supported_methods_are_names_best_first():
    assert isinstance(METHODS, tuple)
    assert METHODS
    assert len(set(METHODS)) == len(METHODS)
    assert all(isinstance(name, str) for name in METHODS)
    with EventBase(ignore_env=True) as base:
        assert base.method == METHODS[0]


def test_linux_has_epoll_poll_and_select():
    if os.uname().sysname != "Linux":
        pytest.skip("other systems have other methods")
    assert METHODS == ("epoll", "poll", "select")


def test_method_by_name(method):
    with EventBase(method) as base:
        assert base.method == method
    with EventBase(method=method) as base:
        assert base.method == method


def test_avoiding_the_best_method_gives_another():
    if len(METHODS) == 1:
        with pytest.raises(OSError):
            EventBase(avoid=[METHODS[0]], ignore_env=True)
        return
    with EventBase(avoid=[METHODS[0]], ignore_env=True) as base:
        assert base.method != METHODS[0]
        assert base.method == METHODS[1]


def test_avoiding_an_unknown_method_changes_nothing():
    with EventBase(avoid=("Nonesuch",), ignore_env=True) as base:
        assert base.method == METHODS[0]


def test_avoiding_every_method_fails():
    with pytest.raises((OSError, ValueError)):
        EventBase(avoid=METHODS)


def test_required_features_are_there():
    for feature in (
        cyevent.EV_FEATURE_ET,
        cyevent.EV_FEATURE_O1,
        cyevent.EV_FEATURE_FDS,
        cyevent.EV_FEATURE_EARLY_CLOSE,
    ):
        providers = []
        for name in METHODS:
            with EventBase(name) as base:
                if base.features & feature:
                    providers.append(name)
        if providers:
            with EventBase(require=feature, ignore_env=True) as base:
                assert base.features & feature == feature
                assert base.method == providers[0]
        else:
            with pytest.raises((OSError, ValueError)):
                EventBase(require=feature, ignore_env=True)


def test_features_of_the_linux_methods(method):
    expected = {
        "epoll": cyevent.EV_FEATURE_ET | cyevent.EV_FEATURE_O1 | cyevent.EV_FEATURE_EARLY_CLOSE,
        "poll": cyevent.EV_FEATURE_FDS,
        "select": cyevent.EV_FEATURE_FDS,
    }
    if method not in expected:
        pytest.skip(f"{method} is not a method of Linux")
    with EventBase(method) as base:
        # poll reports a peer's close too where the system has POLLRDHUP.
        assert base.features & ~cyevent.EV_FEATURE_EARLY_CLOSE == (
            expected[method] & ~cyevent.EV_FEATURE_EARLY_CLOSE
        )
        if method == "epoll":
            assert base.features & cyevent.EV_FEATURE_EARLY_CLOSE


@pytest.mark.skipif(sys.platform == "win32", reason="no method of Windows waits for files")
def test_require_and_avoid_together():
    with EventBase(require=cyevent.EV_FEATURE_FDS, avoid=["poll"], ignore_env=True) as base:
        assert base.method not in ("poll", "epoll")
        assert base.features & cyevent.EV_FEATURE_FDS


def test_environment_disables_a_method(monkeypatch):
    for name in METHODS:
        monkeypatch.delenv(f"EVENT_NO{name.upper()}", raising=False)
    with EventBase() as base:
        default = base.method
    monkeypatch.setenv(f"EVENT_NO{default.upper()}", "1")
    if len(METHODS) > 1:
        with EventBase() as base:
            assert base.method != default
    with EventBase(ignore_env=True) as base:
        assert base.method == default


def test_environment_disables_every_method_in_turn(monkeypatch):
    for name in METHODS:
        monkeypatch.delenv(f"EVENT_NO{name.upper()}", raising=False)
    for i, name in enumerate(METHODS[:-1]):
        monkeypatch.setenv(f"EVENT_NO{name.upper()}", "1")
        with EventBase() as base:
            assert base.method == METHODS[i + 1]
    monkeypatch.setenv(f"EVENT_NO{METHODS[-1].upper()}", "1")
    with pytest.raises((OSError, ValueError)):
        EventBase()


def test_environment_shows_the_method(run_python, monkeypatch):
    monkeypatch.setenv("EVENT_SHOW_METHOD", "1")
    done = run_python("import cyevent; print(cyevent.EventBase().method)")
    assert done.stdout.strip() in done.stderr


def test_signal_method_is_named(method):
    with EventBase(method) as base:
        assert base.signal_method
        ordinary = base.signal_method
    if not sys.platform.startswith("linux"):
        return
    with EventBase(method, signalfd=True) as base:
        assert "signalfd" in base.signal_method
        assert base.signal_method != ordinary


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signalfd is Linux's")
def test_environment_turns_signalfd_on(method, monkeypatch):
    monkeypatch.setenv("EVENT_USE_SIGNALFD", "1")
    with EventBase(method) as base:
        assert "signalfd" in base.signal_method
    with EventBase(method, ignore_env=True) as base:
        assert "signalfd" not in base.signal_method


def test_epoll_changelist_has_a_name_of_its_own(monkeypatch):
    if "epoll" not in METHODS:
        pytest.skip("no epoll here")
    with EventBase("epoll", epoll_changelist=True) as base:
        assert base.method == "epoll (with changelist)"
    monkeypatch.setenv("EVENT_EPOLL_USE_CHANGELIST", "1")
    with EventBase("epoll") as base:
        assert base.method == "epoll (with changelist)"
    with EventBase("epoll", ignore_env=True) as base:
        assert base.method == "epoll"


def test_version():
    assert re.match(r"\d+\.\d+", cyevent.__version__)


# --- opening and closing -------------------------------------------------------------------------


def test_base_reads_until_end_of_file(method, pair):
    left, right = pair
    left.sendall(b"this is a test")
    left.close()
    got = []
    with EventBase(method) as base:

        def on_read(fd, what):
            got.append(fds.read(fd, 256))
            if not got[-1]:
                ev.delete()
                base.loopexit()

        ev = Event(base, right, cyevent.READ | cyevent.PERSIST, on_read)
        ev.add()
        assert base.dispatch() == 0
    assert got == [b"this is a test", b""]


def test_close_with_events_added_and_active(method, pair):
    base = EventBase(method)
    added = Event(base, pair[1], cyevent.READ, nothing)
    added.add()
    active = Event(base, pair[0], 0, nothing)
    active.activate(cyevent.READ)
    Timer(base, nothing).add(100)
    Signal(base, signal.SIGUSR1, nothing).add()
    base.once(-1, cyevent.TIMEOUT, nothing, timeout=100)
    base.close()
    assert base.closed
    base.close()
    assert base.closed


def test_with_statement_closes(method):
    with EventBase(method) as base:
        assert not base.closed
    assert base.closed


def test_base_has_a_readable_repr(base, method):
    assert "EventBase" in repr(base)


def test_many_bases_at_once(method):
    bases = [EventBase(method) for _ in range(30)]
    for base in bases:
        Timer(base, nothing).add(0)
        assert base.dispatch() == 1
    for base in bases:
        base.close()


def test_closing_gives_back_every_descriptor(method, pair):
    EventBase(method).close()
    before = fds.opened()
    for signalfd in (False, True):
        with EventBase(method, signalfd=signalfd, precise_timers=True) as base:
            Signal(base, signal.SIGUSR1, nothing).add()
            Event(base, pair[0], cyevent.READ, nothing).add()
            Timer(base, base.loopbreak).add(0)
            base.dispatch()
        assert fds.opened() == before


# --- counts --------------------------------------------------------------------------------------


def counts(ask):
    kinds = (
        cyevent.EVENT_BASE_COUNT_ACTIVE,
        cyevent.EVENT_BASE_COUNT_VIRTUAL,
        cyevent.EVENT_BASE_COUNT_ADDED,
    )
    return tuple(ask(kind) for kind in kinds)


def test_num_events_counts_each_list_an_event_is_in(base, pair):
    ev = Event(base, pair[0], cyevent.READ, nothing)
    ev.add(timeout=0.05)
    # Once for the descriptor, once for the timeout.
    assert counts(base.num_events) == (0, 0, 2)
    assert base.num_events() == 2
    ev.activate(cyevent.READ)
    assert counts(base.num_events) == (1, 0, 3)
    assert base.num_events(cyevent.EVENT_BASE_COUNT_ACTIVE | cyevent.EVENT_BASE_COUNT_ADDED) == 4
    assert base.num_events(cyevent.EVENT_BASE_COUNT_ACTIVE | cyevent.EVENT_BASE_COUNT_VIRTUAL) == 1
    base.loop()
    assert counts(base.num_events) == (0, 0, 0)
    assert base.num_events() == 0


def test_max_events_keeps_the_highest_until_cleared(base, pair):
    first = Event(base, pair[0], cyevent.READ, nothing)
    second = Event(base, pair[1], cyevent.READ, nothing)
    first.add(timeout=0.05)
    second.add(timeout=0.05)
    second.delete()
    assert counts(base.max_events) == (0, 0, 4)
    first.activate(cyevent.READ)
    assert counts(base.max_events) == (1, 0, 4)
    both = cyevent.EVENT_BASE_COUNT_ACTIVE | cyevent.EVENT_BASE_COUNT_ADDED
    assert base.max_events(both) == 5
    base.loop()
    assert counts(base.max_events) == (1, 0, 4)
    assert base.max_events(cyevent.EVENT_BASE_COUNT_ACTIVE, clear=True) == 1
    assert base.max_events(cyevent.EVENT_BASE_COUNT_ADDED, clear=True) == 4
    assert counts(base.max_events) == (0, 0, 0)


# --- listings ------------------------------------------------------------------------------------


def test_iterating_visits_each_event_once(base, pair):
    waiting = Timer(base, nothing)
    both = Timer(base, nothing)
    active = Timer(base, nothing)
    last = Timer(base, nothing)
    untouched = Timer(base, nothing)
    waiting.add(10)
    both.add(10)
    both.activate(cyevent.TIMEOUT)
    active.activate(cyevent.TIMEOUT)
    last.add(10)
    listed = list(base)
    assert len(listed) == 4
    assert {id(ev) for ev in listed} == {id(ev) for ev in (waiting, both, active, last)}
    assert untouched not in listed


def test_iteration_order_is_descriptors_signals_timers_active(base, pair):
    active = Timer(base, nothing)
    timer = Timer(base, nothing)
    common = Timer(base, nothing)
    sig = Signal(base, signal.SIGUSR2, nothing)
    io_event = Event(base, pair[0], cyevent.READ, nothing)
    active.activate(cyevent.TIMEOUT)
    common.add(base.common_timeout(20))
    timer.add(10)
    sig.add()
    # In two lists, and named by the first of them only.
    io_event.add(timeout=5)
    assert list(base) == [io_event, sig, timer, common, active]


def test_iterating_an_empty_base(base):
    assert list(base) == []


def test_events_may_be_deleted_while_iterating(base):
    timers = [Timer(base, nothing) for _ in range(10)]
    for timer in timers:
        timer.add(10)
    for ev in base:
        ev.delete()
    assert base.num_events() == 0


def test_dump_names_descriptor_interest_and_state(base, pair):
    ev = Event(base, pair[0], cyevent.READ | cyevent.WRITE | cyevent.PERSIST, nothing)
    ev.add(timeout=100)
    sig = Signal(base, signal.SIGUSR1, nothing)
    sig.add()
    timer = Timer(base, nothing)
    timer.activate(cyevent.TIMEOUT)
    out = io.StringIO()
    base.dump_events(out)
    text = out.getvalue()
    inserted, active = re.fullmatch(
        r"Inserted events:\n(.*)Active events:\n(.*)", text, re.DOTALL
    ).groups()
    fd = pair[0].fileno()
    assert re.search(rf"\[fd +{fd}\] Read Write Persist Timeout=\d+\.\d{{6}}\n", inserted)
    assert re.search(rf"\[sig +{int(signal.SIGUSR1)}\] Signal Persist", inserted)
    assert re.search(r"\[fd +-1, priority=0\] Timeout active\n", active)
    assert str(fd) not in re.sub(r"0x[0-9a-f]+", "", active)


def test_dump_goes_to_a_real_file_too(base, tmp_path):
    Timer(base, nothing).add(10)
    path = tmp_path / "dump"
    with open(path, "w") as out:
        out.write("before\n")
        base.dump_events(out)
        out.write("after\n")
    lines = path.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[1] == "Inserted events:"
    assert lines[-1] == "after"


# --- priorities ----------------------------------------------------------------------------------


def test_new_events_get_the_middle_priority(method):
    for n in (1, 2, 3, 8):
        with EventBase(method, priorities=n) as base:
            assert base.priorities == n
            assert Timer(base, nothing).priority == n // 2


def test_an_event_of_a_priority_that_is_gone_is_among_the_least_urgent(base):
    base.priorities = 8
    order = []
    last = Timer(base, order.append, "last", priority=7)
    first = Timer(base, order.append, "first", priority=0)
    base.priorities = 2
    last.activate(cyevent.TIMEOUT)
    first.activate(cyevent.TIMEOUT)
    base.dispatch()
    assert order == ["first", "last"]
    assert last.priority == 1


@pytest.mark.parametrize(("npriorities", "first", "last"), [(1, 3, 3), (2, 3, 1), (3, 3, 0)])
def test_an_urgent_event_starves_a_less_urgent_one(method, npriorities, first, last):
    with EventBase(method, priorities=npriorities) as base:
        runs = {}

        def again(name):
            if runs.get(name, 0) == 3:
                base.loopexit()
                return
            runs[name] = runs.get(name, 0) + 1
            timers[name].add(0)

        timers = {
            "urgent": Timer(base, again, "urgent", priority=0),
            "patient": Timer(base, again, "patient", priority=npriorities - 1),
        }
        timers["urgent"].add(0)
        timers["patient"].add(0)
        base.dispatch()
        assert runs.get("urgent", 0) == first
        # loopexit() is an event of the middle priority, so with two priorities it queues behind.
        assert runs.get("patient", 0) == last


def test_activating_a_more_urgent_event_runs_it_next(method):
    with EventBase(method, priorities=8) as base:
        order = []

        def run(name):
            order.append(name)
            if name == "first":
                same.activate(cyevent.READ)
                urgent.activate(cyevent.TIMEOUT)

        first = Timer(base, run, "first", priority=4)
        same = Timer(base, run, "same", priority=4)
        urgent = Timer(base, run, "urgent", priority=0)
        first.activate(cyevent.WRITE)
        base.dispatch()
        assert order == ["first", "urgent", "same"]


def test_priority_can_be_changed_until_the_event_is_active(method):
    with EventBase(method, priorities=4) as base:
        timer = Timer(base, nothing)
        timer.priority = 3
        assert timer.priority == 3
        timer.add(10)
        timer.priority = 0
        assert timer.priority == 0
        timer.activate(cyevent.TIMEOUT)
        with pytest.raises((ValueError, RuntimeError)):
            timer.priority = 1
        assert timer.priority == 0


# --- time ----------------------------------------------------------------------------------------


def test_cached_time_stands_still_within_a_turn(base):
    seen = []

    def look():
        seen.append(base.time())
        time.sleep(0.02)

    for _ in range(3):
        Timer(base, look).activate(cyevent.TIMEOUT)
    base.dispatch()
    assert seen[0] == seen[1] == seen[2]


def test_update_time_moves_the_cached_time(base):
    seen = []

    def look():
        seen.append(base.time())
        time.sleep(0.02)
        base.update_time()

    for _ in range(3):
        Timer(base, look).activate(cyevent.TIMEOUT)
    base.dispatch()
    assert seen[1] - seen[0] > 0.01
    assert seen[2] - seen[1] > 0.01


def test_no_cache_time_reads_the_clock_each_time(method):
    with EventBase(method, no_cache_time=True) as base:
        seen = []

        def look():
            seen.append(base.time())
            time.sleep(0.02)

        for _ in range(3):
            Timer(base, look).activate(cyevent.TIMEOUT)
        base.dispatch()
        assert seen[1] - seen[0] > 0.01
        assert seen[2] - seen[1] > 0.01


def test_time_outside_the_loop_is_the_wall_clock(base):
    before = time.time()
    now = base.time()
    after = time.time()
    assert before - 1.0 <= now <= after + 1.0
    assert isinstance(now, float)


def test_monotonic_is_pythons_monotonic_clock(base):
    before = clock.monotonic()
    now = base.monotonic()
    after = clock.monotonic()
    assert before <= now <= after


def test_fewer_priorities_leave_events_with_theirs(base):
    """An event keeps a priority that new ones can no longer have, and runs."""
    base.priorities = 8
    calls = []
    last = cyevent.Timer(base, calls.append, "last", priority=7)
    base.priorities = 2
    first = cyevent.Timer(base, calls.append, "first", priority=0)
    with pytest.raises(ValueError, match="priority"):
        cyevent.Timer(base, calls.append, priority=2)
    last.activate(cyevent.TIMEOUT)
    first.activate(cyevent.TIMEOUT)
    assert len(list(base)) == 2
    base.dispatch()
    assert calls == ["first", "last"]
    base.priorities = 200
    assert base.priorities == 200
    last.activate(cyevent.TIMEOUT)
    base.dispatch()
    assert calls == ["first", "last", "last"]


def test_priorities_cannot_change_in_a_callback(base):
    errors = []

    def change():
        try:
            base.priorities = 100
        except RuntimeError as error:
            errors.append(error)

    cyevent.Timer(base, change).activate(cyevent.TIMEOUT)
    base.dispatch()
    assert len(errors) == 1
    base.priorities = 100


def test_running_event_is_only_told_in_the_loops_thread(base):
    import threading

    seen = []

    def callback():
        worker = threading.Thread(target=lambda: seen.append(base.running_event))
        worker.start()
        worker.join()
        seen.append(base.running_event)

    timer = cyevent.Timer(base, callback)
    timer.activate(cyevent.TIMEOUT)
    base.dispatch()
    assert seen == [None, timer]
