"""Records: between the ciphertext of a connection and the bytes of its bufferevent.

Facts about OpenSSL:
- An SSL on a socket's BIO reads a record with two system calls, its five bytes of header first, and writes each
  record with one; and it writes with write(), which raises SIGPIPE.
- A memory BIO takes any number of bytes and never blocks; an SSL takes a record out of it piece by piece.
- SSL_read() gives bytes of one record at a time; those of a record that did not fit stay in the SSL.
- An SSL keeps a buffer of a record for reading, and one for writing, unless it is told to release them.
- The error queue belongs to the thread. What somebody left there would be taken for this call's error.
- A failed SSL must not be used again, not even for close_notify. Its alert is in wbio and should be sent.

Hazards: no event tells of bytes that are inside the SSL, in rbio, or in `arrived`; who stops reading before
they are used up has to come back by himself (ssl_has_input_). An SSL_write() that wants to read first has to be
repeated with no fewer bytes.

Decision: memory BIOs, for sockets as for underlying bufferevents. Many records arrive with one recv() and leave
with one send(), which saves more than copying the ciphertext once costs. Where little arrives at once it goes
from the stack to rbio, without a chain. Buffers are released: an idle connection is smaller by a third, and
what malloc() costs is won back by connections that take turns with the same, cached memory. Small pieces of the
output are gathered, since a record costs 22 to 29 bytes, and a nonce and a tag for the cipher.
"""

from libc.errno cimport errno
from libc.string cimport memcpy
from cyevent.buffer.chain cimport chain_data
from cyevent.buffer.evbuffer cimport evbuffer_drain
from cyevent.buffer.io cimport evbuffer_read
from cyevent.buffer.reserve cimport evbuffer_commit_space, evbuffer_reserve_space
from cyevent.buffer.types cimport evbuffer_chain, evbuffer_iovec
from cyevent.bufferevent.ssl_completion cimport *
from cyevent.bufferevent.ssl_library cimport *
from cyevent.bufferevent.ssl_library cimport openssl_functions
from cyevent.core.sys cimport *
from cyevent.core.types cimport event_base
from cyevent.net.util cimport would_block

cdef enum:
    RECORD = 16384                 # the most plaintext of one record
    RECORD_OVERHEAD = 512          # more than a record adds to that in any version
    RECEIVE_MOST = 131072          # read at one wake-up
    READ_SIZE_LEAST = 2048         # and offered to the first read of one
    LITTLE = 4096                  # received on the stack first
    WIRE_MOST = 65536              # plaintext whose ciphertext waits to be sent, give or take a record

cdef const openssl_functions *lib = NULL


cdef int ssl_attach_(bufferevent_ssl *s) noexcept nogil:
    global lib
    lib = openssl_()
    s.read_size = READ_SIZE_LEAST
    s.rbio = lib.BIO_new(lib.BIO_s_mem())
    s.wbio = lib.BIO_new(lib.BIO_s_mem())
    if s.rbio == NULL or s.wbio == NULL:
        lib.BIO_free(s.rbio)
        lib.BIO_free(s.wbio)
        set_errno(ENOMEM)
        return -1
    # An empty one means "later", not the end.
    lib.BIO_set_mem_eof_return(s.rbio, -1)
    lib.BIO_set_mem_eof_return(s.wbio, -1)
    lib.SSL_set_bio(s.ssl, s.rbio, s.wbio)
    lib.SSL_set_mode(s.ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                     | SSL_MODE_AUTO_RETRY | SSL_MODE_RELEASE_BUFFERS)
    return 0


cdef inline void forget_errors() noexcept nogil:
    if lib.ERR_peek_error():
        lib.ERR_clear_error()


cdef void ssl_take_errors_(bufferevent_ssl *s) noexcept nogil:
    cdef unsigned long code
    s.n_errors = 0
    while True:
        code = lib.ERR_get_error()
        if code == 0:
            return
        if s.n_errors < SSL_MAX_ERRORS:
            s.errors[s.n_errors] = <uint32_t>code
            s.n_errors += 1


cdef ssl_outcome blame(bufferevent_ssl *s, int result) noexcept nogil:
    """Why an operation did not succeed."""
    cdef int reason = lib.SSL_get_error(s.ssl, result)
    if reason == SSL_ERROR_WANT_READ:
        return SSL_STARVED
    if reason == SSL_ERROR_WANT_WRITE:
        return SSL_STUFFED
    if reason == SSL_ERROR_ZERO_RETURN:
        return SSL_CLOSED
    ssl_take_errors_(s)
    s.failed = True
    if s.eof and (reason == SSL_ERROR_SYSCALL or (
            s.n_errors and s.errors[0] & SSL_REASON_MASK == SSL_R_UNEXPECTED_EOF_WHILE_READING)):
        return SSL_CUT
    return SSL_FAILED


