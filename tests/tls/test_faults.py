"""Peers that misbehave: each gives the right event, and everything is freed."""

import gc
import os
import socket
import ssl
import struct
import weakref

import clock
import fds
import pytest
from tls_peers import Log, Peer, client_context, run_until, server_context, standard_context

from cyevent import (
    BEV_EVENT_CONNECTED,
    BEV_EVENT_EOF,
    BEV_EVENT_ERROR,
    BEV_EVENT_READING,
    BEV_EVENT_TIMEOUT,
    BEV_EVENT_WRITING,
    EVLOOP_NONBLOCK,
    READ,
    WRITE,
    SSLBufferEvent,
    SSLError,
)

FAILED = BEV_EVENT_READING | BEV_EVENT_ERROR


@pytest.fixture
def server(base, pair, good):
    """A server on one end of a pair, its log, and the other end."""
    log = Log()
    bev = SSLBufferEvent(base, pair[1], server_context(good), server_side=True, **log.callbacks)
    bev.enable(READ)
    yield bev, log, pair[0]
    bev.close()


def settled(base, log, n=1):
    run_until(base, lambda: len(log.events) >= n)
    # Nothing more comes.
    for _ in range(10):
        base.loop(EVLOOP_NONBLOCK)
    return log.events


@pytest.mark.parametrize(
    "greeting",
    [b"GET / HTTP/1.0\r\n\r\n", b"\0" * 100, b"U" * 4000, b"\x16\x03\x01\xff\xff" + bytes(100)],
    ids=["http", "zeros", "letters", "long record"],
)
def test_garbage_for_a_client_hello(base, server, greeting):
    bev, log, peer = server
    peer.send(greeting)
    assert settled(base, log) == [FAILED]
    assert isinstance(log.errors[0], SSLError)
    assert log.errors[0].errors[0][0] == "SSL routines"
    assert bev.enabled == 0


def test_the_peer_is_told_by_an_alert(base, server):
    bev, log, peer = server
    # A ClientHello of one byte.
    peer.send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
    assert settled(base, log) == [FAILED]
    assert peer.recv(100)[:1] == b"\x15"


def test_http_is_named(base, server):
    bev, log, peer = server
    peer.send(b"GET / HTTP/1.0\r\n\r\n")
    settled(base, log)
    assert str(log.errors[0]) == "http request"


def test_garbage_for_a_server_hello(base, pair, authority):
    log = Log()
    bev = SSLBufferEvent(
        base, pair[0], client_context(authority), server_hostname="localhost", **log.callbacks
    )
    pair[1].send(b"220 mail server ready\r\n")
    assert settled(base, log) == [FAILED]
    bev.close()


def test_the_peer_goes_before_the_handshake(base, server):
    bev, log, peer = server
    peer.close()
    assert settled(base, log) == [FAILED]
    assert "unexpected eof" in str(log.errors[0])


