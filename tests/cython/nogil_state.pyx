"""Events through libevent's names: activating them, and what can be asked about them."""

import time

import cyevent
from libc.string cimport memset

from cyevent cimport (
    EV_CLOSED, EV_ET, EV_FEATURE_EARLY_CLOSE, EV_FEATURE_ET, EV_FEATURE_FDS, EV_FEATURE_O1,
    EV_FINALIZE, EV_PERSIST, EV_READ, EV_SIGNAL, EV_TIMEOUT, EV_WRITE, event, event_active,
    event_add, event_assign, event_base, event_base_active_by_fd, event_base_active_by_signal,
    EVENT_BASE_COUNT_ACTIVE, EVENT_BASE_COUNT_ADDED, EVENT_BASE_COUNT_VIRTUAL, event_base_dispatch,
    EVENT_BASE_FLAG_EPOLL_DISALLOW_TIMERFD, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST,
    EVENT_BASE_FLAG_IGNORE_ENV, EVENT_BASE_FLAG_NO_CACHE_TIME, EVENT_BASE_FLAG_NOLOCK,
    EVENT_BASE_FLAG_PRECISE_TIMER, EVENT_BASE_FLAG_STARTUP_IOCP, EVENT_BASE_FLAG_USE_SIGNALFD,
    event_base_foreach_event, event_base_get_max_events, event_base_get_num_events,
    event_base_get_running_event, event_base_got_exit, event_base_loop, event_base_loopexit,
    event_base_priority_init, event_callback_fn, event_del, event_free, event_get_assignment,
    event_get_base, event_get_callback, event_get_callback_arg, event_get_events, event_get_fd,
    event_get_priority, event_get_struct_event_size, event_initialized, event_new, event_pending,
    event_priority_set, event_self_cbarg, EVLOOP_NO_EXIT_ON_EMPTY, EVLOOP_NONBLOCK, EVLOOP_ONCE,
    evsignal_new, evtimer_new, timeval,
)
from rig cimport Rig, count, milliseconds, note, nothing

cdef extern from "<signal.h>" nogil:
    int NSIG, SIGHUP

cdef extern from "<limits.h>" nogil:
    int INT_MAX


# --- activating, asking --------------------------------------------------------------------------

def test_manipulate_active_events(method):
    cdef Rig rig = Rig(method)
    cdef event ev
    event_assign(&ev, rig.base, -1, EV_TIMEOUT, nothing, NULL)
    event_active(&ev, EV_READ, 1)
    assert event_pending(&ev, EV_READ | EV_TIMEOUT | EV_WRITE, NULL) == EV_READ
    event_active(&ev, EV_WRITE, 1)
    assert event_pending(&ev, EV_READ | EV_TIMEOUT | EV_WRITE, NULL) == EV_READ | EV_WRITE
    event_del(&ev)
    assert not event_pending(&ev, EV_READ | EV_TIMEOUT | EV_WRITE, NULL)


cdef void expect_self(int fd, short what, void *arg) noexcept nogil:
    cdef event *ev = <event *>arg
    if event_base_get_running_event(event_get_base(ev)) == ev:
        event_base_loopexit(event_get_base(ev), NULL)


def test_event_new_selfarg(method):
    cdef Rig rig = Rig(method)
    cdef event *ev = event_new(rig.base, -1, EV_READ, expect_self, event_self_cbarg())
    assert event_get_callback_arg(ev) == <void *>ev
    event_active(ev, EV_READ, 1)
    event_base_dispatch(rig.base)
    assert event_base_got_exit(rig.base)
    assert event_base_get_running_event(rig.base) == NULL
    event_free(ev)


def test_event_assign_selfarg(method):
    cdef Rig rig = Rig(method)
    cdef event ev
    event_assign(&ev, rig.base, -1, EV_READ, expect_self, event_self_cbarg())
    assert event_get_callback_arg(&ev) == <void *>&ev
    event_active(&ev, EV_READ, 1)
    event_base_dispatch(rig.base)
    assert event_base_got_exit(rig.base)


