# What EvBuffer makes for with-statements.

from cyevent.buffer.pybytes cimport ChainView
from cyevent.buffer.pyevbuffer cimport EvBuffer
from cyevent.buffer.types cimport evbuffer_chain


cdef class Reservation:
    cdef EvBuffer buffer_          # None once committed or given up
    cdef evbuffer_chain *chain     # referenced; in no buffer. NULL once it is in one
    cdef ChainView look            # None when no bytes were asked for
    cdef Py_ssize_t size
    cdef list views

    # The views end, and nothing can be committed any more. True if nobody can write into the space now.
    cdef bint close(self) noexcept
    cdef int take(self, Py_ssize_t n) except -1


cdef class Frozen:
    cdef EvBuffer buffer_
    cdef bint front
    cdef list before           # what the end was at each entry that is not left yet

cdef Reservation reserve_space(EvBuffer buffer, Py_ssize_t n)
cdef Frozen frozen_end(EvBuffer buffer, bint front)
