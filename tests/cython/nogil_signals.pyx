"""Signals, forks and threads through libevent's names; the threads hold no interpreter lock."""

import os

from libc.string cimport memset
from posix.signal cimport kill, sigaction, sigaction_t, sigemptyset
from posix.unistd cimport _exit, fork, getpid, read, write

from cyevent cimport (
    EVENT_BASE_FLAG_USE_SIGNALFD, EV_PERSIST, EV_READ, EV_TIMEOUT, EVLOOP_NONBLOCK,
    EVLOOP_NO_EXIT_ON_EMPTY, EVLOOP_ONCE, event, event_active, event_add, event_assign, event_base,
    event_base_dispatch, event_base_free, event_base_got_break,
    event_base_loop, event_base_loopbreak, event_base_loopexit, event_base_new, event_base_once,
    event_base_set, event_del, event_del_noblock, event_free, event_get_base,
    event_reinit, event_self_cbarg, evsignal_add, evsignal_assign, evsignal_del,
    evsignal_new, evtimer_add, evtimer_assign, evthread_make_base_notifiable, timeval,
)
from rig cimport Rig, count, milliseconds, note, nothing, now, sleep_ms

cdef extern from "<signal.h>" nogil:
    int SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGCHLD

cdef extern from "<sys/socket.h>" nogil:
    int SHUT_WR
    int shutdown(int fd, int how)

cdef extern from "<sys/time.h>" nogil:
    struct itimerval:
        timeval it_interval
        timeval it_value
    int ITIMER_REAL
    int setitimer(int which, const itimerval *new, itimerval *old)

cdef extern from "<sys/wait.h>" nogil:
    int waitpid(int pid, int *status, int options)

cdef extern from *:
    """
    #define load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
    #define store(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
    """
    int load(int *p) nogil
    void store(int *p, int value) nogil

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t *thread, void *attr, void *(*start)(void *) noexcept nogil,
                       void *arg)
    int pthread_join(pthread_t thread, void **result)


cdef struct signal_state:
    event ev
    event_base *base
    int calls


cdef void delete_itself(int signum, short what, void *arg) noexcept nogil:
    cdef signal_state *s = <signal_state *>arg
    s.calls += 1
    evsignal_del(&s.ev)


cdef void alarm_in(long ms) noexcept nogil:
    cdef itimerval timer
    memset(&timer, 0, sizeof(timer))
    timer.it_value = milliseconds(ms)
    setitimer(ITIMER_REAL, &timer, NULL)


# The two ways in which signals reach a loop.
WAYS = (0, EVENT_BASE_FLAG_USE_SIGNALFD)


cdef int run_simple_signal(str method, int flags, bint reorder) except -1:
    cdef Rig rig = Rig(method, flags)
    cdef signal_state s
    s.calls = 0
    evsignal_assign(&s.ev, rig.base, SIGALRM, delete_itself, &s)
    assert evsignal_add(&s.ev, NULL) == 0
    if reorder:
        evsignal_del(&s.ev)
        evsignal_add(&s.ev, NULL)
    alarm_in(10)
    assert event_base_dispatch(rig.base) == 1
    assert s.calls == 1
    assert evsignal_del(&s.ev) == 0
    rig.free()
    return 0


def test_simple_signal(method):
    for flags in WAYS:
        run_simple_signal(method, flags, False)


def test_simple_signal_re_order(method):
    for flags in WAYS:
        run_simple_signal(method, flags, True)


def test_multiplesignal(method):
    cdef Rig rig
    cdef signal_state states[2]
    for flags in WAYS:
        rig = Rig(method, flags)
        for i in range(2):
            states[i].calls = 0
            evsignal_assign(&states[i].ev, rig.base, SIGALRM, delete_itself, &states[i])
            evsignal_add(&states[i].ev, NULL)
        alarm_in(10)
        event_base_dispatch(rig.base)
        assert (states[0].calls, states[1].calls) == (1, 1)


def test_immediatesignal(method):
    cdef Rig rig
    cdef signal_state s
    for flags in WAYS:
        rig = Rig(method, flags)
        s.calls = 0
        evsignal_assign(&s.ev, rig.base, SIGUSR1, delete_itself, &s)
        evsignal_add(&s.ev, NULL)
        kill(getpid(), SIGUSR1)
        event_base_loop(rig.base, EVLOOP_NONBLOCK)
        assert s.calls == 1


