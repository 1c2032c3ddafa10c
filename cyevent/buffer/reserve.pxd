# The buffer's memory itself: space to write into, bytes to look at where they are.

from cyevent.buffer.types cimport evbuffer, evbuffer_iovec, evbuffer_ptr, ev_ssize_t

# Makes room for so many bytes: adding them will not allocate.
cdef int evbuffer_expand(evbuffer *buf, size_t datlen) noexcept nogil
# Offers space for at least `size` bytes in up to n_vecs pieces: what is there already, and at most one new
# piece. Returns how many pieces. The caller writes into them, shortens their lengths to what it wrote, and
# commits, before anything else is done with the buffer.
cdef int evbuffer_reserve_space(evbuffer *buf, ev_ssize_t size, evbuffer_iovec *vec,
                                int n_vecs) noexcept nogil
# Makes what was written part of the buffer. -1, and no change, for vectors that are not its space.
cdef int evbuffer_commit_space(evbuffer *buf, evbuffer_iovec *vec, int n_vecs) noexcept nogil
# Shows at least `len` bytes (all if negative) from `start_at` (NULL: the front) without copying. Returns how
# many pieces they are in, which may be more than n_vec; -1 when a file does not give its bytes.
cdef int evbuffer_peek(evbuffer *buf, ev_ssize_t len, evbuffer_ptr *start_at, evbuffer_iovec *vec,
                       int n_vec) noexcept nogil
# Puts the first `size` bytes (all if negative) in one piece and returns it; NULL when there are fewer, or with
# errno set.
cdef unsigned char *evbuffer_pullup(evbuffer *buf, ev_ssize_t size) noexcept nogil

# With the lock held: after this `size` bytes can be appended, in any pieces, without another allocation.
cdef int evbuffer_make_room_nolock_(evbuffer *buf, size_t size) noexcept nogil
