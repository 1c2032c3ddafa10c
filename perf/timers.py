"""One million pending timers: what adding, moving, deleting and expiring one costs, and its memory.

libevent's own library and cyevent's C face run the same plan in this process, one operation each in
turn, without locks. Afterwards a smaller number in Python: cyevent's Timer beside call_later() of
asyncio and uvloop.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import os
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from perf import _build, _chain_python, _results
from perf._report import Layout
from perf._suite import Benchmark, Figure, Option, in_turns, main, positive

PEERS = ("libevent", "cyevent")
FAR = 10_000_000  # microseconds; what is set to this and later is never due
SPREAD = 1_000_000_000
SETTLE = 0.03  # seconds; longer than any clock's tick
OPERATIONS = ("add", "reschedule", "expire", "delete, random order", "delete, order of adding")
SUMS = ("add + delete, random order", "add + delete, order of adding")
LIBEVENT = _build.Part("library", "timers_libevent", ("event_core",))
CYEVENT = _build.Part("module", "timers_cyevent")


class Plan:
    """Timeouts and orders, from a generator of our own, so that every run and peer has the same."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.due = n // 10
        numbers = self._numbers()
        self.timeouts = array("q", (FAR + next(numbers) % SPREAD for _ in range(n)))
        self.others = array("q", (FAR + next(numbers) % SPREAD for _ in range(n)))
        self.soon = array("q", (next(numbers) % 1000 for _ in range(self.due)))
        self.order = array("i", range(n))
        for i in range(n - 1, 0, -1):
            j = next(numbers) % (i + 1)
            self.order[i], self.order[j] = self.order[j], self.order[i]

    @staticmethod
    def _numbers() -> Iterator[int]:
        """A linear congruential generator; its low bits are poor and left out."""
        state = 20240229
        while True:
            state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
            yield state >> 33


def _address(numbers: array[int] | None) -> int:
    return numbers.buffer_info()[0] if numbers is not None else 0


class LibeventTimers:
    """Timers of libevent's own library."""

    def __init__(self, n: int) -> None:
        self.library = libevent_library()
        self.handle = self.library.timers_open(n)
        if not self.handle:
            raise MemoryError(f"libevent cannot make {n} timers")

    @property
    def struct_size(self) -> int:
        """Bytes of a struct event."""
        return self.library.timers_struct_size()

    def add(self, order: array[int] | None, timeouts: array[int], n: int) -> int:
        """Adds or moves timers; nanoseconds."""
        return self._checked(
            self.library.timers_add(self.handle, _address(order), _address(timeouts), n)
        )

    def delete(self, order: array[int] | None, n: int) -> int:
        """Deletes timers; nanoseconds."""
        return self._checked(self.library.timers_delete(self.handle, _address(order), n))

    def expire(self, n: int) -> int:
        """Runs the n timers that are due; nanoseconds."""
        return self._checked(self.library.timers_expire(self.handle, n))

    def close(self) -> None:
        """Frees them all."""
        self.library.timers_close(self.handle)
        self.handle = None

    def _checked(self, result: int) -> int:
        if result < 0:
            raise RuntimeError("libevent: not all timers did what they should")
        return result


class CyeventTimers:
    """Timers of cyevent's C face."""

    def __init__(self, n: int) -> None:
        self.module = _build.cython_module("timers_cyevent")
        self.peer = self.module.Peer(n)

    @property
    def struct_size(self) -> int:
        """Bytes of a struct event."""
        return self.module.struct_size()

    def add(self, order: array[int] | None, timeouts: array[int], n: int) -> int:
        """Adds or moves timers; nanoseconds."""
        return self.peer.add(_address(order), _address(timeouts), n)

    def delete(self, order: array[int] | None, n: int) -> int:
        """Deletes timers; nanoseconds."""
        return self.peer.delete(_address(order), n)

    def expire(self, n: int) -> int:
        """Runs the n timers that are due; nanoseconds."""
        return self.peer.expire(n)

    def close(self) -> None:
        """Frees them all."""
        self.peer = None


