"""Medians, ratios, and tables of them."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterable, Sequence


def summary(samples: Sequence[float]) -> dict[str, float]:
    """Returns the minimum, the quartiles and the median of the samples."""
    ordered = sorted(samples)
    return {
        "min": ordered[0],
        "q1": quantile(ordered, 0.25),
        "median": statistics.median(ordered),
        "q3": quantile(ordered, 0.75),
    }


def quantile(ordered: Sequence[float], fraction: float) -> float:
    """Returns the quantile of sorted samples, interpolated between neighbors."""
    position = fraction * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def ratio(samples: Sequence[float], reference: Sequence[float]) -> float:
    """Returns the ratio of the medians; not a number when the reference is zero."""
    denominator = statistics.median(reference)
    return statistics.median(samples) / denominator if denominator > 0 else math.nan


def ratio_above(
    samples: Sequence[float], reference: Sequence[float], floor: Sequence[float]
) -> float:
    """Returns the ratio of what both take above a floor; not a number when the reference is as
    good as on it. Negative when the samples are below the floor: they ask the kernel for less."""
    lowest, denominator = statistics.median(floor), statistics.median(reference)
    above = denominator - lowest
    if above < 0.02 * denominator:
        return math.nan
    return (statistics.median(samples) - lowest) / above


def bootstrap(
    statistic: Callable[[Sequence[Sequence[float]]], float],
    samples: Sequence[Sequence[float]],
    level: float = 0.99,
    resamples: int = 2000,
) -> tuple[float, float]:
    """Returns the percentile interval of a statistic of some samples, each resampled with replacement.

    The generator has a fixed seed: the same files give the same answer.
    """
    generator = random.Random(20240229)
    found = sorted(
        statistic([generator.choices(values, k=len(values)) for values in samples])
        for _ in range(resamples)
    )
    tail = (1 - level) / 2
    return quantile(found, tail), quantile(found, 1 - tail)


def round_ratios(samples: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Returns the ratio of each round: noise longer than a round is in both and cancels."""
    return [a / b for a, b in zip(samples, reference, strict=False) if b > 0]


def format_ratio(value: float) -> str:
    """Returns a ratio as text, or a dash for none."""
    if math.isnan(value):
        return "-"
    return f"{value:.2f}x" if value >= 0 else "<0"


def format_number(value: float) -> str:
    """Returns a figure with about four significant digits."""
    if math.isnan(value):
        return "-"
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Returns the rows in columns: the first `left` ones to the left, figures to the right."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = []
    for line in lines:
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text)
