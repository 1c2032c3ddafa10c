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

from perf import _build, _chain_python, _results, _stats

PEERS = ("libevent", "cyevent")
FAR = 10_000_000  # microseconds; what is set to this and later is never due
SPREAD = 1_000_000_000
SETTLE = 0.03  # seconds; longer than any clock's tick
OPERATIONS = ("add", "reschedule", "expire", "delete, random order", "delete, order of adding")


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
    library = _build.shared_library("timers_libevent", ("event_core",))
    number, pointer, long = ctypes.c_int, ctypes.c_void_p, ctypes.c_int64
    library.timers_version.restype = ctypes.c_char_p
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


def run_native(plan: Plan, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Returns nanoseconds per timer by operation, peer and round."""
    samples = {name: {peer: [] for peer in PEERS} for name in OPERATIONS}
    peers = {name: open_timers(name, plan.n) for name in PEERS}
    n, due = plan.n, plan.due

    def each(operation: str | None, count: int, act: Callable[[Any], int], flip: bool) -> None:
        for name in reversed(PEERS) if flip else PEERS:
            took = act(peers[name]) / count
            if operation is not None:
                samples[operation][name].append(took)

    for number in range(rounds):
        began = time.monotonic()
        flip = number % 2 == 1
        each("add", n, lambda peer: peer.add(None, plan.timeouts, n), flip)
        each("reschedule", n, lambda peer: peer.add(plan.order, plan.others, n), flip)
        # The others stay pending meanwhile.
        each(None, due, lambda peer: peer.add(plan.order, plan.soon, due), flip)
        time.sleep(SETTLE)
        each("expire", due, lambda peer: peer.expire(due), flip)
        each(None, due, lambda peer: peer.add(plan.order, plan.others, due), flip)
        each("delete, random order", n, lambda peer: peer.delete(plan.order, n), flip)
        each(None, n, lambda peer: peer.add(None, plan.timeouts, n), flip)
        each("delete, order of adding", n, lambda peer: peer.delete(None, n), flip)
        _results.progress(f"C round {number + 1}/{rounds}: {time.monotonic() - began:.1f} s")
    for peer in peers.values():
        peer.close()
    for delete in OPERATIONS[-2:]:
        samples[f"add + {delete}"] = {
            peer: [a + b for a, b in zip(samples["add"][peer], samples[delete][peer], strict=True)]
            for peer in PEERS
        }
    return samples


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


def run_memory(n: int) -> dict[str, dict[str, float]]:
    """Returns memory_of() each peer, in a process of its own."""
    found = {}
    for name in PEERS:
        command = [sys.executable, "-m", "perf.timers", "--memory-of", name, "--timers", str(n)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[name] = json.loads(done.stdout)
    return found


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


def run_python(n: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Returns nanoseconds per timer by operation, peer and round. A cancel includes a turn of
    the loop, because asyncio and uvloop put their part of the work off until then."""
    plan = Plan(n)
    delays = [timeout / 1e6 for timeout in plan.timeouts]
    schedulers = {
        "cyevent": CyeventScheduler(),
        "asyncio": AsyncioScheduler(asyncio.new_event_loop()),
    }
    uvloop = _chain_python.uvloop_module()
    if uvloop is not None:
        schedulers["uvloop"] = AsyncioScheduler(uvloop.new_event_loop())
    samples = {name: {peer: [] for peer in schedulers} for name in ("start", "cancel")}
    for _ in range(rounds):
        for name, scheduler in schedulers.items():
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
            samples["start"][name].append((started - start) / n)
            samples["cancel"][name].append((cancelled - cancel) / n)
    for scheduler in schedulers.values():
        scheduler.close()
    return samples


# --- telling ------------------------------------------------------------------------------------


def _as_json(samples: dict[str, dict[str, list[float]]], reference: str) -> dict[str, Any]:
    return {
        operation: {
            "peers": {
                name: {"summary_ns": _stats.summary(values), "samples_ns": values}
                for name, values in peers.items()
            },
            "ratio": _stats.ratio(peers["cyevent"], peers[reference])
            if reference in peers
            else None,
        }
        for operation, peers in samples.items()
    }


def _table(title: str, samples: dict[str, dict[str, list[float]]], references: list[str]) -> str:
    names = [*references, "cyevent"]
    header = [title, *names, *(f"/{reference}" for reference in references), "quartiles"]
    rows = []
    for operation, peers in samples.items():
        spread = _stats.summary(_stats.round_ratios(peers["cyevent"], peers[references[0]]))
        rows.append(
            [operation]
            + [_stats.format_number(_stats.summary(peers[name])["median"]) for name in names]
            + [
                _stats.format_ratio(_stats.ratio(peers["cyevent"], peers[reference]))
                for reference in references
            ]
            + [f"{spread['q1']:.2f}-{spread['q3']:.2f}"]
        )
    return _stats.table(header, rows)


def _memory_table(memory: dict[str, dict[str, float]]) -> str:
    rows = []
    for key, title in (("bytes_per_timer", "pending timer"), ("struct_bytes", "struct event")):
        values = [memory[name][key] for name in PEERS]
        rows.append([title, *(f"{value:.0f}" for value in values), f"{values[1] / values[0]:.2f}x"])
    return _stats.table(["bytes", *PEERS, "ratio"], rows)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(prog="python -m perf.timers", description=__doc__)
    parser.add_argument("--timers", type=int, help="pending ones (default: 1000000)")
    parser.add_argument("--python-timers", type=int, help="the same in Python (default: 100000)")
    parser.add_argument("--rounds", type=int, help="default: 11, with --quick 3")
    parser.add_argument(
        "--json", type=Path, default=_results.DEFAULT_DIRECTORY / "timers.json", metavar="FILE"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, 100000 timers")
    parser.add_argument("--memory-of", choices=PEERS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.timers is None:
        options.timers = 100_000 if options.quick else 1_000_000
    if options.python_timers is None:
        options.python_timers = min(100_000, options.timers)
    if options.rounds is None:
        options.rounds = 3 if options.quick else 11
    if min(options.timers, options.python_timers) < 10 or options.rounds < 1:
        parser.error("at least 10 timers and 1 round")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints the tables, writes the JSON."""
    options = parse(arguments)
    if options.memory_of is not None:
        print(json.dumps(memory_of(options.memory_of, options.timers)))
        return 0
    try:
        version = libevent_library().timers_version().decode()
        _build.cython_module("timers_cyevent")
    except _build.BuildError as error:
        print(f"perf.timers: {error}", file=sys.stderr)
        return 1
    document = {
        "benchmark": "timers",
        "machine": _results.machine(),
        "versions": _results.versions(version),
        "parameters": {
            name: getattr(options, name) for name in ("timers", "python_timers", "rounds")
        },
    }
    began = time.monotonic()
    memory = run_memory(options.timers)
    native = run_native(Plan(options.timers), options.rounds)
    _results.progress("Python timers")
    python = run_python(options.python_timers, options.rounds)
    document["load_average_after"] = os.getloadavg()
    document["seconds"] = round(time.monotonic() - began, 1)
    document["memory"] = memory
    document["c"] = _as_json(native, "libevent")
    document["python"] = _as_json(python, "uvloop")
    references = [name for name in ("uvloop", "asyncio") if name in python["start"]]
    print(f"{options.timers} pending timers; median of {options.rounds} rounds.\n")
    print(_table("ns per timer, C", native, ["libevent"]) + "\n")
    print(_memory_table(memory) + "\n")
    print(_table(f"ns per timer, Python, {options.python_timers}", python, references))
    _results.write_json(options.json, document)
    _results.progress(f"{document['seconds']} s; wrote {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
