"""Prepare and check watchers."""

from libc.stdlib cimport free, realloc

from cyevent cimport (
    EV_READ, EV_TIMEOUT, EVLOOP_NONBLOCK, event_base, event_base_dispatch, event_base_gettimeofday_cached,
    event_base_loop, event_base_once, event_set_mem_functions, evwatch, evwatch_base, evwatch_check_cb_info,
    evwatch_check_new, evwatch_free, evwatch_prepare_cb_info, evwatch_prepare_get_timeout,
    evwatch_prepare_new, timeval,
)
from rig cimport Rig, milliseconds, nothing

FORKED = ("test_malloc_failure",)

cdef enum:
    LOG_SIZE = 64

# What was called, in order: P and Q are prepare watchers, C and D check watchers, T the timer.
cdef struct diary:
    char log[64]
    int n
    int timeouts               # how often a prepare watcher was given one
    long longest               # the largest of them in ms
    double before              # the cached time at the first prepare
    double after               # and at the last check


cdef void write_down(diary *d, char what) noexcept nogil:
    if d.n < LOG_SIZE - 1:
        d.log[d.n] = what
        d.n += 1


cdef double cached(evwatch *watcher) noexcept nogil:
    cdef timeval tv
    event_base_gettimeofday_cached(evwatch_base(watcher), &tv)
    return tv.tv_sec + tv.tv_usec * 1e-6


cdef void prepare_one(evwatch *watcher, const evwatch_prepare_cb_info *info, void *arg) noexcept nogil:
    cdef diary *d = <diary *>arg
    cdef timeval tv
    write_down(d, b'P')
    if d.before == 0:
        d.before = cached(watcher)
    if evwatch_prepare_get_timeout(info, &tv):
        d.timeouts += 1
        if tv.tv_sec * 1000 + tv.tv_usec // 1000 > d.longest:
            d.longest = tv.tv_sec * 1000 + tv.tv_usec // 1000


cdef void prepare_two(evwatch *watcher, const evwatch_prepare_cb_info *info, void *arg) noexcept nogil:
    write_down(<diary *>arg, b'Q')


cdef void check_one(evwatch *watcher, const evwatch_check_cb_info *info, void *arg) noexcept nogil:
    write_down(<diary *>arg, b'C')
    (<diary *>arg).after = cached(watcher)


cdef void check_two(evwatch *watcher, const evwatch_check_cb_info *info, void *arg) noexcept nogil:
    write_down(<diary *>arg, b'D')


cdef void timer_fired(int fd, short what, void *arg) noexcept nogil:
    write_down(<diary *>arg, b'T')


cdef bytes run(event_base *base, diary *d, long ms):
    cdef timeval tv = milliseconds(ms)
    d.n = d.timeouts = 0
    d.longest = 0
    d.before = d.after = 0
    assert event_base_once(base, -1, EV_TIMEOUT, timer_fired, d, &tv) == 0
    event_base_dispatch(base)
    return d.log[:d.n]


def test_callback_ordering(method):
    """Prepare watchers before check watchers, each kind in its order, and a freed one is not called."""
    cdef Rig rig = Rig(method)
    cdef diary d
    cdef evwatch *q
    cdef evwatch *dd
    evwatch_prepare_new(rig.base, prepare_one, &d)
    evwatch_check_new(rig.base, check_one, &d)
    q = evwatch_prepare_new(rig.base, prepare_two, &d)
    dd = evwatch_check_new(rig.base, check_two, &d)
    # The clock may make the loop wait a second time for the last bit.
    first = run(rig.base, &d, 50)
    assert first.endswith(b"PQCDT") and not first.replace(b"PQCD", b"").rstrip(b"T")
    assert d.timeouts == (len(first) - 1) // 4
    assert 40 <= d.longest <= 50
    assert d.after - d.before >= 0.049
    evwatch_free(q)
    evwatch_free(dd)
    second = run(rig.base, &d, 50)
    assert second.endswith(b"PCT") and not second.replace(b"PC", b"").rstrip(b"T")
    # The two others are freed with the base.


cdef void prepare_without(evwatch *watcher, const evwatch_prepare_cb_info *info, void *arg) noexcept nogil:
    cdef timeval tv
    tv.tv_sec = 123
    tv.tv_usec = 456
    if evwatch_prepare_get_timeout(info, &tv) == 0 and tv.tv_sec == 123 and tv.tv_usec == 456:
        (<int *>arg)[0] += 1


def test_timeout_unavailable(method):
    """Without a timer there is no timeout, and what was passed for it is left alone."""
    cdef Rig rig = Rig(method)
    cdef int calls = 0
    evwatch_prepare_new(rig.base, prepare_without, &calls)
    rig.send(1, b"x")
    event_base_once(rig.base, rig.pair[0], EV_READ, nothing, NULL, NULL)
    assert event_base_dispatch(rig.base) == 1
    assert calls == 1


cdef void *no_memory(size_t n) noexcept nogil:
    return NULL


def test_malloc_failure():
    cdef Rig rig = Rig("poll")
    cdef evwatch *one
    cdef evwatch *two
    event_set_mem_functions(no_memory, realloc, free)
    one = evwatch_prepare_new(rig.base, prepare_one, NULL)
    two = evwatch_check_new(rig.base, check_one, NULL)
    event_set_mem_functions(NULL, NULL, NULL)
    assert one == NULL and two == NULL
    event_base_loop(rig.base, EVLOOP_NONBLOCK)


cdef struct suicidal:
    evwatch *victim
    int calls


cdef void free_victim(evwatch *watcher, const evwatch_prepare_cb_info *info, void *arg) noexcept nogil:
    cdef suicidal *s = <suicidal *>arg
    s.calls += 1
    if s.victim != NULL:
        evwatch_free(s.victim)
        s.victim = NULL


def test_freeing_in_a_callback(method):
    """Itself, or the one that would be next."""
    cdef Rig rig = Rig(method)
    cdef suicidal s
    cdef diary d
    d.n = 0
    for itself in (True, False):
        s.calls = 0
        s.victim = NULL
        first = evwatch_prepare_new(rig.base, free_victim, &s)
        second = evwatch_prepare_new(rig.base, prepare_two, &d)
        s.victim = first if itself else second
        event_base_once(rig.base, -1, EV_TIMEOUT, nothing, NULL, NULL)
        event_base_dispatch(rig.base)
        assert s.calls == 1
        assert d.n == itself
        d.n = 0
        evwatch_free(second if itself else first)
