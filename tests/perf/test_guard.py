"""`python -m perf guard`: its arithmetic and what it says. Counting itself is not done here."""

import json

import pytest

from perf import _build, _guard
from perf.__main__ import main

FILE = """# callgrind format
version: 1
part: 3

desc: Timerange: Basic block 395118 - 497765
desc: Trigger: Client Request: {name}\t{count}

positions: line
events: Ir
summary: {total}


fn=(1) main
16 400
totals: {total}
"""


def test_counts_are_read_by_path_and_length():
    texts = [
        FILE.format(name="event ready, C", count=1000, total=417154),
        FILE.format(name="event ready, C", count=3000, total=1217154),
        FILE.format(name="buffer add", count=10, total=7),
        "# callgrind format\ndesc: Trigger: Program termination\nsummary: 99\n",
    ]
    assert _guard.counted(texts) == {
        "event ready, C": {1000: 417154, 3000: 1217154},
        "buffer add": {10: 7},
    }


def test_what_is_done_once_cancels():
    assert _guard.per_operation({1000: 5_000 + 1000 * 361, 3000: 5_000 + 3000 * 361}) == 361
    assert _guard.per_operation({3000: 3 * 361, 1000: 361}) == pytest.approx(0.361)
    with pytest.raises(ValueError, match="one length"):
        _guard.per_operation({1000: 5})


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        (100.0, 100.0, "same"),
        (100.0, 104.9, "same"),
        (100.0, 105.0, "same"),
        (100.0, 105.2, "WORSE"),
        (100.0, 95.1, "same"),
        (100.0, 94.8, "better"),
        (None, 100.0, "new"),
    ],
)
def test_five_per_cent_are_tolerated(before, after, word):
    committed = {} if before is None else {"path": before}
    (verdict,) = _guard.judge(committed, {"path": after})
    assert verdict.word == word


@pytest.mark.parametrize(
    ("compiler", "python", "traits", "expected"),
    [
        ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0", "3.11.7", [], "gcc 12, Python 3.11, x86_64"),
        (
            "cc (Ubuntu 13.2.0-4ubuntu3) 13.2.0",
            "3.12.1",
            ["lto"],
            "gcc 13, Python 3.12 lto, x86_64",
        ),
        ("Debian clang version 14.0.6", "3.13.0rc1", [], "clang 14, Python 3.13, x86_64"),
        ("Apple clang version 15.0.0 (clang-1500)", "3.10.1", [], "clang 15, Python 3.10, x86_64"),
    ],
)
def test_numbers_belong_to_a_compiler_and_an_interpreter(compiler, python, traits, expected):
    assert _guard.combination(compiler, python, traits, "x86_64") == expected


@pytest.fixture
def guard(monkeypatch, tmp_path, capsys):
    """Runs the command with counts given; returns the exit status and what was printed."""
    file = tmp_path / "guard.json"

    def run(counts, *arguments):
        monkeypatch.setattr(_guard, "measure", lambda: counts)
        status = main(["guard", "--numbers", str(file), *arguments])
        return status, capsys.readouterr().out

    run.file = file
    return run


def test_without_numbers_nothing_fails(guard):
    status, told = guard({"event add": 100.0})
    assert status == 0
    assert "There are no numbers for" in told and "nothing is compared" in told
    assert not guard.file.exists()


def test_numbers_are_written_and_compared_with(guard):
    counts = {"event add": 100.0, "buffer add": 50.0}
    assert guard(counts, "--update")[0] == 0
    (recorded,) = json.loads(guard.file.read_text()).values()
    assert recorded["instructions"] == counts
    assert recorded["taken_with"]["compiler"] == _build.compiler_version()
    status, told = guard({**counts, "event add": 104.0})
    assert status == 0
    assert "--update" not in told
    status, told = guard({**counts, "event add": 106.0})
    assert status == 1
    assert "1 paths take over 5% more" in told and "WORSE" in told
    status, told = guard({**counts, "event add": 90.0})
    assert status == 0
    assert "--update` keeps what was won" in told
    status, told = guard({"event add": 100.0})
    assert status == 0
    assert "Not counted any more: buffer add" in told


def test_numbers_of_other_combinations_are_kept(guard):
    guard.file.write_text('{"gcc 1, Python 2.0, vax": {"instructions": {"event add": 1}}}')
    assert guard({"event add": 100.0})[1].count("no numbers") == 1
    guard({"event add": 100.0}, "--update")
    assert len(json.loads(guard.file.read_text())) == 2


def test_missing_valgrind_is_told_of(monkeypatch, capsys):
    monkeypatch.setattr(_guard.shutil, "which", lambda name: None)
    monkeypatch.setattr(_guard._build, "compiler_version", lambda: "gcc 12.2.0")
    assert main(["guard"]) == 2
    assert "apt install valgrind" in capsys.readouterr().err


def test_committed_numbers_are_whole():
    committed = _guard.read(_guard.NUMBERS)
    assert committed
    for key, recorded in committed.items():
        assert len(recorded["instructions"]) >= 12, key
        assert min(recorded["instructions"].values()) > 0
