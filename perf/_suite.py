"""What all benchmarks are: a name, a title, peers, options, and figures with the samples of each peer.

A benchmark is a class with `run(options)`, which yields figures. Its command line, tables, pictures and JSON
come from here, the same for each.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from perf import _build, _peers, _report, _results, _stats, svgplot

SUBJECT = "cyevent"
# Of these more is better, of all others less.
HIGHER = ("rate",)
# Above this share of a processor the load generator, not the server, may be what limits the rate.
SATURATED = 90.0
# Below so many ticks of the kernel's clock nothing is said of user and system time.
FEWEST_TICKS = 10


@dataclass
class Figure:
    """Peers that did the same, in turns: the values of each by round."""

    group: str  # the table that it belongs to
    name: str  # its line there
    metric: str  # the one that counts
    units: dict[str, str]  # by metric
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # peer, metric, round
    reference: str | None = None  # the peer that it is compared with first
    floor: str | None = None  # what no peer can be below, if that is known
    subjects: tuple[str, ...] = (SUBJECT,)  # the peers that are cyevent
    targets: dict[str, float] = field(default_factory=dict)  # peer -> the ratio to reach
    parameters: dict[str, Any] = field(default_factory=dict)
    headline: bool = True  # part of the summary
    notes: list[str] = field(default_factory=list)

    def add(self, peer: str, **values: float) -> None:
        """Appends a round's values of a peer."""
        metrics = self.samples.setdefault(peer, {metric: [] for metric in self.units})
        for metric, value in values.items():
            metrics[metric].append(value)

    def values(self, peer: str, metric: str | None = None) -> list[float]:
        """Returns a peer's values by round; none where it has none."""
        return self.samples.get(peer, {}).get(metric or self.metric, [])

    def median(self, peer: str, metric: str | None = None) -> float:
        """Returns the median of a peer's values, or not a number."""
        values = self.values(peer, metric)
        return _stats.summary(values)["median"] if values else math.nan

    def ratio(self, peer: str, metric: str | None = None, subject: str | None = None) -> float:
        """Returns cyevent's ratio to a peer, medians over medians."""
        mine, theirs = self.values(subject or self.subjects[0], metric), self.values(peer, metric)
        return _stats.ratio(mine, theirs) if mine and theirs else math.nan

    def quartiles(self, peer: str, subject: str | None = None) -> tuple[float, float]:
        """Returns the quartiles of the ratio round by round."""
        ratios = _stats.round_ratios(self.values(subject or self.subjects[0]), self.values(peer))
        if not ratios:
            return math.nan, math.nan
        summary = _stats.summary(ratios)
        return summary["q1"], summary["q3"]

    def above_floor(self, peer: str) -> float:
        """Returns the ratio of what is above the floor."""
        values = [self.values(name) for name in (self.subjects[0], peer, self.floor or "")]
        return _stats.ratio_above(*values) if all(values) else math.nan

    def rounds(self) -> int:
        """Returns how many rounds cyevent had."""
        return len(self.values(self.subjects[0]))

    def others(self) -> list[str]:
        """Returns the peers that are not cyevent."""
        return [peer for peer in self.samples if peer not in self.subjects]

    def split(self, peer: str, user: float, system: float) -> None:
        """Splits each round's processor time as that of all rounds was split, `user` and `system` seconds in
        all: the kernel counts the parts in ticks, of which a round may have few."""
        if user + system < FEWEST_TICKS / os.sysconf("SC_CLK_TCK"):
            return  # nothing is known
        share = user / (user + system)
        for cpu in self.values(peer, "cpu"):
            self.add(peer, user=cpu * share, system=cpu * (1 - share))

    def note_load(self, share: str = "client") -> None:
        """Says when the load generator was what limited a peer."""
        for peer in self.samples:
            busy = self.median(peer, share)
            if busy >= SATURATED:
                self.notes.append(
                    f"{peer}: the load generator was the bottleneck, at {busy:.0f} % of a processor; "
                    "rate and p99 are its own"
                )

    def as_json(self) -> dict[str, Any]:
        """Returns all of it, with summaries and ratios for who reads the file."""
        document = asdict(self)
        document["summary"] = {
            peer: {name: _stats.summary(values) for name, values in metrics.items() if values}
            for peer, metrics in self.samples.items()
        }
        document["ratios"] = {
            subject: {
                peer: {
                    metric: ratio
                    for metric in self.units
                    if not math.isnan(ratio := self.ratio(peer, metric, subject))
                }
                for peer in self.others()
            }
            for subject in self.subjects
            if subject in self.samples
        }
        return document

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Figure:
        """Returns the figure of a results file."""
        known = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
        known["subjects"] = tuple(known.get("subjects", (SUBJECT,)))
        return cls(**known)


class Option(NamedTuple):
    """A benchmark's option, with a default for a full run and one for a quick one."""

    flag: str
    full: Any
    quick: Any
    help: str
    type: Callable[[str], Any] = int

    @property
    def dest(self) -> str:
        return self.flag.removeprefix("--").replace("-", "_")