def test_the_peer_goes_in_mid_handshake(base, server, authority):
    bev, log, peer = server
    hello = client_hello(authority)
    peer.send(hello[: len(hello) // 2])
    for _ in range(10):
        base.loop(EVLOOP_NONBLOCK)
    assert log.events == []
    peer.shutdown(socket.SHUT_WR)
    assert settled(base, log) == [FAILED]


def client_hello(authority):
    context = standard_context(ssl.PROTOCOL_TLS_CLIENT, authority)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_a_hello_byte_by_byte(base, server, authority):
    bev, log, peer = server
    for byte in client_hello(authority):
        peer.send(bytes([byte]))
        base.loop(EVLOOP_NONBLOCK)
    assert peer.recv(65536).startswith(b"\x16\x03")
    assert log.events == []


@pytest.mark.parametrize("part", [b"", b"half"])
def test_timeout_in_mid_handshake(base, server, authority, part):
    """A peer that stops is told apart from one that is slow."""
    bev, log, peer = server
    bev.set_timeouts(read=0.1)
    began = clock.monotonic()
    if part:
        peer.send(client_hello(authority)[:100])
    assert settled(base, log) == [BEV_EVENT_TIMEOUT]
    assert clock.monotonic() - began >= 0.1
    assert bev.enabled == 0 and base.num_events() == 0


def test_a_truncated_record(base, tcp_pair, good, authority, version):
    """The connection ends in the middle of a record: an error, and nothing of it is given out."""

    def client():
        context = standard_context(ssl.PROTOCOL_TLS_CLIENT, authority, version=version)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                tcp_pair[0].sendall(outgoing.read())
                incoming.write(tcp_pair[0].recv(65536))
        tls.write(b"whole")
        tcp_pair[0].sendall(outgoing.read())
        tls.write(b"broken" * 1000)
        tcp_pair[0].sendall(outgoing.read()[:-10])
        tcp_pair[0].shutdown(socket.SHUT_WR)

    log = Log()
    bev = SSLBufferEvent(
        base, tcp_pair[1], server_context(good, version), server_side=True, **log.callbacks
    )
    bev.enable(READ)
    peer = Peer(client)
    assert settled(base, log, 2) == [BEV_EVENT_CONNECTED, FAILED]
    peer.outcome()
    assert log.received == b"whole"
    assert "unexpected eof" in str(log.errors[1])
    bev.close()


def test_a_changed_record(base, tcp_pair, good, authority, version):
    """Somebody in between changes a bit."""

    def client():
        context = standard_context(ssl.PROTOCOL_TLS_CLIENT, authority, version=version)
        with context.wrap_socket(tcp_pair[0], server_hostname="localhost") as sock:
            sock.sendall(b"fine")
            fds.write(sock.fileno(), b"\x17\x03\x03\x00\x30" + bytes(48))
            with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
                sock.recv(10)

    log = Log()
    bev = SSLBufferEvent(
        base, tcp_pair[1], server_context(good, version), server_side=True, **log.callbacks
    )
    bev.enable(READ)
    peer = Peer(client)
    assert settled(base, log, 2) == [BEV_EVENT_CONNECTED, FAILED]
    peer.outcome()
    assert log.received == b"fine"
    assert "bad record mac" in str(log.errors[1])
    bev.close()


def test_a_reset(base, tcp_pair, good, authority, version):
    def client():
        context = standard_context(ssl.PROTOCOL_TLS_CLIENT, authority, version=version)
        sock = context.wrap_socket(tcp_pair[0], server_hostname="localhost")
        sock.sendall(b"!")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    log = Log()
    bev = SSLBufferEvent(
        base, tcp_pair[1], server_context(good, version), server_side=True, **log.callbacks
    )
    peer = Peer(client)
    peer.join(0.01)
    run_until(base, peer.done)
    peer.outcome()
    bev.enable(READ)
    events = settled(base, log, 2)
    assert events[0] == BEV_EVENT_CONNECTED and events[1] & BEV_EVENT_ERROR
    # Sending the tickets of TLS 1.3 may have taken the reset; then it is the end that is too early.
    assert isinstance(log.errors[1], (ConnectionResetError, SSLError))
    bev.close()


def test_read_timeout(base, tls_pair):
    client, server, mine, theirs = tls_pair()
    run_until(base, lambda: mine.events and theirs.events)
    server.set_timeouts(read=0.05)
    assert settled(base, theirs, 2)[1] == BEV_EVENT_READING | BEV_EVENT_TIMEOUT
    assert server.enabled == WRITE
    # One direction has timed out, the other goes on.
    server.write(b"still here")
    run_until(base, lambda: mine.received == b"still here")


def test_write_timeout(base, tls_pair):
    client, server, mine, theirs = tls_pair()
    run_until(base, lambda: mine.events and theirs.events)
    server.disable(READ)
    client.set_timeouts(write=0.05)
    client.write(bytes(5_000_000))
    assert settled(base, mine, 2)[1] == BEV_EVENT_WRITING | BEV_EVENT_TIMEOUT
    assert client.enabled == READ


def test_a_peer_that_is_gone_when_written_to(base, tls_pair):
    client, server, mine, theirs = tls_pair()
    run_until(base, lambda: mine.events and theirs.events)
    client.disable(READ)
    fds.close(server.fileno())
    server.fd = -1
    client.write(b"x")
    if fds.WINDOWS:
        # The pair is a connection, and the first answer tells that nobody takes what is sent.
        run_until(base, lambda: not client.output)
        client.write(b"x")
    assert settled(base, mine, 2)[1] == BEV_EVENT_WRITING | BEV_EVENT_ERROR
    assert isinstance(mine.errors[1], ConnectionError if fds.WINDOWS else BrokenPipeError)


def test_enabled_again_after_a_failure(base, server):
    """Nothing is read from an SSL that failed; one is told so again."""
    bev, log, peer = server
    peer.send(b"GET / HTTP/1.0\r\n\r\n")
    settled(base, log)
    bev.enable(READ | WRITE)
    bev.write(b"x")
    for _ in range(10):
        base.loop(EVLOOP_NONBLOCK)
    assert all(what == FAILED for what in log.events)
    assert bev.read() == b""


# --- nothing is left ------------------------------------------------------------------------------


def descriptors():
    return fds.opened()


def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_everything_is_freed(base, authority, good):
    """Connections, contexts and bufferevents die with their last reference, however they ended."""
    from OpenSSL.SSL import Connection

    gc.collect()
    before = len(Connection._reverse_mapping), descriptors(), base.num_events()
    alive = []
    for fate in ("fine", "garbage", "cut", "half", "unstarted"):
        left, right = socket.socketpair()
        log = Log()
        server = SSLBufferEvent(
            base, right, server_context(good), server_side=True, **log.callbacks
        )
        server.enable(READ)
        alive += [weakref.ref(server), weakref.ref(server.connection)]
        if fate == "fine":
            client = SSLBufferEvent(
                base, left, client_context(authority), server_hostname="localhost"
            )
            client.write(b"x")
            run_until(base, lambda: log.received)
            alive.append(weakref.ref(client))
            client.close()
            del client
        elif fate == "garbage":
            left.send(b"garbage, not TLS")
            run_until(base, lambda: log.events)
        elif fate == "cut":
            left.close()
            run_until(base, lambda: log.events)
        elif fate == "half":
            left.send(client_hello(authority)[:50])
            for _ in range(5):
                base.loop(EVLOOP_NONBLOCK)
        server.close()
        left.close()
        del server, left, right
        log = None
    gc.collect()
    assert [ref() for ref in alive] == [None] * len(alive)
    assert (len(Connection._reverse_mapping), descriptors(), base.num_events()) == before


def test_a_callback_that_refers_to_its_bufferevent_is_collected(base, pair, authority, good):
    context = server_context(good)
    server = SSLBufferEvent(base, pair[1], context, server_side=True)
    context_log = [server]
    server.set_callbacks(read=lambda bev: context_log, event=lambda bev, what: context_log)
    server.disable(WRITE)
    gone = weakref.ref(server)
    server.connection.set_app_data(server)
    # In mid-handshake the base keeps it; the peer's end lets it go.
    pair[0].close()
    run_until(base, lambda: base.num_events() == 0)
    del server, context
    context_log = None
    gc.collect()
    assert gone() is None


def test_memory_does_not_grow(base, authority, good):
    accepting, connecting = server_context(good), client_context(authority)

    def once():
        left, right = socket.socketpair()
        log = Log()
        client = SSLBufferEvent(base, left, connecting, server_hostname="localhost")
        server = SSLBufferEvent(base, right, accepting, server_side=True, **log.callbacks)
        server.enable(READ)
        client.write(bytes(50_000))
        run_until(base, lambda: len(log.received) == 50_000)
        client.close()
        run_until(base, lambda: log.events[-1] & BEV_EVENT_EOF)
        server.close()

    for _ in range(30):
        once()
    gc.collect()
    before = rss(), descriptors()
    for _ in range(150):
        once()
    gc.collect()
    assert descriptors() == before[1]
    # An SSL with its buffers takes some 100 KiB: one that stayed each time would show.
    assert rss() - before[0] < 4 << 20
