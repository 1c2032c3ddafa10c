"""The descriptor map and the signal map.

Descriptors are small integers, so the map is an array of slots indexed by descriptor: one look-up from
readiness to the list of events. The array grows to the largest descriptor in use. Windows' handles are small
multiples of four, which the index leaves out.
"""

from libc.stdint cimport uint16_t
from libc.string cimport memset
from cyevent.core.memory cimport mm_realloc, mm_free
from cyevent.core.queue cimport insert_active, remove_active_later
from cyevent.core.sys cimport *
from cyevent.core.debug cimport debug_backend_, debug_mixed_
from cyevent.core.log cimport debugging_, event_warnx_
from cyevent.core.types cimport *
from cyevent.core.types cimport io_slot, signal_slot, event_callback

cdef enum:
    MAX_EVENTS_PER_FD = 0xffff
    SUSPICIOUS = 1 << 16
    LARGEST = (1 << 30) - 1


cdef int grow_io(event_base *base, evutil_socket_t fd) noexcept nogil:
    cdef int n = base.nio if base.nio else 32
    cdef io_slot *slots
    if ev_slot_of(fd) >= SUSPICIOUS and (fd > LARGEST or not ev_is_open(fd)):
        # The map is as large as the largest descriptor: a wrong number must not take all memory.
        set_errno(EBADF)
        return -1
    while n <= ev_slot_of(fd):
        n *= 2
    slots = <io_slot *>mm_realloc(base.io, n * sizeof(io_slot))
    if slots == NULL:
        set_errno(ENOMEM)
        return -1
    memset(slots + base.nio, 0, (n - base.nio) * sizeof(io_slot))
    base.io = slots
    base.nio = n
    return 0


cdef inline short wanted(const io_slot *slot) noexcept nogil:
    cdef short what = 0
    if slot.nread:
        what |= EV_READ
    if slot.nwrite:
        what |= EV_WRITE
    if slot.nclosed:
        what |= EV_CLOSED
    return what


cdef inline void link_event(event **first, event *ev) noexcept nogil:
    ev.prev = NULL
    ev.next = first[0]
    if first[0] != NULL:
        first[0].prev = ev
    first[0] = ev


cdef inline void unlink_event(event **first, event *ev) noexcept nogil:
    if ev.prev != NULL:
        ev.prev.next = ev.next
    else:
        first[0] = ev.next
    if ev.next != NULL:
        ev.next.prev = ev.prev
    ev.next = ev.prev = NULL


cdef int evmap_io_add_(event_base *base, event *ev) noexcept nogil:
    cdef evutil_socket_t fd = ev.fd
    cdef io_slot *slot
    cdef short old, fresh = 0
    if fd < 0:
        # Nothing to ask the backend for: such an event times out or is activated.
        return 0
    if EV_NO_FD(fd):
        set_errno(EBADF)
        return -1
    if ev_slot_of(fd) >= base.nio and grow_io(base, fd) < 0:
        return -1
    slot = &base.io[ev_slot_of(fd)]
    if slot.first != NULL:
        if ((ev.events & EV_ET) != 0) != (slot.nedge != 0):
            event_warnx_(b"Tried to mix edge-triggered and level-triggered events on one descriptor")
            if debugging_():
                debug_mixed_(slot.first, ev)
            set_errno(EINVAL)
            return -1
        if slot.nread == MAX_EVENTS_PER_FD or slot.nwrite == MAX_EVENTS_PER_FD \
                or slot.nclosed == MAX_EVENTS_PER_FD:
            event_warnx_(b"Too many events on one descriptor")
            set_errno(ERANGE)
            return -1
    old = wanted(slot)
    if ev.events & EV_READ and not slot.nread:
        fresh |= EV_READ
    if ev.events & EV_WRITE and not slot.nwrite:
        fresh |= EV_WRITE
    if ev.events & EV_CLOSED and not slot.nclosed:
        fresh |= EV_CLOSED
    if fresh:
        if debugging_():
            debug_backend_(base, b"add", fd, old, fresh | (ev.events & EV_ET))
        if base.ops.add(&base.host, base.backend, fd, old, fresh | (ev.events & EV_ET),
                        &slot.fdinfo) < 0:
            return -1
    slot.nread += (ev.events & EV_READ) != 0
    slot.nwrite += (ev.events & EV_WRITE) != 0
    slot.nclosed += (ev.events & EV_CLOSED) != 0
    slot.nedge += (ev.events & EV_ET) != 0
    link_event(&slot.first, ev)
    return 1 if fresh else 0


