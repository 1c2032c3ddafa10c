"""Socket bufferevents: bytes, callbacks, watermarks, timeouts, errors."""

import os
import socket

import clock
import fds
import pytest
from loops import run_until

from cyevent import (
    BEV_EVENT_CONNECTED,
    BEV_EVENT_EOF,
    BEV_EVENT_ERROR,
    BEV_EVENT_READING,
    BEV_EVENT_TIMEOUT,
    BEV_EVENT_WRITING,
    BEV_FINISHED,
    BEV_FLUSH,
    BEV_NORMAL,
    BEV_OPT_DEFER_CALLBACKS,
    BEV_OPT_THREADSAFE,
    BEV_OPT_UNLOCK_CALLBACKS,
    BEV_TRIG_DEFER_CALLBACKS,
    BEV_TRIG_IGNORE_WATERMARKS,
    EVLOOP_NONBLOCK,
    EVLOOP_ONCE,
    READ,
    WRITE,
    EvBuffer,
    Listener,
    SocketBufferEvent,
    Timer,
)

OPTIONS = [
    pytest.param(0, id="plain"),
    pytest.param(BEV_OPT_DEFER_CALLBACKS, id="defer"),
    pytest.param(BEV_OPT_THREADSAFE, id="lock"),
    pytest.param(BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS, id="lock defer"),
    pytest.param(
        BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS | BEV_OPT_UNLOCK_CALLBACKS, id="unlocked"
    ),
]


@pytest.fixture(params=OPTIONS)
def options(request):
    return request.param


@pytest.fixture
def linked(base, pair, options):
    """Two bufferevents on connected sockets, that own them."""
    left, right = (SocketBufferEvent(base, sock, options) for sock in pair)
    yield left, right
    left.close()
    right.close()


def test_bytes_arrive_in_order(base, linked):
    left, right = linked
    data = os.urandom(1_000_000)
    received = bytearray()
    written = []
    right.set_callbacks(read=lambda bev: received.extend(bev.read()))
    right.enable(READ)
    left.set_callbacks(write=lambda bev: written.append(len(bev.output)))
    for at in range(0, len(data), 10_000):
        left.write(data[at : at + 10_000])
    run_until(base, lambda: len(received) == len(data) and written)
    assert received == data
    # Told once it was empty, not for each part that left.
    assert written == [0]


def test_echo_in_callbacks(base, linked):
    left, right = linked
    rounds = []

    def answer(bev):
        rounds.append(bev.read())
        if len(rounds) == 1000:
            base.loopbreak()
        bev.write(b"%d" % len(rounds))

    for bev in linked:
        bev.set_callbacks(read=answer)
        bev.enable(READ)
    left.write(b"0")
    base.dispatch()
    assert rounds == [b"%d" % i for i in range(1000)]


def test_enable_write_tells_of_the_empty_output(base, linked):
    left, _ = linked
    told = []
    left.set_callbacks(write=lambda bev: told.append(1))
    left.enable(WRITE)
    base.loop(EVLOOP_NONBLOCK)
    base.loop(EVLOOP_NONBLOCK)
    assert told == [1]


def test_reading_needs_enabling(base, linked):
    left, right = linked
    got = []
    right.set_callbacks(read=lambda bev: got.append(bev.read()))
    left.write(b"abc")
    base.loop(EVLOOP_NONBLOCK)
    base.loop(EVLOOP_NONBLOCK)
    assert got == []
    right.enable(READ)
    run_until(base, lambda: got)
    right.disable(READ)
    left.write(b"def")
    base.loop(EVLOOP_NONBLOCK)
    base.loop(EVLOOP_NONBLOCK)
    assert got == [b"abc"]
    right.enable(READ)
    run_until(base, lambda: len(got) == 2)
    assert got == [b"abc", b"def"]
    assert right.enabled == READ | WRITE


def test_writing_can_be_disabled(base, linked):
    left, right = linked
    got = []
    right.set_callbacks(read=lambda bev: got.append(bev.read()))
    right.enable(READ)
    left.disable(WRITE)
    left.write(b"abc")
    for _ in range(3):
        base.loop(EVLOOP_NONBLOCK)
    assert got == [] and len(left.output) == 3
    left.enable(WRITE)
    run_until(base, lambda: got)


