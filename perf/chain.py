"""The benchmark of libevent's home page: chained readiness events.

Of many socket pairs one (or a hundred) is given a byte; whoever reads a byte writes one to the next
pair, until a thousand have been written. The time from the first bytes to the last one read is
taken against the number of descriptors, by method, for C callbacks (beside libevent's own library
and bare system calls) and for Python callbacks (beside asyncio's and uvloop's add_reader). All
peers of a figure run in this process, on the same socket pairs, one round each in turn, each alone
in the kernel's tables while it runs.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import socket
import sys
import time
from array import array
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perf import _build, _chain_python, _results, _stats, svgplot
from perf._chain_native import Libraries, Peer, Ring, Round

METHODS = ("epoll", "poll", "select")
SPARE_DESCRIPTORS = 64  # for what the peers and Python open
MOST_DESCRIPTORS = 20_000  # by default; poll's time grows with them, and a run is to end
FIGURE_SECONDS = 30  # a figure that would take longer than this gets fewer rounds,
QUICK_SECONDS = 4
FEWEST_ROUNDS = 5  # but not fewer than these
EXTRA_DESCRIPTORS = 2_000  # up to here the Python callbacks' further methods are measured


@dataclass
class Figure:
    """A group of peers on one method, one number of active chains and one number of descriptors."""

    group: str  # "c", "c-locked" or "python"
    method: str
    active: int
    descriptors: int
    samples: dict[str, list[Round]] = field(default_factory=dict)

    def values(self, peer: str, *sections: str) -> list[float]:
        """Returns a peer's microseconds by round, summed over the sections."""
        rounds = self.samples[peer]
        return [sum(getattr(times, section) for section in sections) / 1e3 for times in rounds]

    def as_json(self) -> dict[str, Any]:
        """Returns the figure with all samples, in microseconds."""
        peers = {}
        for peer in self.samples:
            sections = {name: self.values(peer, name) for name in Round._fields}
            peers[peer] = {
                "summary_us": {name: _stats.summary(values) for name, values in sections.items()},
                "samples_us": sections,
            }
        return {
            "group": self.group,
            "method": self.method,
            "active": self.active,
            "rounds": len(self.samples["cyevent"]),
            "descriptors": self.descriptors,
            "peers": peers,
            "ratios": self.ratios(),
        }

    def ratios(self) -> dict[str, float]:
        """Returns cyevent's ratios to its peers: medians over medians, of the loop unless named."""
        found = {}
        whole = ("setup", "loop", "removal")
        for peer in self.samples:
            if peer in ("libevent", "uvloop", "asyncio"):
                mine, theirs = self.values("cyevent", "loop"), self.values(peer, "loop")
                found[peer] = _stats.ratio(mine, theirs)
                pairs = _stats.summary(_stats.round_ratios(mine, theirs))
                found[f"{peer} round by round"] = pairs["median"]
                found[f"{peer} with setup"] = _stats.ratio(
                    self.values("cyevent", *whole), self.values(peer, *whole)
                )
                found[f"{peer} setup"] = _stats.ratio(
                    self.values("cyevent", "setup"), self.values(peer, "setup")
                )
                found[f"{peer} cpu"] = _stats.ratio(
                    self.values("cyevent", "cpu"), self.values(peer, "cpu")
                )
                for lowest in ("floor", "callback"):
                    if lowest in self.samples:
                        found[f"{peer} above the {lowest}"] = _stats.ratio_above(
                            mine, theirs, self.values(lowest, "loop")
                        )
        return {name: value for name, value in found.items() if not math.isnan(value)}


class SocketPairs:
    """As many socket pairs as wanted; `fds` holds read end, write end, read end, ..."""

    def __init__(self, pipes: int) -> None:
        self.sockets = [end for _ in range(pipes) for end in socket.socketpair()]
        self.fds = array("i", [end.fileno() for end in self.sockets])

    def close(self) -> None:
        """Closes them."""
        for end in self.sockets:
            end.close()


