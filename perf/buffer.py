"""Buffers: what adding, draining, moving, searching and sending bytes costs, beside libevent's evbuffer.

libevent's own library and cyevent's C face do the same work, in turn, in this process; the loops are the
same C functions. Bare sendfile(), memcpy() and memchr() stand beside what cannot be done with less. Last, in
Python: EvBuffer's add and remove beside a bytearray's extend and slice deletion.

Every figure is CPU time, user and system, of the thread that does the work.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import resource
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf import _build, _results
from perf._report import Layout
from perf._suite import Benchmark, Figure, Option, in_turns, main, positive

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
PIECES = (16, KIB, 64 * KIB)
BATCH = 16  # pieces in a buffer at most
HEADERS = (
    b"GET /articles/2024/buffers?page=2 HTTP/1.1",
    b"Host: www.example.org",
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
    b"Accept-Language: en-US,en;q=0.5",
    b"Accept-Encoding: gzip, deflate, br, zstd",
    b"Connection: keep-alive",
    b"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark",
    b"If-None-Match: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"",
    b"",
)  # fmt: skip
REQUEST = b"".join(line + b"\r\n" for line in HEADERS)
FLOORS = ("memcpy", "memchr", "sendfile")
# Its first byte is in no header; and one whose beginnings are everywhere.
ABSENT, LIKELY = b"\x01absent\x02", b"encoder:"


LIBEVENT = _build.Part("library", "buffer_libevent", ("event_core",))
WORK = _build.Part("library", "buffer_work")
CYEVENT = _build.Part("module", "buffer_cyevent")


class Clock:
    """CPU time of this thread in nanoseconds, summed over with-blocks.

    The sum is the scheduler's and exact; its parts are counted in the kernel's ticks.
    """

    def __init__(self) -> None:
        self.total = 0.0
        self.ticks = (0.0, 0.0)  # seconds of user and system time

    def __enter__(self) -> None:
        self._usage = resource.getrusage(resource.RUSAGE_THREAD)
        self._began = time.thread_time_ns()

    def __exit__(self, *exception: object) -> None:
        self.total += time.thread_time_ns() - self._began
        usage = resource.getrusage(resource.RUSAGE_THREAD)
        user, system = self.ticks
        self.ticks = (
            user + usage.ru_utime - self._usage.ru_utime,
            system + usage.ru_stime - self._usage.ru_stime,
        )


# --- the two libraries ----------------------------------------------------------------------------


def work_library() -> ctypes.CDLL:
    """Returns the work that is done with either."""
    library = WORK.loaded()
    number, long, size, pointer = ctypes.c_int, ctypes.c_int64, ctypes.c_size_t, ctypes.c_void_p
    text = ctypes.c_char_p
    for name, arguments in (
        ("add_drain", [pointer, pointer, text, size, number, number]),
        ("fill", [pointer, pointer, text, size, size]),
        ("move_all", [pointer, pointer, pointer, number]),
        ("move_parts", [pointer, pointer, pointer, size]),
        ("lines", [pointer, pointer]),
        ("search", [pointer, pointer, text, size]),
        ("file", [pointer, pointer, number, number, long]),
        ("sendfile", [number, number, long]),
        ("copy", [text, size, number, number]),
        ("pieces", [text, size, number]),
        ("scan", [pointer, size, number, number]),
        ("pieces_free", [pointer, number]),
    ):
        function = getattr(library, f"work_{name}")
        function.argtypes, function.restype = arguments, number
    library.work_lines.restype = long
    library.work_pieces.restype = pointer
    return library


def libevent_library() -> ctypes.CDLL:
    """Returns libevent's half."""
    library = LIBEVENT.loaded()
    library.buffer_libevent.restype = ctypes.c_void_p
    return library


