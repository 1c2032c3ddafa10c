"""PairBufferEvent and bufferevent_pair()."""

from cyevent.bufferevent.pybase import BufferEvent
from cyevent.core.reactor import EventBase

class PairBufferEvent(BufferEvent):
    def __init__(self, *args: object, **kwargs: object) -> None: ...  # raises
    @property
    def partner(self) -> PairBufferEvent | None: ...

def bufferevent_pair(
    base: EventBase, options: int = 0
) -> tuple[PairBufferEvent, PairBufferEvent]: ...
