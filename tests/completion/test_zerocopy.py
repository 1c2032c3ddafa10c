"""Memory that is sent without being copied, on a base with a ring: it is written by the buffer, and the ring
tells when there is room. Who has it when something ends early; bufferevent/test_zerocopy has the rest."""

import gc
import os
import threading

import pytest
from loops import run_until
from rings import needs_ring
from zerocopy_peers import is_lent, receive, tcp_pair, until

from cyevent import EVLOOP_NONBLOCK, READ, WRITE, EventBase, SocketBufferEvent

pytestmark = needs_ring

MUCH = 20_000_000  # more than a socket takes


@pytest.fixture
def tcp():
    left, right = tcp_pair()
    with left, right:
        yield left, right


def lend(base, sock, lender):
    """A bufferevent whose socket is full of lent memory, with more to send."""
    bev = SocketBufferEvent(base, sock)
    bev.output.zerocopy = True
    bev.write_reference(lender)
    run_until(base, lambda: bev.output.zerocopy_stats.sent)
    for _ in range(5):
        base.loop(EVLOOP_NONBLOCK)
    assert 0 < len(bev.output) < len(lender)
    return bev


def in_thread(function, *args):
    """Starts it; returns the thread and the list that gets its result."""
    got = []
    thread = threading.Thread(target=lambda: got.append(function(*args)))
    thread.start()
    return thread, got


def test_what_waits_for_room_is_not_copied_either(base, tcp):
    left, right = tcp
    lender = bytearray(os.urandom(MUCH))
    bev = lend(base, left, lender)
    first = MUCH - len(bev.output)
    thread, got = in_thread(receive, right, MUCH)
    run_until(base, lambda: not is_lent(lender))
    thread.join(60)
    assert got == [lender]
    stats = bev.output.zerocopy_stats
    # All calls have taken memory; so many for the rest that the first ones cannot be all of them.
    assert stats.sent == stats.done > 1 and stats.refused == 0
    assert first < MUCH
    bev.close()


def test_disabled_while_it_waits_for_room(base, tcp):
    """The wait is cancelled, nothing is sent twice, and it goes on."""
    left, right = tcp
    lender = bytearray(os.urandom(MUCH))
    bev = lend(base, left, lender)
    right.setblocking(False)
    got = bytearray()

    def receives():
        bev.disable(WRITE)
        base.loop(EVLOOP_NONBLOCK)
        try:
            got.extend(right.recv(1 << 20))
        except BlockingIOError:
            pass
        bev.enable(WRITE)
        return len(got) == MUCH

    run_until(base, receives)
    assert got == lender
    run_until(base, lambda: not is_lent(lender))
    bev.close()


@pytest.mark.parametrize("first", ["bufferevent", "base"])
def test_freed_while_it_waits_for_room(tcp, first):
    """Without any loop that runs: what has left arrives, and only then is the memory given back."""
    left, right = tcp
    lender = bytearray(os.urandom(MUCH))
    base = EventBase(completion=True)
    bev = lend(base, left, lender)
    if first == "base":
        base.close()
    bev.close()
    del bev
    gc.collect()
    assert is_lent(lender)
    right.settimeout(20)
    got = bytearray()
    data = right.recv(1 << 20)
    while data:
        got += data
        data = right.recv(1 << 20)
    assert len(got) > 0 and got == lender[: len(got)]
    until(lambda: not is_lent(lender), "the memory was not given back")
    base.close()


def test_forked_while_it_waits_for_room(base, tcp, in_child):
    """The child closes its own, and the parent's goes on."""
    left, right = tcp
    lender = bytearray(os.urandom(MUCH))
    bev = lend(base, left, lender)

    def child():
        base.reinit()
        bev.close()
        base.close()

    in_child(child)
    thread, got = in_thread(receive, right, MUCH)
    run_until(base, lambda: not is_lent(lender))
    thread.join(60)
    assert got == [lender]
    bev.close()


def test_behind_a_head(base, tcp):
    """What is copied leaves by the ring, and does not take with it what is not to be."""
    left, right = tcp
    lender = bytearray(os.urandom(200_000))
    bev = SocketBufferEvent(base, left)
    bev.output.zerocopy = True
    for _ in range(3):
        bev.write(b"head")
        bev.write_reference(lender)
    thread, got = in_thread(receive, right, 600_012)
    run_until(base, lambda: len(bev.output) == 0)
    run_until(base, lambda: not is_lent(lender))
    thread.join(60)
    assert got == [(b"head" + lender) * 3]
    stats = bev.output.zerocopy_stats
    assert stats.sent == stats.done >= 3
    bev.close()


def test_many_at_once(base):
    """In turns in which sends are queued, too."""
    ends = [tcp_pair() for _ in range(8)]
    lenders = [bytearray(os.urandom(500_000)) for _ in ends]
    bevs = []

    def answer(bev, number):
        bev.read()
        bev.write_reference(lenders[number])

    for number, (left, _) in enumerate(ends):
        bev = SocketBufferEvent(base, left, read=lambda bev, number=number: answer(bev, number))
        bev.output.zerocopy = True
        bev.enable(READ)
        bevs.append(bev)
    threads = []
    for _, right in ends:
        right.send(b"x")
    for _, right in ends:
        threads.append(in_thread(receive, right, 500_000))
    run_until(base, lambda: all(bev.output.zerocopy_stats.sent for bev in bevs))
    run_until(base, lambda: not any(len(bev.output) for bev in bevs))
    run_until(base, lambda: not any(map(is_lent, lenders)))
    for (thread, got), lender, bev in zip(threads, lenders, bevs, strict=True):
        thread.join(60)
        assert got == [lender]
        stats = bev.output.zerocopy_stats
        assert stats.sent == stats.done > 0
        bev.close()
    for _, right in ends:
        right.close()
