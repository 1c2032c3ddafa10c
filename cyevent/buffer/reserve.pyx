"""The buffer's memory itself: space to write into, bytes to look at where they are."""

from cyevent.buffer.callbacks cimport evbuffer_invoke_callbacks_
from cyevent.buffer.chain cimport *
from cyevent.buffer.evbuffer cimport (
    EVBUFFER_MAX, evbuffer_chain_insert_, evbuffer_copy_nolock_,
)
from cyevent.buffer.file cimport chain_ready, evbuffer_load_nolock_
from cyevent.buffer.types cimport *
from cyevent.core.sys cimport set_errno, EINVAL, ENOMEM
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK


cdef evbuffer_chain *one_piece(evbuffer *buf, size_t size) noexcept nogil:
    """The chain that has `size` bytes of space together, made if there is none."""
    cdef evbuffer_chain *chain = buf.last_with_datap[0]
    if size > EVBUFFER_MAX - buf.total_len:
        set_errno(ENOMEM)
        return NULL
    if chain != NULL:
        if chain_space(chain) >= size or chain_realign(chain, size):
            return chain
        if chain.next != NULL and chain_space(chain.next) >= size:
            return chain.next
    chain = evbuffer_chain_new_(size)
    if chain != NULL:
        evbuffer_chain_insert_(buf, chain)
    return chain


cdef int evbuffer_expand(evbuffer *buf, size_t datlen) noexcept nogil:
    cdef evbuffer_chain *chain
    EVLOCK_LOCK(buf.lock)
    chain = one_piece(buf, datlen)
    EVLOCK_UNLOCK(buf.lock)
    return 0 if chain != NULL else -1


cdef int evbuffer_make_room_nolock_(evbuffer *buf, size_t size) noexcept nogil:
    cdef evbuffer_chain *chain = buf.last_with_datap[0]
    cdef evbuffer_chain *following
    cdef size_t space = 0
    if size > EVBUFFER_MAX - buf.total_len:
        set_errno(ENOMEM)
        return -1
    if chain != NULL:
        space = chain_space(chain)
        if space < size and chain.next != NULL:
            space += chain_space(chain.next)
    if space >= size:
        return 0
    space = chain_space(chain) if chain != NULL else 0
    following = evbuffer_chain_new_(size - space)
    if following == NULL:
        return -1
    if chain != NULL and chain.off == 0:
        # Inserting would take the place of an empty chain.
        evbuffer_chain_free_all_(chain.next)
        chain.next = following
        buf.last = following
    else:
        evbuffer_chain_insert_(buf, following)
    return 0


cdef inline void describe_space(evbuffer_iovec *vec, evbuffer_chain *chain) noexcept nogil:
    vec.iov_base = chain_space_ptr(chain)
    vec.iov_len = chain_space(chain)


cdef int reserve_nolock(evbuffer *buf, size_t size, evbuffer_iovec *vec, int n_vecs) noexcept nogil:
    cdef evbuffer_chain *chain = buf.last_with_datap[0]
    cdef evbuffer_chain *fresh
    cdef size_t space = 0
    cdef int used = 0
    if n_vecs == 1:
        chain = one_piece(buf, size)
        if chain == NULL:
            return -1
        describe_space(vec, chain)
        return 1
    while chain != NULL and used < n_vecs:
        if chain_space(chain):
            describe_space(&vec[used], chain)
            space += vec[used].iov_len
            used += 1
            if space >= size:
                return used
        chain = chain.next
    if used < n_vecs:
        fresh = evbuffer_chain_new_(size - space)
        if fresh == NULL:
            return -1
        if buf.last == NULL:
            buf.first = fresh
        else:
            buf.last.next = fresh
        buf.last = fresh
    else:
        # One larger chain takes the place of all that are empty.
        chain = buf.last_with_datap[0]
        space = chain_space(chain) if chain.off else 0
        used = 1 if space else 0
        fresh = evbuffer_chain_new_(size - space)
        if fresh == NULL:
            return -1
        evbuffer_chain_insert_(buf, fresh)
    describe_space(&vec[used], fresh)
    return used + 1


