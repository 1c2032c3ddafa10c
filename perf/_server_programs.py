"""The servers that are started by Python: ``python -m perf._server_programs NAME MODE [ARGUMENTS]``.

Modes are echo, tls CERT KEY and file PATH. Each prints its port and runs until it is killed. A client's single
byte stands for a message to everybody.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any

from perf import _build

MESSAGE = b"x" * 1024
HEADER = b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n"
COMPLETION = " completion"  # the end of the name of a server whose base has completion ports


def cyevent_c(completion: bool, mode: str, *arguments: str) -> None:
    server = _build.cython_module("server_cyevent")
    if mode == "tls":
        server.use_tls(*arguments)
    if mode == "file":
        server.use_file(*arguments)
    server.serve(completion)


def has_completion() -> bool:
    """Whether this cyevent has completion ports that it can use here."""
    try:
        base = _build.cyevent().EventBase(threadsafe=False, completion=True)
    except TypeError:
        return False  # it knows no such argument
    with base:
        return base.completion is not None


def cyevent_base(completion: bool) -> Any:
    """Returns a base for one thread; without completion ports even where they are the default."""
    options = {"completion": completion} if has_completion() else {}
    return _build.cyevent().EventBase(threadsafe=False, **options)


def cyevent_python(completion: bool, mode: str, *arguments: str) -> None:
    cyevent = _build.cyevent()
    base = cyevent_base(completion)
    clients: list[Any] = []
    message = cyevent.EvBuffer(MESSAGE)
    context = None
    if mode == "tls":
        from OpenSSL import SSL

        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate_file(arguments[0])
        context.use_privatekey_file(arguments[1])
    if mode == "file":
        segment = cyevent.FileSegment(os.open(arguments[0], os.O_RDONLY))

    def read(client: Any) -> None:
        data = client.read()
        if len(data) > 1:
            client.write(data)
            return
        for other in clients:
            other.write_reference(message)

    def ask(client: Any) -> None:
        while (line := client.input.readline()) is not None:
            if line.rstrip() == b"":
                client.write(HEADER)
                client.output.add_file_segment(segment)
                client.set_callbacks(write=end, event=end)

    def end(client: Any, what: int = 0) -> None:
        if not what & cyevent.BEV_EVENT_CONNECTED:
            clients.remove(client)
            client.close()

    callback = ask if mode == "file" else read

    def accept(listener: Any, fd: int, address: object) -> None:
        with socket.socket(fileno=fd) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                client = cyevent.SSLBufferEvent(
                    base, sock.detach(), context, server_side=True, read=callback, event=end
                )
            else:
                client = cyevent.SocketBufferEvent(base, sock.detach(), read=callback, event=end)
        client.enable(cyevent.READ)
        clients.append(client)

    listener = cyevent.Listener(base, ("127.0.0.1", 0), accept, backlog=1024)
    print(listener.address[1], flush=True)
    base.dispatch()


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    clients: list[Any] = []  # noqa: RUF012

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.write = self.transport.write
        self.clients.append(transport)

    def data_received(self, data: bytes) -> None:
        if len(data) > 1:
            self.write(data)
            return
        for other in self.clients:
            other.write(MESSAGE)

    def connection_lost(self, error: Exception | None) -> None:
        self.clients.remove(self.transport)


class SendFile(asyncio.Protocol):
    """Answers a request with the file."""

    path = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.request = b""

    def data_received(self, data: bytes) -> None:
        self.request += data
        if self.request.endswith(b"\r\n\r\n"):
            self.task = asyncio.ensure_future(self.answer())

    async def answer(self) -> None:
        self.transport.write(HEADER)
        with open(self.path, "rb") as file:
            await asyncio.get_running_loop().sendfile(self.transport, file)
        self.transport.close()


def _loop_server(name: str) -> Callable[..., None]:
    def serve(completion: bool, mode: str, *arguments: str) -> None:
        context = None
        if mode == "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*arguments)
        if mode == "file":
            SendFile.path = arguments[0]
        protocol = SendFile if mode == "file" else Echo
        options: dict[str, Any] = {"ssl": context, "backlog": 1024}

        async def run() -> None:
            loop = asyncio.get_running_loop()
            if name == "aiofastnet":
                import aiofastnet

                made = aiofastnet.create_server(loop, protocol, "127.0.0.1", 0, **options)
            else:
                made = loop.create_server(protocol, "127.0.0.1", 0, **options)
            server = await made
            print(server.sockets[0].getsockname()[1], flush=True)
            await asyncio.Event().wait()

        if name == "asyncio":
            asyncio.run(run())
        else:
            import uvloop

            uvloop.run(run())

    return serve


PROGRAMS: dict[str, Callable[..., None]] = {
    "cyevent-c": cyevent_c,
    "cyevent-python": cyevent_python,
    **{name: _loop_server(name) for name in ("uvloop", "aiofastnet", "asyncio")},
}


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    program = sys.argv[1]
    PROGRAMS[program.removesuffix(COMPLETION)](program.endswith(COMPLETION), *sys.argv[2:])
