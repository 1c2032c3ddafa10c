"""What the tests need to run on Windows as they are.

A test that uses something of POSIX which Windows lacks is skipped, and says what that is. Only those are: each
other failure is one. tests/platforms/test_wine.py says how many tests have to pass at the least.
"""

import ctypes
import importlib
import os
import re
import select
import signal
import socket

import pytest

POSIX_MODULES = (os, select, signal, socket)
MISSING = re.compile(r"AttributeError: module '(os|select|signal|socket)' has no attribute '(\w+)'")


def lacking(error):
    """What of POSIX the error is about, or None."""
    if not isinstance(error, AttributeError) or getattr(error, "obj", None) not in POSIX_MODULES:
        return None
    return f"{error.obj.__name__}.{error.name}"


def skip_if_lacking(text):
    """Skips a test whose child ended with such an error."""
    found = MISSING.search(text)
    if found:
        pytest.skip(f"Windows has no {found[1]}.{found[2]}")


# Tests of what Wine does otherwise than Windows: by the beginning of their names, with the reason.
WINE_DIFFERS = {
    "test_early_close_is_told_before_the_data_is_read": "Wine tells of the peer's end after the data",
    "test_connect_fails": "Wine refuses a connection at once, which Windows never does",
    "test_reset": "Wine ends a connection in order where Windows resets it",
    "test_connection_reset": "Wine ends a connection in order where Windows resets it",
}


def compiled(names):
    """Of the Cython modules of the tests those that platforms/wine.py has compiled, by name."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in names:
                raise
    if not found:
        pytest.skip("there is no compiler here, and nothing is compiled already")
    return found


def under_wine():
    return hasattr(ctypes.windll.ntdll, "wine_get_version")


class Plugin:
    """For pytest."""

    def pytest_collection_modifyitems(self, items):
        if not under_wine():
            return
        for item in items:
            reason = WINE_DIFFERS.get(item.originalname)
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        outcome = yield
        name = lacking(call.excinfo.value) if call.excinfo else None
        if name is not None:
            report = outcome.get_result()
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.location[1] + 1, f"Windows has no {name}")


def stand_in_for_user_signals():
    """The tests take SIGUSR1 and SIGUSR2 for signals that nobody else uses."""
    signal.SIGUSR1 = signal.SIGBREAK
    signal.SIGUSR2 = signal.SIGTERM


def raise_instead_of_killing():
    """os.kill() ends a process there, whatever the signal; a process's own signals come from raise()."""
    terminate = os.kill

    def kill(pid, signum):
        if pid == os.getpid():
            signal.raise_signal(signum)
        else:
            terminate(pid, signum)

    os.kill = kill
