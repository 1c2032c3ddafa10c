"""Addresses between Python's tuples and the system's structs."""

import os as _os
import socket as _socket

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t
from libc.string cimport memcpy, memset, strlen
from cyevent.core.sys cimport *
from cyevent.net.sockaddr cimport evutil_inet_pton, evutil_inet_pton_scope
from cyevent.net.sys cimport *
from cyevent.net.sys cimport sockaddr_in, sockaddr_in6, sockaddr_un


cdef int path_address(object path, sockaddr_storage *out, str name) except -1:
    cdef sockaddr_un *un = <sockaddr_un *>out
    cdef bytes encoded = _os.fsencode(path)
    cdef Py_ssize_t n = PyBytes_GET_SIZE(encoded)
    cdef Py_ssize_t header = un.sun_path - <char *>un
    if n == 0:
        raise ValueError(f"{name} must not be an empty path")
    # A path ends with a NUL; an abstract name is as long as it says.
    if n > <Py_ssize_t>sizeof(un.sun_path) - (1 if encoded[0] else 0):
        raise ValueError(f"{name} must be at most {sizeof(un.sun_path) - 1} bytes long, not {n}")
    if encoded[0] and 0 in encoded:
        raise ValueError(f"{name} must not hold a NUL")
    un.sun_family = AF_UNIX
    memcpy(un.sun_path, PyBytes_AS_STRING(encoded), n)
    n += header + (1 if encoded[0] else 0)
    ev_set_sa_len(<sockaddr *>un, <int>n)
    return <int>n


cdef int check_number(object value, long long most, str name) except -1:
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not 0 <= value <= most:
        raise ValueError(f"{name} must be 0 to {most}, not {value}")
    return 0


cdef int address_from_object(object address, sockaddr_storage *out, bint resolve,
                             str name) except -1:
    cdef sockaddr_in *v4 = <sockaddr_in *>out
    cdef sockaddr_in6 *v6 = <sockaddr_in6 *>out
    cdef bytes text
    cdef unsigned zone = 0
    memset(out, 0, sizeof(sockaddr_storage))
    if isinstance(address, (str, bytes, _os.PathLike)):
        return path_address(address, out, name)
    if not isinstance(address, tuple) or not 2 <= len(address) <= 4:
        raise TypeError(f"{name} must be (host, port), (host, port, flow, scope) or a path, "
                        f"not {address!r}")
    host, port = address[:2]
    flow = address[2] if len(address) > 2 else 0
    scope = address[3] if len(address) > 3 else 0
    check_number(port, 65535, f"{name}'s port")
    check_number(flow, 0xfffff, f"{name}'s flow")
    check_number(scope, 0xffffffff, f"{name}'s scope")
    if isinstance(host, bytes):
        host = host.decode("ascii")
    elif host is not None and not isinstance(host, str):
        raise TypeError(f"{name}'s host must be a str, not {type(host).__name__}")
    for _ in range(2):
        text = (host or "").encode("idna" if resolve else "utf-8")
        if 0 not in text and evutil_inet_pton(AF_INET, text, &v4.sin_addr) == 1:
            v4.sin_family = AF_INET
            v4.sin_port = htons(<uint16_t>port)
            ev_set_sa_len(<sockaddr *>v4, sizeof(sockaddr_in))
            return sizeof(sockaddr_in)
        memset(out, 0, sizeof(sockaddr_storage))
        if 0 not in text and evutil_inet_pton_scope(AF_INET6, text, &v6.sin6_addr, &zone) == 1:
            v6.sin6_family = AF_INET6
            v6.sin6_port = htons(<uint16_t>port)
            v6.sin6_flowinfo = htonl(flow)
            v6.sin6_scope_id = zone or scope
            ev_set_sa_len(<sockaddr *>v6, sizeof(sockaddr_in6))
            return sizeof(sockaddr_in6)
        if b"%" in text:
            raise ValueError(f"{name} is no IPv6 address of an interface that exists: {host!r}")
        if not resolve:
            break
        found = _socket.getaddrinfo(host or None, port, type=_socket.SOCK_STREAM,
                                    flags=_socket.AI_PASSIVE)
        # IPv4 first where there is a choice: "" then means what it does for the socket module.
        found.sort(key=lambda entry: entry[0] != _socket.AF_INET)
        host = found[0][4][0].split("%")[0]
        if found[0][0] == _socket.AF_INET6:
            scope = found[0][4][3] or scope
    raise ValueError(f"{name} must hold a numeric host, not {host!r}")


cdef object address_to_object(const sockaddr *address, int length):
    cdef const sockaddr_in *v4 = <const sockaddr_in *>address
    cdef const sockaddr_in6 *v6 = <const sockaddr_in6 *>address
    cdef const sockaddr_un *un = <const sockaddr_un *>address
    cdef char text[64]
    cdef Py_ssize_t n
    if length <= 0:
        return None
    if address.sa_family == AF_INET:
        inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text))
        return (text[:strlen(text)].decode("ascii"), ntohs(v4.sin_port))
    if address.sa_family == AF_INET6:
        inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text))
        return (text[:strlen(text)].decode("ascii"), ntohs(v6.sin6_port), ntohl(v6.sin6_flowinfo),
                v6.sin6_scope_id)
    if address.sa_family == AF_UNIX:
        n = length - (<const char *>un.sun_path - <const char *>un)
        if n <= 0:
            return ""
        if un.sun_path[0] == 0:
            return PyBytes_FromStringAndSize(un.sun_path, n)
        return _os.fsdecode(PyBytes_FromStringAndSize(un.sun_path, strlen(un.sun_path)))
    return None
