"""What a round trip costs the server: echoing 1 KiB, and one message to a thousand clients.

Each server is a process, and what counts is its own processor time, from the kernel's accounting; the
clients are a C program that waits for each answer. All servers of a figure run at the same time and are
given their loads in turns, so that what disturbs one disturbs all.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from perf import _build, _results, _stats

GROUPS = {
    "c": ("cyevent-c", "libevent", "floor"),
    "python": ("cyevent-python", "uvloop"),
}
# What --completion puts first: cyevent over its completion port, beside itself over readiness.
COMPLETION = {group: f"{names[0]}-completion" for group, names in GROUPS.items()}
BYTES = 1024
FEW = 500  # connections after which a server's memory grows by those alone that follow
TICK = 1 / os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """Seconds of a server's processor time."""

    user: float
    system: float

    @property
    def total(self) -> float:
        return self.user + self.system


@dataclass
class Figure:
    """One kind of load on the servers of a group."""

    group: str
    kind: str  # "echo" or "broadcast"
    connections: int
    operations: int  # round trips, or messages that arrive
    size: int = BYTES  # of a message
    samples: dict[str, list[Cost]] = field(default_factory=dict)

    def microseconds(self, peer: str, part: str) -> list[float]:
        """Returns what one operation took in each round."""
        return [getattr(cost, part) / self.operations * 1e6 for cost in self.samples[peer]]

    def ratio(self, peer: str, part: str) -> float:
        """Returns cyevent's ratio to a peer, medians over medians."""
        first = next(iter(self.samples))
        return _stats.ratio(self.microseconds(first, part), self.microseconds(peer, part))

    def as_json(self) -> dict[str, Any]:
        """Returns the figure with all samples, in microseconds an operation."""
        parts = ("total", "user", "system")
        return {
            "group": self.group,
            "kind": self.kind,
            "connections": self.connections,
            "bytes": self.size,
            "operations": self.operations,
            "samples_us": {
                peer: {part: self.microseconds(peer, part) for part in parts}
                for peer in self.samples
            },
            "ratios": {
                peer: {part: self.ratio(peer, part) for part in parts}
                for peer in list(self.samples)[1:]
            },
        }


