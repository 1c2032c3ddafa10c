"""Bytes between buffers and Python objects: by copy, by reference, and as memoryviews.

A memoryview of a buffer's bytes holds the chain that they are in. Draining, moving or freeing the buffer
leaves those bytes where they are until the last view of them is gone.

What lends its memory to a buffer is given back when the last byte has left, in whatever thread that happens.
Facts that decide how:
- The thread may hold the interpreter lock, may have given it up, or may never have had it.
  PyGILState_Ensure() serves all three.
- While the interpreter ends, a thread that asks for the lock is stopped for good, in the middle of an
  operation and with the buffer's lock held; only the thread that ends it may go on, and it holds the lock.
- Afterwards there is nothing left to be given back to.
So a thread that holds the lock gives back at once, at any time; another one takes the lock first, unless the
interpreter is ending: then the object stays, as everything does that is alive at that moment.

A bytes object never changes, so a large one can be lent without its owner's knowing: `hold_bytes` costs less
than a copy, and when it leaves in one piece as well it is that object again.

What a server reads it has mostly done with before it reads the next: so the object that was given out last is
held, and is the next one if nobody else holds it any more. It is memory that malloc() would have taken back and
given out again, in as many instructions as all that a buffer does with the bytes; a small object's memory is
the interpreter's own, which is quicker. One is held, of at most SPARE_MOST bytes; so an object that was read
has a reference more than its readers know of. It is reused for no less than three quarters of its room, lest
what is kept of it be larger than it looks.
"""

cimport cython
from cpython.buffer cimport (
    Py_buffer, PyBuffer_FillInfo, PyBuffer_Release, PyBUF_SIMPLE, PyObject_CheckBuffer,
    PyObject_GetBuffer,
)
from cpython.memoryview cimport PyMemoryView_Check
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE,
)
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.ref cimport PyObject, Py_INCREF
from libc.errno cimport errno
from cyevent.buffer.chain cimport (
    chain_extra, chain_is_ours, chain_ref, evbuffer_chain_borrow_, evbuffer_chain_free_,
)
from cyevent.buffer.evbuffer cimport (
    EVBUFFER_MAX, evbuffer_add, evbuffer_add_reference_with_offset, evbuffer_chain_insert_,
    evbuffer_copy_nolock_, evbuffer_discard_nolock_, evbuffer_invoke_callbacks_, evbuffer_prepend,
    evbuffer_remove,
)
from cyevent.buffer.pyarguments cimport get_writable
from cyevent.buffer.types cimport CHAIN_REFERENCE, evbuffer_chain_reference
from cyevent.core.arguments cimport os_error
from cyevent.core.sys cimport set_errno

cdef extern from *:
    """
    /* Whether this thread holds the interpreter lock. */
    static int holds_interpreter(void) {
    #if PY_VERSION_HEX >= 0x030D0000
        return PyThreadState_GetUnchecked() != NULL;
    #else
        PyThreadState *mine = PyGILState_GetThisThreadState();
        return mine != NULL && mine == _PyThreadState_UncheckedGet();
    #endif
    }
    static int interpreter_ends(void) {
    #if PY_VERSION_HEX >= 0x030D0000
        return !Py_IsInitialized() || Py_IsFinalizing();
    #else
        return !Py_IsInitialized() || _Py_IsFinalizing();
    #endif
    }
    /* Whose only reference the caller gives away. */
    static PyObject *stolen(void *object) { return (PyObject *)object; }
    static void give_up(void *object) { Py_DECREF((PyObject *)object); }

    #if defined(Py_GIL_DISABLED) || defined(__SANITIZE_ADDRESS__)
      #define SPARE_MOST 0       /* threads would meet at it; or a sanitizer has to see each object's end */
    #elif defined(__has_feature)
      #if __has_feature(address_sanitizer)
        #define SPARE_MOST 0
      #endif
    #endif
    #ifndef SPARE_MOST
      #define SPARE_MOST (128 << 10)
    #endif
    #define SPARE_LEAST 480      /* below, objects are so small that they are the interpreter's own */
    static PyObject *spare;      /* guarded by the interpreter lock, as all of these */
    static Py_ssize_t spare_room;

    #if PY_VERSION_HEX >= 0x030B0000
      #define WITH_HASH _Py_COMP_DIAG_PUSH _Py_COMP_DIAG_IGNORE_DEPR_DECLS
      #define END_HASH _Py_COMP_DIAG_POP
    #else
      #define WITH_HASH
      #define END_HASH
    #endif
    static inline void forget_hash(PyObject *bytes) {
        WITH_HASH
        ((PyBytesObject *)bytes)->ob_shash = -1;
        END_HASH
    }
    /* A new reference to bytes that are still to be written. */
    static PyObject *blank_bytes(Py_ssize_t n) {
        PyObject *bytes = spare;
        if (n < SPARE_LEAST || n > SPARE_MOST)
            return PyBytes_FromStringAndSize(NULL, n);
        if (bytes != NULL && n <= spare_room && n >= spare_room - spare_room / 4 && Py_REFCNT(bytes) == 1) {
            Py_SET_SIZE((PyVarObject *)bytes, n);
            PyBytes_AS_STRING(bytes)[n] = 0;
            forget_hash(bytes);
        } else {
            bytes = PyBytes_FromStringAndSize(NULL, n);
            if (bytes == NULL)
                return NULL;
            Py_XDECREF(spare);
            spare = bytes;
            spare_room = n;
        }
        Py_INCREF(bytes);
        return bytes;
    }
    """
    bytes blank_bytes(Py_ssize_t n)
    bint holds_interpreter() noexcept nogil
    bint interpreter_ends() noexcept nogil
    object stolen(void *object)
    void give_up(void *object) noexcept

