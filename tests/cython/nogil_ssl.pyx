"""TLS bufferevents from C callbacks: libevent's cases of bufferevent_openssl_*."""

import datetime
import os
import socket

from libc.string cimport memset
from cyevent cimport *
from cyevent cimport bufferevent, evbuffer, ssl_st, timeval
from cyevent.bufferevent.ssl_library cimport ssl_of_connection
from rig cimport Rig, milliseconds, now

cdef enum:
    ROUNDS = 50
    SOCKETS = 0
    FILTERS = 1

cdef struct side:
    bufferevent *bev
    int connected
    int eof
    int errors
    int timeouts
    short what               # the last one
    int rounds
    size_t received
    bint free_when_done      # in the read callback of the last round
    int reads
    int writes
    size_t most              # the longest the input was in a callback

cdef struct sockaddr_storage_bytes:
    unsigned char bytes[128]

cdef object contexts = None


cdef tuple make_contexts():
    """A server's Context with a certificate of its own, and a client's."""
    global contexts
    if contexts is None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
        from OpenSSL import SSL
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        today = datetime.datetime.now(datetime.timezone.utc)
        day = datetime.timedelta(days=1)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
        builder = builder.public_key(key.public_key()).serial_number(1)
        certificate = builder.not_valid_before(today - day).not_valid_after(today + day).sign(
            key, hashes.SHA256())
        server = SSL.Context(SSL.TLS_SERVER_METHOD)
        server.use_certificate(certificate)
        server.use_privatekey(key)
        contexts = server, SSL.Context(SSL.TLS_CLIENT_METHOD)
    return contexts


# --- callbacks --------------------------------------------------------------------------------------

cdef void on_event(bufferevent *bev, short what, void *arg) noexcept nogil:
    cdef side *s = <side *>arg
    s.what = what
    if what & BEV_EVENT_CONNECTED:
        s.connected += 1
    if what & BEV_EVENT_EOF:
        s.eof += 1
    if what & BEV_EVENT_ERROR:
        s.errors += 1
    if what & BEV_EVENT_TIMEOUT:
        s.timeouts += 1


cdef void answer(bufferevent *bev, void *arg) noexcept nogil:
    """Each round a byte more than the one before."""
    cdef side *s = <side *>arg
    cdef char data[ROUNDS * 4]
    cdef size_t n = bufferevent_read(bev, data, sizeof(data))
    s.received += n
    s.rounds += 1
    if s.rounds < ROUNDS:
        bufferevent_write(bev, data, n + 1)
    elif s.free_when_done:
        s.bev = NULL
        bufferevent_free(bev)
    else:
        event_base_loopbreak(bufferevent_get_base(bev))


cdef void on_read(bufferevent *bev, void *arg) noexcept nogil:
    cdef side *s = <side *>arg
    cdef evbuffer *input = bufferevent_get_input(bev)
    s.reads += 1
    if evbuffer_get_length(input) > s.most:
        s.most = evbuffer_get_length(input)
    s.received += evbuffer_get_length(input)
    evbuffer_drain(input, evbuffer_get_length(input))


cdef void on_write(bufferevent *bev, void *arg) noexcept nogil:
    (<side *>arg).writes += 1


cdef void stop_when_connected(bufferevent *bev, short what, void *arg) noexcept nogil:
    on_event(bev, what, arg)
    event_base_loopbreak(bufferevent_get_base(bev))


# --- two ends ---------------------------------------------------------------------------------------

