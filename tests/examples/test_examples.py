"""The programs in examples/, run as their users run them."""

import os
import signal
import socket
from pathlib import Path

import programs
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def start():
    """Starts an example that listens; returns its process and its port."""
    running = []

    def run(name, *arguments):
        process = programs.start(EXAMPLES / name, *arguments)
        running.append(process)
        return process, programs.address_of(process)[1]

    yield run
    for process in running:
        programs.end(process)


def receive(sock, n):
    data = b""
    while len(data) < n:
        part = sock.recv(n - len(data))
        assert part, "the connection ended"
        data += part
    return data


def test_echo_server(start):
    process, port = start("echo_server.py")
    data = os.urandom(1_000_000)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as one,
        socket.create_connection(("127.0.0.1", port), timeout=20) as two,
    ):
        two.sendall(b"hello")
        assert receive(two, 5) == b"hello"
        for at in range(0, len(data), 10_000):
            one.sendall(data[at : at + 10_000])
            assert receive(one, 10_000) == data[at : at + 10_000]
        # One that does not read is not read from for ever.
        one.settimeout(0.5)
        with pytest.raises(TimeoutError):
            for _ in range(10_000):
                one.sendall(data)
        two.sendall(b"still there?")
        assert receive(two, 12) == b"still there?"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def send_through_the_link(port, text):
    return programs.run(
        EXAMPLES / "zlib_link.py", "send", "127.0.0.1", port, input=text, text=False
    )


def test_zlib_link(start):
    process, port = start("zlib_link.py", "serve")
    text = b"all work and no play makes a dull text\n" * 20_000
    for _ in range(2):
        done = send_through_the_link(port, text)
        assert done.returncode == 0, done.stderr
        words = done.stdout.decode().split()
        assert words[:5] == ["the", "server", "got", str(len(text)), "bytes;"]
        # The other end saw as many as were sent, and far fewer than the text has.
        crossed = int(words[5])
        assert crossed < len(text) / 50
        assert process.stdout.readline() == f"{len(text)} bytes crossed as {crossed}\n"


def test_zlib_link_without_a_server():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert b"refused" in send_through_the_link(port, b"x").stdout
