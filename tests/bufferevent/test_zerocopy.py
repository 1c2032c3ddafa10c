"""Bufferevents whose output leaves without being copied: who is told, and that the loop is quiet."""

import gc
import os
import socket
import struct
import sys
import threading

import pytest
from zerocopy_peers import is_lent, receive, tcp_pair, until

import cyevent
from cyevent import (
    BEV_OPT_THREADSAFE,
    EVLOOP_NONBLOCK,
    EVLOOP_ONCE,
    READ,
    EventBase,
    PrepareWatcher,
    SocketBufferEvent,
    Timer,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="MSG_ZEROCOPY is Linux's")


@pytest.fixture
def tcp():
    left, right = tcp_pair()
    with left, right:
        yield left, right


@pytest.fixture(autouse=True)
def usual_limits():
    yield
    cyevent.set_zerocopy_limits()


def sender(base, sock, lender, **options):
    """A bufferevent with a head, lent memory and a tail to send."""
    bev = SocketBufferEvent(base, sock, **options)
    bev.output.zerocopy = True
    bev.write(b"head")
    bev.write_reference(lender)
    bev.write(b"tail")
    return bev


def run_for(base, seconds):
    timer = Timer(base, base.loopbreak)
    timer.add(seconds)
    base.dispatch()


@pytest.mark.parametrize("reading", [True, False])
@pytest.mark.parametrize("options", [0, BEV_OPT_THREADSAFE])
def test_given_back_by_the_loop(base, tcp, reading, options):
    """Quietly: what the kernel says makes no callback but the one that was due, and keeps no loop going."""
    left, right = tcp
    lender = bytearray(os.urandom(5_000_000))
    told = []
    bev = sender(
        base,
        left,
        lender,
        options=options,
        read=lambda bev: told.append("read"),
        write=lambda bev: told.append("write"),
        event=lambda bev, what: told.append((what, bev.error)),
    )
    if reading:
        bev.enable(READ)
    got = []
    reader = threading.Thread(target=lambda: got.append(receive(right, len(lender) + 8)))
    reader.start()
    while len(bev.output) or is_lent(lender):
        base.loop(EVLOOP_ONCE if len(bev.output) else EVLOOP_NONBLOCK)
    reader.join(60)
    assert got == [b"head" + lender + b"tail"]
    stats = bev.output.zerocopy_stats
    assert stats.sent == stats.done > 0
    assert set(told) == {"write"}
    # Nothing is left that would wake the loop, or keep it.
    turns = []
    watcher = PrepareWatcher(base, lambda *_: turns.append(1))
    run_for(base, 0.2)
    assert len(turns) <= 3
    watcher.close()
    bev.disable(READ)
    base.dispatch()
    bev.close()


def test_quiet_while_the_kernel_is_not_done(base, tcp):
    """A peer that reads nothing leaves memory under way, and the loop asleep."""
    left, right = tcp
    lender = bytearray(20_000_000)
    bev = sender(base, left, lender)
    bev.enable(READ)
    run_for(base, 0.05)
    assert 0 < len(bev.output) < len(lender)
    turns = []
    watcher = PrepareWatcher(base, lambda *_: turns.append(1))
    run_for(base, 0.2)
    assert len(turns) <= 4
    watcher.close()
    bev.close()
    assert is_lent(lender)
    right.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    right.close()
    until(lambda: not is_lent(lender), "the memory was not given back")


@pytest.mark.parametrize("first", ["bufferevent", "base", "everything"])
def test_freed_while_the_kernel_has_it(method, tcp, first):
    """What was sent arrives, the connection ends, and then the memory is given back; by nobody's loop."""
    left, right = tcp
    base = EventBase(method)
    lender = bytearray(os.urandom(20_000_000))
    bev = sender(base, left, lender)
    while not bev.output.zerocopy_stats.sent:
        base.loop(EVLOOP_NONBLOCK)
    sent = len(lender) + 8 - len(bev.output)
    if first == "bufferevent":
        bev.close()
    elif first == "base":
        base.close()
        bev.close()
    del bev, base
    gc.collect()
    assert is_lent(lender)
    assert receive(right, sent) == (b"head" + lender)[:sent]
    assert right.recv(1) == b""
    until(lambda: not is_lent(lender), "the memory was not given back")


