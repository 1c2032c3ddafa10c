"""The lock tables: replacing them, lock debugging, conditions, priority inheritance.

They are the process's, so each test runs in a child.
"""

import os
import signal

from libc.stdlib cimport free, malloc
from libc.string cimport memset, strstr
from posix.unistd cimport _exit

from cyevent cimport (
    EVLOOP_NONBLOCK, EVTHREAD_CONDITION_API_VERSION, EVTHREAD_LOCK_API_VERSION, EVTHREAD_LOCKTYPE_RECURSIVE,
    EVTHREAD_PTHREAD_PRIO_INHERIT, EVTHREAD_TRY, EVTHREAD_USE_WINDOWS_THREADS_IMPLEMENTED, event, event_add,
    event_base, event_base_free, event_base_loop, event_base_new, event_del, event_enable_debug_mode,
    event_free, event_set_fatal_callback, event_set_log_callback, evsignal_new,
    evthread_condition_callbacks, evthread_enable_lock_debuging, evthread_enable_lock_debugging,
    evthread_lock_callbacks, evthread_set_condition_callbacks, evthread_set_lock_callbacks,
    evthread_use_pthreads, evthread_use_pthreads_with_flags, evthread_use_windows_threads, evtimer_assign,
    libevent_global_shutdown, timeval,
)
from cyevent.core.threads cimport (
    evthread_cond_alloc_, evthread_cond_broadcast_, evthread_cond_free_, evthread_cond_signal_,
    evthread_cond_wait_, evthread_cond_wait_timed_, evthread_is_held_, evthread_lock_, evthread_lock_alloc_,
    evthread_lock_free_, evthread_unlock_,
)
from rig cimport Rig, count, milliseconds, nothing, sleep_ms

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_mutexattr_t:
        pass
    int PTHREAD_MUTEX_RECURSIVE
    int pthread_create(pthread_t *thread, void *attr, void *(*start)(void *) noexcept nogil, void *arg)
    int pthread_join(pthread_t thread, void **result)
    int pthread_mutexattr_init(pthread_mutexattr_t *attr)
    int pthread_mutexattr_settype(pthread_mutexattr_t *attr, int kind)
    int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_trylock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)

cdef enum:
    WAITERS = 10

FORKED = (
    "test_tables_in_use_stay", "test_a_table_of_ones_own", "test_incomplete_tables", "test_without_locks",
    "test_debug_mode_forbids_a_change", "test_windows_threads", "test_conditions_simple",
    "test_priority_inheritance", "test_lock_debugging_lets_good_use_pass", "test_lock_debugging_catches",
    "test_lock_debugging_over_ones_own_table",
)


# --- a table of one's own --------------------------------------------------------------------------

cdef int made = 0
cdef int held = 0
cdef int taken = 0
cdef int warnings = 0


cdef void *own_alloc(unsigned kind) noexcept nogil:
    global made
    cdef pthread_mutexattr_t attr
    cdef pthread_mutex_t *mutex = <pthread_mutex_t *>malloc(sizeof(pthread_mutex_t))
    pthread_mutexattr_init(&attr)
    if kind & EVTHREAD_LOCKTYPE_RECURSIVE:
        pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE)
    pthread_mutex_init(mutex, &attr)
    made += 1
    return mutex


cdef void own_free(void *lock, unsigned kind) noexcept nogil:
    global made
    pthread_mutex_destroy(<pthread_mutex_t *>lock)
    free(lock)
    made -= 1


cdef int own_lock(unsigned mode, void *lock) noexcept nogil:
    global held, taken
    if mode & EVTHREAD_TRY:
        if pthread_mutex_trylock(<pthread_mutex_t *>lock):
            return 1
    else:
        pthread_mutex_lock(<pthread_mutex_t *>lock)
    held += 1
    taken += 1
    return 0


cdef int own_unlock(unsigned mode, void *lock) noexcept nogil:
    global held
    held -= 1
    return pthread_mutex_unlock(<pthread_mutex_t *>lock)


cdef evthread_lock_callbacks own_table() noexcept nogil:
    cdef evthread_lock_callbacks table
    table.lock_api_version = EVTHREAD_LOCK_API_VERSION
    table.supported_locktypes = EVTHREAD_LOCKTYPE_RECURSIVE
    table.alloc = own_alloc
    table.free = own_free
    table.lock = own_lock
    table.unlock = own_unlock
    return table


cdef void warned(int severity, const char *message) noexcept nogil:
    global warnings
    warnings += 1


cdef int work(event_base *base) except -1:
    """Something of each kind that takes locks."""
    cdef event *usr1
    cdef event ev
    cdef timeval soon = milliseconds(1)
    cdef int calls = 0
    usr1 = evsignal_new(base, signal.SIGUSR1, count, &calls)
    assert event_add(usr1, NULL) == 0
    evtimer_assign(&ev, base, count, &calls)
    assert event_add(&ev, &soon) == 0
    os.kill(os.getpid(), signal.SIGUSR1)
    while calls < 2:
        assert event_base_loop(base, 0x01) == 0
    event_free(usr1)
    return 0


