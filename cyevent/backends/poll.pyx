"""poll(2).

Facts about poll:

- Each call hands the kernel every descriptor, and the kernel looks at each: some 70 ns apiece, whether one
  is ready or all are. That, and not our part, is what it costs.
- When it may wait it also queues itself on every descriptor before the first ready one, and takes itself
  off again afterwards.
- POLLERR, POLLHUP and POLLNVAL are always reported. POLLNVAL is a descriptor closed behind our back.

What follows: when little is ready among many, the next turn first asks about a small window of descriptors
that starts with the one that was ready last, without waiting, because traffic is local: the same
connection, or the ones accepted with it. Only when the window is quiet, or every sixteenth turn, is
everything asked. The price is one short call when the guess is wrong, and that a turn may report a part of
what is ready, as epoll does with its bounded array; never with several priorities, where a part could be
the wrong part. Whatever is wrong with a descriptor is told to its readers and writers, whose next system
call gives the reason.

While the call waits without the base's lock, another thread may change the set; so with a lock the kernel
works on a copy, made again only after a change.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy
from cyevent.backends.pollbits cimport from_poll, to_poll, CYEVENT_HAVE_POLLRDHUP
from cyevent.backends.registry cimport backend_register
from cyevent.backends.room cimport make_room
from cyevent.backends.vtable cimport backend_host, event_op
from cyevent.core.clock cimport NS_PER_MS
from cyevent.core.log cimport event_warn_
from cyevent.core.memory cimport mm_calloc, mm_free, mm_realloc
from cyevent.core.sys cimport *
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport *

cdef extern from *:
    """
    #include <poll.h>
    """
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, unsigned long n, int timeout) noexcept nogil

cdef enum:
    WINDOW = 32
    TURNS_BETWEEN_FULL = 16
    MAX_WAIT_MS = 35 * 60 * 1000

cdef struct poll_state:
    pollfd *fds                # what is wanted; a descriptor's fdinfo is 1 + its index
    pollfd *copy               # what the kernel works on when there is a lock
    int n
    int allocated
    int copy_allocated
    bint changed               # fds differs from copy
    int last                   # index of the descriptor that was ready last
    int sparse_turns           # turns since everything was asked; 0 when much was ready

cdef event_op poll_ops


cdef void *poll_init(backend_host *host) noexcept nogil:
    return mm_calloc(1, sizeof(poll_state))


cdef int poll_add(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
                  uint64_t *fdinfo) noexcept nogil:
    cdef poll_state *state = <poll_state *>backend
    if fdinfo[0] == 0:
        if not make_room(<void **>&state.fds, &state.allocated, state.n + 1, sizeof(pollfd)):
            set_errno(ENOMEM)
            return -1
        state.fds[state.n].fd = fd
        state.fds[state.n].revents = 0
        state.n += 1
        fdinfo[0] = <uint64_t>state.n
    state.fds[fdinfo[0] - 1].events = to_poll(old | events)
    state.changed = True
    return 0


cdef int poll_delete(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
                     uint64_t *fdinfo) noexcept nogil:
    cdef poll_state *state = <poll_state *>backend
    cdef int index = <int>fdinfo[0] - 1
    cdef short wanted = to_poll(old & ~events)
    if index < 0:
        return 0
    state.changed = True
    if wanted:
        state.fds[index].events = wanted
        return 0
    fdinfo[0] = 0
    state.n -= 1
    if index != state.n:
        state.fds[index] = state.fds[state.n]
        host.moved(host, state.fds[index].fd, <uint64_t>index + 1)
    return 0


cdef inline void report(backend_host *host, const pollfd *entry) noexcept nogil:
    cdef short what = from_poll(entry.revents)
    if what:
        host.ready(host, entry.fd, what)


cdef int ask(backend_host *host, poll_state *state, pollfd *fds, int first, int n,
             int timeout) noexcept nogil:
    """Polls n descriptors from index first on and reports those that are ready; how many, or -1."""
    cdef pollfd *entry
    cdef pollfd *end = fds + first + n
    cdef int left, ready
    EVLOCK_UNLOCK(host.lock)
    ready = poll(fds + first, n, timeout)
    EVLOCK_LOCK(host.lock)
    left = ready
    entry = fds + first
    while left > 0 and entry < end:
        if entry.revents:
            left -= 1
            state.last = <int>(entry - fds)
            report(host, entry)
        entry += 1
    return ready


cdef int poll_dispatch(backend_host *host, void *backend, int64_t timeout) noexcept nogil:
    cdef poll_state *state = <poll_state *>backend
    cdef pollfd *fds = state.fds
    cdef int64_t ms
    cdef int n = state.n
    cdef int ready
    if host.lock != NULL:
        if state.changed:
            if state.copy_allocated < state.allocated:
                fds = <pollfd *>mm_realloc(state.copy, state.allocated * sizeof(pollfd))
                if fds == NULL:
                    event_warn_(b"poll: no memory for a copy of the set")
                    set_errno(ENOMEM)
                    return -1
                state.copy = fds
                state.copy_allocated = state.allocated
            memcpy(state.copy, state.fds, n * sizeof(pollfd))
            state.changed = False
        fds = state.copy
    if state.sparse_turns and state.sparse_turns < TURNS_BETWEEN_FULL and state.last + WINDOW <= n \
            and host.npriorities == 1:
        ready = ask(host, state, fds, state.last, WINDOW, 0)
        if ready > 0:
            state.sparse_turns += 1
            return 0
    if timeout < 0:
        ms = -1
    else:
        ms = (timeout + NS_PER_MS - 1) // NS_PER_MS
        if ms > MAX_WAIT_MS:
            ms = MAX_WAIT_MS
    if host.lock != NULL and state.changed:
        # The window's call left the lock to others, who changed the set: ask with the new one.
        ms = 0
    ready = ask(host, state, fds, 0, n, <int>ms)
    if ready < 0:
        if errno == EINTR:
            host.interrupted = True
            return 0
        event_warn_(b"poll")
        return -1
    state.sparse_turns = 1 if ready and ready * 16 < n else 0
    return 0


cdef void poll_dealloc(backend_host *host, void *backend) noexcept nogil:
    cdef poll_state *state = <poll_state *>backend
    mm_free(state.fds)
    mm_free(state.copy)
    mm_free(state)


poll_ops.name = b"poll"
poll_ops.init = poll_init
poll_ops.add = poll_add
poll_ops.delete = poll_delete
poll_ops.dispatch = poll_dispatch
poll_ops.dealloc = poll_dealloc
poll_ops.need_reinit = False
poll_ops.features = EV_FEATURE_FDS | (EV_FEATURE_EARLY_CLOSE if CYEVENT_HAVE_POLLRDHUP else 0)
poll_ops.fdinfo_len = sizeof(uint64_t)
backend_register(&poll_ops)
