"""The other ends of the pages' programs: what `<!-- test: with NAME -->` names.

Each function gets a Run. It starts the program, talks with it, and has it ended.
"""

import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager

PATIENCE = 60.0

# The pages' ports; a run uses free ones in their place.
PORT = re.compile(r"\b7\d\d\d\b")


class Run:
    """A program of a page: its text with free ports, and its process when it is started."""

    def __init__(self, text, folder, env):
        self.folder = folder
        self.env = env
        self.ports = {}
        self.text = PORT.sub(lambda match: str(self.port(match[0])), text)
        self.command = None
        self.process = None

    def port(self, number):
        if number not in self.ports:
            with socket.create_server(("127.0.0.1", 0)) as sock:
                self.ports[number] = sock.getsockname()[1]
        return self.ports[number]

    @property
    def first_port(self):
        return next(iter(self.ports.values()))

    def start(self):
        self.process = subprocess.Popen(
            self.command,
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def connect(self):
        """A connection to the program's port, as soon as it listens."""
        limit = time.monotonic() + PATIENCE
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.first_port), timeout=PATIENCE)
            except ConnectionRefusedError:
                if self.process.poll() is not None or time.monotonic() > limit:
                    raise AssertionError(f"nobody listens: {self.process.stderr.read()}") from None
                time.sleep(0.02)

    def finish(self):
        """Waits for the program's end; returns what it wrote."""
        output, errors = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, output + errors
        return output, errors

    def interrupt(self):
        """Ends it as Ctrl-C does; returns what it wrote, without the traceback of that."""
        limit = time.monotonic() + PATIENCE
        while True:
            # Python throws a KeyboardInterrupt away that comes while it runs a weak reference's callback or a
            # finalizer, as it does where connections go. Who sits there presses the keys once more.
            self.process.send_signal(signal.SIGINT)
            try:
                output, errors = self.process.communicate(timeout=2)
            except subprocess.TimeoutExpired:
                assert time.monotonic() < limit, "it does not end"
            else:
                break
        if "KeyboardInterrupt" in errors:
            # Callbacks that failed would be told of as well.
            assert "Error" not in errors, errors
            return output, ""
        assert self.process.returncode == 0, output + errors
        return output, errors

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def receive(sock, n):
    data = b""
    while len(data) < n:
        part = sock.recv(n - len(data))
        assert part, f"the end after {data!r}"
        data += part
    return data


# --- clients ----------------------------------------------------------------------------------------


def echo_client(run):
    """Two clients whose bytes come back."""
    run.start()
    with run.connect() as one, run.connect() as two:
        for sock, text in ((one, b"hello"), (two, b"x" * 300_000), (one, b"again")):
            threading.Thread(target=sock.sendall, args=(text,)).start()
            assert receive(sock, len(text)) == text
    return run.interrupt()


def line_client(run):
    """A client that says two lines and hears an answer to each, then leaves."""
    run.start()
    with run.connect() as sock, sock.makefile("rb") as lines:
        for text in (b"hello", b"world"):
            sock.sendall(text + b"\r\n")
            assert text.upper() in lines.readline().upper()
    return run.interrupt()


def reading_client(run):
    """A client that reads to the end."""
    run.start()
    with run.connect() as sock:
        data = b""
        while part := sock.recv(65536):
            data += part
    assert data
    return run.interrupt()


def crowd(run):
    """Three clients; what one says all the others get."""
    run.start()
    with run.connect() as one, run.connect() as two, run.connect() as three:
        for speaker, others in ((one, (two, three)), (two, (one, three))):
            for sock in others:
                say_until_heard(speaker, sock)
    return run.interrupt()


def say_until_heard(speaker, listener):
    listener.settimeout(0.2)
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        speaker.sendall(b"hello\n")
        try:
            if b"hello" in listener.recv(1000):
                return
        except TimeoutError:
            pass
    raise AssertionError("nothing was heard")


def tls_echo_client(run):
    """A client that verifies, and whose bytes come back."""
    run.start()
    context = ssl.create_default_context(cafile=run.env["SSL_CERT_FILE"])
    with run.connect() as plain, context.wrap_socket(plain, server_hostname="localhost") as sock:
        for text in (b"hello", b"x" * 50_000):
            sock.sendall(text)
            assert receive(sock, len(text)) == text
        with sock.unwrap():
            pass
    return run.interrupt()


# --- servers ----------------------------------------------------------------------------------------


@contextmanager
def served(port, answer):
    """One connection after the other is given to answer(sock), in a thread."""
    server = socket.create_server(("127.0.0.1", port))

    def serve():
        while True:
            try:
                sock, _ = server.accept()
            except OSError:
                return
            with sock:
                sock.settimeout(PATIENCE)
                answer(sock)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def echo_server(run):
    """Bytes come back until the client ends."""

    def answer(sock):
        while data := sock.recv(65536):
            sock.sendall(data)

    with served(run.first_port, answer):
        run.start()
        return run.finish()


def tls_server(run):
    """One that answers a line over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(run.folder / "chain.pem", run.folder / "key.pem")

    def answer(plain):
        with context.wrap_socket(plain, server_side=True) as sock:
            sock.sendall(b"you said " + sock.recv(1000))
            with sock.unwrap():
                pass

    with served(run.first_port, answer):
        run.start()
        return run.finish()
