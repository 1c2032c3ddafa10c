"""The benchmarks are a package of the checkout, not of what is installed."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

# What they compile is not instrumented, nor are the compiler and the other programs that they start.
collect_ignore_glob = ["test_*.py"] if os.environ.get("CYEVENT_SANITIZE") else []


@pytest.fixture(scope="session")
def compiled(request, tmp_path_factory):
    """Where what is compiled is kept: in pytest's cache."""
    cache = getattr(request.config, "cache", None)
    return str(cache.mkdir("perf") if cache else tmp_path_factory.mktemp("perf"))


@pytest.fixture(autouse=True)
def limits():
    """Gives the limit of descriptors back, which benchmarks raise."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def perf(compiled):
    """Runs `python -m perf ...`, or another module."""

    def run(*arguments, module="perf", descriptors=None, **environment):
        limits = {resource.RLIMIT_NOFILE: (descriptors, descriptors)} if descriptors else {}
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "XDG_CACHE_HOME": compiled, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            preexec_fn=lambda: [resource.setrlimit(*limit) for limit in limits.items()],
        )

    return run