def libevent_library() -> ctypes.CDLL:
    """Returns libevent's half with its functions declared."""
    library = LIBEVENT.loaded()
    number, pointer, long = ctypes.c_int, ctypes.c_void_p, ctypes.c_int64
    library.timers_struct_size.restype = ctypes.c_long
    library.timers_open.argtypes, library.timers_open.restype = [number], pointer
    library.timers_close.argtypes, library.timers_close.restype = [pointer], None
    library.timers_add.argtypes = [pointer, pointer, pointer, number]
    library.timers_delete.argtypes = [pointer, pointer, number]
    library.timers_expire.argtypes = [pointer, number]
    for function in (library.timers_add, library.timers_delete, library.timers_expire):
        function.restype = long
    return library


def open_timers(name: str, n: int) -> LibeventTimers | CyeventTimers:
    """Returns n timers of the peer `name`."""
    return LibeventTimers(n) if name == "libevent" else CyeventTimers(n)


# --- C callbacks --------------------------------------------------------------------------------


def run_native(plan: Plan, rounds: int) -> Iterator[Figure]:
    """Yields a figure for each operation, nanoseconds per timer."""
    figures = {
        name: Figure(
            "C",
            name,
            "time",
            {"time": "ns"},
            reference="libevent",
            targets={"libevent": 0.7},
            parameters={"timers": plan.n},
            headline=name not in OPERATIONS[3:],
        )
        for name in (*OPERATIONS, *SUMS)
    }
    peers = {name: open_timers(name, plan.n) for name in PEERS}
    n, due = plan.n, plan.due

    def each(operation: str | None, count: int, act: Callable[[Any], int]) -> None:
        for name in in_turns(PEERS, number):
            took = act(peers[name]) / count
            if operation is not None:
                figures[operation].add(name, time=took)

    for number in range(rounds):
        began = time.monotonic()
        each("add", n, lambda peer: peer.add(None, plan.timeouts, n))
        each("reschedule", n, lambda peer: peer.add(plan.order, plan.others, n))
        # The others stay pending meanwhile.
        each(None, due, lambda peer: peer.add(plan.order, plan.soon, due))
        time.sleep(SETTLE)
        each("expire", due, lambda peer: peer.expire(due))
        each(None, due, lambda peer: peer.add(plan.order, plan.others, due))
        each("delete, random order", n, lambda peer: peer.delete(plan.order, n))
        each(None, n, lambda peer: peer.add(None, plan.timeouts, n))
        each("delete, order of adding", n, lambda peer: peer.delete(None, n))
        for name in PEERS:
            added = figures["add"].values(name)[-1]
            for whole in SUMS:
                deleted = figures[whole.removeprefix("add + ")].values(name)[-1]
                figures[whole].add(name, time=added + deleted)
        seconds = time.monotonic() - began
        _results.progress(f"C, round {number + 1} of {rounds}: {seconds:.1f} s", fleeting=True)
    for peer in peers.values():
        peer.close()
    yield from figures.values()


# --- memory -------------------------------------------------------------------------------------


def resident_bytes() -> int:
    """Returns how much memory this process has in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory_of(name: str, n: int) -> dict[str, float]:
    """Returns bytes per pending timer in this process, which must be fresh."""
    _build.cyevent()
    timeouts = Plan(n).timeouts
    open_timers(name, 1).close()
    before = resident_bytes()
    timers = open_timers(name, n)
    timers.add(None, timeouts, n)
    # The array of pointers to the timers is the benchmark's.
    grown = resident_bytes() - before - n * ctypes.sizeof(ctypes.c_void_p)
    return {"bytes_per_timer": grown / n, "struct_bytes": timers.struct_size}


def run_memory(n: int, rounds: int) -> Figure:
    """Returns memory_of() each peer, in a process of its own each time."""
    figure = Figure(
        "memory",
        "a pending timer",
        "memory",
        {"memory": "bytes", "struct": "bytes"},
        reference="libevent",
        parameters={"timers": n},
    )
    for number in range(rounds):
        for name in in_turns(PEERS, number):
            command = [sys.executable, "-m", "perf.timers", "--memory-of", name, "--timers", str(n)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout)
            figure.add(name, memory=found["bytes_per_timer"], struct=found["struct_bytes"])
    return figure


# --- Python callbacks ---------------------------------------------------------------------------


def _nothing() -> None:
    """What the Python timers would call."""


class CyeventScheduler:
    """cyevent's Timer."""

    def __init__(self) -> None:
        self.cyevent = _build.cyevent()
        self.base = self.cyevent.EventBase()

    def later(self, seconds: list[float]) -> list[Any]:
        """Starts a timer for each."""
        base, Timer = self.base, self.cyevent.Timer
        timers = []
        for delay in seconds:
            timer = Timer(base, _nothing)
            timer.add(delay)
            timers.append(timer)
        return timers

    def cancel(self, timers: list[Any]) -> None:
        """Stops them."""
        for timer in timers:
            timer.delete()

    def turn(self) -> None:
        """Runs one turn of the loop."""
        self.base.loop(self.cyevent.EVLOOP_NONBLOCK)

    def close(self) -> None:
        """Closes the loop."""
        self.base.close()


