"""Bases through libevent's names: configuration, counts, listings, priorities, the loop, time."""

import os
import tempfile
import time

from libc.stdio cimport FILE, fclose, fopen
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset
from posix.unistd cimport read

from cyevent cimport (
    EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST, EVENT_BASE_FLAG_IGNORE_ENV,
    EVENT_BASE_FLAG_NO_CACHE_TIME, EV_FEATURE_EARLY_CLOSE, EV_FEATURE_ET, EV_FEATURE_FDS,
    EV_FEATURE_O1, EV_PERSIST, EV_READ, EV_TIMEOUT, EV_WRITE, EVLOOP_NONBLOCK,
    EVLOOP_NO_EXIT_ON_EMPTY, EVLOOP_ONCE, event, event_active, event_add, event_assign, event_base,
    event_base_dispatch, event_base_dump_events, event_base_free, event_base_get_features,
    event_base_get_method, event_base_get_npriorities, event_base_gettimeofday_cached,
    event_base_got_break, event_base_got_exit, event_base_loop, event_base_loopbreak,
    event_base_loopcontinue, event_base_loopexit, event_base_new, event_base_new_with_config,
    event_base_once, event_base_priority_init, event_base_set, event_base_update_cache_time,
    event_config, event_config_avoid_method, event_config_free, event_config_new,
    event_config_require_features, event_config_set_flag, event_del, event_free, event_get_base,
    event_get_supported_methods, event_get_version, event_get_version_number,
    event_gettime_monotonic, event_new, event_pending, event_priority_set, event_set_mem_functions,
    evsignal_new, evtimer_add, evtimer_assign, evtimer_new, timeval,
)
from rig cimport Rig, count, make_base, milliseconds, nothing, now, sleep_ms

cdef extern from "<signal.h>" nogil:
    int SIGHUP

# These change what the whole process uses, so each runs in a forked child.
FORKED = {"test_mm_functions", "test_base_environ"}


# --- configuration -------------------------------------------------------------------------------

cdef list methods():
    cdef const char **names = event_get_supported_methods()
    cdef list result = []
    while names[0] != NULL:
        result.append(names[0].decode())
        names += 1
    return result


def test_methods():
    """Avoiding the best method gives another, or none where there is no other."""
    cdef event_config *config = event_config_new()
    cdef event_base *base
    names = methods()
    assert names
    assert event_config_avoid_method(config, names[0].encode()) == 0
    event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV)
    base = event_base_new_with_config(config)
    if len(names) > 1:
        assert base != NULL
        assert event_base_get_method(base).decode() == names[1]
        event_base_free(base)
    else:
        assert base == NULL
    for name in names:
        event_config_avoid_method(config, name.encode())
    assert event_base_new_with_config(config) == NULL
    event_config_free(config)


def test_version():
    major, minor, patch = event_get_version().decode().split("-")[0].split(".")
    number = event_get_version_number()
    assert number >> 8 == int(major) << 16 | int(minor) << 8 | int(patch)


def test_base_features():
    cdef event_config *config
    cdef event_base *base
    for feature in (EV_FEATURE_ET, EV_FEATURE_O1, EV_FEATURE_FDS, EV_FEATURE_EARLY_CLOSE):
        config = event_config_new()
        assert event_config_require_features(config, feature) == 0
        event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV)
        base = event_base_new_with_config(config)
        event_config_free(config)
        if base != NULL:
            assert event_base_get_features(base) & feature == feature
            event_base_free(base)
        else:
            base = event_base_new()
            assert not event_base_get_features(base) & feature
            event_base_free(base)
    # No mechanism of Linux has both of these.
    config = event_config_new()
    event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_FDS)
    base = event_base_new_with_config(config)
    event_config_free(config)
    if base != NULL:
        assert event_base_get_method(base) not in (b"epoll", b"poll", b"select")
        event_base_free(base)


cdef str default_method(int flags):
    cdef event_config *config = event_config_new()
    cdef event_base *base
    cdef str name = None
    event_config_set_flag(config, flags)
    base = event_base_new_with_config(config)
    event_config_free(config)
    if base != NULL:
        name = event_base_get_method(base).decode()
        event_base_free(base)
    return name


def test_base_environ():
    for name in methods():
        os.environ.pop("EVENT_NO" + name.upper(), None)
    default = default_method(0)
    os.environ["EVENT_NO" + default.upper()] = "1"
    if len(methods()) > 1:
        assert default_method(0) not in (None, default)
    else:
        assert default_method(0) is None
    assert default_method(EVENT_BASE_FLAG_IGNORE_ENV) == default
    del os.environ["EVENT_NO" + default.upper()]
    if default == "epoll":
        os.environ["EVENT_EPOLL_USE_CHANGELIST"] = "1"
        assert default_method(0) == "epoll (with changelist)"
        assert default_method(EVENT_BASE_FLAG_IGNORE_ENV) == "epoll"
        del os.environ["EVENT_EPOLL_USE_CHANGELIST"]
        assert default_method(EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST) == "epoll (with changelist)"


