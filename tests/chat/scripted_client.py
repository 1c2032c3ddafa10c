"""Drives a running chat server through everything it promises: ``scripted_client.py HOST PORT``.

Plain sockets, no cyevent. Exits with 0 when all is right, and says what was not otherwise.
"""

import socket
import sys
import time

PATIENCE = 10.0


class Person:
    """A client that reads line by line."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, timeout=PATIENCE)
        self.unread = b""
        welcome = self.line().split()
        assert welcome[0] == "welcome" and welcome[3] == "here", welcome
        self.name = welcome[1].rstrip(",")
        self.company = int(welcome[2])

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def line(self) -> str:
        """Returns the next line, '' at the end of the connection."""
        while b"\n" not in self.unread:
            data = self.sock.recv(65536)
            if not data:
                return ""
            self.unread += data
        line, self.unread = self.unread.split(b"\n", 1)
        return line.decode()

    def expect(self, *lines: str) -> None:
        for wanted in lines:
            got = self.line()
            assert got == wanted, f"{self.name} got {got!r} instead of {wanted!r}"

    def expect_error(self) -> None:
        got = self.line()
        assert got.startswith("error: "), f"{self.name} got {got!r} instead of an error"


def talk(address: tuple[str, int]) -> None:
    """Everything once."""
    ann = Person(address)
    bob = Person(address)
    assert bob.company == ann.company + 1, (ann.company, bob.company)
    ann.expect(f"* {bob.name} joined")

    # LF and CR LF end a line; pieces are joined; the speaker does not hear itself.
    ann.send(b"one\ntwo\r\nth")
    time.sleep(0.05)
    ann.send("ree \u00e9\n".encode())
    bob.expect(f"<{ann.name}> one", f"<{ann.name}> two", f"<{ann.name}> three \u00e9")
    bob.send(b"I hear\n")
    ann.expect(f"<{bob.name}> I hear")

    # Names.
    ann.send(b"/nick ann\n")
    ann.expect(f"* {ann.name} is now ann")
    bob.expect(f"* {ann.name} is now ann")
    ann.name = "ann"
    bob.send(b"/nick ann\n")
    bob.expect_error()
    bob.send(b"/nick\n/nick a b\n/nick \x07\n")
    for _ in range(3):
        bob.expect_error()
    bob.send(b"/who\n")
    who = bob.line()
    assert "ann" in who and bob.name in who, who
    bob.send(b"/nonesuch\n")
    bob.expect_error()

    # What is refused is not relayed.
    ann.send(b"\xff\xfe\n" + b"x" * 4096 + b"\n" + b"y" * 4097 + b"\n" + b"after\n")
    ann.expect_error()
    ann.expect_error()
    bob.expect("<ann> " + "x" * 4096, "<ann> after")
    ann.send(b"z" * 100_000)
    ann.expect_error()
    ann.send(b"z\nback\n")
    bob.expect("<ann> back")

    # Leaving: by command, by closing, by a reset.
    carl, dora = Person(address), Person(address)
    for person in (ann, bob):
        person.expect(f"* {carl.name} joined", f"* {dora.name} joined")
    carl.expect(f"* {dora.name} joined")
    carl.send(b"/quit\n")
    while carl.line():
        pass
    for person in (ann, bob, dora):
        person.expect(f"* {carl.name} left")
    dora.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    dora.sock.close()
    for person in (ann, bob):
        person.expect(f"* {dora.name} left")
    bob.sock.close()
    ann.expect(f"* {bob.name} left")
    ann.sock.close()


def main() -> int:
    host, port = sys.argv[1:3]
    try:
        talk((host, int(port)))
    except (AssertionError, OSError) as error:
        print(f"the chat server misbehaved: {error}", file=sys.stderr)
        return 1
    print("the chat server did all that it promises")
    return 0


if __name__ == "__main__":
    sys.exit(main())
