# Bytes between buffers and Python objects. `buf` is locked; what fails raises.

from cpython.buffer cimport Py_buffer
from cpython.ref cimport PyObject
from cyevent.buffer.types cimport evbuffer, evbuffer_chain

# Raises for a core function that failed at one of the buffer's ends: BufferError if it is frozen.
cdef int frozen_or_memory(evbuffer *buf, bint at_front) except -1
# A bytes-like object's bytes, to be released. TypeError names the argument.
cdef int get_bytes(object data, Py_buffer *view, str name) except -1
# Adds them by copy.
cdef int add_object(evbuffer *buf, object data, str name) except -1
cdef int prepend_object(evbuffer *buf, object data) except -1
# Adds the bytes of what is exactly a bytes object by reference.
cdef int hold_bytes(evbuffer *buf, object data) except -1
# Adds them by reference; the object is held until the last byte is gone. length -1: to the end.
cdef int add_object_reference(evbuffer *buf, object data, Py_ssize_t offset, Py_ssize_t length) except -1
# Removes the first n bytes (all if negative), as far as there are.
cdef bytes take_bytes(evbuffer *buf, Py_ssize_t n)
# Removes as many as fit into a writable bytes-like object.
cdef int take_into(evbuffer *buf, object target) except -1

# Gives something back that a buffer has from Python, with the interpreter lock held; from any thread, also
# while the interpreter ends, see pybytes.pyx. What that raises is reported and goes no further.
cdef void return_to_lender(void (*give_back)(void *) noexcept, void *lender) noexcept nogil


ctypedef int (*visit_function)(PyObject *object, void *arg) noexcept

# Shows the cyclic collector the objects that lend their memory to this buffer alone. Nobody may change the
# buffer from one of the collector's visits to the next, so it has no lock and is Python's own.
cdef int visit_lenders(evbuffer *buf, visit_function visit, void *arg) noexcept
# Gives up all bytes, whether the ends are frozen or not.
cdef void drop_everything(evbuffer *buf) noexcept


cdef class ChainView:
    cdef evbuffer_chain *chain     # referenced
    cdef void *data
    cdef Py_ssize_t length
    cdef Py_ssize_t exports        # how many memoryviews look through this; 0: nobody can see or write any more
    cdef bint readonly

# Something to make memoryviews of bytes in a chain from, which it holds.
cdef ChainView look_at(evbuffer_chain *chain, void *data, Py_ssize_t length, bint readonly)
# A read-only memoryview of them.
cdef object chain_view(evbuffer_chain *chain, void *data, Py_ssize_t length)
