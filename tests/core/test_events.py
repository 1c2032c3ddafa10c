"""Events on descriptors: reading, writing, closing, several on one, activation by hand."""

import os
import socket

import clock
import fds
import pytest

import cyevent
from cyevent import CLOSED, ET, PERSIST, READ, TIMEOUT, WRITE, Event, EventBase, Timer


def nothing(*args):
    pass


def drain(fd):
    """Everything that can be read now."""
    data = b""
    while True:
        try:
            piece = fds.read(fd, 4096)
        except BlockingIOError:
            return data
        if not piece:
            return data
        data += piece


def stuff(sock):
    """Writes until the peer's buffer is full."""
    try:
        while True:
            sock.send(b"c" * 1024)
    except BlockingIOError:
        pass


# --- reading and writing -------------------------------------------------------------------------


def test_read_then_end_of_file(base, pair):
    left, right = pair
    left.sendall(b"this is a test")
    left.shutdown(socket.SHUT_WR)
    got = []

    def on_read(fd, what):
        assert fd == right.fileno()
        assert what == READ
        got.append(fds.read(fd, 256))
        if got[-1]:
            ev.add()

    ev = Event(base, right, READ, on_read)
    ev.add()
    assert base.dispatch() == 1
    assert got == [b"this is a test", b""]


def test_two_events_read_one_descriptor(base, pair):
    left, right = pair
    left.sendall(b"x")
    left.shutdown(socket.SHUT_WR)
    called = []
    one = Event(base, right, READ, lambda fd, what: called.append("one"))
    two = Event(base, right, READ, lambda fd, what: called.append("two"))
    one.add()
    two.add()
    base.dispatch()
    assert sorted(called) == ["one", "two"]


def test_write(base, pair):
    left, right = pair
    Event(base, left, WRITE, lambda fd, what: fds.write(fd, b"this is a test")).add()
    base.dispatch()
    assert right.recv(100) == b"this is a test"


def test_callback_gets_its_arguments(base, pair):
    left, _ = pair
    got = []
    ev = Event(base, left, WRITE, lambda *args: got.append(args), "a", 2, None)
    ev.add()
    base.dispatch()
    assert got == [(left.fileno(), WRITE, "a", 2, None)]
    assert type(got[0][0]) is int
    assert got[0][1] & WRITE


def test_event_tells_what_it_was_made_of(base, pair):
    left, _ = pair
    ev = Event(base, left, READ | PERSIST, nothing, "a", 2)
    assert ev.base is base
    assert ev.fd == left.fileno()
    assert ev.events == READ | PERSIST
    assert ev.callback is nothing
    assert ev.args == ("a", 2)
    assert ev.initialized
    assert str(left.fileno()) in repr(ev)


def test_a_number_is_as_good_as_a_socket(base, pair):
    left, _ = pair
    called = []
    Event(base, left.fileno(), WRITE, lambda fd, what: called.append(fd)).add()
    base.dispatch()
    assert called == [left.fileno()]


def test_pipes(base):
    reader, writer = fds.pipe()
    try:
        got = []
        Event(base, reader, READ, lambda fd, what: got.append(fds.read(fd, 10))).add()
        Event(base, writer, WRITE, lambda fd, what: fds.write(fd, b"pipe")).add()
        base.dispatch()
        assert got == [b"pipe"]
    finally:
        fds.close(reader)
        fds.close(writer)


@pytest.mark.parametrize("persist", [False, True], ids=["readd", "persist"])
def test_much_data_in_small_writes(base, pair, persist):
    left, right = pair
    data = bytes(range(256)) * 100
    sent = 0
    received = bytearray()
    flags = PERSIST if persist else 0

    def on_write(fd, what):
        nonlocal sent
        sent += fds.write(fd, data[sent : sent + 128])
        if sent == len(data):
            left.shutdown(socket.SHUT_WR)
            writer.delete()
        elif not persist:
            writer.add()

    def on_read(fd, what):
        piece = fds.read(fd, 999)
        received.extend(piece)
        if not piece:
            reader.delete()
        elif not persist:
            reader.add()

    writer = Event(base, left, WRITE | flags, on_write)
    reader = Event(base, right, READ | flags, on_read)
    writer.add()
    reader.add()
    base.dispatch()
    assert received == data


def test_both_directions_at_once(base, pair):
    left, right = pair
    total = {left.fileno(): 4096, right.fileno(): 8192}
    received = {left.fileno(): 0, right.fileno(): 0}
    events = {}

    def on_write(fd, what):
        n = min(128, total[fd])
        if n == 0:
            (left if fd == left.fileno() else right).shutdown(socket.SHUT_WR)
            return
        total[fd] -= fds.write(fd, b"q" * n)
        events[fd, WRITE].add()

    def on_read(fd, what):
        piece = fds.read(fd, 128)
        if piece:
            received[fd] += len(piece)
            events[fd, READ].add()

    for sock in pair:
        fd = sock.fileno()
        events[fd, READ] = Event(base, sock, READ, on_read)
        events[fd, WRITE] = Event(base, sock, WRITE, on_write)
    for ev in events.values():
        ev.add()
    base.dispatch()
    assert received == {left.fileno(): 8192, right.fileno(): 4096}


