"""Builds for other systems' mechanisms and for other systems."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import programs
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def emulated_build(tmp_path_factory):
    """A build with kqueue, /dev/poll and event ports over the emulations; the folder to import it from.

    Its C files, those of every module of every POSIX system, are in build/cython.
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("the emulations stand on epoll")
    if shutil.which(os.environ.get("CC", "cc").split()[0]) is None:
        pytest.skip("no C compiler here")
    folder = tmp_path_factory.mktemp("emulated")
    env = programs.compiler_environment()
    # The builder is the tree's own.
    del env["PYTHONPATH"]
    env["CYEVENT_EMULATE"] = "1"
    # Nobody measures it.
    env["CFLAGS"] = env.get("CFLAGS", "") + " -O0"
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build", "--build-base", str(folder)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=programs.limit(600),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (lib,) = folder.glob("lib*")
    return lib
