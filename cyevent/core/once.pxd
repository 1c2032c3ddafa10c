# Events that the library makes and frees itself, for one call.

from libc.stdint cimport int64_t
from cyevent.core.sys cimport evutil_socket_t, timeval
from cyevent.core.types cimport event_base, event_callback_fn

cdef int event_base_once(event_base *base, evutil_socket_t fd, short events,
                         event_callback_fn callback, void *arg, const timeval *tv) noexcept nogil
# As event_base_once; `release` is called on an argument whose callback never came.
cdef int event_base_once_release_(event_base *base, evutil_socket_t fd, short events,
                                  event_callback_fn callback, void *arg, int64_t ns,
                                  void (*release)(void *) noexcept nogil) noexcept nogil
