"""SSLBufferEvent: TLS for Python. Bytes never pass through here; see ssl.pyx for how they go."""

from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport errno
from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.pybase cimport (
    BufferEvent, check_options, enter_python, event_happened, leave_python,
)
from cyevent.bufferevent.pybufferevent cimport SocketBufferEvent
from cyevent.bufferevent.ssl cimport *
from cyevent.bufferevent.ssl_library cimport ssl_of_connection
from cyevent.bufferevent.ssl_records cimport bufferevent_ssl
from cyevent.bufferevent.types cimport *
from cyevent.bufferevent.types cimport ssl_st
from cyevent.core.arguments cimport descriptor, os_error
from cyevent.core.reactor cimport EventBase
from cyevent.core.sys cimport set_errno, EPROTO
from cyevent.core.types cimport event_base
from cyevent.net.util cimport evutil_make_socket_nonblocking

cdef extern from "Python.h":
    int PyGILState_Ensure() noexcept nogil
    void PyGILState_Release(int state) noexcept nogil


class SSLError(OSError):
    """A TLS failure, in the words of the library.

    errors: (part of the library, reason) pairs, a list, the first one first.
    verify_code: the outcome of the certificate's verification, an X509_V_ERR_* number; 0 when it was fine.
    verify_message: the same in words.

    It is what `SSLBufferEvent.error` has. What a Python callback of the context raised is its `__cause__`.
    """

    def __init__(self, errors, verify_code=0, verify_message="ok"):
        reasons = ", ".join(dict.fromkeys(reason for _, reason in errors if reason)) or "TLS failure"
        if verify_code:
            reasons += f": {verify_message}"
        super().__init__(EPROTO, reasons)
        self.errors = list(errors)
        self.verify_code = verify_code
        self.verify_message = verify_message

    def __reduce__(self):
        return type(self), (self.errors, self.verify_code, self.verify_message)

    def __str__(self):
        return self.strerror


# --- callbacks --------------------------------------------------------------------------------------

cdef void release_connection(void *arg) noexcept nogil:
    cdef int state
    if arg == NULL:
        # Still with the SSLBufferEvent.
        return
    state = PyGILState_Ensure()
    (<void (*)(PyObject *) noexcept nogil>drop)(<PyObject *>arg)
    PyGILState_Release(state)


cdef void drop(PyObject *thing) noexcept:
    Py_DECREF(<object>thing)


cdef void happened(bufferevent *bev, short what, void *arg) noexcept nogil:
    cdef int token
    cdef int code = errno
    if what & BEV_EVENT_ERROR:
        token = enter_python(bev)
        (<void (*)(PyObject *) noexcept nogil>collect_problems)(<PyObject *>arg)
        leave_python(token)
        set_errno(code)
    event_happened(bev, what, arg)


cdef void collect_problems(PyObject *thing) noexcept:
    """What a Python callback raised goes where all callbacks' exceptions go, and becomes the error's cause."""
    cdef SSLBufferEvent self = <SSLBufferEvent>thing
    try:
        from cyevent.bufferevent.ssl_context import callback_problems
        for problem in callback_problems(self.connection_):
            self.problem = problem
            self.owner.failed(problem, self.connection_)
    except BaseException as exception:
        self.owner.failed(exception, self.connection_)


# --- the bufferevent --------------------------------------------------------------------------------

