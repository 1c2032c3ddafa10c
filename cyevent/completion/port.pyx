"""Completion ports: what their kinds have in common.

An operation's memory belongs to its owner until completion_free_(), and then, if the kernel is not done with
it, to the port, which frees it when the kernel is. So neither a bufferevent nor a listener has to outlive its
operations; what it must not do is close a descriptor first, where the port holds descriptors.
"""

from libc.errno cimport errno
from cyevent.buffer.callbacks cimport evbuffer_invoke_callbacks_
from cyevent.buffer.chain cimport *
from cyevent.buffer.evbuffer cimport (
    EVBUFFER_MAX, evbuffer_append_nolock_, evbuffer_chain_insert_,
)
from cyevent.buffer.file cimport chain_ready, evbuffer_file_chain_in_memory_
from cyevent.buffer.types cimport *
from cyevent.buffer.zerocopy cimport leaves_uncopied
from cyevent.core.memory cimport mm_calloc, mm_free, mm_realloc
from cyevent.core.queue cimport (
    count_event, event_callback_activate_later_nolock_, event_callback_activate_nolock_,
    event_callback_cancel_nolock_, event_deferred_cb_init_, event_deferred_cb_set_priority_,
    evthread_notify_base_, needs_notify, notify_later, uncount_event, unlock_and_notify,
)
from cyevent.core.sys cimport *
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport *

cdef enum:
    # So few bytes are copied where there is room behind others: a chain, and the memory that it holds up, would
    # cost more.
    COPIED = 256
    FIRST_ACCEPTED = 16


cdef inline const completion_ops *ops_of(completion *op) noexcept nogil:
    return <const completion_ops *>op.port.loop.ops


cdef completion_port *completion_port_of_(event_base *base) noexcept nogil:
    return <completion_port *>base.port if base != NULL else NULL


cdef void completion_port_init_(completion_port *port, event_base *base,
                                const completion_ops *ops) noexcept nogil:
    port.loop.ops = &ops.loop
    port.base = base
    port.first = NULL
    port.sparse = False
    port.large = 0
    port.reading_events = COMPLETION_EVENTS_NEVER
    port.holds_descriptors = False
    port.begins_at_once = False
    port.connects = False
    port.sends_files = False


# --- owning operations ------------------------------------------------------------------------------

cdef void run_done(event_callback *cb, void *arg) noexcept nogil:
    cdef completion *op = <completion *>cb
    op.fn(op, arg)


cdef completion *completion_new_(completion_port *port, completion_kind kind, int priority, completion_fn fn,
                                 void *arg) noexcept nogil:
    cdef const completion_ops *ops = <const completion_ops *>port.loop.ops
    cdef size_t size = ops.send_size if kind == COMPLETION_SEND else ops.receive_size
    cdef completion *op = <completion *>mm_calloc(1, size)
    if op == NULL:
        set_errno(ENOMEM)
        return NULL
    event_deferred_cb_init_(&op.done, priority, run_done, arg)
    op.fn = fn
    op.port = port
    op.kind = <uint8_t>kind
    op.fd = -1
    return op


cdef void release(completion *op) noexcept nogil:
    """Nobody has it, and the kernel is done with it."""
    if op.lost:
        return
    if ops_of(op).release != NULL:
        ops_of(op).release(op)
    while op.first_accepted < op.n_accepted:
        ev_close_socket(op.accepted[op.first_accepted])
        op.first_accepted += 1
    mm_free(op.accepted)
    evbuffer_chain_free_all_(op.first)
    mm_free(op)


cdef inline void link(completion *op) noexcept nogil:
    cdef completion_port *port = op.port
    op.prev = NULL
    op.next = port.first
    if port.first != NULL:
        port.first.prev = op
    port.first = op


cdef inline void unlink(completion *op) noexcept nogil:
    if op.prev != NULL:
        op.prev.next = op.next
    else:
        op.port.first = op.next
    if op.next != NULL:
        op.next.prev = op.prev


cdef inline void wake(event_base *base) noexcept nogil:
    """The loop has to begin or to end something."""
    if not (<completion_port *>base.port).begins_at_once and needs_notify(base):
        evthread_notify_base_(base)


cdef inline void begin_later(completion *op) noexcept nogil:
    if not op.again:
        op.again = True
        count_event(op.port.base, 0)


