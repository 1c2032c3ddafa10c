"""OpenSSL's functions, from the copy that pyOpenSSL uses.

Facts:
- pyOpenSSL reaches OpenSSL through a cffi module inside the `cryptography` package, which is linked with a copy
  of its own. `ffi.addressof(lib, name)` gives a plain C function, that neither needs nor takes the GIL.
- Only functions that the cffi module declares can be reached so. SSL_read_ex, BIO_ctrl_pending, BIO_meth_new,
  SSL_up_ref and SSL_clear are not among them.
- The declarations are the package's own and may change with its versions.

Hazards: a pointer called with other arguments than it was declared for corrupts memory; an SSL of another copy
of OpenSSL (the standard library's, say) does too.

Decision: each function is taken only if its declaration is the one that is known here, and loading fails with
the names of all that are not. It happens at the first use, so that who needs no TLS pays nothing.
"""

from importlib import import_module

from libc.stdint cimport uintptr_t
from cyevent.bufferevent.types cimport ssl_st

# Name -> what cffi says of it.
DECLARATIONS = {
    "SSL_read": "int(*)(SSL *, void *, int)",
    "SSL_write": "int(*)(SSL *, void *, int)",
    "SSL_do_handshake": "int(*)(SSL *)",
    "SSL_get_error": "int(*)(SSL *, int)",
    "SSL_pending": "int(*)(SSL *)",
    "SSL_shutdown": "int(*)(SSL *)",
    "SSL_get_shutdown": "int(*)(SSL *)",
    "SSL_renegotiate": "int(*)(SSL *)",
    "SSL_renegotiate_pending": "int(*)(SSL *)",
    "SSL_set_mode": "long(*)(SSL *, long)",
    "SSL_set_bio": "void(*)(SSL *, BIO *, BIO *)",
    "SSL_set_accept_state": "void(*)(SSL *)",
    "SSL_set_connect_state": "void(*)(SSL *)",
    "SSL_free": "void(*)(SSL *)",
    "BIO_new": "BIO *(*)(BIO_METHOD *)",
    "BIO_free": "int(*)(BIO *)",
    "BIO_s_mem": "BIO_METHOD *(*)()",
    "BIO_read": "int(*)(BIO *, void *, int)",
    "BIO_write": "int(*)(BIO *, void *, int)",
    "BIO_get_mem_data": "long(*)(BIO *, char * *)",
    "BIO_set_mem_eof_return": "long(*)(BIO *, int)",
    "ERR_get_error": "unsigned long(*)()",
    "ERR_peek_error": "unsigned long(*)()",
    "ERR_clear_error": "void(*)()",
}

cdef openssl_functions table
cdef bint loaded = False


cdef const openssl_functions *openssl_() noexcept nogil:
    return &table if loaded else NULL


cdef dict addresses(lib, ffi, dict declarations):
    """Name -> address of each function; ImportError names those that are not there as they are declared."""
    cdef dict found = {}
    cdef list missing = []
    for name, declaration in declarations.items():
        try:
            pointer = ffi.addressof(lib, name)
        except (AttributeError, TypeError):
            missing.append(f"{name} (not there)")
            continue
        kind = ffi.typeof(pointer).cname
        if kind != declaration:
            missing.append(f"{name} ({kind} instead of {declaration})")
            continue
        found[name] = int(ffi.cast("uintptr_t", pointer))
    if missing:
        raise ImportError("the OpenSSL of the installed cryptography package cannot be used: "
                          + ", ".join(missing))
    return found


cdef void *pointer_in(dict found, str name) except NULL:
    return <void *><uintptr_t>found[name]


