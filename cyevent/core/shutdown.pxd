# Giving back what the library holds for the process.

# Frees every global: tables, locks, caches. Call it when there are no bases, events or buffers any more;
# calling it again is harmless, and whatever is made afterwards makes anew what it needs. Callbacks for messages
# stay set.
cdef void libevent_global_shutdown() noexcept nogil

# For modules above this one that hold something too: called by libevent_global_shutdown(), last noted first.
cdef void event_at_shutdown_(void (*fn)() noexcept nogil) noexcept nogil
