"""The suite on Windows' CPython under Wine, with select (win32), AFD polling (afd) and completion ports.

Compiled by mingw-w64, and once more as Microsoft's compiler sees the code (microsoft.py).

What passes here passes on Wine's implementation of Windows' calls, not on Windows itself. wine.py tells how.
"""

import re
import subprocess

import microsoft
import programs
import pytest
import wine

# The interpreter is downloaded, and everything compiled, by the first run.
BUILD = 1200

# What runs, and how many tests of it have to pass at the least: none may be left out by mistake. The usual is
# what the port could break most easily; the others take minutes.
SUITES = {
    "usual": (
        [
            *(
                "tests/platforms/test_windows.py",
                "tests/core/test_base.py",
                "tests/core/test_timers.py",
            ),
            *("tests/core/test_call_soon.py", "tests/buffer/test_io.py"),
            *("tests/bufferevent/test_pair.py", "tests/tls/test_filter.py"),
            *("tests/completion", "tests/net/test_connections.py"),
        ],
        400,
    ),
    "core": (["tests/core", "tests/platforms/test_windows.py"], 690),
    "nogil": (["tests/cython"], 1150),
    "buffer": (["tests/buffer", "tests/net"], 1600),
    "bufferevent": (["tests/bufferevent", "tests/completion"], 800),
    "tls": (["tests/tls"], 400),
}
# What the package compiled as for Microsoft's compiler has to pass: what knows the system.
MICROSOFT = (
    *("tests/core", "tests/platforms/test_windows.py", "tests/completion"),
    *("tests/net/test_listener.py", "tests/net/test_connections.py"),
    *("tests/buffer/test_io.py", "tests/buffer/test_files.py"),
    *("tests/bufferevent/test_socket.py", "tests/tls/test_filter.py"),
)
# A hundred thousand of them.
CONNECTIONS = "tests/net/test_connections.py::test_nothing_is_left_by_connections"


@pytest.fixture(scope="session")
def windows_package():
    reason = "what runs under Wine is not sanitized" if programs.SANITIZERS else wine.missing()
    if reason:
        pytest.skip(reason)
    try:
        return wine.build()
    except wine.Missing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def microsoft_package():
    reason = "what runs under Wine is not sanitized" if programs.SANITIZERS else microsoft.missing()
    if reason:
        pytest.skip(reason)
    try:
        return microsoft.build()
    except wine.Missing as error:
        pytest.skip(str(error))


def run(package, limit, *arguments):
    """What pytest says of these arguments there, all of which have to pass."""
    command, env = wine.command_for(
        package, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments
    )
    done = subprocess.run(
        command,
        cwd=wine.ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=limit,
    )
    text = done.stdout.decode(errors="replace")
    report = text[-8000:] + done.stderr.decode(errors="replace")[-4000:]
    assert done.returncode == 0, report
    # For -rP.
    print(text[-8000:])
    passed = re.search(r"(\d+) passed", text)
    return int(passed[1]) if passed else 0


def run_suite(package, suite, limit):
    paths, least = SUITES[suite]
    assert run(package, limit, *paths) >= least


@pytest.mark.timeout(BUILD)
def test_the_build_has_windows_methods(windows_package):
    program = "import cyevent, sys; print(sys.platform, *cyevent.EventBase.supported_methods())"
    command, env = wine.command_for(windows_package, "-P", "-c", program)
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120
    )
    assert done.stdout.split() == [b"win32", b"afd", b"win32"], done.stderr


@pytest.mark.timeout(BUILD)
def test_the_usual_under_wine(windows_package):
    run_suite(windows_package, "usual", 600)


@pytest.mark.slow
@pytest.mark.timeout(3 * BUILD)
@pytest.mark.parametrize("suite", [suite for suite in SUITES if suite != "usual"])
def test_suite_under_wine(windows_package, suite):
    run_suite(windows_package, suite, 2 * BUILD)


@pytest.mark.slow
@pytest.mark.timeout(3 * BUILD)
@pytest.mark.parametrize("mechanism", ["afd", "win32", "afd-completion"])
def test_nothing_is_left_by_many_connections(windows_package, mechanism):
    test = f"{CONNECTIONS}[{mechanism}-100000]"
    assert run(windows_package, 2 * BUILD, "-m", "slow", test) == 1


@pytest.mark.slow
@pytest.mark.timeout(3 * BUILD)
def test_what_microsofts_compiler_would_make(microsoft_package):
    assert run(microsoft_package, 2 * BUILD, *MICROSOFT) >= 1800
