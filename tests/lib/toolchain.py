"""Building C and C++ programs that embed the interpreter and use cyevent's header: fixtures for conftest.py."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import programs
import pytest

import cyevent

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
CONFIG = Path(
    sysconfig.get_config_var("BINDIR") or "",
    f"python{sysconfig.get_config_var('VERSION')}-config",
)


class Toolchain:
    """Compiles for this interpreter, with what its own python3-config says."""

    def __init__(self):
        self.config = os.fspath(CONFIG)
        self.includes = self.ask("--includes")
        self.linking = self.ask("--ldflags", "--embed")
        # Extension modules find a static interpreter's symbols in the program.
        self.exporting = [] if sysconfig.get_config_var("Py_ENABLE_SHARED") else ["-rdynamic"]

    @staticmethod
    def ask(*options):
        done = subprocess.run([CONFIG, *options], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{CONFIG} {' '.join(options)}: {done.stderr.strip()}")
        return shlex.split(done.stdout)

    @staticmethod
    def checks(compiler):
        """The sanitizers of this run; clang's runtime is another one than that of the package."""
        return programs.SANITIZER_FLAGS if "clang" not in Path(compiler).name else ()

    def compile(self, compiler, source, *flags):
        """Compiles one file; returns the object file. Warnings of Python's own headers do not count."""
        target = source.with_name(f"{source.name}.{Path(compiler).name}.o")
        python = [flag.replace("-I", "-isystem", 1) for flag in self.includes]
        own = f"-I{cyevent.get_include()}"
        flags = (*WARNINGS, *self.checks(compiler), *flags)
        run([compiler, *flags, *python, own, "-c", source, "-o", target])
        return target

    def link(self, compiler, objects, target):
        flags = (*self.checks(compiler), *self.exporting, *self.linking)
        run([compiler, *objects, *flags, "-o", target])
        return target


def run(command):
    env = programs.compiler_environment()
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, shlex.join(map(str, command)) + "\n" + done.stdout + done.stderr


@pytest.fixture(scope="session")
def toolchain():
    if not CONFIG.exists():
        pytest.skip(f"{CONFIG} is not installed")
    return Toolchain()


@pytest.fixture(scope="session")
def embedded_env(package_env):
    """The environment in which an embedded interpreter finds its library and the package."""
    env = dict(package_env)
    env["PYTHONHOME"] = f"{sys.base_prefix}:{sys.base_exec_prefix}"
    # It takes the first python3 of the path for itself; that of a virtual environment would bring along what is
    # installed there.
    env["PATH"] = os.pathsep.join((os.fspath(CONFIG.parent), env.get("PATH", os.defpath)))
    return env


@pytest.fixture
def compiler_for():
    """A compiler of a language, or a skipped test."""

    def find(*names):
        for name in names:
            if shutil.which(name):
                return name
        pytest.skip(f"no {' or '.join(names)}")

    return find


@pytest.fixture
def run_program(embedded_env, tmp_path):
    def start(program, *arguments, timeout=60, **variables):
        return subprocess.run(
            [program, *arguments],
            cwd=tmp_path,
            env={**embedded_env, **variables},
            capture_output=True,
            text=True,
            timeout=programs.limit(timeout),
        )

    return start
