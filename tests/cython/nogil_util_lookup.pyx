"""evutil_getaddrinfo() through libevent's names. No test here leaves the machine."""

import resource
import socket

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from cyevent cimport (
    EVUTIL_AI_ADDRCONFIG, EVUTIL_AI_ALL, EVUTIL_AI_CANONNAME, EVUTIL_AI_NUMERICHOST, EVUTIL_AI_NUMERICSERV,
    EVUTIL_AI_PASSIVE, EVUTIL_AI_V4MAPPED, EVUTIL_EAI_ADDRFAMILY, EVUTIL_EAI_AGAIN, EVUTIL_EAI_BADFLAGS,
    EVUTIL_EAI_CANCEL, EVUTIL_EAI_FAIL, EVUTIL_EAI_FAMILY, EVUTIL_EAI_MEMORY, EVUTIL_EAI_NODATA,
    EVUTIL_EAI_NONAME, EVUTIL_EAI_SERVICE, EVUTIL_EAI_SOCKTYPE, EVUTIL_EAI_SYSTEM, event_set_mem_functions,
    evutil_addrinfo, evutil_freeaddrinfo, evutil_gai_strerror, evutil_getaddrinfo,
)
from cyevent.net.getaddrinfo cimport (
    EVUTIL_EAI_NEED_RESOLVE_, evutil_addrinfo_append_, evutil_dup_addrinfo_, evutil_getaddrinfo_common_,
)
from cyevent.net.interfaces cimport evutil_check_interfaces_
from cyevent.net.sockaddr cimport SOCKADDR_TEXT_SIZE, evutil_format_sockaddr_port_
from cyevent.net.sys cimport sockaddr_in, sockaddr_in6

FORKED = {"test_numbers_need_no_descriptor", "test_every_allocation_may_fail"}

cdef extern from "<netinet/in.h>" nogil:
    int AF_INET, AF_INET6, AF_UNSPEC, AF_UNIX, SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET
    int IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP

TCP = (int(SOCK_STREAM), int(IPPROTO_TCP))
UDP = (int(SOCK_DGRAM), int(IPPROTO_UDP))
PASSIVE = int(EVUTIL_AI_PASSIVE)
NUMERICHOST = int(EVUTIL_AI_NUMERICHOST)
NUMERICSERV = int(EVUTIL_AI_NUMERICSERV)
CANONNAME = int(EVUTIL_AI_CANONNAME)
ADDRCONFIG = int(EVUTIL_AI_ADDRCONFIG)
V4MAPPED = int(EVUTIL_AI_V4MAPPED)


# --- for the tests in Python, too --------------------------------------------------------------------

cdef list entries(const evutil_addrinfo *ai):
    cdef char[SOCKADDR_TEXT_SIZE] text
    result = []
    while ai != NULL:
        assert ai.ai_family == ai.ai_addr.sa_family
        assert ai.ai_addrlen == (sizeof(sockaddr_in) if ai.ai_family == AF_INET else sizeof(sockaddr_in6))
        evutil_format_sockaddr_port_(ai.ai_addr, text, sizeof(text))
        result.append((text.decode(), ai.ai_socktype, ai.ai_protocol))
        ai = ai.ai_next
    return result


def lookup(host, service, int family=0, int kind=0, int protocol=0, int flags=0, bint hinted=True):
    """A list of (address, socket type, protocol), or the error."""
    cdef evutil_addrinfo hints
    cdef evutil_addrinfo *found = <evutil_addrinfo *>1
    cdef const char *node = NULL
    cdef const char *serv = NULL
    # What is not a hint may hold anything.
    memset(&hints, 0x55, sizeof(hints))
    hints.ai_family = family
    hints.ai_socktype = kind
    hints.ai_protocol = protocol
    hints.ai_flags = flags
    if host is not None:
        host = host.encode()
        node = host
    if service is not None:
        service = service.encode()
        serv = service
    code = evutil_getaddrinfo(node, serv, &hints if hinted else NULL, &found)
    if code:
        assert found == NULL
        return code
    result = entries(found)
    evutil_freeaddrinfo(found)
    return result


