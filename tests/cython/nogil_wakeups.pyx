"""A thread that is about to wake a loop, without the lock, while the base goes away or is made anew.

What it writes to is replaced by a full pipe, in which it waits for as long as a test likes; then that fails.
"""

import os

from posix.unistd cimport _exit, close, pipe

from cyevent cimport (
    EV_READ, EV_TIMEOUT, EVLOOP_NONBLOCK, EVLOOP_NO_EXIT_ON_EMPTY, event, event_active, event_add, event_assign,
    event_base, event_base_free, event_base_loop, event_base_loopbreak, event_reinit,
)
from cyevent.core.sys cimport ev_load_int, ev_store_int
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from rig cimport Rig, make_base, note, nothing, now, sleep_ms

cdef extern from *:
    """
    #include <fcntl.h>
    #include <pthread.h>
    static void fill(int fd) {
        static char block[4096];
        int flags = fcntl(fd, F_GETFL);
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
        while (write(fd, block, sizeof(block)) > 0) {}
        while (write(fd, block, 1) > 0) {}
        fcntl(fd, F_SETFL, flags);
    }
    """
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t *thread, void *attr, void *(*start)(void *) noexcept nogil, void *arg) nogil
    int pthread_join(pthread_t thread, void **result) nogil
    void fill(int fd) nogil

# A thread sanitizer forbids threads in the child of a process that has others.
CHILDREN_HAVE_THREADS = "thread" not in os.environ.get("CYEVENT_SANITIZE", "")

cdef enum:
    GUARD = 60
    # Milliseconds for something that must not happen; when it does it takes far less.
    WHILE = 50

cdef struct scene:
    event_base *base
    event ev
    int ends[2]                # of the pipe
    pthread_t waker
    int over                   # what may not end before the waker's write has


cdef void *wake(void *arg) noexcept nogil:
    event_active(&(<scene *>arg).ev, EV_TIMEOUT, 1)
    return NULL


cdef void *free_base(void *arg) noexcept nogil:
    cdef scene *s = <scene *>arg
    event_base_free(s.base)
    ev_store_int(&s.over, 1)
    return NULL


cdef void *make_anew(void *arg) noexcept nogil:
    cdef scene *s = <scene *>arg
    event_reinit(s.base)
    ev_store_int(&s.over, 1)
    return NULL


cdef bint set_up(scene *s, str method) except -1:
    """Starts a thread that waits in its write; False where a wake-up is no write."""
    cdef double limit = now() + GUARD
    s.over = 0
    s.base = make_base(method, 0, -1, 0)
    if s.base.notify_fds[1] < 0:
        event_base_free(s.base)
        return False
    event_assign(&s.ev, s.base, -1, 0, nothing, NULL)
    assert pipe(s.ends) == 0
    fill(s.ends[1])
    if s.base.notify_fds[1] != s.base.notify_fds[0]:
        close(s.base.notify_fds[1])
    s.base.notify_fds[1] = s.ends[1]
    # As if a loop slept in another thread.
    s.base.waiting = True
    with nogil:
        pthread_create(&s.waker, NULL, wake, s)
        while ev_load_int(&s.base.notifying) == 0 and now() < limit:
            sleep_ms(1)
    assert ev_load_int(&s.base.notifying) == 1
    EVLOCK_LOCK(s.base.lock)
    s.base.waiting = False
    EVLOCK_UNLOCK(s.base.lock)
    return True


cdef int during(scene *s, void *(*what)(void *) noexcept nogil) except -1:
    """Does it in a thread while the waker waits; it must be over when the waker's write has failed."""
    cdef pthread_t thread
    cdef double limit = now() + GUARD
    cdef int early
    with nogil:
        pthread_create(&thread, NULL, what, s)
        sleep_ms(WHILE)
        early = ev_load_int(&s.over)
        # Python ignores SIGPIPE.
        close(s.ends[0])
        while not ev_load_int(&s.over) and now() < limit:
            sleep_ms(1)
    assert ev_load_int(&s.over), "it hangs"
    with nogil:
        pthread_join(thread, NULL)
        pthread_join(s.waker, NULL)
    assert not early, "the waker was not waited for"
    return 0


def test_freeing_waits_for_a_waker(method):
    cdef scene s
    if set_up(&s, method):
        during(&s, free_base)


def test_reinit_waits_for_a_waker(method):
    cdef scene s
    if set_up(&s, method):
        during(&s, make_anew)
        assert s.base.notifying == 0
        assert s.base.is_notify_pending == 0
        event_base_free(s.base)


# --- children --------------------------------------------------------------------------------------

cdef void *run(void *arg) noexcept nogil:
    event_base_loop(<event_base *>arg, EVLOOP_NO_EXIT_ON_EMPTY)
    return NULL


cdef bint sleeps(event_base *base) noexcept nogil:
    """Whether its loop does, or is about to."""
    cdef bint result
    EVLOCK_LOCK(base.lock)
    result = base.waiting
    EVLOCK_UNLOCK(base.lock)
    return result


cdef struct sleeper:
    event_base *base
    int over


cdef void *run_to_its_end(void *arg) noexcept nogil:
    run((<sleeper *>arg).base)
    ev_store_int(&(<sleeper *>arg).over, 1)
    return NULL


cdef bint wakes(event_base *base) noexcept nogil:
    """Whether a loop that sleeps in another thread ends when it is told to."""
    cdef pthread_t thread
    cdef int _i
    for _i in range(20):
        pthread_create(&thread, NULL, run, base)
        while not sleeps(base):
            sleep_ms(1)
        event_base_loopbreak(base)
        pthread_join(thread, NULL)
    return True


def test_a_child_has_no_waker_to_wait_for(method):
    """It has a copy of the count, and none of the threads."""
    cdef scene s
    if not set_up(&s, method):
        return
    for anew in (False, True):
        pid = os.fork()
        if pid == 0:
            # What hangs is ended.
            import signal
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(GUARD)
            if anew and event_reinit(s.base) < 0:
                _exit(1)
            if anew and CHILDREN_HAVE_THREADS and not wakes(s.base):
                _exit(2)
            event_base_free(s.base)
            _exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, anew
    during(&s, free_base)


def test_a_child_that_frees_its_copy(method):
    """It takes nothing out of what the parent waits in: neither wake-ups nor descriptors."""
    cdef Rig rig = Rig(method)
    cdef event reader
    cdef sleeper s
    cdef pthread_t thread
    cdef double limit
    cdef int seen = 0
    event_assign(&reader, rig.base, rig.pair[1], EV_READ, note, &seen)
    assert event_add(&reader, NULL) == 0
    event_base_loop(rig.base, EVLOOP_NONBLOCK)
    pid = os.fork()
    if pid == 0:
        event_base_free(rig.base)
        _exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    s.base = rig.base
    s.over = 0
    limit = now() + GUARD
    with nogil:
        pthread_create(&thread, NULL, run_to_its_end, &s)
        while not sleeps(rig.base):
            sleep_ms(1)
        event_base_loopbreak(rig.base)
        while not ev_load_int(&s.over) and now() < limit:
            sleep_ms(1)
    assert ev_load_int(&s.over), "it hangs"
    with nogil:
        pthread_join(thread, NULL)
    rig.send(0, b"x")
    event_base_loop(rig.base, EVLOOP_NONBLOCK)
    assert seen == EV_READ
