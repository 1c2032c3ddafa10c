"""Accepting: a client connects, sends a request, gets its answer, closes, and connects again.

The servers are those of perf.echo; what counts is a server's processor time for a connection from its
beginning to its end.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator

from perf._servers import PARTS, UNITS, Job, measure
from perf._suite import Benchmark, Figure, Option, main, names, positive
from perf.echo import GROUPS, SUBJECTS, TABLE, starters


class Accept(Benchmark):
    """The benchmark."""

    name = "accept"
    title = "connect, one request, close"
    peers = ("libevent", "uvloop", "floor")
    parts = PARTS
    rounds = (9, 5)
    options = (
        Option("--connections", 20, 20, "clients at once", positive),
        Option("--connects", 20_000, 3_000, "in a round", positive),
        Option("--size", 64, 64, "bytes of a request and of its answer", positive),
        Option("--groups", tuple(GROUPS), tuple(GROUPS), "whose callbacks", names(*GROUPS)),
    )
    table = TABLE
    lead = "Microseconds of the server's processor time for a connection with one request."

    def check(self, options: Namespace) -> None:
        """See Benchmark."""
        if options.size < 2:
            raise ValueError("--size is at least 2")

    def run(self, options: Namespace) -> Iterator[Figure]:
        """See Benchmark."""
        for group in options.groups:
            figure = Figure(
                GROUPS[group],
                "a connection",
                "cpu",
                UNITS,
                subjects=SUBJECTS,
                reference="libevent" if group == "c" else "uvloop",
                floor="floor",
                parameters={"connections": options.connections, "size": options.size},
            )
            count = options.connects
            job = Job("accept", options.connections, options.size, count, count)
            yield measure(figure, starters(group), job, options.rounds)


if __name__ == "__main__":
    sys.exit(main(Accept()))
