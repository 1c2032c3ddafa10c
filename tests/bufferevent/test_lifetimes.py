"""What lives how long, and who may end it when."""

import gc
import socket
import sys
import threading
import time
import weakref

import fds
import pytest

from cyevent import (
    BEV_EVENT_EOF,
    BEV_EVENT_ERROR,
    BEV_OPT_DEFER_CALLBACKS,
    BEV_OPT_THREADSAFE,
    BEV_OPT_UNLOCK_CALLBACKS,
    EVLOOP_NONBLOCK,
    EVLOOP_ONCE,
    READ,
    WRITE,
    EvBuffer,
    EventBase,
    Listener,
    SocketBufferEvent,
)

ALL_OPTIONS = [
    0,
    BEV_OPT_DEFER_CALLBACKS,
    BEV_OPT_THREADSAFE,
    BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS,
    BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS | BEV_OPT_UNLOCK_CALLBACKS,
]


def test_kept_while_enabled(base, pair):
    left, right = pair
    got = []
    bev = SocketBufferEvent(base, left, read=lambda bev: got.append(bev.read()))
    bev.enable(READ)
    gone = weakref.ref(bev)
    fd = bev.fd
    del bev
    gc.collect()
    assert gone() is not None
    right.send(b"x")
    base.loop(EVLOOP_ONCE)
    assert got == [b"x"]
    right.close()
    base.dispatch()
    gc.collect()
    assert gone() is None
    assert not fds.is_open(fd)


def test_not_kept_before(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, left)
    gone = weakref.ref(bev)
    fd = bev.fd
    del bev
    gc.collect()
    assert gone() is None and not fds.is_open(fd)


def test_kept_until_it_is_written(base, pair):
    left, right = pair
    SocketBufferEvent(base, left).write(b"x" * 1000)
    gc.collect()
    base.dispatch()
    assert len(right.recv(10_000)) == 1000


def test_released_by_disable(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, left)
    bev.enable(READ)
    gone = weakref.ref(bev)
    bev.disable(READ)
    del bev
    gc.collect()
    assert gone() is None


def test_cycles_are_collected(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, left)
    bev.set_callbacks(read=lambda b, me=bev: None, event=lambda b, w, me=bev: None)
    bev.input.add_callback(lambda *_, me=bev: None)
    gone = weakref.ref(bev)
    fd = bev.fd
    del bev
    gc.collect()
    assert gone() is None and not fds.is_open(fd)


@pytest.mark.parametrize("options", ALL_OPTIONS)
@pytest.mark.parametrize("where", ["read", "write", "event"])
def test_close_in_a_callback(base, pair, options, where):
    left, right = pair
    calls = []

    def close(bev, *what):
        calls.append(what)
        bev.write(b"thrown away or not")
        bev.close()

    bev = SocketBufferEvent(base, left, options, **{where: close})
    fd = bev.fd
    bev.enable(READ | WRITE)
    right.send(b"x")
    if where == "event":
        right.close()
    base.dispatch()
    assert len(calls) == 1
    assert bev.closed and not fds.is_open(fd)


@pytest.mark.parametrize("options", ALL_OPTIONS)
def test_close_another_in_a_callback(base, options):
    pairs = [socket.socketpair() for _ in range(4)]
    bevs = []
    calls = []

    def close_all(bev, *_):
        calls.append(1)
        for other in bevs:
            other.close()

    for left, _ in pairs:
        bevs.append(SocketBufferEvent(base, left, options, read=close_all, write=close_all))
        bevs[-1].enable(READ)
    for _, right in pairs:
        right.send(b"x")
    base.dispatch()
    assert calls == [1]
    for _, right in pairs:
        right.close()


@pytest.mark.parametrize("deferred", [False, True])
def test_close_in_a_buffer_callback(base, pair, deferred):
    left, right = pair
    bev = SocketBufferEvent(base, left)
    fd = bev.fd
    if deferred:
        bev.input.defer_callbacks(base)
    bev.input.add_callback(lambda *_: bev.close())
    bev.enable(READ)
    right.send(b"x")
    base.dispatch()
    assert bev.closed
    base.loop(EVLOOP_NONBLOCK)
    assert not fds.is_open(fd)


def test_close_in_a_callback_of_its_output(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, left)
    fd = bev.fd
    bev.output.add_callback(lambda *_: bev.close())
    bev.write(b"x")
    assert bev.closed
    base.dispatch()
    assert not fds.is_open(fd)


