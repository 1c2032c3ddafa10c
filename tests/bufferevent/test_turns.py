"""How much a socket bufferevent does in one turn of the loop."""

import fds
import pytest

from cyevent import EVLOOP_NONBLOCK, EVLOOP_ONCE, READ, WRITE, SocketBufferEvent, TokenBucket


def test_no_write_event_while_the_socket_takes_everything(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, left)
    bev.enable(READ)
    base.loop(EVLOOP_NONBLOCK)
    before = base.num_events()
    bev.write(b"x")
    base.loop(EVLOOP_NONBLOCK)
    assert right.recv(10) == b"x"
    assert base.num_events() == before
    bev.write(b"x" * 5_000_000)
    base.loop(EVLOOP_NONBLOCK)
    assert 0 < len(bev.output) < 5_000_000
    assert base.num_events() == before + 1
    bev.close()


def test_many_writes_leave_together(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, left)
    for i in range(50):
        bev.write(b"%02d" % i)
    assert len(bev.output) == 100
    with pytest.raises(BlockingIOError):
        right.recv(1)
    base.loop(EVLOOP_NONBLOCK)
    assert right.recv(1000) == b"".join(b"%02d" % i for i in range(50))
    bev.close()


def test_write_callback_that_always_writes(base, pair):
    """It does not keep the loop from others."""
    left, right = pair
    ticks = []

    def drain():
        try:
            ticks.append(len(right.recv(10_000_000)))
        except BlockingIOError:
            # A connection takes its time; and where the loop begins late, the timer is due before the first
            # byte has left.
            assert fds.WINDOWS or not ticks
        if len(ticks) == 20:
            base.loopbreak()

    from cyevent import Timer

    timer = Timer(base, drain, persist=True)
    timer.add(0.001)
    bev = SocketBufferEvent(base, left, write=lambda bev: bev.write(b"x"))
    bev.enable(WRITE)
    base.dispatch()
    assert all(ticks)
    bev.close()


@pytest.fixture
def full(base, pair):
    """A bufferevent whose socket has 200 000 bytes to read, and the lengths that its reads bring."""
    left, right = pair
    sizes = []
    bev = SocketBufferEvent(base, left, read=lambda bev: sizes.append(len(bev.read())))
    right.setblocking(False)
    sent = 0
    while sent < 200_000:
        try:
            sent += right.send(b"x" * (200_000 - sent))
        except BlockingIOError:
            break
    assert sent > 50_000
    yield bev, sizes, sent
    bev.close()


def test_reading_goes_on_while_reads_are_full(base, full):
    bev, sizes, sent = full
    bev.enable(READ)
    base.loop(EVLOOP_ONCE)
    assert len(sizes) == 4, "the bound, for the sake of others"
    assert sizes[0] < sizes[1] < sizes[2] < sizes[3], "each was full, and so the next offers more"
    while sum(sizes) < sent:
        base.loop(EVLOOP_ONCE)
    assert sum(sizes) == sent


def test_a_read_that_is_not_full_is_the_last(base, pair):
    left, right = pair
    sizes = []

    def refill(bev):
        sizes.append(len(bev.read()))
        right.send(b"y" * 10)

    bev = SocketBufferEvent(base, left, read=refill)
    right.send(b"x" * 10)
    bev.enable(READ)
    base.loop(EVLOOP_ONCE)
    assert sizes == [10]
    bev.close()


@pytest.mark.parametrize("stop", ["disable", "close", "replace"])
def test_reading_ends_where_the_callback_ends_it(base, full, stop):
    bev, sizes, _ = full

    def read(bev):
        sizes.append(len(bev.read()))
        if stop == "disable":
            bev.disable(READ)
        elif stop == "close":
            bev.close()
        else:
            bev.replace_fd(-1)

    bev.set_callbacks(read=read)
    bev.enable(READ)
    base.loop(EVLOOP_NONBLOCK)
    assert len(sizes) == 1


def test_limits_are_for_a_turn(base, full):
    """What the user limits is not read several times in a turn."""
    bev, sizes, _ = full
    bev.max_single_read = 1000
    bev.enable(READ)
    base.loop(EVLOOP_ONCE)
    assert sizes == [1000]
    bev.max_single_read = 0
    bev.set_rate_limit(TokenBucket(5000, 5000, 5000, 5000))
    base.loop(EVLOOP_ONCE)
    assert len(sizes) == 2
    assert sizes[1] <= 5000


def test_high_watermark_bounds_what_a_turn_reads(base, full):
    bev, _, _ = full
    bev.set_callbacks()
    bev.set_watermark(READ, 0, 3000)
    bev.enable(READ)
    base.loop(EVLOOP_NONBLOCK)
    assert len(bev.input) == 3000
