"""Bytes in and out of a buffer."""

import gc
import inspect
import itertools
import os
import random
import sys
import weakref

import pytest

from cyevent import EvBuffer


class Lender(bytearray):
    """Something bytes-like that can tell when it is no longer held."""


def pieces(buf):
    return [bytes(view) for view in buf]


def test_empty(make):
    buf = make()
    assert len(buf) == 0 and not buf
    assert bytes(buf) == b""
    assert buf.remove() == b""
    assert buf.remove(5) == b""
    assert buf.copyout() == b""
    assert buf.peek() == []
    assert list(buf) == []
    assert bytes(buf.pullup()) == b""
    assert buf.readline() is None
    assert buf.search(b"x") == -1
    assert buf.search_eol() is None
    buf.drain()
    buf.drain(100)
    buf.add(b"")
    buf.prepend(b"")
    buf.add_reference(b"")
    assert len(buf) == 0


def test_add_and_remove(make):
    buf = make(b"abc")
    buf.add(bytearray(b"def"))
    buf.add(memoryview(b"ghi"))
    assert len(buf) == 9 and buf
    assert buf.remove(4) == b"abcd"
    assert bytes(buf) == b"efghi"
    assert buf.copyout(2) == b"ef"
    assert buf.copyout(3, 1) == b"fgh"
    assert buf.copyout(100, 5) == b""
    buf.drain(1)
    assert buf.remove(100) == b"fghi"
    assert not buf


@pytest.mark.parametrize("step", [1, 16, 700, 1000, 4096, 70_000])
def test_order_is_kept(make, step):
    data = random.Random(1).randbytes(200_000 if step > 16 else 20_000)
    buf = make()
    for at in range(0, len(data), step):
        buf.add(data[at : at + step])
    assert len(buf) == len(data)
    out = []
    for size in itertools.cycle((1, 17, 1000, 4095)):
        out.append(buf.remove(size))
        if not out[-1]:
            break
    assert b"".join(out) == data


def test_iterative(make):
    """Adding a little and removing a little less, many times."""
    buf = make()
    model = bytearray()
    for i in range(1000):
        text = b"Hello. This is message %d.\n" % i
        buf.add(text)
        model += text
        if i % 3:
            assert buf.remove(20) == model[:20]
            del model[:20]
    assert bytes(buf) == model


def test_prepend(make):
    buf = make()
    buf.prepend(b"This string has 29 characters")
    buf.prepend(b"Short.")
    assert bytes(buf) == b"Short.This string has 29 characters"
    buf.drain(6 + 11)
    buf.prepend(b"it")
    assert bytes(buf) == b"it has 29 characters"
    buf.prepend(b"It is no longer true to say ")
    assert buf.remove() == b"It is no longer true to say it has 29 characters"
    big = bytes(range(256)) * 40
    buf.add(b"xyz")
    buf.prepend(big)
    assert buf.remove() == big + b"xyz"


def test_prepend_before_reserved_space(make):
    buf = make()
    buf.expand(2000)
    buf.prepend(b"b" * 3000)
    buf.add(b"c")
    buf.prepend(b"a")
    assert bytes(buf) == b"a" + b"b" * 3000 + b"c"


def test_references(make):
    lender = Lender(b"a longer text that is lent")
    gone = weakref.ref(lender)
    buf = make(b"first ")
    buf.add_reference(lender)
    buf.add(b" last")
    with pytest.raises(BufferError):
        lender.append(1)
    del lender
    gc.collect()
    assert gone() is not None
    assert buf.remove(10) == b"first a lo"
    buf.prepend(b"no lo")
    assert bytes(buf) == b"no longer text that is lent last"
    buf.drain(27)
    gc.collect()
    assert gone() is None
    assert bytes(buf) == b" last"


