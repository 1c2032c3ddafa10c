# Memory that the kernel sends from where it is (MSG_ZEROCOPY), and keeps until it says that it is done.
#
# EVBUFFER_FLAG_ZEROCOPY makes a buffer's large chains leave in this way when it is written to a TCP socket; a
# bufferevent's output is such a buffer. Their memory is given back, and cleanup functions are called, when the
# kernel has notified us, possibly long after the bytes have left the buffer: for a bufferevent's output from
# its base's loop while that runs; otherwise, or when the buffer has been freed, in a thread of this library's.

from cyevent.core.sys cimport evutil_socket_t, timeval
from cyevent.buffer.types cimport (
    CHAIN_FILESEGMENT, EVBUFFER_FLAG_ZEROCOPY, evbuffer, evbuffer_chain, evbuffer_zerocopy_stats,
)

cdef enum:
    # Bytes; chains with fewer are copied.
    EVBUFFER_ZEROCOPY_THRESHOLD = 32768
    # How many sockets may owe notifications at a time, each with a descriptor of ours.
    EVBUFFER_ZEROCOPY_SOCKETS = 1024
    # Seconds that the peer has to acknowledge what is left when a bufferevent closes its socket.
    EVBUFFER_ZEROCOPY_LINGER = 60

# Chains shorter than this are copied. 0 restores the default; -1 for more than 32 bits hold.
cdef int evbuffer_set_zerocopy_threshold(evbuffer *buf, size_t threshold) noexcept nogil
cdef size_t evbuffer_get_zerocopy_threshold(evbuffer *buf) noexcept nogil
# -1, and zeros, if the buffer has not tried to send in this way.
cdef int evbuffer_get_zerocopy_stats(evbuffer *buf, evbuffer_zerocopy_stats *stats) noexcept nogil
# For the whole process. sockets: what more of them send is copied; 0: all is. linger: a socket that a
# bufferevent closed so long ago, and that still owes notifications, is reset; NULL: as before. -1 for negative
# values.
cdef int evbuffer_set_zerocopy_limits(int sockets, const timeval *linger) noexcept nogil

# With the buffer's lock held, by the other modules of this room.

cdef enum:
    # evbuffer_zerocopy_write_(): these bytes have to be copied.
    ZEROCOPY_NOT = -2

# Writes the large chains at the front, at most howmuch bytes, once. offered: how much it could have taken.
cdef ssize_t evbuffer_zerocopy_write_(evbuffer *buf, evutil_socket_t fd, size_t howmuch,
                                      size_t *offered) noexcept nogil
# Takes the notifications that are on a socket's error queue; zerosockets.pyx says when.
cdef void zerocopy_collect_(void *socket, int fd) noexcept nogil


cdef inline bint leaves_uncopied(const evbuffer *buf, const evbuffer_chain *chain,
                                 size_t howmuch) noexcept nogil:
    return buf.flags & EVBUFFER_FLAG_ZEROCOPY and not chain.flags & CHAIN_FILESEGMENT \
        and chain.off >= buf.zerocopy_threshold and howmuch >= buf.zerocopy_threshold and not buf.plain_fd
