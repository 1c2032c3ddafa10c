"""Completion ports over io_uring.

Facts and hazards (those of rings and their memory are in uring_ring.pyx):

- An operation refers to the open file: while a receive is under way, close() neither ends the connection nor
  stops the receive.
- A multishot receive ends when there is no buffer (ENOBUFS), when the kernel has no room for its completions,
  and when its thread ends (ECANCELED); none of these is the connection's end.
- Cancelling is an operation too. What is cancelled may complete first; or it is just between two receives, and
  is not found (ENOENT), or at work (EALREADY), and goes on.
- A send that the socket takes completes within io_uring_enter(), so that a wait for one completion is over at
  once.
- Only the ring's thread may enter it, and a thread that ends takes its operations with it.
- Polling an epoll descriptor tells of its becoming readable, not of its staying so.

What follows. One io_uring_enter() a turn tells the kernel what was queued since the last, waits, and has what
completed. Readiness goes on in epoll, for all that is not a bufferevent or a listener of this port: its
descriptor is polled by the ring, once each time, and epoll is asked only when that completes. So what a base
had before is as it was, and a base whose ring is refused is one without a port.

Submitting writes no entry: operations stand in a list, in memory of ours, from which the entries are made
before the wait. So any thread may submit, more may be queued than the ring holds, what is cancelled before the
wait never gets to the kernel, and a forked child touches nothing that its parent shares.

With one or two completions a turn a queued send costs more than send(): a completion to wait for beside the one
that matters. `sparse` says so, and then bufferevents write at once. Pieces of `large` bytes and more would be
cut into buffers; their receivers hear that the socket is readable instead, and read it with as few calls as
ever. It is the same when the buffers are exhausted: that wait for readiness needs no memory, and the next turn
is a receive again.

A loop that is run by another thread than before, or in a forked child, gets a ring of its own: the old one is
closed, which cancels what was under way there, and all of it begins again.
"""

from libc.errno cimport errno
from libc.stddef cimport size_t
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy, memset
from cyevent.buffer.file cimport evbuffer_file_chain_write_
from cyevent.completion.port cimport *
from cyevent.completion.port cimport completion, completion_ops, completion_port, completion_send
from cyevent.completion.uring_abi cimport *
from cyevent.completion.uring_abi cimport uring_cqe, uring_sqe
from cyevent.completion.uring_ring cimport *
from cyevent.completion.uring_ring cimport uring_ring
from cyevent.completion.vtable cimport completion_loop, completion_register_
from cyevent.core.clock cimport NS_PER_MS
from cyevent.core.log cimport event_warn_
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.sys cimport *
from cyevent.core.sys cimport sockaddr_storage
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK, evthread_id_
from cyevent.core.types cimport *

cdef extern from *:
    """
    #include <sys/poll.h>
    #ifndef MSG_MORE
      #define MSG_MORE 0
    #endif
    """
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    int POLLIN, POLLOUT, MSG_MORE, ECANCELED, ETIME, EBUSY
    int getpid() noexcept nogil

cdef enum:
    # completion.marks
    QUEUED = 1                 # in the list of those that the kernel is to be told of
    IN_KERNEL = 2              # its last completion is still to come
    DISMISSED = 4              # the kernel was told to cancel it, and has not answered
    POLLING = 8                # a receive: the kernel was asked for readiness alone
    WAITING = 16               # it is over, but for that answer
    # user_data: a pointer to the operation, with a bit for the answer to cancelling it; or one of the others.
    NOTHING = 0
    READINESS = 1
    ANSWER = 2
    # In a turn with at most so many receives sending at once is cheaper.
    SPARSE = 2
    LARGE = 4096               # what fills a buffer
    PATIENCE = 1000            # waits of a millisecond, when a port closes

cdef struct uring_port:
    completion_port port       # must be first
    uring_ring ring
    completion *queued         # oldest first
    completion *last_queued
    int in_kernel              # operations
    bint polling               # epoll's descriptor

cdef struct uring_send:
    completion_send send       # must be first
    sockaddr_storage address   # these two are copied by the kernel when it is told
    int address_len
    msghdr message

cdef completion_ops uring_ops


# --- telling the kernel -----------------------------------------------------------------------------

