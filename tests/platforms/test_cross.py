"""Compiles and links the package for macOS and FreeBSD, with zig's compiler and headers of these systems.

What links is shown to use only what the system has; nothing of it is run. There are no headers of illumos in
zig, so /dev/poll and event ports are compiled against the emulations alone.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {
    "x86_64-macos": "darwin",
    "aarch64-macos": "darwin",
    "x86_64-freebsd": "freebsd",
}

# The rooms that know the system best, so that one need not wait for everything.
KNOWING = ("cyevent.backends.", "cyevent.core.base", "cyevent.core.signals", "cyevent.net.util")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        importlib.util.find_spec("ziglang") is None,
        reason="ziglang is not installed: no cross-compiling",
    ),
]


@pytest.fixture(scope="session")
def python_headers(tmp_path_factory):
    """This Python's headers with the pyconfig.h of a 64-bit system that is not Linux.

    configure asks for less than everything on Linux (_POSIX_C_SOURCE and its like), which elsewhere hides the
    system's own functions, and finds Linux's headers.
    """
    folder = tmp_path_factory.mktemp("include")
    shutil.copytree(sysconfig.get_path("include"), folder, dirs_exist_ok=True)
    config = Path(sysconfig.get_config_h_filename()).read_text()
    gone = r"_POSIX_C_SOURCE|_XOPEN_SOURCE\w*|_GNU_SOURCE|HAVE_LINUX_\w+|HAVE_(SYS_)?EPOLL\w*|HAVE_CRYPT_H"
    (folder / "pyconfig.h").write_text(re.sub(rf"(?m)^#define ({gone})\b.*$", "", config))
    return folder


def sources(system):
    """The C files of the modules that setup.py would build there: name -> path."""
    only = {}
    text = (ROOT / "setup.py").read_text()
    exec(text[text.index("BSD = ") : text.index("SANITIZERS = ")], only)
    found = {}
    for path in sorted((ROOT / "cyevent").rglob("*.pyx")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        systems = only["PLATFORM_ONLY"].get(name)
        if systems is None or system in systems:
            found[name] = ROOT / "build" / "cython" / path.relative_to(ROOT).with_suffix(".c")
    return found


def compile_and_link(name, source, target, headers, folder):
    """Returns what the compiler or the linker had to say if it failed."""
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-O0", "-fPIC", "-shared"]
    command += ["-Wno-everything", "-Werror=implicit-function-declaration"]
    command += ["-Werror=incompatible-pointer-types", "-Werror=int-conversion", f"-I{headers}"]
    # Python's own functions are those of the interpreter that loads the module.
    command += ["-Wl,-undefined,dynamic_lookup"] if "macos" in target else ["-Wl,-z,undefs"]
    command += [str(source), "-o", str(folder / f"{name}.so")]
    env = dict(os.environ)
    env.setdefault("ZIG_GLOBAL_CACHE_DIR", str(folder.parent / "zig-cache"))
    env["ZIG_LOCAL_CACHE_DIR"] = env["ZIG_GLOBAL_CACHE_DIR"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    return f"{name}\n{done.stderr[-3000:]}" if done.returncode else None


def build(target, chosen, headers, folder):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(
            lambda item: compile_and_link(*item, target, headers, folder), chosen.items()
        )
        errors = [error for error in results if error]
    assert not errors, "\n".join(errors)
    assert {path.stem for path in folder.glob("*.so")} == set(chosen)


@pytest.mark.parametrize("target", TARGETS)
def test_what_knows_the_system_links(target, emulated_build, python_headers, tmp_path):
    chosen = {
        name: path for name, path in sources(TARGETS[target]).items() if name.startswith(KNOWING)
    }
    assert "cyevent.backends.kqueue" in chosen
    assert "cyevent.backends.epoll" not in chosen
    build(target, chosen, python_headers, tmp_path)


@pytest.mark.parametrize("target", TARGETS)
def test_everything_links(target, emulated_build, python_headers, tmp_path):
    build(target, sources(TARGETS[target]), python_headers, tmp_path)