cdef int openssl_load_() except -1:
    global loaded
    cdef dict found
    if loaded:
        return 0
    try:
        # pyOpenSSL first: it is what the user is to be told of when it is not installed.
        import_module("OpenSSL.SSL")
        from cryptography.hazmat.bindings._rust import _openssl
    except ImportError as error:
        raise ImportError(f"TLS needs pyOpenSSL (pip install 'cyevent[tls]'): {error}") from error
    found = addresses(_openssl.lib, _openssl.ffi, DECLARATIONS)
    table.SSL_read = <int (*)(void *, void *, int) noexcept nogil>pointer_in(found, "SSL_read")
    table.SSL_write = <int (*)(void *, const void *, int) noexcept nogil>pointer_in(found, "SSL_write")
    table.SSL_do_handshake = <int (*)(void *) noexcept nogil>pointer_in(found, "SSL_do_handshake")
    table.SSL_get_error = <int (*)(void *, int) noexcept nogil>pointer_in(found, "SSL_get_error")
    table.SSL_pending = <int (*)(void *) noexcept nogil>pointer_in(found, "SSL_pending")
    table.SSL_shutdown = <int (*)(void *) noexcept nogil>pointer_in(found, "SSL_shutdown")
    table.SSL_get_shutdown = <int (*)(void *) noexcept nogil>pointer_in(found, "SSL_get_shutdown")
    table.SSL_renegotiate = <int (*)(void *) noexcept nogil>pointer_in(found, "SSL_renegotiate")
    table.SSL_renegotiate_pending = <int (*)(void *) noexcept nogil>pointer_in(
        found, "SSL_renegotiate_pending")
    table.SSL_set_mode = <long (*)(void *, long) noexcept nogil>pointer_in(found, "SSL_set_mode")
    table.SSL_set_bio = <void (*)(void *, void *, void *) noexcept nogil>pointer_in(found, "SSL_set_bio")
    table.SSL_set_accept_state = <void (*)(void *) noexcept nogil>pointer_in(found, "SSL_set_accept_state")
    table.SSL_set_connect_state = <void (*)(void *) noexcept nogil>pointer_in(
        found, "SSL_set_connect_state")
    table.SSL_free = <void (*)(void *) noexcept nogil>pointer_in(found, "SSL_free")
    table.BIO_new = <void *(*)(const void *) noexcept nogil>pointer_in(found, "BIO_new")
    table.BIO_free = <int (*)(void *) noexcept nogil>pointer_in(found, "BIO_free")
    table.BIO_s_mem = <const void *(*)() noexcept nogil>pointer_in(found, "BIO_s_mem")
    table.BIO_read = <int (*)(void *, void *, int) noexcept nogil>pointer_in(found, "BIO_read")
    table.BIO_write = <int (*)(void *, const void *, int) noexcept nogil>pointer_in(found, "BIO_write")
    table.BIO_get_mem_data = <long (*)(void *, char **) noexcept nogil>pointer_in(found, "BIO_get_mem_data")
    table.BIO_set_mem_eof_return = <long (*)(void *, int) noexcept nogil>pointer_in(
        found, "BIO_set_mem_eof_return")
    table.ERR_get_error = <unsigned long (*)() noexcept nogil>pointer_in(found, "ERR_get_error")
    table.ERR_peek_error = <unsigned long (*)() noexcept nogil>pointer_in(found, "ERR_peek_error")
    table.ERR_clear_error = <void (*)() noexcept nogil>pointer_in(found, "ERR_clear_error")
    loaded = True
    return 0


cdef ssl_st *ssl_of_connection(object connection) except NULL:
    from OpenSSL.SSL import Connection
    from cryptography.hazmat.bindings._rust import _openssl
    if not isinstance(connection, Connection):
        raise TypeError(f"connection must be an OpenSSL.SSL.Connection, not {type(connection).__name__}")
    openssl_load_()
    return <ssl_st *><uintptr_t>int(_openssl.ffi.cast("uintptr_t", connection._ssl))


def load():
    """Loads OpenSSL's functions; harmless when repeated. ImportError says what is missing.

    SSLBufferEvent does it by itself. C code calls it before the first bufferevent_openssl_*_new().
    """
    openssl_load_()


def ssl_address(connection):
    """The address of a pyOpenSSL Connection's SSL, for C code: bufferevent_openssl_socket_new() and others.

    The Connection owns it and must outlive the bufferevent, which is made without BEV_OPT_CLOSE_ON_FREE.
    """
    return <uintptr_t>ssl_of_connection(connection)
