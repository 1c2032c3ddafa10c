"""Finalizing events and callbacks."""

from libc.stdint cimport uint8_t
from cyevent.core.debug cimport debug_use_
from cyevent.core.event cimport callback_to_event, event_active_nolock_, event_del_nolock_
from cyevent.core.log cimport debugging_, event_warnx_
from cyevent.core.queue cimport event_callback_activate_nolock_, event_callback_cancel_nolock_
from cyevent.core.sys cimport EINVAL, set_errno
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport *


cdef int finalize(event *ev, event_finalize_callback_fn callback, int closure) noexcept nogil:
    if debugging_():
        debug_use_(ev, b"event_finalize")
    if ev.base == NULL:
        event_warnx_(b"event_finalize: event has no event_base set")
        set_errno(EINVAL)
        return -1
    EVLOCK_LOCK(ev.base.lock)
    event_del_nolock_(ev, EVENT_DEL_NOBLOCK)
    ev.evcb.closure = <uint8_t>closure
    ev.evcb.cb.evfinalize = callback
    event_active_nolock_(ev, EV_FINALIZE, 1)
    ev.evcb.flags |= EVLIST_FINALIZING
    EVLOCK_UNLOCK(ev.base.lock)
    return 0


cdef int event_finalize(unsigned flags, event *ev,
                        event_finalize_callback_fn callback) noexcept nogil:
    return finalize(ev, callback, EV_CLOSURE_EVENT_FINALIZE)


cdef int event_free_finalize(unsigned flags, event *ev,
                             event_finalize_callback_fn callback) noexcept nogil:
    return finalize(ev, callback, EV_CLOSURE_EVENT_FINALIZE_FREE)


cdef void event_callback_finalize_nolock_(event_base *base, unsigned flags, event_callback *cb,
                                          deferred_cb_fn finalizer) noexcept nogil:
    if cb.flags & EVLIST_INIT:
        event_del_nolock_(callback_to_event(cb), EVENT_DEL_NOBLOCK)
    else:
        event_callback_cancel_nolock_(base, cb)
    cb.closure = EV_CLOSURE_CB_FINALIZE
    cb.cb.cbfinalize = finalizer
    event_callback_activate_nolock_(base, cb)
    cb.flags |= EVLIST_FINALIZING


cdef void event_callback_finalize_(event_base *base, unsigned flags, event_callback *cb,
                                   deferred_cb_fn finalizer) noexcept nogil:
    EVLOCK_LOCK(base.lock)
    event_callback_finalize_nolock_(base, flags, cb, finalizer)
    EVLOCK_UNLOCK(base.lock)


cdef int event_callback_finalize_many_(event_base *base, int n, event_callback **callbacks,
                                       deferred_cb_fn finalizer) noexcept nogil:
    cdef int i
    cdef bint one_runs = False
    EVLOCK_LOCK(base.lock)
    for i in range(n):
        if callbacks[i] == base.current_event:
            # It ends before its finalizer begins: both are the loop's.
            event_callback_finalize_nolock_(base, 0, callbacks[i], finalizer)
            one_runs = True
        elif callbacks[i].flags & EVLIST_INIT:
            event_del_nolock_(callback_to_event(callbacks[i]), EVENT_DEL_NOBLOCK)
        else:
            event_callback_cancel_nolock_(base, callbacks[i])
    if not one_runs and n > 0:
        event_callback_finalize_nolock_(base, 0, callbacks[0], finalizer)
    EVLOCK_UNLOCK(base.lock)
    return 0
