# How code above the line enters the interpreter.
#
# A loop runs without the GIL. A C callback that stands for a Python one calls py_enter() first and
# py_leave() last. Inside EventBase.loop() the first py_enter() of a batch takes the GIL with the thread
# state saved at entry, py_leave() keeps it, and the loop gives it back before it waits; anywhere else (a
# loop run from C, a base being freed) the pair is PyGILState_Ensure and PyGILState_Release.

from cpython.ref cimport PyObject
from cyevent.core.queue cimport notify_without_lock_
from cyevent.core.sys cimport ev_load_ulong
from cyevent.core.threads cimport EVLOCK_UNLOCK
from cyevent.core.types cimport event, event_base

cdef extern from "Python.h":
    ctypedef struct PyThreadState:
        pass
    PyThreadState *PyEval_SaveThread() noexcept nogil
    void PyEval_RestoreThread(PyThreadState *state) noexcept nogil
    unsigned long PyThread_get_thread_ident() noexcept nogil

cdef struct py_loop:
    PyThreadState *saved       # the loop thread's state while it does not hold the GIL
    bint looping               # EventBase.loop() or close() has begun
    unsigned long thread       # the one inside EventBase.loop(), 0 for none; others may look
    PyObject *owner            # the EventBase; not a reference

# True in the thread that is inside EventBase.loop(). Another one never reads its own number there.
cdef inline bint in_py_loop(py_loop *loop) noexcept nogil:
    return ev_load_ulong(&loop.thread) == PyThread_get_thread_ident()


# The result goes to py_leave().
cdef int py_enter(py_loop *loop) noexcept nogil
cdef void py_leave(py_loop *loop, int token) noexcept nogil
# A base's before_wait(), with its py_loop.
cdef void give_up_gil(void *arg) noexcept nogil


# unlock_and_notify() for a thread that holds the GIL, which it gives up while it wakes the loop: the loop
# may be there before the system call returns, and want it.
cdef inline void unlock_and_wake(event_base *base) noexcept:
    base.notify_later = False
    if base.notify_due:
        with nogil:
            notify_without_lock_(base)
    else:
        EVLOCK_UNLOCK(base.lock)


# An event and the object it belongs to; the argument of its C callback.
cdef struct py_event:
    event ev
    PyObject *object           # not a reference
