"""Accepting connections."""

import contextlib
import gc
import os
import queue
import socket
import stat
import threading
import time
import weakref

import fds
import pytest

from cyevent import (
    EVLOOP_NO_EXIT_ON_EMPTY,
    EVLOOP_NONBLOCK,
    EVLOOP_ONCE,
    EventBase,
    Listener,
)

unix_sockets = pytest.mark.skipif(
    fds.WINDOWS, reason="Wine has no Unix sockets, nor has Python on Windows"
)
NO_UNIX_SOCKETS = OSError if fds.WINDOWS else FileNotFoundError


def connect(address, family=socket.AF_INET):
    sock = socket.socket(family)
    sock.settimeout(5)
    sock.connect(address)
    return sock


@pytest.fixture
def accepted():
    """Collects accepted descriptors; closes them at the end."""
    collected = []
    yield collected
    for fd in collected:
        fds.close(fd)


@pytest.fixture
def collect(accepted):
    return lambda listener, fd, address: accepted.append(fd)


def test_accept(base, accepted):
    peers = []

    def accept(listener, fd, address):
        accepted.append(fd)
        peers.append(address)

    with Listener(base, ("127.0.0.1", 0), accept) as listener:
        host, port = listener.address
        assert host == "127.0.0.1" and port > 0
        with connect((host, port)) as one, connect((host, port)) as two:
            base.loop(EVLOOP_ONCE)
            assert peers == [one.getsockname(), two.getsockname()]
            fds.write(accepted[0], b"hello")
            assert one.recv(10) == b"hello"
            assert not os.get_blocking(accepted[0])
            assert not os.get_inheritable(accepted[0])
    assert listener.closed
    assert base.num_events() == 0


def test_leave_blocking(base, accepted, collect):
    with (
        Listener(base, ("127.0.0.1", 0), collect, leave_blocking=True) as listener,
        connect(listener.address),
    ):
        base.loop(EVLOOP_ONCE)
        assert os.get_blocking(accepted[0])


def test_ipv6(base, accepted):
    peers = []

    def accept(listener, fd, address):
        accepted.append(fd)
        peers.append(address)

    try:
        listener = Listener(base, ("::1", 0), accept, ipv6_only=True)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener, connect(listener.address, socket.AF_INET6) as sock:
        base.loop(EVLOOP_ONCE)
        assert peers == [sock.getsockname()]


def test_dual_stack(base, accepted, collect):
    try:
        listener = Listener(base, ("::", 0), collect, ipv6_only=False)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener, connect(("127.0.0.1", listener.address[1])):
        base.loop(EVLOOP_ONCE)
        assert len(accepted) == 1


@unix_sockets
@pytest.mark.parametrize("kind", [str, os.fsencode])
def test_unix_path(base, accepted, tmp_path, kind):
    path = str(tmp_path / "socket")
    peers = []

    def accept(listener, fd, address):
        accepted.append(fd)
        peers.append(address)

    with Listener(base, kind(path), accept) as listener:
        assert listener.address == path
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        with connect(path, socket.AF_UNIX):
            base.loop(EVLOOP_ONCE)
        assert peers == [""]
    assert not os.path.exists(path)


@unix_sockets
def test_abstract_name(base, accepted, collect):
    name = b"\0cyevent-test-%d" % os.getpid()
    with Listener(base, name, collect) as listener, connect(name, socket.AF_UNIX):
        assert listener.address == name
        base.loop(EVLOOP_ONCE)
        assert len(accepted) == 1


def test_zone_by_name_and_by_number(base, collect):
    index, interface = socket.if_nameindex()[0]
    for zone in (interface, str(index)):
        # A zone means nothing for ::1, so every machine can bind to it; that it was read is what counts.
        with Listener(base, (f"::1%{zone}", 0), collect) as listener:
            assert listener.address[0] == "::1"
    for host in ("::1%no-such-interface", "::1%", "::1%-1", "127.0.0.1%1"):
        with pytest.raises(ValueError, match="address"):
            Listener(base, (host, 0), collect)


