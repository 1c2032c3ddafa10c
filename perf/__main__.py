"""The benchmarks as one suite.

    python -m perf                              lists them
    python -m perf run [NAMES] [--quick]        runs them, each in a process of its own, and prints a summary
    python -m perf compare A.json B.json        says what changed from A to B beyond noise
    python -m perf guard                        counts instructions and compares them with those committed

`python -m perf.NAME --help` tells the options of one benchmark.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from perf import _build, _compare, _guard, _page, _peers, _report, _results
from perf._suite import Benchmark, Figure

# In the order in which they are run.
NAMES = (
    "chain",
    "timers",
    "wakeup",
    "parallel",
    "buffer",
    "echo",
    "tls",
    "broadcast",
    "accept",
    "idle",
    "files",
)


def benchmark(name: str) -> Benchmark:
    """Returns the benchmark of a module."""
    module = importlib.import_module(f"perf.{name}")
    kinds = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, Benchmark)
        and kind.__module__ == module.__name__
    ]
    (kind,) = kinds
    found: Benchmark = kind()
    return found


def _name(text: str) -> str:
    if text not in NAMES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(NAMES)}")
    return text


def _page_there(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no file")
    return Path(text)


def list_them() -> int:
    """Prints a line for each benchmark."""
    for name in NAMES:
        one = benchmark(name)
        print(f"{name:10} {one.title:40} {_peers.described(one.peers)}")
    print("\nrun: python -m perf run [NAMES] [--quick]; options of one: python -m perf.NAME --help")
    return 0


def run(options: argparse.Namespace) -> int:
    """Runs benchmarks, each in a process of its own: libevent's locks, once on, stay on in a process, and
    memory that one benchmark leaves behind is not the next one's."""
    chosen = options.names or list(NAMES)
    began = time.monotonic()
    document: dict[str, Any] = {"suite": 1, "machine": _results.machine(), "quick": options.quick}
    document["rounds"] = options.rounds
    document["benchmarks"], failed = {}, []
    try:
        parts = [part for name in chosen for part in benchmark(name).parts]
        _build.prepare(parts)
    except _build.BuildError as error:
        print(f"perf run: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        plots = _page.pictures(options.page) if options.page else options.plot or folder
        for number, name in enumerate(chosen, 1):
            _results.progress(f"\n[{number}/{len(chosen)}] {name}: {benchmark(name).title}")
            file = Path(folder, f"{name}.json")
            command = [sys.executable, "-m", f"perf.{name}", "--json", str(file)]
            command += ["--plot", str(plots)]
            command += ["--quick"] * options.quick
            if options.rounds:
                command += ["--rounds", str(options.rounds)]
            # Its tables are all in the file; the summary is what is printed.
            done = subprocess.run(command, stdout=None if options.tables else subprocess.DEVNULL)
            if done.returncode or not file.exists():
                failed.append(name)
            else:
                document["benchmarks"][name] = json.loads(file.read_text())
    document["seconds"] = round(time.monotonic() - began, 1)
    _results.write_json(options.json, document)
    figures = {
        name: [Figure.from_json(figure) for figure in results["figures"]]
        for name, results in document["benchmarks"].items()
    }
    _results.progress("")
    if options.page:
        _page.fill(options.page, document, [benchmark(name) for name in NAMES])
    print(_report.summary(figures))
    for name in failed:
        print(f"{name} failed")
    _results.progress(f"{document['seconds']} s; wrote {options.json}")
    return 1 if failed else 0


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m perf",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="the benchmarks (what is done without a command)")
    running = commands.add_parser("run", help="run benchmarks")
    running.add_argument("names", nargs="*", metavar="NAME", type=_name, help="all if none")
    running.add_argument("--quick", action="store_true", help="rough figures in some minutes")
    running.add_argument("--rounds", type=int, help="samples of each peer")
    running.add_argument("--tables", action="store_true", help="print each benchmark's tables too")
    running.add_argument(
        "--json", type=Path, metavar="FILE", default=_results.DEFAULT_DIRECTORY / "run.json"
    )
    running.add_argument("--plot", type=Path, metavar="DIR", help="draw pictures there")
    running.add_argument(
        "--page",
        type=_page_there,
        metavar="FILE",
        help="put figures between a page's marks, pictures beside",
    )
    _compare.arguments(commands.add_parser("compare", help="what changed between two files"))
    _guard.arguments(commands.add_parser("guard", help="count instructions"))
    options = parser.parse_args(arguments)
    if options.command == "run":
        return run(options)
    if options.command == "compare":
        return _compare.main(options)
    if options.command == "guard":
        return _guard.main(options)
    return list_them()


if __name__ == "__main__":
    sys.exit(main())
