"""epoll(7).

Facts about epoll:

- A registration belongs to the open file description, not to the descriptor. Closing a descriptor removes
  it, unless a duplicate (dup, fork) keeps the description open: then events go on being reported for a
  descriptor number that is no longer ours.
- EPOLL_CTL_MOD fails with ENOENT, and EPOLL_CTL_ADD with EEXIST, when the kernel's view and ours differ
  because the descriptor was closed and its number used again.
- EPOLLERR and EPOLLHUP are always reported, asked for or not.
- epoll_wait() counts in milliseconds, and a forked child shares the epoll descriptor.

What follows: a failed MOD or ADD is tried again as the other one; deleting what is gone is no error; errors
and hang-ups are told to readers and writers alike, whose next system call gives the reason; after a fork a
new epoll descriptor is made. Timeouts are rounded up to milliseconds, so that a timer never fires early and
the loop never spins, except for precise timers: those wait in epoll_pwait2(), or with a timerfd where the
kernel is older than 5.11.

Every change costs a system call. With EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST changes are collected and only
what differs at the next wait is told; not the default, because it is unsafe when descriptors are closed
without deleting their events first, or are duplicates of each other.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from cyevent.backends.changes cimport (
    change, change_list, changes_done, free_changes, is_change, note_change,
)
from cyevent.backends.registry cimport backend_register
from cyevent.backends.vtable cimport backend_host, event_op
from cyevent.core.clock cimport NS_PER_MS, NS_PER_S
from cyevent.core.log cimport event_warn_, event_warn_fd_
from cyevent.core.memory cimport mm_calloc, mm_free, mm_realloc
from cyevent.core.sys cimport *
from cyevent.core.sys cimport timespec
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport *

cdef extern from *:
    """
    #include <sys/epoll.h>
    #include <sys/syscall.h>
    #include <sys/timerfd.h>
    /* libc's epoll_wait() is a function to return from, and a cancellation point. After a system call the
     * processor's return predictions are gone, so that this return alone costs some 50 ns, a fortieth of what
     * a turn with one ready descriptor takes. Sanitizers watch libc's functions and are left theirs. */
    #if defined(__x86_64__) && defined(__LP64__) && defined(__GNUC__) \\
        && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    static inline int cyevent_epoll_wait(int epfd, struct epoll_event *events, int n, int timeout) {
        long result;
        register long fourth __asm__("r10") = timeout;
        __asm__ volatile("syscall" : "=a"(result)
                         : "a"((long)SYS_epoll_wait), "D"((long)epfd), "S"(events), "d"((long)n), "r"(fourth)
                         : "rcx", "r11", "memory");
        if (result < 0) {
            errno = (int)-result;
            return -1;
        }
        return (int)result;
    }
    #else
    #define cyevent_epoll_wait epoll_wait
    #endif
    #ifdef SYS_epoll_pwait2
    static inline int cyevent_epoll_pwait2(int fd, struct epoll_event *events, int n,
                                           const struct timespec *timeout) {
        return (int)syscall(SYS_epoll_pwait2, fd, events, n, timeout, NULL, 0);
    }
    #else
    static inline int cyevent_epoll_pwait2(int fd, struct epoll_event *events, int n,
                                           const struct timespec *timeout) {
        (void)fd; (void)events; (void)n; (void)timeout; errno = ENOSYS; return -1;
    }
    #endif
    """
    uint32_t EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP, EPOLLET
    int EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLL_CLOEXEC
    int TFD_NONBLOCK, TFD_CLOEXEC
    ctypedef union epoll_data_t:
        int fd
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    struct itimerspec:
        timespec it_interval
        timespec it_value
    int epoll_create1(int flags) noexcept nogil
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event) noexcept nogil
    int cyevent_epoll_wait(int epfd, epoll_event *events, int n, int timeout) noexcept nogil
    int cyevent_epoll_pwait2(int epfd, epoll_event *events, int n,
                             const timespec *timeout) noexcept nogil
    int timerfd_create(int clock, int flags) noexcept nogil
    int timerfd_settime(int fd, int flags, const itimerspec *value,
                        itimerspec *old) noexcept nogil

cdef enum:
    FIRST_NEVENTS = 64
    MAX_NEVENTS = 4096
    # Some kernels took a long timeout for none at all; half an hour is long enough for a wait.
    MAX_WAIT_MS = 35 * 60 * 1000

cdef struct epoll_state:
    int epfd
    int timerfd                # -1 when not in use
    bint precise               # waits are in nanoseconds
    bint have_pwait2
    bint use_changelist
    epoll_event *events
    int nevents
    change_list changes

cdef event_op epoll_ops


cdef void *epoll_init(backend_host *host) noexcept nogil:
    cdef epoll_state *state
    cdef epoll_event registration
    cdef timespec zero
    cdef int epfd = epoll_create1(EPOLL_CLOEXEC)
    if epfd < 0:
        if errno != ENOSYS:
            event_warn_(b"epoll_create1")
        return NULL
    state = <epoll_state *>mm_calloc(1, sizeof(epoll_state))
    if state == NULL:
        close(epfd)
        return NULL
    state.epfd = epfd
    state.timerfd = -1
    state.events = <epoll_event *>mm_calloc(FIRST_NEVENTS, sizeof(epoll_event))
    state.nevents = FIRST_NEVENTS
    if state.events == NULL:
        epoll_dealloc(host, state)
        return NULL
    if host.flags & EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST:
        state.use_changelist = True
        host.name = b"epoll (with changelist)"
    if host.flags & EVENT_BASE_FLAG_PRECISE_TIMER:
        zero.tv_sec = zero.tv_nsec = 0
        state.have_pwait2 = cyevent_epoll_pwait2(epfd, state.events, 1, &zero) >= 0
        state.precise = state.have_pwait2
        if not state.have_pwait2 and not (host.flags & EVENT_BASE_FLAG_EPOLL_DISALLOW_TIMERFD):
            state.timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
            if state.timerfd >= 0:
                registration.events = EPOLLIN
                registration.data.u64 = 0
                registration.data.fd = state.timerfd
                if epoll_ctl(epfd, EPOLL_CTL_ADD, state.timerfd, &registration) == 0:
                    state.precise = True
                else:
                    close(state.timerfd)
                    state.timerfd = -1
    return state


cdef inline uint32_t to_epoll(short what) noexcept nogil:
    cdef uint32_t events = 0
    if what & EV_READ:
        events |= EPOLLIN
    if what & EV_WRITE:
        events |= EPOLLOUT
    if what & EV_CLOSED:
        events |= EPOLLRDHUP
    if what & EV_ET:
        events |= EPOLLET
    return events


cdef int tell(epoll_state *state, int fd, short known, short wanted) noexcept nogil:
    """Makes the kernel's registration for fd what is wanted."""
    cdef epoll_event registration
    cdef int op
    if not (wanted & ~EV_ET):
        op = EPOLL_CTL_DEL
    elif not (known & ~EV_ET):
        op = EPOLL_CTL_ADD
    else:
        op = EPOLL_CTL_MOD
    registration.events = to_epoll(wanted)
    registration.data.u64 = 0
    registration.data.fd = fd
    if epoll_ctl(state.epfd, op, fd, &registration) == 0:
        return 0
    if op == EPOLL_CTL_MOD and errno == ENOENT:
        # Closed and opened again: a new description that is not registered.
        if epoll_ctl(state.epfd, EPOLL_CTL_ADD, fd, &registration) == 0:
            return 0
    elif op == EPOLL_CTL_ADD and errno == EEXIST:
        # A duplicate of a description that we have.
        if epoll_ctl(state.epfd, EPOLL_CTL_MOD, fd, &registration) == 0:
            return 0
    elif op == EPOLL_CTL_DEL and (errno == ENOENT or errno == EBADF or errno == EPERM):
        # Closed before its event was deleted: the kernel has forgotten it already.
        return 0
    return -1


