"""Code that uses the public API as its users do, for the type checker alone: mypy reads it, nothing runs it."""

import signal
import socket
from datetime import timedelta

from OpenSSL import SSL

from cyevent import (
    EOL_CRLF,
    EVLOOP_ONCE,
    PERSIST,
    READ,
    WRITE,
    CheckWatcher,
    EvBuffer,
    Event,
    EventBase,
    FileSegment,
    Listener,
    PrepareWatcher,
    Signal,
    SocketBufferEvent,
    SSLBufferEvent,
    SSLError,
    Timer,
    get_include,
)


def reactor(sock: socket.socket) -> tuple[str, ...]:
    def on_readable(fd: int, what: int, word: str) -> None:
        print(fd, what, word)

    with EventBase("epoll", priorities=2, max_dispatch_interval=0.1) as base:
        event = Event(base, sock, READ | PERSIST, on_readable, "word", priority=1)
        event.add(timedelta(seconds=1))
        event.add(base.common_timeout(2.5))
        mask: int = event.pending()
        deadline: float | None = event.expires
        print(mask, deadline, event.callback, event.args, event.priority + 1)
        Timer(base, print, "tick", persist=True).add(0.5)
        Signal(base, signal.SIGINT, lambda signum: base.loopexit(1)).add()
        base.once(None, READ, print, timeout=1)
        PrepareWatcher(base, lambda timeout: None)
        CheckWatcher(base, print).close()
        base.set_exception_handler(lambda error, callback: print(error))
        base.call_soon(print, "called")
        status: int = base.loop(EVLOOP_ONCE)
        names = [type(one).__name__ for one in base]
        print(status, names, base.time() - base.monotonic())
        event.finalize(lambda ev: print(ev.fd))
    return EventBase.supported_methods()


def server(base: EventBase) -> Listener:
    def accepted(listener: Listener, fd: int, address: object) -> None:
        bev = SocketBufferEvent(base, fd)
        bev.set_callbacks(read=answer, event=lambda bev, what: bev.close())
        bev.set_watermark(READ, low=1, high=4096)
        bev.set_timeouts(read=30, write=timedelta(seconds=5))
        bev.enable(READ | WRITE)

    def answer(bev: SocketBufferEvent) -> None:
        line: bytes | None = bev.input.readline(EOL_CRLF)
        if line is not None:
            bev.write(line)
            bev.write_reference(memoryview(line))

    return Listener(base, ("127.0.0.1", 0), accepted, reuse_port=True)


def buffers() -> bytes:
    buf = EvBuffer(b"initial")
    buf.add(bytearray(b"more"))
    buf.add_reference(b"by reference")
    views: list[memoryview] = buf.peek()
    with buf.reserve(100) as vectors:
        vectors[0][:2] = b"ok"
        buf.commit(2)
    with buf.frozen(front=True) as same, open("/etc/hosts", "rb") as file:
        same.add_file(file)
        with FileSegment(file, 0, 1, mmap=False) as segment:
            same.add_file_segment(segment, length=segment.length)
    return bytes(buf) + buf.remove(3) + bytes(views[0]) + get_include().encode()


def tls(base: EventBase, context: SSL.Context) -> bytes | None:
    def event(bev: SSLBufferEvent, what: int) -> None:
        error = bev.error
        if isinstance(error, SSLError):
            print(error.errors, error.verify_message)

    client = SSLBufferEvent(base, server_hostname="example.org", alpn=["h2"], event=event)
    client.connect_hostname("example.org", 443)
    server = SSLBufferEvent.filter(SocketBufferEvent(base, 5), context, server_side=True)
    server.allow_dirty_shutdown = True
    return client.alpn_protocol if server.established else None
