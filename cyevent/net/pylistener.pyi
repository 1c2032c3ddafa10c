"""Listener."""

from collections.abc import Callable
from types import TracebackType
from typing import Any

from typing_extensions import Self

from cyevent._typing import Address, HasFileno
from cyevent.core.reactor import EventBase

class Listener:
    callback: Callable[[Listener, int, Any], object]
    def __init__(
        self,
        base: EventBase,
        address: Address | HasFileno,
        callback: Callable[[Listener, int, Any], object],
        *,
        backlog: int = -1,
        reuse_port: bool = False,
        reuse_address: bool = True,
        deferred_accept: bool = False,
        ipv6_only: bool | None = None,
        close_on_free: bool = True,
        error: Callable[[Listener, OSError], object] | None = None,
        enabled: bool = True,
        leave_blocking: bool = False,
    ) -> None: ...
    def enable(self) -> None: ...
    def disable(self) -> None: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def fd(self) -> int: ...
    def fileno(self) -> int: ...
    @property
    def address(self) -> Any: ...
    @property
    def base(self) -> EventBase: ...
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
