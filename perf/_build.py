"""Compiles the native parts of the benchmarks on first use.

libevent's are programs, or shared libraries for ctypes; cyevent's are extension modules that cimport cyevent
as any Cython program would. All are kept in $XDG_CACHE_HOME/cyevent-perf under a name made of everything they
depend on: their source and the headers here, cyevent's version and its .pxd files (which hold the struct
layouts), the interpreter, the compiler and its flags.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.machinery
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

NATIVE = Path(__file__).parent / "native"
# Debian's own for its libevent, but for debugging information; the same for both halves.
FLAGS = ["-O2", "-fPIC", "-shared", "-fno-semantic-interposition", "-D_GNU_SOURCE", "-Wall"]
FLAGS += ["-Wno-unused-function"]
# Asked for here: before Python 3.12 two threads must not be the first to ask sysconfig at the same time.
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
PROGRAM_FLAGS = [flag for flag in FLAGS if flag not in ("-fPIC", "-shared")]


class BuildError(Exception):
    """Something that a benchmark needs is missing; the message says what to install."""


def cyevent() -> ModuleType:
    """Returns the package under test: the checkout's if built in place, else the installed."""
    try:
        return _import_cyevent()
    except ImportError as error:
        reason = error
    checkout = Path(__file__).resolve().parent.parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != checkout]
    for name in [name for name in sys.modules if name.split(".")[0] == "cyevent"]:
        del sys.modules[name]
    try:
        return _import_cyevent()
    except ImportError:
        raise BuildError(
            f"cyevent cannot be imported ({reason}): install it with `pip install .`, or build it "
            "in place with `python setup.py build_ext --inplace`"
        ) from reason


def _import_cyevent() -> ModuleType:
    module = importlib.import_module("cyevent")
    importlib.import_module("cyevent.core.reactor")
    return module


def compiler() -> list[str]:
    """Returns the C compiler's command: $CC, or the first of those usual."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise BuildError("there is no C compiler: on Debian, `apt install gcc libc6-dev`")


def compiler_version() -> str:
    """Returns the first line of what the compiler says of itself."""
    return _run([*compiler(), "--version"]).splitlines()[0]


class Part(NamedTuple):
    """Something to compile: native/<name>.pyx or native/<name>.c."""

    kind: str  # "module", "library" or "program"
    name: str
    libraries: tuple[str, ...] = ()

    def compiled(self) -> Path:
        """Returns where the product is; it is made first if it is not there."""
        if self.kind == "module":
            return _compiled_module(self.name)
        flags = FLAGS if self.kind == "library" else PROGRAM_FLAGS
        links = [f"-l{library}" for library in self.libraries]
        source = NATIVE / f"{self.name}.c"
        file_name = f"{self.name}.so" if self.kind == "library" else self.name
        target = _cached(file_name, source, [*compiler(), *flags, *links], [])
        if not target.exists():
            if any(name.startswith("event") for name in self.libraries):
                require_header("event2/event.h", "libevent-dev")
            _compile([str(source), *links], target, flags)
        return target

    def loaded(self) -> ctypes.CDLL:
        """Returns the library. Calls release the GIL.

        What the library defines itself comes before what the process has, also for its own libraries.
        """
        return ctypes.CDLL(str(self.compiled()), mode=os.RTLD_NOW | os.RTLD_DEEPBIND)


def prepare(parts: Iterable[Part]) -> None:
    """Compiles the parts, as many at once as there are processors."""
    cyevent()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for done in [pool.submit(part.compiled) for part in dict.fromkeys(parts)]:
            done.result()


def cython_module(name: str) -> ModuleType:
    """Compiles native/<name>.pyx against cyevent and imports it."""
    target = Part("module", name).compiled()
    loader = importlib.machinery.ExtensionFileLoader(name, str(target))
    spec = importlib.util.spec_from_file_location(name, target, loader=loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _compiled_module(name: str) -> Path:
    root = Path(cyevent().__file__).parent
    doors = sorted(root.rglob("*.pxd"))
    source = NATIVE / f"{name}.pyx"
    target = _cached(f"{name}{SUFFIX}", source, [*compiler(), *FLAGS, str(root)], doors)
    if target.exists():
        return target
    if importlib.util.find_spec("Cython") is None:
        raise BuildError("Cython is missing: `pip install '.[perf]'`")
    include = sysconfig.get_path("include")
    require_header("Python.h", "python3-dev", f"-I{include}")
    c_file = target.parent / f"{name}.{os.getpid()}.c"
    include_path = f"-I{root.parent}"
    _say(f"compiling {name}.pyx")
    _run([sys.executable, "-m", "cython", "-3", include_path, str(source), "-o", str(c_file)])
    _compile([str(c_file), f"-I{include}", f"-I{NATIVE}"], target)
    c_file.unlink()
    return target


def _cached(file_name: str, source: Path, command: list[str], doors: list[Path]) -> Path:
    """Returns where the product of these inputs is kept."""
    digest = hashlib.sha256()
    for part in (*command, sys.version, cyevent().__version__):
        digest.update(part.encode() + b"\0")
    for path in [source, *sorted(NATIVE.glob("*.h")), *doors]:
        digest.update(path.read_bytes() + b"\0")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cyevent-perf"
    directory = cache / digest.hexdigest()[:16]
    directory.mkdir(parents=True, exist_ok=True)
    return directory / file_name


def _compile(arguments: list[str], target: Path, flags: list[str] = FLAGS) -> None:
    """Compiles to `target`, which appears whole or not at all."""
    _say(f"compiling {target.name}")
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    # The libraries come last: the linker takes from them what the sources before need.
    _run([*compiler(), *flags, "-o", str(partial), *arguments])
    partial.replace(target)


def require_header(header: str, package: str, *flags: str) -> None:
    command = [*compiler(), *flags, "-E", "-x", "c", "-"]
    if _start(command, f"#include <{header}>\n").returncode:
        raise BuildError(f"<{header}> is missing: on Debian, `apt install {package}`")


def _run(command: list[str]) -> str:
    done = _start(command)
    if done.returncode:
        raise BuildError(f"{shlex.join(command)} failed:\n{done.stderr or done.stdout}")
    return done.stdout


def _start(command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True)
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run: {error.strerror}") from error


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
