"""Configurations: which backend, which flags and which limits a base is to have."""

from libc.limits cimport INT_MAX
from cyevent.core.clock cimport timeval_to_ns
from cyevent.core.memory cimport mm_calloc, mm_free, mm_malloc, mm_strdup
from cyevent.core.types cimport event_config_entry


cdef event_config *event_config_new() noexcept nogil:
    cdef event_config *config = <event_config *>mm_calloc(1, sizeof(event_config))
    if config == NULL:
        return NULL
    config.max_dispatch_interval = -1
    config.max_dispatch_callbacks = INT_MAX
    config.limit_callbacks_after_prio = 1
    return config


cdef void event_config_free(event_config *config) noexcept nogil:
    cdef event_config_entry *entry
    while config.avoided != NULL:
        entry = config.avoided
        config.avoided = entry.next
        mm_free(entry.avoid_method)
        mm_free(entry)
    mm_free(config)


cdef int event_config_avoid_method(event_config *config, const char *method) noexcept nogil:
    cdef event_config_entry *entry = <event_config_entry *>mm_malloc(sizeof(event_config_entry))
    if entry == NULL:
        return -1
    entry.avoid_method = mm_strdup(method)
    if entry.avoid_method == NULL:
        mm_free(entry)
        return -1
    entry.next = config.avoided
    config.avoided = entry
    return 0


cdef int event_config_require_features(event_config *config, int features) noexcept nogil:
    if config == NULL:
        return -1
    config.require_features = features
    return 0


cdef int event_config_set_flag(event_config *config, int flag) noexcept nogil:
    if config == NULL:
        return -1
    config.flags |= flag
    return 0


cdef int event_config_set_num_cpus_hint(event_config *config, int cpus) noexcept nogil:
    if config == NULL:
        return -1
    config.n_cpus_hint = cpus
    return 0


cdef int event_config_set_max_dispatch_interval(event_config *config, const timeval *interval,
                                                int max_callbacks,
                                                int min_priority) noexcept nogil:
    config.max_dispatch_interval = timeval_to_ns(interval) if interval != NULL else -1
    config.max_dispatch_callbacks = max_callbacks if max_callbacks >= 0 else INT_MAX
    config.limit_callbacks_after_prio = min_priority if min_priority >= 0 else 0
    return 0
