"""Many threads and one running base, none of them holding an interpreter lock.

A storm of random calls, from eight threads, on a hundred thousand events of all kinds; and wake-ups of a loop
that has nothing else to wake for, so that one that is lost leaves it asleep. Nobody waits without a limit:
a wait of GUARD seconds is a hang, and fails the test with what was waited for. What was done is printed: pytest
-rP shows it.
"""

import os

from libc.errno cimport EINTR, errno
from libc.stdint cimport uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport strlen
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec
from posix.unistd cimport close, read, write

from cyevent cimport (
    EV_CLOSED, EV_FINALIZE, EV_PERSIST, EV_READ, EV_TIMEOUT, EV_WRITE, EVENT_BASE_COUNT_ACTIVE,
    EVENT_BASE_COUNT_ADDED, EVENT_BASE_COUNT_VIRTUAL, EVLOOP_NO_EXIT_ON_EMPTY, EVLOOP_NONBLOCK, event,
    event_active, event_add,
    event_base, event_base_free, event_base_get_num_events, event_base_init_common_timeout, event_base_loop,
    event_base_loopbreak, event_base_once, event_base_priority_init, event_del, event_del_block,
    event_del_noblock, event_finalize, event_free, event_free_finalize, event_get_priority, event_new,
    event_pending, event_priority_set, event_remove_timer, timeval,
)
from rig cimport make_base, milliseconds, now

cdef extern from *:
    """
    #include <pthread.h>
    #include <semaphore.h>
    #include <sys/socket.h>
    #define load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
    #define store(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
    #define increment(p) (void)__atomic_add_fetch(p, 1, __ATOMIC_RELAXED)
    """
    ctypedef unsigned long pthread_t
    ctypedef struct sem_t:
        pass
    int AF_UNIX, SOCK_STREAM, SOCK_NONBLOCK
    int load(int *p) nogil
    void store(int *p, int value) nogil
    void increment(long *p) nogil
    int socketpair(int domain, int kind, int protocol, int *fds) nogil
    int pthread_create(pthread_t *thread, void *attr, void *(*start)(void *) noexcept nogil, void *arg) nogil
    int pthread_join(pthread_t thread, void **result) nogil
    int sem_init(sem_t *sem, int shared, unsigned value) nogil
    int sem_post(sem_t *sem) nogil
    int sem_timedwait(sem_t *sem, const timespec *until) nogil
    int sem_destroy(sem_t *sem) nogil

cdef enum:
    THREADS = 8
    EVENTS = 100000
    OWN = 64                  # events that one thread makes and frees, again and again
    PAIRS = 64
    PRIORITIES = 4
    DURATIONS = 4
    GUARD = 60
    URGENT_KINDS = 5          # of handshakes, with events of our own
    KINDS = 7                 # with one-shot events too

cdef enum slot_state:
    EMPTY
    ALIVE
    FINALIZING
    FINALIZED

cdef struct world:
    event_base *base
    event **shared            # any thread does anything to them but free them
    int fds[2 * PAIRS]
    const timeval *durations[DURATIONS]
    double end
    int stop
    int failed
    char failure[100]
    long calls
    long handshakes

cdef struct slot:
    world *w
    event *ev
    int state                 # slot_state
    int running               # 1 inside its callback

cdef struct worker:
    world *w
    pthread_t thread
    uint64_t seed
    slot slots[OWN]
    sem_t woken
    event *hands[3]           # timer, descriptor, activated
    int ends[2]
    long operations


cdef void fail(world *w, const char *reason) noexcept nogil:
    # Which of several comes first does not matter.
    if not load(&w.failed):
        snprintf(w.failure, sizeof(w.failure), b"%s", reason)
        store(&w.failed, 1)
    store(&w.stop, 1)


cdef unsigned random(uint64_t *seed) noexcept nogil:
    seed[0] ^= seed[0] << 13
    seed[0] ^= seed[0] >> 7
    seed[0] ^= seed[0] << 17
    return <unsigned>(seed[0] >> 32)


# --- callbacks, all in the loop's thread ---------------------------------------------------------------

cdef void on_shared(int fd, short what, void *arg) noexcept nogil:
    cdef world *w = <world *>arg
    cdef char bytes[64]
    w.calls += 1
    if what & EV_READ and fd >= 0:
        read(fd, bytes, sizeof(bytes))


cdef void on_own(int fd, short what, void *arg) noexcept nogil:
    cdef slot *s = <slot *>arg
    store(&s.running, 1)
    if load(&s.state) == FINALIZED:
        fail(s.w, b"a callback ran after the finalizer")
    store(&s.running, 0)


