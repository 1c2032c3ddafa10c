"""TCP echo: what a round trip costs the server.

C callbacks: cyevent through cimport, libevent's bufferevents, and the floor, a loop of bare system calls.
Python callbacks: SocketBufferEvent beside uvloop's Protocol. Where this cyevent has completion ports, its
servers run with them too.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import partial

from perf._report import Layout
from perf._server_programs import COMPLETION
from perf._servers import PARTS, UNITS, Job, Server, is_there, measure
from perf._suite import Benchmark, Figure, Option, main, names, numbers, positive

GROUPS = {"c": "C callbacks", "python": "Python callbacks"}
# Peer -> server program, by group. The first two are cyevent's.
SERVERS = {
    "c": {
        "cyevent": "cyevent-c",
        "cyevent completion": "cyevent-c" + COMPLETION,
        "libevent": "libevent",
        "floor": "floor",
    },
    "python": {
        "cyevent": "cyevent-python",
        "cyevent completion": "cyevent-python" + COMPLETION,
        "uvloop": "uvloop",
    },
}
SUBJECTS = ("cyevent", "cyevent completion")
TARGETS = {"c": {"libevent": 0.8, "floor": 1.05}, "python": {"uvloop": 0.88}}
TABLE = Layout(ratios=("user",))


def starters(group: str, *arguments: str) -> dict[str, Callable[[], Server]]:
    """Returns what starts the servers of a group, of those that are there."""
    return {
        peer: partial(Server, program, *arguments)
        for peer, program in SERVERS[group].items()
        if is_there(program)
    }


class Echo(Benchmark):
    """The benchmark."""

    name = "echo"
    title = "TCP echo"
    peers = ("libevent", "uvloop", "floor")
    parts = PARTS
    rounds = (9, 5)
    options = (
        Option("--connections", [10, 1000], [10, 1000], "clients at once", numbers),
        Option("--groups", tuple(GROUPS), tuple(GROUPS), "whose callbacks", names(*GROUPS)),
        Option("--size", 1024, 1024, "bytes of a message", positive),
        Option("--round-trips", 100_000, 10_000, "in a round", positive),
    )
    table = TABLE
    lead = "Microseconds of the server's processor time for a round trip of {size} bytes."

    def run(self, options: Namespace) -> Iterator[Figure]:
        """See Benchmark."""
        for group in options.groups:
            for connections in options.connections:
                figure = Figure(
                    GROUPS[group],
                    f"{connections} connections",
                    "cpu",
                    UNITS,
                    subjects=SUBJECTS,
                    reference="libevent" if group == "c" else "uvloop",
                    floor="floor",
                    targets=TARGETS[group],
                    parameters={"connections": connections, "size": options.size},
                )
                count = options.round_trips
                job = Job("echo", connections, options.size, count, count)
                yield measure(figure, starters(group), job, options.rounds)


if __name__ == "__main__":
    sys.exit(main(Echo()))