class AsyncioScheduler:
    """call_later() of an asyncio event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def later(self, seconds: list[float]) -> list[Any]:
        """Starts a timer for each."""
        call_later = self.loop.call_later
        return [call_later(delay, _nothing) for delay in seconds]

    def cancel(self, timers: list[Any]) -> None:
        """Stops them."""
        for timer in timers:
            timer.cancel()

    def turn(self) -> None:
        """Runs one turn of the loop."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def close(self) -> None:
        """Closes the loop."""
        self.loop.close()


def run_python(n: int, rounds: int) -> Iterator[Figure]:
    """Yields a figure for each operation, nanoseconds per timer. A cancel includes a turn of the loop,
    because asyncio and uvloop put their part of the work off until then."""
    plan = Plan(n)
    delays = [timeout / 1e6 for timeout in plan.timeouts]
    schedulers: dict[str, Any] = {
        "cyevent": CyeventScheduler(),
        "asyncio": AsyncioScheduler(asyncio.new_event_loop()),
    }
    uvloop = _chain_python.uvloop_module()
    if uvloop is not None:
        schedulers["uvloop"] = AsyncioScheduler(uvloop.new_event_loop())
    figures = {
        name: Figure(
            "Python",
            name,
            "time",
            {"time": "ns"},
            reference="uvloop",
            parameters={"timers": n},
        )
        for name in ("start", "cancel")
    }
    for number in range(rounds):
        for name in in_turns(schedulers, number):
            scheduler = schedulers[name]
            gc.collect()
            scheduler.turn()
            start = time.perf_counter_ns()
            timers = scheduler.later(delays)
            started = time.perf_counter_ns()
            timers = [timers[i] for i in plan.order]
            cancel = time.perf_counter_ns()
            scheduler.cancel(timers)
            timers.clear()
            scheduler.turn()
            cancelled = time.perf_counter_ns()
            figures["start"].add(name, time=(started - start) / n)
            figures["cancel"].add(name, time=(cancelled - cancel) / n)
    for scheduler in schedulers.values():
        scheduler.close()
    yield from figures.values()


class Timers(Benchmark):
    """The benchmark."""

    name = "timers"
    title = "timers among many pending ones"
    peers = ("libevent", "uvloop", "asyncio")
    parts = (LIBEVENT, CYEVENT)
    rounds = (11, 5)
    options = (
        Option("--timers", 1_000_000, 100_000, "pending ones", positive),
        Option("--python-timers", 100_000, 50_000, "the same in Python", positive),
        Option("--memory-rounds", 5, 5, "fresh processes whose memory is looked at", positive),
        Option("--memory-of", None, None, "print the memory of this peer's timers only", str),
    )
    table = Layout(wide=True)
    lead = "{timers} pending timers, in Python {python_timers}; medians of {rounds} rounds."

    def check(self, options: argparse.Namespace) -> None:
        """See Benchmark."""
        if min(options.timers, options.python_timers) < 10:
            raise ValueError("at least 10 timers")
        if options.memory_of not in (None, *PEERS):
            raise ValueError(f"--memory-of: one of {', '.join(PEERS)}")

    def instead(self, options: argparse.Namespace) -> int | None:
        """See Benchmark."""
        if options.memory_of is None:
            return None
        print(json.dumps(memory_of(options.memory_of, options.timers)))
        return 0

    def run(self, options: argparse.Namespace) -> Iterator[Figure]:
        """See Benchmark."""
        _results.progress("memory")
        memory = run_memory(options.timers, options.memory_rounds)
        _results.progress("C")
        yield from run_native(Plan(options.timers), options.rounds)
        yield memory
        _results.progress("Python")
        yield from run_python(options.python_timers, options.rounds)


if __name__ == "__main__":
    sys.exit(main(Timers()))