cdef int epoll_add(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
                   uint64_t *fdinfo) noexcept nogil:
    cdef epoll_state *state = <epoll_state *>backend
    if state.use_changelist:
        return note_change(&state.changes, fd, old, old | events, True, fdinfo)
    return tell(state, fd, old, old | events)


cdef int epoll_delete(backend_host *host, void *backend, evutil_socket_t fd, short old,
                      short events, uint64_t *fdinfo) noexcept nogil:
    cdef epoll_state *state = <epoll_state *>backend
    cdef short wanted = old & ~(events & ~EV_ET)
    if wanted and events & EV_ET:
        wanted |= EV_ET
    # Without memory to note it, it is done at once, or else the kernel would go on to tell it.
    if state.use_changelist and note_change(&state.changes, fd, old, wanted, False, fdinfo) == 0:
        return 0
    if tell(state, fd, old, wanted) < 0:
        event_warn_fd_(b"epoll_ctl", fd)
        return -1
    return 0


cdef void apply_changes(epoll_state *state) noexcept nogil:
    cdef int i
    cdef change *entry
    for i in range(state.changes.n):
        entry = &state.changes.entries[i]
        if is_change(entry) and tell(state, entry.fd, entry.known, entry.wanted) < 0 and errno != EBADF:
            event_warn_fd_(b"epoll_ctl", entry.fd)
    changes_done(&state.changes)


