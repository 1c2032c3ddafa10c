"""What a results file says of the machine and of those who were measured."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

from perf import _build

# The build's directory, which version control leaves out.
DEFAULT_DIRECTORY = Path("build/perf")


def machine() -> dict[str, Any]:
    """Describes the machine, and how busy others keep it."""
    return {
        "system": platform.platform(),
        "kernel": platform.release(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "descriptor_limit": resource.getrlimit(resource.RLIMIT_NOFILE),
        "load_average": os.getloadavg(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def versions(libevent: str | None = None) -> dict[str, str]:
    """Names the version of everything that takes part."""
    found = {
        "cyevent": _build.cyevent().__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libc": " ".join(platform.libc_ver()),
        "compiler": _build.compiler_version(),
    }
    if libevent is not None:
        found["libevent"] = libevent
    for package in ("uvloop", "Cython"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Writes the document, and makes its directory if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def progress(text: str, end: str = "\n") -> None:
    """Tells the person who waits."""
    print(text, end=end, file=sys.stderr, flush=True)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