cdef class Ends:
    """A client and a server on one base, over the rig's sockets."""
    cdef Rig rig
    cdef side client
    cdef side server
    cdef object connections
    cdef int kind
    cdef bufferevent *under[2]

    def __init__(self, str method, int kind=SOCKETS, int options=0, bint opened=False, bint later_fd=False):
        from OpenSSL import SSL
        cdef side *sides[2]
        cdef bufferevent_ssl_state state
        cdef ssl_st *ssl
        cdef int i
        server, client = make_contexts()
        self.rig = Rig(method)
        self.kind = kind
        self.connections = [SSL.Connection(client), SSL.Connection(server)]
        self.connections[0].set_connect_state()
        self.connections[1].set_accept_state()
        if opened:
            self.shake_hands()
        sides[0] = &self.client
        sides[1] = &self.server
        for i in range(2):
            memset(sides[i], 0, sizeof(side))
            state = BUFFEREVENT_SSL_CONNECTING if i == 0 else BUFFEREVENT_SSL_ACCEPTING
            if opened:
                state = BUFFEREVENT_SSL_OPEN
            ssl = ssl_of_connection(self.connections[i])
            if kind == SOCKETS:
                sides[i].bev = bufferevent_openssl_socket_new(
                    self.rig.base, -1 if later_fd else self.rig.pair[i], ssl, state, options)
                self.under[i] = NULL
            else:
                self.under[i] = bufferevent_socket_new(self.rig.base, self.rig.pair[i], options)
                sides[i].bev = bufferevent_openssl_filter_new(
                    self.rig.base, self.under[i], ssl, state, options)
            assert sides[i].bev != NULL
            assert bufferevent_openssl_get_ssl(sides[i].bev) == ssl
            bufferevent_setcb(sides[i].bev, on_read, on_write, on_event, sides[i])
            bufferevent_enable(sides[i].bev, EV_READ | EV_WRITE)
            if later_fd:
                assert bufferevent_setfd(sides[i].bev, self.rig.pair[i]) == 0
            assert bufferevent_getfd(sides[i].bev) == self.rig.pair[i]

    def shake_hands(self):
        """The handshake, by pyOpenSSL and through its own memory BIOs."""
        from OpenSSL import SSL
        done = [False, False]
        while not all(done):
            for i in range(2):
                here, there = self.connections[i], self.connections[1 - i]
                try:
                    here.do_handshake()
                    done[i] = True
                except SSL.WantReadError:
                    pass
                try:
                    there.bio_write(here.bio_read(65536))
                except SSL.WantReadError:
                    pass
        # The tickets of TLS 1.3 are read here, for its BIOs are about to go.
        try:
            self.connections[0].recv(1)
        except SSL.WantReadError:
            pass

    def converse(self):
        """Rounds of question and answer."""
        bufferevent_setcb(self.client.bev, answer, NULL, on_event, &self.client)
        bufferevent_setcb(self.server.bev, answer, NULL, on_event, &self.server)
        bufferevent_write(self.client.bev, b"x", 1)
        event_base_dispatch(self.rig.base)
        assert self.server.rounds == ROUNDS or self.client.rounds == ROUNDS

    def turn(self, int n=20):
        for _ in range(n):
            event_base_loop(self.rig.base, EVLOOP_NONBLOCK)

    def connect(self):
        began = now()
        while not (self.client.connected and self.server.connected):
            event_base_loop(self.rig.base, EVLOOP_NONBLOCK)
            assert now() - began < 20

    def free(self):
        cdef int i
        if self.client.bev != NULL:
            bufferevent_free(self.client.bev)
        if self.server.bev != NULL:
            bufferevent_free(self.server.bev)
        self.client.bev = self.server.bev = NULL
        for i in range(2):
            if self.under[i] != NULL:
                bufferevent_free(self.under[i])
                self.under[i] = NULL
        self.rig.free()


KINDS = SOCKETS, FILTERS


# --- libevent's cases -------------------------------------------------------------------------------

def test_conversation(method):
    """bufferevent_socketpair, bufferevent_filter"""
    cdef Ends ends
    for kind in KINDS:
        for options in (0, BEV_OPT_DEFER_CALLBACKS, BEV_OPT_THREADSAFE):
            ends = Ends(method, kind, options)
            ends.converse()
            assert ends.client.connected == ends.server.connected == 1
            assert ends.client.errors == ends.server.errors == 0
            ends.free()


def test_batch_write(method):
    """bufferevent_socketpair_batch_write"""
    cdef Ends ends = Ends(method)
    assert bufferevent_ssl_get_flags(ends.client.bev) == 0
    assert bufferevent_ssl_set_flags(ends.client.bev, BUFFEREVENT_SSL_BATCH_WRITE) == 0
    assert bufferevent_ssl_get_flags(ends.client.bev) == BUFFEREVENT_SSL_BATCH_WRITE
    ends.converse()
    assert bufferevent_ssl_clear_flags(ends.client.bev, BUFFEREVENT_SSL_BATCH_WRITE) \
        == BUFFEREVENT_SSL_BATCH_WRITE
    assert bufferevent_ssl_get_flags(ends.client.bev) == 0
    ends.free()


def test_write_after_connect(method):
    """bufferevent_socketpair_write_after_connect, bufferevent_filter_write_after_connect"""
    cdef Ends ends
    for kind in KINDS:
        ends = Ends(method, kind)
        ends.connect()
        for _ in range(100):
            bufferevent_write(ends.client.bev, b"0123456789", 10)
        ends.turn()
        assert ends.server.received == 1000
        assert ends.client.writes == 1
        ends.free()