def test_read_in_parts_and_buffers(base, linked):
    left, right = linked
    right.enable(READ)
    left.write(b"0123456789")
    run_until(base, lambda: len(right.input) == 10)
    assert right.read(3) == b"012"
    assert right.input.readline() is None
    target = EvBuffer(b">")
    right.read_buffer(target)
    assert bytes(target) == b">3456789"
    assert right.read() == b""
    left.write_buffer(target)
    assert len(target) == 0
    left.write_reference(bytearray(b"lent"))
    message = EvBuffer(b"shared")
    left.write_reference(message)
    assert bytes(message) == b"shared"
    run_until(base, lambda: len(right.input) == 18)
    assert right.read() == b">3456789lentshared"


def test_frozen_ends(linked):
    left, _ = linked
    with pytest.raises(BufferError):
        left.input.add(b"x")
    left.output.add(b"x")
    with pytest.raises(BufferError):
        left.output.remove(1)


def test_broadcast_by_reference(base):
    """One message in many outputs; the bytes go when the last receiver has them."""
    pairs = [socket.socketpair() for _ in range(20)]
    bevs = [SocketBufferEvent(base, left) for left, _ in pairs]
    payload = bytearray(b"m" * 10_000)
    message = EvBuffer()
    message.add_reference(payload)
    for bev in bevs:
        bev.output.add_buffer_reference(message)
    message.drain()
    with pytest.raises(BufferError):
        payload.append(1)
    base.loop(EVLOOP_NONBLOCK)
    for _, right in pairs:
        assert right.recv(20_000, socket.MSG_WAITALL | socket.MSG_DONTWAIT) == b"m" * 10_000
        right.close()
    payload.append(1)
    for bev in bevs:
        bev.close()


# --- watermarks ---------------------------------------------------------------------------------------


def test_watermarks(base, linked):
    left, right = linked
    data = bytes(range(250)) * 260
    received = bytearray()
    lengths = []
    drained = []

    def read(bev):
        lengths.append(len(bev.input))
        received.extend(bev.read())

    right.set_callbacks(read=read)
    assert right.get_watermark(READ) == (0, 0)
    right.set_watermark(READ, 10, 20)
    assert right.get_watermark(READ) == (10, 20)
    right.enable(READ)
    left.set_callbacks(write=lambda bev: drained.append(len(bev.output)))
    left.set_watermark(WRITE, 100, 2000)
    assert left.get_watermark(WRITE) == (100, 2000)
    left.disable(READ)
    left.write(data)
    run_until(base, lambda: len(received) == len(data))
    assert received == data
    assert all(10 <= n <= 20 for n in lengths)
    assert drained and all(n <= 100 for n in drained)


def test_reading_pauses_at_the_high_watermark(base, linked):
    left, right = linked
    right.set_watermark(READ, 0, 100)
    right.enable(READ)
    left.write(b"x" * 1000)
    for _ in range(5):
        base.loop(EVLOOP_NONBLOCK)
    assert len(right.input) == 100
    right.input.drain(30)
    run_until(base, lambda: len(right.input) == 100)
    right.set_watermark(READ, 0, 200)
    run_until(base, lambda: len(right.input) == 200)
    right.set_watermark(READ, 0, 0)
    run_until(base, lambda: len(right.input) == 970)


def test_high_watermark_that_is_not_drained_below(base, linked):
    """The read callback is called again as long as it leaves the input full."""
    left, right = linked
    calls = []

    def read(bev):
        calls.append(len(bev.input))
        if len(calls) == 3:
            bev.input.drain()

    right.set_callbacks(read=read)
    right.set_watermark(READ, 0, 10)
    right.enable(READ)
    left.write(b"x" * 10)
    run_until(base, lambda: len(calls) == 3)
    assert calls == [10, 10, 10]


def test_low_watermark_of_reading(base, linked):
    left, right = linked
    got = []
    right.set_callbacks(read=lambda bev: got.append(bev.read()))
    right.set_watermark(READ, 5)
    right.enable(READ)
    left.write(b"abcd")
    for _ in range(3):
        base.loop(EVLOOP_NONBLOCK)
    assert got == []
    left.write(b"e")
    run_until(base, lambda: got)
    assert got == [b"abcde"]


# --- timeouts -----------------------------------------------------------------------------------------


def test_read_timeout(base, linked):
    left, right = linked
    events = []
    right.set_callbacks(event=lambda bev, what: events.append((what, clock.monotonic())))
    right.set_timeouts(read=0.1)
    started = clock.monotonic()
    right.enable(READ)
    base.dispatch()
    assert [what for what, _ in events] == [BEV_EVENT_TIMEOUT | BEV_EVENT_READING]
    assert 0.09 < events[0][1] - started < 1
    assert right.enabled == WRITE


