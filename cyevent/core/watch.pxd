# Watchers: callbacks around the loop's wait, for code that has to prepare for it or to learn of its end.

from cyevent.core.sys cimport timeval
from cyevent.core.types cimport (
    event_base, evwatch, evwatch_check_cb, evwatch_prepare_cb, evwatch_prepare_cb_info,
)

# Called in the order in which they were made, before and after each wait, without the base's lock; they may
# free watchers and add events. Freed by evwatch_free(), which waits for a callback that runs in another thread,
# or with their base. NULL without memory or for a closed base.
cdef evwatch *evwatch_prepare_new(event_base *base, evwatch_prepare_cb callback,
                                  void *arg) noexcept nogil
cdef evwatch *evwatch_check_new(event_base *base, evwatch_check_cb callback,
                                void *arg) noexcept nogil
cdef event_base *evwatch_base(evwatch *watcher) noexcept nogil
cdef void evwatch_free(evwatch *watcher) noexcept nogil
# How long the loop is going to wait: 1 and *timeout set, or 0 when it waits without end.
cdef int evwatch_prepare_get_timeout(const evwatch_prepare_cb_info *info,
                                     timeval *timeout) noexcept nogil
