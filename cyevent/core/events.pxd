# Event and its kinds. An Event's struct lies in the object, so its address is the event's.

from cyevent.core.interpreter cimport py_event
from cyevent.core.reactor cimport EventBase


cdef class Event:
    cdef EventBase owner
    cdef py_event native
    cdef object callback_
    cdef tuple arguments
    cdef object fd_object      # what fd was given as: its descriptor must outlive the registration
    cdef object fd_number
    cdef object on_finalize
    cdef int nleading          # how many of (fd, what) the callback gets before its arguments
    cdef bint closed_
    cdef object __weakref__

    cdef int prepare(self, EventBase base, int fd, short what, object callback, tuple arguments,
                     object priority) except -1
    cdef int add_timeout(self, object timeout, str name) except -1
    cdef EventBase live(self)
    cdef void settle(self) noexcept


cdef class Timer(Event):
    pass


cdef class Signal(Event):
    pass
