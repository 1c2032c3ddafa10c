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
- Polling an epoll descriptor tells of its becoming readable, not of its staying so. A ring has a bell that
  epoll can watch in its turn (uring_ring.pyx).
- A receive without end takes all that is there as long as there are buffers, in pieces. That is not only slow:
  how much a connection's reader takes at a time is what TCP makes its window of, and keeps for long.

What follows. One io_uring_enter() a turn tells the kernel what was queued since the last, waits, and has what
completed. Readiness goes on in epoll, for all that is not a bufferevent or a listener of this port: its
descriptor is polled by the ring, once each time, and epoll is asked only when that completes. So what a base
had before is as it was, and a base whose ring is refused is one without a port.

That is two calls a turn while only epoll has something to tell. After QUIET such turns in a row the loop waits
in epoll, which watches the ring's bell; the first time that the ring has something to do, it is the other way
round again. Never both at once: each would tell of the other.

Submitting writes no entry: operations stand in a list, in memory of ours, from which the entries are made
before the wait. So any thread may submit, more may be queued than the ring holds, what is cancelled before the
wait never gets to the kernel, and a forked child touches nothing that its parent shares.

With one or two completions a turn a queued send costs more than send(): a completion to wait for beside the one
that matters. `sparse` says so, and then bufferevents write at once. Pieces of `large` bytes and more would be
cut into buffers; their receivers hear that the socket is readable instead, and read it with as few calls as
ever. While turns have few receivers such a wait costs more by an operation, once each time, than by an event
that stays in epoll; with many it is the other way round, but for those who read as much as fits, where either
is little beside what they read (`reading_events`). Also when the buffers are exhausted receivers are told of
readiness, by an operation: that needs no memory, and the next turn is a receive again.

A loop that is run by another thread than before, or in a forked child, gets a ring of its own: the old one is
closed, which cancels what was under way there, and all of it begins again.
"""

from libc.errno cimport errno
from libc.string cimport memcpy
from cyevent.completion.port cimport *
from cyevent.completion.port cimport completion, completion_ops, completion_port, completion_send
from cyevent.completion.uring_abi cimport *
from cyevent.completion.uring_abi cimport uring_sqe
from cyevent.completion.uring_ring cimport *
from cyevent.completion.uring_ring cimport uring_ring
from cyevent.completion.uring_work cimport *
from cyevent.completion.uring_work cimport uring_port, uring_send
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
    #include <sys/epoll.h>
    """
    int ECANCELED, ETIME, EBUSY
    ctypedef union epoll_data_t:
        int fd
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    uint32_t EPOLLIN
    int EPOLL_CTL_ADD
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event) noexcept nogil
    int getpid() noexcept nogil

cdef enum:
    SPARSE = 2                 # in a turn with more receivers than that sends are best queued
    CROWD = 16                 # so many more such turns than others, and readers are best told by the ring
    QUIET = 8                  # after so many turns without news from the ring the loop waits in epoll
    LARGE = 4096               # what fills a buffer
    PATIENCE = 1000            # waits of a millisecond, when a port closes
    NOBODYS = -2               # the ring, in epoll's data: no descriptor of the base's

cdef completion_ops uring_ops


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
            uring_unqueue_(port, op)
            completion_over_(op, -ECANCELED)
        else:
            uring_queue_(port, op)
        op = following


cdef void quiesce(uring_port *port) noexcept nogil:
    """Waits until the kernel has nothing of ours any more."""
    cdef uring_sqe *sqe = uring_get_sqe_(&port.ring)
    cdef int _i
    if sqe != NULL:
        sqe.opcode = URING_OP_ASYNC_CANCEL
        sqe.fd = -1
        sqe.op_flags = URING_CANCEL_ALL | URING_CANCEL_ANY
    for _i in range(PATIENCE):
        if port.in_kernel == 0:
            break
        uring_submit_(&port.ring, True, NS_PER_MS)
        uring_reap_(port)


cdef void leave_ring(uring_port *port) noexcept nogil:
    """Of another process, or of another thread: that may go on to use the buffers until it notices."""
    cdef bint shared = port.ring.pid != getpid()
    if is_ours(port):
        quiesce(port)
    elif not shared:
        # What has completed was taken from its sockets.
        uring_reap_(port)
    if shared:
        # The bell is the parent's.
        port.apart = False
    else:
        come_back(port)
    port.watched = False
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


cdef inline bint has_something(uring_ring *ring) noexcept nogil:
    return ring.cq_head[0] != uring_load(ring.cq_tail) \
        or uring_load(ring.sq_flags) & (URING_SQ_TASKRUN | URING_SQ_CQ_OVERFLOW)


cdef void come_back(uring_port *port) noexcept nogil:
    """From now on the loop waits in the ring again."""
    port.quiet = 0
    if port.apart:
        port.apart = False
        uring_ring_bell_off_(&port.ring)


cdef bint watch_bell(uring_port *port) noexcept nogil:
    """Has epoll tell of the bell, from now on."""
    cdef event_base *base = port.port.base
    cdef epoll_event registration
    cdef int bell = uring_ring_bell_(&port.ring)
    registration.events = EPOLLIN
    registration.data.u64 = 0
    registration.data.fd = NOBODYS
    port.watched = bell >= 0 \
        and epoll_ctl(base.ops.descriptor(base.backend), EPOLL_CTL_ADD, bell, &registration) == 0
    return port.watched


