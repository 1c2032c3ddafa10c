"""Looking at a buffer's bytes: searching, lines, copies and views."""

from cpython.buffer cimport Py_buffer, PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport errno
from cyevent.buffer.callbacks cimport evbuffer_invoke_callbacks_
from cyevent.buffer.chain cimport chain_data
from cyevent.buffer.evbuffer cimport (
    evbuffer_copy_nolock_, evbuffer_copyout_from, evbuffer_discard_nolock_,
)
from cyevent.buffer.file cimport evbuffer_load_nolock_
from cyevent.buffer.pybytes cimport chain_view, frozen_or_memory, get_bytes
from cyevent.buffer.reserve cimport evbuffer_pullup
from cyevent.buffer.search cimport *
from cyevent.buffer.types cimport *
from cyevent.core.arguments cimport integer, os_error
from cyevent.core.sys cimport ENOMEM, set_errno


cdef object not_found(str what):
    """None, unless the search ended at a part of a file that cannot be had."""
    if errno:
        raise os_error(what)
    return None


cdef int position(evbuffer *buf, object offset, str name, evbuffer_ptr *pos) except -1:
    evbuffer_ptr_set(buf, pos, integer(offset, name, 0, buf.total_len), EVBUFFER_PTR_SET)
    return 0


cdef Py_ssize_t find_bytes(evbuffer *buf, object what, evbuffer_ptr *start, evbuffer_ptr *end) except -2:
    cdef evbuffer_ptr found = start[0]
    cdef Py_buffer view
    cdef int code = 0
    get_bytes(what, &view, "what")
    if view.len == 0:
        found.pos = start.pos if end == NULL or start.pos <= end.pos else -1
    else:
        set_errno(0)
        found = evbuffer_search_range(buf, <const char *>view.buf, view.len, start, end)
        code = errno
    PyBuffer_Release(&view)
    if found.pos < 0 and code:
        set_errno(code)
        raise os_error("search")
    return found.pos


cdef object find_line(evbuffer *buf, evbuffer_ptr *start, evbuffer_eol_style style):
    cdef evbuffer_ptr it
    cdef size_t eol_len
    set_errno(0)
    it = evbuffer_search_eol(buf, start, &eol_len, style)
    return not_found("search_eol") if it.pos < 0 else (it.pos, eol_len)


cdef object take_line(evbuffer *buf, evbuffer_eol_style style):
    cdef evbuffer_ptr it
    cdef size_t eol_len
    cdef bytes line
    if buf.freeze_start:
        frozen_or_memory(buf, True)
    set_errno(0)
    it = evbuffer_search_eol(buf, NULL, &eol_len, style)
    if it.pos < 0:
        return not_found("readline")
    line = PyBytes_FromStringAndSize(NULL, it.pos)
    if evbuffer_copy_nolock_(buf.first, 0, PyBytes_AS_STRING(line), it.pos) < 0:
        raise os_error("readline")
    evbuffer_discard_nolock_(buf, it.pos + eol_len)
    evbuffer_invoke_callbacks_(buf)
    return line


cdef inline size_t reach(evbuffer *buf, Py_ssize_t n, evbuffer_ptr *start) noexcept:
    cdef size_t left = buf.total_len - <size_t>start.pos
    return <size_t>n if 0 <= n and <size_t>n < left else left


cdef bytes copy_bytes(evbuffer *buf, Py_ssize_t n, evbuffer_ptr *start):
    cdef size_t count = reach(buf, n, start)
    cdef bytes result = PyBytes_FromStringAndSize(NULL, count)
    if evbuffer_copyout_from(buf, start, PyBytes_AS_STRING(result), count) < 0:
        raise os_error("copyout")
    return result


cdef list view_bytes(evbuffer *buf, Py_ssize_t n, evbuffer_ptr *start):
    cdef evbuffer_chain *chain = <evbuffer_chain *>start.internal_.chain
    cdef size_t skip = start.internal_.pos_in_chain
    cdef size_t left = reach(buf, n, start)
    cdef size_t step
    cdef list views = []
    if evbuffer_load_nolock_(chain, skip, left) < 0:
        raise os_error("peek")
    while left:
        step = chain.off - skip
        if step > left:
            step = left
        views.append(chain_view(chain, chain_data(chain) + skip, step))
        left -= step
        skip = 0
        chain = chain.next
    return views


cdef object pull_up(evbuffer *buf, Py_ssize_t n):
    cdef unsigned char *data
    if n == 0:
        return memoryview(b"")
    data = evbuffer_pullup(buf, n)
    if data == NULL:
        if errno == ENOMEM:
            raise MemoryError()
        raise os_error("pullup")
    return chain_view(buf.first, data, n)


cdef Py_ssize_t count_chains(evbuffer *buf) noexcept:
    cdef evbuffer_chain *chain = buf.first
    cdef Py_ssize_t n = 0
    while chain != NULL and chain.off:
        n += 1
        chain = chain.next
    return n
