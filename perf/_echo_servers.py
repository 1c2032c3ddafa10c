"""The servers of perf.echo that are Python programs: ``python -m perf._echo_servers NAME``.

Each prints its port, then echoes. A client's single byte stands for a message to everybody.
"""

from __future__ import annotations

import resource
import socket
import sys

MESSAGE = b"x" * 1024


def cyevent_c(completion: bool = False) -> None:
    from perf import _build

    _build.cython_module("echo_cyevent").serve(completion)


def cyevent_python(completion: bool = False) -> None:
    from perf import _build

    _build.cyevent()
    from cyevent import READ, EvBuffer, EventBase, Listener, SocketBufferEvent

    clients = []
    message = EvBuffer(MESSAGE)

    def read(client: SocketBufferEvent) -> None:
        data = client.read()
        if len(data) > 1:
            client.write(data)
            return
        for other in clients:
            other.write_reference(message)

    def end(client: SocketBufferEvent, what: int) -> None:
        clients.remove(client)
        client.close()

    def accept(listener: Listener, fd: int, address: object) -> None:
        with socket.socket(fileno=fd) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = SocketBufferEvent(base, sock, read=read, event=end)
        client.enable(READ)
        clients.append(client)

    base = EventBase(threadsafe=False, completion=completion)
    listener = Listener(base, ("127.0.0.1", 0), accept)
    print(listener.address[1], flush=True)
    base.dispatch()


def uvloop() -> None:
    import asyncio

    import uvloop

    clients = []

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport
            self.write = transport.write
            clients.append(transport)

        def data_received(self, data: bytes) -> None:
            if len(data) > 1:
                self.write(data)
                return
            for other in clients:
                other.write(MESSAGE)

        def connection_lost(self, error: Exception | None) -> None:
            clients.remove(self.transport)

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    uvloop.run(serve())


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    {
        "cyevent-c": cyevent_c,
        "cyevent-c-completion": lambda: cyevent_c(True),
        "cyevent-python": cyevent_python,
        "cyevent-python-completion": lambda: cyevent_python(True),
        "uvloop": uvloop,
    }[sys.argv[1]]()
