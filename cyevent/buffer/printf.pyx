"""Formatted text, written into the buffer's space without a copy in between."""

from cyevent.buffer.reserve cimport evbuffer_commit_space, evbuffer_reserve_space
from cyevent.buffer.types cimport *
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK

cdef extern from "<stdarg.h>" nogil:
    void va_start(va_list ap, const char *last)
    void va_copy(va_list to, va_list ap)
    void va_end(va_list ap)

cdef extern from "<stdio.h>" nogil:
    int vsnprintf(char *text, size_t size, const char *fmt, va_list ap)

cdef enum:
    # Space for the first try; most texts fit.
    FIRST_TRY = 64


cdef int evbuffer_add_vprintf(evbuffer *buf, const char *fmt, va_list ap) noexcept nogil:
    cdef evbuffer_iovec vec
    cdef va_list again
    cdef ev_ssize_t size = FIRST_TRY
    cdef int n
    cdef int result = -1
    EVLOCK_LOCK(buf.lock)
    # At the second try the text fits, unless the arguments change meanwhile.
    while evbuffer_reserve_space(buf, size, &vec, 1) == 1:
        va_copy(again, ap)
        n = vsnprintf(<char *>vec.iov_base, vec.iov_len, fmt, again)
        va_end(again)
        if n < 0:
            break
        if <size_t>n < vec.iov_len:
            vec.iov_len = <size_t>n
            evbuffer_commit_space(buf, &vec, 1)
            result = n
            break
        size = <ev_ssize_t>n + 1
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef int evbuffer_add_printf(evbuffer *buf, const char *fmt, ...) noexcept nogil:
    cdef va_list ap
    cdef int result
    va_start(ap, fmt)
    result = evbuffer_add_vprintf(buf, fmt, ap)
    va_end(ap)
    return result