# --- arriving ---------------------------------------------------------------------------------------

cdef int read_little(bufferevent_ssl *s, int fd) noexcept nogil:
    """Straight to rbio; nothing may be waiting in `arrived`."""
    cdef char data[LITTLE]
    cdef int n = <int>recv(fd, data, sizeof(data), 0)
    if n > 0:
        if lib.BIO_write(s.rbio, data, n) != n:
            set_errno(ENOMEM)
            return -1
        s.fed = True
    return n


cdef int read_socket(bufferevent_ssl *s, int fd, ssize_t most) noexcept nogil:
    """What the last read gave."""
    cdef size_t total = 0
    cdef size_t before = 0
    cdef size_t offered
    cdef int n
    # evbuffer_read()'s own guess follows single reads; this one follows all of a wake-up.
    s.arrived.read_size = s.read_size
    if s.read_size == READ_SIZE_LEAST and most < 0 and s.arrived.total_len == 0:
        n = read_little(s, fd)
        if n > 0:
            s.wire_in += <size_t>n
        if n < LITTLE:
            return n
        before = <size_t>n
    while True:
        offered = s.arrived.read_size - sizeof(evbuffer_chain)
        n = evbuffer_read(s.arrived, fd, <int>most)
        if n <= 0:
            break
        total += <size_t>n
        if <size_t>n < offered or total >= RECEIVE_MOST or most >= 0:
            break
    s.wire_in += total
    total += before
    if n < 0 and total and would_block(errno):
        n = 1
    if total > s.read_size - sizeof(evbuffer_chain):
        if s.read_size < RECEIVE_MOST:
            s.read_size *= 2
    elif total < s.read_size / 4 and s.read_size > READ_SIZE_LEAST:
        s.read_size /= 2
    return n


cdef ssl_outcome ssl_receive_(bufferevent_ssl *s, int fd, ssize_t most) noexcept nogil:
    cdef ssize_t n = -2
    if ssl_over_completions(s):
        n = ssl_take_received_(s)
        if n > 0:
            s.wire_in += <size_t>n
    if n == -2:
        n = read_socket(s, fd, most)
    if n == 0:
        s.eof = True
        lib.BIO_set_mem_eof_return(s.rbio, 0)
        return SSL_CUT
    if n < 0:
        return SSL_STARVED if would_block(errno) else SSL_BROKEN
    return SSL_DONE


cdef size_t feed(bufferevent_ssl *s) noexcept nogil:
    """Moves about a record from `arrived` to rbio; 0 when nothing is there, or no memory."""
    cdef evbuffer_chain *chain = s.arrived.first
    cdef size_t left = RECORD + RECORD_OVERHEAD
    cdef size_t moved = 0
    cdef size_t n
    while chain != NULL and chain.off and left:
        n = chain.off if chain.off < left else left
        if lib.BIO_write(s.rbio, chain_data(chain), <int>n) != <int>n:
            break
        moved += n
        left -= n
        chain = chain.next
    if moved:
        s.fed = True
        evbuffer_drain(s.arrived, moved)
        if s.underlying != NULL:
            s.wire_in += moved
    return moved


cdef inline size_t unread(bufferevent_ssl *s) noexcept nogil:
    """Bytes in rbio."""
    cdef char *data
    cdef size_t n = 0
    if s.fed:
        n = <size_t>lib.BIO_get_mem_data(s.rbio, &data)
        s.fed = n != 0
    return n


cdef bint ssl_is_used_up_(bufferevent_ssl *s) noexcept nogil:
    return s.arrived.total_len == 0 and unread(s) == 0


cdef bint ssl_has_input_(bufferevent_ssl *s) noexcept nogil:
    return s.ended != SSL_DONE or s.eof or s.arrived.total_len != 0 or unread(s) != 0 \
        or lib.SSL_pending(s.ssl) > 0


cdef ssl_outcome ssl_handshake_(bufferevent_ssl *s) noexcept nogil:
    cdef ssl_outcome outcome
    cdef int result
    s.started = True
    while True:
        forget_errors()
        result = lib.SSL_do_handshake(s.ssl)
        if result == 1:
            return SSL_DONE
        outcome = blame(s, result)
        if outcome != SSL_STARVED or feed(s) == 0:
            if outcome == SSL_CLOSED:
                # Not in the middle of a handshake.
                s.failed = True
                outcome = SSL_FAILED
            return outcome


