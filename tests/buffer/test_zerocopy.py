"""Pieces that the kernel sends from where they are.

Over loopback the kernel copies them after all, and says so; what is tested is when memory is given back.
Lenders here are bytearrays, whose length can only be changed when nobody has their memory.
"""

import gc
import os
import random
import select
import socket
import struct
import sys
import threading
import time
import weakref

import pytest
from zerocopy_peers import is_lent, receive, tcp_pair, until

import cyevent
from cyevent import EVLOOP_NONBLOCK, EVLOOP_ONCE, PERSIST, READ, EvBuffer, Event, Timer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="MSG_ZEROCOPY is Linux's")

SO_ZEROCOPY = 60
PIECE = 200_000


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def tcp(request):
    left, right = tcp_pair(request.param)
    with left, right:
        yield left, right


@pytest.fixture(autouse=True)
def usual_limits():
    yield
    cyevent.set_zerocopy_limits()


def fill(sock):
    """Until it takes no more. How much it took."""
    n = 0
    while True:
        try:
            n += sock.send(bytes(100_000))
        except BlockingIOError:
            return n


def test_notified_and_given_back(tcp):
    left, right = tcp
    buf = EvBuffer(b"head ", zerocopy=True)
    lender = bytearray(os.urandom(PIECE))
    buf.add_reference(lender)
    buf.add(b" tail")
    expected = bytes(buf)
    assert buf.zerocopy_stats == (0, 0, 0, 0)
    # A head, a piece and a tail in one call of ours.
    assert buf.write(left) == len(expected)
    assert len(buf) == 0
    assert receive(right, len(expected)) == expected
    until(lambda: not is_lent(lender), "the memory was not given back")
    stats = buf.zerocopy_stats
    assert stats.sent == stats.done == 1
    assert stats.copied in (0, 1)
    assert stats.refused == 0
    assert stats._fields == ("sent", "done", "copied", "refused")


def test_held_while_nobody_reads(tcp):
    """What is in flight stays, when its buffer is freed and its socket closed; then the peer gets all of it."""
    left, right = tcp
    lenders = [bytearray(os.urandom(PIECE)) for _ in range(50)]
    expected = b"".join(lenders)
    buf = EvBuffer(zerocopy=True)
    for lender in lenders:
        buf.add_reference(lender)
    sent = 0
    try:
        while sent < len(expected):
            sent += buf.write(left)
    except BlockingIOError:
        pass
    assert sent > PIECE
    buf.drain()
    gone = weakref.ref(buf)
    del buf
    gc.collect()
    assert gone() is None
    left.close()
    # Some of it has not even been looked at by the kernel.
    assert any(is_lent(lender) for lender in lenders)
    assert receive(right, sent) == expected[:sent]
    # The end comes when all has been acknowledged.
    assert right.recv(1) == b""
    until(lambda: not any(map(is_lent, lenders)), "the memory was not given back")


def test_memory_is_not_given_back_too_early(tcp):
    """Each lender's memory is overwritten the moment it can be; nothing of that may arrive."""
    left, right = tcp
    rng = random.Random(5)
    pieces = [rng.randbytes(rng.randrange(40_000, 400_000)) for _ in range(60)]
    buf = EvBuffer(zerocopy=True)
    lenders = [bytearray(piece) for piece in pieces]
    ended = threading.Event()

    def spoil():
        while lenders:
            for i in reversed(range(len(lenders))):
                if not is_lent(lenders[i]):
                    lenders[i][:] = bytes(len(lenders[i]))
                    del lenders[i]
            time.sleep(0.001)
        ended.set()

    for lender in lenders:
        buf.add_reference(lender)
    total = len(buf)
    spoiler = threading.Thread(target=spoil)
    spoiler.start()
    got = []
    reader = threading.Thread(target=lambda: got.append(receive(right, total)))
    reader.start()
    while len(buf):
        select.select([], [left], [], 20)
        try:
            buf.write(left, 150_000)
        except BlockingIOError:
            pass
    reader.join(60)
    assert got == [b"".join(pieces)]
    assert ended.wait(20)
    spoiler.join()
    stats = buf.zerocopy_stats
    assert stats.sent == stats.done >= 10