def test_read_and_write_events_of_one_descriptor(base, pair):
    left, right = pair
    seen = 0

    def on_event(fd, what):
        nonlocal seen
        seen |= what

    reader = Event(base, left, READ, on_event)
    writer = Event(base, left, WRITE, on_event)
    reader.add()
    writer.add()
    base.loop(cyevent.EVLOOP_ONCE)
    assert seen == WRITE
    writer.delete()
    right.sendall(b"x")
    base.loop(cyevent.EVLOOP_ONCE)
    reader.delete()
    assert seen == READ | WRITE


def test_one_event_for_both_is_told_which(base, pair):
    left, right = pair
    stuff(left)
    seen = []
    ev = Event(base, left, READ | WRITE, lambda fd, what: seen.append(what))
    right.sendall(b"x")
    ev.add()
    base.dispatch()
    assert seen == [READ]
    drain(right.fileno())
    ev.add()
    base.dispatch()
    assert seen == [READ, READ | WRITE]


def test_an_event_without_persist_fires_once(base, pair):
    left, right = pair
    called = []

    def on_read(fd, what):
        called.append(fds.read(fd, 256))
        left.sendall(b"more")

    left.sendall(b"x")
    base.loopexit(0.05)
    ev = Event(base, right, READ, on_read)
    ev.add()
    base.dispatch()
    assert called == [b"x"]
    assert not ev.pending()


def test_readding_each_other_while_both_are_active(base, pair):
    left, right = pair
    left.sendall(b"Hello")
    right.sendall(b"Hello")
    ran = []

    def on_read(fd, what, name):
        ran.append(name)
        fds.read(fd, 256)
        events[1 - name].add()

    events = [Event(base, sock, READ, on_read, i) for i, sock in enumerate(pair)]
    for ev in events:
        ev.add()
    assert base.loop(cyevent.EVLOOP_ONCE) == 0
    # The first to run re-added the second, which its own run then took out again.
    assert sorted(ran) == [0, 1]
    assert not events[ran[1]].pending(READ)
    assert events[ran[0]].pending(READ)
    for ev in events:
        ev.delete()


def test_changing_interest_many_times(base, pair):
    left, right = pair
    right.sendall(b"x")
    seen = []
    reader = Event(base, left, READ | PERSIST, lambda fd, what: seen.append(READ))
    writer = Event(base, left, WRITE | PERSIST, lambda fd, what: seen.append(WRITE))
    for wanted in ([reader], [writer], [reader, writer], [], [writer], [reader]):
        for ev in wanted:
            ev.add()
        seen.clear()
        base.loop(cyevent.EVLOOP_NONBLOCK | cyevent.EVLOOP_ONCE)
        assert sorted(seen) == sorted(ev.events & ~PERSIST for ev in wanted)
        for ev in wanted:
            ev.delete()


def test_a_dozen_events_on_one_descriptor(base, pair):
    left, right = pair
    right.sendall(b"x")
    ran = []
    events = [Event(base, left, READ, lambda fd, what, n: ran.append(n), n) for n in range(12)]
    for ev in events:
        ev.add()
    events[3].delete()
    events[11].delete()
    base.dispatch()
    assert sorted(ran) == [n for n in range(12) if n not in (3, 11)]


# --- a peer that goes away -----------------------------------------------------------------------


def test_a_closed_peer_is_readable_and_writable(base):
    a, b = socket.socketpair()
    c, d = socket.socketpair()
    for sock in (b, d):
        sock.setblocking(False)
    stuff(d)
    closed = False
    seen = []

    def close_both():
        nonlocal closed
        closed = True
        a.close()
        c.close()

    def record(fd, what, name):
        seen.append((name, what, closed))

    with a, b, c, d:
        Timer(base, close_both).add(0.02)
        Event(base, b, READ, record, "read").add()
        Event(base, d, WRITE, record, "write").add()
        base.dispatch()
        assert sorted(seen) == [("read", READ, True), ("write", WRITE, True)]


