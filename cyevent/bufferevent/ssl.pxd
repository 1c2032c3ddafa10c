# Bufferevents that speak TLS, on a socket or over another bufferevent.
#
# `ssl` is an SSL * of the OpenSSL that pyOpenSSL uses, prepared with everything but BIOs; those that it has are
# replaced. ssl_library.load() has to come first: until then the constructors return NULL with ENOSYS.
# The handshake is a matter of the loop. The event callback hears BEV_EVENT_CONNECTED when it is done, or
# BEV_EVENT_READING | BEV_EVENT_ERROR when it failed, BEV_EVENT_TIMEOUT when it took too long.

from libc.stdint cimport uint64_t
from cyevent.core.sys cimport evutil_socket_t
from cyevent.core.types cimport event_base
from cyevent.bufferevent.types cimport bufferevent, ssl_st
from cyevent.bufferevent.ssl_records cimport bufferevent_ssl, bufferevent_ssl_state
from cyevent.bufferevent.ssl_records cimport (
    BUFFEREVENT_SSL_OPEN, BUFFEREVENT_SSL_CONNECTING, BUFFEREVENT_SSL_ACCEPTING,
)

cdef enum:
    # bufferevent_ssl_set_flags()
    BUFFEREVENT_SSL_DIRTY_SHUTDOWN = 1     # the end of the connection without close_notify is an end, no error
    BUFFEREVENT_SSL_BATCH_WRITE = 2        # small writes share records; always so here

# With BEV_OPT_CLOSE_ON_FREE the underlying bufferevent and the SSL go with it. NULL without memory or for
# contradicting options, and then nothing was taken over.
cdef bufferevent *bufferevent_openssl_filter_new(event_base *base, bufferevent *underlying, ssl_st *ssl,
                                                 bufferevent_ssl_state state, int options) noexcept nogil
# fd: non-blocking; -1 for one that comes later, by bufferevent_setfd() or bufferevent_socket_connect(). With
# BEV_OPT_CLOSE_ON_FREE it is closed, after close_notify, and the SSL freed.
cdef bufferevent *bufferevent_openssl_socket_new(event_base *base, evutil_socket_t fd, ssl_st *ssl,
                                                 bufferevent_ssl_state state, int options) noexcept nogil
# -1 for a bufferevent of another kind.
cdef int bufferevent_openssl_get_allow_dirty_shutdown(bufferevent *bev) noexcept nogil
cdef void bufferevent_openssl_set_allow_dirty_shutdown(bufferevent *bev,
                                                       int allow_dirty_shutdown) noexcept nogil
# NULL for a bufferevent of another kind.
cdef ssl_st *bufferevent_openssl_get_ssl(bufferevent *bev) noexcept nogil
# TLS 1.2 only. The event callback hears BEV_EVENT_CONNECTED again. -1 where the library refuses it.
cdef int bufferevent_ssl_renegotiate(bufferevent *bev) noexcept nogil
# The errors of the last failure, the last one first, each once; 0 when there are no more.
cdef unsigned long bufferevent_get_openssl_error(bufferevent *bev) noexcept nogil
# set and clear return the flags before; all bits set for another kind, and for no known flag.
cdef uint64_t bufferevent_ssl_get_flags(bufferevent *bev) noexcept nogil
cdef uint64_t bufferevent_ssl_set_flags(bufferevent *bev, uint64_t flags) noexcept nogil
cdef uint64_t bufferevent_ssl_clear_flags(bufferevent *bev, uint64_t flags) noexcept nogil

# NULL for a bufferevent of another kind.
cdef bufferevent_ssl *bufferevent_ssl_upcast_(bufferevent *bev) noexcept nogil
# The SSL is somebody else's, whom release(arg) tells that it is not used any more.
cdef void bufferevent_ssl_set_release_(bufferevent *bev, void (*release)(void *arg) noexcept nogil,
                                       void *arg) noexcept nogil
