"""The C header: every name in C and in C++, several files, and what import_cyevent() does when it cannot."""

import os
import re
import textwrap
from pathlib import Path

import pytest
from libevent_names import door_names, names_to_check

import cyevent

DOOR = door_names()
# Where these are 0 in Cython, C has no such macro.
DEFINED_OR_NOT = {
    "EVTHREAD_USE_PTHREADS_IMPLEMENTED": os.name == "posix",
    "EVTHREAD_USE_WINDOWS_THREADS_IMPLEMENTED": os.name == "nt",
}
NAMES = [name for name in names_to_check() if DEFINED_OR_NOT.get(name.name, True)]

LANGUAGES = [
    *(
        ("c", compiler, standard)
        for compiler in ("gcc", "clang")
        for standard in ("c99", "c11", "c17")
    ),
    *(
        ("cpp", compiler, standard)
        for compiler in ("g++", "clang++")
        for standard in ("c++11", "c++17", "c++20")
    ),
]
PORTING = sorted(
    path.name for path in Path(cyevent.get_include(), "cyevent").iterdir() if path.suffix == ".h"
)

# libevent's users look for these with #ifdef.
MACROS = (
    "BEV_EVENT_EOF",
    "EVBUFFER_FLAG_DRAINS_TO_FD",
    "EVENT_BASE_COUNT_ADDED",
    "EVENT_LOG_WARN",
    "EVENT_MAX_PRIORITIES",
    "EVLOOP_NO_EXIT_ON_EMPTY",
    "EVTHREAD_LOCK_API_VERSION",
    "EV_CLOSED",
    "EV_ET",
    "LEV_OPT_REUSEABLE_PORT",
    "LIBEVENT_VERSION",
    "LIBEVENT_VERSION_NUMBER",
)


def everything():
    """A program with the address of every function, typed as libevent has it, and each constant's value."""
    functions = [name for name in NAMES if name.kind == "function"]
    constants = [name for name in NAMES if name.kind == "constant"]
    types = [name for name in NAMES if name.kind == "type"]
    pointers = "\n".join(
        f"static {name.declare(f'const pointer_{name.name}')} = {name.name};" for name in functions
    )
    addresses = "\n".join(
        f'    {{"{name.name}", (anything)pointer_{name.name}}},' for name in functions
    )
    values = "\n".join(
        f'    printf("%s %lld\\n", "{name.name}", (long long){name.name});' for name in constants
    )
    sizes = "\n".join(f"    sizes += sizeof({name.meaning} *);" for name in types)
    there = {**dict.fromkeys(MACROS, True), **DEFINED_OR_NOT}
    checks = "\n".join(
        f"#if{'n' if defined else ''}def {name}\n#error {name}\n#endif"
        for name, defined in there.items()
    )
    return f"""\
#include <Python.h>
#include <stdarg.h>
#include <cyevent/cyevent.h>

{checks}
#if LIBEVENT_VERSION_NUMBER < 0x02020000
#error "the version cannot be compared by the preprocessor"
#endif

typedef void (*anything)(void);
{pointers}

static const struct {{ const char *name; anything address; }} functions[] = {{
{addresses}
}};

int main(void) {{
    size_t i, sizes = 0;
    enum event_method_feature feature = EV_FEATURE_ET;
    Py_Initialize();
    if (import_cyevent() < 0) {{ PyErr_Print(); return 1; }}
{sizes}
    if (sizes == 0 || feature != EV_FEATURE_ET)
        return 2;
    for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {{
        if (functions[i].address == NULL)
            return 3;
        printf("%s()\\n", functions[i].name);
    }}
{values}
    if (strcmp(LIBEVENT_VERSION, event_get_version()) != 0
        || LIBEVENT_VERSION_NUMBER != event_get_version_number())
        return 4;
    return Py_FinalizeEx();
}}
"""


@pytest.mark.parametrize(("language", "compiler", "standard"), LANGUAGES)
def test_every_name(toolchain, compiler_for, run_program, tmp_path, language, compiler, standard):
    compiler = compiler_for(compiler)
    source = tmp_path / f"everything.{language}"
    source.write_text(everything())
    program = tmp_path / "everything"
    toolchain.link(compiler, [toolchain.compile(compiler, source, f"-std={standard}")], program)
    done = run_program(program)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    functions = {line[:-2] for line in lines if line.endswith("()")}
    assert functions == {name.name for name in NAMES if name.kind == "function"}
    values = dict(line.split() for line in lines if " " in line)
    wrong = {}
    for name in NAMES:
        if name.kind == "constant" and name.meaning:
            # Those that are beyond long long were printed as if they were signed.
            expected = int(name.meaning, 0) & (2**64 - 1)
            if int(values[name.name]) & (2**64 - 1) != expected:
                wrong[name.name] = values[name.name]
    assert wrong == {}