def test_reference_with_offset(make):
    lender = Lender(b"0123456789")
    buf = make()
    buf.add_reference(lender, 3)
    buf.add_reference(lender, 2, 4)
    buf.add_reference(lender, 10)
    buf.add_reference(lender, 0, 0)
    assert bytes(buf) == b"34567892345"
    buf.drain()
    lender.append(1)


def test_reference_is_released_with_the_buffer(make):
    lender = Lender(b"x" * 100)
    buf = make()
    buf.add_reference(lender)
    other = make()
    buf.move_to(other, 50)
    buf.move_to(other)
    del buf
    with pytest.raises(BufferError):
        lender.append(1)
    del other
    lender.append(1)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((5,), "offset"),
        ((-1,), "offset"),
        ((0, 5), "length"),
        ((3, 2), "length"),
        ((0, -2), "length"),
    ],
)
def test_reference_outside_the_object(make, arguments, name):
    lender = Lender(b"1234")
    buf = make(b"before")
    with pytest.raises(ValueError, match=name):
        buf.add_reference(lender, *arguments)
    lender.append(1)
    assert bytes(buf) == b"before"


def test_empty_reference_is_released_at_once(make):
    lender = Lender(b"")
    buf = make()
    buf.add_reference(lender)
    lender.append(1)
    buf.prepend(b"foo")
    assert bytes(buf) == b"foo"


def test_add_buffer(make):
    one, two = make(b"one"), make(b"two")
    one.add_buffer(two)
    assert bytes(one) == b"onetwo" and not two
    two.add(b"again")
    one.add_buffer(two)
    assert bytes(one) == b"onetwoagain"
    one.add_buffer(two)
    one.add_buffer(one)
    assert bytes(one) == b"onetwoagain"


def test_prepend_buffer(make):
    one, two = make(b"one"), make(b"two")
    one.prepend_buffer(two)
    assert bytes(one) == b"twoone" and not two
    one.add(b".")
    empty = make()
    empty.prepend_buffer(one)
    empty.prepend_buffer(make())
    empty.add(b"!")
    assert bytes(empty) == b"twoone.!" and not one


@pytest.mark.parametrize("n", [0, 1, 5, 1000, 4000, 5003, 9999, 10_000, 20_000])
def test_move_to(make, n):
    data = random.Random(2).randbytes(10_000)
    source, target = make(data[:1000]), make(b"there: ")
    source.add_reference(data[1000:5000])
    source.add(data[5000:])
    assert source.move_to(target, n) == min(n, 10_000)
    target.add(b"<")
    source.add(b">")
    assert bytes(target) == b"there: " + data[:n] + b"<"
    assert bytes(source) == data[n:] + b">"


@pytest.mark.parametrize("reserve_in", ["source", "target", "both"])
def test_moving_with_reserved_space(make, reserve_in):
    """Empty chains at the end of either buffer do not come between the bytes."""
    source, target = make(b"hello"), make()
    if reserve_in != "target":
        source.expand(4000)
    if reserve_in != "source":
        target.expand(4000)
    target.add_buffer(source)
    target.add(b" world")
    source.add(b"!")
    assert source.move_to(target) == 1
    target.expand(10_000)
    source.add_buffer(target)
    source.add(b"?")
    assert bytes(source) == b"hello world!?"
    assert source.move_to(target, 3) == 3
    target.add(b"p")
    assert bytes(target) == b"help"


def test_buffer_reference(make):
    source = make(b"If you have found the answer to such a problem")
    source.add(b", ")
    source.add(b"you ought to write it up for publication")
    copy = make()
    copy.add_buffer_reference(source)
    whole = bytes(source)
    assert bytes(copy) == whole
    with pytest.raises(ValueError, match="other"):
        copy.add_buffer_reference(copy)
    with pytest.raises(ValueError, match="other"):
        source.add_buffer_reference(copy)
    for buf in (source, copy):
        assert buf.remove(6) == b"If you"
        assert buf.remove(5) == b" have"
        buf.prepend(b"I have ")
    source.add(b"; a source goes on")
    assert bytes(copy) == b"I have " + whole[11:]
    assert bytes(source) == b"I have " + whole[11:] + b"; a source goes on"
    del source
    assert bytes(copy) == b"I have " + whole[11:]
    copy.add(b".")
    assert bytes(copy)[-13:] == b" publication."