cdef inline void queue(uring_port *port, completion *op) noexcept nogil:
    if op.marks & QUEUED:
        return
    op.marks |= QUEUED
    op.next_queued = NULL
    op.prev_queued = port.last_queued
    if port.last_queued != NULL:
        port.last_queued.next_queued = op
    else:
        port.queued = op
    port.last_queued = op


cdef inline void unqueue(uring_port *port, completion *op) noexcept nogil:
    if not op.marks & QUEUED:
        return
    op.marks &= <uint8_t>~QUEUED
    if op.prev_queued != NULL:
        op.prev_queued.next_queued = op.next_queued
    else:
        port.queued = op.next_queued
    if op.next_queued != NULL:
        op.next_queued.prev_queued = op.prev_queued
    else:
        port.last_queued = op.prev_queued


cdef inline void fill_poll(uring_sqe *sqe, int fd, int events) noexcept nogil:
    sqe.opcode = URING_OP_POLL_ADD
    sqe.fd = fd
    sqe.op_flags = <uint32_t>events


cdef inline void fill_send(uring_sqe *sqe, uring_send *op) noexcept nogil:
    cdef completion_send *send = &op.send
    sqe.op_flags = <uint32_t>(MSG_NOSIGNAL | (MSG_MORE if send.more else 0))
    if send.op.n_pieces == 1:
        sqe.opcode = URING_OP_SEND
        sqe.addr = <uint64_t>send.pieces[0].iov_base
        sqe.len = <uint32_t>send.pieces[0].iov_len
        if send.pieces[0].iov_len > 0x7ffff000:
            sqe.len = 0x7ffff000
        return
    memset(&op.message, 0, sizeof(msghdr))
    op.message.msg_iov = send.pieces
    op.message.msg_iovlen = send.op.n_pieces
    sqe.opcode = URING_OP_SENDMSG
    sqe.addr = <uint64_t>&op.message
    sqe.len = 1


cdef inline void fill(uring_port *port, uring_sqe *sqe, completion *op) noexcept nogil:
    cdef uring_send *connecting
    sqe.user_data = <uint64_t>op
    sqe.fd = op.fd
    op.marks &= <uint8_t>~POLLING
    if op.kind == COMPLETION_RECEIVE:
        # Without a buffer it would end at once, whether there is something to receive or not.
        if op.bytes and port.ring.n_offered:
            sqe.opcode = URING_OP_RECV
            sqe.ioprio = URING_RECV_MULTISHOT
            sqe.flags = URING_SQE_BUFFER_SELECT
        else:
            op.marks |= POLLING
            fill_poll(sqe, op.fd, POLLIN)
    elif op.kind == COMPLETION_SEND:
        fill_send(sqe, <uring_send *>op)
    elif op.kind == COMPLETION_SENDFILE or op.kind == COMPLETION_WRITABLE:
        fill_poll(sqe, op.fd, POLLOUT)
    elif op.kind == COMPLETION_ACCEPT:
        sqe.opcode = URING_OP_ACCEPT
        sqe.ioprio = URING_ACCEPT_MULTISHOT
        sqe.op_flags = <uint32_t>op.most
    else:
        connecting = <uring_send *>op
        sqe.opcode = URING_OP_CONNECT
        sqe.addr = <uint64_t>&connecting.address
        sqe.off = <uint64_t>connecting.address_len


cdef bint tell(uring_port *port, completion *op) noexcept nogil:
    """False: the ring takes no more."""
    cdef uring_sqe *sqe
    if op.marks & IN_KERNEL and (op.state != COMPLETION_CANCELLING or op.marks & DISMISSED):
        return True
    sqe = uring_get_sqe_(&port.ring)
    if sqe == NULL:
        return False
    if op.marks & IN_KERNEL:
        op.marks |= DISMISSED
        sqe.opcode = URING_OP_ASYNC_CANCEL
        sqe.fd = -1
        sqe.addr = <uint64_t>op
        sqe.user_data = <uint64_t>op | ANSWER
        return True
    fill(port, sqe, op)
    op.marks |= IN_KERNEL
    port.in_kernel += 1
    return True


cdef void tell_queued(uring_port *port) noexcept nogil:
    cdef completion *op
    while True:
        op = port.queued
        if op == NULL:
            return
        unqueue(port, op)
        if not tell(port, op):
            queue(port, op)
            return


