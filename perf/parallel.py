"""Isolated bases in threads: how much more two of them get done than one.

Each thread has a base without a lock, whose callbacks pass bytes on over socket pairs. With C callbacks
no thread ever asks for the interpreter, so two threads on two processors should do twice the work of one;
--work adds a computation to each callback. Python callbacks are there for information: they take turns,
but for their system calls.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perf import _build, _results, _stats

PAIRS = 16


class PythonLoop:
    """The same in Python: an EventBase and Events."""

    def __init__(self) -> None:
        cyevent = _build.cyevent()
        self.base = cyevent.EventBase(threadsafe=False)
        self.pairs = [socket.socketpair() for _ in range(PAIRS)]
        self.left = 0
        for i, (reader, _) in enumerate(self.pairs):
            reader.setblocking(False)
            writer = self.pairs[(i + 1) % PAIRS][1]
            what = cyevent.READ | cyevent.PERSIST
            cyevent.Event(self.base, reader, what, self.readable, writer.fileno()).add()

    def readable(self, fd: int, what: int, writer: int) -> None:
        """Passes a byte on."""
        os.read(fd, 1)
        self.left -= 1
        if self.left <= 0:
            self.base.loopbreak()
        else:
            os.write(writer, b"x")

    def run(self, count: int) -> None:
        """Runs `count` callbacks."""
        self.left = count
        for _, writer in self.pairs[::2]:
            writer.send(b"x")
        self.base.dispatch()
        for reader, _ in self.pairs:
            try:
                reader.recv(PAIRS)
            except BlockingIOError:
                pass

    def close(self) -> None:
        """Closes the base and the sockets."""
        self.base.close()
        for pair in self.pairs:
            for end in pair:
                end.close()


def throughput(loops: list[Any], count: int) -> float:
    """Returns the callbacks a second of all the loops together, each in a thread of its own."""
    barrier = threading.Barrier(len(loops) + 1)

    def work(run: Callable[[int], object]) -> None:
        barrier.wait()
        run(count)

    threads = [threading.Thread(target=work, args=(loop.run,)) for loop in loops]
    for thread in threads:
        thread.start()
    barrier.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return len(loops) * count / (time.perf_counter() - began)


def run_group(loops: list[Any], count: int, rounds: int) -> dict[str, list[float]]:
    """Returns the throughput of one and of all, by round; they take turns."""
    samples: dict[str, list[float]] = {"one": [], "all": []}
    for number in range(rounds + 1):
        one, several = throughput(loops[:1], count), throughput(loops, count)
        # The first round warms up.
        if number:
            samples["one"].append(one)
            samples["all"].append(several)
    return samples


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(prog="python -m perf.parallel", description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--count", type=int, help="callbacks a thread and round (default: 300000)")
    parser.add_argument("--rounds", type=int, help="default: 11, with --quick 3")
    parser.add_argument("--work", type=int, default=0, help="bytes that a C callback sums up")
    parser.add_argument(
        "--json", type=Path, default=_results.DEFAULT_DIRECTORY / "parallel.json", metavar="FILE"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds and callbacks")
    options = parser.parse_args(arguments)
    if options.count is None:
        options.count = 30_000 if options.quick else 300_000
    if options.rounds is None:
        options.rounds = 3 if options.quick else 11
    if min(options.threads, options.rounds) < 1 or options.count < 100 or options.work < 0:
        parser.error("at least 1 thread, 1 round and 100 callbacks")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints the table, writes the JSON."""
    options = parse(arguments)
    try:
        native = _build.cython_module("parallel_cyevent")
    except _build.BuildError as error:
        print(f"perf.parallel: {error}", file=sys.stderr)
        return 1
    names = ("threads", "count", "rounds", "work")
    document: dict[str, Any] = {
        "benchmark": "parallel",
        "machine": _results.machine(),
        "versions": _results.versions(),
        "parameters": {name: getattr(options, name) for name in names},
    }
    began = time.monotonic()
    python = [PythonLoop() for _ in range(options.threads)]
    groups = {
        "C callbacks": ([native.Loop(options.work) for _ in python], options.count),
        "Python callbacks": (python, options.count // 3),
    }
    rows = []
    for name, (loops, count) in groups.items():
        samples = run_group(loops, count, options.rounds)
        ratio = _stats.ratio(samples["all"], samples["one"])
        spread = _stats.summary(_stats.round_ratios(samples["all"], samples["one"]))
        document[name] = {
            "per_second": samples,
            "summary": {key: _stats.summary(values) for key, values in samples.items()},
            "ratio": ratio,
        }
        medians = [_stats.summary(samples[key])["median"] for key in ("one", "all")]
        rows.append(
            [name, *(_stats.format_number(median) for median in medians)]
            + [_stats.format_ratio(ratio), f"{spread['q1']:.2f}-{spread['q3']:.2f}"]
        )
    for loop in python:
        loop.close()
    document["load_average_after"] = os.getloadavg()
    document["seconds"] = round(time.monotonic() - began, 1)
    header = [
        "callbacks a second",
        "one thread",
        f"{options.threads} threads",
        "ratio",
        "quartiles",
    ]
    print(_stats.table(header, rows))
    _results.write_json(options.json, document)
    _results.progress(f"{document['seconds']} s; wrote {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