def test_close_with_a_deferred_callback_due(base, pair):
    left, right = pair
    calls = []
    bev = SocketBufferEvent(base, left, BEV_OPT_DEFER_CALLBACKS, read=calls.append)
    bev.enable(READ)
    bev.trigger(READ)
    fd = bev.fd
    bev.close()
    assert not fds.is_open(fd)
    base.dispatch()
    assert calls == []


def test_close_the_base_first(method):
    base = EventBase(method)
    left, right = socket.socketpair()
    enabled = SocketBufferEvent(base, left, BEV_OPT_DEFER_CALLBACKS, read=lambda bev: None)
    enabled.enable(READ)
    enabled.trigger(READ)
    idle = SocketBufferEvent(base, right)
    both = enabled.fd, idle.fd
    base.close()
    assert enabled.closed
    assert not idle.closed
    with pytest.raises(ValueError, match="closed"):
        idle.enable(READ)
    with pytest.raises(ValueError, match="closed"):
        idle.write(b"x")
    idle.close()
    assert not any(map(fds.is_open, both))
    with pytest.raises(ValueError, match="closed"):
        SocketBufferEvent(base)


def test_base_closed_in_the_end(method):
    """Nothing is closed by hand; the collector finds it all."""
    base = EventBase(method)
    left, right = socket.socketpair()
    bev = SocketBufferEvent(base, left)
    bev.set_callbacks(read=lambda b, base=base: None)
    bev.enable(READ)
    gone = weakref.ref(bev)
    fd = bev.fd
    del bev, base
    gc.collect()
    assert gone() is None and not fds.is_open(fd)
    right.close()


def test_use_after_close(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, left)
    source, target = bev.input, bev.output
    bev.close()
    bev.close()
    assert bev.closed and bev.fd == -1
    for attempt in (
        lambda: bev.write(b"x"),
        lambda: bev.write_reference(b"x"),
        lambda: bev.write_buffer(EvBuffer()),
        lambda: bev.read(),
        lambda: bev.read_buffer(EvBuffer()),
        lambda: bev.enable(READ),
        lambda: bev.disable(READ),
        lambda: bev.enabled,
        lambda: bev.input,
        lambda: bev.output,
        lambda: bev.set_callbacks(),
        lambda: bev.set_timeouts(),
        lambda: bev.set_watermark(READ),
        lambda: bev.trigger(READ),
        lambda: bev.trigger_event(1),
        lambda: bev.connect(("127.0.0.1", 1)),
        lambda: bev.flush(READ),
        lambda: bev.priority,
        lambda: bev.error,
        lambda: bev.peer,
        lambda: setattr(bev, "fd", 1),
        bev.fileno,
        bev.__enter__,
        lambda: source.remove(),
        lambda: len(source),
        lambda: target.add(b"x"),
        lambda: bytes(target),
        lambda: target.add_buffer(EvBuffer(b"x")),
        lambda: EvBuffer(b"x").add_buffer(target),
    ):
        with pytest.raises(ValueError, match="closed"):
            attempt()
    assert "closed" in repr(bev) and "closed" in repr(source)


def test_views_outlive_the_bufferevent(base, pair):
    left, right = pair
    bev = SocketBufferEvent(base, left)
    bev.enable(READ)
    right.send(b"abc")
    base.loop(EVLOOP_ONCE)
    views = bev.input.peek()
    bev.close()
    assert b"".join(views) == b"abc"


def test_with_statement(base, pair):
    left, right = pair
    with SocketBufferEvent(base, left) as bev:
        assert not bev.closed
    assert bev.closed


def test_exceptions_go_to_the_base(base, pair):
    left, right = pair
    handled = []
    base.set_exception_handler(lambda exc, callback: handled.append((type(exc), callback)))

    def fail(bev, *what):
        raise KeyError("x")

    bev = SocketBufferEvent(base, left, read=fail, write=fail, event=fail)
    bev.enable(READ | WRITE)
    right.send(b"x")
    right.close()
    base.dispatch()
    assert handled == [(KeyError, fail)] * 3
    bev.close()


def test_keyboard_interrupt_ends_the_loop(base, pair):
    left, right = pair

    def interrupt(bev):
        raise KeyboardInterrupt

    bev = SocketBufferEvent(base, left, read=interrupt)
    bev.enable(READ)
    right.send(b"x")
    with pytest.raises(KeyboardInterrupt):
        base.dispatch()
    bev.close()


def test_callbacks_replaced_inside(base, pair):
    left, right = pair
    log = []

    def first(bev):
        log.append(("first", bev.read(1)))
        bev.set_callbacks(read=second)
        bev.trigger(READ)

    def second(bev):
        log.append(("second", bev.read()))
        bev.close()

    bev = SocketBufferEvent(base, left, read=first)
    assert bev.callbacks == (first, None, None)
    bev.enable(READ)
    right.send(b"abc")
    base.dispatch()
    assert log == [("first", b"a"), ("second", b"bc")]


