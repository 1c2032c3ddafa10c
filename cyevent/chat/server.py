"""A line-based chat for nc and telnet.

What is said
    Text is UTF-8; LF or CR LF ends a line. Each line reaches every other client as ``<name> text``. Control
    characters other than tab arrive as U+FFFD, so that nobody can drive another's terminal.
    ``/nick NAME``, ``/who`` and ``/quit`` are commands; lines that begin with ``*``, ``welcome`` or
    ``error:`` and no ``<name>`` come from the server.

How a turn goes
    Lines are heeded as they are read, and what they lead to is collected in a Round, which is delivered when
    the turn's last callback has run. A round that is full ends the intake: clients with more to say wait in
    line for the next turn, before which the sockets had their chance to take what is queued. So a client is
    dropped for not reading, never for the others' having much to say at once.

    A client that says more than its rate, or its share of everybody's, is not read from for the rest of the
    second; what it has sent waits in its socket, and then in its own.

How a client goes
    One that says /quit or closes its end hears the round to its end and gets what is queued for it. One that
    fails, or whose queue reached the limit, is closed on the spot.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import gc
import re
import signal
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from cyevent import (
    BEV_EVENT_CONNECTED,
    BEV_EVENT_ERROR,
    BEV_FINISHED,
    BEV_OPT_CLOSE_ON_FREE,
    EOL_CRLF,
    READ,
    TIMEOUT,
    WRITE,
    BufferEvent,
    EventBase,
    Listener,
    RateLimitGroup,
    Signal,
    SocketBufferEvent,
    SSLBufferEvent,
    Timer,
    TokenBucket,
)
from cyevent.chat.round import Cut, Round

if TYPE_CHECKING:
    from OpenSSL import SSL

ROUND_BYTES = 64 * 1024  # a turn takes in no more lines than this, give or take one
INPUT_BYTES = 16 * 1024  # read ahead from a client that waits its turn
HANDSHAKE = 10.0  # seconds without a byte in which a client's TLS handshake is given up
LINGER = 5.0  # seconds for a leaving client to take what is queued for it
GOODBYE = 1.0  # seconds for all of them, when the server ends
TRIM_FROM = 256  # clients; memory is given back when half of so many or more have left

NAME_LENGTH = 32
COMMANDS = b"error: there are /nick NAME, /who and /quit\n"
CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Limits:
    """How much of everything."""

    clients: int = 10_000
    line: int = 4096  # bytes, without the line's end
    queue: int = 1024 * 1024  # bytes that wait for a client until it is dropped
    rate: int | None = None  # bytes a second that each client may say; None: any number
    group_rate: int | None = None  # and all of them together, who share it evenly


class State(enum.Enum):
    """Where a client stands; it moves downwards only."""

    GREETING = enum.auto()  # the TLS handshake is under way; nobody has heard of it
    PRESENT = enum.auto()
    ENDED = enum.auto()  # sends nothing more; what it sent is still to be heeded
    FAILED = enum.auto()  # the same, and it receives nothing more either
    LEAVING = enum.auto()  # has left the chat and is sent what is queued
    CLOSED = enum.auto()


MEMBERS = frozenset((State.PRESENT, State.ENDED, State.FAILED))


SLOTS = ("cuts", "discarding", "half_closed", "linger", "name", "server", "state", "waits")


class Client(BufferEvent):
    """A connection, and who is at its other end. One object for both: there may be thousands."""

    __slots__ = ()

    server: ChatServer
    name: str
    state: State
    discarding: bool
    half_closed: bool
    waits: bool
    cuts: list[Cut]
    linger: Timer | None

    def introduce(self, server: ChatServer) -> None:
        """Begins; after the connection's constructor."""
        self.server = server
        self.name = ""
        self.state = State.GREETING
        self.discarding = False  # in the middle of a line that is too long
        self.half_closed = False  # the peer has closed its end
        self.waits = False  # in the server's line for the next turn
        self.cuts = []
        self.linger = None
        self.set_watermark(READ, 0, INPUT_BYTES)
        # What is said is limited, not what is heard: nobody is to be dropped for the others' chatter.
        self.set_rate_limit(server.rate)
        if server.group is not None:
            server.group.add(self)

    def join(self, name: str) -> None:
        self.name = name
        self.state = State.PRESENT
        # As functions of the class: a bound method each would cost more than all of the above.
        self.set_callbacks(read=Client.readable, event=Client.ended)
        self.enable(READ)

    def readable(self: BufferEvent) -> None:
        assert isinstance(self, Client)
        self.server.hear(self)

    def ended(self: BufferEvent, what: int) -> None:
        assert isinstance(self, Client)
        self.half_closed = True
        # A failed write may be followed by the end of what there is to read: that is no way back.
        if self.state in MEMBERS:
            if what & BEV_EVENT_ERROR:
                self.state = State.FAILED
            elif self.state is State.PRESENT:
                self.state = State.ENDED
            self.server.hear(self)

    # Leaving: the queue is written, then our end closed, then the peer's awaited. A socket that is closed
    # with unread bytes sends a reset, and that would overtake what was written.

    def leave(self) -> None:
        """Closes when what is queued has been sent, or after LINGER seconds."""
        if self.half_closed and not (self.output and self.enabled & WRITE):
            self.close()
            return
        self.linger = Timer(self.server.base, self.close)
        self.linger.add(self.server.linger)
        self.set_callbacks(read=Client.discard, write=Client.sent, event=Client.gone)
        self.discard()
        if not self.output:
            self.sent()

    def discard(self: BufferEvent) -> None:
        self.input.drain(len(self.input))

    def sent(self: BufferEvent) -> None:
        assert isinstance(self, Client)
        if self.half_closed:
            self.close()
        else:
            self.say_end()

    def say_end(self) -> None:
        with contextlib.suppress(OSError), borrowed(self.fd) as sock:
            sock.shutdown(socket.SHUT_WR)

    def gone(self: BufferEvent, what: int) -> None:
        assert isinstance(self, Client)
        self.half_closed = True
        if what & BEV_EVENT_ERROR or not self.output:
            self.close()

    def close(self) -> None:
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        if self.linger is not None:
            self.linger.close()
            self.linger = None
        super().close()
        self.server.closed(self)