def test_event_base_set(method):
    cdef Rig rig = Rig(method)
    cdef Rig other = Rig(method)
    cdef event ev
    event_assign(&ev, rig.base, rig.pair[0], EV_WRITE, nothing, NULL)
    assert event_base_set(other.base, &ev) == 0
    assert event_get_base(&ev) == other.base
    event_add(&ev, NULL)
    # Not while it is added.
    assert event_base_set(rig.base, &ev) == -1
    assert event_base_dispatch(rig.base) == 1
    assert event_pending(&ev, EV_WRITE, NULL)
    event_base_dispatch(other.base)
    assert not event_pending(&ev, EV_WRITE, NULL)


def test_dump_events(method):
    cdef Rig rig = Rig(method)
    cdef event reader, active
    cdef timeval later = milliseconds(60000)
    cdef FILE *out
    event_assign(&reader, rig.base, rig.pair[0], EV_READ | EV_PERSIST, nothing, NULL)
    event_add(&reader, &later)
    event_assign(&active, rig.base, -1, 0, nothing, NULL)
    event_active(&active, EV_WRITE, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "dump")
        out = fopen(path.encode(), b"w")
        event_base_dump_events(rig.base, out)
        fclose(out)
        with open(path) as file:
            lines = file.read().splitlines()
    assert lines[0] == "Inserted events:"
    inserted, = (line for line in lines if " Timeout=" in line)
    assert f"[fd  {rig.pair[0]}] Read Persist Timeout=" in inserted
    assert "[fd  -1, priority=0] Write active" in lines[-1]
    assert lines.index("Active events:") == len(lines) - 2


# --- the allocator -------------------------------------------------------------------------------

cdef const char *GUARD = b"{[<guardedram>]}"
cdef int corrupted = 0
cdef int outstanding = 0


cdef void *guarded_malloc(size_t size) noexcept nogil:
    cdef char *memory = <char *>malloc(size + 16)
    global outstanding
    outstanding += 1
    memcpy(memory, GUARD, 16)
    return memory + 16


cdef int guarded(void *memory) noexcept nogil:
    return memcmp(<char *>memory - 16, GUARD, 16) == 0


cdef void *guarded_realloc(void *memory, size_t size) noexcept nogil:
    global corrupted
    if memory == NULL:
        return guarded_malloc(size)
    if not guarded(memory):
        corrupted = 1
    return <char *>realloc(<char *>memory - 16, size + 16) + 16


cdef void guarded_free(void *memory) noexcept nogil:
    global corrupted, outstanding
    if memory == NULL:
        return
    if not guarded(memory):
        corrupted = 1
    outstanding -= 1
    free(<char *>memory - 16)


def test_mm_functions(method):
    """Every allocation goes through the functions that are set, and all of it comes back."""
    cdef event_base *base
    cdef event *ev
    cdef event *timer
    cdef event *sig
    cdef timeval soon = milliseconds(1)
    event_set_mem_functions(guarded_malloc, guarded_realloc, guarded_free)
    base = make_base(method, 0, -1, 0)
    assert guarded(base)
    ev = event_new(base, 0, EV_READ, nothing, NULL)
    assert guarded(ev)
    timer = evtimer_new(base, nothing, NULL)
    sig = evsignal_new(base, SIGHUP, nothing, NULL)
    event_add(sig, &soon)
    evtimer_add(timer, &soon)
    event_base_once(base, -1, EV_TIMEOUT, nothing, NULL, &soon)
    event_base_loop(base, EVLOOP_ONCE)
    event_free(ev)
    event_free(timer)
    event_free(sig)
    event_base_free(base)
    assert not corrupted
    assert outstanding == 0, outstanding


# --- the loop ------------------------------------------------------------------------------------

cdef struct reentry:
    event_base *base
    int result


cdef void run_again(int fd, short what, void *arg) noexcept nogil:
    cdef reentry *r = <reentry *>arg
    r.result = event_base_loop(r.base, 0)


def test_bad_reentrant(method):
    cdef Rig rig = Rig(method)
    cdef event ev
    cdef reentry r
    r.base = rig.base
    r.result = 42
    event_assign(&ev, rig.base, -1, 0, run_again, &r)
    event_active(&ev, EV_WRITE, 1)
    assert event_base_loop(rig.base, 0) == 1
    assert r.result == -1


