# Listeners: a bound socket whose connections are accepted in batches and handed to a callback.

from cyevent.core.sys cimport evutil_socket_t, sockaddr
from cyevent.completion.port cimport completion
from cyevent.core.types cimport event, event_base

cdef enum:
    LEV_OPT_LEAVE_SOCKETS_BLOCKING = 0x001
    LEV_OPT_CLOSE_ON_FREE = 0x002
    LEV_OPT_CLOSE_ON_EXEC = 0x004
    LEV_OPT_REUSEABLE = 0x008
    LEV_OPT_THREADSAFE = 0x010
    LEV_OPT_DISABLED = 0x020
    LEV_OPT_DEFERRED_ACCEPT = 0x040
    LEV_OPT_REUSEABLE_PORT = 0x080
    LEV_OPT_BIND_IPV6ONLY = 0x100
    LEV_OPT_BIND_IPV4_AND_IPV6 = 0x200

# The accepted descriptor is the callback's. The callback may disable and free the listener.
ctypedef void (*evconnlistener_cb)(evconnlistener *listener, evutil_socket_t fd, sockaddr *address,
                                   int socklen, void *arg) noexcept nogil
ctypedef void (*evconnlistener_errorcb)(evconnlistener *listener, void *arg) noexcept nogil

cdef struct evconnlistener:
    event listener
    event retry                # enables the listener again after a lack of descriptors
    void *lock
    evconnlistener_cb cb       # NULL: connections wait in the kernel
    evconnlistener_errorcb errorcb
    void *user_data
    unsigned flags             # LEV_OPT_*
    int refcnt
    int accept_flags           # SOCK_NONBLOCK, SOCK_CLOEXEC for what is accepted
    int spare                  # a descriptor kept for the day when there is none left
    int back_off               # milliseconds, 0 when all is well
    bint enabled
    completion *accepting      # NULL: the listening socket is watched for readiness

# fd is bound; backlog 0: listening already, -1: the system's maximum. NULL with errno; fd is then still the
# caller's.
cdef evconnlistener *evconnlistener_new(event_base *base, evconnlistener_cb cb, void *arg,
                                        unsigned flags, int backlog,
                                        evutil_socket_t fd) noexcept nogil
cdef evconnlistener *evconnlistener_new_bind(event_base *base, evconnlistener_cb cb, void *arg,
                                             unsigned flags, int backlog, const sockaddr *address,
                                             int socklen) noexcept nogil
cdef void evconnlistener_free(evconnlistener *lev) noexcept nogil
cdef int evconnlistener_enable(evconnlistener *lev) noexcept nogil
cdef int evconnlistener_disable(evconnlistener *lev) noexcept nogil
cdef event_base *evconnlistener_get_base(evconnlistener *lev) noexcept nogil
cdef evutil_socket_t evconnlistener_get_fd(evconnlistener *lev) noexcept nogil
cdef void evconnlistener_set_cb(evconnlistener *lev, evconnlistener_cb cb, void *arg) noexcept nogil
# Called, with errno set, when accepting failed for a reason that does not pass by itself.
cdef void evconnlistener_set_error_cb(evconnlistener *lev,
                                      evconnlistener_errorcb errorcb) noexcept nogil