def test_signal_dealloc(method):
    cdef Rig rig
    cdef signal_state s
    for flags in WAYS:
        before = os.listdir("/proc/self/fd")
        rig = Rig(method, flags)
        evsignal_assign(&s.ev, rig.base, SIGUSR1, delete_itself, &s)
        evsignal_add(&s.ev, NULL)
        evsignal_del(&s.ev)
        rig = None
        assert os.listdir("/proc/self/fd") == before


def test_signal_timeout(method):
    cdef Rig rig
    cdef int seen = 0
    cdef event ev
    cdef timeval wait
    wait.tv_sec = 0
    wait.tv_usec = 10
    for flags in WAYS:
        rig = Rig(method, flags)
        seen = 0
        evsignal_assign(&ev, rig.base, SIGUSR1, note, &seen)
        assert evsignal_add(&ev, &wait) == 0
        event_base_loop(rig.base, EVLOOP_ONCE)
        evsignal_del(&ev)
        assert seen == EV_TIMEOUT


def test_signal_pipeloss(method):
    """Whatever order two bases with signals are freed in, no descriptor is left."""
    cdef Rig one, two
    cdef event first, second
    before = os.listdir("/proc/self/fd")
    for other_first in (True, False):
        one = Rig(method)
        two = Rig(method)
        evsignal_assign(&first, one.base, SIGUSR1, nothing, NULL)
        evsignal_assign(&second, two.base, SIGUSR1, nothing, NULL)
        evsignal_add(&first, NULL)
        evsignal_add(&second, NULL)
        if other_first:
            two = None
            one = None
        else:
            one = None
            two = None
        assert os.listdir("/proc/self/fd") == before


def test_signal_switchbase(method):
    """A signal goes to the base whose loop ran last."""
    cdef Rig one = Rig(method)
    cdef Rig two = Rig(method)
    cdef event first, second
    cdef int one_calls = 0
    cdef int two_calls = 0
    evsignal_assign(&first, NULL, SIGUSR1, count, &one_calls)
    evsignal_assign(&second, NULL, SIGUSR1, count, &two_calls)
    assert event_base_set(one.base, &first) == 0 == event_base_set(two.base, &second)
    assert event_add(&first, NULL) == 0 == event_add(&second, NULL)
    assert event_get_base(&first) == one.base and event_get_base(&second) == two.base
    event_base_loop(one.base, EVLOOP_NONBLOCK)
    kill(getpid(), SIGUSR1)
    event_base_loop(one.base, EVLOOP_NONBLOCK)
    assert one_calls == 1
    event_base_loop(two.base, EVLOOP_NONBLOCK)
    two_calls = 0
    kill(getpid(), SIGUSR1)
    event_base_loop(two.base, EVLOOP_NONBLOCK)
    assert two_calls == 1


cdef int plain_handler_calls = 0


cdef void plain_handler(int signum) noexcept nogil:
    global plain_handler_calls
    plain_handler_calls += 1


def test_signal_restore(method):
    global plain_handler_calls
    cdef Rig rig
    cdef event ev
    cdef int called = 0
    cdef sigaction_t action, saved
    memset(&action, 0, sizeof(action))
    action.sa_handler = <void (*)(int) noexcept>plain_handler
    sigemptyset(&action.sa_mask)
    assert sigaction(SIGUSR1, &action, &saved) == 0
    try:
        for flags in WAYS:
            rig = Rig(method, flags)
            plain_handler_calls = 0
            evsignal_assign(&ev, rig.base, SIGUSR1, count, &called)
            evsignal_add(&ev, NULL)
            evsignal_del(&ev)
            kill(getpid(), SIGUSR1)
            assert plain_handler_calls == 1
            # With the event still added when the base goes.
            evsignal_add(&ev, NULL)
            rig = None
            kill(getpid(), SIGUSR1)
            assert plain_handler_calls == 2
            assert called == 0
    finally:
        sigaction(SIGUSR1, &saved, NULL)


