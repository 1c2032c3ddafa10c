"""Token buckets and groups, as Python has them. What they do to the byte is tested below the line."""

import datetime
import gc
import weakref

import clock
import pytest

from cyevent import (
    BEV_OPT_THREADSAFE,
    EV_RATE_LIMIT_MAX,
    EVLOOP_NONBLOCK,
    READ,
    EventBase,
    RateLimitGroup,
    SocketBufferEvent,
    TokenBucket,
    bufferevent_pair,
)

MINUTE = 60.0


@pytest.fixture(params=[0, BEV_OPT_THREADSAFE], ids=["plain", "lock"])
def linked(base, pair, request):
    left, right = (SocketBufferEvent(base, sock, request.param) for sock in pair)
    yield left, right
    left.close()
    right.close()


def run(base, seconds):
    base.loopexit(seconds)
    base.dispatch()


def test_bucket():
    bucket = TokenBucket(10, 20, 30, 40, tick=0.25)
    assert (bucket.read_rate, bucket.read_burst, bucket.write_rate, bucket.write_burst) == (
        10,
        20,
        30,
        40,
    )
    assert bucket.tick == 0.25
    assert repr(bucket) == "TokenBucket(10, 20, 30, 40, tick=0.25)"
    assert TokenBucket(10).read_burst == 10
    assert TokenBucket(10).write_rate == TokenBucket(10).write_burst == EV_RATE_LIMIT_MAX
    assert TokenBucket(write_rate=5).read_rate == EV_RATE_LIMIT_MAX
    assert TokenBucket(1, tick=datetime.timedelta(milliseconds=20)).tick == 0.02


@pytest.mark.parametrize(
    "arguments, error, name",
    [
        ({"read_rate": 0}, ValueError, "read_rate"),
        ({"write_rate": -1}, ValueError, "write_rate"),
        ({"read_rate": "1"}, TypeError, "read_rate"),
        ({"read_rate": 2, "read_burst": 1}, ValueError, "read_burst"),
        ({"write_rate": 2, "write_burst": 1}, ValueError, "write_burst"),
        ({"tick": 0}, ValueError, "tick"),
        ({"tick": 0.0009}, ValueError, "tick"),
        ({"tick": -1}, ValueError, "tick"),
        ({"tick": 3e6}, ValueError, "tick"),
        ({"tick": "1"}, TypeError, "tick"),
        ({"tick": None}, ValueError, "tick"),
    ],
)
def test_bad_buckets(arguments, error, name):
    with pytest.raises(error, match=name):
        TokenBucket(**arguments)


def test_reading_and_writing(base, linked):
    left, right = linked
    got = []
    right.set_callbacks(read=lambda bev: got.append(bev.read()))
    right.set_rate_limit(TokenBucket(100, tick=MINUTE))
    right.enable(READ)
    left.write(bytes(1000))
    run(base, 0.05)
    assert got == [bytes(100)]
    assert right.read_limit == right.max_to_read == 0
    assert right.write_limit == EV_RATE_LIMIT_MAX
    right.decrement_read_limit(-50)
    run(base, 0.05)
    assert got == [bytes(100), bytes(50)]
    right.set_rate_limit(None)
    assert right.rate_limit is None
    run(base, 0.05)
    assert sum(map(len, got)) == 1000
    left.set_rate_limit(TokenBucket(write_rate=10, tick=MINUTE))
    left.decrement_write_limit(4)
    assert left.write_limit == left.max_to_write == 6
    got.clear()
    left.write(bytes(100))
    run(base, 0.05)
    assert got == [bytes(6)]
    assert len(left.output) == 94


def test_rate(base, linked):
    """As many bytes as ticks have begun."""
    left, right = linked
    got = []
    right.set_callbacks(read=lambda bev: got.append(len(bev.read())))
    left.write(bytes(1_000_000))
    start = clock.monotonic()
    right.set_rate_limit(TokenBucket(5000, tick=0.05))
    right.enable(READ)
    run(base, 0.5)
    ticks = (clock.monotonic() - start) // 0.05
    assert 25_000 <= sum(got) <= 5000 * (1 + ticks)
    assert sum(got) % 5000 == 0


def test_the_bucket_is_held(base, linked):
    _, right = linked
    bucket = TokenBucket(10, tick=MINUTE)
    right.set_rate_limit(bucket)
    assert right.rate_limit is bucket
    del bucket
    gc.collect()
    assert right.rate_limit.read_rate == 10
    assert right.read_limit == 10
    with pytest.raises(TypeError, match="limit"):
        right.set_rate_limit(5)
    right.close()
    with pytest.raises(ValueError):
        right.set_rate_limit(None)


