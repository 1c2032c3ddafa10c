"""The programs in examples/, run as their users run them."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def start(package_env):
    """Starts an example that listens; returns its process and its port."""
    running = []

    def run(name, *arguments):
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=package_env,
        )
        running.append(process)
        line = process.stdout.readline()
        assert line.startswith("listening on 127.0.0.1:"), line
        return process, int(line.rsplit(":", 1)[1])

    yield run
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


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


def test_zlib_link(start, package_env):
    process, port = start("zlib_link.py", "serve")
    text = b"all work and no play makes a dull text\n" * 20_000
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / "zlib_link.py"), "send", "127.0.0.1", str(port)],
            input=text,
            capture_output=True,
            timeout=60,
            env=package_env,
        )
        assert done.returncode == 0, done.stderr
        words = done.stdout.decode().split()
        assert words[:5] == ["the", "server", "got", str(len(text)), "bytes;"]
        # The other end saw as many as were sent, and far fewer than the text has.
        crossed = int(words[5])
        assert crossed < len(text) / 50
        assert process.stdout.readline() == f"{len(text)} bytes crossed as {crossed}\n"


def test_zlib_link_without_a_server(package_env):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "zlib_link.py"), "send", "127.0.0.1", str(port)],
        input=b"x",
        capture_output=True,
        timeout=60,
        env=package_env,
    )
    assert b"refused" in done.stdout
