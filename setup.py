"""Builds one extension module for each .pyx that this platform can use, and the C headers.

CYEVENT_SANITIZE=address,undefined builds with those sanitizers (see tools/sanitize.py), CYEVENT_DEBUG=1 without
optimization and with Cython's bounds checks, CYEVENT_ANNOTATE=1 writes Cython's annotated sources beside the C
files in build/cython. An optimization level in CFLAGS replaces the one from here.

CYEVENT_EMULATE=1, for the tests, adds kqueue, /dev/poll and event ports on Linux, over the emulations of
tests/emulation. Such a build goes to a folder of its own, build/emulated if no other is given.
"""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import Cython
from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext as _build_ext
from setuptools.command.build_py import build_py as _build_py

HERE = Path(__file__).parent.resolve()
os.chdir(HERE)
sys.path.insert(0, str(HERE))

BSD = ("darwin", "freebsd", "openbsd", "netbsd", "dragonfly")
POSIX = ("linux", "sunos", "cygwin", *BSD)

# Modules that only some platforms have, there or yet to come; all others are built everywhere.
PLATFORM_ONLY = {
    "cyevent.backends.afd": ("win32",),
    "cyevent.backends.devpoll": ("sunos",),
    "cyevent.backends.epoll": ("linux",),
    "cyevent.backends.evport": ("sunos",),
    "cyevent.backends.kqueue": BSD,
    "cyevent.backends.poll": POSIX,
    "cyevent.backends.select": POSIX,
    "cyevent.backends.win32": ("win32",),
    "cyevent.completion.iocp": ("win32",),
    "cyevent.completion.uring": ("linux",),
    "cyevent.completion.uring_ring": ("linux",),
    "cyevent.completion.uring_work": ("linux",),
}

SANITIZERS = os.environ.get("CYEVENT_SANITIZE", "")
DEBUG = bool(os.environ.get("CYEVENT_DEBUG"))
ANNOTATE = bool(os.environ.get("CYEVENT_ANNOTATE"))
EMULATE = bool(os.environ.get("CYEVENT_EMULATE"))

# The backends that CYEVENT_EMULATE adds on Linux, over the emulations of their system calls.
EMULATED = ("cyevent.backends.devpoll", "cyevent.backends.evport", "cyevent.backends.kqueue")

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": DEBUG,
    "freethreading_compatible": True,
    "embedsignature": True,
    "embedsignature.format": "python",
}


def compile_flags():
    """Returns the compiler's and the linker's flags."""
    if sys.platform == "win32":
        return ["/Od", "/Zi"] if DEBUG else ["/O2"], ["/DEBUG"] if DEBUG else []
    chosen = re.search(r"(^|\s)-O", os.environ.get("CFLAGS", "")) is not None
    if SANITIZERS:
        flag = f"-fsanitize={SANITIZERS}"
        level = [] if chosen else ["-O1"]
        return [*level, "-g", "-fno-omit-frame-pointer", flag], [flag]
    flags = [] if chosen else ["-O0" if DEBUG else "-O2"]
    flags += ["-fvisibility=hidden", "-Wno-unused-function"]
    if DEBUG:
        flags += ["-g", "-UNDEBUG"]
    elif platform.python_implementation() == "CPython" and sys.platform == "linux":
        flags += ["-fno-semantic-interposition", "-fno-plt"]
    return flags, []


def is_new(record, settings):
    """Whether the last build, as its record tells, had other settings; file times cannot show that."""
    return not record.exists() or record.read_text() != settings


def keep(record, settings):
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(settings)


def extensions():
    """Returns the extension modules that this platform has."""
    compile_args, link_args = compile_flags()
    result = []
    for path in sorted(Path("cyevent").rglob("*.pyx")):
        name = ".".join(path.with_suffix("").parts)
        emulated = EMULATE and sys.platform == "linux" and name in EMULATED
        only = PLATFORM_ONLY.get(name)
        if only is not None and not sys.platform.startswith(only) and not emulated:
            continue
        result.append(
            Extension(
                name,
                [str(path)],
                extra_compile_args=compile_args,
                extra_link_args=link_args,
                include_dirs=["tests/emulation"] if emulated else [],
                depends=sorted(map(str, Path("tests/emulation").rglob("*.h"))) if emulated else [],
                define_macros=[("CYEVENT_METHOD_SUFFIX", '"-emulated"')] if emulated else [],
                libraries=["ws2_32", "iphlpapi", "bcrypt", "ntdll"]
                if sys.platform == "win32"
                else [],
            )
        )
    return result


def generate_headers():
    """Writes cyevent/include/ from the .pxd doors."""
    subprocess.run([sys.executable, str(HERE / "tools" / "capi.py")], check=True, cwd=HERE)


class build_py(_build_py):
    """Puts the generated headers among the package's files."""

    def run(self):
        generate_headers()
        super().run()


class build_ext(_build_ext):
    """Compiles with all processors."""

    def finalize_options(self):
        super().finalize_options()
        if self.parallel is None:
            self.parallel = os.cpu_count() or 1

    def run(self):
        if self.inplace:
            if EMULATE:
                raise SystemExit("CYEVENT_EMULATE: emulations are not built beside the sources")
            generate_headers()
        record = Path(self.build_temp) / "settings"
        variables = [os.environ.get(name, "") for name in ("CC", "CFLAGS", "LDFLAGS")]
        settings = repr((compile_flags(), variables))
        if is_new(record, settings):
            self.force = True
        super().run()
        keep(record, settings)
        if not self.inplace and not SANITIZERS and not EMULATE:
            # `python -m` puts the current folder first, so in a checkout it finds the package's sources
            # before the installed copy: the modules have to be beside them.
            self.copy_extensions_to_source()


def main():
    # The C files go to build/, so that the tree holds sources alone.
    folder = Path("build", "cython")
    record = folder / "settings"
    settings = repr((Cython.__version__, DIRECTIVES))
    modules = cythonize(
        extensions(),
        nthreads=0 if sys.platform == "win32" else (os.cpu_count() or 1),
        build_dir=str(folder),
        compiler_directives=DIRECTIVES,
        annotate=ANNOTATE,
        force=ANNOTATE or is_new(record, settings),
        quiet=True,
    )
    keep(record, settings)
    setup(
        options={"build": {"build_base": "build/emulated"}} if EMULATE else {},
        packages=find_packages(include=["cyevent", "cyevent.*"]),
        package_data={"": ["*.pxd", "*.pyi", "py.typed"], "cyevent": ["include/cyevent/*.h"]},
        ext_modules=modules,
        cmdclass={"build_py": build_py, "build_ext": build_ext},
        zip_safe=False,
    )


if __name__ == "__main__":
    main()