cdef inline void poll_readiness(uring_port *port) noexcept nogil:
    cdef event_base *base = port.port.base
    cdef uring_sqe *sqe
    if port.polling:
        return
    sqe = uring_get_sqe_(&port.ring)
    if sqe != NULL:
        fill_poll(sqe, base.ops.descriptor(base.backend), POLLIN)
        sqe.user_data = READINESS
        port.polling = True


# --- what has completed -----------------------------------------------------------------------------

cdef inline void leave_kernel(uring_port *port, completion *op) noexcept nogil:
    op.marks &= <uint8_t>~IN_KERNEL
    port.in_kernel -= 1
    # It may be waiting to be cancelled.
    unqueue(port, op)


cdef void over(completion *op, int64_t result) noexcept nogil:
    if op.marks & DISMISSED:
        # The answer refers to it.
        op.marks |= WAITING
        op.result = result
    else:
        completion_over_(op, result)


cdef void finish(completion *op, int64_t result) noexcept nogil:
    op.ended = True
    op.result = result
    over(op, result)


cdef void answered(uring_port *port, completion *op, int32_t answer) noexcept nogil:
    op.marks &= <uint8_t>~DISMISSED
    if op.marks & WAITING:
        op.marks &= <uint8_t>~WAITING
        completion_over_(op, op.result)
    elif answer < 0 and op.marks & IN_KERNEL and op.state == COMPLETION_CANCELLING:
        # It was not to be had just then.
        queue(port, op)


cdef void received(uring_port *port, completion *op, const uring_cqe *cqe) noexcept nogil:
    cdef evbuffer_chain *chain
    cdef int32_t result = cqe.res
    if cqe.flags & URING_CQE_BUFFER:
        chain = uring_filled_(&port.ring, cqe.flags, <uint32_t>result if result > 0 else 0)
        if chain != NULL:
            completion_received_(op, chain)
            completion_tell_(op)
        elif result > 0:
            result = -ENOMEM
            if cqe.flags & URING_CQE_MORE:
                # What comes after what is lost must not be taken for it.
                op.result = result
                op.ended = True
                completion_tell_(op)
                return
    if cqe.flags & URING_CQE_MORE:
        return
    leave_kernel(port, op)
    if op.marks & POLLING:
        if result > 0:
            op.readable = True
            over(op, 0)
        elif result == -ECANCELED and op.state == COMPLETION_UNDER_WAY:
            queue(port, op)
        elif result == -ECANCELED:
            over(op, result)
        else:
            finish(op, result)
    elif result == -ENOBUFS:
        uring_starved_(&port.ring)
        op.readable = True
        over(op, 0)
    elif op.state == COMPLETION_UNDER_WAY and (result > 0 or result == -ECANCELED):
        queue(port, op)
    elif result > 0 or result == -ECANCELED:
        over(op, -ECANCELED)
    else:
        finish(op, result)


cdef void accepted(uring_port *port, completion *op, const uring_cqe *cqe) noexcept nogil:
    if cqe.res >= 0:
        completion_add_accepted_(op, cqe.res)
        completion_tell_(op)
    if cqe.flags & URING_CQE_MORE:
        return
    leave_kernel(port, op)
    if op.state == COMPLETION_UNDER_WAY and (cqe.res >= 0 or cqe.res == -ECANCELED):
        queue(port, op)
    elif cqe.res >= 0 or cqe.res == -ECANCELED:
        over(op, -ECANCELED)
    else:
        finish(op, cqe.res)


cdef void sent(uring_port *port, completion *op, int64_t result) noexcept nogil:
    cdef completion_send *send = <completion_send *>op
    leave_kernel(port, op)
    if result == -ECANCELED and op.state == COMPLETION_UNDER_WAY:
        queue(port, op)
        return
    if op.kind == COMPLETION_SENDFILE and result > 0 and op.state == COMPLETION_UNDER_WAY:
        result = evbuffer_file_chain_write_(send.pinned[0], op.fd, op.most)
        if result < 0:
            result = -errno
            if result == -EAGAIN or result == -EINTR:
                queue(port, op)
                return
    elif op.kind == COMPLETION_WRITABLE and result > 0:
        result = 0
    over(op, result)


