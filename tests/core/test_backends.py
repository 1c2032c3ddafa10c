"""What each kernel mechanism has to get right: many descriptors, closed ones, changes, limits."""

import os
import select
import signal
import socket

import clock
import fds
import pytest

import cyevent
from cyevent import PERSIST, READ, TIMEOUT, WRITE, Event, EventBase, Timer

try:
    import resource
except ImportError:
    # Windows limits nothing of the kind.
    resource = None

TURN = cyevent.EVLOOP_NONBLOCK | cyevent.EVLOOP_ONCE


@pytest.fixture
def base(backend):
    """In place of the shared fixture: every method, and epoll with its changelist as well."""
    name, options = backend
    with EventBase(name, **options) as base:
        yield base


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        backends = [(name, {}) for name in EventBase.supported_methods()]
        if "epoll" in EventBase.supported_methods():
            backends.append(("epoll", {"epoll_changelist": True}))
        ids = [name + ("-changelist" if options else "") for name, options in backends]
        metafunc.parametrize("backend", backends, ids=ids)


@pytest.fixture
def many_pipes():
    """More pipes than select() has room for descriptors in its fixed-size sets."""
    wanted = 700
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 2 * wanted + 100:
            pytest.skip("too few descriptors allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * wanted + 100), hard))
    pipes = []
    try:
        for _ in range(wanted):
            pipes.append(fds.pipe())
        yield pipes
    finally:
        for ends in pipes:
            for fd in ends:
                fds.close(fd)
        if resource is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_hundreds_ready_at_once(base, many_pipes):
    seen = []
    events = []
    for reader, writer in many_pipes:
        fds.write(writer, b"x")
        ev = Event(
            base, reader, READ | PERSIST, lambda fd, what: seen.append((fd, fds.read(fd, 1)))
        )
        ev.add()
        events.append(ev)
    while len(seen) < len(many_pipes):
        before = len(seen)
        base.loop(TURN)
        assert len(seen) > before
    assert sorted(seen) == sorted((reader, b"x") for reader, _ in many_pipes)
    # Quiet again, all of them.
    base.loop(TURN)
    assert len(seen) == len(many_pipes)
    for ev in events:
        ev.delete()
    assert base.dispatch() == 1


def test_descriptors_beyond_fd_setsize(base, many_pipes):
    """FD_SETSIZE, 1024, is the C library's limit, not the kernel's."""
    high = [ends for ends in many_pipes if ends[0] > 1024]
    assert len(high) > 100
    seen = []
    for reader, writer in high[-3:]:
        Event(base, reader, READ, lambda fd, what: seen.append((fd, what))).add()
        Event(base, writer, WRITE, lambda fd, what: fds.write(fd, b"x")).add()
    assert base.dispatch() == 1
    assert sorted(seen) == sorted((reader, READ) for reader, _ in high[-3:])


def test_one_active_among_hundreds(base, many_pipes):
    seen = []
    events = [
        Event(base, reader, READ | PERSIST, lambda fd, what: seen.append((fd, fds.read(fd, 1))))
        for reader, _ in many_pipes
    ]
    for ev in events:
        ev.add()
    for i in (0, 350, 699, 1):
        fds.write(many_pipes[i][1], b"x")
        base.loop(cyevent.EVLOOP_ONCE)
        assert seen.pop() == (many_pipes[i][0], b"x")
        assert seen == []
    for ev in events[::2]:
        ev.delete()
    for _, writer in many_pipes:
        fds.write(writer, b"y")
    for _ in range(100):
        base.loop(TURN)
    assert sorted(seen) == sorted((reader, b"y") for reader, _ in many_pipes[1::2])


def test_growing_and_shrinking_while_the_loop_runs(base, many_pipes):
    """A chain: each callback sends to the next descriptor, which is added only then."""
    order = []

    def on_read(fd, what, i):
        fds.read(fd, 1)
        order.append(i)
        if i + 1 < len(many_pipes):
            add(i + 1)

    def add(i):
        Event(base, many_pipes[i][0], READ, on_read, i).add()
        fds.write(many_pipes[i][1], b"x")

    add(0)
    assert base.dispatch() == 1
    assert order == list(range(len(many_pipes)))


def test_a_descriptor_closed_behind_our_back(base, pair):
    """Its event is told, or times out; the other events are not disturbed."""
    left = pair[0]
    other, far = socket.socketpair()
    with other, far:
        seen = []
        gone = Event(base, left, READ, lambda fd, what: seen.append("gone"))
        gone.add(timeout=0.05)
        other_event = Event(base, other, READ, lambda fd, what: seen.append(other.recv(10)))
        other_event.add()
        base.loop(TURN)
        fds.close(left.detach())
        Timer(base, far.send, b"x").add(0.01)
        assert base.dispatch() == 1
        assert sorted(seen, key=str) == sorted(["gone", b"x"], key=str)
        gone.delete()
        gone.close()


def test_poll_tells_of_a_closed_descriptor(base, pair):
    if base.method != "poll":
        pytest.skip("only poll() looks at each descriptor on each call")
    seen = []
    ev = Event(base, pair[0], READ, lambda fd, what: seen.append(what))
    ev.add(timeout=600)
    fds.close(pair[0].detach())
    base.loop(cyevent.EVLOOP_ONCE)
    assert seen == [READ]


def test_a_closed_number_that_another_file_takes(base, pair):
    """Deleting before closing, as one should, and the number is free for another file."""
    left = pair[0]
    seen = []
    for _ in range(5):
        seen.clear()
        reader, writer = fds.pipe()
        ev = Event(base, reader, READ, lambda fd, what: seen.append(what))
        ev.add()
        base.loop(TURN)
        ev.delete()
        fds.close(reader)
        copy = fds.dup(left.fileno())
        assert copy == reader
        again = Event(base, copy, WRITE, lambda fd, what: seen.append(what))
        again.add()
        base.loop(TURN)
        assert seen == [WRITE]
        fds.close(copy)
        fds.close(writer)


def test_a_number_taken_without_deleting_first(base):
    """Closed and reopened between two turns while our event stands: it can watch the new file."""
    reader, writer = fds.pipe()
    fresh_reader, fresh_writer = fds.pipe()
    try:
        seen = []
        ev = Event(base, reader, READ | PERSIST, lambda fd, what: seen.append(fds.read(fd, 1)))
        ev.add()
        base.loop(TURN)
        fds.dup2(fresh_reader, reader)
        # The kernel forgot the old file; re-adding is how a program says that it knows.
        ev.delete()
        ev.add()
        fds.write(fresh_writer, b"n")
        base.loop(TURN)
        assert seen == [b"n"]
    finally:
        for fd in (reader, writer, fresh_reader, fresh_writer):
            fds.close(fd)


def test_add_and_delete_that_cancel_out(base, pair):
    left, right = pair
    right.send(b"x")
    ev = Event(base, left, READ, pytest.fail)
    keep = Timer(base, int)
    keep.add(600)
    for _ in range(100):
        ev.add()
        ev.delete()
    base.loop(TURN)
    ev2 = Event(base, left, READ | PERSIST, lambda fd, what: seen.append(what))
    seen = []
    for _ in range(100):
        ev2.add()
        ev2.delete()
    ev2.add()
    base.loop(TURN)
    assert seen == [READ]


def test_changes_in_callbacks_of_the_same_batch(base, many_pipes):
    """All are ready; the first to run deletes every other, which then must not run."""
    seen = []

    def on_read(fd, what):
        seen.append(fd)
        for ev in events:
            ev.delete()

    events = [Event(base, reader, READ | PERSIST, on_read) for reader, _ in many_pipes[:50]]
    for ev, (_, writer) in zip(events, many_pipes, strict=False):
        ev.add()
        fds.write(writer, b"x")
    assert base.dispatch() == 1
    assert len(seen) == 1


def test_both_directions_of_one_descriptor_change_apart(base, pair):
    left, right = pair
    right.send(b"x")
    seen = []
    reader = Event(base, left, READ | PERSIST, lambda fd, what: seen.append(what))
    writer = Event(base, left, WRITE | PERSIST, lambda fd, what: seen.append(what))
    for step, expected in (
        (reader.add, {READ}),
        (writer.add, {READ, WRITE}),
        (reader.delete, {WRITE}),
        (reader.add, {READ, WRITE}),
        (writer.delete, {READ}),
        (reader.delete, set()),
    ):
        step()
        seen.clear()
        base.loop(TURN)
        assert set(seen) == expected


def test_out_of_band_data_is_no_ordinary_data(base):
    if not hasattr(socket, "MSG_OOB"):
        pytest.skip("no out-of-band data here")
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
    with left, right:
        seen = []
        ev = Event(base, right, READ, lambda fd, what: seen.append(right.recv(10)))
        ev.add()
        left.send(b"!", socket.MSG_OOB)
        base.loop(TURN)
        assert seen == []
        left.send(b"x")
        base.loop(cyevent.EVLOOP_ONCE)
        assert seen == [b"x"]


def test_a_refused_connection_is_readable_and_writable(base):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(address)
        seen = []
        Event(base, sock, READ, lambda fd, what: seen.append(what)).add()
        Event(base, sock, WRITE, lambda fd, what: seen.append(what)).add()
        base.dispatch()
        assert sorted(seen) == [READ, WRITE]
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def test_a_pipes_reader_that_goes_away(base):
    reader, writer = fds.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            fds.write(writer, b"x" * 65536)
    except BlockingIOError:
        pass
    seen = []
    Event(base, writer, WRITE, lambda fd, what: seen.append(what)).add()
    Timer(base, os.close, reader).add(0.005)
    base.dispatch()
    fds.close(writer)
    assert seen == [WRITE]


def test_an_epoll_set_inside_our_own(base, pair):
    """An event mechanism can itself be waited for."""
    if not hasattr(select, "epoll"):
        pytest.skip("no epoll here")
    with select.epoll() as inner:
        inner.register(pair[0], select.EPOLLIN)
        seen = []
        Event(base, inner, READ, lambda fd, what: seen.append(inner.poll(0))).add()
        pair[1].send(b"x")
        base.dispatch()
        assert seen == [[(pair[0].fileno(), select.EPOLLIN)]]


def test_waits_end_in_time_for_timers(base, pair):
    Event(base, pair[0], READ, pytest.fail).add()
    start = clock.monotonic()
    Timer(base, base.loopbreak).add(0.02)
    base.dispatch()
    assert clock.monotonic() - start >= 0.02


def test_no_starvation_among_ready_descriptors(base, many_pipes):
    """Those that are always ready do not keep the others from being reported."""
    seen = set()
    for reader, writer in many_pipes[:200]:
        fds.write(writer, b"x" * 100)
        Event(base, reader, READ | PERSIST, lambda fd, what: seen.add(fd)).add()
    for _ in range(50):
        base.loop(TURN)
    assert len(seen) == 200


def test_interrupted_waits_go_on(base):
    """EINTR is no failure and no reason to return early."""
    hits = []
    previous = signal.signal(signal.SIGALRM, lambda signum, frame: hits.append(signum))
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        start = clock.monotonic()
        Timer(base, int).add(0.05)
        assert base.dispatch() == 1
        assert clock.monotonic() - start >= 0.05
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert hits


def test_timeout_of_hundreds(base, many_pipes):
    seen = []
    for reader, _ in many_pipes:
        Event(base, reader, READ, lambda fd, what: seen.append(what)).add(timeout=0.005)
    assert base.dispatch() == 1
    assert seen == [TIMEOUT] * len(many_pipes)
