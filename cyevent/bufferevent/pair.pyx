"""Linked pairs of bufferevents.

Both ends share one lock, which is freed with the end that goes last. A buffer's callback of the user's may free
either end while bytes move, so that both are held meanwhile.
"""

from libc.stddef cimport size_t
from cyevent.buffer.callbacks cimport evbuffer_attach_cb_
from cyevent.buffer.transfer cimport evbuffer_add_buffer, evbuffer_remove_buffer
from cyevent.buffer.types cimport evbuffer_cb_info
from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.timeouts cimport *
from cyevent.bufferevent.types cimport *
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.sys cimport set_errno, EINVAL
from cyevent.core.threads cimport evthread_lock_alloc_, evthread_lock_free_
from cyevent.core.types cimport EV_READ, EV_WRITE, EVLIST_TIMEOUT

cdef struct pair_lock:
    int ends                   # that have not been destroyed

cdef struct bufferevent_pair:
    bufferevent_private bev    # must be first
    bufferevent_pair *partner  # NULL once it is being freed
    pair_lock *shared          # NULL without a lock

cdef bufferevent_ops pair_ops


cdef inline bufferevent *hold(bufferevent_pair *end) noexcept nogil:
    """The end, with a reference; NULL for none. The lock is held."""
    if end == NULL:
        return NULL
    end.bev.refcnt += 1
    return &end.bev.bev


cdef inline void let_go(bufferevent *bev) noexcept nogil:
    if bev != NULL:
        BEV_LOCK(bev)
        bufferevent_decref_and_unlock_(bev)


cdef inline bint wants_to_talk(bufferevent *src, bufferevent *dst) noexcept nogil:
    return src.enabled & EV_WRITE and dst.enabled & EV_READ \
        and not BEV_UPCAST(dst).read_suspended and src.output.total_len != 0


cdef void move(bufferevent *src, bufferevent *dst, bint ignore_watermark) noexcept nogil:
    """Both are held."""
    cdef size_t room = src.output.total_len
    if dst.wm_read.high and not ignore_watermark:
        if dst.input.total_len >= dst.wm_read.high:
            return
        if dst.wm_read.high - dst.input.total_len < room:
            room = dst.wm_read.high - dst.input.total_len
    src.output.freeze_start = False
    dst.input.freeze_end = False
    if room == src.output.total_len:
        evbuffer_add_buffer(dst.input, src.output)
    else:
        evbuffer_remove_buffer(src.output, dst.input, room)
    src.output.freeze_start = True
    dst.input.freeze_end = True
    if room:
        if dst.enabled & EV_READ and not BEV_UPCAST(dst).read_suspended:
            reset_read_timeout(dst)
        if src.output.total_len:
            reset_write_timeout(src)
        else:
            delete_write_timeout(src)
    bufferevent_trigger_nolock_(dst, EV_READ, 0)
    bufferevent_trigger_nolock_(src, EV_WRITE, 0)


