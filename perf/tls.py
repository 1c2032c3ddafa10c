"""TLS echo: what a round trip costs the server.

All servers have the same certificate. C callbacks: bufferevents of cyevent and of libevent. Python callbacks:
SSLBufferEvent, aiofastnet on uvloop, and uvloop itself. Beside both the floor: epoll_wait() and OpenSSL's calls
alone, for messages of one record. cyevent has pyOpenSSL's copy of OpenSSL, libevent and the floor have the
system's, the others that of Python's ssl module: part of a difference may be theirs, and cyevent may be below
the floor.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from perf import _build
from perf._server_programs import COMPLETION
from perf._servers import PARTS, UNITS, Job, Load, Server, is_there, make_certificate, measure
from perf._suite import Benchmark, Figure, Option, in_turns, main, names, numbers, positive
from perf.echo import GROUPS, SUBJECTS, TABLE

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
        "aiofastnet": "aiofastnet",
        "uvloop": "uvloop",
        "floor": "floor",
    },
}
TARGETS = {"c": {"libevent": 0.8}, "python": {"aiofastnet": 0.8, "uvloop": 0.3}}
RECORD = 16384  # the floor reads and writes each by itself
REFERENCES = {"c": "libevent", "python": "aiofastnet"}


class Tls(Benchmark):
    """The benchmark."""

    name = "tls"
    title = "TLS echo"
    peers = ("aiofastnet", "uvloop", "libevent", "floor")
    parts = PARTS
    rounds = (15, 5)
    options = (
        Option("--sizes", [1024, 65536], [1024, 65536], "bytes of a message", numbers),
        Option("--connections", 10, 10, "clients at once", positive),
        Option("--groups", tuple(GROUPS), tuple(GROUPS), "whose callbacks", names(*GROUPS)),
        Option("--idle", [0, 1000], [0], "connections besides, that say nothing", numbers),
        Option("--idle-memory", 500, 100, "idle connections whose memory is looked at", positive),
        Option("--bytes", 20_000_000, 4_000_000, "that a round echoes", positive),
    )
    table = TABLE
    lead = "Microseconds of the server's processor time for a round trip; memory of an idle connection."

    def check(self, options: Namespace) -> None:
        """See Benchmark."""
        if min(options.sizes) < 2:
            raise ValueError("--sizes: a message has at least 2 bytes")

    def run(self, options: Namespace) -> Iterator[Figure]:
        """See Benchmark."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                files = make_certificate(Path(folder))
            except ImportError as error:
                raise _build.BuildError("pyOpenSSL is missing: `pip install '.[perf]'`") from error
            for group in options.groups:
                starters = {
                    peer: partial(Server, program, "tls", *files)
                    for peer, program in SERVERS[group].items()
                    if is_there(program)
                }
                for idle in options.idle:
                    for size in options.sizes:
                        count = max(100, options.bytes // size)
                        name = f"{size} bytes" + (f", {idle} idle" if idle else "")
                        figure = Figure(
                            GROUPS[group],
                            name,
                            "cpu",
                            UNITS,
                            subjects=SUBJECTS,
                            reference=REFERENCES[group],
                            targets=TARGETS[group],
                            parameters={"size": size, "idle": idle},
                        )
                        job = Job("echo", options.connections, size, count, count, idle)
                        there = {
                            peer: start
                            for peer, start in starters.items()
                            if peer != "floor" or size <= RECORD
                        }
                        yield measure(figure, there, job, options.rounds, tls=True)
                yield _idle_memory(group, starters, options)


def _idle_memory(group: str, starters: dict[str, partial[Server]], options: Namespace) -> Figure:
    n = options.idle_memory
    figure = Figure(
        f"{GROUPS[group]}, memory",
        "an idle connection",
        "memory",
        {"memory": "bytes"},
        subjects=SUBJECTS,
        reference=REFERENCES[group],
        parameters={"connections": n},
        headline=False,
    )
    for number in range(5):
        for peer in in_turns(starters, number):
            with starters[peer]() as server, Load(server.port, "echo", 50, 2, 1, tls=True):
                before = server.memory()
                with Load(server.port, "echo", n, 2, 1, tls=True):
                    figure.add(peer, memory=(server.memory() - before) / n)
    return figure


if __name__ == "__main__":
    sys.exit(main(Tls()))