class Server:
    """A server in a process of its own."""

    def __init__(self, name: str) -> None:
        if name in ("libevent", "floor"):
            libraries = ("event",) if name == "libevent" else ()
            command = [str(_build.program(f"echo_{name}", libraries))]
        else:
            command = [sys.executable, "-m", "perf._echo_servers", name]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.strip().isdigit():
            raise _build.BuildError(f"the {name} server did not start")
        self.port = int(line)

    def cost(self) -> Cost:
        """Returns what it has used: the sum to the nanosecond, its parts as the kernel splits it."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        user, system = int(fields[11]) * TICK, int(fields[12]) * TICK
        exact = int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[0]) * 1e-9
        share = user / (user + system) if user + system else 0.0
        return Cost(exact * share, exact * (1 - share))

    def memory(self) -> int:
        """Returns the bytes of memory that it has."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Load:
    """Connected clients, which wait for `run`."""

    def __init__(self, port: int, kind: str, connections: int, count: int, size: int) -> None:
        command = [str(_build.program("echo_load")), str(port), kind]
        command += [str(number) for number in (connections, size, count)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("the clients could not connect")

    def run(self) -> float:
        """Returns the seconds that a round took."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the clients lost their connections")
        return float(answer)

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def measure(
    group: str, kind: str, connections: int, count: int, rounds: int, size: int = BYTES
) -> Figure:
    """Runs the servers of a group under one load, in turns."""
    operations = count * (connections if kind == "broadcast" else 1)
    figure = Figure(group, kind, connections, operations, size)
    with ExitStack() as stack:
        pairs = {}
        for name in GROUPS[group]:
            server = stack.enter_context(Server(name))
            load = Load(server.port, kind, connections, count, size)
            pairs[name] = server, stack.enter_context(load)
            pairs[name][1].run()
            figure.samples[name] = []
        for number in range(rounds):
            _results.progress(f"{kind} {group} {connections}: round {number + 1}", end="\r")
            for name, (server, load) in pairs.items():
                before = server.cost()
                load.run()
                after = server.cost()
                cost = Cost(max(after.user - before.user, 0), max(after.system - before.system, 0))
                figure.samples[name].append(cost)
    _results.progress("")
    return figure


def memory(name: str, connections: int) -> float:
    """Returns the bytes of a server's memory that an idle connection takes, with empty buffers."""
    with Server(name) as server, Load(server.port, "echo", FEW, 1, BYTES):
        before = server.memory()
        with Load(server.port, "echo", connections, 1, BYTES):
            return (server.memory() - before) / connections


def report(figure: Figure) -> str:
    """Returns the figure's table."""
    what = "message" if figure.kind == "broadcast" else "round trip"
    rows = []
    for peer in figure.samples:
        numbers = [
            _stats.format_number(_stats.summary(figure.microseconds(peer, part))["median"])
            for part in ("total", "user", "system")
        ]
        ratios = [_stats.format_ratio(figure.ratio(peer, part)) for part in ("total", "user")]
        rows.append([peer, *numbers, *ratios])
    size = f"{figure.size // 1024} KiB" if figure.size % 1024 == 0 else f"{figure.size} bytes"
    title = f"{figure.kind}, {figure.connections} connections, {size}: microseconds a {what}"
    header = ["", "CPU", "user", "system", "cyevent's ratio", "of user time"]
    return f"{title}\n{_stats.table(header, rows)}\n"


def main() -> int:
    """Runs the benchmark; returns the exit status."""
    options = parser().parse_args()
    figures = []
    if options.completion:
        for group in options.groups:
            # A server that drops what the socket does not take is no peer for large messages.
            peers = [name for name in GROUPS[group] if name != "floor" or options.bytes <= BYTES]
            GROUPS[group] = (COMPLETION[group], *peers)
    try:
        for connections in options.connections:
            for group in options.groups:
                figures.append(
                    measure(
                        group,
                        "echo",
                        connections,
                        options.round_trips,
                        options.rounds,
                        options.bytes,
                    )
                )
                print(report(figures[-1]), flush=True)
        if "python" in options.groups and options.broadcasts:
            figures.append(
                measure("python", "broadcast", options.crowd, options.broadcasts, options.rounds)
            )
            print(report(figures[-1]), flush=True)
        idle = {
            name: memory(name, options.idle) for group in options.groups for name in GROUPS[group]
        }
    except _build.BuildError as error:
        print(error, file=sys.stderr)
        return 1
    rows = [[name, f"{size:.0f}"] for name, size in idle.items()]
    print("an idle connection's memory, bytes\n" + _stats.table(["", "bytes"], rows))
    document = {
        "benchmark": "echo",
        "machine": _results.machine(),
        "versions": _results.versions("the system's"),
        "idle_connection_bytes": idle,
        "figures": [figure.as_json() for figure in figures],
    }
    _results.write_json(options.json, document)
    return 0


def numbers(text: str) -> list[int]:
    """Returns a list of positive numbers."""
    found = [int(word) for word in text.split(",")]
    if min(found) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1: {text}")
    return found


def groups(text: str) -> list[str]:
    """Returns a list of groups."""
    found = text.split(",")
    if not set(found) <= set(GROUPS):
        raise argparse.ArgumentTypeError(f"must be some of {','.join(GROUPS)}: {text}")
    return found


def parser() -> argparse.ArgumentParser:
    """Returns the command line's grammar."""
    top = argparse.ArgumentParser(prog="python -m perf.echo", description=__doc__.splitlines()[0])
    top.add_argument("--connections", type=numbers, default=[10, 1000], help="10,1000")
    top.add_argument("--groups", type=groups, default=list(GROUPS), help=",".join(GROUPS))
    top.add_argument(
        "--completion", action="store_true", help="cyevent over its completion port, too"
    )
    top.add_argument("--bytes", type=int, default=BYTES, help="of a message (%(default)s)")
    top.add_argument("--round-trips", type=int, default=100_000, help="in a round (%(default)s)")
    top.add_argument(
        "--broadcasts", type=int, default=200, help="in a round; 0: none (%(default)s)"
    )
    top.add_argument("--crowd", type=int, default=1000, help="who hears a broadcast (%(default)s)")
    top.add_argument("--idle", type=int, default=4000, help="idle connections (%(default)s)")
    top.add_argument("--rounds", type=int, default=9, help="(%(default)s)")
    top.add_argument(
        "--json", type=Path, default=_results.DEFAULT_DIRECTORY / "echo.json", help="%(default)s"
    )
    return top


if __name__ == "__main__":
    sys.exit(main())
