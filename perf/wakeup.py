"""Waking a loop from another thread: what it costs in processor time, and that no wake-up is lost.

A producer's thread wakes the loop many times. In the ping-pong it waits for each to be handled; in the
flood it does not, and a loop that is awake need not be woken. C callbacks: event_active() of libevent's own
library and of cyevent. Python callbacks: call_soon_threadsafe() of uvloop and asyncio beside
EventBase.call_soon(), and Event.activate(), which tells of many activations at once. What is measured is the
time of the whole process, user and system: the loop's thread and the producer's.

With --lossless N there are no tables: N wake-ups in bursts of many lengths, each of which ends with a
handshake on a loop that has nothing else to wake for.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import random
import resource
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

from perf import _build, _chain_python, _results
from perf._report import Layout
from perf._suite import Benchmark, Figure, Option, in_turns, main, names, positive

LIMIT = 30.0  # seconds after which a wake-up counts as lost
UNITS = {"cpu": "us", "user": "us", "system": "us", "wall": "us", "callbacks": ""}
FLOOD = 1000  # the length of a burst
LIBEVENT = _build.Part("library", "wakeup_libevent", ("event_core", "event_pthreads"))
CYEVENT = _build.Part("module", "wakeup_cyevent")


class LostError(Exception):
    """A wake-up was lost."""


# --- C callbacks --------------------------------------------------------------------------------


class LibeventWakeup:
    """event_active() of libevent's own library, with pthreads' locks."""

    def __init__(self) -> None:
        self.library = libevent_library()
        self.handle = self.library.wakeup_open()
        if not self.handle:
            raise MemoryError("libevent cannot make a base")

    def run(self, count: int, burst: int) -> int:
        """Wakes the loop; returns how many callbacks there were."""
        return _checked(self.library.wakeup_run(self.handle, count, burst))

    def close(self) -> None:
        """Frees the base."""
        self.library.wakeup_close(self.handle)


class CyeventWakeup:
    """event_active() of cyevent's C face."""

    def __init__(self) -> None:
        self.peer = _build.cython_module("wakeup_cyevent").Peer()

    def run(self, count: int, burst: int) -> int:
        """Wakes the loop; returns how many callbacks there were."""
        return _checked(self.peer.run(count, burst))

    def close(self) -> None:
        """Frees the base."""
        self.peer = None


def _checked(calls: int) -> int:
    if calls < 0:
        raise LostError("a wake-up was lost")
    return calls


def libevent_library() -> ctypes.CDLL:
    """Returns libevent's half with its functions declared."""
    library = LIBEVENT.loaded()
    pointer, long = ctypes.c_void_p, ctypes.c_long
    library.wakeup_open.argtypes, library.wakeup_open.restype = [], pointer
    library.wakeup_close.argtypes, library.wakeup_close.restype = [pointer], None
    library.wakeup_run.argtypes, library.wakeup_run.restype = [pointer, long, long], long
    return library


# --- Python callbacks ---------------------------------------------------------------------------


