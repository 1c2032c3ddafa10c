"""The evbuffer's life, and bytes in and out of it by copy and by reference."""

from libc.stdint cimport uintptr_t
from libc.string cimport memcpy
from cyevent.buffer.chain cimport *
from cyevent.buffer.file cimport chain_ready
from cyevent.buffer.reserve cimport evbuffer_make_room_nolock_
from cyevent.buffer.types cimport *
from cyevent.buffer.types cimport evbuffer_chain_reference
from cyevent.buffer.zerocopy cimport EVBUFFER_ZEROCOPY_THRESHOLD
from cyevent.buffer.zerosockets cimport evbuffer_zerocopy_leave_
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.queue cimport event_callback_cancel_nolock_
from cyevent.core.sys cimport set_errno, ENOMEM, EINVAL, EV_LIKELY, EV_UNLIKELY
from cyevent.core.threads cimport (
    EVLOCK_LOCK, EVLOCK_UNLOCK, evthread_lock_alloc_, evthread_lock_free_,
)
from cyevent.core.types cimport EVLIST_ACTIVE, EVLIST_ACTIVE_LATER

cdef enum:
    FIRST_READ_SIZE = 2048         # of memory: a chain and its header


# --- life -------------------------------------------------------------------------------------------

cdef evbuffer *evbuffer_new() noexcept nogil:
    cdef evbuffer *buf = <evbuffer *>mm_calloc(1, sizeof(evbuffer))
    if buf == NULL:
        return NULL
    buf.refcnt = 1
    buf.last_with_datap = &buf.first
    buf.max_read = EVBUFFER_MAX_READ_DEFAULT
    buf.read_size = FIRST_READ_SIZE
    buf.zerocopy_threshold = EVBUFFER_ZEROCOPY_THRESHOLD
    return buf


cdef evbuffer_seldom *evbuffer_seldom_(evbuffer *buf) noexcept nogil:
    if buf.seldom == NULL:
        buf.seldom = <evbuffer_seldom *>mm_calloc(1, sizeof(evbuffer_seldom))
    return buf.seldom


cdef void evbuffer_incref_(evbuffer *buf) noexcept nogil:
    EVLOCK_LOCK(buf.lock)
    buf.refcnt += 1
    EVLOCK_UNLOCK(buf.lock)


cdef void evbuffer_decref_and_unlock_(evbuffer *buf) noexcept nogil:
    cdef bint own_lock = buf.own_lock
    cdef void *lock = buf.lock
    buf.refcnt -= 1
    if buf.refcnt:
        EVLOCK_UNLOCK(lock)
        return
    evbuffer_remove_all_callbacks_(buf)
    evbuffer_chain_free_all_(buf.first)
    if zerocopy_of(buf) != NULL:
        evbuffer_zerocopy_leave_(buf)
    mm_free(buf.seldom)
    mm_free(buf)
    EVLOCK_UNLOCK(lock)
    if own_lock:
        evthread_lock_free_(lock)


cdef void evbuffer_free(evbuffer *buf) noexcept nogil:
    if buf == NULL:
        return
    EVLOCK_LOCK(buf.lock)
    # What is queued holds a reference.
    if buf.deferred_cbs and evbuffer_unqueue_deferred_(buf):
        buf.refcnt -= 1
    evbuffer_decref_and_unlock_(buf)


cdef bint evbuffer_unqueue_deferred_(evbuffer *buf) noexcept nogil:
    cdef event_base *base = buf.cb_queue
    cdef bint queued
    EVLOCK_LOCK(base.lock)
    queued = buf.seldom.deferred.flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER) != 0
    if queued:
        event_callback_cancel_nolock_(base, &buf.seldom.deferred)
    elif buf.deferred_ref and base.closed:
        # A base that was closed has forgotten it, and will never run it.
        queued = True
    buf.deferred_ref = False
    EVLOCK_UNLOCK(base.lock)
    return queued


