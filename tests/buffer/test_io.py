"""Between buffers and descriptors."""

import os
import socket
import threading

import fds
import pytest

from cyevent import EvBuffer


def test_write_and_read(make, pair):
    left, right = pair
    buf = make(b"hello ")
    buf.add_reference(b"world")
    assert buf.write(left) == 11
    assert not buf
    target = make(b"> ")
    assert target.read(right) == 11
    assert bytes(target) == b"> hello world"


def test_partial(make, pair):
    left, right = pair
    buf = make(b"0123456789")
    assert buf.write(left, 4) == 4
    assert bytes(buf) == b"456789"
    target = make()
    assert target.read(right, 3) == 3
    assert target.read(right, 3) == 1
    assert bytes(target) == b"0123"


def test_nothing_there(make, pair):
    left, right = pair
    buf = make(b"x")
    with pytest.raises(BlockingIOError):
        buf.read(right)
    assert bytes(buf) == b"x"
    assert make().write(left) == 0


def test_end_of_stream(make, pair):
    left, right = pair
    left.close()
    buf = make(b"x")
    assert buf.read(right) == 0
    if fds.WINDOWS:
        # It learns of the peer's end by the answer.
        return
    with pytest.raises(BrokenPipeError):
        buf.write(right)
    assert bytes(buf) == b"x"


def test_write_until_full(make, pair):
    left, right = pair
    data = os.urandom(4_000_000)
    buf = make(data)
    target = make()
    target.max_read = 1_000_000
    while len(target) < len(data):
        try:
            while buf:
                buf.write(left)
        except BlockingIOError:
            pass
        try:
            while True:
                target.read(right)
        except BlockingIOError:
            pass
    assert bytes(target) == data


def test_many_chains_in_one_call(pair):
    left, right = pair
    buf = EvBuffer()
    for i in range(100):
        buf.add_reference(b"%02d" % i)
    assert buf.chains == 100
    assert buf.write(left) == 200
    assert right.recv(1000) == b"".join(b"%02d" % i for i in range(100))


def test_more_chains_than_one_call_takes(pair):
    left, right = pair
    buf = EvBuffer()
    for _ in range(3000):
        buf.add_reference(b"ab")
    total = 0
    while buf:
        total += buf.write(left)
    assert total == 6000
    assert len(right.recv(10_000)) == 6000


def test_max_read(make, pair):
    left, right = pair
    left.send(b"x" * 10_000)
    buf = make()
    assert buf.max_read == 4096
    total = 0
    while total < 10_000:
        n = buf.read(right)
        assert n <= 4096
        total += n
    buf.max_read = 5
    left.send(b"x" * 10)
    assert buf.read(right) == 5
    for bad in (0, -1, 2**31):
        with pytest.raises(ValueError, match="max_read"):
            buf.max_read = bad


def test_read_size_follows_what_arrives():
    """One large read where small ones were before, in few calls."""
    left, right = socket.socketpair()
    with left, right:
        left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
        buf = EvBuffer()
        buf.max_read = 65536
        sizes = []
        for _ in range(20):
            left.sendall(b"x" * 100_000)
            got = 0
            while got < 100_000:
                sizes.append(buf.read(right))
                got += sizes[-1]
            buf.drain()
        assert sizes[0] < 10_000
        assert max(sizes[-2:]) > 30_000


def test_pipes_and_files(make, tmp_path):
    reader, writer = fds.pipe()
    try:
        buf = make(b"through a pipe")
        buf.add_reference(b", in two pieces")
        assert buf.write(writer) == 29
        buf.add(b"single")
        assert buf.write(writer) == 6
        assert buf.read(reader) == 35
        assert bytes(buf) == b"through a pipe, in two piecessingle"
    finally:
        fds.close(reader)
        fds.close(writer)
    path = tmp_path / "file"
    with open(path, "wb") as file:
        buf.write(file)
    assert path.read_bytes() == b"through a pipe, in two piecessingle"


def test_bad_descriptors(make):
    buf = make(b"x")
    reader, writer = fds.pipe()
    fds.close(reader)
    fds.close(writer)
    with pytest.raises(OSError, match="read"):
        buf.read(reader)
    with pytest.raises(OSError, match="write"):
        buf.write(writer)
    assert bytes(buf) == b"x"


def test_frozen(make, pair):
    left, right = pair
    right.send(b"abc")
    buf = make(b"x")
    buf.freeze(front=False)
    with pytest.raises(BufferError, match="end"):
        buf.read(left)
    buf.freeze(front=True)
    with pytest.raises(BufferError, match="front"):
        buf.write(left)
    assert len(buf) == 1


def test_another_thread_while_a_read_blocks():
    left, right = socket.socketpair()
    with left, right:
        buf = EvBuffer(b"x")
        reader = threading.Thread(target=buf.read, args=(right,))
        reader.start()
        while True:
            try:
                buf.add(b"")
            except RuntimeError as error:
                assert "another thread" in str(error)
                break
        left.send(b"yz")
        reader.join()
        assert bytes(buf) == b"xyz"
