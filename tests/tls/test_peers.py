"""TLS on sockets with other programs' implementations as the peer, in both roles."""

import os
import shutil
import socket
import ssl
import subprocess

import pytest
from tls_peers import (
    EOF,
    Log,
    Peer,
    client_context,
    run_until,
    server_context,
    standard_context,
)

from cyevent import (
    BEV_EVENT_CONNECTED,
    BEV_FINISHED,
    READ,
    WRITE,
    Listener,
    SSLBufferEvent,
)

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
