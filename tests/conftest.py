"""Fixtures that every layer's tests share.

The tests are for the installed package: the directory that holds the sources goes to the end of the
import path, so it serves only where nothing is installed (a build in place).
"""

import faulthandler
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
if any(Path(entry or ".").resolve() == ROOT for entry in sys.path):
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    sys.path.append(str(ROOT))

# A loop that hangs does so outside the interpreter, where no Python timeout can stop it.
HANG = 120.0

STDERR = pytest.StashKey[int]()

# The interrupt tests need Python's own handler; a shell's background job inherits SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    # Output is not captured yet here, so this is the terminal that a hang's traceback should reach.
    config.stash[STDERR] = os.dup(2)


def pytest_unconfigure(config):
    faulthandler.cancel_dump_traceback_later()
    os.close(config.stash[STDERR])


@pytest.fixture(autouse=True)
def hang_guard(request):
    """Ends the run with every thread's traceback when one test takes far too long."""
    faulthandler.dump_traceback_later(HANG, exit=True, file=request.config.stash[STDERR])
    yield
    faulthandler.cancel_dump_traceback_later()


def pytest_generate_tests(metafunc):
    """A test that takes `method` runs once for each mechanism of this machine."""
    if "method" in metafunc.fixturenames:
        import cyevent

        metafunc.parametrize("method", cyevent.EventBase.supported_methods())


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
    import cyevent

    env = dict(os.environ)
    env["PYTHONPATH"] = str(Path(cyevent.__file__).resolve().parents[1])
    return env


@pytest.fixture
def run_python(package_env, tmp_path):
    """Runs a program in an interpreter of its own, away from the source tree."""

    def run(program, *args, options=(), timeout=60, check=True):
        done = subprocess.run(
            [sys.executable, *options, "-c", program, *args],
            cwd=tmp_path,
            env=package_env,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def in_child():
    """Runs a function in a forked child; the test fails with the child's traceback if it raises."""

    def run(function, *args):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(reader)
                function(*args)
                status = 0
            except BaseException:
                import traceback

                os.write(writer, traceback.format_exc().encode()[-60000:])
            finally:
                os._exit(status)
        os.close(writer)
        with os.fdopen(reader, "rb") as report:
            text = report.read().decode()
        _, status = os.waitpid(pid, 0)
        assert status == 0, text or f"child ended with wait status {status}"

    return run


# --- Cython test modules -----------------------------------------------------------------------------


def _build_key(sources):
    """Changes with anything that the compiled modules depend on."""
    import Cython
    import cyevent

    doors = sorted(Path(cyevent.__file__).parent.rglob("*.pxd"))
    digest = hashlib.sha256(f"{Cython.__version__} {sys.version} {platform.machine()}".encode())
    for path in (*sources, *doors):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(source, folder, env):
    """Cython and the C compiler, in a folder of their own so that only the installed package is found."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    c_file = folder / (source.stem + ".c")
    commands = [
        [sys.executable, "-m", "cython", "-3", source.name, "-o", c_file.name],
        [
            *shlex.split(sysconfig.get_config_var("CC")),
            *("-shared", "-fPIC", "-O1", "-g0", "-w"),
            *("-I", sysconfig.get_path("include"), "-I", sysconfig.get_path("platinclude")),
            *(c_file.name, "-o", source.stem + suffix),
        ],
    ]
    for command in commands:
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        if done.returncode:
            return f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return None


@pytest.fixture(scope="session")
def cython_modules(package_env):
    """The modules of tests/cython, compiled against the package under test: name -> module."""
    sources = sorted((ROOT / "tests" / "cython").glob("*.p[xy][dx]"))
    modules = [source for source in sources if source.suffix == ".pyx"]
    cache = Path(tempfile.gettempdir()) / f"cyevent-tests-{os.getuid()}"
    folder = cache / _build_key(sources)
    done = folder / "complete"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for source in sources:
            shutil.copy(source, folder)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = pool.map(lambda source: _compile(source, folder, package_env), modules)
            errors = [error for error in results if error]
        assert not errors, "\n".join(errors)
        done.touch()
    sys.path.insert(0, str(folder))
    try:
        yield {source.stem: importlib.import_module(source.stem) for source in modules}
    finally:
        sys.path.remove(str(folder))
