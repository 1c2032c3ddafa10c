"""BufferEvent: what bufferevents of all kinds have for Python.

The struct's callbacks are set only where there is a Python one, so that what nobody asked for never enters
the interpreter.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.ref cimport PyObject
from libc.limits cimport LLONG_MAX
from cyevent.buffer.evbuffer cimport *
from cyevent.buffer.pybytes cimport add_object, add_object_reference, take_bytes
from cyevent.buffer.pyevbuffer cimport EvBuffer, check_thread, evbuffer_view
from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.limits cimport *
from cyevent.bufferevent.pyratelimit cimport TokenBucket
from cyevent.bufferevent.rategroup cimport bufferevent_remove_from_rate_limit_group
from cyevent.bufferevent.ratelimit cimport *
from cyevent.bufferevent.socket cimport bufferevent_priority_set
from cyevent.bufferevent.types cimport *
from cyevent.core.clock cimport ns_to_timeval
from cyevent.core.arguments cimport descriptor, duration_ns, integer, os_error
from cyevent.core.log cimport debugging_
from cyevent.core.sys cimport *
from cyevent.core.sys cimport sockaddr_storage, timeval
from cyevent.core.types cimport EV_READ, EV_WRITE
from cyevent.net.address cimport address_to_object
from cyevent.net.sys cimport getpeername
from cyevent.net.util cimport evutil_make_socket_nonblocking

cdef extern from "Python.h":
    object PyObject_CallOneArg(PyObject *callable, PyObject *argument)
    object PyObject_Vectorcall(PyObject *callable, PyObject **arguments, size_t n, PyObject *names)

cdef extern from *:
    """
    #ifdef _WIN32
      #include <ws2tcpip.h>
    #else
      #include <netdb.h>
    #endif
    #ifndef EAI_SYSTEM
      #define EAI_SYSTEM 0
    #endif
    """
    int EAI_SYSTEM
    const char *gai_strerror(int code) noexcept nogil

# The default of read(), told by its identity.
cdef object EVERYTHING = -1


cdef int check_options(object options, object read, object write, object event) except -1:
    cdef int flags = <int>integer(options, "options", 0, ALL_OPTIONS)
    if flags & (BEV_OPT_DEFER_CALLBACKS | BEV_OPT_UNLOCK_CALLBACKS) == BEV_OPT_UNLOCK_CALLBACKS:
        raise ValueError("options must have BEV_OPT_DEFER_CALLBACKS with BEV_OPT_UNLOCK_CALLBACKS")
    check_callback(read, "read")
    check_callback(write, "write")
    check_callback(event, "event")
    return flags


# --- callbacks --------------------------------------------------------------------------------------

cdef void readable(bufferevent *bev, void *arg) noexcept nogil:
    cdef int token = enter_python(bev)
    (<void (*)(PyObject *) noexcept nogil>run_read)(<PyObject *>arg)
    leave_python(token)


cdef void run_read(PyObject *thing) noexcept:
    cdef BufferEvent self = <BufferEvent>thing
    cdef object callback = self.readcb
    try:
        PyObject_CallOneArg(<PyObject *>callback, thing)
    except BaseException as exception:
        self.owner.failed(exception, callback)


cdef void writable(bufferevent *bev, void *arg) noexcept nogil:
    cdef int token = enter_python(bev)
    (<void (*)(PyObject *) noexcept nogil>run_write)(<PyObject *>arg)
    leave_python(token)


cdef void run_write(PyObject *thing) noexcept:
    cdef BufferEvent self = <BufferEvent>thing
    cdef object callback = self.writecb
    try:
        PyObject_CallOneArg(<PyObject *>callback, thing)
    except BaseException as exception:
        self.owner.failed(exception, callback)


cdef void event_happened(bufferevent *bev, short what, void *arg) noexcept nogil:
    cdef int token = enter_python(bev)
    (<void (*)(PyObject *, short) noexcept nogil>run_event)(<PyObject *>arg, what)
    leave_python(token)


cdef void run_event(PyObject *thing, short what) noexcept:
    cdef BufferEvent self = <BufferEvent>thing
    cdef object callback = self.eventcb
    cdef object reason
    cdef PyObject *arguments[2]
    if callback is not None:
        try:
            reason = what
            arguments[0] = thing
            arguments[1] = <PyObject *>reason
            PyObject_Vectorcall(<PyObject *>callback, arguments, 2, NULL)
        except BaseException as exception:
            self.owner.failed(exception, callback)
    self.settle()


# --- the class --------------------------------------------------------------------------------------

cdef class BufferEvent:
    """A pair of buffers that the loop fills and empties, and callbacks that hear of it.

    The base class of SocketBufferEvent, PairBufferEvent, FilterBufferEvent and others; not made by itself.

    Callbacks are set with `set_callbacks`. Writing needs no permission; reading begins with `enable(READ)`.
    While it is enabled, connecting or has bytes to write the base keeps it alive, until `close`, or until an
    end or an error after which nothing can come. Without BEV_OPT_THREADSAFE it belongs to the loop's thread.

    It may be closed in its own callbacks, and in a with-statement, which closes it. Once closed, methods and
    properties raise ValueError. What a callback returns is disregarded; what it raises goes to
    `EventBase.exception_handler`.
    """

    def __init__(self):
        raise TypeError("BufferEvent is made by its subclasses")

    def __del__(self):
        self.close()

    def __dealloc__(self):
        if self.bev != NULL:
            bufferevent_free(self.bev)

    cdef int begin(self, EventBase base, bufferevent *bev, object read, object write, object event) except -1:
        """Takes a new struct with its callbacks."""
        if bev == NULL:
            raise MemoryError()
        self.bev = bev
        self.owner = base
        self.readcb = read
        self.writecb = write
        self.eventcb = event
        self.install()
        return 0

    cdef bufferevent *live(self) except NULL:
        if self.bev == NULL:
            raise ValueError("the bufferevent is closed")
        return self.bev

    cdef bufferevent *enter(self) except NULL:
        cdef bufferevent *bev = self.live()
        if BEV_UPCAST(bev).lock != NULL:
            # Its holder may be waiting for the GIL.
            with nogil:
                BEV_LOCK(bev)
        elif debugging_():
            check_thread(bev.input)
        return bev

    cdef int keep(self) except -1:
        if not self.kept:
            self.owner.checked()
            self.owner.keep(self)
            self.kept = True
        return 0

    cdef bint reads(self) noexcept:
        return self.bev != NULL and self.bev.enabled & EV_READ != 0

    cdef bint writes(self) noexcept:
        cdef bufferevent *bev = self.bev
        return bev != NULL and (
            BEV_UPCAST(bev).connecting or BEV_UPCAST(bev).dns_request != NULL
            or (bev.output.total_len != 0 and bev.enabled & EV_WRITE))

    cdef void settle(self) noexcept:
        if self.kept and not self.reads() and not self.writes():
            self.kept = False
            self.owner.release(self)

    cdef int closing(self) except -1:
        return 0

    cdef void closed_(self) noexcept:
        pass

    cdef void install(self) noexcept:
        cdef bufferevent_data_cb read = NULL
        cdef bufferevent_data_cb write = NULL
        if self.readcb is not None:
            read = readable
        if self.writecb is not None:
            write = writable
        # The event callback is always there: it ends the base's reference.
        if not self.filtered:
            bufferevent_setcb(self.bev, read, write, event_happened, <void *>self)

    # Callbacks.

    def set_callbacks(self, read=None, write=None, event=None):
        """Sets all three callbacks; None for none.

        read: called as read(bev) when the input holds at least its low watermark's number of bytes, and more
        has come.
        write: called as write(bev) when the output has become as short as its low watermark, which is empty by
        default.
        event: called as event(bev, what). `what` is BEV_EVENT_CONNECTED; or BEV_EVENT_EOF, _ERROR or _TIMEOUT
        with BEV_EVENT_READING or _WRITING, and that direction is disabled then. `error` has the reason of an
        error.

        TypeError for what cannot be called, ValueError when a filter on top of it has its callbacks.
        """
        cdef bufferevent *bev
        check_callback(read, "read")
        check_callback(write, "write")
        check_callback(event, "event")
        if self.filtered:
            raise ValueError("the bufferevent's callbacks are its filter's")
        bev = self.enter()
        self.readcb = read
        self.writecb = write
        self.eventcb = event
        self.install()
        BEV_UNLOCK(bev)

    @property
    def callbacks(self):
        """The callbacks (read, write, event), None where there is none."""
        return self.readcb, self.writecb, self.eventcb

    def trigger(self, what, options=0):
        """Calls the read or write callback, for READ or WRITE, if the watermarks allow it.

        options: BEV_TRIG_IGNORE_WATERMARKS to call in any case, BEV_TRIG_DEFER_CALLBACKS to call from the loop
        rather than now.
        """
        cdef short events = check_events(what)
        cdef int how = trigger_options(options)
        cdef bufferevent *bev = self.enter()
        bufferevent_incref(bev)
        bufferevent_trigger(bev, events, how)
        bufferevent_decref_and_unlock_(bev)

    def trigger_event(self, what, options=0):
        """Calls the event callback with `what`, any of BEV_EVENT_*; from the loop rather than now with
        options=BEV_TRIG_DEFER_CALLBACKS."""
        cdef short reason = <short>integer(what, "what", 0, 0x7fff)
        cdef int how = trigger_options(options)
        cdef bufferevent *bev = self.enter()
        bufferevent_incref(bev)
        bufferevent_trigger_event(bev, reason, how)
        bufferevent_decref_and_unlock_(bev)

    # Enabling.

    def enable(self, what):
        """Begins to read (READ) and write (WRITE); `what` may have both. Harmless when repeated. OSError when
        the system refuses to watch the descriptor."""
        cdef short events = check_events(what)
        cdef bufferevent *bev = self.enter()
        try:
            self.keep()
            if bufferevent_enable(bev, events) < 0:
                raise os_error(f"fd {bufferevent_getfd(bev)}")
        finally:
            BEV_UNLOCK(bev)

    def disable(self, what):
        """Ends reading (READ) and writing (WRITE). What is in the buffers stays there. Timeouts of a direction
        that is disabled do not run."""
        cdef short events = check_events(what)
        cdef bufferevent *bev = self.enter()
        bufferevent_disable(bev, events)
        self.settle()
        BEV_UNLOCK(bev)

    @property
    def enabled(self):
        """The bits READ and WRITE, as they are enabled."""
        return self.live().enabled

    # Bytes.

    def write(self, data):
        """Copies a bytes-like object's bytes to the output. They leave when the loop goes on, after the
        connection is there. It never blocks and has no limit: see `output` for how much waits. TypeError for
        what is not bytes-like."""
        cdef bufferevent *bev = self.bev
        if bev == NULL:
            self.live()
        if debugging_():
            check_thread(bev.output)
        if not self.kept:
            self.keep()
        if PyBytes_CheckExact(data) and BEV_UPCAST(bev).lock == NULL:
            if evbuffer_add(bev.output, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)) < 0:
                raise MemoryError()
            return
        self.enter()
        try:
            add_object(bev.output, data, "data")
        finally:
            BEV_UNLOCK(bev)

    def write_reference(self, data):
        """Puts a bytes-like object's bytes, or those that an EvBuffer holds now, in the output without
        copying. They are held, and must not change, until they have left."""
        cdef bufferevent *bev
        if isinstance(data, EvBuffer):
            self.output.add_buffer_reference(data)
            self.keep()
            return
        bev = self.enter()
        try:
            self.keep()
            add_object_reference(bev.output, data, 0, -1)
        finally:
            BEV_UNLOCK(bev)

    def write_buffer(self, EvBuffer data not None):
        """Moves everything from an EvBuffer, which may be an `input`, to the output, without copying."""
        self.output.add_buffer(data)
        self.keep()

    def read(self, n=EVERYTHING):
        """Removes and returns the first n bytes of the input, or as many as there are, as bytes; all by
        default. It never waits: b"" when there are none."""
        cdef bufferevent *bev = self.bev
        cdef Py_ssize_t count = -1
        if n is not EVERYTHING:
            count = <Py_ssize_t>integer(n, "n", -1, LLONG_MAX)
        if bev != NULL and BEV_UPCAST(bev).lock == NULL and not debugging_():
            return take_bytes(bev.input, count)
        bev = self.enter()
        try:
            return take_bytes(bev.input, count)
        finally:
            BEV_UNLOCK(bev)

    def read_buffer(self, EvBuffer target not None):
        """Moves the whole input to the end of an EvBuffer, without copying."""
        target.add_buffer(self.input)

    @property
    def input(self):
        """What has been read: an EvBuffer to take bytes from. It ends with the bufferevent."""
        cdef bufferevent *bev = self.live()
        if self.input_ is None:
            self.input_ = evbuffer_view(bev.input, self.owner)
        return self.input_

    @property
    def output(self):
        """What is still to be written: an EvBuffer to add bytes to. It ends with the bufferevent."""
        cdef bufferevent *bev = self.live()
        if self.output_ is None:
            self.output_ = evbuffer_view(bev.output, self.owner)
        return self.output_

    def flush(self, what, mode=BEV_NORMAL):
        """Hands bytes on that wait for more. Nothing for a socket, whose bytes leave as soon as they can.

        what: READ, WRITE or both: in which direction.
        mode: BEV_NORMAL, BEV_FLUSH those that can be used without more, BEV_FINISHED all, for there is an end.
        """
        cdef short events = check_events(what)
        cdef int how = <int>integer(mode, "mode", BEV_NORMAL, BEV_FINISHED)
        cdef bufferevent *bev = self.enter()
        bufferevent_flush(bev, events, <bufferevent_flush_mode>how)
        BEV_UNLOCK(bev)

    # The descriptor.

    @property
    def error(self):
        """The OSError of the last BEV_EVENT_ERROR, or None; a socket.gaierror for a name that was not found. It
        is not raised: look at it in the event callback."""
        cdef bufferevent_private *p = BEV_UPCAST(self.live())
        cdef int code = p.errno_pending
        if p.dns_error and p.dns_error != EAI_SYSTEM:
            import socket
            return socket.gaierror(p.dns_error, gai_strerror(p.dns_error).decode())
        set_errno(code)
        return os_error("connection") if code else None

    @property
    def peer(self):
        """The peer's address, as getpeername(2) has it: (host, port), for IPv6 with flow and scope, or a path.
        None when there is none."""
        cdef sockaddr_storage storage
        cdef ev_socklen_t length = sizeof(storage)
        if getpeername(bufferevent_getfd(self.live()), <sockaddr *>&storage, &length) < 0:
            return None
        return address_to_object(<sockaddr *>&storage, <int>length)

    @property
    def fd(self):
        """The descriptor; -1 for none, and once closed. Setting it, to a descriptor or anything with fileno(),
        does not close the one that it had; ValueError where there can be none."""
        return bufferevent_getfd(self.bev) if self.bev != NULL else -1

    @fd.setter
    def fd(self, value):
        cdef bufferevent *bev
        cdef int fd = -1
        self.live()
        if not (isinstance(value, int) and value == -1):
            fd = descriptor(value, "fd")
            if evutil_make_socket_nonblocking(fd) < 0:
                raise os_error(f"fd {fd}")
        bev = self.enter()
        try:
            if bufferevent_setfd(bev, fd) < 0:
                raise ValueError("fd cannot be set: this kind of bufferevent has none")
        finally:
            BEV_UNLOCK(bev)

    def fileno(self):
        """Returns the descriptor; -1 for none."""
        return bufferevent_getfd(self.live())

    def replace_fd(self, value):
        """Closes the descriptor and takes another, which is made non-blocking (-1: none). OSError when it is
        bad."""
        cdef bufferevent *bev
        cdef int fd = -1
        self.live()
        if not (isinstance(value, int) and value == -1):
            fd = descriptor(value, "value")
            if evutil_make_socket_nonblocking(fd) < 0:
                raise os_error(f"fd {fd}")
        bev = self.enter()
        try:
            if bufferevent_replacefd(bev, fd) < 0:
                raise os_error(f"fd {fd}")
        finally:
            BEV_UNLOCK(bev)

    # Settings.

    def set_timeouts(self, read=None, write=None):
        """Sets how long nothing may move before BEV_EVENT_TIMEOUT is reported and that direction disabled.

        read: seconds (or a timedelta) without a byte read, while reading is enabled; None for no limit.
        write: the same in which bytes waited to be written and none was; None for no limit.

        Both are set at each call. ValueError for 0 and less.
        """
        cdef bufferevent *bev
        cdef timeval read_tv, write_tv
        cdef long long read_ns = duration_ns(read, "read")
        cdef long long write_ns = duration_ns(write, "write")
        if read_ns == 0 or write_ns == 0:
            raise ValueError(f"{'read' if read_ns == 0 else 'write'} must be more than 0")
        ns_to_timeval(read_ns, &read_tv)
        ns_to_timeval(write_ns, &write_tv)
        bev = self.enter()
        bufferevent_set_timeouts(bev, &read_tv if read_ns > 0 else NULL,
                                 &write_tv if write_ns > 0 else NULL)
        BEV_UNLOCK(bev)

    def set_watermark(self, what, low=0, high=0):
        """Sets both watermarks, in bytes, of READ, WRITE or both.

        low: the read callback waits for so many bytes; the write callback comes when the output has so many or
        less.
        high: reading pauses while the input has so many bytes; 0 for never. Of WRITE it is the user's own.
        """
        cdef short events = check_events(what)
        cdef size_t lowmark = integer(low, "low", 0, LLONG_MAX)
        cdef size_t highmark = integer(high, "high", 0, LLONG_MAX)
        cdef bufferevent *bev = self.enter()
        bufferevent_setwatermark(bev, events, lowmark, highmark)
        BEV_UNLOCK(bev)

    def get_watermark(self, what):
        """Returns the (low, high) watermarks, in bytes, of READ or of WRITE; ValueError for both at once."""
        cdef short events = check_events(what)
        cdef size_t low = 0
        cdef size_t high = 0
        cdef bufferevent *bev
        if events == EV_READ | EV_WRITE:
            raise ValueError("what must be READ or WRITE, not both")
        bev = self.enter()
        bufferevent_getwatermark(bev, events, &low, &high)
        BEV_UNLOCK(bev)
        return low, high

    @property
    def max_single_read(self):
        """The most bytes that are read at one wake-up; 0 restores the default. While none is set a socket reads
        up to 64 KiB, although libevent's 16384 is what is told."""
        return bufferevent_get_max_single_read(self.live())

    @max_single_read.setter
    def max_single_read(self, n):
        cdef size_t count = integer(n, "max_single_read", 0, 0x7fffffff)
        cdef bufferevent *bev = self.enter()
        bufferevent_set_max_single_read(bev, count)
        BEV_UNLOCK(bev)

    @property
    def max_single_write(self):
        """The most bytes that are written at once; 0 restores the default. While none is set a socket writes
        what it takes, although libevent's 16384 is what is told."""
        return bufferevent_get_max_single_write(self.live())

    @max_single_write.setter
    def max_single_write(self, n):
        cdef size_t count = integer(n, "max_single_write", 0, 0x7fffffff)
        cdef bufferevent *bev = self.enter()
        bufferevent_set_max_single_write(bev, count)
        BEV_UNLOCK(bev)

    # Rate limits.

    def set_rate_limit(self, TokenBucket limit):
        """Limits reading and writing to what a TokenBucket gives; None: no limit. A new bucket begins with one
        tick's tokens; when limits change, what is left stays, up to the new burst. Sockets and TLS alone are
        limited: limit what is below a filter."""
        cdef bufferevent *bev = self.enter()
        cdef int result
        result = bufferevent_set_rate_limit(bev, limit.cfg if limit is not None else NULL)
        if result == 0:
            self.limit = limit
        BEV_UNLOCK(bev)
        if result < 0:
            raise MemoryError()

    @property
    def rate_limit(self):
        """The TokenBucket, or None."""
        return self.limit

    @property
    def rate_limit_group(self):
        """The RateLimitGroup that it is in, or None."""
        return self.group

    @property
    def read_limit(self):
        """The tokens, in bytes, that reading has left of its own limit, less than 0 if more were taken;
        EV_RATE_LIMIT_MAX without a limit."""
        return bufferevent_get_read_limit(self.live())

    @property
    def write_limit(self):
        """The tokens, in bytes, that writing has left of its own limit, less than 0 if more were taken;
        EV_RATE_LIMIT_MAX without a limit."""
        return bufferevent_get_write_limit(self.live())

    def decrement_read_limit(self, n):
        """Takes n tokens from reading, as if so many bytes had been read; gives them if negative. ValueError
        without a limit."""
        cdef Py_ssize_t count = <Py_ssize_t>integer(n, "n", -LLONG_MAX, LLONG_MAX)
        cdef bufferevent *bev = self.limited()
        bufferevent_decrement_read_limit(bev, count)
        BEV_UNLOCK(bev)

    def decrement_write_limit(self, n):
        """Takes n tokens from writing, as if so many bytes had been written; gives them if negative. ValueError
        without a limit."""
        cdef Py_ssize_t count = <Py_ssize_t>integer(n, "n", -LLONG_MAX, LLONG_MAX)
        cdef bufferevent *bev = self.limited()
        bufferevent_decrement_write_limit(bev, count)
        BEV_UNLOCK(bev)

    cdef bufferevent *limited(self) except NULL:
        self.live()
        if self.limit is None:
            raise ValueError("the bufferevent has no rate limit")
        return self.enter()

    @property
    def max_to_read(self):
        """The most bytes that may be read at once now, by its own and its group's limit; 0 while these are used
        up."""
        return bufferevent_get_max_to_read(self.live())

    @property
    def max_to_write(self):
        """The most bytes that may be written at once now, by its own and its group's limit; 0 while these are
        used up."""
        return bufferevent_get_max_to_write(self.live())

    @property
    def priority(self):
        """0 is the most urgent. It can be set, but not while a callback is due: RuntimeError."""
        return bufferevent_get_priority(self.live())

    @priority.setter
    def priority(self, priority):
        cdef bufferevent *bev = self.live()
        cdef int number = <int>integer(priority, "priority", 0, bev.ev_base.nqueues - 1)
        cdef int result
        self.enter()
        result = bufferevent_priority_set(bev, number)
        BEV_UNLOCK(bev)
        if result < 0:
            raise RuntimeError("priority cannot change while a callback is due")

    @property
    def base(self):
        """The EventBase that it was made with."""
        return self.owner

    @property
    def options(self):
        """The BEV_OPT_* bits that it was made with."""
        return BEV_UPCAST(self.live()).options

    # Ending.

    @property
    def closed(self):
        """True after `close`."""
        return self.bev == NULL

    def close(self):
        """Ends callbacks, throws away what is in the buffers, and closes the descriptor, if it is owned.
        Harmless when repeated. It does not wait for what is in the output: to say something last, close in the
        write callback."""
        cdef bufferevent *bev = self.bev
        if bev == NULL:
            return
        self.closing()
        self.bev = NULL
        if BEV_UPCAST(bev).lock != NULL:
            with nogil:
                BEV_LOCK(bev)
        if self.limit is not None or self.group is not None:
            # Others may still hold the struct for a while.
            bufferevent_set_rate_limit(bev, NULL)
            bufferevent_remove_from_rate_limit_group(bev)
            self.limit = self.group = None
        if self.input_ is not None:
            self.input_.detach()
        if self.output_ is not None:
            self.output_.detach()
        BEV_UPCAST(bev).refcnt += 1
        bufferevent_free(bev)
        bufferevent_decref_and_unlock_(bev)
        self.closed_()
        self.readcb = self.writecb = self.eventcb = None
        if self.owner is not None:
            self.settle()

    def __enter__(self):
        self.live()
        return self

    def __exit__(self, *exception):
        self.close()

    def __repr__(self):
        if self.bev == NULL:
            return f"<cyevent.{type(self).__name__} closed>"
        return (f"<cyevent.{type(self).__name__} fd={bufferevent_getfd(self.bev)} "
                f"input={self.bev.input.total_len} output={self.bev.output.total_len}>")


cdef int check_callback(object callback, str name) except -1:
    if callback is not None and not callable(callback):
        raise TypeError(f"{name} must be callable or None, not {type(callback).__name__}")
    return 0


cdef int trigger_options(object options) except -1:
    cdef int known = BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS
    cdef int bits = <int>integer(options, "options", 0, known)
    if bits & ~known:
        raise ValueError(f"options has unknown bits: {bits:#x}")
    return bits


cdef short check_events(object what) except -1:
    if not isinstance(what, int):
        raise TypeError(f"what must be READ, WRITE or both, not {type(what).__name__}")
    if what & ~(EV_READ | EV_WRITE) or not what:
        raise ValueError(f"what must be READ, WRITE or both, not {int(what):#x}")
    return what
