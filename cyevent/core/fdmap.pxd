# Which events wait for which descriptor, and which for which signal.

from libc.stdint cimport uint64_t
from cyevent.core.sys cimport evutil_socket_t
from cyevent.core.types cimport event, event_base
from cyevent.backends.vtable cimport backend_host

# 1: the backend (or the signal handler) was told of a change; 0: nothing changed for it; -1 with errno.
cdef int evmap_io_add_(event_base *base, event *ev) noexcept nogil
cdef int evmap_io_del_(event_base *base, event *ev) noexcept nogil
cdef int evmap_signal_add_(event_base *base, event *ev) noexcept nogil
cdef int evmap_signal_del_(event_base *base, event *ev) noexcept nogil

# Readiness arrives here from the backends.
cdef void evmap_io_active_(backend_host *host, evutil_socket_t fd, short what) noexcept nogil
cdef void evmap_moved_(backend_host *host, evutil_socket_t fd, uint64_t fdinfo) noexcept nogil
cdef void evmap_signaled_(backend_host *host, int signum, int ncalls) noexcept nogil
cdef void evmap_signal_active_(event_base *base, int signum, int ncalls) noexcept nogil

# After a fork: tells the new backend of everything that is wanted. 0 or -1.
cdef int evmap_reinit_io_(event_base *base) noexcept nogil
cdef void evmap_clear_(event_base *base) noexcept nogil
