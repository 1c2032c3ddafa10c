"""What the methods of EvBuffer make of their arguments."""

from cpython.buffer cimport Py_buffer, PyBUF_WRITABLE, PyObject_GetBuffer
from cyevent.buffer.types cimport *

EOL_ANY = EVBUFFER_EOL_ANY
EOL_CRLF = EVBUFFER_EOL_CRLF
EOL_CRLF_STRICT = EVBUFFER_EOL_CRLF_STRICT
EOL_LF = EVBUFFER_EOL_LF
EOL_NUL = EVBUFFER_EOL_NUL


cdef int get_writable(object target, Py_buffer *view) except -1:
    try:
        PyObject_GetBuffer(target, view, PyBUF_WRITABLE)
    except (TypeError, BufferError) as error:
        raise TypeError(f"target must be a writable and contiguous bytes-like object, "
                        f"not {type(target).__name__}") from error
    return 0


cdef evbuffer_eol_style check_eol(object eol) except? EVBUFFER_EOL_ANY:
    return <evbuffer_eol_style>integer(eol, "eol", EVBUFFER_EOL_ANY, EVBUFFER_EOL_NUL)
