"""TLS on sockets: bytes both ways, and the rest of what a bufferevent does."""

import contextlib
import os
import socket
import ssl
import time

import clock
import pytest
from tls_peers import (
    OPTIONS,
    Log,
    Peer,
    client_context,
    run_until,
    server_context,
    standard_context,
)

from cyevent import (
    BEV_EVENT_CONNECTED,
    BEV_FLUSH,
    BEV_OPT_DEFER_CALLBACKS,
    BEV_OPT_THREADSAFE,
    EVLOOP_NONBLOCK,
    READ,
    WRITE,
    EvBuffer,
    EventBase,
    Listener,
    SSLBufferEvent,
    TokenBucket,
)

# --- bytes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS)
def test_bytes_arrive_in_order(base, tls_pair, version, options):
    client, server, mine, theirs = tls_pair(version, options)
    data = os.urandom(3_000_000)
    for at in range(0, len(data), 7001):
        client.write(data[at : at + 7001])
        server.write(data[at : at + 7001])
    run_until(base, lambda: len(theirs.received) == len(mine.received) == len(data))
    assert mine.received == theirs.received == data
    run_until(base, lambda: mine.written and theirs.written)
    assert len(client.output) == len(server.output) == 0
    assert mine.events == theirs.events == [BEV_EVENT_CONNECTED]


def test_echo_in_callbacks(base, tls_pair):
    client, server, mine, theirs = tls_pair()
    rounds = []

    def answer(bev):
        rounds.append(bev.read())
        if len(rounds) == 500:
            base.loopbreak()
        bev.write(b"%d" % len(rounds))

    for bev, log in ((client, mine), (server, theirs)):
        bev.set_callbacks(read=answer, event=log.event)
    client.write(b"0")
    base.dispatch()
    assert rounds == [b"%d" % i for i in range(500)]


def test_what_was_written_before_the_handshake_leaves_after_it(base, pair, authority, good):
    log = Log()
    client = SSLBufferEvent(base, pair[0], client_context(authority), server_hostname="localhost")
    client.write(b"early")
    server = SSLBufferEvent(base, pair[1], server_context(good), server_side=True, **log.callbacks)
    server.enable(READ)
    run_until(base, lambda: log.received == b"early")
    # The output is told to be empty by nobody: there is no write callback.
    assert len(client.output) == 0
    client.close()
    server.close()


def test_written_in_the_connected_callback(base, tls_pair):
    client, server, mine, theirs = tls_pair()
    client.set_callbacks(read=mine.read, event=lambda bev, what: bev.write(b"connected"))
    run_until(base, lambda: theirs.received == b"connected")


def test_small_writes_share_records(base, tcp_pair, authority, good):
    context = standard_context(ssl.PROTOCOL_TLS_SERVER, authority, good, "1.2")

    def server():
        with context.wrap_socket(tcp_pair[1], server_side=True) as sock:
            sock.recv(1)
            # A record at a time.
            return sock.recv(65536)

    log = Log()
    bev = SSLBufferEvent(
        base,
        tcp_pair[0],
        client_context(authority, "1.2"),
        server_hostname="localhost",
        **log.callbacks,
    )
    peer = Peer(server)
    run_until(base, lambda: log.events)
    bev.write(b"!")
    run_until(base, lambda: log.written)
    pieces = EvBuffer()
    for i in range(100):
        pieces.add_reference(b"%02d" % i)
    bev.write_buffer(pieces)
    run_until(base, peer.done)
    assert peer.outcome() == b"".join(b"%02d" % i for i in range(100))
    bev.close()


def test_output_keeps_what_the_socket_has_not_taken(base, tls_pair):
    client, server, mine, theirs = tls_pair()
    run_until(base, lambda: mine.events and theirs.events)
    server.disable(READ)
    client.write(bytes(5_000_000))
    for _ in range(200):
        base.loop(EVLOOP_NONBLOCK)
    assert 0 < len(client.output) <= 5_000_000
    assert mine.written == 0
    server.enable(READ)
    run_until(base, lambda: mine.written)
    assert len(client.output) == 0
    run_until(base, lambda: len(theirs.received) == 5_000_000)


