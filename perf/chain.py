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
import resource
import socket
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from perf import _chain_python, _results, svgplot
from perf._chain_native import PARTS, Libraries, Peer, Ring
from perf._report import Layout
from perf._suite import Benchmark, Figure, Option, in_turns, main, names, numbers, positive

METHODS = ("epoll", "poll", "select")
SPARE_DESCRIPTORS = 64  # for what the peers and Python open
MOST_DESCRIPTORS = 20_000  # by default; poll's time grows with them, and a run is to end
FEWEST_ROUNDS = 5  # of a figure that would take longer than its budget
EXTRA_DESCRIPTORS = 2_000  # up to here the Python callbacks' further methods are measured

# libevent's locks cannot be switched off again, so they come last.
GROUPS = {
    "c": "C callbacks, no locks",
    "python": "Python callbacks",
    "c-locked": "C callbacks, locks",
}
# whole: with setup and removal.
UNITS = {"loop": "us", "cpu": "us", "setup": "us", "removal": "us", "whole": "us"}


class SocketPairs:
    """As many socket pairs as wanted; `fds` holds read end, write end, read end, ..."""

    def __init__(self, pipes: int) -> None:
        self.sockets = [end for _ in range(pipes) for end in socket.socketpair()]
        self.fds = array("i", [end.fileno() for end in self.sockets])

    def close(self) -> None:
        """Closes them."""
        for end in self.sockets:
            end.close()


