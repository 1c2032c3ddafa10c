"""One-shot events."""

from cyevent.core.clock cimport timeval_to_ns
from cyevent.core.debug cimport event_debug_unassign
from cyevent.core.event cimport event_active_nolock_, event_add_nolock_, event_assign
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.sys cimport EINVAL, ENOMEM, set_errno
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport *
from cyevent.core.types cimport event_once

cdef enum:
    EV_IO = 0x86        # EV_READ | EV_WRITE | EV_CLOSED


cdef void once_fired(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef event_once *once = <event_once *>arg
    cdef event_base *base = once.ev.base
    once.cb(fd, what, once.arg)
    EVLOCK_LOCK(base.lock)
    if once.next != NULL:
        once.next.prev = once.prev
    if once.prev != NULL:
        once.prev.next = once.next
    else:
        base.once_events = once.next
    EVLOCK_UNLOCK(base.lock)
    event_debug_unassign(&once.ev)
    mm_free(once)


cdef int event_base_once_release_(event_base *base, evutil_socket_t fd, short events,
                                  event_callback_fn callback, void *arg, int64_t ns,
                                  void (*release)(void *) noexcept nogil) noexcept nogil:
    cdef event_once *once
    cdef int result = 0
    cdef bint now = False
    if base == NULL or events & (EV_SIGNAL | EV_PERSIST):
        set_errno(EINVAL)
        return -1
    if (events & (EV_TIMEOUT | EV_IO)) == 0:
        set_errno(EINVAL)
        return -1
    once = <event_once *>mm_calloc(1, sizeof(event_once))
    if once == NULL:
        set_errno(ENOMEM)
        return -1
    once.cb = callback
    once.arg = arg
    once.release = release
    if events & EV_IO:
        event_assign(&once.ev, base, fd, events & EV_IO, once_fired, once)
    else:
        event_assign(&once.ev, base, -1, 0, once_fired, once)
        # Without a time to wait there is no timer to set.
        now = ns <= 0
    EVLOCK_LOCK(base.lock)
    if base.closed:
        set_errno(EINVAL)
        result = -1
    elif now:
        event_active_nolock_(&once.ev, EV_TIMEOUT, 1)
    else:
        result = event_add_nolock_(&once.ev, ns, False, 0)
    if result == 0:
        once.next = base.once_events
        if once.next != NULL:
            once.next.prev = once
        base.once_events = once
    EVLOCK_UNLOCK(base.lock)
    if result < 0:
        event_debug_unassign(&once.ev)
        mm_free(once)
    return result


cdef int event_base_once(event_base *base, evutil_socket_t fd, short events,
                         event_callback_fn callback, void *arg, const timeval *tv) noexcept nogil:
    return event_base_once_release_(base, fd, events, callback, arg,
                                    timeval_to_ns(tv) if tv != NULL else -1, NULL)
