"""Timeouts, the heap, common timeouts and finalizers through libevent's names."""

import random

from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset
from posix.unistd cimport read, write

from cyevent cimport (
    EVENT_BASE_FLAG_PRECISE_TIMER, EV_PERSIST, EV_READ, EV_TIMEOUT, EVLOOP_NONBLOCK, EVLOOP_ONCE,
    event, event_active, event_add, event_assign, event_base, event_base_dispatch, event_base_free,
    event_base_init_common_timeout, event_base_loop, event_base_loopexit, event_base_once,
    event_del, event_finalize, event_free,
    event_free_finalize, event_new, event_remove_timer, event_set_mem_functions,
    evtimer_add, evtimer_assign, evtimer_del, evtimer_initialized, evtimer_new, evtimer_pending,
    timeval,
)
from rig cimport Rig, count, make_base, milliseconds, note, nothing, now, sleep_ms

# It changes the allocator of the whole process.
FORKED = {"test_free_finalize"}


# --- timers --------------------------------------------------------------------------------------

cdef void stamp(int fd, short what, void *arg) noexcept nogil:
    (<double *>arg)[0] = now()


def test_simpletimeout(method):
    cdef Rig rig = Rig(method)
    cdef event ev
    cdef double fired = 0
    cdef timeval wait = milliseconds(30)
    evtimer_assign(&ev, rig.base, stamp, &fired)
    assert evtimer_initialized(&ev)
    start = now()
    evtimer_add(&ev, &wait)
    assert evtimer_pending(&ev, NULL)
    event_base_dispatch(rig.base)
    assert fired - start >= 0.03
    assert not evtimer_pending(&ev, NULL)


cdef struct periodic:
    event ev
    int calls
    int until


cdef void tick(int fd, short what, void *arg) noexcept nogil:
    cdef periodic *p = <periodic *>arg
    p.calls += 1
    if p.calls == p.until:
        event_del(&p.ev)


def test_persistent_timeout(method):
    cdef Rig rig = Rig(method)
    cdef periodic p
    cdef timeval wait = milliseconds(3)
    p.calls = 0
    p.until = 6
    event_assign(&p.ev, rig.base, -1, EV_TIMEOUT | EV_PERSIST, tick, &p)
    start = now()
    event_add(&p.ev, &wait)
    assert event_base_dispatch(rig.base) == 1
    assert p.calls == 6
    assert now() - start >= 6 * 0.003


def test_persistent_timeout_jump(method):
    """A timer that was late by several periods fires once for all of them."""
    cdef Rig rig = Rig(method)
    cdef periodic p
    cdef timeval wait = milliseconds(100)
    cdef timeval soon = milliseconds(10)
    p.calls = 0
    p.until = -1
    event_assign(&p.ev, rig.base, -1, EV_PERSIST, tick, &p)
    event_add(&p.ev, &wait)
    sleep_ms(250)
    event_base_loopexit(rig.base, &soon)
    event_base_dispatch(rig.base)
    assert p.calls == 1
    event_del(&p.ev)


cdef struct history:
    event *other
    int n
    short what[16]
    double at[16]


cdef void record(int fd, short what, void *arg) noexcept nogil:
    cdef history *h = <history *>arg
    if h.n < 16:
        h.what[h.n] = what
        h.at[h.n] = now()
        h.n += 1


cdef void activate_other(int fd, short what, void *arg) noexcept nogil:
    event_active(<event *>arg, EV_READ, 1)


def test_persistent_active_timeout(method):
    """Being activated starts the timeout of a persistent event again."""
    cdef Rig rig = Rig(method)
    cdef event ev
    cdef history h
    # Much longer than what comes early: a machine that stalls for less than that changes nothing.
    cdef timeval period = milliseconds(250)
    cdef timeval early = milliseconds(30)
    h.n = 0
    event_assign(&ev, rig.base, -1, EV_TIMEOUT | EV_PERSIST, record, &h)
    start = now()
    event_add(&ev, &period)
    event_base_once(rig.base, -1, EV_TIMEOUT, activate_other, &ev, &early)
    while h.n < 3:
        assert event_base_loop(rig.base, EVLOOP_ONCE) == 0
    event_del(&ev)
    assert [h.what[0], h.what[1], h.what[2]] == [EV_READ, EV_TIMEOUT, EV_TIMEOUT]
    assert h.at[0] - start >= 0.03
    assert h.at[1] - start >= 0.28
    assert h.at[2] - start >= 0.53


