# Connecting to a host by its name.

from cyevent.bufferevent.types cimport bufferevent, evdns_base
from cyevent.net.sys cimport addrinfo

cdef enum:
    # Lookups that run at once; others wait in line.
    MAX_LOOKUP_THREADS = 8

# dns: whose resolver to ask; NULL for the system's, in a thread. family: AF_INET, AF_INET6 or
# AF_UNSPEC. What was found first is connected to. The event callback is told BEV_EVENT_CONNECTED or
# BEV_EVENT_ERROR; reading and writing are suspended while the name is looked up. -1 for a family or port that
# is none.
cdef int bufferevent_socket_connect_hostname(bufferevent *bev, evdns_base *dns, int family,
                                             const char *hostname, int port) noexcept nogil
cdef int bufferevent_socket_connect_hostname_hints(bufferevent *bev, evdns_base *dns,
                                                   const addrinfo *hints, const char *hostname,
                                                   int port) noexcept nogil
# getaddrinfo()'s EAI_* code of the last failure; 0 for none.
cdef int bufferevent_socket_get_dns_error(bufferevent *bev) noexcept nogil

# --- for resolvers ---

# res belongs to the callee. It may be called out of `start`.
ctypedef void (*lookup_done_cb_)(int result, addrinfo *res, void *arg) noexcept nogil

cdef struct lookup_resolver_:
    # NULL after calling done.
    void *(*start)(evdns_base *dns, const char *name, const char *service, const addrinfo *hints,
                   lookup_done_cb_ done, void *arg) noexcept nogil
    # done is called yet, with EAI_CANCELED or what was found.
    void (*cancel)(void *request) noexcept nogil
    void (*free)(addrinfo *res) noexcept nogil

# Who answers when there is an evdns_base.
cdef void bufferevent_set_resolver_(const lookup_resolver_ *resolver) noexcept nogil
