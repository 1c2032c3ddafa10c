"""EventBase."""

import signal as _signal
import threading as _threading

cimport cython
from cpython.ref cimport PyObject
from libc.errno cimport errno
from libc.stdint cimport int64_t
from cyevent.core.arguments cimport event_bits, integer, os_error
from cyevent.core.base cimport *
from cyevent.core.config cimport *
from cyevent.core.debug cimport event_debug_unassign
from cyevent.core.base cimport event_base_ending_, event_base_shut_
from cyevent.core.clock cimport ns_to_timeval
from cyevent.core.event cimport *
from cyevent.core.event cimport base_now, event_del_nolock_, wait_for_callback_
from cyevent.core.interpreter cimport (
    PyEval_RestoreThread, PyEval_SaveThread, PyThread_get_thread_ident, give_up_gil, py_enter, py_event,
    py_leave, unlock_and_wake,
)
from cyevent.core.loop cimport *
from cyevent.core.pyinspect cimport dump_text, list_events
from cyevent.core.queue cimport (
    event_callback_activate_later_nolock_, event_callback_activate_nolock_, event_deferred_cb_init_,
    in_loop_thread, notify_later,
)
from cyevent.core.sys cimport *
from cyevent.core.sys cimport timeval
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport *
from cyevent.core.types cimport event_config

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef extern from *:
    """
    /* The report goes through sys.unraisablehook, with the callback's repr and the whole traceback. */
    static void write_unraisable(PyObject *exception, PyObject *thing) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        PyErr_WriteUnraisable(thing);
    }
    """
    void write_unraisable(object exception, PyObject *thing)

cdef enum:
    EV_IO = 0x86               # EV_READ | EV_WRITE | EV_CLOSED
    SHRINK_FROM = 1000
    COMPLETION_BY_DEFAULT = 0  # docs/backends.md


# --- what the loop calls ----------------------------------------------------------------------------

cdef void run_signal_handlers(void *arg) noexcept nogil:
    """Runs what Python's signal module has noted; a handler's exception ends the loop and is raised from
    it, as it would be raised from a blocking call."""
    cdef py_loop *loop = <py_loop *>arg
    cdef int token = py_enter(loop)
    (<void (*)(PyObject *) noexcept nogil>check_signals)(loop.owner)
    py_leave(loop, token)


cdef void check_signals(PyObject *owner) noexcept:
    try:
        PyErr_CheckSignals()
    except BaseException as exception:
        (<EventBase>owner).stop(exception)


