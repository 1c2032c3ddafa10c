"""Loops in threads of their own whose C callbacks never wait for the interpreter.

The test's own thread holds the interpreter's lock all the time, in C code that never gives it up, and looks at
what the loops in other threads get done meanwhile. Nothing is measured: a loop that needs the lock gets nothing
done.
"""

import threading

from cyevent cimport (
    EV_PERSIST, EV_READ, EV_TIMEOUT, event, event_active, event_add, event_base, event_base_loopbreak,
    event_free, event_new,
)
from cyevent.core.reactor cimport EventBase
from rig cimport Rig, now, sleep_ms

from cyevent.core.reactor import EventBase as PyEventBase

cdef extern from *:
    """
    #define load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
    #define increment(p) (void)__atomic_add_fetch(p, 1, __ATOMIC_RELEASE)
    #include <unistd.h>
    """
    long load(long *p) nogil
    void increment(long *p) nogil
    ssize_t read(int fd, void *data, size_t n) nogil
    ssize_t write(int fd, const void *data, size_t n) nogil

cdef enum:
    ENOUGH = 1000
    GUARD = 60


cdef struct bouncer:
    event_base *base
    event *ev
    int back                   # the socket from which the reader's byte comes again
    long ran
    long stop


cdef void bounce(int fd, short what, void *arg) noexcept nogil:
    cdef bouncer *b = <bouncer *>arg
    cdef char byte
    if what & EV_READ:
        read(fd, &byte, 1)
    increment(&b.ran)
    if load(&b.stop):
        event_base_loopbreak(b.base)
    elif what & EV_READ:
        write(b.back, &byte, 1)
    else:
        event_active(b.ev, EV_TIMEOUT, 1)


cdef bint progress_with_the_lock_held(bouncer **bouncers, int n) noexcept:
    """With the interpreter's lock, from the first line to the last."""
    cdef double limit = now() + GUARD
    cdef long before
    cdef int i
    for i in range(n):
        before = load(&bouncers[i].ran)
        while load(&bouncers[i].ran) < before + ENOUGH:
            if now() > limit:
                return False
            sleep_ms(1)
    return True


cdef int run_isolated(str method, int n, bint descriptors) except -1:
    cdef bouncer states[4]
    cdef bouncer *bouncers[4]
    cdef EventBase base
    cdef int i
    cdef bint went_on
    bases, keep, threads = [], [], []
    for i in range(n):
        base = PyEventBase(method, threadsafe=False)
        rig = Rig(method)
        bases.append(base)
        keep.append(rig)
        bouncers[i] = &states[i]
        states[i].base = base.base
        states[i].back = (<Rig>rig).pair[1]
        states[i].ran = states[i].stop = 0
        if descriptors:
            states[i].ev = event_new(base.base, (<Rig>rig).pair[0], EV_READ | EV_PERSIST, bounce, &states[i])
            assert event_add(states[i].ev, NULL) == 0
            (<Rig>rig).send(1, b"x")
        else:
            states[i].ev = event_new(base.base, -1, 0, bounce, &states[i])
            event_active(states[i].ev, EV_TIMEOUT, 1)
        threads.append(threading.Thread(target=base.loop))
    for thread in threads:
        thread.start()
    # Each gets the interpreter once more at its start; until then nothing has run.
    for i in range(n):
        while load(&states[i].ran) == 0:
            with nogil:
                sleep_ms(1)
    went_on = progress_with_the_lock_held(bouncers, n)
    for i in range(n):
        increment(&states[i].stop)
    for thread in threads:
        thread.join()
    for i in range(n):
        event_free(states[i].ev)
    for base in bases:
        base.close()
    assert went_on, "a loop waited for the interpreter"
    return 0


def test_one_loop_needs_no_interpreter(method):
    """Descriptors are ready, and their C callbacks run, while another thread keeps the interpreter."""
    run_isolated(method, 1, True)


def test_several_loops_need_no_interpreter(method):
    """Isolated bases do not wait for it, nor for each other."""
    run_isolated(method, 3, True)


def test_activated_callbacks_need_no_interpreter(method):
    """The same without any system call but the wait's."""
    run_isolated(method, 2, False)
