# Configurations for event_base_new_with_config(). The caller frees them.

from cyevent.core.sys cimport timeval
from cyevent.core.types cimport event_config

cdef event_config *event_config_new() noexcept nogil
cdef void event_config_free(event_config *config) noexcept nogil
cdef int event_config_avoid_method(event_config *config, const char *method) noexcept nogil
cdef int event_config_require_features(event_config *config, int features) noexcept nogil
cdef int event_config_set_flag(event_config *config, int flag) noexcept nogil
cdef int event_config_set_num_cpus_hint(event_config *config, int cpus) noexcept nogil
# Callbacks of priority min_priority and below stop for new events after this time (NULL: never) or this
# many callbacks (negative: never).
cdef int event_config_set_max_dispatch_interval(event_config *config, const timeval *interval,
                                                int max_callbacks, int min_priority) noexcept nogil
