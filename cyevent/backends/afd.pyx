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

The price is a system call for each event that is told, as with event ports, beside the one for the wait.
"""

from libc.stdint cimport int64_t, uint64_t, uintptr_t
from cyevent.backends.registry cimport backend_register
from cyevent.backends.vtable cimport backend_host, event_op
from cyevent.core.clock cimport NS_PER_MS
from cyevent.core.log cimport event_warnx_
from cyevent.core.memory cimport mm_calloc, mm_free, mm_realloc
from cyevent.core.sys cimport *
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport *

cdef extern from *:
    """
    #include <winternl.h>
    #ifndef SIO_BASE_HANDLE
      #define SIO_BASE_HANDLE 0x48000022
    #endif
    #ifndef SIO_BSP_HANDLE_POLL
      #define SIO_BSP_HANDLE_POLL 0x4800001D
    #endif
    #define EV_IOCTL_AFD_POLL 0x00012024
    #define AFD_POLL_RECEIVE 0x001
    #define AFD_POLL_SEND 0x004
    #define AFD_POLL_DISCONNECT 0x008
    #define AFD_POLL_ABORT 0x010
    #define AFD_POLL_LOCAL_CLOSE 0x020
    #define AFD_POLL_ACCEPT 0x080
    #define AFD_POLL_CONNECT_FAIL 0x100
    #define EV_STATUS_PENDING 0x103

    /* What the driver is asked and answers. */
    struct ev_afd_poll_info {
        LARGE_INTEGER timeout;
        ULONG count;
        ULONG exclusive;
        HANDLE handle;
        ULONG events;
        LONG status;
    };
    struct ev_afd_request {
        IO_STATUS_BLOCK done;
        struct ev_afd_poll_info info;
    };

    static HANDLE ev_afd_open(HANDLE port) {
        static const wchar_t name[] = L"\\\\Device\\\\Afd\\\\Cyevent";
        UNICODE_STRING text;
        OBJECT_ATTRIBUTES attributes;
        IO_STATUS_BLOCK done;
        HANDLE afd;
        memset(&attributes, 0, sizeof(attributes));
        text.Buffer = (wchar_t *)name;
        text.Length = sizeof(name) - sizeof(name[0]);
        text.MaximumLength = sizeof(name);
        attributes.Length = sizeof(attributes);
        attributes.ObjectName = &text;
        if (NtCreateFile(&afd, SYNCHRONIZE, &attributes, &done, NULL, 0, FILE_SHARE_READ | FILE_SHARE_WRITE,
                         1 /* FILE_OPEN */, 0, NULL, 0) != 0)
            return NULL;
        if (CreateIoCompletionPort(afd, port, 0, 0) == NULL) {
            CloseHandle(afd);
            return NULL;
        }
        /* The handle is no event that anybody waits for. */
        SetFileCompletionNotificationModes(afd, 2 /* FILE_SKIP_SET_EVENT_ON_HANDLE */);
        return afd;
    }
    /* The completion is found by the request's address. 0 when one will come. */
    static int ev_afd_ask(HANDLE afd, struct ev_afd_request *request, evutil_socket_t base, unsigned events) {
        LONG status;
        request->done.Status = EV_STATUS_PENDING;
        request->info.timeout.QuadPart = INT64_MAX;
        request->info.count = 1;
        request->info.exclusive = 0;
        request->info.handle = (HANDLE)base;
        request->info.events = events;
        request->info.status = 0;
        status = NtDeviceIoControlFile(afd, NULL, NULL, request, &request->done, EV_IOCTL_AFD_POLL,
                                       &request->info, sizeof(request->info), &request->info,
                                       sizeof(request->info));
        return status == 0 || status == EV_STATUS_PENDING ? 0 : -1;
    }
    static void ev_afd_cancel(HANDLE afd, struct ev_afd_request *request) {
        CancelIoEx(afd, (OVERLAPPED *)&request->done);
    }
    /* What is true of the socket; 0 when the request was cancelled. */
    static unsigned ev_afd_answer(const struct ev_afd_request *request) {
        return request->done.Status == 0 && request->info.count > 0 ? request->info.events : 0;
    }
    /* The driver's own handle for a socket; -1 with errno if it is none. */
    static evutil_socket_t ev_afd_base(evutil_socket_t fd) {
        SOCKET base = INVALID_SOCKET;
        DWORD n;
        /* Wine gives a base for anything. */
        if (!ev_is_open(fd))
            return -1;
        if (WSAIoctl((SOCKET)fd, SIO_BASE_HANDLE, NULL, 0, &base, sizeof(base), &n, NULL, NULL) == 0)
            return (evutil_socket_t)base;
        if (WSAIoctl((SOCKET)fd, SIO_BSP_HANDLE_POLL, NULL, 0, &base, sizeof(base), &n, NULL, NULL) == 0)
            return (evutil_socket_t)base;
        return fd;
    }
    static HANDLE ev_port_new(void) { return CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1); }
    static int ev_port_post(HANDLE port) { return PostQueuedCompletionStatus(port, 0, 1, NULL) ? 0 : -1; }
    static int ev_port_wait(HANDLE port, OVERLAPPED_ENTRY *entries, int room, unsigned ms) {
        ULONG n = 0;
        if (GetQueuedCompletionStatusEx(port, entries, (ULONG)room, &n, ms, FALSE))
            return (int)n;
        return GetLastError() == WAIT_TIMEOUT ? 0 : -1;
    }
    """
    ctypedef void *HANDLE
    ctypedef struct OVERLAPPED_ENTRY:
        uintptr_t lpCompletionKey
        void *lpOverlapped
    ctypedef struct ev_afd_request "struct ev_afd_request":
        pass
    unsigned AFD_POLL_RECEIVE, AFD_POLL_SEND, AFD_POLL_DISCONNECT, AFD_POLL_ABORT, AFD_POLL_LOCAL_CLOSE
    unsigned AFD_POLL_ACCEPT, AFD_POLL_CONNECT_FAIL
    unsigned INFINITE
    HANDLE ev_afd_open(HANDLE port) noexcept nogil
    int ev_afd_ask(HANDLE afd, ev_afd_request *request, evutil_socket_t base, unsigned events) noexcept nogil
    void ev_afd_cancel(HANDLE afd, ev_afd_request *request) noexcept nogil
    unsigned ev_afd_answer(const ev_afd_request *request) noexcept nogil
    evutil_socket_t ev_afd_base(evutil_socket_t fd) noexcept nogil
    HANDLE ev_port_new() noexcept nogil
    int ev_port_post(HANDLE port) noexcept nogil
    int ev_port_wait(HANDLE port, OVERLAPPED_ENTRY *entries, int room, unsigned ms) noexcept nogil
    bint CloseHandle(HANDLE handle) noexcept nogil

cdef enum:
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
        grown[state.nhandles] = ev_afd_open(state.port)
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
            elif complete(host, state, <question *>entries[i].lpOverlapped):
                told = True
        if n == ENTRIES:
            # Each request completes once, so this ends.
            ms = 0
            continue
        # What was not wanted, or cancelled, has made room for another request, which may be true already.
        if told or n == 0 or state.due == NULL or not again:
            return 0
        again = False
        ms = 0
        told = ask_all(host, state)


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
            if entries[i].lpOverlapped != NULL:
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
