# Who is told when a buffer changes.
#
# Every operation adds to n_add_for_cb and n_del_for_cb and ends with evbuffer_invoke_callbacks_(), with the
# buffer's lock held. Callbacks may change the buffer, and add and remove callbacks; only a deferred callback
# may free the buffer.

from cyevent.core.types cimport event_base
from cyevent.buffer.types cimport evbuffer, evbuffer_cb_entry, evbuffer_cb_func

# NULL without memory. The callback is enabled, and called before those that were added earlier.
cdef evbuffer_cb_entry *evbuffer_add_cb(evbuffer *buf, evbuffer_cb_func cb, void *cbarg) noexcept nogil
# The same with the caller's memory, which lasts as long as the buffer.
cdef evbuffer_cb_entry *evbuffer_attach_cb_(evbuffer *buf, evbuffer_cb_entry *entry, evbuffer_cb_func cb,
                                            void *cbarg) noexcept nogil
cdef int evbuffer_remove_cb_entry(evbuffer *buf, evbuffer_cb_entry *entry) noexcept nogil
cdef int evbuffer_remove_cb(evbuffer *buf, evbuffer_cb_func cb, void *cbarg) noexcept nogil
cdef int evbuffer_cb_set_flags(evbuffer *buf, evbuffer_cb_entry *entry, unsigned flags) noexcept nogil
cdef int evbuffer_cb_clear_flags(evbuffer *buf, evbuffer_cb_entry *entry, unsigned flags) noexcept nogil
# Not called while suspended; called once by unsuspending it when the buffer changed meanwhile, with the
# length at suspension and what the change comes to.
cdef void evbuffer_cb_suspend(evbuffer *buf, evbuffer_cb_entry *entry) noexcept nogil
cdef void evbuffer_cb_unsuspend(evbuffer *buf, evbuffer_cb_entry *entry) noexcept nogil
# From now on callbacks run from the base's loop, once for all changes since. -1 without memory.
cdef int evbuffer_defer_callbacks(evbuffer *buf, event_base *base) noexcept nogil
# A bufferevent moves to another base: what its buffer had with the old one goes along.
cdef void evbuffer_set_base_(evbuffer *buf, event_base *old, event_base *base) noexcept nogil

cdef void evbuffer_run_callbacks_(evbuffer *buf) noexcept nogil
cdef void evbuffer_remove_all_callbacks_(evbuffer *buf) noexcept nogil


cdef inline void evbuffer_invoke_callbacks_(evbuffer *buf) noexcept nogil:
    if buf.callbacks == NULL:
        buf.n_add_for_cb = buf.n_del_for_cb = 0
    else:
        evbuffer_run_callbacks_(buf)