cdef tuple numbers(event_base *base):
    return (
        event_base_get_num_events(base, EVENT_BASE_COUNT_ACTIVE),
        event_base_get_num_events(base, EVENT_BASE_COUNT_VIRTUAL),
        event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED),
        event_base_get_num_events(base, EVENT_BASE_COUNT_ACTIVE | EVENT_BASE_COUNT_VIRTUAL),
        event_base_get_num_events(base, EVENT_BASE_COUNT_ACTIVE | EVENT_BASE_COUNT_ADDED),
        event_base_get_num_events(base, EVENT_BASE_COUNT_VIRTUAL | EVENT_BASE_COUNT_ADDED),
    )


def test_event_base_get_num_events(method):
    cdef Rig rig = Rig(method)
    cdef event ev
    cdef timeval soon = milliseconds(10)
    # A descriptor of -1 is never ready, but the event counts as added.
    event_assign(&ev, rig.base, -1, EV_READ, nothing, NULL)
    assert event_add(&ev, &soon) == 0
    assert numbers(rig.base) == (0, 0, 2, 0, 2, 2)
    event_active(&ev, EV_READ, 1)
    assert numbers(rig.base) == (1, 0, 3, 1, 4, 3)
    event_base_loop(rig.base, 0)
    assert numbers(rig.base) == (0, 0, 0, 0, 0, 0)


def test_event_base_get_max_events(method):
    cdef Rig rig = Rig(method)
    cdef event one, two
    cdef timeval soon = milliseconds(10)
    cdef event_base *base = rig.base
    event_assign(&one, base, rig.pair[0], EV_READ, nothing, NULL)
    event_assign(&two, base, rig.pair[1], EV_READ, nothing, NULL)
    event_add(&one, &soon)
    event_add(&two, &soon)
    event_del(&two)
    assert event_base_get_max_events(base, EVENT_BASE_COUNT_ADDED, 0) == 4
    assert event_base_get_max_events(base, EVENT_BASE_COUNT_ACTIVE, 0) == 0
    event_active(&one, EV_READ, 1)
    assert event_base_get_max_events(
        base, EVENT_BASE_COUNT_ADDED | EVENT_BASE_COUNT_ACTIVE, 0) == 5
    event_base_loop(base, 0)
    assert event_base_get_max_events(base, EVENT_BASE_COUNT_ACTIVE, 1) == 1
    assert event_base_get_max_events(base, EVENT_BASE_COUNT_ADDED, 1) == 4
    assert event_base_get_max_events(base, EVENT_BASE_COUNT_VIRTUAL, 1) == 0
    assert event_base_get_max_events(
        base, EVENT_BASE_COUNT_ADDED | EVENT_BASE_COUNT_ACTIVE, 0) == 0


