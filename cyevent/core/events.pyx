"""Event, Timer and Signal.

Each owns one struct event, embedded in the object; the base's references keep it where it is while it is added.
"""

cimport cython
from cpython.ref cimport PyObject
from libc.errno cimport errno
from libc.stdint cimport int64_t
from cyevent.core.debug cimport debug_teardown_, EVENT_GONE_FREED_
from cyevent.core.arguments cimport (
    check_callable, descriptor, duration_ns, event_bits, integer, os_error,
)
from cyevent.core.event cimport *
from cyevent.core.clock cimport timeval_to_ns
from cyevent.core.event cimport (
    common_index_of_, event_active_nolock_, event_add_nolock_, event_forget_,
)
from cyevent.core.finalize cimport event_finalize
from cyevent.core.interpreter cimport py_enter, py_leave, py_loop, unlock_and_wake
from cyevent.core.log cimport debugging_
from cyevent.core.log cimport EVENT_DEBUG_CHECK_, event_debug_flags_
from cyevent.core.queue cimport in_loop_thread, notify_later
from cyevent.core.reactor cimport Duration
from cyevent.core.sys cimport *
from cyevent.core.sys cimport timeval
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport *

cdef extern from "Python.h":
    object PyObject_Vectorcall(PyObject *callable, PyObject **arguments, size_t n, PyObject *names)

cdef enum:
    EV_IO = 0x86               # EV_READ | EV_WRITE | EV_CLOSED
    PENDING = 0x2b             # EVLIST_TIMEOUT | _INSERTED | _ACTIVE | _ACTIVE_LATER
    STACK_ARGUMENTS = 10


cdef inline int flags_of(event *ev) noexcept:
    cdef int flags
    EVLOCK_LOCK(ev.base.lock)
    flags = ev.evcb.flags
    EVLOCK_UNLOCK(ev.base.lock)
    return flags


# --- callbacks --------------------------------------------------------------------------------------

cdef object call(PyObject *callback, tuple arguments, PyObject **leading, int nleading):
    """callback(*leading, *arguments), without building a tuple when they are few."""
    cdef PyObject *stack[STACK_ARGUMENTS]
    cdef Py_ssize_t i, n = len(arguments)
    if nleading + n > STACK_ARGUMENTS:
        return (<object>callback)(*[<object>leading[i] for i in range(nleading)], *arguments)
    for i in range(nleading):
        stack[i] = leading[i]
    for i in range(n):
        stack[nleading + i] = <PyObject *>arguments[i]
    return PyObject_Vectorcall(callback, stack, nleading + n, NULL)


