"""The chat server with --tls, and the TLS-terminating proxy, as their users run them."""

import os
import signal
import socket
import ssl
import sys
import threading
from pathlib import Path

import programs
import pytest
from tls_peers import Log, client_context, run_until, standard_context

from cyevent import BEV_EVENT_EOF, BEV_EVENT_READING, BEV_FINISHED, READ, WRITE, SSLBufferEvent

if sys.platform == "win32":
    pytest.skip("the programs are ended by POSIX's signals", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def start():
    """Starts a program that listens; returns its process and its port."""
    running = []

    def run(*command):
        process = programs.start(*command)
        running.append(process)
        return process, programs.address_of(process)[1]

    yield run
    for process in running:
        programs.end(process)


@pytest.fixture
def connect(authority):
    """Connects to a port with TLS."""
    made = []

    def run(port, version=None):
        context = standard_context(ssl.PROTOCOL_TLS_CLIENT, authority, version=version)
        plain = socket.create_connection(("127.0.0.1", port), timeout=20)
        sock = context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)
        made.append(sock)
        return sock

    yield run
    for sock in made:
        sock.close()


def receive(sock, n):
    data = bytearray()
    while len(data) < n:
        part = sock.recv(65536)
        if not part:
            break
        data += part
    return bytes(data)


# --- the chat -------------------------------------------------------------------------------------


@pytest.fixture
def chat(start, good):
    return start("-m", "cyevent", "chat", "--port", "0", "--tls", good.cert_file, good.key_file)


def test_the_chat(chat, connect, version):
    process, port = chat
    one, two = connect(port, version), connect(port)
    heard, other = one.makefile("rb"), two.makefile("rb")
    assert heard.readline() == b"welcome guest1, 1 here\n"
    assert other.readline() == b"welcome guest2, 2 here\n"
    assert heard.readline() == b"* guest2 joined\n"
    one.sendall(b"/nick ann\n")
    assert other.readline() == b"* guest1 is now ann\n"
    one.sendall(b"hello\r\n")
    assert other.readline() == b"<ann> hello\n"
    two.sendall(b"/quit\n")
    # The end is said, not just made.
    assert other.read() == b""
    while b"left" not in heard.readline():
        pass
    process.send_signal(signal.SIGTERM)
    assert b"goodbye" in heard.readline()
    assert heard.read() == b""
    assert process.wait(20) == 0


def test_the_chat_and_those_who_speak_something_else(chat, connect):
    """They are not heard of, and nobody else is disturbed."""
    process, port = chat
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as silent,
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        socket.create_connection(("127.0.0.1", port), timeout=20) as brief,
    ):
        brief.close()
        plain.sendall(b"hello, is this a chat?\n")
        # An alert at most, then the end.
        assert b"welcome" not in plain.recv(100)
        sock = connect(port)
        assert sock.makefile("rb").readline() == b"welcome guest1, 1 here\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert silent.recv(100) == b""


@pytest.mark.parametrize("broken", ["missing", "no certificate", "another's key"])
def test_the_chat_without_a_usable_certificate(tmp_path, good, expired, broken):
    cert, key = good.cert_file, good.key_file
    if broken == "missing":
        cert = str(tmp_path / "nothing")
    elif broken == "no certificate":
        cert = str(tmp_path / "text")
        Path(cert).write_text("text")
    else:
        key = expired.key_file
    done = programs.run("-m", "cyevent", "chat", "--port", "0", "--tls", cert, key)
    assert done.returncode == 1
    assert done.stderr.startswith("no TLS: ") and len(done.stderr.splitlines()) == 1


# --- the proxy ------------------------------------------------------------------------------------


class Plain(threading.Thread):
    """A server in the clear, that serves one connection after the other with a function."""

    def __init__(self, serve):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.serve = serve
        self.over = False
        self.start()

    def run(self):
        while True:
            sock, _ = self.listener.accept()
            with sock:
                if self.over:
                    return
                sock.settimeout(20)
                self.serve(sock)

    def close(self):
        # Closing the listener alone would leave the thread in its accept().
        self.over = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self.join(20)
        self.listener.close()


def shout(sock):
    """Answers everything when it has heard all of it."""
    data = receive(sock, 1 << 30)
    sock.sendall(data.upper())


@pytest.fixture
def proxy(start, good):
    def run(port):
        program = str(ROOT / "examples" / "tls_proxy.py")
        return start(program, good.cert_file, good.key_file, "127.0.0.1", str(port))

    return run


def test_the_proxy(proxy, connect, version):
    def echo(sock):
        while data := sock.recv(65536):
            sock.sendall(data)

    server = Plain(echo)
    process, port = proxy(server.port)
    for _ in range(2):
        sock = connect(port, version)
        for _ in range(20):
            data = os.urandom(50_000)
            sock.sendall(data)
            assert receive(sock, len(data)) == data
        sock.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    server.close()


def test_the_proxy_passes_ends_on(base, proxy, authority, version):
    """close_notify becomes the end of the connection, and that close_notify."""
    server = Plain(shout)
    _, port = proxy(server.port)
    log = Log()
    client = SSLBufferEvent(
        base, None, client_context(authority, version), server_hostname="localhost", **log.callbacks
    )
    client.enable(READ)
    client.connect(("127.0.0.1", port))
    client.write(b"hello " * 10_000)
    client.flush(WRITE, BEV_FINISHED)
    run_until(base, lambda: len(log.events) == 2)
    assert log.events[1] == BEV_EVENT_EOF | BEV_EVENT_READING
    assert log.received == b"HELLO " * 10_000
    client.close()
    server.close()


def test_the_proxy_without_its_server(proxy, connect):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    _, port = proxy(port)
    assert connect(port).recv(10) == b""
