"""What the tests of io_uring share."""

import socket

import pytest
from loops import run_until

from cyevent import EventBase


def has_ring():
    with EventBase(completion=True) as base:
        return base.completion == "io_uring"


needs_ring = pytest.mark.skipif(not has_ring(), reason="no io_uring here")


def pairs(n):
    made = [socket.socketpair() for _ in range(n)]
    for sock in sum(made, ()):
        sock.setblocking(False)
    return made


def echo(bev):
    bev.write(bev.read())


def answer_of(base, sock):
    """Lets the loop run until something can be received."""
    answer = []

    def arrived():
        try:
            answer.append(sock.recv(100))
        except BlockingIOError:
            return False
        return True

    run_until(base, arrived)
    return answer[0]