def test_the_header_has_what_the_doors_have():
    """Nothing that Cython code can have is left out, but for a struct that no function takes."""
    text = Path(cyevent.get_include(), "cyevent", "cyevent.h").read_text()
    words = set(re.findall(r"\w+", text))
    ours = re.compile(r"(ev|bufferevent_|BEV_|LEV_|EV)\w+")
    missing = {name for name in DOOR if ours.fullmatch(name) and name not in words}
    assert missing <= {"evbuffer_chain"}


@pytest.mark.parametrize("header", PORTING)
@pytest.mark.parametrize("language", ["c", "cpp"])
def test_a_header_alone(toolchain, compiler_for, tmp_path, header, language):
    compiler = compiler_for("gcc", "clang") if language == "c" else compiler_for("g++", "clang++")
    source = tmp_path / f"alone.{language}"
    source.write_text(
        f"#include <cyevent/{header}>\n#include <cyevent/{header}>\n"
        "int made(struct event *ev) { return event_initialized(ev) + EV_READ; }\n"
    )
    flags = ("-Wno-missing-prototypes",) if language == "c" else ()
    toolchain.compile(compiler, source, *flags)


MAIN = """\
#include <cyevent/event.h>

extern int count_in_c(struct event_base *base);
extern int count_in_cpp(struct event_base *base);

int main(void) {
    struct event_base *base;
    int counted;
    Py_Initialize();
    if (import_cyevent() < 0 || import_cyevent() < 0) { PyErr_Print(); return 1; }
    PyEval_SaveThread();
    base = event_base_new();
    counted = count_in_c(base) + 10 * count_in_cpp(base);
    event_base_free(base);
    PyGILState_Ensure();
    Py_FinalizeEx();
    printf("%d\\n", counted);
    return 0;
}
"""

# Without import_cyevent(): the table is filled in another file.
OTHER = """\
#include <cyevent/event.h>
#include <cyevent/event_struct.h>

EXTERN int NAME(struct event_base *base);

static void count(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    *(int *)arg += what == EV_TIMEOUT;
}

int NAME(struct event_base *base) {
    struct event first, second;
    struct timeval soon = {0, 1000};
    int n = 0;
    evtimer_assign(&first, base, count, &n);
    event_assign(&second, base, -1, 0, count, &n);
    evtimer_add(&first, &soon);
    event_add(&second, &soon);
    event_base_dispatch(base);
    return n;
}
"""


def test_several_files_share_one_import(toolchain, compiler_for, run_program, tmp_path):
    c, cpp = compiler_for("gcc", "clang"), compiler_for("g++", "clang++")
    main, in_c, in_cpp = tmp_path / "main.c", tmp_path / "other.c", tmp_path / "other.cpp"
    main.write_text(MAIN)
    in_c.write_text(OTHER.replace("NAME", "count_in_c").replace("EXTERN", "extern"))
    in_cpp.write_text(OTHER.replace("NAME", "count_in_cpp").replace("EXTERN", 'extern "C"'))
    objects = [
        toolchain.compile(c, main),
        toolchain.compile(c, in_c),
        toolchain.compile(cpp, in_cpp),
    ]
    done = run_program(toolchain.link(cpp, objects, tmp_path / "program"))
    assert (done.returncode, done.stdout) == (0, "22\n"), done.stderr


PRINT = """\
#include <cyevent/buffer.h>

int main(void) {
    struct evbuffer *buf;
    char text[16];
    int n, cut;
    Py_InitializeEx(0);
    if (import_cyevent() < 0) { PyErr_Print(); return 1; }
    buf = evbuffer_new();
    n = evbuffer_add_printf(buf, "%s %d %.1f %lld", "text", -1, 2.5, 1LL << 40);
    cut = evutil_snprintf(text, sizeof(text), "%s", "a text of more than that");
    fwrite(evbuffer_pullup(buf, -1), 1, evbuffer_get_length(buf), stdout);
    printf("|%d|%s|%d\\n", n, text, cut);
    evbuffer_free(buf);
    return Py_FinalizeEx();
}
"""