class Chain(Benchmark):
    """The benchmark."""

    name = "chain"
    title = "chained readiness events"
    peers = ("libevent", "uvloop", "asyncio", "floor")
    parts = PARTS
    rounds = (25, 5)
    options = (
        Option(
            "--descriptors",
            "200,600,2000,6000,usual",
            "200,2000",
            "how many, two to a pair; max is this machine's limit, usual that but at most "
            f"{MOST_DESCRIPTORS}",
            str,
        ),
        Option("--methods", METHODS, METHODS, "of cyevent and libevent", names(*METHODS)),
        Option("--active", [1, 100], [1, 100], "chains at once", numbers),
        Option("--groups", tuple(GROUPS), tuple(GROUPS), "whose callbacks", names(*GROUPS)),
        Option(
            "--budget",
            30,
            1,
            "seconds after which a figure gets fewer rounds, at least 5; 0: no limit",
        ),
        Option("--writes", 1000, 1000, "events of a round", positive),
        Option(
            "--stride",
            1,
            1,
            "how many pairs further each byte goes; 1 is libevent's benchmark, a large one keeps what "
            "is ready far apart",
            positive,
        ),
        Option("--locks", False, False, "c-locked for all methods", bool),
    )
    table = Layout(wide=True, ratios=("cpu", "setup", "whole"), above_floor=True)
    lead = (
        "Microseconds for {writes} chained events, medians. quartiles: of the ratio round by round;\ncpu, "
        "setup, whole: the ratio of these, whole with setup and removal; above floor: of what is above it, <0 "
        "when\ncyevent is below."
    )

    def check(self, options: argparse.Namespace) -> None:
        """See Benchmark."""
        if isinstance(options.descriptors, str):
            options.descriptors = _descriptor_list(options.descriptors, descriptor_limit())
        if min(options.active) < 1:
            raise ValueError("--active must be at least 1")
        if min(options.active) > options.descriptors[-1] // 2:
            raise ValueError("--active: there are fewer pairs than that")

    def run(self, options: argparse.Namespace) -> Iterator[Figure]:
        """See Benchmark."""
        self.libraries = Libraries()
        yield from self._pass(options, [group for group in options.groups if group != "c-locked"])
        if "c-locked" in options.groups:
            yield from self._pass(options, ["c-locked"])

    def _pass(self, options: argparse.Namespace, groups: list[str]) -> Iterator[Figure]:
        for descriptors in options.descriptors:
            with closing(SocketPairs(descriptors // 2)) as pairs:
                for group in groups:
                    for method in options.methods:
                        for active in options.active:
                            if active <= descriptors // 2 and _is_measured(
                                options, group, method, descriptors
                            ):
                                yield self._figure(options, group, method, active, pairs)

    def _figure(
        self, options: argparse.Namespace, group: str, method: str, active: int, pairs: SocketPairs
    ) -> Figure:
        descriptors = len(pairs.fds)
        stride = options.stride % (descriptors // 2) or 1
        ring = Ring(pairs.fds, active, stride, writes=options.writes)
        figure = Figure(
            GROUPS[group],
            f"{method}, {active} active, {descriptors} descriptors",
            "loop",
            UNITS,
            reference="libevent" if group != "python" else "uvloop",
            floor="callback" if group == "python" else "floor",
            subjects=("cyevent", "cyevent nolock") if group == "python" else ("cyevent",),
            parameters={"method": method, "active": active, "descriptors": descriptors},
            headline=method == "epoll" and descriptors == options.descriptors[-1],
            targets={"uvloop": 0.35, "asyncio": 0.35} if group == "python" else {"libevent": 0.9},
        )
        rounds = options.rounds
        if group == "python" and method != "epoll":
            rounds = max(min(rounds, FEWEST_ROUNDS), rounds // 3)
        began = time.monotonic()
        with ExitStack() as stack:
            peers = {}
            for name in _peer_names(group, method):
                peer = self._open(group, name, method, ring)
                if peer is not None:
                    stack.callback(peer.close)
                    peers[name] = peer
            _rounds(figure, peers, ring, rounds, options.budget)
        seconds = time.monotonic() - began
        _results.progress(f"{figure.group}: {figure.name}: {seconds:.1f} s")
        return figure

    def _open(self, group: str, name: str, method: str, ring: Ring) -> Peer | None:
        if group == "python" and name != "floor":
            return _chain_python.open_peer(name, method, ring)
        return self.libraries.open(name, method, group == "c-locked", ring)

    def draw(
        self, figures: list[Figure], options: argparse.Namespace, directory: Path
    ) -> list[Path]:
        """A graph for each number of active chains: C callbacks left, Python callbacks right."""
        paths = []
        for active in options.active:
            panels = []
            for group in ("c", "python"):
                chosen = [
                    figure
                    for figure in figures
                    if figure.group == GROUPS[group] and figure.parameters["active"] == active
                ]
                panels.append(_panel(group, chosen, options.writes))
            chains = "one chain" if active == 1 else f"{active} chains at once"
            path = directory / f"chain-{active}-active.svg"
            svgplot.write(path, f"Chained readiness events, {chains}", panels)
            paths.append(path)
        return paths


def _is_measured(options: argparse.Namespace, group: str, method: str, descriptors: int) -> bool:
    if group == "python" and method != "epoll":
        return descriptors <= EXTRA_DESCRIPTORS
    return group != "c-locked" or method == "epoll" or options.locks


def _peer_names(group: str, method: str) -> list[str]:
    if group == "python":
        several = ["cyevent nolock", "uvloop"] if method == "epoll" else []
        return ["floor", "callback", "asyncio", *several, "cyevent"]
    return ["libevent", "cyevent"] if group == "c-locked" else ["floor", "libevent", "cyevent"]


def _rounds(figure: Figure, peers: dict[str, Peer], ring: Ring, rounds: int, budget: float) -> None:
    """Each round every peer has a turn."""
    warm_up = {name: _timed(peer, ring) for name, peer in peers.items()}
    if budget:
        seconds = sum(took for name, took in warm_up.items() if name != "floor")
        rounds = min(rounds, max(FEWEST_ROUNDS, int(budget / seconds)))
    # The floor with poll and select is for orientation: a few rounds of its seconds do.
    epoll = figure.parameters["method"] == "epoll"
    floor_rounds = rounds if epoll else max(2, rounds // 5)
    for number in range(rounds):
        for name in in_turns(peers, number):
            if name != "floor" or number < floor_rounds:
                times = peers[name].round(ring)
                sections = {part: value / 1e3 for part, value in times._asdict().items()}
                whole = sections["setup"] + sections["loop"] + sections["removal"]
                figure.add(name, **sections, whole=whole)


def _timed(peer: Peer, ring: Ring) -> float:
    began = time.monotonic()
    peer.round(ring)
    return time.monotonic() - began


LOOKS = {  # dash and marker by peer; the color is the method's
    "cyevent": (0, "circle"),
    "libevent": (1, "square"),
    "uvloop": (1, "triangle"),
    "asyncio": (3, "square"),
    "floor": (2, "cross"),
    "callback": (2, "cross"),
}
LABELS = {"floor": "bare {method}", "callback": "callbacks alone"}


def _panel(group: str, figures: list[Figure], writes: int) -> svgplot.Panel:
    panel = svgplot.Panel(GROUPS[group], "descriptors", f"time for {writes} events", unit="us")
    for color, method in enumerate(METHODS):
        for peer, (dash, marker) in LOOKS.items():
            points = [
                (figure.parameters["descriptors"], figure.median(peer))
                for figure in figures
                if figure.parameters["method"] == method and figure.values(peer)
            ]
            # In the right panel the callbacks alone are the floor; they know no method.
            other_floor = peer == "floor" or (peer == "callback" and method != "epoll")
            if points and (group == "c" or not other_floor):
                label = LABELS.get(peer, "{peer}, {method}").format(peer=peer, method=method)
                panel.series.append(svgplot.Series(label, points, color, dash, marker))
    return panel


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


def _descriptor_list(text: str, limit: int) -> list[int]:
    most = {"max": limit, "usual": min(limit, MOST_DESCRIPTORS)}
    chosen = [most.get(part) or int(part) // 2 * 2 for part in text.split(",")]
    if "usual" in text:
        chosen = [number for number in chosen if number <= most["usual"]]
    for number in chosen:
        if not 4 <= number <= limit:
            raise ValueError(f"{number} descriptors: this machine allows 4 to {limit}")
    return sorted(set(chosen))


if __name__ == "__main__":
    sys.exit(main(Chain()))
