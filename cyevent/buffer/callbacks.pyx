"""Who is told when a buffer changes."""

from cyevent.buffer.types cimport *
from cyevent.buffer.types cimport evbuffer_cb_info, zerocopy_of
from cyevent.buffer.evbuffer cimport (
    evbuffer_decref_and_unlock_, evbuffer_seldom_, evbuffer_unqueue_deferred_, )
from cyevent.buffer.zerosockets cimport evbuffer_zerocopy_leave_
from cyevent.core.memory cimport mm_malloc, mm_free
from cyevent.core.queue cimport (
    event_deferred_cb_init_, event_deferred_cb_schedule_, )
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport event_callback, EVLIST_ACTIVE, EVLIST_ACTIVE_LATER


cdef void link_entry(evbuffer *buf, evbuffer_cb_entry *entry, evbuffer_cb_func cb, void *cbarg,
                     unsigned flags) noexcept nogil:
    entry.cb = cb
    entry.cbarg = cbarg
    entry.flags = flags
    entry.suspended_size = 0
    entry.prev = NULL
    EVLOCK_LOCK(buf.lock)
    entry.next = buf.callbacks
    if entry.next != NULL:
        entry.next.prev = entry
    buf.callbacks = entry
    EVLOCK_UNLOCK(buf.lock)


cdef evbuffer_cb_entry *evbuffer_add_cb(evbuffer *buf, evbuffer_cb_func cb,
                                        void *cbarg) noexcept nogil:
    cdef evbuffer_cb_entry *entry = <evbuffer_cb_entry *>mm_malloc(sizeof(evbuffer_cb_entry))
    if entry != NULL:
        link_entry(buf, entry, cb, cbarg, EVBUFFER_CB_ENABLED)
    return entry


cdef evbuffer_cb_entry *evbuffer_attach_cb_(evbuffer *buf, evbuffer_cb_entry *entry, evbuffer_cb_func cb,
                                            void *cbarg) noexcept nogil:
    link_entry(buf, entry, cb, cbarg, EVBUFFER_CB_ENABLED | CB_EMBEDDED)
    return entry


cdef void unlink_entry(evbuffer *buf, evbuffer_cb_entry *entry) noexcept nogil:
    if entry.prev != NULL:
        entry.prev.next = entry.next
    else:
        buf.callbacks = entry.next
    if entry.next != NULL:
        entry.next.prev = entry.prev
    if buf.callbacks == NULL:
        # Whoever is added next has not missed anything.
        buf.n_add_for_cb = buf.n_del_for_cb = 0
    if not entry.flags & CB_EMBEDDED:
        mm_free(entry)


cdef void remove_entry(evbuffer *buf, evbuffer_cb_entry *entry) noexcept nogil:
    if buf.walking:
        entry.flags = EVBUFFER_CB_DEAD | (entry.flags & CB_EMBEDDED)
        buf.dead_callbacks = True
    else:
        unlink_entry(buf, entry)


cdef int evbuffer_remove_cb_entry(evbuffer *buf, evbuffer_cb_entry *entry) noexcept nogil:
    EVLOCK_LOCK(buf.lock)
    remove_entry(buf, entry)
    EVLOCK_UNLOCK(buf.lock)
    return 0


cdef int evbuffer_remove_cb(evbuffer *buf, evbuffer_cb_func cb, void *cbarg) noexcept nogil:
    cdef evbuffer_cb_entry *entry
    cdef int result = -1
    EVLOCK_LOCK(buf.lock)
    entry = buf.callbacks
    while entry != NULL:
        if entry.cb == cb and entry.cbarg == cbarg and not entry.flags & EVBUFFER_CB_DEAD:
            remove_entry(buf, entry)
            result = 0
            break
        entry = entry.next
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef int evbuffer_cb_set_flags(evbuffer *buf, evbuffer_cb_entry *entry,
                               unsigned flags) noexcept nogil:
    EVLOCK_LOCK(buf.lock)
    entry.flags |= flags & (EVBUFFER_CB_ENABLED | EVBUFFER_CB_NODEFER)
    EVLOCK_UNLOCK(buf.lock)
    return 0


cdef int evbuffer_cb_clear_flags(evbuffer *buf, evbuffer_cb_entry *entry,
                                 unsigned flags) noexcept nogil:
    EVLOCK_LOCK(buf.lock)
    entry.flags &= ~(flags & (EVBUFFER_CB_ENABLED | EVBUFFER_CB_NODEFER))
    EVLOCK_UNLOCK(buf.lock)
    return 0


cdef void evbuffer_cb_suspend(evbuffer *buf, evbuffer_cb_entry *entry) noexcept nogil:
    EVLOCK_LOCK(buf.lock)
    if not entry.flags & CB_SUSPENDED:
        entry.flags |= CB_SUSPENDED
        entry.suspended_size = buf.total_len
    EVLOCK_UNLOCK(buf.lock)