def test_buffer_reference_to_many(make):
    message = make(b"x" * 5000)
    message.add(b"y")
    receivers = [make(b"%d: " % i) for i in range(50)]
    for receiver in receivers:
        receiver.add_buffer_reference(message)
        receiver.add(b"!")
    message.drain()
    message.add(b"another one")
    for i, receiver in enumerate(receivers):
        assert receiver.remove() == b"%d: " % i + b"x" * 5000 + b"y!"


def test_reference_of_lent_bytes(make):
    lender = Lender(b"payload")
    source, copy = make(), make()
    source.add_reference(lender)
    copy.add_buffer_reference(source)
    del source
    with pytest.raises(BufferError):
        lender.append(1)
    assert copy.remove() == b"payload"
    lender.append(1)


def test_buffer_reference_of_nothing(make):
    buf = make(b"abc")
    buf.add_buffer_reference(make())
    assert bytes(buf) == b"abc"


def test_expand(make):
    buf = make(b"x")
    for n in (0, 1, 1000, 100_000):
        buf.expand(n)
    buf.add(b"y" * 100_000)
    assert bytes(buf) == b"x" + b"y" * 100_000
    with pytest.raises(MemoryError):
        buf.expand(2**63 - 1)
    assert len(buf) == 100_001


def test_pullup(make):
    data = bytes(i % 251 for i in range(10_000))
    buf = make()
    for at in range(0, len(data), 700):
        buf.add(data[at : at + 700])
    for n in (1, 700, 701, 2500, 9999):
        assert bytes(buf.pullup(n)) == data[:n]
        assert buf.contiguous >= n
        assert bytes(buf) == data
    assert bytes(buf.pullup()) == data
    assert buf.chains == 1
    buf.add(b"more")
    assert bytes(buf) == data + b"more"
    with pytest.raises(ValueError, match="n must"):
        buf.pullup(len(buf) + 1)


def test_pullup_up_to_a_border(make):
    buf = make()
    for text in (b"aaa", b"bbb", b"ccc"):
        buf.add_reference(text)
    assert bytes(buf.pullup(6)) == b"aaabbb"
    buf.add(b"d")
    assert bytes(buf) == b"aaabbbcccd"
    assert bytes(buf.pullup(8)) == b"aaabbbcc"
    buf.expand(5000)
    assert bytes(buf.pullup(10)) == b"aaabbbcccd"
    buf.add(b"e")
    assert buf.remove() == b"aaabbbcccde"


def test_pullup_leaves_lent_bytes_alone(make):
    lender = Lender(b"abc")
    buf = make()
    buf.add_reference(lender)
    buf.add(b"def")
    buf.pullup()
    assert lender == b"abc"
    lender.append(1)


def test_peek(make):
    buf = make()
    for text in (b"Contents of chunk [0]\n", b"Contents of chunk [1]\n", b"end"):
        buf.add_reference(text)
    assert pieces(buf) == [b"Contents of chunk [0]\n", b"Contents of chunk [1]\n", b"end"]
    assert [bytes(view) for view in buf.peek(3)] == [b"Con"]
    assert [bytes(view) for view in buf.peek(10, 20)] == [b"]\n", b"Contents"]
    assert [bytes(view) for view in buf.peek(-1, 44)] == [b"end"]
    assert buf.peek(0) == [] and buf.peek(5, 47) == []
    buf.expand(9000)
    assert len(buf.peek()) == 3
    assert all(view.readonly for view in buf)


