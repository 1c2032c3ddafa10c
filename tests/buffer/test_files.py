"""Parts of files in buffers, for Python."""

import gc
import io
import os
import shutil
import socket
import subprocess
import sys
import threading

import fds
import pytest

from cyevent import FileSegment

DATA = bytes(range(256)) * 400  # 102400 bytes


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


def open_descriptors():
    return fds.opened_files()


def through_a_socket(buf):
    """Writes the whole buffer to a socket and returns what comes out."""
    left, right = socket.socketpair()
    parts = []
    with left, right:
        left.setblocking(False)

        def receive():
            while part := right.recv(65536):
                parts.append(part)

        reader = threading.Thread(target=receive)
        reader.start()
        while buf:
            try:
                buf.write(left)
            except BlockingIOError:
                pass
        left.shutdown(socket.SHUT_WR)
        reader.join()
    return b"".join(parts)


@pytest.mark.parametrize(
    ("offset", "length"), [(0, -1), (0, 0), (5, 10), (4096, 4097), (100, -1), (102_400, -1)]
)
@pytest.mark.parametrize("how", ["bytes", "remove", "socket", "views", "moved"])
def test_a_part_of_a_file(make, path, offset, length, how):
    expected = b"<" + DATA[offset:][: None if length < 0 else length] + b">"
    buf = make(b"<")
    with open(path, "rb") as file:
        buf.add_file(file, offset, length)
    buf.add(b">")
    assert len(buf) == len(expected)
    if how == "bytes":
        assert bytes(buf) == expected
    elif how == "remove":
        assert buf.remove() == expected
    elif how == "socket":
        assert through_a_socket(buf) == expected
    elif how == "views":
        views = list(buf)
        buf.drain()
        del buf
        assert b"".join(views) == expected
    else:
        other = make()
        buf.move_to(other, len(expected) // 2)
        other.add_buffer(buf)
        assert bytes(other) == expected


def test_the_file_may_be_closed_and_the_number_reused(make, path, tmp_path):
    buf = make()
    before = open_descriptors()
    with open(path, "rb") as file:
        buf.add_file(file)
        fd = file.fileno()
    (tmp_path / "other").write_bytes(b"wrong" * 50_000)
    with open(tmp_path / "other", "rb") as other:
        assert other.fileno() == fd
        assert open_descriptors() == before + 2
        assert buf.remove(50_000) == DATA[:50_000]
        assert through_a_socket(buf) == DATA[50_000:]
    assert open_descriptors() == before


def test_a_descriptor_stays_the_callers(make, path):
    buf = make()
    fd = os.open(path, os.O_RDONLY)
    try:
        buf.add_file(fd, 10, 20)
        assert buf.remove() == DATA[10:30]
        assert os.pread(fd, 3, 0) == DATA[:3]
    finally:
        os.close(fd)


def test_the_file_position_is_left_alone(make, path):
    with open(path, "rb", buffering=0) as file:
        file.seek(7)
        buf = make()
        buf.add_file(file, 100, 100)
        assert bytes(buf) == DATA[100:200]
        assert through_a_socket(buf) == DATA[100:200]
        assert file.tell() == 7


def test_searching_in_files(make, path):
    buf = make(b"\xfe")
    with open(path, "rb") as file:
        buf.add_file(file, 255, 512)
    assert buf.search(b"\xfe\xff\0") == 0
    assert buf.search(b"\xff\0\x01", 2) == 257
    assert buf.readline(3) == b"\xfe\xff" + bytes(range(10))
    assert buf.search_eol(0, 3) == (255, 1)


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("sendfile", [False, True])
def test_one_segment_in_many_buffers(make, path, mmap, sendfile):
    before = open_descriptors()
    bufs = [make() for _ in range(20)]
    with open(path, "rb") as file:
        segment = FileSegment(file, 1000, 50_000, mmap=mmap, sendfile=sendfile)
    assert (segment.offset, segment.length, segment.closed) == (1000, 50_000, False)
    with segment:
        for i, buf in enumerate(bufs):
            buf.add_file_segment(segment)
            buf.add_file_segment(segment, i, 7)
            buf.add_file_segment(segment, 50_000)
    assert open_descriptors() == before + 1
    assert segment.closed
    for i, buf in enumerate(bufs):
        expected = DATA[1000:51_000] + DATA[1000 + i : 1007 + i]
        if i % 2:
            assert through_a_socket(buf) == expected
        else:
            assert buf.remove() == expected
    assert open_descriptors() == before


def test_cleanup_comes_last_and_once(make, path):
    calls = []
    one, two = make(), make()
    with open(path, "rb") as file:
        segment = FileSegment(file, cleanup=lambda: calls.append(1))
    with segment:
        one.add_file_segment(segment, 0, 10)
        two.add_file_segment(segment, 10, 10)
    assert not calls
    view = one.pullup(3)
    one.drain()
    assert through_a_socket(two) == DATA[10:20]
    assert not calls
    view.release()
    assert calls == [1]
    segment.close()
    gc.collect()
    assert calls == [1]


def test_cleanup_in_a_thread_without_the_interpreter(make, path):
    """The last byte leaves while write() has given the interpreter up."""
    calls = []
    buf = make()
    with open(path, "rb") as file:
        segment = FileSegment(file, cleanup=lambda: calls.append(threading.get_ident()))
    buf.add_file_segment(segment)
    del segment
    thread = threading.Thread(target=through_a_socket, args=(buf,))
    thread.start()
    thread.join()
    assert calls == [thread.ident]


def test_cleanup_that_raises_is_reported(make, path, monkeypatch):
    reports = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reports.append(report.exc_type))
    with open(path, "rb") as file:
        FileSegment(file, cleanup=lambda: 1 / 0).close()
    assert reports == [ZeroDivisionError]


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ((-1,), ValueError, "offset"),
        ((102_401,), ValueError, "offset"),
        ((0, 102_401), ValueError, "length"),
        ((102_400, 1), ValueError, "length"),
        ((0, -2), ValueError, "length"),
        ((2**63,), ValueError, "offset"),
        (("1",), TypeError, "offset"),
        ((0, 1.5), TypeError, "length"),
    ],
)
def test_what_the_file_does_not_have(make, path, arguments, error, name):
    buf = make(b"abc")
    before = open_descriptors()
    with open(path, "rb") as file:
        with pytest.raises(error, match=name):
            buf.add_file(file, *arguments)
        with pytest.raises(error, match=name):
            FileSegment(file, *arguments)
        segment = FileSegment(file)
        with pytest.raises(error, match=name):
            buf.add_file_segment(segment, *arguments)
        segment.close()
    assert bytes(buf) == b"abc"
    assert open_descriptors() == before