def test_a_reset_is_told_once(base, tcp):
    left, right = tcp
    lender = bytearray(20_000_000)
    told = []
    bev = sender(base, left, lender, event=lambda bev, what: told.append(bev.error))
    bev.enable(READ)
    run_for(base, 0.05)
    right.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    right.close()
    while not told:
        base.loop(EVLOOP_ONCE)
    run_for(base, 0.05)
    assert len(told) <= 2
    assert all(isinstance(error, (ConnectionResetError, BrokenPipeError)) for error in told)
    stats = bev.output.zerocopy_stats
    assert stats.sent == stats.done > 0
    bev.close()
    assert not is_lent(lender)


def test_closed_and_never_acknowledged(base, tcp):
    """After a while the connection is reset, and the memory is ours again."""
    left, right = tcp
    cyevent.set_zerocopy_limits(linger=0.1)
    lender = bytearray(20_000_000)
    bev = sender(base, left, lender)
    run_for(base, 0.05)
    bev.close()
    assert is_lent(lender)
    until(lambda: not is_lent(lender), "the memory was not given back")
    with pytest.raises(ConnectionResetError):
        while True:
            if not right.recv(1 << 20):
                raise AssertionError("the stream ended as if it were whole")


def test_another_descriptor(base):
    """What the first one owes is looked after all the same."""
    (left, right), (left2, right2) = tcp_pair(), tcp_pair()
    lender, lender2 = bytearray(os.urandom(3_000_000)), bytearray(os.urandom(100_000))
    bev = sender(base, left, lender, close_on_free=False)
    while not bev.output.zerocopy_stats.sent:
        base.loop(EVLOOP_NONBLOCK)
    sent = len(lender) + 8 - len(bev.output)
    whole = b"head" + lender + b"tail"
    bev.replace_fd(left2)
    bev.write_reference(lender2)
    got = []
    readers = [
        threading.Thread(target=lambda: got.append((1, receive(right, sent)))),
        threading.Thread(
            target=lambda: got.append((2, receive(right2, len(whole) - sent + 100_000)))
        ),
    ]
    for reader in readers:
        reader.start()
    while len(bev.output) or is_lent(lender2):
        base.loop(EVLOOP_NONBLOCK)
    for reader in readers:
        reader.join(60)
    assert sorted(got) == [(1, whole[:sent]), (2, whole[sent:] + lender2)]
    until(lambda: not is_lent(lender), "the memory was not given back")
    bev.close()
    for end in (right, left2, right2):
        end.close()


def test_in_debug_mode_and_in_a_child(run_python):
    """Debug mode knows the base's own event; a forked child gives its copy back, and its parent's goes on."""
    run_python(PROGRAM.format(lib=os.path.dirname(tcp_pair.__code__.co_filename)))


PROGRAM = """
import os, sys
sys.path.append({lib!r})
import cyevent
from cyevent import *
from zerocopy_peers import is_lent, receive, tcp_pair, until

cyevent.enable_debug_mode()
base = EventBase()
left, right = tcp_pair()
lender = bytearray(os.urandom(4_000_000))
bev = SocketBufferEvent(base, left)
bev.output.zerocopy = True
bev.write_reference(lender)
while not bev.output.zerocopy_stats.sent:
    base.loop(EVLOOP_NONBLOCK)
other_left, other_right = tcp_pair()
plain = EvBuffer(zerocopy=True)
lender2 = bytearray(5_000_000)
plain.add_reference(lender2)
plain.write(other_left)
plain.drain()
assert is_lent(lender2)

pid = os.fork()
if pid == 0:
    base.reinit()
    # The next use of any socket gives the copies back.
    a, b = tcp_pair()
    buf = EvBuffer(bytes(100_000), zerocopy=True)
    assert buf.write(a) == 100_000
    assert not is_lent(lender2)
    receive(b, 100_000)
    until(lambda: buf.zerocopy_stats.done == 1, "the child has no thread")
    # The parent's connection copies here.
    plain.add(bytes(40_000))
    try:
        plain.write(other_left)
    except BlockingIOError:
        pass
    assert plain.zerocopy_stats.sent == 1
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert is_lent(lender) and is_lent(lender2)
right.setblocking(False)
got = b""
while len(got) < len(lender):
    base.loop(EVLOOP_NONBLOCK)
    try:
        got += right.recv(1 << 20)
    except BlockingIOError:
        pass
assert got == lender
while is_lent(lender):
    base.loop(EVLOOP_NONBLOCK)
bev.close()
base.loop(EVLOOP_NONBLOCK)
base.close()
other_right.close()
until(lambda: not is_lent(lender2), "the thread is gone")
"""
