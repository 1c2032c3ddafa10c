"""Fixtures of the tests of embedding."""

import os

import pytest
from toolchain import compiler_for, embedded_env, run_program, toolchain  # noqa: F401


@pytest.fixture
def empty_path(tmp_path):
    """A directory for PYTHONPATH in which there is no cyevent, and nor is there elsewhere."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return os.fspath(folder)
