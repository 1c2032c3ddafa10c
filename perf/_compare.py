"""What changed from one run to another beyond noise.

Two runs differ in more than the code: the machine was busier, the processor warmer. But each figure's peers
took turns with cyevent, so what both runs have in common is the peer. The rule:

- What is compared is the median of cyevent's ratio to the figure's first peer, round by round. Where a figure
  has no peer it is the median of the values themselves, and the line says so.
- It changed when the 99 % bootstrap interval of the quotient (second run by first, the rounds of each resampled
  2000 times with replacement) does not contain 1, and the quotient is off 1 by more than 3 %.
- With fewer than five rounds in either run nothing is said: so few can lie apart by chance.

Of a hundred figures one may still be a false alarm. By how much the peers' own values changed is told below
the table: where they changed because of the machine, cyevent's did too, and the ratio is what it was.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perf import _stats
from perf._suite import HIGHER, Figure

FEWEST = 5
LEVEL = 0.99
LEAST = 0.03
ALIKE = 0.1  # half of the peers' own values must not differ by more, or the runs are not alike
# Metrics that say nothing of cyevent, or the same as another one.
LEFT_OUT = ("client", "callbacks", "user", "system", "p50", "struct")


class Change(NamedTuple):
    """How a figure changed, by the rule above."""

    quotient: float  # of the second run by the first
    low: float
    high: float

    @property
    def is_real(self) -> bool:
        """Whether it is beyond noise."""
        return not self.low <= 1.0 <= self.high and abs(self.quotient - 1) > LEAST


class Line(NamedTuple):
    """A metric of a figure in both runs; change is None when there are too few rounds."""

    benchmark: str
    figure: str
    metric: str
    unit: str
    peer: str | None
    before: float
    after: float
    change: Change | None

    @property
    def verdict(self) -> str:
        """What the rule says."""
        if self.change is None or not self.change.is_real:
            return "same"
        more = self.change.quotient > 1
        return "better" if more == (self.metric in HIGHER) else "WORSE"


def change(before: Sequence[float], after: Sequence[float]) -> Change | None:
    """Returns how the median changed; None when there are too few values."""
    if min(len(before), len(after)) < FEWEST or statistics.median(before) <= 0:
        return None

    def quotient(samples: Sequence[Sequence[float]]) -> float:
        first, second = (statistics.median(values) for values in samples)
        return second / first if first > 0 else float("inf")

    samples = (before, after)
    return Change(quotient(samples), *_stats.bootstrap(quotient, samples, LEVEL))


def figures(document: dict[str, Any]) -> dict[tuple[str, str, str], Figure]:
    """Returns the figures of a results file, of the suite or of one benchmark, by what they are."""
    if not isinstance(document, dict):
        raise TypeError("it holds no object")
    benchmarks = document.get("benchmarks") or {document.get("benchmark", ""): document}
    return {
        (name, figure.group, figure.name): figure
        for name, results in benchmarks.items()
        for figure in map(Figure.from_json, results.get("figures", ()))
    }


def lines(
    before: dict[tuple[str, str, str], Figure], after: dict[tuple[str, str, str], Figure]
) -> Iterator[Line]:
    """Yields what both runs have measured."""
    for key, old in before.items():
        new = after.get(key)
        if new is None:
            continue
        for subject in new.subjects:
            for metric, unit in new.units.items():
                if metric in LEFT_OUT or not (
                    old.values(subject, metric) and new.values(subject, metric)
                ):
                    continue
                peer = _peer(old, new, metric)
                samples = [_compared(figure, subject, metric, peer) for figure in (old, new)]
                yield Line(
                    key[0],
                    f"{key[1]}: {key[2]}" + (f" ({subject})" if subject != new.subjects[0] else ""),
                    metric,
                    unit,
                    peer,
                    old.median(subject, metric),
                    new.median(subject, metric),
                    change(*samples),
                )


def drifts(
    before: dict[tuple[str, str, str], Figure], after: dict[tuple[str, str, str], Figure]
) -> list[float]:
    """Returns by how much the peers themselves differ: the two runs' machines, so to speak."""
    found = []
    for key, old in before.items():
        new = after.get(key)
        peer = _peer(old, new, old.metric) if new is not None else None
        if new is not None and peer is not None and old.median(peer) > 0:
            found.append(new.median(peer) / old.median(peer))
    return found


def _peer(old: Figure, new: Figure, metric: str) -> str | None:
    for peer in (new.reference, *new.others()):
        if peer is not None and old.values(peer, metric) and new.values(peer, metric):
            return peer
    return None


def _compared(figure: Figure, subject: str, metric: str, peer: str | None) -> list[float]:
    values = figure.values(subject, metric)
    if peer is None:
        return values
    return _stats.round_ratios(values, figure.values(peer, metric))


def report(
    before: dict[tuple[str, str, str], Figure],
    after: dict[tuple[str, str, str], Figure],
    everything: bool,
) -> str:
    """Returns the table and what has to be known of it."""
    found = list(lines(before, after))
    shown = [line for line in found if everything or line.verdict != "same"]
    parts = []
    if shown:
        header = ["benchmark", "figure", "metric", "A", "B", "beside", "B/A", "interval", ""]
        rows = []
        for line in shown:
            row = [line.benchmark, line.figure, f"{line.metric}, {line.unit}".rstrip(", ")]
            row += [_stats.format_number(line.before), _stats.format_number(line.after)]
            row.append(line.peer or "nobody")
            if line.change is None:
                row += ["-", "-", "too few rounds"]
            else:
                row.append(f"{line.change.quotient:.3f}")
                row += [f"{line.change.low:.3f}-{line.change.high:.3f}", line.verdict]
            rows.append(row)
        parts.append(_stats.table(header, rows, left=3))
    judged = [line for line in found if line.change is not None]
    real = [line for line in judged if line.verdict != "same"]
    parts.append(
        f"{len(real)} of {len(judged)} values changed beyond noise: the 99 % interval of B/A leaves 1 out, and "
        f"it is off 1 by more than {LEAST:.0%}.\nB/A is of the ratios to the peer named, round by round."
    )
    if len(found) > len(judged):
        parts.append(f"{len(found) - len(judged)} have fewer than {FEWEST} rounds: no verdict.")
    once = len(before.keys() ^ after.keys())
    if once:
        parts.append(f"{once} figures are in one of the files only.")
    drift = drifts(before, after)
    if drift:
        parts.append(
            f"The peers themselves: {statistics.median(drift):.2f} times what they took in A (median; "
            f"{min(drift):.2f} to {max(drift):.2f})."
        )
        if statistics.median(abs(math.log(quotient)) for quotient in drift) > math.log(1 + ALIKE):
            parts.append(
                "The machine was not as busy in both runs: another load can shift ratios too. Run both again."
            )
    return "\n".join(parts)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("before", type=Path, metavar="A.json")
    parser.add_argument("after", type=Path, metavar="B.json")
    parser.add_argument("--all", action="store_true", help="also what did not change")


def main(options: argparse.Namespace) -> int:
    """Prints the comparison; returns the exit status, which is about the files alone."""
    read = []
    for path in (options.before, options.after):
        try:
            read.append(figures(json.loads(path.read_text())))
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"perf compare: {path} is no file of results: {error}", file=sys.stderr)
            return 2
    if not read[0].keys() & read[1].keys():
        print("perf compare: the files have no figure in common", file=sys.stderr)
        return 2
    before, after = read
    print(report(before, after, options.all))
    return 0