def test_tables_in_use_stay():
    cdef evthread_lock_callbacks table = own_table()
    cdef evthread_lock_callbacks wrong = own_table()
    cdef event_base *base = event_base_new()
    event_set_log_callback(warned)
    assert evthread_set_lock_callbacks(&table) == -1
    assert warnings == 1
    # Asking for what is there already is no change.
    assert evthread_use_pthreads() == 0
    assert warnings == 1
    work(base)
    event_base_free(base)
    # Not even when all locks are gone: nobody counts them.
    assert evthread_set_lock_callbacks(&table) == -1
    wrong.lock_api_version += 1
    assert evthread_set_lock_callbacks(&wrong) == -1


def test_a_table_of_ones_own():
    cdef evthread_lock_callbacks table = own_table()
    cdef event_base *base
    libevent_global_shutdown()
    assert evthread_set_lock_callbacks(&table) == 0
    base = event_base_new()
    assert made > 0
    work(base)
    assert taken > 5 and held == 0
    # Our own of before is refused now, the same again is not.
    assert evthread_use_pthreads() == -1
    assert evthread_set_lock_callbacks(&table) == 0
    event_base_free(base)
    libevent_global_shutdown()
    assert made == 0 and held == 0


def test_incomplete_tables():
    cdef evthread_lock_callbacks table = own_table()
    cdef evthread_condition_callbacks conditions
    libevent_global_shutdown()
    memset(&conditions, 0, sizeof(conditions))
    conditions.condition_api_version = EVTHREAD_CONDITION_API_VERSION
    table.unlock = NULL
    assert evthread_set_lock_callbacks(&table) == -1
    assert evthread_set_condition_callbacks(&conditions) == -1
    table = own_table()
    table.lock_api_version = 77
    assert evthread_set_lock_callbacks(&table) == -1
    work(Rig("poll").base)


def test_without_locks():
    cdef event_base *base
    libevent_global_shutdown()
    event_set_log_callback(warned)
    assert evthread_set_lock_callbacks(NULL) == 0
    assert evthread_set_condition_callbacks(NULL) == 0
    assert warnings == 0
    base = event_base_new()
    assert base != NULL and base.lock == NULL
    work(base)
    event_base_free(base)
    # And from nothing to something.
    assert evthread_use_pthreads() == 0
    base = event_base_new()
    assert base.lock != NULL
    work(base)
    # Taking them away while they are used is told of, and they are no longer taken.
    assert evthread_set_lock_callbacks(NULL) == 0
    assert warnings == 1
    work(base)


cdef void leave(int code) noexcept nogil:
    _exit(0 if code == 1 else 3)


def test_debug_mode_forbids_a_change():
    cdef evthread_lock_callbacks table = own_table()
    libevent_global_shutdown()
    event_enable_debug_mode()
    # Before there is a base all is well.
    assert evthread_set_lock_callbacks(&table) == 0
    assert event_base_new() != NULL
    event_set_log_callback(warned)
    event_set_fatal_callback(leave)
    evthread_set_lock_callbacks(&table)
    raise AssertionError("not caught")


def test_windows_threads():
    if EVTHREAD_USE_WINDOWS_THREADS_IMPLEMENTED:
        libevent_global_shutdown()
        assert evthread_use_windows_threads() == 0
    else:
        assert evthread_use_windows_threads() == -1
    work(Rig("poll").base)


# --- conditions ------------------------------------------------------------------------------------

cdef struct meeting:
    void *lock
    void *cond
    int waiting
    int signalled
    int timed_out


cdef struct waiter:
    meeting *place
    long timeout               # milliseconds; 0: without end
    int result


cdef void *wait_there(void *arg) noexcept nogil:
    cdef waiter *me = <waiter *>arg
    cdef timeval tv = milliseconds(me.timeout)
    evthread_lock_(me.place.lock)
    me.place.waiting += 1
    me.result = evthread_cond_wait_timed_(me.place.cond, me.place.lock, &tv if me.timeout else NULL)
    if me.result == 1:
        me.place.timed_out += 1
    else:
        me.place.signalled += 1
    evthread_unlock_(me.place.lock)
    return NULL


cdef int reached(meeting *place, int *field, int n) noexcept nogil:
    cdef int value
    evthread_lock_(place.lock)
    value = field[0]
    evthread_unlock_(place.lock)
    return value >= n


