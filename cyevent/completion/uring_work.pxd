# What io_uring is told of operations, and what becomes of them when it answers. All with the base's lock held,
# by the thread that has the ring, but for queueing.

from libc.stdint cimport uint8_t
from cyevent.completion.port cimport completion, completion_port, completion_send
from cyevent.completion.uring_ring cimport uring_ring
from cyevent.core.sys cimport iovec, sockaddr_storage

cdef extern from "sys/socket.h":
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen

cdef enum:
    # completion.marks
    QUEUED = 1                 # in the list of those that the kernel is to be told of
    IN_KERNEL = 2              # its last completion is still to come
    DISMISSED = 4              # the kernel was told to cancel it, and has not answered
    POLLING = 8                # a receive: the kernel was asked for readiness alone
    WAITING = 16               # it is over, but for that answer

cdef struct uring_port:
    completion_port port       # must be first
    uring_ring ring
    completion *queued         # oldest first
    completion *last_queued
    int in_kernel              # operations
    bint polling               # epoll's descriptor
    bint apart                 # the loop waits in epoll, which tells of the ring's bell
    bint watched               # the bell is among epoll's descriptors
    bint starved               # of buffers, in this turn
    int receivers              # of this turn
    int crowd                  # of the last turns how many more had many receivers than few
    int quiet                  # turns in a row in which epoll alone had something to tell
    int epoll_pid              # of the process that epoll's descriptor was made in

cdef struct uring_send:
    completion_send send       # must be first
    sockaddr_storage address   # these two are copied by the kernel when it is told
    int address_len
    msghdr message

# Has the ring tell when epoll has something.
cdef void uring_poll_readiness_(uring_port *port) noexcept nogil
# Makes entries of what is queued, as many as the ring takes.
cdef void uring_tell_queued_(uring_port *port) noexcept nogil
# Deals with what has completed. True if epoll has something.
cdef bint uring_reap_(uring_port *port) noexcept nogil


cdef inline void uring_queue_(uring_port *port, completion *op) noexcept nogil:
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


cdef inline void uring_unqueue_(uring_port *port, completion *op) noexcept nogil:
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
