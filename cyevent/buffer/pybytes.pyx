"""Bytes between buffers and Python objects: by copy, by reference, and as memoryviews.

A memoryview of a buffer's bytes holds the chain that they are in. Draining, moving or freeing the buffer
leaves those bytes where they are until the last view of them is gone.
"""

cimport cython
from cpython.buffer cimport (
    Py_buffer, PyBuffer_FillInfo, PyBuffer_Release, PyBUF_SIMPLE, PyObject_CheckBuffer,
    PyObject_GetBuffer,
)
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cyevent.buffer.chain cimport chain_ref, evbuffer_chain_free_
from cyevent.buffer.evbuffer cimport (
    evbuffer_add, evbuffer_add_reference_with_offset, evbuffer_copy_nolock_, evbuffer_discard_nolock_,
    evbuffer_invoke_callbacks_,
)
from cyevent.core.arguments cimport os_error

cdef extern from "Python.h":
    int PyGILState_Ensure() noexcept nogil
    void PyGILState_Release(int state) noexcept nogil
    int Py_IsInitialized() noexcept nogil


# --- bytes from Python ------------------------------------------------------------------------------

cdef int frozen_or_memory(evbuffer *buf, bint at_front) except -1:
    """Raises for a core function that returned -1."""
    if buf.freeze_start if at_front else buf.freeze_end:
        raise BufferError(f"the {'front' if at_front else 'end'} of the buffer is frozen")
    raise MemoryError()


cdef int get_bytes(object data, Py_buffer *view, str name) except -1:
    if not PyObject_CheckBuffer(data):
        raise TypeError(f"{name} must be a bytes-like object, not {type(data).__name__}")
    PyObject_GetBuffer(data, view, PyBUF_SIMPLE)
    return 0


cdef int add_object(evbuffer *buf, object data, str name) except -1:
    cdef Py_buffer view
    cdef int result
    if PyBytes_CheckExact(data):
        result = evbuffer_add(buf, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    else:
        get_bytes(data, &view, name)
        result = evbuffer_add(buf, view.buf, view.len)
        PyBuffer_Release(&view)
    if result < 0:
        frozen_or_memory(buf, False)
    return 0


cdef void lender_done(const void *data, size_t datlen, void *extra) noexcept nogil:
    """The last byte of a Python object's memory has left."""
    cdef int state
    if not Py_IsInitialized():
        return
    state = PyGILState_Ensure()
    (<void (*)(void *) noexcept nogil>release_lender)(extra)
    PyGILState_Release(state)


cdef void release_lender(void *extra) noexcept:
    PyBuffer_Release(<Py_buffer *>extra)
    PyMem_RawFree(extra)


cdef int add_object_reference(evbuffer *buf, object data, Py_ssize_t offset,
                              Py_ssize_t length) except -1:
    cdef Py_buffer *view = <Py_buffer *>PyMem_RawMalloc(sizeof(Py_buffer))
    if view == NULL:
        raise MemoryError()
    try:
        get_bytes(data, view, "data")
    except BaseException:
        PyMem_RawFree(view)
        raise
    try:
        if not 0 <= offset <= view.len:
            raise ValueError(f"offset must be 0 to {view.len}, not {offset}")
        if length < -1 or length > view.len - offset:
            raise ValueError(f"length must be -1 to {view.len - offset}, not {length}")
        if length < 0:
            length = view.len - offset
        if evbuffer_add_reference_with_offset(buf, view.buf, offset, length, lender_done, view) < 0:
            frozen_or_memory(buf, False)
    except BaseException:
        release_lender(view)
        raise
    return 0


cdef bytes take_bytes(evbuffer *buf, Py_ssize_t n):
    cdef bytes result
    if n < 0 or <size_t>n > buf.total_len:
        n = <Py_ssize_t>buf.total_len
    if buf.freeze_start:
        frozen_or_memory(buf, True)
    result = PyBytes_FromStringAndSize(NULL, n)
    if n:
        if evbuffer_copy_nolock_(buf.first, 0, PyBytes_AS_STRING(result), n) < 0:
            raise os_error("remove")
        evbuffer_discard_nolock_(buf, n)
        evbuffer_invoke_callbacks_(buf)
    return result


# --- views ------------------------------------------------------------------------------------------

@cython.final
@cython.internal
cdef class ChainView:
    """What a memoryview of a buffer's bytes looks at."""
    cdef evbuffer_chain *chain     # referenced
    cdef void *data
    cdef Py_ssize_t length
    cdef bint readonly

    def __dealloc__(self):
        if self.chain != NULL:
            evbuffer_chain_free_(self.chain)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.length, self.readonly, flags)

    def __releasebuffer__(self, Py_buffer *view):
        pass


cdef object chain_view(evbuffer_chain *chain, void *data, Py_ssize_t length, bint readonly):
    cdef ChainView view = ChainView.__new__(ChainView)
    chain_ref(chain)
    view.chain = chain
    view.data = data
    view.length = length
    view.readonly = readonly
    return memoryview(view)


# --- reserved space ---------------------------------------------------------------------------------

@cython.final
cdef class Reservation:
    """Space at a buffer's end; what `EvBuffer.reserve` returns, for a with-statement."""

    def __init__(self):
        raise TypeError("Reservation is made by EvBuffer.reserve")

    cdef void end(self) noexcept:
        cdef list views = self.views
        self.views = []
        self.nvec = 0
        for view in views:
            try:
                view.release()
            except BufferError:
                # Somebody has a view of the view; it keeps the memory, nothing worse.
                pass

    def __enter__(self):
        return list(self.views)

    def __exit__(self, *exception):
        self.end()

    def __len__(self):
        return len(self.views)

    def __getitem__(self, index):
        return self.views[index]