cdef class SSLBufferEvent(SocketBufferEvent):
    """A socket that speaks TLS, with an input and an output buffer of what is said.

    sock: as for SocketBufferEvent; the handshake begins with the loop. None for one that `connect` makes.
    context: an OpenSSL.SSL.Context. A client may have an ssl.SSLContext instead, of which the settings that can
    be read are taken over (not its own certificate), or None, to trust whom the system trusts.
    server_side: True accepts, False connects.
    server_hostname: whom a client wants to talk to: a name, sent to the server, or an address.
    verify: whether the peer must have a certificate that the context trusts. None: a client's must; a server
    asks for one if the context says so.
    check_hostname: whether it must be for server_hostname. None: if it is verified.
    session: a `session` of an earlier connection with the same context, to be resumed.
    alpn: protocol names that a client offers, the preferred one first.
    allow_dirty_shutdown: the connection may end without the peer saying so. That is BEV_EVENT_EOF then, not
    BEV_EVENT_ERROR, and what has come may have been cut off by anybody.
    close_on_free, options: as for SocketBufferEvent.
    read, write, event: callbacks, as for `set_callbacks`.

    TLS 1.2 (RFC 5246) is the least that is spoken, TLS 1.3 is RFC 8446. TypeError or ValueError names an
    argument that is wrong, such as a server's missing context; ImportError without pyOpenSSL.

    The event callback hears BEV_EVENT_CONNECTED when the handshake is done; what was written before leaves
    then. With close_on_free (the default) `close` tells the peer that this is the end, then closes the socket.
    Callbacks of the context (verification, server names) run in the loop; the handshake has not got the GIL.
    """

    def __init__(self, EventBase base not None, sock=None, context=None, options=0, *,
                 bint server_side=False, server_hostname=None, verify=None, check_hostname=None, session=None,
                 alpn=None, bint allow_dirty_shutdown=False, bint close_on_free=True,
                 read=None, write=None, event=None):
        cdef int fd = -1
        cdef int flags = check_options(options, read, write, event)
        if self.owner is not None:
            raise RuntimeError("SSLBufferEvent.__init__() was called twice")
        base.checked()
        connection = connection_for(
            context, server_side, server_hostname, verify, check_hostname, session, alpn)
        if sock is not None:
            fd = descriptor(sock, "sock")
            if evutil_make_socket_nonblocking(fd) < 0:
                raise os_error(f"sock (fd {fd})")
        if close_on_free:
            flags |= BEV_OPT_CLOSE_ON_FREE
        self.server_hostname_ = server_hostname
        adopt(self, base, None, fd, connection, server_side, flags, read, write, event)
        if allow_dirty_shutdown:
            bufferevent_openssl_set_allow_dirty_shutdown(self.bev, True)
        if flags & BEV_OPT_CLOSE_ON_FREE and hasattr(sock, "detach"):
            sock.detach()

    @classmethod
    def filter(cls, BufferEvent underlying not None, context=None, options=0, *,
               bint server_side=False, server_hostname=None, verify=None, check_hostname=None, session=None,
               alpn=None, bint allow_dirty_shutdown=False, bint close_on_free=True,
               read=None, write=None, event=None):
        """Returns one that speaks TLS over another bufferevent, on the same base.

        The underlying one's callbacks and watermarks are taken over until this one is closed; with
        close_on_free it is closed too. The other arguments are those of the class.
        """
        cdef SSLBufferEvent self = cls.__new__(cls)
        cdef int flags = check_options(options, read, write, event) & ~BEV_OPT_CLOSE_ON_FREE
        underlying.live()
        if underlying.filtered:
            raise ValueError("underlying must not have a filter already")
        connection = connection_for(
            context, server_side, server_hostname, verify, check_hostname, session, alpn)
        self.server_hostname_ = server_hostname
        adopt(self, underlying.owner, underlying, -1, connection, server_side, flags, read, write, event)
        bufferevent_ssl_upcast_(self.bev).polite = close_on_free
        self.close_below = close_on_free
        if allow_dirty_shutdown:
            bufferevent_openssl_set_allow_dirty_shutdown(self.bev, True)
        return self

    cdef void install(self) noexcept:
        SocketBufferEvent.install(self)
        if not self.filtered:
            self.bev.errorcb = happened

    cdef bint writes(self) noexcept:
        cdef bufferevent_ssl *s
        if SocketBufferEvent.writes(self):
            return True
        if self.bev == NULL:
            return False
        # A handshake that is under way, or what is under way below.
        s = bufferevent_ssl_upcast_(self.bev)
        if s.state != BUFFEREVENT_SSL_OPEN and not s.failed \
                and (self.below is not None or self.bev.ev_read.fd >= 0):
            return True
        return self.below is not None and self.below.writes()

    cdef int closing(self) except -1:
        Py_INCREF(self.connection_)
        bufferevent_ssl_set_release_(self.bev, release_connection, <void *>self.connection_)
        return 0

    cdef void closed_(self) noexcept:
        cdef BufferEvent below = self.below
        self.connection_ = None
        self.below = None
        if below is None or below.bev == NULL:
            return
        below.filtered = False
        if self.close_below:
            below.close()
            return
        BEV_LOCK(below.bev)
        below.install()
        BEV_UNLOCK(below.bev)
        if below.reads() or below.writes():
            try:
                below.keep()
            except ValueError:
                # The base is closed.
                pass

    @property
    def connection(self):
        """pyOpenSSL's Connection, to be asked about certificates, ciphers and so on; None once closed. Bytes go
        through the bufferevent alone: do not read from it or write to it."""
        return self.connection_

    @property
    def underlying(self):
        """The bufferevent below this one, as `filter` was given it; None for a socket, and once closed."""
        return self.below

    @property
    def server_side(self):
        """True for a server."""
        return bool(self.server_side_)

    @property
    def server_hostname(self):
        """The name or address that was given to the constructor; None for none."""
        return self.server_hostname_

    @property
    def established(self):
        """True once the handshake is done."""
        return bufferevent_ssl_upcast_(self.live()).state == BUFFEREVENT_SSL_OPEN

    @property
    def allow_dirty_shutdown(self):
        """Whether the connection may end without the peer saying so; it can be set."""
        return bool(bufferevent_openssl_get_allow_dirty_shutdown(self.live()))

    @allow_dirty_shutdown.setter
    def allow_dirty_shutdown(self, bint allow):
        self.enter()
        bufferevent_openssl_set_allow_dirty_shutdown(self.bev, allow)
        BEV_UNLOCK(self.bev)

    @property
    def version(self):
        """The protocol's version, "TLSv1.3" say; None before the handshake is done."""
        return self.connection_.get_protocol_version_name() if self.established else None

    @property
    def cipher(self):
        """The cipher's name; None before the handshake is done."""
        return self.connection_.get_cipher_name() if self.established else None

    @property
    def alpn_protocol(self):
        """The protocol that was agreed on (ALPN, RFC 7301), as bytes; None for none."""
        self.live()
        return self.connection_.get_alpn_proto_negotiated() or None

    @property
    def session(self):
        """The session, to be resumed by a later connection; None for none. With TLS 1.3 it comes some time
        after the handshake."""
        self.live()
        return self.connection_.get_session()

    @property
    def session_reused(self):
        """True if an earlier session was resumed."""
        from cyevent.bufferevent.ssl_context import session_reused
        self.live()
        return session_reused(self.connection_)

    @property
    def peer_certificate(self):
        """The peer's certificate, a `cryptography.x509.Certificate`; None for none, and before the handshake.
        It was verified only as `verify` says."""
        self.live()
        return self.connection_.get_peer_certificate(as_cryptography=True)

    @property
    def error(self):
        """The SSLError or OSError of the last BEV_EVENT_ERROR, or None."""
        cdef bufferevent_ssl *s = bufferevent_ssl_upcast_(self.live())
        if not s.n_errors:
            return SocketBufferEvent.error.__get__(self)
        from cyevent.bufferevent.ssl_context import error_words, verify_words
        words = [error_words(s.errors[i]) for i in range(s.n_errors)]
        code, message = 0, "ok"
        if any(reason == "certificate verify failed" for _, reason in words):
            code, message = verify_words(self.connection_)
        error = SSLError(words, code, message)
        error.__cause__ = self.problem
        return error

    def renegotiate(self):
        """Begins a new handshake within the connection; TLS 1.2 only. The event callback hears
        BEV_EVENT_CONNECTED again. RuntimeError where it cannot be."""
        cdef int result
        self.enter()
        result = bufferevent_ssl_renegotiate(self.bev)
        BEV_UNLOCK(self.bev)
        if result < 0:
            raise RuntimeError("the connection cannot be renegotiated now, or not at all")

    def flush(self, what, mode=BEV_NORMAL):
        """WRITE with BEV_FLUSH sends what can be sent at once. With BEV_FINISHED nothing more is said: the peer
        is told so behind what is in the output, and one can still read."""
        SocketBufferEvent.flush(self, what, mode)