class PythonWakeup:
    """What the Python peers share: a producer, which posts callbacks to a loop in this thread.

    The callbacks are built-in functions, so that next to nothing of the time is theirs.
    """

    each = True  # there is a call for each wake-up

    def __init__(self) -> None:
        self.answer = threading.Lock()
        self.answer.acquire()
        self.calls = itertools.count()
        self.lost = False

    def run(self, count: int, burst: int) -> int:
        """Wakes the loop; returns how many callbacks there were."""
        self.calls = itertools.count()
        producer = threading.Thread(target=self.produce, args=(count, burst))
        producer.start()
        self.loop()
        producer.join()
        calls = next(self.calls)
        # The last of each burst answers instead of counting.
        if self.lost or (self.each and calls != count - -(-count // burst)):
            raise LostError("a wake-up was lost")
        return calls

    def produce(self, count: int, burst: int) -> None:
        """The producer's thread."""
        answer = self.answer.acquire
        post, answered = self.posters()
        try:
            if burst == 1:
                for _ in range(count):
                    answered()
                    if not answer(True, LIMIT):
                        self.lost = True
                        break
            else:
                for start in range(0, count, burst):
                    for _ in range(min(burst, count - start) - 1):
                        post()
                    answered()
                    if not answer(True, LIMIT):
                        self.lost = True
                        break
        finally:
            self.stop()

    def posters(self) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """Returns what posts a callback that counts, and what posts one that answers."""
        raise NotImplementedError

    def loop(self) -> None:
        """Runs the loop until stop()."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ends the loop, from the producer's thread."""
        raise NotImplementedError


class CyeventCallSoon(PythonWakeup):
    """EventBase.call_soon()."""

    def __init__(self) -> None:
        super().__init__()
        self.cyevent = _build.cyevent()
        self.base = self.cyevent.EventBase()

    def posters(self) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """See PythonWakeup."""
        call_soon, count, release = self.base.call_soon, self.calls.__next__, self.answer.release
        return lambda: call_soon(count), lambda: call_soon(release)

    def loop(self) -> None:
        """See PythonWakeup."""
        self.base.loop(self.cyevent.EVLOOP_NO_EXIT_ON_EMPTY)

    def stop(self) -> None:
        """See PythonWakeup."""
        self.base.loopbreak()

    def close(self) -> None:
        """Closes the base."""
        self.base.close()


class CyeventActivate(CyeventCallSoon):
    """Event.activate()."""

    each = False

    def __init__(self) -> None:
        super().__init__()
        self.answerer = self.cyevent.Timer(self.base, self.answer.release)

    def posters(self) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """See PythonWakeup."""
        counter = self.cyevent.Timer(self.base, self.calls.__next__)
        count, answer, what = counter.activate, self.answerer.activate, self.cyevent.TIMEOUT
        return lambda: count(what), lambda: answer(what)


class AsyncioWakeup(PythonWakeup):
    """call_soon_threadsafe() of an asyncio event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.asyncio_loop = loop

    def posters(self) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """See PythonWakeup."""
        call = self.asyncio_loop.call_soon_threadsafe
        count, release = self.calls.__next__, self.answer.release
        return lambda: call(count), lambda: call(release)

    def loop(self) -> None:
        """See PythonWakeup."""
        self.asyncio_loop.run_forever()

    def stop(self) -> None:
        """See PythonWakeup."""
        self.asyncio_loop.call_soon_threadsafe(self.asyncio_loop.stop)

    def close(self) -> None:
        """Closes the loop."""
        self.asyncio_loop.close()


def python_peers() -> dict[str, Any]:
    """Returns the Python peers by name, uvloop only where it is installed."""
    peers: dict[str, Any] = {
        "asyncio": AsyncioWakeup(asyncio.SelectorEventLoop()),
        "cyevent": CyeventCallSoon(),
        "cyevent activate": CyeventActivate(),
    }
    uvloop = _chain_python.uvloop_module()
    if uvloop is not None:
        peers["uvloop"] = AsyncioWakeup(uvloop.new_event_loop())
    return peers


# --- measuring ----------------------------------------------------------------------------------


def measure(peer: Any, count: int, burst: int) -> dict[str, float]:
    """Returns microseconds per wake-up of the whole process, and callbacks per wake-up."""
    cpu, began = time.process_time(), time.perf_counter()
    calls = peer.run(count, burst)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"cpu": cpu * 1e6 / count, "wall": wall * 1e6 / count, "callbacks": calls / count}


def _parts() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


def run_group(
    group: str, peers: dict[str, Any], counts: dict[str, int], rounds: int
) -> Iterator[Figure]:
    """Yields a figure for each way of waking; the peers take turns."""
    figures = {
        way: Figure(
            GROUPS[group],
            way,
            "cpu",
            UNITS,
            reference="libevent" if group == "c" else "uvloop",
            subjects=("cyevent", "cyevent activate"),
            parameters={"count": count},
        )
        for way, count in counts.items()
    }
    parts: dict[tuple[str, str], list[float]] = {}
    # The first round warms up.
    for number in range(rounds + 1):
        _results.progress(f"{GROUPS[group]}: round {number} of {rounds}", fleeting=True)
        for way, count in counts.items():
            for name in in_turns(peers, number):
                before = _parts()
                sample = measure(peers[name], count, 1 if way == "ping-pong" else FLOOD)
                if number:
                    figures[way].add(name, **sample)
                    total = parts.setdefault((way, name), [0.0, 0.0])
                    for i, (part, earlier) in enumerate(zip(_parts(), before, strict=True)):
                        total[i] += part - earlier
    for (way, name), (user, system) in parts.items():
        figures[way].split(name, user, system)
    yield from figures.values()


def run_lossless(peers: dict[str, Any], total: int) -> int:
    """Wakes each peer's loop so often, in bursts of many lengths; returns the exit status."""
    generator = random.Random(20240229)
    for name, peer in peers.items():
        done = calls = 0
        began = time.monotonic()
        while done < total:
            burst = generator.choice((1, 1, 2, 3, 5, 8, 13, 34, 144, 1000))
            count = min(total - done, 20_000)
            try:
                calls += peer.run(count, burst)
            except LostError:
                print(f"{name}: a wake-up was lost among {done + count}")
                return 1
            done += count
            _results.progress(f"{name}: {done} of {total}", fleeting=True)
        seconds = time.monotonic() - began
        print(f"{name}: {done} wake-ups, {calls} callbacks counted, none lost, {seconds:.0f} s")
    return 0


GROUPS = {"c": "C callbacks", "python": "Python callbacks"}
FLOODS = {"c": 100, "python": 10}  # how many times as many wake-ups a flood has


class Wakeup(Benchmark):
    """The benchmark."""

    name = "wakeup"
    title = "waking a loop from another thread"
    peers = ("libevent", "uvloop", "asyncio")
    parts = (LIBEVENT, CYEVENT)
    rounds = (15, 5)
    options = (
        Option("--count", 50_000, 5_000, "wake-ups a round", positive),
        Option("--groups", tuple(GROUPS), tuple(GROUPS), "whose callbacks", names(*GROUPS)),
        Option("--lossless", 0, 0, "look for lost wake-ups among so many, and measure nothing"),
    )
    table = Layout(metrics=("cpu", "user", "system", "wall"), ratios=("user", "system"))
    lead = "{count} wake-ups a round and more in a flood; processor time of both threads for one."

    def check(self, options: Namespace) -> None:
        """See Benchmark."""
        if options.count < 100:
            raise ValueError("at least 100 wake-ups")

    def instead(self, options: Namespace) -> int | None:
        """See Benchmark."""
        if not options.lossless:
            return None
        ours = {
            f"{group}, {name}": peer
            for group in options.groups
            for name, peer in _peers_of(group).items()
            if name.startswith("cyevent")
        }
        return run_lossless(ours, options.lossless)

    def run(self, options: Namespace) -> Iterator[Figure]:
        """See Benchmark."""
        for group in options.groups:
            peers = _peers_of(group)
            # Long enough for the system's accounting, which may count in ticks.
            counts = {"ping-pong": options.count, "flood": options.count * FLOODS[group]}
            yield from run_group(group, peers, counts, options.rounds)
            for peer in peers.values():
                peer.close()


def _peers_of(group: str) -> dict[str, Any]:
    if group == "c":
        return {"libevent": LibeventWakeup(), "cyevent": CyeventWakeup()}
    return python_peers()


if __name__ == "__main__":
    sys.exit(main(Wakeup()))