@pytest.mark.parametrize("edge", [False, True], ids=["level", "edge"])
@pytest.mark.parametrize("persist", [False, True], ids=["once", "persist"])
@pytest.mark.parametrize("how", ["close", "shutdown"])
def test_early_close(base, pair, how, persist, edge):
    if not base.features & cyevent.EV_FEATURE_EARLY_CLOSE:
        pytest.skip(f"{base.method} does not tell of an early close")
    if edge and not base.features & cyevent.EV_FEATURE_ET:
        pytest.skip(f"{base.method} is not edge-triggered")
    left, right = pair
    events = CLOSED | (ET if edge else 0) | (PERSIST if persist else 0)
    seen = []
    ev = Event(base, left, events, lambda fd, what: seen.append(what))
    ev.add()
    if how == "close":
        right.close()
    else:
        right.shutdown(socket.SHUT_WR)
    if persist and not edge:
        # Level-triggered, it would be told for ever.
        base.loopexit(0.01)
    assert base.loop(cyevent.EVLOOP_NONBLOCK) == (0 if persist else 1)
    assert seen
    assert set(seen) == {events & ~PERSIST}
    if edge or not persist:
        assert len(seen) == 1


def test_early_close_is_told_before_the_data_is_read(base, pair):
    if not base.features & cyevent.EV_FEATURE_EARLY_CLOSE:
        pytest.skip(f"{base.method} does not tell of an early close")
    left, right = pair
    right.sendall(b"last words")
    right.close()
    seen = []
    Event(base, left, CLOSED, lambda fd, what: seen.append(what)).add()
    base.dispatch()
    assert seen == [CLOSED]
    assert left.recv(100) == b"last words"


def test_data_alone_is_no_close(base, pair):
    if not base.features & cyevent.EV_FEATURE_EARLY_CLOSE:
        pytest.skip(f"{base.method} does not tell of an early close")
    left, right = pair
    right.sendall(b"data")
    seen = []
    ev = Event(base, left, CLOSED | READ, lambda fd, what: seen.append(what))
    ev.add()
    base.loop(cyevent.EVLOOP_NONBLOCK)
    assert seen == [READ]


# --- asking and activating -----------------------------------------------------------------------


def test_pending_tells_what_is_waited_for(base, pair):
    left, right = pair
    reader = Event(base, left, READ, nothing)
    writer = Event(base, right, WRITE, nothing)
    timer = Timer(base, nothing)
    before = clock.monotonic()
    reader.add()
    timer.add(0.5)
    after = clock.monotonic()
    assert reader.pending(READ) == READ
    assert not writer.pending(WRITE)
    assert not reader.pending(WRITE)
    assert reader.pending(READ | WRITE) == READ
    assert not reader.pending(TIMEOUT)
    assert reader.pending() == READ
    assert timer.pending(TIMEOUT) == TIMEOUT
    assert timer.pending() == TIMEOUT
    assert before + 0.5 <= timer.expires <= after + 0.5
    assert reader.expires is None
    reader.delete()
    assert not reader.pending()
    timer.delete()
    assert timer.expires is None


def test_activating_twice_adds_up(base):
    seen = []
    ev = Event(base, -1, 0, lambda fd, what: seen.append(what))
    ev.activate(READ)
    assert ev.pending(READ | TIMEOUT | WRITE) == READ
    ev.activate(WRITE)
    assert ev.pending(READ | TIMEOUT | WRITE) == READ | WRITE
    base.dispatch()
    assert seen == [READ | WRITE]


def test_deleting_an_active_event_keeps_it_from_running(base):
    ev = Event(base, -1, 0, lambda fd, what: pytest.fail("it ran"))
    ev.activate(READ)
    ev.delete()
    assert not ev.pending()
    assert base.dispatch() == 1


def test_adding_and_deleting_twice_is_harmless(base, pair):
    ev = Event(base, pair[0], READ, nothing)
    ev.delete()
    ev.add()
    ev.add()
    assert base.num_events() == 1
    ev.delete()
    ev.delete()
    assert base.num_events() == 0


def test_an_event_may_activate_itself_again(base):
    runs = []

    def again(fd, what):
        runs.append(what)
        if len(runs) < 5:
            ev.activate(READ)

    ev = Event(base, -1, 0, again)
    ev.activate(WRITE)
    base.dispatch()
    assert runs == [WRITE, READ, READ, READ, READ]


def test_running_event_is_the_one_whose_callback_runs(base, pair):
    seen = []

    def look(*args):
        seen.append(base.running_event)

    ev = Event(base, pair[0], WRITE, look)
    timer = Timer(base, look)
    assert base.running_event is None
    ev.add()
    base.dispatch()
    timer.add(0)
    base.dispatch()
    assert seen == [ev, timer]
    assert base.running_event is None


