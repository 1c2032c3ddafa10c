"""Broadcast: one client sends a byte, and every one of a thousand gets the same 1 KiB.

cyevent refers to the one copy there is, uvloop writes the same bytes object to each transport. A system call
for each receiver remains in both, and is most of it: the floor, which does nothing else, shows how much.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from functools import partial

from perf._servers import PARTS, UNITS, Job, Server, measure
from perf._suite import Benchmark, Figure, Option, main, positive
from perf.echo import SUBJECTS, TABLE, starters

SIZE = 1024


class Broadcast(Benchmark):
    """The benchmark."""

    name = "broadcast"
    title = "one message to many"
    peers = ("uvloop", "floor")
    parts = PARTS
    rounds = (9, 5)
    options = (
        Option("--crowd", 1000, 1000, "who hears a message", positive),
        Option("--broadcasts", 200, 20, "messages of a round", positive),
    )
    table = TABLE
    lead = "Microseconds of the server's processor time for each of {crowd} receivers of a message."

    def run(self, options: Namespace) -> Iterator[Figure]:
        """See Benchmark."""
        figure = Figure(
            "Python callbacks",
            f"{options.crowd} receivers",
            "cpu",
            UNITS,
            subjects=SUBJECTS,
            reference="uvloop",
            floor="floor",
            targets={"uvloop": 0.3},
            parameters={"crowd": options.crowd, "size": SIZE},
        )
        count = options.broadcasts
        job = Job("broadcast", options.crowd, SIZE, count, count * options.crowd)
        servers = starters("python")
        servers["floor"] = partial(Server, "floor")
        yield measure(figure, servers, job, options.rounds)


if __name__ == "__main__":
    sys.exit(main(Broadcast()))