cdef void output_changed(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept nogil:
    cdef bufferevent *bev = <bufferevent *>arg
    cdef bufferevent *partner
    if info.n_added <= info.n_deleted or not bev.enabled & EV_WRITE:
        return
    bufferevent_incref_and_lock_(bev)
    partner = hold((<bufferevent_pair *>bev).partner)
    if partner != NULL and wants_to_talk(bev, partner):
        move(bev, partner, False)
    elif not bev.ev_write.evcb.flags & EVLIST_TIMEOUT:
        reset_write_timeout(bev)
    let_go(partner)
    bufferevent_decref_and_unlock_(bev)


cdef int pair_enable(bufferevent *bev, short events) noexcept nogil:
    cdef bufferevent *partner
    bufferevent_incref_and_lock_(bev)
    partner = hold((<bufferevent_pair *>bev).partner)
    if events & EV_READ:
        reset_read_timeout(bev)
    if events & EV_WRITE and bev.output.total_len:
        reset_write_timeout(bev)
    if partner != NULL:
        if events & EV_READ and wants_to_talk(partner, bev):
            move(partner, bev, False)
        if events & EV_WRITE and wants_to_talk(bev, partner):
            move(bev, partner, False)
    let_go(partner)
    bufferevent_decref_and_unlock_(bev)
    return 0


cdef int pair_disable(bufferevent *bev, short events) noexcept nogil:
    if events & EV_READ:
        delete_read_timeout(bev)
    if events & EV_WRITE:
        delete_write_timeout(bev)
    return 0


cdef int pair_flush(bufferevent *bev, short iotype, bufferevent_flush_mode mode) noexcept nogil:
    cdef bufferevent *partner
    cdef short what = BEV_EVENT_EOF
    if (<bufferevent_pair *>bev).partner == NULL:
        return -1
    if mode == BEV_NORMAL:
        return 0
    bufferevent_incref_and_lock_(bev)
    partner = hold((<bufferevent_pair *>bev).partner)
    if iotype & EV_READ:
        move(partner, bev, True)
        what |= BEV_EVENT_WRITING
    if iotype & EV_WRITE:
        move(bev, partner, True)
        what |= BEV_EVENT_READING
    if mode == BEV_FINISHED:
        bufferevent_run_eventcb_(partner, what, 0)
    let_go(partner)
    bufferevent_decref_and_unlock_(bev)
    return 0


cdef void pair_unlink(bufferevent *bev) noexcept nogil:
    cdef bufferevent_pair *end = <bufferevent_pair *>bev
    if end.partner != NULL:
        end.partner.partner = NULL
        end.partner = NULL


cdef void pair_destruct(bufferevent *bev) noexcept nogil:
    cdef bufferevent_pair *end = <bufferevent_pair *>bev
    if end.shared == NULL:
        return
    end.shared.ends -= 1
    end.bev.bev.own_lock = end.shared.ends == 0
    if end.bev.bev.own_lock:
        mm_free(end.shared)


pair_ops.type = b"pair_elt"
pair_ops.mem_offset = 0
pair_ops.enable = pair_enable
pair_ops.disable = pair_disable
pair_ops.unlink = pair_unlink
pair_ops.destruct = pair_destruct
pair_ops.adj_timeouts = bufferevent_generic_adj_timeouts_
pair_ops.flush = pair_flush
pair_ops.ctrl = NULL


cdef bufferevent_pair *end_new(event_base *base, int options) noexcept nogil:
    cdef bufferevent_pair *end = <bufferevent_pair *>mm_calloc(1, sizeof(bufferevent_pair))
    cdef bufferevent *bev
    if end == NULL:
        return NULL
    if bufferevent_init_common_(&end.bev, base, &pair_ops, options) < 0:
        mm_free(end)
        return NULL
    bev = &end.bev.bev
    bufferevent_init_generic_timeout_cbs_(bev)
    evbuffer_attach_cb_(bev.output, &end.bev.output_cb, output_changed, bev)
    bev.input.freeze_end = True
    bev.output.freeze_start = True
    return end


cdef int share_lock(bufferevent_pair *one, bufferevent_pair *two) noexcept nogil:
    cdef pair_lock *shared = <pair_lock *>mm_calloc(1, sizeof(pair_lock))
    cdef void *lock = evthread_lock_alloc_()
    if shared == NULL or lock == NULL:
        mm_free(shared)
        evthread_lock_free_(lock)
        return -1
    shared.ends = 2
    one.shared = two.shared = shared
    bufferevent_enable_locking_(&one.bev.bev, lock)
    bufferevent_enable_locking_(&two.bev.bev, lock)
    return 0


cdef int bufferevent_pair_new(event_base *base, int options, bufferevent **pair) noexcept nogil:
    cdef bufferevent_pair *one
    cdef bufferevent_pair *two
    cdef int unlocked = (options | BEV_OPT_DEFER_CALLBACKS) & ~BEV_OPT_THREADSAFE
    if base == NULL:
        set_errno(EINVAL)
        return -1
    one = end_new(base, unlocked)
    if one == NULL:
        return -1
    two = end_new(base, unlocked)
    if two == NULL or (options & BEV_OPT_THREADSAFE and share_lock(one, two) < 0):
        bufferevent_free(&one.bev.bev)
        if two != NULL:
            bufferevent_free(&two.bev.bev)
        return -1
    one.bev.options |= options & BEV_OPT_THREADSAFE
    two.bev.options |= options & BEV_OPT_THREADSAFE
    one.partner = two
    two.partner = one
    pair[0] = &one.bev.bev
    pair[1] = &two.bev.bev
    return 0


cdef bufferevent *bufferevent_pair_get_partner(bufferevent *bev) noexcept nogil:
    cdef bufferevent *partner = NULL
    if bev.be_ops != &pair_ops:
        return NULL
    BEV_LOCK(bev)
    if (<bufferevent_pair *>bev).partner != NULL:
        partner = &(<bufferevent_pair *>bev).partner.bev.bev
    BEV_UNLOCK(bev)
    return partner