def test_signal_assert(method):
    cdef Rig rig
    cdef event ev
    cdef int called = 0
    for flags in WAYS:
        rig = Rig(method, flags)
        # A signal that does nothing where nobody catches it.
        evsignal_assign(&ev, rig.base, SIGCONT, count, &called)
        evsignal_add(&ev, NULL)
        evsignal_del(&ev)
        kill(getpid(), SIGCONT)
        event_base_loop(rig.base, EVLOOP_NONBLOCK)
        assert called == 0


cdef void kill_again(int signum, short what, void *arg) noexcept nogil:
    cdef signal_state *s = <signal_state *>arg
    s.calls += 1
    if s.calls < 5:
        kill(getpid(), signum)
    else:
        event_base_loopexit(s.base, NULL)


cdef void kill_first(int fd, short what, void *arg) noexcept nogil:
    kill(getpid(), SIGUSR1)


def test_signal_while_processing(method):
    cdef Rig rig
    cdef signal_state s
    for flags in WAYS:
        rig = Rig(method, flags)
        s.calls = 0
        s.base = rig.base
        evsignal_assign(&s.ev, rig.base, SIGUSR1, kill_again, &s)
        evsignal_add(&s.ev, NULL)
        event_base_once(rig.base, -1, EV_TIMEOUT, kill_first, NULL, NULL)
        assert event_base_dispatch(rig.base) == 0
        assert s.calls == 5


cdef int freed_in_callback = 0


cdef void free_itself(int signum, short what, void *arg) noexcept nogil:
    global freed_in_callback
    freed_in_callback += 1
    event_free(<event *>arg)


def test_signal_free_in_callback(method):
    global freed_in_callback
    cdef Rig rig
    cdef event *ev
    for flags in WAYS:
        freed_in_callback = 0
        rig = Rig(method, flags)
        ev = evsignal_new(rig.base, SIGUSR1, free_itself, event_self_cbarg())
        event_add(ev, NULL)
        kill(getpid(), SIGUSR1)
        kill(getpid(), SIGUSR1)
        assert event_base_loop(rig.base, 0) == 1
        assert freed_in_callback == 1


def test_signal_event_runs_ncalls_times(method):
    cdef Rig rig = Rig(method)
    cdef event ev
    cdef int called = 0
    evsignal_assign(&ev, rig.base, SIGUSR1, count, &called)
    event_active(&ev, 8, 3)
    event_base_loop(rig.base, EVLOOP_NONBLOCK)
    assert called == 3


# --- forks ---------------------------------------------------------------------------------------

cdef struct child_reading:
    event ev
    int calls
    int ended
    int once


cdef void read_some(int fd, short what, void *arg) noexcept nogil:
    cdef child_reading *r = <child_reading *>arg
    cdef char buf[256]
    cdef ssize_t n = read(fd, buf, sizeof(buf))
    r.calls += 1
    if n == 0:
        r.ended = 1
    elif not r.once:
        event_add(&r.ev, NULL)


cdef int in_the_child(event_base *base, child_reading *reader, event *chld, signal_state *usr2) \
        noexcept nogil:
    cdef signal_state usr1
    if event_reinit(base) != 0:
        return 1
    reader.once = 1
    evsignal_del(chld)
    usr1.calls = 0
    evsignal_assign(&usr1.ev, base, SIGUSR1, delete_itself, &usr1)
    evsignal_add(&usr1.ev, NULL)
    kill(getpid(), SIGUSR1)
    kill(getpid(), SIGUSR2)
    if event_base_dispatch(base) != 1:
        return 2
    if reader.calls != 1:
        return 3
    if usr1.calls != 1:
        return 4
    if usr2.calls != 1:
        return 5
    event_base_free(base)
    return 0


