"""Event ports, of Solaris and illumos: port_create(3C).

Facts about event ports:

- A descriptor is associated with a port for certain events. When one has come, the association is gone: after
  each delivery there has to be another one.
- Associating looks at the descriptor at once; associating again replaces the events. Closing a descriptor ends
  its association.
- port_getn() waits until there are as many events as it was asked for, and returns up to the size of its array
  when there are more. When the time is up it fails with ETIME, maybe with events all the same; so may EINTR.
  Some versions leave the count as it was when there are none.
- What can be polled can be associated, regular files too. POLLERR, POLLHUP and POLLNVAL are always told. There
  are no edges.
- port_send() puts an event of the program's own into the port, from any thread.
- What the parent associated is not there in a forked child's port.

What follows: which descriptors are wanted for what is kept here by their numbers; those that changed or were
delivered are queued, and associated before the next wait. So the callbacks of an event have run by then,
which makes it level-triggered, and an event that is deleted and added again costs nothing more than it would
anyway. The first entry of the array is marked before each wait, and if the mark is still there then nothing has
come. A descriptor that cannot be associated is told to its readers and writers, whose next system call gives
the reason. Wake-ups are port_send()'s and need no descriptor.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.string cimport memset
from cyevent.backends.pollbits cimport from_poll, to_poll, CYEVENT_HAVE_POLLRDHUP
from cyevent.backends.registry cimport backend_register
from cyevent.backends.room cimport make_room
from cyevent.backends.vtable cimport backend_host, event_op
from cyevent.core.clock cimport NS_PER_S
from cyevent.core.log cimport event_warn_, event_warn_fd_
from cyevent.core.memory cimport mm_calloc, mm_free, mm_realloc
from cyevent.core.sys cimport *
from cyevent.core.sys cimport timespec
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport *

cdef extern from *:
    """
    #include <poll.h>
    #include <port.h>
    #define CYEVENT_EVPORT "evport" CYEVENT_METHOD_SUFFIX
    """
    const char *CYEVENT_EVPORT
    int ETIME, EBADFD
    int PORT_SOURCE_FD, PORT_SOURCE_USER
    ctypedef struct port_event_t:
        int portev_events
        unsigned short portev_source
        uintptr_t portev_object
    int port_create() noexcept nogil
    int port_associate(int port, int source, uintptr_t object, int events, void *user) noexcept nogil
    int port_dissociate(int port, int source, uintptr_t object) noexcept nogil
    int port_getn(int port, port_event_t *list, unsigned max, unsigned *nget,
                  const timespec *timeout) noexcept nogil
    int port_send(int port, int events, void *user) noexcept nogil

cdef enum:
    FIRST_NEVENTS = 64
    MAX_NEVENTS = 4096
    FIRST_NDESCRIPTORS = 64
    MAX_WAIT_S = 35 * 60
    NOTHING_CAME = 0               # no source has this number

# What the port is to tell of a descriptor, and what it was told.
cdef struct descriptor:
    short wanted
    bint associated
    bint queued

cdef struct evport_state:
    int port
    descriptor *descriptors        # by number
    int ndescriptors
    int *queue                     # those to bring up to date before the next wait
    int nqueue
    int queue_allocated
    port_event_t *events
    int nevents

cdef event_op evport_ops


cdef void *evport_init(backend_host *host) noexcept nogil:
    cdef evport_state *state
    cdef int port = port_create()
    if port < 0:
        event_warn_(b"port_create")
        return NULL
    fcntl(port, F_SETFD, FD_CLOEXEC)
    state = <evport_state *>mm_calloc(1, sizeof(evport_state))
    if state == NULL:
        close(port)
        return NULL
    state.port = port
    state.events = <port_event_t *>mm_calloc(FIRST_NEVENTS, sizeof(port_event_t))
    state.nevents = FIRST_NEVENTS
    if state.events == NULL:
        evport_dealloc(host, state)
        return NULL
    return state


# --- descriptors ------------------------------------------------------------------------------------

cdef bint know(evport_state *state, int fd) noexcept nogil:
    """Makes room for the number, and for it in the queue: later nothing can fail."""
    cdef int n = state.ndescriptors if state.ndescriptors else FIRST_NDESCRIPTORS
    cdef descriptor *descriptors
    cdef int *queue
    if fd < state.ndescriptors:
        return True
    while n <= fd:
        n *= 2
    queue = <int *>mm_realloc(state.queue, n * sizeof(int))
    if queue == NULL:
        return False
    state.queue = queue
    descriptors = <descriptor *>mm_realloc(state.descriptors, n * sizeof(descriptor))
    if descriptors == NULL:
        return False
    memset(descriptors + state.ndescriptors, 0, (n - state.ndescriptors) * sizeof(descriptor))
    state.descriptors = descriptors
    state.ndescriptors = n
    return True


cdef inline void enqueue(evport_state *state, int fd) noexcept nogil:
    if not state.descriptors[fd].queued:
        state.descriptors[fd].queued = True
        state.queue[state.nqueue] = fd
        state.nqueue += 1


cdef int evport_add(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
                    uint64_t *fdinfo) noexcept nogil:
    cdef evport_state *state = <evport_state *>backend
    if not know(state, fd):
        set_errno(ENOMEM)
        return -1
    state.descriptors[fd].wanted = old | events
    enqueue(state, fd)
    return 0


cdef int evport_delete(backend_host *host, void *backend, evutil_socket_t fd, short old,
                       short events, uint64_t *fdinfo) noexcept nogil:
    cdef evport_state *state = <evport_state *>backend
    if fd >= state.ndescriptors:
        # Its addition failed for want of memory.
        return 0
    state.descriptors[fd].wanted = old & ~events
    enqueue(state, fd)
    return 0


cdef bint apply_changes(backend_host *host, evport_state *state) noexcept nogil:
    """Whether something was told, so that there is nothing to wait for."""
    cdef descriptor *entry
    cdef bint told = False
    cdef int i, fd, events
    for i in range(state.nqueue):
        fd = state.queue[i]
        entry = &state.descriptors[fd]
        entry.queued = False
        events = to_poll(entry.wanted)
        if events:
            entry.associated = port_associate(state.port, PORT_SOURCE_FD, fd, events, NULL) == 0
            if not entry.associated:
                if errno != EBADFD and errno != EBADF:
                    event_warn_fd_(b"port_associate", fd)
                host.ready(host, fd, EV_READ | EV_WRITE | EV_CLOSED)
                told = True
        elif entry.associated:
            # ENOENT or EBADFD: closed before its event was deleted.
            port_dissociate(state.port, PORT_SOURCE_FD, fd)
            entry.associated = False
    state.nqueue = 0
    return told


# --- waiting ----------------------------------------------------------------------------------------

cdef inline void report(backend_host *host, evport_state *state, const port_event_t *event) noexcept nogil:
    cdef int events = event.portev_events
    cdef int fd = <int>event.portev_object
    if event.portev_source == PORT_SOURCE_USER:
        host.notified(host)
        return
    if event.portev_source != PORT_SOURCE_FD or fd >= state.ndescriptors:
        return
    state.descriptors[fd].associated = False
    if not state.descriptors[fd].wanted:
        return
    enqueue(state, fd)
    host.ready(host, fd, from_poll(events))


cdef int evport_dispatch(backend_host *host, void *backend, int64_t timeout) noexcept nogil:
    cdef evport_state *state = <evport_state *>backend
    cdef timespec ts
    cdef unsigned i, n = 1
    cdef int result, error
    if apply_changes(host, state):
        timeout = 0
    if timeout >= 0:
        ts.tv_sec = timeout // NS_PER_S
        ts.tv_nsec = timeout % NS_PER_S
        if ts.tv_sec > MAX_WAIT_S:
            ts.tv_sec = MAX_WAIT_S
    state.events[0].portev_source = NOTHING_CAME
    EVLOCK_UNLOCK(host.lock)
    result = port_getn(state.port, state.events, state.nevents, &n, &ts if timeout >= 0 else NULL)
    EVLOCK_LOCK(host.lock)
    if result < 0:
        error = errno
        if error == EINTR:
            host.interrupted = True
        elif error != ETIME:
            event_warn_(b"port_getn")
            return -1
    if state.events[0].portev_source == NOTHING_CAME:
        return 0
    for i in range(n):
        report(host, state, &state.events[i])
    if <int>n == state.nevents and state.nevents < MAX_NEVENTS:
        # All room was used, so there may have been more. Without memory there is room for less.
        make_room(<void **>&state.events, &state.nevents, 2 * state.nevents, sizeof(port_event_t))
    return 0


cdef void evport_dealloc(backend_host *host, void *backend) noexcept nogil:
    cdef evport_state *state = <evport_state *>backend
    close(state.port)
    mm_free(state.descriptors)
    mm_free(state.queue)
    mm_free(state.events)
    mm_free(state)


# --- wake-ups ---------------------------------------------------------------------------------------

cdef int evport_notify_init(backend_host *host, void *backend) noexcept nogil:
    return 0


cdef int evport_notify(void *backend) noexcept nogil:
    return port_send((<evport_state *>backend).port, 0, NULL)


evport_ops.name = CYEVENT_EVPORT
evport_ops.init = evport_init
evport_ops.add = evport_add
evport_ops.delete = evport_delete
evport_ops.dispatch = evport_dispatch
evport_ops.dealloc = evport_dealloc
evport_ops.need_reinit = True
evport_ops.features = EV_FEATURE_O1 | EV_FEATURE_FDS \
    | (EV_FEATURE_EARLY_CLOSE if CYEVENT_HAVE_POLLRDHUP else 0)
evport_ops.fdinfo_len = 0
evport_ops.notify_init = evport_notify_init
evport_ops.notify = evport_notify
backend_register(&evport_ops)
