"""With-statements: reserved space and frozen ends."""

import gc
import os
import weakref

import pytest

from cyevent import EvBuffer, SocketBufferEvent


def test_the_block_commits_all(make):
    buf = make(b"abc")
    with buf.reserve(4) as vectors:
        assert sum(map(len, vectors)) == 4
        assert not vectors[0].readonly
        vectors[0][:] = b"defg"
        assert bytes(buf) == b"abc"
    assert bytes(buf) == b"abcdefg"


@pytest.mark.parametrize("used", [0, 1, 7, 1000, 1024, 1025, 20_000])
@pytest.mark.parametrize("before", [0, 1, 3000])
def test_commit_of_fewer(make, used, before):
    buf = make(b"-" * before)
    data = os.urandom(used)
    with buf.reserve(20_000) as vectors:
        vectors[0][:used] = data
        buf.commit(used)
        assert bytes(buf) == b"-" * before + data
    buf.add(b"!")
    assert bytes(buf) == b"-" * before + data + b"!"


def test_an_exception_commits_nothing(make):
    buf = make(b"abc")
    calls = []
    buf.add_callback(lambda *_: calls.append(1))
    with pytest.raises(ZeroDivisionError):
        with buf.reserve(10) as vectors:
            vectors[0][:3] = b"xyz"
            _ = 1 / 0
    assert bytes(buf) == b"abc" and not calls
    with pytest.raises(RuntimeError, match="no space is reserved"):
        buf.commit(1)


def test_an_exception_after_commit_leaves_what_was_committed(make):
    buf = make()
    with pytest.raises(ZeroDivisionError):
        with buf.reserve(10) as vectors:
            vectors[0][:3] = b"xyz"
            buf.commit(3)
            _ = 1 / 0
    assert bytes(buf) == b"xyz"


def test_without_with(make):
    buf = make()
    space = buf.reserve(5)
    assert len(space) == 1
    space[0][:] = b"hello"
    space.commit(4)
    assert bytes(buf) == b"hell"
    for attempt in (space.commit, lambda: space.commit(0), lambda: buf.commit(1)):
        with pytest.raises(RuntimeError):
            attempt()
    with pytest.raises(TypeError, match=r"EvBuffer\.reserve"):
        type(space)()


def test_reserving_nothing(make):
    buf = make(b"a")
    with buf.reserve(0) as vectors:
        assert vectors == []
    with buf.reserve(0):
        buf.commit(0)
    assert bytes(buf) == b"a"


def test_the_views_end_with_the_commit(make):
    buf = make()
    with buf.reserve(2000) as (view,):
        view[:] = b"x" * 2000
        buf.commit(2000)
        with pytest.raises(ValueError, match="released"):
            view[0] = 1
    assert bytes(buf) == b"x" * 2000


@pytest.mark.parametrize("keep", [lambda view: view[10:20], lambda view: memoryview(view)])
def test_a_view_that_was_kept_cannot_change_the_buffer(make, keep):
    """A slice lives on when the view it was made of is released: the bytes are copied then."""
    buf = make()
    with buf.reserve(2000) as (view,):
        view[:] = b"x" * 2000
        kept = keep(view)
    kept[0] = ord("!")
    assert bytes(buf) == b"x" * 2000
    assert kept[0] == ord("!")


def test_what_views_look_at_is_no_way_in(make):
    buf = make()
    with buf.reserve(2000) as (view,):
        view[:] = b"x" * 2000
        looked_at = view.obj
    late = memoryview(looked_at)
    assert late.readonly
    assert bytes(buf) == b"x" * 2000 == late


def test_a_kept_export_survives(make):
    """Something that cannot let go of the view is no obstacle to the commit."""
    buf = make()
    with buf.reserve(10) as (view,):
        view[:] = b"0123456789"
        lent = make()
        lent.add_reference(view)
    assert bytes(buf) == b"0123456789" == bytes(lent)


@pytest.mark.parametrize("n", [10, 3000])
def test_the_buffer_may_change_meanwhile(make, n):
    """Whatever is done in the block, nothing is overwritten, and the bytes come last."""
    buf, other = make(b"first "), make()
    with buf.reserve(n) as (view,):
        buf.add(b"second ")
        view[:] = b"v" * n
        buf.prepend(b"zeroth ")
        buf.add(b"third ")
        assert bytes(buf) == b"zeroth first second third "
    assert bytes(buf) == b"zeroth first second third " + b"v" * n
    with buf.reserve(n) as (view,):
        view[:] = b"w" * n
        buf.move_to(other)
        buf.expand(5000)
    assert bytes(buf) == b"w" * n
    with buf.reserve(n) as (view,):
        view[:] = b"u" * n
        buf.drain()
        buf.pullup()
    assert bytes(buf) == b"u" * n


def test_two_reservations_at_once(make):
    buf = make()
    with buf.reserve(3000) as (one,):
        with buf.reserve(2000) as (two,):
            one[:] = b"1" * 3000
            two[:] = b"2" * 2000
        assert bytes(buf) == b"2" * 2000
    assert bytes(buf) == b"2" * 2000 + b"1" * 3000


def test_commit_of_more_than_reserved(make):
    buf = make()
    with buf.reserve(10) as (view,):
        view[:3] = b"abc"
        with pytest.raises(ValueError, match="n must be at most the space reserved, 10, not 11"):
            buf.commit(11)
        with pytest.raises(ValueError, match="n must"):
            buf.commit(-1)
        buf.commit(3)
    assert bytes(buf) == b"abc"