def test_evmap_invalid_slots(method):
    cdef Rig rig = Rig(method)
    cdef event *ev
    for signum in (-1, 0, NSIG):
        ev = evsignal_new(rig.base, signum, nothing, NULL)
        assert ev != NULL
        assert event_add(ev, NULL) == -1, signum
        assert not event_pending(ev, EV_SIGNAL, NULL)
        event_free(ev)
    for fd in (INT_MAX, INT_MAX // 2):
        ev = event_new(rig.base, fd, EV_READ, nothing, NULL)
        assert ev != NULL
        assert event_add(ev, NULL) == -1, fd
        event_free(ev)
    assert event_base_get_num_events(rig.base, EVENT_BASE_COUNT_ADDED) == 0


def test_bad_assign(method):
    cdef Rig rig = Rig(method)
    cdef event ev
    assert event_assign(&ev, rig.base, -1, EV_SIGNAL | EV_READ, nothing, NULL) == -1
    assert event_assign(&ev, NULL, -1, EV_SIGNAL | EV_WRITE, nothing, NULL) == -1
    assert event_new(rig.base, -1, EV_SIGNAL | EV_CLOSED, nothing, NULL) == NULL


def test_event_pending(method):
    cdef Rig rig = Rig(method)
    cdef event *reader = event_new(rig.base, rig.pair[0], EV_READ, nothing, NULL)
    cdef event *writer = event_new(rig.base, rig.pair[1], EV_WRITE, nothing, NULL)
    cdef event *timer = evtimer_new(rig.base, nothing, NULL)
    cdef timeval wait = milliseconds(500)
    cdef timeval expires
    before = time.time()
    event_add(reader, NULL)
    event_add(timer, &wait)
    assert event_pending(reader, EV_READ, NULL) == EV_READ
    assert not event_pending(writer, EV_WRITE, NULL)
    assert not event_pending(reader, EV_WRITE, NULL)
    assert event_pending(reader, EV_READ | EV_WRITE, NULL)
    assert not event_pending(reader, EV_TIMEOUT, NULL)
    assert event_pending(timer, EV_TIMEOUT, &expires) == EV_TIMEOUT
    # Told in wall-clock time, which is looked at now and then only.
    assert abs(expires.tv_sec + expires.tv_usec * 1e-6 - before - 0.5) < 5
    event_free(reader)
    event_free(writer)
    event_free(timer)


def test_get_assignment(method):
    cdef Rig rig = Rig(method)
    cdef int arg = 0
    cdef event *ev = event_new(rig.base, rig.pair[1], EV_READ, count, &arg)
    cdef event_base *base = NULL
    cdef int fd = -1
    cdef short events = 0
    cdef event_callback_fn callback = NULL
    cdef void *got = NULL
    event_get_assignment(ev, &base, &fd, &events, &callback, &got)
    assert base == rig.base == event_get_base(ev)
    assert fd == rig.pair[1] == event_get_fd(ev)
    assert events == EV_READ == event_get_events(ev)
    assert callback == count and event_get_callback(ev) == count
    assert got == <void *>&arg and event_get_callback_arg(ev) == <void *>&arg
    event_get_assignment(ev, NULL, NULL, NULL, NULL, NULL)
    event_free(ev)


def test_struct_event_size():
    cdef event ev
    assert event_get_struct_event_size() <= sizeof(event)
    memset(&ev, 0, sizeof(ev))
    assert not event_initialized(&ev)
    event_assign(&ev, NULL, -1, 0, nothing, NULL)
    assert event_initialized(&ev)


def test_priority_of_an_event(method):
    cdef Rig rig = Rig(method)
    cdef event ev
    assert event_base_priority_init(rig.base, 8) == 0
    event_assign(&ev, rig.base, -1, 0, nothing, NULL)
    assert event_get_priority(&ev) == 4
    assert event_priority_set(&ev, 7) == 0
    assert event_get_priority(&ev) == 7
    assert event_priority_set(&ev, 8) == -1
    assert event_priority_set(&ev, -1) == -1
    event_active(&ev, EV_READ, 1)
    assert event_priority_set(&ev, 0) == -1
    # Neither can the queues change while something is in them.
    assert event_base_priority_init(rig.base, 3) == -1


cdef struct visited:
    event *ev
    int calls


cdef int visit(const event_base *base, const event *ev, void *arg) noexcept nogil:
    cdef visited *v
    if event_get_callback(ev) != nothing:
        return 0
    v = <visited *>event_get_callback_arg(ev)
    v.ev = <event *>ev
    v.calls += 1
    return 101 if v.calls == 100 else 0


def test_event_foreach(method):
    cdef Rig rig = Rig(method)
    cdef event *events[5]
    cdef visited seen[5]
    cdef timeval later = milliseconds(10000)
    cdef int i
    memset(seen, 0, sizeof(seen))
    for i in range(5):
        events[i] = event_new(rig.base, -1, 0, nothing, &seen[i])
    assert event_base_foreach_event(NULL, visit, NULL) == -1
    assert event_base_foreach_event(rig.base, NULL, NULL) == -1
    event_add(events[0], &later)
    event_add(events[1], &later)
    event_active(events[1], EV_TIMEOUT, 1)
    event_active(events[2], EV_TIMEOUT, 1)
    event_add(events[3], &later)
    assert event_base_foreach_event(rig.base, visit, NULL) == 0
    for i in range(4):
        assert seen[i].calls == 1 and seen[i].ev == events[i]
    assert seen[4].calls == 0
    # A result other than 0 ends the walk and is the walk's result.
    seen[2].calls = 99
    assert event_base_foreach_event(rig.base, visit, NULL) == 101
    for i in range(5):
        event_free(events[i])


def test_active_by_fd(method):
    cdef Rig rig = Rig(method)
    cdef event *events[5]
    cdef int seen[5]
    cdef int i
    cdef timeval far = milliseconds(600000)
    memset(seen, 0, sizeof(seen))
    event_base_active_by_fd(rig.base, 1000, EV_READ)
    event_base_active_by_fd(rig.base, -1, EV_READ)
    event_base_active_by_signal(rig.base, 1000)
    event_base_active_by_signal(rig.base, -1)
    events[0] = event_new(rig.base, rig.pair[0], EV_READ, note, &seen[0])
    events[1] = event_new(rig.base, rig.pair[0], EV_WRITE, note, &seen[1])
    events[2] = event_new(rig.base, rig.pair[1], EV_READ, note, &seen[2])
    events[3] = event_new(rig.base, rig.pair[1], EV_READ, note, &seen[3])
    events[4] = event_new(rig.base, SIGHUP, EV_SIGNAL, note, &seen[4])
    for i in range(5):
        event_add(events[i], NULL if i == 1 or i == 2 else &far)
    event_base_active_by_fd(rig.base, rig.pair[0], EV_WRITE)
    event_base_active_by_fd(rig.base, rig.pair[1], EV_READ)
    event_base_active_by_fd(rig.base, rig.pair[1], EV_TIMEOUT)
    event_base_active_by_signal(rig.base, SIGHUP)
    event_base_loop(rig.base, EVLOOP_ONCE)
    for i in range(5):
        event_free(events[i])
    assert (seen[0], seen[1], seen[2], seen[3], seen[4]) == (
        0, EV_WRITE, EV_READ, EV_READ | EV_TIMEOUT, EV_SIGNAL)


# --- the two faces -------------------------------------------------------------------------------

def test_constants_are_the_same_on_both_faces():
    nogil = {
        "EV_TIMEOUT": EV_TIMEOUT, "EV_READ": EV_READ, "EV_WRITE": EV_WRITE, "EV_SIGNAL": EV_SIGNAL,
        "EV_PERSIST": EV_PERSIST, "EV_ET": EV_ET, "EV_FINALIZE": EV_FINALIZE,
        "EV_CLOSED": EV_CLOSED, "EVLOOP_ONCE": EVLOOP_ONCE, "EVLOOP_NONBLOCK": EVLOOP_NONBLOCK,
        "EVLOOP_NO_EXIT_ON_EMPTY": EVLOOP_NO_EXIT_ON_EMPTY, "EV_FEATURE_ET": EV_FEATURE_ET,
        "EV_FEATURE_O1": EV_FEATURE_O1, "EV_FEATURE_FDS": EV_FEATURE_FDS,
        "EV_FEATURE_EARLY_CLOSE": EV_FEATURE_EARLY_CLOSE,
        "EVENT_BASE_FLAG_NOLOCK": EVENT_BASE_FLAG_NOLOCK,
        "EVENT_BASE_FLAG_IGNORE_ENV": EVENT_BASE_FLAG_IGNORE_ENV,
        "EVENT_BASE_FLAG_STARTUP_IOCP": EVENT_BASE_FLAG_STARTUP_IOCP,
        "EVENT_BASE_FLAG_NO_CACHE_TIME": EVENT_BASE_FLAG_NO_CACHE_TIME,
        "EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST": EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST,
        "EVENT_BASE_FLAG_PRECISE_TIMER": EVENT_BASE_FLAG_PRECISE_TIMER,
        "EVENT_BASE_FLAG_EPOLL_DISALLOW_TIMERFD": EVENT_BASE_FLAG_EPOLL_DISALLOW_TIMERFD,
        "EVENT_BASE_FLAG_USE_SIGNALFD": EVENT_BASE_FLAG_USE_SIGNALFD,
        "EVENT_BASE_COUNT_ACTIVE": EVENT_BASE_COUNT_ACTIVE,
        "EVENT_BASE_COUNT_VIRTUAL": EVENT_BASE_COUNT_VIRTUAL,
        "EVENT_BASE_COUNT_ADDED": EVENT_BASE_COUNT_ADDED,
    }
    for name, value in nogil.items():
        assert getattr(cyevent, name) == value, name
        # The short spelling of what events wait for.
        if name.startswith("EV_") and not name.startswith("EV_FEATURE"):
            assert getattr(cyevent, name[3:]) == value, name
