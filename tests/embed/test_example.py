"""examples/embed: built with its own Makefile, served real clients, ended by signals, checked by sanitizers."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import programs
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "embed"
RATE = 40
PATIENCE = programs.limit(30)
# In a sanitized run the example's own code is checked too; its warnings are those of an ordinary build.
SANITIZED = {"CXXFLAGS": " ".join(("-O1", "-Wall", *programs.SANITIZER_FLAGS))}


@pytest.fixture(scope="module")
def build(toolchain, tmp_path_factory):
    """Builds the example as its README says; takes further variables for make."""
    if not (shutil.which("make") and shutil.which("c++")):
        pytest.skip("make or c++ is not installed")

    def make(**variables):
        folder = tmp_path_factory.mktemp("arena") / "embed"
        shutil.copytree(EXAMPLE, folder)
        settings = {"PYTHON": sys.executable, "CONFIG": toolchain.config}
        settings |= SANITIZED if programs.SANITIZERS else {}
        settings |= variables
        settings["LDFLAGS"] = " ".join(toolchain.exporting)
        command = ["make", *(f"{name}={value}" for name, value in settings.items())]
        env = programs.environment()
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stderr
        return folder / "arena"

    return make


@pytest.fixture(scope="module")
def arena(build):
    return build()


class Server:
    """The example as a process."""

    def __init__(self, program, env, *wrapper, rules=None):
        command = [*wrapper, program, "-t", str(RATE), "-r", rules or program.parent]
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        first = self.process.stdout.readline()
        if not first.startswith("listening on port "):
            self.process.kill()
            raise AssertionError(first + self.process.communicate()[1])
        self.port = int(first.split()[-1])

    def end(self, signum=signal.SIGTERM):
        """Ends it; returns the exit code, the ticks it has counted, and what it complained of."""
        self.process.send_signal(signum)
        output, errors = self.process.communicate(timeout=PATIENCE)
        assert output.endswith(" ticks\n"), output + errors
        return self.process.returncode, int(output.split()[-2]), errors

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.lines = self.socket.makefile("rb")
        self.number = int(self.line().split()[-1])

    def line(self):
        return self.lines.readline().decode("utf-8", "replace").rstrip("\n")

    def ask(self, text):
        self.socket.sendall(text.encode() + b"\n")
        return self.line()

    def close(self):
        self.lines.close()
        self.socket.close()


@pytest.fixture
def start(embedded_env):
    servers = []

    def run(program, *wrapper, env=None, rules=None):
        servers.append(Server(program, {**embedded_env, **(env or {})}, *wrapper, rules=rules))
        return servers[-1]

    yield run
    for server in servers:
        server.kill()


def play(server):
    """A round of everything that two players can do; returns the ticks seen."""
    left, right = Client(server.port), Client(server.port)
    assert right.number == left.number + 1
    assert left.ask("hello") == f"{left.number}: hello"
    assert right.line() == f"{left.number}: hello"
    assert left.ask("/shout grüße") == "GRÜSSE"
    assert right.ask("/roll 1") == f"player {right.number} rolls 1"
    assert left.ask("/count").startswith("3 commands by tick ")
    assert left.ask("where") == "at 0.00 0.00"
    before = int(left.ask("ticks").split()[1])
    left.socket.sendall(b"go 100 -50\n")
    while True:
        _, x, y = left.ask("where").split()
        if float(x):
            break
    assert float(y) == pytest.approx(-float(x) / 2, abs=0.01)
    after = int(left.ask("ticks").split()[1])
    assert after > before
    right.close()
    # A player that leaves takes nobody along.
    assert left.ask("still here") == f"{left.number}: still here"
    left.close()
    return after


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_round(arena, start, signum):
    server = start(arena)
    seen = play(server)
    code, ticks, errors = server.end(signum)
    assert (code, errors) == (0, "")
    assert ticks >= seen


def test_ticks_are_never_early(arena, start):
    begun = time.monotonic()
    server = start(arena)
    client = Client(server.port)
    while int(client.ask("ticks").split()[1]) < RATE // 2:
        pass
    took = time.monotonic() - begun
    assert took >= (RATE // 2) / RATE * 0.99
    client.close()
    assert server.end()[0] == 0


def test_it_ticks_while_python_is_busy_elsewhere(arena, start, tmp_path):
    """A thread that holds the GIL nearly all the time costs the ticks nothing: they need none."""
    (tmp_path / "rules.py").write_text(
        "import threading, time\n"
        "def spin():\n"
        "    while True:\n"
        "        sum(range(3_000_000))\n"  # one call into C, which keeps the GIL
        "def command(player, line, tick):\n"
        "    threading.Thread(target=spin, daemon=True).start()\n"
        "    return 'spinning'\n"
    )
    server = start(arena, rules=tmp_path)
    client = Client(server.port)
    assert client.ask("/spin") == "spinning"
    first = int(client.ask("ticks").split()[1])
    answers = 0
    while int(client.ask("ticks").split()[1]) < first + RATE // 2:
        answers += 1
    # Each answer that had to wait for the GIL would have taken the time of a sum.
    assert answers > RATE
    client.close()
    server.process.kill()


def test_an_exception_is_reported_and_the_game_goes_on(arena, start):
    server = start(arena)
    client = Client(server.port)
    assert client.ask("/roll many") == "that did not work"
    client.socket.sendall(b"/shout \xff\xfe\n")
    assert client.line() == "\ufffd\ufffd"
    assert client.ask("/roll 1") == f"player {client.number} rolls 1"
    client.close()
    code, _, errors = server.end()
    assert code == 0
    assert "ValueError: invalid literal" in errors


def test_many_players(arena, start):
    server = start(arena)
    players = [Client(server.port) for _ in range(100)]
    assert len({player.number for player in players}) == 100
    players[0].socket.sendall(b"all\n")
    for player in players:
        assert player.line() == f"{players[0].number}: all"
    for player in players[1:]:
        player.close()
    assert players[0].ask("alone") == f"{players[0].number}: alone"
    # The end comes while a player is still there.
    assert server.end()[0] == 0
    players[0].close()


def test_a_line_without_end_costs_the_connection(arena, start):
    server = start(arena)
    client = Client(server.port)
    client.socket.sendall(b"x" * 5000)
    # What was not read when it is closed makes TCP tell the end as a reset.
    with contextlib.suppress(ConnectionResetError):
        assert client.line() == ""
    client.close()
    assert server.end()[0] == 0


def test_without_cyevent_or_rules(arena, embedded_env, tmp_path):
    empty = os.fspath(tmp_path)
    for variables, message in (
        ({"PYTHONPATH": empty}, "No module named 'cyevent'"),
        ({}, "No module named 'rules'"),
    ):
        env = {**embedded_env, **variables}
        done = subprocess.run(
            [arena, "-r", empty], env=env, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 1
        assert message in done.stderr


@pytest.mark.parametrize("arguments", [["-t", "10"], ["-t", "61"], ["-p", "70000"], ["-z"]])
def test_bad_arguments(arena, embedded_env, arguments):
    done = subprocess.run(
        [arena, *arguments], env=embedded_env, capture_output=True, timeout=PATIENCE
    )
    assert done.returncode == 2


@pytest.mark.skipif(bool(programs.SANITIZERS), reason="in this run all of these tests are that")
def test_under_the_address_sanitizer(build, start):
    """The program's own code; the extension modules have builds of their own for that."""
    flags = "-O1 -g -Wall -fsanitize=address,undefined -fno-sanitize-recover=all"
    program = build(CXXFLAGS=flags)
    # The interpreter itself frees less than it allocates.
    server = start(program, env={"ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"})
    play(server)
    assert server.end()[::2] == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(bool(programs.SANITIZERS), reason="valgrind does not run what is sanitized")
def test_under_valgrind(arena, start):
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    suppressions = Path(__file__).with_name("cpython.supp")
    wrapper = ("valgrind", "-q", "--error-exitcode=99", f"--suppressions={suppressions}")
    wrapper += ("--leak-check=full", "--errors-for-leak-kinds=definite")
    server = start(arena, *wrapper, env={"PYTHONMALLOC": "malloc"})
    play(server)
    code, _, errors = server.end()
    assert code == 0, errors