cdef ssl_outcome ssl_open_records_(bufferevent_ssl *s, size_t most, size_t *n) noexcept nogil:
    cdef bufferevent *bev = &s.p.bev
    cdef evbuffer_iovec vec
    cdef ssl_outcome outcome
    cdef size_t wanted
    cdef size_t buffered
    cdef int result
    n[0] = 0
    forget_errors()
    while n[0] < most and not s.p.read_suspended:
        buffered = unread(s)
        if buffered == 0:
            buffered = feed(s)
        # Room for a record; for less if less is there.
        wanted = RECORD
        if not s.mid_record:
            if s.filled:
                result = lib.SSL_pending(s.ssl)
                if <size_t>result > buffered:
                    buffered = <size_t>result
            if buffered == 0 and not s.eof:
                return SSL_STARVED
            if buffered < wanted:
                wanted = buffered if buffered else 1
        if wanted > most - n[0]:
            wanted = most - n[0]
        bev.input.freeze_end = False
        if evbuffer_reserve_space(bev.input, <ssize_t>wanted, &vec, 1) < 0:
            bev.input.freeze_end = True
            return SSL_BROKEN
        result = lib.SSL_read(s.ssl, vec.iov_base, <int>wanted)
        if result > 0:
            s.mid_record = False
            # Else the record is used up.
            s.filled = <size_t>result == wanted
            n[0] += <size_t>result
            vec.iov_len = <size_t>result
            evbuffer_commit_space(bev.input, &vec, 1)
            bev.input.freeze_end = True
            continue
        bev.input.freeze_end = True
        outcome = blame(s, result)
        if outcome == SSL_STARVED:
            s.mid_record = True
            if feed(s):
                continue
        elif outcome != SSL_STUFFED:
            s.ended = outcome
        return outcome
    return SSL_DONE


# --- leaving ----------------------------------------------------------------------------------------

cdef inline size_t unsent(bufferevent_ssl *s) noexcept nogil:
    cdef char *data
    return <size_t>lib.BIO_get_mem_data(s.wbio, &data)


cdef size_t ssl_wire_length_(bufferevent_ssl *s) noexcept nogil:
    return unsent(s) + (s.leaving.total_len if ssl_over_completions(s) else 0)


cdef ssl_outcome ssl_seal_(bufferevent_ssl *s, size_t most) noexcept nogil:
    cdef unsigned char gathered[RECORD]
    cdef evbuffer_chain *chain = s.p.bev.output.first
    cdef evbuffer_chain *piece
    cdef size_t skip = s.sealed
    cdef size_t at
    cdef size_t n
    cdef size_t part
    cdef const void *data
    cdef int result
    if s.finished:
        # Whatever was added after the end stays where it is.
        return SSL_DONE
    forget_errors()
    while chain != NULL and skip >= chain.off and chain.off:
        skip -= chain.off
        chain = chain.next
    while chain != NULL and chain.off and most and s.sealed < WIRE_MOST:
        data = chain_data(chain) + skip
        n = chain.off - skip
        if n < RECORD and chain.next != NULL and chain.next.off and n < most:
            piece = chain
            at = skip
            n = 0
            while piece != NULL and piece.off and n < RECORD:
                part = piece.off - at
                if part > RECORD - n:
                    part = RECORD - n
                memcpy(gathered + n, chain_data(piece) + at, part)
                n += part
                at = 0
                piece = piece.next
            data = gathered
        if n > RECORD:
            n = RECORD
        if n > most:
            n = most
        result = lib.SSL_write(s.ssl, data, <int>n)
        if result <= 0:
            return blame(s, result)
        s.sealed += <size_t>result
        most -= <size_t>result
        skip += <size_t>result
        while chain != NULL and skip >= chain.off and chain.off:
            skip -= chain.off
            chain = chain.next
    return SSL_DONE


cdef void discard(bufferevent_ssl *s, size_t n) noexcept nogil:
    """Takes bytes out of wbio that were sent from where they are."""
    cdef char sink[4096]
    cdef int part
    while n:
        part = lib.BIO_read(s.wbio, sink, <int>n if n < sizeof(sink) else <int>sizeof(sink))
        if part <= 0:
            return
        n -= <size_t>part


cdef void ssl_discard_(bufferevent_ssl *s) noexcept nogil:
    discard(s, unsent(s))


