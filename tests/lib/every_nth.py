"""A pytest plugin that makes each n-th allocation of the core fail while a test runs.

A test may fail then, for want of memory. It must not end the process, and when all are over nothing may be left
of what was allocated: that fails the run.
"""

import gc
import sys
import threading

import failing
import pytest

# What an exception of a test that failed refers to would otherwise live until the next one fails.
LAST = ("last_exc", "last_type", "last_value", "last_traceback")

GUARD = 60.0

failures = 0
# Tests after which something was left, though perhaps in a thread that was still about to end.
suspects = []


def pytest_addoption(parser):
    parser.addoption("--every-nth", type=int, required=True, help="fail each n-th allocation")


def pytest_configure(config):
    failing.install()


def pytest_collection_finish():
    # Collecting what tests leave need not look at pytest too.
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    global failures
    failing.fail_every(item.config.getoption("--every-nth"))
    try:
        return (yield)
    finally:
        failures += failing.fail_every(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        report.outcome = "skipped"
        report.wasxfail = "no memory"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    before = failing.outstanding()
    result = yield
    for name in LAST:
        if hasattr(sys, name):
            delattr(sys, name)
    if failing.outstanding() > before:
        gc.collect()
    if failing.outstanding() > before:
        suspects.append(item.nodeid)
    return result


def pytest_sessionfinish(session):
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(GUARD)
    gc.collect()
    if failing.outstanding():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"{failures} allocations failed")
    if failing.outstanding():
        terminalreporter.write_line(f"{failing.outstanding()} blocks are left: {suspects}")
