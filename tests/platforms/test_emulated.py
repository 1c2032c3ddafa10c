"""The suite over the emulations of kqueue, /dev/poll and event ports.

What passes here passes on an emulation, not on the system itself; tests/emulation says what that shows.
"""

import os
import re
from pathlib import Path

import programs
import pytest

ROOT = Path(__file__).resolve().parents[2]
MECHANISMS = ("kqueue", "evport", "devpoll")
ALL = ("epoll", "kqueue-emulated", "evport-emulated", "devpoll-emulated", "poll", "select")

# What runs, and how many tests of it have to pass at the least: none may be left out by mistake. The usual
# leaves out what watches memory for long, which is the same over each mechanism; the others take minutes.
CORE = ["tests/core", "tests/platforms/test_mechanisms.py"]
SUITES = {
    "usual": ([*CORE, "--ignore=tests/core/test_lifetimes.py"], 350),
    "core": (CORE, 350),
    "cython": (["tests/cython"], 200),
    "above": (["tests/net", "tests/bufferevent", "tests/tls"], 600),
}
# A hundred thousand of them.
CONNECTIONS = "tests/net/test_connections.py::test_nothing_is_left_by_connections"
# Building is its own test, so that the others' time limits are for what they run; but it may be left out.
BUILD = programs.limit(600)


def run(build, tmp_path, limit, *arguments):
    """How many tests pass with these arguments of pytest's; all have to."""
    env = os.environ | {"PYTHONPATH": str(build)}
    command = ["-m", "pytest", "-q", "--basetemp", tmp_path / "inner", *arguments]
    done = programs.run(*command, cwd=ROOT, env=env, timeout=limit)
    report = done.stdout[-8000:] + done.stderr[-4000:]
    assert done.returncode == 0, report
    # For -rP.
    print(done.stdout[-8000:])
    passed = re.search(r"(\d+) passed", done.stdout)
    return int(passed[1]) if passed else 0


def run_suite(build, mechanism, suite, tmp_path, limit):
    folders, least = SUITES[suite]
    # The compiled test modules are kept in the cache, as the package's doors are the same. Here it may be that
    # they are not there yet.
    options = ["--timeout=400"] if suite == "cython" else ["-p", "no:cacheprovider"]
    chosen = ["-k", f"{mechanism}-emulated"]
    assert run(build, tmp_path, limit, *options, *chosen, *folders) >= least


@pytest.mark.timeout(BUILD)
def test_the_build_names_the_emulations(emulated_build):
    program = "import cyevent; print(*cyevent.EventBase.supported_methods())"
    env = os.environ | {"PYTHONPATH": str(emulated_build)}
    done = programs.run("-c", program, env=env)
    assert done.stdout.split() == list(ALL), done.stdout + done.stderr


@pytest.mark.timeout(BUILD)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_core_over_an_emulation(emulated_build, mechanism, tmp_path):
    run_suite(emulated_build, mechanism, "usual", tmp_path, limit=110)


@pytest.mark.slow
@pytest.mark.timeout(2 * BUILD)
@pytest.mark.parametrize("suite", [suite for suite in SUITES if suite != "usual"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_suite_over_an_emulation(emulated_build, mechanism, suite, tmp_path):
    run_suite(emulated_build, mechanism, suite, tmp_path, limit=600)


@pytest.mark.slow
@pytest.mark.timeout(2 * BUILD)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_nothing_is_left_by_many_connections(emulated_build, mechanism, tmp_path):
    test = f"{CONNECTIONS}[{mechanism}-emulated-100000]"
    options = ["-p", "no:cacheprovider", "-m", "slow"]
    assert run(emulated_build, tmp_path, 900, *options, test) == 1
