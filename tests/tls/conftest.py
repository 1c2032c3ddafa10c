"""Fixtures of the TLS tests: certificates, socket pairs, connected ends."""

import socket
import sys
from pathlib import Path

import pytest

pytest.importorskip("OpenSSL", reason="TLS needs pyOpenSSL")
sys.path.append(str(Path(__file__).parent))

from tls_peers import DAY, NOW, VERSIONS, Authority, Log, client_context, server_context

from cyevent import READ, SSLBufferEvent


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def good(authority):
    """For localhost."""
    return authority.issue("server", ["localhost", "*.example.org", "127.0.0.1", "::1"])


@pytest.fixture(scope="session")
def expired(authority):
    return authority.issue("expired", ["localhost"], begins=NOW - 9 * DAY, ends=NOW - DAY)


@pytest.fixture(scope="session")
def not_yet(authority):
    return authority.issue("not yet", ["localhost"], begins=NOW + DAY)


@pytest.fixture(scope="session")
def self_signed(authority):
    return authority.issue("alone", ["localhost"], self_signed=True)


@pytest.fixture(scope="session")
def client_cert(authority):
    return authority.issue("client")


@pytest.fixture(params=sorted(VERSIONS))
def version(request):
    """The one version of TLS that a context of this test speaks."""
    return request.param


@pytest.fixture
def tcp_pair():
    """Two connected TCP sockets; blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    with left, right:
        left.settimeout(20)
        right.settimeout(20)
        yield left, right


@pytest.fixture
def tls_pair(base, pair, authority, good):
    """Makes a connected client and server on one base, with logs: (client, server, its log, its log)."""
    made = []

    def make(version=None, options=0, client=None, server=None, sockets=pair, **more):
        logs = Log(), Log()
        ends = (
            SSLBufferEvent(
                base,
                sockets[0],
                client or client_context(authority, version),
                options,
                server_hostname="localhost",
                **logs[0].callbacks,
                **more,
            ),
            SSLBufferEvent(
                base,
                sockets[1],
                server or server_context(good, version),
                options,
                server_side=True,
                **logs[1].callbacks,
            ),
        )
        made.extend(ends)
        for end in ends:
            end.enable(READ)
        return *ends, *logs

    yield make
    for bev in made:
        bev.close()
