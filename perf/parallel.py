"""Isolated bases in threads: how much more two of them get done than one.

Each thread has a base without a lock, whose callbacks pass bytes on over socket pairs. With C callbacks
no thread ever asks for the interpreter, so two threads on two processors should do twice the work of one;
--work adds a computation to each callback. Python callbacks are there for information: they take turns,
but for their system calls.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

from perf import _build
from perf._report import Layout
from perf._suite import Benchmark, Figure, Option, main, positive

CYEVENT = _build.Part("module", "parallel_cyevent")
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


class Parallel(Benchmark):
    """The benchmark."""

    name = "parallel"
    title = "isolated bases in threads"
    peers = ("itself",)
    parts = (CYEVENT,)
    rounds = (11, 5)
    options = (
        Option("--threads", 2, 2, "how many", positive),
        Option("--count", 300_000, 30_000, "C callbacks a thread and round", positive),
        Option("--work", 0, 0, "bytes that a C callback sums up"),
    )
    table = Layout(wide=True)
    lead = "Callbacks a second of {threads} threads together, beside those of one."

    def check(self, options: Namespace) -> None:
        """See Benchmark."""
        if options.count < 100 or options.work < 0:
            raise ValueError("at least 100 callbacks")

    def run(self, options: Namespace) -> Iterator[Figure]:
        """See Benchmark."""
        native = _build.cython_module("parallel_cyevent")
        python = [PythonLoop() for _ in range(options.threads)]
        groups = {
            "C callbacks": ([native.Loop(options.work) for _ in python], options.count),
            "Python callbacks": (python, max(100, options.count // 3)),
        }
        several = f"{options.threads} threads"
        for name, (loops, count) in groups.items():
            figure = Figure(
                "throughput",
                name,
                "rate",
                {"rate": "1/s"},
                reference="one thread",
                subjects=(several,),
                parameters={"threads": options.threads, "work": options.work},
            )
            for number in range(options.rounds + 1):
                one, all_of_them = throughput(loops[:1], count), throughput(loops, count)
                # The first round warms up.
                if number:
                    figure.add("one thread", rate=one)
                    figure.add(several, rate=all_of_them)
            yield figure
        for loop in python:
            loop.close()


if __name__ == "__main__":
    sys.exit(main(Parallel()))
