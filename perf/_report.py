"""Tables of figures, and the bars of their pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from perf import _stats, svgplot

if TYPE_CHECKING:
    from perf._suite import Figure


SPREAD = ("rate", "p99", "peak", "wall")  # beside the metric that counts


class Layout(NamedTuple):
    """How a benchmark's tables look."""

    # A line for each figure with a column for each peer, or a line for each peer of a figure.
    wide: bool = False
    metrics: tuple[str, ...] = ()  # the columns of a long table; () for all
    ratios: tuple[str, ...] = ()  # further metrics that have ratios
    above_floor: bool = False  # the ratio of what is above the floor


def tables(figures: Sequence[Figure], layout: Layout) -> str:
    """Returns a table for each group, with the notes below it."""
    parts = []
    for group in dict.fromkeys(figure.group for figure in figures):
        chosen = [figure for figure in figures if figure.group == group]
        text = _wide(group, chosen, layout) if layout.wide else _long(group, chosen, layout)
        notes = [f"* {figure.name}: {note}" for figure in chosen for note in figure.notes]
        parts.append("\n".join([text, *notes]) + "\n")
    return "\n".join(parts)


def _wide(group: str, figures: Sequence[Figure], layout: Layout) -> str:
    peers = list(dict.fromkeys(peer for figure in figures for peer in figure.samples))
    # cyevent comes last, next to the ratios.
    subjects = [peer for peer in peers if any(peer in figure.subjects for figure in figures)]
    peers = [peer for peer in peers if peer not in subjects]
    compared = [peer for peer in peers if peer not in ("floor", figures[0].floor)]
    floors = any(figure.floor in figure.samples for figure in figures) and layout.above_floor
    # A metric that no figure has got both of is no column.
    ratios = [
        metric
        for metric in layout.ratios
        if any(figure.values(figure.subjects[0], metric) for figure in figures)
    ]
    first = figures[0]
    header = [f"{group}: {first.metric}, {first.units[first.metric]}", *peers, *subjects]
    header += [*(f"/{peer}" for peer in compared), "quartiles", *ratios]
    header += ["above floor"] * floors + ["rounds"]
    rows = []
    for figure in figures:
        reference = _reference(figure)
        cells = [figure.name]
        cells += [_stats.format_number(figure.median(peer)) for peer in (*peers, *subjects)]
        cells += [_stats.format_ratio(figure.ratio(peer)) for peer in compared]
        cells.append(_range(figure.quartiles(reference)) if reference else "-")
        for metric in ratios:
            cells.append(_stats.format_ratio(figure.ratio(reference or "", metric)))
        if floors:
            cells.append(_stats.format_ratio(figure.above_floor(reference or "")))
        rows.append([*cells, str(figure.rounds())])
    return _stats.table(header, rows)


def _long(group: str, figures: Sequence[Figure], layout: Layout) -> str:
    metrics = list(layout.metrics or dict.fromkeys(m for figure in figures for m in figure.units))
    units = {metric: figure.units.get(metric, "") for figure in figures for metric in figure.units}
    same = len({tuple(figure.units.items()) for figure in figures}) == 1
    header = [group, "peer"]
    header += [f"{metric} {units[metric]}" if same else metric for metric in metrics]
    header += ["cyevent/peer", *(f"its {metric}" for metric in layout.ratios)]
    header += ["quartiles", "target"]
    rows = []
    for figure in figures:
        name = figure.name if same else f"{figure.name} ({figure.units[figure.metric]})"
        for peer in figure.samples:
            ours = peer in figure.subjects
            cells = [name, peer]
            cells += [_with_spread(figure, peer, metric) for metric in metrics]
            if ours:
                cells += ["-"] * (3 + len(layout.ratios))
            else:
                cells += [
                    _stats.format_ratio(figure.ratio(peer, metric))
                    for metric in (figure.metric, *layout.ratios)
                ]
                cells.append(_range(figure.quartiles(peer)))
                cells.append(_target(figure, peer))
            rows.append(cells)
            name = ""
    return _stats.table(header, rows, left=2)


def _with_spread(figure: Figure, peer: str, metric: str) -> str:
    """Returns a median and, where it is of use, half of the distance between the quartiles."""
    values = figure.values(peer, metric)
    text = _stats.format_number(figure.median(peer, metric))
    if len(values) < 3 or metric not in (figure.metric, *SPREAD) or not figure.median(peer, metric):
        return text
    spread = _stats.summary(values)
    return f"{text} ±{(spread['q3'] - spread['q1']) / 2 / spread['median']:.0%}"


def summary(benchmarks: Mapping[str, Sequence[Figure]], notes: bool = True) -> str:
    """Returns one line for each figure that counts, and the notes on all of them unless not wanted."""
    header = [
        "benchmark",
        "figure",
        "metric",
        "cyevent",
        "peer",
        "its",
        "ratio",
        "quartiles",
        "target",
    ]
    rows, noted = [], []
    for name, figures in benchmarks.items():
        for figure in figures:
            if not figure.headline:
                continue
            marked = "*" if figure.notes else ""
            noted += [f"* {name}, {figure.group}, {figure.name}: {note}" for note in figure.notes]
            for line in _summary_lines(figure):
                rows.append([name + marked, *line])
    return "\n".join([_stats.table(header, rows, left=3), *(noted if notes else ())])


def _summary_lines(figure: Figure) -> Iterator[list[str]]:
    reference = _reference(figure)
    for subject in figure.subjects:
        if subject not in figure.samples:
            continue
        what = f"{figure.group}: {figure.name}"
        if subject != figure.subjects[0]:
            what += f" ({subject.removeprefix('cyevent ')})"
        line = [what, f"{figure.metric}, {figure.units[figure.metric]}"]
        line.append(_stats.format_number(figure.median(subject)))
        if reference is None:
            yield [*line, "-", "-", "-", "-", "-"]
        else:
            yield [
                *line,
                reference,
                _stats.format_number(figure.median(reference)),
                _stats.format_ratio(figure.ratio(reference, subject=subject)),
                _range(figure.quartiles(reference, subject)),
                _target(figure, reference),
            ]


def bars(figures: Sequence[Figure]) -> list[svgplot.Group]:
    """Returns the bars of a group of figures: user and system time one on the other if they are known."""
    groups = []
    for figure in figures:
        unit = figure.units[figure.metric]
        title = f"{figure.name}: {figure.metric}, {unit}"
        group = svgplot.Group(title)
        for peer in figure.samples:
            values = figure.values(peer)
            if not values:
                continue
            spread = _stats.summary(values)
            parts = {figure.metric: spread["median"]}
            split = [figure.median(peer, part) for part in ("user", "system")]
            if figure.metric == "cpu" and not any(map(math.isnan, split)) and sum(split) > 0:
                # Medians of the parts need not add up to that of the sum.
                scale = spread["median"] / sum(split)
                parts = {"user": split[0] * scale, "system": split[1] * scale}
            bar = svgplot.Bar(peer, parts, spread["q1"], spread["q3"], peer in figure.subjects)
            group.bars.append(bar)
        groups.append(group)
    return groups


def _reference(figure: Figure) -> str | None:
    if figure.reference in figure.samples:
        return figure.reference
    others = [peer for peer in figure.others() if peer not in ("floor", figure.floor)]
    return others[0] if others else None


def _target(figure: Figure, peer: str) -> str:
    target = figure.targets.get(peer)
    return f"{target:.2f}x" if target is not None else "-"


def _range(quartiles: tuple[float, float]) -> str:
    return "-" if math.isnan(quartiles[0]) else f"{quartiles[0]:.2f}-{quartiles[1]:.2f}"
