"""The command line: ``python -m cyevent info`` and ``python -m cyevent chat``."""

from __future__ import annotations

import argparse
import contextlib
import resource
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cyevent import EventBase, __version__
from cyevent.chat import ChatServer, Limits, serve
from cyevent.info import print_info

if TYPE_CHECKING:
    from OpenSSL import SSL


def positive(text: str) -> int:
    """An argument that must be a positive number."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def tcp_port(text: str) -> int:
    """A TCP port; 0 lets the system choose."""
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"must be 0 to 65535, not {value}")
    return value


def parser() -> argparse.ArgumentParser:
    """Returns the command line's grammar."""
    top = argparse.ArgumentParser(prog="python -m cyevent", description="cyevent's own programs")
    top.add_argument("--version", action="version", version=f"cyevent {__version__}")
    commands = top.add_subparsers(dest="command", required=True)

    info = commands.add_parser("info", help="what this build can do here")
    info.add_argument("--json", action="store_true", help="as JSON")

    limits = Limits()
    room = commands.add_parser("chat", help="a line-based chat server for nc and telnet")
    room.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    room.add_argument("--port", type=tcp_port, default=7000, help="TCP port; 0: any (%(default)s)")
    room.add_argument("--method", choices=EventBase.supported_methods(), help="backend to use")
    room.add_argument(
        "--max-clients",
        type=positive,
        default=limits.clients,
        help="further connections are turned away (%(default)s)",
    )
    room.add_argument(
        "--max-line",
        type=positive,
        default=limits.line,
        help="bytes in a line, without its end (%(default)s)",
    )
    room.add_argument(
        "--max-queue",
        type=positive,
        default=limits.queue,
        help="bytes waiting for a client that does not read, before it is dropped (%(default)s)",
    )
    room.add_argument(
        "--rate-limit",
        type=positive,
        metavar="BYTES_PER_SECOND",
        help="bytes a second that each client may say (any number)",
    )
    room.add_argument(
        "--group-rate-limit",
        type=positive,
        metavar="BYTES_PER_SECOND",
        help="bytes a second that all clients together may say, shared evenly (any number)",
    )
    room.add_argument(
        "--tls",
        nargs=2,
        metavar=("CERT", "KEY"),
        help="speak TLS alone, with a certificate (or a chain) and its key in PEM files",
    )
    return top


def raise_descriptor_limit() -> None:
    """Allows as many descriptors as the system lets us: each client takes one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def server_context(cert: str, key: str) -> SSL.Context:
    """A context that serves with a certificate; OSError if it cannot."""
    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    for path, use in (
        (cert, context.use_certificate_chain_file),
        (key, context.use_privatekey_file),
    ):
        with open(path, "rb"):
            pass
        try:
            use(path)
        except SSL.Error as error:
            raise OSError(f"{path}: {error.args[0][-1][-1] if error.args[0] else error}") from error
    try:
        context.check_privatekey()
    except SSL.Error as error:
        raise OSError(f"{key} is not the key of {cert}") from error
    return context


def chat(
    host: str, port: int, method: str | None, limits: Limits, tls: Sequence[str] | None = None
) -> int:
    """Serves the chat until SIGINT or SIGTERM."""
    context = None
    if tls is not None:
        try:
            context = server_context(*tls)
        except (OSError, ImportError) as error:
            print(f"no TLS: {error}", file=sys.stderr)
            return 1
    raise_descriptor_limit()
    with EventBase(method, threadsafe=False) as base:
        try:
            server = ChatServer(base, (host, port), limits, context)
        except OSError as error:
            print(f"cannot listen on {host}:{port}: {error}", file=sys.stderr)
            return 1
        name, number = server.listener.address[:2]
        print(f"listening on {name}:{number} ({base.method})", flush=True)
        serve(server)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    options = parser().parse_args(argv)
    if options.command == "info":
        print_info(as_json=options.json)
        return 0
    limits = Limits(
        clients=options.max_clients,
        line=options.max_line,
        queue=options.max_queue,
        rate=options.rate_limit,
        group_rate=options.group_rate_limit,
    )
    return chat(options.host, options.port, options.method, limits, options.tls)


if __name__ == "__main__":
    sys.exit(main())
