"""One turn's messages, for everybody at once.

In a chat of N clients a turn of the loop may bring a line from each of them. To queue every line for every
client would be N * N calls; here all that is said in one turn is joined into one piece of memory, and each
client's output gets a reference to it: N calls, and one copy of the bytes whoever hears them.

Not all hear the same. A client does not hear its own lines, a newcomer nothing from before it came, and an
answer to a command is for one alone. Such differences are a client's *cuts*, in the order of the round:
(start, stop, instead) says that for this client bytes start to stop are replaced by `instead`. So everybody
sees one and the same order of things, and a client with n cuts costs n + 1 references.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Protocol

from cyevent import EvBuffer

Cut = tuple[int, int, bytes]
FOREVER = sys.maxsize


class Hearer(Protocol):
    """What a round needs of a client."""

    cuts: list[Cut]

    @property
    def output(self) -> EvBuffer: ...


class Round:
    """Messages from the first one said to `deliver`; then another round begins."""

    __slots__ = ("cost", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0  # bytes that all hear
        self.cost = 0  # bytes to all and to single clients: what a turn's work is limited by

    def say(self, message: bytes, speaker: Hearer | None = None) -> None:
        """Adds a message for everyone but the speaker."""
        start = self.size
        self.pieces.append(message)
        self.size += len(message)
        self.cost += len(message)
        if speaker is None:
            return
        cuts = speaker.cuts
        if cuts and cuts[-1][1] == start and not cuts[-1][2]:
            start = cuts.pop()[0]
        cuts.append((start, self.size, b""))

    def tell(self, hearer: Hearer, message: bytes) -> None:
        """Adds a message for one client alone."""
        self.cost += len(message)
        hearer.cuts.append((self.size, self.size, message))

    def enter(self, hearer: Hearer, message: bytes) -> None:
        """From here on a newcomer hears what is said, after a message of its own."""
        self.cost += len(message)
        hearer.cuts.append((0, self.size, message))

    def exit(self, hearer: Hearer) -> None:
        """From here on a client hears nothing more."""
        hearer.cuts.append((self.size, FOREVER, b""))

    def deliver(self, hearers: Iterable[Hearer]) -> None:
        """Queues for each client what it is to hear."""
        whole = b"".join(self.pieces)
        for hearer in hearers:
            add = hearer.output.add_reference
            if not hearer.cuts:
                if whole:
                    add(whole)
                continue
            # By offset and length: a memoryview for each stretch would take more memory than the stretch.
            begin = 0
            for start, stop, instead in hearer.cuts:
                if start > begin:
                    add(whole, begin, start - begin)
                if instead:
                    add(instead)
                begin = stop
            if begin < self.size:
                add(whole, begin)
            hearer.cuts.clear()
        self.pieces = []
        self.size = self.cost = 0
