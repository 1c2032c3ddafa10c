"""Bytes objects that are read: their memory is used again, and nobody who has one may notice."""

import ctypes
import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cyevent

LARGE = 128 * 1024  # beyond this nothing is used again


def read(data: bytes) -> bytes:
    """Returns the same bytes out of a buffer."""
    return cyevent.EvBuffer(data).remove(len(data))


def resident() -> int:
    """Returns the bytes of memory that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("size", [1, 479, 480, 1024, 65536, LARGE, LARGE + 1])
def test_what_is_kept_stays_as_it_is(size):
    rng = random.Random(size)
    written = [rng.randbytes(size) for _ in range(20)]
    kept = []
    for data in written:
        read(rng.randbytes(size))  # given up at once
        kept.append(read(data))
        read(rng.randbytes(size))
    assert kept == written


@given(st.lists(st.tuples(st.integers(1, 3000), st.booleans()), max_size=60))
def test_any_sizes_kept_or_not(reads):
    kept = []
    for number, (size, keep) in enumerate(reads):
        data = number.to_bytes(2, "big") * size
        result = read(data)
        assert result == data and len(result) == len(data)
        if keep:
            kept.append((data, result))
    assert all(data == result for data, result in kept)


def test_the_hash_is_that_of_the_bytes():
    for number in range(10):
        data = bytes([number]) * 1000
        assert hash(read(data)) == hash(bytes(bytearray(data)))


@pytest.mark.parametrize("shorter", [1, 100, 250, 251, 400])
def test_a_shorter_one_ends_where_it_ends(shorter):
    read(b"x" * 1000)
    data = read(b"y" * (1000 - shorter))
    # As C sees it: up to the zero after the last byte.
    assert ctypes.c_char_p(data).value == b"y" * (1000 - shorter)


def test_a_view_keeps_its_bytes():
    view = memoryview(read(b"a" * 1000))
    for _ in range(3):
        read(b"b" * 1000)
    assert view == b"a" * 1000


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc")
def test_what_is_kept_is_not_much_larger_than_it_looks():
    kept = []
    before = resident()
    for _ in range(500):
        read(b"x" * 100_000)
        kept.append(read(b"y" * 1000))
    assert resident() - before < 10_000_000


def test_bytes_of_a_connection(method):
    """What one read callback keeps is not what the next one gets."""
    kept = []
    with cyevent.EventBase(method=method) as base:
        ours, theirs = cyevent.bufferevent_pair(base)

        def take(bev):
            kept.append(bev.read())
            if len(kept) == 50:
                base.loopbreak()
            else:
                theirs.write(bytes([len(kept)]) * 1024)

        ours.set_callbacks(read=take)
        ours.enable(cyevent.READ)
        theirs.enable(cyevent.WRITE)
        theirs.write(bytes([0]) * 1024)
        base.dispatch()
    assert kept == [bytes([number]) * 1024 for number in range(50)]
