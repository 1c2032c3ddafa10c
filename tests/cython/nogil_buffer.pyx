"""Buffers through libevent's names: bytes in, out and from one to the other; space; by reference."""

from libc.string cimport memset

from cyevent cimport (
    evbuffer, evbuffer_add_buffer, evbuffer_add_printf, evbuffer_add_reference,
    evbuffer_commit_space, evbuffer_drain, evbuffer_expand, evbuffer_free,
    evbuffer_get_contiguous_space, evbuffer_get_length, evbuffer_iovec, evbuffer_new,
    evbuffer_peek, evbuffer_prepend, evbuffer_prepend_buffer, evbuffer_pullup, evbuffer_remove,
    evbuffer_remove_buffer, evbuffer_reserve_space,
)
from bufrig import in_each_mode
from bufrig cimport add, content, lend, new_buffer, pulled, usual, validate, waste


@in_each_mode
def test_evbuffer():
    cdef evbuffer *one = new_buffer()
    cdef evbuffer *two = new_buffer()
    cdef evbuffer_iovec vec
    cdef int i
    zeros = bytes(512)
    assert evbuffer_add_printf(one, b"%s/%d", b"hello", 1) == 7
    assert content(one) == b"hello/1"
    assert evbuffer_add_buffer(one, two) == 0
    evbuffer_drain(one, len(b"hello/"))
    validate(one)
    assert content(one) == b"1"
    evbuffer_add_printf(two, b"%s", b"/hello")
    evbuffer_add_buffer(one, two)
    assert evbuffer_get_length(two) == 0
    assert content(one) == b"1/hello"
    add(one, zeros)
    assert pulled(one) == b"1/hello" + zeros
    assert evbuffer_get_contiguous_space(one) == 519
    validate(one)
    assert evbuffer_prepend(one, b"something", 9) == 0
    assert evbuffer_prepend(one, b"else", 4) == 0
    validate(one)
    assert (<char *>evbuffer_pullup(one, 20))[:20] == b"elsesomething1/hello"
    validate(one)
    # More than there is means all.
    evbuffer_drain(one, <size_t>-1)
    evbuffer_drain(two, <size_t>-1)
    validate(one)
    for _ in range(3):
        add(two, zeros)
        evbuffer_add_buffer(one, two)
        validate(one)
        validate(two)
    assert evbuffer_get_length(one) == 1536
    assert evbuffer_remove_buffer(one, two, 1280) == 1280
    assert evbuffer_get_length(two) == 1280
    assert evbuffer_get_length(one) == 256
    assert pulled(one) == bytes(256)
    assert pulled(two) == bytes(1280)
    validate(one)
    validate(two)
    for i in range(3):
        assert evbuffer_reserve_space(one, 10000, &vec, 1) == 1
        assert vec.iov_len >= 10000 and vec.iov_base != NULL
        memset(vec.iov_base, i, 10000)
        vec.iov_len = 10000
        assert evbuffer_commit_space(one, &vec, 1) == 0
        validate(one)
        assert content(one).endswith(bytes([i]) * 10000)
        evbuffer_drain(one, 5000)
        validate(one)
    evbuffer_free(one)
    evbuffer_free(two)


# --- from one buffer to another ---------------------------------------------------------------------

@in_each_mode
def test_remove_buffer_with_empty():
    cdef evbuffer *source = new_buffer()
    cdef evbuffer *target = new_buffer()
    lend(source, b"AA")
    lend(source, b"AA")
    add(target, b"AA")
    lend(target, b"")
    assert evbuffer_remove_buffer(source, target, 3) == 3
    validate(source)
    validate(target)
    assert pulled(source) == b"A"
    assert pulled(target) == b"AAAAA"
    evbuffer_free(source)
    evbuffer_free(target)


cdef int fill_with_gaps(evbuffer *buf, evbuffer *other, bint at_front) except -1:
    lend(buf, b"foo")
    lend(buf, b"")
    if at_front:
        add(other, b"foo")
        lend(other, b"")
        assert evbuffer_prepend_buffer(buf, other) == 0
    else:
        add(other, b"foo")
        lend(other, b"foo")
        assert evbuffer_add_buffer(buf, other) == 0
    validate(buf)
    return 0


