"""The list of backends."""

cdef const event_op *backends[MAX_BACKENDS]
cdef int nbackends = 0


cdef void backend_register(const event_op *ops) noexcept nogil:
    global nbackends
    if nbackends < MAX_BACKENDS:
        backends[nbackends] = ops
        nbackends += 1


cdef int backend_count() noexcept nogil:
    return nbackends


cdef const event_op *backend_at(int index) noexcept nogil:
    return backends[index]