def test_views_outlive_everything(make):
    buf = make(b"abc" * 100)
    views = buf.peek()
    buf.drain(10)
    buf.prepend(b"0123456789012345678901234567890")
    buf.add(b"more")
    buf.pullup()
    buf.drain()
    buf.add(b"z" * 2000)
    assert b"".join(views) == b"abc" * 100
    del buf
    gc.collect()
    assert b"".join(views) == b"abc" * 100


def test_view_holds_what_was_lent(make):
    lender = Lender(b"lent")
    buf = make()
    buf.add_reference(lender)
    view = buf.pullup()
    buf.drain()
    with pytest.raises(BufferError):
        lender.append(1)
    assert view == b"lent"
    view.release()
    gc.collect()
    lender.append(1)


def test_readinto(make):
    buf = make(b"abcdefgh")
    target = bytearray(5)
    assert buf.readinto(target) == 5 and target == b"abcde"
    assert buf.readinto(target) == 3 and target == b"fghde"
    assert buf.readinto(target) == 0


def test_frozen_end(make):
    buf = make(b"ab")
    buf.freeze(front=False)
    for attempt in (
        lambda: buf.add(b"x"),
        lambda: buf.add_reference(b"x"),
        lambda: buf.add_buffer(make(b"x")),
        lambda: buf.add_buffer_reference(make(b"x")),
        lambda: buf.reserve(10),
        lambda: make(b"x").move_to(buf),
    ):
        with pytest.raises(BufferError, match="end of the buffer is frozen"):
            attempt()
    buf.prepend(b"_")
    assert buf.remove() == b"_ab"
    buf.unfreeze(front=False)
    buf.add(b"c")
    assert bytes(buf) == b"c"


def test_frozen_front(make):
    buf = make(b"ab\n")
    buf.freeze(front=True)
    for attempt in (
        buf.remove,
        lambda: buf.remove(1),
        lambda: buf.drain(1),
        lambda: buf.readline(),
        lambda: buf.prepend(b"x"),
        lambda: buf.prepend_buffer(make(b"x")),
        lambda: buf.readinto(bytearray(1)),
        lambda: buf.move_to(make()),
        lambda: make().add_buffer(buf),
        lambda: buf.copyout(1),
    ):
        with pytest.raises(BufferError, match="front of the buffer is frozen"):
            attempt()
    buf.add(b"c")
    assert b"".join(buf) == b"ab\nc"
    buf.unfreeze(front=True)
    assert buf.remove() == b"ab\nc"