cdef int remove_with_gaps(bint at_front, bytes whole) except -1:
    cdef evbuffer *source = new_buffer()
    cdef evbuffer *target = new_buffer()
    cdef evbuffer *other = new_buffer()
    n = len(whole)
    fill_with_gaps(source, other, at_front)
    fill_with_gaps(target, other, at_front)
    assert content(source) == content(target) == whole
    assert evbuffer_remove_buffer(source, target, n - 1) == n - 1
    validate(source)
    validate(target)
    assert pulled(source) == b"o"
    assert pulled(target) == whole + whole[:-1]
    evbuffer_free(source)
    evbuffer_free(target)
    evbuffer_free(other)
    return 0


@in_each_mode
def test_remove_buffer_with_empty2():
    remove_with_gaps(False, b"foofoofoo")


@in_each_mode
def test_remove_buffer_with_empty3():
    remove_with_gaps(True, b"foofoo")


@in_each_mode
def test_remove_buffer_with_empty_front():
    cdef evbuffer *one = new_buffer()
    cdef evbuffer *two = new_buffer()
    lend(one, b"foo")
    assert evbuffer_prepend(one, b"", 0) == 0
    assert evbuffer_remove_buffer(one, two, 1) == 1
    add(one, b"bar")
    assert pulled(one) == b"oobar"
    assert content(two) == b"f"
    validate(one)
    validate(two)
    evbuffer_free(one)
    evbuffer_free(two)


@in_each_mode
def test_remove_buffer_adjust_last_with_datap_with_empty():
    cdef evbuffer *one = new_buffer()
    cdef evbuffer *two = new_buffer()
    cdef evbuffer_iovec vec[2]
    cdef int pieces
    add(one, b"aaaaaa")
    # An empty chain is left at the end.
    pieces = evbuffer_reserve_space(one, 971, vec, 2)
    assert pieces == 2 or not usual()
    (<char *>vec[0].iov_base)[0] = c"b"
    vec[0].iov_len = 1
    assert evbuffer_commit_space(one, vec, 1) == 0
    add(two, b"cc")
    assert evbuffer_prepend(two, b"ddd", 3) == 0
    assert evbuffer_prepend_buffer(two, one) == 0
    validate(two)
    assert evbuffer_add_buffer(one, two) == 0
    assert evbuffer_remove_buffer(one, two, 11) == 11
    assert pulled(two) == b"aaaaaabdddc"
    assert pulled(one) == b"c"
    validate(one)
    validate(two)
    evbuffer_free(one)
    evbuffer_free(two)


@in_each_mode
def test_add_buffer_with_empty():
    cdef evbuffer *buf
    cdef evbuffer *other
    for first in (b"foo", b""):
        buf = new_buffer()
        other = new_buffer()
        add(other, b"bar")
        lend(buf, first)
        lend(buf, b"")
        assert evbuffer_add_buffer(buf, other) == 0
        validate(buf)
        validate(other)
        assert content(buf) == first + b"bar"
        evbuffer_free(buf)
        evbuffer_free(other)


def test_add_buffer_with_empty2():
    test_add_buffer_with_empty()


@in_each_mode
def test_remove_buffer_moves_whole_chains():
    """What is moved whole stays where it is in memory; of the rest less than a chain is copied."""
    cdef evbuffer *source = new_buffer()
    cdef evbuffer *target = new_buffer()
    cdef evbuffer_iovec vec[4]
    cdef bytes text = b"0123456789" * 10
    cdef int i
    for _ in range(3):
        lend(source, text)
    assert evbuffer_remove_buffer(source, target, 250) == 250
    assert evbuffer_peek(target, -1, NULL, vec, 4) >= 3
    for i in range(2):
        assert vec[i].iov_base == <void *><char *>text and vec[i].iov_len == 100
    assert vec[2].iov_base != <void *><char *>text
    assert evbuffer_peek(source, -1, NULL, vec, 4) == 1
    assert vec[0].iov_base == <void *>(<char *>text + 50) and vec[0].iov_len == 50
    assert content(target) == text * 2 + text[:50]
    evbuffer_free(source)
    evbuffer_free(target)


# --- space ------------------------------------------------------------------------------------------

