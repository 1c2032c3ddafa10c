"""Who cyevent is measured beside, and in which version.

The versions are those that the `[perf]` extra of pyproject.toml asks for and those of Debian 12. Others do; the
results then say so.
"""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple


class Peer(NamedTuple):
    """A program or library that does the same as cyevent."""

    pinned: str | None  # None: it comes with the interpreter or is written here
    what: str
    find: Callable[[], str | None]  # the version that is there


def _package(name: str) -> Callable[[], str | None]:
    def find() -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    return find


# In a process of its own: loaded here, the library would be bound to other functions than perf.chain needs.
LIBEVENT_VERSION = """
import ctypes, ctypes.util
library = ctypes.CDLL(ctypes.util.find_library("event_core"))
library.event_get_version.restype = ctypes.c_char_p
print(library.event_get_version().decode())
"""


@functools.cache
def _libevent() -> str | None:
    told = subprocess.run([sys.executable, "-c", LIBEVENT_VERSION], capture_output=True, text=True)
    return told.stdout.strip().removesuffix("-stable") or None


def nginx_program() -> str | None:
    """Returns nginx's path, if it is installed; Debian keeps it where only root looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def _nginx() -> str | None:
    program = nginx_program()
    if program is None:
        return None
    told = subprocess.run([program, "-v"], capture_output=True, text=True)
    found = re.search(r"nginx/([\d.]+)", told.stderr + told.stdout)
    return found.group(1) if found else None


def _always() -> str:
    return ""


PEERS = {
    "libevent": Peer("2.1.12", "libevent's own library", _libevent),
    "uvloop": Peer("0.23.0", "an event loop for asyncio on libuv", _package("uvloop")),
    "aiofastnet": Peer("1.2.0", "TLS and streams for uvloop", _package("aiofastnet")),
    "asyncio": Peer(None, "the standard library's event loop", platform.python_version),
    "nginx": Peer("1.22.1", "a web server that sends files", _nginx),
    "floor": Peer(None, "the bare system calls or C functions", _always),
    "bytearray": Peer(None, "Python's own buffer", _always),
    "itself": Peer(None, "the same work by one thread", _always),
}


INSTALL = {"nginx": "apt install nginx", "libevent": "apt install libevent-dev"}


def found(name: str) -> str | None:
    """Returns the version of a peer, None where it is not installed."""
    return PEERS[name].find()


def described(names: Iterable[str]) -> str:
    """Returns the peers with their versions, for one line."""
    parts = []
    for name in names:
        version = found(name)
        if version is None:
            parts.append(f"{name} {PEERS[name].pinned} (not installed)")
        else:
            parts.append(f"{name} {version}".rstrip())
    return ", ".join(parts)


def differences(names: Iterable[str]) -> list[str]:
    """Returns a line for each peer that is missing or has another version than the pinned one."""
    lines = []
    for name in names:
        peer, version = PEERS[name], found(name)
        if version is None:
            how = INSTALL.get(name, "pip install '.[perf]'")
            lines.append(f"{name} is not installed and left out: `{how}`")
        elif peer.pinned is not None and version != peer.pinned:
            lines.append(f"{name} is {version}; the suite is meant for {peer.pinned}")
    return lines
