"""Idle connections: how much larger a server is for each that has sent and received a few bytes.

It is the resident memory of the server's process, a fresh one each time; the kernel's own memory is not part of
it. As many connections as the limit of descriptors allows, from several processes.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from perf import _results
from perf._report import Layout
from perf._servers import PARTS, Load, Server
from perf._suite import Benchmark, Figure, Option, in_turns, main, names, positive
from perf.chain import descriptor_limit
from perf.echo import GROUPS, SUBJECTS, starters

FEW = 500  # connections after which a server's memory grows by those alone that follow
SHARE = 8000  # connections of one client process
SPARE = 200  # descriptors that a server has besides
TARGETS = {"c": {"libevent": 1.0}, "python": {"uvloop": 0.25}}


class Idle(Benchmark):
    """The benchmark."""

    name = "idle"
    title = "memory of an idle connection"
    peers = ("libevent", "uvloop", "floor")
    parts = PARTS
    rounds = (7, 5)
    options = (
        Option("--connections", 0, 1000, "idle ones; 0: as many as the limit allows", int),
        Option("--groups", tuple(GROUPS), tuple(GROUPS), "whose callbacks", names(*GROUPS)),
        Option("--share", SHARE, SHARE, "connections of one client process at most", positive),
    )
    table = Layout(wide=True)
    lead = "Bytes of the server's resident memory for each of {connections} idle connections."

    def check(self, options: Namespace) -> None:
        """See Benchmark."""
        most = descriptor_limit() - FEW - SPARE
        options.connections = options.connections or most
        if not 1 <= options.connections <= most:
            raise ValueError(f"--connections: this machine allows 1 to {most}")

    def run(self, options: Namespace) -> Iterator[Figure]:
        """See Benchmark."""
        for group in options.groups:
            figure = Figure(
                GROUPS[group],
                f"one of {options.connections}",
                "memory",
                {"memory": "bytes", "peak": "MiB"},
                subjects=SUBJECTS,
                reference="libevent" if group == "c" else "uvloop",
                floor="floor",
                targets=TARGETS[group],
                parameters={"connections": options.connections},
            )
            servers = starters(group)
            for number in range(options.rounds):
                for peer in in_turns(servers, number):
                    text = f"{figure.group}: round {number + 1} of {options.rounds}: {peer}"
                    _results.progress(text, fleeting=True)
                    figure.add(peer, **_memory(servers[peer], options))
            _results.progress(figure.group)
            yield figure


def _memory(start: Callable[[], Server], options: Namespace) -> dict[str, float]:
    with start() as server, ExitStack() as stack:
        stack.enter_context(Load(server.port, "echo", FEW, 2, 1))
        before = server.memory()
        left = options.connections
        while left:
            share = min(left, options.share)
            stack.enter_context(Load(server.port, "echo", share, 2, 1))
            left -= share
        return {
            "memory": (server.memory() - before) / options.connections,
            "peak": server.peak(),
        }


if __name__ == "__main__":
    sys.exit(main(Idle()))
