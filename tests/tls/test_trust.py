"""Who is trusted: certificates, names, client certificates, callbacks; and what is negotiated besides."""

import socket
import ssl

import pytest
from OpenSSL import SSL
from tls_peers import Log, Peer, client_context, run_until, server_context, standard_context

from cyevent import (
    BEV_EVENT_CONNECTED,
    BEV_EVENT_EOF,
    BEV_EVENT_ERROR,
    BEV_EVENT_READING,
    READ,
    EventBase,
    SSLBufferEvent,
    SSLError,
)

REFUSED = BEV_EVENT_READING | BEV_EVENT_ERROR


@pytest.fixture
def meet(base, pair):
    """Runs a handshake until both ends have heard of it: (client, server, its log, its log)."""
    made = []

    def run(server, client, **more):
        more.setdefault("server_hostname", "localhost")
        logs = Log(), Log()
        ends = (
            SSLBufferEvent(base, pair[0], client, **more, **logs[0].callbacks),
            SSLBufferEvent(base, pair[1], server, server_side=True, **logs[1].callbacks),
        )
        made.extend(ends)
        for end in ends:
            end.enable(READ)
        run_until(base, lambda: logs[0].events and logs[1].events)
        return *ends, *logs

    yield run
    for bev in made:
        bev.close()


# --- certificates ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("expired", "certificate has expired"),
        ("not_yet", "certificate is not yet valid"),
        ("self_signed", "self-signed certificate"),
    ],
)
def test_a_bad_certificate_is_refused(request, meet, authority, version, which, words):
    certificate = request.getfixturevalue(which)
    client, server, mine, theirs = meet(
        server_context(certificate, version), client_context(authority, version)
    )
    assert mine.events == [REFUSED]
    error = mine.errors[0]
    assert isinstance(error, SSLError) and isinstance(error, OSError)
    assert "certificate verify failed" in str(error) and words in str(error)
    assert error.verify_code != 0 and error.verify_message in str(error)
    assert ("SSL routines", "certificate verify failed") in error.errors
    assert not client.established
    # The server is told why.
    assert theirs.events[-1] & BEV_EVENT_ERROR
    assert "alert" in str(theirs.errors[-1])


def test_nobody_is_trusted_by_default(meet, good):
    _, _, mine, _ = meet(server_context(good), SSL.Context(SSL.TLS_CLIENT_METHOD))
    assert mine.events == [REFUSED]
    assert "unable to get local issuer certificate" in str(mine.errors[0])


def test_without_a_context_the_systems_authorities_are_trusted(meet, good):
    _, _, mine, _ = meet(server_context(good), None)
    assert mine.events == [REFUSED]
    assert "unable to get local issuer certificate" in str(mine.errors[0])


def test_verification_can_be_given_up(meet, self_signed):
    client, _, mine, _ = meet(server_context(self_signed), None, verify=False, server_hostname=None)
    assert mine.events == [BEV_EVENT_CONNECTED]
    assert client.peer_certificate == self_signed.cert


@pytest.mark.parametrize(
    "name", ["localhost", "LocalHost", "localhost.", "a.example.org", "127.0.0.1", "::1"]
)
def test_the_right_host(meet, authority, good, name):
    client, server, mine, _ = meet(
        server_context(good), client_context(authority), server_hostname=name
    )
    assert mine.events == [BEV_EVENT_CONNECTED], mine.errors
    # Addresses are not sent as names.
    sent = server.connection.get_servername()
    assert sent == (None if name in ("127.0.0.1", "::1") else name.rstrip(".").encode())


@pytest.mark.parametrize(
    "name", ["example.org", "a.b.example.org", "localhost.evil", "127.0.0.2", "::2"]
)
def test_the_wrong_host_is_refused(meet, authority, good, version, name):
    _, _, mine, _ = meet(
        server_context(good, version), client_context(authority, version), server_hostname=name
    )
    assert mine.events == [REFUSED]
    words = "IP address mismatch" if name[-1] == "2" else "hostname mismatch"
    assert words in str(mine.errors[0])


def test_the_name_can_be_left_unchecked(meet, authority, good):
    client, server, mine, _ = meet(
        server_context(good),
        client_context(authority),
        server_hostname="other",
        check_hostname=False,
    )
    assert mine.events == [BEV_EVENT_CONNECTED]
    assert server.connection.get_servername() == b"other"


def test_settings_of_a_connection_are_not_those_of_its_context(base, meet, authority, good, pair):
    context = client_context(authority)
    meet(server_context(good), context, server_hostname="localhost")
    assert context.get_verify_mode() == SSL.VERIFY_NONE