def test_existing_socket(base, accepted, collect):
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    address = sock.getsockname()
    with Listener(base, sock, collect) as listener:
        assert sock.fileno() == -1
        assert listener.address == address
        with connect(address):
            base.loop(EVLOOP_ONCE)
        assert len(accepted) == 1
        fd = listener.fd
    assert not fds.is_open(fd)


def test_socket_that_listens_and_stays_the_callers(base, accepted, collect):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        with (
            Listener(base, sock, collect, backlog=0, close_on_free=False) as listener,
            connect(sock.getsockname()),
        ):
            assert listener.fd == sock.fileno()
            base.loop(EVLOOP_ONCE)
        assert len(accepted) == 1
        assert fds.is_open(sock.fileno())


def test_many_at_once(base, accepted, collect):
    with Listener(base, ("127.0.0.1", 0), collect) as listener:
        socks = [connect(listener.address) for _ in range(300)]
        turns = 0
        while len(accepted) < 300:
            base.loop(EVLOOP_ONCE)
            turns += 1
        # In batches, but not all in one, unless it is the kernel that accepts.
        assert (1 if base.completion else 2) <= turns <= 10
        for sock in socks:
            sock.close()


def test_enable_and_disable(base, accepted, collect):
    with Listener(base, ("127.0.0.1", 0), collect, enabled=False) as listener:
        assert not listener.enabled
        with connect(listener.address):
            base.loop(EVLOOP_NONBLOCK)
            assert accepted == []
            listener.enable()
            assert listener.enabled
            base.loop(EVLOOP_ONCE)
            assert len(accepted) == 1
        listener.disable()
        with connect(listener.address):
            base.loop(EVLOOP_NONBLOCK)
            assert len(accepted) == 1


def test_disable_in_the_callback(base, accepted):
    def accept(listener, fd, address):
        accepted.append(fd)
        listener.disable()

    with (
        Listener(base, ("127.0.0.1", 0), accept) as listener,
        connect(listener.address),
        connect(listener.address),
    ):
        assert base.dispatch() == 1
        assert len(accepted) == 1


def test_close_in_the_callback(base, accepted):
    def accept(listener, fd, address):
        accepted.append(fd)
        listener.close()

    listener = Listener(base, ("127.0.0.1", 0), accept)
    with connect(listener.address), connect(listener.address):
        assert base.dispatch() == 1
    assert len(accepted) == 1
    assert listener.closed


def test_close_accepted(base):
    with Listener(base, ("127.0.0.1", 0), lambda listener, fd, address: fds.close(fd)) as listener:
        with connect(listener.address) as sock:
            base.loop(EVLOOP_ONCE)
            assert sock.recv(1) == b""


def test_close_from_another_thread(base, accepted, collect):
    listener = Listener(base, ("127.0.0.1", 0), collect)
    with connect(listener.address):
        timer = threading.Timer(0.1, listener.close)
        timer.start()
        assert base.dispatch() == 1
        timer.join()


def test_disable_in_another_thread_waits_for_the_callback(base, accepted):
    order = []
    begun = threading.Event()

    def disable():
        begun.set()
        listener.disable()
        order.append("disabled")

    def accept(listener, fd, address):
        accepted.append(fd)
        thread.start()
        begun.wait()
        # For disable(), to end too early.
        time.sleep(0.05)
        order.append("called")

    thread = threading.Thread(target=disable)
    with Listener(base, ("127.0.0.1", 0), accept) as listener, connect(listener.address):
        # Nothing is waited for any more.
        assert base.dispatch() == 1
        thread.join()
        assert order == ["called", "disabled"]
        assert not listener.enabled


@pytest.fixture
def running(base):
    """The base's loop runs in another thread."""
    thread = threading.Thread(target=base.loop, args=(EVLOOP_NO_EXIT_ON_EMPTY,))
    thread.start()
    yield base
    base.loopbreak()
    thread.join()


