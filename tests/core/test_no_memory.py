"""The core's tests over again, with each n-th allocation failing: nothing crashes, nothing is lost.

In `cython/nogil_faults` each allocation of an operation fails by itself; here they fail wherever a count ends.
"""

import os
import re
from pathlib import Path

import programs
import pytest

import cyevent

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LIB = HERE.parent / "lib"

# These start a run of their own.
LEFT_OUT = ("test_no_memory.py", "test_bad_input.py::test_in_development_mode")
# Where a call failed that a test's end depends on. Its own guard would be longer.
TEST_TIMEOUT = 5


@pytest.fixture(scope="module")
def failing(compile_cython):
    """The folder of the module that the plugin needs."""
    name = "failing.pyx"
    return Path(compile_cython({name: (LIB / name).read_text()})["failing"].__file__).parent


def run(failing, n, methods, tests, limit):
    paths = (programs.environment()["PYTHONPATH"], failing, LIB)
    # The plugin imports the package before conftest.py has put the tree's sources last.
    command = ["-m", "pytest", f"--rootdir={ROOT}", f"--config-file={ROOT / 'pyproject.toml'}"]
    command += ["-q", "-p", "no:cacheprovider", "-p", "every_nth"]
    command += [f"--every-nth={n}", f"--timeout={TEST_TIMEOUT}", f"--methods={','.join(methods)}"]
    command += [f"--deselect={HERE.relative_to(ROOT) / name}" for name in LEFT_OUT]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    done = programs.run(*command, *tests, env=env, timeout=limit)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    failed = re.search(r"(\d+) allocations failed", done.stdout)
    assert failed and int(failed[1]) >= 10, done.stdout[-8000:]


def test_every_third_allocation_fails(failing):
    """In the tests that take the core through most of its ways, on the best mechanism."""
    names = ("base", "events", "finalize", "loop", "signals", "watch")
    files = [HERE / f"test_{name}.py" for name in names]
    run(failing, 3, cyevent.EventBase.supported_methods()[:1], files, 110)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 11, 20, 50])
def test_every_nth_allocation_fails_in_all_of_the_core(failing, n):
    run(failing, n, cyevent.EventBase.supported_methods(), [HERE], 1700)
