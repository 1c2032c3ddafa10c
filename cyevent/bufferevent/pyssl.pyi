"""SSLBufferEvent."""

import ssl
from collections.abc import Callable, Iterable
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from typing_extensions import Self

from cyevent._typing import Descriptor
from cyevent.bufferevent.pybase import BufferEvent
from cyevent.bufferevent.pybufferevent import SocketBufferEvent
from cyevent.core.reactor import EventBase

class SSLError(OSError):
    errors: list[tuple[str, str]]
    verify_code: int
    verify_message: str
    def __init__(
        self, errors: Iterable[tuple[str, str]], verify_code: int = 0, verify_message: str = "ok"
    ) -> None: ...

class SSLBufferEvent(SocketBufferEvent):
    allow_dirty_shutdown: bool
    def __init__(
        self,
        base: EventBase,
        sock: Descriptor | None = None,
        context: SSL.Context | ssl.SSLContext | None = None,
        options: int = 0,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        verify: bool | None = None,
        check_hostname: bool | None = None,
        session: SSL.Session | None = None,
        alpn: Iterable[str | bytes] | None = None,
        allow_dirty_shutdown: bool = False,
        close_on_free: bool = True,
        read: Callable[[Any], object] | None = None,
        write: Callable[[Any], object] | None = None,
        event: Callable[[Any, int], object] | None = None,
    ) -> None: ...
    @classmethod
    def filter(
        cls,
        underlying: BufferEvent,
        context: SSL.Context | ssl.SSLContext | None = None,
        options: int = 0,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        verify: bool | None = None,
        check_hostname: bool | None = None,
        session: SSL.Session | None = None,
        alpn: Iterable[str | bytes] | None = None,
        allow_dirty_shutdown: bool = False,
        close_on_free: bool = True,
        read: Callable[[Any], object] | None = None,
        write: Callable[[Any], object] | None = None,
        event: Callable[[Any, int], object] | None = None,
    ) -> Self: ...
    @property
    def connection(self) -> SSL.Connection | None: ...
    @property
    def underlying(self) -> BufferEvent | None: ...
    @property
    def server_side(self) -> bool: ...
    @property
    def server_hostname(self) -> str | None: ...
    @property
    def established(self) -> bool: ...
    @property
    def version(self) -> str | None: ...
    @property
    def cipher(self) -> str | None: ...
    @property
    def alpn_protocol(self) -> bytes | None: ...
    @property
    def session(self) -> SSL.Session | None: ...
    @property
    def session_reused(self) -> bool: ...
    @property
    def peer_certificate(self) -> x509.Certificate | None: ...
    def renegotiate(self) -> None: ...
