"""TLS on sockets: how connections begin and end."""

import os
import socket

import fds
import pytest
from tls_peers import (
    EOF,
    OPTIONS,
    Log,
    client_context,
    run_until,
    server_context,
)

from cyevent import (
    BEV_EVENT_CONNECTED,
    BEV_EVENT_EOF,
    BEV_EVENT_ERROR,
    BEV_EVENT_READING,
    BEV_FINISHED,
    EVLOOP_NONBLOCK,
    READ,
    WRITE,
    Listener,
    SocketBufferEvent,
    SSLBufferEvent,
)


def test_close_says_goodbye(base, tls_pair, version):
    client, server, mine, theirs = tls_pair(version)
    run_until(base, lambda: mine.events and theirs.events)
    client.close()
    run_until(base, lambda: len(theirs.events) == 2)
    assert theirs.events[1] == EOF
    assert theirs.errors[1] is None


def test_a_child_that_closes_says_no_goodbye(base, tls_pair, version, in_child):
    """It is the parent's connection."""
    client, server, mine, theirs = tls_pair(version)
    run_until(base, lambda: mine.events and theirs.events)
    in_child(base.close)
    client.write(b"still here")
    run_until(base, lambda: theirs.received == b"still here")
    assert len(theirs.events) == 1
    server.write(b"so am I")
    run_until(base, lambda: mine.received == b"so am I")
    assert len(mine.events) == 1


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