def test_reserve2():
    """What is asked for in two pieces, in chains of the usual size."""
    cdef evbuffer *buf = evbuffer_new()
    cdef evbuffer_iovec vec[2]
    cdef char *here
    cdef char *there
    cdef size_t left
    assert evbuffer_reserve_space(buf, 1024, vec, 2) == 1
    assert evbuffer_get_length(buf) == 0
    assert vec[0].iov_len >= 1024
    here = <char *>vec[0].iov_base
    memset(here, c"X", 512)
    left = vec[0].iov_len - 512
    vec[0].iov_len = 512
    assert evbuffer_commit_space(buf, vec, 1) == 0
    assert evbuffer_get_length(buf) == 512
    validate(buf)
    # In the same chain.
    assert evbuffer_reserve_space(buf, 32, vec, 2) == 1
    assert vec[0].iov_base == <void *>(here + 512) and vec[0].iov_len == left
    memset(vec[0].iov_base, c"Y", 8)
    vec[0].iov_len = 8
    assert evbuffer_commit_space(buf, vec, 1) == 0
    left -= 8
    # In two; but only the first is used.
    assert evbuffer_reserve_space(buf, left + 64, vec, 2) == 2
    assert vec[0].iov_base == <void *>(here + 520) and vec[0].iov_len == left
    assert vec[1].iov_len >= 64
    there = <char *>vec[1].iov_base
    memset(vec[0].iov_base, c"Z", 1)
    vec[0].iov_len = 1
    assert evbuffer_commit_space(buf, vec, 1) == 0
    left -= 1
    validate(buf)
    # In the same two, and some of each.
    assert evbuffer_reserve_space(buf, left + 64, vec, 2) == 2
    assert vec[0].iov_base == <void *>(here + 521) and vec[0].iov_len == left
    assert vec[1].iov_base == <void *>there
    memset(vec[0].iov_base, c"W", 400)
    vec[0].iov_len = 400
    memset(vec[1].iov_base, c"x", 60)
    vec[1].iov_len = 60
    assert evbuffer_commit_space(buf, vec, 2) == 0
    validate(buf)
    assert evbuffer_peek(buf, -1, NULL, vec, 2) == 2
    assert vec[0].iov_len == 921 and vec[1].iov_len == 60
    assert content(buf) == b"X" * 512 + b"Y" * 8 + b"Z" + b"W" * 400 + b"x" * 60
    evbuffer_free(buf)


cdef int reserve_many(bint one_byte, bint fill) except -1:
    cdef evbuffer *buf = evbuffer_new()
    cdef evbuffer_iovec vec[8]
    cdef void *first
    cdef void *second
    cdef size_t size
    assert evbuffer_reserve_space(buf, 128, vec, 2) == 1
    assert vec[0].iov_len >= 128
    size = vec[0].iov_len
    first = vec[0].iov_base
    if one_byte:
        (<char *>first)[0] = c"X"
        vec[0].iov_len = 1
        assert evbuffer_commit_space(buf, vec, 1) == 0
    elif fill:
        memset(first, c"X", size)
        assert evbuffer_commit_space(buf, vec, 1) == 0
        assert evbuffer_reserve_space(buf, 128, vec, 2) == 1
        assert vec[0].iov_base != first
        size = vec[0].iov_len
        first = vec[0].iov_base
    # Another chain, then a third.
    assert evbuffer_reserve_space(buf, size + 128, vec, 2) == 2
    validate(buf)
    assert vec[0].iov_len + vec[1].iov_len >= size + 128
    assert vec[0].iov_base == (<char *>first + 1 if one_byte else first)
    size = vec[0].iov_len + vec[1].iov_len
    first = vec[0].iov_base
    second = vec[1].iov_base
    assert evbuffer_reserve_space(buf, size + 128, vec, 3) == 3
    validate(buf)
    assert vec[0].iov_base == first and vec[1].iov_base == second
    size += vec[2].iov_len
    # What is wanted in fewer pieces than there are takes the place of all that are empty.
    if one_byte:
        assert evbuffer_reserve_space(buf, size + 128, vec, 2) == 2
        assert vec[0].iov_base == first
        assert vec[0].iov_len + vec[1].iov_len >= size + 128
    else:
        assert evbuffer_reserve_space(buf, size + 128, vec, 2) == 1
        assert vec[0].iov_len >= size + 128
    validate(buf)
    evbuffer_free(buf)
    return 0