cdef void on_woken(int fd, short what, void *arg) noexcept nogil:
    cdef char bytes[64]
    if what & EV_READ:
        read(fd, bytes, sizeof(bytes))
    sem_post(<sem_t *>arg)


cdef void on_finalized(event *ev, void *arg) noexcept nogil:
    store(&(<slot *>arg).state, FINALIZED)


cdef void on_finalized_and_freed(event *ev, void *arg) noexcept nogil:
    store(&(<slot *>arg).state, EMPTY)


# --- what the threads do -------------------------------------------------------------------------------

cdef bint wait_woken(worker *me, const char *reason) noexcept nogil:
    cdef timespec until
    clock_gettime(CLOCK_REALTIME, &until)
    until.tv_sec += GUARD
    while sem_timedwait(&me.woken, &until) != 0:
        if errno != EINTR:
            fail(me.w, reason)
            return False
    return True


cdef bint handshake(worker *me, int kinds) noexcept nogil:
    """Asks the loop for one callback, in one of many ways, and waits for it."""
    cdef timeval tv
    cdef const char *reason
    cdef unsigned kind = random(&me.seed) % kinds
    tv.tv_sec = 0
    tv.tv_usec = 0
    if kind == 0:
        reason = b"a timer of no time"
        event_add(me.hands[0], &tv)
    elif kind == 1:
        reason = b"a timer that is the first to be due"
        tv.tv_usec = 1 + random(&me.seed) % 300
        event_add(me.hands[0], &tv)
    elif kind == 2:
        reason = b"an activated event"
        event_active(me.hands[2], EV_TIMEOUT, 1)
    elif kind == 3:
        reason = b"a descriptor that was ready before its event was added"
        write(me.ends[1], <const char *>b"x", 1)
        event_add(me.hands[1], NULL)
    elif kind == 4:
        reason = b"a descriptor that became ready after its event was added"
        event_add(me.hands[1], NULL)
        write(me.ends[1], <const char *>b"x", 1)
    elif kind == 5:
        reason = b"a one-shot event without a timeout"
        event_base_once(me.w.base, -1, EV_TIMEOUT, on_woken, &me.woken, NULL)
    else:
        reason = b"a one-shot timer"
        tv.tv_usec = 1
        event_base_once(me.w.base, -1, EV_TIMEOUT, on_woken, &me.woken, &tv)
    return wait_woken(me, reason)


cdef void touch_shared(worker *me) noexcept nogil:
    cdef world *w = me.w
    cdef event *ev = w.shared[random(&me.seed) % EVENTS]
    cdef unsigned what = random(&me.seed) % 20
    cdef timeval tv
    if what < 4:
        tv.tv_sec = 0
        tv.tv_usec = random(&me.seed) % 20000
        event_add(ev, &tv)
    elif what < 6:
        event_add(ev, w.durations[random(&me.seed) % DURATIONS])
    elif what < 7:
        event_add(ev, NULL)
    elif what < 11:
        event_del(ev)
    elif what < 12:
        event_del_noblock(ev)
    elif what < 13:
        event_del_block(ev)
    elif what < 15:
        event_active(ev, EV_WRITE, 1)
    elif what < 17:
        event_priority_set(ev, random(&me.seed) % PRIORITIES)
    elif what < 18:
        event_remove_timer(ev)
    elif what < 19:
        event_pending(ev, EV_READ | EV_WRITE | EV_TIMEOUT, &tv)
        event_get_priority(ev)
    else:
        write(w.fds[random(&me.seed) % (2 * PAIRS)], <const char *>b"x", 1)


cdef event *random_event(worker *me, void (*callback)(int, short, void *) noexcept nogil,
                         void *arg) noexcept nogil:
    cdef unsigned kind = random(&me.seed) % 8
    cdef int fd = me.w.fds[random(&me.seed) % (2 * PAIRS)]
    cdef short extra = 0
    if random(&me.seed) % 3 == 0:
        extra |= EV_PERSIST
    if random(&me.seed) % 3 == 0:
        extra |= EV_FINALIZE
    if kind < 2:
        return event_new(me.w.base, fd, EV_READ | extra, callback, arg)
    if kind == 2:
        return event_new(me.w.base, fd, EV_WRITE | (extra & EV_FINALIZE), callback, arg)
    if kind == 3:
        return event_new(me.w.base, fd, EV_READ | EV_WRITE | (extra & EV_FINALIZE), callback, arg)
    if kind == 4:
        return event_new(me.w.base, fd, EV_CLOSED | EV_READ | extra, callback, arg)
    return event_new(me.w.base, -1, extra, callback, arg)