cdef object connection_for(object context, bint server_side, object server_hostname, object verify,
                           object check_hostname, object session, object alpn):
    from cyevent.bufferevent.ssl_library import load
    load()
    from cyevent.bufferevent.ssl_context import make_connection
    return make_connection(context, server_side, server_hostname, verify, check_hostname, session, alpn)


cdef int adopt(SSLBufferEvent self, EventBase base, BufferEvent underlying, int fd, object connection,
               bint server_side, int flags, object read, object write, object event) except -1:
    """Makes the struct and takes over what was given."""
    cdef ssl_st *ssl = ssl_of_connection(connection)
    cdef bufferevent_ssl_state state = BUFFEREVENT_SSL_ACCEPTING if server_side else BUFFEREVENT_SSL_CONNECTING
    cdef event_base *native = base.checked()
    cdef bufferevent *bev
    if underlying is None:
        bev = bufferevent_openssl_socket_new(native, fd, ssl, state, flags)
    else:
        underlying.enter()
        bev = bufferevent_openssl_filter_new(native, underlying.bev, ssl, state, flags)
        underlying.filtered = bev != NULL
        BEV_UNLOCK(underlying.bev)
    if bev == NULL:
        raise MemoryError()
    bufferevent_ssl_set_release_(bev, release_connection, NULL)
    self.connection_ = connection
    self.below = underlying
    self.server_side_ = server_side
    self.begin(base, bev, read, write, event)
    if underlying is not None or fd >= 0:
        self.keep()
    if underlying is not None and underlying.kept:
        # It lives as long as this one.
        underlying.kept = False
        underlying.owner.release(underlying)
    return 0