@pytest.mark.parametrize("which", ["expired", "self_signed"])
def test_a_standard_context_refuses_too(request, meet, authority, which):
    certificate = request.getfixturevalue(which)
    context = standard_context(ssl.PROTOCOL_TLS_CLIENT, authority)
    _, _, mine, _ = meet(server_context(certificate), context)
    assert mine.events == [REFUSED]
    assert "certificate verify failed" in str(mine.errors[0])


def test_a_standard_context_checks_names_as_it_says(meet, authority, good):
    context = standard_context(ssl.PROTOCOL_TLS_CLIENT, authority)
    _, _, mine, _ = meet(server_context(good), context, server_hostname="wrong")
    assert "hostname mismatch" in str(mine.errors[0])


def test_a_standard_context_that_verifies_nothing(meet, self_signed):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, _, mine, _ = meet(server_context(self_signed), context, server_hostname=None)
    assert mine.events == [BEV_EVENT_CONNECTED]


def test_a_standard_context_limits_versions(meet, authority, good):
    context = standard_context(ssl.PROTOCOL_TLS_CLIENT, authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _, _, mine, theirs = meet(server_context(good, "1.2"), context)
    assert mine.events == [REFUSED] and theirs.events == [REFUSED]


def test_tls_1_1_is_too_old(base, tcp_pair, good):
    """A peer that speaks nothing newer is refused, whatever the context allows."""
    context = server_context(good)
    context.set_min_proto_version(SSL.TLS1_VERSION)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")

    def client():
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError):
            old.wrap_socket(tcp_pair[0])

    log = Log()
    bev = SSLBufferEvent(base, tcp_pair[1], context, server_side=True, **log.callbacks)
    with pytest.warns(DeprecationWarning):
        peer = Peer(client)
        run_until(base, lambda: log.events)
        peer.outcome()
    assert log.events == [REFUSED]
    assert "unsupported protocol" in str(log.errors[0])
    bev.close()


# --- client certificates --------------------------------------------------------------------------


def mutual_context(authority, certificate, version):
    context = server_context(certificate, version)
    context.load_verify_locations(authority.ca.cert_file)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    return context


def test_a_client_certificate(base, meet, authority, good, client_cert, version):
    context = client_context(authority, version)
    context.use_certificate_file(client_cert.cert_file)
    context.use_privatekey_file(client_cert.key_file)
    client, server, mine, theirs = meet(mutual_context(authority, good, version), context)
    assert mine.events == theirs.events == [BEV_EVENT_CONNECTED]
    assert server.peer_certificate == client_cert.cert
    assert client.peer_certificate == good.cert


def test_no_client_certificate(base, meet, authority, good, version):
    _, _, mine, theirs = meet(
        mutual_context(authority, good, version), client_context(authority, version)
    )
    assert theirs.events == [REFUSED]
    assert "peer did not return a certificate" in str(theirs.errors[0])
    # With TLS 1.3 the client was done before it hears of it.
    run_until(base, lambda: mine.events[-1] == REFUSED)
    assert "alert" in str(mine.errors[-1])


def test_a_server_can_demand_it_for_one_connection(base, pair, authority, good):
    log = Log()
    client = SSLBufferEvent(base, pair[0], client_context(authority), server_hostname="localhost")
    server = SSLBufferEvent(
        base, pair[1], server_context(good), server_side=True, verify=True, **log.callbacks
    )
    run_until(base, lambda: log.events)
    assert log.events == [REFUSED]
    client.close()
    server.close()


def test_the_standard_librarys_client_certificate(
    base, tcp_pair, authority, good, client_cert, version
):
    def client():
        context = standard_context(ssl.PROTOCOL_TLS_CLIENT, authority, client_cert, version)
        with context.wrap_socket(tcp_pair[0], server_hostname="localhost") as sock:
            return sock.recv(10)

    log = Log()
    bev = SSLBufferEvent(
        base,
        tcp_pair[1],
        mutual_context(authority, good, version),
        server_side=True,
        **log.callbacks,
    )
    bev.enable(READ)
    bev.write(b"welcome")
    peer = Peer(client)
    run_until(base, lambda: peer.done() and len(log.events) == 2)
    assert peer.outcome() == b"welcome"
    assert bev.peer_certificate == client_cert.cert
    bev.close()


# --- callbacks of the context ---------------------------------------------------------------------