def test_reserve_many():
    reserve_many(False, False)


def test_reserve_many2():
    reserve_many(True, False)


def test_reserve_many3():
    reserve_many(False, True)


@in_each_mode
def test_reserve_in_many_pieces():
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer_iovec vec[16]
    cdef int pieces = 0
    cdef int i
    expected = b""
    for i in range(1, 13):
        pieces = evbuffer_reserve_space(buf, 4000 * i, vec, i)
        assert 1 <= pieces <= i
        validate(buf)
    assert pieces > 2
    assert sum([vec[i].iov_len for i in range(pieces)]) >= 48000
    for i in range(pieces):
        memset(vec[i].iov_base, i, vec[i].iov_len)
        expected += bytes([i]) * vec[i].iov_len
    assert evbuffer_commit_space(buf, vec, pieces) == 0
    validate(buf)
    assert content(buf) == expected
    assert evbuffer_reserve_space(buf, 10, vec, 0) == -1
    assert evbuffer_reserve_space(buf, -1, vec, 1) == -1
    # Not its space.
    vec[0].iov_base = <void *>1
    vec[0].iov_len = 1
    assert evbuffer_commit_space(buf, vec, 1) == -1
    assert content(buf) == expected
    evbuffer_free(buf)


@in_each_mode
def test_reserve_with_empty():
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer_iovec vec[2]
    add(buf, b"a")
    assert evbuffer_reserve_space(buf, 1 << 12, vec, 2) == 2 or not usual()
    vec[0].iov_len = 1
    (<char *>vec[0].iov_base)[0] = c"b"
    assert evbuffer_commit_space(buf, vec, 1) == 0
    add(buf, b"c")
    assert pulled(buf) == b"abc"
    validate(buf)
    evbuffer_free(buf)


@in_each_mode
def test_reserve_invalid_last_with_datap():
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer_iovec vec[2]
    cdef int pieces, i
    lend(buf, b"")
    evbuffer_prepend(buf, b"foo", 3)
    add(buf, b"")
    pieces = evbuffer_reserve_space(buf, 1 << 12, vec, 2)
    assert pieces >= 1
    for i in range(pieces):
        vec[i].iov_len = 0
    assert evbuffer_commit_space(buf, vec, pieces) == 0
    assert evbuffer_reserve_space(buf, 1 << 13, vec, 2) >= 1
    validate(buf)
    assert content(buf) == b"foo"
    evbuffer_free(buf)


@in_each_mode
def test_expand():
    cdef evbuffer *buf = new_buffer()
    cdef void *memory
    cdef size_t space
    cdef bytes data = b"X" * 4096
    assert evbuffer_expand(buf, 20000) == 0
    validate(buf)
    assert waste(buf)[0] >= 20000 and waste(buf)[2] == 0
    assert buf.first == buf.last and buf.first.off == 0 and buf.first.buffer_len >= 20000
    # There is space already.
    memory = buf.first.buffer
    add(buf, data[:1024])
    assert evbuffer_expand(buf, 1024) == 0
    assert buf.first.buffer == memory
    validate(buf)
    evbuffer_free(buf)
    # A few bytes at the chain's end move to its start.
    buf = new_buffer()
    assert evbuffer_expand(buf, 900) == 0
    memory = buf.first.buffer
    space = buf.first.buffer_len
    add(buf, data[:400])
    add(buf, data[:space - 401])
    assert buf.first == buf.last and buf.first.off == space - 1
    evbuffer_drain(buf, space - 2)
    assert evbuffer_get_length(buf) == 1 and buf.first.misalign > 0
    assert evbuffer_expand(buf, 40) == 0
    assert buf.first == buf.last and buf.first.buffer == memory and buf.first.misalign == 0
    validate(buf)
    evbuffer_free(buf)
    buf = new_buffer()
    for _ in range(3):
        add(buf, data)
    evbuffer_expand(buf, 1024)
    validate(buf)
    assert pulled(buf) == data * 3
    validate(buf)
    evbuffer_free(buf)