cdef void completion_dismiss_(completion *op) noexcept nogil:
    if op.state == COMPLETION_UNDER_WAY:
        op.state = COMPLETION_CANCELLING
    elif op.again:
        op.again = False
    else:
        return
    uncount_event(op.port.base, 0)


cdef void stop(completion *op) noexcept nogil:
    """The base's lock is held."""
    cdef event_base *base = op.port.base
    cdef bint under_way = op.state == COMPLETION_UNDER_WAY
    completion_dismiss_(op)
    if not under_way:
        return
    ops_of(op).cancel(op)
    wake(base)


cdef void completion_free_(completion *op) noexcept nogil:
    cdef event_base *base
    if op == NULL:
        return
    base = op.port.base
    EVLOCK_LOCK(base.lock)
    notify_later(base)
    event_callback_cancel_nolock_(base, &op.done)
    op.orphan = True
    if op.state == COMPLETION_IDLE:
        release(op)
    else:
        # That may free it.
        stop(op)
    unlock_and_notify(base)


cdef void completion_set_priority_(completion *op, int priority) noexcept nogil:
    if op == NULL:
        return
    EVLOCK_LOCK(op.port.base.lock)
    # In a queue it is found by its priority.
    if not op.done.flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER):
        event_deferred_cb_set_priority_(&op.done, priority)
    EVLOCK_UNLOCK(op.port.base.lock)


# --- submitting -------------------------------------------------------------------------------------

cdef inline void under_way(completion *op) noexcept nogil:
    cdef event_base *base = op.port.base
    op.state = COMPLETION_UNDER_WAY
    op.ended = op.readable = False
    op.result = 0
    # As an event that is added would be.
    count_event(base, 0)


cdef inline int begun(completion *op, int result) noexcept nogil:
    cdef event_base *base = op.port.base
    if result == 0:
        link(op)
        wake(base)
        return 0
    op.state = COMPLETION_IDLE
    uncount_event(base, 0)
    unpin(op)
    return -1


cdef inline bint refuses(completion *op) noexcept nogil:
    """True, with errno, when it cannot be submitted; else it is noted if it has to wait."""
    if op.port.base.closed or op.state == COMPLETION_UNDER_WAY:
        set_errno(EINVAL)
        return True
    return False


cdef int completion_receive_(completion *op, evutil_socket_t fd, bint bytes) noexcept nogil:
    cdef event_base *base = op.port.base
    cdef int result = -1
    EVLOCK_LOCK(base.lock)
    notify_later(base)
    if not refuses(op):
        op.fd = fd
        op.bytes = bytes
        if op.state == COMPLETION_CANCELLING:
            begin_later(op)
            result = 0
        else:
            under_way(op)
            result = begun(op, ops_of(op).receive(op))
    unlock_and_notify(base)
    return result


cdef int completion_accept_(completion *op, evutil_socket_t fd, int flags) noexcept nogil:
    cdef event_base *base = op.port.base
    cdef int result = -1
    EVLOCK_LOCK(base.lock)
    notify_later(base)
    if not refuses(op):
        op.fd = fd
        op.most = <size_t>flags
        if op.state == COMPLETION_CANCELLING:
            begin_later(op)
            result = 0
        else:
            under_way(op)
            result = begun(op, ops_of(op).accept(op, flags))
    unlock_and_notify(base)
    return result


cdef int completion_connect_(completion *op, evutil_socket_t fd, const sockaddr *address,
                             int length) noexcept nogil:
    cdef event_base *base = op.port.base
    cdef int result = -1
    EVLOCK_LOCK(base.lock)
    notify_later(base)
    if op.state == COMPLETION_CANCELLING:
        set_errno(EALREADY)
    elif not refuses(op):
        op.fd = fd
        op.kind = COMPLETION_CONNECT
        under_way(op)
        result = begun(op, ops_of(op).connect(op, address, length))
    unlock_and_notify(base)
    return result


cdef int completion_writable_(completion *op, evutil_socket_t fd) noexcept nogil:
    cdef event_base *base = op.port.base
    cdef int result = -1
    EVLOCK_LOCK(base.lock)
    notify_later(base)
    if op.state == COMPLETION_CANCELLING:
        set_errno(EALREADY)
    elif not refuses(op):
        op.fd = fd
        op.kind = COMPLETION_WRITABLE
        under_way(op)
        result = begun(op, ops_of(op).writable(op))
    unlock_and_notify(base)
    return result


