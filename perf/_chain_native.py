"""The chain's peers with C callbacks: libevent's own library, cyevent, and bare system calls."""

from __future__ import annotations

import ctypes
from array import array
from typing import NamedTuple, Protocol

from perf import _build

LIBEVENT = _build.Part("library", "chain_libevent", ("event_core", "event_pthreads"))
FLOOR = _build.Part("library", "chain_floor")
PARTS = (LIBEVENT, FLOOR, _build.Part("module", "chain_cyevent"))


class Round(NamedTuple):
    """One round's times in nanoseconds."""

    setup: int  # adding all events, and one turn of the loop that finds nothing
    loop: int  # from the first bytes written to the last one read
    removal: int  # deleting all events
    cpu: int  # of the loop: the thread's user and system time


class Ring(NamedTuple):
    """What a round is run on. fds: read end, write end, read end, ..."""

    fds: array[int]
    active: int
    stride: int
    writes: int

    @property
    def pipes(self) -> int:
        """How many pairs there are."""
        return len(self.fds) // 2


class Peer(Protocol):
    """One who runs rounds on a ring."""

    def round(self, ring: Ring) -> Round:
        """Adds all events, runs the chain, deletes all events."""

    def close(self) -> None:
        """Gives the kernel's objects back."""


class _Times(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in Round._fields]


class Library:
    """A shared library that has chain_open(), chain_round() and chain_close()."""

    def __init__(self, part: _build.Part) -> None:
        self.name = part.name
        self.library = part.loaded()
        number, pointer = ctypes.c_int, ctypes.c_void_p
        self.library.chain_open.argtypes = [ctypes.c_char_p, number, number]
        self.library.chain_open.restype = pointer
        self.library.chain_close.argtypes = [pointer]
        self.library.chain_close.restype = None
        self.library.chain_round.argtypes = [
            pointer,
            pointer,
            number,
            number,
            number,
            ctypes.POINTER(_Times),
        ]
        self.library.chain_round.restype = number

    def open(self, method: str, locked: bool, ring: Ring) -> LibraryPeer:
        """Returns a peer with a base of its own."""
        handle = self.library.chain_open(method.encode(), locked, ring.pipes)
        if not handle:
            raise RuntimeError(f"{self.name} makes no base for {method}")
        return LibraryPeer(self, handle)


class LibraryPeer:
    """A base of a shared library."""

    def __init__(self, owner: Library, handle: int) -> None:
        self.owner = owner
        self.handle = handle

    def round(self, ring: Ring) -> Round:
        times = _Times()
        address, _ = ring.fds.buffer_info()
        failed = self.owner.library.chain_round(
            self.handle, address, ring.active, ring.stride, ring.writes, ctypes.byref(times)
        )
        if failed:
            raise RuntimeError(f"{self.owner.name}: a byte was not read or not written")
        return Round(times.setup, times.loop, times.removal, times.cpu)

    def close(self) -> None:
        self.owner.library.chain_close(self.handle)
        self.handle = None


class CyeventPeer:
    """A base of cyevent's, with callbacks in C."""

    def __init__(self, method: str, locked: bool, ring: Ring) -> None:
        self.peer = _build.cython_module("chain_cyevent").Peer(method, locked, ring.pipes)

    def round(self, ring: Ring) -> Round:
        address, _ = ring.fds.buffer_info()
        return Round(*self.peer.round(address, ring.active, ring.stride, ring.writes))

    def close(self) -> None:
        self.peer = None


class Libraries:
    """Those that can be opened, compiled once.

    libevent's locks are switched on for the whole process and for good, so what is measured without
    them has to come first.
    """

    def __init__(self) -> None:
        self.libevent = Library(LIBEVENT)
        self.floor = Library(FLOOR)
        self.threads = False

    def open(self, name: str, method: str, locked: bool, ring: Ring) -> Peer:
        """Returns the peer `name`: 'libevent', 'cyevent' or 'floor'."""
        if locked and not self.threads:
            self.libevent.library.chain_use_threads()
            self.threads = True
        if name == "cyevent":
            return CyeventPeer(method, locked, ring)
        library = self.libevent if name == "libevent" else self.floor
        return library.open(method, locked, ring)
