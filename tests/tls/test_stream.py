"""TLS on sockets: real peers in both roles, bytes both ways, ends."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import time

import clock
import fds
import pytest
from tls_peers import (
    Log,
    Peer,
    client_context,
    run_until,
    server_context,
    standard_context,
)

from cyevent import (
    BEV_EVENT_CONNECTED,
    BEV_EVENT_EOF,
    BEV_EVENT_ERROR,
    BEV_EVENT_READING,
    BEV_FINISHED,
    BEV_FLUSH,
    BEV_OPT_DEFER_CALLBACKS,
    BEV_OPT_THREADSAFE,
    BEV_OPT_UNLOCK_CALLBACKS,
    EVLOOP_NONBLOCK,
    READ,
    WRITE,
    EvBuffer,
    EventBase,
    Listener,
    SocketBufferEvent,
    SSLBufferEvent,
    TokenBucket,
)

OPTIONS = [
    pytest.param(0, id="plain"),
    pytest.param(BEV_OPT_DEFER_CALLBACKS, id="defer"),
    pytest.param(BEV_OPT_THREADSAFE, id="lock"),
    pytest.param(
        BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS | BEV_OPT_UNLOCK_CALLBACKS, id="unlocked"
    ),
]
EOF = BEV_EVENT_READING | BEV_EVENT_EOF
OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="needs the openssl program")


def receive(sock, n):
    data = bytearray()
    while len(data) < n:
        part = sock.recv(65536)
        if not part:
            break
        data += part
    return bytes(data)


# --- the standard library's ssl as the peer -------------------------------------------------------


def test_server_for_the_standard_library(base, tcp_pair, authority, good, version):
    data = os.urandom(300_000)

    def client():
        context = standard_context(ssl.PROTOCOL_TLS_CLIENT, authority, version=version)
        with context.wrap_socket(tcp_pair[0], server_hostname="localhost") as sock:
            sock.sendall(data)
            answer = receive(sock, len(data))
            return answer, sock.version(), sock.recv(10)

    log = Log()

    def echo(bev):
        log.received += bytes(bev.input)
        bev.write_buffer(bev.input)
        if len(log.received) == len(data):
            bev.flush(WRITE, BEV_FINISHED)

    bev = SSLBufferEvent(
        base,
        tcp_pair[1],
        server_context(good, version),
        server_side=True,
        read=echo,
        event=log.event,
    )
    bev.enable(READ)
    peer = Peer(client)
    run_until(base, peer.done)
    answer, spoken, end = peer.outcome()
    assert answer == data == log.received
    assert spoken == bev.version == f"TLSv{version}"
    # The server said that it was done.
    assert end == b""
    assert log.events[0] == BEV_EVENT_CONNECTED
    bev.close()


def test_client_of_the_standard_library(base, tcp_pair, authority, good, version):
    data = os.urandom(300_000)

    def server():
        context = standard_context(ssl.PROTOCOL_TLS_SERVER, authority, good, version)
        with context.wrap_socket(tcp_pair[1], server_side=True) as sock:
            got = receive(sock, len(data))
            sock.sendall(got)
            sock.unwrap()
            return got

    log = Log()
    bev = SSLBufferEvent(
        base,
        tcp_pair[0],
        client_context(authority, version),
        server_hostname="localhost",
        **log.callbacks,
    )
    bev.enable(READ)
    bev.write(data)
    peer = Peer(server)
    run_until(base, lambda: EOF in log.events)
    # Answers close_notify with ours, for which unwrap() waits.
    bev.close()
    assert peer.outcome() == data
    assert log.received == data
    assert log.events == [BEV_EVENT_CONNECTED, EOF]
    assert log.written >= 1


def test_a_context_of_the_standard_library_for_a_client(base, pair, authority, good):
    context = standard_context(ssl.PROTOCOL_TLS_CLIENT, authority, version="1.2")
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    logs = Log(), Log()
    client = SSLBufferEvent(
        base, pair[0], context, server_hostname="localhost", **logs[0].callbacks
    )
    server = SSLBufferEvent(
        base, pair[1], server_context(good), server_side=True, **logs[1].callbacks
    )
    run_until(base, lambda: logs[0].events and logs[1].events)
    assert client.established and server.established
    assert (client.version, client.cipher) == ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256")
    client.close()
    server.close()


# --- the openssl program as the peer --------------------------------------------------------------


@needs_openssl
def test_server_for_s_client(base, authority, good, version):
    log = Log()
    bevs = []

    def accept(listener, fd, address):
        bev = SSLBufferEvent(
            base, fd, server_context(good, version), server_side=True, event=log.event
        )
        bev.set_callbacks(read=lambda bev: bev.write(bev.read().upper()), event=log.event)
        bev.enable(READ)
        bevs.append(bev)

    listener = Listener(base, ("127.0.0.1", 0), accept)
    port = listener.address[1]
    client = subprocess.Popen(
        [
            OPENSSL, "s_client", "-connect", f"127.0.0.1:{port}", "-quiet", "-no_ign_eof",
            "-verify_return_error", "-verify_hostname", "localhost",
            "-CAfile", authority.ca.cert_file, f"-tls{version.replace('.', '_')}",
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip

    def talk():
        client.stdin.write(b"hello\n")
        client.stdin.flush()
        line = client.stdout.readline()
        client.stdin.close()
        client.wait(20)
        return line

    peer = Peer(talk)
    run_until(base, lambda: peer.done() and EOF in log.events)
    assert peer.outcome() == b"HELLO\n", client.stderr.read()
    assert log.events == [BEV_EVENT_CONNECTED, EOF]
    client.stdout.close()
    client.stderr.close()
    listener.close()
    for bev in bevs:
        bev.close()


@needs_openssl
def test_client_of_s_server(base, authority, good, version):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            OPENSSL, "s_server", "-accept", f"127.0.0.1:{port}", "-rev", "-naccept", "1",
            "-cert", good.cert_file, "-key", good.key_file, f"-tls{version.replace('.', '_')}",
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        while b"ACCEPT" not in server.stdout.readline():
            assert server.poll() is None
        log = Log()
        bev = SSLBufferEvent(
            base,
            None,
            client_context(authority, version),
            server_hostname="127.0.0.1",
            **log.callbacks,
        )
        bev.enable(READ)
        bev.connect(("127.0.0.1", port))
        bev.write(b"backwards\n")
        run_until(base, lambda: log.received.endswith(b"\n"))
        assert log.received == b"sdrawkcab\n"
        assert log.events == [BEV_EVENT_CONNECTED]
        bev.close()
        # It got close_notify, not just the end of the connection.
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


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


# --- ends -----------------------------------------------------------------------------------------


def test_close_says_goodbye(base, tls_pair, version):
    client, server, mine, theirs = tls_pair(version)
    run_until(base, lambda: mine.events and theirs.events)
    client.close()
    run_until(base, lambda: len(theirs.events) == 2)
    assert theirs.events[1] == EOF
    assert theirs.errors[1] is None


def test_half_close(base, tls_pair, version):
    """After BEV_FINISHED the peer hears the end behind the bytes, and can still answer."""
    client, server, mine, theirs = tls_pair(version)
    client.write(b"question")
    client.flush(WRITE, BEV_FINISHED)
    run_until(base, lambda: EOF in theirs.events)
    assert theirs.received == b"question"
    server.write(b"answer")
    run_until(base, lambda: mine.received == b"answer")
    assert mine.events == [BEV_EVENT_CONNECTED]
    # What is written after the end goes nowhere, and harms nobody.
    client.write(b"!")
    for _ in range(20):
        base.loop(EVLOOP_NONBLOCK)
    assert theirs.received == b"question"


@pytest.mark.parametrize("allowed", [False, True])
def test_dirty_shutdown(base, tls_pair, version, allowed):
    """The end of the connection without close_notify is an error unless it is allowed."""
    client, server, mine, theirs = tls_pair(version)
    server.allow_dirty_shutdown = allowed
    assert server.allow_dirty_shutdown is allowed
    client.write(b"and then")
    run_until(base, lambda: theirs.received)
    fds.shut_writing(client.fileno())
    run_until(base, lambda: len(theirs.events) == 2)
    assert theirs.events[1] == (EOF if allowed else BEV_EVENT_READING | BEV_EVENT_ERROR)
    if not allowed:
        assert "unexpected eof" in str(theirs.errors[1])
    assert server.enabled == 0


def test_eof_is_told_after_the_bytes_before_it(base, tls_pair, version):
    client, server, mine, theirs = tls_pair(version)
    run_until(base, lambda: mine.events and theirs.events)
    server.disable(READ)
    data = os.urandom(50_000)
    client.write(data)
    run_until(base, lambda: mine.written)
    client.close()
    server.enable(READ)
    run_until(base, lambda: len(theirs.events) == 2)
    assert theirs.received == data
    assert theirs.events[1] == EOF


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("when", ["connected", "read", "write", "eof"])
def test_closed_in_its_callbacks(base, tls_pair, options, when):
    client, server, mine, theirs = tls_pair(options=options)
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

    client.set_callbacks(
        read=close if when == "read" else mine.read,
        write=close if when == "write" else None,
        event=event,
    )
    if when == "eof":
        run_until(base, lambda: theirs.received and mine.received)
        server.close()
    run_until(base, lambda: closed)
    assert client.closed
    for _ in range(10):
        base.loop(EVLOOP_NONBLOCK)


def test_close_without_close_on_free_leaves_the_socket(base, pair, authority, good):
    left, right = pair
    log = Log()
    client = SSLBufferEvent(
        base, left, client_context(authority), server_hostname="localhost", close_on_free=False
    )
    server = SSLBufferEvent(base, right, server_context(good), server_side=True, **log.callbacks)
    run_until(base, lambda: log.events and client.established)
    client.close()
    # Nothing was said, and the socket is still there.
    for _ in range(10):
        base.loop(EVLOOP_NONBLOCK)
    assert log.events == [BEV_EVENT_CONNECTED]
    left.send(b"plain")
    server.close()


def test_connect_fails(base, authority):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = probe.getsockname()
    log = Log()
    bev = SSLBufferEvent(
        base, None, client_context(authority), server_hostname="localhost", **log.callbacks
    )
    bev.enable(READ)
    try:
        bev.connect(address)
    except ConnectionRefusedError:
        return
    run_until(base, lambda: log.events)
    assert log.events == [BEV_EVENT_ERROR]
    assert isinstance(log.errors[0], ConnectionRefusedError)
    bev.close()


def test_connect_by_address(base, authority, good, version):
    log, theirs = Log(), Log()
    bevs = []

    def accept(listener, fd, address):
        bev = SSLBufferEvent(
            base, fd, server_context(good, version), server_side=True, **theirs.callbacks
        )
        bev.enable(READ)
        bevs.append(bev)

    listener = Listener(base, ("127.0.0.1", 0), accept)
    bev = SSLBufferEvent(
        base, None, client_context(authority, version), server_hostname="localhost", **log.callbacks
    )
    bev.write(b"hello")
    bev.connect(listener.address)
    assert bev.connecting
    run_until(base, lambda: theirs.received == b"hello")
    assert log.events == [BEV_EVENT_CONNECTED] and not bev.connecting
    assert bev.peer == listener.address
    listener.close()
    for one in (bev, *bevs):
        one.close()


def test_is_kept_alive_by_the_base(base, pair, authority, good):
    log = Log()
    SSLBufferEvent(base, pair[0], client_context(authority), server_hostname="localhost").write(
        b"kept"
    )
    server = SSLBufferEvent(base, pair[1], server_context(good), server_side=True, **log.callbacks)
    server.enable(READ)
    run_until(base, lambda: log.received == b"kept")
    server.close()


def test_a_base_without_connections_ends(base, tls_pair):
    client, server, mine, theirs = tls_pair()

    def done(bev, what):
        if what & BEV_EVENT_EOF:
            bev.close()

    server.set_callbacks(event=done)
    client.set_callbacks(event=lambda bev, what: bev.close())
    base.dispatch()
    assert client.closed and server.closed
    assert base.num_events() == 0


def test_sigpipe_does_not_end_a_program(run_python, authority, good):
    """The peer is gone when bytes are sent, and SIGPIPE has its default effect."""
    run_python(
        """
