# Records: between the ciphertext of a connection and the bytes of its bufferevent. No events, no callbacks.
#
#     socket or underlying --> arrived --> rbio --> SSL --> input
#     output --> SSL --> wbio --> socket or underlying
#                             --> leaving --> socket            (over completions)
#
# Bytes of the output that are in wbio, or on their way there, stay in the output until all of wbio has left:
# its length is what is still to be sent. `sealed` says how many they are.

from libc.stdint cimport uint32_t
from cyevent.buffer.types cimport evbuffer
from cyevent.bufferevent.types cimport bufferevent, bufferevent_private, ssl_st
from cyevent.bufferevent.ssl_library cimport openssl_functions

cdef enum bufferevent_ssl_state:
    BUFFEREVENT_SSL_OPEN = 0
    BUFFEREVENT_SSL_CONNECTING = 1
    BUFFEREVENT_SSL_ACCEPTING = 2

cdef enum:
    SSL_MAX_ERRORS = 3

# What became of an operation.
cdef enum ssl_outcome:
    SSL_DONE = 0               # as much as was asked for; there may be more
    SSL_STARVED = 1            # the peer has to send something first
    SSL_STUFFED = 2            # the socket, or the underlying bufferevent, does not take more now
    SSL_CLOSED = 3             # the peer said that it is done: a clean end
    SSL_CUT = 4                # the connection ended without saying so
    SSL_FAILED = 5             # `errors` says why
    SSL_BROKEN = 6             # errno says why

cdef struct bufferevent_ssl:
    bufferevent_private p              # must be first
    bufferevent *underlying            # referenced; NULL for a socket
    ssl_st *ssl
    void *rbio                         # both are memory and belong to ssl
    void *wbio
    evbuffer *arrived                  # ciphertext; the underlying one's input, or our own
    uint32_t read_size                 # memory offered to the next read; follows what arrives
    evbuffer *leaving                  # ciphertext that the kernel sends; NULL for one told of readiness
    size_t sealed                      # bytes at the output's front that are in wbio already
    ssl_outcome ended                  # SSL_DONE, or what ended reading for good
    bufferevent_ssl_state state        # OPEN: the handshake is done
    unsigned char role                 # the state that it began with
    unsigned char flags                # BUFFEREVENT_SSL_*
    unsigned char started              # the handshake has begun
    unsigned char failed               # the SSL must not be used any more
    unsigned char fed                  # something may be in rbio
    unsigned char mid_record           # the SSL holds a part of a record
    unsigned char filled               # the last read took all it had room for: the record may go on
    unsigned char eof                  # nothing more arrives
    unsigned char finishing            # close_notify is to follow the output
    unsigned char finished             # close_notify is in wbio, or sent
    unsigned char unlocked             # the underlying one had BEV_OPT_UNLOCK_CALLBACKS
    unsigned char write_blocked_on_read
    unsigned char renegotiating
    unsigned char goes_over            # to completions, once it is open
    unsigned char polite               # sends close_notify when it is freed, whatever the options
    unsigned char n_errors
    size_t wire_in                     # ciphertext received and sent that rate limits have not heard of
    size_t wire_out
    uint32_t errors[SSL_MAX_ERRORS]    # the library's, the first one first
    void (*release)(void *arg) noexcept nogil   # called instead of SSL_free(), for an SSL that others own
    void *release_arg

# Gives the SSL memory BIOs. -1 without memory.
cdef int ssl_attach_(bufferevent_ssl *s) noexcept nogil
# Reads what the socket has into `arrived`, up to `most` bytes (-1: some hundred kilobytes), or takes what the
# kernel has received. SSL_CUT at the end of the stream, SSL_BROKEN for an error.
cdef ssl_outcome ssl_receive_(bufferevent_ssl *s, int fd, ssize_t most) noexcept nogil
# One step of the handshake, with what has arrived: SSL_DONE when it is over.
cdef ssl_outcome ssl_handshake_(bufferevent_ssl *s) noexcept nogil
# Decrypts up to `most` bytes into the input, and fewer if that suspends reading. *n is how many.
cdef ssl_outcome ssl_open_records_(bufferevent_ssl *s, size_t most, size_t *n) noexcept nogil
# Encrypts up to `most` bytes of the output into wbio.
cdef ssl_outcome ssl_seal_(bufferevent_ssl *s, size_t most) noexcept nogil
# Sends what is in wbio, and what is leaving: SSL_DONE when nothing is, and then `sealed` is 0 and these
# bytes have left the output. *n counts them.
cdef ssl_outcome ssl_send_(bufferevent_ssl *s, int fd, size_t *n) noexcept nogil
# As far as that is taken at once: for one that is about to end, or whose user will not wait.
cdef ssl_outcome ssl_push_(bufferevent_ssl *s, int fd, size_t *n) noexcept nogil
# Before the kernel is asked for nothing more: what it has received goes to `arrived`, and what it has not
# sent to wbio.
cdef void ssl_reclaim_(bufferevent_ssl *s) noexcept nogil
# Throws away what is in wbio.
cdef void ssl_discard_(bufferevent_ssl *s) noexcept nogil
# Puts close_notify in wbio, once.
cdef void ssl_close_notify_(bufferevent_ssl *s) noexcept nogil
# Bytes in wbio, and leaving.
cdef size_t ssl_wire_length_(bufferevent_ssl *s) noexcept nogil
# True when what has arrived has gone into the SSL, so that more may be received.
cdef bint ssl_is_used_up_(bufferevent_ssl *s) noexcept nogil
# True when reading can go on without anything arriving.
cdef bint ssl_has_input_(bufferevent_ssl *s) noexcept nogil
# Moves the thread's error queue to `errors`.
cdef void ssl_take_errors_(bufferevent_ssl *s) noexcept nogil