def test_a_verification_callback(meet, authority, self_signed):
    """It is asked in the handshake, and may accept what OpenSSL would not."""
    asked = []

    def verify(connection, certificate, number, depth, fine):
        asked.append((connection, depth, bool(fine)))
        return True

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_PEER, verify)
    client, _, mine, _ = meet(server_context(self_signed), context)
    assert mine.events == [BEV_EVENT_CONNECTED]
    assert asked and all(connection is client.connection for connection, _, _ in asked)
    assert (client.connection, 0, False) in asked


def test_a_verification_callback_that_refuses(meet, authority, good, version):
    context = client_context(authority, version)
    context.set_verify(SSL.VERIFY_PEER, lambda *args: False)
    _, _, mine, _ = meet(server_context(good, version), context)
    assert mine.events == [REFUSED]
    assert "certificate verify failed" in str(mine.errors[0])


def test_a_verification_callback_that_raises(method, pair, authority, good):
    """The exception goes where those of all callbacks go, and is the error's cause."""
    unexpected = []
    base = EventBase(method)
    base.set_exception_handler(lambda exception, callback: unexpected.append(exception))

    def verify(*args):
        raise KeyError("in the callback")

    context = client_context(authority)
    context.set_verify(SSL.VERIFY_PEER, verify)
    log = Log()
    client = SSLBufferEvent(base, pair[0], context, server_hostname="localhost", **log.callbacks)
    server = SSLBufferEvent(base, pair[1], server_context(good), server_side=True)
    run_until(base, lambda: log.events)
    assert log.events == [REFUSED]
    assert [type(exception) for exception in unexpected] == [KeyError]
    assert log.errors[0].__cause__ is unexpected[0]
    client.close()
    server.close()
    base.close()


def test_closed_in_a_verification_callback(base, pair, authority, good):
    log = Log()
    ends = []

    def verify(*args):
        ends[0].close()
        return True

    context = client_context(authority)
    context.set_verify(SSL.VERIFY_PEER, verify)
    ends.append(
        SSLBufferEvent(base, pair[0], context, server_hostname="localhost", **log.callbacks)
    )
    server = SSLBufferEvent(base, pair[1], server_context(good), server_side=True)
    run_until(base, lambda: ends[0].closed)
    for _ in range(5):
        base.loop(2)
    assert log.events == []
    server.close()


def test_a_server_name_callback_chooses_the_context(base, pair, authority, good, version):
    other = authority.issue("other", ["other.test"])
    contexts = {b"other.test": server_context(other, version)}
    seen = []

    def choose(connection):
        seen.append(connection.get_servername())
        connection.set_context(contexts[connection.get_servername()])

    context = server_context(good, version)
    context.set_tlsext_servername_callback(choose)
    log = Log()
    client = SSLBufferEvent(
        base,
        pair[0],
        client_context(authority, version),
        server_hostname="other.test",
        **log.callbacks,
    )
    server = SSLBufferEvent(base, pair[1], context, server_side=True)
    run_until(base, lambda: log.events)
    assert log.events == [BEV_EVENT_CONNECTED]
    assert seen == [b"other.test"]
    assert client.peer_certificate == other.cert
    client.close()
    server.close()


def test_the_handshake_has_not_got_the_gil(base, tcp_pair, authority, good):
    """A client thread of the same interpreter, which needs the GIL for each step, gets through while a
    callback of the server's handshake runs Python."""
    context = server_context(good)
    names = []
    context.set_tlsext_servername_callback(lambda connection: names.append(sum(range(100_000))))

    def client():
        mine = standard_context(ssl.PROTOCOL_TLS_CLIENT, authority)
        with mine.wrap_socket(tcp_pair[0], server_hostname="localhost") as sock:
            return sock.recv(10)

    log = Log()
    bev = SSLBufferEvent(base, tcp_pair[1], context, server_side=True, **log.callbacks)
    bev.write(b"hello")
    bev.enable(READ)
    peer = Peer(client)
    bev.set_callbacks(event=lambda bev, what: what & BEV_EVENT_EOF and bev.close())
    base.dispatch()
    assert peer.outcome() == b"hello" and names


# --- ALPN, sessions -------------------------------------------------------------------------------


@pytest.mark.parametrize("offer", [[b"h2", b"http/1.1"], ["http/1.1", "h2"]])
def test_alpn(meet, authority, good, version, offer):
    context = server_context(good, version)
    context.set_alpn_select_callback(
        lambda connection, offered: b"h2" if b"h2" in offered else SSL.NO_OVERLAPPING_PROTOCOLS
    )
    client, server, mine, _ = meet(context, client_context(authority, version), alpn=offer)
    assert mine.events == [BEV_EVENT_CONNECTED]
    assert client.alpn_protocol == server.alpn_protocol == b"h2"


