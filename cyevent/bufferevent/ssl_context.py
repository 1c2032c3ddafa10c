"""What a TLS connection starts from: a context, and what this one is to check of its peer.

Facts:
- A pyOpenSSL Context verifies nothing unless it is told to, and trusts nobody unless it is given certificates.
- A standard library SSLContext belongs to another copy of OpenSSL, if not to another library. Its settings can
  be read and set again here; private keys, and whether it has any, cannot be read.
- What is set on a Connection holds for it alone; contexts are shared and stay as they are.

Decision: clients verify the chain and the name unless they are told not to. An SSLContext is translated for a
client, without a certificate of its own, and refused for a server. TLS 1.2 is the least that is spoken.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable
from typing import Any

from cryptography.hazmat.bindings._rust import _openssl  # type: ignore[attr-defined]
from OpenSSL import SSL, crypto

lib: Any = _openssl.lib
ffi: Any = _openssl.ffi

NO_PARTIAL_WILDCARDS = 0x4  # X509_CHECK_FLAG_*: "*.example.org" is fine, "w*.example.org" is not
FLOOR = SSL.OP_NO_SSLv3 | SSL.OP_NO_TLSv1 | SSL.OP_NO_TLSv1_1
DTLS = 0xFE  # the major version of all of DTLS
STORE_FLAGS = ("CRL_CHECK", "CRL_CHECK_ALL", "X509_STRICT", "PARTIAL_CHAIN")


def host_of(name: object) -> str:
    """A server's host name as certificates have it, or its address."""
    if not isinstance(name, str):
        raise TypeError(f"server_hostname must be a str, not {type(name).__name__}")
    host = name.rstrip(".") if name != "." else ""
    if not host or host.startswith(".") or "\0" in host:
        raise ValueError(f"server_hostname is no host name: {name!r}")
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"server_hostname is no host name: {name!r} ({error})") from error


def address_of(host: str) -> bytes | None:
    """The bytes of an IP address; None for a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).packed
    except ValueError:
        return None


def expect_host(connection: SSL.Connection, host: str) -> None:
    """Lets OpenSSL refuse a certificate that is not for this host."""
    parameters = lib.SSL_get0_param(connection._ssl)
    address = address_of(host)
    if address is not None:
        done = lib.X509_VERIFY_PARAM_set1_ip(parameters, address, len(address))
    else:
        lib.X509_VERIFY_PARAM_set_hostflags(parameters, NO_PARTIAL_WILDCARDS)
        name = host.encode("ascii")
        done = lib.X509_VERIFY_PARAM_set1_host(parameters, name, len(name))
    if done != 1:
        raise ValueError(f"server_hostname is no host name: {host!r}")


def protocol_list(alpn: Iterable[str | bytes]) -> list[bytes]:
    if isinstance(alpn, (str, bytes)):
        raise TypeError("alpn must be a list of protocol names, not one")
    protocols = []
    for name in alpn:
        if not isinstance(name, (str, bytes)):
            raise TypeError(f"alpn must have names as bytes or str, not {type(name).__name__}")
        protocol = name.encode("ascii") if isinstance(name, str) else bytes(name)
        if not 0 < len(protocol) < 256:
            raise ValueError(f"alpn has a name that is empty or too long: {name!r}")
        protocols.append(protocol)
    if not protocols:
        raise ValueError("alpn must have at least one name")
    return protocols


def default_context() -> SSL.Context:
    """A client's context, that trusts whom the system trusts."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_default_verify_paths()
    return context


def translated(source: Any) -> SSL.Context:
    """A client's context with the settings of a standard library SSLContext."""
    import ssl

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    lowest = max(source.minimum_version, ssl.TLSVersion.TLSv1_2)
    context.set_min_proto_version(int(lowest))
    if source.maximum_version != ssl.TLSVersion.MAXIMUM_SUPPORTED:
        highest = int(source.maximum_version)
        if highest < SSL.TLS1_2_VERSION:
            raise ValueError("context allows nothing as new as TLS 1.2")
        context.set_max_proto_version(highest)
    context.set_options(
        sum(
            option
            for name, option in (
                ("OP_NO_TLSv1_2", SSL.OP_NO_TLSv1_2),
                ("OP_NO_TICKET", SSL.OP_NO_TICKET),
            )
            if source.options & getattr(ssl, name)
        )
    )
    if source.options & ssl.OP_NO_TLSv1_3:
        context.set_options(SSL.OP_NO_TLSv1_3)
    names = {13: [], 12: []}  # type: dict[int, list[str]]
    for cipher in source.get_ciphers():
        names[13 if cipher["protocol"] == "TLSv1.3" else 12].append(cipher["name"])
    if names[12]:
        context.set_cipher_list(":".join(names[12]).encode())
    if names[13] and hasattr(context, "set_tls13_ciphersuites"):
        context.set_tls13_ciphersuites(":".join(names[13]).encode())
    store = context.get_cert_store()
    assert store is not None
    for certificate in source.get_ca_certs(binary_form=True):
        store.add_cert(crypto.load_certificate(crypto.FILETYPE_ASN1, certificate))
    flags = 0
    for name in STORE_FLAGS:
        theirs = {"CRL_CHECK": "CRL_CHECK_LEAF", "CRL_CHECK_ALL": "CRL_CHECK_CHAIN"}.get(name, name)
        bit = getattr(ssl, "VERIFY_" + theirs, 0)
        if bit and source.verify_flags & bit == bit:
            flags |= getattr(crypto.X509StoreFlags, name)
    if flags:
        store.set_flags(flags)
    return context