cdef int evbuffer_enable_locking(evbuffer *buf, void *lock) noexcept nogil:
    if buf.lock != NULL:
        return -1
    if lock == NULL:
        lock = evthread_lock_alloc_()
        if lock == NULL:
            return -1
        buf.own_lock = True
    buf.lock = lock
    return 0


cdef void evbuffer_lock(evbuffer *buf) noexcept nogil:
    EVLOCK_LOCK(buf.lock)


cdef void evbuffer_unlock(evbuffer *buf) noexcept nogil:
    EVLOCK_UNLOCK(buf.lock)


cdef int evbuffer_set_flags(evbuffer *buf, uint64_t flags) noexcept nogil:
    EVLOCK_LOCK(buf.lock)
    buf.flags |= <uint32_t>flags
    EVLOCK_UNLOCK(buf.lock)
    return 0


cdef int evbuffer_clear_flags(evbuffer *buf, uint64_t flags) noexcept nogil:
    EVLOCK_LOCK(buf.lock)
    buf.flags &= ~<uint32_t>flags
    EVLOCK_UNLOCK(buf.lock)
    return 0


cdef int evbuffer_set_max_read(evbuffer *buf, size_t max) noexcept nogil:
    if max > 0x7fffffff:
        set_errno(EINVAL)
        return -1
    EVLOCK_LOCK(buf.lock)
    buf.max_read = <uint32_t>max
    EVLOCK_UNLOCK(buf.lock)
    return 0


cdef size_t evbuffer_get_max_read(evbuffer *buf) noexcept nogil:
    cdef size_t result
    EVLOCK_LOCK(buf.lock)
    result = buf.max_read
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef size_t evbuffer_get_length(const evbuffer *buf) noexcept nogil:
    cdef size_t result
    EVLOCK_LOCK(buf.lock)
    result = buf.total_len
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef size_t evbuffer_get_contiguous_space(const evbuffer *buf) noexcept nogil:
    cdef size_t result
    EVLOCK_LOCK(buf.lock)
    result = buf.first.off if buf.first != NULL else 0
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef int set_frozen(evbuffer *buf, int at_front, bint frozen) noexcept nogil:
    EVLOCK_LOCK(buf.lock)
    if at_front:
        buf.freeze_start = frozen
    else:
        buf.freeze_end = frozen
    EVLOCK_UNLOCK(buf.lock)
    return 0


cdef int evbuffer_freeze(evbuffer *buf, int at_front) noexcept nogil:
    return set_frozen(buf, at_front, True)


cdef int evbuffer_unfreeze(evbuffer *buf, int at_front) noexcept nogil:
    return set_frozen(buf, at_front, False)


# --- chains in the list -----------------------------------------------------------------------------

cdef evbuffer_chain **evbuffer_drop_empty_(evbuffer *buf) noexcept nogil:
    cdef evbuffer_chain **slot = buf.last_with_datap
    cdef evbuffer_chain *empty
    if slot[0] != NULL and slot[0].off:
        slot = &slot[0].next
    empty = slot[0]
    if empty != NULL:
        slot[0] = NULL
        buf.last = buf.last_with_datap[0]
        evbuffer_chain_free_all_(empty)
    return slot


cdef void evbuffer_chain_insert_(evbuffer *buf, evbuffer_chain *chain) noexcept nogil:
    cdef evbuffer_chain **slot = evbuffer_drop_empty_(buf)
    slot[0] = chain
    buf.last = chain
    if chain.off:
        buf.last_with_datap = slot
        buf.total_len += chain.off
        buf.n_add_for_cb += chain.off


# --- in ---------------------------------------------------------------------------------------------