cdef inline void pin(completion_send *op, evbuffer_chain *chain) noexcept nogil:
    chain_ref(chain)
    op.pinned[op.op.n_pieces] = chain
    op.op.n_pieces += 1


cdef inline void unpin(completion *op) noexcept nogil:
    cdef int i
    for i in range(op.n_pieces):
        evbuffer_chain_free_((<completion_send *>op).pinned[i])
    op.n_pieces = 0


cdef inline bint leaves_as_file(evbuffer_chain *chain) noexcept nogil:
    return chain.flags & CHAIN_FILESEGMENT and not evbuffer_file_chain_in_memory_(chain)


cdef int collect(completion_send *op, evbuffer *output, size_t most) noexcept nogil:
    """Pins what is to be sent. -1: a file does not give its bytes."""
    cdef evbuffer_chain *chain = output.first
    cdef iovec *piece
    op.more = False
    op.op.most = 0
    if chain != NULL and leaves_as_file(chain):
        op.op.kind = COMPLETION_SENDFILE
        op.op.most = chain.off if chain.off < most else most
        pin(op, chain)
        return 0
    op.op.kind = COMPLETION_SEND
    while chain != NULL and most and op.op.n_pieces < COMPLETION_PIECES:
        if op.op.n_pieces and leaves_uncopied(output, chain, most):
            # Its writer writes it himself.
            op.more = True
            break
        if chain.flags & CHAIN_FILESEGMENT:
            if leaves_as_file(chain):
                op.more = True
                break
            if not chain_ready(chain):
                if op.op.n_pieces == 0:
                    return -1
                break
        piece = &op.pieces[op.op.n_pieces]
        piece.iov_base = chain_data(chain)
        piece.iov_len = chain.off if chain.off < most else most
        most -= piece.iov_len
        op.op.most += piece.iov_len
        pin(op, chain)
        chain = chain.next
    return 0


cdef int completion_send_(completion *op, evutil_socket_t fd, evbuffer *output, size_t most) noexcept nogil:
    cdef completion_send *send = <completion_send *>op
    cdef event_base *base = op.port.base
    cdef int result = -1
    EVLOCK_LOCK(base.lock)
    notify_later(base)
    if op.state == COMPLETION_CANCELLING:
        set_errno(EALREADY)
    elif not refuses(op):
        op.fd = fd
        if output.total_len == 0 or most == 0:
            set_errno(EINVAL)
        elif collect(send, output, most) == 0:
            under_way(op)
            if op.kind == COMPLETION_SENDFILE:
                result = begun(op, ops_of(op).sendfile(send))
            else:
                result = begun(op, ops_of(op).send(send))
    unlock_and_notify(base)
    return result


cdef void completion_cancel_(completion *op) noexcept nogil:
    if op == NULL:
        return
    EVLOCK_LOCK(op.port.base.lock)
    notify_later(op.port.base)
    stop(op)
    unlock_and_notify(op.port.base)


cdef void completion_await_(completion *op) noexcept nogil:
    EVLOCK_LOCK(op.port.base.lock)
    if op.state == COMPLETION_CANCELLING:
        begin_later(op)
    EVLOCK_UNLOCK(op.port.base.lock)


# --- what has come ----------------------------------------------------------------------------------

cdef void completion_wake_(completion *op) noexcept nogil:
    cdef event_base *base = op.port.base
    EVLOCK_LOCK(base.lock)
    notify_later(base)
    event_callback_activate_later_nolock_(base, &op.done)
    unlock_and_notify(base)


cdef inline evbuffer_chain *detach(completion *op, size_t most, size_t *rest) noexcept nogil:
    """Takes the chains that `most` bytes are in. rest: how many of the one that follows belong to them."""
    cdef evbuffer_chain *first = op.first
    cdef evbuffer_chain *last = NULL
    cdef evbuffer_chain *chain = first
    while chain != NULL and chain.off <= most:
        most -= chain.off
        op.total -= chain.off
        last = chain
        chain = chain.next
    rest[0] = most if chain != NULL else 0
    op.first = chain
    if chain == NULL:
        op.last = NULL
    if last == NULL:
        return NULL
    last.next = NULL
    return first


