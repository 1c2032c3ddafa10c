"""What a results file says of the machine and of those who were measured."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from perf import _build, _peers

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


def versions(peers: Iterable[str] = ()) -> dict[str, str]:
    """Names the version of everything that takes part."""
    found = {
        "cyevent": _build.cyevent().__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libc": " ".join(platform.libc_ver()),
        "compiler": _build.compiler_version(),
    }
    for package in ("Cython", "pyOpenSSL", "cryptography"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    for name in peers:
        version = _peers.found(name)
        if version:
            found[name] = version
    return found


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Writes the document, and makes its directory if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def progress(text: str, fleeting: bool = False) -> None:
    """Tells the person who waits. What is fleeting is shown on terminals alone, until the next line."""
    if not fleeting:
        print(text, file=sys.stderr, flush=True)
    elif sys.stderr.isatty():
        print(f"{text}\x1b[K", end="\r", file=sys.stderr, flush=True)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
