"""FileSegment."""

from collections.abc import Callable
from types import TracebackType
from typing import final

from typing_extensions import Self

from cyevent._typing import Descriptor

@final
class FileSegment:
    def __init__(
        self,
        file: Descriptor,
        offset: int = 0,
        length: int = -1,
        *,
        mmap: bool = True,
        sendfile: bool = True,
        cleanup: Callable[[], object] | None = None,
    ) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def offset(self) -> int: ...
    @property
    def length(self) -> int: ...
