# Bases: making, freeing, asking.

from cyevent.core.sys cimport timeval
from cyevent.core.types cimport event_base, event_config

cdef event_base *event_base_new() noexcept nogil
# config may be NULL. NULL when no method fits it (errno EINVAL), or without memory or descriptors.
cdef event_base *event_base_new_with_config(const event_config *config) noexcept nogil
# Pending events are deleted, not freed; finalizers are run, unless _nofinalize.
cdef void event_base_free(event_base *base) noexcept nogil
cdef void event_base_free_nofinalize(event_base *base) noexcept nogil
# The first half of freeing: deletes every event, runs finalizers, closes descriptors. The base's memory
# stays valid, for those who still have events or bufferevents made on it, until event_base_free().
cdef int event_base_shut_(event_base *base, bint run_finalizers) noexcept nogil
# Before what belongs to a base is closed one by one, if the base is to go as well. In a forked child without
# event_reinit() it gives up what is shared with the parent, whose registrations then stay when events are
# deleted here; elsewhere it does nothing. event_base_shut_() begins with it.
cdef void event_base_ending_(event_base *base) noexcept nogil
# In a child after fork(): a base of its own again. 0, or -1 when an event could not be added again.
cdef int event_reinit(event_base *base) noexcept nogil
cdef int event_base_priority_init(event_base *base, int npriorities) noexcept nogil
cdef int event_base_get_npriorities(event_base *base) noexcept nogil
cdef const char *event_base_get_method(const event_base *base) noexcept nogil
cdef const char *event_base_get_signal_method(const event_base *base) noexcept nogil
cdef int event_base_get_features(const event_base *base) noexcept nogil
# NULL-terminated, best first.
cdef const char **event_get_supported_methods() noexcept nogil
cdef int event_base_get_num_events(event_base *base, unsigned flags) noexcept nogil
cdef int event_base_get_max_events(event_base *base, unsigned flags, int clear) noexcept nogil
cdef int event_base_gettimeofday_cached(event_base *base, timeval *tv) noexcept nogil
cdef int event_base_update_cache_time(event_base *base) noexcept nogil
cdef int event_gettime_monotonic(event_base *base, timeval *tv) noexcept nogil
cdef int evthread_make_base_notifiable(event_base *base) noexcept nogil
cdef const char *event_get_version() noexcept nogil
cdef unsigned int event_get_version_number() noexcept nogil
