"""A pytest plugin that makes each n-th allocation of the core fail while a test runs.

A test may fail then, for want of memory. It must not end the process, and when it is over nothing may be left
of what was allocated: that fails the run.
"""

import gc
import sys

import failing
import pytest

# What an exception of a test that failed refers to would otherwise live until the next one fails.
LAST = ("last_exc", "last_type", "last_value", "last_traceback")

left = []
failures = 0


def pytest_addoption(parser):
    parser.addoption("--every-nth", type=int, default=0, help="fail each n-th allocation")


def pytest_configure(config):
    failing.install()


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
    gc.collect()
    more = failing.outstanding() - before
    if more > 0:
        left.append(f"{item.nodeid}: {more} blocks are left")
    return result


def pytest_sessionfinish(session):
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"{failures} allocations failed")
    for line in left:
        terminalreporter.write_line(line)
