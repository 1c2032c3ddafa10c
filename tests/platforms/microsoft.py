"""The package compiled as Microsoft's compiler sees it, to run on Windows' CPython under Wine.

    python tests/platforms/microsoft.py [arguments of python.exe]

Facts:
- Microsoft's compiler and headers are not to be had beside Windows. Clang takes its options, defines its
  macros and has its types, keywords, intrinsics and calling conventions, and Wine's headers are written for it.
- Clang defines its own name beside, and knows GNU C's extensions. Here it does not give its name, so that the
  code takes the way for Microsoft's compiler, and an extension is an error.
- An enumerator of Microsoft's is an int; a larger one is cut, with a warning.
- Wine's headers lack a few of Microsoft's declarations; MORE has them.

What compiles so uses the language and the declarations that Microsoft's compiler has, and what runs shows that
the ways for it are right. It is still clang: its optimizer, its reading of the standard; and Wine's headers.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import wine

LIBRARIES = ("ucrt", "kernel32", *wine.LIBRARIES)
HEADERS = ("/usr/include/wine/wine", "/usr/include/wine", "/usr/include/wine-development")

MORE = """\
#include <time.h>
#include <signal.h>
#include <stdlib.h>
#ifndef SIG_GET
#define SIG_GET ((__sighandler_t)2)
#endif
#ifndef _TIMESPEC_DEFINED
#define _TIMESPEC_DEFINED
struct timespec { time_t tv_sec; long tv_nsec; };
#endif
long long _abs64(long long n);
errno_t _gmtime64_s(struct tm *result, const time_t *when);
#define gmtime_s _gmtime64_s
unsigned long __stdcall if_nametoindex(const char *name);
"""

# What the start-up code of a DLL has: thread-local variables, and that floating point is used.
STARTUP = """\
#pragma section(".tls", long, read, write)
#pragma section(".tls$ZZZ", long, read, write)
#pragma section(".rdata$T", long, read)
unsigned long _tls_index;
int _fltused;
__declspec(allocate(".tls")) char _tls_start;
__declspec(allocate(".tls$ZZZ")) char _tls_end;
struct directory { void *start, *end, *index, *callbacks; unsigned long zero, flags; };
__declspec(allocate(".rdata$T")) const struct directory _tls_used = {
    &_tls_start, &_tls_end, &_tls_index, 0, 0, 0 };
int __stdcall _DllMainCRTStartup(void *module, unsigned long why, void *reserved) { return 1; }
"""

FLAGS = (
    *("--driver-mode=cl", "--target=x86_64-pc-windows-msvc19.40", "-U__clang__"),
    *("-D_UCRT", "-D_WIN32_WINNT=0x0A00", "/c", "/nologo", "/Od"),
    # What would call functions of the start-up code's library.
    *("/GS-", "/Gs100000000"),
    # In its C, GNU's extensions and arrays of variable length are errors, in our code and in Cython's.
    *("-Wno-everything", "-Werror=gnu", "-Werror=vla", "-Werror=c23-extensions"),
    # Nor does an enumerator hold more than an int.
    "-Werror=microsoft-enum-value",
    "-Werror=implicit-function-declaration",
    "-Werror=incompatible-pointer-types",
    "-Werror=int-conversion",
    # Wine's inet_ntop() takes no const.
    "-Wno-incompatible-pointer-types-discards-qualifiers",
)


def find(name):
    """The program, of whatever version."""
    for version in ("", *(f"-{n}" for n in range(30, 13, -1))):
        path = shutil.which(name + version)
        if path:
            return path
    return None


def headers():
    """Wine's folder of them, or None."""
    for folder in map(Path, HEADERS):
        if (folder / "msvcrt" / "corecrt.h").exists():
            return folder
    return None


def missing():
    """Why nothing can be compiled here, or None."""
    for name in ("clang", "lld-link"):
        if find(name) is None:
            return f"{name} is not installed: nothing is compiled as for Microsoft's compiler"
    if headers() is None:
        return "libwine-dev is not installed: nothing is compiled as for Microsoft's compiler"
    return wine.missing()


class Toolchain:
    def __init__(self, python):
        self.python = python
        digest = hashlib.sha256(Path(__file__).read_bytes() + python.name.encode())
        self.key = digest.hexdigest()
        self.folder = wine.make_once(wine.cache() / f"microsoft-{self.key[:12]}", self.prepare)

    def prepare(self, folder):
        (folder / "more.h").write_text(MORE)
        (folder / "startup.c").write_text(STARTUP)
        self.compile(folder, folder / "startup.c", folder / "startup.obj")

    def compile(self, folder, source, output):
        found = headers()
        wine.run(
            [
                find("clang"),
                *FLAGS,
                *("-imsvc", str(found / "msvcrt"), "-imsvc", str(found / "windows")),
                # Their warnings are not ours.
                *("-imsvc", str(self.python / "include"), "-imsvc", str(folder)),
                *("-FImore.h", f"-Fo{output}", "--", str(source)),
            ]
        )

    def make(self, name, source):
        """The compiled module, from the cache if it is there."""
        objects = wine.cache() / "modules"
        objects.mkdir(exist_ok=True)
        digest = hashlib.sha256(self.key.encode() + source.read_bytes())
        made = objects / digest.hexdigest()[:32]
        if made.exists():
            made.touch()
            return made
        libraries = Path(f"/usr/{wine.TARGET}/lib")
        with tempfile.TemporaryDirectory(dir=objects) as aside:
            compiled, output = Path(aside) / "module.obj", Path(aside) / "module.pyd"
            self.compile(self.folder, source, compiled)
            wine.run(
                [
                    find("lld-link"),
                    *("/dll", "/nologo", "/nodefaultlib", "/entry:_DllMainCRTStartup"),
                    *("/include:_tls_used", f"/export:PyInit_{name.rpartition('.')[2]}"),
                    *(f"/out:{output}", str(compiled), str(self.folder / "startup.obj")),
                    str(self.python / f"libpython{wine.TAG[2:]}.a"),
                    *(str(libraries / f"lib{library}.a") for library in LIBRARIES),
                ]
            )
            output.rename(made)
        return made


def build():
    """Builds what changed; the folder to import the package from."""
    reason = missing()
    if reason:
        raise wine.Missing(reason)
    toolchain = Toolchain(wine.interpreter())

    def attempt(item):
        try:
            return item[0], toolchain.make(*item), None
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            return item[0], None, f"{item[0]}\n{error}"

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(attempt, wine.to_c(wine.chosen_sources()).items()))
    errors = [error for _, _, error in results if error]
    if errors:
        raise RuntimeError("\n".join(errors))
    wine.build_tests(toolchain.python)
    modules = {name: made for name, made, _ in results}
    return wine.assemble(modules, wine.ROOT / "build" / "microsoft-package")


if __name__ == "__main__":
    sys.exit(wine.main(build))