def test_bytes_restart_the_read_timeout(base, linked):
    left, right = linked
    # In the loop's own time, which the timeout counts in: between two turns this process may stand still.
    restarted = [base.monotonic()]
    events, waits = [], []
    right.input.add_callback(lambda *change: restarted.append(base.monotonic()))

    def on_event(bev, what):
        events.append(what)
        waits.append(base.monotonic() - restarted[-1])
        if writer.pending():
            # For so long nothing arrived, on a busy machine.
            bev.enable(READ)

    writer = Timer(base, lambda: left.write(b"x"), persist=True)
    writer.add(0.05)
    right.set_callbacks(event=on_event)
    right.set_timeouts(read=0.2)
    right.enable(READ)
    base.loopexit(0.5)
    base.dispatch()
    assert len(restarted) > 1
    writer.delete()
    base.dispatch()
    assert events
    assert set(events) == {BEV_EVENT_TIMEOUT | BEV_EVENT_READING}
    assert min(waits) > 0.19


def test_write_timeout(base, linked):
    left, right = linked
    events = []
    left.set_callbacks(event=lambda bev, what: events.append(what))
    left.set_timeouts(write=0.1)
    left.write(b"x")
    base.loopexit(0.2)
    base.dispatch()
    assert events == []
    left.write(b"x" * 10_000_000)
    base.dispatch()
    assert events == [BEV_EVENT_TIMEOUT | BEV_EVENT_WRITING]
    assert not left.enabled & WRITE


def test_timeouts_without_a_descriptor(base, options):
    one = SocketBufferEvent(base, options=options)
    two = SocketBufferEvent(base, options=options)
    events = []
    started = clock.monotonic()

    def event(name):
        return lambda bev, what: events.append((name, what, clock.monotonic() - started))

    two.disable(READ)
    one.set_callbacks(event=event("one"))
    one.set_timeouts(read=0.3, write=0.1)
    one.write(b"ABCDEFG")
    one.enable(READ | WRITE)
    two.set_callbacks(event=event("two"))
    two.set_timeouts(read=0.1, write=0.2)
    two.enable(WRITE)
    base.loopexit(0.5)
    base.dispatch()
    assert [(name, what) for name, what, _ in events] == [
        ("one", BEV_EVENT_TIMEOUT | BEV_EVENT_WRITING),
        ("two", BEV_EVENT_TIMEOUT | BEV_EVENT_WRITING),
        ("one", BEV_EVENT_TIMEOUT | BEV_EVENT_READING),
    ]
    # None is early; how late they are is the machine's.
    for (_, _, elapsed), seconds in zip(events, (0.1, 0.2, 0.3), strict=True):
        assert elapsed >= seconds
    one.close()
    two.close()


def test_timeouts_can_be_taken_away(base, linked):
    left, right = linked
    events = []
    right.set_callbacks(event=lambda bev, what: events.append(what))
    right.set_timeouts(read=0.05)
    right.enable(READ)
    right.set_timeouts()
    base.loopexit(0.2)
    base.dispatch()
    assert events == []
    right.set_timeouts(read=0.05)
    base.dispatch()
    assert len(events) == 1


# --- the end ------------------------------------------------------------------------------------------


def test_end_of_stream(base, linked):
    left, right = linked
    log = []
    right.set_callbacks(
        read=lambda bev: log.append(bev.read()), event=lambda bev, what: log.append(what)
    )
    right.enable(READ)
    left.write(b"last words")
    base.loop(EVLOOP_ONCE)
    left.close()
    run_until(base, lambda: len(log) == 2)
    assert log == [b"last words", BEV_EVENT_READING | BEV_EVENT_EOF]
    assert right.enabled == WRITE
    assert right.error is None


def test_reset(base):
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    sock, _ = listener.accept()
    events = []
    bev = SocketBufferEvent(base, sock, event=lambda bev, what: events.append(what))
    bev.enable(READ)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    run_until(base, lambda: events)
    assert events == [BEV_EVENT_READING | BEV_EVENT_ERROR]
    assert isinstance(bev.error, ConnectionResetError)
    bev.close()
    listener.close()


