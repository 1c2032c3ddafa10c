"""Connections that are opened, used and closed over and over leave nothing behind."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import programs
import pytest

resource = pytest.importorskip("resource", reason="limits of descriptors are POSIX'")

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's /proc")

SPARE = 200
MESSAGE = b"m" * 700


class Server:
    """churn_server.py in a process of its own."""

    def __init__(self, method, connections, env):
        program = Path(__file__).with_name("churn_server.py")
        command = [sys.executable, str(program), method, str(connections + SPARE)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        self.port = int(self.process.stdout.readline())

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def kilobytes(self):
        """The memory that it has, in KiB."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * resource.getpagesize() // 1024

    def seconds(self):
        """The processor time that it has used."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def run_round(server, connections, number):
    """Opens the connections, has each echo a message, and closes them."""
    socks = []
    for i in range(connections):
        # Ports of many addresses: a closed connection keeps its pair of ports for a minute.
        host = f"127.0.{number % 100}.{1 + i % 200}"
        socks.append(socket.create_connection((host, server.port), timeout=30))
    for sock in socks:
        sock.sendall(MESSAGE)
    for sock in socks:
        left = len(MESSAGE)
        while left:
            data = sock.recv(left)
            assert data, "the server ended before all was echoed"
            left -= len(data)
    for sock in socks:
        sock.close()


def churn(method, connections, rounds, env, report=lambda *figures: None):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(connections + SPARE, limits[1]), limits[1]))
    server = Server(method, connections, env)
    try:
        idle = server.descriptors()
        sizes = []
        for number in range(rounds):
            run_round(server, connections, number)
            deadline = time.monotonic() + 30
            while server.descriptors() != idle:
                assert time.monotonic() < deadline, (
                    f"{server.descriptors() - idle} descriptors are left after round {number + 1}"
                )
                time.sleep(0.01)
            sizes.append(server.kilobytes())
            report(number, sizes[-1])
        before = server.seconds()
        time.sleep(0.5)
        # With nothing to do it sleeps; not even a tenth of that is the least that a busy loop would take.
        assert server.seconds() - before < 0.05
        assert server.process.poll() is None
        return sizes
    finally:
        server.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def server_env(package_env):
    """Completions are asked for by the environment."""
    name = "EVENT_USE_COMPLETION"
    return package_env | ({name: os.environ[name]} if name in os.environ else {})


def test_connections_leave_nothing_behind(method, server_env):
    sizes = churn(method, 300 if method == "select" else 600, 8, server_env)
    # The first rounds fill the pools.
    # A sanitizer keeps what is freed for a while.
    assert programs.SANITIZERS or sizes[-1] <= sizes[2] + 512, sizes


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_connections(method, server_env):
    at_once = 400 if method == "select" else 1000
    sizes = churn(method, at_once, 100_000 // at_once, server_env)
    assert sizes[-1] <= sizes[2] * 1.01 + 512, sizes


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_connections_fifty_times(package_env, capsys):
    def report(number, size):
        with capsys.disabled():
            print(f"round {number + 1}: {size} KiB", flush=True)

    sizes = churn("epoll", 10_000, 50, package_env, report)
    assert sizes[-1] <= sizes[2] * 1.01 + 512, sizes