@pytest.mark.parametrize(
    ("call", "error", "name"),
    [
        (lambda buf: buf.add("text"), TypeError, "data"),
        (lambda buf: buf.add(None), TypeError, "data"),
        (lambda buf: buf.add_reference(5), TypeError, "data"),
        (lambda buf: buf.prepend("text"), TypeError, "data"),
        (lambda buf: buf.remove(-2), ValueError, "n must"),
        (lambda buf: buf.remove("1"), TypeError, "n must"),
        (lambda buf: buf.remove(2**64), ValueError, "n must"),
        (lambda buf: buf.drain(-5), ValueError, "n must"),
        (lambda buf: buf.copyout(1, -1), ValueError, "offset"),
        (lambda buf: buf.copyout(1, 100), ValueError, "offset"),
        (lambda buf: buf.peek(1, 100), ValueError, "offset"),
        (lambda buf: buf.reserve(-1), ValueError, "n must"),
        (lambda buf: buf.reserve("1"), TypeError, "n must"),
        (lambda buf: buf.commit(-1), ValueError, "n must"),
        (lambda buf: buf.commit(1), RuntimeError, "no space is reserved"),
        (lambda buf: buf.frozen(), TypeError, "front"),
        (lambda buf: buf.add(memoryview(b"abcd")[::2]), TypeError, "data must be a contiguous"),
        (lambda buf: buf.add_reference(memoryview(b"abcd")[::2]), TypeError, "data must"),
        (lambda buf: buf.prepend(memoryview(b"abcd")[::2]), TypeError, "data must be a contiguous"),
        (lambda buf: buf.readinto(memoryview(bytearray(4))[::2]), TypeError, "target must be"),
        (lambda buf: buf.readinto(b"read-only"), TypeError, "target must be"),
        (lambda buf: buf.readinto("text"), TypeError, "target must be"),
        (lambda buf: buf.add_reference(b"ab", 3), ValueError, "offset"),
        (lambda buf: buf.add_reference(b"ab", -1), ValueError, "offset"),
        (lambda buf: buf.add_reference(b"ab", 0, 3), ValueError, "length"),
        (lambda buf: buf.add_reference(b"ab", 0, -2), ValueError, "length"),
        (lambda buf: buf.move_to(EvBuffer(), -2), ValueError, "n must"),
        (lambda buf: buf.pullup(4), ValueError, "n must"),
        (lambda buf: buf.pullup(-2), ValueError, "n must"),
        (lambda buf: buf.peek(-2), ValueError, "n must"),
        (lambda buf: buf.copyout(-2), ValueError, "n must"),
        (lambda buf: buf.search(b"x", -1), ValueError, "start"),
        (lambda buf: buf.search(b"x", 0, -1), ValueError, "end"),
        (lambda buf: buf.prepend_buffer(None), TypeError, "other"),
        (lambda buf: buf.add_buffer_reference(b"x"), TypeError, "other"),
        (lambda buf: buf.expand(-1), ValueError, "n must"),
        (lambda buf: buf.search("text"), TypeError, "what"),
        (lambda buf: buf.search(b"x", 5), ValueError, "start"),
        (lambda buf: buf.search(b"x", 0, 5), ValueError, "end"),
        (lambda buf: buf.search_eol(9), ValueError, "start"),
        (lambda buf: buf.readline(9), ValueError, "eol"),
        (lambda buf: buf.readline("\n"), TypeError, "eol"),
        (lambda buf: buf.move_to(buf), ValueError, "other"),
        (lambda buf: buf.move_to(None), TypeError, "other"),
        (lambda buf: buf.add_buffer(b"x"), TypeError, "other"),
        (lambda buf: buf.add_callback(1), TypeError, "callback"),
        (lambda buf: buf.read("x"), TypeError, "fd"),
        (lambda buf: buf.write(-1), ValueError, "fd"),
    ],
)
def test_bad_arguments_change_nothing(call, error, name):
    buf = EvBuffer(b"abc")
    with pytest.raises(error, match=name):
        call(buf)
    assert bytes(buf) == b"abc"


def test_constructor():
    with pytest.raises(TypeError, match="data"):
        EvBuffer("text")
    buf = EvBuffer(b"x")
    with pytest.raises(RuntimeError):
        buf.__init__()
    with pytest.raises(ValueError, match="closed"):
        EvBuffer.__new__(EvBuffer).add(b"x")


def test_repr():
    buf = EvBuffer(b"abc")
    buf.add_reference(b"def")
    assert repr(buf) == "<cyevent.EvBuffer 6 bytes in 2 chains>"
    assert repr(EvBuffer(b"a")) == "<cyevent.EvBuffer 1 byte in 1 chain>"
    with buf.frozen(front=True):
        assert repr(buf) == "<cyevent.EvBuffer 6 bytes in 2 chains, front frozen>"
        with buf.frozen(front=False):
            assert repr(buf) == "<cyevent.EvBuffer 6 bytes in 2 chains, both ends frozen>"
    assert repr(EvBuffer.__new__(EvBuffer)) == "<cyevent.EvBuffer closed>"


