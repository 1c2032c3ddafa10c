"""A proxy that ends TLS: clients speak TLS with it, and it speaks in the clear with a server.

    python examples/tls_proxy.py [--port PORT] CERT KEY SERVER_HOST SERVER_PORT

CERT and KEY are PEM files. It prints the port that it listens on and ends with Ctrl-C. Try it before
a server of yours with `openssl s_client -connect 127.0.0.1:PORT`.
"""

from __future__ import annotations

import argparse
import os
import socket

from OpenSSL import SSL

from cyevent import (
    BEV_EVENT_CONNECTED,
    BEV_EVENT_EOF,
    BEV_FINISHED,
    READ,
    WRITE,
    BufferEvent,
    EventBase,
    Listener,
    SocketBufferEvent,
    SSLBufferEvent,
)

HIGH_WATERMARK = (
    256 * 1024
)  # bytes that wait for one end before the other is not read from any more
HANDSHAKE = 10.0  # seconds that a client may be silent in it


class Link:
    """Two ends, and the bytes between them."""

    def __init__(
        self, base: EventBase, fd: int, context: SSL.Context, server: tuple[str, int]
    ) -> None:
        self.server = server
        self.finished: set[BufferEvent] = set()  # ends that say nothing more
        self.client = SSLBufferEvent(
            base, fd, context, server_side=True, allow_dirty_shutdown=True, event=self.shaken
        )
        self.client.set_timeouts(read=HANDSHAKE)
        self.back = SocketBufferEvent(base)

    def shaken(self, client: BufferEvent, what: int) -> None:
        """The handshake is done or has failed; only now does the server hear of the client."""
        if not what & BEV_EVENT_CONNECTED:
            self.close()
            return
        client.set_timeouts()
        for end in (self.client, self.back):
            end.set_callbacks(read=self.pass_on, write=self.drained, event=self.ended)
        self.back.connect_hostname(*self.server)
        self.client.enable(READ)
        self.back.enable(READ)

    def other(self, end: BufferEvent) -> BufferEvent:
        return self.back if end is self.client else self.client

    def pass_on(self, end: BufferEvent) -> None:
        target = self.other(end)
        # Moved, not copied.
        target.write_buffer(end.input)
        if len(target.output) >= HIGH_WATERMARK:
            end.disable(READ)

    def drained(self, end: BufferEvent) -> None:
        """All that was written to this end has left."""
        source = self.other(end)
        if source not in self.finished:
            source.enable(READ)
        elif end in self.finished:
            self.close()
        else:
            self.finish(end)

    def finish(self, end: BufferEvent) -> None:
        """Tells an end that nothing more comes for it; it may still have something to say."""
        if end is self.client:
            end.flush(WRITE, BEV_FINISHED)
        else:
            with socket.socket(fileno=os.dup(end.fd)) as sock:
                sock.shutdown(socket.SHUT_WR)

    def ended(self, end: BufferEvent, what: int) -> None:
        if what & BEV_EVENT_CONNECTED:
            return
        target = self.other(end)
        self.finished.add(end)
        if not what & BEV_EVENT_EOF or (target in self.finished and not target.output):
            self.close()
        elif not target.output:
            self.finish(target)

    def close(self) -> None:
        self.client.close()
        self.back.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=0, help="to listen on (0: any)")
    parser.add_argument("cert", help="PEM file of the certificate, or chain")
    parser.add_argument("key", help="PEM file of its key")
    parser.add_argument("host", help="the server's name or address")
    parser.add_argument("server_port", type=int, help="and port")
    options = parser.parse_args()

    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate_chain_file(options.cert)
    context.use_privatekey_file(options.key)
    context.check_privatekey()

    with EventBase() as base:

        def accept(listener: Listener, fd: int, address: object) -> None:
            Link(base, fd, context, (options.host, options.server_port))

        with Listener(base, ("127.0.0.1", options.port), accept) as listener:
            print(f"listening on 127.0.0.1:{listener.address[1]}", flush=True)
            try:
                base.dispatch()
            except KeyboardInterrupt:
                print("goodbye")


if __name__ == "__main__":
    main()
