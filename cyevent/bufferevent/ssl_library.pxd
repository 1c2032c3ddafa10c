# OpenSSL's functions, from the copy that pyOpenSSL uses. SSL, SSL_CTX, BIO and the like are void in the table.
#
# The table is filled once, with the GIL held, and constant from then on.

from cyevent.bufferevent.types cimport ssl_st

cdef enum:
    # SSL_get_error().
    SSL_ERROR_NONE = 0
    SSL_ERROR_SSL = 1
    SSL_ERROR_WANT_READ = 2
    SSL_ERROR_WANT_WRITE = 3
    SSL_ERROR_SYSCALL = 5
    SSL_ERROR_ZERO_RETURN = 6
    # SSL_get_shutdown().
    SSL_SENT_SHUTDOWN = 1
    SSL_RECEIVED_SHUTDOWN = 2
    # SSL_set_mode().
    SSL_MODE_ENABLE_PARTIAL_WRITE = 1
    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER = 2
    SSL_MODE_AUTO_RETRY = 4
    SSL_MODE_RELEASE_BUFFERS = 16
    # ERR_get_error(): the reason is in the low bits.
    SSL_REASON_MASK = 0x7fffff
    SSL_R_UNEXPECTED_EOF_WHILE_READING = 294

cdef struct openssl_functions:
    int (*SSL_read)(void *ssl, void *data, int n) noexcept nogil
    int (*SSL_write)(void *ssl, const void *data, int n) noexcept nogil
    int (*SSL_do_handshake)(void *ssl) noexcept nogil
    int (*SSL_get_error)(void *ssl, int result) noexcept nogil
    int (*SSL_pending)(void *ssl) noexcept nogil
    int (*SSL_shutdown)(void *ssl) noexcept nogil
    int (*SSL_get_shutdown)(void *ssl) noexcept nogil
    int (*SSL_renegotiate)(void *ssl) noexcept nogil
    int (*SSL_renegotiate_pending)(void *ssl) noexcept nogil
    long (*SSL_set_mode)(void *ssl, long mode) noexcept nogil
    void (*SSL_set_bio)(void *ssl, void *rbio, void *wbio) noexcept nogil
    void (*SSL_set_accept_state)(void *ssl) noexcept nogil
    void (*SSL_set_connect_state)(void *ssl) noexcept nogil
    void (*SSL_free)(void *ssl) noexcept nogil
    void *(*BIO_new)(const void *method) noexcept nogil
    int (*BIO_free)(void *bio) noexcept nogil
    const void *(*BIO_s_mem)() noexcept nogil
    int (*BIO_read)(void *bio, void *data, int n) noexcept nogil
    int (*BIO_write)(void *bio, const void *data, int n) noexcept nogil
    long (*BIO_get_mem_data)(void *bio, char **data) noexcept nogil
    long (*BIO_set_mem_eof_return)(void *bio, int value) noexcept nogil
    unsigned long (*ERR_get_error)() noexcept nogil
    unsigned long (*ERR_peek_error)() noexcept nogil
    void (*ERR_clear_error)() noexcept nogil

# NULL until it is loaded.
cdef const openssl_functions *openssl_() noexcept nogil
# Loads it, or does nothing when it is. ImportError says what is missing.
cdef int openssl_load_() except -1
# The SSL * of a pyOpenSSL Connection, which keeps owning it.
cdef ssl_st *ssl_of_connection(object connection) except NULL
