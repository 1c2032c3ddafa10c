"""Many timers in cyevent's C face. What is done to all of them returns nanoseconds."""

from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free
from cyevent cimport *
from cyevent cimport event, event_base, event_config, timeval

cdef extern from "timing.h" nogil:
    int64_t timing_clock()
    timeval timing_timeval(int64_t microseconds)


cdef void due(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    (<long *>arg)[0] += 1


cdef int64_t add_all(event **timers, const int *order, const int64_t *microseconds,
                     int n) noexcept nogil:
    cdef int i, failed = 0
    cdef timeval tv
    cdef int64_t start = timing_clock()
    for i in range(n):
        tv = timing_timeval(microseconds[i])
        failed |= event_add(timers[order[i] if order != NULL else i], &tv)
    return -1 if failed else timing_clock() - start


cdef int64_t delete_all(event **timers, const int *order, int n) noexcept nogil:
    cdef int i, failed = 0
    cdef int64_t start = timing_clock()
    for i in range(n):
        failed |= event_del(timers[order[i] if order != NULL else i])
    return -1 if failed else timing_clock() - start


cdef int64_t checked(int64_t result) except -1:
    if result < 0:
        raise RuntimeError("cyevent: not all timers did what they should")
    return result


def struct_size():
    """Bytes of a struct event."""
    return event_get_struct_event_size()


cdef class Peer:
    """n timers made by event_new(). `order` and `microseconds` are addresses of arrays of n int and
    int64_t; an order of 0 is that in which they were made."""
    cdef event_base *base
    cdef event **timers
    cdef int n
    cdef long fired

    def __init__(self, int n):
        cdef event_config *config = event_config_new()
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV)
        self.base = event_base_new_with_config(config)
        event_config_free(config)
        self.timers = <event **>calloc(n, sizeof(event *))
        if self.base == NULL or self.timers == NULL:
            raise MemoryError()
        while self.n < n:
            self.timers[self.n] = event_new(self.base, -1, 0, due, &self.fired)
            if self.timers[self.n] == NULL:
                raise MemoryError()
            self.n += 1

    def __dealloc__(self):
        cdef int i
        for i in range(self.n):
            event_free(self.timers[i])
        if self.base != NULL:
            event_base_free(self.base)
        free(self.timers)

    def add(self, uintptr_t order, uintptr_t microseconds, int n):
        """Adds the timers, or moves those that are added."""
        return checked(add_all(self.timers, <const int *>order, <const int64_t *>microseconds, n))

    def delete(self, uintptr_t order, int n):
        """Deletes the timers."""
        return checked(delete_all(self.timers, <const int *>order, n))

    def expire(self, int n):
        """Runs what is due, which must be n timers."""
        cdef int64_t start, took
        self.fired = 0
        with nogil:
            start = timing_clock()
            event_base_loop(self.base, EVLOOP_NONBLOCK)
            took = timing_clock() - start
        return checked(took if self.fired == n else -1)