cdef int evbuffer_reserve_space(evbuffer *buf, ev_ssize_t size, evbuffer_iovec *vec,
                                int n_vecs) noexcept nogil:
    cdef int result = -1
    EVLOCK_LOCK(buf.lock)
    if n_vecs < 1 or size < 0:
        set_errno(EINVAL)
    elif not buf.freeze_end:
        if <size_t>size > EVBUFFER_MAX - buf.total_len:
            set_errno(ENOMEM)
        else:
            result = reserve_nolock(buf, <size_t>size if size else 1, vec, n_vecs)
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef int commit_nolock(evbuffer *buf, evbuffer_iovec *vec, int n_vecs) noexcept nogil:
    cdef evbuffer_chain **slot = buf.last_with_datap
    cdef evbuffer_chain *chain = slot[0]
    cdef evbuffer_chain *last = NULL
    cdef evbuffer_chain *given
    cdef size_t added = 0
    cdef int i
    while chain != NULL and (chain_space(chain) == 0 or chain_space_ptr(chain) != vec[0].iov_base):
        chain = chain.next
    given = chain
    for i in range(n_vecs):
        if chain == NULL or vec[i].iov_base != chain_space_ptr(chain) \
                or vec[i].iov_len > chain_space(chain):
            set_errno(EINVAL)
            return -1
        if vec[i].iov_len:
            last = chain
        chain = chain.next
    if last == NULL:
        return 0
    chain = given
    for i in range(n_vecs):
        chain.off += vec[i].iov_len
        added += vec[i].iov_len
        chain = chain.next
    # Empty chains that were passed over go.
    while slot[0] != last:
        chain = slot[0]
        if chain.off:
            slot = &chain.next
        else:
            slot[0] = chain.next
            evbuffer_chain_free_(chain)
    buf.last_with_datap = slot
    buf.total_len += added
    buf.n_add_for_cb += added
    evbuffer_invoke_callbacks_(buf)
    return 0


cdef int evbuffer_commit_space(evbuffer *buf, evbuffer_iovec *vec, int n_vecs) noexcept nogil:
    cdef int result = -1
    EVLOCK_LOCK(buf.lock)
    if not buf.freeze_end:
        result = commit_nolock(buf, vec, n_vecs) if n_vecs > 0 else 0
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef int evbuffer_peek(evbuffer *buf, ev_ssize_t len, evbuffer_ptr *start_at, evbuffer_iovec *vec,
                       int n_vec) noexcept nogil:
    cdef evbuffer_chain *chain
    cdef size_t skip = 0
    cdef size_t wanted
    cdef size_t n
    cdef int pieces = 0
    if start_at != NULL and start_at.internal_.chain == NULL:
        return 0
    EVLOCK_LOCK(buf.lock)
    chain = buf.first
    if start_at != NULL:
        chain = <evbuffer_chain *>start_at.internal_.chain
        skip = start_at.internal_.pos_in_chain
    wanted = <size_t>len if len >= 0 else <size_t>EVBUFFER_MAX
    while chain != NULL and chain.off:
        if wanted == 0 or (len < 0 and n_vec > 0 and pieces == n_vec):
            break
        n = chain.off - skip
        if pieces < n_vec:
            if not chain_ready(chain):
                pieces = -1
                break
            vec[pieces].iov_base = chain_data(chain) + skip
            vec[pieces].iov_len = n
        pieces += 1
        wanted = wanted - n if wanted > n else 0
        skip = 0
        chain = chain.next
    EVLOCK_UNLOCK(buf.lock)
    return pieces


cdef unsigned char *pullup_nolock(evbuffer *buf, size_t size) noexcept nogil:
    cdef evbuffer_chain *target = buf.first
    cdef evbuffer_chain *gone
    cdef evbuffer_chain *chain
    cdef evbuffer_chain *following
    cdef evbuffer_chain *last = buf.last_with_datap[0]
    cdef bint last_moved = False
    cdef bint slot_moved = False
    cdef size_t n
    if evbuffer_load_nolock_(target, 0, size) < 0:
        return NULL
    if target.off >= size:
        return chain_data(target)
    if not target.flags & CHAIN_IMMUTABLE and target.buffer_len - target.misalign >= size:
        gone = target.next
    else:
        gone = target
        target = evbuffer_chain_new_(size)
        if target == NULL:
            return NULL
        buf.first = target
    chain = gone
    while target.off < size:
        n = size - target.off
        if n > chain.off:
            n = chain.off
        evbuffer_copy_nolock_(chain, 0, chain_space_ptr(target), n)
        target.off += n
        if n < chain.off:
            chain.misalign += n
            chain.off -= n
            break
        last_moved = last_moved or chain == last
        slot_moved = slot_moved or buf.last_with_datap == &chain.next
        chain = chain.next
    target.next = chain
    if chain == NULL:
        buf.last = target
    if last_moved:
        buf.last_with_datap = &buf.first
    elif slot_moved:
        buf.last_with_datap = &target.next
    while gone != chain:
        following = gone.next
        evbuffer_chain_free_(gone)
        gone = following
    return chain_data(target)


cdef unsigned char *evbuffer_pullup(evbuffer *buf, ev_ssize_t size) noexcept nogil:
    cdef unsigned char *result = NULL
    EVLOCK_LOCK(buf.lock)
    if size < 0:
        size = <ev_ssize_t>buf.total_len
    if size and <size_t>size <= buf.total_len:
        result = pullup_nolock(buf, <size_t>size)
    EVLOCK_UNLOCK(buf.lock)
    return result
