"""Random operations on buffers, compared with bytearrays that do the same."""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cyevent import EOL_ANY, EOL_CRLF, EOL_CRLF_STRICT, EOL_LF, EOL_NUL, EvBuffer
from cyevent.buffer import pyevbuffer

BUFFERS = 3
which = st.integers(0, BUFFERS - 1)
small = st.binary(max_size=40)
# Large, and with line ends and repetitions in it, but described by few choices.
large = st.builds(lambda unit, n: unit * n, st.sampled_from([b"abc\r\n", b"\n", b"xy\0z\r", b"q"]),
                  st.integers(1, 3000))  # fmt: skip
data = small | large
size = st.integers(0, 50) | st.integers(0, 12_000)
eols = st.sampled_from([EOL_ANY, EOL_CRLF, EOL_CRLF_STRICT, EOL_LF, EOL_NUL])


def first_line(text, eol):
    """Where the first line ends, and how many bytes its end has, worked out slowly."""
    if eol == EOL_ANY:
        for at, c in enumerate(text):
            if c in b"\r\n":
                rest = text[at:]
                return at, len(rest) - len(rest.lstrip(b"\r\n"))
        return None
    end = {EOL_CRLF: b"\n", EOL_CRLF_STRICT: b"\r\n", EOL_LF: b"\n", EOL_NUL: b"\0"}[eol]
    at = text.find(end)
    if at < 0:
        return None
    if eol == EOL_CRLF and at and text[at - 1] == 13:
        return at - 1, 2
    return at, len(end)


class BufferMachine(RuleBasedStateMachine):
    @initialize(chain=st.sampled_from([0, 0, 1, 5, 64]), threadsafe=st.booleans())
    def begin(self, chain, threadsafe):
        pyevbuffer._set_min_chain(chain)
        self.bufs = [EvBuffer(threadsafe=threadsafe) for _ in range(BUFFERS)]
        self.models = [bytearray() for _ in range(BUFFERS)]
        self.borrows = [False] * BUFFERS  # may hold referenced chains
        self.views = []
        self.told = [0] * BUFFERS
        for i, buf in enumerate(self.bufs):
            buf.add_callback(lambda b, original, added, removed, i=i: self.hear(i, added - removed))

    def hear(self, i, difference):
        self.told[i] += difference

    def teardown(self):
        pyevbuffer._set_min_chain(0)

    @rule(i=which, text=data)
    def add(self, i, text):
        self.bufs[i].add(text)
        self.models[i] += text

    @rule(i=which, text=data, skip=st.integers(0, 5))
    def add_reference(self, i, text, skip):
        skip = min(skip, len(text))
        self.bufs[i].add_reference(text, skip)
        self.models[i] += text[skip:]

    @rule(i=which, text=data)
    def prepend(self, i, text):
        self.bufs[i].prepend(text)
        self.models[i][:0] = text

    @rule(i=which, n=size)
    def remove(self, i, n):
        assert self.bufs[i].remove(n) == self.models[i][:n]
        del self.models[i][:n]

    @rule(i=which, n=size)
    def drain(self, i, n):
        self.bufs[i].drain(n)
        del self.models[i][:n]

    @rule(i=which, n=size)
    def pullup(self, i, n):
        n = min(n, len(self.models[i]))
        assert bytes(self.bufs[i].pullup(n)) == self.models[i][:n]

    @rule(i=which, n=size)
    def expand(self, i, n):
        self.bufs[i].expand(n)

    @rule(i=which, n=st.integers(0, 5000), pieces=st.integers(1, 2), used=st.floats(0, 1))
    def reserve(self, i, n, pieces, used):
        n_used = int(n * used)
        text = os.urandom(n_used)
        with self.bufs[i].reserve(n, pieces) as views:
            left = text
            for view in views:
                part = min(len(view), len(left))
                view[:part] = left[:part]
                left = left[part:]
            self.bufs[i].commit(n_used)
        self.models[i] += text

    @rule(i=which, j=which)
    def add_buffer(self, i, j):
        self.bufs[i].add_buffer(self.bufs[j])
        if i != j:
            self.models[i] += self.models[j]
            self.models[j].clear()
            self.borrows[i] |= self.borrows[j]

    @rule(i=which, j=which)
    def prepend_buffer(self, i, j):
        self.bufs[i].prepend_buffer(self.bufs[j])
        if i != j:
            self.models[i][:0] = self.models[j]
            self.models[j].clear()
            self.borrows[i] |= self.borrows[j]

    @rule(i=which, j=which, n=size)
    def move(self, i, j, n):
        if i != j:
            assert self.bufs[j].move_to(self.bufs[i], n) == len(self.models[j][:n])
            self.models[i] += self.models[j][:n]
            del self.models[j][:n]
            self.borrows[i] |= self.borrows[j]

    @rule(i=which, j=which)
    def refer(self, i, j):
        if i != j and not self.borrows[j]:
            self.bufs[i].add_buffer_reference(self.bufs[j])
            self.models[i] += self.models[j]
            self.borrows[i] |= bool(self.models[j])

    @rule(i=which, eol=eols)
    def readline(self, i, eol):
        found = first_line(bytes(self.models[i]), eol)
        line = self.bufs[i].readline(eol)
        if found is None:
            assert line is None
        else:
            assert line == self.models[i][: found[0]]
            del self.models[i][: sum(found)]

    @rule(i=which, what=small, start=size)
    def search(self, i, what, start):
        start = min(start, len(self.models[i]))
        assert self.bufs[i].search(what, start) == self.models[i].find(what, start)

    @rule(i=which, start=size, n=st.integers(1, 20))
    def search_what_is_there(self, i, start, n):
        what = bytes(self.models[i][start : start + n])
        if what:
            assert self.bufs[i].search(what) == self.models[i].find(what)

    @rule(i=which, n=size, offset=size)
    def look(self, i, n, offset):
        offset = min(offset, len(self.models[i]))
        expected = self.models[i][offset : offset + n]
        assert self.bufs[i].copyout(n, offset) == expected
        views = self.bufs[i].peek(n, offset)
        assert b"".join(views) == expected
        self.views.append((views, bytes(expected)))

    @rule()
    def forget_views(self):
        self.views.clear()

    @rule(i=which)
    def renew(self, i):
        if not self.models[i]:
            self.borrows[i] = False

    @invariant()
    def same(self):
        for i, (buf, model) in enumerate(
            zip(getattr(self, "bufs", ()), getattr(self, "models", ()))
        ):
            assert len(buf) == len(model) == self.told[i]
            assert b"".join(buf) == model
        for views, expected in getattr(self, "views", ()):
            assert b"".join(views) == expected


NIGHTLY = os.environ.get("CYEVENT_NIGHTLY")

BufferMachine.TestCase.settings = settings(
    max_examples=5000 if NIGHTLY else 80,
    stateful_step_count=80 if NIGHTLY else 50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestBuffer = BufferMachine.TestCase
