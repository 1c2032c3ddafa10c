"""Prepare and check watchers."""

cimport cython
from cpython.ref cimport PyObject
from cyevent.core.memory cimport mm_free, mm_malloc
from cyevent.core.arguments cimport check_callable
from cyevent.core.interpreter cimport py_enter, py_leave, py_loop
from cyevent.core.reactor cimport EventBase
from cyevent.core.queue cimport in_loop_thread
from cyevent.core.sys cimport EINVAL, set_errno
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK, evthread_cond_wait_
from cyevent.core.types cimport EVWATCH_CHECK, EVWATCH_PREPARE, evwatch_check_cb_info


cdef evwatch *new_watcher(event_base *base, int kind, void *arg) noexcept nogil:
    cdef evwatch *watcher = <evwatch *>mm_malloc(sizeof(evwatch))
    if watcher == NULL:
        return NULL
    watcher.base = base
    watcher.kind = kind
    watcher.arg = arg
    watcher.next = NULL
    return watcher


cdef evwatch *link(evwatch *watcher) noexcept nogil:
    cdef event_base *base = watcher.base
    cdef int kind = watcher.kind
    EVLOCK_LOCK(base.lock)
    if base.closed:
        EVLOCK_UNLOCK(base.lock)
        mm_free(watcher)
        set_errno(EINVAL)
        return NULL
    watcher.prev = base.last_watcher[kind]
    if watcher.prev != NULL:
        watcher.prev.next = watcher
    else:
        base.watchers[kind] = watcher
    base.last_watcher[kind] = watcher
    EVLOCK_UNLOCK(base.lock)
    return watcher


cdef evwatch *evwatch_prepare_new(event_base *base, evwatch_prepare_cb callback,
                                  void *arg) noexcept nogil:
    cdef evwatch *watcher = new_watcher(base, EVWATCH_PREPARE, arg)
    if watcher != NULL:
        watcher.cb.prepare = callback
        watcher = link(watcher)
    return watcher


cdef evwatch *evwatch_check_new(event_base *base, evwatch_check_cb callback,
                                void *arg) noexcept nogil:
    cdef evwatch *watcher = new_watcher(base, EVWATCH_CHECK, arg)
    if watcher != NULL:
        watcher.cb.check = callback
        watcher = link(watcher)
    return watcher


cdef event_base *evwatch_base(evwatch *watcher) noexcept nogil:
    return watcher.base


cdef int unlink(event_base *base, evwatch *watcher) noexcept nogil:
    """0, or 1 when its callback is running in another thread, or -1 when it went with its base."""
    cdef int kind, running
    EVLOCK_LOCK(base.lock)
    if base.closed:
        EVLOCK_UNLOCK(base.lock)
        return -1
    kind = watcher.kind
    if base.next_watcher == watcher:
        base.next_watcher = watcher.next
    if watcher.prev != NULL:
        watcher.prev.next = watcher.next
    else:
        base.watchers[kind] = watcher.next
    if watcher.next != NULL:
        watcher.next.prev = watcher.prev
    else:
        base.last_watcher[kind] = watcher.prev
    running = base.current_watcher == watcher and not in_loop_thread(base)
    EVLOCK_UNLOCK(base.lock)
    return running


cdef void wait_for_watcher(event_base *base, evwatch *watcher) noexcept nogil:
    EVLOCK_LOCK(base.lock)
    # Unlinked, it is not called again, so there is one run to wait for.
    while base.current_watcher == watcher and base.current_event_cond != NULL:
        base.current_event_waiters += 1
        evthread_cond_wait_(base.current_event_cond, base.lock)
    EVLOCK_UNLOCK(base.lock)


cdef void evwatch_free(evwatch *watcher) noexcept nogil:
    if unlink(watcher.base, watcher) == 1:
        wait_for_watcher(watcher.base, watcher)
    mm_free(watcher)


cdef int evwatch_prepare_get_timeout(const evwatch_prepare_cb_info *info,
                                     timeval *timeout) noexcept nogil:
    if info.timeout == NULL:
        return 0
    timeout[0] = info.timeout[0]
    return 1


