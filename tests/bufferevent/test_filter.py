"""Filters in Python."""

import gc
import os
import socket
import weakref
import zlib

import pytest

from cyevent import (
    BEV_ERROR,
    BEV_EVENT_EOF,
    BEV_EVENT_READING,
    BEV_EVENT_TIMEOUT,
    BEV_EVENT_WRITING,
    BEV_FINISHED,
    BEV_FLUSH,
    BEV_NEED_MORE,
    BEV_NORMAL,
    BEV_OK,
    BEV_OPT_DEFER_CALLBACKS,
    BEV_OPT_THREADSAFE,
    BEV_OPT_UNLOCK_CALLBACKS,
    EVLOOP_NONBLOCK,
    EVLOOP_ONCE,
    READ,
    WRITE,
    EventBase,
    FilterBufferEvent,
    SocketBufferEvent,
    bufferevent_pair,
)

OPTIONS = [
    pytest.param(0, id="plain"),
    pytest.param(BEV_OPT_DEFER_CALLBACKS, id="defer"),
    pytest.param(BEV_OPT_THREADSAFE, id="lock"),
    pytest.param(
        BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS | BEV_OPT_UNLOCK_CALLBACKS, id="unlocked"
    ),
]


@pytest.fixture(params=OPTIONS)
def options(request):
    return request.param


@pytest.fixture(params=["socket", "pair"])
def linked(base, pair, options, request):
    """Two bufferevents to put filters on."""
    if request.param == "pair":
        left, right = bufferevent_pair(base, options)
    else:
        left, right = (SocketBufferEvent(base, sock, options) for sock in pair)
    yield left, right
    left.close()
    right.close()


def turn(base, times=20):
    for _ in range(times):
        base.loop(EVLOOP_NONBLOCK)


def shifted(by):
    def shift(source, target, limit, mode):
        data = source.remove(limit)
        target.add(bytes((byte + by) % 256 for byte in data))

    return shift


class Deflate:
    """Both directions of a compressed link."""

    def __init__(self):
        self.deflate = zlib.compressobj()
        self.inflate = zlib.decompressobj()

    def output(self, source, target, limit, mode):
        packed = self.deflate.compress(source.remove())
        if mode == BEV_FLUSH:
            packed += self.deflate.flush(zlib.Z_SYNC_FLUSH)
        elif mode == BEV_FINISHED:
            packed += self.deflate.flush()
        target.add(packed)

    def input(self, source, target, limit, mode):
        if limit == 0:
            return BEV_NEED_MORE
        data = self.inflate.unconsumed_tail + source.remove()
        target.add(self.inflate.decompress(data, max(limit, 0)))
        return None


def test_zlib(base, linked, options):
    left, right = linked
    one, two = Deflate(), Deflate()
    sender = FilterBufferEvent(left, None, one.output, options)
    got = bytearray()
    receiver = FilterBufferEvent(right, two.input, options=options)
    receiver.set_callbacks(read=lambda bev: got.extend(bev.read()))
    receiver.enable(READ)
    data = b"all work and no play " * 5000
    for at in range(0, len(data), 1800):
        sender.write(data[at : at + 1800])
    turn(base)
    # The compressor keeps some of it to itself until it is flushed.
    assert len(got) < len(data)
    sender.flush(WRITE, BEV_FINISHED)
    turn(base)
    assert got == data
    assert sender.underlying is left
    sender.close()
    receiver.close()
    assert left.closed and right.closed


def test_three_deep(base, linked, options):
    left, right = linked
    got = bytearray()
    top = right
    for by in (1, 2, 3):
        top = FilterBufferEvent(top, shifted(-by), shifted(by), options)
    bottom = left
    for by in (1, 2, 3):
        bottom = FilterBufferEvent(bottom, shifted(-by), shifted(by), options)
    bottom.set_callbacks(read=lambda bev: got.extend(bev.read()))
    bottom.enable(READ)
    data = os.urandom(20_000)
    top.write(data)
    turn(base, 40)
    assert got == data
    layers = [top, top.underlying, top.underlying.underlying, right]
    top.close()
    assert all(layer.closed for layer in layers)
    bottom.close()


def test_what_it_passes_on(base, linked):
    left, right = linked
    events = []
    filter = FilterBufferEvent(right, event=lambda bev, what: events.append((bev, what)))
    assert filter.fd == right.fd
    filter.enable(READ)
    if isinstance(left, SocketBufferEvent):
        left.close()
    else:
        left.flush(WRITE, BEV_FINISHED)
    turn(base)
    assert events == [(filter, BEV_EVENT_READING | BEV_EVENT_EOF)]
    filter.close()


