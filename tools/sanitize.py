"""Builds cyevent with sanitizers into a folder of its own and runs the tests there.

    python tools/sanitize.py address,undefined        # the whole suite, with python -X dev
    python tools/sanitize.py thread                    # what concerns threads
    python tools/sanitize.py thread tests/cython -k storm     # anything else that pytest understands

The compiler's runtime is loaded before the interpreter, which is not instrumented itself.
build/sanitize-NAME keeps what was built. The suppressions beside this file name CPython alone. The
programs that tests start inherit all of this. Reports go to files, whoever captures a program's output: the
run has failed if there is one.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent

RUNTIMES = {"address": "libasan.so", "thread": "libtsan.so", "undefined": "libubsan.so"}
# Threads are checked where the C faces of threads are tested: in the interpreter, its lock orders everything.
THREAD_TESTS = ["tests/cython", "tests/core/test_threads.py", "tests/core/test_stress.py"]


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def runtime(name: str) -> str:
    """Returns the path of a sanitizer's shared runtime."""
    command = [*compiler(), f"-print-file-name={RUNTIMES[name]}"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not os.path.isabs(path):
        sys.exit(f"{command[0]} has no {RUNTIMES[name]}")
    return path


def build(sanitizers: str, folder: Path, env: dict[str, str]) -> None:
    """Compiles the package to `folder`/lib; the source tree gets nothing."""
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(folder)]
    subprocess.run([*command, "--build-lib", str(folder / "lib")], cwd=ROOT, env=env, check=True)


def test_environment(names: list[str], folder: Path, env: dict[str, str]) -> dict[str, str]:
    """Returns the environment in which an interpreter loads what was built."""
    options = {
        # A leak at exit is mostly the interpreter's own, so tests/lib/leaks.py looks for leaks before.
        # Memory that cannot be had is NULL, as it is without the sanitizer: there are tests of that.
        "ASAN_OPTIONS": "detect_leaks=1:leak_check_at_exit=0:detect_stack_use_after_return=1"
        ":allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "TSAN_OPTIONS": f"suppressions={HERE / 'tsan.supp'}:halt_on_error=1:second_deadlock_stack=1"
        ":history_size=4:allocator_may_return_null=1",
        # Each object has memory of its own, so that its use after its end is seen.
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(folder / "lib"),
        "LD_PRELOAD": " ".join(runtime(name) for name in names),
        "CYEVENT_STRESS_SECONDS": "4",
        # In seconds: everything takes several times as long.
        "PYTEST_TIMEOUT": "600",
    }
    settings = {name: os.environ.get(name, value) for name, value in options.items()}
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
        settings[name] += f":log_path={reports(folder) / 'report'}"
    return env | settings


def reports(folder: Path) -> Path:
    """Returns the folder in which each program writes what it has to report."""
    return folder / "reports"


def show_reports(folder: Path) -> bool:
    """Prints every report; True if there is one."""
    found = False
    for path in sorted(reports(folder).iterdir()):
        text = path.read_text(errors="replace")
        # Tests ask for more memory than there is, which is told and no fault.
        if re.sub(r"(?m)^==\d+==WARNING: \w+ failed to allocate 0x\w+ bytes$", "", text).strip():
            print(f"--- {path}", text, sep="\n", file=sys.stderr)
            found = True
    return found


def main(arguments: list[str]) -> int:
    """Builds and tests; returns pytest's exit status, or 1 after a report."""
    if not arguments or not set(arguments[0].split(",")) <= set(RUNTIMES):
        sys.exit(__doc__)
    sanitizers, *tests = arguments
    names = sanitizers.split(",")
    folder = ROOT / "build" / ("sanitize-" + "-".join(names))
    env = os.environ | {"CYEVENT_SANITIZE": sanitizers}
    build(sanitizers, folder, env)
    command = [sys.executable, "-X", "dev", "-m", "pytest", "-o", f"cache_dir={folder / 'cache'}"]
    if not tests:
        tests = THREAD_TESTS if "thread" in names else []
    if "thread" in names and shutil.which("setarch"):
        # The runtime's shadow memory needs the usual addresses free.
        command = ["setarch", "-R", *command]
    shutil.rmtree(reports(folder), ignore_errors=True)
    reports(folder).mkdir()
    env = test_environment(names, folder, env)
    status = subprocess.run([*command, *tests], cwd=ROOT, env=env, check=False).returncode
    return 1 if show_reports(folder) else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
