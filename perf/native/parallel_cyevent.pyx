"""Isolated bases that do work of their own, each in a thread, without the interpreter."""

from libc.stdint cimport int64_t
from cyevent cimport *
from cyevent cimport event, event_base, event_config

cdef extern from "timing.h" nogil:
    int64_t timing_clock()

cdef extern from *:
    """
    #include <fcntl.h>
    #include <sys/socket.h>
    #include <unistd.h>
    """
    int AF_UNIX, SOCK_STREAM, SOCK_NONBLOCK
    int socketpair(int domain, int kind, int protocol, int *fds) nogil
    int close(int fd) nogil
    ssize_t read(int fd, void *data, size_t n) nogil
    ssize_t write(int fd, const void *data, size_t n) nogil

cdef enum:
    PAIRS = 16

# Pair i passes a byte on to pair i + 1; every second pair has one at the start.
cdef struct ring:
    event_base *base
    event *events[PAIRS]
    int fds[2 * PAIRS]
    long left
    int work                   # bytes that a callback sums up besides
    unsigned long total
    unsigned char bytes[4096]


cdef void readable(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef ring *r = <ring *>arg
    cdef char byte
    cdef int i
    cdef event *ev = event_base_get_running_event(r.base)
    read(fd, &byte, 1)
    for i in range(r.work):
        r.total = r.total * 31 + r.bytes[i & 4095]
    r.left -= 1
    if r.left <= 0:
        event_base_loopbreak(r.base)
        return
    i = 0
    while r.events[i] != ev:
        i += 1
    write(r.fds[2 * ((i + 1) % PAIRS) + 1], &byte, 1)


cdef class Loop:
    """A base without a lock. work: how many bytes each callback sums up, beside passing on its byte."""
    cdef ring r

    def __cinit__(self, int work):
        cdef event_config *config = event_config_new()
        cdef int i
        for i in range(2 * PAIRS):
            self.r.fds[i] = -1
        self.r.work = work
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV)
        self.r.base = event_base_new_with_config(config)
        event_config_free(config)
        if self.r.base == NULL:
            raise MemoryError()
        for i in range(PAIRS):
            if socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, &self.r.fds[2 * i]) < 0:
                raise OSError("socketpair")
            self.r.events[i] = event_new(self.r.base, self.r.fds[2 * i], EV_READ | EV_PERSIST, readable,
                                         &self.r)
            if self.r.events[i] == NULL or event_add(self.r.events[i], NULL) < 0:
                raise MemoryError()

    def __dealloc__(self):
        cdef int i
        for i in range(PAIRS):
            if self.r.events[i] != NULL:
                event_free(self.r.events[i])
        if self.r.base != NULL:
            event_base_free(self.r.base)
        for i in range(2 * PAIRS):
            if self.r.fds[i] >= 0:
                close(self.r.fds[i])

    def run(self, long count):
        """Runs `count` callbacks without the GIL; returns nanoseconds."""
        cdef int64_t took
        cdef char byte = 120
        cdef int i
        self.r.left = count
        with nogil:
            took = timing_clock()
            for i in range(0, PAIRS, 2):
                write(self.r.fds[2 * i + 1], &byte, 1)
            event_base_dispatch(self.r.base)
            took = timing_clock() - took
            # What is still on its way does not belong to the next run.
            for i in range(PAIRS):
                while read(self.r.fds[2 * i], &byte, 1) > 0:
                    pass
        return took