cdef int append_slow(evbuffer *buf, const void *data, size_t datlen) noexcept nogil:
    """The bytes do not fit into the last chain that holds data."""
    cdef evbuffer_chain *chain = buf.last_with_datap[0]
    cdef evbuffer_chain *following
    cdef size_t space = 0
    cdef size_t rest = datlen
    cdef size_t alloc
    cdef size_t misalign = 0
    if chain != NULL:
        if chain_realign(chain, datlen):
            memcpy(chain_space_ptr(chain), data, datlen)
            chain.off += datlen
            return 0
        space = chain_space(chain)
        rest = datlen - space
    following = chain.next if chain != NULL else NULL
    if following == NULL or chain_space(following) < rest:
        alloc = rest
        if chain != NULL and alloc < CHAIN_AUTO_ALLOC - sizeof(evbuffer_chain):
            # The more a buffer holds, the larger the pieces it grows by.
            alloc = (chain.buffer_len + sizeof(evbuffer_chain)) * 2
            if alloc > CHAIN_AUTO_ALLOC:
                alloc = CHAIN_AUTO_ALLOC
            alloc -= sizeof(evbuffer_chain)
            if alloc < rest:
                alloc = rest
        if rest > CHAIN_AUTO_ALLOC:
            # To the place in a cache line that it is copied from: up to a third faster.
            misalign = <uintptr_t>(<const char *>data + space) & (CHAIN_LINE - 1)
        following = evbuffer_chain_new_(alloc + misalign)
        if following == NULL:
            return -1
    else:
        following = NULL
    if space:
        memcpy(chain_space_ptr(chain), data, space)
        chain.off += space
    if following != NULL:
        evbuffer_drop_empty_(buf)[0] = following
        buf.last = following
    else:
        following = chain.next
    memcpy(following.buffer + misalign, <const char *>data + space, rest)
    following.misalign = misalign
    following.off = rest
    if following != buf.first:
        buf.last_with_datap = &buf.last_with_datap[0].next
    return 0


cdef int evbuffer_append_nolock_(evbuffer *buf, const void *data, size_t datlen) noexcept nogil:
    cdef evbuffer_chain *chain
    if datlen == 0:
        return 0
    if datlen > EVBUFFER_MAX - buf.total_len:
        set_errno(ENOMEM)
        return -1
    chain = buf.last_with_datap[0]
    if EV_LIKELY(chain != NULL and datlen <= chain_space(chain)):
        memcpy(chain_space_ptr(chain), data, datlen)
        chain.off += datlen
    elif append_slow(buf, data, datlen) < 0:
        return -1
    buf.total_len += datlen
    buf.n_add_for_cb += datlen
    return 0


cdef inline bint nobody_else(const evbuffer *buf) noexcept nogil:
    """No lock to take and nobody to tell: the counts for callbacks stay 0."""
    return EV_LIKELY(buf.lock == NULL and buf.callbacks == NULL)


cdef int evbuffer_add(evbuffer *buf, const void *data, size_t datlen) noexcept nogil:
    cdef evbuffer_chain *chain = buf.last_with_datap[0] if nobody_else(buf) else NULL
    cdef int result = -1
    # Small pieces are so little work that each call and each store counts.
    if EV_LIKELY(chain != NULL and not buf.freeze_end and datlen <= chain_space(chain)
                 and datlen <= EVBUFFER_MAX - buf.total_len):
        buf.total_len += datlen
        chain.off += datlen
        memcpy(chain_space_ptr(chain) - datlen, data, datlen)
        return 0
    EVLOCK_LOCK(buf.lock)
    if not buf.freeze_end:
        result = evbuffer_append_nolock_(buf, data, datlen)
        evbuffer_invoke_callbacks_(buf)
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef size_t evbuffer_add_iovec(evbuffer *buf, evbuffer_iovec *vec, int n_vec) noexcept nogil:
    cdef size_t total = 0
    cdef int i
    EVLOCK_LOCK(buf.lock)
    if not buf.freeze_end:
        for i in range(n_vec):
            if vec[i].iov_len > EVBUFFER_MAX - total:
                total = <size_t>-1
                break
            total += vec[i].iov_len
        if evbuffer_make_room_nolock_(buf, total) < 0:
            total = 0
        else:
            for i in range(n_vec):
                # There is room: it cannot fail.
                evbuffer_append_nolock_(buf, vec[i].iov_base, vec[i].iov_len)
            evbuffer_invoke_callbacks_(buf)
    EVLOCK_UNLOCK(buf.lock)
    return total


