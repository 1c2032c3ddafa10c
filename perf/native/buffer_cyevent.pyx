"""cyevent's evbuffer behind buffer_api."""

from libc.stdint cimport int64_t, uintptr_t
from cyevent cimport *
from cyevent cimport evbuffer

cdef extern from "buffer_api.h":
    struct buffer_api:
        void *(*create)() noexcept nogil
        void (*destroy)(void *buf) noexcept nogil
        int (*add)(void *buf, const void *data, size_t n) noexcept nogil
        int (*drain)(void *buf, size_t n) noexcept nogil
        int (*add_buffer)(void *to, void *source) noexcept nogil
        int (*remove_buffer)(void *source, void *to, size_t n) noexcept nogil
        size_t (*length)(const void *buf) noexcept nogil
        char *(*readln)(void *buf, size_t *n) noexcept nogil
        int64_t (*search)(void *buf, const char *what, size_t n) noexcept nogil
        int (*add_file)(void *buf, int fd, int64_t offset, int64_t n) noexcept nogil
        int (*write)(void *buf, int fd) noexcept nogil


cdef void *create() noexcept nogil:
    return evbuffer_new()


cdef void destroy(void *buf) noexcept nogil:
    evbuffer_free(<evbuffer *>buf)


cdef int add(void *buf, const void *data, size_t n) noexcept nogil:
    return evbuffer_add(<evbuffer *>buf, data, n)


cdef int drain(void *buf, size_t n) noexcept nogil:
    return evbuffer_drain(<evbuffer *>buf, n)


cdef int add_buffer(void *to, void *source) noexcept nogil:
    return evbuffer_add_buffer(<evbuffer *>to, <evbuffer *>source)


cdef int remove_buffer(void *source, void *to, size_t n) noexcept nogil:
    return evbuffer_remove_buffer(<evbuffer *>source, <evbuffer *>to, n)


cdef size_t length(const void *buf) noexcept nogil:
    return evbuffer_get_length(<evbuffer *>buf)


cdef char *read_line(void *buf, size_t *n) noexcept nogil:
    return evbuffer_readln(<evbuffer *>buf, n, EVBUFFER_EOL_CRLF)


cdef int64_t search(void *buf, const char *what, size_t n) noexcept nogil:
    return evbuffer_search(<evbuffer *>buf, what, n, NULL).pos


cdef int add_file(void *buf, int fd, int64_t offset, int64_t n) noexcept nogil:
    return evbuffer_add_file(<evbuffer *>buf, fd, offset, n)


cdef int write_out(void *buf, int fd) noexcept nogil:
    return evbuffer_write(<evbuffer *>buf, fd)


cdef buffer_api api
api.create = create
api.destroy = destroy
api.add = add
api.drain = drain
api.add_buffer = add_buffer
api.remove_buffer = remove_buffer
api.length = length
api.readln = read_line
api.search = search
api.add_file = add_file
api.write = write_out


def address():
    """Where the functions are."""
    return <uintptr_t>&api
