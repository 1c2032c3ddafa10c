"""/dev/poll, of Solaris and illumos: poll(7D).

Facts about /dev/poll:

- An open /dev/poll is a set of descriptors. Writing an array of pollfd changes it: what is written for a
  descriptor that is in the set is added to its events, and only POLLREMOVE takes it out, with all of them.
- A POLLREMOVE and what follows it may be written together; the entries are taken in their order.
- The file has a position that counts what was written, although nothing is stored: after 2 GiB some versions
  refuse a write() that goes on there.
- A write that fails at one entry does not say which, and whether the others were taken.
- The ioctl DP_POLL waits, in milliseconds, and fills an array with as many ready descriptors as have room.
- A descriptor that was closed stays in the set and is told with POLLNVAL each time. POLLERR and POLLHUP are
  always told.
- Only the process that opened the file may write to it.

What follows: changes are collected and written before the wait, an interest that goes as POLLREMOVE with the
rest behind it; every write is at position 0; if it fails each entry is written alone, so that a bad one costs
the others nothing. Whatever is wrong with a descriptor is told to its readers and writers, whose next system
call gives the reason. Time-outs are rounded up. A forked child opens a set of its own.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint64_t
from cyevent.backends.changes cimport (
    change, change_list, changes_done, free_changes, is_change, note_change,
)
from cyevent.backends.pollbits cimport from_poll, to_poll, CYEVENT_HAVE_POLLRDHUP
from cyevent.backends.registry cimport backend_register
from cyevent.backends.room cimport make_room
from cyevent.backends.vtable cimport backend_host, event_op
from cyevent.core.clock cimport NS_PER_MS
from cyevent.core.log cimport event_warn_, event_warn_fd_
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.sys cimport *
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport *

cdef extern from *:
    """
    #include <poll.h>
    #include <sys/ioctl.h>
    #include <sys/devpoll.h>
    #define CYEVENT_DEVPOLL "devpoll" CYEVENT_METHOD_SUFFIX
    """
    const char *CYEVENT_DEVPOLL
    short POLLREMOVE
    unsigned long DP_POLL
    int O_RDWR
    struct pollfd:
        int fd
        short events
        short revents
    struct dvpoll:
        pollfd *dp_fds
        unsigned long dp_nfds
        int dp_timeout
    int open(const char *path, int flags) noexcept nogil
    int ioctl(int fd, unsigned long request, dvpoll *argument) noexcept nogil
    ssize_t pwrite(int fd, const void *data, size_t n, long offset) noexcept nogil

cdef enum:
    FIRST_NEVENTS = 64
    MAX_NEVENTS = 4096
    CHANGES_PER_DESCRIPTOR = 2     # removed, and added again with less
    MAX_WAIT_MS = 35 * 60 * 1000

cdef struct devpoll_state:
    int dpfd
    change_list changes
    pollfd *events                 # the changes on the way in, what is ready on the way out
    int nevents

cdef event_op devpoll_ops


cdef void *devpoll_init(backend_host *host) noexcept nogil:
    cdef devpoll_state *state
    cdef int dpfd = open(b"/dev/poll", O_RDWR)
    if dpfd < 0:
        event_warn_(b"open: /dev/poll")
        return NULL
    fcntl(dpfd, F_SETFD, FD_CLOEXEC)
    state = <devpoll_state *>mm_calloc(1, sizeof(devpoll_state))
    if state == NULL:
        close(dpfd)
        return NULL
    state.dpfd = dpfd
    state.events = <pollfd *>mm_calloc(FIRST_NEVENTS, sizeof(pollfd))
    state.nevents = FIRST_NEVENTS
    if state.events == NULL:
        devpoll_dealloc(host, state)
        return NULL
    return state


cdef int devpoll_add(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
                     uint64_t *fdinfo) noexcept nogil:
    return note_change(&(<devpoll_state *>backend).changes, fd, old, old | events, True, fdinfo)


cdef inline int put(pollfd *out, int fd, short events) noexcept nogil:
    out.fd = fd
    out.events = events
    out.revents = 0
    return 1


cdef inline int put_changes_of(pollfd *out, const change *entry) noexcept nogil:
    cdef int n = 0
    if entry.known & ~entry.wanted:
        n += put(out, entry.fd, POLLREMOVE)
    if to_poll(entry.wanted):
        n += put(out + n, entry.fd, to_poll(entry.wanted))
    return n


cdef void write_changes(devpoll_state *state, const pollfd *changes, int n) noexcept nogil:
    cdef int i
    if n == 0 or pwrite(state.dpfd, changes, n * sizeof(pollfd), 0) >= 0:
        return
    for i in range(n):
        # Closed before its event was deleted: nothing is left to remove.
        if pwrite(state.dpfd, &changes[i], sizeof(pollfd), 0) < 0 and not (changes[i].events & POLLREMOVE):
            event_warn_fd_(b"write: /dev/poll", changes[i].fd)


cdef int devpoll_delete(backend_host *host, void *backend, evutil_socket_t fd, short old,
                        short events, uint64_t *fdinfo) noexcept nogil:
    cdef devpoll_state *state = <devpoll_state *>backend
    cdef change now
    cdef pollfd changes[CHANGES_PER_DESCRIPTOR]
    now.fd = fd
    now.known = old
    now.wanted = old & ~events
    now.added = False
    if note_change(&state.changes, fd, now.known, now.wanted, False, fdinfo) < 0:
        # No memory to note it: done at once, or else the kernel would go on to tell it.
        write_changes(state, changes, put_changes_of(changes, &now))
    return 0


cdef int apply_changes(devpoll_state *state) noexcept nogil:
    cdef const change *entry
    cdef int i, n = 0
    if not make_room(<void **>&state.events, &state.nevents, state.changes.n * CHANGES_PER_DESCRIPTOR,
                     sizeof(pollfd)):
        set_errno(ENOMEM)
        return -1
    for i in range(state.changes.n):
        entry = &state.changes.entries[i]
        if is_change(entry):
            n += put_changes_of(&state.events[n], entry)
    changes_done(&state.changes)
    write_changes(state, state.events, n)
    return 0


cdef inline void report(backend_host *host, const pollfd *entry) noexcept nogil:
    cdef short what = from_poll(entry.revents)
    if what:
        host.ready(host, entry.fd, what)


cdef int devpoll_dispatch(backend_host *host, void *backend, int64_t timeout) noexcept nogil:
    cdef devpoll_state *state = <devpoll_state *>backend
    cdef dvpoll wait
    cdef int64_t ms = -1
    cdef int i, n
    if state.changes.n and apply_changes(state) < 0:
        event_warn_(b"devpoll: no memory for the changes")
        return -1
    if timeout >= 0:
        ms = (timeout + NS_PER_MS - 1) // NS_PER_MS
        if ms > MAX_WAIT_MS:
            ms = MAX_WAIT_MS
    wait.dp_fds = state.events
    wait.dp_nfds = state.nevents
    wait.dp_timeout = <int>ms
    EVLOCK_UNLOCK(host.lock)
    n = ioctl(state.dpfd, DP_POLL, &wait)
    EVLOCK_LOCK(host.lock)
    if n < 0:
        if errno == EINTR:
            host.interrupted = True
            return 0
        event_warn_(b"ioctl: DP_POLL")
        return -1
    for i in range(n):
        report(host, &state.events[i])
    if n == state.nevents and n < MAX_NEVENTS:
        # All room was used, so there may have been more. Without memory there is room for less.
        make_room(<void **>&state.events, &state.nevents, 2 * n, sizeof(pollfd))
    return 0


cdef void devpoll_dealloc(backend_host *host, void *backend) noexcept nogil:
    cdef devpoll_state *state = <devpoll_state *>backend
    close(state.dpfd)
    mm_free(state.events)
    free_changes(&state.changes)
    mm_free(state)


devpoll_ops.name = CYEVENT_DEVPOLL
devpoll_ops.init = devpoll_init
devpoll_ops.add = devpoll_add
devpoll_ops.delete = devpoll_delete
devpoll_ops.dispatch = devpoll_dispatch
devpoll_ops.dealloc = devpoll_dealloc
devpoll_ops.need_reinit = True
devpoll_ops.features = EV_FEATURE_O1 | EV_FEATURE_FDS \
    | (EV_FEATURE_EARLY_CLOSE if CYEVENT_HAVE_POLLRDHUP else 0)
devpoll_ops.fdinfo_len = sizeof(uint64_t)
backend_register(&devpoll_ops)
