# Connecting to a host by its name.

from cyevent.bufferevent.types cimport bufferevent
from cyevent.core.sys cimport sockaddr

cdef extern from *:
    """
    #ifdef _WIN32
      #include <ws2tcpip.h>
    #else
      #include <netdb.h>
    #endif
    """
    struct addrinfo:
        int ai_flags
        int ai_family
        int ai_socktype
        int ai_protocol
        size_t ai_addrlen
        sockaddr *ai_addr
        addrinfo *ai_next

cdef enum:
    # Lookups that run at once; others wait in line.
    MAX_LOOKUP_THREADS = 8

# evdns_base: whose resolver to ask; NULL for the system's, in a thread. family: AF_INET, AF_INET6 or
# AF_UNSPEC. What was found first is connected to. The event callback is told BEV_EVENT_CONNECTED or
# BEV_EVENT_ERROR; reading and writing are suspended while the name is looked up. -1 for a family or port that
# is none.
cdef int bufferevent_socket_connect_hostname(bufferevent *bev, void *evdns_base, int family,
                                             const char *hostname, int port) noexcept nogil
cdef int bufferevent_socket_connect_hostname_hints(bufferevent *bev, void *evdns_base,
                                                   const addrinfo *hints, const char *hostname,
                                                   int port) noexcept nogil
# getaddrinfo()'s EAI_* code of the last failure; 0 for none.
cdef int bufferevent_socket_get_dns_error(bufferevent *bev) noexcept nogil

# --- for resolvers ---

# res belongs to the callee. It may be called out of `start`.
ctypedef void (*lookup_done_cb)(int result, addrinfo *res, void *arg) noexcept nogil

cdef struct lookup_resolver:
    # NULL after calling done.
    void *(*start)(void *evdns_base, const char *name, const char *service, const addrinfo *hints,
                   lookup_done_cb done, void *arg) noexcept nogil
    # done is called yet, with EAI_CANCELED or what was found.
    void (*cancel)(void *request) noexcept nogil
    void (*free)(addrinfo *res) noexcept nogil

# Who answers when there is an evdns_base.
cdef void bufferevent_set_resolver_(const lookup_resolver *resolver) noexcept nogil