cdef inline int wait(epoll_state *state, int64_t timeout) noexcept nogil:
    cdef timespec ts
    cdef itimerspec alarm
    cdef int64_t ms
    if timeout <= 0:
        return cyevent_epoll_wait(state.epfd, state.events, state.nevents, <int>timeout)
    if state.have_pwait2:
        ts.tv_sec = timeout // NS_PER_S
        ts.tv_nsec = timeout % NS_PER_S
        return cyevent_epoll_pwait2(state.epfd, state.events, state.nevents, &ts)
    if state.timerfd >= 0:
        alarm.it_interval.tv_sec = alarm.it_interval.tv_nsec = 0
        alarm.it_value.tv_sec = timeout // NS_PER_S
        alarm.it_value.tv_nsec = timeout % NS_PER_S
        timerfd_settime(state.timerfd, 0, &alarm, NULL)
        return cyevent_epoll_wait(state.epfd, state.events, state.nevents, -1)
    ms = (timeout + NS_PER_MS - 1) // NS_PER_MS
    if ms > MAX_WAIT_MS:
        ms = MAX_WAIT_MS
    return cyevent_epoll_wait(state.epfd, state.events, state.nevents, <int>ms)


cdef int epoll_dispatch(backend_host *host, void *backend, int64_t timeout) noexcept nogil:
    cdef epoll_state *state = <epoll_state *>backend
    cdef epoll_event *grown
    cdef uint32_t events
    cdef short what
    cdef uint64_t expirations
    cdef int i, n
    if state.changes.n:
        apply_changes(state)
    EVLOCK_UNLOCK(host.lock)
    n = wait(state, -1 if timeout < 0 else timeout)
    EVLOCK_LOCK(host.lock)
    if n < 0:
        if errno == EINTR:
            host.interrupted = True
            return 0
        event_warn_(b"epoll_wait")
        return -1
    for i in range(n):
        events = state.events[i].events
        what = 0
        if events & (EPOLLERR | EPOLLHUP):
            # A hang-up of both directions ends reading and writing; EPOLLRDHUP beside it says that the
            # peer closed, which the reader finds by reading.
            if events & EPOLLERR or not (events & EPOLLRDHUP):
                what = EV_READ | EV_WRITE
        if events & EPOLLIN:
            what |= EV_READ
        if events & EPOLLOUT:
            what |= EV_WRITE
        if events & EPOLLRDHUP:
            what |= EV_CLOSED
        if state.events[i].data.fd == state.timerfd:
            # Not an event of anybody's: the deadline is looked up in the timer heap.
            read(state.timerfd, &expirations, sizeof(expirations))
        elif what:
            # Edge-triggered events are told that they are.
            host.ready(host, state.events[i].data.fd, what | EV_ET)
    if n == state.nevents and state.nevents < MAX_NEVENTS:
        # All room was used, so there may have been more.
        grown = <epoll_event *>mm_realloc(state.events, 2 * state.nevents * sizeof(epoll_event))
        if grown != NULL:
            state.events = grown
            state.nevents *= 2
    return 0


cdef void epoll_dealloc(backend_host *host, void *backend) noexcept nogil:
    cdef epoll_state *state = <epoll_state *>backend
    if state.timerfd >= 0:
        close(state.timerfd)
    close(state.epfd)
    mm_free(state.events)
    free_changes(&state.changes)
    mm_free(state)


cdef int epoll_descriptor(void *backend) noexcept nogil:
    cdef epoll_state *state = <epoll_state *>backend
    if state.changes.n:
        apply_changes(state)
    return state.epfd


epoll_ops.name = b"epoll"
epoll_ops.init = epoll_init
epoll_ops.add = epoll_add
epoll_ops.delete = epoll_delete
epoll_ops.dispatch = epoll_dispatch
epoll_ops.dealloc = epoll_dealloc
epoll_ops.need_reinit = True
epoll_ops.features = EV_FEATURE_ET | EV_FEATURE_O1 | EV_FEATURE_EARLY_CLOSE
epoll_ops.fdinfo_len = sizeof(uint64_t)
epoll_ops.descriptor = epoll_descriptor
backend_register(&epoll_ops)