cdef struct removal:
    event *reader
    event *timer
    int events
    int calls
    int timer_calls
    int fd


cdef void remove_timers(int fd, short what, void *arg) noexcept nogil:
    cdef removal *r = <removal *>arg
    event_remove_timer(r.reader)
    event_remove_timer(r.timer)


cdef void send_a_byte(int fd, short what, void *arg) noexcept nogil:
    write((<removal *>arg).fd, b"A", 1)


cdef void read_a_byte(int fd, short what, void *arg) noexcept nogil:
    cdef removal *r = <removal *>arg
    cdef char byte
    if read(fd, &byte, 1) == 1:
        r.events |= what
    r.calls += 1
    if r.calls == 2:
        event_del(r.reader)


def test_event_remove_timeout(method):
    cdef Rig rig = Rig(method)
    cdef removal r
    cdef timeval times[4]
    memset(&r, 0, sizeof(r))
    for i, ms in enumerate((5, 10, 120, 200)):
        times[i] = milliseconds(ms)
    r.fd = rig.pair[1]
    r.reader = event_new(rig.base, rig.pair[0], EV_READ | EV_PERSIST, read_a_byte, &r)
    r.timer = evtimer_new(rig.base, count, &r.timer_calls)
    event_base_once(rig.base, -1, EV_TIMEOUT, remove_timers, &r, &times[0])
    event_base_once(rig.base, -1, EV_TIMEOUT, send_a_byte, &r, &times[1])
    event_add(r.reader, &times[2])
    event_add(r.timer, &times[2])
    event_base_once(rig.base, -1, EV_TIMEOUT, send_a_byte, &r, &times[3])
    event_base_dispatch(rig.base)
    assert r.timer_calls == 0
    assert r.calls == 2
    assert r.events == EV_READ
    event_free(r.reader)
    event_free(r.timer)


def test_event_timeout_lost(method):
    cdef Rig rig = Rig(method)
    cdef int seen = 0
    cdef timeval wait
    cdef event *ev = event_new(rig.base, rig.pair[0], EV_TIMEOUT | EV_READ, note, &seen)
    wait.tv_sec = 0
    wait.tv_usec = 100
    event_add(ev, &wait)
    event_active(ev, EV_READ, 1)
    sleep_ms(5)
    event_base_loop(rig.base, EVLOOP_ONCE | EVLOOP_NONBLOCK)
    assert seen == EV_READ | EV_TIMEOUT
    event_free(ev)


cdef int run_expiry(str method, int flags) except -1:
    """Never further away than asked, in the wall-clock time that event_pending() tells."""
    cdef Rig rig = Rig(method, flags)
    cdef event *ev = evtimer_new(rig.base, nothing, NULL)
    cdef timeval wait, first, expires
    cdef double span
    wait.tv_sec = 0
    wait.tv_usec = 100
    start = now()
    evtimer_add(ev, &wait)
    evtimer_pending(ev, &first)
    for _ in range(1000):
        evtimer_add(ev, &wait)
        assert evtimer_pending(ev, &expires)
        span = expires.tv_sec - first.tv_sec + (expires.tv_usec - first.tv_usec) * 1e-6
        assert -2e-6 <= span <= now() - start + 2e-6
    event_free(ev)
    rig.free()
    return 0


def test_default_clock(method):
    run_expiry(method, 0)


def test_precise_clock(method):
    run_expiry(method, EVENT_BASE_FLAG_PRECISE_TIMER)


# --- the heap ------------------------------------------------------------------------------------

cdef struct ordered:
    int place                  # among all deadlines
    int *last
    int *wrong
    int *fired


cdef void in_order(int fd, short what, void *arg) noexcept nogil:
    cdef ordered *o = <ordered *>arg
    if o.place < o.last[0]:
        o.wrong[0] += 1
    o.last[0] = o.place
    o.fired[0] += 1


