"""FilterBufferEvent."""

from collections.abc import Callable

from cyevent.buffer.pyevbuffer import EvBuffer
from cyevent.bufferevent.pybase import BufferEvent

class FilterBufferEvent(BufferEvent):
    def __init__(
        self,
        underlying: BufferEvent,
        input: Callable[[EvBuffer, EvBuffer, int, int], int | None] | None = None,
        output: Callable[[EvBuffer, EvBuffer, int, int], int | None] | None = None,
        options: int = 0,
        *,
        close_on_free: bool = True,
        read: Callable[[FilterBufferEvent], object] | None = None,
        write: Callable[[FilterBufferEvent], object] | None = None,
        event: Callable[[FilterBufferEvent, int], object] | None = None,
    ) -> None: ...
    @property
    def underlying(self) -> BufferEvent | None: ...
