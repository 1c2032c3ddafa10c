"""SocketBufferEvent."""

from collections.abc import Callable

from cyevent._typing import Address, Descriptor
from cyevent.bufferevent.pybase import BufferEvent
from cyevent.core.reactor import EventBase

class SocketBufferEvent(BufferEvent):
    def __init__(
        self,
        base: EventBase,
        sock: Descriptor | None = None,
        options: int = 0,
        *,
        close_on_free: bool = True,
        read: Callable[[SocketBufferEvent], object] | None = None,
        write: Callable[[SocketBufferEvent], object] | None = None,
        event: Callable[[SocketBufferEvent, int], object] | None = None,
    ) -> None: ...
    def connect(self, address: Address) -> None: ...
    def connect_hostname(
        self, host: str | bytes, port: int, *, family: int = 0, dns: None = None
    ) -> None: ...
    @property
    def dns_error(self) -> int: ...
    @property
    def connecting(self) -> bool: ...