def test_write_error(base, linked):
    left, right = linked
    events = []
    left.set_callbacks(event=lambda bev, what: events.append(what))
    right.close()
    left.write(b"x")
    if fds.WINDOWS:
        # The pair is a connection, and the first answer tells that nobody takes what is sent.
        run_until(base, lambda: not left.output)
        left.write(b"x")
    run_until(base, lambda: events)
    assert events == [BEV_EVENT_WRITING | BEV_EVENT_ERROR]
    assert isinstance(left.error, ConnectionError if fds.WINDOWS else BrokenPipeError)
    assert left.enabled == 0


# --- connecting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["ipv4", "unix"])
def test_connect(base, options, family, tmp_path):
    if family == "unix" and fds.WINDOWS:
        pytest.skip("Wine has no Unix sockets, nor has Python on Windows")
    greetings = []
    events = []
    address = ("127.0.0.1", 0) if family == "ipv4" else str(tmp_path / "socket")
    servers = []

    def accept(listener, fd, peer):
        server = SocketBufferEvent(base, fd, options)
        servers.append(server)
        server.write(
            b"Now is the time for all good events to signal for the good of their protocol\n"
        )

    def event(bev, what):
        events.append(what)
        if what & BEV_EVENT_CONNECTED:
            assert not bev.connecting
            assert bev.peer == listener.address
        else:
            bev.close()

    def read(bev):
        line = bev.input.readline()
        if line is not None:
            greetings.append(line)
            for server in servers:
                server.close()

    listener = Listener(base, address, accept)
    clients = [SocketBufferEvent(base, options=options, read=read, event=event) for _ in range(2)]
    for client in clients:
        client.enable(READ)
        client.connect(listener.address)
        assert events == []
    run_until(base, lambda: len(events) >= 3)
    assert events[:2] == [BEV_EVENT_CONNECTED] * 2
    assert greetings
    listener.close()
    for client in clients:
        client.close()


def test_bytes_written_before_the_connection(base):
    got = []

    def accept(listener, fd, peer):
        SocketBufferEvent(base, fd, read=lambda bev: got.append(bev.read())).enable(READ)

    order = []
    with Listener(base, ("127.0.0.1", 0), accept) as listener:
        client = SocketBufferEvent(
            base,
            write=lambda bev: order.append("written"),
            event=lambda bev, what: order.append(what),
        )
        client.write(b"early ")
        client.connect(listener.address)
        client.write(b"bird")
        assert client.connecting
        run_until(base, lambda: got)
        assert got == [b"early bird"]
        assert order == [BEV_EVENT_CONNECTED, "written"]
        client.close()


def test_connect_refused(base, options):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
    events = []
    bev = SocketBufferEvent(base, options=options, event=lambda bev, what: events.append(what))
    bev.enable(READ | WRITE)
    bev.connect(address)
    assert events == []
    run_until(base, lambda: events)
    for _ in range(3):
        base.loop(EVLOOP_NONBLOCK)
    assert events == [BEV_EVENT_ERROR]
    assert isinstance(bev.error, ConnectionRefusedError)
    assert not bev.connecting
    bev.close()


def test_connect_fails_at_once(base, tmp_path):
    bev = SocketBufferEvent(base)
    with pytest.raises(OSError if fds.WINDOWS else FileNotFoundError, match="address"):
        bev.connect(str(tmp_path / "nobody"))
    with pytest.raises(ValueError, match="address must hold a numeric host"):
        bev.connect(("localhost", 80))
    with pytest.raises(TypeError, match="address"):
        bev.connect(80)
    assert bev.fd == -1
    bev.close()


def test_connect_an_existing_socket(base):
    with Listener(base, ("127.0.0.1", 0), lambda listener, fd, address: fds.close(fd)) as listener:
        sock = socket.socket()
        fd = sock.fileno()
        events = []
        bev = SocketBufferEvent(base, sock, event=lambda bev, what: events.append(what))
        bev.enable(READ)
        bev.connect(listener.address)
        assert bev.fd == fd
        run_until(base, lambda: len(events) == 2)
        assert events == [BEV_EVENT_CONNECTED, BEV_EVENT_READING | BEV_EVENT_EOF]
        bev.close()


def test_disable_while_connecting(base, options):
    """It connects all the same, and writes once that is allowed."""
    accepted = []
    with Listener(
        base, ("127.0.0.1", 0), lambda listener, fd, address: accepted.append(fd)
    ) as listener:
        events = []
        bev = SocketBufferEvent(base, options=options, event=lambda bev, what: events.append(what))
        bev.write(b"abc")
        bev.connect(listener.address)
        bev.disable(WRITE)
        run_until(base, lambda: events and accepted)
        assert events == [BEV_EVENT_CONNECTED]
        for _ in range(3):
            base.loop(EVLOOP_NONBLOCK)
        assert len(bev.output) == 3
        bev.enable(WRITE)
        run_until(base, lambda: not bev.output)
        assert fds.read(accepted[0], 10) == b"abc"
        bev.close()
        fds.close(accepted[0])


