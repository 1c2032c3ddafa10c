"""Addresses through libevent's names: to text and back, comparing, kinds."""

import socket

from libc.errno cimport errno
from libc.string cimport memset, strlen

from cyevent cimport (
    evutil_inet_ntop, evutil_inet_pton, evutil_inet_pton_scope,
    evutil_parse_sockaddr_port, evutil_sockaddr_cmp, sockaddr,
)
from cyevent.core.sys cimport sockaddr_storage
from cyevent.net.sockaddr cimport (
    SOCKADDR_TEXT_SIZE, evutil_format_sockaddr_port_, evutil_sockaddr_is_loopback_,
    evutil_v4addr_is_local_, evutil_v6addr_is_local_,
)
from cyevent.net.sys cimport in6_addr, in_addr, sockaddr_in, sockaddr_in6

cdef extern from "<arpa/inet.h>" nogil:
    int AF_INET, AF_INET6, AF_UNIX, EAFNOSUPPORT, ENOSPC


# --- for the tests in Python -------------------------------------------------------------------------

def ntop(int family, bytes packed, size_t room=64):
    """The text, or errno."""
    cdef char[64] out
    memset(out, 120, sizeof(out))
    if evutil_inet_ntop(family, <char *>packed, out, room) == NULL:
        return errno
    assert strlen(out) < room
    return out[:strlen(out)].decode()


def pton(int family, bytes text):
    cdef char[16] out
    cdef int result = evutil_inet_pton(family, text, out)
    if result != 1:
        return result
    return out[:4 if family == AF_INET else 16]


def pton_scope(int family, bytes text):
    cdef char[16] out
    cdef unsigned index = 99
    cdef int result = evutil_inet_pton_scope(family, text, out, &index)
    if result != 1:
        return result
    return out[:4 if family == AF_INET else 16], index


def parse(bytes text, int room=sizeof(sockaddr_storage)):
    """(family, packed address, port, zone), or None. What is behind the address stays as it is."""
    cdef sockaddr_storage out
    cdef sockaddr_in *v4 = <sockaddr_in *>&out
    cdef sockaddr_in6 *v6 = <sockaddr_in6 *>&out
    cdef int n = room
    cdef size_t i
    memset(&out, 0xa5, sizeof(out))
    if evutil_parse_sockaddr_port(text, <sockaddr *>&out, &n) < 0:
        for i in range(sizeof(out)):
            assert (<unsigned char *>&out)[i] == 0xa5
        assert n == room
        return None
    for i in range(<size_t>n, sizeof(out)):
        assert (<unsigned char *>&out)[i] == 0xa5
    if out.ss_family == AF_INET:
        assert n == sizeof(sockaddr_in)
        return int(AF_INET), (<char *>&v4.sin_addr)[:4], socket.ntohs(v4.sin_port), 0
    assert out.ss_family == AF_INET6 and n == sizeof(sockaddr_in6) and v6.sin6_flowinfo == 0
    return int(AF_INET6), (<char *>&v6.sin6_addr)[:16], socket.ntohs(v6.sin6_port), v6.sin6_scope_id


cdef int fill(sockaddr_storage *out, int family, bytes packed, int port, unsigned zone) except -1:
    cdef sockaddr_in *v4 = <sockaddr_in *>out
    cdef sockaddr_in6 *v6 = <sockaddr_in6 *>out
    cdef int i
    memset(out, 0, sizeof(out[0]))
    out.ss_family = family
    for i in range(len(packed)):
        if family == AF_INET:
            (<unsigned char *>&v4.sin_addr)[i] = packed[i]
        else:
            (<unsigned char *>&v6.sin6_addr)[i] = packed[i]
    if family == AF_INET:
        v4.sin_port = socket.htons(port)
    else:
        v6.sin6_port = socket.htons(port)
        v6.sin6_scope_id = zone
    return 0


def format_address(int family, bytes packed, int port, unsigned zone, size_t room=SOCKADDR_TEXT_SIZE):
    cdef sockaddr_storage address
    cdef char[SOCKADDR_TEXT_SIZE] out
    fill(&address, family, packed, port, zone)
    assert evutil_format_sockaddr_port_(<sockaddr *>&address, out, room) == out
    assert strlen(out) < room
    return out[:strlen(out)].decode()