def test_conditions_simple():
    """A signal wakes one, a broadcast all, and who waits for a time only wakes by itself."""
    cdef meeting place
    cdef waiter waiters[WAITERS]
    cdef pthread_t threads[WAITERS]
    cdef int i
    memset(&place, 0, sizeof(place))
    place.lock = evthread_lock_alloc_()
    place.cond = evthread_cond_alloc_()
    for i in range(WAITERS):
        waiters[i].place = &place
        waiters[i].timeout = 0
        waiters[i].result = 7
    waiters[5].timeout = waiters[6].timeout = 50
    with nogil:
        for i in range(WAITERS):
            pthread_create(&threads[i], NULL, wait_there, &waiters[i])
        while not reached(&place, &place.waiting, WAITERS):
            sleep_ms(1)
        while not reached(&place, &place.timed_out, 2):
            sleep_ms(1)
    assert place.signalled == 0
    with nogil:
        evthread_lock_(place.lock)
        evthread_cond_signal_(place.cond)
        evthread_unlock_(place.lock)
        while not reached(&place, &place.signalled, 1):
            sleep_ms(1)
        sleep_ms(20)
    assert 1 <= place.signalled < WAITERS - 2
    with nogil:
        evthread_lock_(place.lock)
        evthread_cond_broadcast_(place.cond)
        evthread_unlock_(place.lock)
        for i in range(WAITERS):
            pthread_join(threads[i], NULL)
    assert [waiters[i].result for i in range(WAITERS)] == [0] * 5 + [1] * 2 + [0] * 3
    evthread_cond_free_(place.cond)
    evthread_lock_free_(place.lock)


cdef void *add_timers(void *arg) noexcept nogil:
    cdef event_base *base = <event_base *>arg
    cdef event ev
    cdef timeval soon = milliseconds(1)
    evtimer_assign(&ev, base, nothing, NULL)
    for _ in range(500):
        event_add(&ev, &soon)
        event_del(&ev)
    return NULL


cdef int share(event_base *base) except -1:
    cdef pthread_t threads[4]
    cdef event keep
    cdef timeval later = milliseconds(100000)
    cdef int i
    evtimer_assign(&keep, base, nothing, NULL)
    event_add(&keep, &later)
    with nogil:
        for i in range(4):
            pthread_create(&threads[i], NULL, add_timers, base)
        event_base_loop(base, EVLOOP_NONBLOCK)
        for i in range(4):
            pthread_join(threads[i], NULL)
        event_base_loop(base, EVLOOP_NONBLOCK)
        event_del(&keep)
    return 0


def test_priority_inheritance():
    """thread/basic with locks that lend their holder the priority of who waits."""
    libevent_global_shutdown()
    assert evthread_use_pthreads_with_flags(EVTHREAD_PTHREAD_PRIO_INHERIT) == 0
    cdef Rig rig = Rig("poll")
    share(rig.base)
    work(rig.base)


# --- lock debugging --------------------------------------------------------------------------------

cdef unsigned long same_thread() noexcept nogil:
    return 1


def test_lock_debugging_lets_good_use_pass():
    """Global locks from before are taken along."""
    cdef Rig before = Rig("poll")
    work(before.base)
    before.free()
    evthread_enable_lock_debugging()
    evthread_enable_lock_debuging()
    cdef Rig rig = Rig("poll")
    work(rig.base)
    share(rig.base)
    assert not evthread_is_held_(rig.base.lock)
    evthread_lock_(rig.base.lock)
    evthread_lock_(rig.base.lock)
    evthread_unlock_(rig.base.lock)
    assert evthread_is_held_(rig.base.lock)
    evthread_unlock_(rig.base.lock)
    assert not evthread_is_held_(rig.base.lock)
    # The tables are those underneath: the same again is no change.
    assert evthread_use_pthreads() == 0
    test_conditions_simple()


def test_lock_debugging_over_ones_own_table():
    cdef evthread_lock_callbacks table = own_table()
    libevent_global_shutdown()
    evthread_enable_lock_debugging()
    assert evthread_set_lock_callbacks(&table) == 0
    cdef Rig rig = Rig("poll")
    work(rig.base)
    assert taken > 5 and held == 0
    rig.free()
    libevent_global_shutdown()
    assert made == 0


cdef const char *wanted = NULL
cdef bint matched = False


cdef void match(int severity, const char *message) noexcept nogil:
    global matched
    matched = strstr(message, wanted) != NULL


cdef void done(int code) noexcept nogil:
    _exit(0 if matched else 3)


cdef void *take(void *arg) noexcept nogil:
    evthread_lock_(arg)
    return NULL


cdef int wrong(int which) except -1:
    cdef void *lock = evthread_lock_alloc_()
    cdef void *cond = evthread_cond_alloc_()
    cdef pthread_t thread
    if which == 0:
        evthread_unlock_(lock)
    elif which == 1:
        evthread_lock_(lock)
        evthread_lock_free_(lock)
    elif which == 2:
        evthread_cond_wait_(cond, lock)
    elif which == 3:
        pthread_create(&thread, NULL, take, lock)
        pthread_join(thread, NULL)
        evthread_unlock_(lock)
    else:
        evthread_lock_(lock)
        evthread_lock_(lock)
        evthread_cond_wait_(cond, lock)
    return 0


def test_lock_debugging_catches():
    global wanted
    evthread_enable_lock_debugging()
    event_set_log_callback(match)
    event_set_fatal_callback(done)
    texts = (b"does not hold it", b"freed while it is held", b"without holding its lock once",
             b"does not hold it", b"without holding its lock once")
    for i in range(5):
        pid = os.fork()
        if pid == 0:
            text = texts[i]
            wanted = text
            wrong(i)
            os._exit(4)
        assert os.waitpid(pid, 0)[1] == 0, i