# --- triggering ---------------------------------------------------------------------------------------


def test_trigger(base, linked, options):
    left, _ = linked
    calls = []
    deferred = options & BEV_OPT_DEFER_CALLBACKS

    def expect(*what):
        if deferred:
            assert calls == []
            base.loop(EVLOOP_NONBLOCK)
        assert calls == list(what)
        calls.clear()

    left.set_callbacks(
        read=lambda bev: calls.append("read"),
        write=lambda bev: calls.append("write"),
        event=lambda bev, what: calls.append(what),
    )
    left.trigger(READ)
    expect("read")
    left.trigger(READ | WRITE)
    expect("read", "write")
    left.set_watermark(READ, 1)
    left.trigger(READ)
    expect()
    left.trigger(READ, BEV_TRIG_IGNORE_WATERMARKS)
    expect("read")
    left.trigger_event(BEV_EVENT_EOF)
    expect(BEV_EVENT_EOF)
    left.trigger(WRITE, BEV_TRIG_DEFER_CALLBACKS)
    left.trigger_event(BEV_EVENT_TIMEOUT, BEV_TRIG_DEFER_CALLBACKS)
    left.trigger_event(BEV_EVENT_CONNECTED, BEV_TRIG_DEFER_CALLBACKS)
    assert calls == []
    base.loop(EVLOOP_NONBLOCK)
    assert calls == [BEV_EVENT_CONNECTED, "write", BEV_EVENT_TIMEOUT]


def test_deferred_callbacks_come_from_the_loop(base, pair):
    left, right = pair
    depth = []
    bev = SocketBufferEvent(base, left, BEV_OPT_DEFER_CALLBACKS)
    bev.set_callbacks(read=lambda bev: depth.append("read"))
    bev.trigger(READ)
    bev.trigger(READ)
    assert depth == []
    base.loop(EVLOOP_NONBLOCK)
    assert depth == ["read"]
    bev.close()


# --- descriptors --------------------------------------------------------------------------------------


def test_ownership(base):
    left, right = socket.socketpair()
    fd = left.fileno()
    bev = SocketBufferEvent(base, left)
    assert left.fileno() == -1 and bev.fd == fd == bev.fileno()
    bev.close()
    assert right.recv(1) == b""
    right.close()


def test_not_owned(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, left, close_on_free=False)
    assert bev.fd == left.fileno() != -1
    bev.close()
    left.send(b"x")
    assert right.recv(1) == b"x"


def test_given_as_a_number(base):
    left, right = socket.socketpair()
    bev = SocketBufferEvent(base, left.detach())
    bev.write(b"x")
    base.loop(EVLOOP_NONBLOCK)
    assert right.recv(1) == b"x"
    bev.close()
    assert right.recv(1) == b""
    right.close()


def test_set_and_replace_fd(base, options):
    pairs = [socket.socketpair() for _ in range(2)]
    bev = SocketBufferEvent(base, options=options)
    got = []
    bev.set_callbacks(read=lambda bev: got.append(bev.read()))
    bev.enable(READ)
    bev.write(b"waiting for a descriptor")
    base.loop(EVLOOP_NONBLOCK)
    bev.fd = pairs[0][0].detach()
    pairs[0][1].send(b"one")
    run_until(base, lambda: got and not bev.output)
    assert pairs[0][1].recv(100) == b"waiting for a descriptor"
    bev.replace_fd(pairs[1][0].detach())
    assert pairs[0][1].recv(1) == b""
    bev.write(b"second")
    pairs[1][1].send(b"two")
    run_until(base, lambda: len(got) == 2 and not bev.output)
    assert pairs[1][1].recv(100) == b"second"
    assert got == [b"one", b"two"]
    bev.replace_fd(-1)
    assert bev.fd == -1
    assert pairs[1][1].recv(1) == b""
    bev.close()
    for _, right in pairs:
        right.close()


