# The reactor's extension classes, and how code above the line enters the interpreter.
#
# A loop runs without the GIL. A C callback that stands for a Python one calls py_enter() first and
# py_leave() last. Inside EventBase.loop() the first py_enter() of a batch takes the GIL with the thread
# state saved at entry, py_leave() keeps it, and the loop gives it back before it waits; anywhere else (a
# loop run from C, a base being freed) the pair is PyGILState_Ensure and PyGILState_Release.

from cpython.ref cimport PyObject
from cyevent.core.arguments cimport check_callable, descriptor, duration_ns
from cyevent.core.queue cimport notify_without_lock_
from cyevent.core.sys cimport ev_load_ulong, evutil_socket_t, timeval
from cyevent.core.threads cimport EVLOCK_UNLOCK
from cyevent.core.types cimport event, event_base, event_callback

cdef extern from "Python.h":
    ctypedef struct PyThreadState:
        pass
    unsigned long PyThread_get_thread_ident() noexcept nogil

cdef struct py_loop:
    PyThreadState *saved       # the loop thread's state while it does not hold the GIL
    bint looping               # EventBase.loop() or close() has begun
    unsigned long thread       # the one inside EventBase.loop(), 0 for none; others may look
    bint stopping              # a KeyboardInterrupt or SystemExit waits to be raised from loop()
    PyObject *owner            # the EventBase; not a reference

# True in the thread that is inside EventBase.loop(). Another one never reads its own number there.
cdef inline bint in_py_loop(py_loop *loop) noexcept nogil:
    return ev_load_ulong(&loop.thread) == PyThread_get_thread_ident()


# The result goes to py_leave().
cdef int py_enter(py_loop *loop) noexcept nogil
cdef void py_leave(py_loop *loop, int token) noexcept nogil


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


cdef class EventBase:
    # Owned. Shut by close(), when events are deleted and descriptors closed; its memory lasts as long as
    # this object, which everything made on the base refers to.
    cdef event_base *base
    cdef bint closed_
    cdef py_loop state
    cdef object handler        # exception handler or None
    cdef object stop_exception  # raised from loop()
    cdef dict kept             # by id: objects that must live as long as they are pending
    cdef Py_ssize_t most_kept  # the largest it has been since its table was new
    cdef bint closing          # close() has begun
    cdef list soon             # call_soon(): callback, arguments, callback, arguments, ...
    cdef bint soon_due         # soon_call is active, for all of them
    cdef event_callback soon_call
    cdef object __weakref__
    cdef evutil_socket_t wakeup_fds[2]     # Python's signal handlers write to [1]; -1 until it is needed
    cdef event wakeup_event

    # Raises ValueError once closed. Whoever holds a struct made on the base must give it up in __del__,
    # which the collector calls before it takes references away.
    cdef event_base *checked(self) except NULL
    # Deals with the exception that is set now, raised by `callback` in the loop: reports it and goes on,
    # or stops the loop for KeyboardInterrupt and SystemExit.
    cdef void callback_failed(self, object callback) noexcept
    cdef void failed(self, object exception, object callback) noexcept
    cdef void stop(self, object exception) noexcept
    cdef int open_wakeup(self) except -1
    cdef void close_wakeup(self) noexcept
    # Keep and release: an object with something pending in the base is kept alive by the base.
    # Both need the GIL, and are harmless when repeated.
    cdef int keep(self, object thing) except -1
    cdef void release(self, object thing) noexcept
    # Runs event_del() without deadlock: gives up the GIL while the callback is running elsewhere.
    cdef int delete_event(self, event *ev) noexcept
    # With self's critical section: makes soon_call active.
    cdef void schedule_soon(self) noexcept


# A duration that many events share; see EventBase.common_timeout().
cdef class Duration:
    cdef EventBase owner
    cdef const timeval *tv
    cdef readonly double seconds
