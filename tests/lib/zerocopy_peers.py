"""TCP connections and lenders, for the tests of sending without copying."""

import socket
import time

import pytest


def tcp_pair(family=socket.AF_INET):
    """Two connected sockets, of which the first does not block."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("no IPv6")
    with server:
        left = socket.create_connection(server.getsockname()[:2])
        right, _ = server.accept()
    left.setblocking(False)
    return left, right


def is_lent(lender):
    """Whether anybody still has a bytearray's memory."""
    try:
        lender.append(0)
        lender.pop()
    except BufferError:
        return True
    return False


def until(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


def receive(sock, n):
    sock.settimeout(20)
    got = bytearray()
    while len(got) < n:
        data = sock.recv(n - len(got))
        assert data, "the stream ended"
        got += data
    return bytes(got)