cdef void end_own(worker *me, slot *s) noexcept nogil:
    cdef unsigned how = random(&me.seed) % 4
    if how == 0:
        store(&s.state, FINALIZING)
        event_finalize(0, s.ev, on_finalized)
    elif how == 1:
        store(&s.state, FINALIZING)
        event_free_finalize(0, s.ev, on_finalized_and_freed)
    elif how == 2:
        event_del_block(s.ev)
        if load(&s.running):
            fail(me.w, b"event_del_block() returned while the callback was running")
        event_free(s.ev)
        store(&s.state, EMPTY)
    else:
        # EV_FINALIZE does not let event_free() wait.
        event_del_block(s.ev)
        event_free(s.ev)
        store(&s.state, EMPTY)


cdef void touch_own(worker *me) noexcept nogil:
    cdef slot *s = &me.slots[random(&me.seed) % OWN]
    cdef int state = load(&s.state)
    cdef timeval tv
    if state == EMPTY:
        s.w = me.w
        s.ev = random_event(me, on_own, s)
        if s.ev == NULL:
            fail(me.w, b"event_new() failed")
            return
        store(&s.state, ALIVE)
    elif state == FINALIZED:
        event_free(s.ev)
        store(&s.state, EMPTY)
        return
    elif state == FINALIZING:
        return
    tv.tv_sec = 0
    tv.tv_usec = random(&me.seed) % 3000
    event_add(s.ev, &tv)
    if random(&me.seed) % 2:
        event_active(s.ev, EV_WRITE, 1)
    if random(&me.seed) % 2:
        end_own(me, s)


cdef void *storm(void *arg) noexcept nogil:
    cdef worker *me = <worker *>arg
    while not load(&me.w.stop):
        me.operations += 1
        if me.operations % 64 == 0 and now() > me.w.end:
            break
        if me.operations % 512 == 0:
            # One-shot events have the middle priority, and starve while others are busy.
            if not handshake(me, URGENT_KINDS):
                break
            increment(&me.w.handshakes)
        elif me.operations % 4:
            touch_shared(me)
        else:
            touch_own(me)
    return NULL


cdef void *wake(void *arg) noexcept nogil:
    cdef worker *me = <worker *>arg
    while not load(&me.w.stop) and now() < me.w.end:
        if not handshake(me, KINDS):
            break
        increment(&me.w.handshakes)
    return NULL


cdef void *run_loop(void *arg) noexcept nogil:
    cdef world *w = <world *>arg
    if event_base_loop(w.base, EVLOOP_NO_EXIT_ON_EMPTY) != 0:
        fail(w, b"the loop ended with an error")
    return NULL


# --- the tests -----------------------------------------------------------------------------------------

cdef double seconds(double usual):
    """How long to go on; the environment may ask for more or less."""
    return float(os.environ.get("CYEVENT_STRESS_SECONDS", usual))


cdef int open_worker(worker *me, world *w, int i) except -1:
    me.w = w
    me.seed = 88172645463325252 + 7919 * <uint64_t>i
    assert sem_init(&me.woken, 0, 0) == 0
    assert socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, me.ends) == 0
    me.hands[0] = event_new(w.base, -1, 0, on_woken, &me.woken)
    me.hands[1] = event_new(w.base, me.ends[0], EV_READ, on_woken, &me.woken)
    me.hands[2] = event_new(w.base, -1, 0, on_woken, &me.woken)
    for hand in me.hands:
        assert hand != NULL
        assert event_priority_set(hand, 0) == 0
    return 0


cdef void close_worker(worker *me) noexcept:
    for hand in me.hands:
        event_free(hand)
    close(me.ends[0])
    close(me.ends[1])
    sem_destroy(&me.woken)


cdef int open_world(world *w, str method, double duration) except -1:
    w.base = make_base(method, 0, -1, 0)
    assert event_base_priority_init(w.base, PRIORITIES) == 0
    w.end = now() + duration
    for i in range(PAIRS):
        assert socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, &w.fds[2 * i]) == 0
    for i in range(DURATIONS):
        tv = milliseconds(1 + 3 * i)
        w.durations[i] = event_base_init_common_timeout(w.base, &tv)
        assert w.durations[i] != NULL
    return 0


