"""Reading and writing descriptors that an event loop can wait for, and pipes of them.

On Windows these are sockets, which the os module knows nothing of.
"""

import ctypes
import os
import socket
import sys

import pytest

WINDOWS = sys.platform == "win32"


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


def close(fd):
    if WINDOWS:
        socket.close(fd)
    else:
        os.close(fd)


def opened():
    """How many descriptors this process has, or None where that is not told; on Windows all its handles."""
    if WINDOWS:
        count = ctypes.c_ulong()
        kernel = ctypes.windll.kernel32
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        process = ctypes.c_void_p(kernel.GetCurrentProcess())
        return count.value if kernel.GetProcessHandleCount(process, ctypes.byref(count)) else None
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    return len(os.listdir(folder)) if os.path.isdir(folder) else None


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
