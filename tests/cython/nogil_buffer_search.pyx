"""Buffers through libevent's names: lines, searching, positions, looking."""

from libc.stdlib cimport free
from libc.string cimport memset

from cyevent cimport (
    event_set_mem_functions, ev_ssize_t, evbuffer, evbuffer_add_buffer,
    evbuffer_commit_space, evbuffer_copyout, evbuffer_copyout_from, evbuffer_drain, evbuffer_eol_style,
    EVBUFFER_EOL_ANY, EVBUFFER_EOL_CRLF, EVBUFFER_EOL_CRLF_STRICT, EVBUFFER_EOL_LF,
    EVBUFFER_EOL_NUL, evbuffer_free, evbuffer_get_length, evbuffer_iovec, evbuffer_peek,
    evbuffer_ptr, EVBUFFER_PTR_ADD, evbuffer_ptr_set, EVBUFFER_PTR_SET, evbuffer_readln,
    evbuffer_reserve_space, evbuffer_search, evbuffer_search_eol, evbuffer_search_range,
)
from bufrig import in_each_mode
from bufrig cimport add, lend, new_buffer, validate

# The library changes its memory functions in a process of its own.
FORKED = ("test_readln_without_memory",)


cdef object line(evbuffer *buf, evbuffer_eol_style style):
    """What evbuffer_readln() gives."""
    cdef size_t n = 99
    cdef char *text = evbuffer_readln(buf, &n, style)
    validate(buf)
    if text == NULL:
        assert n == 0
        return None
    assert text[n] == 0
    result = text[:n]
    free(text)
    return result


cdef int add_chain(evbuffer *buf, bytes data) except -1:
    """In a chain of its own, or chains."""
    cdef evbuffer *other = new_buffer()
    add(other, data)
    assert evbuffer_add_buffer(buf, other) == 0
    evbuffer_free(other)
    validate(buf)
    return 0


# --- lines ------------------------------------------------------------------------------------------

@in_each_mode
def test_readln():
    cdef evbuffer *buf = new_buffer()
    add(buf, b"complex silly newline\r\n\n\r\n\n\rmore\0\n")
    assert line(buf, EVBUFFER_EOL_ANY) == b"complex silly newline"
    assert line(buf, EVBUFFER_EOL_ANY) == b"more\0"
    assert evbuffer_get_length(buf) == 0
    add(buf, b"\nno newline")
    assert line(buf, EVBUFFER_EOL_ANY) == b""
    assert line(buf, EVBUFFER_EOL_ANY) is None
    evbuffer_drain(buf, 100)

    add(buf, b"Line with\rin the middle\nLine with good crlf\r\n\nfinal\n")
    for expected in (b"Line with\rin the middle", b"Line with good crlf", b"", b"final"):
        assert line(buf, EVBUFFER_EOL_CRLF) == expected
    add(buf, b"x")
    assert line(buf, EVBUFFER_EOL_CRLF) is None

    add(buf, b" and a bad crlf\nand a good one\r\n\r\nMore\r")
    assert line(buf, EVBUFFER_EOL_CRLF_STRICT) == b"x and a bad crlf\nand a good one"
    assert line(buf, EVBUFFER_EOL_CRLF_STRICT) == b""
    assert line(buf, EVBUFFER_EOL_CRLF_STRICT) is None
    add(buf, b"\n")
    assert line(buf, EVBUFFER_EOL_CRLF_STRICT) == b"More"
    assert evbuffer_get_length(buf) == 0
    add(buf, b"An internal CR\r is not an eol\r\nNor is a lack of one")
    assert line(buf, EVBUFFER_EOL_CRLF_STRICT) == b"An internal CR\r is not an eol"
    assert line(buf, EVBUFFER_EOL_CRLF_STRICT) is None
    add(buf, b"\r\n")
    assert line(buf, EVBUFFER_EOL_CRLF_STRICT) == b"Nor is a lack of one"
    assert evbuffer_get_length(buf) == 0

    add(buf, b"An\rand a nl\n\nText")
    assert line(buf, EVBUFFER_EOL_LF) == b"An\rand a nl"
    assert line(buf, EVBUFFER_EOL_LF) == b""
    assert line(buf, EVBUFFER_EOL_LF) is None
    add(buf, b"\n")
    assert line(buf, EVBUFFER_EOL_LF) == b"Text"

    add(buf, b"NUL\n\0\0fills media\0to accomplish\0rest")
    for expected in (b"NUL\n", b"", b"fills media", b"to accomplish"):
        assert line(buf, EVBUFFER_EOL_NUL) == expected
    assert line(buf, EVBUFFER_EOL_NUL) is None
    evbuffer_drain(buf, 100)

    # Ends of lines that are in two chains.
    add_chain(buf, b" and a bad crlf\nand a good one\r")
    add_chain(buf, b"\n\r")
    add_chain(buf, b"\nMore\r")
    assert line(buf, EVBUFFER_EOL_CRLF_STRICT) == b" and a bad crlf\nand a good one"
    assert line(buf, EVBUFFER_EOL_CRLF_STRICT) == b""
    assert line(buf, EVBUFFER_EOL_CRLF_STRICT) is None
    add(buf, b"\n")
    assert line(buf, EVBUFFER_EOL_CRLF_STRICT) == b"More"
    add_chain(buf, b"one\r")
    add_chain(buf, b"\ntwo\r")
    add_chain(buf, b"\r\n\n")
    assert line(buf, EVBUFFER_EOL_CRLF) == b"one"
    assert line(buf, EVBUFFER_EOL_ANY) == b"two"
    assert evbuffer_get_length(buf) == 0
    # A style that there is not finds nothing.
    add(buf, b"\r\n\0")
    assert line(buf, <evbuffer_eol_style>99) is None
    evbuffer_free(buf)