cdef void reap(uring_port *port, bint *readiness) noexcept nogil:
    cdef uring_ring *ring = &port.ring
    cdef uint32_t head = ring.cq_head[0]
    cdef uint32_t tail = uring_load(ring.cq_tail)
    cdef uring_cqe *cqe
    cdef completion *op
    cdef int receives = 0
    while head != tail:
        cqe = &ring.cqes[head & ring.cq_mask]
        head += 1
        if cqe.user_data == NOTHING:
            continue
        if cqe.user_data == READINESS:
            port.polling = False
            readiness[0] = True
            continue
        op = <completion *><uintptr_t>(cqe.user_data & ~<uint64_t>ANSWER)
        if cqe.user_data & ANSWER:
            answered(port, op, cqe.res)
        elif op.kind == COMPLETION_RECEIVE:
            receives += 1
            received(port, op, cqe)
        elif op.kind == COMPLETION_ACCEPT:
            accepted(port, op, cqe)
        else:
            sent(port, op, cqe.res)
    uring_store(ring.cq_head, head)
    port.port.sparse = receives <= SPARSE


# --- the loop ---------------------------------------------------------------------------------------

cdef inline bint is_ours(uring_port *port) noexcept nogil:
    return port.ring.fd >= 0 and port.ring.thread == evthread_id_() and port.ring.pid == getpid()


cdef void begin_again(uring_port *port) noexcept nogil:
    """The ring is gone, and what was under way with it."""
    cdef completion *op = port.port.first
    cdef completion *following
    port.polling = False
    port.in_kernel = 0
    while op != NULL:
        following = op.next
        op.marks &= QUEUED
        if op.state == COMPLETION_CANCELLING:
            unqueue(port, op)
            completion_over_(op, -ECANCELED)
        else:
            queue(port, op)
        op = following


cdef void quiesce(uring_port *port) noexcept nogil:
    """Waits until the kernel has nothing of ours any more."""
    cdef uring_sqe *sqe = uring_get_sqe_(&port.ring)
    cdef bint readiness = False
    cdef int _i
    if sqe != NULL:
        sqe.opcode = URING_OP_ASYNC_CANCEL
        sqe.fd = -1
        sqe.op_flags = URING_CANCEL_ALL | URING_CANCEL_ANY
    for _i in range(PATIENCE):
        if port.in_kernel == 0:
            break
        uring_submit_(&port.ring, True, NS_PER_MS)
        reap(port, &readiness)


cdef void leave_ring(uring_port *port) noexcept nogil:
    """Of another process, or of another thread: that may go on to use the buffers until it notices."""
    cdef bint readiness = False
    cdef bint shared = port.ring.pid != getpid()
    if is_ours(port):
        quiesce(port)
    elif not shared:
        # What has completed was taken from its sockets.
        reap(port, &readiness)
    uring_ring_close_(&port.ring, not shared and port.in_kernel > 0)
    begin_again(port)


cdef int uring_begin(completion_loop *loop) noexcept nogil:
    cdef uring_port *port = <uring_port *>loop
    if is_ours(port):
        return 0
    if port.ring.fd >= 0 and (port.ring.thread != 0 or port.ring.pid != getpid()):
        leave_ring(port)
    if port.ring.fd < 0 and uring_ring_open_(&port.ring) < 0:
        return -1
    return uring_ring_enable_(&port.ring)


cdef int uring_dispatch(completion_loop *loop, int64_t timeout) noexcept nogil:
    cdef uring_port *port = <uring_port *>loop
    cdef uring_ring *ring = &port.ring
    cdef event_base *base = port.port.base
    cdef bint readiness = False
    cdef int result = 0
    uring_offer_(ring)
    poll_readiness(port)
    tell_queued(port)
    if timeout != 0 or uring_unsubmitted_(ring) or ring.cq_head[0] != uring_load(ring.cq_tail) \
            or uring_load(ring.sq_flags) & (URING_SQ_TASKRUN | URING_SQ_CQ_OVERFLOW):
        EVLOCK_UNLOCK(base.lock)
        result = uring_submit_(ring, timeout != 0, timeout)
        EVLOCK_LOCK(base.lock)
    if result < 0:
        if errno == EINTR:
            base.host.interrupted = True
        elif errno != ETIME and errno != EBUSY and errno != EAGAIN:
            event_warn_(b"io_uring_enter")
            return -1
    reap(port, &readiness)
    if readiness:
        return base.ops.dispatch(&base.host, base.backend, 0)
    return 0