class Benchmark:
    """What one program measures. Subclasses give the attributes and run()."""

    name: ClassVar[str]
    title: ClassVar[str]
    peers: ClassVar[tuple[str, ...]]  # of _peers.PEERS
    parts: ClassVar[tuple[_build.Part, ...]] = ()  # what has to be compiled
    rounds: ClassVar[tuple[int, int]] = (15, 5)  # full and quick
    options: ClassVar[tuple[Option, ...]] = ()
    # The columns beside the metric that counts, and for which of them there are ratios.
    table: ClassVar[_report.Layout] = _report.Layout()
    lead: ClassVar[str] = ""  # what stands above the tables

    def check(self, options: argparse.Namespace) -> None:
        """Raises ValueError when the options do not fit together or the machine."""

    def instead(self, options: argparse.Namespace) -> int | None:
        """Does what an option asks for instead of measuring, and returns the exit status."""
        return None

    def run(self, options: argparse.Namespace) -> Iterator[Figure]:
        """Measures, and yields each figure when it is complete."""
        raise NotImplementedError

    def draw(
        self, figures: list[Figure], options: argparse.Namespace, directory: Path
    ) -> list[Path]:
        """Draws what was measured, one picture for each group."""
        paths = []
        for number, group in enumerate(dict.fromkeys(figure.group for figure in figures), 1):
            chosen = [figure for figure in figures if figure.group == group]
            path = directory / f"{self.name}-{number}.svg"
            title = f"{self.title[0].upper()}{self.title[1:]}: {group}"
            svgplot.write_bars(path, title, _report.bars(chosen))
            paths.append(path)
        return paths


# --- the types of options -----------------------------------------------------------------------


def positive(text: str) -> int:
    """Returns a number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1: {text}")
    return number


def numbers(text: str) -> list[int]:
    """Returns a list of numbers from 0 on."""
    found = [int(word) for word in text.split(",")]
    if min(found) < 0:
        raise argparse.ArgumentTypeError(f"must not be negative: {text}")
    return found


def names(*known: str) -> Callable[[str], list[str]]:
    """Returns the type of a list of these names."""

    def words(text: str) -> list[str]:
        found = text.split(",")
        for word in found:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
        return found

    return words


# --- the command line ---------------------------------------------------------------------------


def parse(benchmark: Benchmark, arguments: list[str] | None = None) -> argparse.Namespace:
    """Returns a benchmark's options."""
    module = sys.modules[type(benchmark).__module__]
    parser = argparse.ArgumentParser(
        prog=f"python -m perf.{benchmark.name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    directory = _results.DEFAULT_DIRECTORY
    rounds = Option("--rounds", *benchmark.rounds, "samples of each peer", positive)
    parser.add_argument("--quick", action="store_true", help="a rough figure in some seconds")
    for option in (rounds, *benchmark.options):
        if option.type is bool:
            parser.add_argument(option.flag, action="store_true", help=option.help)
            continue
        shown = [_shown(option.full), _shown(option.quick)]
        default = shown[0] if shown[0] == shown[1] else f"{shown[0]}, with --quick {shown[1]}"
        text = f"{option.help} (default: {default})"
        parser.add_argument(option.flag, type=option.type, help=text)
    file = directory / f"{benchmark.name}.json"
    parser.add_argument("--json", type=Path, default=file, metavar="FILE", help="(%(default)s)")
    parser.add_argument(
        "--plot", type=Path, default=directory, metavar="DIR", help="for the pictures (%(default)s)"
    )
    options = parser.parse_args(arguments)
    for option in (rounds, *benchmark.options):
        if option.type is not bool and getattr(options, option.dest) is None:
            setattr(options, option.dest, option.quick if options.quick else option.full)
    try:
        benchmark.check(options)
    except ValueError as error:
        parser.error(str(error))
    return options


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def main(benchmark: Benchmark, arguments: list[str] | None = None) -> int:
    """Measures, prints the tables, writes the JSON and the pictures; returns the exit status."""
    options = parse(benchmark, arguments)
    try:
        status = benchmark.instead(options)
        if status is not None:
            return status
        for line in _peers.differences(benchmark.peers):
            _results.progress(line)
        document = measure(benchmark, options)
    except _build.BuildError as error:
        print(f"perf.{benchmark.name}: {error}", file=sys.stderr)
        return 1
    figures = [Figure.from_json(figure) for figure in document["figures"]]
    if benchmark.lead:
        print(benchmark.lead.format(**vars(options)) + "\n")
    print(_report.tables(figures, benchmark.table))
    _results.write_json(options.json, document)
    paths = benchmark.draw(figures, options, options.plot)
    wrote = ", ".join(map(str, [options.json, *paths]))
    _results.progress(f"{document['seconds']} s; wrote {wrote}")
    return 0


def measure(benchmark: Benchmark, options: argparse.Namespace) -> dict[str, Any]:
    """Runs a benchmark; returns the document of its results."""
    _build.prepare(benchmark.parts)
    document: dict[str, Any] = {
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "machine": _results.machine(),
        "versions": _results.versions(benchmark.peers),
        "parameters": {
            option.dest: getattr(options, option.dest)
            for option in (Option("--rounds", 0, 0, ""), *benchmark.options)
        },
    }
    began = time.monotonic()
    document["figures"] = [figure.as_json() for figure in benchmark.run(options)]
    document["load_average_after"] = os.getloadavg()
    document["seconds"] = round(time.monotonic() - began, 1)
    return document


def in_turns(items: Iterable[str], number: int) -> list[str]:
    """Returns the items for a round: who begins changes from round to round."""
    order = list(items)
    first = number % len(order) if order else 0
    return order[first:] + order[:first]