def test_nothing_is_read_until_it_is_enabled(base, linked):
    left, right = linked
    filter = FilterBufferEvent(right, shifted(1))
    got = []
    filter.set_callbacks(read=lambda bev: got.append(bev.read()))
    left.write(b"abc")
    turn(base)
    assert got == []
    filter.enable(READ)
    turn(base)
    assert got == [b"bcd"]
    filter.disable(READ)
    left.write(b"x")
    turn(base)
    assert got == [b"bcd"]
    filter.close()


def test_bytes_that_were_read_before_there_was_a_filter(base, linked):
    left, right = linked
    right.enable(READ)
    left.write(b"abc")
    turn(base)
    assert len(right.input) == 3
    filter = FilterBufferEvent(right, shifted(1))
    got = []
    filter.set_callbacks(read=lambda bev: got.append(bev.read()))
    filter.enable(READ)
    turn(base)
    assert got == [b"bcd"]
    filter.close()


def test_high_watermark(base, linked):
    left, right = linked
    limits = []

    def limited(source, target, limit, mode):
        limits.append(limit)
        target.add(source.remove(limit))

    filter = FilterBufferEvent(right, limited)
    filter.set_watermark(READ, 0, 100)
    filter.enable(READ)
    left.write(bytes(1000))
    turn(base)
    assert len(filter.input) == 100
    assert limits == [100]
    total = 0
    while total < 1000:
        total += len(filter.read())
        turn(base, 3)
    assert max(limits) <= 100
    filter.close()


def test_underlying_high_watermark_of_writing(base, linked):
    left, right = linked
    limits = []

    def limited(source, target, limit, mode):
        limits.append(limit)
        target.add(source.remove(limit))

    left.set_watermark(WRITE, 0, 64)
    filter = FilterBufferEvent(left, None, limited)
    filter.write(bytes(200))
    assert limits == [64]
    assert (len(left.output), len(filter.output)) == (64, 136)
    right.enable(READ)
    turn(base)
    assert len(right.input) == 200
    # In flushing, no limit counts.
    limits.clear()
    filter.write(bytes(100))
    filter.flush(WRITE, BEV_FLUSH)
    assert limits[-1] == -1
    filter.close()


def test_results(base, linked):
    left, _ = linked
    results = []
    calls = []

    def answer(source, target, limit, mode):
        calls.append((len(source), mode))
        result = results.pop(0) if results else BEV_NEED_MORE
        if result == BEV_OK:
            target.add(source.remove(1))
        return result

    filter = FilterBufferEvent(left, None, answer)
    results[:] = [BEV_NEED_MORE]
    filter.write(b"ab")
    assert calls == [(2, BEV_NORMAL)]
    # As long as it is well and there is more.
    calls.clear()
    results[:] = [BEV_OK, BEV_OK, BEV_OK, BEV_OK]
    filter.write(b"c")
    assert [n for n, _ in calls] == [3, 2, 1]
    calls.clear()
    results[:] = [BEV_ERROR]
    filter.write(b"de")
    assert calls == [(2, BEV_NORMAL)]
    assert bytes(filter.output) == b"de"
    # A function without a result has waited for more if it has added nothing.
    results[:] = [None]
    filter.write(b"f")
    assert bytes(filter.output) == b"def"
    # It can be asked even for nothing.
    filter.output  # noqa: B018
    calls.clear()
    filter.flush(WRITE, BEV_FLUSH)
    assert calls == [(3, BEV_FLUSH)]
    filter.close()


def test_not_entered_a_second_time(base, linked):
    left, right = linked
    depth = []

    def output(source, target, limit, mode):
        depth.append("in")
        assert depth.count("in") == depth.count("out") + 1
        target.add(source.remove())
        if len(depth) < 4:
            filter.write(b"more")
        depth.append("out")

    filter = FilterBufferEvent(left, None, output)
    filter.write(b"some")
    right.enable(READ)
    turn(base)
    assert right.read() == b"somemoremore"
    filter.close()


def test_exceptions(method, pair):
    with EventBase(method) as base:
        raised = []
        base.set_exception_handler(lambda error, callback: raised.append((callback, str(error))))
        bev = SocketBufferEvent(base, pair[0])

        def fails(source, target, limit, mode):
            raise RuntimeError("no")

        def nonsense(source, target, limit, mode):
            return 7

        filter = FilterBufferEvent(bev, None, fails)
        filter.write(b"x")
        assert raised == [(fails, "no")]
        assert bytes(filter.output) == b"x"
        filter.close()
        left, _ = bufferevent_pair(base)
        filter = FilterBufferEvent(left, None, nonsense)
        filter.write(b"x")
        assert raised[1][0] is nonsense
        assert "7" in raised[1][1]
        filter.close()


