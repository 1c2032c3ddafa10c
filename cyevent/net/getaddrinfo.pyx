"""Names and numbers to lists of addresses.

Facts:
- Systems differ in what they answer without a look-up: some leave ai_protocol 0, some refuse a port without a
  socket type, glibc adds raw sockets, and with AI_ADDRCONFIG some do not even take "::1" for an address.
- getservbyname() keeps its answer in one place for all threads.
- Which of two lists the system's freeaddrinfo() may free cannot be seen from the list.
- Addresses begin with a length on the BSDs.

So all that needs no look-up is answered here, the same everywhere; service names and host names are looked up
with the system's getaddrinfo(), and its answer is copied: every list here is of one kind.
"""

from libc.stdint cimport uint16_t
from libc.string cimport memcpy, memset
from cyevent.core.memory cimport mm_calloc, mm_free, mm_strdup
from cyevent.core.sys cimport *
from cyevent.core.sys cimport ev_socklen_t, sockaddr
from cyevent.net.interfaces cimport evutil_check_interfaces_
from cyevent.net.sockaddr cimport evutil_inet_pton, evutil_inet_pton_scope
from cyevent.net.sys cimport *
from cyevent.net.sys cimport addrinfo, in6_addr, in_addr, sockaddr_in, sockaddr_in6
from cyevent.net.text cimport EVUTIL_ISDIGIT_
from cyevent.net.types cimport *
from cyevent.net.types cimport evutil_addrinfo

cdef extern from *:
    """
    #ifdef IPPROTO_SCTP
      #define EV_IPPROTO_SCTP IPPROTO_SCTP
    #else
      #define EV_IPPROTO_SCTP -1
    #endif
    /* Those of the system that are left to it. */
    #if defined(AI_IDN) && defined(AI_CANONIDN)
      #define EV_AI_SYSTEM (AI_IDN | AI_CANONIDN)
    #else
      #define EV_AI_SYSTEM 0
    #endif
    #ifdef AI_V4MAPPED
      #define EV_AI_V4MAPPED (AI_V4MAPPED | AI_ALL)
    #else
      #define EV_AI_V4MAPPED 0
    #endif
    #ifdef _WIN32
      #define ev_gai_strerror gai_strerrorA
    #else
      #define ev_gai_strerror gai_strerror
    #endif
    """
    int EV_IPPROTO_SCTP, EV_AI_SYSTEM, EV_AI_V4MAPPED
    const char *ev_gai_strerror(int code) noexcept nogil


# --- lists ------------------------------------------------------------------------------------------

cdef evutil_addrinfo *new_entry(const sockaddr *address, ev_socklen_t length, int flags, int kind,
                                int protocol) noexcept nogil:
    # The address stands behind its entry.
    cdef evutil_addrinfo *ai = <evutil_addrinfo *>mm_calloc(1, sizeof(evutil_addrinfo) + length)
    if ai == NULL:
        return NULL
    ai.ai_addr = <sockaddr *>(ai + 1)
    memcpy(ai.ai_addr, address, length)
    ai.ai_addrlen = length
    ai.ai_family = address.sa_family
    ai.ai_flags = flags
    ai.ai_socktype = kind
    ai.ai_protocol = protocol
    return ai


cdef evutil_addrinfo *evutil_new_addrinfo_(const sockaddr *address, ev_socklen_t length,
                                           const evutil_addrinfo *hints) noexcept nogil:
    cdef evutil_addrinfo *ai
    if hints.ai_socktype or hints.ai_protocol:
        return new_entry(address, length, hints.ai_flags, hints.ai_socktype, hints.ai_protocol)
    ai = new_entry(address, length, hints.ai_flags, SOCK_STREAM, IPPROTO_TCP)
    if ai == NULL:
        return NULL
    ai.ai_next = new_entry(address, length, hints.ai_flags, SOCK_DGRAM, IPPROTO_UDP)
    if ai.ai_next == NULL:
        evutil_freeaddrinfo(ai)
        return NULL
    return ai


cdef evutil_addrinfo *evutil_addrinfo_append_(evutil_addrinfo *first,
                                              evutil_addrinfo *second) noexcept nogil:
    cdef evutil_addrinfo *last = first
    if first == NULL:
        return second
    while last.ai_next != NULL:
        last = last.ai_next
    last.ai_next = second
    return first


cdef evutil_addrinfo *evutil_dup_addrinfo_(const evutil_addrinfo *ai) noexcept nogil:
    cdef evutil_addrinfo *first = NULL
    cdef evutil_addrinfo **end = &first
    while ai != NULL:
        end[0] = new_entry(ai.ai_addr, ai.ai_addrlen, ai.ai_flags, ai.ai_socktype, ai.ai_protocol)
        if end[0] == NULL:
            evutil_freeaddrinfo(first)
            return NULL
        if ai.ai_canonname != NULL:
            end[0].ai_canonname = mm_strdup(ai.ai_canonname)
            if end[0].ai_canonname == NULL:
                evutil_freeaddrinfo(first)
                return NULL
        end = &end[0].ai_next
        ai = ai.ai_next
    return first


