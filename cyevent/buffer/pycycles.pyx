"""What the cyclic collector sees of a buffer.

Cython's own functions for the cyclic collector know the attributes alone. An object whose class, or whose
module, leads to the buffer that it lends its memory to is an everyday thing, so chains are looked at too.
"""

from cpython.ref cimport PyObject
from cyevent.buffer.pybytes cimport drop_everything, visit_function, visit_lenders
from cyevent.buffer.pyevbuffer cimport EvBuffer

ctypedef int (*traverse_function)(PyObject *thing, visit_function visit, void *arg) noexcept
ctypedef int (*clear_function)(PyObject *thing) noexcept

cdef extern from "Python.h":
    ctypedef struct PyTypeObject:
        traverse_function tp_traverse
        clear_function tp_clear

cdef traverse_function traverse_attributes = (<PyTypeObject *>EvBuffer).tp_traverse
cdef clear_function clear_attributes = (<PyTypeObject *>EvBuffer).tp_clear


cdef inline bint is_alone(EvBuffer self) noexcept:
    """Whether nobody can change the buffer without holding the interpreter lock."""
    return self.buf != NULL and not self.borrowed and self.buf.lock == NULL


cdef int traverse(PyObject *thing, visit_function visit, void *arg) noexcept:
    cdef int result = traverse_attributes(thing, visit, arg)
    if result == 0 and is_alone(<EvBuffer>thing):
        result = visit_lenders((<EvBuffer>thing).buf, visit, arg)
    return result


cdef int clear(PyObject *thing) noexcept:
    clear_attributes(thing)
    if is_alone(<EvBuffer>thing):
        drop_everything((<EvBuffer>thing).buf)
    return 0


(<PyTypeObject *>EvBuffer).tp_traverse = traverse
(<PyTypeObject *>EvBuffer).tp_clear = clear