def test_startopen(method):
    """bufferevent_socketpair_startopen, bufferevent_filter_startopen"""
    cdef Ends ends
    for kind in KINDS:
        ends = Ends(method, kind, opened=True)
        ends.converse()
        # There was no handshake to tell of.
        assert ends.client.connected == ends.server.connected == 0
        ends.free()


def test_dirty_shutdown(method):
    """bufferevent_*_dirty_shutdown, with and without startopen"""
    cdef Ends ends
    for kind in KINDS:
        for opened in (False, True):
            for allowed in (False, True):
                ends = Ends(method, kind, opened=opened)
                assert bufferevent_openssl_get_allow_dirty_shutdown(ends.server.bev) == 0
                bufferevent_openssl_set_allow_dirty_shutdown(ends.server.bev, allowed)
                assert bufferevent_openssl_get_allow_dirty_shutdown(ends.server.bev) == allowed
                if not opened:
                    ends.connect()
                bufferevent_write(ends.client.bev, b"0123456789", 10)
                ends.turn()
                ends.rig.close_end(0)
                bufferevent_disable(ends.client.bev, EV_READ | EV_WRITE)
                ends.turn()
                assert ends.server.received == 10
                assert ends.server.eof == (1 if allowed else 0)
                assert ends.server.errors == (0 if allowed else 1)
                if not allowed:
                    # "unexpected eof while reading"
                    assert bufferevent_get_openssl_error(ends.server.bev) & 0x7fffff == 294
                assert bufferevent_get_openssl_error(ends.server.bev) == 0
                ends.free()


def test_clean_shutdown(method):
    """What a dirty one is not."""
    cdef Ends ends
    for kind in KINDS:
        ends = Ends(method, kind)
        ends.connect()
        bufferevent_write(ends.client.bev, b"0123456789", 10)
        assert bufferevent_flush(ends.client.bev, EV_WRITE, BEV_FINISHED) == 0
        ends.turn()
        assert ends.server.received == 10
        assert ends.server.eof == 1 and ends.server.what == BEV_EVENT_EOF | BEV_EVENT_READING
        ends.free()


def test_fd(method):
    """bufferevent_socketpair_fd: the descriptor comes later"""
    cdef Ends ends = Ends(method, later_fd=True)
    ends.converse()
    ends.free()


def test_another_descriptor(method):
    """Of the same connection: nothing is lost that was on its way between the old one and the bufferevents."""
    cdef Ends ends = Ends(method, opened=True)
    cdef size_t size = 1 << 22
    data = bytes(size)
    duplicates = [os.dup(ends.rig.pair[i]) for i in range(2)]
    bufferevent_write(ends.client.bev, b"0123456789", 10)
    ends.turn(3)
    bufferevent_disable(ends.server.bev, EV_READ)
    bufferevent_write(ends.client.bev, <char *>data, size)
    ends.turn()
    assert evbuffer_get_length(bufferevent_get_output(ends.client.bev)) > 0
    assert bufferevent_setfd(ends.client.bev, duplicates[0]) == 0
    assert bufferevent_setfd(ends.server.bev, duplicates[1]) == 0
    bufferevent_enable(ends.server.bev, EV_READ)
    began = now()
    while ends.server.received < size + 10:
        ends.turn()
        assert now() - began < 20
    assert ends.server.errors == ends.client.errors == 0
    assert evbuffer_get_length(bufferevent_get_output(ends.client.bev)) == 0
    ends.free()
    for fd in duplicates:
        os.close(fd)


def test_freed(method):
    """bufferevent_socketpair_freed, _freed_fd, bufferevent_filter_freed_fd: freed in a callback"""
    cdef Ends ends
    for kind in KINDS:
        for later_fd in (False, True):
            if later_fd and kind == FILTERS:
                continue
            ends = Ends(method, kind, later_fd=later_fd)
            ends.client.free_when_done = ends.server.free_when_done = True
            bufferevent_setcb(ends.client.bev, answer, NULL, on_event, &ends.client)
            bufferevent_setcb(ends.server.bev, answer, NULL, on_event, &ends.server)
            bufferevent_write(ends.client.bev, b"x", 1)
            while ends.client.bev != NULL and ends.server.bev != NULL:
                event_base_loop(ends.rig.base, EVLOOP_NONBLOCK)
            ends.turn()
            ends.free()


