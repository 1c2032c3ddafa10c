"""What the tests of io_uring share."""

import socket

import pytest

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