def test_timeouts(base, linked):
    left, right = linked
    events = []
    filter = FilterBufferEvent(right, event=lambda bev, what: events.append(what))
    filter.set_timeouts(read=0.05)
    filter.enable(READ)
    base.loopexit(0.2)
    base.dispatch()
    assert events == [BEV_EVENT_READING | BEV_EVENT_TIMEOUT]
    filter.close()
    hungry = FilterBufferEvent(
        left,
        None,
        lambda source, target, limit, mode: BEV_NEED_MORE,
        event=lambda bev, what: events.append(what),
    )
    hungry.set_timeouts(write=0.05)
    hungry.write(b"x")
    base.loopexit(0.2)
    base.dispatch()
    assert events[1:] == [BEV_EVENT_WRITING | BEV_EVENT_TIMEOUT]
    hungry.close()


def test_close_on_free(base, linked):
    left, right = linked
    filter = FilterBufferEvent(right, shifted(1), close_on_free=False)
    got = []
    filter.close()
    assert not right.closed
    right.set_callbacks(read=lambda bev: got.append(bev.read()))
    right.enable(READ)
    left.write(b"abc")
    turn(base)
    assert got == [b"abc"]


def test_callbacks_come_back(base, linked):
    left, right = linked
    got = []
    right.set_callbacks(read=lambda bev: got.append(bev.read()))
    right.enable(READ)
    filter = FilterBufferEvent(right, close_on_free=False)
    with pytest.raises(ValueError, match="filter"):
        right.set_callbacks(read=print)
    with pytest.raises(ValueError, match="filter"):
        FilterBufferEvent(right)
    filter.close()
    left.write(b"abc")
    turn(base)
    assert got == [b"abc"]


@pytest.mark.parametrize("where", ["input", "output", "read", "underlying first"])
def test_closing_within(base, linked, where):
    left, right = linked
    closed = []

    def close(*arguments):
        if where == "underlying first":
            right.close()
        filter.close()
        closed.append(True)

    filters = {"input": close, "output": None, "read": None, "underlying first": close}
    filter = FilterBufferEvent(right, filters[where], close if where == "output" else None)
    if where == "read":
        filter.set_callbacks(read=close)
    filter.enable(READ)
    if where == "output":
        filter.write(b"x")
    else:
        left.write(b"x")
    turn(base)
    assert closed == [True]
    assert right.closed and filter.closed


def test_dropped_while_it_filters(base, pair):
    """Closed by its write callback with more to filter, and without another reference."""
    calls = []

    def output(source, target, limit, mode):
        calls.append(len(source))
        target.add(source.remove(1))

    def written(bev):
        bev.write(b"more that nobody will see")
        bev.close()

    filter = FilterBufferEvent(SocketBufferEvent(base, pair[0]), None, output)
    filter.set_callbacks(write=written)
    filter.write(b"x")
    del filter
    gc.collect()
    turn(base)
    assert calls == [1]
    assert pair[1].recv(10) in (b"x", b"")
    assert pair[1].recv(10) == b""


def test_without_references(base, pair):
    """Kept while it reads; it keeps the one below."""
    filter = FilterBufferEvent(SocketBufferEvent(base, pair[0]), shifted(1))
    got = []
    filter.set_callbacks(read=lambda bev: got.append(bev.read()))
    filter.enable(READ)
    gone = weakref.ref(filter)
    del filter
    gc.collect()
    pair[1].send(b"abc")
    base.loop(EVLOOP_ONCE)
    assert got == [b"bcd"]
    pair[1].shutdown(socket.SHUT_WR)
    turn(base)
    gc.collect()
    assert gone() is None
    assert pair[1].recv(1) == b""


def test_bytes_still_below_keep_it(base, pair):
    filter = FilterBufferEvent(SocketBufferEvent(base, pair[0]), None, shifted(1))
    filter.write(b"abc")
    assert not filter.output
    filter.disable(READ)
    gone = weakref.ref(filter)
    del filter
    gc.collect()
    assert gone() is not None
    turn(base)
    assert pair[1].recv(10) == b"bcd"


def test_bad_arguments(base, pair):
    bev = SocketBufferEvent(base, pair[0])
    with pytest.raises(TypeError, match="underlying"):
        FilterBufferEvent(None)
    for name in ("input", "output", "read", "write", "event"):
        with pytest.raises(TypeError, match=name):
            FilterBufferEvent(bev, **{name: 1})
    with pytest.raises(ValueError, match="options"):
        FilterBufferEvent(bev, options=BEV_OPT_UNLOCK_CALLBACKS)
    filter = FilterBufferEvent(bev)
    with pytest.raises(RuntimeError):
        filter.__init__(bev)
    filter.close()
    filter.close()
    for use in (lambda: filter.write(b""), lambda: filter.input, lambda: filter.enable(READ)):
        with pytest.raises(ValueError):
            use()
    with pytest.raises(ValueError):
        FilterBufferEvent(bev)