def canonical(host, int flags):
    """The canonical names of a list's entries."""
    cdef evutil_addrinfo hints
    cdef evutil_addrinfo *found = NULL
    cdef evutil_addrinfo *ai
    memset(&hints, 0, sizeof(hints))
    hints.ai_flags = flags
    assert evutil_getaddrinfo(host, NULL, &hints, &found) == 0
    names = []
    ai = found
    while ai != NULL:
        names.append(None if ai.ai_canonname == NULL else ai.ai_canonname)
        ai = ai.ai_next
    evutil_freeaddrinfo(found)
    return names


def interfaces():
    cdef bint ipv4, ipv6
    assert evutil_check_interfaces_(&ipv4, &ipv6) == 0
    return ipv4, ipv6


# --- libevent's cases --------------------------------------------------------------------------------

def test_getaddrinfo_of_numbers():
    # No ambiguity: one entry.
    assert lookup("1.2.3.4", "8080", kind=SOCK_STREAM) == [("1.2.3.4:8080", *TCP)]
    assert lookup("1001:b0b::f00f", "4321", protocol=IPPROTO_UDP) == [("[1001:b0b::f00f]:4321", *UDP)]
    assert lookup("1.2.3.4", "0", kind=SOCK_STREAM) == [("1.2.3.4:0", *TCP)]
    assert lookup("1.2.3.4", "65535", kind=SOCK_STREAM) == [("1.2.3.4:65535", *TCP)]
    assert lookup("fe80::1%3", "1", kind=SOCK_STREAM) == [("[fe80::1%3]:1", *TCP)]
    assert lookup("1.2.3.4", "1", kind=SOCK_RAW) == [("1.2.3.4:1", int(SOCK_RAW), 0)]
    assert lookup("1.2.3.4", "1", protocol=IPPROTO_SCTP) == [("1.2.3.4:1", int(SOCK_STREAM), int(IPPROTO_SCTP))]
    # Neither type nor protocol: both.
    assert lookup("1.2.3.4", None, flags=NUMERICHOST) == [("1.2.3.4:0", *TCP), ("1.2.3.4:0", *UDP)]
    assert lookup("::1", "53", hinted=False) == [("[::1]:53", *TCP), ("[::1]:53", *UDP)]


def test_getaddrinfo_without_a_host():
    tcp = {"protocol": int(IPPROTO_TCP)}
    assert lookup(None, "9999", AF_INET, flags=PASSIVE, **tcp) == [("0.0.0.0:9999", *TCP)]
    assert lookup(None, "9998", AF_INET, **tcp) == [("127.0.0.1:9998", *TCP)]
    assert lookup(None, "9997", AF_INET6, **tcp) == [("[::1]:9997", *TCP)]
    assert lookup(None, "9996", AF_INET6, flags=PASSIVE, **tcp) == [("[::]:9996", *TCP)]
    both = lookup(None, "9996", flags=PASSIVE, **tcp)
    assert sorted(both) == [("0.0.0.0:9996", *TCP), ("[::]:9996", *TCP)]
    assert len(lookup(None, "9996")) == 4
    assert lookup(None, None) == EVUTIL_EAI_NONAME


def test_getaddrinfo_of_services():
    assert lookup("1.2.3.4", "http", kind=SOCK_STREAM, flags=NUMERICSERV) == EVUTIL_EAI_NONAME
    for number in ("65536", "-1", "8 0", "+80", " 80", "0x50", "4294967376"):
        assert lookup("1.2.3.4", number, kind=SOCK_STREAM, flags=NUMERICSERV) == EVUTIL_EAI_NONAME, number
    assert lookup("1.2.3.4", "no-such-service", kind=SOCK_STREAM) == EVUTIL_EAI_SERVICE
    assert lookup("1.2.3.4", "no-such-service") == EVUTIL_EAI_SERVICE
    try:
        port = socket.getservbyname("http", "tcp")
    except OSError:
        return                                     # a machine without a list of services
    assert lookup("1.2.3.4", "http", kind=SOCK_STREAM) == [(f"1.2.3.4:{port}", *TCP)]
    assert lookup("1.2.3.4", "http")[0] == (f"1.2.3.4:{port}", *TCP)


def test_getaddrinfo_of_a_service_of_udp_alone():
    try:
        port = socket.getservbyname("tftp", "udp")
    except OSError:
        return
    assert lookup("1.2.3.4", "tftp", protocol=IPPROTO_UDP) == [(f"1.2.3.4:{port}", *UDP)]
    assert lookup("1.2.3.4", "tftp")[0][0] == f"1.2.3.4:{port}"