def test_a_frozen_end_refuses_reservations_and_commits(make):
    buf = make(b"a")
    with buf.frozen(front=False):
        with pytest.raises(BufferError, match="end of the buffer is frozen"):
            buf.reserve(1)
    with buf.reserve(3) as (view,):
        view[:] = b"bcd"
        with buf.frozen(front=False):
            with pytest.raises(BufferError, match="end of the buffer is frozen"):
                buf.commit(3)
    assert bytes(buf) == b"abcd"
    with pytest.raises(BufferError, match="end of the buffer is frozen"):
        with buf.reserve(3) as (view,):
            buf.freeze(front=False)
    assert bytes(buf) == b"abcd"
    buf.unfreeze(front=False)


def test_too_much_is_a_memory_error(make):
    buf = make(b"a")
    for n in (2**62, 2**63 - 1):
        with pytest.raises(MemoryError):
            buf.reserve(n)
    with pytest.raises(ValueError, match="n must"):
        buf.reserve(2**63)
    assert bytes(buf) == b"a"


def test_callbacks_hear_of_the_commit_alone(make):
    calls = []
    buf = make(b"abc")
    buf.add_callback(lambda b, *counts: calls.append(counts))
    with buf.reserve(3000) as (view,):
        view[:] = bytes(3000)
        assert calls == []
    assert calls == [(3, 3000, 0)]


def test_a_callback_that_commits_again(make):
    """The commit that is being told of is over."""
    buf = make()
    refused = []

    def again(*_):
        try:
            space.commit()
        except RuntimeError:
            refused.append(1)

    buf.add_callback(again)
    with buf.reserve(3000) as (view,):
        view[:] = bytes(3000)
        space = buf.reserve(2000)
        space[0][:] = bytes(2000)
    assert len(buf) == 5000
    assert refused == [1]


def test_reserved_space_outlives_the_buffer(make):
    buf = make()
    gone = weakref.ref(buf)
    space = buf.reserve(100)
    view = space[0]
    del buf, space
    gc.collect()
    assert gone() is None
    view[:3] = b"abc"
    assert view[:3] == b"abc"


def test_reserved_and_forgotten_is_collected(make):
    buf = make(b"x" * 3000)
    gone = weakref.ref(buf)
    for _ in range(10):
        buf.reserve(100_000)
    buf.remove()
    del buf
    gc.collect()
    assert gone() is None


def test_receiving_into_reserved_space(make, pair):
    left, right = pair
    left.send(b"through the socket")
    buf = make(b"> ")
    with buf.reserve(4096) as (view,):
        buf.commit(right.recv_into(view))
    assert bytes(buf) == b"> through the socket"


# --- frozen ends ----------------------------------------------------------------------------------


def test_frozen_in_a_block(make):
    buf = make(b"abc\n")
    with buf.frozen(front=True) as same:
        assert same is buf
        with pytest.raises(BufferError):
            buf.remove()
        buf.add(b"d")
        with buf.frozen(front=False):
            with pytest.raises(BufferError):
                buf.add(b"x")
        buf.add(b"e")
    assert buf.remove() == b"abc\nde"


def test_frozen_afterwards_is_what_it_was_before(make):
    buf = make(b"abc")
    with pytest.raises(ZeroDivisionError):
        with buf.frozen(front=True):
            _ = 1 / 0
    assert buf.remove(1) == b"a"
    buf.freeze(front=True)
    guard = buf.frozen(front=True)
    with guard, guard:
        pass
    with pytest.raises(BufferError):
        buf.remove()
    buf.unfreeze(front=True)
    with guard:
        with guard:
            pass
        with pytest.raises(BufferError):
            buf.remove()
    assert buf.remove() == b"bc"
    with pytest.raises(TypeError, match=r"EvBuffer\.frozen"):
        type(guard)()


def test_a_bufferevents_frozen_ends_stay_frozen(base, pair):
    bev = SocketBufferEvent(base, pair[0], close_on_free=False)
    with bev.output.frozen(front=True):
        bev.write(b"x")
    with pytest.raises(BufferError, match="front"):
        bev.output.remove()
    bev.close()
    with pytest.raises(ValueError, match="closed"):
        with bev.output.frozen(front=True):
            pass


@pytest.mark.parametrize("n", [5, 5000])
def test_reserving_in_a_bufferevents_output(base, pair, n):
    """The loop writes and reads with the buffer while space in it is reserved."""
    left, right = pair
    bev = SocketBufferEvent(base, left, close_on_free=False)
    with bev.output.reserve(n) as (view,):
        bev.write(b"first ")
        base.loop(1)
        assert right.recv(100) == b"first "
        view[:] = b"r" * n
    base.loop(1)
    assert right.recv(10_000) == b"r" * n
    space = bev.output.reserve(10)
    bev.close()
    with pytest.raises(ValueError, match="closed"):
        space.commit(1)


def test_a_closed_buffer():
    buf = EvBuffer.__new__(EvBuffer)
    for attempt in (lambda: buf.reserve(1), lambda: buf.commit(1), lambda: len(buf)):
        with pytest.raises(ValueError, match="closed"):
            attempt()
