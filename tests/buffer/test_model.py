"""Random operations on buffers, compared with bytearrays that do the same.

Some thousand steps in the usual run, hundreds of thousands with --hypothesis-profile=nightly (or with
CYEVENT_NIGHTLY set). What is never checked in passing is checked at the end of each sequence: that every
object that lent its memory has it back once all buffers and views are gone.
"""

import gc
import os
import select
import socket
import tempfile

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from zerocopy_peers import is_lent, tcp_pair, until

from cyevent import EOL_ANY, EOL_CRLF, EOL_CRLF_STRICT, EOL_LF, EOL_NUL, EvBuffer, FileSegment
from cyevent.buffer import pyevbuffer

BUFFERS = 3
# What the part of a file at an offset is can be told by its bytes.
FILE_DATA = b"".join(b"%d\r\n" % i for i in range(3600))
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
    def __init__(self):
        super().__init__()
        self.bufs = []
        self.views = []  # (memoryviews, what they must show)
        self.lenders = []
        self.reservations = []  # (buffer's number, Reservation, what was written)

    @initialize(
        chain=st.sampled_from([0, 0, 1, 5, 64]), threadsafe=st.booleans(), mmap=st.booleans()
    )
    def begin(self, chain, threadsafe, mmap):
        pyevbuffer._set_min_chain(chain)
        self.file = tempfile.TemporaryFile()  # noqa: SIM115
        self.file.write(FILE_DATA)
        self.file.flush()
        self.segment = FileSegment(self.file, mmap=mmap)
        self.threadsafe = threadsafe
        self.sockets = socket.socketpair()
        for end in self.sockets:
            end.setblocking(False)
        self.tcp = tcp_pair()
        self.tcp[1].setblocking(False)
        self.models = [bytearray() for _ in range(BUFFERS)]
        self.borrows = [False] * BUFFERS  # may hold referenced chains
        self.told = [0] * BUFFERS
        self.frozen = [[False, False] for _ in range(BUFFERS)]  # [end, front]
        self.handles = [None] * BUFFERS
        self.bufs = [self.make(i) for i in range(BUFFERS)]

    def make(self, i):
        buf = EvBuffer(threadsafe=self.threadsafe)
        self.handles[i] = buf.add_callback(
            lambda b, original, added, removed: self.hear(i, added - removed)
        )
        return buf

    def hear(self, i, difference):
        self.told[i] += difference

    def works(self, call, *frozen):
        """Makes a call; False if it must fail because an end is frozen, and did."""
        if any(frozen):
            with pytest.raises(BufferError, match="frozen"):
                call()
            return False
        call()
        return True

    def end_frozen(self, i):
        return self.frozen[i][False]

    def front_frozen(self, i):
        return self.frozen[i][True]

    def teardown(self):
        pyevbuffer._set_min_chain(0)
        if not self.bufs:
            return
        for end in (*self.sockets, *self.tcp):
            end.close()
        self.file.close()
        self.segment.close()
        for handle in self.handles:
            handle.remove()  # and nothing is left for the cyclic collector
        self.bufs = self.handles = []
        handle = None
        assert all(b"".join(views) == expected for views, expected in self.views)
        self.views = self.reservations = None
        try:
            self.all_have_their_memory_back()
        except BufferError:
            # The traceback of an expected exception may still refer to a buffer, and the kernel may take
            # a while to say that it is done.
            gc.collect()
            until(lambda: not any(map(is_lent, self.lenders)), "memory was not given back")
            self.all_have_their_memory_back()

    def all_have_their_memory_back(self):
        for lender in self.lenders:
            lender.append(0)  # BufferError while its memory is lent

    # In.

    @rule(i=which, text=data)
    def add(self, i, text):
        if self.works(lambda: self.bufs[i].add(text), self.end_frozen(i)):
            self.models[i] += text

    @rule(i=which, text=data, skip=st.integers(0, 5))
    def add_reference(self, i, text, skip):
        skip = min(skip, len(text))
        lender = bytearray(text)
        self.lenders.append(lender)
        if self.works(lambda: self.bufs[i].add_reference(lender, skip), self.end_frozen(i)):
            self.models[i] += text[skip:]
        else:
            lender.append(0)

    @rule(i=which, j=which, n=size)
    def lend_a_view(self, i, j, n):
        """A part of one buffer in another one, or in itself."""
        views = self.bufs[j].peek(n)
        if views and not self.end_frozen(i):
            self.models[i] += views[0]
            self.bufs[i].add_reference(views[0])

    @rule(i=which, part=st.tuples(size, size), own=st.booleans())
    def add_file(self, i, part, own):
        offset, length = part[0], min(part[1], len(FILE_DATA) - part[0])
        add, what = self.bufs[i].add_file, self.file
        if not own:
            add, what = self.bufs[i].add_file_segment, self.segment
        if self.works(lambda: add(what, offset, length), self.end_frozen(i)):
            self.models[i] += FILE_DATA[offset : offset + length]
            self.borrows[i] = True

    @rule(i=which, text=data)
    def prepend(self, i, text):
        if self.works(lambda: self.bufs[i].prepend(text), self.front_frozen(i)):
            self.models[i][:0] = text

    @rule(i=which, n=size)
    def expand(self, i, n):
        self.bufs[i].expand(n)

    @rule(i=which, n=st.integers(0, 5000), used=st.floats(0, 1), keep=st.booleans())
    def reserve_in_a_block(self, i, n, used, keep):
        n_used = int(n * used)
        text = os.urandom(n_used)
        kept = None

        def reserve():
            nonlocal kept
            with self.bufs[i].reserve(n) as views:
                left = text
                for view in views:
                    part = min(len(view), len(left))
                    view[:part] = left[:part]
                    left = left[part:]
                if keep and views:
                    kept = views[0][:50]
                if n_used < n:
                    self.bufs[i].commit(n_used)

        if self.works(reserve, self.end_frozen(i)):
            self.models[i] += text
        if kept is not None:
            kept[:] = bytes(len(kept))

    @precondition(lambda self: len(self.reservations) < 3)
    @rule(i=which, text=data)
    def reserve(self, i, text):
        def reserve():
            space = self.bufs[i].reserve(len(text))
            left = text
            for view in space:
                view[:] = left[: len(view)]
                left = left[len(view) :]
            self.reservations.append((i, space, text))

        self.works(reserve, self.end_frozen(i))

    @precondition(lambda self: self.reservations)
    @rule(number=st.integers(0, 2), n=size)
    def commit(self, number, n):
        """Long after the space was reserved, and in any order."""
        i, space, text = self.reservations.pop(number % len(self.reservations))
        n = min(n, len(text))
        if self.works(lambda: space.commit(n), self.end_frozen(i)):
            self.models[i] += text[:n]

    # Out.

    @rule(i=which, n=size)
    def remove(self, i, n):
        out = []
        if self.works(lambda: out.append(self.bufs[i].remove(n)), self.front_frozen(i)):
            assert out[0] == self.models[i][:n]
            del self.models[i][:n]

    @rule(i=which)
    def remove_a_chain(self, i):
        views = self.bufs[i].peek()
        if views and not self.front_frozen(i):
            assert self.bufs[i].remove(len(views[0])) == views[0] == self.models[i][: len(views[0])]
            del self.models[i][: len(views[0])]

    @rule(i=which, n=size)
    def readinto(self, i, n):
        target = bytearray(n)
        out = []
        if self.works(lambda: out.append(self.bufs[i].readinto(target)), self.front_frozen(i)):
            assert target[: out[0]] == self.models[i][:n]
            del self.models[i][:n]

    @rule(i=which, n=size)
    def drain(self, i, n):
        if self.works(lambda: self.bufs[i].drain(n), self.front_frozen(i)):
            del self.models[i][:n]

    @rule(i=which, eol=eols)
    def readline(self, i, eol):
        found = first_line(bytes(self.models[i]), eol)
        out = []
        if not self.works(lambda: out.append(self.bufs[i].readline(eol)), self.front_frozen(i)):
            return
        if found is None:
            assert out == [None]
        else:
            assert out[0] == self.models[i][: found[0]]
            del self.models[i][: sum(found)]

    # Between buffers.

    def taken(self, i, j, n):
        """The models' half of moving n bytes from j."""
        text = self.models[j][:n]
        del self.models[j][:n]
        self.borrows[i] |= self.borrows[j] and bool(text)
        return text

    def moving_fails(self, i, j, front):
        return bool(self.models[j]) and (self.frozen[i][front] or self.front_frozen(j))

    @rule(i=which, j=which)
    def add_buffer(self, i, j):
        if i == j:
            self.bufs[i].add_buffer(self.bufs[i])
        elif self.works(
            lambda: self.bufs[i].add_buffer(self.bufs[j]), self.moving_fails(i, j, False)
        ):
            self.models[i] += self.taken(i, j, None)

    @rule(i=which, j=which)
    def prepend_buffer(self, i, j):
        if i != j and self.works(
            lambda: self.bufs[i].prepend_buffer(self.bufs[j]), self.moving_fails(i, j, True)
        ):
            self.models[i][:0] = self.taken(i, j, None)

    @rule(i=which, j=which, n=size)
    def move(self, i, j, n):
        out = []
        if i != j and self.works(
            lambda: out.append(self.bufs[j].move_to(self.bufs[i], n)),
            n and self.moving_fails(i, j, False),
        ):
            text = self.taken(i, j, n)
            assert out[0] == len(text)
            self.models[i] += text

    @rule(i=which, j=which)
    def refer(self, i, j):
        if i == j or self.borrows[j]:
            return
        if self.works(
            lambda: self.bufs[i].add_buffer_reference(self.bufs[j]),
            self.models[j] and self.end_frozen(i),
        ):
            self.models[i] += self.models[j]
            self.borrows[i] |= bool(self.models[j])

    @rule(i=which, j=which, n=st.integers(0, 5000), zerocopy=st.booleans())
    def through_a_socket(self, i, j, n, zerocopy):
        n = min(n, len(self.models[j]))
        if i == j or n == 0 or self.end_frozen(i) or self.front_frozen(j):
            return
        left, right = self.tcp if zerocopy else self.sockets
        self.bufs[j].zerocopy = zerocopy
        self.bufs[j].zerocopy_threshold = 50
        got = sent = 0
        while sent < n:
            # A part of a file leaves in a call of its own.
            sent += self.bufs[j].write(left, n - sent)
        while got < n:
            select.select([right], [], [], 20)
            got += self.bufs[i].read(right)
        self.models[i] += self.models[j][:n]
        del self.models[j][:n]

    # Looking.

    @rule(i=which, n=size, keep=st.booleans())
    def pullup(self, i, n, keep):
        n = min(n, len(self.models[i]))
        view = self.bufs[i].pullup(n)
        assert view == self.models[i][:n]
        assert self.bufs[i].contiguous >= n
        if keep:
            self.views.append(([view], bytes(view)))

    @rule(i=which, what=small, start=size, length=st.none() | size)
    def search(self, i, what, start, length):
        start = min(start, len(self.models[i]))
        end = None if length is None else min(start + length, len(self.models[i]))
        assert self.bufs[i].search(what, start, end) == self.models[i].find(what, start, end)

    @rule(i=which, start=size, n=st.integers(1, 20))
    def search_what_is_there(self, i, start, n):
        what = bytes(self.models[i][start : start + n])
        if what:
            assert self.bufs[i].search(what) == self.models[i].find(what)

    @rule(i=which, start=size, eol=eols)
    def search_eol(self, i, start, eol):
        start = min(start, len(self.models[i]))
        found = first_line(bytes(self.models[i][start:]), eol)
        expected = None if found is None else (start + found[0], found[1])
        assert self.bufs[i].search_eol(start, eol) == expected

    @rule(i=which, n=size, offset=size)
    def look(self, i, n, offset):
        offset = min(offset, len(self.models[i]))
        expected = self.models[i][offset : offset + n]
        out = []
        if self.works(lambda: out.append(self.bufs[i].copyout(n, offset)), self.front_frozen(i)):
            assert out == [expected]
        views = self.bufs[i].peek(n, offset)
        assert b"".join(views) == expected
        self.views.append((views, bytes(expected)))

    @rule(first=st.booleans())
    def forget_views(self, first):
        """In the order of their making or the other one; some live on."""
        half = len(self.views) // 2
        del self.views[: half + 1 if first else 0]
        while not first and len(self.views) > half:
            self.views.pop()

    # Life.

    @rule(i=which, front=st.booleans(), frozen=st.sampled_from([False, False, True]))
    def freeze(self, i, front, frozen):
        (self.bufs[i].freeze if frozen else self.bufs[i].unfreeze)(front=front)
        self.frozen[i][front] = frozen

    @rule(i=which)
    def renew(self, i):
        """Frees a buffer with all that it holds; views of it and reserved space live on."""
        self.reservations = [entry for entry in self.reservations if entry[0] != i]
        self.models[i].clear()
        self.borrows[i] = False
        self.told[i] = 0
        self.frozen[i] = [False, False]
        self.handles[i].remove()
        self.bufs[i] = self.make(i)

    @invariant()
    def same(self):
        for i, buf in enumerate(self.bufs):
            assert len(buf) == len(self.models[i]) == self.told[i]
            views = list(buf)
            assert b"".join(views) == self.models[i]
            assert buf.chains == len(views) and all(views)
        for views, expected in self.views or ():
            assert b"".join(views) == expected


NIGHTLY = settings.get_current_profile_name() == "nightly"

BufferMachine.TestCase.settings = settings(
    max_examples=5000 if NIGHTLY else 80,
    stateful_step_count=80 if NIGHTLY else 50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestBuffer = BufferMachine.TestCase
# Hundreds of thousands of steps take their time.
TestBuffer.pytestmark = [pytest.mark.timeout(7200 if NIGHTLY else 120)]