def test_getaddrinfo_checks_its_hints():
    assert lookup("1.2.3.4", "80", AF_UNIX) == EVUTIL_EAI_FAMILY
    assert lookup("1.2.3.4", "80", 4711) == EVUTIL_EAI_FAMILY
    assert lookup("1.2.3.4", "80", kind=4711) == EVUTIL_EAI_SOCKTYPE
    assert lookup("1.2.3.4", "80", kind=SOCK_STREAM, protocol=IPPROTO_UDP) == EVUTIL_EAI_SOCKTYPE
    assert lookup("1.2.3.4", "80", kind=SOCK_DGRAM, protocol=IPPROTO_TCP) == EVUTIL_EAI_SOCKTYPE
    assert lookup("1.2.3.4", "80", flags=0x40000000) == EVUTIL_EAI_BADFLAGS
    assert lookup(None, "80", flags=CANONNAME) == EVUTIL_EAI_BADFLAGS
    assert lookup("1.2.3.4", "80", AF_INET6) == EVUTIL_EAI_ADDRFAMILY
    assert lookup("::1", "80", AF_INET) == EVUTIL_EAI_ADDRFAMILY
    assert lookup("host.invalid", "80", flags=NUMERICHOST) == EVUTIL_EAI_NONAME
    assert lookup("1.2.3", "80", flags=NUMERICHOST) == EVUTIL_EAI_NONAME
    assert lookup("fe80::1%no-such-interface", "80", flags=NUMERICHOST) == EVUTIL_EAI_NONAME


def test_getaddrinfo_v4mapped():
    assert lookup("1.2.3.4", "80", AF_INET6, SOCK_STREAM, flags=V4MAPPED) == [("[::ffff:1.2.3.4]:80", *TCP)]
    assert lookup("1.2.3.4", "80", AF_INET, SOCK_STREAM, flags=V4MAPPED) == [("1.2.3.4:80", *TCP)]
    assert EVUTIL_AI_ALL


def test_getaddrinfo_canonname():
    # With the first entry alone, and of a number the number itself.
    assert canonical(b"1.2.3.4", EVUTIL_AI_CANONNAME) == [b"1.2.3.4", None]
    assert canonical(b"1.2.3.4", 0) == [None, None]
    first, *rest = canonical(b"localhost", EVUTIL_AI_CANONNAME)
    assert first and rest and not any(rest)


