# The reactor's extension classes, and how code above the line enters the interpreter.
#
# A loop runs without the GIL. A C callback that stands for a Python one calls py_enter() first and
# py_leave() last. Inside EventBase.loop() the first py_enter() of a batch takes the GIL with the thread
# state saved at entry, py_leave() keeps it, and the loop gives it back before it waits; anywhere else (a
# loop run from C, a base being freed) the pair is PyGILState_Ensure and PyGILState_Release.

from cpython.ref cimport PyObject
from cyevent.core.arguments cimport check_callable, descriptor, duration_ns
from cyevent.core.sys cimport timeval
from cyevent.core.types cimport event, event_base

cdef extern from "Python.h":
    ctypedef struct PyThreadState:
        pass

cdef struct py_loop:
    PyThreadState *saved       # the loop thread's state while it does not hold the GIL
    bint looping               # EventBase.loop() is running,
    unsigned long thread       # in this thread
    bint stopping              # a KeyboardInterrupt or SystemExit waits to be raised from loop()
    PyObject *owner            # the EventBase; not a reference

# The result goes to py_leave().
cdef int py_enter(py_loop *loop) noexcept nogil
cdef void py_leave(py_loop *loop, int token) noexcept nogil


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
    cdef object __weakref__
    cdef int wakeup_fds[2]     # Python's signal handlers write to [1]; -1 until it is needed
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
    # Runs event_del() without deadlock: gives up the GIL when the callback may be running elsewhere.
    cdef int delete_event(self, event *ev) noexcept


# A duration that many events share; see EventBase.common_timeout().
cdef class Duration:
    cdef EventBase owner
    cdef const timeval *tv
    cdef readonly double seconds