@in_each_mode
def test_expand_overflow():
    cdef evbuffer *buf = new_buffer()
    add(buf, b"1")
    assert evbuffer_expand(buf, 0x7fffffffffffffff) == -1
    validate(buf)
    assert evbuffer_expand(buf, <size_t>-1) == -1
    validate(buf)
    assert content(buf) == b"1"
    evbuffer_free(buf)


@in_each_mode
def test_add1():
    cdef evbuffer *buf = new_buffer()
    add(buf, b"1")
    evbuffer_expand(buf, 2048)
    add(buf, b"2")
    evbuffer_add_printf(buf, b"3")
    validate(buf)
    assert pulled(buf) == b"123"
    evbuffer_free(buf)


@in_each_mode
def test_add2():
    """Ten bytes short of a chain."""
    cdef evbuffer *buf = new_buffer()
    text = b"P" * 966
    add(buf, text)
    evbuffer_expand(buf, 100)
    add(buf, b"2")
    evbuffer_add_printf(buf, b"3")
    validate(buf)
    assert pulled(buf) == text + b"23"
    evbuffer_free(buf)


# --- by reference -----------------------------------------------------------------------------------

cdef struct Returned:
    int times
    const void *data
    size_t length


cdef void returned(const void *data, size_t length, void *arg) noexcept nogil:
    cdef Returned *note = <Returned *>arg
    note.times += 1
    note.data = data
    note.length = length


@in_each_mode
def test_reference():
    cdef evbuffer *source = new_buffer()
    cdef evbuffer *target = new_buffer()
    cdef evbuffer_iovec vec
    cdef Returned note
    cdef bytes text = b"this is what we add as read-only memory."
    cdef int n = len(text)
    memset(&note, 0, sizeof(note))
    assert evbuffer_add_reference(source, <char *>text, n, returned, &note) == 0
    assert evbuffer_reserve_space(target, n, &vec, 1) == 1
    assert evbuffer_remove(source, vec.iov_base, 10) == 10
    # Not into the memory in front of the bytes that are left.
    evbuffer_prepend(source, b"aaaaa", 5)
    assert text.startswith(b"this is wh")
    evbuffer_drain(source, 5)
    assert note.times == 0
    assert evbuffer_remove(source, <char *>vec.iov_base + 10, n - 10) == n - 10
    vec.iov_len = n
    assert evbuffer_commit_space(target, &vec, 1) == 0
    assert note.times == 1 and note.data == <void *><char *>text and note.length == <size_t>n
    assert pulled(target) == text
    validate(source)
    validate(target)
    evbuffer_free(source)
    evbuffer_free(target)


@in_each_mode
def test_reference2():
    cdef evbuffer *buf = new_buffer()
    text = b"P" * 966
    add(buf, text)
    evbuffer_expand(buf, 100)
    lend(buf, b"2")
    evbuffer_add_printf(buf, b"3")
    validate(buf)
    assert pulled(buf) == text + b"23"
    evbuffer_free(buf)


@in_each_mode
def test_pullup_with_empty():
    cdef evbuffer *buf = new_buffer()
    assert evbuffer_pullup(buf, -1) == NULL
    assert evbuffer_pullup(buf, 0) == NULL
    add(buf, b"foo")
    lend(buf, b"")
    validate(buf)
    assert pulled(buf) == b"foo"
    assert (<char *>evbuffer_pullup(buf, 3))[:3] == b"foo"
    # There are fewer.
    assert evbuffer_pullup(buf, 4) == NULL
    evbuffer_free(buf)


def test_iterative():
    """Many small additions waste little."""
    cdef evbuffer *buf = evbuffer_new()
    cdef bytes alphabet = b"abcdefghijklmnopqrstuvwxyz" * 4
    cdef char *text = alphabet
    cdef size_t total = 0
    cdef int i, j
    for i in range(1000):
        for j in range(1, 104):
            assert evbuffer_add_printf(buf, b"%*.*s", j, j, text) == j
            total += j
        if i % 100 == 0:
            validate(buf)
    validate(buf)
    assert evbuffer_get_length(buf) == total
    allocated, wasted, used = waste(buf)
    assert used == total
    assert wasted / allocated < 0.125
    evbuffer_free(buf)
