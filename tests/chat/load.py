"""Fills a chat server with clients that all speak, and checks that everybody hears everybody.

``python tests/chat/load.py [--clients 5000] [--lines 1] [--method NAME]`` starts the server itself,
connects all clients, has each send its lines, and verifies in each client's own stream that every line
of everybody else arrived once and in the order in which it was sent. It then closes all and compares the
server's resident memory with what it was before the first client.
"""

import argparse
import contextlib
import math
import os
import resource
import select
import signal
import socket
import sys
import time
from pathlib import Path

# As a program this is run without what pytest adds to the path.
sys.path.append(str(Path(__file__).resolve().parents[1] / "lib"))
import programs

CHUNK = 50  # clients that connect or speak before what the others hear is read
QUIET = programs.limit(60)  # seconds without a byte after which lines count as lost
# How much more memory the server may have after than before. A sanitizer keeps what is freed.
GROWTH = math.inf if programs.SANITIZERS else 1.2


class Server:
    """A chat server in a process of its own."""

    def __init__(self, method=None, extra=()):
        command = ["-m", "cyevent", "chat", "--port", "0", *extra]
        if method is not None:
            command += ["--method", method]
        self.process = programs.start(*command)
        self.address = programs.address_of(self.process)

    def status(self, field):
        """Returns a figure of /proc/PID/status in KiB."""
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1])
        raise LookupError(field)

    def cpu(self):
        """Returns the seconds of processor time that the server has used."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """Ends the server and returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(programs.limit(20))
        finally:
            self.process.stdout.close()


class Crowd:
    """Many clients in one process; each stream is kept whole for the verdict."""

    def __init__(self, address):
        self.address = address
        self.epoll = select.epoll()
        self.socks = {}
        self.streams = {}
        self.received = 0
        self.ended = 0

    def connect(self, count):
        """Connects so many clients, and reads what the others hear of it meanwhile."""
        for i in range(count):
            sock = socket.create_connection(self.address, timeout=30)
            sock.setblocking(False)
            self.socks[sock.fileno()] = sock
            self.streams[sock.fileno()] = bytearray()
            self.epoll.register(sock.fileno(), select.EPOLLIN)
            if i % CHUNK == 0:
                self.pump(0)

    def pump(self, timeout):
        """Reads all that is there; True if there was anything."""
        ready = self.epoll.poll(timeout, 4096)
        for fd, _ in ready:
            with contextlib.suppress(BlockingIOError):
                data = self.socks[fd].recv(1 << 18)
                if data:
                    self.received += len(data)
                    self.streams[fd] += data
                else:
                    self.ended += 1
                    self.epoll.unregister(fd)
        return bool(ready)

    def pump_until(self, done):
        """Reads until done() is true; AssertionError when nothing comes any more."""
        last = time.monotonic()
        while not done():
            if self.pump(0.2):
                last = time.monotonic()
            assert time.monotonic() - last < QUIET, "nothing comes any more, and lines are missing"
            assert not self.ended, f"the server closed {self.ended} connections"

    def names(self):
        """Returns each client's name by descriptor, once all have been welcomed."""
        self.pump_until(lambda: all(b"\n" in stream for stream in self.streams.values()))
        return {fd: bytes(s).split(b"\n", 1)[0].split()[1][:-1] for fd, s in self.streams.items()}

    def close(self):
        for sock in self.socks.values():
            sock.close()
        self.epoll.close()


def run(clients, lines, method=None, report=print):
    """One load run; returns its figures, raises AssertionError when a line is lost or out of order."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, clients + 200)), hard))
    server = Server(method)
    try:
        before = server.status("VmRSS")
        crowd = Crowd(server.address)
        begin = time.monotonic()
        crowd.connect(clients)
        names = crowd.names()
        assert len(set(names.values())) == clients, "names are not unique"
        report(f"{clients} clients connected in {time.monotonic() - begin:.1f} s")

        # A byte count that is reached only when every line has come; joins are counted out.
        spoken = {
            fd: [b"<%s> line %d of %s\n" % (name, k, name) for k in range(lines)]
            for fd, name in names.items()
        }
        total = sum(len(line) for said in spoken.values() for line in said)
        # Each welcome and join is of known length too: wait for the joins first.
        order = list(names)
        joins = [len(b"* %s joined\n" % names[fd]) for fd in order]
        expected = sum(joins[i] * i for i in range(clients))
        expected += sum(len(bytes(crowd.streams[fd]).split(b"\n", 1)[0]) + 1 for fd in order)
        crowd.pump_until(lambda: crowd.received >= expected)

        begin, cpu = time.monotonic(), server.cpu()
        for i, fd in enumerate(order):
            crowd.socks[fd].sendall(b"".join(line.split(b"> ", 1)[1] for line in spoken[fd]))
            if i % CHUNK == 0:
                crowd.pump(0)
        expected += sum(total - sum(map(len, spoken[fd])) for fd in order)
        crowd.pump_until(lambda: crowd.received >= expected)
        seconds, cpu = time.monotonic() - begin, server.cpu() - cpu
        deliveries = clients * (clients - 1) * lines
        report(
            f"{deliveries} deliveries in {seconds:.1f} s, {cpu:.1f} s of the server's processor, "
            f"{cpu / deliveries * 1e9:.0f} ns each"
        )
        peak = server.status("VmHWM")
        assert crowd.received == expected, "more came than was said"
        for fd in order:
            heard = {}
            for line in bytes(crowd.streams[fd]).split(b"\n"):
                if line.startswith(b"<"):
                    name, _, text = line[1:].partition(b"> line ")
                    number, _, author = text.partition(b" of ")
                    assert name == author, line
                    assert heard.get(name, 0) == int(number), f"{line!r} is out of order"
                    heard[name] = int(number) + 1
            assert names[fd] not in heard, "a client hears itself"
            assert len(heard) == clients - 1, "not everybody was heard"
            assert set(heard.values()) <= {lines}, "a line is missing"
        report("every line arrived at everybody else, in order")

        crowd.close()
        deadline = time.monotonic() + 60
        while True:
            after = server.status("VmRSS")
            descriptors = len(os.listdir(f"/proc/{server.process.pid}/fd"))
            if (descriptors < 20 and after <= before * GROWTH) or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        report(f"server memory: {before} KiB before, {peak} KiB at most, {after} KiB after")
        assert descriptors < 20, f"{descriptors} descriptors are still open"
        return {"before": before, "peak": peak, "after": after, "seconds": seconds, "cpu": cpu}
    finally:
        status = server.stop()
        assert status == 0, f"the server ended with status {status}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--lines", type=int, default=1)
    parser.add_argument("--method")
    options = parser.parse_args()
    figures = run(options.clients, options.lines, options.method)
    grown = figures["after"] / figures["before"]
    print(f"memory after / before: {grown:.2f}")
    return 0 if grown <= GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