class PlainClient(Client, SocketBufferEvent):
    """One that speaks in the clear."""

    __slots__ = SLOTS

    def __init__(self, server: ChatServer, fd: int) -> None:
        SocketBufferEvent.__init__(self, server.base, fd, BEV_OPT_CLOSE_ON_FREE)
        self.introduce(server)
        server.welcome(self)


class SecureClient(Client, SSLBufferEvent):
    """One that speaks TLS, and is welcome after the handshake."""

    __slots__ = SLOTS

    def __init__(self, server: ChatServer, fd: int) -> None:
        # A line that was cut off is none, so the end may come without close_notify.
        SSLBufferEvent.__init__(
            self, server.base, fd, server.tls, server_side=True, allow_dirty_shutdown=True
        )
        self.introduce(server)
        server.greeting.add(self)
        self.set_timeouts(read=HANDSHAKE)
        self.set_callbacks(event=SecureClient.greeted)

    def greeted(self: BufferEvent, what: int) -> None:
        assert isinstance(self, SecureClient)
        self.server.greeting.discard(self)
        if what & BEV_EVENT_CONNECTED:
            self.set_timeouts()
            self.server.welcome(self)
        else:
            self.close()

    def say_end(self) -> None:
        self.flush(WRITE, BEV_FINISHED)


