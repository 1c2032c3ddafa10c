"""Windows: readiness of sockets from the driver below Winsock, through a completion port.

Facts about it:

- Winsock's sockets belong to a driver, AFD. Its request IOCTL_AFD_POLL, which select() is made of, waits until
  one of the sockets that it names is ready and tells how. Made through a handle of the driver's own that is
  tied to a completion port, it completes there, with many others in one call (GetQueuedCompletionStatusEx). It
  is not documented, has been the same since Windows 2000, and libuv, mio and others stand on it.
- A request is done when it completes: whoever wants to hear more asks again. What is true already completes at
  once, also through the port. The system writes the answer into the request's memory at that moment.
- A request cannot be changed, only cancelled, and a cancelled one still completes. Cancelling searches all
  requests that were made through the same handle.
- A request holds on to its socket. When the last handle of that is closed it completes (AFD_POLL_LOCAL_CLOSE);
  a duplicate keeps it waiting, and the handle's number may be another socket's by then.
- A filter that a program has put into Winsock (a layered service provider) gives out handles that AFD does not
  know; SIO_BASE_HANDLE and, with filters that refuse it, SIO_BSP_HANDLE_POLL give the one below.
- Packets can be posted to the port by any thread.
- The port's time-out counts in milliseconds and is checked at the system's tick, of 1 to 16 ms.

What follows. A socket has room for as many requests as there are directions (reading, writing, the peer's
end). What is wanted and not asked for yet takes one request, so that none has to be cancelled when more is
wanted; what is not wanted any more is left to complete, unheard, as long as the socket is watched at all. When
nothing is wanted of it any more all are cancelled, since the number may soon be another's. A watched socket's
memory stays with its number until the end, for a request's answer must find it. Requests are made before the
wait, by the loop's thread; one that fails tells the socket's readers and writers, whose next call gives the
reason. Each handle of the driver's serves few sockets. There are no edges. A wake-up is a packet.

Others' operations may complete in the same port (afd.pxd), so that one wait is for all.

The price is a system call for each event that is told, as with event ports, beside the one for the wait.
"""

from libc.stdint cimport int64_t, uint64_t, uintptr_t
from cyevent.backends.afd_abi cimport *
from cyevent.backends.afd_abi cimport HANDLE, OVERLAPPED_ENTRY, ev_afd_request
from cyevent.backends.registry cimport backend_register
from cyevent.backends.vtable cimport backend_host, event_op
from cyevent.core.clock cimport NS_PER_MS
from cyevent.core.log cimport event_warnx_
from cyevent.core.memory cimport mm_calloc, mm_free, mm_realloc
from cyevent.core.sys cimport *
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport *
from cyevent.core.types cimport event_base

cdef enum:
    OURS = 0                   # the key of the driver's handles; that of a guest's is the guest
    REQUESTS = 3               # as many as there are directions
    SOCKETS_PER_HANDLE = 32
    ENTRIES = 256
    MAX_WAIT_MS = 35 * 60 * 1000
    LAST_WAIT_MS = 1000        # for cancelled requests, when the base is freed

cdef enum question_state:
    IDLE = 0                   # there is no request
    ASKED = 1
    CANCELLED = 2              # it has yet to complete

cdef struct question:
    ev_afd_request request     # must be first: its address finds the rest
    watched *socket
    short what                 # EV_READ | EV_WRITE | EV_CLOSED: what it asks for
    question_state state

# One for each number that was ever watched; its address is the fdinfo.
cdef struct watched:
    question[REQUESTS] questions
    evutil_socket_t fd
    evutil_socket_t base       # AFD's handle, the same unless there are filters
    HANDLE afd
    short wanted
    bint is_due                # in the list of those for whom requests have to be made
    watched *next_due
    watched *next              # in the list of all

cdef struct afd_state:
    HANDLE port
    HANDLE *handles            # of the driver, each for SOCKETS_PER_HANDLE sockets
    int nhandles
    int nsockets
    int nrequests              # that have yet to complete
    watched *all
    watched *due

cdef event_op afd_ops


cdef inline unsigned flags_of(short what) noexcept nogil:
    cdef unsigned flags = AFD_POLL_ABORT | AFD_POLL_LOCAL_CLOSE
    if what & EV_READ:
        flags |= AFD_POLL_RECEIVE | AFD_POLL_ACCEPT | AFD_POLL_DISCONNECT | AFD_POLL_CONNECT_FAIL
    if what & EV_WRITE:
        flags |= AFD_POLL_SEND | AFD_POLL_CONNECT_FAIL
    if what & EV_CLOSED:
        flags |= AFD_POLL_DISCONNECT
    return flags


