"""The chain with cyevent's C callbacks: what a Cython program that cimports cyevent would write."""

from libc.errno cimport errno
from libc.stdint cimport int64_t, intptr_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport strcmp
from cyevent cimport *
from cyevent cimport event, event_base, event_config

cdef extern from "ring.h" nogil:
    struct ring:
        const int *fds
        int pipes
        int active
        int stride
        int writes
        long read
        long written
        int failures

    struct ring_times:
        int64_t setup
        int64_t loop
        int64_t removal
        int64_t cpu

    int64_t ring_clock()
    int64_t ring_cpu()
    void ring_start(ring *r)
    void ring_step(ring *r, int fd, int index)
    long ring_turn_limit(const ring *r)

cdef ring the_ring


cdef void readable(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    ring_step(&the_ring, fd, <int><intptr_t>arg)


cdef event_base *open_base(const char *method, bint locked) noexcept nogil:
    cdef event_base *base
    cdef const char **names = event_get_supported_methods()
    cdef event_config *config = event_config_new()
    if config == NULL:
        return NULL
    while names[0] != NULL:
        if strcmp(names[0], method):
            event_config_avoid_method(config, names[0])
        names += 1
    event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV)
    if not locked:
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK)
    base = event_base_new_with_config(config)
    event_config_free(config)
    return base


cdef int run_round(event_base *base, event *events, ring_times *times) noexcept nogil:
    cdef int i, failed = 0
    cdef long turns = 0
    cdef long limit = ring_turn_limit(&the_ring)
    cdef int expected = the_ring.writes + the_ring.active
    cdef int64_t cpu
    cdef int64_t start = ring_clock()
    for i in range(the_ring.pipes):
        event_assign(&events[i], base, the_ring.fds[2 * i], EV_READ | EV_PERSIST, readable,
                     <void *><intptr_t>i)
        failed |= event_add(&events[i], NULL)
    event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK)
    times.setup = ring_clock() - start

    ring_start(&the_ring)
    cpu = ring_cpu()
    start = ring_clock()
    while True:
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK)
        if the_ring.read == the_ring.written:
            break
        turns += 1
        if turns >= limit:
            break
    times.loop = ring_clock() - start
    times.cpu = ring_cpu() - cpu

    start = ring_clock()
    for i in range(the_ring.pipes):
        failed |= event_del(&events[i])
    times.removal = ring_clock() - start
    return -1 if failed or the_ring.failures or the_ring.read != expected else 0


cdef class Peer:
    """One base and an event for each pair. `fds` is the address of an array of ints."""
    cdef event_base *base
    cdef event *events
    cdef int pipes

    def __init__(self, str method, bint locked, int pipes):
        self.pipes = pipes
        self.base = open_base(method.encode(), locked)
        if self.base == NULL:
            raise OSError(errno, f"cyevent makes no base for {method}")
        self.events = <event *>calloc(pipes, sizeof(event))
        if self.events == NULL:
            raise MemoryError()

    def __dealloc__(self):
        if self.base != NULL:
            event_base_free(self.base)
        free(self.events)

    def round(self, uintptr_t fds, int active, int stride, int writes):
        """One round's (setup, loop, removal, cpu) in nanoseconds."""
        global the_ring
        cdef ring_times times
        cdef int result
        the_ring = ring(<const int *>fds, self.pipes, active, stride, writes, 0, 0, 0)
        with nogil:
            result = run_round(self.base, self.events, &times)
        if result < 0:
            raise RuntimeError("cyevent: a byte was not read or not written")
        return times.setup, times.loop, times.removal, times.cpu
