"""The nogil helpers against what Python says of the same input."""

import ctypes
import email.utils
import functools
import ipaddress
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

fcntl = pytest.importorskip("fcntl", reason="the Cython modules are compiled on POSIX systems")

V4, V6 = socket.AF_INET, socket.AF_INET6
SIOCGIFADDR = 0x8915
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


@pytest.fixture(scope="session")
def address(cython_modules):
    return cython_modules["nogil_util_address"]


@pytest.fixture(scope="session")
def text(cython_modules):
    return cython_modules["nogil_util_text"]


@pytest.fixture(scope="session")
def lookup(cython_modules):
    return cython_modules["nogil_util_lookup"]


# --- addresses ------------------------------------------------------------------------------------

# Words that are zero more often than not, so that there are gaps.
words = st.sampled_from([0, 0, 0, 1, 0xFFFF, 0x10]) | st.integers(0, 0xFFFF)
packed_v6 = st.lists(words, min_size=8, max_size=8).map(lambda eight: struct.pack("!8H", *eight))
packed_v4 = st.binary(min_size=4, max_size=4)
addresses = packed_v4.map(lambda packed: (V4, packed)) | packed_v6.map(lambda packed: (V6, packed))
# What an address may be made of, so that many of the texts nearly are one.
pieces = [
    "0",
    "1",
    "255",
    "256",
    "ffff",
    "12345",
    "f",
    "G",
    ":",
    "::",
    ".",
    "%",
    "1.2.3.4",
    "[",
    "]",
]
near_addresses = st.lists(st.sampled_from(pieces), max_size=12).map("".join)


def reference_text(packed):
    """RFC 5952's text, with the dotted form where libevent has it."""
    eight = struct.unpack("!8H", packed)
    dotted = socket.inet_ntop(V4, packed[12:])
    if eight[:5] == (0,) * 5 and eight[5] == 0xFFFF:
        return "::ffff:" + dotted
    if eight[:6] == (0,) * 6 and eight[6] and eight[7]:
        return "::" + dotted
    return ipaddress.IPv6Address(packed).compressed


@given(packed=packed_v6)
def test_ipv6_text_is_rfc_5952s(address, packed):
    assert address.ntop(V6, packed) == reference_text(packed)


@given(pair=addresses)
def test_addresses_survive_their_text(address, pair):
    family, packed = pair
    written = address.ntop(family, packed)
    assert address.pton(family, written.encode()) == packed
    assert socket.inet_pton(family, written) == packed


@given(written=near_addresses)
def test_what_is_an_address_is_what_python_says(address, written):
    for family in (V4, V6):
        try:
            expected = socket.inet_pton(family, written)
        except OSError:
            expected = 0
        assert address.pton(family, written.encode()) == expected


@given(pair=addresses, port=st.integers(1, 65535), zone=st.just(0) | st.integers(1, 2**32 - 1))
def test_addresses_with_ports_survive_their_text(address, pair, port, zone):
    family, packed = pair
    zone = zone if family == V6 else 0
    written = address.format_address(family, packed, port, zone)
    assert address.parse(written.encode()) == (family, packed, port, zone)


@given(written=st.text(alphabet="0123456789abcf:.[]%", max_size=60) | near_addresses)
@example("[" * 500)
@example("1" * 318 + ":1")
def test_parsing_anything_is_an_address_or_nothing(address, written):
    found = address.parse(written.encode())
    if found is not None:
        family, packed, port, zone = found
        assert 0 <= port <= 65535
        assert address.pton(family, address.ntop(family, packed).encode()) == packed