cdef void evbuffer_cb_unsuspend(evbuffer *buf, evbuffer_cb_entry *entry) noexcept nogil:
    cdef evbuffer_cb_info info
    cdef unsigned flags
    EVLOCK_LOCK(buf.lock)
    flags = entry.flags
    entry.flags &= ~<unsigned>(CB_SUSPENDED | CB_MISSED)
    if flags & CB_SUSPENDED and flags & CB_MISSED and flags & EVBUFFER_CB_ENABLED:
        info.orig_size = entry.suspended_size
        info.n_added = info.n_deleted = 0
        if buf.total_len >= info.orig_size:
            info.n_added = buf.total_len - info.orig_size
        else:
            info.n_deleted = info.orig_size - buf.total_len
        # As while it runs in its turn: it may remove itself.
        buf.walking += 1
        entry.cb(buf, &info, entry.cbarg)
        walked(buf)
    EVLOCK_UNLOCK(buf.lock)


cdef void evbuffer_remove_all_callbacks_(evbuffer *buf) noexcept nogil:
    while buf.callbacks != NULL:
        unlink_entry(buf, buf.callbacks)


cdef void walked(evbuffer *buf) noexcept nogil:
    """What was removed while callbacks ran can go."""
    cdef evbuffer_cb_entry *entry = buf.callbacks
    cdef evbuffer_cb_entry *following
    buf.walking -= 1
    if not buf.dead_callbacks or buf.walking:
        return
    buf.dead_callbacks = False
    while entry != NULL:
        following = entry.next
        if entry.flags & EVBUFFER_CB_DEAD:
            unlink_entry(buf, entry)
        entry = following


cdef void walk(evbuffer *buf, unsigned mask, unsigned wanted, bint clear) noexcept nogil:
    cdef evbuffer_cb_info info
    cdef evbuffer_cb_entry *entry
    if buf.n_add_for_cb == 0 and buf.n_del_for_cb == 0:
        return
    info.orig_size = buf.total_len + buf.n_del_for_cb - buf.n_add_for_cb
    info.n_added = buf.n_add_for_cb
    info.n_deleted = buf.n_del_for_cb
    if clear:
        buf.n_add_for_cb = buf.n_del_for_cb = 0
    buf.walking += 1
    entry = buf.callbacks
    while entry != NULL:
        if (entry.flags & mask) == wanted:
            if entry.flags & CB_SUSPENDED:
                entry.flags |= CB_MISSED
            else:
                entry.cb(buf, &info, entry.cbarg)
        entry = entry.next
    walked(buf)


cdef void evbuffer_run_callbacks_(evbuffer *buf) noexcept nogil:
    cdef unsigned both = EVBUFFER_CB_ENABLED | EVBUFFER_CB_NODEFER
    if not buf.deferred_cbs:
        walk(buf, EVBUFFER_CB_ENABLED, EVBUFFER_CB_ENABLED, True)
        return
    if buf.n_add_for_cb == 0 and buf.n_del_for_cb == 0:
        return
    if event_deferred_cb_schedule_(buf.cb_queue, &buf.seldom.deferred):
        # A base that was closed meanwhile has forgotten it, and will not run it again.
        if not (buf.deferred_ref and buf.cb_queue.closed):
            buf.refcnt += 1
        buf.deferred_ref = True
    # The counts stay for those that wait.
    walk(buf, both, both, False)


cdef void run_deferred(event_callback *cb, void *arg) noexcept nogil:
    cdef evbuffer *buf = <evbuffer *>arg
    cdef unsigned both = EVBUFFER_CB_ENABLED | EVBUFFER_CB_NODEFER
    cdef event_base *base = buf.cb_queue
    if buf.lock != NULL and base.before_wait != NULL:
        # The lock's holder may be waiting for what the loop still has of an interpreter.
        base.before_wait(base.binding)
    EVLOCK_LOCK(buf.lock)
    # Unless another thread has queued it again since it was taken from the queue.
    buf.deferred_ref = buf.seldom.deferred.flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER) != 0
    walk(buf, both, EVBUFFER_CB_ENABLED, True)
    evbuffer_decref_and_unlock_(buf)


cdef int evbuffer_defer_callbacks(evbuffer *buf, event_base *base) noexcept nogil:
    cdef int result = -1
    cdef bint queued
    EVLOCK_LOCK(buf.lock)
    if evbuffer_seldom_(buf) != NULL:
        queued = buf.deferred_cbs and evbuffer_unqueue_deferred_(buf)
        buf.cb_queue = base
        buf.deferred_cbs = True
        event_deferred_cb_init_(&buf.seldom.deferred, base.nqueues // 2, run_deferred, buf)
        if queued:
            buf.deferred_ref = True
            event_deferred_cb_schedule_(base, &buf.seldom.deferred)
        result = 0
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef void evbuffer_set_base_(evbuffer *buf, event_base *old, event_base *base) noexcept nogil:
    EVLOCK_LOCK(buf.lock)
    if zerocopy_of(buf) != NULL:
        evbuffer_zerocopy_leave_(buf)
    if buf.cb_queue == old:
        if buf.deferred_cbs:
            evbuffer_defer_callbacks(buf, base)
        else:
            buf.cb_queue = base
    EVLOCK_UNLOCK(buf.lock)