def compare(a, b, int include_port):
    """a and b: (family, packed, port, zone)."""
    cdef sockaddr_storage x, y
    fill(&x, a[0], a[1], a[2], a[3])
    fill(&y, b[0], b[1], b[2], b[3])
    return evutil_sockaddr_cmp(<sockaddr *>&x, <sockaddr *>&y, include_port)


# --- libevent's cases --------------------------------------------------------------------------------

# (text, value, whether it is the form that is written), value None: not an address.
IPV4 = [
    ("1.2.3.4", 0x01020304, True),
    ("255.255.255.255", 0xffffffff, True),
    ("0.0.0.0", 0, True),
    ("176.192.208.244", 0xb0c0d0f4, True),
    ("256.0.0.0", None, False),
    ("ABC", None, False),
    ("1.2.3.4.5", None, False),
    ("1.2.3", None, False),
    ("1.2.3.4 ", None, False),
    (" 1.2.3.4", None, False),
    ("1.2.3.-4", None, False),
    ("010.2.3.4", None, False),
    ("0x1.2.3.4", None, False),
    ("16909060", None, False),
    ("", None, False),
]

IPV6 = [
    ("::", (0, 0, 0, 0), True),
    ("0:0:0:0:0:0:0:0", (0, 0, 0, 0), False),
    ("::1", (0, 0, 0, 1), True),
    ("::1.2.3.4", (0, 0, 0, 0x01020304), True),
    ("ffff:1::", (0xffff0001, 0, 0, 0), True),
    ("ffff:0000::", (0xffff0000, 0, 0, 0), False),
    ("ffff::1234", (0xffff0000, 0, 0, 0x1234), True),
    ("0102::1.2.3.4", (0x01020000, 0, 0, 0x01020304), False),
    ("::9:c0a8:1:1", (0, 0, 0x0009c0a8, 0x00010001), True),
    ("::ffff:1.2.3.4", (0, 0, 0xffff, 0x01020304), True),
    ("FFFF::", (0xffff0000, 0, 0, 0), False),
    # One zero word stays; of two runs the longer is cut, of equals the first; what only looks like an IPv4
    # address is none.
    ("1:0:2:3:4:5:6:7", (0x00010000, 0x00020003, 0x00040005, 0x00060007), True),
    ("1::2:0:0:3", (0x00010000, 0, 0x00020000, 0x00000003), True),
    ("1:0:0:2::3", (0x00010000, 0x00000002, 0, 0x00000003), True),
    ("1::2:3:0:0:4", (0x00010000, 0x00000002, 0x00030000, 0x00000004), True),
    ("::1:0", (0, 0, 0, 0x00010000), True),
    ("1:2:3:4:5:6:7:0", (0x00010002, 0x00030004, 0x00050006, 0x00070000), True),
    ("1:2:3:4:5:6::", (0x00010002, 0x00030004, 0x00050006, 0), True),
    ("foobar.", None, False),
    ("foobar", None, False),
    ("fo:obar", None, False),
    ("ffff", None, False),
    ("fffff::", None, False),
    ("::1.0.1.1000", None, False),
    ("1:2:33333:4::", None, False),
    ("1:2:3:4:5:6:7:8:9", None, False),
    ("1:2:3:4:5:6:7", None, False),
    ("1::2::3", None, False),
    (":::1", None, False),
    ("::1%1", None, False),
    ("[::1]", None, False),
    ("", None, False),
]


def test_ipv4_parse():
    for text, value, written in IPV4:
        got = pton(AF_INET, text.encode())
        if value is None:
            assert got == 0, text
            continue
        assert got == value.to_bytes(4, "big"), text
        if written:
            assert ntop(AF_INET, got) == text


def test_ipv6_parse():
    for text, words, written in IPV6:
        got = pton(AF_INET6, text.encode())
        if words is None:
            assert got == 0, text
            continue
        assert got == b"".join(word.to_bytes(4, "big") for word in words), text
        assert (ntop(AF_INET6, got) == text) == written, text


