"""SocketBufferEvent: the socket bufferevent for Python."""

from libc.errno cimport errno
from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.hostname cimport *
from cyevent.bufferevent.pybase cimport BufferEvent, check_options
from cyevent.bufferevent.socket cimport *
from cyevent.bufferevent.types cimport *
from cyevent.core.arguments cimport descriptor, integer, os_error
from cyevent.core.reactor cimport EventBase
from cyevent.core.sys cimport *
from cyevent.core.sys cimport sockaddr_storage
from cyevent.core.types cimport event_base
from cyevent.net.address cimport address_from_object
from cyevent.net.util cimport evutil_make_socket_nonblocking


cdef class SocketBufferEvent(BufferEvent):
    """A socket with an input and an output buffer, which the loop fills and empties.

    sock: a connected stream socket or its descriptor, which is made non-blocking; None for one that `connect`
    makes. With close_on_free (the default) the bufferevent owns it: a socket object is detached, and the
    descriptor is closed by `close`. Otherwise it stays the caller's.
    options: BEV_OPT_DEFER_CALLBACKS, BEV_OPT_THREADSAFE and BEV_OPT_UNLOCK_CALLBACKS, or none of them.
    read, write, event: callbacks, as for `set_callbacks`.

    TypeError or ValueError names an argument that is wrong, OSError says that a descriptor is bad.

    Callbacks are set with `set_callbacks`. Writing needs no permission; reading begins with `enable(READ)`.
    While it is enabled, connecting or has bytes to write the base keeps it alive, until `close`, or until an
    end or an error after which nothing can come. Without BEV_OPT_THREADSAFE it belongs to the loop's thread.
    """

    def __init__(self, EventBase base not None, sock=None, options=0, *,
                 bint close_on_free=True, read=None, write=None, event=None):
        cdef event_base *native = base.checked()
        cdef int fd = -1
        cdef int flags = check_options(options, read, write, event)
        if self.owner is not None:
            raise RuntimeError("SocketBufferEvent.__init__() was called twice")
        if sock is not None:
            fd = descriptor(sock, "sock")
            if evutil_make_socket_nonblocking(fd) < 0:
                raise os_error(f"sock (fd {fd})")
        if close_on_free:
            flags |= BEV_OPT_CLOSE_ON_FREE
        self.begin(base, bufferevent_socket_new(native, fd, flags), read, write, event)
        if flags & BEV_OPT_CLOSE_ON_FREE and hasattr(sock, "detach"):
            sock.detach()

    def connect(self, address):
        """Begins to connect; the event callback hears BEV_EVENT_CONNECTED or BEV_EVENT_ERROR.

        address: (host, port) with a numeric host, or the path of a Unix socket, as for connect(2).

        OSError for what fails at once, ValueError for an address that is none. A descriptor that connect()
        makes is the bufferevent's to close, with close_on_free.
        """
        cdef sockaddr_storage storage
        cdef bufferevent *bev = self.live()
        cdef int length = address_from_object(address, &storage, False, "address")
        cdef int code
        self.enter()
        try:
            self.keep()
            if bufferevent_socket_connect(bev, <sockaddr *>&storage, length) < 0:
                code = errno
                self.settle()
                set_errno(code)
                raise os_error(f"address {address!r}")
        finally:
            BEV_UNLOCK(bev)

    def connect_hostname(self, host, port, *, family=AF_UNSPEC, dns=None):
        """Looks a host's name up and connects to what is found first; the event callback hears the outcome.

        host: a name, or a numeric address, as for getaddrinfo(3); beyond ASCII it is encoded (IDNA).
        port: a number, 1 to 65535.
        family: AF_INET or AF_INET6 for such addresses alone.
        dns: reserved for a resolver; None for the system's, which is asked in a thread.

        Reading and writing are suspended meanwhile. A name that is not found is a socket.gaierror in `error`.
        ValueError while it is connecting already.
        """
        cdef bufferevent *bev = self.live()
        cdef int number = <int>integer(port, "port", 1, 65535)
        cdef int kind = <int>integer(family, "family", 0, 0x7fffffff)
        cdef bytes name
        if not isinstance(host, (str, bytes)):
            raise TypeError(f"host must be a str, not {type(host).__name__}")
        if dns is not None:
            raise TypeError(f"dns must be None, not {type(dns).__name__}")
        if kind not in (AF_UNSPEC, AF_INET, AF_INET6):
            raise ValueError(f"family must be AF_INET, AF_INET6 or AF_UNSPEC, not {kind}")
        try:
            name = host if isinstance(host, bytes) else (
                host.encode() if host.isascii() else host.encode("idna"))
        except UnicodeError as error:
            raise ValueError(f"host is not a name: {host!r}") from error
        if not name or 0 in name:
            raise ValueError(f"host must be a name without NUL, not {host!r}")
        self.enter()
        try:
            if BEV_UPCAST(bev).dns_request != NULL or BEV_UPCAST(bev).connecting:
                raise ValueError("the bufferevent is connecting already")
            self.keep()
            if bufferevent_socket_connect_hostname(bev, NULL, kind, name, number) < 0:
                code = errno
                self.settle()
                set_errno(code)
                raise os_error(f"host {host!r}")
        finally:
            BEV_UNLOCK(bev)

    @property
    def dns_error(self):
        """The error code of getaddrinfo(3) for the last name that was looked up; 0 for none."""
        return bufferevent_socket_get_dns_error(self.live())

    @property
    def connecting(self):
        """True until the connection is there, or failed; while a name is looked up, too."""
        cdef bufferevent_private *p = BEV_UPCAST(self.live())
        return bool(p.connecting or p.dns_request != NULL)