def test_loopexit(method):
    cdef Rig rig = Rig(method)
    cdef event ev
    cdef timeval day = milliseconds(86400000)
    cdef timeval soon = milliseconds(30)
    evtimer_assign(&ev, rig.base, nothing, NULL)
    evtimer_add(&ev, &day)
    start = now()
    event_base_loopexit(rig.base, &soon)
    assert event_base_dispatch(rig.base) == 0
    assert now() - start >= 0.03
    assert event_base_got_exit(rig.base)
    assert not event_base_got_break(rig.base)


def test_loopexit_multiple(method):
    cdef Rig rig = Rig(method)
    cdef timeval soon = milliseconds(20)
    cdef timeval late = milliseconds(60000)
    start = now()
    event_base_loopexit(rig.base, &soon)
    event_base_loopexit(rig.base, &late)
    assert event_base_dispatch(rig.base) == 0
    assert 0.02 <= now() - start < 30
    assert event_base_got_exit(rig.base)
    assert not event_base_got_break(rig.base)


cdef void break_out(int fd, short what, void *arg) noexcept nogil:
    event_base_loopbreak(<event_base *>arg)


def test_loopbreak(method):
    cdef Rig rig = Rig(method)
    cdef event one, two
    cdef int called = 0
    evtimer_assign(&one, rig.base, break_out, rig.base)
    evtimer_assign(&two, rig.base, count, &called)
    event_active(&one, EV_TIMEOUT, 1)
    event_active(&two, EV_TIMEOUT, 1)
    assert event_base_dispatch(rig.base) == 0
    assert called == 0
    assert event_base_got_break(rig.base)
    assert not event_base_got_exit(rig.base)
    assert event_base_dispatch(rig.base) == 1
    assert called == 1
    assert event_base_loopbreak(NULL) == -1
    assert event_base_loopcontinue(NULL) == -1


def test_loop_flags(method):
    cdef Rig rig = Rig(method)
    cdef event ev
    cdef int called = 0
    cdef timeval soon = milliseconds(10)
    assert event_base_loop(rig.base, 0) == 1
    event_assign(&ev, rig.base, rig.pair[0], EV_READ | EV_PERSIST, count, &called)
    event_add(&ev, NULL)
    assert event_base_loop(rig.base, EVLOOP_NONBLOCK) == 0
    assert called == 0
    rig.send(1, b"x")
    assert event_base_loop(rig.base, EVLOOP_ONCE) == 0
    assert called == 1
    event_del(&ev)
    event_base_loopexit(rig.base, &soon)
    assert event_base_loop(rig.base, EVLOOP_NO_EXIT_ON_EMPTY) == 0


cdef struct bouncing:
    event *other
    int calls
    int pair[2]


cdef void bounce(int fd, short what, void *arg) noexcept nogil:
    cdef bouncing *b = <bouncing *>arg
    b.calls += 1
    event_active(b.other, EV_READ, 1)


cdef void write_a_byte(int fd, short what, void *arg) noexcept nogil:
    from_write(fd)
    (<int *>arg)[0] += 1


cdef extern from "<unistd.h>" nogil:
    ssize_t posix_write "write" (int fd, const void *data, size_t n)


cdef void from_write(int fd) noexcept nogil:
    posix_write(fd, b"x", 1)


cdef void read_all(int fd, short what, void *arg) noexcept nogil:
    cdef char buf[128]
    (<int *>arg)[0] += 1
    while read(fd, buf, sizeof(buf)) > 0:
        pass


def test_active_later(method):
    """Two events that keep activating each other share a limited turn with the descriptors."""
    cdef Rig rig = Rig(method, 0, 16)
    cdef event reader, writer, one, two
    cdef int reads = 0
    cdef int writes = 0
    cdef bouncing first, second
    cdef timeval soon = milliseconds(30)
    event_assign(&reader, rig.base, rig.pair[0], EV_READ | EV_PERSIST, read_all, &reads)
    event_assign(&writer, rig.base, rig.pair[1], EV_WRITE | EV_PERSIST, write_a_byte, &writes)
    first.calls = second.calls = 0
    first.other = &two
    second.other = &one
    event_assign(&one, rig.base, -1, 0, bounce, &first)
    event_assign(&two, rig.base, -1, 0, bounce, &second)
    event_add(&reader, NULL)
    event_add(&writer, NULL)
    event_active(&one, EV_READ, 1)
    event_base_loopexit(rig.base, &soon)
    assert event_base_loop(rig.base, 0) == 0
    assert reads > 10 and writes > 10
    assert first.calls > 10 and second.calls > 10
    # Left active: the base takes it out when it is freed.
    rig.free()


# --- priorities ----------------------------------------------------------------------------------

cdef struct starving:
    event ev
    event_base *base
    int runs


cdef void starve(int fd, short what, void *arg) noexcept nogil:
    cdef starving *s = <starving *>arg
    cdef timeval zero
    if s.runs == 3:
        event_base_loopexit(s.base, NULL)
        return
    s.runs += 1
    zero.tv_sec = zero.tv_usec = 0
    evtimer_add(&s.ev, &zero)


