"""Walking over a base's events."""

from libc.stdio cimport FILE, fprintf, fputs
from cyevent.core.clock cimport ns_to_timeval
from cyevent.core.event cimport base_wall_offset_, callback_to_event
from cyevent.core.sys cimport EINVAL, set_errno, timeval
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.timers cimport HEAP_ROOT
from cyevent.core.types cimport *
from cyevent.core.types cimport event, event_callback


cdef int visit_callback(event_base *base, event_callback *cb, event_base_foreach_event_cb callback,
                        void *arg) noexcept nogil:
    cdef event *ev = callback_to_event(cb)
    if not (cb.flags & EVLIST_INIT) or cb.flags & EVLIST_INTERNAL:
        return 0
    # Those with a descriptor, a signal or a timeout were seen already.
    if cb.flags & (EVLIST_INSERTED | EVLIST_TIMEOUT):
        return 0
    return callback(base, ev, arg)


cdef int foreach(event_base *base, event_base_foreach_event_cb callback, void *arg) noexcept nogil:
    """Each event once: by descriptor, by signal, then timers without either, then the merely active."""
    cdef int i, result
    cdef event *ev
    cdef event_callback *cb
    for i in range(base.nio):
        ev = base.io[i].first
        while ev != NULL:
            if not (ev.evcb.flags & EVLIST_INTERNAL):
                result = callback(base, ev, arg)
                if result:
                    return result
            ev = ev.next
    for i in range(base.nsignals):
        ev = base.signals[i].first
        while ev != NULL:
            result = callback(base, ev, arg)
            if result:
                return result
            ev = ev.next
    for i in range(<int>base.heap.count):
        ev = base.heap.slots[HEAP_ROOT + i].ev
        if not (ev.evcb.flags & (EVLIST_INSERTED | EVLIST_INTERNAL)):
            result = callback(base, ev, arg)
            if result:
                return result
    for i in range(base.ncommon):
        ev = base.common[i].first
        while ev != NULL:
            if not (ev.evcb.flags & EVLIST_INSERTED):
                result = callback(base, ev, arg)
                if result:
                    return result
            ev = ev.timer.common.next
    for i in range(base.queues_allocated):
        cb = base.queues[i].first
        while cb != NULL:
            result = visit_callback(base, cb, callback, arg)
            if result:
                return result
            cb = cb.next
    cb = base.later.first
    while cb != NULL:
        result = visit_callback(base, cb, callback, arg)
        if result:
            return result
        cb = cb.next
    return 0


cdef int event_base_foreach_event(event_base *base, event_base_foreach_event_cb callback,
                                  void *arg) noexcept nogil:
    cdef int result
    if base == NULL or callback == NULL:
        set_errno(EINVAL)
        return -1
    EVLOCK_LOCK(base.lock)
    result = foreach(base, callback, arg)
    EVLOCK_UNLOCK(base.lock)
    return result


cdef void dump_flags(FILE *output, short what) noexcept nogil:
    if what & EV_READ:
        fputs(b" Read", output)
    if what & EV_WRITE:
        fputs(b" Write", output)
    if what & EV_CLOSED:
        fputs(b" EOF", output)
    if what & EV_SIGNAL:
        fputs(b" Signal", output)
    if what & EV_PERSIST:
        fputs(b" Persist", output)
    if what & EV_ET:
        fputs(b" ET", output)
    if what & EV_TIMEOUT:
        fputs(b" Timeout", output)


cdef int dump_inserted(const event_base *base, const event *ev, void *arg) noexcept nogil:
    cdef FILE *output = <FILE *>arg
    cdef timeval tv
    if not (ev.evcb.flags & (EVLIST_INSERTED | EVLIST_TIMEOUT)):
        return 0
    fprintf(output, b"  %p [%s %ld]", <void *>ev,
            <const char *>(b"sig" if ev.events & EV_SIGNAL else b"fd "), <long>ev.fd)
    dump_flags(output, ev.events & ~EV_TIMEOUT)
    if ev.evcb.flags & EVLIST_INTERNAL:
        fputs(b" Internal", output)
    if ev.evcb.flags & EVLIST_TIMEOUT:
        ns_to_timeval(ev.deadline + base.wall_offset, &tv)
        fprintf(output, b" Timeout=%ld.%06d", <long>tv.tv_sec, <int>tv.tv_usec)
    fputs(b"\n", output)
    return 0


cdef void dump_active(FILE *output, event_callback *cb) noexcept nogil:
    cdef event *ev
    while cb != NULL:
        ev = callback_to_event(cb)
        if cb.flags & EVLIST_INIT:
            fprintf(output, b"  %p [%s %ld, priority=%d]", <void *>ev,
                    <const char *>(b"sig" if ev.events & EV_SIGNAL else b"fd "), <long>ev.fd,
                    <int>cb.priority)
            dump_flags(output, ev.res)
            fputs(b" active", output)
            if cb.flags & EVLIST_INTERNAL:
                fputs(b" Internal", output)
            fputs(b"\n", output)
        cb = cb.next


cdef void event_base_dump_events(event_base *base, FILE *output) noexcept nogil:
    cdef int i
    EVLOCK_LOCK(base.lock)
    base_wall_offset_(base)
    fputs(b"Inserted events:\n", output)
    foreach(base, dump_inserted, output)
    fputs(b"Active events:\n", output)
    for i in range(base.queues_allocated):
        dump_active(output, base.queues[i].first)
    dump_active(output, base.later.first)
    EVLOCK_UNLOCK(base.lock)
