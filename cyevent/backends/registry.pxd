# The backends that were built, in the order in which they registered.

from cyevent.backends.vtable cimport event_op

cdef enum:
    MAX_BACKENDS = 16

cdef void backend_register(const event_op *ops) noexcept nogil
cdef int backend_count() noexcept nogil
cdef const event_op *backend_at(int index) noexcept nogil