def test_heap_randomized(method):
    """Added, moved and deleted at random; what is left fires in the order of its deadlines."""
    cdef Rig rig = Rig(method)
    cdef int n = 1024
    cdef event *events = <event *>calloc(n, sizeof(event))
    cdef ordered *args = <ordered *>calloc(n, sizeof(ordered))
    cdef int last = 0
    cdef int wrong = 0
    cdef int fired = 0
    cdef int i
    cdef timeval wait, expires
    rng = random.Random(1)
    for i in range(n):
        args[i].last = &last
        args[i].wrong = &wrong
        args[i].fired = &fired
        evtimer_assign(&events[i], rig.base, in_order, &args[i])
    for _ in range(3):
        for i in rng.sample(range(n), n):
            if rng.random() < 0.2:
                evtimer_del(&events[i])
            else:
                wait.tv_sec = rng.randrange(10, 1 << 31)
                wait.tv_usec = rng.randrange(1000000)
                assert evtimer_add(&events[i], &wait) == 0
    waits = [rng.randrange(50000) for _ in range(n)]
    deadlines = []
    for i in rng.sample(range(n), n):
        wait.tv_sec = 0
        wait.tv_usec = waits[i]
        assert evtimer_add(&events[i], &wait) == 0
        assert evtimer_pending(&events[i], &expires)
        deadlines.append((expires.tv_sec, expires.tv_usec, i))
    # Equal microseconds may hide different nanoseconds: such timers share a place in the order.
    deadlines.sort()
    place = 0
    for k in range(n):
        if k and deadlines[k][:2] != deadlines[k - 1][:2]:
            place += 1
        args[deadlines[k][2]].place = place
    for i in rng.sample(range(n), n // 2):
        evtimer_del(&events[i])
    assert event_base_dispatch(rig.base) == 1
    free(events)
    free(args)
    assert fired == n - n // 2
    assert wrong == 0


# --- common timeouts -----------------------------------------------------------------------------

cdef struct shared_timer:
    event ev
    int calls
    double first


cdef void four_times(int fd, short what, void *arg) noexcept nogil:
    cdef shared_timer *timer = <shared_timer *>arg
    if timer.calls == 0:
        timer.first = now()
    timer.calls += 1
    if timer.calls == 4:
        event_del(&timer.ev)


def test_common_timeout(method):
    cdef Rig rig = Rig(method)
    cdef shared_timer timers[100]
    cdef timeval ms20 = milliseconds(20)
    cdef timeval ms40 = milliseconds(40)
    cdef timeval sec5 = milliseconds(5000)
    cdef timeval usec5m
    cdef const timeval *short_wait
    cdef const timeval *long_wait
    cdef const timeval *sec_wait
    cdef int i
    usec5m.tv_sec = 4
    usec5m.tv_usec = 1000000
    short_wait = event_base_init_common_timeout(rig.base, &ms20)
    long_wait = event_base_init_common_timeout(rig.base, &ms40)
    sec_wait = event_base_init_common_timeout(rig.base, &sec5)
    assert short_wait != NULL and long_wait != NULL and sec_wait != NULL
    assert event_base_init_common_timeout(rig.base, &ms40) == long_wait
    assert event_base_init_common_timeout(rig.base, long_wait) == long_wait
    # Microseconds that make up whole seconds are carried.
    assert event_base_init_common_timeout(rig.base, &usec5m) == sec_wait
    assert (short_wait.tv_sec, short_wait.tv_usec) == (0, 20000 | 0x50000000)
    assert (long_wait.tv_sec, long_wait.tv_usec) == (0, 40000 | 0x50100000)
    assert (sec_wait.tv_sec, sec_wait.tv_usec) == (5, 0x50200000)
    memset(timers, 0, sizeof(timers))
    start = now()
    for i in range(100):
        event_assign(&timers[i].ev, rig.base, -1, EV_TIMEOUT | EV_PERSIST, four_times, &timers[i])
        if i % 2 == 0:
            event_add(&timers[i].ev, long_wait)
        elif i % 20 == 1:
            event_add(&timers[i].ev, long_wait)
            event_add(&timers[i].ev, &ms20)
        elif i % 20 == 3:
            event_add(&timers[i].ev, &ms40)
            event_add(&timers[i].ev, short_wait)
        elif i % 20 == 5:
            event_add(&timers[i].ev, long_wait)
            event_add(&timers[i].ev, short_wait)
        else:
            event_add(&timers[i].ev, short_wait)
    assert event_base_dispatch(rig.base) == 1
    for i in range(100):
        assert timers[i].calls == 4
        assert timers[i].first - start >= (0.02 if i % 2 else 0.04)
    assert now() - start >= 4 * 0.04
    # The base can be freed with some of them added.
    for i in range(100):
        event_add(&timers[i].ev, short_wait if i % 2 else long_wait)
    rig.free()


# --- finalizers ----------------------------------------------------------------------------------

cdef void finalized(event *ev, void *arg) noexcept nogil:
    (<int *>arg)[0] += 100


def test_cb_invoked(method):
    cdef Rig rig = Rig(method)
    cdef int called = 0
    cdef timeval later = milliseconds(10000)
    cdef event mine
    cdef event *ev = evtimer_new(rig.base, count, &called)
    event_free_finalize(0, ev, finalized)
    event_base_dispatch(rig.base)
    assert called == 100

    # An active event that is finalized is finalized only.
    called = 0
    ev = evtimer_new(rig.base, count, &called)
    event_active(ev, EV_TIMEOUT, 1)
    event_base_dispatch(rig.base)
    assert called == 1
    event_active(ev, EV_TIMEOUT, 1)
    event_free_finalize(0, ev, finalized)
    event_base_dispatch(rig.base)
    assert called == 101

    # So is one that is added.
    called = 0
    ev = evtimer_new(rig.base, count, &called)
    event_add(ev, &later)
    event_free_finalize(0, ev, finalized)
    assert event_base_dispatch(rig.base) == 1
    assert called == 100

    # Adding, deleting and activating have no effect any more.
    called = 0
    ev = evtimer_new(rig.base, count, &called)
    evtimer_assign(&mine, rig.base, count, &called)
    event_add(ev, &later)
    event_free_finalize(0, ev, finalized)
    event_finalize(0, &mine, finalized)
    assert event_add(&mine, &later) == -1
    event_del(ev)
    event_active(&mine, EV_TIMEOUT, 1)
    event_base_dispatch(rig.base)
    assert called == 200


cdef void *watched_one = NULL
cdef void *watched_two = NULL
cdef int freed_one = 0
cdef int freed_two = 0


cdef void watching_free(void *memory) noexcept nogil:
    global freed_one, freed_two
    if memory != NULL:
        freed_one += memory == watched_one
        freed_two += memory == watched_two
    free(memory)


def test_free_finalize(method):
    """event_free_finalize() frees the event after its finalizer, event_finalize() does not."""
    global watched_one, watched_two
    cdef event_base *base
    cdef event *one
    cdef event *two
    cdef int called_one = 0
    cdef int called_two = 0
    event_set_mem_functions(malloc, realloc, watching_free)
    base = make_base(method, 0, -1, 0)
    one = evtimer_new(base, count, &called_one)
    two = evtimer_new(base, count, &called_two)
    watched_one = one
    watched_two = two
    event_free_finalize(0, one, finalized)
    event_finalize(0, two, finalized)
    event_base_dispatch(base)
    assert (called_one, called_two) == (100, 100)
    assert (freed_one, freed_two) == (1, 0)
    event_free(two)
    assert freed_two == 1
    event_base_free(base)


cdef struct partners:
    event *mine
    event *other
    int count


cdef void finalize_and_free(event *ev, void *arg) noexcept nogil:
    (<partners *>arg).count += 100
    event_free(ev)


cdef void finalize_both(int fd, short what, void *arg) noexcept nogil:
    cdef partners *p = <partners *>arg
    event_finalize(0, p.mine, finalize_and_free)
    event_finalize(0, p.other, finalize_and_free)
    p.count += 1


def test_within_cb(method):
    cdef Rig rig = Rig(method)
    cdef partners one, two
    for flags in (0, EV_PERSIST):
        one.count = two.count = 0
        one.mine = two.other = event_new(rig.base, -1, flags, finalize_both, &one)
        two.mine = one.other = event_new(rig.base, -1, flags, finalize_both, &two)
        event_active(one.mine, EV_TIMEOUT, 1)
        event_active(two.mine, EV_TIMEOUT, 1)
        event_base_dispatch(rig.base)
        assert (one.count, two.count) == (101, 100)


cdef void assign_again(event *ev, void *arg) noexcept nogil:
    cdef int *calls = <int *>arg
    calls[0] += 1


cdef void free_it(event *ev, void *arg) noexcept nogil:
    cdef int *calls = <int *>arg
    calls[0] += 1
    free(ev)


def test_debug_use_after_free(method):
    """A finalizer may hand the memory on: to a new assignment, or to the allocator."""
    cdef Rig rig = Rig(method)
    cdef int calls = 0
    cdef event *ev = <event *>malloc(sizeof(event))
    event_assign(ev, rig.base, -1, EV_TIMEOUT, nothing, &calls)
    assert event_add(ev, NULL) == 0
    assert event_finalize(0, ev, assign_again) == 0
    event_base_dispatch(rig.base)
    assert calls == 1
    event_assign(ev, rig.base, -1, EV_TIMEOUT, nothing, &calls)
    assert event_add(ev, NULL) == 0
    assert event_finalize(0, ev, free_it) == 0
    event_base_dispatch(rig.base)
    assert calls == 2