cdef bint go_apart(uring_port *port) noexcept nogil:
    """From now on the loop waits in epoll, if nothing is to be done in the ring first."""
    if port.polling or port.ring.pid != port.epoll_pid or not (port.watched or watch_bell(port)):
        port.quiet = 0
        return False
    port.apart = port.port.sparse = True
    uring_ring_bell_on_(&port.ring)
    if has_something(&port.ring):
        come_back(port)
    return port.apart


cdef int ask_epoll(uring_port *port, int64_t timeout) noexcept nogil:
    cdef event_base *base = port.port.base
    cdef int before = base.event_count_active
    cdef int result = base.ops.dispatch(&base.host, base.backend, timeout)
    port.receivers += base.event_count_active - before
    return result


cdef void judge(uring_port *port) noexcept nogil:
    """The turn, by how many it had something for."""
    cdef completion_port *common = &port.port
    cdef int receivers = port.receivers
    port.receivers = 0
    common.sparse = receivers <= SPARSE or port.apart
    if port.starved:
        port.starved = False
        # One to whom much comes will read by itself, and needs no more.
        if receivers > SPARSE:
            uring_starved_(&port.ring)
    if receivers > SPARSE:
        if port.crowd < CROWD:
            port.crowd += 1
        else:
            common.reading_events = COMPLETION_EVENTS_MUCH
    elif receivers:
        if port.crowd:
            port.crowd -= 1
        else:
            common.reading_events = COMPLETION_EVENTS_ALWAYS


cdef int wait_apart(uring_port *port, int64_t timeout) noexcept nogil:
    cdef int result = ask_epoll(port, timeout)
    if has_something(&port.ring):
        uring_submit_(&port.ring, False, 0)
        uring_reap_(port)
        come_back(port)
    judge(port)
    return result


cdef int uring_dispatch(completion_loop *loop, int64_t timeout) noexcept nogil:
    cdef uring_port *port = <uring_port *>loop
    cdef uring_ring *ring = &port.ring
    cdef event_base *base = port.port.base
    cdef int result = 0
    if port.quiet >= QUIET and port.queued == NULL and not uring_unsubmitted_(ring) \
            and (port.apart or go_apart(port)):
        return wait_apart(port, timeout)
    if port.apart:
        come_back(port)
    uring_offer_(ring)
    uring_poll_readiness_(port)
    uring_tell_queued_(port)
    if timeout != 0 or uring_unsubmitted_(ring) or has_something(ring):
        EVLOCK_UNLOCK(base.lock)
        result = uring_submit_(ring, timeout != 0, timeout)
        EVLOCK_LOCK(base.lock)
    if result < 0:
        if errno == EINTR:
            base.host.interrupted = True
        elif errno != ETIME and errno != EBUSY and errno != EAGAIN:
            event_warn_(b"io_uring_enter")
            return -1
    result = ask_epoll(port, 0) if uring_reap_(port) else 0
    judge(port)
    return result


cdef void uring_end(completion_loop *loop) noexcept nogil:
    cdef uring_port *port = <uring_port *>loop
    if port.queued == NULL:
        return
    uring_offer_(&port.ring)
    uring_tell_queued_(port)
    uring_submit_(&port.ring, False, 0)
    uring_reap_(port)


cdef int uring_reinit(completion_loop *loop) noexcept nogil:
    cdef uring_port *port = <uring_port *>loop
    # Epoll's descriptor is a new one.
    port.watched = False
    port.epoll_pid = getpid()
    if port.ring.fd >= 0:
        leave_ring(port)
    return uring_ring_open_(&port.ring)


cdef void forget(uring_port *port) noexcept nogil:
    """The port closes: nobody will hear of anything."""
    cdef completion *op
    while port.queued != NULL:
        uring_unqueue_(port, port.queued)
    while port.port.first != NULL:
        op = port.port.first
        op.marks = 0
        completion_dismiss_(op)
        completion_over_(op, -ECANCELED)


cdef void uring_close(completion_loop *loop) noexcept nogil:
    cdef uring_port *port = <uring_port *>loop
    cdef completion *op = port.port.first
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
            uring_reap_(port)
        uring_ring_close_(&port.ring, port.in_kernel > 0 and not shared)
    forget(port)


# --- operations -------------------------------------------------------------------------------------

cdef int begin_simple(completion *op) noexcept nogil:
    uring_queue_(<uring_port *>op.port, op)
    return 0


cdef int begin_send(completion_send *op) noexcept nogil:
    uring_queue_(<uring_port *>op.op.port, &op.op)
    return 0


cdef int begin_accept(completion *op, int flags) noexcept nogil:
    uring_queue_(<uring_port *>op.port, op)
    return 0


cdef int begin_connect(completion *op, const sockaddr *address, int length) noexcept nogil:
    cdef uring_send *connecting = <uring_send *>op
    if length > <int>sizeof(sockaddr_storage):
        set_errno(EINVAL)
        return -1
    memcpy(&connecting.address, address, length)
    connecting.address_len = length
    uring_queue_(<uring_port *>op.port, op)
    return 0


cdef void cancel(completion *op) noexcept nogil:
    cdef uring_port *port = <uring_port *>op.port
    if not op.marks & IN_KERNEL:
        uring_unqueue_(port, op)
        completion_over_(op, -ECANCELED)
        return
    uring_queue_(port, op)
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
    port.port.reading_events = COMPLETION_EVENTS_ALWAYS
    port.epoll_pid = getpid()
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