def test_what_is_no_file(make, path):
    buf = make(b"abc")
    for bad, error in (("name", TypeError), (-1, ValueError), (None, TypeError)):
        with pytest.raises(error, match="file"):
            buf.add_file(bad)
        with pytest.raises(error, match="file"):
            FileSegment(bad)
    fd = os.open(path, os.O_RDONLY)
    os.close(fd)
    with pytest.raises(OSError, match="descriptor"):
        buf.add_file(fd)
    with pytest.raises(OSError):
        buf.add_file(io.BytesIO(b"no descriptor"))
    with pytest.raises(TypeError, match="segment"):
        buf.add_file_segment(fd)
    with pytest.raises(TypeError, match="cleanup"):
        FileSegment(0, cleanup=1)
    reader, writer = os.pipe()
    try:
        with pytest.raises(ValueError, match="file"):
            buf.add_file(reader)
    finally:
        os.close(reader)
        os.close(writer)
    assert bytes(buf) == b"abc"


def test_a_closed_segment(make, path):
    buf = make(b"abc")
    with open(path, "rb") as file:
        segment = FileSegment(file, 3, 4)
    assert repr(segment) == "<cyevent.FileSegment 4 bytes at 3>"
    with pytest.raises(RuntimeError, match="twice"):
        segment.__init__(0)
    segment.close()
    segment.close()
    assert repr(segment) == "<cyevent.FileSegment closed>"
    for attempt in (
        lambda: buf.add_file_segment(segment),
        lambda: segment.length,
        lambda: segment.offset,
        segment.__enter__,
    ):
        with pytest.raises(ValueError, match="closed"):
            attempt()
    assert bytes(buf) == b"abc"


def test_frozen_ends(make, path):
    buf = make(b"abc")
    before = open_descriptors()
    with open(path, "rb") as file, FileSegment(file) as segment:
        with buf.frozen(front=False):
            with pytest.raises(BufferError, match="end"):
                buf.add_file(file)
            with pytest.raises(BufferError, match="end"):
                buf.add_file_segment(segment)
    assert bytes(buf) == b"abc"
    assert open_descriptors() == before


@pytest.mark.parametrize(
    "need",
    [
        lambda buf: buf.remove(),
        lambda buf: buf.copyout(),
        lambda buf: bytes(buf),
        lambda buf: buf.peek(),
        lambda buf: list(buf),
        lambda buf: buf.pullup(),
        lambda buf: buf.readinto(bytearray(200_000)),
        lambda buf: buf.readline(3),
        lambda buf: buf.search(b"absent"),
        lambda buf: buf.search_eol(0, 3),
    ],
)
def test_a_file_that_became_shorter(make, path, need):
    """Who needs the bytes hears of it; the buffer still says how many there were, and can be drained."""
    buf = make(b"abc")
    with open(path, "r+b") as file:
        buf.add_file(file)
        file.truncate(10)
    with pytest.raises(OSError):
        need(buf)
    assert len(buf) == 3 + len(DATA)
    assert repr(buf) == f"<cyevent.EvBuffer {3 + len(DATA)} bytes in 2 chains>"
    assert buf.remove(3) == b"abc"
    buf.drain()
    buf.add(b"goes on")
    assert bytes(buf) == b"goes on"


def test_past_four_gib(make, tmp_path):
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        file.seek(5 << 30)
        file.write(b"the end")
    buf = make()
    with open(path, "rb") as file:
        buf.add_file(file)
        assert len(buf) == (5 << 30) + 7
        buf.drain(5 << 30)
        assert bytes(buf) == b"the end"
        buf.add_file(file, (5 << 30) + 4, 3)
    assert through_a_socket(buf) == b"the endend"


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_sendfile_and_nothing_else(package_env, path, tmp_path):
    """The file's bytes do not pass through the process."""
    program = """
import socket, sys
from cyevent import EvBuffer
left, right = socket.socketpair()
left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1_000_000)
buf = EvBuffer()
with open(sys.argv[1], "rb") as file:
    buf.add_file(file)
total = 0
while buf:
    total += buf.write(left)
    right.recv(1_000_000)
assert total == 102400
"""
    log = tmp_path / "log"
    command = ["strace", "-f", "-o", log, "-e", "trace=sendfile,read,pread64,mmap,readv,openat"]
    done = subprocess.run(
        [*command, sys.executable, "-c", program, path], env=package_env, cwd=tmp_path,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    after = lines[next(i for i, line in enumerate(lines) if str(path) in line) + 1 :]
    assert any("sendfile(" in line for line in after)
    assert not [line for line in after if "read" in line or "MAP_SHARED" in line]
