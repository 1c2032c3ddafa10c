"""Types that several stubs use; there is no such module at run time."""

from datetime import timedelta
from os import PathLike
from typing import Protocol, TypeAlias

class HasFileno(Protocol):
    def fileno(self) -> int: ...

class TextSink(Protocol):
    def write(self, text: str, /) -> object: ...

Descriptor: TypeAlias = int | HasFileno
Seconds: TypeAlias = float | timedelta
Host: TypeAlias = str | bytes | None
Address: TypeAlias = (
    tuple[Host, int]
    | tuple[Host, int, int]
    | tuple[Host, int, int, int]
    | str
    | bytes
    | PathLike[str]
    | PathLike[bytes]
)