def test_getaddrinfo_live():
    """A name is looked up by the system, and has the port and the protocols that were asked for."""
    expected = {entry[4][0] for entry in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    found = lookup("localhost", "80", kind=SOCK_STREAM)
    hosts = {f"[{host}]:80" if ":" in host else f"{host}:80" for host in expected}
    assert {entry[0] for entry in found} == hosts
    assert {entry[1:] for entry in found} == {TCP}
    both = lookup("localhost", "80")
    assert len(both) == 2 * len(found)
    assert {entry[1:] for entry in both} == {TCP, UDP}
    assert all(":" not in entry[0][:-3] for entry in lookup("localhost", "80", AF_INET))


def test_getaddrinfo_AI_ADDRCONFIG():
    flags = PASSIVE | ADDRCONFIG
    assert lookup("127.0.0.1", "80", kind=SOCK_STREAM, flags=flags) == [("127.0.0.1:80", *TCP)]
    assert lookup("::1", "80", kind=SOCK_STREAM, flags=flags) == [("[::1]:80", *TCP)]


# --- beyond them -------------------------------------------------------------------------------------

def test_numbers_need_no_descriptor():
    """Nothing is opened: neither the resolver's files nor a socket."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    assert lookup("1.2.3.4", "80", kind=SOCK_STREAM) == [("1.2.3.4:80", *TCP)]
    assert lookup("::1", "80", kind=SOCK_STREAM) == [("[::1]:80", *TCP)]
    assert len(lookup(None, "80", flags=PASSIVE)) == 4
    assert lookup("host.invalid", "80", flags=NUMERICHOST) == EVUTIL_EAI_NONAME
    # The limit does hold.
    assert isinstance(lookup("localhost", "80"), int)


def test_a_resolver_finishes_what_needs_a_look_up():
    cdef evutil_addrinfo hints
    cdef evutil_addrinfo *found = NULL
    cdef int port = 0
    memset(&hints, 0, sizeof(hints))
    hints.ai_socktype = SOCK_DGRAM
    assert evutil_getaddrinfo_common_(b"host.invalid", b"53", &hints, &found, &port) == EVUTIL_EAI_NEED_RESOLVE_
    assert found == NULL and port == 53 and hints.ai_protocol == IPPROTO_UDP


def test_lists_are_joined_and_copied():
    cdef evutil_addrinfo hints
    cdef evutil_addrinfo *first = NULL
    cdef evutil_addrinfo *second = NULL
    cdef evutil_addrinfo *copy
    memset(&hints, 0, sizeof(hints))
    hints.ai_flags = EVUTIL_AI_CANONNAME
    assert evutil_getaddrinfo(b"1.2.3.4", b"1", &hints, &first) == 0
    assert evutil_getaddrinfo(b"::1", b"2", &hints, &second) == 0
    assert evutil_addrinfo_append_(NULL, first) == first
    assert evutil_addrinfo_append_(first, NULL) == first
    assert evutil_addrinfo_append_(first, second) == first
    both = entries(first)
    assert [entry[0] for entry in both] == ["1.2.3.4:1", "1.2.3.4:1", "[::1]:2", "[::1]:2"]
    copy = evutil_dup_addrinfo_(first)
    assert copy != first and copy.ai_addr != first.ai_addr
    evutil_freeaddrinfo(first)
    assert entries(copy) == both and copy.ai_canonname == b"1.2.3.4"
    evutil_freeaddrinfo(copy)
    evutil_freeaddrinfo(NULL)
    assert evutil_dup_addrinfo_(NULL) == NULL


def test_errors_have_a_text():
    cdef const char *text
    errors = [EVUTIL_EAI_ADDRFAMILY, EVUTIL_EAI_AGAIN, EVUTIL_EAI_BADFLAGS, EVUTIL_EAI_FAIL, EVUTIL_EAI_FAMILY,
              EVUTIL_EAI_MEMORY, EVUTIL_EAI_NODATA, EVUTIL_EAI_NONAME, EVUTIL_EAI_SERVICE, EVUTIL_EAI_SOCKTYPE,
              EVUTIL_EAI_SYSTEM, EVUTIL_EAI_CANCEL, 0]
    assert len(set(errors)) == len(errors)
    texts = set()
    for code in errors:
        text = evutil_gai_strerror(code)
        texts.add(bytes(text))
    assert len(texts) == len(errors)
    assert evutil_gai_strerror(EVUTIL_EAI_CANCEL) == b"Request canceled"
    assert evutil_gai_strerror(4711) != NULL


# --- without memory ----------------------------------------------------------------------------------

cdef int allowed, outstanding


cdef void *failing_malloc(size_t n) noexcept nogil:
    global allowed, outstanding
    if allowed == 0:
        return NULL
    allowed -= 1
    outstanding += 1
    return malloc(n)


cdef void *failing_realloc(void *memory, size_t n) noexcept nogil:
    return realloc(memory, n)


cdef void failing_free(void *memory) noexcept nogil:
    global outstanding
    outstanding -= 1
    free(memory)


def test_every_allocation_may_fail():
    cdef evutil_addrinfo *list = NULL
    cdef evutil_addrinfo *copy
    cdef evutil_addrinfo hints
    global allowed
    event_set_mem_functions(failing_malloc, failing_realloc, failing_free)
    questions = [(None, "80", 0), ("1.2.3.4", "80", CANONNAME), ("::1", None, 0),
                 ("localhost", "80", CANONNAME)]
    for host, service, flags in questions:
        for n in range(100):
            allowed = n
            result = lookup(host, service, flags=flags)
            assert outstanding == 0, (host, n)
            if result != EVUTIL_EAI_MEMORY:
                break
        assert len(result) >= 2 and n >= 2, (host, result)
    memset(&hints, 0, sizeof(hints))
    hints.ai_flags = EVUTIL_AI_CANONNAME
    allowed = 3
    assert evutil_getaddrinfo(b"1.2.3.4", NULL, &hints, &list) == 0
    for n in range(3):
        allowed = n
        assert evutil_dup_addrinfo_(list) == NULL
        assert outstanding == 3
    allowed = 3
    copy = evutil_dup_addrinfo_(list)
    evutil_freeaddrinfo(copy)
    evutil_freeaddrinfo(list)
    assert outstanding == 0