cdef void wakeup_readable(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef char bytes[256]
    while recv(fd, bytes, sizeof(bytes), 0) == <ssize_t>sizeof(bytes):
        pass
    run_signal_handlers((<event_base *>arg).binding)


cdef void run_soon(event_callback *cb, void *arg) noexcept nogil:
    cdef py_loop *loop = <py_loop *>arg
    cdef int token = py_enter(loop)
    (<void (*)(PyObject *) noexcept nogil>run_soon_calls)(loop.owner)
    py_leave(loop, token)


cdef void run_soon_calls(PyObject *owner) noexcept:
    cdef EventBase self = <EventBase>owner
    cdef list calls
    cdef list fresh = []
    cdef object callback
    cdef tuple arguments
    cdef Py_ssize_t i = 0
    with cython.critical_section(self):
        calls = self.soon
        self.soon = fresh
        self.soon_due = False
    while i < len(calls):
        if i and ev_load_int(<int *>&self.base.event_break):
            # As with events that are active: what has not run yet runs first in the next loop.
            with cython.critical_section(self):
                self.soon = calls[i:] + self.soon
                self.schedule_soon()
            return
        callback = calls[i]
        arguments = <tuple>calls[i + 1]
        calls[i] = calls[i + 1] = None
        i += 2
        try:
            callback(*arguments)
        except BaseException as exception:
            self.failed(exception, callback)
        callback = arguments = None


@cython.final
cdef class Duration:
    """A duration that many events share; made by `EventBase.common_timeout`, given to `Event.add`.

    seconds: how long it is.

    It belongs to its base, which it keeps alive, and can be used any number of times.
    """

    def __eq__(self, other):
        if type(other) is not Duration:
            return NotImplemented
        return self.tv == (<Duration>other).tv

    def __hash__(self):
        return hash(<size_t>self.tv)

    def __repr__(self):
        return f"<cyevent.Duration {self.seconds:g} s>"


# --- the base ---------------------------------------------------------------------------------------

cdef class EventBase:
    """An event loop and everything that waits in it.

    method: the name of the backend to use, and no other; see `supported_methods`. None for the best one.
    avoid: the names of backends not to use.
    require: EV_FEATURE_* bits that the backend must have.
    priorities: how many there are, 1 to 255; 0 is the most urgent, and new events get the middle one.
    threadsafe: with False the base belongs to one thread and pays for no lock.
    precise_timers: wait in nanoseconds rather than in milliseconds rounded up, where the backend can.
    max_dispatch_interval (seconds): look for new events after so much work; None for no limit.
    max_dispatch_callbacks: look for new events after so many callbacks; None for no limit.
    min_priority: the two limits are for events of this priority and of greater numbers alone.
    ignore_env: disregard EVENT_NOEPOLL and its like in the environment.
    no_cache_time: read the clock anew each time instead of once a turn.
    epoll_changelist: collect changes until the wait; unsafe with duplicated descriptors, see epoll(7).
    signalfd: take signals by signalfd(2) instead of a handler.
    timerfd: with False precise_timers does without timerfd_create(2).
    completion: let the kernel receive, send and accept for sockets, rather than say when that is possible: by
    io_uring on Linux, on Windows by its completion ports. True: where the system gives it, see `completion`;
    False: not; None: as docs/backends.md says for the platform.

    TypeError or ValueError names an argument that is wrong, and ValueError says so when no backend is left;
    OSError when the system refuses the backend's descriptors.

    Everything that is added to a base is kept alive by it. A base is closed by `close`, by leaving a
    with-block, or with its last reference; then all methods but `close` raise ValueError.
    """

    def __cinit__(self):
        self.wakeup_fds[0] = self.wakeup_fds[1] = -1
        self.kept = {}
        self.soon = []
        self.closed_ = True

    def __init__(self, method=None, *, avoid=(), require=0, priorities=1, bint threadsafe=True,
                 bint precise_timers=False, max_dispatch_interval=None,
                 max_dispatch_callbacks=None, min_priority=0, bint ignore_env=False,
                 bint no_cache_time=False, bint epoll_changelist=False, bint signalfd=False,
                 bint timerfd=True, completion=None):
        cdef event_config *config
        cdef timeval interval
        cdef int flags = 0
        cdef int64_t interval_ns = duration_ns(max_dispatch_interval, "max_dispatch_interval")
        cdef int max_callbacks = -1
        cdef tuple methods = EventBase.supported_methods()
        if self.base != NULL:
            raise RuntimeError("EventBase.__init__() was called twice")
        cdef int features = <int>integer(require, "require", 0, 0xffff)
        cdef int levels = <int>integer(priorities, "priorities", 1, EVENT_MAX_PRIORITIES - 1)
        cdef int limited = <int>integer(min_priority, "min_priority", 0, EVENT_MAX_PRIORITIES - 1)
        if isinstance(avoid, (str, bytes)) or not hasattr(avoid, "__iter__"):
            raise TypeError("avoid must be a collection of method names, not one name")
        if max_dispatch_callbacks is not None:
            max_callbacks = <int>integer(max_dispatch_callbacks, "max_dispatch_callbacks", 1,
                                         0x7fffffff)
        if method is not None:
            if not isinstance(method, str):
                raise TypeError(f"method must be a str, not {type(method).__name__}")
            if method not in methods:
                raise ValueError(f"method {method!r} is not available here; "
                                 f"there are {', '.join(methods)}")
            avoid = tuple(avoid) + tuple(name for name in methods if name != method)
        if not threadsafe:
            flags |= EVENT_BASE_FLAG_NOLOCK
        if precise_timers:
            flags |= EVENT_BASE_FLAG_PRECISE_TIMER
        if ignore_env:
            flags |= EVENT_BASE_FLAG_IGNORE_ENV
        if no_cache_time:
            flags |= EVENT_BASE_FLAG_NO_CACHE_TIME
        if epoll_changelist:
            flags |= EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST
        if signalfd:
            flags |= EVENT_BASE_FLAG_USE_SIGNALFD
        if not timerfd:
            flags |= EVENT_BASE_FLAG_EPOLL_DISALLOW_TIMERFD
        if completion is not None and not isinstance(completion, bool):
            raise TypeError(f"completion must be True, False or None, not {type(completion).__name__}")
        if completion or completion is None and COMPLETION_BY_DEFAULT:
            flags |= EVENT_BASE_FLAG_COMPLETION
        config = event_config_new()
        if config == NULL:
            raise MemoryError()
        try:
            for name in avoid:
                if not isinstance(name, str):
                    raise TypeError(f"avoid must hold method names, not {type(name).__name__}")
                if event_config_avoid_method(config, name.encode()) < 0:
                    raise MemoryError()
            event_config_require_features(config, features)
            event_config_set_flag(config, flags)
            if interval_ns >= 0:
                ns_to_timeval(interval_ns, &interval)
            event_config_set_max_dispatch_interval(config, &interval if interval_ns >= 0 else NULL,
                                                   max_callbacks, limited)
            set_errno(0)
            self.base = event_base_new_with_config(config)
        finally:
            event_config_free(config)
        if self.base == NULL:
            if errno == EINVAL:
                raise ValueError(
                    f"no method is left: avoid={tuple(avoid)!r}, require={require:#x}, "
                    f"available {', '.join(methods)}")
            raise os_error("EventBase")
        event_base_priority_init(self.base, levels)
        self.state.owner = <PyObject *>self
        self.base.before_wait = give_up_gil
        self.base.interrupted = run_signal_handlers
        self.base.binding = &self.state
        event_deferred_cb_init_(&self.soon_call, levels // 2, run_soon, &self.state)
        self.closed_ = False
        if _threading.current_thread() is _threading.main_thread():
            # Now rather than at the first loop(): descriptor numbers do not change under users' feet.
            self.open_wakeup()

    def __del__(self):
        if not self.closed_:
            self.close()

    def __dealloc__(self):
        if self.base != NULL:
            event_base_free(self.base)

    # What the classes of other rooms use.

    cdef event_base *checked(self) except NULL:
        if self.closed_:
            raise ValueError("the base is closed")
        return self.base

    cdef int keep(self, object thing) except -1:
        # By identity, whatever a subclass makes of equality.
        with cython.critical_section(self):
            self.kept[<size_t><PyObject *>thing] = thing
            if len(self.kept) > self.most_kept:
                self.most_kept = len(self.kept)
        return 0

    cdef void release(self, object thing) noexcept:
        cdef dict fresh
        with cython.critical_section(self):
            self.kept.pop(<size_t><PyObject *>thing, None)
            if self.most_kept > SHRINK_FROM and not self.kept:
                # A dict's table does not shrink by itself. Made first: that may run the collector, whose
                # finalizers may keep something.
                fresh = {}
                if not self.kept:
                    self.kept = fresh
                    self.most_kept = 0

    cdef void callback_failed(self, object callback) noexcept:
        cdef object exception
        import sys
        exception = sys.exc_info()[1]
        if exception is not None:
            self.failed(exception, callback)

    cdef int delete_event(self, event *ev) noexcept:
        cdef int result
        cdef bint wait
        cdef event_base *base = self.base
        EVLOCK_LOCK(base.lock)
        result = event_del_nolock_(ev, EVENT_DEL_NOBLOCK)
        wait = base.current_event == &ev.evcb and not ev.events & EV_FINALIZE and not in_loop_thread(base)
        EVLOCK_UNLOCK(base.lock)
        if wait:
            with nogil:
                EVLOCK_LOCK(base.lock)
                wait_for_callback_(base, &ev.evcb)
                EVLOCK_UNLOCK(base.lock)
        return result

    cdef void schedule_soon(self) noexcept:
        cdef event_base *base = self.base
        self.soon_due = True
        EVLOCK_LOCK(base.lock)
        notify_later(base)
        if base.running_loop and in_loop_thread(base):
            # The next turn, so that calls that ask for further calls leave the descriptors theirs.
            event_callback_activate_later_nolock_(base, &self.soon_call)
        else:
            event_callback_activate_nolock_(base, &self.soon_call)
        unlock_and_wake(base)

    # Exceptions.

    cdef void stop(self, object exception) noexcept:
        if self.stop_exception is None:
            self.stop_exception = exception
        event_base_loopbreak(self.base)

    cdef void failed(self, object exception, object callback) noexcept:
        if isinstance(exception, (KeyboardInterrupt, SystemExit)):
            self.stop(exception)
            return
        if self.handler is None:
            write_unraisable(exception, <PyObject *>callback)
            return
        try:
            self.handler(exception, callback)
        except BaseException as error:
            if error is not exception:
                write_unraisable(exception, <PyObject *>callback)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                self.stop(error)
            else:
                write_unraisable(error, <PyObject *>self.handler)

    @property
    def exception_handler(self):
        """Called as handler(exception, callback) in the loop's thread for an exception that a callback
        raised, other than KeyboardInterrupt and SystemExit. None for the default, a report through
        `sys.unraisablehook`; TypeError for what cannot be called. What the handler itself raises is reported
        so too."""
        return self.handler

    @exception_handler.setter
    def exception_handler(self, handler):
        self.handler = None if handler is None else check_callable(handler, "handler")

    def set_exception_handler(self, handler):
        """Sets `exception_handler`; None restores the default."""
        self.exception_handler = handler

    # Running.

    cdef int open_wakeup(self) except -1:
        if self.wakeup_fds[0] >= 0:
            return 0
        if ev_wake_pair(self.wakeup_fds) < 0:
            raise os_error("socketpair")
        event_assign(&self.wakeup_event, self.base, self.wakeup_fds[0], EV_READ | EV_PERSIST,
                     wakeup_readable, self.base)
        self.wakeup_event.evcb.flags |= EVLIST_INTERNAL
        self.wakeup_event.evcb.priority = 0
        if event_add(&self.wakeup_event, NULL) < 0:
            error = os_error("event_add")
            self.close_wakeup()
            raise error
        return 0

    cdef void close_wakeup(self) noexcept:
        if self.wakeup_fds[0] >= 0:
            event_del(&self.wakeup_event)
            event_debug_unassign(&self.wakeup_event)
        ev_close_wake_pair(self.wakeup_fds)

    def loop(self, flags=0):
        """Runs callbacks until nothing is pending, or as the EVLOOP_* flags say.

        flags: any of EVLOOP_ONCE (wait once), EVLOOP_NONBLOCK (do not wait), EVLOOP_NO_EXIT_ON_EMPTY.

        Returns 0 when the loop was ended, 1 when nothing was pending. Raises what a callback raised if
        that was KeyboardInterrupt or SystemExit, whatever a Python signal handler raised, RuntimeError when
        this loop runs already, and OSError when the backend fails.
        """
        cdef event_base *base = self.checked()
        cdef int bits = <int>integer(flags, "flags", 0, 7)
        cdef int result, code, previous = -1
        cdef bint watch_signals = False
        with cython.critical_section(self):
            if self.closing:
                raise RuntimeError("the EventBase is being closed")
            if self.state.looping:
                raise RuntimeError("the loop of this EventBase is running already")
            self.state.looping = True
        try:
            if not bits & EVLOOP_NONBLOCK \
                    and _threading.current_thread() is _threading.main_thread():
                # A signal that arrives just before the wait must still end it: Python's handler writes a
                # byte. If somebody else has such a descriptor, that stays, and EINTR has to do.
                self.open_wakeup()
                previous = _signal.set_wakeup_fd(self.wakeup_fds[1],
                                                 warn_on_full_buffer=False)
                if previous != -1:
                    _signal.set_wakeup_fd(previous)
                else:
                    watch_signals = True
                PyErr_CheckSignals()
            ev_store_ulong(&self.state.thread, PyThread_get_thread_ident())
            self.state.saved = PyEval_SaveThread()
            result = event_base_loop(base, bits)
            code = errno
            if self.state.saved != NULL:
                PyEval_RestoreThread(self.state.saved)
                self.state.saved = NULL
            ev_store_ulong(&self.state.thread, 0)
            if watch_signals:
                _signal.set_wakeup_fd(-1)
                watch_signals = False
        finally:
            if watch_signals:
                _signal.set_wakeup_fd(-1)
            self.state.looping = False
        exception, self.stop_exception = self.stop_exception, None
        if exception is not None:
            raise exception
        if result < 0:
            set_errno(code)
            if code == EDEADLK:
                raise RuntimeError("the loop of this EventBase is running already")
            raise os_error("loop")
        return result

    def dispatch(self):
        """Runs callbacks until nothing is pending, or `loopexit` or `loopbreak`. Returns and raises what `loop`
        does."""
        return self.loop(0)

    def loopexit(self, after=None):
        """Ends the loop when this turn's callbacks have run, or `after` seconds (or a timedelta) from now.

        May be called from any thread, and before the loop runs. Of several times the earliest counts."""
        cdef event_base *base = self.checked()
        cdef int64_t ns = duration_ns(after, "after")
        cdef timeval tv
        if ns >= 0:
            ns_to_timeval(ns, &tv)
        if event_base_loopexit(base, &tv if ns >= 0 else NULL) < 0:
            raise os_error("loopexit")

    def loopbreak(self):
        """Ends the loop when the running callback returns. Callbacks that are due then are left for the next
        loop. May be called from any thread; while no loop runs it does nothing."""
        event_base_loopbreak(self.checked())

    def loopcontinue(self):
        """Makes the loop look for new, perhaps more urgent events when the running callback returns, before the
        others that are due."""
        event_base_loopcontinue(self.checked())

    @property
    def got_exit(self):
        """True if `loopexit` ended the last loop, or is about to end this one."""
        return bool(event_base_got_exit(self.checked()))

    @property
    def got_break(self):
        """True if `loopbreak` ended the last loop, or is about to end this one."""
        return bool(event_base_got_break(self.checked()))

    # Asking.

    @staticmethod
    def supported_methods():
        """Returns the names of the backends that this build has, as a tuple, the best first."""
        cdef const char **names = event_get_supported_methods()
        cdef list methods = []
        while names[0] != NULL:
            methods.append((<bytes>names[0]).decode())
            names += 1
        return tuple(methods)

    @property
    def method(self):
        """The backend's name, 'epoll' say."""
        return (<bytes>event_base_get_method(self.checked())).decode()

    @property
    def signal_method(self):
        """How signals arrive: 'signal' (self-pipe) or 'signalfd_signal'."""
        return (<bytes>event_base_get_signal_method(self.checked())).decode()

    @property
    def completion(self):
        """What completes for sockets, "io_uring" say; None where they are watched for readiness."""
        cdef event_base *base = self.checked()
        return base.port.ops.name.decode() if base.port != NULL else None

    @property
    def features(self):
        """The backend's EV_FEATURE_* bits. ET needs EV_FEATURE_ET, CLOSED needs
        EV_FEATURE_EARLY_CLOSE."""
        return event_base_get_features(self.checked())

    @property
    def priorities(self):
        """How many priorities there are. It can be set, to 1 to 255, while nothing is active: RuntimeError
        otherwise."""
        return event_base_get_npriorities(self.checked())

    @priorities.setter
    def priorities(self, n):
        cdef int levels = <int>integer(n, "priorities", 1, EVENT_MAX_PRIORITIES - 1)
        if event_base_priority_init(self.checked(), levels) < 0:
            raise RuntimeError("priorities cannot change while events are active")

    @property
    def threadsafe(self):
        """True if the base has a lock."""
        return self.checked().lock != NULL

    @property
    def running_event(self):
        """The Event whose callback runs now, or None."""
        cdef event *ev = event_base_get_running_event(self.checked())
        if ev == NULL or not ev.evcb.flags & EVLIST_BINDING:
            return None
        return <object>(<py_event *>ev.evcb.arg).object

    def num_events(self, unsigned flags=EVENT_BASE_COUNT_ADDED):
        """Returns how many events there are of the kinds in `flags`: EVENT_BASE_COUNT_ACTIVE, _VIRTUAL, _ADDED.
        As in libevent, an event that waits for a descriptor and a timeout, or that is active too, counts for
        each."""
        return event_base_get_num_events(self.checked(), flags)

    def max_events(self, unsigned flags=EVENT_BASE_COUNT_ADDED, bint clear=False):
        """Returns the largest value that `num_events` has had for these flags; with `clear` it starts again
        from zero."""
        return event_base_get_max_events(self.checked(), flags, clear)

    def dump_events(self, file):
        """Writes a line for each event to `file`, anything with write(str)."""
        file.write(dump_text(self.checked()))

    def __iter__(self):
        """Iterates over the Events that were pending or active when it began, each once. Events made in C are
        left out."""
        return iter(list_events(self.checked()))

    # Time.

    def time(self):
        """Returns the wall clock, in seconds since the epoch, as read once for this turn of the loop."""
        cdef timeval tv
        event_base_gettimeofday_cached(self.checked(), &tv)
        return tv.tv_sec + tv.tv_usec * 1e-6

    def monotonic(self):
        """Returns the monotonic clock in seconds, as read once for this turn of the loop: what `Event.expires`
        counts in. It is clock_gettime(2)'s CLOCK_MONOTONIC, as time.monotonic() is."""
        cdef event_base *base = self.checked()
        cdef int64_t now
        EVLOCK_LOCK(base.lock)
        now = base_now(base)
        EVLOCK_UNLOCK(base.lock)
        return now * 1e-9

    def update_time(self):
        """Reads the clock again, after a callback that took long: timeouts that are added count from now."""
        event_base_update_cache_time(self.checked())

    def common_timeout(self, seconds):
        """Returns a Duration of so many seconds (or a timedelta) to pass to `Event.add`: thousands of events
        with one duration then cost a queue operation each, not a heap's. ValueError for more than 256
        different ones, and by `add` of another base's event."""
        cdef timeval tv
        cdef int64_t ns = duration_ns(seconds, "seconds")
        cdef Duration duration
        if ns < 0:
            raise TypeError("seconds must not be None")
        ns_to_timeval(ns, &tv)
        duration = Duration.__new__(Duration)
        duration.owner = self
        duration.seconds = ns * 1e-9
        duration.tv = event_base_init_common_timeout(self.checked(), &tv)
        if duration.tv == NULL:
            raise ValueError("a base has at most 256 common timeouts")
        return duration

    # Acting.

    def call_soon(self, callback, *args):
        """Calls callback(*args) from the loop: once for each call_soon(), in their order, at the middle
        priority. May be called from any thread, and wakes the loop; a call made by a callback is for the
        next turn. Calls that wait count as one event; `close` drops them. TypeError for what cannot be
        called."""
        self.checked()
        check_callable(callback, "callback")
        with cython.critical_section(self):
            self.soon.append(callback)
            self.soon.append(args)
            if not self.soon_due:
                self.schedule_soon()

    def once(self, fd, what, callback, *args, timeout=None):
        """Calls callback(fd, what, *args) once, when fd is ready or the time is over.

        fd: a descriptor or anything with fileno(); None for a mere timeout.
        what: READ, WRITE, CLOSED, or TIMEOUT alone; ValueError for SIGNAL and PERSIST.
        timeout: seconds or a timedelta; None for none, with TIMEOUT alone: as soon as possible.

        The base keeps it until then, and there is no way to take it back."""
        from cyevent.core.events import Event

        cdef short bits = event_bits(what)
        if bits & (EV_SIGNAL | EV_PERSIST):
            raise ValueError("what must not have SIGNAL or PERSIST")
        if not bits & (EV_TIMEOUT | EV_IO):
            raise ValueError("what must have READ, WRITE, CLOSED or TIMEOUT")
        ev = Event(self, -1 if fd is None else fd, bits & (EV_IO | EV_ET), callback, *args)
        if bits & EV_IO or duration_ns(timeout, "timeout") > 0:
            ev.add(timeout)
        else:
            ev.activate(EV_TIMEOUT)

    def active_by_fd(self, fd, what):
        """Makes the events that wait for `what` (READ, WRITE, CLOSED, TIMEOUT) on fd active, as if it had
        happened. No such event is no error."""
        event_base_active_by_fd(self.checked(), descriptor(fd, "fd"), event_bits(what))

    def active_by_signal(self, signum):
        """Makes the events that wait for the signal active, as if it had arrived. No such event is no error."""
        event_base_active_by_signal(self.checked(), <int>integer(signum, "signum", 1, NSIG - 1))

    def reinit(self):
        """In a child after fork(2): gives this base kernel objects of its own, in which all that was added is
        registered. Must come before anything else is done with the base there, but for `close`; OSError when
        the system refuses."""
        if event_reinit(self.checked()) < 0:
            raise os_error("reinit")

    # Ending.

    @property
    def closed(self):
        """True after `close`."""
        return self.closed_

    def close(self):
        """Deletes all events, runs pending finalizers and gives the kernel's objects back.

        RuntimeError while the loop runs. Events, buffers and listeners made on the base can then only be
        closed. Closing twice is harmless.
        """
        cdef event_base *base = self.base
        cdef bint running
        if self.closed_ or base == NULL:
            return
        with cython.critical_section(self):
            if self.closing:
                return
            EVLOCK_LOCK(base.lock)
            running = base.running_loop
            EVLOCK_UNLOCK(base.lock)
            if self.state.looping or running:
                raise RuntimeError("the EventBase cannot be closed while its loop is running")
            # From here on no loop() begins.
            self.closing = True
        try:
            event_base_ending_(base)
            for thing in list(self.kept.values()):
                thing.close()
            self.close_wakeup()
            if event_base_shut_(base, True) < 0:
                raise RuntimeError("the EventBase cannot be closed while its loop is running")
            self.closed_ = True
        finally:
            self.closing = False
        self.kept.clear()
        self.soon.clear()

    def __enter__(self):
        self.checked()
        return self

    def __exit__(self, *exception):
        self.close()

    def __repr__(self):
        if self.closed_:
            return "<cyevent.EventBase closed>"
        return f"<cyevent.EventBase {self.method} with {self.num_events()} events>"
