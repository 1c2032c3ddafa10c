"""Bytes from one buffer to another, by moving or sharing their chains."""

from libc.stdint cimport uintptr_t
from libc.string cimport memcpy
from cyevent.buffer.callbacks cimport evbuffer_invoke_callbacks_
from cyevent.buffer.chain cimport *
from cyevent.buffer.evbuffer cimport (
    EVBUFFER_MAX, evbuffer_append_nolock_, evbuffer_chain_insert_, evbuffer_drop_empty_,
)
from cyevent.buffer.file cimport evbuffer_file_chain_share_
from cyevent.buffer.types cimport *
from cyevent.buffer.types cimport evbuffer_multicast_parent
from cyevent.core.sys cimport set_errno, EINVAL, ENOMEM
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK


cdef inline void lock_both(evbuffer *a, evbuffer *b) noexcept nogil:
    # In order of address, so that two threads that move in opposite directions do not wait for each other.
    if <uintptr_t>a.lock < <uintptr_t>b.lock:
        EVLOCK_LOCK(a.lock)
        EVLOCK_LOCK(b.lock)
    else:
        EVLOCK_LOCK(b.lock)
        EVLOCK_LOCK(a.lock)


cdef inline void unlock_both(evbuffer *a, evbuffer *b) noexcept nogil:
    EVLOCK_UNLOCK(a.lock)
    EVLOCK_UNLOCK(b.lock)


cdef inline bint too_long(evbuffer *buf, size_t more) noexcept nogil:
    # Files and shared chains can promise more bytes than a length holds.
    if more <= EVBUFFER_MAX - buf.total_len:
        return False
    set_errno(ENOMEM)
    return True


cdef void move_all(evbuffer *outbuf, evbuffer *inbuf) noexcept nogil:
    cdef evbuffer_chain **slot = evbuffer_drop_empty_(outbuf)
    cdef size_t n = inbuf.total_len
    slot[0] = inbuf.first
    outbuf.last = inbuf.last
    outbuf.last_with_datap = slot if inbuf.last_with_datap == &inbuf.first else inbuf.last_with_datap
    inbuf.first = inbuf.last = NULL
    inbuf.last_with_datap = &inbuf.first
    inbuf.total_len = 0
    inbuf.n_del_for_cb += n
    outbuf.total_len += n
    outbuf.n_add_for_cb += n


cdef int evbuffer_add_buffer(evbuffer *outbuf, evbuffer *inbuf) noexcept nogil:
    cdef int result = 0
    if outbuf == inbuf:
        return 0
    lock_both(inbuf, outbuf)
    if inbuf.total_len:
        if outbuf.freeze_end or inbuf.freeze_start or too_long(outbuf, inbuf.total_len):
            result = -1
        else:
            move_all(outbuf, inbuf)
            evbuffer_invoke_callbacks_(inbuf)
            evbuffer_invoke_callbacks_(outbuf)
    unlock_both(inbuf, outbuf)
    return result


cdef int evbuffer_prepend_buffer(evbuffer *outbuf, evbuffer *inbuf) noexcept nogil:
    cdef int result = 0
    cdef size_t n
    if outbuf == inbuf:
        return 0
    lock_both(inbuf, outbuf)
    n = inbuf.total_len
    if n and (outbuf.freeze_start or inbuf.freeze_start or too_long(outbuf, n)):
        result = -1
    elif n and outbuf.total_len == 0:
        move_all(outbuf, inbuf)
    elif n:
        evbuffer_drop_empty_(inbuf)
        inbuf.last.next = outbuf.first
        if outbuf.last_with_datap == &outbuf.first:
            outbuf.last_with_datap = &inbuf.last.next
        outbuf.first = inbuf.first
        inbuf.first = inbuf.last = NULL
        inbuf.last_with_datap = &inbuf.first
        inbuf.total_len = 0
        inbuf.n_del_for_cb += n
        outbuf.total_len += n
        outbuf.n_add_for_cb += n
    if n and result == 0:
        evbuffer_invoke_callbacks_(inbuf)
        evbuffer_invoke_callbacks_(outbuf)
    unlock_both(inbuf, outbuf)
    return result


