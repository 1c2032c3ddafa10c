"""The chain's peers with Python callbacks: cyevent's Event, asyncio's and uvloop's add_reader.

All run the very same callback. It takes what cyevent passes, (fd, what, index); add_reader is told
to pass the same. Before the timed section each loop makes one turn that finds nothing, as
libevent's benchmark does: uvloop tells the kernel of its readers only then.
"""

from __future__ import annotations

import asyncio
import gc
import os
import selectors
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from perf import _build
from perf._chain_native import Ring, Round

READ = 0x02
FD_SETSIZE = 1024


class Chain:
    """The state of a round, and the callback that works on it."""

    def __init__(self, ring: Ring, stop: Callable[[], None]) -> None:
        self.ring = ring
        self.readers = ring.fds[0::2].tolist()
        self.left = 0
        writers = ring.fds[1::2].tolist()
        following = [(i + ring.stride) % ring.pipes for i in range(ring.pipes)]
        targets = [writers[i] for i in following]
        space = ring.pipes // ring.active
        self.starts = [i * space for i in range(ring.active)]
        self.first_writers = [writers[i] for i in self.starts]
        self.step, self.start = self._make(ring, targets, stop)

    def _make(
        self, ring: Ring, targets: list[int], stop: Callable[[], None]
    ) -> tuple[Callable[..., None], Callable[[], None]]:
        count = fired = writes = 0
        read, write = os.read, os.write

        def step(fd: int, what: int, index: int) -> None:
            nonlocal count, fired, writes
            count += len(read(fd, 1))
            if writes:
                write(targets[index], b"e")
                writes -= 1
                fired += 1
            if count == fired:
                stop()

        def start() -> None:
            nonlocal count, fired, writes
            count, fired, writes = 0, ring.active, ring.writes
            for fd in self.first_writers:
                write(fd, b"e")

        return step, start


class Timing:
    """Takes a round's times."""

    def __init__(self) -> None:
        gc.collect()
        self.marks = [time.perf_counter_ns()]

    def mark(self) -> None:
        """Ends one section and begins the next."""
        self.marks.append(time.perf_counter_ns())

    def restart(self) -> None:
        """What was done since the last mark belongs to no section."""
        self.cpu = time.thread_time_ns()
        self.began = time.perf_counter_ns()

    def stop(self) -> None:
        """Ends the section that restart() began."""
        self.loop = time.perf_counter_ns() - self.began
        self.cpu = time.thread_time_ns() - self.cpu
        self.mark()

    def round(self) -> Round:
        """Returns the times of setup, loop and removal."""
        begin, ready, done, end = self.marks
        return Round(ready - begin, self.loop, end - done, self.cpu)


class CyeventPeer:
    """cyevent's Python face, its loop ended as a user would: by loopbreak() in a callback."""

    def __init__(self, method: str, ring: Ring, threadsafe: bool = True) -> None:
        self.cyevent = _build.cyevent()
        self.base = self.cyevent.EventBase(method, threadsafe=threadsafe, ignore_env=True)
        self.chain = Chain(ring, self.base.loopbreak)

    def round(self, ring: Ring) -> Round:
        base, step = self.base, self.chain.step
        Event = self.cyevent.Event
        what = self.cyevent.READ | self.cyevent.PERSIST
        events = []
        timing = Timing()
        for index, fd in enumerate(self.chain.readers):
            event = Event(base, fd, what, step, index)
            event.add()
            events.append(event)
        base.loop(self.cyevent.EVLOOP_NONBLOCK)
        timing.mark()

        self.chain.start()
        timing.restart()
        base.dispatch()
        timing.stop()

        for event in events:
            event.delete()
        del event
        events.clear()
        timing.mark()
        return timing.round()

    def close(self) -> None:
        self.base.close()


class AsyncioPeer:
    """An asyncio event loop with add_reader."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Ring) -> None:
        self.loop = loop
        self.chain = Chain(ring, loop.stop)

    def round(self, ring: Ring) -> Round:
        loop, step = self.loop, self.chain.step
        timing = Timing()
        for index, fd in enumerate(self.chain.readers):
            loop.add_reader(fd, step, fd, READ, index)
        loop.call_soon(loop.stop)
        loop.run_forever()
        timing.mark()

        self.chain.start()
        timing.restart()
        loop.run_forever()
        timing.stop()

        for fd in self.chain.readers:
            loop.remove_reader(fd)
        # uvloop gives the kernel's registrations back in its next turn.
        loop.call_soon(loop.stop)
        loop.run_forever()
        timing.mark()
        return timing.round()

    def close(self) -> None:
        self.loop.close()


class CallbackPeer:
    """The callbacks alone, called in turn without a loop: what all others have in common."""

    def __init__(self, ring: Ring) -> None:
        self.done = False
        self.chain = Chain(ring, self._stop)

    def _stop(self) -> None:
        self.done = True

    def round(self, ring: Ring) -> Round:
        step, readers, stride, pipes = self.chain.step, self.chain.readers, ring.stride, ring.pipes
        writes = ring.writes
        self.done = False
        timing = Timing()
        timing.mark()
        self.chain.start()
        waiting = deque(self.chain.starts)
        timing.restart()
        while not self.done:
            index = waiting.popleft()
            step(readers[index], READ, index)
            if writes:
                writes -= 1
                waiting.append((index + stride) % pipes)
        timing.stop()
        timing.mark()
        return timing.round()

    def close(self) -> None:
        pass


def uvloop_module() -> Any | None:
    """Returns uvloop, or None where it is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop


def open_peer(name: str, method: str, ring: Ring) -> Any | None:
    """Returns the peer `name`, or None when it cannot run here."""
    if name == "cyevent":
        return CyeventPeer(method, ring)
    if name == "cyevent nolock":
        return CyeventPeer(method, ring, threadsafe=False)
    if name == "callback":
        return CallbackPeer(ring)
    if name == "uvloop":
        uvloop = uvloop_module()
        if uvloop is None or method != "epoll":
            return None
        return AsyncioPeer(uvloop.new_event_loop(), ring)
    selector = {
        "epoll": "EpollSelector",
        "poll": "PollSelector",
        "select": "SelectSelector",
    }[method]
    if method == "select" and max(ring.fds) >= FD_SETSIZE - 16:
        return None
    return AsyncioPeer(asyncio.SelectorEventLoop(getattr(selectors, selector)()), ring)
