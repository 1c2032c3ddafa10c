"""Fixtures that every layer's tests share.

The tests are for the installed package: the directory that holds the sources goes to the end of the
import path, so it serves only where nothing is installed (a build in place).
"""

import faulthandler
import functools
import hashlib
import importlib
import os
import platform
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import leaks
import programs
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
if any(Path(entry or ".").resolve() == ROOT for entry in sys.path):
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    sys.path.append(str(ROOT))

# A loop that hangs does so outside the interpreter, where no Python timeout can stop it. Later than
# pytest-timeout, which fails a single test where it can.
HANG = programs.limit(150)

STDERR = pytest.StashKey[int]()

# What makes the tests fit for it.
windows = importlib.import_module("windows") if sys.platform == "win32" else None

# What takes hours at night takes seconds by day: --hypothesis-profile=nightly, or CYEVENT_NIGHTLY set.
settings.register_profile("nightly", max_examples=5000, stateful_step_count=80, deadline=None)
if os.environ.get("CYEVENT_NIGHTLY"):
    settings.load_profile("nightly")

leaks.look_at_the_end()

# The interrupt tests need Python's own handler; a shell's background job inherits SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    if windows is not None:
        config.pluginmanager.register(windows.Plugin())
        windows.raise_instead_of_killing()
        windows.stand_in_for_user_signals()
    # Output is not captured yet here, so this is the terminal that a hang's traceback should reach.
    config.stash[STDERR] = os.dup(2)


def pytest_unconfigure(config):
    faulthandler.cancel_dump_traceback_later()
    os.close(config.stash[STDERR])


def arm_hang_guard(request):
    """Ends the run with every thread's traceback when this test takes far too long."""
    hang = 7200.0 if settings.get_current_profile_name() == "nightly" else HANG
    own = request.node.get_closest_marker("timeout")
    if own is not None and own.args:
        hang = max(hang, own.args[0] + HANG)
    # Its thread blocks all signals, but not from its first instruction on: one that signalfd is to read would
    # end the run there.
    blockable = hasattr(signal, "pthread_sigmask")
    if blockable:
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    faulthandler.dump_traceback_later(hang, exit=True, file=request.config.stash[STDERR])
    if blockable:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)


@pytest.fixture(autouse=True)
def hang_guard(request):
    arm_hang_guard(request)
    yield
    faulthandler.cancel_dump_traceback_later()


def pytest_addoption(parser):
    parser.addoption(
        "--methods",
        metavar="NAMES",
        help="of the tests that run once for each mechanism, run those of these (separated by commas)",
    )


def pytest_collection_modifyitems(config, items):
    wanted = config.getoption("--methods")
    if not wanted:
        return

    def is_wanted(item):
        params = item.callspec.params if hasattr(item, "callspec") else {}
        named = [
            params.get("method"),
            params.get("mechanism"),
            (params.get("backend") or [None])[0],
        ]
        return all(name is None or name in wanted.split(",") for name in named)

    config.hook.pytest_deselected(items=[item for item in items if not is_wanted(item)])
    items[:] = [item for item in items if is_wanted(item)]


# Of these, tests that take `method` run over completions, too: with the first mechanism, since the others have
# none. Such a base is asked for by the environment, so that those which a test makes itself are meant as well.
OVER_COMPLETIONS = ("bufferevent", "completion", "net", "tls")


@functools.cache
def has_completion():
    import cyevent

    with cyevent.EventBase(completion=True) as base:
        return base.completion is not None


def pytest_generate_tests(metafunc):
    """A test that takes `method` runs once for each mechanism of this machine."""
    if "method" not in metafunc.fixturenames:
        return
    import cyevent

    methods = cyevent.EventBase.supported_methods()
    cases = [pytest.param(method, False, id=method) for method in methods]
    if metafunc.definition.path.parent.name in OVER_COMPLETIONS and has_completion():
        cases.append(pytest.param(methods[0], True, id=f"{methods[0]}-completion"))
        metafunc.fixturenames.insert(0, "over_completions")
        metafunc.parametrize(("method", "over_completions"), cases, indirect=["over_completions"])
    else:
        metafunc.parametrize("method", methods)


@pytest.fixture
def over_completions(request, monkeypatch):
    """Whether bases get a completion port."""
    monkeypatch.delenv("EVENT_USE_COMPLETION", raising=False)
    if request.param:
        monkeypatch.setenv("EVENT_USE_COMPLETION", "1")
    return request.param


@pytest.fixture
def base(method):
    """An event base on the mechanism under test, closed afterwards."""
    import cyevent

    base = cyevent.EventBase(method)
    # A test that expects an exception sets its own handler; here any other one is a failure.
    unexpected = []
    base.set_exception_handler(lambda exc, callback: unexpected.append((callback, exc)))
    yield base
    if not base.closed:
        base.close()
    if unexpected:
        raise AssertionError(f"exceptions in callbacks: {unexpected}") from unexpected[0][1]


