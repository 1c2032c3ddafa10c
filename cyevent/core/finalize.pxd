# Finalizing: freeing what a running callback may still use, without waiting for it.

from cyevent.core.types cimport deferred_cb_fn, event, event_base, event_callback, event_finalize_callback_fn

# The callback gets the event when nothing can be running it any more, in the loop's thread.
cdef int event_finalize(unsigned flags, event *ev, event_finalize_callback_fn callback) noexcept nogil
cdef int event_free_finalize(unsigned flags, event *ev,
                             event_finalize_callback_fn callback) noexcept nogil

# The same for a deferred callback, or an event taken as one.
cdef void event_callback_finalize_nolock_(event_base *base, unsigned flags, event_callback *cb,
                                          deferred_cb_fn finalizer) noexcept nogil
cdef void event_callback_finalize_(event_base *base, unsigned flags, event_callback *cb,
                                   deferred_cb_fn finalizer) noexcept nogil
# Finalizes all, and calls the finalizer for one of them when none can be running any more.
cdef int event_callback_finalize_many_(event_base *base, int n, event_callback **callbacks,
                                       deferred_cb_fn finalizer) noexcept nogil