def test_fork(method):
    cdef Rig rig
    cdef child_reading reader
    cdef event chld
    cdef signal_state usr2
    cdef int status = -1
    cdef int pid
    for flags in WAYS:
        rig = Rig(method, flags)
        memset(&reader, 0, sizeof(reader))
        assert evthread_make_base_notifiable(rig.base) == 0
        rig.send(0, b"for the child")
        event_assign(&reader.ev, rig.base, rig.pair[1], EV_READ, read_some, &reader)
        event_add(&reader.ev, NULL)
        evsignal_assign(&chld, rig.base, SIGCHLD, nothing, NULL)
        evsignal_add(&chld, NULL)
        usr2.calls = 0
        evsignal_assign(&usr2.ev, rig.base, SIGUSR2, delete_itself, &usr2)
        evsignal_add(&usr2.ev, NULL)
        pid = fork()
        if pid == 0:
            _exit(in_the_child(rig.base, &reader, &chld, &usr2))
        assert waitpid(pid, &status, 0) == pid
        assert status == 0, f"{status >> 8} (signal {status & 127})"
        assert reader.calls == usr2.calls == 0
        # The parent's base works as before.
        rig.send(0, b"for the parent")
        shutdown(rig.pair[0], SHUT_WR)
        kill(getpid(), SIGUSR2)
        evsignal_del(&chld)
        assert event_base_dispatch(rig.base) == 1
        assert reader.ended == 1
        assert usr2.calls == 1


# --- threads -------------------------------------------------------------------------------------

cdef struct looping:
    event_base *base
    int flags
    int result


cdef void *run_loop(void *arg) noexcept nogil:
    cdef looping *state = <looping *>arg
    state.result = event_base_loop(state.base, state.flags)
    return NULL


cdef struct slow_state:
    int entered
    int done


cdef void slow(int fd, short what, void *arg) noexcept nogil:
    cdef slow_state *s = <slow_state *>arg
    cdef char buf[64]
    read(fd, buf, sizeof(buf))
    store(&s.entered, 1)
    sleep_ms(50)
    store(&s.done, 1)


cdef int deleted_while_running(Rig rig, bint blocking) except -1:
    """Deletes an event from another thread while its callback runs; tells if that had ended."""
    cdef event ev
    cdef slow_state s
    cdef looping state
    cdef pthread_t thread
    cdef int done
    s.entered = s.done = 0
    state.base = rig.base
    state.flags = 0
    event_assign(&ev, rig.base, rig.pair[1], EV_READ | EV_PERSIST, slow, &s)
    event_add(&ev, NULL)
    with nogil:
        pthread_create(&thread, NULL, run_loop, &state)
        write(rig.pair[0], b"x", 1)
        while not load(&s.entered):
            sleep_ms(1)
        if blocking:
            event_del(&ev)
        else:
            event_del_noblock(&ev)
        done = load(&s.done)
        pthread_join(thread, NULL)
    assert state.result == 1
    assert s.done
    return done


def test_del_wait(method):
    assert deleted_while_running(Rig(method), True) == 1


def test_del_noblock_does_not_wait(method):
    assert deleted_while_running(Rig(method), False) == 0


cdef int delete_the_last(Rig rig, event *ev, const timeval *tv) except -1:
    cdef looping state
    cdef pthread_t thread
    state.base = rig.base
    state.flags = 0
    assert event_add(ev, tv) == 0
    with nogil:
        pthread_create(&thread, NULL, run_loop, &state)
        # Most likely it waits by then; if not, the loop must see it all the same.
        sleep_ms(10)
        event_del(ev)
        pthread_join(thread, NULL)
    assert state.result == 1
    return 0


def test_del_notify(method):
    """Deleting the last event ends a loop that waits, also one that no descriptor stands for."""
    cdef Rig rig = Rig(method)
    cdef event ev
    event_assign(&ev, rig.base, -1, EV_READ, nothing, NULL)
    delete_the_last(rig, &ev, NULL)
    event_assign(&ev, rig.base, rig.pair[0], EV_READ, nothing, NULL)
    delete_the_last(rig, &ev, NULL)


def test_del_timeout_notify(method):
    cdef Rig rig = Rig(method)
    cdef event ev
    cdef timeval far = milliseconds(600000)
    event_assign(&ev, rig.base, -1, EV_PERSIST, nothing, NULL)
    delete_the_last(rig, &ev, &far)


cdef struct timeline:
    event events[5]
    event_base *base
    double at[5]
    int noted   # of how many `at` has been written


cdef struct moment:
    timeline *line
    int i


cdef void note_moment(int fd, short what, void *arg) noexcept nogil:
    cdef moment *m = <moment *>arg
    m.line.at[m.i] = now()
    store(&m.line.noted, m.line.noted + 1)
    if m.i == 4:
        event_base_loopbreak(m.line.base)