def test_no_event_is_pending_on_the_steady_path(base, tls_pair):
    client, server, mine, theirs = tls_pair()
    run_until(base, lambda: mine.events and theirs.events)
    before = base.num_events()
    client.write(b"x" * 100)
    run_until(base, lambda: len(theirs.received) == 100)
    assert base.num_events() == before


def test_high_watermark_stops_reading_and_draining_goes_on(base, tls_pair, version):
    client, server, mine, theirs = tls_pair(version)
    server.set_callbacks(read=None, event=theirs.event)
    server.set_watermark(READ, 0, 1000)
    data = os.urandom(100_000)
    client.write(data)
    run_until(base, lambda: len(server.input) == 1000)
    for _ in range(20):
        base.loop(EVLOOP_NONBLOCK)
    assert len(server.input) == 1000
    got = bytearray()

    def more():
        got.extend(server.read())
        return len(got) == len(data)

    run_until(base, more)
    assert got == data


def test_low_watermark(base, tls_pair):
    client, server, mine, theirs = tls_pair()
    server.set_watermark(READ, 10, 0)
    client.write(b"12345")
    run_until(base, lambda: len(server.input) == 5)
    assert theirs.received == b""
    client.write(b"67890")
    run_until(base, lambda: theirs.received == b"1234567890")


def test_disabled_reading_and_enabled_again(base, tls_pair, version):
    client, server, mine, theirs = tls_pair(version)
    run_until(base, lambda: mine.events and theirs.events)
    server.disable(READ)
    client.write(b"abc")
    for _ in range(20):
        base.loop(EVLOOP_NONBLOCK)
    assert theirs.received == b""
    server.enable(READ)
    run_until(base, lambda: theirs.received == b"abc")


def test_disabled_in_the_middle_of_what_has_arrived(base, tls_pair):
    """Records that are here already are not lost when the callback disables reading after the first part."""
    client, server, mine, theirs = tls_pair()
    server.max_single_read = 10
    got = []

    def one(bev):
        got.append(bev.read())
        bev.disable(READ)

    server.set_callbacks(read=one, event=theirs.event)
    run_until(base, lambda: mine.events and theirs.events)
    client.write(b"0123456789abcdefghij")
    run_until(base, lambda: got)
    for _ in range(10):
        base.loop(EVLOOP_NONBLOCK)
    assert got == [b"0123456789"]
    server.enable(READ)
    run_until(base, lambda: len(got) == 2)
    assert got[1] == b"abcdefghij"


def test_max_single_write(base, tls_pair):
    client, server, mine, theirs = tls_pair()
    client.max_single_write = 100
    client.write(bytes(1000))
    run_until(base, lambda: len(theirs.received) == 1000)
    assert len(client.output) == 0


def test_written_disabled_and_enabled(base, tls_pair):
    client, server, mine, theirs = tls_pair()
    run_until(base, lambda: mine.events and theirs.events)
    client.disable(WRITE)
    client.write(b"later")
    for _ in range(20):
        base.loop(EVLOOP_NONBLOCK)
    assert theirs.received == b"" and len(client.output) == 5
    client.enable(WRITE)
    run_until(base, lambda: theirs.received == b"later")


def test_flush_sends_at_once(base, tls_pair, pair):
    client, server, mine, theirs = tls_pair()
    run_until(base, lambda: mine.events and theirs.events)
    client.write(b"now")
    client.flush(WRITE, BEV_FLUSH)
    assert len(client.output) == 0
    run_until(base, lambda: theirs.received == b"now")


# --- the rest of a bufferevent --------------------------------------------------------------------


def test_priority(method, pair, authority, good):
    base = EventBase(method, priorities=3)
    bev = SSLBufferEvent(base, None, client_context(authority), server_hostname="localhost")
    bev.priority = 2
    assert bev.priority == 2
    bev.fd = pair[0].detach()
    assert bev.priority == 2
    bev.close()
    base.close()


