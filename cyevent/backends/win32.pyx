"""Windows' select().

Facts about it:

- Its fd_set is a count and an array of sockets; Winsock reads as many as the count says. FD_SETSIZE, 64, is
  only the size of the array in the header's struct.
- The sets are overwritten with the sockets that are ready. Sets that are all empty are an error (WSAEINVAL),
  not a sleep.
- A connection that failed is reported in the third set, and not as writable.
- One socket that is closed fails the whole call (WSAENOTSOCK), without telling which.
- It waits for sockets alone, and no signal interrupts it.
- The system looks at each socket of each set in each call, and is told of them by one request that grows with
  them.

What follows: the sets are our own, of any size, and made anew for each call from an array of what is wanted,
as they are overwritten anyway; every socket that waits to write is in the third set too. After a failure each
socket is tested, and a bad one told to its readers and writers, whose next call gives the reason. A descriptor
that is no socket is refused when it is added. With nothing to wait for we sleep.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint64_t
from cyevent.backends.registry cimport backend_register
from cyevent.backends.room cimport make_room
from cyevent.backends.vtable cimport backend_host, event_op
from cyevent.core.clock cimport NS_PER_MS
from cyevent.core.log cimport event_warn_
from cyevent.core.memory cimport mm_calloc, mm_free, mm_malloc
from cyevent.core.sys cimport *
from cyevent.core.sys cimport timeval
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport *

cdef extern from *:
    """
    /* An fd_set of any size. */
    struct ev_socket_set { unsigned count; SOCKET sockets[1]; };
    #define EV_SET_SIZE(n) (sizeof(struct ev_socket_set) + (n) * sizeof(SOCKET))
    static int ev_select(struct ev_socket_set *readers, struct ev_socket_set *writers,
                         struct ev_socket_set *failed, const struct timeval *timeout) {
        return ev_failed(select(0, (fd_set *)readers, (fd_set *)writers, (fd_set *)failed, timeout));
    }
    static void ev_sleep(unsigned ms) { Sleep(ms); }
    """
    ctypedef struct ev_socket_set "struct ev_socket_set":
        unsigned count
        size_t *sockets
    size_t EV_SET_SIZE(int n) noexcept nogil
    int ev_select(ev_socket_set *readers, ev_socket_set *writers, ev_socket_set *failed,
                  const timeval *timeout) noexcept nogil
    void ev_sleep(unsigned ms) noexcept nogil

cdef enum:
    MAX_WAIT_MS = 35 * 60 * 1000

cdef struct wanted_socket:
    evutil_socket_t fd
    short events               # EV_READ | EV_WRITE

cdef struct win32_state:
    wanted_socket *wanted      # a socket's fdinfo is 1 + its index
    int n
    int allocated
    ev_socket_set *sets[3]     # readers, writers, failed; the loop's thread alone uses them
    int room                   # in each

cdef event_op win32_ops


cdef void *win32_init(backend_host *host) noexcept nogil:
    return mm_calloc(1, sizeof(win32_state))


cdef int win32_add(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
                   uint64_t *fdinfo) noexcept nogil:
    cdef win32_state *state = <win32_state *>backend
    if not ((old | events) & (EV_READ | EV_WRITE)):
        # EV_CLOSED alone could never be told.
        set_errno(ENOTSUP)
        return -1
    if fdinfo[0] == 0:
        if not ev_is_open(fd):
            return -1
        if not make_room(<void **>&state.wanted, &state.allocated, state.n + 1, sizeof(wanted_socket)):
            set_errno(ENOMEM)
            return -1
        state.wanted[state.n].fd = fd
        state.n += 1
        fdinfo[0] = <uint64_t>state.n
    state.wanted[fdinfo[0] - 1].events = (old | events) & (EV_READ | EV_WRITE)
    return 0


cdef int win32_delete(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
                      uint64_t *fdinfo) noexcept nogil:
    cdef win32_state *state = <win32_state *>backend
    cdef int index = <int>fdinfo[0] - 1
    cdef short left = (old & ~events) & (EV_READ | EV_WRITE)
    if index < 0:
        return 0
    if left:
        state.wanted[index].events = left
        return 0
    fdinfo[0] = 0
    state.n -= 1
    if index != state.n:
        state.wanted[index] = state.wanted[state.n]
        host.moved(host, state.wanted[index].fd, <uint64_t>index + 1)
    return 0


cdef inline void put(ev_socket_set *sockets, evutil_socket_t fd) noexcept nogil:
    sockets.sockets[sockets.count] = <size_t>fd
    sockets.count += 1


cdef int fill_sets(win32_state *state) noexcept nogil:
    cdef int i
    if state.room < state.n:
        for i in range(3):
            mm_free(state.sets[i])
            state.sets[i] = NULL
        state.room = 0
        for i in range(3):
            state.sets[i] = <ev_socket_set *>mm_malloc(EV_SET_SIZE(state.allocated))
            if state.sets[i] == NULL:
                set_errno(ENOMEM)
                return -1
        state.room = state.allocated
    for i in range(3):
        state.sets[i].count = 0
    for i in range(state.n):
        if state.wanted[i].events & EV_READ:
            put(state.sets[0], state.wanted[i].fd)
        if state.wanted[i].events & EV_WRITE:
            put(state.sets[1], state.wanted[i].fd)
            put(state.sets[2], state.wanted[i].fd)
    return 0


cdef inline void report(backend_host *host, const ev_socket_set *sockets, short what) noexcept nogil:
    cdef unsigned i
    for i in range(sockets.count):
        host.ready(host, <evutil_socket_t>sockets.sockets[i], what)


cdef void report_bad(backend_host *host, win32_state *state) noexcept nogil:
    cdef int i
    for i in range(state.n):
        if not ev_is_open(state.wanted[i].fd):
            host.ready(host, state.wanted[i].fd, EV_READ | EV_WRITE)


cdef int win32_dispatch(backend_host *host, void *backend, int64_t timeout) noexcept nogil:
    cdef win32_state *state = <win32_state *>backend
    cdef timeval tv
    cdef int64_t ms = MAX_WAIT_MS
    cdef int ready
    if 0 <= timeout < <int64_t>MAX_WAIT_MS * NS_PER_MS:
        ms = (timeout + NS_PER_MS - 1) // NS_PER_MS
    if state.n == 0:
        EVLOCK_UNLOCK(host.lock)
        ev_sleep(<unsigned>ms)
        EVLOCK_LOCK(host.lock)
        return 0
    if fill_sets(state) < 0:
        event_warn_(b"select: no memory for the sets")
        return -1
    tv.tv_sec = ms // 1000
    tv.tv_usec = ms % 1000 * 1000
    EVLOCK_UNLOCK(host.lock)
    ready = ev_select(state.sets[0], state.sets[1], state.sets[2], &tv)
    EVLOCK_LOCK(host.lock)
    if ready < 0:
        if errno == ENOTSOCK or errno == EBADF or errno == EINTR:
            report_bad(host, state)
            return 0
        event_warn_(b"select")
        return -1
    if ready > 0:
        report(host, state.sets[0], EV_READ)
        report(host, state.sets[1], EV_WRITE)
        report(host, state.sets[2], EV_READ | EV_WRITE)
    return 0


cdef void win32_dealloc(backend_host *host, void *backend) noexcept nogil:
    cdef win32_state *state = <win32_state *>backend
    cdef int i
    mm_free(state.wanted)
    for i in range(3):
        mm_free(state.sets[i])
    mm_free(state)


win32_ops.name = b"win32"
win32_ops.init = win32_init
win32_ops.add = win32_add
win32_ops.delete = win32_delete
win32_ops.dispatch = win32_dispatch
win32_ops.dealloc = win32_dealloc
win32_ops.need_reinit = False
win32_ops.features = 0
win32_ops.fdinfo_len = sizeof(uint64_t)
backend_register(&win32_ops)
