"""libevent's names for timers and signals."""

from cyevent.core.event cimport *


cdef event *evtimer_new(event_base *base, event_callback_fn callback, void *arg) noexcept nogil:
    return event_new(base, -1, 0, callback, arg)


cdef int evtimer_assign(event *ev, event_base *base, event_callback_fn callback,
                        void *arg) noexcept nogil:
    return event_assign(ev, base, -1, 0, callback, arg)


cdef int evtimer_add(event *ev, const timeval *timeout) noexcept nogil:
    return event_add(ev, timeout)


cdef int evtimer_del(event *ev) noexcept nogil:
    return event_del(ev)


cdef int evtimer_pending(const event *ev, timeval *tv) noexcept nogil:
    return event_pending(ev, EV_TIMEOUT, tv)


cdef int evtimer_initialized(const event *ev) noexcept nogil:
    return event_initialized(ev)


cdef event *evsignal_new(event_base *base, int signum, event_callback_fn callback,
                         void *arg) noexcept nogil:
    return event_new(base, signum, EV_SIGNAL | EV_PERSIST, callback, arg)


cdef int evsignal_assign(event *ev, event_base *base, int signum, event_callback_fn callback,
                         void *arg) noexcept nogil:
    return event_assign(ev, base, signum, EV_SIGNAL | EV_PERSIST, callback, arg)


cdef int evsignal_add(event *ev, const timeval *timeout) noexcept nogil:
    return event_add(ev, timeout)


cdef int evsignal_del(event *ev) noexcept nogil:
    return event_del(ev)


cdef int evsignal_pending(const event *ev, timeval *tv) noexcept nogil:
    return event_pending(ev, EV_SIGNAL, tv)


cdef int evsignal_initialized(const event *ev) noexcept nogil:
    return event_initialized(ev)