def test_without_a_limit(base, linked):
    left, _ = linked
    assert left.read_limit == left.write_limit == EV_RATE_LIMIT_MAX
    assert left.max_to_read == left.max_to_write == 16384
    with pytest.raises(ValueError, match="no rate limit"):
        left.decrement_read_limit(1)
    with pytest.raises(ValueError, match="no rate limit"):
        left.decrement_write_limit(1)


def test_group(base, linked):
    left, right = linked
    got = []
    right.set_callbacks(read=lambda bev: got.append(len(bev.read())))
    group = RateLimitGroup(base, TokenBucket(1000, tick=MINUTE))
    assert len(group) == 0 and group
    group.add(right)
    group.add(left)
    assert len(group) == 2
    assert right in group and right.rate_limit_group is group
    assert group.min_share == 64
    right.enable(READ)
    left.write(bytes(10_000))
    run(base, 0.05)
    # The idle one's part, too.
    assert 1000 <= sum(got) < 1064
    assert group.totals == (sum(got), 10_000)
    assert group.read_limit == 1000 - sum(got)
    group.reset_totals()
    assert group.totals == (0, 0)
    group.decrement_read_limit(-500)
    run(base, 0.05)
    assert group.totals[0] >= 450
    group.limit = TokenBucket(1000, tick=0.02)
    run(base, 0.2)
    assert sum(got) >= 4000
    group.remove(right)
    assert right not in group and right.rate_limit_group is None
    run(base, 0.05)
    assert sum(got) == 10_000
    with pytest.raises(ValueError, match="member"):
        group.remove(right)
    left.close()
    assert len(group) == 0


def test_a_member_changes_groups(base, linked):
    left, _ = linked
    one = RateLimitGroup(base, TokenBucket(100, tick=MINUTE))
    two = RateLimitGroup(base, TokenBucket(write_rate=7, tick=MINUTE))
    one.add(left)
    two.add(left)
    assert (len(one), len(two)) == (0, 1)
    assert left.max_to_write == 7
    two.min_share = 0
    assert two.min_share == 0
    assert two.write_limit == 7
    two.decrement_write_limit(3)
    assert two.write_limit == 4
    assert "1" in repr(two)


def test_members_hold_the_group(base, linked):
    left, right = linked
    group = RateLimitGroup(base, TokenBucket(100, tick=MINUTE))
    group.add(left)
    gone = weakref.ref(group)
    del group
    gc.collect()
    assert gone() is not None
    left.close()
    gc.collect()
    assert gone() is None


def test_cycles_are_collected(method, pair):
    """Group, members and base at once, in whatever order."""
    base = EventBase(method)
    group = RateLimitGroup(base, TokenBucket(10, tick=0.01))
    members = [SocketBufferEvent(base, sock) for sock in pair]
    for bev in members:
        group.add(bev)
        bev.set_rate_limit(TokenBucket(5, tick=0.01))
        bev.enable(READ)
        bev.write(bytes(100))
    base.loop(EVLOOP_NONBLOCK)
    gone = [weakref.ref(thing) for thing in (base, group, *members)]
    del base, group, members, bev
    gc.collect()
    assert [ref() for ref in gone] == [None] * 4


def test_not_initialized():
    group = RateLimitGroup.__new__(RateLimitGroup)
    for use in (lambda: len(group), lambda: group.totals, lambda: group.min_share):
        with pytest.raises(ValueError, match="initialized"):
            use()


def test_bad_arguments(base, linked):
    left, _ = linked
    bucket = TokenBucket(100)
    with pytest.raises(TypeError):
        RateLimitGroup(None, bucket)
    with pytest.raises(TypeError):
        RateLimitGroup(base, None)
    group = RateLimitGroup(base, bucket)
    with pytest.raises(RuntimeError):
        group.__init__(base, bucket)
    with pytest.raises(TypeError):
        group.add(None)
    with pytest.raises(ValueError, match="min_share"):
        group.min_share = -1
    left.close()
    with pytest.raises(ValueError):
        group.add(left)
    with pytest.raises(ValueError):
        group.remove(left)


def test_closed_base(method, pair):
    base = EventBase(method)
    bev = SocketBufferEvent(base, pair[0])
    group = RateLimitGroup(base, TokenBucket(100, tick=0.01))
    group.add(bev)
    bev.set_rate_limit(TokenBucket(10, tick=0.01))
    bev.enable(READ)
    pair[1].send(bytes(1000))
    base.loop(EVLOOP_NONBLOCK)
    base.close()
    del group
    bev.close()
    with pytest.raises(ValueError):
        RateLimitGroup(base, TokenBucket(1))


def test_pairs_are_not_limited(base):
    left, right = bufferevent_pair(base)
    right.set_rate_limit(TokenBucket(1, tick=MINUTE))
    right.enable(READ)
    left.write(bytes(100))
    assert len(right.input) == 100
    left.close()
    right.close()