cdef ssl_outcome pour(bufferevent_ssl *s, evbuffer *target, size_t high) noexcept nogil:
    """Moves wbio's bytes to the underlying bufferevent's output, or to `leaving`. high: 0 for no limit."""
    cdef evbuffer_iovec vec
    cdef size_t n = unsent(s)
    cdef int got
    while n:
        if high:
            if target.total_len >= high:
                return SSL_STUFFED
            if n > high - target.total_len:
                n = high - target.total_len
        if evbuffer_reserve_space(target, <ssize_t>n, &vec, 1) < 0:
            return SSL_BROKEN
        got = lib.BIO_read(s.wbio, vec.iov_base, <int>n)
        if got <= 0:
            return SSL_BROKEN
        s.wire_out += <size_t>got
        vec.iov_len = <size_t>got
        evbuffer_commit_space(target, &vec, 1)
        n = unsent(s)
    return SSL_DONE


cdef ssl_outcome transmit(bufferevent_ssl *s, int fd) noexcept nogil:
    """Sends wbio's bytes."""
    cdef char *data
    cdef size_t length
    cdef ssize_t n
    length = <size_t>lib.BIO_get_mem_data(s.wbio, &data)
    if length == 0:
        return SSL_DONE
    while True:
        n = send(fd, data, length, MSG_NOSIGNAL)
        if n >= 0 or errno != EINTR:
            break
    if n < 0:
        return SSL_STUFFED if would_block(errno) else SSL_BROKEN
    s.wire_out += <size_t>n
    discard(s, <size_t>n)
    return SSL_DONE if <size_t>n == length else SSL_STUFFED


cdef ssl_outcome as_outcome(ssl_sending sending) noexcept nogil:
    if sending == SSL_SENT:
        return SSL_DONE
    return SSL_STUFFED if sending == SSL_SENDING else SSL_BROKEN


cdef ssl_outcome submit(bufferevent_ssl *s, int fd) noexcept nogil:
    """Has the kernel send wbio's bytes, behind those that are leaving."""
    cdef ssl_outcome outcome = as_outcome(ssl_go_on_sending_(s))
    if outcome != SSL_DONE:
        return outcome
    if ssl_sends_at_once_(s):
        return transmit(s, fd)
    outcome = pour(s, s.leaving, 0)
    if outcome != SSL_DONE or s.leaving.total_len == 0:
        return outcome
    return as_outcome(ssl_give_(s))


cdef ssl_outcome finish(bufferevent_ssl *s, ssl_outcome outcome, size_t *n) noexcept nogil:
    cdef evbuffer *output = s.p.bev.output
    n[0] = 0
    if outcome == SSL_DONE and s.sealed:
        n[0] = s.sealed
        s.sealed = 0
        output.freeze_start = False
        evbuffer_drain(output, n[0])
        output.freeze_start = True
    return outcome


cdef ssl_outcome ssl_send_(bufferevent_ssl *s, int fd, size_t *n) noexcept nogil:
    if s.underlying != NULL:
        return finish(s, pour(s, s.underlying.output, s.underlying.wm_write.high), n)
    return finish(s, submit(s, fd) if ssl_over_completions(s) else transmit(s, fd), n)


cdef ssl_outcome ssl_push_(bufferevent_ssl *s, int fd, size_t *n) noexcept nogil:
    if not ssl_over_completions(s):
        return ssl_send_(s, fd, n)
    n[0] = 0
    return finish(s, transmit(s, fd), n) if ssl_push_leaving_(s) else SSL_STUFFED


cdef void ssl_reclaim_(bufferevent_ssl *s) noexcept nogil:
    cdef evbuffer_chain *chain
    ssl_stop_receiving_(s)
    ssl_take_received_(s)
    ssl_stop_sending_(s)
    if s.leaving.total_len == 0 or pour(s, s.leaving, 0) != SSL_DONE:
        return
    chain = s.leaving.first
    while chain != NULL and chain.off:
        lib.BIO_write(s.wbio, chain_data(chain), <int>chain.off)
        chain = chain.next
    evbuffer_drain(s.leaving, s.leaving.total_len)


cdef void ssl_close_notify_(bufferevent_ssl *s) noexcept nogil:
    cdef event_base *base = s.p.bev.ev_base
    if s.finished or s.failed or s.state != BUFFEREVENT_SSL_OPEN:
        return
    if base != NULL and base.process != ev_process_id():
        # A forked child's copy: the connection is the parent's, and goes on.
        return
    s.finished = True
    forget_errors()
    # 0 says that the peer's has not come yet; we do not wait for it.
    if lib.SSL_shutdown(s.ssl) < 0:
        lib.ERR_clear_error()
