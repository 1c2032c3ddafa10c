"""TLS over another bufferevent."""

import os
import ssl

import fds
import pytest
from tls_peers import EOF, Log, Peer, client_context, run_until, server_context, standard_context

from cyevent import (
    BEV_EVENT_CONNECTED,
    BEV_EVENT_EOF,
    BEV_EVENT_ERROR,
    BEV_EVENT_READING,
    BEV_EVENT_TIMEOUT,
    BEV_FINISHED,
    BEV_OPT_DEFER_CALLBACKS,
    BEV_OPT_THREADSAFE,
    BEV_OPT_UNLOCK_CALLBACKS,
    EVLOOP_NONBLOCK,
    READ,
    WRITE,
    EventBase,
    SocketBufferEvent,
    SSLBufferEvent,
    bufferevent_pair,
)

UNDERLYING = [
    pytest.param(0, id="plain"),
    pytest.param(BEV_OPT_DEFER_CALLBACKS, id="defer"),
    pytest.param(BEV_OPT_THREADSAFE, id="lock"),
    pytest.param(
        BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS | BEV_OPT_UNLOCK_CALLBACKS, id="unlocked"
    ),
]


@pytest.fixture
def filters(base, pair, authority, good):
    """Makes a client and a server, each over a socket bufferevent: (client, server, its log, its log)."""
    made = []

    def make(version=None, options=0, underlying=0, **more):
        logs = Log(), Log()
        under = [SocketBufferEvent(base, sock, underlying) for sock in pair]
        client = SSLBufferEvent.filter(
            under[0],
            client_context(authority, version),
            options,
            server_hostname="localhost",
            **logs[0].callbacks,
            **more,
        )
        server = SSLBufferEvent.filter(
            under[1],
            server_context(good, version),
            options,
            server_side=True,
            **logs[1].callbacks,
            **more,
        )
        made.extend((client, server))
        for bev in (client, server):
            bev.enable(READ)
        return client, server, *logs

    yield make
    for bev in made:
        bev.close()


@pytest.mark.parametrize("underlying", UNDERLYING)
@pytest.mark.parametrize("options", [0, BEV_OPT_DEFER_CALLBACKS])
def test_bytes_arrive_in_order(base, filters, version, options, underlying):
    client, server, mine, theirs = filters(version, options, underlying)
    data = os.urandom(1_000_000)
    for at in range(0, len(data), 7001):
        client.write(data[at : at + 7001])
        server.write(data[at : at + 7001])
    run_until(base, lambda: len(theirs.received) == len(mine.received) == len(data))
    assert mine.received == theirs.received == data
    assert mine.events == theirs.events == [BEV_EVENT_CONNECTED]
    assert client.version == f"TLSv{version}"
    run_until(base, lambda: mine.written and theirs.written)


def test_what_lies_below(base, filters):
    client, server, *_ = filters()
    assert isinstance(client.underlying, SocketBufferEvent)
    assert client.fileno() == client.underlying.fileno()
    under = client.underlying
    client.close()
    assert under.closed and client.underlying is None


def test_for_the_standard_library(base, tcp_pair, authority, good, version):
    def client():
        context = standard_context(ssl.PROTOCOL_TLS_CLIENT, authority, version=version)
        with context.wrap_socket(tcp_pair[0], server_hostname="localhost") as sock:
            sock.sendall(b"ping")
            got = sock.recv(10)
            sock.unwrap()
            return got

    log = Log()
    bev = SSLBufferEvent.filter(
        SocketBufferEvent(base, tcp_pair[1]), server_context(good, version), server_side=True
    )

    def event(bev, what):
        log.event(bev, what)
        if what & BEV_EVENT_EOF:
            bev.close()

    bev.set_callbacks(read=lambda bev: bev.write(bev.read()), event=event)
    bev.enable(READ)
    peer = Peer(client)
    run_until(base, peer.done)
    assert peer.outcome() == b"ping"
    run_until(base, lambda: log.events == [BEV_EVENT_CONNECTED, EOF])


