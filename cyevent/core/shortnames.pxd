# libevent's names for timers and signals: the functions of event.pxd with less to say.

from cyevent.core.sys cimport timeval
from cyevent.core.types cimport event, event_base, event_callback_fn

cdef event *evtimer_new(event_base *base, event_callback_fn callback, void *arg) noexcept nogil
cdef int evtimer_assign(event *ev, event_base *base, event_callback_fn callback,
                        void *arg) noexcept nogil
cdef int evtimer_add(event *ev, const timeval *timeout) noexcept nogil
cdef int evtimer_del(event *ev) noexcept nogil
cdef int evtimer_pending(const event *ev, timeval *tv) noexcept nogil
cdef int evtimer_initialized(const event *ev) noexcept nogil
cdef event *evsignal_new(event_base *base, int signum, event_callback_fn callback,
                         void *arg) noexcept nogil
cdef int evsignal_assign(event *ev, event_base *base, int signum, event_callback_fn callback,
                         void *arg) noexcept nogil
cdef int evsignal_add(event *ev, const timeval *timeout) noexcept nogil
cdef int evsignal_del(event *ev) noexcept nogil
cdef int evsignal_pending(const event *ev, timeval *tv) noexcept nogil
cdef int evsignal_initialized(const event *ev) noexcept nogil