class Benchmark:
    """What one invocation measures."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.libraries = Libraries()
        self.figures: list[Figure] = []

    def run(self) -> None:
        """Measures everything. libevent's locks cannot be switched off again, so they come last."""
        groups = [group for group in self.options.groups if group != "c-locked"]
        self._pass(groups)
        if "c-locked" in self.options.groups:
            self._pass(["c-locked"])

    def _pass(self, groups: list[str]) -> None:
        for descriptors in self.options.descriptors:
            with closing(SocketPairs(descriptors // 2)) as pairs:
                for group in groups:
                    for method in self.options.methods:
                        for active in self.options.active:
                            if active <= descriptors // 2:
                                self._figure(group, method, active, pairs)

    def _figure(self, group: str, method: str, active: int, pairs: SocketPairs) -> None:
        options = self.options
        descriptors = len(pairs.fds)
        extra = group == "python" and method != "epoll"
        if extra and descriptors > EXTRA_DESCRIPTORS:
            return
        if group == "c-locked" and method != "epoll" and not options.locks:
            return
        ring = Ring(
            pairs.fds, active, options.stride % (descriptors // 2) or 1, writes=options.writes
        )
        figure = Figure(group, method, active, descriptors)
        rounds = max(3, options.rounds // 3) if extra else options.rounds
        began = time.monotonic()
        with ExitStack() as stack:
            peers = {}
            for name in self._peer_names(group, method):
                peer = self._open(group, name, method, ring)
                if peer is not None:
                    stack.callback(peer.close)
                    peers[name] = peer
            self._rounds(figure, peers, ring, rounds)
        self.figures.append(figure)
        _results.progress(
            f"{group:8} {method:6} {active:3} active {descriptors:6} descriptors: "
            f"{time.monotonic() - began:5.1f} s"
        )

    def _peer_names(self, group: str, method: str) -> list[str]:
        if group == "python":
            names = ["cyevent", "asyncio", "callback", "floor"]
            return [*names, "cyevent-nolock", "uvloop"] if method == "epoll" else names
        return ["libevent", "cyevent"] if group == "c-locked" else ["floor", "libevent", "cyevent"]

    def _open(self, group: str, name: str, method: str, ring: Ring) -> Peer | None:
        if group == "python" and name != "floor":
            return _chain_python.open_peer(name, method, ring)
        return self.libraries.open(name, method, group == "c-locked", ring)

    def _rounds(self, figure: Figure, peers: dict[str, Peer], ring: Ring, rounds: int) -> None:
        """Each round every peer has a turn; who begins changes."""
        names = list(peers)
        figure.samples = {name: [] for name in names}
        warm_up = {name: self._timed(peers[name], ring) for name in names}
        if self.options.budget:
            seconds = sum(warm_up[name] for name in names if name != "floor")
            rounds = min(rounds, max(FEWEST_ROUNDS, int(self.options.budget / seconds)))
        # The floor with poll and select is for orientation: a few rounds of its seconds do.
        floor_rounds = rounds if figure.method == "epoll" else max(3, rounds // 5)
        for number in range(rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                if name != "floor" or number < floor_rounds:
                    figure.samples[name].append(peers[name].round(ring))

    @staticmethod
    def _timed(peer: Peer, ring: Ring) -> float:
        began = time.monotonic()
        peer.round(ring)
        return time.monotonic() - began


# --- telling ------------------------------------------------------------------------------------


def _median(figure: Figure, peer: str, *sections: str) -> float:
    if peer not in figure.samples:
        return math.nan
    return _stats.summary(figure.values(peer, *sections))["median"]


def _native_table(figures: list[Figure]) -> str:
    header = ["method", "active", "descr.", "floor", "libevent", "cyevent"]
    header += ["ratio", "quartiles", "cpu", "setup", "above floor", "rounds"]
    rows = []
    for figure in figures:
        ratios = figure.ratios()
        pairs = _stats.round_ratios(
            figure.values("cyevent", "loop"), figure.values("libevent", "loop")
        )
        spread = _stats.summary(pairs)
        medians = [_median(figure, peer, "loop") for peer in ("floor", "libevent", "cyevent")]
        rows.append(
            [figure.method, str(figure.active), str(figure.descriptors)]
            + [_stats.format_number(value) for value in medians]
            + [_stats.format_ratio(ratios["libevent"]), f"{spread['q1']:.2f}-{spread['q3']:.2f}"]
            + [
                _stats.format_ratio(ratios.get(f"libevent {name}", math.nan))
                for name in ("cpu", "setup", "above the floor")
            ]
            + [str(len(figure.samples["cyevent"]))]
        )
    return _stats.table(header, rows)


def _python_table(figures: list[Figure]) -> str:
    peers = ["floor", "callback", "cyevent", "uvloop", "asyncio"]
    header = ["method", "active", "descr.", *peers]
    header += [
        "/uvloop",
        "/asyncio",
        "cpu",
        "with setup",
        "above floor",
        "above callback",
        "rounds",
    ]
    rows = []
    for figure in figures:
        ratios = figure.ratios()
        reference = "uvloop" if "uvloop" in figure.samples else "asyncio"
        further = ("cpu", "with setup", "above the floor", "above the callback")
        names = ["uvloop", "asyncio", *(f"{reference} {name}" for name in further)]
        rows.append(
            [figure.method, str(figure.active), str(figure.descriptors)]
            + [_stats.format_number(_median(figure, peer, "loop")) for peer in peers]
            + [_stats.format_ratio(ratios.get(name, math.nan)) for name in names]
            + [str(len(figure.samples["cyevent"]))]
        )
    return _stats.table(header, rows)


TITLES = {
    "c": "C callbacks: cyevent's ratio to libevent, neither with locks",
    "c-locked": "C callbacks: the same, both with locks",
    "python": "Python callbacks: cyevent's ratio to uvloop's and asyncio's add_reader",
}


def report(figures: list[Figure], options: argparse.Namespace) -> str:
    """Returns the tables."""
    parts = [
        f"Microseconds for {options.writes} chained events, medians.\n"
        "quartiles: of the ratio round by round; cpu, setup: the ratio of these; above: the ratio of "
        "what is above that peer's time, <0 when cyevent is below it."
    ]
    order = {method: i for i, method in enumerate(METHODS)}
    for group, title in TITLES.items():
        chosen = [figure for figure in figures if figure.group == group]
        chosen.sort(key=lambda f: (order[f.method], f.active, f.descriptors))
        if chosen:
            make = _python_table if group == "python" else _native_table
            parts.append(f"{title}\n{make(chosen)}")
    return "\n\n".join(parts)


LOOKS = {  # dash and marker by peer; the color is the method's
    "cyevent": (0, "circle"),
    "libevent": (1, "square"),
    "uvloop": (1, "triangle"),
    "asyncio": (3, "square"),
    "floor": (2, "cross"),
    "callback": (2, "cross"),
}
LABELS = {"floor": "bare {method}", "callback": "callbacks alone"}


def draw(figures: list[Figure], options: argparse.Namespace, directory: Path) -> list[Path]:
    """Draws a graph for each number of active chains: C callbacks left, Python callbacks right."""
    paths = []
    for active in options.active:
        panels = []
        for group, title in (("c", "C callbacks"), ("python", "Python callbacks")):
            panel = svgplot.Panel(title, "descriptors", f"microseconds for {options.writes} events")
            chosen = [f for f in figures if f.group == group and f.active == active]
            for color, method in enumerate(METHODS):
                for peer, (dash, marker) in LOOKS.items():
                    points = [
                        (f.descriptors, _median(f, peer, "loop"))
                        for f in chosen
                        if f.method == method and peer in f.samples
                    ]
                    # In the right panel the callbacks alone are the floor; they know no method.
                    other_floor = peer == "floor" or (peer == "callback" and method != "epoll")
                    if points and (group == "c" or not other_floor):
                        label = LABELS.get(peer, "{peer}, {method}")
                        label = label.format(peer=peer, method=method)
                        panel.series.append(svgplot.Series(label, points, color, dash, marker))
            panels.append(panel)
        connections = "one active connection" if active == 1 else f"{active} active connections"
        path = directory / f"chain-{active}-active.svg"
        svgplot.write(path, f"Chained readiness events, {connections}", panels)
        paths.append(path)
    return paths


# --- the command line ---------------------------------------------------------------------------


def descriptor_limit() -> int:
    """Raises the soft limit as far as allowed; returns how many descriptors the rings may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (ValueError, OSError):
            pass
    return (soft - SPARE_DESCRIPTORS) // 2 * 2 if soft > 0 else 1_000_000


def _descriptor_list(text: str | None, limit: int, quick: bool) -> list[int]:
    if text is None:
        usual = [200, 2000] if quick else [200, 600, 2000, 6000]
        most = min(limit, 6000 if quick else MOST_DESCRIPTORS)
        return [n for n in usual if n < most] + [most]
    numbers = [limit if part == "max" else int(part) // 2 * 2 for part in text.split(",")]
    for number in numbers:
        if not 4 <= number <= limit:
            raise ValueError(f"{number} descriptors: this machine allows 4 to {limit}")
    return sorted(set(numbers))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(prog="python -m perf.chain", description=__doc__)
    parser.add_argument(
        "--descriptors",
        metavar="LIST",
        help="how many, two to a pair, separated by commas; 'max' for this machine's limit "
        f"(default: 200 up to the limit, at most {MOST_DESCRIPTORS})",
    )
    parser.add_argument("--methods", default=",".join(METHODS), metavar="LIST")
    parser.add_argument("--active", default="1,100", metavar="LIST", help="chains at once")
    parser.add_argument("--groups", default="c,python,c-locked", metavar="LIST")
    parser.add_argument("--rounds", type=int, help="default: 25, with --quick 7")
    parser.add_argument(
        "--budget",
        type=float,
        metavar="SECONDS",
        help="a figure that would take longer gets fewer rounds, at least 5; 0 for no such limit "
        f"(default: {FIGURE_SECONDS}, with --quick {QUICK_SECONDS})",
    )
    parser.add_argument("--writes", type=int, default=1000)
    parser.add_argument(
        "--stride",
        type=int,
        default=1,
        help="how many pairs further each byte goes; 1 is libevent's benchmark, a large one keeps "
        "what is ready far apart",
    )
    parser.add_argument("--locks", action="store_true", help="c-locked for all methods")
    directory = _results.DEFAULT_DIRECTORY
    parser.add_argument("--json", type=Path, default=directory / "chain.json", metavar="FILE")
    parser.add_argument("--plot", type=Path, default=directory, metavar="DIR", help="for the SVG")
    parser.add_argument("--quick", action="store_true", help="a rough figure in half a minute")
    options = parser.parse_args(arguments)
    try:
        options.descriptors = _descriptor_list(
            options.descriptors, descriptor_limit(), options.quick
        )
        options.active = [int(part) for part in options.active.split(",")]
    except ValueError as error:
        parser.error(str(error))
    for name, known in (("methods", METHODS), ("groups", tuple(TITLES))):
        chosen = getattr(options, name).split(",")
        setattr(options, name, chosen)
        for part in chosen:
            if part not in known:
                parser.error(f"--{name}: {part!r} is none of {', '.join(known)}")
    if options.rounds is None:
        options.rounds = 7 if options.quick else 25
    if options.budget is None:
        options.budget = QUICK_SECONDS if options.quick else FIGURE_SECONDS
    if options.rounds < 1 or options.writes < 1 or options.stride < 1 or min(options.active) < 1:
        parser.error("--rounds, --writes, --stride and --active must be at least 1")
    if min(options.active) > options.descriptors[-1] // 2:
        parser.error("--active: there are fewer pairs than that")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints the tables, writes the JSON and the graphs."""
    options = parse(arguments)
    try:
        benchmark = Benchmark(options)
    except _build.BuildError as error:
        print(f"perf.chain: {error}", file=sys.stderr)
        return 1
    if "python" in options.groups and _chain_python.uvloop_module() is None:
        _results.progress("uvloop is not installed and left out: `pip install '.[perf]'`")
    document: dict[str, Any] = {
        "benchmark": "chain",
        "machine": _results.machine(),
        "versions": _results.versions(benchmark.libraries.libevent_version),
        "parameters": {
            name: getattr(options, name)
            for name in ("descriptors", "methods", "active", "rounds", "budget", "writes", "stride")
        },
    }
    began = time.monotonic()
    benchmark.run()
    document["load_average_after"] = os.getloadavg()
    document["seconds"] = round(time.monotonic() - began, 1)
    document["figures"] = [figure.as_json() for figure in benchmark.figures]
    print(report(benchmark.figures, options))
    _results.write_json(options.json, document)
    paths = draw(benchmark.figures, options, options.plot)
    _results.progress(
        f"{document['seconds']} s; wrote {options.json}, {', '.join(map(str, paths))}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