cdef void *no_memory(size_t size) noexcept nogil:
    return NULL


def test_readln_without_memory():
    cdef evbuffer *buf = new_buffer()
    add(buf, b"one line\ntwo line\nblue line")
    assert line(buf, EVBUFFER_EOL_LF) == b"one line"
    event_set_mem_functions(no_memory, NULL, NULL)
    assert line(buf, EVBUFFER_EOL_LF) is None
    event_set_mem_functions(NULL, NULL, NULL)
    assert line(buf, EVBUFFER_EOL_LF) == b"two line"
    evbuffer_free(buf)


cdef tuple eol(evbuffer *buf, evbuffer_ptr *start, evbuffer_eol_style style, evbuffer_ptr *found):
    cdef size_t n = 99
    found[0] = evbuffer_search_eol(buf, start, &n, style)
    return found.pos, n


@in_each_mode
def test_search_eol():
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer_ptr one
    cdef evbuffer_ptr two
    add(buf, b"string! \r\n\r\nx\n")
    assert eol(buf, NULL, EVBUFFER_EOL_CRLF, &one) == (8, 2)
    assert eol(buf, &one, EVBUFFER_EOL_CRLF, &two) == (8, 2)
    # From between CR and LF.
    assert evbuffer_ptr_set(buf, &one, 1, EVBUFFER_PTR_ADD) == 0
    assert eol(buf, &one, EVBUFFER_EOL_CRLF, &two) == (9, 1)
    assert eol(buf, &one, EVBUFFER_EOL_CRLF_STRICT, &two) == (10, 2)
    assert eol(buf, &one, EVBUFFER_EOL_ANY, &two) == (9, 3)
    assert eol(buf, NULL, EVBUFFER_EOL_ANY, &two) == (8, 4)
    assert eol(buf, NULL, EVBUFFER_EOL_LF, &one) == (9, 1)
    assert eol(buf, &one, EVBUFFER_EOL_LF, &two) == (9, 1)
    assert evbuffer_ptr_set(buf, &one, 1, EVBUFFER_PTR_ADD) == 0
    assert eol(buf, &one, EVBUFFER_EOL_LF, &two) == (11, 1)
    assert eol(buf, NULL, EVBUFFER_EOL_NUL, &two) == (-1, 0)
    assert evbuffer_ptr_set(buf, &one, evbuffer_get_length(buf), EVBUFFER_PTR_SET) == 0
    for style in (EVBUFFER_EOL_LF, EVBUFFER_EOL_CRLF, EVBUFFER_EOL_ANY, EVBUFFER_EOL_CRLF_STRICT):
        assert eol(buf, &one, style, &two) == (-1, 0)
    # The length may be of no interest.
    assert evbuffer_search_eol(buf, NULL, NULL, EVBUFFER_EOL_LF).pos == 9
    evbuffer_free(buf)


