"""TLS echo: the server's CPU time per round trip, beside aiofastnet on uvloop and uvloop itself.

All servers are Python programs with a callback per arrival, each in a process of its own; one client process
loads them in turns, round by round. What is measured is the server process's own CPU time.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perf import _build, _results, _stats
from perf._tls_servers import SERVERS

REFERENCE = "aiofastnet on uvloop"
NEEDS = {
    "aiofastnet on uvloop": ("aiofastnet", "uvloop"),
    "uvloop": ("uvloop",),
    "cyevent": ("OpenSSL",),
}


def make_certificate(folder: Path) -> tuple[str, str]:
    """Writes a certificate of its own for localhost; returns the paths of it and of its key."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(today - datetime.timedelta(days=1))
    cert = builder.not_valid_after(today + datetime.timedelta(days=2)).sign(key, hashes.SHA256())
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(paths[0]), str(paths[1])


def cpu_seconds(pid: int) -> float:
    """The CPU time of another process, in the kernel's own resolution."""
    return time.clock_gettime((~pid << 3) | 2)


class Server:
    """A server process with its connections."""

    def __init__(self, name: str, cert: str, key: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-m", "perf._tls_servers", name, cert, key], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the server of {name} did not start")
        self.port = int(line)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.active: list[ssl.SSLSocket] = []
        self.idle: list[ssl.SSLSocket] = []

    def connect(self, n: int) -> list[ssl.SSLSocket]:
        made = []
        for _ in range(n):
            plain = socket.create_connection(("127.0.0.1", self.port))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.append(self.context.wrap_socket(plain))
        return made

    def round_trips(self, message: bytes, n: int) -> float:
        """Sends n messages on each connection, one after the other's echo; CPU seconds for one of them."""
        buffer = bytearray(len(message))
        before = cpu_seconds(self.process.pid)
        for _ in range(n):
            for sock in self.active:
                sock.sendall(message)
            for sock in self.active:
                view = memoryview(buffer)
                while view:
                    got = sock.recv_into(view)
                    if not got:
                        raise SystemExit(f"{self.name} closed a connection")
                    view = view[got:]
        return (cpu_seconds(self.process.pid) - before) / (n * len(self.active))

    def memory(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def close(self) -> None:
        for sock in self.active + self.idle:
            sock.close()
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def servers(names: list[str], cert: str, key: str) -> Iterator[list[Server]]:
    running: list[Server] = []
    try:
        for name in names:
            running.append(Server(name, cert, key))
        yield running
    finally:
        for server in running:
            server.close()


def measure(
    names: list[str], cert: str, key: str, size: int, idle: int, options: Any
) -> dict[str, Any]:
    """One line of the table: samples of each server, taken in turns."""
    message = os.urandom(size)
    trips = max(2, options.bytes // size // options.connections)
    samples: dict[str, list[float]] = {name: [] for name in names}
    idle_bytes: dict[str, float] = {}
    cipher = ""
    with servers(names, cert, key) as running:
        for server in running:
            before = server.memory()
            server.idle = server.connect(idle)
            if idle:
                idle_bytes[server.name] = (server.memory() - before) / idle
            server.active = server.connect(options.connections)
            cipher = str(server.active[0].cipher())
            server.round_trips(message, 20)
        for _ in range(options.rounds):
            for server in running:
                samples[server.name].append(server.round_trips(message, trips))
    return {
        "size": size,
        "idle": idle,
        "connections": options.connections,
        "cipher": cipher,
        "samples": samples,
        "idle_bytes": idle_bytes,
    }


def report(results: list[dict[str, Any]], names: list[str]) -> str:
    rows = []
    for result in results:
        for name in names:
            values = result["samples"][name]
            reference = result["samples"].get(REFERENCE)
            memory = result["idle_bytes"].get(name)
            rows.append(
                [
                    str(result["size"]),
                    str(result["idle"]),
                    name,
                    f"{_stats.summary(values)['median'] * 1e6:.2f}",
                    _stats.format_ratio(_stats.ratio(values, reference)) if reference else "-",
                    f"{memory / 1024:.1f}" if memory is not None else "-",
                ]
            )
    header = ["bytes", "idle", "server", "us a round trip", f"x {REFERENCE}", "KiB an idle one"]
    return _stats.table(header, rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m perf.tls", description=__doc__)
    parser.add_argument("--sizes", default="1024,65536", help="bytes of a message (%(default)s)")
    parser.add_argument("--idle", default="0,1000", help="idle connections (%(default)s)")
    parser.add_argument("--connections", type=int, default=10, help="active ones (%(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="samples of each (%(default)s)")
    parser.add_argument(
        "--bytes", type=int, default=10_000_000, help="bytes a sample (%(default)s)"
    )
    parser.add_argument(
        "--servers", default=",".join(SERVERS), help="who is measured (%(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--json", type=Path, default=_results.DEFAULT_DIRECTORY / "tls.json")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.bytes, options.idle = 3, 1_000_000, "0,100"
    names = []
    for name in options.servers.split(","):
        if name not in SERVERS:
            parser.error(f"no such server: {name}")
        if all(importlib.util.find_spec(module) for module in NEEDS[name]):
            names.append(name)
        else:
            _results.progress(f"{name} is not installed; left out")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        cert, key = make_certificate(Path(folder))
        for idle in map(int, options.idle.split(",")):
            for size in map(int, options.sizes.split(",")):
                _results.progress(f"{size} bytes, {idle} idle connections")
                results.append(measure(names, cert, key, size, idle, options))
    print(report(results, names))
    _results.write_json(
        options.json,
        {
            "machine": _results.machine(),
            "cyevent": _build.cyevent().__version__,
            "results": results,
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
