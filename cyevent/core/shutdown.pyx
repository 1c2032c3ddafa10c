"""Giving back what the library holds for the process."""

from cyevent.core.debug cimport event_debug_disable_
from cyevent.core.log cimport event_errx_
from cyevent.core.threads cimport evthread_shutdown_

cdef enum:
    MAX_HOOKS = 32

cdef void (*hooks[MAX_HOOKS])() noexcept nogil
cdef int nhooks = 0


cdef void event_at_shutdown_(void (*fn)() noexcept nogil) noexcept nogil:
    global nhooks
    if nhooks == MAX_HOOKS:
        event_errx_(b"event_at_shutdown_: too many functions")
    hooks[nhooks] = fn
    nhooks += 1


cdef void libevent_global_shutdown() noexcept nogil:
    cdef int i
    for i in range(nhooks):
        hooks[nhooks - 1 - i]()
    event_debug_disable_()
    evthread_shutdown_()
