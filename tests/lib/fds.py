"""Reading and writing descriptors that an event loop can wait for, and pipes of them.

On Windows these are sockets, which the os module knows nothing of.
"""

import ctypes
import os
import socket
import sys

import pytest

WINDOWS = sys.platform == "win32"
MOST_BETWEEN_HANDLES = 4096


def pipe():
    """Two descriptors, to be closed with `close`: what is written to the second is read from the first."""
    if not WINDOWS:
        return os.pipe()
    reader, writer = socket.socketpair()
    reader.shutdown(socket.SHUT_WR)
    return reader.detach(), writer.detach()


def _socket_call(fd, function, *arguments):
    borrowed = socket.socket(fileno=fd)
    try:
        return getattr(borrowed, function)(*arguments)
    finally:
        borrowed.detach()


def read(fd, n):
    return _socket_call(fd, "recv", n) if WINDOWS else os.read(fd, n)


def write(fd, data):
    return _socket_call(fd, "send", data) if WINDOWS else os.write(fd, data)


def shut_writing(fd):
    _socket_call(fd, "shutdown", socket.SHUT_WR)


def close(fd):
    if WINDOWS:
        socket.close(fd)
    else:
        os.close(fd)


def _count_handles():
    """Tried one after the other, since GetProcessHandleCount() is always 0 under Wine."""
    flags = ctypes.c_ulong()
    is_handle = ctypes.windll.kernel32.GetHandleInformation
    count = last = handle = 0
    while handle < last + MOST_BETWEEN_HANDLES:
        handle += 4
        if is_handle(ctypes.c_void_p(handle), ctypes.byref(flags)):
            count += 1
            last = handle
    return count


def opened():
    """How many descriptors this process has, or None where that is not told; on Windows all its handles."""
    if WINDOWS:
        return _count_handles()
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    return len(os.listdir(folder)) if os.path.isdir(folder) else None


def opened_files():
    """The same without what Windows has beside descriptors of files."""
    return sum(map(_is_file, range(512))) if WINDOWS else opened()


def _is_file(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def dup(fd):
    """Another number for the same; only where numbers are given out anew at once, lowest first."""
    if WINDOWS:
        pytest.skip("Windows has no dup() of sockets")
    return os.dup(fd)


def dup2(fd, number):
    if WINDOWS:
        pytest.skip("numbers cannot be chosen on Windows")
    return os.dup2(fd, number)


def is_open(fd):
    try:
        if WINDOWS:
            _socket_call(fd, "getsockopt", socket.SOL_SOCKET, socket.SO_TYPE)
        else:
            os.fstat(fd)
    except OSError:
        return False
    return True
