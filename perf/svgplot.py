"""Line plots as SVG, with logarithmic axes: panels side by side, each with a legend below it.

Only what the benchmarks need; no dependency.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

WIDTH = 560  # of a panel's plotting area, with its margins
HEIGHT = 400
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 56, 48
LEGEND_LINE = 18
LEGEND_COLUMNS = 2

# Distinct in hue and in lightness, so that they can be told apart in gray and by the color blind.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9")
DASHES = ("", "7 4", "2 3", "9 3 2 3")
# Attributes rather than a style sheet: every viewer knows them.
TEXT = 'font-family="Helvetica,Arial,sans-serif" font-size="12" fill="#222"'


@dataclass
class Series:
    """A line: its points, which color and dash of the tables above, and its marker."""

    label: str
    points: Sequence[tuple[float, float]]
    color: int = 0
    dash: int = 0
    marker: str = "circle"  # circle, square, triangle or cross


@dataclass
class Panel:
    """A plot of some lines."""

    title: str
    x_label: str
    y_label: str
    series: list[Series] = field(default_factory=list)


def write(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Writes the panels side by side to an SVG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(title, panels))


def render(title: str, panels: Sequence[Panel]) -> str:
    """Returns the SVG document."""
    panels = [panel for panel in panels if any(series.points for series in panel.series)]
    lines = max((math.ceil(len(panel.series) / LEGEND_COLUMNS) for panel in panels), default=0)
    width, height = WIDTH * max(len(panels), 1), HEIGHT + LEGEND_LINE * (lines + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" {TEXT} role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{width / 2:.0f}" y="22" text-anchor="middle" font-size="15" font-weight="bold">'
        f"{escape(title)}</text>",
    ]
    for i, panel in enumerate(panels):
        parts.append(f'<g transform="translate({i * WIDTH} 0)">')
        parts += _panel(panel)
        parts.append("</g>")
    parts.append("</svg>\n")
    return "\n".join(parts)


class _Axis:
    """A logarithmic axis from `begin` to `end` in pixels; it covers whole parts of decades."""

    STEPS = (1, 2, 5)

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        self.begin, self.end = begin, end
        low, high = min(values), max(values)
        ticks = list(self._steps(low, high))
        self.low = max(tick for tick in ticks if tick <= low)
        self.high = min(tick for tick in ticks if tick >= high)
        if self.low == self.high:
            self.high = self.low * 10
        self.ticks = [tick for tick in ticks if self.low <= tick <= self.high]

    def _steps(self, low: float, high: float) -> Iterator[float]:
        for decade in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2):
            for step in self.STEPS:
                yield step * 10.0**decade

    def at(self, value: float) -> float:
        """Returns the pixel of a value."""
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + part * (self.end - self.begin)


def _panel(panel: Panel) -> Iterator[str]:
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
    points = [point for series in panel.series for point in series.points]
    x_axis = _Axis([x for x, _ in points], left, right)
    y_axis = _Axis([y for _, y in points], bottom, top)
    yield (
        f'<text x="{(left + right) / 2}" y="{top - 12}" text-anchor="middle" font-size="13" '
        f'font-weight="bold">{escape(panel.title)}</text>'
    )
    for tick in x_axis.ticks:
        x = x_axis.at(tick)
        yield f'<line stroke="#ddd" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{_number(tick)}</text>'
    for tick in y_axis.ticks:
        y = y_axis.at(tick)
        yield f'<line stroke="#ddd" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{left - 7}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>'
    yield (
        f'<rect fill="none" stroke="#666" x="{left}" y="{top}" width="{right - left}" '
        f'height="{bottom - top}"/>'
    )
    yield (
        f'<text x="{(left + right) / 2}" y="{bottom + 36}" text-anchor="middle">'
        f"{escape(panel.x_label)}</text>"
    )
    middle = (top + bottom) / 2
    yield (
        f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">'
        f"{escape(panel.y_label)}</text>"
    )
    for series in panel.series:
        places = [(x_axis.at(x), y_axis.at(y)) for x, y in sorted(series.points)]
        yield from _line(series, places)
    column_width = (right - left) / LEGEND_COLUMNS
    per_column = math.ceil(len(panel.series) / LEGEND_COLUMNS)
    for i, series in enumerate(panel.series):
        column, line = divmod(i, per_column)
        x, y = left + column * column_width, HEIGHT + LEGEND_LINE * (line + 0.5)
        yield from _line(series, [(x, y), (x + 36, y)], marker_at=(x + 18, y))
        yield f'<text x="{x + 44:.0f}" y="{y + 4:.0f}">{escape(series.label)}</text>'


def _line(
    series: Series,
    places: Sequence[tuple[float, float]],
    marker_at: tuple[float, float] | None = None,
) -> Iterator[str]:
    color = COLORS[series.color % len(COLORS)]
    dash = DASHES[series.dash % len(DASHES)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield (
        f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{path}"'
        + (f' stroke-dasharray="{dash}"' if dash else "")
        + "/>"
    )
    for x, y in [marker_at] if marker_at else places:
        yield _marker(series.marker, x, y, color)


def _marker(kind: str, x: float, y: float, color: str) -> str:
    if kind == "square":
        return f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" fill="{color}"/>'
    if kind == "triangle":
        corners = f"{x:.1f},{y - 4.5:.1f} {x + 4.5:.1f},{y + 3.5:.1f} {x - 4.5:.1f},{y + 3.5:.1f}"
        return f'<polygon points="{corners}" fill="{color}"/>'
    if kind == "cross":
        strokes = f"M{x - 3.5:.1f} {y - 3.5:.1f}l7 7m0 -7l-7 7"
        return f'<path d="{strokes}" fill="none" stroke="{color}" stroke-width="2"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"/>'


def _number(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    if value >= 1e4:
        return f"{value / 1e3:g} k"
    return f"{value:g}"