def test_no_references_leak(base):
    callbacks = [lambda bev: None, lambda bev: None, lambda bev, what: None]
    before = [sys.getrefcount(callback) for callback in callbacks]
    for _ in range(10):
        left, right = socket.socketpair()
        bev = SocketBufferEvent(base, left, BEV_OPT_DEFER_CALLBACKS)
        bev.set_callbacks(*callbacks)
        bev.enable(READ | WRITE)
        right.send(b"x")
        base.loop(EVLOOP_NONBLOCK)
        right.close()
        base.loop(EVLOOP_NONBLOCK)
        bev.close()
    del bev
    gc.collect()
    assert [sys.getrefcount(callback) for callback in callbacks] == before


def test_connections_come_and_go(base):
    """No descriptor is left, however a connection ends."""

    def accept(listener, fd, address):
        SocketBufferEvent(
            base,
            fd,
            read=lambda bev: bev.write(bev.read()),
            event=lambda bev, what: bev.close(),
        ).enable(READ)

    def answered(bev):
        finished.append(bev.read())
        bev.close()

    listener = Listener(base, ("127.0.0.1", 0), accept)
    for number in range(6):
        finished = []
        for _ in range(50):
            client = SocketBufferEvent(base, read=answered)
            client.connect(listener.address)
            client.enable(READ)
            client.write(b"hello")
        while len(finished) < 50:
            base.loop(EVLOOP_ONCE)
        for _ in range(5):
            base.loop(EVLOOP_NONBLOCK)
        assert finished == [b"hello"] * 50
        gc.collect()
        if number == 0:
            # AFD's mechanism has a handle of its own for every 32 sockets, and keeps it.
            before = fds.opened()
    assert fds.opened() == before
    listener.close()


# --- threads ------------------------------------------------------------------------------------------


def test_writing_from_other_threads(base):
    left, right = socket.socketpair()
    bev = SocketBufferEvent(base, left, BEV_OPT_THREADSAFE)
    peer = SocketBufferEvent(base, right)
    received = bytearray()

    def read(bev):
        received.extend(bev.read())
        if len(received) == 4 * 200 * 10:
            base.loopbreak()

    peer.set_callbacks(read=read)
    peer.enable(READ)
    bev.enable(READ)

    def write(letter):
        for _ in range(200):
            bev.write(letter * 10)

    threads = [
        threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c", b"d")
    ]
    for thread in threads:
        thread.start()
    base.dispatch()
    for thread in threads:
        thread.join()
    # Each write stays together.
    parts = {bytes(received[at : at + 10]) for at in range(0, len(received), 10)}
    assert parts == {b"a" * 10, b"b" * 10, b"c" * 10, b"d" * 10}
    assert len(received) == 8000
    bev.close()
    peer.close()


@pytest.mark.parametrize(
    "options", [option for option in ALL_OPTIONS if option & BEV_OPT_THREADSAFE]
)
def test_closing_from_another_thread(base, options):
    """While the loop reads, writes and calls back on it."""
    for _ in range(20):
        left, right = socket.socketpair()
        bev = SocketBufferEvent(base, left, options, read=lambda bev: bev.closed or bev.write(b"."))
        echo = SocketBufferEvent(base, right, read=lambda bev: bev.write(bev.read()))
        ended = []
        echo.set_callbacks(
            read=lambda bev: bev.write(bev.read()),
            event=lambda bev, what: ended.append(what) or bev.close(),
        )
        bev.enable(READ)
        echo.enable(READ)
        bev.write(b"go")

        def close(bev=bev):
            time.sleep(0.002)
            bev.close()

        base.set_exception_handler(lambda exc, callback: None)
        thread = threading.Thread(target=close)
        thread.start()
        base.dispatch()
        thread.join()
        # The end when it reads, or an error when it writes, whichever came first.
        assert ended and ended[0] & (BEV_EVENT_EOF | BEV_EVENT_ERROR)


def test_triggering_from_another_thread(base, pair):
    """The callback runs in the thread that triggers it, while the loop waits elsewhere."""
    left, right = pair
    threads = []
    bev = SocketBufferEvent(
        base, left, BEV_OPT_THREADSAFE, read=lambda bev: threads.append(threading.get_ident())
    )
    bev.enable(READ)
    loop = threading.Thread(target=base.dispatch)
    loop.start()
    time.sleep(0.05)
    bev.trigger(READ)
    assert threads == [threading.get_ident()]
    bev.close()
    base.loopbreak()
    loop.join()