cdef extern from "Python.h":
    int PyGILState_Ensure() noexcept nogil
    void PyGILState_Release(int state) noexcept nogil


# --- bytes from Python ------------------------------------------------------------------------------

cdef int frozen_or_memory(evbuffer *buf, bint at_front) except -1:
    """Raises for a core function that returned -1."""
    if buf.freeze_start if at_front else buf.freeze_end:
        raise BufferError(f"the {'front' if at_front else 'end'} of the buffer is frozen")
    raise MemoryError()


cdef int get_bytes(object data, Py_buffer *view, str name) except -1:
    if not PyObject_CheckBuffer(data):
        raise TypeError(f"{name} must be a bytes-like object, not {type(data).__name__}")
    try:
        PyObject_GetBuffer(data, view, PyBUF_SIMPLE)
    except BufferError as error:
        raise TypeError(f"{name} must be a contiguous bytes-like object: {error}") from error
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


cdef int prepend_object(evbuffer *buf, object data) except -1:
    cdef Py_buffer view
    cdef int result
    get_bytes(data, &view, "data")
    result = evbuffer_prepend(buf, view.buf, view.len)
    PyBuffer_Release(&view)
    if result < 0:
        frozen_or_memory(buf, True)
    return 0


cdef void return_to_lender(void (*give_back)(void *) noexcept, void *lender) noexcept nogil:
    cdef int state
    if holds_interpreter():
        (<void (*)(void *) noexcept nogil>give_back)(lender)
    elif not interpreter_ends():
        state = PyGILState_Ensure()
        (<void (*)(void *) noexcept nogil>give_back)(lender)
        PyGILState_Release(state)


cdef void lender_done(const void *data, size_t datlen, void *extra) noexcept nogil:
    """The last byte of a Python object's memory has left."""
    return_to_lender(release_lender, extra)


cdef void release_lender(void *extra) noexcept:
    PyBuffer_Release(<Py_buffer *>extra)
    PyMem_RawFree(extra)


cdef int visit_lenders(evbuffer *buf, visit_function visit, void *arg) noexcept:
    cdef evbuffer_chain *chain = buf.first
    cdef evbuffer_chain_reference *reference
    cdef PyObject *lender
    cdef int result
    while chain != NULL:
        reference = <evbuffer_chain_reference *>chain_extra(chain)
        # What a view or another buffer holds too may be given up at any time, so it is not looked at.
        if chain.flags & CHAIN_REFERENCE and reference.cleanup == lender_done and chain_is_ours(chain):
            lender = <PyObject *>(<Py_buffer *>reference.arg).obj
            # A memoryview cannot be cleared while somebody, which is the buffer, has a view of it.
            if lender != NULL and not PyMemoryView_Check(<object>lender):
                result = visit(lender, arg)
                if result:
                    return result
        chain = chain.next
    return 0


