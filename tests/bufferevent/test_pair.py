"""Linked pairs: bufferevents without a socket."""

import gc
import os
import weakref

import fds
import pytest

from cyevent import (
    BEV_EVENT_EOF,
    BEV_EVENT_READING,
    BEV_EVENT_TIMEOUT,
    BEV_EVENT_WRITING,
    BEV_FINISHED,
    BEV_FLUSH,
    BEV_NORMAL,
    BEV_OPT_DEFER_CALLBACKS,
    BEV_OPT_THREADSAFE,
    BEV_OPT_UNLOCK_CALLBACKS,
    EVLOOP_NONBLOCK,
    READ,
    WRITE,
    BufferEvent,
    PairBufferEvent,
    bufferevent_pair,
)

OPTIONS = [
    pytest.param(0, id="plain"),
    pytest.param(BEV_OPT_THREADSAFE, id="lock"),
    pytest.param(BEV_OPT_THREADSAFE | BEV_OPT_UNLOCK_CALLBACKS, id="unlocked"),
]


@pytest.fixture(params=OPTIONS)
def linked(base, request):
    left, right = bufferevent_pair(base, request.param)
    yield left, right
    left.close()
    right.close()


def test_bytes_cross(base, linked):
    left, right = linked
    data = os.urandom(100_000)
    got = bytearray()
    written = []
    right.set_callbacks(read=lambda bev: got.extend(bev.read()))
    left.set_callbacks(write=lambda bev: written.append(len(bev.output)))
    left.write(data)
    assert len(left.output) == len(data)
    right.enable(READ)
    # At once; only the callbacks wait for the loop.
    assert len(right.input) == len(data)
    assert not got
    base.loop(EVLOOP_NONBLOCK)
    assert got == data
    assert written == [0]


def test_both_ways(base, linked):
    left, right = linked
    right.set_callbacks(read=lambda bev: bev.write(bev.read().upper()))
    answers = []
    left.set_callbacks(read=lambda bev: answers.append(bev.read()))
    for end in linked:
        end.enable(READ | WRITE)
    left.write(b"hello")
    for _ in range(4):
        base.loop(EVLOOP_NONBLOCK)
    assert answers == [b"HELLO"]


def test_partner_and_what_it_has_not(base, linked):
    left, right = linked
    assert left.partner is right and right.partner is left
    assert isinstance(left, BufferEvent)
    assert left.fd == -1 and left.fileno() == -1
    assert left.peer is None
    assert left.options & BEV_OPT_DEFER_CALLBACKS
    # Windows finds first that it is no socket.
    with pytest.raises(OSError if fds.WINDOWS else ValueError, match="fd"):
        left.fd = 0
    right.close()
    assert left.partner is None and right.partner is None
    left.write(b"nobody hears this")


def test_no_descriptor_is_used(base):
    before = fds.opened()
    ends = [bufferevent_pair(base) for _ in range(100)]
    assert fds.opened() == before
    for left, right in ends:
        left.close()
        right.close()


def test_high_watermark_holds_bytes_back(base, linked):
    left, right = linked
    right.set_watermark(READ, 0, 10)
    right.enable(READ)
    left.write(b"0123456789abcdef")
    assert len(right.input) == 10
    assert len(left.output) == 6
    assert right.read(5) == b"01234"
    # There is room below the mark again.
    assert bytes(right.input) == b"56789abcde"
    assert right.read() + right.read() == b"56789abcdef"


@pytest.mark.parametrize("mode", [BEV_NORMAL, BEV_FLUSH, BEV_FINISHED])
def test_flush(base, linked, mode):
    left, right = linked
    events = []
    right.set_callbacks(event=lambda bev, what: events.append(what))
    right.set_watermark(READ, 0, 4)
    right.enable(READ)
    left.write(b"0123456789")
    left.flush(WRITE, mode)
    # The mark does not hold back what is flushed.
    assert len(right.input) == (4 if mode == BEV_NORMAL else 10)
    base.loop(EVLOOP_NONBLOCK)
    assert events == ([BEV_EVENT_READING | BEV_EVENT_EOF] if mode == BEV_FINISHED else [])
    right.set_watermark(READ)
    left.set_callbacks(event=lambda bev, what: events.append(what))
    events.clear()
    right.flush(READ, mode)
    base.loop(EVLOOP_NONBLOCK)
    assert events == ([BEV_EVENT_WRITING | BEV_EVENT_EOF] if mode == BEV_FINISHED else [])


def test_timeouts(base, linked):
    left, right = linked
    events = []
    left.set_callbacks(event=lambda bev, what: events.append(("left", what)))
    right.set_callbacks(event=lambda bev, what: events.append(("right", what)))
    left.set_timeouts(read=0.05, write=0.1)
    right.set_timeouts(read=0.05, write=0.05)
    left.write(b"nobody reads this")
    left.enable(READ)
    base.loopexit(0.3)
    base.dispatch()
    assert events == [
        ("left", BEV_EVENT_READING | BEV_EVENT_TIMEOUT),
        ("left", BEV_EVENT_WRITING | BEV_EVENT_TIMEOUT),
    ]
    assert left.enabled == 0


def test_a_write_that_is_read_in_time(base, linked):
    left, right = linked
    events = []
    left.set_callbacks(event=lambda bev, what: events.append(what))
    left.set_timeouts(write=0.1)
    left.write(b"x")
    right.enable(READ)
    base.loopexit(0.25)
    base.dispatch()
    assert events == []


def test_closing_in_a_callback(base, linked):
    left, right = linked
    closed = []

    def close_both(bev):
        left.close()
        right.close()
        closed.append(bev)

    right.set_callbacks(read=close_both)
    left.set_callbacks(write=lambda bev: closed.append("never"))
    right.enable(READ)
    left.write(b"x")
    base.loop(EVLOOP_NONBLOCK)
    assert closed == [right]


def test_closing_in_a_buffers_callback(base):
    """While bytes are on the move."""
    left, right = bufferevent_pair(base)
    right.input.add_callback(lambda *changes: (left.close(), right.close()))
    right.enable(READ)
    left.write(b"x")
    assert left.closed and right.closed
    base.loop(EVLOOP_NONBLOCK)


def test_without_references(base):
    left, right = bufferevent_pair(base)
    gone = weakref.ref(right)
    got = []
    right.set_callbacks(read=lambda bev: got.append(bev.read()))
    right.enable(READ)
    del right
    left.write(b"x")
    base.loop(EVLOOP_NONBLOCK)
    assert got == [b"x"]
    # Alone there is nothing that it could wait for.
    left.close()
    gc.collect()
    assert gone() is None
    left, right = bufferevent_pair(base)
    gone = weakref.ref(left)
    del left, right
    gc.collect()
    assert gone() is None


def test_made_by_the_function_alone(base):
    with pytest.raises(TypeError, match="bufferevent_pair"):
        PairBufferEvent()
    with pytest.raises(TypeError, match="subclasses"):
        BufferEvent()
    with pytest.raises(TypeError):
        bufferevent_pair(None)
    with pytest.raises(ValueError, match="options"):
        bufferevent_pair(base, 64)
    base.close()
    with pytest.raises(ValueError):
        bufferevent_pair(base)
