# What the methods of EvBuffer make of their arguments.

from cpython.buffer cimport Py_buffer
from cyevent.buffer.types cimport evbuffer_eol_style
from cyevent.core.arguments cimport integer

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    bint PyLong_CheckExact(object value)
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -2

# A writable bytes-like object's memory, to be released.
cdef int get_writable(object target, Py_buffer *view) except -1
cdef evbuffer_eol_style check_eol(object eol) except? evbuffer_eol_style.EVBUFFER_EOL_ANY


# A number of bytes, -1 for all.
cdef inline Py_ssize_t size_argument(object n, str name) except -2:
    cdef int overflow = 0
    cdef long long size
    if PyLong_CheckExact(n):
        size = PyLong_AsLongLongAndOverflow(n, &overflow)
        if size >= -1 and not overflow and size <= PY_SSIZE_T_MAX:
            return <Py_ssize_t>size
    return <Py_ssize_t>integer(n, name, -1, PY_SSIZE_T_MAX)


cdef inline Py_ssize_t count_argument(object n, str name) except -2:
    return <Py_ssize_t>integer(n, name, 0, PY_SSIZE_T_MAX)
