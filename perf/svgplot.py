"""Pictures as SVG: lines over logarithmic axes, panels side by side, and groups of bars.

Only what the benchmarks need; no dependency. Attributes rather than a style sheet: every viewer knows them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

WIDTH = 560  # of a panel's plotting area, with its margins
HEIGHT = 420
LEFT, RIGHT, TOP, BOTTOM = 74, 20, 56, 50
LEGEND_LINE = 18

# Distinct in hue and in lightness, so that they can be told apart in gray and by the color blind.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9")
DASHES = ("", "7 4", "2 3", "9 3 2 3")
TEXT = 'font-family="Helvetica,Arial,sans-serif" font-size="12" fill="#222"'
# A time in one of these units gets the one that suits its size.
TIMES = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


# --- lines --------------------------------------------------------------------------------------


@dataclass
class Series:
    """A line: its points, which color and dash of the tables above, and its marker.

    Lines of one color stand in one column of the legend."""

    label: str
    points: Sequence[tuple[float, float]]
    color: int = 0
    dash: int = 0
    marker: str = "circle"  # circle, square, triangle or cross


@dataclass
class Panel:
    """A plot of some lines. With a `unit` of time the ticks are in what suits them."""

    title: str
    x_label: str
    y_label: str
    series: list[Series] = field(default_factory=list)
    unit: str = ""


def write(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Writes the panels side by side to an SVG file."""
    _write(path, render(title, panels))


def render(title: str, panels: Sequence[Panel]) -> str:
    """Returns the SVG document. All panels have the same axes, so that they can be compared."""
    panels = [panel for panel in panels if any(series.points for series in panel.series)]
    points = [point for panel in panels for series in panel.series for point in series.points]
    lines = max((len(column) for panel in panels for column in _columns(panel)), default=0)
    width, height = WIDTH * max(len(panels), 1), HEIGHT + LEGEND_LINE * lines + 14
    parts = []
    for i, panel in enumerate(panels):
        parts.append(f'<g transform="translate({i * WIDTH} 0)">')
        parts += _panel(panel, points)
        parts.append("</g>")
    return _document(title, width, height, parts)