cdef void evutil_freeaddrinfo(evutil_addrinfo *ai) noexcept nogil:
    cdef evutil_addrinfo *following
    while ai != NULL:
        following = ai.ai_next
        mm_free(ai.ai_canonname)
        mm_free(ai)
        ai = following


# --- hints, services --------------------------------------------------------------------------------

cdef int check_hints(const char *nodename, const evutil_addrinfo *hints) noexcept nogil:
    cdef int known = (EVUTIL_AI_PASSIVE | EVUTIL_AI_CANONNAME | EVUTIL_AI_NUMERICHOST
                      | EVUTIL_AI_NUMERICSERV | EVUTIL_AI_V4MAPPED | EVUTIL_AI_ALL
                      | EVUTIL_AI_ADDRCONFIG | EV_AI_SYSTEM)
    if hints.ai_flags & ~known or (nodename == NULL and hints.ai_flags & EVUTIL_AI_CANONNAME):
        return EVUTIL_EAI_BADFLAGS
    if hints.ai_family != AF_UNSPEC and hints.ai_family != AF_INET and hints.ai_family != AF_INET6:
        return EVUTIL_EAI_FAMILY
    if hints.ai_socktype != 0 and hints.ai_socktype != SOCK_STREAM and hints.ai_socktype != SOCK_DGRAM \
            and hints.ai_socktype != SOCK_RAW and hints.ai_socktype != SOCK_SEQPACKET:
        return EVUTIL_EAI_SOCKTYPE
    if (hints.ai_socktype == SOCK_STREAM and hints.ai_protocol == IPPROTO_UDP) \
            or (hints.ai_socktype == SOCK_DGRAM and hints.ai_protocol == IPPROTO_TCP):
        return EVUTIL_EAI_SOCKTYPE
    return 0


cdef void infer_protocols(evutil_addrinfo *hints) noexcept nogil:
    if not hints.ai_protocol:
        if hints.ai_socktype == SOCK_STREAM:
            hints.ai_protocol = IPPROTO_TCP
        elif hints.ai_socktype == SOCK_DGRAM:
            hints.ai_protocol = IPPROTO_UDP
    elif not hints.ai_socktype:
        if hints.ai_protocol == IPPROTO_TCP or hints.ai_protocol == EV_IPPROTO_SCTP:
            hints.ai_socktype = SOCK_STREAM
        elif hints.ai_protocol == IPPROTO_UDP:
            hints.ai_socktype = SOCK_DGRAM


cdef void evutil_adjust_hints_for_addrconfig_(evutil_addrinfo *hints) noexcept nogil:
    cdef bint ipv4, ipv6
    if not hints.ai_flags & EVUTIL_AI_ADDRCONFIG or hints.ai_family != AF_UNSPEC:
        return
    if evutil_check_interfaces_(&ipv4, &ipv6) < 0:
        return
    if ipv4 and not ipv6:
        hints.ai_family = AF_INET
    elif ipv6 and not ipv4:
        hints.ai_family = AF_INET6


# -1: not a number at all, or none that a port can have.
cdef int numeric_port(const char *text) noexcept nogil:
    cdef int port = 0
    if text[0] == 0:
        return -1
    while EVUTIL_ISDIGIT_(text[0]):
        port = port * 10 + text[0] - 48
        if port > 65535:
            return -1
        text += 1
    return port if text[0] == 0 else -1


cdef int named_port(const char *name, int kind, int *port) noexcept nogil:
    cdef addrinfo hints
    cdef addrinfo *found = NULL
    cdef int result
    memset(&hints, 0, sizeof(hints))
    hints.ai_family = AF_INET
    hints.ai_socktype = kind
    hints.ai_flags = EVUTIL_AI_PASSIVE
    result = getaddrinfo(NULL, name, &hints, &found)
    if result == 0:
        port[0] = ntohs((<sockaddr_in *>found.ai_addr).sin_port)
        freeaddrinfo(found)
    return result


cdef int find_port(const char *name, const evutil_addrinfo *hints, int *port) noexcept nogil:
    cdef int result
    port[0] = 0
    if name == NULL:
        return 0
    port[0] = numeric_port(name)
    if port[0] >= 0:
        return 0
    if hints.ai_flags & EVUTIL_AI_NUMERICSERV:
        return EVUTIL_EAI_NONAME
    if hints.ai_socktype:
        return named_port(name, hints.ai_socktype, port)
    result = named_port(name, SOCK_STREAM, port)
    if result == EVUTIL_EAI_SERVICE:
        result = named_port(name, SOCK_DGRAM, port)
    return result


