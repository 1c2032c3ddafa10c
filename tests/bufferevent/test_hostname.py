"""Connecting to a host by its name."""

import gc
import socket
import threading
import time

import pytest

from cyevent import (
    BEV_EVENT_CONNECTED,
    BEV_EVENT_ERROR,
    BEV_OPT_DEFER_CALLBACKS,
    BEV_OPT_THREADSAFE,
    EVLOOP_NONBLOCK,
    READ,
    EventBase,
    SocketBufferEvent,
)


@pytest.fixture(
    params=[0, BEV_OPT_DEFER_CALLBACKS, BEV_OPT_THREADSAFE], ids=["plain", "defer", "lock"]
)
def options(request):
    return request.param


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def dispatch(base, bev):
    events = []
    bev.set_callbacks(event=lambda bev, what: (events.append(what), base.loopbreak()))
    base.dispatch()
    return events


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", b"127.0.0.1"])
def test_connect(base, options, server, host):
    bev = SocketBufferEvent(base, None, options)
    bev.write(b"before there is a socket")
    bev.connect_hostname(host, server.getsockname()[1], family=socket.AF_INET)
    assert bev.connecting
    assert bev.fd == -1
    assert dispatch(base, bev) == [BEV_EVENT_CONNECTED]
    assert not bev.connecting
    assert bev.error is None and bev.dns_error == 0
    peer, _ = server.accept()
    with peer:
        base.loop(EVLOOP_NONBLOCK)
        assert peer.recv(100) == b"before there is a socket"
    bev.close()


def test_in_a_base_without_a_lock(method, server):
    with EventBase(method, threadsafe=False) as base:
        bev = SocketBufferEvent(base)
        bev.connect_hostname("localhost", server.getsockname()[1], family=socket.AF_INET)
        assert dispatch(base, bev) == [BEV_EVENT_CONNECTED]
        bev.close()


def test_no_such_name(base, options):
    bev = SocketBufferEvent(base, None, options)
    # Reserved for never existing.
    bev.connect_hostname("name.invalid", 80)
    assert dispatch(base, bev) == [BEV_EVENT_ERROR]
    assert isinstance(bev.error, socket.gaierror)
    assert bev.error.errno == bev.dns_error != 0
    assert not bev.connecting
    bev.close()


def test_no_such_address_family(base):
    bev = SocketBufferEvent(base)
    bev.connect_hostname("::1", 80, family=socket.AF_INET)
    assert dispatch(base, bev) == [BEV_EVENT_ERROR]
    assert bev.dns_error
    bev.close()


def test_refused(base, options, server):
    port = server.getsockname()[1]
    server.close()
    bev = SocketBufferEvent(base, None, options)
    bev.connect_hostname("localhost", port, family=socket.AF_INET)
    assert dispatch(base, bev) == [BEV_EVENT_ERROR]
    assert isinstance(bev.error, ConnectionRefusedError)
    assert bev.dns_error == 0
    bev.close()


def test_closed_meanwhile(base, options, server):
    for _ in range(20):
        bev = SocketBufferEvent(base, None, options)
        bev.set_callbacks(event=lambda bev, what: pytest.fail("closed"))
        bev.connect_hostname("localhost", server.getsockname()[1], family=socket.AF_INET)
        bev.close()
    # Nothing is waited for any more.
    base.dispatch()


def test_closed_by_another_thread(base, server):
    events = []
    running = threading.Thread(target=base.loop, kwargs={"flags": 4})
    running.start()
    for round in range(50):
        bev = SocketBufferEvent(base, None, BEV_OPT_THREADSAFE)
        bev.set_callbacks(event=lambda bev, what: events.append(what))
        bev.connect_hostname("localhost", server.getsockname()[1], family=socket.AF_INET)
        time.sleep(round % 5 * 0.0002)
        bev.close()
    base.loopbreak()
    running.join()
    assert all(what == BEV_EVENT_CONNECTED for what in events)


def test_another_descriptor_meanwhile(base, server, pair):
    bev = SocketBufferEvent(base)
    events = []
    got = []
    bev.set_callbacks(
        read=lambda bev: (got.append(bev.read()), base.loopbreak()),
        event=lambda bev, what: events.append(what),
    )
    bev.connect_hostname("localhost", server.getsockname()[1], family=socket.AF_INET)
    bev.fd = pair[0].detach()
    assert not bev.connecting


def test_kept_meanwhile(base, server):
    connected = []
    bev = SocketBufferEvent(base)
    bev.set_callbacks(event=lambda bev, what: (connected.append(what), bev.close()))
    bev.connect_hostname("localhost", server.getsockname()[1], family=socket.AF_INET)
    del bev
    gc.collect()
    base.dispatch()
    assert connected == [BEV_EVENT_CONNECTED]


def test_more_names_than_threads(base, server):
    port = server.getsockname()[1]
    server.listen(100)
    connected = []

    def happened(bev, what):
        connected.append(what)
        bev.close()

    for _ in range(60):
        bev = SocketBufferEvent(base)
        bev.set_callbacks(event=happened)
        bev.connect_hostname("localhost", port, family=socket.AF_INET)
    base.dispatch()
    assert connected == [BEV_EVENT_CONNECTED] * 60


def test_closed_base(method, server):
    base = EventBase(method)
    bev = SocketBufferEvent(base)
    bev.connect_hostname("localhost", server.getsockname()[1])
    base.close()
    bev.close()


@pytest.mark.parametrize(
    "arguments, error, name",
    [
        ((None, 80), TypeError, "host"),
        (("", 80), ValueError, "host"),
        (("a\0b", 80), ValueError, "host"),
        (("x" * 64 + "\xe9", 80), ValueError, "host"),
        (("localhost", 0), ValueError, "port"),
        (("localhost", 65536), ValueError, "port"),
        (("localhost", "80"), TypeError, "port"),
    ],
)
def test_bad_arguments(base, arguments, error, name):
    bev = SocketBufferEvent(base)
    with pytest.raises(error, match=name):
        bev.connect_hostname(*arguments)
    with pytest.raises(ValueError, match="family"):
        bev.connect_hostname("localhost", 80, family=99)
    with pytest.raises(TypeError, match="dns"):
        bev.connect_hostname("localhost", 80, dns=1)
    assert not bev.connecting
    bev.close()
    with pytest.raises(ValueError):
        bev.connect_hostname("localhost", 80)


def test_only_one_at_a_time(base, server):
    bev = SocketBufferEvent(base)
    bev.enable(READ)
    bev.connect_hostname("localhost", server.getsockname()[1])
    with pytest.raises(ValueError, match="already"):
        bev.connect_hostname("localhost", server.getsockname()[1])
    bev.close()