def test_small_pieces_are_copied(tcp):
    left, right = tcp
    buf = EvBuffer(zerocopy=True)
    assert buf.zerocopy
    assert buf.zerocopy_threshold == 32768
    lender = bytearray(32767)
    buf.add_reference(lender)
    assert buf.write(left) == 32767
    # Copied: nobody has it any more.
    assert not is_lent(lender)
    buf.zerocopy_threshold = 32767
    buf.add_reference(lender)
    assert buf.write(left) == 32767
    assert buf.zerocopy_stats.sent == 1
    receive(right, 2 * 32767)
    until(lambda: not is_lent(lender), "the memory was not given back")
    # Part of a large piece is a small one.
    buf.add_reference(lender)
    assert buf.write(left, 1000) == 1000
    assert buf.zerocopy_stats.sent == 1
    buf.zerocopy = False
    assert not buf.zerocopy
    assert buf.write(left) == 31767
    assert buf.zerocopy_stats.sent == 1
    assert not is_lent(lender)
    for bad in (0, -1, 1 << 32):
        with pytest.raises(ValueError, match="zerocopy_threshold"):
            buf.zerocopy_threshold = bad
    assert buf.zerocopy_threshold == 32767


def test_many_chains_and_shared_ones(tcp, chain_size):
    """Own, lent and shared memory, moved about while the kernel has it."""
    left, right = tcp
    buf = EvBuffer(zerocopy=True, threadsafe=True)
    buf.zerocopy_threshold = 1
    origin = EvBuffer()
    expected = bytearray()
    for i in range(300):
        piece = bytes([i & 255]) * (1 + i * 7 % 500)
        origin.add(piece)
        if i % 3 == 0:
            origin.add_reference(bytearray(piece))
        copy = bytes(origin)
        if i % 5 == 0:
            buf.add_buffer_reference(origin)
        else:
            buf.add_buffer(origin)
        expected += copy
        origin = EvBuffer()
        while len(buf) > 2000:
            try:
                buf.write(left, 900)
            except BlockingIOError:
                break
        # What the kernel has may not be changed by these.
        buf.pullup(len(buf) // 2)
        buf.prepend(b"")
    while len(buf):
        buf.write(left)
    assert receive(right, len(expected)) == expected
    stats = buf.zerocopy_stats
    assert stats.sent > 100
    until(lambda: buf.zerocopy_stats.done == buf.zerocopy_stats.sent, "notifications are missing")


def test_buffers_take_turns_on_a_socket(tcp):
    """Numbers go on where another buffer stopped, whether anything is under way or not."""
    left, right = tcp
    for i in range(6):
        first, second = EvBuffer(zerocopy=True), EvBuffer(zerocopy=True)
        lenders = [bytearray(os.urandom(50_000)) for _ in range(2)]
        first.add_reference(lenders[0])
        second.add_reference(lenders[1])
        assert first.write(left) == second.write(left) == 50_000
        assert second.zerocopy_stats.sent == (2 if i == 0 else second.zerocopy_stats.sent)
        assert receive(right, 100_000) == b"".join(lenders)
        if i % 2:
            until(lambda: not any(map(is_lent, lenders)), "the memory was not given back")
        del first, second
    assert left.getsockopt(socket.SOL_SOCKET, SO_ZEROCOPY) == 1


def test_one_buffer_on_several_sockets():
    pairs = [tcp_pair() for _ in range(3)]
    buf = EvBuffer(zerocopy=True)
    lender = bytearray(os.urandom(40_000))
    for _ in range(3):
        for left, right in pairs:
            buf.add_reference(lender)
            assert buf.write(left) == 40_000
            assert receive(right, 40_000) == lender
    until(lambda: not is_lent(lender), "the memory was not given back")
    for ends in pairs:
        for end in ends:
            end.close()


@pytest.mark.parametrize("kind", ["unix", "pipe", "somebody else's"])
def test_where_it_cannot_be(kind):
    buf = EvBuffer(zerocopy=True)
    lender = bytearray(os.urandom(40_000))
    buf.add(b"head")
    buf.add_reference(lender)
    buf.add_reference(lender)
    expected = bytes(buf)
    if kind == "pipe":
        source, target = os.pipe()
        try:
            got = b""
            while len(buf):
                buf.write(target, 4096)
                got += os.read(source, 65536)
        finally:
            os.close(source)
            os.close(target)
    else:
        left, right = tcp_pair() if kind != "unix" else socket.socketpair()
        with left, right:
            if kind != "unix":
                left.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
            while len(buf):
                buf.write(left)
            got = receive(right, len(expected))
    assert got == expected
    assert not is_lent(lender)
    assert buf.zerocopy_stats == (0, 0, 0, 0)


def test_a_blocking_socket(tcp):
    """Waits for room as it does without."""
    left, right = tcp
    left.setblocking(True)
    buf = EvBuffer(zerocopy=True)
    lender = bytearray(os.urandom(8_000_000))
    buf.add_reference(lender)
    got = []
    reader = threading.Thread(target=lambda: got.append(receive(right, len(lender))))
    reader.start()
    while len(buf):
        buf.write(left)
    reader.join(60)
    assert got == [lender]
    until(lambda: not is_lent(lender), "the memory was not given back")


def test_a_reset_gives_everything_back(tcp):
    left, right = tcp
    lender = bytearray(3_000_000)
    buf = EvBuffer(zerocopy=True)
    buf.add_reference(lender)
    buf.write(left)
    fill(left)
    assert is_lent(lender)
    right.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    right.close()
    stats = buf.zerocopy_stats
    until(lambda: buf.zerocopy_stats.done == stats.sent, "no notification came")
    buf.drain()
    # The thread that has counted the last notification gives the memory back after that.
    until(lambda: not is_lent(lender), "the memory did not come back")
    buf.add_reference(lender)
    # The error is told, and the bytes stay.
    with pytest.raises(ConnectionResetError):
        buf.write(left)
    with pytest.raises(BrokenPipeError):
        buf.write(left)
    assert len(buf) == len(lender)
    buf.drain()
    assert not is_lent(lender)


def test_limit_of_sockets():
    pairs = [tcp_pair() for _ in range(3)]
    lenders = [bytearray(5_000_000) for _ in pairs]
    cyevent.set_zerocopy_limits(2)
    held = []
    for (left, _), lender in zip(pairs, lenders):
        buf = EvBuffer(zerocopy=True)
        buf.add_reference(lender)
        assert buf.write(left) < len(lender)
        del buf
        held.append(is_lent(lender))
    assert held == [True, True, False]
    for left, right in pairs:
        left.close()
        right.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        right.close()
    until(lambda: not any(map(is_lent, lenders)), "the memory was not given back")
    cyevent.set_zerocopy_limits(0)
    left, right = tcp_pair()
    with left, right:
        buf = EvBuffer(bytes(100_000), zerocopy=True)
        assert buf.write(left) == 100_000
        assert buf.zerocopy_stats == (0, 0, 0, 0)


def test_no_descriptor_is_left():
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    def use():
        left, right = tcp_pair()
        lender = bytearray(100_000)
        for _ in range(3):
            buf = EvBuffer(zerocopy=True)
            buf.add_reference(lender)
            assert buf.write(left) == len(lender)
            receive(right, len(lender))
        left.close()
        until(lambda: not is_lent(lender), "the memory was not given back")
        right.close()

    # The thread's own stays.
    use()
    before = descriptors()
    for _ in range(20):
        use()
    until(lambda: descriptors() == before, "descriptors are left")


def test_events_beside_a_buffer(base, tcp):
    """Whoever watches the socket himself is woken for nothing at most until the thread has looked."""
    left, right = tcp
    calls = []
    reader = Event(base, left, READ | PERSIST, lambda fd, what: calls.append(what))
    reader.add()
    buf = EvBuffer(zerocopy=True)
    lender = bytearray(100_000)
    buf.add_reference(lender)
    buf.write(left)
    receive(right, len(lender))
    while is_lent(lender):
        base.loop(EVLOOP_NONBLOCK)
    base.loop(EVLOOP_NONBLOCK)
    calls.clear()
    timer = Timer(base, base.loopbreak)
    timer.add(0.1)
    base.dispatch()
    assert calls == []
    right.send(b"x")
    base.loop(EVLOOP_ONCE)
    assert calls == [READ]
    reader.delete()


def test_bad_limits():
    for bad in (-1, 1 << 31):
        with pytest.raises(ValueError, match="sockets"):
            cyevent.set_zerocopy_limits(bad)
    with pytest.raises(ValueError, match="linger"):
        cyevent.set_zerocopy_limits(linger=-1)
    with pytest.raises(TypeError, match="linger"):
        cyevent.set_zerocopy_limits(linger=None)
    with pytest.raises(TypeError, match="sockets"):
        cyevent.set_zerocopy_limits("many")