# --- what needs no look-up --------------------------------------------------------------------------

cdef evutil_addrinfo *ipv4_entries(const in_addr *address, int port,
                                   const evutil_addrinfo *hints) noexcept nogil:
    cdef sockaddr_in v4
    memset(&v4, 0, sizeof(v4))
    ev_set_sa_len(<sockaddr *>&v4, sizeof(v4))
    v4.sin_family = AF_INET
    v4.sin_port = htons(<uint16_t>port)
    v4.sin_addr = address[0]
    return evutil_new_addrinfo_(<sockaddr *>&v4, sizeof(v4), hints)


cdef evutil_addrinfo *ipv6_entries(const in6_addr *address, unsigned zone, int port,
                                   const evutil_addrinfo *hints) noexcept nogil:
    cdef sockaddr_in6 v6
    memset(&v6, 0, sizeof(v6))
    ev_set_sa_len(<sockaddr *>&v6, sizeof(v6))
    v6.sin6_family = AF_INET6
    v6.sin6_port = htons(<uint16_t>port)
    v6.sin6_addr = address[0]
    v6.sin6_scope_id = zone
    return evutil_new_addrinfo_(<sockaddr *>&v6, sizeof(v6), hints)


# Every address to listen on, or this machine to connect to.
cdef int without_host(int port, const evutil_addrinfo *hints, evutil_addrinfo **res) noexcept nogil:
    cdef in_addr v4
    cdef in6_addr v6
    cdef evutil_addrinfo *first = NULL
    cdef evutil_addrinfo *second = NULL
    memset(&v4, 0, sizeof(v4))
    memset(&v6, 0, sizeof(v6))
    if not hints.ai_flags & EVUTIL_AI_PASSIVE:
        v4.s_addr = htonl(0x7f000001)
        (<unsigned char *>&v6)[15] = 1
    if hints.ai_family != AF_INET6:
        first = ipv4_entries(&v4, port, hints)
        if first == NULL:
            return EVUTIL_EAI_MEMORY
    if hints.ai_family != AF_INET:
        second = ipv6_entries(&v6, 0, port, hints)
        if second == NULL:
            evutil_freeaddrinfo(first)
            return EVUTIL_EAI_MEMORY
    res[0] = evutil_addrinfo_append_(first, second)
    return 0


cdef void map_ipv4(const in_addr *v4, in6_addr *v6) noexcept nogil:
    memset(v6, 0, sizeof(in6_addr))
    memset(<unsigned char *>v6 + 10, 0xff, 2)
    memcpy(<unsigned char *>v6 + 12, v4, sizeof(in_addr))


# EVUTIL_EAI_NEED_RESOLVE_: not an address.
cdef int numeric_host(const char *host, int port, const evutil_addrinfo *hints,
                      evutil_addrinfo **res) noexcept nogil:
    cdef in_addr v4
    cdef in6_addr v6
    cdef unsigned zone = 0
    cdef evutil_addrinfo *list = NULL
    if evutil_inet_pton_scope(AF_INET6, host, &v6, &zone) == 1:
        if hints.ai_family == AF_INET:
            return EVUTIL_EAI_ADDRFAMILY
        list = ipv6_entries(&v6, zone, port, hints)
    elif evutil_inet_pton(AF_INET, host, &v4) != 1:
        return EVUTIL_EAI_NEED_RESOLVE_
    elif hints.ai_family != AF_INET6:
        list = ipv4_entries(&v4, port, hints)
    elif hints.ai_flags & EVUTIL_AI_V4MAPPED:
        map_ipv4(&v4, &v6)
        list = ipv6_entries(&v6, 0, port, hints)
    else:
        return EVUTIL_EAI_ADDRFAMILY
    if list == NULL:
        return EVUTIL_EAI_MEMORY
    if hints.ai_flags & EVUTIL_AI_CANONNAME:
        list.ai_canonname = mm_strdup(host)
        if list.ai_canonname == NULL:
            evutil_freeaddrinfo(list)
            return EVUTIL_EAI_MEMORY
    res[0] = list
    return 0