cdef void *afd_init(backend_host *host) noexcept nogil:
    cdef afd_state *state = <afd_state *>mm_calloc(1, sizeof(afd_state))
    if state == NULL:
        return NULL
    state.port = ev_port_new()
    if state.port == NULL or next_handle(state) == NULL:
        afd_dealloc(host, state)
        return NULL
    return state


cdef HANDLE next_handle(afd_state *state) noexcept nogil:
    """The driver's handle for the next socket."""
    cdef HANDLE *grown
    if state.nsockets // SOCKETS_PER_HANDLE == state.nhandles:
        grown = <HANDLE *>mm_realloc(state.handles, (state.nhandles + 1) * sizeof(HANDLE))
        if grown == NULL:
            set_errno(ENOMEM)
            return NULL
        state.handles = grown
        grown[state.nhandles] = ev_afd_open(state.port, OURS)
        if grown[state.nhandles] == NULL:
            set_errno(EMFILE)
            return NULL
        state.nhandles += 1
    return state.handles[state.nsockets // SOCKETS_PER_HANDLE]


cdef watched *new_socket(afd_state *state, evutil_socket_t fd) noexcept nogil:
    cdef HANDLE afd = next_handle(state)
    cdef watched *sock
    cdef int i
    if afd == NULL:
        return NULL
    sock = <watched *>mm_calloc(1, sizeof(watched))
    if sock == NULL:
        set_errno(ENOMEM)
        return NULL
    sock.fd = fd
    sock.base = -1
    sock.afd = afd
    for i in range(REQUESTS):
        sock.questions[i].socket = sock
    sock.next = state.all
    state.all = sock
    state.nsockets += 1
    return sock


cdef inline void make_due(afd_state *state, watched *sock) noexcept nogil:
    if not sock.is_due:
        sock.is_due = True
        sock.next_due = state.due
        state.due = sock


cdef int afd_add(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
                 uint64_t *fdinfo) noexcept nogil:
    cdef afd_state *state = <afd_state *>backend
    cdef watched *sock = <watched *><uintptr_t>fdinfo[0]
    if sock == NULL:
        sock = new_socket(state, fd)
        if sock == NULL:
            return -1
        fdinfo[0] = <uint64_t><uintptr_t>sock
    if sock.wanted == 0:
        # Another socket than before, perhaps.
        sock.base = ev_afd_base(fd)
        if sock.base < 0:
            return -1
    sock.wanted = (old | events) & (EV_READ | EV_WRITE | EV_CLOSED)
    make_due(state, sock)
    return 0


cdef int afd_delete(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
                    uint64_t *fdinfo) noexcept nogil:
    cdef watched *sock = <watched *><uintptr_t>fdinfo[0]
    cdef int i
    if sock == NULL:
        return 0
    sock.wanted = (old & ~events) & (EV_READ | EV_WRITE | EV_CLOSED)
    if sock.wanted:
        return 0
    for i in range(REQUESTS):
        if sock.questions[i].state == ASKED:
            ev_afd_cancel(sock.afd, &sock.questions[i].request)
            sock.questions[i].state = CANCELLED
    return 0


cdef bint ask(afd_state *state, watched *sock) noexcept nogil:
    """Makes the request that is missing; False when the driver does not know the socket."""
    cdef question *idle = NULL
    cdef short missing = sock.wanted
    cdef int i
    for i in range(REQUESTS):
        if sock.questions[i].state == ASKED:
            missing &= ~sock.questions[i].what
        elif sock.questions[i].state == IDLE:
            idle = &sock.questions[i]
    # Without room a cancelled request has yet to complete, and will ask.
    if missing == 0 or idle == NULL:
        return True
    if ev_afd_ask(sock.afd, &idle.request, sock.base, flags_of(missing)) < 0:
        return False
    idle.what = missing
    idle.state = ASKED
    state.nrequests += 1
    return True


cdef bint ask_all(backend_host *host, afd_state *state) noexcept nogil:
    """For all that are due; True when one could not be asked about, and was told."""
    cdef watched *sock = state.due
    cdef watched *following
    cdef bint told = False
    state.due = NULL
    while sock != NULL:
        following = sock.next_due
        sock.is_due = False
        if not ask(state, sock):
            make_due(state, sock)
            host.ready(host, sock.fd, EV_READ | EV_WRITE | EV_CLOSED)
            told = True
        sock = following
    return told


cdef bint complete(backend_host *host, afd_state *state, question *done) noexcept nogil:
    """Takes an answer; True when it was told."""
    cdef watched *sock = done.socket
    cdef bint was_cancelled = done.state == CANCELLED
    cdef unsigned flags
    cdef short what = 0
    done.state = IDLE
    state.nrequests -= 1
    if sock.wanted == 0:
        return False
    # It stays true until somebody does something about it, so the next wait asks again.
    make_due(state, sock)
    if was_cancelled:
        return False
    flags = ev_afd_answer(&done.request)
    if flags & (AFD_POLL_RECEIVE | AFD_POLL_ACCEPT):
        what |= EV_READ
    if flags & AFD_POLL_SEND:
        what |= EV_WRITE
    if flags & AFD_POLL_DISCONNECT:
        what |= EV_READ | EV_CLOSED
    if flags & AFD_POLL_ABORT:
        what |= EV_READ | EV_WRITE | EV_CLOSED
    if flags & AFD_POLL_CONNECT_FAIL:
        what |= EV_READ | EV_WRITE
    if not what & sock.wanted:
        return False
    host.ready(host, sock.fd, what)
    return True


cdef int afd_dispatch(backend_host *host, void *backend, int64_t timeout) noexcept nogil:
    cdef afd_state *state = <afd_state *>backend
    cdef OVERLAPPED_ENTRY[ENTRIES] entries
    cdef afd_guest *guest
    cdef int64_t ms = MAX_WAIT_MS
    cdef int i, n
    cdef bint told
    cdef bint again = True
    if 0 <= timeout < <int64_t>MAX_WAIT_MS * NS_PER_MS:
        ms = (timeout + NS_PER_MS - 1) // NS_PER_MS
    told = ask_all(host, state)
    while True:
        if told:
            ms = 0
        EVLOCK_UNLOCK(host.lock)
        n = ev_port_wait(state.port, entries, ENTRIES, <unsigned>ms)
        EVLOCK_LOCK(host.lock)
        if n < 0:
            event_warnx_(b"GetQueuedCompletionStatusEx failed")
            return -1
        for i in range(n):
            if entries[i].lpOverlapped == NULL:
                host.notified(host)
                told = True
            elif entries[i].lpCompletionKey != OURS:
                guest = <afd_guest *>entries[i].lpCompletionKey
                guest.completed(guest, entries[i].lpOverlapped)
                told = True
            elif complete(host, state, <question *>entries[i].lpOverlapped):
                told = True
        if n == ENTRIES:
            # Each request completes once, and few of a guest's begin again at once, so this ends.
            ms = 0
            continue
        # What was not wanted, or cancelled, has made room for another request, which may be true already.
        if told or n == 0 or state.due == NULL or not again:
            return 0
        again = False
        ms = 0
        told = ask_all(host, state)


cdef HANDLE afd_port_(const event_base *base) noexcept nogil:
    return (<afd_state *>base.backend).port if base.ops == &afd_ops else NULL


cdef int afd_notify_init(backend_host *host, void *backend) noexcept nogil:
    return 0


cdef int afd_notify(void *backend) noexcept nogil:
    return ev_port_post((<afd_state *>backend).port)


cdef void afd_dealloc(backend_host *host, void *backend) noexcept nogil:
    cdef afd_state *state = <afd_state *>backend
    cdef OVERLAPPED_ENTRY[ENTRIES] entries
    cdef watched *sock = state.all
    cdef watched *following
    cdef int i
    cdef int n = 1
    # Closing cancels what is left; the answers are still written.
    for i in range(state.nhandles):
        CloseHandle(state.handles[i])
    while state.nrequests and n > 0:
        n = ev_port_wait(state.port, entries, ENTRIES, LAST_WAIT_MS)
        for i in range(n):
            if entries[i].lpOverlapped != NULL and entries[i].lpCompletionKey == OURS:
                (<question *>entries[i].lpOverlapped).state = IDLE
                state.nrequests -= 1
    if state.port != NULL:
        CloseHandle(state.port)
    while sock != NULL:
        following = sock.next
        # Rather lost than written to by the system once it is somebody else's.
        if sock.questions[0].state == IDLE and sock.questions[1].state == IDLE \
                and sock.questions[2].state == IDLE:
            mm_free(sock)
        sock = following
    mm_free(state.handles)
    mm_free(state)


afd_ops.name = b"afd"
afd_ops.init = afd_init
afd_ops.add = afd_add
afd_ops.delete = afd_delete
afd_ops.dispatch = afd_dispatch
afd_ops.dealloc = afd_dealloc
afd_ops.need_reinit = False
afd_ops.features = EV_FEATURE_O1 | EV_FEATURE_EARLY_CLOSE
afd_ops.fdinfo_len = sizeof(uint64_t)
afd_ops.notify_init = afd_notify_init
afd_ops.notify = afd_notify
backend_register(&afd_ops)