cdef void uring_end(completion_loop *loop) noexcept nogil:
    cdef uring_port *port = <uring_port *>loop
    cdef bint readiness = False
    if port.queued == NULL:
        return
    uring_offer_(&port.ring)
    tell_queued(port)
    uring_submit_(&port.ring, False, 0)
    reap(port, &readiness)


cdef int uring_reinit(completion_loop *loop) noexcept nogil:
    cdef uring_port *port = <uring_port *>loop
    if port.ring.fd >= 0:
        leave_ring(port)
    return uring_ring_open_(&port.ring)


cdef void forget(uring_port *port) noexcept nogil:
    """The port closes: nobody will hear of anything."""
    cdef completion *op
    while port.queued != NULL:
        unqueue(port, port.queued)
    while port.port.first != NULL:
        op = port.port.first
        op.marks = 0
        completion_dismiss_(op)
        completion_over_(op, -ECANCELED)


cdef void uring_close(completion_loop *loop) noexcept nogil:
    cdef uring_port *port = <uring_port *>loop
    cdef completion *op = port.port.first
    cdef bint readiness = False
    cdef bint shared
    while op != NULL:
        completion_dismiss_(op)
        op = op.next
    if port.ring.fd >= 0:
        shared = port.ring.pid != getpid()
        if is_ours(port):
            quiesce(port)
        elif not shared and port.ring.thread != 0:
            # A thread that has ended has left nothing under way.
            reap(port, &readiness)
        uring_ring_close_(&port.ring, port.in_kernel > 0 and not shared)
    forget(port)


# --- operations -------------------------------------------------------------------------------------

cdef int begin_simple(completion *op) noexcept nogil:
    queue(<uring_port *>op.port, op)
    return 0


cdef int begin_send(completion_send *op) noexcept nogil:
    queue(<uring_port *>op.op.port, &op.op)
    return 0


cdef int begin_accept(completion *op, int flags) noexcept nogil:
    queue(<uring_port *>op.port, op)
    return 0


cdef int begin_connect(completion *op, const sockaddr *address, int length) noexcept nogil:
    cdef uring_send *connecting = <uring_send *>op
    if length > <int>sizeof(sockaddr_storage):
        set_errno(EINVAL)
        return -1
    memcpy(&connecting.address, address, length)
    connecting.address_len = length
    queue(<uring_port *>op.port, op)
    return 0


cdef void cancel(completion *op) noexcept nogil:
    cdef uring_port *port = <uring_port *>op.port
    if not op.marks & IN_KERNEL:
        unqueue(port, op)
        completion_over_(op, -ECANCELED)
        return
    queue(port, op)
    # Nobody else will tell the kernel, and until it knows, a descriptor that is closed is not.
    if not port.port.base.running_loop and is_ours(port):
        uring_end(&port.port.loop)


# --- the port ---------------------------------------------------------------------------------------

cdef completion_loop *uring_open(void *arg, int flags) noexcept nogil:
    cdef event_base *base = <event_base *>arg
    cdef uring_port *port
    # EVENT_BASE_FLAG_STARTUP_IOCP is for others.
    if not flags & EVENT_BASE_FLAG_COMPLETION or base.ops.descriptor == NULL:
        return NULL
    port = <uring_port *>mm_calloc(1, sizeof(uring_port))
    if port == NULL:
        return NULL
    completion_port_init_(&port.port, base, &uring_ops)
    port.port.holds_descriptors = True
    port.port.large = LARGE
    if uring_ring_open_(&port.ring) < 0:
        mm_free(port)
        return NULL
    return &port.port.loop


uring_ops.loop.name = b"io_uring"
uring_ops.loop.open = uring_open
uring_ops.loop.begin = uring_begin
uring_ops.loop.dispatch = uring_dispatch
uring_ops.loop.end = uring_end
uring_ops.loop.reinit = uring_reinit
uring_ops.loop.close = uring_close
uring_ops.receive_size = sizeof(completion)
uring_ops.send_size = sizeof(uring_send)
uring_ops.receive = begin_simple
uring_ops.send = begin_send
uring_ops.sendfile = begin_send
uring_ops.accept = begin_accept
uring_ops.connect = begin_connect
uring_ops.writable = begin_simple
uring_ops.cancel = cancel
completion_register_(&uring_ops.loop)