def test_tls_over_tls(base, pair, authority, good):
    ends = []
    for sock, side in ((pair[0], False), (pair[1], True)):
        bev = SocketBufferEvent(base, sock)
        for _ in range(2):
            context = server_context(good) if side else client_context(authority)
            name = None if side else "localhost"
            bev = SSLBufferEvent.filter(bev, context, server_side=side, server_hostname=name)
        ends.append(bev)
    log = Log()
    ends[1].set_callbacks(**log.callbacks)
    ends[1].enable(READ)
    data = os.urandom(200_000)
    ends[0].write(data)
    run_until(base, lambda: len(log.received) == len(data))
    assert log.received == data
    ends[0].close()
    run_until(base, lambda: EOF in log.events)
    ends[1].close()


def test_plain_talk_first(base, pair, authority, good):
    """STARTTLS: the same socket bufferevents speak in the clear before."""
    under = [SocketBufferEvent(base, sock) for sock in pair]
    logs = Log(), Log()

    def upgrade(bev):
        assert bev.read() == b"STARTTLS\n"
        bev.write(b"go on\n")
        server = SSLBufferEvent.filter(
            bev, server_context(good), server_side=True, **logs[1].callbacks
        )
        server.enable(READ)
        ends.append(server)

    def begin(bev):
        assert bev.read() == b"go on\n"
        client = SSLBufferEvent.filter(
            bev, client_context(authority), server_hostname="localhost", **logs[0].callbacks
        )
        client.write(b"secret")
        ends.append(client)

    ends = []
    under[1].set_callbacks(read=upgrade)
    under[0].set_callbacks(read=begin)
    for bev in under:
        bev.enable(READ)
    under[0].write(b"STARTTLS\n")
    run_until(base, lambda: logs[1].received == b"secret")
    for bev in ends:
        bev.close()


def test_goodbye(base, filters, version):
    client, server, mine, theirs = filters(version)
    run_until(base, lambda: mine.events and theirs.events)
    client.close()
    run_until(base, lambda: len(theirs.events) == 2)
    assert theirs.events[1] == EOF


def test_half_close(base, filters, version):
    client, server, mine, theirs = filters(version)
    client.write(b"question")
    client.flush(WRITE, BEV_FINISHED)
    run_until(base, lambda: EOF in theirs.events)
    assert theirs.received == b"question"
    server.write(b"answer")
    run_until(base, lambda: mine.received == b"answer")


@pytest.mark.parametrize("allowed", [False, True])
def test_dirty_shutdown(base, filters, version, allowed):
    client, server, mine, theirs = filters(version, allow_dirty_shutdown=allowed)
    client.write(b"and then")
    run_until(base, lambda: theirs.received)
    fds.shut_writing(client.fileno())
    run_until(base, lambda: len(theirs.events) == 2)
    assert theirs.events[1] == (EOF if allowed else BEV_EVENT_READING | BEV_EVENT_ERROR)


def test_closed_without_the_underlying_one(base, filters, authority):
    """What remains is a socket bufferevent with its own callbacks."""
    client, server, mine, theirs = filters(close_on_free=False)
    run_until(base, lambda: mine.events and theirs.events)
    under = server.underlying
    log = Log()
    server.close()
    assert not under.closed
    under.set_callbacks(**log.callbacks)
    under.enable(READ)
    raw = client.underlying
    client.close()
    raw.write(b"in the clear")
    run_until(base, lambda: log.received == b"in the clear")
    under.close()
    raw.close()


def test_garbage(base, pair, good):
    log = Log()
    bev = SSLBufferEvent.filter(
        SocketBufferEvent(base, pair[1]), server_context(good), server_side=True, **log.callbacks
    )
    # A ClientHello of one byte.
    pair[0].send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
    run_until(base, lambda: log.events)
    assert log.events == [BEV_EVENT_READING | BEV_EVENT_ERROR]
    # The peer was sent an alert.
    base.loop(EVLOOP_NONBLOCK)
    assert pair[0].recv(100)[:1] == b"\x15"
    bev.close()


def test_the_wrong_host_is_refused(base, pair, authority, good):
    log = Log()
    client = SSLBufferEvent.filter(
        SocketBufferEvent(base, pair[0]),
        client_context(authority),
        server_hostname="wrong",
        **log.callbacks,
    )
    server = SSLBufferEvent.filter(
        SocketBufferEvent(base, pair[1]), server_context(good), server_side=True
    )
    run_until(base, lambda: log.events)
    assert "hostname mismatch" in str(log.errors[0])
    client.close()
    server.close()


