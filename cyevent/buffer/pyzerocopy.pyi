"""What Python sees of sending without copying."""

from typing import NamedTuple

from cyevent._typing import Seconds

class ZerocopyStats(NamedTuple):
    sent: int
    done: int
    copied: int
    refused: int

def set_zerocopy_limits(sockets: int = 1024, linger: Seconds = 60) -> None: ...