cdef int remove_part(evbuffer *src, evbuffer *dst, size_t datlen) noexcept nogil:
    """datlen is less than src holds."""
    cdef evbuffer_chain *chain = src.first
    cdef evbuffer_chain *previous = NULL
    cdef evbuffer_chain *fresh = NULL
    cdef evbuffer_chain *target
    cdef evbuffer_chain **slot
    cdef evbuffer_chain **before_previous = &src.first
    cdef evbuffer_chain **last_moved = &src.first
    cdef size_t whole = 0
    cdef size_t rest
    while chain.off <= datlen - whole:
        whole += chain.off
        last_moved = before_previous
        previous = chain
        before_previous = &chain.next
        chain = chain.next
    rest = datlen - whole
    # All that can fail comes first.
    target = previous if previous != NULL else dst.last_with_datap[0]
    if rest and chain.flags & CHAIN_FILESEGMENT:
        # Its bytes are not ours to copy: both buffers show their part of the segment.
        fresh = evbuffer_file_chain_share_(chain, rest)
        if fresh == NULL:
            return -1
    elif rest and (target == NULL or chain_space(target) < rest):
        fresh = evbuffer_chain_new_(rest)
        if fresh == NULL:
            return -1
        memcpy(fresh.buffer, chain_data(chain), rest)
        fresh.off = rest
    if previous != NULL:
        if src.last_with_datap == &previous.next:
            src.last_with_datap = &src.first
        slot = evbuffer_drop_empty_(dst)
        slot[0] = src.first
        dst.last_with_datap = slot if last_moved == &src.first else last_moved
        dst.last = previous
        previous.next = NULL
        src.first = chain
        dst.total_len += whole
        dst.n_add_for_cb += whole
    if fresh != NULL:
        evbuffer_chain_insert_(dst, fresh)
    elif rest:
        evbuffer_append_nolock_(dst, chain_data(chain), rest)
    chain.misalign += rest
    chain.off -= rest
    src.total_len -= datlen
    src.n_del_for_cb += datlen
    return 0


cdef int evbuffer_remove_buffer(evbuffer *src, evbuffer *dst, size_t datlen) noexcept nogil:
    cdef int result = 0
    if dst == src or datlen == 0:
        return 0
    lock_both(src, dst)
    if dst.freeze_end or src.freeze_start \
            or too_long(dst, datlen if datlen < src.total_len else src.total_len):
        result = -1
    else:
        if datlen >= src.total_len:
            datlen = src.total_len
            if datlen:
                move_all(dst, src)
        else:
            result = remove_part(src, dst, datlen)
        if result == 0:
            result = <int>datlen if datlen <= 0x7fffffff else 0x7fffffff
            evbuffer_invoke_callbacks_(dst)
            evbuffer_invoke_callbacks_(src)
    unlock_both(src, dst)
    return result


cdef evbuffer_chain *shared_copy(evbuffer_chain *chain) noexcept nogil:
    """A list of chains that show the bytes of `chain` and all that follow it."""
    cdef evbuffer_chain *first = NULL
    cdef evbuffer_chain **slot = &first
    cdef evbuffer_chain *child
    while chain != NULL and chain.off:
        if chain.flags & CHAIN_FILESEGMENT:
            child = evbuffer_file_chain_share_(chain, chain.off)
        else:
            child = evbuffer_chain_borrow_(sizeof(evbuffer_multicast_parent))
        if child == NULL:
            evbuffer_chain_free_all_(first)
            return NULL
        if not child.flags & CHAIN_FILESEGMENT:
            (<evbuffer_multicast_parent *>chain_extra(child)).parent = chain
            chain_ref(chain)
            child.flags |= CHAIN_MULTICAST
            child.buffer = chain.buffer
            child.misalign = chain.misalign
            child.off = chain.off
            child.buffer_len = chain.misalign + chain.off
        slot[0] = child
        slot = &child.next
        chain = chain.next
    return first


cdef int reference_nolock(evbuffer *outbuf, evbuffer *inbuf) noexcept nogil:
    cdef evbuffer_chain *chain = inbuf.first
    cdef evbuffer_chain *following
    if too_long(outbuf, inbuf.total_len):
        return -1
    while chain != NULL:
        if chain.flags & CHAIN_MULTICAST:
            set_errno(EINVAL)
            return -1
        chain = chain.next
    chain = shared_copy(inbuf.first)
    if chain == NULL:
        return -1
    while chain != NULL:
        following = chain.next
        chain.next = NULL
        evbuffer_chain_insert_(outbuf, chain)
        chain = following
    evbuffer_invoke_callbacks_(outbuf)
    return 0


cdef int evbuffer_add_buffer_reference(evbuffer *outbuf, evbuffer *inbuf) noexcept nogil:
    cdef int result = 0
    lock_both(inbuf, outbuf)
    if inbuf.total_len:
        result = -1
        if outbuf.freeze_end or outbuf == inbuf:
            set_errno(EINVAL)
        else:
            result = reference_nolock(outbuf, inbuf)
    unlock_both(inbuf, outbuf)
    return result
