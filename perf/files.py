"""File transfer: what sending a file over TCP costs a server, beside nginx with `sendfile on`.

A client asks for the file as HTTP/1.0 does and lets the kernel throw the bytes away. C callbacks: a file
segment in cyevent's buffer and in libevent's, nginx, and the floor, sendfile() in a loop. Python callbacks: a
FileSegment beside asyncio's loop.sendfile(). nginx is left out where it is not installed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from perf._servers import PARTS, UNITS, Job, Server, is_there, measure
from perf._suite import Benchmark, Figure, Option, main, names, positive
from perf.echo import GROUPS, TABLE

MIB, GIB = 1 << 20, 1 << 30
SERVERS = {
    "c": {"cyevent": "cyevent-c", "nginx": "nginx", "libevent": "libevent", "floor": "floor"},
    "python": {"cyevent": "cyevent-python", "asyncio": "asyncio"},
}
TARGETS = {"c": {"nginx": 1.0, "libevent": 0.9, "floor": 1.02}, "python": {}}


class Files(Benchmark):
    """The benchmark."""

    name = "files"
    title = "file transfer"
    peers = ("nginx", "libevent", "asyncio", "floor")
    parts = PARTS
    rounds = (9, 5)
    options = (
        Option("--size", 1024, 256, "MiB of the file", positive),
        Option("--transfers", 2, 1, "of the file in a round", positive),
        Option("--groups", tuple(GROUPS), tuple(GROUPS), "whose callbacks", names(*GROUPS)),
        Option("--directory", tempfile.gettempdir(), tempfile.gettempdir(), "for the file", str),
    )
    table = TABLE
    lead = "Milliseconds of the server's processor time for a GiB; rate in GiB a second."

    def run(self, options: Namespace) -> Iterator[Figure]:
        """See Benchmark."""
        with tempfile.TemporaryDirectory(dir=options.directory) as folder:
            file = Path(folder, "file")
            _write(file, options.size)
            for group in options.groups:
                yield self._figure(group, file, options)

    def _figure(self, group: str, file: Path, options: Namespace) -> Figure:
        figure = Figure(
            GROUPS[group],
            f"{options.size} MiB",
            "cpu",
            {**UNITS, "cpu": "ms", "user": "ms", "system": "ms", "rate": "GiB/s"},
            reference="nginx" if group == "c" else "asyncio",
            floor="floor",
            targets=TARGETS[group],
            parameters={"size": options.size},
        )
        starters = {
            peer: partial(Server, program, "file", str(file))
            for peer, program in SERVERS[group].items()
            if is_there(program)
        }
        operations = options.transfers * options.size * MIB / GIB
        job = Job("fetch", 1, options.size * MIB, options.transfers, operations, scale=1e3)
        return measure(figure, starters, job, options.rounds)


def _write(file: Path, mebibytes: int) -> None:
    """Writes the file and has it on the disk, so that nobody writes it while it is sent."""
    block = os.urandom(MIB)
    with file.open("wb") as out:
        for _ in range(mebibytes):
            out.write(block)
        out.flush()
        os.fsync(out.fileno())


if __name__ == "__main__":
    sys.exit(main(Files()))
