# Running a base.

from libc.stdint cimport int64_t
from cyevent.core.sys cimport timeval
from cyevent.core.types cimport event, event_base

# 0: ended by loopexit, loopbreak or the flags; 1: nothing was pending; -1: the backend failed (errno), or
# the base runs already.
cdef int event_base_loop(event_base *base, int flags) noexcept nogil
cdef int event_base_dispatch(event_base *base) noexcept nogil
# After the running callbacks, and the time given (NULL: at once).
cdef int event_base_loopexit(event_base *base, const timeval *after) noexcept nogil
# After the running callback.
cdef int event_base_loopbreak(event_base *base) noexcept nogil
# Looks for more urgent events before it goes on.
cdef int event_base_loopcontinue(event_base *base) noexcept nogil
cdef int event_base_got_exit(event_base *base) noexcept nogil
cdef int event_base_got_break(event_base *base) noexcept nogil
# NULL outside a callback of this base, and in a deferred callback.
cdef event *event_base_get_running_event(event_base *base) noexcept nogil
