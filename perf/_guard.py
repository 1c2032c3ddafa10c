"""Instructions per operation of the core's paths, counted by callgrind and compared with committed numbers.

No time is measured: the numbers are the same on a busy machine. Each path is run n and 3 n times in a process
that is warm; the difference divided by 2 n is what one operation takes, without anything that is done once.

Other compilers give other code and other interpreters other instructions, so perf/guard.json has numbers by
compiler and its major version, Python's minor version and build, and the processor's kind. For a combination
that it does not have nothing is compared; `--update` adds it. What else was there when they were taken stands
beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from perf import _build, _results, _stats

NUMBERS = Path(__file__).parent / "guard.json"
TOLERANCE = 0.05
MORE_COUNTS = (
    2  # of what seems to have got worse, or is written; the least of a path's numbers counts
)
PARTS = (_build.Part("module", "guard_cyevent"),)


class Verdict(NamedTuple):
    """A path's numbers; before is None when it is new."""

    path: str
    before: float | None
    after: float

    @property
    def quotient(self) -> float | None:
        return self.after / self.before if self.before else None

    @property
    def word(self) -> str:
        """What is said of it."""
        if self.quotient is None:
            return "new"
        if self.quotient > 1 + TOLERANCE:
            return "WORSE"
        return "better" if self.quotient < 1 - TOLERANCE else "same"


def combination(compiler: str, python: str, traits: Iterable[str], machine: str) -> str:
    """Returns what the numbers depend on: the compiler and its major version, Python's minor version and how it
    was built, and the kind of processor."""
    name = "clang" if "clang" in compiler.lower() else "gcc"
    version = re.search(r"(\d+)\.\d+", re.sub(r"\(.*?\)", "", compiler))
    major = version.group(1) if version else "?"
    minor = ".".join(python.split(".")[:2])
    return ", ".join([f"{name} {major}", " ".join([f"Python {minor}", *traits]), machine])


def traits() -> list[str]:
    """Returns what matters of how this Python was built; its flags are those of extension modules too."""
    asked = str(sysconfig.get_config_var("CONFIG_ARGS"))
    flags = str(sysconfig.get_config_var("CFLAGS"))
    found = {
        "optimized": "--enable-optimizations" in asked,
        "lto": "--with-lto" in asked,
        "hardened": "-fstack-protector" in flags,
        "debug": hasattr(sys, "gettotalrefcount"),
        "free-threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    }
    return [trait for trait, there in found.items() if there]


def counted(texts: Iterable[str]) -> dict[str, dict[int, int]]:
    """Returns the instructions by path and number of operations, of callgrind's files."""
    found: dict[str, dict[int, int]] = {}
    for text in texts:
        name = re.search(r"^desc: Trigger: Client Request: (.+)\t(\d+)$", text, re.MULTILINE)
        total = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        if name and total:
            found.setdefault(name.group(1), {})[int(name.group(2))] = int(total.group(1))
    return found


def per_operation(counts: Mapping[int, int]) -> float:
    """Returns what one operation takes: the difference between the longest and the shortest run."""
    low, high = min(counts), max(counts)
    if low == high:
        raise ValueError("one length of a run is not enough")
    return (counts[high] - counts[low]) / (high - low)


def judge(before: Mapping[str, float], after: Mapping[str, float]) -> list[Verdict]:
    """Compares the numbers of each path."""
    return [Verdict(path, before.get(path), value) for path, value in after.items()]


def measure() -> dict[str, float]:
    """Counts; returns the instructions per operation by path."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise _build.BuildError("valgrind is missing: on Debian, `apt install valgrind`")
    _build.require_header("valgrind/callgrind.h", "valgrind")
    _build.prepare(PARTS)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            valgrind,
            "--tool=callgrind",
            "--instr-atstart=no",
            f"--callgrind-out-file={folder}/out",
            sys.executable,
            "-m",
            "perf._guard_program",
        ]
        # Sets and dictionaries in the same order each time.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise _build.BuildError(f"counting failed:\n{done.stderr[-4000:]}")
        files = sorted(Path(folder).glob("out.*"), key=lambda path: int(path.suffix[1:]))
        counts = counted(path.read_text() for path in files)
    return {path: round(per_operation(numbers), 1) for path, numbers in counts.items()}


def least(one: Mapping[str, float], two: Mapping[str, float]) -> dict[str, float]:
    """Returns the smaller number of each path: how threads meet only adds instructions."""
    return {path: min(value, two[path]) for path, value in one.items()}


def report(verdicts: Iterable[Verdict]) -> str:
    """Returns the table."""
    rows = []
    for verdict in verdicts:
        row = [verdict.path, "-" if verdict.before is None else f"{verdict.before:.1f}"]
        row += [f"{verdict.after:.1f}", _stats.format_ratio(verdict.quotient or float("nan"))]
        rows.append([*row, verdict.word])
    return _stats.table(["instructions per operation", "committed", "now", "ratio", ""], rows)


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Returns the committed numbers by combination."""
    return json.loads(path.read_text()) if path.exists() else {}


def update(path: Path, key: str, counts: Mapping[str, float]) -> None:
    """Writes the numbers of a combination, beside those of the others."""
    document = read(path)
    versions = _results.versions()
    taken = {
        name: versions[name]
        for name in ("compiler", "python", "libc", "Cython")
        if name in versions
    }
    document[key] = {"taken_with": taken, "instructions": dict(counts)}
    path.write_text(json.dumps(dict(sorted(document.items())), indent=1) + "\n")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "--update", action="store_true", help="write the numbers instead of comparing"
    )
    parser.add_argument(
        "--numbers", type=Path, default=NUMBERS, metavar="FILE", help="(%(default)s)"
    )


def main(options: argparse.Namespace) -> int:
    """Counts and compares; 1 when a path got worse, 0 also where there are no numbers to compare with."""
    try:
        key = combination(
            _build.compiler_version(), platform.python_version(), traits(), platform.machine()
        )
        committed = read(options.numbers).get(key)
        before = committed["instructions"] if committed else {}
        counts = measure()
        for _ in range(MORE_COUNTS):
            if options.update or any(v.word == "WORSE" for v in judge(before, counts)):
                counts = least(counts, measure())
    except _build.BuildError as error:
        print(f"perf guard: {error}", file=sys.stderr)
        return 2
    print(key)
    if options.update:
        verdicts = judge(before, counts)
        update(options.numbers, key, counts)
        print(report(verdicts))
        print(f"wrote {options.numbers}")
        return 0
    if committed is None:
        print(report(judge({}, counts)))
        print(f"There are no numbers for {key}: nothing is compared. --update adds these.")
        return 0
    verdicts = judge(before, counts)
    print(report(verdicts))
    words = [verdict.word for verdict in verdicts]
    gone = before.keys() - counts.keys()
    if gone:
        print(f"Not counted any more: {', '.join(sorted(gone))}. `python -m perf guard --update`")
    if "WORSE" in words:
        print(
            f"{words.count('WORSE')} paths take over {TOLERANCE:.0%} more instructions than committed. If that "
            "has to be: `python -m perf guard --update`, and say why in the commit."
        )
        return 1
    if "better" in words or "new" in words:
        print("Paths got better, or are new: `python -m perf guard --update` keeps what was won.")
    return 0