cdef int evbuffer_add_reference_with_offset(evbuffer *buf, const void *data, size_t offset,
                                            size_t datlen, evbuffer_ref_cleanup_cb cleanup,
                                            void *extra) noexcept nogil:
    cdef evbuffer_chain *chain
    cdef evbuffer_chain_reference *reference
    cdef int result = -1
    if offset > EVBUFFER_MAX - datlen:
        set_errno(EINVAL)
        return -1
    chain = evbuffer_chain_borrow_(sizeof(evbuffer_chain_reference))
    if chain == NULL:
        return -1
    reference = <evbuffer_chain_reference *>chain_extra(chain)
    reference.cleanup = cleanup
    reference.arg = extra
    chain.flags |= CHAIN_REFERENCE
    chain.buffer = <unsigned char *>data
    chain.buffer_len = offset + datlen
    chain.misalign = offset
    chain.off = datlen
    EVLOCK_LOCK(buf.lock)
    if buf.freeze_end or datlen > EVBUFFER_MAX - buf.total_len:
        # Still the caller's.
        reference.cleanup = NULL
        evbuffer_chain_free_(chain)
    else:
        result = 0
        if datlen:
            evbuffer_chain_insert_(buf, chain)
            evbuffer_invoke_callbacks_(buf)
        else:
            evbuffer_chain_free_(chain)
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef int evbuffer_add_reference(evbuffer *buf, const void *data, size_t datlen,
                                evbuffer_ref_cleanup_cb cleanup, void *extra) noexcept nogil:
    return evbuffer_add_reference_with_offset(buf, data, 0, datlen, cleanup, extra)


cdef int prepend_nolock(evbuffer *buf, const void *data, size_t size) noexcept nogil:
    cdef evbuffer_chain *chain = buf.first
    cdef evbuffer_chain *fresh
    cdef size_t head = 0
    cdef size_t rest
    if size > EVBUFFER_MAX - buf.total_len:
        set_errno(ENOMEM)
        return -1
    if chain != NULL and not chain.flags & CHAIN_IMMUTABLE and chain_is_ours(chain):
        if chain.off == 0:
            # Empty: all of it is head room.
            chain.misalign = chain.buffer_len
        head = chain.misalign if chain.misalign < size else size
    rest = size - head
    if rest:
        fresh = evbuffer_chain_new_(rest)
        if fresh == NULL:
            if chain != NULL and chain.off == 0:
                chain.misalign = 0
            return -1
    if head:
        memcpy(chain_data(chain) - head, <const char *>data + rest, head)
        chain.misalign -= head
        chain.off += head
    if rest:
        if chain != NULL and chain.off == 0:
            # Reserved space of somebody's that stays where it is; it goes.
            evbuffer_drop_empty_(buf)
        fresh.next = buf.first
        if buf.first == NULL:
            buf.last = fresh
        elif buf.last_with_datap == &buf.first:
            buf.last_with_datap = &fresh.next
        buf.first = fresh
        # At its end, so that the next thing in front finds room.
        fresh.misalign = fresh.buffer_len - rest
        fresh.off = rest
        memcpy(chain_data(fresh), data, rest)
    buf.total_len += size
    buf.n_add_for_cb += size
    return 0


cdef int evbuffer_prepend(evbuffer *buf, const void *data, size_t size) noexcept nogil:
    cdef int result = 0
    EVLOCK_LOCK(buf.lock)
    if buf.freeze_start:
        result = -1
    elif size:
        result = prepend_nolock(buf, data, size)
        evbuffer_invoke_callbacks_(buf)
    EVLOCK_UNLOCK(buf.lock)
    return result


# --- out --------------------------------------------------------------------------------------------

