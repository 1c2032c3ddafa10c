# The extension class that those of all kinds of bufferevents derive from.

from cyevent.buffer.pyevbuffer cimport EvBuffer
from cyevent.bufferevent.types cimport bufferevent
from cyevent.bufferevent.pyratelimit cimport RateLimitGroup, TokenBucket
from cyevent.core.interpreter cimport py_enter, py_leave, py_loop
from cyevent.core.queue cimport in_loop_thread
from cyevent.core.reactor cimport EventBase

cdef extern from "Python.h":
    int PyGILState_Ensure() noexcept nogil

cdef enum:
    ALL_OPTIONS = 15           # BEV_OPT_*

# Checks what all constructors take; the BEV_OPT_* bits of `options`.
cdef int check_options(object options, object read, object write, object event) except -1
# The struct's event callback: calls the Python one of the object that `arg` is, and settles.
cdef void event_happened(bufferevent *bev, short what, void *arg) noexcept nogil

# Enters the interpreter for a callback of the bufferevent's; the result goes to leave_python(). A callback
# usually comes from the loop; one that another thread's call triggers runs in that thread, whose state is not
# the loop's.
cdef inline int enter_python(bufferevent *bev) noexcept nogil:
    if in_loop_thread(bev.ev_base):
        return py_enter(<py_loop *>bev.ev_base.binding)
    return PyGILState_Ensure()


cdef inline void leave_python(int token) noexcept nogil:
    py_leave(NULL, token)


cdef class BufferEvent:
    cdef bufferevent *bev      # owned; NULL once closed
    cdef EventBase owner
    cdef object readcb         # callables or None
    cdef object writecb
    cdef object eventcb
    cdef EvBuffer input_       # made when they are asked for
    cdef EvBuffer output_
    cdef TokenBucket limit     # in use by the struct
    cdef RateLimitGroup group
    cdef bint kept             # the base holds a reference
    cdef bint filtered         # a filter has taken the struct's callbacks
    cdef object __weakref__

    # For constructors: takes a new struct (NULL: MemoryError) with its callbacks.
    cdef int begin(self, EventBase base, bufferevent *bev, object read, object write,
                   object event) except -1
    # Raises ValueError when closed.
    cdef bufferevent *live(self) except NULL
    # live(), and locked: BEV_UNLOCK() follows.
    cdef bufferevent *enter(self) except NULL
    # enter(), or ValueError without a rate limit.
    cdef bufferevent *limited(self) except NULL
    cdef int keep(self) except -1
    # True while bytes may still arrive, or leave.
    cdef bint reads(self) noexcept
    cdef bint writes(self) noexcept
    # Lets the base drop its reference when nothing can happen any more.
    cdef void settle(self) noexcept
    cdef void install(self) noexcept
    # For kinds with something of their own, in close(): before the struct is given up, and after.
    cdef int closing(self) except -1
    cdef void closed_(self) noexcept
