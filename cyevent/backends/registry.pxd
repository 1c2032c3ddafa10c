# The backends that were built, in the order in which they registered.

from cyevent.backends.vtable cimport event_op

cdef extern from *:
    """
    #ifndef CYEVENT_METHOD_SUFFIX
      /* The tests compile some backends against an emulation, and their names say so. */
      #define CYEVENT_METHOD_SUFFIX ""
    #endif
    """

cdef enum:
    MAX_BACKENDS = 16

cdef void backend_register(const event_op *ops) noexcept nogil
cdef int backend_count() noexcept nogil
cdef const event_op *backend_at(int index) noexcept nogil
