"""Windows' CPython under Wine, and the package compiled for it with mingw-w64.

    python tests/platforms/wine.py [arguments of python.exe]

builds what changed and runs the Windows interpreter with the package on its path; without arguments it only
builds. `python tests/platforms/wine.py -m pytest tests/core` runs tests.

Facts:
- The panda3d wheel for Windows carries python.org's own CPython DLL with its extension modules. Its standard
  library is the one of the same version here, as that is the same on all systems.
- That CPython uses the Universal C Runtime. errno, descriptors and signal handlers are a runtime's own, so the
  modules have to use the same one; mingw's default is another.
- Wine is no Windows: what passes here passes on Wine's implementation of its calls.

Everything that takes long is kept in a folder outside the tree (CYEVENT_WINE_CACHE, else ~/.cache/cyevent-wine)
by the hash of what it is made from: the interpreter, Wine's own folder, and each compiled module.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION = "3.11"
TAG = "cp311"
TARGET = "x86_64-w64-mingw32"
SUFFIX = f".{TAG}-win_amd64.pyd"
LIBRARIES = ("ws2_32", "iphlpapi", "bcrypt", "ntdll")
# What the tests need beside the interpreter. Hypothesis and pytest come from here: they are Python alone.
TOOLS = ("pytest", "pytest-timeout", "hypothesis", "pyOpenSSL")
PIP_DOWNLOAD = (
    *("-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"),
    *("--platform", "win_amd64", "--python-version", VERSION, "--implementation", "cp"),
)

# Of tests/cython: all others use forks, pipes, or POSIX's threads and headers.
PORTABLE_TESTS = (
    *("bufrig", "nogil_buffer", "nogil_buffer_faults", "nogil_buffer_search"),
    *("nogil_buffer_share", "nogil_isolated"),
)

# What PC/pyconfig.h of CPython says that its public headers ask for.
PYCONFIG = """\
#ifndef Py_CONFIG_H
#define Py_CONFIG_H
#define MS_WIN32
#define MS_WINDOWS
#define MS_WIN64
#define NT_THREADS
#define WITH_THREAD 1
#define HAVE_STDINT_H 1
#define HAVE_STDDEF_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_SYS_STAT_H 1
#define HAVE_ERRNO_H 1
#define HAVE_IO_H
#define HAVE_LONG_LONG 1
#define HAVE_UINTPTR_T 1
#define HAVE_SSIZE_T 1
#define HAVE_DECLSPEC_DLL
#define HAVE_PY_SSIZE_T 1
#define HAVE_BUILTIN_ATOMIC 1
#define SIZEOF_SHORT 2
#define SIZEOF_INT 4
#define SIZEOF_LONG 4
#define SIZEOF_LONG_LONG 8
#define SIZEOF_VOID_P 8
#define SIZEOF_SIZE_T 8
#define SIZEOF_TIME_T 8
#define SIZEOF_WCHAR_T 2
#define SIZEOF_DOUBLE 8
#define SIZEOF_FLOAT 4
#define SIZEOF_FPOS_T 8
#define SIZEOF_HKEY 8
#define SIZEOF_PID_T 4
#define SIZEOF_UINTPTR_T 8
#define ALIGNOF_SIZE_T 8
#define ALIGNOF_LONG 4
#define DOUBLE_IS_LITTLE_ENDIAN_IEEE754 1
#define PY_LONG_LONG long long
#define PY_LLONG_MIN LLONG_MIN
#define PY_LLONG_MAX LLONG_MAX
#define PY_ULLONG_MAX ULLONG_MAX
#define PY_FORMAT_LONG_LONG "ll"
#define PLATFORM "win32"
#define PYTHONFRAMEWORK ""
#define WITH_DOC_STRINGS 1
#define WITH_PYMALLOC 1
#define Py_ENABLE_SHARED 1
typedef long long Py_ssize_t;
#define PY_SSIZE_T_MAX LLONG_MAX
#ifndef Py_BUILD_CORE
#define Py_NO_ENABLE_SHARED_UNUSED
#endif
#include <io.h>
#include <stdio.h>
#include <limits.h>
#endif
"""

# Wine 8 lacks this DLL, which Rust's library takes random bytes from.
RANDOM = """\
#include <windows.h>
#include <ntsecapi.h>
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T n) {
    return RtlGenRandom(data, (ULONG)n);
}
"""

MAIN = """\
#include <wchar.h>
__declspec(dllimport) int Py_Main(int, wchar_t **);
int wmain(int argc, wchar_t **argv) { return Py_Main(argc, argv); }
"""


class Missing(Exception):
    """What is not there, in one line."""


def cache():
    chosen = os.environ.get("CYEVENT_WINE_CACHE")
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "cyevent-wine"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def missing():
    """Why nothing can be run here, or None."""
    if not sys.platform.startswith("linux") or os.uname().machine != "x86_64":
        return "Windows' Python needs Wine on x86-64 Linux"
    for program in ("wine", f"{TARGET}-gcc"):
        if shutil.which(program) is None:
            return f"{program} is not installed: nothing is run on Windows' Python"
    if sysconfig.get_python_version() != VERSION:
        return f"Windows' Python {VERSION} needs the standard library of Python {VERSION}"
    return None


def run(command, **options):
    options.setdefault("timeout", 600)
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{command}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def make_once(folder, make):
    """The folder, made aside and renamed when whole if it is not there: two runs cannot disturb each other."""
    if not folder.exists():
        aside = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            make(aside)
            aside.rename(folder)
        except FileExistsError:
            pass
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return folder


# --- the interpreter ------------------------------------------------------------------------------


def download(folder):
    """The wheels. Once they are here no network is needed."""
    try:
        run([sys.executable, *PIP_DOWNLOAD, "--no-deps", "-d", str(folder), "panda3d"])
        run([sys.executable, *PIP_DOWNLOAD, "-d", str(folder), *TOOLS])
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        raise Missing(f"cannot download Windows' Python: {str(error).splitlines()[-1]}") from None


def specs(folder):
    """The compiler's own rules, with the Universal C Runtime."""
    path = folder / "ucrt.specs"
    path.write_text(run([f"{TARGET}-gcc", "-dumpspecs"]).replace("-lmsvcrt", "-lucrt"))
    return path


