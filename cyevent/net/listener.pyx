"""Listeners.

Facts: a listening socket stays readable while connections wait, so accepting one per wake-up costs a poll for
each; accepting until EAGAIN costs one call too many, once per batch. A process without free descriptors
cannot accept, and its listening socket stays readable: the loop would spin.

What follows: up to ACCEPT_BATCH connections a wake-up, so that a flood of them does not keep the loop from
those that are open. When descriptors run out, a spare one is closed, the connection is accepted with it and
closed, so that the peer learns of it now, and then the listener rests for a while that doubles, up to a
second.

A base with a completion port has connections accepted by the kernel as they come, with one operation for all
of them. That gives no addresses, so each connection is asked for its peer's; one that cannot say is gone
already. What was accepted when the listener is disabled waits for it, and is closed with it.

The lock is held while a callback runs, so that after evconnlistener_disable() none is running or comes. A
callback may need the GIL: who waits for the lock does so without it.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t
from cyevent.completion.port cimport *
from cyevent.completion.port cimport completion
from cyevent.core.clock cimport NS_PER_MS
from cyevent.core.event cimport (
    event_add, event_add_ns_, event_assign, event_del, event_del_noblock, wait_for_callback_,
)
from cyevent.core.log cimport event_warn_fd_
from cyevent.core.debug cimport event_debug_unassign
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.sys cimport *
from cyevent.core.threads cimport (
    EVLOCK_LOCK, EVLOCK_UNLOCK, evthread_lock_alloc_, evthread_lock_free_,
    evthread_locking_enabled_,
)
from cyevent.core.types cimport EV_PERSIST, EV_READ
from cyevent.net.sys cimport *
from cyevent.net.util cimport *

cdef extern from *:
    """
    #ifdef _WIN32
      /* Memory ends there before handles do. */
      #define ev_open_spare() (-1)
    #else
      #define ev_open_spare() open("/dev/null", O_RDONLY | O_CLOEXEC)
    #endif
    """
    int ev_open_spare() noexcept nogil
    int SOMAXCONN

cdef enum:
    ACCEPT_BATCH = 128
    BACK_OFF_FIRST = 10        # milliseconds
    BACK_OFF_MOST = 1000
    KEEPALIVE_SECONDS = 300


cdef inline bint out_of_descriptors(int error) noexcept nogil:
    return error == EMFILE or error == ENFILE or error == ENOBUFS or error == ENOMEM


cdef int begin(evconnlistener *lev) noexcept nogil:
    cdef completion *op = lev.accepting
    if op == NULL:
        return event_add(&lev.listener, NULL)
    if op.n_accepted or op.ended:
        completion_wake_(op)
    if op.state == COMPLETION_UNDER_WAY or op.ended:
        return 0
    return completion_accept_(op, lev.listener.fd, lev.accept_flags)


cdef void free_operation(evconnlistener *lev) noexcept nogil:
    """Without the listener's lock: its callback may be waiting for that."""
    cdef event_base *base = lev.listener.base
    if lev.accepting == NULL:
        return
    EVLOCK_LOCK(base.lock)
    wait_for_callback_(base, &lev.accepting.done)
    EVLOCK_UNLOCK(base.lock)
    completion_free_(lev.accepting)
    lev.accepting = NULL


cdef void destroy(evconnlistener *lev) noexcept nogil:
    """The last reference is gone; the lock is held."""
    cdef void *lock = lev.lock
    # Deleting waits for a callback in the loop's thread, and that waits for the lock.
    EVLOCK_UNLOCK(lock)
    event_del(&lev.listener)
    event_del(&lev.retry)
    free_operation(lev)
    event_debug_unassign(&lev.listener)
    event_debug_unassign(&lev.retry)
    if lev.flags & LEV_OPT_CLOSE_ON_FREE:
        ev_close_socket(lev.listener.fd)
    if lev.spare >= 0:
        ev_close_file(lev.spare)
    evthread_lock_free_(lock)
    mm_free(lev)


cdef inline bint decref_and_unlock(evconnlistener *lev) noexcept nogil:
    """True if that freed it."""
    lev.refcnt -= 1
    if lev.refcnt == 0:
        destroy(lev)
        return True
    EVLOCK_UNLOCK(lev.lock)
    return False


