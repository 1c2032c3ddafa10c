"""Running a base's loop until something has happened."""

import clock

from cyevent import EVLOOP_NONBLOCK


def run_until(base, condition, seconds=20):
    deadline = clock.monotonic() + seconds
    while not condition():
        assert clock.monotonic() < deadline, "what was waited for did not happen"
        base.loop(EVLOOP_NONBLOCK)
