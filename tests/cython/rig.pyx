"""The nogil tests' common ground."""

from libc.time cimport time_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, nanosleep, timespec
from posix.unistd cimport close, write

from cyevent cimport (
    event_base, event_base_free, event_base_new_with_config, event_config,
    event_config_avoid_method, event_config_free, event_config_new, event_config_set_flag,
    event_config_set_max_dispatch_interval, event_get_supported_methods, timeval,
)

cdef extern from "<sys/socket.h>" nogil:
    int AF_UNIX, SOCK_STREAM, SOCK_NONBLOCK
    int socketpair(int domain, int kind, int protocol, int *fds)


cdef event_base *make_base(str method, int flags, int max_callbacks, int min_priority) except NULL:
    cdef event_config *config = event_config_new()
    cdef const char **names = event_get_supported_methods()
    cdef event_base *base
    assert config != NULL
    try:
        while names[0] != NULL:
            if names[0] != method.encode():
                assert event_config_avoid_method(config, names[0]) == 0
            names += 1
        assert event_config_set_flag(config, flags) == 0
        assert event_config_set_max_dispatch_interval(
            config, NULL, max_callbacks, min_priority) == 0
        base = event_base_new_with_config(config)
    finally:
        event_config_free(config)
    assert base != NULL, method
    return base


cdef class Rig:

    def __cinit__(self, str method, int flags=0, int max_callbacks=-1, int min_priority=0):
        self.pair[0] = self.pair[1] = -1
        assert socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, self.pair) == 0
        self.base = make_base(method, flags, max_callbacks, min_priority)

    def __dealloc__(self):
        self.free()
        self.close_end(0)
        self.close_end(1)

    cdef void free(self) noexcept:
        if self.base != NULL:
            event_base_free(self.base)
            self.base = NULL

    cdef void close_end(self, int end) noexcept:
        if self.pair[end] >= 0:
            close(self.pair[end])
            self.pair[end] = -1

    cdef int send(self, int end, bytes data) except -1:
        assert write(self.pair[end], <char *>data, len(data)) == len(data)
        return 0


cdef timeval milliseconds(long ms) noexcept nogil:
    cdef timeval tv
    tv.tv_sec = <time_t>(ms // 1000)
    tv.tv_usec = ms % 1000 * 1000
    return tv


cdef double now() noexcept nogil:
    cdef timespec ts
    clock_gettime(CLOCK_MONOTONIC, &ts)
    return ts.tv_sec + ts.tv_nsec * 1e-9


cdef void sleep_ms(long ms) noexcept nogil:
    cdef timespec ts
    ts.tv_sec = <time_t>(ms // 1000)
    ts.tv_nsec = ms % 1000 * 1000000
    while nanosleep(&ts, &ts) != 0:
        pass


cdef void count(int fd, short what, void *arg) noexcept nogil:
    (<int *>arg)[0] += 1


cdef void note(int fd, short what, void *arg) noexcept nogil:
    (<int *>arg)[0] |= what


cdef void nothing(int fd, short what, void *arg) noexcept nogil:
    pass