cdef ssize_t completion_take_(completion *op, evbuffer *into, size_t most) noexcept nogil:
    cdef event_base *base = op.port.base
    cdef evbuffer_chain *chain
    cdef evbuffer_chain *following
    cdef size_t before = into.total_len
    cdef size_t rest
    cdef size_t room = EVBUFFER_MAX - before
    if most == 0 or most > room:
        most = room
    EVLOCK_LOCK(base.lock)
    chain = detach(op, most, &rest)
    EVLOCK_UNLOCK(base.lock)
    while chain != NULL:
        following = chain.next
        chain.next = NULL
        if chain.off <= COPIED and into.total_len \
                and chain_space(into.last_with_datap[0]) >= chain.off:
            evbuffer_append_nolock_(into, chain_data(chain), chain.off)
            evbuffer_chain_free_(chain)
        else:
            evbuffer_chain_insert_(into, chain)
        chain = following
    if rest:
        EVLOCK_LOCK(base.lock)
        if evbuffer_append_nolock_(into, chain_data(op.first), rest) == 0:
            op.first.misalign += rest
            op.first.off -= rest
            op.total -= rest
        EVLOCK_UNLOCK(base.lock)
    rest = into.total_len - before
    if rest:
        evbuffer_invoke_callbacks_(into)
    return <ssize_t>rest


cdef evutil_socket_t completion_accepted_(completion *op) noexcept nogil:
    cdef evutil_socket_t fd = -1
    EVLOCK_LOCK(op.port.base.lock)
    if op.first_accepted < op.n_accepted:
        fd = op.accepted[op.first_accepted]
        op.first_accepted += 1
    if op.first_accepted == op.n_accepted:
        op.first_accepted = op.n_accepted = 0
    EVLOCK_UNLOCK(op.port.base.lock)
    return fd


# --- for the implementations ------------------------------------------------------------------------

cdef void completion_received_(completion *op, evbuffer_chain *chain) noexcept nogil:
    chain.next = NULL
    if op.last != NULL:
        op.last.next = chain
    else:
        op.first = chain
    op.last = chain
    op.total += chain.off


cdef void completion_add_accepted_(completion *op, evutil_socket_t fd) noexcept nogil:
    cdef evutil_socket_t *grown
    cdef int room
    if op.n_accepted == op.room_accepted:
        room = op.room_accepted * 2 if op.room_accepted else FIRST_ACCEPTED
        grown = <evutil_socket_t *>mm_realloc(op.accepted, room * sizeof(evutil_socket_t))
        if grown == NULL:
            ev_close_socket(fd)
            return
        op.accepted = grown
        op.room_accepted = room
    op.accepted[op.n_accepted] = fd
    op.n_accepted += 1


cdef void completion_tell_(completion *op) noexcept nogil:
    if op.state == COMPLETION_UNDER_WAY and not op.orphan:
        event_callback_activate_nolock_(op.port.base, &op.done)


cdef inline bint is_sending(const completion *op) noexcept nogil:
    return op.kind != COMPLETION_RECEIVE and op.kind != COMPLETION_ACCEPT


cdef void completion_over_(completion *op, int64_t result) noexcept nogil:
    cdef event_base *base = op.port.base
    cdef bint waited = op.state == COMPLETION_UNDER_WAY
    cdef bint again = op.again
    cdef int failed = 0
    unlink(op)
    unpin(op)
    if waited or again:
        uncount_event(base, 0)
    op.again = False
    op.state = COMPLETION_IDLE
    if op.orphan:
        release(op)
        return
    if waited or not op.ended:
        op.result = result
    if waited or (again and (op.total or op.ended or op.n_accepted or is_sending(op))):
        # Something has come before it was over, or its owner waits for the result, and will begin again.
        event_callback_activate_nolock_(base, &op.done)
        return
    if not again:
        return
    under_way(op)
    if op.kind == COMPLETION_ACCEPT:
        failed = begun(op, ops_of(op).accept(op, <int>op.most))
    else:
        failed = begun(op, ops_of(op).receive(op))
    if failed < 0:
        op.ended = True
        op.result = -errno
        event_callback_activate_nolock_(base, &op.done)