def test_max_single(base, linked):
    left, right = linked
    assert left.max_single_read == left.max_single_write == 16384
    sizes = []
    right.set_callbacks(read=lambda bev: sizes.append(len(bev.read())))
    right.enable(READ)
    right.max_single_read = 100
    left.max_single_write = 250
    assert (right.max_single_read, left.max_single_write) == (100, 250)
    left.write(b"x" * 1000)
    run_until(base, lambda: sum(sizes) == 1000)
    assert max(sizes) == 100
    right.max_single_read = left.max_single_write = 0
    assert left.max_single_read == left.max_single_write == 16384


@pytest.mark.parametrize("mode", [BEV_NORMAL, BEV_FLUSH, BEV_FINISHED])
def test_flush(linked, mode):
    left, _ = linked
    left.flush(READ | WRITE, mode)
    with pytest.raises(ValueError, match="mode"):
        left.flush(READ, 3)


def test_priority(method):
    from cyevent import EventBase

    with EventBase(method, priorities=3) as base:
        pairs = [socket.socketpair() for _ in range(3)]
        order = []
        for priority, (left, _) in enumerate(pairs):
            bev = SocketBufferEvent(
                base, left, read=lambda bev: order.append(bev.priority) or bev.close()
            )
            assert bev.priority == 1
            bev.priority = 2 - priority
            bev.enable(READ)
        base.loop(EVLOOP_NONBLOCK)
        for _, right in pairs:
            right.send(b"x")
        base.dispatch()
        assert order == [0, 1, 2]
        bev = SocketBufferEvent(base)
        with pytest.raises(ValueError, match="priority"):
            bev.priority = 3
        for _, right in pairs:
            right.close()


@pytest.mark.parametrize(
    ("call", "error", "name"),
    [
        (lambda bev: bev.set_callbacks(read=5), TypeError, "read"),
        (lambda bev: bev.set_callbacks(write=5), TypeError, "write"),
        (lambda bev: bev.set_callbacks(event=5), TypeError, "event"),
        (lambda bev: bev.enable(0), ValueError, "what"),
        (lambda bev: bev.enable(64), ValueError, "what"),
        (lambda bev: bev.enable("READ"), TypeError, "what"),
        (lambda bev: bev.disable(1), ValueError, "what"),
        (lambda bev: bev.write("text"), TypeError, "data"),
        (lambda bev: bev.write(5), TypeError, "data"),
        (lambda bev: bev.write_reference("text"), TypeError, "data"),
        (lambda bev: bev.write_buffer(b"x"), TypeError, "data"),
        (lambda bev: bev.read(-2), ValueError, "n must"),
        (lambda bev: bev.read("x"), TypeError, "n must"),
        (lambda bev: bev.set_timeouts(read=-1), ValueError, "read"),
        (lambda bev: bev.set_timeouts(write=0), ValueError, "write"),
        (lambda bev: bev.set_timeouts(read="x"), TypeError, "read"),
        (lambda bev: bev.set_watermark(0), ValueError, "what"),
        (lambda bev: bev.set_watermark(READ, -1), ValueError, "low"),
        (lambda bev: bev.set_watermark(READ, 0, -1), ValueError, "high"),
        (lambda bev: bev.get_watermark(READ | WRITE), ValueError, "what"),
        (lambda bev: bev.trigger(0), ValueError, "what"),
        (lambda bev: bev.trigger(READ, 1), ValueError, "options"),
        (lambda bev: bev.trigger_event(-1), ValueError, "what"),
        (lambda bev: setattr(bev, "max_single_read", -1), ValueError, "max_single_read"),
        (lambda bev: setattr(bev, "fd", -2), ValueError, "fd"),
        (lambda bev: setattr(bev, "fd", "x"), TypeError, "fd"),
        (lambda bev: setattr(bev, "priority", "x"), TypeError, "priority"),
    ],
)
def test_bad_arguments(base, call, error, name):
    bev = SocketBufferEvent(base)
    with pytest.raises(error, match=name):
        call(bev)
    bev.close()


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        (("x",), TypeError, "sock"),
        ((-1,), ValueError, "sock"),
        ((10**6,), OSError, "sock"),
        ((None, -1), ValueError, "options"),
        ((None, 16), ValueError, "options"),
        ((None, BEV_OPT_UNLOCK_CALLBACKS), ValueError, "options"),
        ((None, "x"), TypeError, "options"),
    ],
)
def test_bad_constructor_arguments(base, arguments, error, name):
    with pytest.raises(error, match=name):
        SocketBufferEvent(base, *arguments)
    with pytest.raises(TypeError):
        SocketBufferEvent(None)