def test_priorities(method):
    cdef Rig rig
    cdef starving urgent, patient
    cdef timeval zero = milliseconds(0)
    # loopexit() is an event of the middle priority: of two, it queues behind the patient one.
    for npriorities, expected in ((1, (3, 3)), (2, (3, 1)), (3, (3, 0))):
        rig = Rig(method)
        assert event_base_priority_init(rig.base, npriorities) == 0
        assert event_base_get_npriorities(rig.base) == npriorities
        urgent.base = patient.base = rig.base
        urgent.runs = patient.runs = 0
        evtimer_assign(&urgent.ev, rig.base, starve, &urgent)
        evtimer_assign(&patient.ev, rig.base, starve, &patient)
        assert event_priority_set(&urgent.ev, 0) == 0
        assert event_priority_set(&patient.ev, npriorities - 1) == 0
        evtimer_add(&urgent.ev, &zero)
        evtimer_add(&patient.ev, &zero)
        event_base_dispatch(rig.base)
        rig.free()
        assert (urgent.runs, patient.runs) == expected


cdef struct inversion:
    event events[3]
    int order[3]
    int calls


cdef void invert(int fd, short what, void *arg) noexcept nogil:
    cdef inversion *v = <inversion *>arg
    cdef int i = 0 if what & EV_WRITE else (1 if what & EV_READ else 2)
    v.order[i] = v.calls
    v.calls += 1
    if i == 0:
        event_active(&v.events[1], EV_READ, 1)
        event_active(&v.events[2], EV_TIMEOUT, 1)


def test_priority_active_inversion(method):
    cdef Rig rig = Rig(method)
    cdef inversion v
    cdef int i
    assert event_base_priority_init(rig.base, 8) == 0
    memset(&v, 0, sizeof(v))
    for i in range(3):
        event_assign(&v.events[i], rig.base, -1, 0, invert, &v)
        event_priority_set(&v.events[i], 0 if i == 2 else 4)
    event_active(&v.events[0], EV_WRITE, 1)
    event_base_dispatch(rig.base)
    assert v.calls == 3
    assert (v.order[0], v.order[1], v.order[2]) == (0, 2, 1)


# --- time ----------------------------------------------------------------------------------------

cdef struct clock_look:
    event ev
    event_base *base
    timeval tv
    int sleep
    int reset


cdef void look_at_clock(int fd, short what, void *arg) noexcept nogil:
    cdef clock_look *look = <clock_look *>arg
    event_base_gettimeofday_cached(look.base, &look.tv)
    sleep_ms(look.sleep)
    if look.reset:
        event_base_update_cache_time(look.base)


cdef list look_thrice(str method, int flags, int sleep, int reset):
    cdef Rig rig = Rig(method, flags)
    cdef clock_look looks[3]
    cdef timeval tv
    cdef int i
    before = time.time()
    for base_is_null in (True, False):
        assert event_base_gettimeofday_cached(NULL if base_is_null else rig.base, &tv) == 0
        assert abs(tv.tv_sec + tv.tv_usec * 1e-6 - before) < 5
    for i in range(3):
        looks[i].base = rig.base
        looks[i].sleep = sleep
        looks[i].reset = reset
        event_assign(&looks[i].ev, rig.base, -1, 0, look_at_clock, &looks[i])
        event_active(&looks[i].ev, EV_TIMEOUT, 1)
    event_base_dispatch(rig.base)
    rig.free()
    return [looks[i].tv.tv_sec + looks[i].tv.tv_usec * 1e-6 for i in range(3)]


def test_gettimeofday_cached(method):
    one, two, three = look_thrice(method, 0, 0, 0)
    assert one == two == three


def test_gettimeofday_cached_sleep(method):
    one, two, three = look_thrice(method, 0, 20, 0)
    assert one == two == three


def test_gettimeofday_cached_reset(method):
    one, two, three = look_thrice(method, 0, 20, 1)
    assert two - one > 0.01 and three - two > 0.01


def test_gettimeofday_cached_disabled(method):
    one, two, three = look_thrice(method, EVENT_BASE_FLAG_NO_CACHE_TIME, 20, 0)
    assert two - one > 0.01 and three - two > 0.01


def test_gettimeofday_cached_disabled_nosleep(method):
    one, two, three = look_thrice(method, EVENT_BASE_FLAG_NO_CACHE_TIME, 0, 0)
    assert one <= two <= three


def test_gettime_monotonic(method):
    cdef Rig rig = Rig(method)
    cdef timeval tv
    before = now()
    assert event_gettime_monotonic(rig.base, &tv) == 0
    assert before - 1e-6 <= tv.tv_sec + tv.tv_usec * 1e-6 <= now() + 1e-6
