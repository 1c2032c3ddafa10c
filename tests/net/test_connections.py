"""Connections by the thousand, opened, used and closed: nothing is left of them, and nothing spins."""

import gc
import time

import fds
import pytest

from cyevent import (
    BEV_EVENT_CONNECTED,
    READ,
    EventBase,
    Listener,
    PrepareWatcher,
    SocketBufferEvent,
    Timer,
)

AT_ONCE = 20
QUIET = 0.5


def echo(bev):
    bev.write(bev.read())


class Load:
    """A server and its clients on one base; each client has a byte echoed, and is then closed."""

    def __init__(self, base):
        self.base = base
        self.failures = []
        self.listener = Listener(base, ("127.0.0.1", 0), self.accept)

    def accept(self, listener, fd, address):
        bev = SocketBufferEvent(self.base, fd, read=echo, event=lambda bev, what: bev.close())
        bev.enable(READ)

    def connect(self):
        bev = SocketBufferEvent(self.base, read=self.answered, event=self.happened)
        bev.connect(self.listener.address)
        bev.enable(READ)
        bev.write(b"x")

    def answered(self, bev):
        assert bev.read() == b"x"
        if self.to_open > 0:
            bev.close()
            self.to_open -= 1
            self.connect()
        else:
            # The last stay open.
            self.open.append(bev)
            if len(self.open) == AT_ONCE:
                self.base.loopbreak()

    def happened(self, bev, what):
        if what != BEV_EVENT_CONNECTED:
            self.failures.append(what)
            self.base.loopbreak()

    def run(self, connections):
        self.open = []
        self.to_open = connections - AT_ONCE
        for _ in range(AT_ONCE):
            self.connect()
        self.base.dispatch()
        assert self.failures == []
        assert len(self.open) == AT_ONCE

    def wait(self):
        """Returns the turns of the loop, and the processor's seconds, while nothing happens."""
        turns = []
        # What the last ones have caused is over.
        self.base.loopexit(0.1)
        self.base.dispatch()
        watcher = PrepareWatcher(self.base, lambda *args: turns.append(1))
        Timer(self.base, self.base.loopbreak).add(QUIET)
        before = time.process_time()
        self.base.dispatch()
        spent = time.process_time() - before
        watcher.close()
        assert self.failures == []
        return len(turns), spent

    def close(self):
        for bev in self.open:
            bev.close()
        self.base.loopexit(0.1)
        self.base.dispatch()
        self.listener.close()


def serve(method, connections):
    with EventBase(method) as base:
        load = Load(base)
        load.run(connections)
        turns, spent = load.wait()
        load.close()
    gc.collect()
    return turns, spent


@pytest.mark.parametrize(
    "connections",
    [1000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(2400)])],
)
def test_nothing_is_left_by_connections(method, connections):
    serve(method, 5 * AT_ONCE)
    before = fds.opened()
    turns, spent = serve(method, connections)
    assert fds.opened() == before
    # A loop that spins makes thousands, or none at all if it is the mechanism that does.
    assert turns < 10
    assert spent < QUIET / 2