@pytest.fixture
def pair():
    """Two connected non-blocking stream sockets."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


@pytest.fixture(scope="session")
def package_env():
    """The environment in which a child finds the package that this run tests."""
    return programs.environment()


@pytest.fixture
def run_python(tmp_path):
    """Runs a program in an interpreter of its own, away from the source tree."""

    def run(program, *args, options=(), timeout=60, check=True):
        done = programs.run(*options, "-c", program, *args, cwd=tmp_path, timeout=timeout)
        if windows is not None:
            windows.skip_if_lacking(done.stderr)
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def in_child(request):
    """Runs a function in a forked child; the test fails with the child's traceback if it raises."""

    def run(function, *args):
        reader, writer = os.pipe()
        # The guard is a thread.
        faulthandler.cancel_dump_traceback_later()
        programs.wait_for_threads_to_end()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                # Whatever it hangs in, this ends it.
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(60)
                os.close(reader)
                function(*args)
                status = 0
            except BaseException:
                import traceback

                os.write(writer, traceback.format_exc().encode()[-60000:])
            finally:
                os._exit(status)
        arm_hang_guard(request)
        os.close(writer)
        with os.fdopen(reader, "rb") as report:
            text = report.read().decode()
        _, status = os.waitpid(pid, 0)
        assert status == 0, text or f"child ended with wait status {status}"

    return run


# --- what the tests compile themselves ------------------------------------------------------------


# Read once and here: sysconfig fills its table at the first use, which is not safe in two threads.
EXT_SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
COMPILER = [
    *shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"),
    *("-shared", "-fPIC", "-O0"),
    # Python's own functions are those of the interpreter that loads the module.
    *(("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ()),
    *programs.SANITIZER_FLAGS,
    *(f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")),
]


# Seconds after which a build is removed by the next one.
OUTDATED = 86400.0


def _build_key(sources, flags):
    """Changes with anything that the compiled modules depend on."""
    import Cython

    import cyevent

    doors = sorted(Path(cyevent.__file__).parent.rglob("*.pxd"))
    about = (Cython.__version__, sys.version, platform.machine(), COMPILER, flags)
    digest = hashlib.sha256(repr(about).encode())
    for name, text in sources.items():
        digest.update(name.encode() + text.encode())
    for path in doors:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(name, folder, flags):
    """Cython and the C compiler; returns what they had to say if one of them failed."""
    cython = [sys.executable, "-m", "cython", "-3", f"{name}.pyx"]
    compiler = [*COMPILER, *flags, f"{name}.c", "-o", name + EXT_SUFFIX]
    env = programs.compiler_environment()
    for command in (cython, compiler):
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        if done.returncode:
            return f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return None


@pytest.fixture(scope="session")
def compile_cython(request, tmp_path_factory):
    """Compiles Cython modules against the package under test, or finds them compiled.

    Takes the texts of all .pyx and .pxd files by file name; returns the modules by name.
    """

    def compile_all(sources, flags=("-w",)):
        modules = [name.removesuffix(".pyx") for name in sources if name.endswith(".pyx")]
        if windows is not None:
            return windows.compiled(modules)
        cache = getattr(request.config, "cache", None)
        parent = cache.mkdir("cyevent-modules") if cache else tmp_path_factory.mktemp("modules")
        folder = parent / _build_key(sources, flags)
        if not folder.exists():
            for build in parent.iterdir():
                if build.stat().st_mtime < time.time() - OUTDATED:
                    shutil.rmtree(build, ignore_errors=True)
            # Built aside and renamed when whole: an interrupted run leaves nothing that looks
            # finished, and of two runs at once the second to be ready uses the first one's.
            building = Path(tempfile.mkdtemp(dir=parent))
            for name, text in sources.items():
                (building / name).write_text(text)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                results = pool.map(lambda name: _compile(name, building, flags), modules)
                errors = [error for error in results if error]
            if errors:
                shutil.rmtree(building)
                pytest.fail("\n".join(errors), pytrace=False)
            try:
                building.rename(folder)
            except OSError:
                shutil.rmtree(building)
        sys.path.insert(0, str(folder))
        try:
            return {name: importlib.import_module(name) for name in modules}
        finally:
            sys.path.remove(str(folder))

    return compile_all


@pytest.fixture(scope="session")
def cython_modules(compile_cython):
    """The modules of tests/cython: name -> module."""
    sources = sorted((ROOT / "tests" / "cython").glob("*.p[xy][dx]"))
    return compile_cython({source.name: source.read_text() for source in sources})