class ChatServer:
    """Serves the chat on `address`, which begins to listen here; OSError if it cannot.

    tls: the OpenSSL.SSL.Context with the server's certificate; None to speak in the clear.
    Run `base.dispatch()` to serve; it returns after `stop`.
    """

    def __init__(
        self,
        base: EventBase,
        address: tuple[str, int],
        limits: Limits | None = None,
        tls: SSL.Context | None = None,
    ) -> None:
        self.base = base
        self.tls = tls
        self.limits = limits or Limits()
        self.members: dict[str, Client] = {}  # by the name's folded case
        self.leaving: set[Client] = set()
        self.greeting: set[Client] = set()
        self.departed: list[Client] = []  # this round is the last that they hear
        self.waiting: deque[Client] = deque()
        self.round = Round()
        rate, group_rate = self.limits.rate, self.limits.group_rate
        self.rate = None if rate is None else TokenBucket(rate)
        self.group = None if group_rate is None else RateLimitGroup(base, TokenBucket(group_rate))
        self.guests = 0
        self.peak = 0  # most members since memory was given back
        self.crowded = False  # memory was given back, but not since the last member left
        self.who: bytes | None = None  # the answer to /who while nobody comes, goes or is renamed
        self.linger = base.common_timeout(LINGER)
        self.delivery = Timer(base, self.deliver)
        self.next_turn = Timer(base, self.resume)
        self.trim = Timer(base, self.give_back_memory)
        self.stopping = False
        self.listener = Listener(base, address, self.accept)

    # Coming and going.

    def accept(self, listener: Listener, fd: int, address: object) -> None:
        with borrowed(fd) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            there = len(self.members) + len(self.leaving) + len(self.greeting)
            full = there >= self.limits.clients
            if full and self.tls is None:
                with contextlib.suppress(OSError):
                    sock.send(b"error: the chat is full\n", socket.MSG_DONTWAIT)
        if full:
            socket.close(fd)
            return
        if self.tls is None:
            PlainClient(self, fd)
        else:
            SecureClient(self, fd)

    def welcome(self, client: Client) -> None:
        client.join(self.guest_name())
        self.members[client.name.casefold()] = client
        self.peak = max(self.peak, len(self.members))
        self.who = None
        self.announce("%s joined", client.name)
        greeting = f"welcome {client.name}, {len(self.members)} here\n"
        self.round.enter(client, greeting.encode())

    def guest_name(self) -> str:
        while True:
            self.guests += 1
            name = f"guest{self.guests}"
            if name not in self.members:
                return name

    def leave(self, client: Client, at_once: bool) -> None:
        """Takes a client out of the chat; at_once: without sending what is queued."""
        del self.members[client.name.casefold()]
        self.who = None
        if at_once:
            client.cuts.clear()
            client.close()
        else:
            client.state = State.LEAVING
            self.leaving.add(client)
            self.round.exit(client)
            self.departed.append(client)
        self.announce("%s left", client.name)
        self.consider_trim()

    def consider_trim(self) -> None:
        """Gives memory back when half of a crowd has left, and once more after its last."""
        if self.stopping:
            return
        if self.peak >= TRIM_FROM and 2 * len(self.members) <= self.peak:
            self.crowded = True
            if not self.trim.pending():
                self.trim.add(0.2)
        elif self.crowded and not self.members:
            self.trim.add(0.2)

    def closed(self, client: Client) -> None:
        self.leaving.discard(client)
        self.consider_trim()
        if self.stopping and not self.leaving and not self.base.closed:
            self.base.loopexit()

    # Hearing.

    def hear(self, client: Client) -> None:
        """Heeds what a client has sent, now or when it is its turn."""
        if client.waits:
            return
        if self.waiting:
            self.wait(client)
        else:
            self.heed_lines(client)

    def wait(self, client: Client) -> None:
        client.waits = True
        self.waiting.append(client)
        if len(self.waiting) == 1:
            self.next_turn.add(0)

    def resume(self) -> None:
        """Serves those who wait, first come first served, as far as this round goes."""
        line = self.waiting
        self.waiting = deque()
        while line and self.round.cost < ROUND_BYTES:
            client = line.popleft()
            client.waits = False
            self.heed_lines(client)
        for client in self.waiting:
            line.append(client)
        self.waiting = line
        if line:
            self.next_turn.add(0)

    def heed_lines(self, client: Client) -> None:
        while client.state in MEMBERS:
            if self.round.cost >= ROUND_BYTES:
                self.wait(client)
                return
            line = client.input.readline(EOL_CRLF)
            if line is None:
                self.check_unfinished(client)
                if client.state is not State.PRESENT:
                    self.leave(client, at_once=client.state is State.FAILED)
                return
            if client.discarding:
                client.discarding = False
            elif len(line) > self.limits.line:
                self.refuse_length(client)
            else:
                self.heed(client, line)

    def check_unfinished(self, client: Client) -> None:
        """A line that is too long already is refused now, and not kept while the rest of it comes."""
        unread = client.input
        # One more than the limit may be the CR of a line that is just not too long.
        if not client.discarding and len(unread) > self.limits.line + 1:
            client.discarding = True
            self.refuse_length(client)
        if client.discarding:
            unread.drain(len(unread))

    def refuse_length(self, client: Client) -> None:
        self.tell(client, b"error: a line has at most %d bytes\n" % self.limits.line)

    def heed(self, client: Client, line: bytes) -> None:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self.tell(client, b"error: that is not UTF-8\n")
            return
        if text.startswith("/"):
            self.command(client, text)
            return
        if CONTROLS.search(text):
            line = CONTROLS.sub("\ufffd", text).encode()
        self.say(b"<%s> %s\n" % (client.name.encode(), line), client)

    # Commands.

    def command(self, client: Client, text: str) -> None:
        word, _, rest = text.partition(" ")
        if word == "/nick":
            self.rename(client, rest.strip(" "))
        elif word == "/who":
            self.tell(client, self.who_is_here())
        elif word == "/quit":
            self.leave(client, at_once=False)
        else:
            self.tell(client, COMMANDS)

    def rename(self, client: Client, name: str) -> None:
        if not 1 <= len(name) <= NAME_LENGTH:
            self.tell(client, b"error: a name has 1 to %d characters\n" % NAME_LENGTH)
            return
        # Nothing invisible, and nothing that could pass for the end of a name.
        if not name.isprintable() or any(c.isspace() or c in "<>" for c in name):
            self.tell(client, b"error: a name has no spaces, control characters, < or >\n")
            return
        holder = self.members.get(name.casefold())
        if holder is not None and holder is not client:
            self.tell(client, b"error: that name is taken\n")
            return
        old = client.name
        del self.members[old.casefold()]
        client.name = name
        self.members[name.casefold()] = client
        self.who = None
        self.announce("%s is now %s", old, name)

    def who_is_here(self) -> bytes:
        if self.who is None:
            names = " ".join(client.name for client in self.members.values())
            self.who = f"* {len(self.members)} here: {names}\n".encode()
        return self.who

    # Saying.

    def say(self, message: bytes, speaker: Client | None = None) -> None:
        self.round.say(message, speaker)
        self.delivery.activate(TIMEOUT)

    def tell(self, client: Client, message: bytes) -> None:
        self.round.tell(client, message)
        self.delivery.activate(TIMEOUT)

    def announce(self, format: str, *names: str) -> None:
        self.say(f"* {format % names}\n".encode())

    def deliver(self) -> None:
        """Ends the round: queues it for everybody, and drops those who don't read what they have."""
        departed = self.departed
        self.departed = []
        self.round.deliver(chain(self.members.values(), departed))
        limit = self.limits.queue
        slow = [client for client in self.members.values() if len(client.output) >= limit]
        for client in slow:
            self.leave(client, at_once=True)
        for client in departed:
            client.leave()

    # Ending.

    def stop(self) -> None:
        """Says goodbye to all and ends the loop when they have it, in GOODBYE seconds at the latest; at
        once when called again."""
        if self.stopping:
            self.base.loopbreak()
            return
        self.stopping = True
        self.listener.close()
        for client in list(self.greeting):
            self.greeting.discard(client)
            client.close()
        self.say(b"* the server is going down, goodbye\n")
        for client in list(self.members.values()):
            client.state = State.LEAVING
            self.leaving.add(client)
        self.departed += self.members.values()
        self.members.clear()
        self.deliver()
        if self.leaving:
            Timer(self.base, self.base.loopbreak).add(GOODBYE)
        else:
            self.base.loopexit()

    def give_back_memory(self) -> None:
        """After thousands have left, the C library would keep the memory that they took."""
        self.peak = len(self.members)
        self.crowded = bool(self.members or self.leaving)
        # Tables do not shrink by themselves.
        self.members = dict(self.members)
        self.greeting = set(self.greeting)
        self.leaving = set(self.leaving)
        gc.collect()
        if malloc_trim is not None:
            malloc_trim(0)


malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone


@contextlib.contextmanager
def borrowed(fd: int) -> Iterator[socket.socket]:
    """A descriptor as a socket object, which does not close it."""
    sock = socket.socket(fileno=fd)
    try:
        yield sock
    finally:
        sock.detach()


def serve(server: ChatServer) -> None:
    """Runs a server until SIGINT or SIGTERM; a second one ends it without waiting for anybody."""

    def stop(signum: int) -> None:
        server.stop()

    signals = [Signal(server.base, number, stop) for number in (signal.SIGINT, signal.SIGTERM)]
    for interest in signals:
        interest.add()
    server.base.dispatch()
    for interest in signals:
        interest.close()