cdef int evmap_io_del_(event_base *base, event *ev) noexcept nogil:
    cdef io_slot *slot
    cdef short old, gone = 0
    cdef int result = 0
    if ev.fd < 0 or ev_slot_of(ev.fd) >= base.nio:
        return 0
    slot = &base.io[ev_slot_of(ev.fd)]
    old = wanted(slot)
    slot.nread -= (ev.events & EV_READ) != 0
    slot.nwrite -= (ev.events & EV_WRITE) != 0
    slot.nclosed -= (ev.events & EV_CLOSED) != 0
    slot.nedge -= (ev.events & EV_ET) != 0
    unlink_event(&slot.first, ev)
    gone = old & ~wanted(slot)
    if gone:
        result = 1
        if debugging_():
            debug_backend_(base, b"delete", ev.fd, old, gone)
        if base.ops.delete(&base.host, base.backend, ev.fd, old, gone | (ev.events & EV_ET),
                           &slot.fdinfo) < 0:
            result = -1
    return result


cdef void evmap_io_active_(backend_host *host, evutil_socket_t fd, short what) noexcept nogil:
    cdef event_base *base = <event_base *>host
    cdef event *ev
    cdef event_callback *cb
    if fd < 0 or ev_slot_of(fd) >= base.nio:
        return
    ev = base.io[ev_slot_of(fd)].first
    while ev != NULL:
        if ev.events & what & ~EV_ET:
            cb = &ev.evcb
            # The loop's own thread calls this, so there is nobody to notify.
            if EV_LIKELY(not (cb.flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER | EVLIST_FINALIZING))):
                ev.res = ev.events & what
                insert_active(base, cb)
            elif not (cb.flags & EVLIST_FINALIZING):
                ev.res |= ev.events & what
                if cb.flags & EVLIST_ACTIVE_LATER:
                    remove_active_later(base, cb)
                    insert_active(base, cb)
        ev = ev.next


cdef void evmap_moved_(backend_host *host, evutil_socket_t fd, uint64_t fdinfo) noexcept nogil:
    (<event_base *>host).io[ev_slot_of(fd)].fdinfo = fdinfo


cdef int evmap_signal_add_(event_base *base, event *ev) noexcept nogil:
    cdef int signum = ev.fd
    cdef signal_slot *slots
    if signum < 1 or signum >= NSIG:
        set_errno(EINVAL)
        return -1
    if base.signals == NULL:
        slots = <signal_slot *>mm_realloc(NULL, NSIG * sizeof(signal_slot))
        if slots == NULL:
            set_errno(ENOMEM)
            return -1
        memset(slots, 0, NSIG * sizeof(signal_slot))
        base.signals = slots
        base.nsignals = NSIG
    if base.signals[signum].first == NULL:
        if base.sigops.add(&base.host, base.backend, signum, 0, EV_SIGNAL, NULL) < 0:
            return -1
    link_event(&base.signals[signum].first, ev)
    return 1


cdef int evmap_signal_del_(event_base *base, event *ev) noexcept nogil:
    if ev.fd < 1 or ev.fd >= base.nsignals:
        return -1
    unlink_event(&base.signals[ev.fd].first, ev)
    if base.signals[ev.fd].first == NULL:
        if base.sigops.delete(&base.host, base.backend, ev.fd, 0, EV_SIGNAL, NULL) < 0:
            return -1
    return 1


cdef void evmap_signal_active_(event_base *base, int signum, int ncalls) noexcept nogil:
    cdef event *ev
    cdef event_callback *cb
    if signum < 1 or signum >= base.nsignals:
        return
    if ncalls > 0xffff:
        ncalls = 0xffff
    ev = base.signals[signum].first
    while ev != NULL:
        cb = &ev.evcb
        if cb.flags & EVLIST_FINALIZING:
            pass
        elif cb.flags & EVLIST_ACTIVE:
            ev.res |= EV_SIGNAL
        else:
            if cb.flags & EVLIST_ACTIVE_LATER:
                remove_active_later(base, cb)
            ev.res = EV_SIGNAL
            cb.ncalls = <uint16_t>ncalls
            insert_active(base, cb)
        ev = ev.next


cdef void evmap_signaled_(backend_host *host, int signum, int ncalls) noexcept nogil:
    evmap_signal_active_(<event_base *>host, signum, ncalls)


cdef int evmap_reinit_io_(event_base *base) noexcept nogil:
    cdef int i, result = 0
    cdef short what
    for i in range(base.nio):
        base.io[i].fdinfo = 0
        if base.io[i].first == NULL:
            continue
        what = wanted(&base.io[i])
        if base.io[i].nedge:
            what |= EV_ET
        if base.ops.add(&base.host, base.backend, ev_fd_of(i), 0, what, &base.io[i].fdinfo) < 0:
            result = -1
    return result


cdef void evmap_clear_(event_base *base) noexcept nogil:
    mm_free(base.io)
    mm_free(base.signals)
    base.io = NULL
    base.signals = NULL
    base.nio = base.nsignals = 0
