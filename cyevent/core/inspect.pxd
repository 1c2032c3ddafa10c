# Walking over a base's events.

from libc.stdio cimport FILE
from cyevent.core.types cimport event_base, event_base_foreach_event_cb

# Stops at the first callback that does not return 0, and returns what it returned. The callback must
# neither add nor delete.
cdef int event_base_foreach_event(event_base *base, event_base_foreach_event_cb callback,
                                  void *arg) noexcept nogil
cdef void event_base_dump_events(event_base *base, FILE *output) noexcept nogil
