"""Callbacks of buffers, for Python."""

cimport cython
from cpython.ref cimport PyObject
from cyevent.buffer.callbacks cimport *
from cyevent.buffer.types cimport EVBUFFER_CB_ENABLED, EVBUFFER_CB_NODEFER, evbuffer_cb_info
from cyevent.core.interpreter cimport in_py_loop, py_enter, py_leave, py_loop
from cyevent.core.threads cimport EVLOCK_UNLOCK
from cyevent.core.types cimport event_base

cdef extern from "Python.h":
    int PyGILState_Ensure() noexcept nogil
    void PyGILState_Release(int state) noexcept nogil

cdef extern from *:
    """
    static void write_unraisable(PyObject *exception, PyObject *thing) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        PyErr_WriteUnraisable(thing);
    }
    """
    void write_unraisable(object exception, PyObject *thing)


ctypedef void (*buffer_callback_runner)(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept nogil


cdef void buffer_changed(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept nogil:
    # From the loop, which may have given the GIL up for a while, or from a call of Python's, which may have
    # too; from C, in any thread.
    cdef event_base *base = buf.cb_queue
    cdef py_loop *loop = <py_loop *>base.binding if base != NULL else NULL
    cdef int token
    if loop != NULL and in_py_loop(loop) and loop.saved != NULL:
        token = py_enter(loop)
        (<buffer_callback_runner>run_buffer_callback)(buf, info, arg)
        py_leave(loop, token)
        return
    token = PyGILState_Ensure()
    (<buffer_callback_runner>run_buffer_callback)(buf, info, arg)
    PyGILState_Release(token)


cdef void run_buffer_callback(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept:
    cdef BufferCallback self = <BufferCallback>arg
    cdef EvBuffer buffer = self.buffer_
    cdef object callback = self.callback_
    cdef bint busy
    if buffer is None or callback is None:
        return
    # Within read() and write() the buffer is this thread's, and its callbacks may use it.
    busy = buffer.busy and buffer.buf == NULL and not buffer.detached
    if busy:
        buffer.buf = buf
    try:
        callback(buffer, info.orig_size, info.n_added, info.n_deleted)
    except BaseException as exception:
        if buffer.owner is not None:
            buffer.owner.failed(exception, callback)
        else:
            write_unraisable(exception, <PyObject *>callback)
    if busy:
        buffer.buf = NULL


@cython.final
cdef class BufferCallback:
    """A callback of an EvBuffer; what `EvBuffer.add_callback` returns. It may be forgotten: the calls go on."""

    def __init__(self):
        raise TypeError("BufferCallback is made by EvBuffer.add_callback")

    cdef void drop(self) noexcept:
        if self.entry != NULL:
            if self.buffer_.buf != NULL:
                evbuffer_remove_cb_entry(self.buffer_.buf, self.entry)
            self.entry = NULL

    cdef evbuffer *live(self) except NULL:
        if self.entry == NULL:
            raise ValueError("the callback is removed")
        return self.buffer_.enter()

    cdef int set_flag(self, unsigned flag, bint value) except -1:
        cdef evbuffer *buf = self.live()
        if value:
            evbuffer_cb_set_flags(buf, self.entry, flag)
        else:
            evbuffer_cb_clear_flags(buf, self.entry, flag)
        EVLOCK_UNLOCK(buf.lock)
        return 0

    def remove(self):
        """Ends the calls; `enabled` and `nodefer` are a ValueError then. Harmless when repeated."""
        cdef EvBuffer buffer = self.buffer_
        cdef evbuffer *buf
        if self.entry != NULL:
            buf = buffer.enter()
            self.drop()
            EVLOCK_UNLOCK(buf.lock)
            buffer.callbacks.remove(self)

    @property
    def callback(self):
        """The callable."""
        return self.callback_

    @property
    def enabled(self):
        """False to leave the callback out for a while."""
        return self.entry != NULL and self.entry.flags & EVBUFFER_CB_ENABLED != 0

    @enabled.setter
    def enabled(self, bint value):
        self.set_flag(EVBUFFER_CB_ENABLED, value)

    @property
    def nodefer(self):
        """True to be called at once although the buffer's callbacks are deferred."""
        return self.entry != NULL and self.entry.flags & EVBUFFER_CB_NODEFER != 0

    @nodefer.setter
    def nodefer(self, bint value):
        self.set_flag(EVBUFFER_CB_NODEFER, value)


cdef BufferCallback add_buffer_callback(EvBuffer buffer, object callback, bint nodefer):
    cdef BufferCallback self = BufferCallback.__new__(BufferCallback)
    cdef evbuffer *buf = buffer.enter()
    try:
        self.buffer_ = buffer
        self.callback_ = callback
        self.entry = evbuffer_add_cb(buf, buffer_changed, <void *>self)
        if self.entry == NULL:
            raise MemoryError()
        if nodefer:
            evbuffer_cb_set_flags(buf, self.entry, EVBUFFER_CB_NODEFER)
        buffer.callbacks.append(self)
    finally:
        EVLOCK_UNLOCK(buf.lock)
    return self