def is_standard(context: object) -> bool:
    """Whether it is an SSLContext of the standard library, which need not have been imported."""
    ssl = sys.modules.get("ssl")
    return ssl is not None and isinstance(context, ssl.SSLContext)


def chosen_context(context: Any, server_side: bool) -> SSL.Context:
    if isinstance(context, SSL.Context):
        return context
    if is_standard(context):
        if server_side:
            raise TypeError(
                "context must be an OpenSSL.SSL.Context for a server: the private key of an"
                " ssl.SSLContext cannot be read"
            )
        return translated(context)
    if context is None and not server_side:
        return default_context()
    raise TypeError(
        "context must be an OpenSSL.SSL.Context"
        + ("" if server_side else " or ssl.SSLContext")
        + f", not {type(context).__name__}"
    )


def make_connection(
    context: Any,
    server_side: bool,
    server_hostname: str | None,
    verify: bool | None,
    check_hostname: bool | None,
    session: SSL.Session | None,
    alpn: Iterable[str | bytes] | None,
) -> SSL.Connection:
    """A Connection with everything set; see SSLBufferEvent for the arguments."""
    if is_standard(context) and not server_side:
        if verify is None:
            verify = context.verify_mode != 0
        if check_hostname is None:
            check_hostname = context.check_hostname
    host = None if server_hostname is None else host_of(server_hostname)
    if server_side:
        for value, name in ((host, "server_hostname"), (session, "session"), (alpn, "alpn")):
            if value is not None:
                raise ValueError(f"{name} is for clients")
        if check_hostname:
            raise ValueError("check_hostname is for clients")
    else:
        verify = verify is None or verify
        if check_hostname is None:
            check_hostname = verify
        if check_hostname and not verify:
            raise ValueError("check_hostname needs verify")
        if check_hostname and host is None:
            raise ValueError("check_hostname needs server_hostname")
    connection = SSL.Connection(chosen_context(context, server_side), None)
    # Its memory BIOs are about to be replaced; bio_read() and bio_write() must not find them.
    connection._into_ssl = connection._from_ssl = None
    native = connection._ssl
    if lib.SSL_version(native) >> 8 == DTLS:
        raise ValueError("context must be one for TLS, not DTLS")
    connection.set_options(FLOOR)
    mode = connection.get_verify_mode()
    if verify and server_side:
        mode |= SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    elif verify:
        mode |= SSL.VERIFY_PEER
    # Without a callback here the context's stays.
    lib.SSL_set_verify(native, mode, ffi.NULL)
    if host is not None:
        if check_hostname:
            expect_host(connection, host)
        if address_of(host) is None:
            connection.set_tlsext_host_name(host.encode("ascii"))
    if session is not None:
        connection.set_session(session)
    if alpn is not None:
        connection.set_alpn_protos(protocol_list(alpn))
    return connection


def callback_problems(connection: SSL.Connection) -> list[Exception]:
    """Takes the exceptions of Python callbacks, which pyOpenSSL keeps for its own calls to raise."""
    context = connection.get_context()
    problems: list[Exception] = []
    for owner in (connection, context):
        for name in ("_verify_helper", "_alpn_select_helper", "_ocsp_helper"):
            helper = getattr(owner, name, None) if owner is context else owner.__dict__.get(name)
            if helper is not None:
                while helper._problems:
                    problems.append(helper._problems.pop(0))
    return problems


def error_words(code: int) -> tuple[str, str]:
    """The library's words for an error: in which part of it, and why."""

    def text(pointer: Any) -> str:
        return "" if pointer == ffi.NULL else ffi.string(pointer).decode("utf-8", "replace")

    return text(lib.ERR_lib_error_string(code)), text(lib.ERR_reason_error_string(code))


def verify_words(connection: SSL.Connection) -> tuple[int, str]:
    """The outcome of the verification as a number (0: fine) and in the library's words."""
    result = int(lib.SSL_get_verify_result(connection._ssl))
    return result, ffi.string(lib.X509_verify_cert_error_string(result)).decode("utf-8", "replace")


def session_reused(connection: SSL.Connection) -> bool:
    return bool(lib.SSL_session_reused(connection._ssl))
