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
native = _build.cython_module("guard_cyevent")
SIZE = 1024


def python_echo(n: int) -> None:
    """A round trip of 1 KiB through a SocketBufferEvent; the client is in C."""
    base = cyevent.EventBase(threadsafe=False, ignore_env=True)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    def read(bev: cyevent.SocketBufferEvent) -> None:
        bev.write(bev.read())

    bev = cyevent.SocketBufferEvent(base, ours.detach(), read=read)
    bev.enable(cyevent.READ)
    native.be_client(base, theirs.fileno(), n)
    bev.close()
    theirs.close()
    base.close()


def python_event(n: int) -> None:
    """A byte arrives; the callback reads it and writes the next one."""
    base = cyevent.EventBase(threadsafe=False, ignore_env=True)
    ours, theirs = socket.socketpair()
    read, write, other, left = os.read, os.write, theirs.fileno(), n

    def readable(fd: int, what: int) -> None:
        nonlocal left
        left -= len(read(fd, 1))
        if left:
            write(other, b"x")
        else:
            base.loopbreak()

    event = cyevent.Event(base, ours, cyevent.READ | cyevent.PERSIST, readable)
    event.add()
    write(other, b"x")
    base.dispatch()
    event.delete()
    base.close()
    ours.close()
    theirs.close()


def python_timer(n: int) -> None:
    """A timer that is due at once, and whose callback makes the next one."""
    base = cyevent.EventBase(threadsafe=False, ignore_env=True)
    Timer, left = cyevent.Timer, n

    def due() -> None:
        nonlocal left
        left -= 1
        if left:
            Timer(base, due).add(0)

    Timer(base, due).add(0)
    base.dispatch()
    assert left == 0
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
        "echo round trip, Python": (python_echo, 500),
        "event ready, Python": (python_event, 500),
        "timer add + expire, Python": (python_timer, 500),
        "buffer add + remove, Python": (python_buffer, 1000),
    }


def main() -> int:
    """Runs everything; the names of the dumps are read by perf._guard."""
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
