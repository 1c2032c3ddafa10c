"""A compressed link: two filters turn any bufferevent into one that speaks zlib.

    python examples/zlib_link.py serve [PORT]
    python examples/zlib_link.py send HOST PORT < FILE

The server answers with the number of bytes that it got, and both print how many crossed the network.
"""

from __future__ import annotations

import sys
import zlib

from cyevent import (
    BEV_EVENT_CONNECTED,
    BEV_EVENT_EOF,
    BEV_FINISHED,
    BEV_FLUSH,
    READ,
    WRITE,
    BufferEvent,
    EvBuffer,
    EventBase,
    FilterBufferEvent,
    Listener,
    SocketBufferEvent,
)

INFLATE_AT_ONCE = 64 * 1024  # a few bytes can stand for very many


class Zlib:
    """Both directions of one link."""

    def __init__(self) -> None:
        self.deflate = zlib.compressobj()
        self.inflate = zlib.decompressobj()
        self.sent = 0
        self.received = 0

    def output(self, source: EvBuffer, target: EvBuffer, limit: int, mode: int) -> None:
        packed = self.deflate.compress(source.remove())
        # The compressor keeps what it can still improve on, until somebody needs it.
        if mode == BEV_FLUSH:
            packed += self.deflate.flush(zlib.Z_SYNC_FLUSH)
        elif mode == BEV_FINISHED:
            packed += self.deflate.flush(zlib.Z_FINISH)
        self.sent += len(packed)
        target.add(packed)

    def input(self, source: EvBuffer, target: EvBuffer, limit: int, mode: int) -> None:
        packed = source.remove()
        self.received += len(packed)
        while packed:
            target.add(self.inflate.decompress(packed, INFLATE_AT_ONCE))
            packed = self.inflate.unconsumed_tail


class Link(FilterBufferEvent):
    """A bufferevent whose bytes are compressed on the way."""

    def __init__(self, underlying: BufferEvent) -> None:
        self.zlib = Zlib()
        super().__init__(underlying, self.zlib.input, self.zlib.output)

    @property
    def ended(self) -> bool:
        """The peer has finished its compressed stream."""
        return self.zlib.inflate.eof


def serve(port: int) -> None:
    def accept(listener: Listener, fd: int, address: object) -> None:
        link = Link(SocketBufferEvent(listener.base, fd))
        total = 0

        def read(link: Link) -> None:
            nonlocal total
            total += len(link.input)
            link.input.drain()
            if link.ended:
                link.set_callbacks(write=sent, event=lambda link, what: link.close())
                link.write(b"%d bytes\n" % total)
                link.flush(WRITE, BEV_FINISHED)

        def sent(link: Link) -> None:
            received = link.zlib.received
            print(f"{total} bytes crossed as {received}", flush=True)

        link.set_callbacks(read=read, event=lambda link, what: link.close())
        link.enable(READ)

    with EventBase() as base, Listener(base, ("127.0.0.1", port), accept) as listener:
        print(f"listening on 127.0.0.1:{listener.address[1]}", flush=True)
        try:
            base.dispatch()
        except KeyboardInterrupt:
            pass


def send(host: str, port: int, data: bytes) -> None:
    with EventBase() as base:
        sock = SocketBufferEvent(base)
        link = Link(sock)

        def read(link: Link) -> None:
            if link.ended:
                print(f"the server got {link.read().decode().strip()}; {link.zlib.sent} were sent")
                link.close()

        def event(link: Link, what: int) -> None:
            if what & BEV_EVENT_CONNECTED:
                return
            print("the connection ended" if what & BEV_EVENT_EOF else f"failed: {sock.error}")
            link.close()

        link.set_callbacks(read=read, event=event)
        sock.connect_hostname(host, port)
        link.enable(READ)
        # Waits for the connection in the socket's output.
        link.write(data)
        link.flush(WRITE, BEV_FINISHED)
        base.dispatch()


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    elif sys.argv[1:2] == ["send"] and len(sys.argv) == 4:
        send(sys.argv[2], int(sys.argv[3]), sys.stdin.buffer.read())
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
