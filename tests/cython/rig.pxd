# What every nogil test starts from: a base on one method, two connected sockets, a few callbacks.

from cyevent cimport event_base, timeval

cdef class Rig:
    cdef event_base *base      # freed with the rig, unless free() came first
    cdef int pair[2]           # non-blocking sockets; closed with the rig
    cdef void free(self) noexcept
    cdef void close_end(self, int end) noexcept
    cdef int send(self, int end, bytes data) except -1

# A base on one method; flags are EVENT_BASE_FLAG_*.
cdef event_base *make_base(str method, int flags, int max_callbacks, int min_priority) except NULL
cdef timeval milliseconds(long ms) noexcept nogil
cdef double now() noexcept nogil
cdef void sleep_ms(long ms) noexcept nogil

# Callbacks that note into their argument: a counter, the events told, or nothing.
cdef void count(int fd, short what, void *arg) noexcept nogil
cdef void note(int fd, short what, void *arg) noexcept nogil
cdef void nothing(int fd, short what, void *arg) noexcept nogil