def test_unknown_family_is_an_error():
    assert pton(AF_UNIX, b"1.2.3.4") == -1
    assert errno == EAFNOSUPPORT
    assert pton_scope(AF_UNIX, b"1.2.3.4%1") == -1
    assert ntop(AF_UNIX, bytes(16)) == EAFNOSUPPORT


def test_text_needs_room_for_its_end():
    assert ntop(AF_INET, bytes([1, 2, 3, 4]), 8) == "1.2.3.4"
    assert ntop(AF_INET, bytes([1, 2, 3, 4]), 7) == ENOSPC
    assert ntop(AF_INET, bytes([1, 2, 3, 4]), 0) == ENOSPC
    assert ntop(AF_INET6, bytes(16), 3) == "::"
    assert ntop(AF_INET6, bytes(16), 2) == ENOSPC


def test_ipv6_parse_scope():
    base = socket.inet_pton(socket.AF_INET6, "2001:db8::")
    index, name = socket.if_nameindex()[0]
    assert pton_scope(AF_INET6, b"2001:DB8::") == (base, 0)
    assert pton_scope(AF_INET6, b"2001:DB8::%0") == (base, 0)
    assert pton_scope(AF_INET6, b"2001:DB8::%1") == (base, 1)
    assert pton_scope(AF_INET6, b"2001:DB8::%4294967295") == (base, 4294967295)
    assert pton_scope(AF_INET6, b"2001:DB8::%" + name.encode()) == (base, index)
    for text in (b"foobar.", b"2001:DB8::%does-not-exist", b"2001:DB8::%", b"2001:DB8::%-1", b"2001:DB8::% 1",
                 b"2001:DB8::%4294967296", b"2001:DB8::%1%1", b"%1", b"2001:DB8" * 100 + b"%1"):
        assert pton_scope(AF_INET6, text) == 0, text
    # IPv4 has no zones.
    assert pton_scope(AF_INET, b"1.2.3.4") == (bytes([1, 2, 3, 4]), 0)
    assert pton_scope(AF_INET, b"1.2.3.4%1") == 0


def test_sockaddr_port_parse():
    for text, family, host, port, zone in [
        (b"[ffff::1]:1000", AF_INET6, "ffff::1", 1000, 0),
        (b"[ffff::1]", AF_INET6, "ffff::1", 0, 0),
        (b"::1", AF_INET6, "::1", 0, 0),
        (b"1:2::1", AF_INET6, "1:2::1", 0, 0),
        (b"192.168.0.1:50", AF_INET, "192.168.0.1", 50, 0),
        (b"1.2.3.4", AF_INET, "1.2.3.4", 0, 0),
        (b"1.2.3.4:65535", AF_INET, "1.2.3.4", 65535, 0),
        (b"1.2.3.4:0080", AF_INET, "1.2.3.4", 80, 0),
        (b"fe80::1%7", AF_INET6, "fe80::1", 0, 7),
        (b"[fe80::1%7]:80", AF_INET6, "fe80::1", 80, 7),
        (b"[::ffff:1.2.3.4]:80", AF_INET6, "::ffff:1.2.3.4", 80, 0),
    ]:
        assert parse(text) == (family, socket.inet_pton(family, host), port, zone), text
    for text in (b"[ffff::1", b"[ffff::1]:65599", b"[ffff::1]:0", b"[ffff::1]:-1", b"[ffff::1]:",
                 b"[ffff::1]80", b"[ffff::1]:80x", b"[ffff::1]: 80",
                 b"[1.2.3.4]:80", b"[]:80", b"[", b"", b":80", b"1.2.3.4:",
                 b"1.2.3.4:0", b"1.2.3.4:65536", b"1.2.3.4:4294967297", b"localhost:80", b"::1]:80",
                 b"1" * 400, b"[" + b"1" * 400 + b"]", b"[fe80::1%none]:80"):
        assert parse(text) is None, text


