"""What `python -m perf guard` runs under callgrind: each path twice, n times and 3 n times.

Counting is on during each run alone; what was counted is dumped under the path's name.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Callable

from perf import _build

cyevent = _build.cyevent()
SIZE = 1024


def python_echo(n: int) -> None:
    """A round trip of 1 KiB through a SocketBufferEvent."""
    base = cyevent.EventBase(threadsafe=False, ignore_env=True)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    def read(bev: cyevent.SocketBufferEvent) -> None:
        bev.write(bev.read())

    bev = cyevent.SocketBufferEvent(base, ours.detach(), read=read)
    bev.enable(cyevent.READ)
    data, send, recv, loop = b"x" * SIZE, theirs.send, theirs.recv, base.loop
    once = cyevent.EVLOOP_ONCE
    for _ in range(n):
        send(data)
        loop(once)
        assert len(recv(SIZE)) == SIZE
    bev.close()
    theirs.close()
    base.close()


def python_event(n: int) -> None:
    """A byte arrives, and the callback reads it."""
    base = cyevent.EventBase(threadsafe=False, ignore_env=True)
    ours, theirs = socket.socketpair()
    read, fd, got = os.read, ours.fileno(), 0

    def readable(fd: int, what: int) -> None:
        nonlocal got
        got += len(read(fd, 1))

    event = cyevent.Event(base, ours, cyevent.READ | cyevent.PERSIST, readable)
    event.add()
    write, fd, loop, once = os.write, theirs.fileno(), base.loop, cyevent.EVLOOP_ONCE
    for _ in range(n):
        write(fd, b"x")
        loop(once)
    assert got == n
    event.delete()
    base.close()
    ours.close()
    theirs.close()


def python_timer(n: int) -> None:
    """A timer that is made, added and due at once."""
    base = cyevent.EventBase(threadsafe=False, ignore_env=True)
    calls: list[int] = []
    Timer, loop, once, call = cyevent.Timer, base.loop, cyevent.EVLOOP_ONCE, calls.append
    for _ in range(n):
        Timer(base, call, 1).add(0)
        loop(once)
    assert len(calls) == n
    base.close()


def python_buffer(n: int) -> None:
    """1 KiB in and out."""
    buf, data = cyevent.EvBuffer(), b"x" * SIZE
    add, remove = buf.add, buf.remove
    for _ in range(n):
        add(data)
        remove(SIZE)


def paths() -> dict[str, tuple[Callable[[int], object], int]]:
    """Returns what is counted: its name, what does it n times, and n."""
    native = _build.cython_module("guard_cyevent")
    wakeup = _build.cython_module("wakeup_cyevent").Peer()
    return {
        "event add + delete": (native.event_add_del, 1000),
        "event ready, C": (native.event_ready, 1000),
        "event activate + run": (native.event_activate, 1000),
        "timer add + delete": (native.timer_add_del, 1000),
        "timer add + expire": (native.timer_expire, 1000),
        "buffer add + drain 1 KiB": (native.buffer_add_drain, 1000),
        "buffer add + move + drain": (native.buffer_add_buffer, 1000),
        "buffer readln": (native.buffer_readln, 1000),
        "buffer search 6400 bytes": (native.buffer_search, 200),
        "pair write + read 1 KiB": (native.pair_write_read, 1000),
        "echo round trip, C": (native.socket_echo, 1000),
        "listener accept": (native.listener_accept, 200),
        "wake-up from a thread": (lambda n: wakeup.run(n, 1), 500),
        "echo round trip, Python": (python_echo, 500),
        "event ready, Python": (python_event, 500),
        "timer add + expire, Python": (python_timer, 500),
        "buffer add + remove, Python": (python_buffer, 1000),
    }


def main() -> int:
    """Runs everything; the names of the dumps are read by perf._guard."""
    native = _build.cython_module("guard_cyevent")
    gc.disable()
    for name, (run, n) in paths().items():
        run(n)  # the first run fills caches and free lists
        for count in (n, 3 * n):
            native.begin()
            run(count)
            native.end(f"{name}\t{count}".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