cdef void retry_due(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef evconnlistener *lev = <evconnlistener *>arg
    EVLOCK_LOCK(lev.lock)
    if lev.enabled and lev.cb != NULL:
        begin(lev)
    EVLOCK_UNLOCK(lev.lock)


cdef void pause(evconnlistener *lev) noexcept nogil:
    lev.back_off = lev.back_off * 2 if lev.back_off else BACK_OFF_FIRST
    if lev.back_off > BACK_OFF_MOST:
        lev.back_off = BACK_OFF_MOST
    event_del_noblock(&lev.listener)
    event_add_ns_(&lev.retry, <int64_t>lev.back_off * NS_PER_MS)


cdef void rest(evconnlistener *lev) noexcept nogil:
    """No descriptors are left: tell one peer so, and try again later."""
    cdef evutil_socket_t fd
    if lev.spare >= 0:
        ev_close_file(lev.spare)
        fd = evutil_accept4_(lev.listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)
        if fd >= 0:
            ev_close_socket(fd)
        lev.spare = -1
    lev.spare = ev_open_spare()
    pause(lev)


cdef void listener_readable(evutil_socket_t sock, short what, void *arg) noexcept nogil:
    cdef evconnlistener *lev = <evconnlistener *>arg
    cdef sockaddr_storage address
    cdef ev_socklen_t length
    cdef evutil_socket_t fd
    cdef int code = 0
    cdef int count = 0
    EVLOCK_LOCK(lev.lock)
    while count < ACCEPT_BATCH:
        if not lev.enabled or lev.cb == NULL:
            EVLOCK_UNLOCK(lev.lock)
            return
        length = sizeof(address)
        fd = evutil_accept4_(sock, <sockaddr *>&address, &length, lev.accept_flags)
        if fd < 0:
            code = errno
            if code == ECONNABORTED or code == EINTR:
                # That peer is gone; others may wait.
                count += 1
                code = 0
                continue
            break
        count += 1
        lev.back_off = 0
        if length == 0:
            # Some kernels do so for a connection that was reset at once.
            ev_close_socket(fd)
            continue
        lev.refcnt += 1
        lev.cb(lev, fd, <sockaddr *>&address, <int>length, lev.user_data)
        if lev.refcnt == 1:
            decref_and_unlock(lev)
            return
        lev.refcnt -= 1
    if code == 0 or would_block(code):
        EVLOCK_UNLOCK(lev.lock)
        return
    lev.refcnt += 1
    failed(lev, code)
    decref_and_unlock(lev)


cdef void failed(evconnlistener *lev, int code) noexcept nogil:
    if out_of_descriptors(code):
        rest(lev)
    elif lev.accepting != NULL:
        pause(lev)
    if lev.errorcb != NULL:
        set_errno(code)
        lev.errorcb(lev, lev.user_data)
    elif lev.back_off <= BACK_OFF_FIRST:
        set_errno(code)
        event_warn_fd_(b"accept", lev.listener.fd)


cdef void accept_done(completion *op, void *arg) noexcept nogil:
    cdef evconnlistener *lev = <evconnlistener *>arg
    cdef sockaddr_storage address
    cdef ev_socklen_t length
    cdef evutil_socket_t fd
    cdef int code
    cdef int count = 0
    EVLOCK_LOCK(lev.lock)
    lev.refcnt += 1
    while lev.enabled and lev.cb != NULL:
        if count == ACCEPT_BATCH:
            # The others in the next turn.
            completion_wake_(op)
            break
        fd = completion_accepted_(op)
        if fd < 0:
            break
        count += 1
        lev.back_off = 0
        length = sizeof(address)
        if getpeername(fd, <sockaddr *>&address, &length) < 0:
            ev_close_socket(fd)
            continue
        lev.cb(lev, fd, <sockaddr *>&address, <int>length, lev.user_data)
        if lev.refcnt == 1:
            decref_and_unlock(lev)
            return
    if lev.enabled and lev.cb != NULL and op.state == COMPLETION_IDLE:
        code = <int>-op.result if op.ended else 0
        op.ended = False
        if code == 0 or code == ECONNABORTED or code == EINTR:
            begin(lev)
        else:
            failed(lev, code)
    decref_and_unlock(lev)


cdef evconnlistener *evconnlistener_new(event_base *base, evconnlistener_cb cb, void *arg,
                                        unsigned flags, int backlog,
                                        evutil_socket_t fd) noexcept nogil:
    cdef evconnlistener *lev
    if backlog != 0 and listen(fd, backlog if backlog > 0 else SOMAXCONN) < 0:
        return NULL
    lev = <evconnlistener *>mm_calloc(1, sizeof(evconnlistener))
    if lev == NULL:
        return NULL
    if flags & LEV_OPT_THREADSAFE:
        lev.lock = evthread_lock_alloc_()
        if lev.lock == NULL and evthread_locking_enabled_():
            mm_free(lev)
            return NULL
    lev.cb = cb
    lev.user_data = arg
    lev.flags = flags
    lev.refcnt = 1
    if not flags & LEV_OPT_LEAVE_SOCKETS_BLOCKING:
        lev.accept_flags |= SOCK_NONBLOCK
    if flags & LEV_OPT_CLOSE_ON_EXEC:
        lev.accept_flags |= SOCK_CLOEXEC
    lev.spare = -1
    event_assign(&lev.listener, base, fd, EV_READ | EV_PERSIST, listener_readable, lev)
    event_assign(&lev.retry, base, -1, 0, retry_due, lev)
    if completion_port_of_(base) != NULL:
        # Without memory for it, readiness will do.
        lev.accepting = completion_new_(completion_port_of_(base), COMPLETION_ACCEPT, base.nqueues // 2,
                                        accept_done, lev)
    if not flags & LEV_OPT_DISABLED and evconnlistener_enable(lev) < 0:
        completion_free_(lev.accepting)
        event_debug_unassign(&lev.listener)
        event_debug_unassign(&lev.retry)
        evthread_lock_free_(lev.lock)
        mm_free(lev)
        return NULL
    lev.spare = ev_open_spare()
    return lev


cdef int prepare(evutil_socket_t fd, unsigned flags, const sockaddr *address, int socklen) noexcept nogil:
    cdef int family = address.sa_family if address != NULL else AF_UNSPEC
    if family == AF_INET or family == AF_INET6:
        if evutil_set_tcp_keepalive(fd, 1, KEEPALIVE_SECONDS) < 0:
            return -1
    elif family == AF_UNIX and flags & (LEV_OPT_REUSEABLE | LEV_OPT_REUSEABLE_PORT):
        # The kernel would accept the options and disregard them.
        set_errno(EINVAL)
        return -1
    if flags & LEV_OPT_REUSEABLE and evutil_make_listen_socket_reuseable(fd) < 0:
        return -1
    if flags & LEV_OPT_REUSEABLE_PORT and evutil_make_listen_socket_reuseable_port(fd) < 0:
        return -1
    if flags & LEV_OPT_DEFERRED_ACCEPT and evutil_make_tcp_listen_socket_deferred(fd) < 0:
        return -1
    if flags & LEV_OPT_BIND_IPV6ONLY and evutil_make_listen_socket_ipv6only(fd) < 0:
        return -1
    if flags & LEV_OPT_BIND_IPV4_AND_IPV6 and evutil_make_listen_socket_not_ipv6only(fd) < 0:
        return -1
    return bind(fd, address, socklen) if address != NULL else 0


cdef evconnlistener *evconnlistener_new_bind(event_base *base, evconnlistener_cb cb, void *arg,
                                             unsigned flags, int backlog, const sockaddr *address,
                                             int socklen) noexcept nogil:
    cdef evconnlistener *lev = NULL
    cdef evutil_socket_t fd
    cdef int kind = SOCK_STREAM | SOCK_NONBLOCK
    cdef int code
    if backlog == 0:
        set_errno(EINVAL)
        return NULL
    if flags & LEV_OPT_CLOSE_ON_EXEC:
        kind |= SOCK_CLOEXEC
    fd = evutil_socket_(address.sa_family if address != NULL else AF_UNSPEC, kind, 0)
    if fd < 0:
        return NULL
    if prepare(fd, flags, address, socklen) == 0:
        lev = evconnlistener_new(base, cb, arg, flags, backlog, fd)
    if lev == NULL:
        code = errno
        ev_close_socket(fd)
        set_errno(code)
    return lev


cdef void evconnlistener_free(evconnlistener *lev) noexcept nogil:
    EVLOCK_LOCK(lev.lock)
    lev.cb = NULL
    lev.errorcb = NULL
    decref_and_unlock(lev)


cdef int evconnlistener_enable(evconnlistener *lev) noexcept nogil:
    cdef int result = 0
    EVLOCK_LOCK(lev.lock)
    lev.enabled = True
    if lev.cb != NULL:
        result = begin(lev)
    EVLOCK_UNLOCK(lev.lock)
    return result


cdef int evconnlistener_disable(evconnlistener *lev) noexcept nogil:
    cdef int result
    EVLOCK_LOCK(lev.lock)
    lev.enabled = False
    event_del_noblock(&lev.retry)
    completion_cancel_(lev.accepting)
    # It may be the callback, with the lock, that another thread's waiting would wait for.
    result = event_del_noblock(&lev.listener)
    EVLOCK_UNLOCK(lev.lock)
    return result


cdef event_base *evconnlistener_get_base(evconnlistener *lev) noexcept nogil:
    return lev.listener.base


cdef evutil_socket_t evconnlistener_get_fd(evconnlistener *lev) noexcept nogil:
    return lev.listener.fd


cdef void evconnlistener_set_cb(evconnlistener *lev, evconnlistener_cb cb, void *arg) noexcept nogil:
    cdef bint had_none
    EVLOCK_LOCK(lev.lock)
    had_none = lev.cb == NULL
    lev.cb = cb
    lev.user_data = arg
    if cb == NULL:
        completion_cancel_(lev.accepting)
    if lev.enabled and had_none and cb != NULL:
        evconnlistener_enable(lev)
    EVLOCK_UNLOCK(lev.lock)


cdef void evconnlistener_set_error_cb(evconnlistener *lev,
                                      evconnlistener_errorcb errorcb) noexcept nogil:
    EVLOCK_LOCK(lev.lock)
    lev.errorcb = errorcb
    EVLOCK_UNLOCK(lev.lock)