def test_sockaddr_port_parse_respects_the_room():
    assert parse(b"1.2.3.4:5", sizeof(sockaddr_in)) is not None
    assert parse(b"1.2.3.4:5", sizeof(sockaddr_in) - 1) is None
    assert parse(b"[::1]:5", sizeof(sockaddr_in6)) is not None
    assert parse(b"[::1]:5", sizeof(sockaddr_in6) - 1) is None


def test_sockaddr_port_format():
    for text in (b"192.168.1.1:80", b"[ff00::8010]:999", b"[fe80::1%7]:80", b"1.2.3.4:65535"):
        assert format_address(*parse(text)).encode() == text
    assert format_address(*parse(b"1.2.3.4")) == "1.2.3.4:0"
    assert format_address(99, b"", 0, 0) == "<addr with socktype 99>"
    assert format_address(*parse(b"192.168.1.1:80"), 8) == "192.168"
    longest = format_address(AF_INET6, socket.inet_pton(AF_INET6, "1111:" * 7 + "1111"), 65535, 0xffffffff)
    assert longest == "[" + "1111:" * 7 + "1111%4294967295]:65535"


def test_sockaddr_cmp():
    low, high = parse(b"1.2.3.4:80"), parse(b"1.2.3.5:79")
    assert compare(low, high, 1) < 0 < compare(high, low, 1)
    assert compare(low, low, 1) == 0
    near = parse(b"1.2.3.4:256")
    assert compare(low, near, 0) == 0
    assert compare(low, near, 1) < 0 < compare(near, low, 1)
    low, high = parse(b"[::1]:80"), parse(b"[::2]:79")
    assert compare(low, high, 1) < 0 < compare(high, low, 1)
    assert compare(low, parse(b"[::1]:81"), 0) == 0
    assert compare(low, parse(b"[::1]:81"), 1) < 0
    assert compare(parse(b"1.2.3.4"), parse(b"::1"), 0) != 0
    assert compare((AF_UNIX, b"", 0, 0), (AF_UNIX, b"", 0, 0), 0) != 0


def test_sockaddr_predicates():
    cdef sockaddr_storage address
    for text, loopback in [
        (b"127.0.0.1", True), (b"127.0.3.2", True), (b"127.255.255.255", True), (b"128.1.2.3", False),
        (b"18.0.0.1", False), (b"129.168.1.1", False), (b"::1", True), (b"::0", False), (b"f::1", False),
        (b"::501", False), (b"1::1", False),
    ]:
        family, packed, port, zone = parse(text)
        fill(&address, family, packed, port, zone)
        assert evutil_sockaddr_is_loopback_(<sockaddr *>&address) == loopback, text
    fill(&address, AF_UNIX, b"", 0, 0)
    assert not evutil_sockaddr_is_loopback_(<sockaddr *>&address)


def test_evutil_v4addr_is_local():
    cdef in_addr address
    for text, local in [
        (b"0.0.0.0", True), (b"0.0.0.1", False), (b"127.0.0.1", True), (b"127.255.255.255", True),
        (b"126.255.255.255", False), (b"128.0.0.0", False), (b"121.0.0.1", False), (b"169.254.0.1", True),
        (b"169.254.255.255", True), (b"169.253.255.255", False), (b"169.255.0.0", False), (b"170.0.0.0", False),
        (b"223.255.255.255", False), (b"224.0.0.0", True), (b"239.255.255.255", True), (b"240.0.0.0", False),
    ]:
        assert evutil_inet_pton(AF_INET, text, &address) == 1
        assert evutil_v4addr_is_local_(&address) == local, text


def test_evutil_v6addr_is_local():
    cdef in6_addr address
    for text, local in [
        (b"::", True), (b"::1", True), (b"::ffff:0:0", True), (b"::ffff:0:0:0", True), (b"64:ff9b::", False),
        (b"fe7f::", False), (b"fe80::", True), (b"febf::", True), (b"fec0::", True), (b"fbff::", False),
        (b"fc00::", True), (b"fdff::", True), (b"fe00::", False), (b"ff00::", True), (b"2001::", False),
        (b"2001:4860:4802:32::1b", False), (b"0:0:0:1::", False),
    ]:
        assert evutil_inet_pton(AF_INET6, text, &address) == 1
        assert evutil_v6addr_is_local_(&address) == local, text
