"""Event, Timer and Signal."""

from collections.abc import Callable
from typing import Any

from cyevent._typing import Descriptor, Seconds
from cyevent.core.reactor import Duration, EventBase

class Event:
    def __init__(
        self,
        base: EventBase,
        fd: Descriptor,
        what: int,
        callback: Callable[..., object],
        *args: Any,
        priority: int | None = None,
    ) -> None: ...
    def add(self, timeout: Seconds | Duration | None = None) -> None: ...
    def delete(self) -> None: ...
    def activate(self, what: int, ncalls: int = 1) -> None: ...
    def pending(self, what: int = ...) -> int: ...
    def remove_timer(self) -> None: ...
    def finalize(self, callback: Callable[[Event], object] | None = None) -> None: ...
    def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def expires(self) -> float | None: ...
    @property
    def fd(self) -> int: ...
    @property
    def events(self) -> int: ...
    @property
    def base(self) -> EventBase: ...
    @property
    def callback(self) -> Callable[..., object]: ...
    @property
    def args(self) -> tuple[Any, ...]: ...
    @property
    def initialized(self) -> bool: ...
    priority: int

class Timer(Event):
    def __init__(
        self,
        base: EventBase,
        callback: Callable[..., object],
        *args: Any,
        persist: bool = False,
        priority: int | None = None,
    ) -> None: ...
    def add(self, seconds: Seconds | Duration) -> None: ...  # type: ignore[override]

class Signal(Event):
    def __init__(
        self,
        base: EventBase,
        signum: int,
        callback: Callable[..., object],
        *args: Any,
        persist: bool = True,
        priority: int | None = None,
    ) -> None: ...
