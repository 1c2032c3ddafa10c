# Parts of files in a buffer. A segment is a part of a file; a buffer holds parts of segments. Bytes that
# leave to a descriptor go by sendfile(), bytes that somebody looks at are mapped, or read where that is
# impossible.

from cyevent.core.sys cimport evutil_socket_t
from cyevent.buffer.types cimport (
    evbuffer, evbuffer_chain, evbuffer_file_segment, evbuffer_file_segment_cleanup_cb, ev_off_t,
    CHAIN_FILESEGMENT,
)

# `length` bytes from `offset` on, -1 for the rest of the file; NULL with errno EINVAL when the file does not
# have them. The descriptor must stay open while the segment lives; EVBUF_FS_CLOSE_ON_FREE hands it over,
# unless the result is NULL. The caller has one reference.
cdef evbuffer_file_segment *evbuffer_file_segment_new(int fd, ev_off_t offset, ev_off_t length,
                                                      unsigned flags) noexcept nogil
# Gives the caller's reference up. Buffers that show the segment have their own.
cdef void evbuffer_file_segment_free(evbuffer_file_segment *seg) noexcept nogil
# Called when the last reference is gone, with EVBUF_FS_CLOSE_ON_FREE after the descriptor was closed. There
# is one such callback; the last one set counts.
cdef void evbuffer_file_segment_add_cleanup_cb(evbuffer_file_segment *seg,
                                               evbuffer_file_segment_cleanup_cb cb,
                                               void *arg) noexcept nogil
# Puts `length` bytes from `offset` on in the segment, -1 for the rest of it, at the buffer's end. The segment
# stays the caller's, also when this fails.
cdef int evbuffer_add_file_segment(evbuffer *buf, evbuffer_file_segment *seg, ev_off_t offset,
                                   ev_off_t length) noexcept nogil
# A segment of its own for one use; the descriptor is closed when the last byte is gone. When this fails the
# descriptor stays the caller's.
cdef int evbuffer_add_file(evbuffer *buf, int fd, ev_off_t offset, ev_off_t length) noexcept nogil

# With the buffer's lock held, by the other modules of this room.

# A chain for a part of a segment that is known to have it.
cdef evbuffer_chain *evbuffer_file_chain_new_(evbuffer_file_segment *seg, size_t offset,
                                              size_t length) noexcept nogil
# The same part of the same segment; `length` of its bytes.
cdef evbuffer_chain *evbuffer_file_chain_share_(evbuffer_chain *chain, size_t length) noexcept nogil
cdef int evbuffer_file_chain_load_(evbuffer_chain *chain) noexcept nogil
# Loads what is not in memory of the `len` bytes that begin `skip` bytes into `chain`. -1 with errno when a
# file does not give them.
cdef int evbuffer_load_nolock_(evbuffer_chain *chain, size_t skip, size_t len) noexcept nogil
# Writes up to n of the chain's bytes, once. EIO when the file does not have them any more.
cdef ssize_t evbuffer_file_chain_write_(evbuffer_chain *chain, evutil_socket_t fd, size_t n) noexcept nogil
# The file's descriptor, and where in it the chain's bytes begin.
cdef int evbuffer_file_chain_place_(evbuffer_chain *chain, ev_off_t *offset) noexcept nogil
# Whether the chain's bytes leave as memory, together with others'.
cdef bint evbuffer_file_chain_in_memory_(evbuffer_chain *chain) noexcept nogil


# Has to be true before a chain's bytes are touched; errno says why not. It holds until the lock is released.
cdef inline bint chain_ready(evbuffer_chain *chain) noexcept nogil:
    return not chain.flags & CHAIN_FILESEGMENT or evbuffer_file_chain_load_(chain) == 0
