"""Fixtures of the tests of embedding."""

import os
import subprocess

import pytest
from toolchain import compiler_for, embedded_env, toolchain  # noqa: F401: fixtures


@pytest.fixture
def run_program(embedded_env, tmp_path):
    def start(program, *arguments, timeout=60, **variables):
        return subprocess.run(
            [program, *arguments],
            cwd=tmp_path,
            env={**embedded_env, **variables},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return start


@pytest.fixture
def empty_path(tmp_path):
    """A directory for PYTHONPATH in which there is no cyevent, and nor is there elsewhere."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return os.fspath(folder)