@pytest.mark.skipif(not {"evbuffer_add_printf", "evutil_snprintf"} <= DOOR, reason="not there yet")
@pytest.mark.parametrize("language", ["c", "cpp"])
def test_variable_arguments(toolchain, compiler_for, run_program, tmp_path, language):
    compiler = compiler_for("gcc", "clang") if language == "c" else compiler_for("g++", "clang++")
    source = tmp_path / f"print.{language}"
    source.write_text(PRINT)
    objects = [toolchain.compile(compiler, source)]
    done = run_program(toolchain.link(compiler, objects, tmp_path / "print"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "text -1 2.5 1099511627776|25|a text of more |24\n"


# --- when it cannot be imported ---------------------------------------------------------------------

# Twice, so that the second time finds what the first has left; with an argument it then looks there.
TRY = """\
#include <cyevent/cyevent.h>

static int try_it(void) {
    int result = import_cyevent();
    if (result < 0 && !PyErr_Occurred())
        return 9;
    if (result == 0 && PyErr_Occurred())
        return 8;
    if (PyErr_Occurred()) {
        PyErr_Print();
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    int first, second;
    Py_InitializeEx(0);
    first = try_it();
    if (argc > 1) {
        PyObject *path = PySys_GetObject("path"), *folder = PyUnicode_FromString(argv[1]);
        PyList_Insert(path, 0, folder);
        Py_DECREF(folder);
    }
    second = try_it();
    printf("%d %d\\n", first, second);
    return Py_FinalizeEx();
}
"""


@pytest.fixture
def trying(toolchain, compiler_for, tmp_path):
    compiler = compiler_for("gcc", "clang")
    source = tmp_path / "try.c"
    source.write_text(TRY)
    return toolchain.link(compiler, [toolchain.compile(compiler, source)], tmp_path / "try")


def fake_package(folder, files):
    for name, text in files.items():
        path = Path(folder, "cyevent", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def test_without_the_package(trying, run_program, empty_path):
    done = run_program(trying, PYTHONPATH=empty_path)
    assert (done.returncode, done.stdout) == (0, "1 1\n")
    assert "ModuleNotFoundError: No module named 'cyevent'" in done.stderr


def test_found_at_the_second_attempt(trying, run_program, empty_path):
    package = os.fspath(Path(cyevent.__file__).parents[1])
    done = run_program(trying, package, PYTHONPATH=empty_path)
    assert (done.returncode, done.stdout) == (0, "1 0\n"), done.stderr


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("C_API_VERSION = 999", "ImportError: compiled for version"),
        ("C_API_VERSION = 10**40", "OverflowError"),
        ("C_API_VERSION = 'one'", "TypeError"),
        ("", "AttributeError"),
        ("C_API_VERSION = -1", "ImportError: compiled for version"),
        ("raise RuntimeError('broken')", "RuntimeError: broken"),
    ],
)
def test_another_version(trying, run_program, empty_path, version, message):
    fake_package(empty_path, {"__init__.py": "", "_version.py": version})
    done = run_program(trying, PYTHONPATH=empty_path)
    assert (done.returncode, done.stdout) == (0, "1 1\n")
    assert message in done.stderr


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("", "AttributeError"),
        ("__pyx_capi__ = {}", "ImportError: cyevent.buffer.callbacks has no C function"),
        ("__pyx_capi__ = {'evbuffer_add_cb': 1}", "invalid PyCapsule"),
        ("__pyx_capi__ = 1", "ImportError: cyevent.buffer.callbacks has no C function"),
    ],
)
def test_a_package_without_the_functions(trying, run_program, empty_path, module, message):
    version = f"C_API_VERSION = {c_api_version()}"
    fake_package(
        empty_path,
        {
            "__init__.py": "",
            "_version.py": version,
            "buffer/__init__.py": "",
            "buffer/callbacks.py": module,
        },
    )
    done = run_program(trying, PYTHONPATH=empty_path)
    assert (done.returncode, done.stdout) == (0, "1 1\n"), done.stderr
    assert message in done.stderr


def c_api_version():
    from cyevent._version import C_API_VERSION

    return C_API_VERSION