def make_python(folder):
    wheels = make_once(cache() / f"wheels-{TAG}", download)
    python = folder / "py"
    library = python / "Lib"
    packages = library / "site-packages"
    skipped = shutil.ignore_patterns(
        "lib-dynload", "site-packages", "dist-packages", "test", "idlelib", "__pycache__", "*.pyc",
        "config-*", "tkinter", "ensurepip", "sitecustomize.py",
    )  # fmt: skip
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=skipped)
    packages.mkdir()
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            if not wheel.name.startswith("panda3d"):
                archive.extractall(packages)
                continue
            for name in archive.namelist():
                if name.startswith("deploy_libs/"):
                    (python / Path(name).name).write_bytes(archive.read(name))
    shutil.copytree(sysconfig.get_path("include"), folder / "include")
    (folder / "include" / "pyconfig.h").write_text(PYCONFIG)
    dll = f"python{TAG[2:]}"
    names = re.findall(
        r"^\s*\[\s*\d+\]\s+(?:\+base\[\s*\d+\]\s+\w+\s+)?(\w+)$",
        run([f"{TARGET}-objdump", "-p", str(python / f"{dll}.dll")]).split("[Ordinal/Name")[1],
        re.M,
    )
    definition = folder / f"{dll}.def"
    definition.write_text(f"LIBRARY {dll}.dll\nEXPORTS\n" + "\n".join(names) + "\n")
    library_file = folder / f"lib{dll}.a"
    run([f"{TARGET}-dlltool", "-d", str(definition), "-l", str(library_file)])
    # The stable ABI's DLL, whose names are all forwarded.
    forwards = folder / "python3.def"
    lines = "\n".join(f"{name}={dll}.{name}" for name in names)
    forwards.write_text(f"LIBRARY python3.dll\nEXPORTS\n{lines}\n")
    compiler = [f"{TARGET}-gcc", f"-specs={specs(folder)}", "-D_UCRT", "-O1"]
    empty = folder / "empty.c"
    empty.write_text("")
    run([*compiler, "-shared", str(empty), str(forwards), "-o", str(python / "python3.dll")])
    for name, text, flags in (
        ("python.exe", MAIN, ["-municode", f"-L{folder}", f"-l{dll}"]),
        ("bcryptprimitives.dll", RANDOM, ["-shared"]),
    ):
        source = folder / f"{name}.c"
        source.write_text(text)
        run([*compiler, str(source), *flags, "-ladvapi32", "-o", str(python / name)])


