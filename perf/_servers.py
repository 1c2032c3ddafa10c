"""Servers in processes of their own, their load, and what they take.

What counts is a server's own processor time, from the kernel's accounting; the clients are a C program that
waits for each answer. All servers of a figure run at the same time and are given their loads in turns, so that
what disturbs one disturbs all.
"""

from __future__ import annotations

import datetime
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from perf import _build, _peers, _results
from perf._server_programs import COMPLETION, has_completion
from perf._suite import Figure, in_turns

LOAD = _build.Part("program", "load", ("dl",))
FLOOR = _build.Part("program", "server_floor", ("dl",))
LIBEVENT = _build.Part("program", "server_libevent", ("event", "event_openssl", "dl"))
CYEVENT = _build.Part("module", "server_cyevent")
PARTS = (LOAD, FLOOR, LIBEVENT, CYEVENT)

UNITS = {"cpu": "us", "user": "us", "system": "us", "rate": "1/s", "p50": "us", "p99": "us"}
UNITS |= {"peak": "MiB", "client": "%"}
TICK = 1 / os.sysconf("SC_CLK_TCK")
NEEDS = {"uvloop": ("uvloop",), "aiofastnet": ("aiofastnet", "uvloop")}

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; location / {{ root {root}; }} }}
}}
"""


class Cost(NamedTuple):
    """Seconds of a server's processor time."""

    total: float
    user: float
    system: float


def is_there(server: str) -> bool:
    """Whether this server can be started here; says so if not."""
    if server.endswith(COMPLETION):
        return has_completion()
    if server == "nginx":
        return _peers.nginx_program() is not None
    return all(importlib.util.find_spec(module) for module in NEEDS.get(server, ()))


class Server:
    """A server in a process of its own. mode: 'echo', 'tls' or 'file', with arguments."""

    def __init__(self, name: str, mode: str = "echo", *arguments: str) -> None:
        self.folder: str | None = None
        if name == "nginx":
            self._start_nginx(Path(arguments[0]))
            return
        if name in ("libevent", "floor"):
            part = LIBEVENT if name == "libevent" else FLOOR
            command = [str(part.compiled())]
        else:
            command = [sys.executable, "-m", "perf._server_programs", name]
        self.process = subprocess.Popen([*command, mode, *arguments], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line.isdigit():
            self.close()
            raise _build.BuildError(f"the {name} server did not start")
        self.port = int(line)

    def _start_nginx(self, file: Path) -> None:
        program = _peers.nginx_program()
        assert program is not None
        self.folder = tempfile.mkdtemp()
        self.port = free_port()
        text = NGINX.format(folder=self.folder, port=self.port, root=file.parent)
        configuration = Path(self.folder, "nginx.conf")
        configuration.write_text(text)
        self.process = subprocess.Popen(
            [program, "-p", self.folder, "-c", str(configuration)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(1000):
            if self.process.poll() is None and is_listening(self.port):
                return
            time.sleep(0.01)
        self.close()
        raise _build.BuildError("nginx did not start")

    def cost(self) -> Cost:
        """Returns what it has used: the sum to the nanosecond, its parts as the kernel splits it."""
        # The process's clock, of all its threads; see clock_getcpuclockid(3).
        exact = time.clock_gettime((~self.process.pid << 3) | 2)
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return Cost(exact, int(fields[11]) * TICK, int(fields[12]) * TICK)

    def memory(self) -> int:
        """Returns the bytes of memory that it has."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def peak(self) -> float:
        """Returns the most MiB of memory that it had since forget_peak()."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return self.memory() / 1048576

    def forget_peak(self) -> None:
        """Lets the peak begin anew."""
        try:
            Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        except OSError:
            pass  # then it is that of the whole run

    def close(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        if self.folder is not None:
            shutil.rmtree(self.folder)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Round(NamedTuple):
    """What the clients tell of a round, in seconds."""

    wall: float
    cpu: float
    p50: float
    p99: float


class Load:
    """Connected clients, which wait for `run`."""

    def __init__(
        self, port: int, mode: str, connections: int, size: int, count: int, tls: bool = False
    ) -> None:
        command = [str(LOAD.compiled()), str(port), mode, str(connections), str(size), str(count)]
        self.process = subprocess.Popen(
            command + ["tls"] * tls, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        if self.output.readline() != "ready\n":
            self.close()
            raise RuntimeError("the clients could not connect")

    def run(self) -> Round:
        """Runs a round."""
        self.input.write("go\n")
        self.input.flush()
        answer = self.output.readline()
        if not answer:
            raise RuntimeError("the clients lost their connections")
        return Round(*map(float, answer.split()))

    def close(self) -> None:
        """Closes the connections."""
        self.input.close()
        self.process.wait()
        self.output.close()

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def free_port() -> int:
    """Returns a port that nobody listens on."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def is_listening(port: int) -> bool:
    """Whether a connection can be made."""
    import socket

    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


class Job(NamedTuple):
    """What the servers of a figure are given to do."""

    mode: str  # of the load
    connections: int
    size: int  # bytes of a message or a file
    repeats: int  # operations of the load in a round
    operations: float  # by how many the processor time is divided
    idle: int = 0  # connections besides, that say nothing
    scale: float = 1e6  # of the time: microseconds


def measure(
    figure: Figure,
    servers: Mapping[str, Callable[[], Server]],
    job: Job,
    rounds: int,
    tls: bool = False,
) -> Figure:
    """Fills a figure: runs its servers under one load, in turns. `servers` starts each peer's."""
    label = f"{figure.group}: {figure.name}"
    size, count = job.size, job.repeats
    with ExitStack() as stack:
        pairs: dict[str, tuple[Server, Load]] = {}
        for peer, start in servers.items():
            server = stack.enter_context(start())
            if job.idle:
                stack.enter_context(Load(server.port, "echo", job.idle, size, 1, tls))
            load = Load(server.port, job.mode, job.connections, size, count, tls)
            pairs[peer] = server, stack.enter_context(load)
            load.run()
        before = {peer: server.cost() for peer, (server, _) in pairs.items()}
        for number in range(rounds):
            _results.progress(f"{label}: round {number + 1} of {rounds}", fleeting=True)
            for peer in in_turns(pairs, number):
                figure.add(peer, **_round(*pairs[peer], job))
        for peer, (server, _) in pairs.items():
            after = server.cost()
            user, system = after.user - before[peer].user, after.system - before[peer].system
            figure.split(peer, user, system)
    figure.note_load()
    _results.progress(label)
    return figure


def _round(server: Server, load: Load, job: Job) -> dict[str, float]:
    server.forget_peak()
    before = server.cost().total
    told = load.run()
    return {
        "cpu": (server.cost().total - before) * job.scale / job.operations,
        "rate": job.operations / told.wall,
        "p50": told.p50 * 1e6,
        "p99": told.p99 * 1e6,
        "peak": server.peak(),
        "client": told.cpu / told.wall * 100,
    }


def make_certificate(folder: Path) -> tuple[str, str]:
    """Writes a certificate of its own for localhost; returns the paths of it and of its key."""
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
