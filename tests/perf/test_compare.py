"""`python -m perf compare` on files made here: what the rule takes for a change, and what for noise."""

import json
import random

import pytest

from perf import _compare, _stats
from perf.__main__ import main
from perf._suite import Figure

UNITS = {"cpu": "us", "rate": "1/s", "client": "%"}


def document(cyevent, peer=None, metric="cpu", benchmark="echo", name="10 connections"):
    figure = Figure("C callbacks", name, "cpu", UNITS, reference="libevent")
    for value in cyevent:
        figure.add("cyevent", **{metric: value})
    for value in peer or ():
        figure.add("libevent", **{metric: value})
    return {"benchmark": benchmark, "figures": [figure.as_json()]}


def verdicts(before, after):
    found = _compare.lines(_compare.figures(before), _compare.figures(after))
    return {line.metric: line.verdict if line.change else None for line in found}


STEADY = [10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98]
PEER = [20.0, 20.2, 19.8, 20.1, 19.9, 20.04, 19.96]


def times(values, factor):
    return [value * factor for value in values]


def test_the_same_is_no_change():
    assert verdicts(document(STEADY, PEER), document(STEADY, PEER)) == {"cpu": "same"}


@pytest.mark.parametrize(("factor", "verdict"), [(1.2, "WORSE"), (0.8, "better"), (1.02, "same")])
def test_cyevent_changed_and_its_peer_did_not(factor, verdict):
    after = document(times(STEADY, factor), PEER)
    assert verdicts(document(STEADY, PEER), after) == {"cpu": verdict}


def test_of_a_rate_more_is_better():
    before = document(STEADY, PEER, metric="rate")
    assert verdicts(before, document(times(STEADY, 1.2), PEER, metric="rate")) == {"rate": "better"}
    assert verdicts(before, document(times(STEADY, 0.8), PEER, metric="rate")) == {"rate": "WORSE"}


def test_a_slower_machine_is_no_change_but_is_told_of(tmp_path, capsys):
    before = document(STEADY, PEER)
    after = document(times(STEADY, 1.2), times(PEER, 1.2))
    assert verdicts(before, after) == {"cpu": "same"}
    assert _compare.drifts(_compare.figures(before), _compare.figures(after)) == [
        pytest.approx(1.2)
    ]
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, content in zip(files, (before, after), strict=True):
        file.write_text(json.dumps(content))
    assert main(["compare", *map(str, files)]) == 0
    told = capsys.readouterr().out
    assert "0 of 1 values changed" in told
    assert "The peers themselves: 1.20 times" in told
    assert "Run both again" in told
    assert main(["compare", str(files[0]), str(files[0])]) == 0
    assert "Run both again" not in capsys.readouterr().out


def test_noise_that_both_have_in_a_round_cancels():
    noise = [1.0, 1.5, 0.7, 1.2, 0.9, 2.0, 1.1]
    before = document([a * n for a, n in zip(STEADY, noise, strict=True)],
                      [b * n for b, n in zip(PEER, noise, strict=True)])  # fmt: skip
    assert verdicts(before, document(times(STEADY, 1.1), PEER)) == {"cpu": "WORSE"}


def test_without_a_peer_the_values_themselves_are_compared():
    before, after = document(STEADY), document(times(STEADY, 1.2))
    (line,) = _compare.lines(_compare.figures(before), _compare.figures(after))
    assert (line.peer, line.verdict) == (None, "WORSE")


def test_few_rounds_give_no_verdict(tmp_path, capsys):
    before, after = document(STEADY[:4], PEER[:4]), document(times(STEADY, 2), PEER)
    assert verdicts(before, after) == {"cpu": None}
    for name, content in (("a", before), ("b", after)):
        (tmp_path / name).write_text(json.dumps(content))
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--all"]) == 0
    told = capsys.readouterr().out
    assert "1 have fewer than 5 rounds: no verdict" in told
    assert "too few rounds" in told


def test_what_is_told_of_the_load_is_not_compared():
    before, after = document(STEADY, metric="client"), document(times(STEADY, 2), metric="client")
    assert verdicts(before, after) == {}


def test_files_of_the_suite_hold_several_benchmarks(tmp_path, capsys):
    one, two = document(STEADY, PEER), document(STEADY, PEER, name="1000 connections")
    slower = document(times(STEADY, 1.5), PEER, name="1000 connections")
    for name, second in (("a", two), ("b", slower)):
        content = {"suite": 1, "benchmarks": {"echo": one, "accept": second}}
        (tmp_path / name).write_text(json.dumps(content))
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    told = capsys.readouterr().out
    (line,) = [line for line in told.splitlines() if line.startswith("accept")]
    assert "1000 connections" in line and "1.500" in line and line.endswith("WORSE")
    assert "10 connections" not in told.replace("1000 connections", "")
    assert "1 of 2 values changed" in told


@pytest.mark.parametrize(
    "content", [None, "no json", "[]", '{"benchmark": "echo"}', '{"figures": [1]}']
)
def test_files_that_are_no_results_are_refused(tmp_path, capsys, content):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(document(STEADY, PEER)))
    if content is not None:
        bad.write_text(content)
    assert main(["compare", str(good), str(bad)]) == 2
    told = capsys.readouterr().err
    assert "bad.json" in told or "no figure in common" in told


def noisy(generator, centre, rounds):
    return [centre * generator.gauss(1.0, 0.05) for _ in range(rounds)]


def test_noise_is_seldom_taken_for_a_change_and_a_change_seldom_for_noise():
    generator = random.Random(7)
    alarms = misses = 0
    for _ in range(150):
        before = noisy(generator, 10, 11)
        same, slower = noisy(generator, 10, 11), noisy(generator, 12, 11)
        change, real = _compare.change(before, same), _compare.change(before, slower)
        alarms += change.is_real
        misses += not real.is_real
    assert alarms <= 6  # 4 %
    assert misses <= 15  # 10 %


def test_the_bootstrap_interval_surrounds_the_statistic_and_narrows_with_more_rounds():
    generator = random.Random(3)
    few, many = noisy(generator, 10, 8), noisy(generator, 10, 200)

    def median(samples):
        return _stats.summary(samples[0])["median"]

    widths = []
    for values in (few, many):
        low, high = _stats.bootstrap(median, [values])
        assert min(values) <= low < median([values]) < high <= max(values)
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
    assert _stats.bootstrap(median, [few]) == _stats.bootstrap(median, [few])
    assert _stats.bootstrap(median, [[5.0] * 6]) == (5.0, 5.0)