cdef void *feed(void *arg) noexcept nogil:
    cdef timeline *line = <timeline *>arg
    cdef timeval wait
    sleep_ms(10)
    event_active(&line.events[0], EV_TIMEOUT, 1)
    sleep_ms(10)
    event_active(&line.events[1], EV_TIMEOUT, 1)
    sleep_ms(10)
    wait = milliseconds(10)
    event_add(&line.events[2], &wait)
    wait = milliseconds(15)
    event_add(&line.events[3], &wait)
    while load(&line.noted) < 4:
        sleep_ms(1)
    event_active(&line.events[4], EV_TIMEOUT, 1)
    return NULL


def test_no_events(method):
    """A loop without events is woken by another thread for each that it makes active or adds."""
    cdef Rig rig = Rig(method)
    cdef timeline line
    cdef moment moments[5]
    cdef pthread_t thread
    memset(&line, 0, sizeof(line))
    line.base = rig.base
    for i in range(5):
        moments[i].line = &line
        moments[i].i = i
        event_assign(&line.events[i], rig.base, -1, 0, note_moment, &moments[i])
    start = now()
    with nogil:
        pthread_create(&thread, NULL, feed, &line)
        event_base_loop(rig.base, EVLOOP_NO_EXIT_ON_EMPTY)
        pthread_join(thread, NULL)
    assert event_base_got_break(rig.base)
    at = [line.at[i] - start for i in range(5)]
    assert at == sorted(at)
    for when, least in zip(at, (0.01, 0.02, 0.04, 0.045, 0.045), strict=True):
        assert when >= least


cdef struct crowd:
    event_base *base
    int left
    int fired


cdef struct member:
    event ev
    crowd *all
    int rounds
    int ready


cdef extern from *:
    """
    static inline int add_atomically(int *n, int d) {
        return __atomic_add_fetch(n, d, __ATOMIC_SEQ_CST);
    }
    """
    int add_atomically(int *n, int d) noexcept nogil


cdef void wake_member(int fd, short what, void *arg) noexcept nogil:
    cdef member *m = <member *>arg
    add_atomically(&m.all.fired, 1)
    add_atomically(&m.ready, 1)


cdef void *set_timers(void *arg) noexcept nogil:
    cdef member *m = <member *>arg
    cdef timeval wait = milliseconds(1)
    cdef int i
    for i in range(m.rounds):
        evtimer_add(&m.ev, &wait)
        while add_atomically(&m.ready, 0) <= i:
            sleep_ms(1)
    if add_atomically(&m.all.left, -1) == 0:
        event_base_loopexit(m.all.base, NULL)
    return NULL


def test_thread_basic(method):
    """Many threads set timers in one base and wait for them, again and again."""
    cdef Rig rig = Rig(method)
    cdef crowd all_of_them
    cdef member members[40]
    cdef pthread_t threads[40]
    cdef event keep
    cdef timeval far = milliseconds(600000)
    cdef int i
    all_of_them.base = rig.base
    all_of_them.left = 40
    all_of_them.fired = 0
    evtimer_assign(&keep, rig.base, nothing, NULL)
    evtimer_add(&keep, &far)
    for i in range(40):
        members[i].all = &all_of_them
        members[i].rounds = 20
        members[i].ready = 0
        evtimer_assign(&members[i].ev, rig.base, wake_member, &members[i])
    with nogil:
        for i in range(40):
            pthread_create(&threads[i], NULL, set_timers, &members[i])
        event_base_dispatch(rig.base)
        for i in range(40):
            pthread_join(threads[i], NULL)
    assert all_of_them.fired == 800


cdef void *make_and_free(void *arg) noexcept nogil:
    cdef event_base *base = event_base_new()
    cdef event ev
    if base != NULL:
        event_assign(&ev, base, -1, 0, nothing, NULL)
        event_add(&ev, NULL)
        event_del(&ev)
        event_base_free(base)
        add_atomically(<int *>arg, 1)
    return NULL


def test_bases_made_in_parallel():
    cdef pthread_t threads[20]
    cdef int made = 0
    cdef int i
    with nogil:
        for i in range(20):
            pthread_create(&threads[i], NULL, make_and_free, &made)
        for i in range(20):
            pthread_join(threads[i], NULL)
    assert made == 20