def test_timeout(method):
    """bufferevent_socketpair_timeout, _timeout_freed_fd"""
    cdef Ends ends
    cdef timeval tv = milliseconds(30)
    for later_fd in (False, True):
        ends = Ends(method, later_fd=later_fd)
        ends.connect()
        began = now()
        bufferevent_set_timeouts(ends.server.bev, &tv, NULL)
        while not ends.server.timeouts:
            event_base_loop(ends.rig.base, EVLOOP_ONCE)
            assert now() - began < 20
        assert now() - began >= 0.03
        assert ends.server.what == BEV_EVENT_TIMEOUT | BEV_EVENT_READING
        assert not bufferevent_get_enabled(ends.server.bev) & EV_READ
        ends.free()


def test_handshake_timeout(method):
    cdef Ends ends = Ends(method)
    cdef timeval tv = milliseconds(30)
    bufferevent_free(ends.client.bev)
    ends.client.bev = NULL
    bufferevent_set_timeouts(ends.server.bev, &tv, NULL)
    event_base_dispatch(ends.rig.base)
    assert ends.server.what == BEV_EVENT_TIMEOUT and ends.server.timeouts == 1
    ends.free()


cdef void accepted(evconnlistener *listener, evutil_socket_t fd, sockaddr *address, int length,
                   void *arg) noexcept nogil:
    (<int *>arg)[0] = fd


def test_connect(method):
    """bufferevent_connect, bufferevent_connect_sleep: it connects, and the server takes its time"""
    cdef Rig rig = Rig(method)
    cdef side client, server
    cdef evconnlistener *listener
    cdef sockaddr_storage_bytes address
    cdef int fd = -1
    from OpenSSL import SSL
    for late in (False, True):
        fd = -1
        memset(&client, 0, sizeof(client))
        memset(&server, 0, sizeof(server))
        contexts = make_contexts()
        connections = SSL.Connection(contexts[1]), SSL.Connection(contexts[0])
        sock = socket.create_server(("127.0.0.1", 0))
        sock.setblocking(False)
        listener = evconnlistener_new(rig.base, accepted, &fd, LEV_OPT_LEAVE_SOCKETS_BLOCKING, -1,
                                      sock.fileno())
        assert listener != NULL
        client.bev = bufferevent_openssl_socket_new(
            rig.base, -1, ssl_of_connection(connections[0]), BUFFEREVENT_SSL_CONNECTING,
            BEV_OPT_DEFER_CALLBACKS)
        bufferevent_setcb(client.bev, on_read, NULL, on_event, &client)
        memset(&address, 0, sizeof(address))
        packed = socket.AF_INET.to_bytes(2, "little") + sock.getsockname()[1].to_bytes(2, "big")
        packed += bytes([127, 0, 0, 1])
        for i, byte in enumerate(packed):
            address.bytes[i] = byte
        assert bufferevent_socket_connect(client.bev, <sockaddr *>&address, 16) == 0
        bufferevent_write(client.bev, b"hello", 5)
        began = now()
        while fd < 0 or (late and now() - began < 0.05):
            event_base_loop(rig.base, EVLOOP_NONBLOCK)
            assert now() - began < 20
        assert client.connected == 0
        evutil_make_socket_nonblocking(fd)
        server.bev = bufferevent_openssl_socket_new(
            rig.base, fd, ssl_of_connection(connections[1]), BUFFEREVENT_SSL_ACCEPTING, 0)
        bufferevent_setcb(server.bev, on_read, NULL, on_event, &server)
        bufferevent_enable(server.bev, EV_READ)
        while server.received < 5:
            event_base_loop(rig.base, EVLOOP_NONBLOCK)
            assert now() - began < 20
        assert client.connected == server.connected == 1
        os.close(bufferevent_getfd(client.bev))
        bufferevent_free(client.bev)
        bufferevent_free(server.bev)
        evconnlistener_free(listener)
        os.close(fd)
        sock.close()
    rig.free()


