"""What the blocks of the pages are run with."""

import os
import shlex
import stat
import sys
from pathlib import Path

import pytest
from doc_blocks import all_blocks
from toolchain import CONFIG, compiler_for, embedded_env, toolchain  # noqa: F401

sys.path.append(str(Path(__file__).parents[1] / "tls"))


@pytest.fixture(scope="session")
def doc_modules(compile_cython):
    """The pages' Cython blocks, compiled at one go: the block's module name -> module."""
    blocks = all_blocks()
    wanted = [
        block
        for block in blocks
        if block.language == "cython"
        and "left out" not in block.marks
        and not block.is_built_by(blocks)
    ]
    return compile_cython({f"{block.module}.pyx": block.program for block in wanted})


@pytest.fixture(scope="session")
def doc_env(package_env, tmp_path_factory):
    """The environment of the pages' commands: python, cythonize and python3-config are this interpreter's."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("python", "python3"):
        script(folder / name, f'exec {shlex.quote(sys.executable)} "$@"')
    script(
        folder / "cythonize", f'exec {shlex.quote(sys.executable)} -m Cython.Build.Cythonize "$@"'
    )
    if CONFIG.exists():
        script(folder / "python3-config", f'exec {shlex.quote(os.fspath(CONFIG))} "$@"')
    path = os.pathsep.join((os.fspath(folder), package_env.get("PATH", os.defpath)))
    return {**package_env, "PATH": path, "PYTHONUNBUFFERED": "1"}


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for localhost and 127.0.0.1, and the authority that clients have to trust for it."""
    from tls_peers import Authority

    authority = Authority(tmp_path_factory.mktemp("certificates"))
    return authority.issue("server", ["localhost", "127.0.0.1"]), authority.ca.cert_file