cdef void event_fired(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef py_event *native = <py_event *>arg
    cdef py_loop *loop = <py_loop *>native.ev.base.binding
    cdef int token = py_enter(loop)
    (<void (*)(PyObject *, short) noexcept nogil>run_event)(native.object, what)
    py_leave(loop, token)


cdef void run_event(PyObject *thing, short what) noexcept:
    cdef Event self = <Event>thing
    cdef PyObject *leading[2]
    cdef object reason
    cdef object callback = self.callback_
    try:
        if self.nleading == 2:
            reason = what
            leading[0] = <PyObject *>self.fd_number
            leading[1] = <PyObject *>reason
        elif self.nleading == 1:
            leading[0] = <PyObject *>self.fd_number
        # It is None when another thread, which EV_FINALIZE keeps from waiting, closed the event just now.
        if callback is not None:
            call(<PyObject *>callback, self.arguments, leading, self.nleading)
    except BaseException as exception:
        self.owner.failed(exception, callback)
    if not flags_of(&self.native.ev) & PENDING:
        self.settle()


def settle_later(Event event):
    event.settle()


cdef void finalizer_fired(event *ev, void *arg) noexcept nogil:
    cdef py_event *native = <py_event *>arg
    cdef py_loop *loop = <py_loop *>ev.base.binding
    cdef int token = py_enter(loop)
    (<void (*)(PyObject *) noexcept nogil>run_finalizer)(native.object)
    py_leave(loop, token)


cdef void run_finalizer(PyObject *thing) noexcept:
    cdef Event self = <Event>thing
    cdef object callback = self.on_finalize
    self.closed_ = True
    self.on_finalize = None
    try:
        if callback is not None:
            callback(self)
    except BaseException as exception:
        self.owner.failed(exception, callback)
    self.native.ev.evcb.flags = EVLIST_INIT | EVLIST_BINDING
    self.owner.release(self)


# --- the classes ------------------------------------------------------------------------------------

cdef class Event:
    """Calls callback(fd, what, *args) when `what` happens on fd.

    base: the EventBase in whose loop the callback runs.
    fd: a descriptor or anything with fileno(), which is kept alive as long as the event; it stays the
    caller's to close, after `delete`. -1 for an event that only times out or is activated.
    what: READ, WRITE, CLOSED, and PERSIST to stay added after firing, ET for edge triggering, as epoll(7) has
    it. The callback is told which of them happened, or TIMEOUT.
    priority: 0 is the most urgent; None for the middle one. ValueError beyond the base's priorities.

    TypeError or ValueError names an argument that is wrong. It waits for nothing before `add`. While it is
    added the base keeps it alive, so an event need not be kept in a variable. What the callback returns is
    disregarded; what it raises goes to `EventBase.exception_handler`.

    Once the event or its base is closed all methods but `close` raise ValueError.
    """

    def __cinit__(self):
        self.closed_ = True

    def __init__(self, EventBase base not None, fd, what, callback, *args, priority=None):
        cdef int number
        cdef short bits = event_bits(what)
        if bits & EV_SIGNAL:
            if bits & EV_IO:
                raise ValueError("what must not combine SIGNAL with READ, WRITE or CLOSED")
            number = <int>integer(fd, "signum", 1, NSIG - 1)
        elif isinstance(fd, int) and fd == -1:
            if bits & EV_IO:
                raise ValueError("fd must be a valid descriptor, not -1, to wait for READ, WRITE "
                                 "or CLOSED")
            number = -1
        else:
            number = descriptor(fd, "fd")
            if not isinstance(fd, int):
                self.fd_object = fd
        self.nleading = 2
        self.prepare(base, number, bits, callback, args, priority)

    cdef int prepare(self, EventBase base, int fd, short what, object callback, tuple arguments,
                     object priority) except -1:
        cdef event_base *native = base.checked()
        check_callable(callback, "callback")
        if self.owner is not None:
            raise RuntimeError("an event's __init__() was called twice")
        if priority is not None:
            integer(priority, "priority", 0, native.nqueues - 1)
        if debugging_() and fd >= 0 and not what & EV_SIGNAL and event_debug_flags_ & EVENT_DEBUG_CHECK_ \
                and ev_is_blocking(fd):
            # Fatal below the line, where nothing can be raised.
            raise ValueError(f"fd {fd} must be non-blocking (debug mode is on)")
        self.native.object = <PyObject *>self
        if event_assign(&self.native.ev, native, fd, what, event_fired, &self.native) < 0:
            raise os_error("what")
        self.native.ev.evcb.flags |= EVLIST_BINDING
        if priority is not None:
            event_priority_set(&self.native.ev, priority)
        self.owner = base
        self.callback_ = callback
        self.arguments = arguments
        self.fd_number = fd
        self.closed_ = False
        return 0

    def __dealloc__(self):
        # Only an event of which the base holds no reference gets here, so it is not pending unless the
        # base was never told, in a failed add(); but it may be the running one. Without an owner the
        # collector was here, after the base's __del__.
        if self.owner is not None:
            event_forget_(&self.native.ev)
        if debugging_():
            debug_teardown_(&self.native.ev, EVENT_GONE_FREED_)

    cdef EventBase live(self):
        if self.owner is None or self.closed_:
            raise ValueError("the event is closed")
        self.owner.checked()
        return self.owner

    cdef void settle(self) noexcept:
        """Lets the base drop its reference when the event is no longer pending."""
        cdef EventBase owner = self.owner
        cdef event *ev = &self.native.ev
        cdef event_base *base
        cdef bint pending, elsewhere
        if owner is None:
            return
        base = owner.base
        with cython.critical_section(self):
            EVLOCK_LOCK(base.lock)
            pending = ev.evcb.flags & PENDING
            elsewhere = base.current_event == &ev.evcb and not in_loop_thread(base)
            EVLOCK_UNLOCK(base.lock)
            if not pending and not elsewhere:
                owner.release(self)
        if elsewhere and not pending:
            # The loop has taken it off its queue, and may not have got to the callback, nor to the GIL.
            try:
                owner.call_soon(settle_later, self)
            except ValueError:
                pass

    def add(self, timeout=None):
        """Waits for the event, and at most `timeout` seconds (a number, a timedelta or a Duration) if one
        is given. Adding what is added already only sets the timeout; None leaves the one that it has.

        ValueError for a closed event or base, and for a timeout that is negative or of more than 4e9 seconds;
        OSError (errno EBADF, EPERM) for a descriptor that the backend refuses, such as a regular file with
        epoll.
        """
        self.add_timeout(timeout, "timeout")

    cdef int add_timeout(self, object timeout, str name) except -1:
        cdef EventBase owner = self.live()
        cdef event *ev = &self.native.ev
        cdef event_base *base = owner.base
        cdef int64_t ns = -1
        cdef const timeval *tv = NULL
        cdef int result, code
        if type(timeout) is Duration:
            if (<Duration>timeout).owner is not owner:
                raise ValueError(f"{name} belongs to another EventBase")
            tv = (<Duration>timeout).tv
        elif timeout is not None:
            ns = duration_ns(timeout, name)
            if ns == 0 and ev.evcb.closure == EV_CLOSURE_EVENT_PERSIST:
                # An interval of nothing means none: the event would time out once.
                ns = 1
        if ev.events & EV_IO and base.ops.features & EV_FEATURE_FDS \
                and not flags_of(ev) & EVLIST_INSERTED and not ev_is_open(ev.fd):
            # These backends look at a descriptor only when they wait.
            raise os_error(f"fd {ev.fd}")
        with cython.critical_section(self):
            owner.keep(self)
            EVLOCK_LOCK(base.lock)
            notify_later(base)
            if tv != NULL:
                ns = timeval_to_ns(tv)
                result = event_add_nolock_(ev, ns, False, common_index_of_(base, tv))
            else:
                result = event_add_nolock_(ev, ns, False, 0)
            code = errno
            unlock_and_wake(base)
        if result < 0:
            self.settle()
            set_errno(code)
            raise os_error(f"signum {ev.fd}" if ev.events & EV_SIGNAL else f"fd {ev.fd}")
        return 0

    def delete(self):
        """Stops waiting, and takes back a firing whose callback has not begun. From another thread it waits
        for the end of a callback that runs, unless the event has FINALIZE. Nothing to delete is no error,
        and the event can be added again."""
        cdef EventBase owner = self.live()
        owner.delete_event(&self.native.ev)
        self.settle()

    def activate(self, what, ncalls=1):
        """Makes the callback due as if `what` had happened. May be called from any thread, and wakes the loop;
        several calls before the callback has run are one, which is told of all.

        what: what the callback is told, READ or TIMEOUT say.
        ncalls: how often the callback of a signal event is called.
        """
        cdef EventBase owner = self.live()
        cdef event_base *base = owner.base
        cdef event *ev = &self.native.ev
        cdef short bits = event_bits(what)
        cdef short calls = <short>integer(ncalls, "ncalls", 1, 0x7fff)
        with cython.critical_section(self):
            owner.keep(self)
            EVLOCK_LOCK(base.lock)
            notify_later(base)
            event_active_nolock_(ev, bits, calls)
            unlock_and_wake(base)

    def pending(self, what=EV_TIMEOUT | EV_IO | EV_SIGNAL):
        """Returns which bits of `what` the event waits for or is active for; 0 if none. All are asked for by
        default."""
        self.live()
        return event_pending(&self.native.ev, event_bits(what), NULL)

    def remove_timer(self):
        """Takes the timeout away and goes on waiting for the rest. No timeout is no error."""
        self.live()
        event_remove_timer(&self.native.ev)
        self.settle()

    def finalize(self, callback=None):
        """Deletes the event and calls callback(event) from the loop, when nothing can be running it any
        more, even in another thread. The event is closed then. It never waits; ValueError when it is being
        finalized already."""
        cdef EventBase owner = self.live()
        if callback is not None:
            check_callable(callback, "callback")
        with cython.critical_section(self):
            if flags_of(&self.native.ev) & EVLIST_FINALIZING:
                raise ValueError("the event is being finalized already")
            self.on_finalize = callback
            owner.keep(self)
            event_finalize(0, &self.native.ev, finalizer_fired)

    def close(self):
        """Deletes the event for good, as `delete` does, and lets go of the callback and its arguments. Harmless
        when repeated. The descriptor stays open."""
        if self.closed_ or self.owner is None:
            return
        self.closed_ = True
        if not self.owner.closed_:
            self.owner.delete_event(&self.native.ev)
        self.settle()
        self.callback_ = None
        self.arguments = ()
        self.fd_object = None

    @property
    def closed(self):
        """True after `close`, and when a finalizer has run."""
        return self.closed_

    @property
    def expires(self):
        """When the timeout is over, in seconds of the monotonic clock (`EventBase.monotonic`); None without
        one."""
        cdef event_base *base = self.live().base
        cdef int64_t deadline = -1
        EVLOCK_LOCK(base.lock)
        if self.native.ev.evcb.flags & EVLIST_TIMEOUT:
            deadline = self.native.ev.deadline
        EVLOCK_UNLOCK(base.lock)
        return None if deadline < 0 else deadline * 1e-9

    @property
    def fd(self):
        """The descriptor; -1 for none. For a Signal, its number."""
        return self.native.ev.fd

    @property
    def events(self):
        """The bits that the event was made with: READ, WRITE, CLOSED, SIGNAL, PERSIST, ET, FINALIZE."""
        return self.native.ev.events

    @property
    def base(self):
        """The EventBase that it was made with."""
        return self.owner

    @property
    def callback(self):
        """The callback; None once closed."""
        return self.callback_

    @property
    def args(self):
        """The callback's further arguments, a tuple; empty once closed."""
        return self.arguments

    @property
    def initialized(self):
        """True for an event that can be added."""
        return not self.closed_

    @property
    def priority(self):
        """0 is the most urgent. It can be set, but not while the event is active: RuntimeError."""
        return event_get_priority(&self.native.ev)

    @priority.setter
    def priority(self, priority):
        cdef EventBase owner = self.live()
        cdef int level = <int>integer(priority, "priority", 0, owner.base.nqueues - 1)
        if event_priority_set(&self.native.ev, level) < 0:
            raise RuntimeError("priority cannot change while the event is active")

    def __repr__(self):
        cdef str name = type(self).__name__
        if self.closed_:
            return f"<cyevent.{name} closed>"
        return f"<cyevent.{name} fd={self.fd} events={self.events:#x} of {self.callback_!r}>"


cdef class Timer(Event):
    """Calls callback(*args) when the time given to `add` is over.

    persist: call each time that it is over, until `delete`. The time counts from when the timer fires, so that
    late calls do not pile up.
    priority: as for an Event.

    It never fires early: the time is that of clock_gettime(2)'s CLOCK_MONOTONIC, in nanoseconds.
    """

    def __init__(self, EventBase base not None, callback, *args, bint persist=False,
                 priority=None):
        self.nleading = 0
        self.prepare(base, -1, EV_PERSIST if persist else 0, callback, args, priority)

    def add(self, seconds):
        """Calls back in so many seconds (a number, a timedelta or a Duration); a persistent timer of 0
        seconds calls back in every turn of the loop. A timer that runs already begins anew. TypeError for
        None, ValueError for a negative time."""
        if seconds is None:
            raise TypeError("seconds must be a number, a timedelta or a Duration, not None")
        self.add_timeout(seconds, "seconds")


cdef class Signal(Event):
    """Calls callback(signum, *args) in the loop when the signal arrives.

    signum: SIGINT or another number of the `signal` module; OSError (EINVAL) by `add` for those that cannot be
    caught, see signal(7).
    persist: with False it is for one signal.
    priority: as for an Event.

    The process-wide handler is replaced while at least one event is added and then put back, so that of
    SIGINT ends with Ctrl-C raising KeyboardInterrupt again. A burst of one signal may be told once.
    """

    def __init__(self, EventBase base not None, signum, callback, *args, bint persist=True,
                 priority=None):
        cdef int number = <int>integer(signum, "signum", 1, NSIG - 1)
        self.nleading = 1
        self.prepare(base, number, EV_SIGNAL | (EV_PERSIST if persist else 0), callback, args,
                     priority)