class _Axis:
    """A logarithmic axis from `begin` to `end` in pixels, a little wider than its values."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        self.begin, self.end = begin, end
        low, high = min(values), max(values)
        margin = max((high / low) ** 0.03, 1.05)
        self.low, self.high = low / margin, high * margin
        # Few labels: decades, and what is between them only if there are too few decades.
        decades = math.log10(self.high / self.low)
        self.labeled = self._steps((1,) if decades > 3 else (1, 3) if decades > 2 else (1, 2, 5))
        self.lines = self._steps(range(1, 10))

    def _steps(self, steps: Sequence[int]) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        ticks = [step * 10.0**decade for decade in range(first, last + 1) for step in steps]
        return [tick for tick in ticks if self.low <= tick <= self.high]

    def at(self, value: float) -> float:
        """Returns the pixel of a value."""
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + part * (self.end - self.begin)


def _panel(panel: Panel, points: Sequence[tuple[float, float]]) -> Iterator[str]:
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
    x_axis = _Axis([x for x, _ in points], left, right)
    y_axis = _Axis([y for _, y in points], bottom, top)
    yield _text(
        (left + right) / 2, top - 12, panel.title, "middle", 'font-size="13" font-weight="bold"'
    )
    # What was measured is what the x axis names.
    measured = sorted({x for x, _ in points})
    for x in (x_axis.at(value) for value in measured):
        yield f'<line stroke="#e4e4e4" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
    for value in _apart(measured, x_axis):
        yield _text(x_axis.at(value), bottom + 17, number(value), "middle")
    for tick in y_axis.lines:
        y, color = y_axis.at(tick), "#d0d0d0" if tick in y_axis.labeled else "#f0f0f0"
        yield f'<line stroke="{color}" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
    for tick in y_axis.labeled:
        text = time(tick, panel.unit) if panel.unit in TIMES else number(tick)
        yield _text(left - 7, y_axis.at(tick) + 4, text, "end")
    yield (
        f'<rect fill="none" stroke="#888" x="{left}" y="{top}" width="{right - left}" '
        f'height="{bottom - top}"/>'
    )
    yield _text((left + right) / 2, bottom + 36, panel.x_label, "middle")
    middle = (top + bottom) / 2
    yield _text(14, middle, panel.y_label, "middle", f'transform="rotate(-90 14 {middle})"')
    for series in panel.series:
        places = [(x_axis.at(x), y_axis.at(y)) for x, y in sorted(series.points)]
        yield from _line(series, places)
    columns = _columns(panel)
    for i, column in enumerate(columns):
        for line, series in enumerate(column):
            x = left + i * (right - left) / len(columns)
            y = HEIGHT + LEGEND_LINE * (line + 0.5)
            yield from _line(series, [(x, y), (x + 36, y)], marker_at=(x + 18, y))
            yield _text(x + 44, y + 4, series.label)


def _columns(panel: Panel) -> list[list[Series]]:
    colors = dict.fromkeys(series.color for series in panel.series)
    return [[series for series in panel.series if series.color == color] for color in colors]


def _apart(values: Sequence[float], axis: _Axis) -> list[float]:
    """Leaves out labels that would stand in one another, from the right."""
    kept: list[float] = []
    for value in reversed(values):
        if not kept or abs(axis.at(kept[-1]) - axis.at(value)) > 42:
            kept.append(value)
    return kept


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


# --- bars ---------------------------------------------------------------------------------------


@dataclass
class Bar:
    """A bar: parts that lie one after the other, and between which values half of the rounds were."""

    label: str
    parts: dict[str, float]
    low: float
    high: float
    ours: bool = False


@dataclass
class Group:
    """Bars that have a scale in common."""

    title: str
    bars: list[Bar] = field(default_factory=list)


BAR_HEIGHT, BAR_LINE, GROUP_SPACE = 13, 19, 16
NAME_WIDTH, VALUE_WIDTH = 140, 64
BARS_WIDTH = 250
COLUMN_WIDTH = NAME_WIDTH + BARS_WIDTH + VALUE_WIDTH + 24
# cyevent's, and the others'.
SHADES = {
    True: {"user": "#0072b2", "system": "#7fbde4", "": "#3d97cb"},
    False: {"user": "#6e6e6e", "system": "#b9b9b9", "": "#939393"},
}


def write_bars(path: Path, title: str, groups: Sequence[Group]) -> None:
    """Writes groups of bars to an SVG file."""
    _write(path, render_bars(title, groups))


def render_bars(title: str, groups: Sequence[Group]) -> str:
    """Returns the SVG document: groups below one another, in two columns if they are many."""
    groups = [group for group in groups if group.bars]
    columns: list[list[Group]] = [groups]
    if sum(len(group.bars) for group in groups) > 16 and len(groups) > 1:
        half = math.ceil(len(groups) / 2)
        columns = [groups[:half], groups[half:]]
    parts, height = [], 0.0
    for i, column in enumerate(columns):
        y = 48.0
        for group in column:
            parts += _group(group, 12 + i * COLUMN_WIDTH, y)
            y += 20 + BAR_LINE * len(group.bars) + GROUP_SPACE
        height = max(height, y)
    shades = {_shade(name) for group in groups for bar in group.bars for name in bar.parts}
    if shades != {""}:
        for i, name in enumerate(shade for shade in ("user", "system", "") if shade in shades):
            x = 12 + NAME_WIDTH + i * 110
            for j, ours in enumerate((True, False)):
                parts.append(_rect(x + 13 * j, height - 4, 12, 12, SHADES[ours][name]))
            parts.append(_text(x + 32, height + 6, f"{name} time" if name else "not split"))
        height += 16
    height += 8
    parts.append(_text(12, height + 4, "Medians; the thin line reaches from quartile to quartile.", "start",
                       'font-size="11" fill="#666"'))  # fmt: skip
    return _document(title, 12 + COLUMN_WIDTH * len(columns), math.ceil(height + 16), parts)


def _group(group: Group, x: float, y: float) -> Iterator[str]:
    yield _text(x, y + 10, group.title, "start", 'font-weight="bold"')
    most = max(max(bar.high, sum(bar.parts.values())) for bar in group.bars) or 1.0
    left = x + NAME_WIDTH
    for i, bar in enumerate(group.bars):
        top = y + 20 + i * BAR_LINE
        yield _text(left - 8, top + 11, bar.label, "end", 'font-weight="bold"' if bar.ours else "")
        begin = left
        for name, value in bar.parts.items():
            length = value / most * BARS_WIDTH
            yield _rect(begin, top, length, BAR_HEIGHT, SHADES[bar.ours][_shade(name)])
            begin += length
        low, high = (left + value / most * BARS_WIDTH for value in (bar.low, bar.high))
        middle = top + BAR_HEIGHT / 2
        yield (
            f'<path d="M{low:.1f} {middle - 3:.1f}v6m0 -3H{high:.1f}m0 -3v6" fill="none" '
            'stroke="#222" stroke-width="1"/>'
        )
        end = max(begin, high)
        yield _text(end + 6, top + 11, number(sum(bar.parts.values())))


def _shade(part: str) -> str:
    return part if part in ("user", "system") else ""


# --- what both share ----------------------------------------------------------------------------


def _document(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" {TEXT} role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        _text(width / 2, 24, title, "middle", 'font-size="15" font-weight="bold"'),
    ]
    return "\n".join([*head, *parts, "</svg>\n"])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _text(x: float, y: float, text: str, anchor: str = "start", more: str = "") -> str:
    more = f" {more}" if more else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, color: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height}" fill="{color}"/>'


def time(value: float, unit: str) -> str:
    """Returns a time in the unit that suits it."""
    nanoseconds = value * TIMES[unit]
    suiting = [name for name, size in TIMES.items() if nanoseconds >= size * 0.9999] or ["ns"]
    return f"{nanoseconds / TIMES[suiting[-1]]:g} {suiting[-1]}"


def number(value: float) -> str:
    """Returns a number with three digits that count."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= size:
            return f"{value / (size if letter != ' k' else 1e3):.3g}{letter}"
    return f"{value:.4g}" if value >= 1000 else f"{value:.3g}"
