"""Listener.

A listener's lock is held while a callback runs, which may need the GIL: who waits for the lock does so
without it.
"""

cimport cython
from libc.errno cimport errno
from cyevent.core.arguments cimport check_callable, descriptor, integer, os_error
from cyevent.core.interpreter cimport py_enter, py_leave, py_loop
from cyevent.core.sys cimport *
from cyevent.core.types cimport event_base
from cyevent.net.address cimport address_from_object, address_to_object
from cyevent.net.listener cimport *
from cyevent.net.sys cimport *
from cyevent.net.sys cimport sockaddr_un
from cyevent.net.util cimport *


cdef void accepted(evconnlistener *lev, evutil_socket_t fd, sockaddr *address, int socklen,
                   void *arg) noexcept nogil:
    cdef py_loop *loop = <py_loop *>lev.listener.base.binding
    cdef int token = py_enter(loop)
    (<void (*)(void *, int, sockaddr *, int) noexcept nogil>run_accepted)(arg, fd, address, socklen)
    py_leave(loop, token)


cdef void run_accepted(void *arg, int fd, sockaddr *address, int socklen) noexcept:
    cdef Listener self = <Listener>arg
    cdef object callback = self.callback_
    try:
        peer = address_to_object(address, socklen)
    except BaseException as exception:
        # Nobody has been given the descriptor.
        ev_close_socket(fd)
        self.owner.failed(exception, callback)
        return
    try:
        callback(self, fd, peer)
    except BaseException as exception:
        self.owner.failed(exception, callback)


cdef void accept_failed(evconnlistener *lev, void *arg) noexcept nogil:
    cdef int code = errno
    cdef py_loop *loop = <py_loop *>lev.listener.base.binding
    cdef int token = py_enter(loop)
    (<void (*)(void *, int) noexcept nogil>run_accept_failed)(arg, code)
    py_leave(loop, token)


cdef void run_accept_failed(void *arg, int code) noexcept:
    cdef Listener self = <Listener>arg
    cdef object callback = self.error_
    try:
        set_errno(code)
        callback(self, os_error("accept"))
    except BaseException as exception:
        self.owner.failed(exception, callback)


