# What a backend is: one kernel mechanism that tells which descriptors are ready.
#
# The reactor calls add/delete when the set of events wanted on a descriptor changes, and dispatch once a
# turn. The backend calls host.ready() for each ready descriptor, and nothing else of ours. It knows
# neither events nor timers.

from libc.stdint cimport int64_t, uint64_t
from cyevent.core.sys cimport evutil_socket_t

# Tells that `what` (EV_READ | EV_WRITE | EV_CLOSED) has happened on fd. Called with the lock held.
ctypedef void (*backend_ready_fn)(backend_host *host, evutil_socket_t fd, short what) noexcept nogil
# Gives fd's fdinfo word a new value: the backend keeps its registrations in an array and moved one.
ctypedef void (*backend_moved_fn)(backend_host *host, evutil_socket_t fd,
                                  uint64_t fdinfo) noexcept nogil
# Tells that a signal of signal_add()'s has come ncalls times. Called with the lock held.
ctypedef void (*backend_signaled_fn)(backend_host *host, int signum, int ncalls) noexcept nogil
# Tells that notify() has been heard: the next one must be sent again. Called with the lock held.
ctypedef void (*backend_notified_fn)(backend_host *host) noexcept nogil

# The part of a base that its backend may see.
cdef struct backend_host:
    backend_ready_fn ready
    backend_moved_fn moved
    backend_signaled_fn signaled
    backend_notified_fn notified
    void *lock                 # released while the backend waits; NULL where the base has none
    int flags                  # EVENT_BASE_FLAG_*
    const char *name           # the vtable's name, unless init gives a variant's
    bint interrupted           # set by dispatch when a signal cut the wait short (EINTR)
    int npriorities            # with one, a turn may report a part of what is ready

cdef struct event_op:
    const char *name
    # Returns the backend's state, or NULL when the mechanism is not to be had here.
    void *(*init)(backend_host *host) noexcept nogil
    # `old` were the events wanted so far, `events` are those newly wanted (EV_ET may be among them).
    # fdinfo is a word that the reactor keeps per descriptor for the backend, 0 at first.
    int (*add)(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
               uint64_t *fdinfo) noexcept nogil
    # `events` are no longer wanted; `old` includes them.
    int (*delete)(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
                  uint64_t *fdinfo) noexcept nogil
    # Waits at most timeout ns (-1: without end, 0: not at all). Called with the lock held. 0 or -1.
    int (*dispatch)(backend_host *host, void *backend, int64_t timeout) noexcept nogil
    void (*dealloc)(backend_host *host, void *backend) noexcept nogil
    bint need_reinit           # the kernel's object is shared with a forked child
    int features               # EV_FEATURE_*
    size_t fdinfo_len          # bytes of fdinfo in use, at most 8

    # What a mechanism may have beyond descriptors; NULL where it does not, and then the base uses descriptors.
    # A wake-up of its own: after notify_init, notify ends the wait of a dispatch, or else the next one's. It is
    # called by any thread, and must touch nothing that changes between init and dealloc. 0 or -1.
    int (*notify_init)(backend_host *host, void *backend) noexcept nogil
    int (*notify)(void *backend) noexcept nogil
    # Signals of its own, told through host.signaled while the process's own handling of the signal is one
    # that does nothing: the base sees to that. 0 or -1 with errno.
    const char *signal_name
    int (*signal_add)(backend_host *host, void *backend, int signum) noexcept nogil
    int (*signal_delete)(backend_host *host, void *backend, int signum) noexcept nogil
    # A descriptor that is readable while a dispatch without waiting would report something, so that others can
    # wait for it beside their own; a dispatch has to follow each time. NULL where there is none.
    int (*descriptor)(void *backend) noexcept nogil
