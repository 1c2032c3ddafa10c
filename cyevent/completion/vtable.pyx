"""Which kind of completion port this system has."""

cdef const completion_loop_ops *registered = NULL


cdef void completion_register_(const completion_loop_ops *ops) noexcept nogil:
    global registered
    if registered == NULL:
        registered = ops


cdef const completion_loop_ops *completion_registered_() noexcept nogil:
    return registered