def test_no_alpn(meet, authority, good):
    client, _, _, _ = meet(server_context(good), client_context(authority))
    assert client.alpn_protocol is None


def test_a_session_is_resumed(base, authority, good, version):
    """Of two connections with the same contexts the second one resumes the first one's session."""
    accepting, connecting = server_context(good, version), client_context(authority, version)
    accepting.set_session_id(b"test")
    session = None
    for again in (False, True):
        left, right = socket.socketpair()
        mine, theirs = Log(), Log()
        client = SSLBufferEvent(
            base, left, connecting, server_hostname="localhost", session=session, **mine.callbacks
        )
        server = SSLBufferEvent(base, right, accepting, server_side=True, **theirs.callbacks)
        client.enable(READ)
        server.enable(READ)
        server.write(b"data")
        # With TLS 1.3 the ticket comes before it.
        run_until(base, lambda: mine.received == b"data" and theirs.events)
        assert client.session_reused is server.session_reused is again
        session = client.session
        client.close()
        run_until(base, lambda: theirs.events[-1] & BEV_EVENT_EOF)
        server.close()


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"context": 5}, TypeError, "context"),
        ({"context": None, "server_side": True}, TypeError, "context"),
        ({"server_hostname": None}, ValueError, "server_hostname"),
        ({"server_hostname": ""}, ValueError, "server_hostname"),
        ({"server_hostname": ".org"}, ValueError, "server_hostname"),
        ({"server_hostname": b"localhost"}, TypeError, "server_hostname"),
        ({"server_hostname": "a\0b"}, ValueError, "server_hostname"),
        ({"verify": False, "check_hostname": True}, ValueError, "check_hostname"),
        ({"alpn": b"h2"}, TypeError, "alpn"),
        ({"alpn": []}, ValueError, "alpn"),
        ({"alpn": [b""]}, ValueError, "alpn"),
        ({"alpn": [5]}, TypeError, "alpn"),
        ({"session": 5}, TypeError, "session"),
        ({"options": -1}, ValueError, "options"),
        ({"options": 8}, ValueError, "options"),
        ({"read": 5}, TypeError, "read"),
        ({"event": "x"}, TypeError, "event"),
        ({"sock": "x"}, TypeError, "sock"),
        ({"context": SSL.Context(SSL.DTLS_CLIENT_METHOD)}, ValueError, "context"),
    ],
)
def test_bad_arguments(base, pair, arguments, error, words):
    arguments = {"sock": pair[0], "server_hostname": "localhost", **arguments}
    if arguments.get("server_side"):
        del arguments["server_hostname"]
    with pytest.raises(error, match=words):
        SSLBufferEvent(base, **arguments)
    # The socket was not taken.
    assert pair[0].fileno() >= 0


@pytest.mark.parametrize("name", ["server_hostname", "session", "alpn", "check_hostname"])
def test_what_is_for_clients(base, pair, good, name):
    with pytest.raises(ValueError, match=f"{name} is for clients"):
        SSLBufferEvent(base, pair[0], server_context(good), server_side=True, **{name: "x"})


def test_a_standard_context_cannot_serve(base, pair, authority, good):
    context = standard_context(ssl.PROTOCOL_TLS_SERVER, authority, good)
    with pytest.raises(TypeError, match="private key"):
        SSLBufferEvent(base, pair[0], context, server_side=True)


def test_properties_before_and_after(base, pair, authority, good):
    client = SSLBufferEvent(base, pair[0], client_context(authority), server_hostname="localhost")
    assert not client.established and client.version is None and client.cipher is None
    assert client.server_hostname == "localhost" and not client.server_side
    assert client.underlying is None and client.peer_certificate is None
    assert client.connection.get_context() is not None
    client.close()
    client.close()
    assert client.closed and client.connection is None
    for name in ("established", "session", "error", "version", "alpn_protocol"):
        with pytest.raises(ValueError, match="closed"):
            getattr(client, name)


def test_the_error_as_an_exception():
    error = SSLError([("SSL routines", "certificate verify failed")], 10, "certificate has expired")
    assert str(error) == "certificate verify failed: certificate has expired"
    with pytest.raises(OSError):
        raise error
    import pickle

    again = pickle.loads(pickle.dumps(error))
    assert (again.errors, again.verify_code, str(again)) == (error.errors, 10, str(error))
