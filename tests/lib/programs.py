"""Programs that tests start: interpreters that find the package under test, and compilers for what they test.

In a sanitized run (tools/sanitize.py) the build's runtime and its options are in the environment, which every
program inherits.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

# `python -m` and `python -c` look into the current folder first, and the tree's top has the package's sources.
AWAY = Path(__file__).parent

SANITIZERS = os.environ.get("CYEVENT_SANITIZE", "")
# As setup.py compiles the package: what a sanitizer is to see has to be compiled for it.
SANITIZER_FLAGS = (
    ("-g", "-fno-omit-frame-pointer", f"-fsanitize={SANITIZERS}") if SANITIZERS else ()
)

USUAL_TIMEOUT = 120.0


def limit(seconds):
    """A guard against a hang: as much more than `seconds` as this run gives a test more than it usually has."""
    return seconds * float(os.environ.get("PYTEST_TIMEOUT", USUAL_TIMEOUT)) / USUAL_TIMEOUT


def wait_for_threads_to_end():
    """Before a fork: those that the library had begun end after some seconds without work.

    The thread sanitizer looks only into children of processes with one thread. In a child of one whose other
    thread began or ended just then, the address sanitizer's locks may be taken, by nobody.
    """
    if not SANITIZERS:
        return
    # The thread sanitizer has one itself.
    most = 2 if "thread" in SANITIZERS else 1
    end = time.monotonic() + 30
    while len(os.listdir("/proc/self/task")) > most and time.monotonic() < end:
        time.sleep(0.001)


def environment():
    """The environment in which a program finds the package that this run tests."""
    import cyevent

    return os.environ | {"PYTHONPATH": str(Path(cyevent.__file__).resolve().parents[1])}


def compiler_environment():
    """The same for a compiler, without a sanitizer's runtime: that would slow it down, and find its faults."""
    env = environment()
    for name in ("LD_PRELOAD", "PYTHONMALLOC"):
        env.pop(name, None)
    return env


def run(*arguments, timeout=60, cwd=AWAY, env=None, text=True, **options):
    """Runs an interpreter to its end; returns it with its output."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        cwd=cwd,
        env=env or environment(),
        text=text,
        timeout=limit(timeout),
        **options,
    )


def start(*arguments):
    """Starts an interpreter; returns it with its output as a file of text."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        cwd=AWAY,
        env=environment(),
        text=True,
    )


def address_of(process):
    """Reads the line in which a server says where it listens; returns that as (host, port)."""
    line = process.stdout.readline()
    assert line.startswith("listening on "), line
    host, port = line.split()[2].rsplit(":", 1)
    return host, int(port)


def end(process):
    """Ends a program that may still be running."""
    process.kill()
    process.wait()
    process.stdout.close()
