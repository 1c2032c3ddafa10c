"""The chat server as a process, driven by plain sockets."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import programs
import pytest

from cyevent import (
    BEV_EVENT_EOF,
    BEV_EVENT_ERROR,
    BEV_EVENT_READING,
    BEV_EVENT_WRITING,
    EventBase,
    Timer,
)
from cyevent.chat.server import ChatServer, Client, State

HERE = Path(__file__).parent


def run_module(*args):
    return programs.run("-m", "cyevent", *args)


@pytest.fixture
def load(monkeypatch):
    """The module that starts servers and fills them."""
    monkeypatch.syspath_prepend(str(HERE))
    import load

    return load


@pytest.fixture
def server(load, method):
    server = load.Server(method)
    yield server
    if server.process.poll() is None:
        assert server.stop() == 0
    server.process.stdout.close()


def join(server):
    """Returns a client's socket and its file of lines, after the welcome."""
    sock = socket.create_connection(server.address, timeout=20)
    lines = sock.makefile("rb")
    assert lines.readline().startswith(b"welcome guest")
    return sock, lines


def test_the_whole_script(server):
    done = programs.run(HERE / "scripted_client.py", *server.address)
    assert done.returncode == 0, done.stderr


def test_a_crowd_loses_nothing(load, method):
    figures = load.run(300, 3, method, report=lambda line: None)
    assert figures["after"] <= figures["before"] * load.GROWTH


@pytest.mark.slow
def test_five_thousand(load, method):
    figures = load.run(5000, 1, method)
    assert figures["after"] <= figures["before"] * load.GROWTH


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_goodbye(server, signum):
    _sock, lines = join(server)
    server.process.send_signal(signum)
    assert b"goodbye" in lines.readline()
    assert lines.readline() == b""
    assert server.process.wait(20) == 0


def test_one_that_never_reads_is_dropped_and_nobody_waits(server):
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(server.address)
    speaker, heard = join(server)
    other, lines = join(server)
    text = b"x" * 4000 + b"\n"
    name = None
    begin = time.monotonic()
    # The kernel holds some of it, so it takes more than the megabyte that the server queues.
    while name is None:
        speaker.sendall(text)
        line = lines.readline()
        assert line, "the one that reads was dropped too"
        if line.endswith(b" left\n"):
            name = line
        assert time.monotonic() - begin < 60
    assert name == b"* guest1 left\n"
    for thing in (slow, speaker, heard, other, lines):
        thing.close()


@pytest.mark.skipif(bool(programs.SANITIZERS), reason="a sanitizer keeps what is freed")
def test_a_line_without_end_takes_no_memory(server):
    sock, lines = join(server)
    before = server.status("VmRSS")
    block = b"y" * 65536
    for _ in range(400):
        sock.sendall(block)
    sock.sendall(b"\n/who\n")
    assert lines.readline().startswith(b"error: ")
    assert b"1 here" in lines.readline()
    assert server.status("VmRSS") < before + 8192
    sock.close()


def test_rubbish_and_resets_harm_nobody(server):
    _witness, lines = join(server)
    for i in range(20):
        sock = socket.create_connection(server.address)
        sock.sendall(os.urandom(5000) + b"\n" * i)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    gone = 0
    while gone < 20:
        gone += lines.readline().endswith(b" left\n")


def test_a_full_room(load):
    server = load.Server(extra=["--max-clients", "2"])
    try:
        people = [join(server) for _ in range(2)]
        third = socket.create_connection(server.address, timeout=20)
        assert third.recv(100).startswith(b"error: ")
        for sock, lines in people:
            lines.close()
            sock.close()
        third.close()
    finally:
        assert server.stop() == 0


def test_bad_options():
    assert run_module("chat", "--method", "nonesuch").returncode == 2
    assert run_module("chat", "--port", "70000").returncode == 2
    assert run_module("chat", "--max-line", "0").returncode == 2
    assert run_module().returncode == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_module("chat", "--port", str(taken.getsockname()[1]))
        assert done.returncode == 1
        assert "cannot listen on 127.0.0.1" in done.stderr


def test_info():
    facts = json.loads(run_module("info", "--json").stdout)
    assert tuple(one["name"] for one in facts["methods"]) == EventBase.supported_methods()
    assert facts["default"] == EventBase.supported_methods()[0]
    assert facts["clock"]["resolution"] > 0
    text = run_module("info").stdout
    for name in EventBase.supported_methods():
        assert name in text


def talk(method, load, extra, speakers, seconds):
    """Lets clients say as much as they can; returns the bytes that the listener heard of each."""
    server = load.Server(method, extra)
    try:
        listener, lines = join(server)
        crowd = [join(server) for _ in range(speakers)]
        for n, (sock, _) in enumerate(crowd):
            sock.sendall(b"/nick speaker%d\n" % n)
            sock.setblocking(False)
        flood = b"x" * 99 + b"\n"
        heard = dict.fromkeys(range(speakers), 0)
        listener.settimeout(0.05)
        buffered = b""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for sock, _ in crowd:
                try:
                    sock.send(flood * 10)
                except BlockingIOError:
                    pass
            try:
                buffered += listener.recv(65536)
            except TimeoutError:
                continue
            *whole, buffered = buffered.split(b"\n")
            for line in whole:
                if line.startswith(b"<speaker"):
                    heard[int(line[8 : line.index(b">")])] += 100
        for sock, file in [(listener, lines), *crowd]:
            file.close()
            sock.close()
        assert server.stop() == 0
        return heard
    finally:
        programs.end(server.process)


def test_rate_limit(load, method):
    heard = talk(method, load, ["--rate-limit", "2000"], 2, 2.5)
    for said in heard.values():
        # A second's worth at once, and another with each second.
        assert 2000 <= said <= 2000 * 4


def test_group_rate_limit(load, method):
    heard = talk(method, load, ["--group-rate-limit", "8000"], 4, 2.5)
    assert 8000 <= sum(heard.values()) <= 8000 * 4
    # Nobody is left out.
    assert min(heard.values()) >= max(heard.values()) / 2


def test_rates_must_be_positive():
    for option in ("--rate-limit", "--group-rate-limit"):
        done = run_module("chat", option, "0")
        assert done.returncode == 2
        assert "at least 1" in done.stderr


def test_a_failed_client_is_not_waited_for():
    """After a failed write comes the end of what there is to read; the queue must not be waited for."""
    with EventBase() as base:
        chat = ChatServer(base, ("127.0.0.1", 0))
        with socket.create_connection(chat.listener.address, timeout=20):
            while not chat.members:
                base.loop(1)
            (client,) = chat.members.values()
            chat.wait(client)
            Client.ended(client, BEV_EVENT_ERROR | BEV_EVENT_WRITING)
            Client.ended(client, BEV_EVENT_EOF | BEV_EVENT_READING)
            assert client.state is State.FAILED
            Timer(base, base.loopbreak).add(10)  # a guard
            while chat.members or chat.leaving:
                base.loop(1)
                assert not base.got_break
            assert client.state is State.CLOSED
            assert client.linger is None