import signal, socket, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
from OpenSSL import SSL
from cyevent import *
base = EventBase()
left, right = socket.socketpair()
context = SSL.Context(SSL.TLS_SERVER_METHOD)
context.use_certificate_file(sys.argv[1])
context.use_privatekey_file(sys.argv[2])
events = []
a = SSLBufferEvent(base, left, verify=False, event=lambda b, what: events.append(what))
b = SSLBufferEvent(base, right, context, server_side=True)
while not events:
    base.loop(EVLOOP_ONCE)
b.fd, other = -1, b.fileno()
socket.close(other)
a.write(b"x" * 100)
while len(events) < 2:
    base.loop(EVLOOP_ONCE)
assert events[1] & BEV_EVENT_ERROR, events
a.close()
""",
        good.cert_file,
        good.key_file,
    )


def test_a_plain_bufferevent_is_no_ssl_one(base, pair):
    bev = SocketBufferEvent(base, pair[0])
    assert not hasattr(bev, "connection")
    bev.close()


def test_pyopenssl_is_imported_at_the_first_use(run_python):
    run_python(
        "import sys, cyevent; assert 'OpenSSL' not in sys.modules and 'ssl' not in sys.modules"
    )


def test_without_pyopenssl(run_python):
    run_python(
        """
import sys
sys.modules["OpenSSL"] = None
from cyevent import EventBase, SSLBufferEvent
try:
    SSLBufferEvent(EventBase(), server_hostname="x")
except ImportError as error:
    assert "pyOpenSSL" in str(error), error
else:
    sys.exit("no ImportError")
"""
    )


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
