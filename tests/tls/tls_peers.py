"""Certificates, contexts and peers for the TLS tests; conftest.py makes fixtures of them."""

import datetime
import ipaddress
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from cyevent import (
    BEV_EVENT_EOF,
    BEV_EVENT_READING,
    BEV_OPT_DEFER_CALLBACKS,
    BEV_OPT_THREADSAFE,
    BEV_OPT_UNLOCK_CALLBACKS,
    EVLOOP_NONBLOCK,
)

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)

EOF = BEV_EVENT_READING | BEV_EVENT_EOF
OPTIONS = [
    pytest.param(0, id="plain"),
    pytest.param(BEV_OPT_DEFER_CALLBACKS, id="defer"),
    pytest.param(BEV_OPT_THREADSAFE, id="lock"),
    pytest.param(
        BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS | BEV_OPT_UNLOCK_CALLBACKS, id="unlocked"
    ),
]


@dataclass(frozen=True)
class Certificate:
    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    cert_file: str
    key_file: str

    @property
    def pem(self) -> bytes:
        return Path(self.cert_file).read_bytes()


class Authority:
    """Issues certificates and writes them to a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.ca = self.issue("Test authority", ca=True)

    def issue(
        self, name, hosts=(), *, ca=False, begins=NOW - DAY, ends=NOW + 30 * DAY, self_signed=False
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        alone = ca or self_signed
        issuer, issuer_key = (subject, key) if alone else (self.ca.cert.subject, self.ca.key)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    key_cert_sign=ca,
                    crl_sign=ca,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([alternative(host) for host in hosts]), critical=False
            )
        cert = builder.sign(issuer_key, hashes.SHA256())
        base = self.folder / f"{len(list(self.folder.iterdir()))}-{name.replace(' ', '-')}"
        cert_file, key_file = base.with_suffix(".crt"), base.with_suffix(".key")
        cert_file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return Certificate(cert, key, str(cert_file), str(key_file))


def alternative(host):
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
STANDARD_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def limit(context, version):
    if version is not None:
        context.set_min_proto_version(VERSIONS[version])
        context.set_max_proto_version(VERSIONS[version])
    return context


def server_context(certificate, version=None):
    context = limit(SSL.Context(SSL.TLS_SERVER_METHOD), version)
    context.use_certificate_file(certificate.cert_file)
    context.use_privatekey_file(certificate.key_file)
    return context


def client_context(authority, version=None):
    context = limit(SSL.Context(SSL.TLS_CLIENT_METHOD), version)
    context.load_verify_locations(authority.ca.cert_file)
    return context


def standard_context(purpose, authority, certificate=None, version=None):
    """One of the standard library, for a peer."""
    context = ssl.SSLContext(purpose)
    if purpose == ssl.PROTOCOL_TLS_CLIENT:
        context.load_verify_locations(authority.ca.cert_file)
    if certificate is not None:
        context.load_cert_chain(certificate.cert_file, certificate.key_file)
    if version is not None:
        context.minimum_version = context.maximum_version = STANDARD_VERSIONS[version]
    return context


class Peer(threading.Thread):
    """The other end, in a thread, with blocking calls; join() raises what it raised and returns its result."""

    def __init__(self, function, *args):
        super().__init__(daemon=True)
        self.call = (function, args)
        self.result = None
        self.error = None
        self.start()

    def run(self):
        function, args = self.call
        try:
            self.result = function(*args)
        except BaseException as error:
            self.error = error

    def done(self):
        return not self.is_alive()

    def outcome(self):
        self.join(20)
        assert not self.is_alive(), "the peer hangs"
        if self.error is not None:
            raise self.error
        return self.result


class Log:
    """Keeps what the callbacks are told."""

    def __init__(self):
        self.events = []
        self.received = bytearray()
        self.written = 0
        self.errors = []

    def read(self, bev):
        self.received += bev.read()

    def write(self, bev):
        self.written += 1

    def event(self, bev, what):
        self.events.append(what)
        self.errors.append(bev.error)

    @property
    def callbacks(self):
        return {"read": self.read, "write": self.write, "event": self.event}


def run_until(base, condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        base.loop(EVLOOP_NONBLOCK)
        time.sleep(0.0005)
