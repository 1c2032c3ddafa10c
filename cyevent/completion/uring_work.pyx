"""Operations of io_uring: the entries that are made of them, and what their completions mean.

uring.pyx has the facts. A completion names its operation by the address in user_data; one that answers to the
operation's being cancelled has a bit set there. An operation's memory stays until both have come.
"""

from libc.errno cimport errno
from libc.stdint cimport uintptr_t
from libc.string cimport memset
from cyevent.buffer.file cimport evbuffer_file_chain_write_
from cyevent.completion.port cimport *
from cyevent.completion.port cimport completion, completion_send
from cyevent.completion.uring_abi cimport *
from cyevent.completion.uring_abi cimport uring_cqe, uring_sqe
from cyevent.completion.uring_ring cimport *
from cyevent.completion.uring_ring cimport uring_ring
from cyevent.completion.uring_work cimport *
from cyevent.completion.uring_work cimport uring_port, uring_send
from cyevent.core.sys cimport *
from cyevent.core.types cimport *

cdef extern from *:
    """
    #include <sys/poll.h>
    #ifndef MSG_MORE
      #define MSG_MORE 0
    #endif
    """
    int POLLIN, POLLOUT, MSG_MORE, ECANCELED

cdef enum:
    # user_data: a pointer to the operation, with a bit for the answer to cancelling it; or one of the others.
    NOTHING = 0
    READINESS = 1
    ANSWER = 2


# --- telling the kernel -----------------------------------------------------------------------------

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


cdef void uring_tell_queued_(uring_port *port) noexcept nogil:
    cdef completion *op
    while True:
        op = port.queued
        if op == NULL:
            return
        uring_unqueue_(port, op)
        if not tell(port, op):
            uring_queue_(port, op)
            return


cdef void uring_poll_readiness_(uring_port *port) noexcept nogil:
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
    uring_unqueue_(port, op)


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
        uring_queue_(port, op)


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
            uring_queue_(port, op)
        elif result == -ECANCELED:
            over(op, result)
        else:
            finish(op, result)
    elif result == -ENOBUFS:
        port.starved = True
        op.readable = True
        over(op, 0)
    elif op.state == COMPLETION_UNDER_WAY and (result > 0 or result == -ECANCELED):
        uring_queue_(port, op)
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
        uring_queue_(port, op)
    elif cqe.res >= 0 or cqe.res == -ECANCELED:
        over(op, -ECANCELED)
    else:
        finish(op, cqe.res)


cdef void sent(uring_port *port, completion *op, int64_t result) noexcept nogil:
    cdef completion_send *send = <completion_send *>op
    leave_kernel(port, op)
    if result == -ECANCELED and op.state == COMPLETION_UNDER_WAY:
        uring_queue_(port, op)
        return
    if op.kind == COMPLETION_SENDFILE and result > 0 and op.state == COMPLETION_UNDER_WAY:
        result = evbuffer_file_chain_write_(send.pinned[0], op.fd, op.most)
        if result < 0:
            result = -errno
            if result == -EAGAIN or result == -EINTR:
                uring_queue_(port, op)
                return
    elif op.kind == COMPLETION_WRITABLE and result > 0:
        result = 0
    over(op, result)


cdef bint uring_reap_(uring_port *port) noexcept nogil:
    cdef uring_ring *ring = &port.ring
    cdef uint32_t head = ring.cq_head[0]
    cdef uint32_t tail = uring_load(ring.cq_tail)
    cdef uring_cqe *cqe
    cdef completion *op
    cdef bint readiness = False
    cdef bint others = False
    cdef completion *before = NULL
    while head != tail:
        cqe = &ring.cqes[head & ring.cq_mask]
        head += 1
        if cqe.user_data == NOTHING:
            continue
        if cqe.user_data == READINESS:
            port.polling = False
            readiness = True
            continue
        others = True
        op = <completion *><uintptr_t>(cqe.user_data & ~<uint64_t>ANSWER)
        if cqe.user_data & ANSWER:
            answered(port, op, cqe.res)
        elif op.kind == COMPLETION_RECEIVE:
            port.receivers += op != before
            before = op
            received(port, op, cqe)
        elif op.kind == COMPLETION_ACCEPT:
            accepted(port, op, cqe)
        else:
            sent(port, op, cqe.res)
    uring_store(ring.cq_head, head)
    if others:
        port.quiet = 0
    elif readiness:
        port.quiet += 1
    return readiness
