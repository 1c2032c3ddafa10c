# Names and numbers to lists of addresses.
#
# A list comes from evutil_getaddrinfo() or from a resolver that uses the functions below, and goes back with
# evutil_freeaddrinfo(), never with the system's freeaddrinfo(): its entries are made with the memory functions.

from cyevent.core.sys cimport ev_socklen_t, sockaddr
from cyevent.net.types cimport evutil_addrinfo

# RFC 3493's getaddrinfo(): 0 with a list in *res, or an EVUTIL_EAI_* error with NULL there. Either name may be
# NULL, hints too. A numeric host or none is answered without a resolver; a name blocks until the system's has
# an answer. Where the hints have neither socket type nor protocol each address comes twice, for TCP and UDP.
# Differences from the system's:
# - EVUTIL_AI_ADDRCONFIG does not hold for numeric hosts, and unique local addresses do not count;
# - raw sockets come only if they are asked for.
cdef int evutil_getaddrinfo(const char *nodename, const char *servname, const evutil_addrinfo *hints_in,
                            evutil_addrinfo **res) noexcept nogil
cdef void evutil_freeaddrinfo(evutil_addrinfo *ai) noexcept nogil
# English whatever the locale is.
cdef const char *evutil_gai_strerror(int err) noexcept nogil

cdef enum:
    # From evutil_getaddrinfo_common_(): ask a resolver.
    EVUTIL_EAI_NEED_RESOLVE_ = -90002

# What every resolver does first: checks *hints and completes them (socket type from protocol and the reverse,
# the family by EVUTIL_AI_ADDRCONFIG), finds the port, and answers all that needs no look-up. *port is set
# whenever EVUTIL_EAI_NEED_RESOLVE_ is returned; each address found then becomes entries by
# evutil_new_addrinfo_(address, length, hints).
cdef int evutil_getaddrinfo_common_(const char *nodename, const char *servname, evutil_addrinfo *hints,
                                    evutil_addrinfo **res, int *port) noexcept nogil
# With EVUTIL_AI_ADDRCONFIG and no family: the one that the interfaces can use, if it is one.
cdef void evutil_adjust_hints_for_addrconfig_(evutil_addrinfo *hints) noexcept nogil
# One entry, or one for TCP and one for UDP if the hints leave it open. NULL without memory.
cdef evutil_addrinfo *evutil_new_addrinfo_(const sockaddr *address, ev_socklen_t length,
                                           const evutil_addrinfo *hints) noexcept nogil
# Puts `second` behind `first`, each of which may be NULL; the whole list.
cdef evutil_addrinfo *evutil_addrinfo_append_(evutil_addrinfo *first,
                                              evutil_addrinfo *second) noexcept nogil
# A copy of the whole list; NULL without memory.
cdef evutil_addrinfo *evutil_dup_addrinfo_(const evutil_addrinfo *ai) noexcept nogil