def test_timeout_in_mid_handshake(base, pair, good):
    log = Log()
    bev = SSLBufferEvent.filter(
        SocketBufferEvent(base, pair[1]), server_context(good), server_side=True, **log.callbacks
    )
    bev.set_timeouts(read=0.05)
    run_until(base, lambda: log.events)
    assert log.events == [BEV_EVENT_READING | BEV_EVENT_TIMEOUT]
    bev.close()


def test_read_timeout(base, filters):
    client, server, mine, theirs = filters()
    server.set_timeouts(read=0.1)
    run_until(base, lambda: mine.events and theirs.events)
    for _ in range(3):
        before = len(theirs.received)
        client.write(b"x")
        run_until(base, lambda: len(theirs.received) > before)
    run_until(base, lambda: len(theirs.events) == 2)
    assert theirs.events[1] == BEV_EVENT_READING | BEV_EVENT_TIMEOUT


def test_high_watermarks(base, filters):
    client, server, mine, theirs = filters()
    client.underlying.set_watermark(WRITE, 0, 20_000)
    server.set_callbacks(event=theirs.event)
    server.set_watermark(READ, 0, 1000)
    data = os.urandom(200_000)
    client.write(data)
    run_until(base, lambda: len(server.input) == 1000)
    for _ in range(50):
        base.loop(EVLOOP_NONBLOCK)
    assert len(server.input) == 1000
    got = bytearray()

    def more():
        got.extend(server.read())
        return len(got) == len(data)

    run_until(base, more)
    assert got == data


@pytest.mark.parametrize("when", ["connected", "read", "eof"])
@pytest.mark.parametrize("underlying", UNDERLYING)
def test_closed_in_its_callbacks(base, filters, when, underlying):
    client, server, mine, theirs = filters(underlying=underlying)
    client.write(b"x" * 40_000)
    server.write(b"y" * 40_000)
    closed = []

    def close(bev):
        closed.append(bev)
        bev.close()

    def event(bev, what):
        if (when == "connected" and what & BEV_EVENT_CONNECTED) or (
            when == "eof" and what & BEV_EVENT_EOF
        ):
            close(bev)

    client.set_callbacks(read=close if when == "read" else mine.read, event=event)
    if when == "eof":
        run_until(base, lambda: theirs.received and mine.received)
        server.close()
    run_until(base, lambda: closed)
    for _ in range(10):
        base.loop(EVLOOP_NONBLOCK)
    assert client.closed


def test_a_base_ends_with_its_filters(method, pair, authority, good):
    base = EventBase(method)
    bev = SSLBufferEvent.filter(
        SocketBufferEvent(base, pair[0]), client_context(authority), server_hostname="localhost"
    )
    bev.write(b"never")
    base.close()
    bev.close()


def test_bad_arguments(base, pair, authority):
    bev = SocketBufferEvent(base, pair[0])
    with pytest.raises(TypeError):
        SSLBufferEvent.filter(None, server_hostname="localhost")
    with pytest.raises(ValueError, match="server_hostname"):
        SSLBufferEvent.filter(bev)
    bev.close()
    with pytest.raises(ValueError, match="closed"):
        SSLBufferEvent.filter(bev, server_hostname="localhost")


def test_over_a_pair(base, authority, good, version):
    """No descriptor, no system call."""
    under = bufferevent_pair(base)
    logs = Log(), Log()
    client = SSLBufferEvent.filter(
        under[0],
        client_context(authority, version),
        server_hostname="localhost",
        **logs[0].callbacks,
    )
    server = SSLBufferEvent.filter(
        under[1], server_context(good, version), server_side=True, **logs[1].callbacks
    )
    for bev in (client, server):
        bev.enable(READ)
    data = os.urandom(300_000)
    client.write(data)
    server.write(data)
    run_until(base, lambda: len(logs[0].received) == len(logs[1].received) == len(data))
    assert logs[0].received == logs[1].received == data
    assert client.fileno() == -1
    client.close()
    server.close()


def test_one_filter_at_a_time(base, pair, authority, good):
    under = SocketBufferEvent(base, pair[0])
    one = SSLBufferEvent.filter(under, client_context(authority), server_hostname="localhost")
    with pytest.raises(ValueError, match="filter already"):
        SSLBufferEvent.filter(under, client_context(authority), server_hostname="localhost")
    with pytest.raises(ValueError, match="its filter's"):
        under.set_callbacks()
    one.close()