@given(a=addresses, b=addresses, ports=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_comparing_is_an_order(address, a, b, ports):
    def sign(n):
        return (n > 0) - (n < 0)

    x, y = (*a, ports[0], 0), (*b, ports[1], 0)
    key_x, key_y = (a[0], a[1], ports[0]), (b[0], b[1], ports[1])
    expected = (key_x > key_y) - (key_x < key_y)
    assert sign(address.compare(x, y, 1)) == expected
    assert sign(address.compare(x, y, 0)) == (key_x[:2] > key_y[:2]) - (key_x[:2] < key_y[:2])


# --- text -----------------------------------------------------------------------------------------

c_strings = st.binary(max_size=30).map(lambda data: data.replace(b"\0", b""))
in_either_case = st.text(alphabet="aAbBzZ@[`{", max_size=6).map(str.encode)


@given(a=c_strings | in_either_case, b=c_strings | in_either_case, n=st.integers(0, 8))
def test_comparing_without_case_is_that_of_lower_case(text, a, b, n):
    def order(x, y):
        return (x > y) - (x < y)

    assert text.casecmp(a, b) == order(a.lower(), b.lower())
    assert text.casecmp(a.upper(), a.lower()) == 0
    assert text.ncasecmp(a, b, n) == order(a[:n].lower(), b[:n].lower())


@given(value=st.integers(-(2**70), 2**70), base=st.sampled_from([2, 8, 10, 16, 36]),
       space=st.sampled_from([b"", b" ", b"\t\n"]), rest=st.sampled_from([b"", b"!", b" 1"]))  # fmt: skip
def test_strtoll_is_int(text, value, base, space, rest):
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    left, written = abs(value), ""
    while left or not written:
        left, digit = divmod(left, base)
        written = digits[digit] + written
    written = space + (b"-" if value < 0 else b"") + written.encode()
    assert int(written, base) == value
    got, length, error = text.strtoll(written + rest, base)
    assert got == min(max(value, -(2**63)), 2**63 - 1)
    assert (error != 0) == (got != value)
    assert length == len(written)


@given(seconds=st.integers(0, 253402300799))
def test_dates_are_those_of_email_utils(text, seconds):
    expected = email.utils.formatdate(seconds, usegmt=True)
    assert text.date(time.gmtime(seconds)) == (expected, len(expected))


# --- interfaces -----------------------------------------------------------------------------------


def ipv4_addresses():
    """Of every interface, asked for one by one."""
    with socket.socket(V4, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(sock, SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:
                continue
            yield ipaddress.IPv4Address(answer[20:24])


def ipv6_addresses():
    for line in Path("/proc/net/if_inet6").read_text().splitlines():
        yield ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))


def is_local(address):
    if address.is_multicast or address.is_loopback or address.is_unspecified:
        return True
    if address.is_link_local:
        return True
    if address.version == 4:
        return False
    return (
        address in ipaddress.ip_network("fc00::/7")
        or address.is_site_local
        or address in ipaddress.ip_network("::/64")
    )


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no list of addresses to read")
def test_interfaces_that_reach_beyond_their_links(lookup):
    expected = (
        any(not is_local(address) for address in ipv4_addresses()),
        any(not is_local(address) for address in ipv6_addresses()),
    )
    assert lookup.interfaces() == expected


def new_network_flags():
    return CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWNET | CLONE_NEWUSER


@functools.cache
def can_make_networks():
    """Whether this process may have a network of its own, and give it addresses."""
    program = (
        "import ctypes, subprocess, sys\n"
        "if ctypes.CDLL(None).unshare(int(sys.argv[1])): sys.exit(1)\n"
        "sys.exit(subprocess.call(['ip', 'link', 'set', 'lo', 'up']))"
    )
    command = [sys.executable, "-c", program, str(new_network_flags())]
    return (
        sys.platform == "linux"
        and shutil.which("ip") is not None
        and subprocess.run(command, capture_output=True).returncode == 0
    )


def in_new_network(lookup, added, expected):
    assert ctypes.CDLL(None).unshare(new_network_flags()) == 0
    for words in (["link", "set", "lo", "up"], *(["addr", "add", a, "dev", "lo"] for a in added)):
        subprocess.run(["ip", *words], check=True)
    assert lookup.interfaces() == (V4 in expected, V6 in expected)
    kind = socket.SOCK_STREAM
    ask = functools.partial(lookup.lookup, kind=kind, flags=lookup.PASSIVE | lookup.ADDRCONFIG)
    families = {V6 if entry[0].startswith("[") else V4 for entry in ask(None, "80")}
    # Where neither family gets anywhere the machine still talks to itself in both.
    assert families == (expected or {V4, V6})
    # What is an address already needs no interface.
    assert len(ask("::1", "80")) == len(ask("127.0.0.1", "80")) == 1


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ((), set()),
        (("192.0.2.1/24",), {V4}),
        (("2001:db8::1/64",), {V6}),
        (("192.0.2.1/24", "2001:db8::1/64"), {V4, V6}),
        (("169.254.1.1/16", "fd00::1/64"), set()),
    ],
)
def test_addrconfig_leaves_the_families_that_get_somewhere(lookup, in_child, added, expected):
    if not can_make_networks():
        pytest.skip("may not make a network of its own")
    in_child(in_new_network, lookup, added, expected)
