# Events: libevent's API, and the nolock forms that the loop and the bufferevents use.
#
# event_assign() prepares, event_add() makes pending, readiness or event_active() makes active, the loop
# runs the callback, event_del() ends. All of them may be called from any thread when the base has a lock.

from libc.stdint cimport int64_t
from cyevent.core.sys cimport evutil_socket_t, timeval
from cyevent.core.clock cimport monotonic_ns
from cyevent.core.types cimport *
from cyevent.core.types cimport event, event_base, event_callback_fn, event_finalize_callback_fn
from cyevent.core.types cimport event_callback, common_timeout

# Returns a new event that the caller frees with event_free(), or NULL.
cdef event *event_new(event_base *base, evutil_socket_t fd, short events,
                      event_callback_fn callback, void *arg) noexcept nogil
# Prepares the caller's memory; it must not be pending. 0, or -1 for a contradiction in `events`.
cdef int event_assign(event *ev, event_base *base, evutil_socket_t fd, short events,
                      event_callback_fn callback, void *arg) noexcept nogil
cdef void event_free(event *ev) noexcept nogil
# Pass its value as `arg` to have the callback receive the event itself.
cdef void *event_self_cbarg() noexcept nogil
cdef int event_base_set(event_base *base, event *ev) noexcept nogil
cdef int event_add(event *ev, const timeval *timeout) noexcept nogil
cdef int event_remove_timer(event *ev) noexcept nogil
# From another thread these wait for a running callback to end: event_del() unless the event has
# EV_FINALIZE, _block always, _noblock never.
cdef int event_del(event *ev) noexcept nogil
cdef int event_del_block(event *ev) noexcept nogil
cdef int event_del_noblock(event *ev) noexcept nogil
cdef void event_active(event *ev, int what, short ncalls) noexcept nogil
cdef int event_pending(const event *ev, short what, timeval *tv) noexcept nogil
cdef int event_initialized(const event *ev) noexcept nogil
cdef int event_priority_set(event *ev, int priority) noexcept nogil
cdef int event_get_priority(const event *ev) noexcept nogil
cdef evutil_socket_t event_get_fd(const event *ev) noexcept nogil
cdef event_base *event_get_base(const event *ev) noexcept nogil
cdef short event_get_events(const event *ev) noexcept nogil
cdef event_callback_fn event_get_callback(const event *ev) noexcept nogil
cdef void *event_get_callback_arg(const event *ev) noexcept nogil
cdef void event_get_assignment(const event *ev, event_base **base_out, evutil_socket_t *fd_out,
                               short *events_out, event_callback_fn *callback_out,
                               void **arg_out) noexcept nogil
cdef size_t event_get_struct_event_size() noexcept nogil
cdef const timeval *event_base_init_common_timeout(event_base *base,
                                                   const timeval *duration) noexcept nogil
cdef void event_base_active_by_fd(event_base *base, evutil_socket_t fd, short what) noexcept nogil
cdef void event_base_active_by_signal(event_base *base, int signum) noexcept nogil

# The same in nanoseconds (-1: no timeout); takes the lock.
cdef int event_add_ns_(event *ev, int64_t timeout) noexcept nogil
# With the lock held. `absolute`: the timeout is a deadline. common_index as in event_callback.
cdef int event_add_nolock_(event *ev, int64_t timeout, bint absolute, int common_index) noexcept nogil
cdef int event_del_nolock_(event *ev, int blocking) noexcept nogil
# common_index of a duration from event_base_init_common_timeout(), else 0.
cdef int common_index_of_(event_base *base, const timeval *tv) noexcept nogil
cdef void event_active_nolock_(event *ev, int what, short ncalls) noexcept nogil
# event_del() for an event whose memory goes: when its own callback frees it, no event is the running one.
cdef void event_forget_(event *ev) noexcept nogil
cdef void timeout_process_(event_base *base) noexcept nogil
# Waits until the base's loop has ended the run of this callback that is under way; from the loop's own
# thread, not at all. With the lock held.
cdef void wait_for_callback_(event_base *base, event_callback *cb) noexcept nogil
# Wall clock minus monotonic clock, looked at again every few seconds.
cdef int64_t base_wall_offset_(event_base *base) noexcept nogil


# This turn's time. Read at the first use after the wait, so a turn that needs no time reads no clock.
cdef inline int64_t base_now(event_base *base) noexcept nogil:
    cdef int64_t now = base.cached_ns
    if now:
        return now
    now = monotonic_ns()
    if base.time_cacheable:
        base.cached_ns = now
    return now


cdef inline event *callback_to_event(event_callback *cb) noexcept nogil:
    return <event *>cb