# --- searching --------------------------------------------------------------------------------------

cdef ev_ssize_t find(evbuffer *buf, bytes what) except -2:
    return evbuffer_search(buf, <char *>what, len(what), NULL).pos


@in_each_mode
def test_find():
    """Not beyond the bytes that are there, though memory still holds what was there."""
    cdef evbuffer *buf = new_buffer()
    add(buf, b"1234567890\r\n")
    evbuffer_drain(buf, 12)
    add(buf, b"1234567890\r")
    assert find(buf, b"\r\n") == -1
    evbuffer_drain(buf, 11)
    add(buf, b"a" * 255 + b"x")
    assert find(buf, b"xy") == -1
    assert find(buf, b"ax") == 254
    evbuffer_free(buf)


@in_each_mode
def test_ptr_set():
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer_ptr pos
    cdef evbuffer_iovec vec
    cdef int n
    assert evbuffer_ptr_set(buf, &pos, 0, EVBUFFER_PTR_SET) == 0
    assert pos.pos == 0
    assert evbuffer_ptr_set(buf, &pos, 1, EVBUFFER_PTR_ADD) == -1
    assert pos.pos == -1
    assert evbuffer_ptr_set(buf, &pos, 1, EVBUFFER_PTR_SET) == -1
    assert pos.pos == -1
    for n in (5000, 4000, 3000):
        assert evbuffer_reserve_space(buf, n, &vec, 1) == 1
        memset(vec.iov_base, n // 1000, n)
        vec.iov_len = n
        assert evbuffer_commit_space(buf, &vec, 1) == 0
        validate(buf)
    assert evbuffer_ptr_set(buf, &pos, 13000, EVBUFFER_PTR_SET) == -1
    assert pos.pos == -1
    assert evbuffer_ptr_set(buf, &pos, 0, EVBUFFER_PTR_SET) == 0
    assert evbuffer_ptr_set(buf, &pos, 13000, EVBUFFER_PTR_ADD) == -1
    # From no position there is no way on.
    assert evbuffer_ptr_set(buf, &pos, 1, EVBUFFER_PTR_ADD) == -1
    assert evbuffer_ptr_set(buf, &pos, 0, EVBUFFER_PTR_SET) == 0
    for step, expected in ((10000, 10000), (1000, 11000), (1000, 12000)):
        assert evbuffer_ptr_set(buf, &pos, step, EVBUFFER_PTR_ADD) == 0
        assert pos.pos == expected
    # At the end, which is a position.
    assert evbuffer_ptr_set(buf, &pos, 0, EVBUFFER_PTR_ADD) == 0
    assert pos.pos == 12000
    assert evbuffer_ptr_set(buf, &pos, 1000, EVBUFFER_PTR_ADD) == -1
    assert pos.pos == -1
    assert evbuffer_ptr_set(buf, &pos, <size_t>-1, EVBUFFER_PTR_SET) == -1
    assert evbuffer_ptr_set(buf, &pos, 7, EVBUFFER_PTR_SET) == 0
    assert evbuffer_ptr_set(buf, &pos, <size_t>-1, EVBUFFER_PTR_ADD) == -1
    evbuffer_free(buf)


@in_each_mode
def test_search():
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer_ptr pos
    cdef evbuffer_ptr end
    assert evbuffer_search(buf, b"x", 1, NULL).pos == -1
    assert evbuffer_ptr_set(buf, &pos, 0, EVBUFFER_PTR_SET) == 0
    assert evbuffer_search(buf, b"x", 1, &pos).pos == -1
    assert evbuffer_search_range(buf, b"x", 1, &pos, &pos).pos == -1
    assert evbuffer_search_range(buf, b"x", 1, &pos, NULL).pos == -1
    for word in (b"hello", b"foo", b"cat", b"attack"):
        add_chain(buf, word)
    assert find(buf, b"attack") == 11
    assert find(buf, b"attacker") == -1
    assert find(buf, b"hellofoocatattack") == 0
    # Going on from where it was found.
    pos = evbuffer_search(buf, b"oc", 2, NULL)
    assert pos.pos == 7
    pos = evbuffer_search(buf, b"cat", 3, &pos)
    assert pos.pos == 8
    assert evbuffer_search(buf, b"tacking", 7, &pos).pos == -1
    evbuffer_ptr_set(buf, &pos, 5, EVBUFFER_PTR_SET)
    pos = evbuffer_search(buf, b"foo", 3, &pos)
    assert pos.pos == 5
    evbuffer_ptr_set(buf, &pos, 2, EVBUFFER_PTR_ADD)
    assert evbuffer_search(buf, b"tat", 3, &pos).pos == 10
    # Up to the first t of "attack".
    evbuffer_ptr_set(buf, &end, 12, EVBUFFER_PTR_SET)
    assert evbuffer_search_range(buf, b"foo", 3, NULL, &end).pos == 5
    assert evbuffer_search_range(buf, b"foocata", 7, NULL, &end).pos == 5
    assert evbuffer_search_range(buf, b"foocatat", 8, NULL, &end).pos == -1
    assert evbuffer_search_range(buf, b"ack", 3, NULL, &end).pos == -1
    # Up to the end of the buffer.
    assert evbuffer_ptr_set(buf, &end, 17, EVBUFFER_PTR_SET) == 0
    assert evbuffer_search_range(buf, b"attack", 6, NULL, &end).pos == 11
    evbuffer_ptr_set(buf, &pos, 11, EVBUFFER_PTR_SET)
    assert evbuffer_search_range(buf, b"attack", 6, &pos, &end).pos == 11
    evbuffer_ptr_set(buf, &pos, 17, EVBUFFER_PTR_SET)
    assert evbuffer_search_range(buf, b"attack", 6, &pos, &end).pos == -1
    assert evbuffer_search(buf, b"attack", 6, &pos).pos == -1
    # Nothing is found where it is looked for.
    assert evbuffer_search(buf, b"", 0, NULL).pos == 0
    evbuffer_free(buf)


@in_each_mode
def test_search_across_chains():
    """Each part of a text that repeats itself, against what Python finds."""
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer_ptr start
    cdef bytes text = b"aab" * 5 + b"aaab" + b"aabaab" * 3 + b"c"
    cdef bytes part
    cdef int i, n
    for i in range(0, len(text), 4):
        add_chain(buf, text[i:i + 4])
    for n in range(1, 12):
        for i in range(len(text) - n + 1):
            part = text[i:i + n]
            assert find(buf, part) == text.find(part)
            assert evbuffer_ptr_set(buf, &start, i, EVBUFFER_PTR_SET) == 0
            assert evbuffer_search(buf, <char *>part, n, &start).pos == i
            part = part + b"d"
            assert find(buf, part) == -1
    evbuffer_free(buf)


# --- looking ----------------------------------------------------------------------------------------

cdef evbuffer *chunks(int n) except NULL:
    """A buffer with n texts by reference, so that each is one chain."""
    cdef evbuffer *buf = new_buffer()
    cdef int i
    for i in range(n):
        lend(buf, TEXTS[i])
    return buf


TEXTS = [b"Contents of chunk [%d]\n" % i for i in range(16)]


cdef list pieces(evbuffer_iovec *vec, int n):
    return [(<char *>vec[i].iov_base)[:vec[i].iov_len] for i in range(n)]


@in_each_mode
def test_peek():
    cdef evbuffer *buf = chunks(16)
    cdef evbuffer *empty = new_buffer()
    cdef evbuffer_iovec vec[20]
    cdef evbuffer_ptr pos
    assert evbuffer_peek(buf, -1, NULL, NULL, 0) == 16
    assert evbuffer_peek(buf, -1, NULL, vec, 20) == 16
    assert pieces(vec, 16) == TEXTS
    memset(vec, 0, sizeof(vec))
    assert evbuffer_peek(buf, -1, NULL, vec, 1) == 1
    assert pieces(vec, 1) == TEXTS[:1]
    assert vec[1].iov_base == NULL
    # At least forty bytes.
    memset(vec, 0, sizeof(vec))
    assert evbuffer_peek(buf, 40, NULL, vec, 16) == 2
    assert pieces(vec, 2) == TEXTS[:2]
    assert vec[2].iov_base == NULL
    assert evbuffer_peek(buf, 100, NULL, NULL, 0) == 5
    # More bytes than there are vectors for, than there are.
    memset(vec, 0, sizeof(vec))
    assert evbuffer_peek(buf, 60, NULL, vec, 1) == 3
    assert pieces(vec, 1) == TEXTS[:1]
    assert vec[1].iov_base == NULL
    memset(vec, 0, sizeof(vec))
    assert evbuffer_peek(buf, 65536, NULL, vec, 20) == 16
    assert pieces(vec, 16) == TEXTS
    assert vec[16].iov_base == NULL
    memset(vec, 0, sizeof(vec))
    assert evbuffer_peek(empty, -1, NULL, vec, 20) == 0
    assert evbuffer_peek(empty, 50, NULL, vec, 20) == 0
    assert vec[0].iov_base == NULL
    # From a position on.
    evbuffer_ptr_set(buf, &pos, 30, EVBUFFER_PTR_SET)
    assert evbuffer_peek(buf, 50, &pos, vec, 20) == 3
    assert pieces(vec, 3) == [b" of chunk [1]\n", TEXTS[2], TEXTS[3]]
    evbuffer_ptr_set(buf, &pos, 14, EVBUFFER_PTR_ADD)
    assert evbuffer_peek(buf, 44, &pos, vec, 20) == 2
    assert pieces(vec, 2) == TEXTS[2:4]
    memset(vec, 0, sizeof(vec))
    evbuffer_ptr_set(buf, &pos, evbuffer_get_length(buf), EVBUFFER_PTR_SET)
    assert evbuffer_peek(buf, 44, &pos, vec, 20) == 0
    assert vec[0].iov_base == NULL
    evbuffer_free(buf)
    evbuffer_free(empty)


@in_each_mode
def test_peek_first_gt():
    """The first piece is longer than the second."""
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer_iovec vec[2]
    cdef evbuffer_ptr pos
    lend(buf, b"Contents of chunk 100\n")
    lend(buf, b"Contents of chunk 1\n")
    evbuffer_ptr_set(buf, &pos, 0, EVBUFFER_PTR_SET)
    assert evbuffer_peek(buf, -1, &pos, NULL, 0) == 2
    assert evbuffer_peek(buf, -1, &pos, vec, 2) == 2
    evbuffer_ptr_set(buf, &pos, 20, EVBUFFER_PTR_ADD)
    assert evbuffer_peek(buf, -1, &pos, NULL, 0) == 2
    assert evbuffer_peek(buf, -1, &pos, vec, 2) == 2
    assert evbuffer_peek(buf, 2, &pos, NULL, 0) == 1
    assert evbuffer_peek(buf, 2, &pos, vec, 2) == 1
    assert evbuffer_peek(buf, 3, &pos, NULL, 0) == 2
    assert evbuffer_peek(buf, 3, &pos, vec, 2) == 2
    evbuffer_free(buf)


cdef bytes copy_from(evbuffer *buf, evbuffer_ptr *pos, int n):
    cdef char data[1024]
    cdef ev_ssize_t got
    memset(data, 0, sizeof(data))
    got = evbuffer_copyout_from(buf, pos, data, n) if pos != NULL else evbuffer_copyout(buf, data, n)
    assert got >= 0
    return data[:got]


@in_each_mode
def test_copyout():
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer_ptr pos
    text = (b"Of three pieces this is the first, which somebody lent; " * 2)[:80]
    text += b"the second is lent too, and it is as long as the first one; " + b"." * 20
    text += b"the third is a copy"
    assert len(text) == 179
    first = text[:80]
    second = text[80:160]
    lend(buf, first)
    lend(buf, second)
    add(buf, text[160:])
    for n in (0, 10, 80, 100, 170, 179, 230):
        assert copy_from(buf, NULL, n) == text[:n]
    assert evbuffer_get_length(buf) == 179
    evbuffer_ptr_set(buf, &pos, 15, EVBUFFER_PTR_SET)
    for n in (10, 65, 90, 160, 999):
        assert copy_from(buf, &pos, n) == text[15:15 + n]
    evbuffer_ptr_set(buf, &pos, 179, EVBUFFER_PTR_SET)
    assert copy_from(buf, &pos, 10) == b""
    assert evbuffer_get_length(buf) == 179
    # A position that was not found.
    pos = evbuffer_search(buf, b"?", 1, NULL)
    assert evbuffer_copyout_from(buf, &pos, NULL, 1) == -1
    evbuffer_free(buf)
