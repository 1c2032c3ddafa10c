"""Figures, their tables and their pictures."""

import math
import os
from xml.etree import ElementTree

import pytest

from perf import _report, svgplot
from perf._suite import Figure, in_turns

UNITS = {"cpu": "us", "user": "us", "system": "us", "client": "%"}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def figure():
    made = Figure(
        "C callbacks",
        "10 connections",
        "cpu",
        UNITS,
        reference="libevent",
        floor="floor",
        targets={"libevent": 0.8},
    )
    for cyevent, libevent, floor in ((6, 8, 5), (7, 10, 5), (8, 12, 5)):
        made.add("cyevent", cpu=cyevent, client=40)
        made.add("libevent", cpu=libevent, client=50)
        made.add("floor", cpu=floor, client=95)
    return made


def texts(document):
    return [element.text for element in ElementTree.fromstring(document).iter(f"{SVG}text")]


def test_ratios_are_of_medians_and_quartiles_of_rounds(figure):
    assert figure.ratio("libevent") == pytest.approx(0.7)
    assert figure.quartiles("libevent") == (pytest.approx(0.6833, abs=1e-3), pytest.approx(0.725))
    assert figure.above_floor("libevent") == pytest.approx((7 - 5) / (10 - 5))
    assert math.isnan(figure.ratio("uvloop")) and math.isnan(figure.median("uvloop"))
    assert figure.rounds() == 3


def test_a_busy_load_generator_is_told_of(figure):
    figure.note_load()
    (note,) = figure.notes
    assert note.startswith("floor: the load generator was the bottleneck, at 95 %")
    assert note in _report.summary({"echo": [figure]})
    assert note in _report.tables([figure], _report.Layout())


def test_processor_time_is_split_as_all_of_it_was(figure):
    figure.split("cyevent", user=2.0, system=6.0)
    assert figure.values("cyevent", "user") == [1.5, 1.75, 2.0]
    assert figure.values("cyevent", "system") == [4.5, 5.25, 6.0]
    # A few ticks tell nothing.
    figure.split("libevent", user=0.0, system=5 / os.sysconf("SC_CLK_TCK"))
    assert figure.values("libevent", "user") == []


def test_figures_survive_their_file(figure):
    again = Figure.from_json(figure.as_json())
    assert again == figure
    assert figure.as_json()["ratios"]["cyevent"]["libevent"]["cpu"] == pytest.approx(0.7)


@pytest.mark.parametrize("wide", [True, False])
def test_tables_have_all_peers_and_dashes_for_what_is_unknown(figure, wide):
    table = _report.tables([figure], _report.Layout(wide=wide, ratios=("user",), above_floor=True))
    for peer in ("cyevent", "libevent", "floor"):
        assert peer in table
    assert "0.70x" in table and "0.68-0.72" in table
    assert "nan" not in table


def test_a_long_table_has_the_spread_of_what_counts(figure):
    table = _report.tables([figure], _report.Layout())
    assert "7.000 ±7%" in table and "10.0 ±10%" in table and "5.000 ±0%" in table
    assert "40.0 ±" not in table


def test_the_summary_compares_with_the_reference(figure):
    other = Figure("Python callbacks", "none to compare", "cpu", UNITS)
    other.add("cyevent", cpu=3.0)
    hidden = Figure("C callbacks", "hidden", "cpu", UNITS, headline=False)
    hidden.add("cyevent", cpu=3.0)
    lines = _report.summary({"echo": [figure, other, hidden]}).splitlines()
    assert len(lines) == 4
    assert "libevent" in lines[2] and "0.70x" in lines[2] and "0.80x" in lines[2]
    assert "none to compare" in lines[3] and lines[3].split()[-5:] == ["-"] * 5


def test_who_begins_changes():
    assert [in_turns("abc", number) for number in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_lines_have_units_ticks_and_a_legend():
    series = [
        svgplot.Series("one", [(200, 900.0), (2000, 8_000.0), (20_000, 1_500_000.0)], color=0),
        svgplot.Series("two <&>", [(200, 1_000.0), (2000, 2_000.0)], color=1, dash=1),
    ]
    panel = svgplot.Panel("panel", "descriptors", "time for 1000 events", series, unit="us")
    found = texts(svgplot.render("title", [panel, svgplot.Panel("empty", "x", "y")]))
    assert {"title", "panel", "descriptors", "time for 1000 events", "one", "two <&>"} <= set(found)
    assert {"200", "2000", "20 k"} <= set(found)  # what was measured
    assert {"1 ms", "10 ms", "100 ms", "1 s"} <= set(found)
    assert "empty" not in found


def test_panels_have_the_same_axes():
    low = svgplot.Panel("low", "x", "y", [svgplot.Series("a", [(1, 1.0), (10, 10.0)])])
    high = svgplot.Panel("high", "x", "y", [svgplot.Series("b", [(1, 100.0), (10, 1000.0)])])
    found = texts(svgplot.render("title", [low, high]))
    assert found.count("100") == 2


def test_bars_are_as_long_as_their_values(figure):
    figure.split("cyevent", user=2.0, system=6.0)
    (group,) = _report.bars([figure])
    by_name = {bar.label: bar for bar in group.bars}
    assert by_name["cyevent"].parts == {"user": pytest.approx(1.75), "system": pytest.approx(5.25)}
    assert by_name["libevent"].parts == {"cpu": 10}
    assert by_name["cyevent"].ours and not by_name["libevent"].ours
    assert (by_name["libevent"].low, by_name["libevent"].high) == (9, 11)
    document = svgplot.render_bars("title", [group])
    widths = [
        float(element.get("width"))
        for element in ElementTree.fromstring(document).iter(f"{SVG}rect")
        if element.get("height") == str(svgplot.BAR_HEIGHT)
    ]
    assert widths[0] + widths[1] == pytest.approx(0.7 * widths[2], abs=0.2)
    assert {"user time", "system time", "not split", "7", "10"} <= set(texts(document))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (7, "7"), (1234, "1234"), (20_000, "20 k"), (1.5e6, "1.5 M"), (2e9, "2 G")],
)
def test_numbers_are_short(value, text):
    assert svgplot.number(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1000, "us", "1 ms"), (0.5, "us", "500 ns"), (2e6, "us", "2 s"), (0.1, "ns", "0.1 ns")],
)
def test_times_have_the_unit_that_suits_them(value, unit, text):
    assert svgplot.time(value, unit) == text