cdef int close_world(world *w) except -1:
    cdef unsigned everything = EVENT_BASE_COUNT_ADDED | EVENT_BASE_COUNT_ACTIVE | EVENT_BASE_COUNT_VIRTUAL
    cdef int left
    # The base's own events may be active too: the one that wakes it, and those of the common timeouts.
    event_base_loop(w.base, EVLOOP_NONBLOCK)
    left = event_base_get_num_events(w.base, everything)
    event_base_free(w.base)
    for fd in w.fds:
        close(fd)
    assert left == 0 or w.failed, f"{left} events are counted and do not exist"
    return 0


cdef void drain(worker *workers, world *w) noexcept nogil:
    """Every thread's own events end; the loop still runs."""
    cdef int i, j
    cdef slot *s
    cdef double limit = now() + GUARD
    for i in range(THREADS):
        for j in range(OWN):
            s = &workers[i].slots[j]
            while load(&s.state) == FINALIZING and now() < limit:
                handshake(&workers[0], KINDS)
            if load(&s.state) == FINALIZING:
                fail(w, b"a finalizer did not run")
            elif load(&s.state) != EMPTY:
                event_del_block(s.ev)
                event_free(s.ev)


cdef int run_storm(str method, double duration) except -1:
    cdef world *w = <world *>calloc(1, sizeof(world))
    cdef worker *workers = <worker *>calloc(THREADS, sizeof(worker))
    cdef pthread_t looper
    cdef int i
    cdef long operations = 0
    open_world(w, method, duration)
    w.shared = <event **>calloc(EVENTS, sizeof(event *))
    for i in range(THREADS):
        open_worker(&workers[i], w, i)
    for i in range(EVENTS):
        w.shared[i] = random_event(&workers[i % THREADS], on_shared, w)
        assert w.shared[i] != NULL
    with nogil:
        pthread_create(&looper, NULL, run_loop, w)
        for i in range(THREADS):
            pthread_create(&workers[i].thread, NULL, storm, &workers[i])
        for i in range(THREADS):
            pthread_join(workers[i].thread, NULL)
            operations += workers[i].operations
        # From outside, while it runs: nothing may be left of them.
        for i in range(EVENTS):
            event_free(w.shared[i])
        if not load(&w.failed):
            drain(workers, w)
        event_base_loopbreak(w.base)
        pthread_join(looper, NULL)
    for i in range(THREADS):
        close_worker(&workers[i])
    failure = w.failure[:strlen(w.failure)].decode()
    calls, handshakes = w.calls, w.handshakes
    close_world(w)
    free(w.shared)
    free(workers)
    free(w)
    print(f"{operations} operations, {calls} calls, {handshakes} wake-ups waited for")
    assert failure == "", f"{failure} (after {operations} operations)"
    assert calls > 0
    assert handshakes > 0
    return 0


cdef int run_wakeups(str method, int nthreads, double duration) except -1:
    cdef world *w = <world *>calloc(1, sizeof(world))
    cdef worker *workers = <worker *>calloc(nthreads, sizeof(worker))
    cdef pthread_t looper
    cdef int i
    open_world(w, method, duration)
    for i in range(nthreads):
        open_worker(&workers[i], w, i)
    with nogil:
        pthread_create(&looper, NULL, run_loop, w)
        for i in range(nthreads):
            pthread_create(&workers[i].thread, NULL, wake, &workers[i])
        for i in range(nthreads):
            pthread_join(workers[i].thread, NULL)
        event_base_loopbreak(w.base)
        pthread_join(looper, NULL)
    for i in range(nthreads):
        close_worker(&workers[i])
    failure = w.failure[:strlen(w.failure)].decode()
    handshakes = w.handshakes
    close_world(w)
    free(workers)
    free(w)
    print(f"{handshakes} wake-ups of a sleeping loop")
    assert failure == "", f"lost after {handshakes} wake-ups: {failure}"
    assert handshakes > 0
    return 0


def test_storm(method):
    """Eight threads add, delete, activate, finalize, free and re-prioritize events of all kinds."""
    run_storm(method, seconds(1.5))


def test_wakeups_of_one_thread(method):
    """The loop has nothing else to wake for: a wake-up that is lost leaves it asleep."""
    run_wakeups(method, 1, seconds(0.4))


def test_wakeups_of_some_threads(method):
    """Several wake the loop while it may be just falling asleep."""
    run_wakeups(method, 3, seconds(0.4))


def test_slow_storm(method):
    """The storm for a minute."""
    run_storm(method, seconds(60))


def test_slow_wakeups(method):
    """Wake-ups for a minute."""
    run_wakeups(method, 2, seconds(60))