def test_written_by_another_thread(base, tls_pair):
    client, server, mine, theirs = tls_pair(options=BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS)
    data = os.urandom(1_000_000)

    def write():
        for at in range(0, len(data), 5000):
            client.write(data[at : at + 5000])

    theirs_read = theirs.read

    def read(bev):
        theirs_read(bev)
        if len(theirs.received) == len(data):
            base.loopbreak()

    server.set_callbacks(read=read, event=theirs.event)
    writer = Peer(write)
    base.dispatch()
    writer.outcome()
    assert theirs.received == data


def test_closed_by_another_thread(base, tls_pair):
    client, server, mine, theirs = tls_pair(options=BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS)
    server.set_callbacks(
        read=lambda bev: bev.write(bev.read()), event=lambda bev, what: bev.close()
    )

    def event(bev, what):
        if what & BEV_EVENT_CONNECTED:
            bev.write(b"x" * 1000)

    rounds = []

    def read(bev):
        # The other thread may close it at any point of this.
        with contextlib.suppress(ValueError):
            rounds.append(bev.read())
            bev.write(rounds[-1])

    client.set_callbacks(read=read, event=event)
    # The server's callback closes it at once: it hears of being connected first.
    server.set_callbacks(
        read=lambda bev: bev.write(bev.read()),
        event=lambda bev, what: None if what & BEV_EVENT_CONNECTED else bev.close(),
    )

    def close():
        while len(rounds) < 100:
            time.sleep(0.001)
        client.close()

    closer = Peer(close)
    base.dispatch()
    closer.outcome()
    assert client.closed and server.closed


@pytest.mark.parametrize("side", ["reading", "writing"])
def test_rate_limits(base, tls_pair, side):
    """2000 bytes a tick, of which the first tick's are there at once; records cost a little more."""
    client, server, mine, theirs = tls_pair()
    run_until(base, lambda: mine.events and theirs.events)
    began = clock.monotonic()
    if side == "reading":
        server.set_rate_limit(TokenBucket(2000, tick=0.05))
    else:
        client.set_rate_limit(TokenBucket(write_rate=2000, tick=0.05))
    client.write(bytes(10_000))
    run_until(base, lambda: len(theirs.received) == 10_000)
    assert clock.monotonic() - began >= 0.15
    assert theirs.events == mine.events == [BEV_EVENT_CONNECTED]


def test_connect_by_name(base, authority, good):
    log = Log()
    bevs = []

    def accept(listener, fd, address):
        bevs.append(SSLBufferEvent(base, fd, server_context(good), server_side=True))
        bevs[0].write(b"hello")

    listener = Listener(base, ("127.0.0.1", 0), accept)
    bev = SSLBufferEvent(
        base, None, client_context(authority), server_hostname="localhost", **log.callbacks
    )
    bev.enable(READ)
    bev.connect_hostname("localhost", listener.address[1], family=socket.AF_INET)
    run_until(base, lambda: log.received == b"hello")
    assert log.events == [BEV_EVENT_CONNECTED]
    listener.close()
    for one in (bev, *bevs):
        one.close()


def test_renegotiation(base, tls_pair):
    client, server, mine, theirs = tls_pair("1.2")
    with pytest.raises(RuntimeError):
        server.renegotiate()
    run_until(base, lambda: mine.events and theirs.events)
    server.renegotiate()
    client.write(b"meanwhile")
    run_until(base, lambda: len(theirs.events) == 2)
    assert theirs.events == [BEV_EVENT_CONNECTED] * 2
    assert server.connection.total_renegotiations() == 1
    client.write(b", and after")
    run_until(base, lambda: theirs.received == b"meanwhile, and after")


def test_no_renegotiation_in_tls_1_3(base, tls_pair):
    client, server, mine, theirs = tls_pair("1.3")
    run_until(base, lambda: mine.events and theirs.events)
    with pytest.raises(RuntimeError):
        client.renegotiate()
    client.write(b"unharmed")
    run_until(base, lambda: theirs.received == b"unharmed")
