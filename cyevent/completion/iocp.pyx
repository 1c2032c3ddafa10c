"""Completion ports of Windows.

Facts:

- WSARecv, WSASend, AcceptEx, ConnectEx and TransmitFile, given an OVERLAPPED, begin an operation that completes
  in the port which its socket is tied to, also when it is done at once; one that fails at once does not
  complete. The system writes the OVERLAPPED and the memory that is received into until then, whatever else
  happens.
- A socket is tied to one port, for good: to that of another base, or of asyncio, and there is no way to ask for
  whose.
- How much of a send that was cancelled has left is not known.
- Cancelling (CancelIoEx) asks: what is cancelled completes too, with ERROR_OPERATION_ABORTED, or with what was
  done before. Closing a socket cancels what is under way, and ends the connection at once; its handle's number
  may be another socket's before the cancelled operation completes. A thread that ends cancels nothing that
  completes in a port.
- An overlapped send is complete when the system has all of its bytes, and keeps their pages until then. A
  receive has its memory for as long as nothing comes. One without memory completes when there is something to
  receive.
- AcceptEx wants the socket to accept into beforehand; ConnectEx one that is bound. Both kinds are half made
  until SO_UPDATE_ACCEPT_CONTEXT or SO_UPDATE_CONNECT_CONTEXT is set: getpeername() and shutdown() fail.
- Errors are the system's, ERROR_*, and not Winsock's.

What follows. The port is the one that the AFD backend waits in (backends/afd.pyx): a wait tells of descriptors
and of operations alike, in the loop's thread, where what has completed is looked at with the base's lock held.
There is no thread that only waits for the port, as in libevent: each of its completions crosses from there to
the loop, with a lock, a wake-up and a switch of threads, to be handled by the one loop after all. So the hint
about processors changes nothing here. A base with another backend has no port.

Whoever submits an operation begins it. One that fails at once is posted to the port with its error, so that all
ends are told in one place. The memory of an operation is its own until it has completed (port.pyx), so a
bufferevent may be freed, and a socket closed, in whatever order.

Writers write themselves first: that is one system call, and an overlapped send another completion beside. What
the socket does not take is sent by the system, at most SEND_MOST at a time, so that a timeout sees progress.
Files that are still files go by TransmitFile. A receive has one chain's memory, a few connections are accepted
in advance, and who receives much hears that there is something, by a receive without memory, and reads it.

A socket that is tied elsewhere is polled by the driver, as the backend does it, and then read, written or
accepted from. `ties` counts the operations that use a tied socket, since tying it a second time fails as tying
another's does.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint16_t, uintptr_t
from libc.string cimport memcpy, memset
from cyevent.backends.afd cimport *
from cyevent.backends.afd cimport afd_guest
from cyevent.backends.afd_abi cimport *
from cyevent.backends.afd_abi cimport HANDLE
from cyevent.buffer.chain cimport *
from cyevent.buffer.file cimport evbuffer_file_chain_place_, evbuffer_file_chain_write_
from cyevent.buffer.types cimport evbuffer_chain, ev_off_t
from cyevent.completion.iocp_abi cimport *
from cyevent.completion.iocp_abi cimport ev_accept_memory, ev_request_memory
from cyevent.completion.port cimport *
from cyevent.completion.port cimport completion, completion_ops, completion_port, completion_send
from cyevent.completion.vtable cimport completion_loop, completion_register_
from cyevent.core.clock cimport NS_PER_MS
from cyevent.core.memory cimport mm_calloc, mm_free, mm_realloc
from cyevent.core.sys cimport *
from cyevent.core.sys cimport sockaddr_storage
from cyevent.core.types cimport *
from cyevent.net.sys cimport *
from cyevent.net.util cimport (
    evutil_accept4_, evutil_socket_, evutil_socket_finished_connecting_, would_block,
)

cdef enum:
    # Connections that are accepted in advance, each into a socket of its own. More when so many come at once.
    FIRST_ACCEPTS = 8
    ACCEPTS = 64
    ACCEPT_BATCH = 128         # where none can be
    SEND_MOST = 0x40000
    TRANSMIT_MOST = 0x100000
    RECEIVE_CHAIN = 4096       # its header included
    PATIENCE = 1000            # waits of a millisecond, when a port closes
    FIRST_TIES = 256

cdef struct iocp_request:
    ev_request_memory memory   # must be first: its address finds the rest
    completion *op
    bint under_way             # its completion has yet to come
    bint polling               # it is the driver's
    int error                  # it failed at once

cdef struct accept_slot:
    iocp_request request       # must be first
    evutil_socket_t into       # 0: there is none
    ev_accept_memory memory

# What both kinds of operations have.
cdef struct iocp_work:
    iocp_request request
    int under_way              # requests, those of the slots among them
    evutil_socket_t tie        # the socket that `tied` is about; 0: none
    bint tied

cdef struct iocp_receive:
    completion op              # must be first
    iocp_work work
    evbuffer_chain *chain      # what is received into; NULL for a receive without memory
    accept_slot *slots         # ACCEPTS of them
    int used_slots
    int failure                # accept: an errno, once it is to end

cdef struct iocp_send:
    completion_send send       # must be first
    iocp_work work
    sockaddr_storage address

cdef struct iocp_port:
    completion_port port       # must be first
    afd_guest guest
    HANDLE handle              # the backend's
    HANDLE afd                 # the driver's, for polls; NULL while there was none
    int under_way              # requests
    uint16_t *ties             # by a socket's slot
    int room_ties

cdef completion_ops iocp_ops


cdef inline iocp_port *port_of(completion *op) noexcept nogil:
    return <iocp_port *>op.port


cdef inline iocp_work *work_of(completion *op) noexcept nogil:
    if op.kind == COMPLETION_RECEIVE or op.kind == COMPLETION_ACCEPT:
        return &(<iocp_receive *>op).work
    return &(<iocp_send *>op).work


# --- tying sockets to the port ----------------------------------------------------------------------

cdef bint make_room(iocp_port *port, int slot) noexcept nogil:
    cdef int room = port.room_ties if port.room_ties else FIRST_TIES
    cdef uint16_t *grown
    while room <= slot:
        room *= 2
    if room == port.room_ties:
        return True
    grown = <uint16_t *>mm_realloc(port.ties, room * sizeof(uint16_t))
    if grown == NULL:
        return False
    memset(grown + port.room_ties, 0, (room - port.room_ties) * sizeof(uint16_t))
    port.ties = grown
    port.room_ties = room
    return True


cdef void untie(iocp_port *port, iocp_work *work) noexcept nogil:
    if work.tied and port.ties != NULL:
        port.ties[ev_slot_of(work.tie)] -= 1
    work.tied = False
    work.tie = 0


cdef bint is_tied(completion *op) noexcept nogil:
    """Whether what is begun on its socket completes in this port."""
    cdef iocp_port *port = port_of(op)
    cdef iocp_work *work = work_of(op)
    cdef int slot
    if work.tie == op.fd:
        return work.tied
    untie(port, work)
    if op.fd <= 0 or EV_NO_FD(op.fd):
        return False
    slot = ev_slot_of(op.fd)
    if not make_room(port, slot):
        return False
    work.tie = op.fd
    work.tied = port.ties[slot] != 0xffff and (ev_tie(op.fd, port.handle, &port.guest) or port.ties[slot] != 0)
    if work.tied:
        port.ties[slot] += 1
    return work.tied


# --- beginning --------------------------------------------------------------------------------------

cdef int begin(completion *op, iocp_request *request, int error) noexcept nogil:
    """It was begun, or failed at once. 0: it will complete in any case."""
    cdef iocp_port *port = port_of(op)
    request.op = op
    request.error = error
    if error and ev_post_request(port.handle, &port.guest, &request.memory) < 0:
        return -1
    request.under_way = True
    work_of(op).under_way += 1
    port.under_way += 1
    return 0


cdef int poll(completion *op, short what) noexcept nogil:
    """Has the driver tell when the socket is ready."""
    cdef iocp_port *port = port_of(op)
    cdef iocp_request *request = &work_of(op).request
    cdef evutil_socket_t base
    cdef unsigned events = AFD_POLL_ABORT | AFD_POLL_LOCAL_CLOSE | AFD_POLL_CONNECT_FAIL
    request.polling = True
    if port.afd == NULL:
        port.afd = ev_afd_open(port.handle, <uintptr_t>&port.guest)
        if port.afd == NULL:
            return begin(op, request, EMFILE)
    base = ev_afd_base(op.fd)
    if base < 0:
        return begin(op, request, errno)
    events |= AFD_POLL_SEND if what == EV_WRITE else AFD_POLL_RECEIVE | AFD_POLL_ACCEPT | AFD_POLL_DISCONNECT
    return begin(op, request, ev_ask(port.afd, &request.memory, base, events))


cdef int begin_receive(completion *op) noexcept nogil:
    cdef iocp_receive *receive = <iocp_receive *>op
    cdef iocp_request *request = &receive.work.request
    cdef evbuffer_chain *chain = NULL
    cdef int error
    if not is_tied(op):
        return poll(op, EV_READ)
    request.polling = False
    if op.bytes:
        chain = evbuffer_chain_new_(RECEIVE_CHAIN - sizeof(evbuffer_chain))
        # Without memory its owner finds out himself.
    receive.chain = chain
    if chain == NULL:
        error = ev_begin_receive(op.fd, NULL, 0, &request.memory)
    else:
        error = ev_begin_receive(op.fd, chain.buffer, chain.buffer_len, &request.memory)
    if begin(op, request, error) < 0:
        drop_chain(receive)
        return -1
    return 0


cdef void drop_chain(iocp_receive *receive) noexcept nogil:
    if receive.chain != NULL:
        evbuffer_chain_free_(receive.chain)
    receive.chain = NULL


cdef int begin_send(completion_send *send) noexcept nogil:
    cdef iocp_request *request = &(<iocp_send *>send).work.request
    cdef size_t most = SEND_MOST
    cdef int n = 0
    if not is_tied(&send.op):
        return poll(&send.op, EV_WRITE)
    while n < send.op.n_pieces and most:
        if send.pieces[n].iov_len > most:
            send.pieces[n].iov_len = most
        most -= send.pieces[n].iov_len
        n += 1
    request.polling = False
    return begin(&send.op, request, ev_begin_send(send.op.fd, send.pieces, n, &request.memory))


cdef int begin_sendfile(completion_send *send) noexcept nogil:
    cdef iocp_request *request = &(<iocp_send *>send).work.request
    cdef ev_off_t offset
    cdef size_t n = send.op.most if send.op.most < TRANSMIT_MOST else TRANSMIT_MOST
    cdef int file = evbuffer_file_chain_place_(send.pinned[0], &offset)
    cdef int error
    if is_tied(&send.op):
        request.polling = False
        error = ev_begin_transmit(send.op.fd, file, offset, n, &request.memory)
        if error != EBADF and error != EINVAL and error != ENOTSUP:
            return begin(&send.op, request, error)
        # Not from this file.
    return poll(&send.op, EV_WRITE)


cdef int begin_connect(completion *op, const sockaddr *address, int length) noexcept nogil:
    cdef iocp_send *connecting = <iocp_send *>op
    cdef iocp_request *request = &connecting.work.request
    if length > <int>sizeof(sockaddr_storage):
        set_errno(EINVAL)
        return -1
    memcpy(&connecting.address, address, length)
    if is_tied(op):
        request.polling = False
        if ev_begin_connect(op.fd, <sockaddr *>&connecting.address, length, &request.memory) == 0:
            return begin(op, request, 0)
    # Not in this family, or to nowhere: that is connect()'s to say.
    if connect(op.fd, address, length) < 0 and not EVUTIL_ERR_CONNECT_RETRIABLE(errno):
        return -1
    return poll(op, EV_WRITE)


cdef int begin_writable(completion *op) noexcept nogil:
    return poll(op, EV_WRITE)


# --- accepting --------------------------------------------------------------------------------------

cdef int arm(completion *op, accept_slot *slot) noexcept nogil:
    """0, or an errno."""
    cdef int family = 0, kind = 0, protocol = 0
    cdef evutil_socket_t sock = -1
    cdef int error
    if ev_kind_of(op.fd, &family, &kind, &protocol) == 0:
        sock = evutil_socket_(family, kind | (<int>op.most & (SOCK_NONBLOCK | SOCK_CLOEXEC)), protocol)
    if sock < 0:
        return errno
    error = ev_begin_accept(op.fd, sock, &slot.memory, &slot.request.memory)
    if error:
        ev_close_socket(sock)
        return error
    slot.into = sock
    slot.request.polling = False
    return 0 if begin(op, &slot.request, 0) == 0 else errno


cdef int arm_all(completion *op) noexcept nogil:
    """An errno when nothing could be begun, and nothing is under way."""
    cdef iocp_receive *accept = <iocp_receive *>op
    cdef int error = 0
    cdef int i
    if op.n_accepted - op.first_accepted >= accept.used_slots and accept.used_slots < ACCEPTS:
        accept.used_slots *= 2
    for i in range(accept.used_slots):
        if not accept.slots[i].request.under_way:
            error = arm(op, &accept.slots[i])
            if error:
                break
    return 0 if accept.work.under_way else error


cdef int begin_accept(completion *op, int flags) noexcept nogil:
    cdef iocp_receive *accept = <iocp_receive *>op
    cdef int error
    accept.failure = 0
    if accept.slots == NULL:
        accept.slots = <accept_slot *>mm_calloc(ACCEPTS, sizeof(accept_slot))
        accept.used_slots = FIRST_ACCEPTS
    if accept.slots == NULL or not is_tied(op):
        return poll(op, EV_READ)
    error = arm_all(op)
    if error == ENOTSUP:
        # There is no such function in this family.
        return poll(op, EV_READ)
    if error:
        accept.work.request.polling = True
        return begin(op, &accept.work.request, error)
    return 0


cdef void end_accepting(completion *op, int error) noexcept nogil:
    cdef iocp_receive *accept = <iocp_receive *>op
    if accept.failure == 0:
        accept.failure = error
        cancel(op)


cdef inline bint passes_by(int error) noexcept nogil:
    """It was the peer."""
    return error == ECONNRESET or error == ECONNABORTED or error == EINTR


cdef void accept_ready(completion *op, int64_t result) noexcept nogil:
    """Accepts what waits, of a socket that is polled."""
    cdef iocp_receive *accept = <iocp_receive *>op
    cdef evutil_socket_t fd
    cdef int _i
    if result < 0:
        accept.failure = <int>-result
        return
    for _i in range(ACCEPT_BATCH):
        fd = evutil_accept4_(op.fd, NULL, NULL, <int>op.most)
        if fd >= 0:
            completion_add_accepted_(op, fd)
        elif not passes_by(errno):
            if not would_block(errno):
                accept.failure = errno
            break
    completion_tell_(op)
    if accept.failure == 0 and poll(op, EV_READ) < 0:
        accept.failure = errno


cdef void slot_ready(completion *op, accept_slot *slot, int64_t result) noexcept nogil:
    cdef evutil_socket_t sock = slot.into
    slot.into = 0
    if result >= 0 and ev_finish_accept(op.fd, sock) == 0:
        completion_add_accepted_(op, sock)
        completion_tell_(op)
    else:
        ev_close_socket(sock)
        if result < 0 and not passes_by(<int>-result):
            end_accepting(op, ECONNABORTED if result == -ECANCELED else <int>-result)


cdef void accepted(completion *op, iocp_request *request, int64_t result) noexcept nogil:
    cdef iocp_receive *accept = <iocp_receive *>op
    cdef bint waited = op.state == COMPLETION_UNDER_WAY
    if request != &accept.work.request:
        slot_ready(op, <accept_slot *>request, result)
        if waited and accept.failure == 0:
            accept.failure = arm_all(op)
    elif waited:
        accept_ready(op, result)
    if accept.work.under_way:
        return
    if not waited:
        completion_over_(op, -ECANCELED)
        return
    finish(op, -accept.failure)


# --- what has completed -----------------------------------------------------------------------------

cdef void finish(completion *op, int64_t result) noexcept nogil:
    op.ended = True
    op.result = result
    completion_over_(op, result)


cdef void received(completion *op, int64_t result) noexcept nogil:
    cdef iocp_receive *receive = <iocp_receive *>op
    cdef evbuffer_chain *chain = receive.chain
    receive.chain = NULL
    if chain != NULL and result > 0:
        chain.off = <size_t>result
        completion_received_(op, chain)
        completion_over_(op, 0)
        return
    if chain != NULL:
        evbuffer_chain_free_(chain)
    elif result >= 0:
        op.readable = True
        completion_over_(op, 0)
        return
    if result == -ECANCELED:
        if op.state != COMPLETION_UNDER_WAY:
            completion_over_(op, -ECANCELED)
            return
        # Its socket was closed.
        result = -ECONNABORTED
    finish(op, result)


cdef int64_t write_pieces(completion_send *send) noexcept nogil:
    """A socket that is tied elsewhere is writable."""
    cdef ssize_t n
    if send.op.kind == COMPLETION_SENDFILE:
        n = evbuffer_file_chain_write_(send.pinned[0], send.op.fd, send.op.most)
    else:
        n = writev(send.op.fd, send.pieces, send.op.n_pieces)
    return n if n >= 0 else -errno


cdef int64_t outcome_of(completion *op, iocp_request *request, int64_t result) noexcept nogil:
    """Of what sends or connects; -EAGAIN to wait again."""
    cdef int state
    if result < 0:
        return -ECONNABORTED if result == -ECANCELED else result
    if op.kind == COMPLETION_CONNECT:
        if not request.polling:
            return 0 if ev_finish_connect(op.fd) == 0 else -errno
        state = evutil_socket_finished_connecting_(op.fd)
        return 0 if state > 0 else -errno if state < 0 else -EAGAIN
    if op.kind == COMPLETION_WRITABLE:
        return 0
    if request.polling:
        return write_pieces(<completion_send *>op)
    # There was less in the file than it had.
    return -EIO if result == 0 and op.kind == COMPLETION_SENDFILE else result


cdef void sent(completion *op, iocp_request *request, int64_t result) noexcept nogil:
    if op.state == COMPLETION_UNDER_WAY:
        result = outcome_of(op, request, result)
        if request.polling and would_block(<int>-result) and poll(op, EV_WRITE) == 0:
            return
    completion_over_(op, result)


cdef void completed(afd_guest *guest, void *overlapped) noexcept nogil:
    cdef iocp_request *request = <iocp_request *>overlapped
    cdef completion *op = request.op
    cdef iocp_port *port = port_of(op)
    cdef int64_t result
    request.under_way = False
    work_of(op).under_way -= 1
    port.under_way -= 1
    result = -request.error if request.error else ev_outcome(&request.memory)
    if request.polling and result >= 0 and ev_answer(&request.memory) & AFD_POLL_LOCAL_CLOSE:
        result = -ECONNABORTED
    if op.kind == COMPLETION_RECEIVE:
        received(op, result)
    elif op.kind == COMPLETION_ACCEPT:
        accepted(op, request, result)
    else:
        sent(op, request, result)


# --- ending -----------------------------------------------------------------------------------------

cdef void cancel_one(completion *op, iocp_request *request) noexcept nogil:
    # It may have completed, or its socket be closed, which cancels too.
    if request.under_way and not request.error:
        ev_cancel_request(port_of(op).afd if request.polling else <HANDLE>op.fd, &request.memory)


cdef void cancel(completion *op) noexcept nogil:
    # How much has left is known only of a send that is let alone; its owner may wish to go on from there.
    if op.orphan or (op.kind != COMPLETION_SEND and op.kind != COMPLETION_SENDFILE) \
            or work_of(op).request.polling:
        cancel_all(op)


cdef void cancel_all(completion *op) noexcept nogil:
    cdef iocp_receive *accept = <iocp_receive *>op
    cdef int i
    cancel_one(op, &work_of(op).request)
    if op.kind == COMPLETION_ACCEPT and accept.slots != NULL:
        for i in range(ACCEPTS):
            cancel_one(op, &accept.slots[i].request)


cdef void release(completion *op) noexcept nogil:
    untie(port_of(op), work_of(op))
    if op.kind == COMPLETION_ACCEPT:
        mm_free((<iocp_receive *>op).slots)


cdef void iocp_close(completion_loop *loop) noexcept nogil:
    cdef iocp_port *port = <iocp_port *>loop
    cdef event_base *base = port.port.base
    cdef completion *op = port.port.first
    cdef int _i
    while op != NULL:
        completion_dismiss_(op)
        cancel_all(op)
        op = op.next
    for _i in range(PATIENCE):
        if port.under_way == 0 or base.ops.dispatch(&base.host, base.backend, NS_PER_MS) < 0:
            break
    while port.port.first != NULL:
        # The system may yet write to it.
        port.port.first.lost = True
        completion_over_(port.port.first, -ECANCELED)
    if port.afd != NULL:
        CloseHandle(port.afd)
    mm_free(port.ties)
    port.ties = NULL
    port.room_ties = 0


# --- the port ---------------------------------------------------------------------------------------

cdef completion_loop *iocp_open(void *arg, int flags) noexcept nogil:
    cdef event_base *base = <event_base *>arg
    cdef HANDLE handle = afd_port_(base)
    cdef iocp_port *port
    if handle == NULL or not ev_find_functions():
        return NULL
    port = <iocp_port *>mm_calloc(1, sizeof(iocp_port))
    if port == NULL:
        return NULL
    completion_port_init_(&port.port, base, &iocp_ops)
    port.handle = handle
    port.guest.completed = completed
    port.port.sparse = True
    port.port.large = RECEIVE_CHAIN - sizeof(evbuffer_chain)
    port.port.begins_at_once = True
    port.port.connects = True
    port.port.sends_files = True
    return &port.port.loop


cdef int iocp_begin(completion_loop *loop) noexcept nogil:
    return 0


cdef void iocp_end(completion_loop *loop) noexcept nogil:
    pass


iocp_ops.loop.name = b"iocp"
iocp_ops.loop.open = iocp_open
iocp_ops.loop.begin = iocp_begin
iocp_ops.loop.dispatch = NULL
iocp_ops.loop.end = iocp_end
# No process is forked.
iocp_ops.loop.reinit = iocp_begin
iocp_ops.loop.close = iocp_close
iocp_ops.receive_size = sizeof(iocp_receive)
iocp_ops.send_size = sizeof(iocp_send)
iocp_ops.receive = begin_receive
iocp_ops.send = begin_send
iocp_ops.sendfile = begin_sendfile
iocp_ops.accept = begin_accept
iocp_ops.connect = begin_connect
iocp_ops.writable = begin_writable
iocp_ops.cancel = cancel
iocp_ops.release = release
completion_register_(&iocp_ops.loop)
