# Bufferevents of every kind: a pair of evbuffers, callbacks, timeouts and watermarks.
#
# The loop fills `input` and calls the read callback when it holds the low watermark's number of bytes; what
# is put in `output` leaves, and the write callback is called when no more than the low watermark is left. The
# event callback hears of the end, of errors, timeouts and of being connected.

from cyevent.core.sys cimport evutil_socket_t, timeval
from cyevent.core.types cimport event, event_base, EV_READ, EV_WRITE
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.buffer.types cimport evbuffer, ev_ssize_t
from cyevent.bufferevent.limits cimport *
from cyevent.bufferevent.types cimport *
from cyevent.bufferevent.types cimport (
    bufferevent, bufferevent_private, bufferevent_ops, bufferevent_data_cb, bufferevent_event_cb,
)

# Frees it when nothing of it can be running any more; callbacks end at once. Safe from its own callbacks.
cdef void bufferevent_free(bufferevent *bev) noexcept nogil
cdef void bufferevent_incref(bufferevent *bev) noexcept nogil
# 1 if that was the last reference.
cdef int bufferevent_decref(bufferevent *bev) noexcept nogil
# Also hold a reference.
cdef void bufferevent_lock(bufferevent *bev) noexcept nogil
cdef void bufferevent_unlock(bufferevent *bev) noexcept nogil

cdef void bufferevent_setcb(bufferevent *bev, bufferevent_data_cb readcb,
                            bufferevent_data_cb writecb, bufferevent_event_cb eventcb,
                            void *cbarg) noexcept nogil
cdef void bufferevent_getcb(bufferevent *bev, bufferevent_data_cb *readcb,
                            bufferevent_data_cb *writecb, bufferevent_event_cb *eventcb,
                            void **cbarg) noexcept nogil
cdef event_base *bufferevent_get_base(bufferevent *bev) noexcept nogil
cdef bufferevent *bufferevent_get_underlying(bufferevent *bev) noexcept nogil
cdef int bufferevent_setfd(bufferevent *bev, evutil_socket_t fd) noexcept nogil
# Closes the descriptor that it has first.
cdef int bufferevent_replacefd(bufferevent *bev, evutil_socket_t fd) noexcept nogil
cdef evutil_socket_t bufferevent_getfd(bufferevent *bev) noexcept nogil
cdef int bufferevent_get_priority(const bufferevent *bev) noexcept nogil

cdef int bufferevent_write(bufferevent *bev, const void *data, size_t size) noexcept nogil
cdef int bufferevent_write_buffer(bufferevent *bev, evbuffer *buf) noexcept nogil
cdef size_t bufferevent_read(bufferevent *bev, void *data, size_t size) noexcept nogil
cdef int bufferevent_read_buffer(bufferevent *bev, evbuffer *buf) noexcept nogil
cdef evbuffer *bufferevent_get_input(bufferevent *bev) noexcept nogil
cdef evbuffer *bufferevent_get_output(bufferevent *bev) noexcept nogil
cdef int bufferevent_flush(bufferevent *bev, short iotype, bufferevent_flush_mode mode) noexcept nogil

cdef int bufferevent_enable(bufferevent *bev, short events) noexcept nogil
cdef int bufferevent_disable(bufferevent *bev, short events) noexcept nogil
cdef short bufferevent_get_enabled(bufferevent *bev) noexcept nogil
# NULL: none.
cdef int bufferevent_set_timeouts(bufferevent *bev, const timeval *timeout_read,
                                  const timeval *timeout_write) noexcept nogil
# Nothing is read while the input holds `highmark` bytes (0: no limit).
cdef void bufferevent_setwatermark(bufferevent *bev, short events, size_t lowmark,
                                   size_t highmark) noexcept nogil
cdef int bufferevent_getwatermark(bufferevent *bev, short events, size_t *lowmark,
                                  size_t *highmark) noexcept nogil
# Calls the read or write callback if the watermarks are met, or with BEV_TRIG_IGNORE_WATERMARKS.
cdef void bufferevent_trigger(bufferevent *bev, short iotype, int options) noexcept nogil
cdef void bufferevent_trigger_event(bufferevent *bev, short what, int options) noexcept nogil

# --- for the kinds of bufferevents ---

# Makes buffers and lock. -1 leaves nothing behind.
cdef int bufferevent_init_common_(bufferevent_private *p, event_base *base,
                                  const bufferevent_ops *ops, int options) noexcept nogil
cdef int bufferevent_enable_locking_(bufferevent *bev, void *lock) noexcept nogil
cdef void bufferevent_decref_and_unlock_(bufferevent *bev) noexcept nogil
cdef void bufferevent_suspend_read_(bufferevent *bev, unsigned short why) noexcept nogil
cdef void bufferevent_unsuspend_read_(bufferevent *bev, unsigned short why) noexcept nogil
cdef void bufferevent_suspend_write_(bufferevent *bev, unsigned short why) noexcept nogil
cdef void bufferevent_unsuspend_write_(bufferevent *bev, unsigned short why) noexcept nogil
# These need the lock and a reference. They call back, or schedule it as the options demand.
cdef void bufferevent_run_readcb_(bufferevent *bev, int options) noexcept nogil
cdef void bufferevent_run_writecb_(bufferevent *bev, int options) noexcept nogil
cdef void bufferevent_run_eventcb_(bufferevent *bev, short what, int options) noexcept nogil
cdef int bufferevent_add_event_(event *ev, const timeval *tv) noexcept nogil
cdef int bufferevent_adj_existing_timeouts_(bufferevent *bev) noexcept nogil


# Nobody will hear of the name that is being looked up. Called with the lock held.
cdef inline void bufferevent_cancel_lookup_(bufferevent *bev) noexcept nogil:
    if (<bufferevent_private *>bev).dns_request != NULL:
        (<bufferevent_private *>bev).dns_request.cancel(bev)


cdef inline bufferevent_private *BEV_UPCAST(bufferevent *bev) noexcept nogil:
    return <bufferevent_private *>bev


cdef inline void BEV_LOCK(bufferevent *bev) noexcept nogil:
    EVLOCK_LOCK(BEV_UPCAST(bev).lock)


cdef inline void BEV_UNLOCK(bufferevent *bev) noexcept nogil:
    EVLOCK_UNLOCK(BEV_UPCAST(bev).lock)


# For the loop's own callbacks, and nobody else. The loop's thread may still have an interpreter's lock from the
# callback before, and whoever holds ours may be waiting for that one.
cdef inline void bufferevent_lock_in_loop_(bufferevent *bev) noexcept nogil:
    cdef void *lock = BEV_UPCAST(bev).lock
    if lock != NULL:
        if bev.ev_base.before_wait != NULL:
            bev.ev_base.before_wait(bev.ev_base.binding)
        EVLOCK_LOCK(lock)


cdef inline void bufferevent_incref_and_lock_(bufferevent *bev) noexcept nogil:
    BEV_LOCK(bev)
    BEV_UPCAST(bev).refcnt += 1


cdef inline void bufferevent_trigger_nolock_(bufferevent *bev, short iotype,
                                             int options) noexcept nogil:
    if iotype & EV_READ and (options & BEV_TRIG_IGNORE_WATERMARKS
                             or bev.input.total_len >= bev.wm_read.low):
        bufferevent_run_readcb_(bev, options)
    if iotype & EV_WRITE and (options & BEV_TRIG_IGNORE_WATERMARKS
                              or bev.output.total_len <= bev.wm_write.low):
        bufferevent_run_writecb_(bev, options)