class Api(ctypes.Structure):
    """The first fields of struct buffer_api."""

    _fields_ = (
        ("create", ctypes.CFUNCTYPE(ctypes.c_void_p)),
        ("destroy", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
    )


class Peer:
    """One of the two libraries."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.work = work_library()
        if name == "libevent":
            self.address: int = libevent_library().buffer_libevent()
        else:
            self.address = _build.cython_module("buffer_cyevent").address()
        self.api = Api.from_address(self.address)

    @contextmanager
    def buffer(self, text: bytes = b"", total: int = 0) -> Iterator[int]:
        """Makes a buffer with `total` bytes that repeat the text, added in pieces of its length."""
        buf = self.api.create()
        try:
            if total:
                self.run("fill", buf, text, len(text), total)
            yield buf
        finally:
            self.api.destroy(buf)

    def run(self, name: str, *arguments: Any) -> int:
        """Does some work."""
        result: int = getattr(self.work, f"work_{name}")(self.address, *arguments)
        if result < 0:
            raise RuntimeError(f"{self.name}: {name} did not do what it should")
        return result


# --- what is measured -----------------------------------------------------------------------------


@dataclass
class Case:
    """Something to do with each peer in turn. `run` does it once and returns the CPU time that it took
    and how many operations that was."""

    name: str
    unit: str
    peers: tuple[str, ...]
    target: dict[str, float]  # peer -> the ratio to reach
    run: Callable[[str], tuple[Clock, float]]


class Native:
    """The cases of the C faces."""

    def __init__(self, scale: int) -> None:
        self.scale = scale  # the large ones are divided by it
        self.peers = {name: Peer(name) for name in ("libevent", "cyevent")}

    def add_drain(self, name: str, size: int) -> tuple[Clock, float]:
        """Pieces in at the end and out at the front."""
        rounds = max(
            1, (64 * MIB if size > KIB else 16 * MIB) // self.scale // (size + 100) // BATCH
        )
        data = b"x" * size
        clock = Clock()
        if name == "memcpy":
            work = work_library()
            work.work_copy(data, size, BATCH, max(1, rounds // 10))
            with clock:
                work.work_copy(data, size, BATCH, rounds)
            work.work_copy(data, size, BATCH, -1)
            return clock, rounds * BATCH
        peer = self.peers[name]
        with peer.buffer() as buf:
            peer.run("add_drain", buf, data, size, BATCH, max(1, rounds // 10))
            with clock:
                peer.run("add_drain", buf, data, size, BATCH, rounds)
        return clock, rounds * BATCH

    def move_all(self, name: str) -> tuple[Clock, float]:
        """Whole buffers, of 16 MiB each time."""
        rounds = 200_000 // self.scale
        clock = Clock()
        peer = self.peers[name]
        with peer.buffer(b"x" * 16 * KIB, 16 * MIB) as one, peer.buffer() as two, clock:
            peer.run("move_all", one, two, rounds)
        return clock, 2 * rounds

    def move_parts(self, name: str) -> tuple[Clock, float]:
        """One GiB in parts that do not end where chains do."""
        size = 64 * KIB + 1000
        clock = Clock()
        peer = self.peers[name]
        moved = 0
        while moved < GIB // self.scale:
            with peer.buffer(b"x" * 16 * KIB, 16 * MIB) as one, peer.buffer() as two, clock:
                peer.run("move_parts", one, two, size)
            moved += 16 * MIB
        return clock, moved / size

    def lines(self, name: str) -> tuple[Clock, float]:
        """The headers of many requests, as they come from a socket: in pieces of 4 KiB."""
        total = 100_000_000 // self.scale // len(REQUEST) * len(REQUEST)
        text = REQUEST * (4 * KIB // len(REQUEST) + 1)
        clock = Clock()
        peer = self.peers[name]
        with peer.buffer(text, total) as buf, clock:
            lines = peer.run("lines", buf)
        if lines != total // len(REQUEST) * len(HEADERS):
            raise RuntimeError(f"{name}: {lines} lines")
        return clock, lines

    def search(self, name: str, what: bytes, pieces: bool = True) -> tuple[Clock, float]:
        """What is not there, in pieces of 64 KiB or in one."""
        total = 256 * MIB // self.scale
        text = (REQUEST * 500)[: 64 * KIB]
        if not pieces:
            text *= total // len(text)
        clock = Clock()
        if name == "memchr":
            work, count = work_library(), total // len(text)
            memory = work.work_pieces(text, len(text), count)
            with clock:
                work.work_scan(memory, len(text), count, what[0])
            work.work_pieces_free(memory, count)
            return clock, total / MIB
        peer = self.peers[name]
        with peer.buffer(text, total) as buf, clock:
            peer.run("search", buf, what, len(what))
        return clock, total / MIB


class Sink:
    """A TCP connection whose other end throws away what comes, in a thread."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.socket = socket.create_connection(server.getsockname())
            self.other, _ = server.accept()
        self.socket.setblocking(False)
        self.received = 0
        self.thread = threading.Thread(target=self._receive)
        self.thread.start()

    def _receive(self) -> None:
        space = bytearray(MIB)
        while True:
            # Without copying: this machine's other processors have better things to do.
            n = self.other.recv_into(space, len(space), socket.MSG_TRUNC)
            if n == 0:
                return
            self.received += n

    def wait(self, total: int) -> None:
        """Waits until so much has been received."""
        while self.received < total:
            time.sleep(0.001)

    def close(self) -> None:
        """Ends the connection."""
        self.socket.close()
        self.thread.join()
        self.other.close()


class FileToSocket:
    """A large file through a buffer, or straight, to a socket."""

    def __init__(self, native: Native, directory: Path) -> None:
        self.native = native
        self.size = GIB // native.scale
        self.file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115
        block = os.urandom(MIB)
        for _ in range(self.size // MIB):
            self.file.write(block)
        self.file.flush()
        os.fsync(self.file.fileno())
        self.sink = Sink()
        self.sent = 0

    def run(self, name: str) -> tuple[Clock, float]:
        """The whole file once."""
        clock = Clock()
        file, to = self.file.fileno(), self.sink.socket.fileno()
        if name == "sendfile":
            with clock:
                if work_library().work_sendfile(file, to, self.size) < 0:
                    raise OSError("sendfile")
        else:
            peer = self.native.peers[name]
            with peer.buffer() as buf, clock:
                peer.run("file", buf, file, to, self.size)
        self.sent += self.size
        self.sink.wait(self.sent)
        return clock, self.size / MIB

    def close(self) -> None:
        """Ends the connection and removes the file."""
        self.sink.close()
        self.file.close()


def python_case(name: str, queued: int, count: int) -> tuple[Clock, float]:
    """One KiB in, one KiB out, in Python; `queued` bytes stay in between."""
    data = b"x" * KIB
    clock = Clock()
    gc.collect()
    if name == "cyevent":
        buf = _build.cyevent().EvBuffer()
        for _ in range(queued // KIB):
            buf.add(data)
        with clock:
            for _ in range(count):
                buf.add(data)
                buf.remove(KIB)
    else:
        array = bytearray(queued)
        if name == "bytearray":
            with clock:
                for _ in range(count):
                    array.extend(data)
                    del array[:KIB]
        else:
            with clock:
                for _ in range(count):
                    array.extend(data)
                    _ = bytes(array[:KIB])
                    del array[:KIB]
    return clock, count


def native_cases(native: Native, transfer: FileToSocket) -> list[Case]:
    """Returns what is measured in C."""
    both, target = ("libevent", "cyevent"), {"libevent": 0.9}
    cases = [
        Case(f"add + drain {size} B", "ns",
             (*both, "memcpy") if size == 64 * KIB else both, target,
             lambda name, size=size: native.add_drain(name, size))
        for size in PIECES
    ]  # fmt: skip
    cases += [
        Case("add_buffer, 16 MiB each", "ns", both, target, native.move_all),
        Case("remove_buffer, 1 GiB by 66536 B", "ns", both, target, native.move_parts),
        Case("readln, 100 MB of headers", "ns", both, target, native.lines),
        Case("search 256 MiB, first byte absent", "ns/MiB", (*both, "memchr"), target,
             lambda name: native.search(name, ABSENT)),
        Case("search 256 MiB in one, first byte absent", "ns/MiB", (*both, "memchr"), target,
             lambda name: native.search(name, ABSENT, False)),
        Case("search 256 MiB, first byte frequent", "ns/MiB", both, target,
             lambda name: native.search(name, LIKELY)),
        Case("file to socket, 1 GiB", "ns/MiB", ("libevent", "sendfile", "cyevent"),
             {"libevent": 0.9, "sendfile": 1.02}, transfer.run),
    ]  # fmt: skip
    return cases


def python_cases(scale: int) -> list[Case]:
    """Returns what is measured in Python. `bytearray + copy` takes the bytes out, as remove() does."""
    count = 200_000 // scale
    return [
        Case(f"add + remove 1 KiB{what}", "ns", ("bytearray", "bytearray + copy", "cyevent"),
             {"bytearray": 0.6}, lambda name, queued=queued: python_case(name, queued, count))
        for what, queued in (("", 0), (", 64 KiB queued", 64 * KIB))
    ]  # fmt: skip


class Buffer(Benchmark):
    """The benchmark."""

    name = "buffer"
    title = "buffers: add, drain, move, search, send"
    peers = ("libevent", "bytearray", "floor")
    parts = (LIBEVENT, WORK, CYEVENT)
    rounds = (15, 5)
    options = (
        Option("--scale", 1, 16, "divides the work", positive),
        Option("--only", "", "", "cases with this text in their names", str),
        Option("--directory", tempfile.gettempdir(), tempfile.gettempdir(), "for the file", str),
    )
    table = Layout()
    lead = "Processor time; medians of {rounds} rounds, work divided by {scale}."

    def check(self, options: argparse.Namespace) -> None:
        """See Benchmark."""
        if options.scale > 64:
            raise ValueError("--scale is at most 64")

    def run(self, options: argparse.Namespace) -> Iterator[Figure]:
        """See Benchmark."""
        native = Native(options.scale)
        transfer = FileToSocket(native, Path(options.directory))
        try:
            groups = {"C": native_cases(native, transfer), "Python": python_cases(options.scale)}
            for group, cases in groups.items():
                chosen = [case for case in cases if options.only in case.name]
                yield from measure(group, chosen, options.rounds)
        finally:
            transfer.close()


def measure(group: str, cases: list[Case], rounds: int) -> Iterator[Figure]:
    """Yields a figure for each case."""
    figures = [
        Figure(
            group,
            case.name,
            "cpu",
            dict.fromkeys(("cpu", "user", "system"), case.unit),
            reference=case.peers[0],
            floor=next((name for name in case.peers if name in FLOORS), None),
            targets=case.target,
        )
        for case in cases
    ]
    clocks: dict[tuple[str, str], list[Clock]] = {}
    for number in range(rounds):
        began = time.monotonic()
        for case, figure in zip(cases, figures, strict=True):
            for name in in_turns(case.peers, number):
                clock, operations = case.run(name)
                figure.add(name, cpu=clock.total / operations)
                clocks.setdefault((case.name, name), []).append(clock)
        seconds = time.monotonic() - began
        _results.progress(
            f"{group}: round {number + 1} of {rounds}: {seconds:.1f} s", fleeting=True
        )
    for figure in figures:
        for name in figure.samples:
            taken = clocks[figure.name, name]
            user, system = (
                sum(part) for part in zip(*(clock.ticks for clock in taken), strict=True)
            )
            figure.split(name, user, system)
        yield figure


if __name__ == "__main__":
    sys.exit(main(Buffer()))