def in_threads(n, work):
    """Calls work() in n threads at once."""
    barrier = threading.Barrier(n)
    failures = []

    def run():
        try:
            barrier.wait()
            work()
        except BaseException as exception:
            failures.append(exception)

    threads = [threading.Thread(target=run) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_enable_and_disable_in_other_threads(running):
    told = queue.SimpleQueue()

    def accept(listener, fd, address):
        fds.close(fd)
        told.put(address)

    def toggle():
        for _ in range(100):
            with connect(listener.address):
                listener.disable()
                listener.enable()

    listener = Listener(running, ("127.0.0.1", 0), accept)
    in_threads(4, toggle)
    assert listener.enabled
    # Each connection is accepted once, whatever happened meanwhile.
    for _ in range(400):
        told.get(timeout=10)
    in_threads(4, listener.disable)
    with connect(listener.address) as sock:
        listener.enable()
        assert sock.recv(1) == b""
        assert told.get(timeout=10) == sock.getsockname()
    in_threads(4, listener.close)
    assert listener.closed
    assert running.num_events() == 0
    assert told.empty()


def test_close_while_others_use_it(running, collect):
    def use():
        with contextlib.suppress(ValueError):
            while True:
                listener.enable()
                listener.disable()

    def close():
        if closer.acquire(blocking=False):
            listener.close()
        else:
            use()

    for _ in range(50):
        closer = threading.Semaphore(1)
        listener = Listener(running, ("127.0.0.1", 0), collect)
        fd = listener.fd
        in_threads(3, close)
        assert listener.closed and listener.fd == -1
        assert not fds.is_open(fd)
    assert running.num_events() == 0


def test_a_base_without_a_lock(method, accepted, collect):
    with EventBase(method, threadsafe=False) as base:
        listener = Listener(base, ("127.0.0.1", 0), collect)
        listener.disable()
        with connect(listener.address):
            listener.enable()
            base.loop(EVLOOP_ONCE)
        assert len(accepted) == 1


def test_exception_in_the_callback(base, accepted):
    handled = []
    base.set_exception_handler(lambda exc, callback: handled.append(type(exc)))

    def accept(listener, fd, address):
        accepted.append(fd)
        raise RuntimeError

    with Listener(base, ("127.0.0.1", 0), accept) as listener:
        with connect(listener.address), connect(listener.address):
            base.loop(EVLOOP_ONCE)
        assert handled == [RuntimeError] * 2


@pytest.mark.skipif(fds.WINDOWS, reason="Windows does not spread connections over sockets")
def test_reuse_port(base, accepted, collect):
    with Listener(base, ("127.0.0.1", 0), collect, reuse_port=True) as one:
        with Listener(base, one.address, collect, reuse_port=True) as two:
            assert one.address == two.address
        with pytest.raises(OSError, match="address"):
            Listener(base, one.address, collect)


@pytest.mark.skipif(fds.WINDOWS, reason="Windows accepts before there is data")
def test_deferred_accept(base, accepted, collect):
    with (
        Listener(base, ("127.0.0.1", 0), collect, deferred_accept=True) as listener,
        connect(listener.address) as sock,
    ):
        base.loop(EVLOOP_NONBLOCK)
        assert accepted == []
        sock.send(b"data")
        base.loop(EVLOOP_ONCE)
        assert len(accepted) == 1


def test_no_descriptors_left(base):
    """The peer gets a close, not a hang, and accepting goes on later."""
    errors = []
    accepted = []
    listener = Listener(
        base, ("127.0.0.1", 0), lambda listener, fd, address: accepted.append(fd),
        error=lambda listener, error: errors.append(error),
    )  # fmt: skip
    socks = [socket.socket() for _ in range(3)]
    for sock in socks:
        sock.settimeout(5)
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    fillers = []
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (max(sock.fileno() for sock in socks) + 20, limits[1])
    )
    try:
        while True:
            try:
                fillers.append(os.dup(0))
            except OSError:
                break
        socks[0].connect(listener.address)
        base.loop(EVLOOP_ONCE)
        assert accepted == []
        assert len(errors) == 1 and isinstance(errors[0], OSError)
        assert socks[0].recv(1) == b""
        socks[1].connect(listener.address)
        # It rests instead of spinning.
        assert base.loop(EVLOOP_NONBLOCK) == 0
        assert len(errors) == 1
        for fd in fillers:
            fds.close(fd)
        fillers.clear()
        while not accepted:
            base.loop(EVLOOP_ONCE)
        socks[2].connect(listener.address)
        while len(accepted) < 2:
            base.loop(EVLOOP_ONCE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in fillers + accepted:
            fds.close(fd)
        for sock in socks:
            sock.close()
        listener.close()


def test_kept_by_the_base_until_it_closes(base, collect):
    listener = Listener(base, ("127.0.0.1", 0), collect)
    gone = weakref.ref(listener)
    fd = listener.fd
    del listener
    gc.collect()
    assert gone() is not None
    base.close()
    assert gone() is None or gone().closed
    assert not fds.is_open(fd)


def test_use_after_close(base, collect):
    listener = Listener(base, ("127.0.0.1", 0), collect)
    listener.close()
    listener.close()
    assert listener.fd == -1
    for attempt in (
        listener.enable,
        listener.disable,
        listener.fileno,
        lambda: listener.address,
        lambda: listener.enabled,
        listener.__enter__,
    ):
        with pytest.raises(ValueError, match="closed"):
            attempt()
    assert "closed" in repr(listener)


def test_closed_base(base, collect):
    base.close()
    with pytest.raises(ValueError, match="closed"):
        Listener(base, ("127.0.0.1", 0), collect)


@pytest.mark.parametrize(
    ("address", "options", "error", "name"),
    [
        (5, {}, TypeError, "address"),
        (None, {}, TypeError, "address"),
        (("127.0.0.1",), {}, TypeError, "address"),
        (("127.0.0.1", "80"), {}, TypeError, "port"),
        (("127.0.0.1", -1), {}, ValueError, "port"),
        (("127.0.0.1", 65536), {}, ValueError, "port"),
        ((5, 80), {}, TypeError, "host"),
        (("127.0.0.1", 0), {"backlog": -2}, ValueError, "backlog"),
        (("127.0.0.1", 0), {"backlog": 0}, ValueError, "backlog"),
        (("127.0.0.1", 0), {"backlog": "5"}, TypeError, "backlog"),
        (("127.0.0.1", 0), {"ipv6_only": True}, ValueError, "ipv6_only"),
        (("127.0.0.1", 0), {"error": 5}, TypeError, "error"),
        ("", {}, ValueError, "address"),
        ("/" + "x" * 200, {}, ValueError, "address"),
        ("/tmp/a\0b", {}, ValueError, "address"),
        ("\0cyevent-reuse", {"reuse_port": True}, ValueError, "reuse_port"),
        ("/nonexistent/directory/socket", {}, (FileNotFoundError, NO_UNIX_SOCKETS), "address"),
        (("203.0.113.1", 0), {}, OSError, "address"),
    ],
)
def test_bad_arguments(method, base, collect, address, options, error, name):
    before = fds.opened()
    with pytest.raises(error, match=name):
        Listener(base, address, collect, **options)
    # Windows opens handles of its own at the first use of something.
    if before and not fds.WINDOWS:
        assert fds.opened() == before


def test_bad_callback(base):
    with pytest.raises(TypeError, match="callback"):
        Listener(base, ("127.0.0.1", 0), None)


def test_host_name(base, collect):
    with Listener(base, ("localhost", 0), collect) as listener:
        assert listener.address[0] in ("127.0.0.1", "::1")
    with Listener(base, ("", 0), collect) as listener:
        assert listener.address[0] == "0.0.0.0"


def test_a_socket_that_is_no_listener(base, accepted, collect, pair):
    errors = []

    def failed(listener, error):
        errors.append(error)
        listener.disable()

    pair[1].send(b"x")
    listener = Listener(base, pair[0], collect, backlog=0, close_on_free=False, error=failed)
    base.dispatch()
    assert len(errors) == 1 and isinstance(errors[0], OSError)
    assert accepted == []
    listener.close()