cdef void evbuffer_discard_nolock_(evbuffer *buf, size_t len) noexcept nogil:
    cdef evbuffer_chain *chain = buf.first
    cdef evbuffer_chain *following
    cdef evbuffer_chain *gone
    if len >= buf.total_len:
        len = buf.total_len
        if len == 0:
            return
        buf.first = buf.last = NULL
        buf.last_with_datap = &buf.first
        buf.total_len = 0
        buf.n_del_for_cb += len
        evbuffer_chain_free_all_(chain)
        return
    buf.total_len -= len
    buf.n_del_for_cb += len
    while len >= chain.off:
        len -= chain.off
        if buf.last_with_datap == &chain.next:
            buf.last_with_datap = &buf.first
        chain = chain.next
    chain.misalign += len
    chain.off -= len
    # Cut first, freed afterwards: what a lender's cleanup function sees of the buffer is whole.
    gone = buf.first
    buf.first = chain
    while gone != chain:
        following = gone.next
        evbuffer_chain_free_(gone)
        gone = following


cdef int evbuffer_drain(evbuffer *buf, size_t len) noexcept nogil:
    cdef evbuffer_chain *chain = buf.first if nobody_else(buf) else NULL
    cdef int result = 0
    if EV_LIKELY(chain != NULL and not buf.freeze_start and len < chain.off):
        buf.total_len -= len
        chain.misalign += len
        chain.off -= len
        return 0
    EVLOCK_LOCK(buf.lock)
    if buf.freeze_start:
        result = -1
    else:
        evbuffer_discard_nolock_(buf, len)
        evbuffer_invoke_callbacks_(buf)
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef int evbuffer_copy_nolock_(evbuffer_chain *chain, size_t skip, void *data,
                               size_t datlen) noexcept nogil:
    cdef char *out = <char *>data
    cdef size_t n
    while datlen:
        if EV_UNLIKELY(not chain_ready(chain)):
            return -1
        n = chain.off - skip
        if n > datlen:
            n = datlen
        memcpy(out, chain_data(chain) + skip, n)
        out += n
        datlen -= n
        skip = 0
        chain = chain.next
    return 0


cdef int evbuffer_remove(evbuffer *buf, void *data, size_t datlen) noexcept nogil:
    cdef int result = -1
    EVLOCK_LOCK(buf.lock)
    if not buf.freeze_start:
        if datlen > buf.total_len:
            datlen = buf.total_len
        if datlen > 0x7fffffff:
            # The result has to fit.
            datlen = 0x7fffffff
        if datlen == 0:
            result = 0
        elif evbuffer_copy_nolock_(buf.first, 0, data, datlen) == 0:
            evbuffer_discard_nolock_(buf, datlen)
            evbuffer_invoke_callbacks_(buf)
            result = <int>datlen
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef ev_ssize_t evbuffer_copyout(evbuffer *buf, void *data, size_t datlen) noexcept nogil:
    return evbuffer_copyout_from(buf, NULL, data, datlen)


cdef ev_ssize_t evbuffer_copyout_from(evbuffer *buf, const evbuffer_ptr *pos, void *data,
                                      size_t datlen) noexcept nogil:
    cdef ev_ssize_t result = -1
    cdef evbuffer_chain *chain
    cdef size_t skip = 0
    cdef size_t length
    EVLOCK_LOCK(buf.lock)
    chain = buf.first
    length = buf.total_len
    if pos != NULL and pos.pos >= 0:
        chain = <evbuffer_chain *>pos.internal_.chain
        skip = pos.internal_.pos_in_chain
        length -= pos.pos
    # A position of -1 comes from a search that found nothing.
    if not buf.freeze_start and (pos == NULL or pos.pos >= 0):
        if datlen > length:
            datlen = length
        if evbuffer_copy_nolock_(chain, skip, data, datlen) == 0:
            result = <ev_ssize_t>datlen
    EVLOCK_UNLOCK(buf.lock)
    return result
