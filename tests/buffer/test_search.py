"""Finding bytes and lines."""

import random

import pytest

from cyevent import EOL_ANY, EOL_CRLF, EOL_CRLF_STRICT, EOL_LF, EOL_NUL, EvBuffer


def in_pieces(make, *texts):
    buf = make()
    for text in texts:
        buf.add_reference(text)
    return buf


def lines(buf, eol):
    result = []
    while True:
        line = buf.readline(eol)
        if line is None:
            return result
        result.append(line)


def test_search(make):
    text = b"Lorem ipsum dolor sit amet, consectetur adipisicing elit"
    buf = make(text)
    for what in (b"L", b"ipsum", b"dolor sit amet", text, b"elit", b"t"):
        assert buf.search(what) == text.find(what)
    assert buf.search(b"absent") == -1
    assert buf.search(text + b"!") == -1
    assert buf.search(b"") == 0
    assert buf.search(b"", 5) == 5
    assert buf.search(b"i", 7) == text.find(b"i", 7)
    assert buf.search(b"t", len(text)) == -1


@pytest.mark.parametrize("border", range(1, 12))
def test_search_across_a_border(make, border):
    text = b"hello world!"
    buf = in_pieces(make, text[:border], text[border:])
    for begin in range(len(text)):
        for end in range(begin + 1, len(text) + 1):
            assert buf.search(text[begin:end]) == text.find(text[begin:end])
    assert buf.search(b"worlds") == -1


def test_search_of_repeating_bytes(make):
    buf = in_pieces(make, b"aaab", b"aa", b"a", b"aab", b"b")
    assert buf.search(b"aaaaab") == 4
    assert buf.search(b"aab", 2) == 7
    assert buf.search(b"bb") == 9
    assert buf.search(b"abaaaaabb") == 2


def test_search_range(make):
    text = b"abcabcabc"
    buf = in_pieces(make, b"abc", b"ab", b"cabc")
    for start in range(len(text) + 1):
        for end in range(len(text) + 1):
            for what in (b"abc", b"ca", b"c", b""):
                assert buf.search(what, start, end) == text.find(what, start, end), (
                    start,
                    end,
                    what,
                )


def test_search_in_random_pieces(chain_size):
    rng = random.Random(3)
    text = bytes(rng.choice(b"ab") for _ in range(300))
    for _ in range(30):
        buf = EvBuffer()
        at = 0
        while at < len(text):
            n = rng.randint(1, 40)
            rng.choice((buf.add, buf.add_reference))(text[at : at + n])
            at += n
        for _ in range(30):
            start = rng.randint(0, 300)
            what = bytes(rng.choice(b"ab") for _ in range(rng.randint(1, 12)))
            assert buf.search(what, start) == text.find(what, start)


@pytest.mark.parametrize(
    ("eol", "text", "expected", "left"),
    [
        (
            EOL_ANY,
            b"complex silly newline\r\n\n\r\n\n\rmore\0\n",
            [b"complex silly newline", b"more\0"],
            b"",
        ),
        (EOL_ANY, b"\r\n\nabc\rd", [b"", b"abc"], b"d"),
        (EOL_CRLF_STRICT, b"a\rb\nc\r\r\nd\r\n", [b"a\rb\nc\r", b"d"], b""),
        (EOL_CRLF_STRICT, b"abc\n\rabc\r", [], b"abc\n\rabc\r"),
        (EOL_CRLF, b"a\r\nb\n\nc\r\r\n\rd\n\r\n", [b"a", b"b", b"", b"c\r", b"\rd", b""], b""),
        (EOL_CRLF, b"\n\r\nx\r", [b"", b""], b"x\r"),
        (EOL_LF, b"An\rand a nl\r\n\ntrailing", [b"An\rand a nl\r", b""], b"trailing"),
        (EOL_NUL, b"The first\0\0the\nthird\0last", [b"The first", b"", b"the\nthird"], b"last"),
    ],
)
def test_readline(make, eol, text, expected, left):
    whole = make(text)
    assert lines(whole, eol) == expected
    assert bytes(whole) == left
    for border in range(1, len(text)):
        buf = in_pieces(make, text[:border], text[border:])
        assert lines(buf, eol) == expected
        assert bytes(buf) == left
    single = in_pieces(make, *(bytes([c]) for c in text))
    assert lines(single, eol) == expected
    assert bytes(single) == left


def test_line_whose_end_comes_later(make):
    buf = make()
    for text in (b"GET / HT", b"TP/1.1", b"\r"):
        buf.add(text)
        assert buf.readline() is None
    buf.add(b"\nHost: x\r\n")
    assert buf.readline() == b"GET / HTTP/1.1"
    assert buf.readline() == b"Host: x"
    assert buf.readline() is None


def test_search_eol(make):
    buf = in_pieces(make, b"abc", b"\r", b"\n\r", b"\ndef\n")
    assert buf.search_eol() == (3, 2)
    assert buf.search_eol(4) == (4, 1)
    assert buf.search_eol(5) == (5, 2)
    assert buf.search_eol(7) == (10, 1)
    assert buf.search_eol(11) is None
    assert buf.search_eol(0, EOL_ANY) == (3, 4)
    assert buf.search_eol(0, EOL_LF) == (4, 1)
    assert buf.search_eol(0, EOL_CRLF_STRICT) == (3, 2)
    assert buf.search_eol(7, EOL_CRLF_STRICT) is None
    assert buf.search_eol(0, EOL_NUL) is None


def test_long_lines(make):
    buf = make()
    buf.add(b"x" * 100_000)
    assert buf.readline() is None
    buf.add(b"\n" + b"y" * 5000 + b"\r\n")
    assert buf.readline() == b"x" * 100_000
    assert buf.readline() == b"y" * 5000


def test_search_in_texts_of_every_kind(make):
    """Where the first byte is rare, everywhere, and first the one and then the other: what looks for it
    changes its way in the middle."""
    rng = random.Random(5)
    kinds = (b"the quick brown fox ", b"aaaaaaaaaaaaaaab", b"abababac", b"zyx" * 5)
    for _ in range(40):
        text = b"".join(rng.choice(kinds) * rng.randrange(1, 150) for _ in range(6))
        cuts = sorted(rng.randrange(len(text)) for _ in range(3))
        buf = make()
        for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            buf.add_reference(text[begin:end])
        for what in (b"ac", b"aab", b"abac", b"fox a", b"quark", b"b" * 9, b"xz", b"\0"):
            start = rng.randrange(len(text))
            end = rng.randrange(start, len(text) + 1)
            assert buf.search(what) == text.find(what)
            assert buf.search(what, start) == text.find(what, start)
            assert buf.search(what, start, end) == text.find(what, start, end)
