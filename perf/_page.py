"""A page of figures: what stands between its marks is what a run has measured, the rest is prose.

A mark is ``<!-- figures: NAME -->`` ... ``<!-- end -->``. NAME is a benchmark, whose tables and pictures go
there with the command that makes them; `machine`, for what was measured on and with; or `summary`, for the
line of each figure that counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perf import _report
from perf._suite import Benchmark, Figure

MARK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NO_PEERS = ("cyevent", "Cython", "python", "compiler", "libc")


def pictures(page: Path) -> Path:
    """Returns the folder of a page's pictures."""
    return page.with_suffix("")


def fill(page: Path, document: dict[str, Any], benchmarks: Sequence[Benchmark]) -> None:
    """Puts a run's results into a page. A benchmark that did not run keeps what is there."""
    texts = {"machine": _machine(document)} if document["benchmarks"] else {}
    for benchmark in benchmarks:
        if benchmark.name in document["benchmarks"]:
            texts[benchmark.name] = _section(benchmark, document, page)
    if all(benchmark.name in document["benchmarks"] for benchmark in benchmarks):
        texts["summary"] = _command(document) + _code(
            _report.summary(
                {
                    name: [Figure.from_json(figure) for figure in results["figures"]]
                    for name, results in document["benchmarks"].items()
                },
                notes=False,
            )
        )

    def filled(mark: re.Match[str]) -> str:
        text = texts.get(mark[2])
        return mark[0] if text is None else f"{mark[1]}{text}{mark[3]}"

    page.write_text(MARK.sub(filled, page.read_text()))


def _section(benchmark: Benchmark, document: dict[str, Any], page: Path) -> str:
    results = document["benchmarks"][benchmark.name]
    figures = [Figure.from_json(figure) for figure in results["figures"]]
    lead = benchmark.lead.format(**results["parameters"])
    text = _command(document, benchmark.name) + (f"{lead}\n\n" if lead else "")
    text += _code(_report.tables(figures, benchmark.table).rstrip())
    folder = pictures(page)
    for path in sorted(folder.glob(f"{benchmark.name}-*.svg")):
        text += f"![{path.stem}]({folder.name}/{path.name})\n\n"
    return text


def _command(document: dict[str, Any], name: str = "") -> str:
    words = ["python -m perf run", name, "--quick" * document["quick"]]
    if document["rounds"]:
        words.append(f"--rounds {document['rounds']}")
    return f"`{' '.join(filter(None, words))}` gives:\n\n"


def _code(text: str) -> str:
    return f"```text\n{text}\n```\n\n"


def _machine(document: dict[str, Any]) -> str:
    machine = document["machine"]
    versions: dict[str, str] = {}
    for results in document["benchmarks"].values():
        versions |= results["versions"]
    memory = machine["memory_bytes"] / 2**30
    on = [
        machine["processor"],
        f"{machine['processors']} processors",
        f"{memory:.0f} GiB",
        f"Linux {machine['kernel']}",
        *(versions[name] for name in ("python", "compiler", "libc")),
    ]
    beside = [f"{name} {version}" for name, version in versions.items() if name not in NO_PEERS]
    took = f"{document['seconds'] / 60:.1f} minutes, on {machine['time'][:10]}"
    return (
        f"**The machine:** {', '.join(on)}.\n\n**Beside:** {', '.join(beside)}.\n\n"
        f"**It took** {took}.\n\n"
    )
