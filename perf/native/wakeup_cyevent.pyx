"""Cross-thread wake-ups in cyevent's C face."""

from cyevent cimport *
from cyevent cimport event, event_base, event_config

cdef extern from "wakeup.h" nogil:
    ctypedef unsigned long pthread_t
    struct wakeup:
        pass
    void wakeup_init(wakeup *w, void *base, void *event, void (*activate)(void *) noexcept nogil,
                     void (*stop)(void *) noexcept nogil)
    void wakeup_callback(wakeup *w)
    int wakeup_begin(wakeup *w, long count, long burst, pthread_t *producer)
    long wakeup_end(wakeup *w, pthread_t producer)


cdef void called(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    wakeup_callback(<wakeup *>arg)


cdef void activate(void *ev) noexcept nogil:
    event_active(<event *>ev, EV_TIMEOUT, 1)


cdef void stop(void *base) noexcept nogil:
    event_base_loopbreak(<event_base *>base)


cdef class Peer:
    """A base with a lock, and one event that another thread activates."""
    cdef wakeup state
    cdef event_base *base
    cdef event *ev

    def __init__(self):
        cdef event_config *config = event_config_new()
        event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV)
        self.base = event_base_new_with_config(config)
        event_config_free(config)
        if self.base != NULL:
            self.ev = event_new(self.base, -1, 0, called, &self.state)
        if self.ev == NULL:
            raise MemoryError()
        wakeup_init(&self.state, self.base, self.ev, activate, stop)

    def __dealloc__(self):
        if self.ev != NULL:
            event_free(self.ev)
        if self.base != NULL:
            event_base_free(self.base)

    def run(self, long count, long burst):
        """Returns how often the callback ran, or -1 when a wake-up was lost."""
        cdef pthread_t producer
        cdef long calls
        if wakeup_begin(&self.state, count, burst, &producer) < 0:
            raise OSError("the producer's thread cannot be started")
        with nogil:
            event_base_loop(self.base, EVLOOP_NO_EXIT_ON_EMPTY)
            calls = wakeup_end(&self.state, producer)
        return calls