cdef void drop_everything(evbuffer *buf) noexcept:
    evbuffer_discard_nolock_(buf, buf.total_len)
    evbuffer_invoke_callbacks_(buf)


cdef void bytes_done(const void *data, size_t datlen, void *extra) noexcept nogil:
    """The same of a bytes object that nobody lent on purpose."""
    return_to_lender(give_up, extra)


cdef int hold_bytes(evbuffer *buf, object data) except -1:
    cdef Py_ssize_t n = PyBytes_GET_SIZE(data)
    cdef evbuffer_chain *chain
    cdef evbuffer_chain_reference *reference
    if buf.freeze_end or <size_t>n > EVBUFFER_MAX - buf.total_len:
        frozen_or_memory(buf, False)
    chain = evbuffer_chain_borrow_(sizeof(evbuffer_chain_reference))
    if chain == NULL:
        raise MemoryError()
    reference = <evbuffer_chain_reference *>chain_extra(chain)
    reference.cleanup = bytes_done
    reference.arg = <void *>data
    Py_INCREF(data)
    chain.flags |= CHAIN_REFERENCE
    chain.buffer = <unsigned char *>PyBytes_AS_STRING(data)
    chain.buffer_len = n
    chain.off = n
    evbuffer_chain_insert_(buf, chain)
    evbuffer_invoke_callbacks_(buf)
    return 0


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


cdef inline evbuffer_chain_reference *held_whole(evbuffer_chain *chain, size_t n) noexcept nogil:
    """What holds a bytes object, if that is what the first n bytes are and nobody else looks at it."""
    cdef evbuffer_chain_reference *reference = <evbuffer_chain_reference *>chain_extra(chain)
    if chain.flags & CHAIN_REFERENCE and chain.off == n and chain.buffer_len == n \
            and reference.cleanup == bytes_done and chain_is_ours(chain):
        return reference
    return NULL


cdef inline void drop_first(evbuffer *buf) noexcept nogil:
    """What evbuffer_discard_nolock_() comes to for exactly the first chain, without its questions."""
    cdef evbuffer_chain *chain = buf.first
    buf.first = chain.next
    if chain.next == NULL:
        buf.last = NULL
        buf.last_with_datap = &buf.first
    elif buf.last_with_datap == &chain.next:
        buf.last_with_datap = &buf.first
    buf.total_len -= chain.off
    buf.n_del_for_cb += chain.off
    evbuffer_chain_free_(chain)


cdef bytes take_bytes(evbuffer *buf, Py_ssize_t n):
    cdef bytes result
    cdef evbuffer_chain_reference *reference
    if n < 0 or <size_t>n > buf.total_len:
        n = <Py_ssize_t>buf.total_len
    if buf.freeze_start:
        frozen_or_memory(buf, True)
    if n == 0:
        return b""
    reference = held_whole(buf.first, n)
    if reference != NULL:
        result = stolen(reference.arg)
        reference.cleanup = NULL
        drop_first(buf)
    else:
        result = blank_bytes(n)
        if evbuffer_copy_nolock_(buf.first, 0, PyBytes_AS_STRING(result), n) < 0:
            raise os_error("remove")
        evbuffer_discard_nolock_(buf, n)
    evbuffer_invoke_callbacks_(buf)
    return result


cdef int take_into(evbuffer *buf, object target) except -1:
    cdef Py_buffer view
    cdef int result, code
    get_writable(target, &view)
    result = evbuffer_remove(buf, view.buf, view.len)
    code = errno
    PyBuffer_Release(&view)
    if result < 0:
        if buf.freeze_start:
            frozen_or_memory(buf, True)
        set_errno(code)
        raise os_error("readinto")
    return result


# --- views ------------------------------------------------------------------------------------------

@cython.final
cdef class ChainView:
    """What a memoryview of a buffer's bytes looks at."""

    def __dealloc__(self):
        if self.chain != NULL:
            evbuffer_chain_free_(self.chain)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.length, self.readonly, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1


cdef ChainView look_at(evbuffer_chain *chain, void *data, Py_ssize_t length, bint readonly):
    cdef ChainView view = ChainView.__new__(ChainView)
    chain_ref(chain)
    view.chain = chain
    view.data = data
    view.length = length
    view.readonly = readonly
    return view


cdef object chain_view(evbuffer_chain *chain, void *data, Py_ssize_t length):
    return memoryview(look_at(chain, data, length, True))