def interpreter():
    """The folder with py/python.exe, the headers and the import library."""
    text = Path(__file__).read_bytes()
    key = hashlib.sha256(text[: text.index(b"# --- the package ---")]).hexdigest()[:12]
    return make_once(cache() / f"python-{TAG}-{key}", make_python)


def environment(**more):
    env = {name: os.environ[name] for name in os.environ if not name.startswith("PYTHON")}
    for name in ("DISPLAY", "LD_PRELOAD", "CFLAGS", "LDFLAGS", "CC"):
        env.pop(name, None)
    env |= {
        "WINEPREFIX": str(cache() / "prefix"),
        "WINEDEBUG": "-all",
        # Wine offers to download these for programs of .NET and for pages of HTML.
        "WINEDLLOVERRIDES": "mscoree,mshtml=",
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONUTF8": "1",
        # Not the sources in the current folder.
        "PYTHONSAFEPATH": "1",
    }
    return env | more


def start_wine():
    """Makes Wine's folder once: the first start of a program would do it, but in many seconds."""
    mark = cache() / "prefix" / "cyevent-made"
    if mark.exists():
        return
    subprocess.run(
        ["wine", "wineboot", "--init"], env=environment(), capture_output=True, timeout=300
    )
    mark.parent.mkdir(exist_ok=True)
    mark.touch()


# --- the package ----------------------------------------------------------------------------------


