"""TLS echo servers, each a process of its own: python -m perf._tls_servers NAME CERT KEY.

They print their port and run until they are killed.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Callable
from typing import Any


def cyevent_server(cert: str, key: str) -> None:
    from OpenSSL import SSL

    from perf import _build

    cyevent = _build.cyevent()
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_file(cert)
    context.use_privatekey_file(key)
    base = cyevent.EventBase(threadsafe=False)

    def read(bev: Any) -> None:
        bev.write(bev.read())

    def event(bev: Any, what: int) -> None:
        if what & (cyevent.BEV_EVENT_EOF | cyevent.BEV_EVENT_ERROR):
            bev.close()

    def accept(listener: Any, fd: int, address: object) -> None:
        bev = cyevent.SSLBufferEvent(base, fd, context, server_side=True, read=read, event=event)
        bev.enable(cyevent.READ)

    listener = cyevent.Listener(base, ("127.0.0.1", 0), accept, backlog=1024)
    print(listener.address[1], flush=True)
    base.dispatch()


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def standard_context(cert: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


async def _serve(server: Any) -> None:
    started = await server
    print(started.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


def uvloop_server(cert: str, key: str) -> None:
    import uvloop

    context = standard_context(cert, key)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await _serve(loop.create_server(Echo, "127.0.0.1", 0, ssl=context, backlog=1024))

    uvloop.run(main())


def aiofastnet_server(cert: str, key: str) -> None:
    import aiofastnet
    import uvloop

    context = standard_context(cert, key)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await _serve(
            aiofastnet.create_server(loop, Echo, "127.0.0.1", 0, ssl=context, backlog=1024)
        )

    uvloop.run(main())


SERVERS: dict[str, Callable[[str, str], None]] = {
    "cyevent": cyevent_server,
    "aiofastnet on uvloop": aiofastnet_server,
    "uvloop": uvloop_server,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](*sys.argv[2:])