def test_signatures():
    """The methods that are called most are made differently; what they say of themselves is the same."""
    assert str(inspect.signature(EvBuffer.add)) == "(self, /, data)"
    assert str(inspect.signature(EvBuffer.remove)) == "(self, /, n=-1)"
    assert str(inspect.signature(EvBuffer.drain)) == "(self, /, n=-1)"
    buf = EvBuffer()
    buf.add(data=b"abcdef")
    buf.drain(n=1)
    assert buf.remove(n=2) == b"bc"
    assert buf.remove() == b"def"


# --- bytes objects that are held ------------------------------------------------------------------


def test_large_bytes_are_held_and_come_back():
    """In one piece they are the same object; in any other way the same bytes."""
    data = os.urandom(5000)
    buf = EvBuffer()
    count = sys.getrefcount(data)
    buf.add(data)
    assert sys.getrefcount(data) == count + 1
    assert buf.remove(len(data)) is data
    buf.add(data)
    buf.add(b"tail")
    assert buf.remove(5000) is data
    assert sys.getrefcount(data) == count
    assert buf.remove() == b"tail"
    buf.add(data)
    buf.prepend(b"x")
    assert buf.remove() == b"x" + data
    buf.add(data)
    assert buf.remove(10) == data[:10]
    assert buf.remove() == data[10:]
    assert sys.getrefcount(data) == count


def test_held_bytes_are_seen_by_others():
    """A view or another buffer that shows them keeps them too."""
    data = os.urandom(5000)
    buf = EvBuffer()
    count = sys.getrefcount(data)
    buf.add(data)
    view = buf.pullup()
    out = buf.remove()
    assert out == data and out is not data
    assert sys.getrefcount(data) == count + 1
    assert view == data
    view.release()
    assert sys.getrefcount(data) == count
    buf.add(data)
    other = EvBuffer()
    other.add_buffer_reference(buf)
    assert buf.remove() == data
    assert other.remove() == data
    assert sys.getrefcount(data) == count
    other.add(data)
    other.move_to(buf, 3000)
    assert other.remove() == data[3000:] and buf.remove() == data[:3000]
    assert sys.getrefcount(data) == count


def test_only_bytes_themselves_are_held():
    class Text(bytes):
        pass

    for make_data in (Text, bytearray, memoryview):
        data = make_data(b"z" * 5000)
        count = sys.getrefcount(data)
        buf = EvBuffer()
        buf.add(data)
        assert sys.getrefcount(data) == count
        assert type(buf.remove()) is bytes


def test_expanded_room_is_used():
    """Adding to room that `expand` made does not allocate, so nothing is held."""
    data = b"z" * 5000
    buf = EvBuffer()
    buf.expand(20_000)
    count = sys.getrefcount(data)
    for _ in range(3):
        buf.add(data)
    assert sys.getrefcount(data) == count
    assert buf.chains == 1 and bytes(buf) == data * 3


def test_a_frozen_end_holds_nothing():
    data = b"z" * 5000
    buf = EvBuffer()
    count = sys.getrefcount(data)
    with buf.frozen(front=False):
        with pytest.raises(BufferError):
            buf.add(data)
        with pytest.raises(BufferError):
            buf.add_reference(data)
    assert sys.getrefcount(data) == count
    buf.add(data)
    with buf.frozen(front=True):
        with pytest.raises(BufferError):
            buf.remove()
    assert buf.remove() is data


@pytest.mark.parametrize("size", [4000, 5000, 70_000])
def test_large_pieces_from_any_place(make, size):
    """Where in memory a piece comes from decides where in a chain it goes."""
    data = bytes(range(251)) * (size // 251 + 2)
    buf = make(b"begin")
    expected = bytearray(b"begin")
    for begin in range(0, 67, 3):
        piece = memoryview(data)[begin : begin + size]
        buf.add(piece)
        buf.add(b"|")
        expected += bytes(piece) + b"|"
        if begin % 4 == 0:
            buf.drain(size // 2 + begin)
            del expected[: size // 2 + begin]
    assert bytes(buf) == expected
    assert buf.pullup() == expected