cdef class Listener:
    """Accepts connections and calls callback(listener, fd, address) for each.

    The accepted descriptor is the callback's: pass it to SocketBufferEvent or socket.socket(fileno=fd), or
    close it. It does not block and is not inherited by child programs.

    address: (host, port) for IPv4 and IPv6, a path for a Unix socket (a leading NUL: an abstract name), or a
    socket that is bound, and is then detached: its descriptor belongs to the listener. "" as host means every
    IPv4 address, "::" every IPv6 one; a host name is looked up, which may block. Port 0 is any free one; see
    `address`.
    callback: gets the peer's address as accept(2) has it, in the same form.
    backlog: how many connections may wait, as for listen(2); -1 for the system's maximum, 0 if the socket
    listens already.
    reuse_port: several listeners may share the port (SO_REUSEPORT of socket(7)).
    reuse_address: the address may be bound again at once after a restart (SO_REUSEADDR).
    deferred_accept: accept when the first data is there (TCP_DEFER_ACCEPT of tcp(7)), where the system can.
    ipv6_only: False for IPv4 on an IPv6 socket too (IPV6_V6ONLY of ipv6(7)); None as the system does it.
    close_on_free: with False the descriptor stays open when the listener closes.
    error: called as error(listener, exception) when accepting fails. A lack of descriptors passes: one
    waiting connection is closed and accepting goes on after a pause.
    enabled: with False it begins with `enable`.
    leave_blocking: accepted sockets block.

    TypeError or ValueError names an argument that is wrong; OSError when the address cannot be bound or
    listened to, socket.gaierror when the name is not found. What a callback raises goes to
    `EventBase.exception_handler`.

    While it is open the base keeps it alive. It may be enabled, disabled and closed from any thread, if its
    base has a lock; in another thread than the loop's that waits for a callback that is running.
    """

    def __init__(self, EventBase base not None, address, callback, *, backlog=-1,
                 bint reuse_port=False, bint reuse_address=True, bint deferred_accept=False,
                 ipv6_only=None, bint close_on_free=True, error=None, bint enabled=True,
                 bint leave_blocking=False):
        cdef sockaddr_storage storage
        cdef unsigned flags = LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED
        cdef event_base *native = base.checked()
        cdef int waiting = <int>integer(backlog, "backlog", -1, 0x7fffffff)
        cdef int length, fd
        if self.owner is not None:
            raise RuntimeError("Listener.__init__() was called twice")
        check_callable(callback, "callback")
        if error is not None:
            check_callable(error, "error")
        if native.lock != NULL:
            flags |= LEV_OPT_THREADSAFE
        if close_on_free:
            flags |= LEV_OPT_CLOSE_ON_FREE
        if leave_blocking:
            flags |= LEV_OPT_LEAVE_SOCKETS_BLOCKING
        self.callback_ = callback
        self.error_ = error
        if hasattr(address, "fileno"):
            fd = descriptor(address, "address")
            if evutil_make_socket_nonblocking(fd) < 0:
                raise os_error("address")
            self.lev = evconnlistener_new(native, accepted, <void *>self, flags, waiting, fd)
            if self.lev == NULL:
                raise os_error("listen")
            if close_on_free and hasattr(address, "detach"):
                address.detach()
        else:
            if waiting == 0:
                raise ValueError("backlog must not be 0 for a new socket")
            length = address_from_object(address, &storage, True, "address")
            if storage.ss_family == AF_UNIX:
                if reuse_port:
                    raise ValueError("reuse_port must be False for a Unix socket")
            elif reuse_address:
                flags |= LEV_OPT_REUSEABLE
            if reuse_port:
                flags |= LEV_OPT_REUSEABLE_PORT
            if deferred_accept:
                flags |= LEV_OPT_DEFERRED_ACCEPT
            if ipv6_only is not None:
                if storage.ss_family != AF_INET6:
                    raise ValueError("ipv6_only must be None for an address that is not IPv6")
                flags |= LEV_OPT_BIND_IPV6ONLY if ipv6_only else LEV_OPT_BIND_IPV4_AND_IPV6
            self.lev = evconnlistener_new_bind(native, accepted, <void *>self, flags, waiting,
                                               <sockaddr *>&storage, length)
            if self.lev == NULL:
                raise os_error(f"address {address!r}")
            if storage.ss_family == AF_UNIX and (<sockaddr_un *>&storage).sun_path[0]:
                self.unlink_path = self.address
        if error is not None:
            evconnlistener_set_error_cb(self.lev, accept_failed)
        self.owner = base
        if enabled:
            self.enable()
        base.keep(self)

    def __del__(self):
        self.close()

    def __dealloc__(self):
        if self.lev != NULL:
            evconnlistener_free(self.lev)

    cdef evconnlistener *live(self) except NULL:
        if self.lev == NULL:
            raise ValueError("the listener is closed")
        self.owner.checked()
        return self.lev

    cdef evconnlistener *enter(self) except NULL:
        cdef evconnlistener *lev
        with cython.critical_section(self):
            lev = self.live()
            self.users += 1
        return lev

    cdef void leave(self) noexcept:
        cdef evconnlistener *doomed = NULL
        with cython.critical_section(self):
            self.users -= 1
            if self.users == 0:
                doomed = self.doomed
                self.doomed = NULL
        if doomed != NULL:
            with nogil:
                evconnlistener_free(doomed)

    def enable(self):
        """Accepts connections. Harmless when repeated; OSError when the system refuses to watch the socket."""
        cdef evconnlistener *lev = self.enter()
        cdef int result, code
        with nogil:
            result = evconnlistener_enable(lev)
            code = errno
        self.leave()
        if result < 0:
            set_errno(code)
            raise os_error("enable")

    def disable(self):
        """Leaves connections waiting in the kernel, up to the backlog. Harmless when repeated."""
        cdef evconnlistener *lev = self.enter()
        with nogil:
            evconnlistener_disable(lev)
        self.leave()

    @property
    def enabled(self):
        """True while connections are accepted."""
        return bool(self.live().enabled)

    @property
    def fd(self):
        """The listening descriptor; -1 once closed."""
        return self.lev.listener.fd if self.lev != NULL else -1

    def fileno(self):
        """Returns the listening descriptor; ValueError once closed."""
        return self.live().listener.fd

    @property
    def address(self):
        """What the socket is bound to, as getsockname(2) has it: with the actual port if 0 was asked for."""
        cdef sockaddr_storage storage
        cdef ev_socklen_t length = sizeof(storage)
        if self.lev == NULL:
            raise ValueError("the listener is closed")
        if getsockname(self.lev.listener.fd, <sockaddr *>&storage, &length) < 0:
            raise os_error("getsockname")
        return address_to_object(<sockaddr *>&storage, <int>length)

    @property
    def base(self):
        """The EventBase that it was made with."""
        return self.owner

    @property
    def callback(self):
        """The callback; it can be replaced."""
        return self.callback_

    @callback.setter
    def callback(self, callback):
        self.callback_ = check_callable(callback, "callback")

    @property
    def closed(self):
        """True after `close`."""
        return self.lev == NULL

    def close(self):
        """Stops accepting, closes the socket (unless close_on_free=False), and removes the file of a Unix
        socket that the listener made. Harmless when repeated."""
        cdef evconnlistener *lev
        with cython.critical_section(self):
            lev = self.lev
            self.lev = NULL
            if lev != NULL and self.users > 0:
                self.doomed = lev
                self.users += 1
        if lev == NULL:
            return
        if self.doomed != NULL:
            # They do as they were told before; then it closes.
            self.leave()
        else:
            # It waits for a callback that runs in another thread, which needs the GIL.
            with nogil:
                evconnlistener_free(lev)
        if self.unlink_path is not None:
            import os
            try:
                os.unlink(self.unlink_path)
            except OSError:
                pass
            self.unlink_path = None
        if self.owner is not None:
            self.owner.release(self)

    def __enter__(self):
        self.live()
        return self

    def __exit__(self, *exception):
        self.close()

    def __repr__(self):
        if self.lev == NULL:
            return "<cyevent.Listener closed>"
        return f"<cyevent.Listener on {self.address!r}>"