def chosen_sources():
    """The .pyx files of the modules that setup.py builds on Windows: name -> path."""
    only = {}
    text = (ROOT / "setup.py").read_text()
    exec(text[text.index("BSD = ") : text.index("SANITIZERS = ")], only)
    found = {}
    for path in sorted((ROOT / "cyevent").rglob("*.pyx")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        systems = only["PLATFORM_ONLY"].get(name)
        if systems is None or "win32" in systems:
            found[name] = path
    return found


TO_C = """\
import os, runpy, sys
from Cython.Build import cythonize
from setuptools import Extension
modules = [Extension(name, [path]) for name, path in zip(sys.argv[1::2], sys.argv[2::2])]
cythonize(modules, nthreads=os.cpu_count() or 1, build_dir="build/cython", quiet=True,
          compiler_directives=runpy.run_path("setup.py")["DIRECTIVES"])
"""


def to_c(sources):
    """Cythonizes what changed, into build/cython as setup.py does; name -> C file."""
    pairs = [text for name in sources for text in (name, str(sources[name].relative_to(ROOT)))]
    run([sys.executable, "-c", TO_C, *pairs], cwd=ROOT, timeout=1200)
    return {
        name: ROOT / "build" / "cython" / sources[name].relative_to(ROOT).with_suffix(".c")
        for name in sources
    }


def compile_one(source, python, flags):
    """The compiled module, from the cache if it is there; raises RuntimeError with the compiler's text."""
    command = [f"{TARGET}-gcc", f"-specs={python / 'ucrt.specs'}", "-shared", *flags]
    digest = hashlib.sha256(repr((flags, python.name)).encode())
    digest.update(source.read_bytes())
    objects = cache() / "modules"
    objects.mkdir(exist_ok=True)
    made = objects / digest.hexdigest()[:32]
    if made.exists():
        made.touch()
        return made
    with tempfile.TemporaryDirectory(dir=objects) as aside:
        output = Path(aside) / "module.pyd"
        libraries = [f"-l{name}" for name in (f"python{TAG[2:]}", *LIBRARIES)]
        include = [f"-I{python / 'include'}"]
        run([*command, *include, str(source), "-o", str(output), f"-L{python}", *libraries])
        output.rename(made)
    return made


FLAGS = (
    *(
        # Nobody measures it.
        "-O0",
        "-static-libgcc",
        "-D_UCRT",
        "-DMS_WIN64",
        "-D_WIN32_WINNT=0x0A00",
        "-D__USE_MINGW_ANSI_STDIO=0",
        "-w",
    ),
    "-Werror=implicit-function-declaration",
    "-Werror=incompatible-pointer-types",
    "-Werror=int-conversion",
)


def compile_all(c_files, python, flags=FLAGS):
    """name -> compiled module."""
    import fcntl

    def attempt(item):
        name, source = item
        try:
            return name, compile_one(source, python, flags), None
        except RuntimeError as error:
            return name, None, f"{name}\n{error}"

    # Two builds at once would compile the same twice.
    with open(cache() / "lock", "w") as lock, ThreadPoolExecutor(os.cpu_count()) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results = list(pool.map(attempt, c_files.items()))
    errors = [error for _, _, error in results if error]
    if errors:
        raise RuntimeError("\n".join(errors))
    return {name: made for name, made, _ in results}


def assemble(modules, folder):
    """A folder with the package as it would be installed."""
    package = folder / "cyevent"
    for path in (ROOT / "cyevent").rglob("*"):
        target = package / path.relative_to(ROOT / "cyevent")
        if path.suffix not in (".py", ".pyi", ".pxd", ".typed") or "__pycache__" in path.parts:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != path.read_bytes():
            shutil.copyfile(path, target)
    for name, made in modules.items():
        target = folder.joinpath(*name.split(".")).with_suffix(SUFFIX)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink() and target.readlink() == made:
            continue
        target.unlink(missing_ok=True)
        target.symlink_to(made)
    return folder


def test_modules():
    """The Cython modules of the tests that use nothing of POSIX but what the package has for Windows."""
    names = [f"cython/{name}" for name in PORTABLE_TESTS]
    return {name.split("/")[-1]: ROOT / "tests" / f"{name}.pyx" for name in ["lib/failing", *names]}


def build_tests(python):
    """Compiles them into a folder from which the tests there import them."""
    texts = ROOT / "build" / "windows-tests-c"
    folder = ROOT / "build" / "windows-tests"
    for path in (texts, folder):
        path.mkdir(parents=True, exist_ok=True)
    doors = b"".join(path.read_bytes() for path in sorted((ROOT / "cyevent").rglob("*.pxd")))
    sources = {}
    for name, path in test_modules().items():
        sources[name] = texts / f"{name}.c"
        mark = texts / f"{name}.made"
        made_of = hashlib.sha256(doors + path.read_bytes()).hexdigest()
        if mark.exists() and mark.read_text() == made_of:
            continue
        command = [sys.executable, "-m", "cython", "-3", "-I", "tests/cython", str(path)]
        run([*command, "-o", str(sources[name])], cwd=ROOT)
        mark.write_text(made_of)
    for name, made in compile_all(sources, python).items():
        target = folder / (name + SUFFIX)
        target.unlink(missing_ok=True)
        target.symlink_to(made)


def build():
    """Builds what changed; the folder to import the package from."""
    reason = missing()
    if reason:
        raise Missing(reason)
    python = interpreter()
    modules = compile_all(to_c(chosen_sources()), python)
    build_tests(python)
    folder = ROOT / "build" / "windows-package"
    return assemble(modules, folder)


def windows_path(path):
    return "Z:" + str(path).replace("/", "\\")


def command_for(package, *arguments, **more):
    """The command, its environment and its folder for subprocess.run()."""
    start_wine()
    folders = (package, ROOT / "build" / "windows-tests")
    env = environment(PYTHONPATH=";".join(map(windows_path, folders)), **more)
    return ["wine", str(interpreter() / "py" / "python.exe"), *arguments], env


def talk(command, env):
    """Runs it with its output on ours, through a pipe: Python under Wine does not take a file for one."""
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    for line in process.stdout:
        sys.stdout.buffer.write(line)
        sys.stdout.flush()
    return process.wait()


def main(build=build):
    try:
        package = build()
        if len(sys.argv) == 1:
            print(package)
            return 0
        command, env = command_for(package, *sys.argv[1:])
    except (Missing, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return talk(command, env)


if __name__ == "__main__":
    sys.exit(main())
