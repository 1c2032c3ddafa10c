# The reactor's extension classes.

from cyevent.core.arguments cimport check_callable, descriptor, duration_ns
from cyevent.core.interpreter cimport py_loop
from cyevent.core.sys cimport evutil_socket_t, timeval
from cyevent.core.types cimport event, event_base, event_callback


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
