"""An echo server: whatever a client sends comes back.

    python examples/echo_server.py [PORT]

It prints the port that it listens on and ends with Ctrl-C. Try it with `nc 127.0.0.1 PORT`.
"""

from __future__ import annotations

import sys

from cyevent import READ, EventBase, Listener, SocketBufferEvent

HIGH_WATERMARK = 64 * 1024  # bytes that a client which does not read may leave with us


def accept(listener: Listener, fd: int, address: object) -> None:
    # The base keeps it while the client is there; the descriptor belongs to it.
    client = SocketBufferEvent(listener.base, fd, read=echo, write=resume, event=close)
    client.enable(READ)


def echo(client: SocketBufferEvent) -> None:
    # Moved from one buffer to the other, not copied.
    client.write_buffer(client.input)
    if len(client.output) >= HIGH_WATERMARK:
        client.disable(READ)


def resume(client: SocketBufferEvent) -> None:
    """What was written has left."""
    client.enable(READ)


def close(client: SocketBufferEvent, what: int) -> None:
    """The client's end, or an error."""
    client.close()


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    with EventBase() as base, Listener(base, ("127.0.0.1", port), accept) as listener:
        print(f"listening on 127.0.0.1:{listener.address[1]}", flush=True)
        try:
            base.dispatch()
        except KeyboardInterrupt:
            print("goodbye")


if __name__ == "__main__":
    main()