# --- above the line ---------------------------------------------------------------------------------

cdef void prepare_due(evwatch *watcher, const evwatch_prepare_cb_info *info,
                      void *arg) noexcept nogil:
    cdef timeval tv
    cdef double seconds = -1
    cdef py_loop *loop = <py_loop *>watcher.base.binding
    cdef int token = py_enter(loop)
    if evwatch_prepare_get_timeout(info, &tv):
        seconds = tv.tv_sec + tv.tv_usec * 1e-6
    (<void (*)(PyObject *, double) noexcept nogil>run_prepare)(<PyObject *>arg, seconds)
    py_leave(loop, token)


cdef void run_prepare(PyObject *thing, double seconds) noexcept:
    cdef Watcher self = <Watcher>thing
    cdef object callback = self.callback
    try:
        callback(None if seconds < 0 else seconds, *self.arguments)
    except BaseException as exception:
        self.owner.failed(exception, callback)


cdef void check_due(evwatch *watcher, const evwatch_check_cb_info *info, void *arg) noexcept nogil:
    cdef py_loop *loop = <py_loop *>watcher.base.binding
    cdef int token = py_enter(loop)
    (<void (*)(PyObject *) noexcept nogil>run_check)(<PyObject *>arg)
    py_leave(loop, token)


cdef void run_check(PyObject *thing) noexcept:
    cdef Watcher self = <Watcher>thing
    cdef object callback = self.callback
    try:
        callback(*self.arguments)
    except BaseException as exception:
        self.owner.failed(exception, callback)


cdef class Watcher:
    """What PrepareWatcher and CheckWatcher share. The base keeps a watcher alive until it is closed."""
    cdef EventBase owner
    cdef evwatch *native       # owned; NULL once closed
    cdef object callback
    cdef tuple arguments
    cdef object __weakref__

    cdef int prepare(self, EventBase base, object callback, tuple arguments, int kind) except -1:
        cdef event_base *native = base.checked()
        check_callable(callback, "callback")
        if self.native != NULL:
            raise RuntimeError("a watcher's __init__() was called twice")
        self.owner = base
        self.callback = callback
        self.arguments = arguments
        base.keep(self)
        if kind == EVWATCH_PREPARE:
            self.native = evwatch_prepare_new(native, prepare_due, <void *>self)
        else:
            self.native = evwatch_check_new(native, check_due, <void *>self)
        if self.native == NULL:
            base.release(self)
            base.checked()
            raise MemoryError()
        return 0

    def close(self):
        """Ends the calls; from another thread, it waits for one that runs. Closing twice is harmless."""
        cdef event_base *base
        cdef evwatch *native
        cdef int running
        with cython.critical_section(self):
            native = self.native
            self.native = NULL
        if native == NULL:
            return
        base = self.owner.base
        running = unlink(base, native)
        if running == 1:
            with nogil:
                wait_for_watcher(base, native)
        if running >= 0:
            mm_free(native)
        self.owner.release(self)

    @property
    def closed(self):
        """True after `close`, and when the base was closed."""
        return self.native == NULL or self.owner.closed_

    @property
    def base(self):
        """The EventBase."""
        return self.owner

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


cdef class PrepareWatcher(Watcher):
    """Calls callback(timeout, *args) before each wait of the loop.

    timeout is how long the loop may wait, in seconds; None for without end. What the callback adds or activates
    counts from the next turn. The base keeps the watcher alive until it is closed; it does not keep the loop
    going. What the callback raises goes to `EventBase.exception_handler`.
    """

    def __init__(self, EventBase base not None, callback, *args):
        self.prepare(base, callback, args, EVWATCH_PREPARE)


cdef class CheckWatcher(Watcher):
    """Calls callback(*args) after each wait of the loop, before the callbacks that it made due.

    The base keeps the watcher alive until it is closed; it does not keep the loop going. What the callback
    raises goes to `EventBase.exception_handler`.
    """

    def __init__(self, EventBase base not None, callback, *args):
        self.prepare(base, callback, args, EVWATCH_CHECK)