def test_active_by_fd(base, pair):
    # Neither is readable, and nobody waits to write on the right: only what is forced happens.
    left, right = pair
    seen = []
    events = [
        Event(base, sock, what, lambda fd, what, name: seen.append((name, what)), name)
        for name, sock, what in (
            ("left read", left, READ),
            ("left write", left, WRITE),
            ("right read", right, READ),
            ("right read too", right, READ),
        )
    ]
    for ev, timeout in zip(events, (600, None, None, 600), strict=True):
        ev.add(timeout)
    base.active_by_fd(left, WRITE)
    base.active_by_fd(right, READ)
    base.active_by_fd(right.fileno(), TIMEOUT)
    base.loop(cyevent.EVLOOP_ONCE)
    assert sorted(seen) == [
        ("left write", WRITE),
        ("right read", READ),
        ("right read too", READ | TIMEOUT),
    ]


def test_active_by_fd_of_nobody(base):
    base.active_by_fd(1000, READ)
    assert base.num_events() == 0


# --- once ----------------------------------------------------------------------------------------


def test_once(base, pair):
    left, right = pair
    called = []
    base.once(left, READ, lambda fd, what, word: called.append((what, word)), "read")
    base.once(-1, TIMEOUT, lambda fd, what: called.append("later"), timeout=0.02)
    base.once(-1, TIMEOUT, lambda fd, what: called.append("at once"))
    base.once(-1, TIMEOUT, lambda fd, what: called.append("at once too"), timeout=0)
    right.sendall(b"x")
    right.shutdown(socket.SHUT_WR)
    assert base.dispatch() == 1
    assert called[:2] == ["at once", "at once too"]
    assert sorted(called, key=str) == sorted(
        ["at once", "at once too", "later", (READ, "read")], key=str
    )


def test_once_without_a_wait_keeps_the_order(base):
    """One idiom for "as soon as possible"; the order also holds where the time stands still."""
    ran = []

    def schedule():
        for n in range(20):
            base.once(-1, TIMEOUT, lambda fd, what, n: ran.append(n), n)

    base.once(-1, TIMEOUT, lambda fd, what: schedule())
    base.dispatch()
    assert ran == list(range(20))


def test_once_cannot_be_persistent_or_empty(base, pair):
    for what in (0, READ | PERSIST, cyevent.SIGNAL):
        with pytest.raises(ValueError, match=r"\bwhat\b|\bevents\b"):
            base.once(pair[0], what, nothing)
    assert base.num_events() == 0


def test_once_that_never_fires(base):
    called = []
    base.once(-1, TIMEOUT, called.append, timeout=10)
    base.loopexit(0.01)
    assert base.dispatch() == 0
    assert called == []


def test_once_with_timeout_on_a_silent_descriptor(base, pair):
    called = []
    base.once(pair[0], READ, lambda fd, what: called.append(what), timeout=0.01)
    base.dispatch()
    assert called == [TIMEOUT]


# --- descriptor numbers --------------------------------------------------------------------------


def test_a_duplicate_number_that_is_closed_and_reused(base, pair):
    left, right = pair
    left.sendall(b"Hello world")
    fd = right.fileno()
    copy = fds.dup(fd)
    seen = {}
    try:
        one = Event(base, fd, READ | PERSIST, lambda _, what: seen.update(one=what))
        two = Event(base, copy, READ | PERSIST, lambda _, what: seen.update(two=what))
        one.add()
        two.add()
        base.loop(cyevent.EVLOOP_ONCE)
        assert seen == {"one": READ, "two": READ}
        # The open file lives on, so the kernel still has our interest in the closed number.
        fds.close(copy)
        two.delete()
        seen.clear()
        base.loop(cyevent.EVLOOP_ONCE)
        assert seen == {"one": READ}
        assert os.dup2(fd, copy) == copy
        two.close()
        two = Event(base, copy, WRITE | PERSIST, lambda _, what: seen.update(two=what))
        two.add()
        seen.clear()
        base.loop(cyevent.EVLOOP_ONCE)
        assert seen == {"one": READ, "two": WRITE}
    finally:
        fds.close(copy)


@pytest.mark.parametrize("one_at_a_time", [False, True], ids=["together", "slow_add"])
def test_many_events_ready_at_once(method, one_at_a_time):
    # Wine needs long for the square of it.
    many = 100 if fds.WINDOWS else 300
    socks = []
    with EventBase(method) as base:
        called = [0] * many

        def count(fd, what, i):
            called[i] += 1

        flags = cyevent.EVLOOP_NONBLOCK
        if one_at_a_time:
            flags |= cyevent.EVLOOP_ONCE
        try:
            for i in range(many):
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                socks.append(sock)
                events = WRITE | (PERSIST if one_at_a_time else 0)
                Event(base, sock, events, count, i).add()
                if one_at_a_time:
                    base.loop(flags)
            base.loop(flags)
        finally:
            for ev in list(base):
                ev.delete()
            for sock in socks:
                sock.close()
        if one_at_a_time:
            assert called == [many - i + 1 for i in range(many)]
        else:
            assert called == [1] * many