cdef int evutil_getaddrinfo_common_(const char *nodename, const char *servname, evutil_addrinfo *hints,
                                    evutil_addrinfo **res, int *port) noexcept nogil:
    cdef int result
    res[0] = NULL
    if nodename == NULL and servname == NULL:
        return EVUTIL_EAI_NONAME
    result = check_hints(nodename, hints)
    if result:
        return result
    infer_protocols(hints)
    result = find_port(servname, hints, port)
    if result:
        return result
    if nodename != NULL:
        result = numeric_host(nodename, port[0], hints, res)
        if result != EVUTIL_EAI_NEED_RESOLVE_:
            return result
        if hints.ai_flags & EVUTIL_AI_NUMERICHOST:
            return EVUTIL_EAI_NONAME
    evutil_adjust_hints_for_addrconfig_(hints)
    if nodename == NULL:
        return without_host(port[0], hints, res)
    return EVUTIL_EAI_NEED_RESOLVE_


# --- look-up ----------------------------------------------------------------------------------------

cdef void set_port(sockaddr *address, int port) noexcept nogil:
    if address.sa_family == AF_INET:
        (<sockaddr_in *>address).sin_port = htons(<uint16_t>port)
    else:
        (<sockaddr_in6 *>address).sin6_port = htons(<uint16_t>port)


# The system's answer as a list of ours. 0 or EVUTIL_EAI_MEMORY.
cdef int copy_answer(const addrinfo *found, int port, const evutil_addrinfo *hints,
                     evutil_addrinfo **res) noexcept nogil:
    cdef evutil_addrinfo *first = NULL
    cdef evutil_addrinfo **end = &first
    while found != NULL:
        if found.ai_family == AF_INET or found.ai_family == AF_INET6:
            set_port(found.ai_addr, port)
            end[0] = evutil_new_addrinfo_(found.ai_addr, <ev_socklen_t>found.ai_addrlen, hints)
            if end[0] == NULL:
                evutil_freeaddrinfo(first)
                return EVUTIL_EAI_MEMORY
            if found.ai_canonname != NULL and first.ai_canonname == NULL:
                first.ai_canonname = mm_strdup(found.ai_canonname)
                if first.ai_canonname == NULL:
                    evutil_freeaddrinfo(first)
                    return EVUTIL_EAI_MEMORY
            while end[0] != NULL:
                end = &end[0].ai_next
        found = found.ai_next
    res[0] = first
    return 0 if first != NULL else EVUTIL_EAI_NODATA


cdef int evutil_getaddrinfo(const char *nodename, const char *servname, const evutil_addrinfo *hints_in,
                            evutil_addrinfo **res) noexcept nogil:
    cdef evutil_addrinfo hints
    cdef addrinfo question
    cdef addrinfo *found = NULL
    cdef int result
    cdef int port = 0
    # A caller's hints may hold anything in the fields that are not hints.
    memset(&hints, 0, sizeof(hints))
    if hints_in != NULL:
        hints.ai_flags = hints_in.ai_flags
        hints.ai_family = hints_in.ai_family
        hints.ai_socktype = hints_in.ai_socktype
        hints.ai_protocol = hints_in.ai_protocol
    result = evutil_getaddrinfo_common_(nodename, servname, &hints, res, &port)
    if result != EVUTIL_EAI_NEED_RESOLVE_:
        return result
    # Each address once: the entries are made by our hints.
    memset(&question, 0, sizeof(question))
    question.ai_family = hints.ai_family
    question.ai_socktype = SOCK_STREAM
    question.ai_flags = hints.ai_flags & (EVUTIL_AI_CANONNAME | EV_AI_V4MAPPED | EV_AI_SYSTEM)
    result = getaddrinfo(nodename, NULL, &question, &found)
    if result:
        return result
    result = copy_answer(found, port, &hints, res)
    freeaddrinfo(found)
    return result


cdef const char *evutil_gai_strerror(int err) noexcept nogil:
    if err == 0:
        return b"No error"
    if err == EVUTIL_EAI_CANCEL:
        return b"Request canceled"
    if err == EVUTIL_EAI_ADDRFAMILY:
        return b"address family for nodename not supported"
    if err == EVUTIL_EAI_AGAIN:
        return b"temporary failure in name resolution"
    if err == EVUTIL_EAI_BADFLAGS:
        return b"invalid value for ai_flags"
    if err == EVUTIL_EAI_FAIL:
        return b"non-recoverable failure in name resolution"
    if err == EVUTIL_EAI_FAMILY:
        return b"ai_family not supported"
    if err == EVUTIL_EAI_MEMORY:
        return b"memory allocation failure"
    if err == EVUTIL_EAI_NODATA:
        return b"no address associated with nodename"
    if err == EVUTIL_EAI_NONAME:
        return b"nodename nor servname provided, or not known"
    if err == EVUTIL_EAI_SERVICE:
        return b"servname not supported for ai_socktype"
    if err == EVUTIL_EAI_SOCKTYPE:
        return b"ai_socktype not supported"
    if err == EVUTIL_EAI_SYSTEM:
        return b"system error"
    return ev_gai_strerror(err)