def test_watermarks(method):
    """bufferevent_wm, _wm_filter, _wm_defer, _wm_filter_defer"""
    cdef Ends ends
    cdef bytes data = bytes(100_000)
    for kind in KINDS:
        for options in (0, BEV_OPT_DEFER_CALLBACKS):
            ends = Ends(method, kind, options)
            ends.connect()
            bufferevent_setwatermark(ends.server.bev, EV_READ, 1000, 4000)
            bufferevent_setwatermark(ends.client.bev, EV_WRITE, 50_000, 0)
            bufferevent_write(ends.client.bev, <char *>data, len(data))
            began = now()
            while ends.server.received < 100_000:
                event_base_loop(ends.rig.base, EVLOOP_NONBLOCK)
                assert now() - began < 20
            assert ends.server.received == 100_000
            assert 1000 <= ends.server.most <= 4000
            assert ends.server.reads >= 25
            ends.free()


# --- and beyond -------------------------------------------------------------------------------------

def test_other_kinds_are_told_apart(method):
    cdef Rig rig = Rig(method)
    cdef bufferevent *bev = bufferevent_socket_new(rig.base, -1, 0)
    cdef unsigned long long none = <unsigned long long>-1
    assert bufferevent_openssl_get_ssl(bev) == NULL
    assert bufferevent_openssl_get_allow_dirty_shutdown(bev) == -1
    bufferevent_openssl_set_allow_dirty_shutdown(bev, 1)
    assert bufferevent_ssl_get_flags(bev) == none
    assert bufferevent_ssl_set_flags(bev, 1) == none
    assert bufferevent_ssl_clear_flags(bev, 1) == none
    assert bufferevent_ssl_renegotiate(bev) == -1
    assert bufferevent_get_openssl_error(bev) == 0
    bufferevent_free(bev)
    rig.free()


def test_bad_arguments(method):
    cdef Rig rig = Rig(method)
    cdef bufferevent *bev
    from OpenSSL import SSL
    connection = SSL.Connection(make_contexts()[1])
    cdef ssl_st *ssl = ssl_of_connection(connection)
    assert bufferevent_openssl_socket_new(rig.base, -1, NULL, BUFFEREVENT_SSL_OPEN, 0) == NULL
    assert bufferevent_openssl_socket_new(rig.base, -1, ssl, <bufferevent_ssl_state>3, 0) == NULL
    assert bufferevent_openssl_socket_new(rig.base, -1, ssl, BUFFEREVENT_SSL_OPEN,
                                          BEV_OPT_UNLOCK_CALLBACKS) == NULL
    assert bufferevent_openssl_filter_new(rig.base, NULL, ssl, BUFFEREVENT_SSL_OPEN, 0) == NULL
    bev = bufferevent_openssl_socket_new(rig.base, -1, ssl, BUFFEREVENT_SSL_CONNECTING, 0)
    assert bufferevent_ssl_set_flags(bev, 4) == <unsigned long long>-1
    assert bufferevent_ssl_renegotiate(bev) == -1
    bufferevent_free(bev)
    rig.free()


def test_handshake_failure(method):
    """The error is the library's, and the SSL is not used again."""
    cdef Ends ends = Ends(method)
    bufferevent_free(ends.client.bev)
    ends.client.bev = NULL
    ends.rig.send(0, b"GET / HTTP/1.0\r\n\r\n")
    ends.turn()
    assert ends.server.what == BEV_EVENT_READING | BEV_EVENT_ERROR
    # "http request"
    assert bufferevent_get_openssl_error(ends.server.bev) & 0x7fffff == 156
    ends.free()


def test_renegotiation(method):
    """TLS 1.2, begun by the server; data goes on meanwhile."""
    from OpenSSL import SSL
    cdef Ends ends
    for context in make_contexts():
        SSL.Context.set_max_proto_version.__wrapped__(context, SSL.TLS1_2_VERSION)
    try:
        for kind in KINDS:
            ends = Ends(method, kind)
            ends.connect()
            assert bufferevent_ssl_renegotiate(ends.server.bev) == 0
            bufferevent_write(ends.client.bev, b"0123456789", 10)
            bufferevent_write(ends.server.bev, b"0123456789", 10)
            ends.turn(40)
            assert ends.client.received == ends.server.received == 10
            assert ends.server.connected == 2
            assert ends.connections[1].total_renegotiations() == 1
            assert ends.client.errors == ends.server.errors == 0
            ends.free()
    finally:
        for context in make_contexts():
            SSL.Context.set_max_proto_version.__wrapped__(context, 0)


def test_no_renegotiation_in_tls_1_3(method):
    cdef Ends ends = Ends(method)
    ends.connect()
    assert bufferevent_ssl_renegotiate(ends.server.bev) == -1
    ends.converse()
    ends.free()
