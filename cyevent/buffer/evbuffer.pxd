# The evbuffer: a queue of bytes that takes and gives them in pieces of any size, copying as little as it can.
#
# Bytes enter at the end (add, add_reference, reserve and commit, add_buffer, evbuffer_read), sometimes at the
# front (prepend), and leave at the front (remove, drain, remove_buffer, evbuffer_write).
# Functions return 0, or -1 when the end they work at is frozen or there is no memory, and then the buffer is
# as it was before. All take the buffer's lock, if it has one.

from libc.stdint cimport uint64_t
from cyevent.buffer.types cimport (
    evbuffer, evbuffer_chain, evbuffer_iovec, evbuffer_ptr, evbuffer_ref_cleanup_cb, evbuffer_seldom,
    ev_ssize_t,
)
from cyevent.buffer.callbacks cimport *

cdef extern from *:
    """
    /* No enumerator: to some compilers each is an int. */
    #define CYEVENT_BUFFER_MAX ((size_t)-1 >> 1)
    """
    const size_t EVBUFFER_MAX "CYEVENT_BUFFER_MAX"

cdef enum:
    EVBUFFER_MAX_READ_DEFAULT = 4096

cdef evbuffer *evbuffer_new() noexcept nogil
cdef void evbuffer_free(evbuffer *buf) noexcept nogil
# Takes back what is deferred and queued, or was when its base closed: True, and its reference is the caller's.
cdef bint evbuffer_unqueue_deferred_(evbuffer *buf) noexcept nogil
# buf.seldom, made if it was not there; NULL without memory. With the lock held.
cdef evbuffer_seldom *evbuffer_seldom_(evbuffer *buf) noexcept nogil
cdef void evbuffer_incref_(evbuffer *buf) noexcept nogil
cdef void evbuffer_decref_and_unlock_(evbuffer *buf) noexcept nogil
# `lock` NULL: a lock of its own. -1 if the buffer has one already.
cdef int evbuffer_enable_locking(evbuffer *buf, void *lock) noexcept nogil
cdef void evbuffer_lock(evbuffer *buf) noexcept nogil
cdef void evbuffer_unlock(evbuffer *buf) noexcept nogil
cdef int evbuffer_set_flags(evbuffer *buf, uint64_t flags) noexcept nogil
cdef int evbuffer_clear_flags(evbuffer *buf, uint64_t flags) noexcept nogil
cdef int evbuffer_set_max_read(evbuffer *buf, size_t max) noexcept nogil
cdef size_t evbuffer_get_max_read(evbuffer *buf) noexcept nogil
cdef size_t evbuffer_get_length(const evbuffer *buf) noexcept nogil
# How many bytes stand together at the front.
cdef size_t evbuffer_get_contiguous_space(const evbuffer *buf) noexcept nogil
cdef int evbuffer_freeze(evbuffer *buf, int at_front) noexcept nogil
cdef int evbuffer_unfreeze(evbuffer *buf, int at_front) noexcept nogil

cdef int evbuffer_add(evbuffer *buf, const void *data, size_t datlen) noexcept nogil
# All or nothing. Returns how many bytes were added.
cdef size_t evbuffer_add_iovec(evbuffer *buf, evbuffer_iovec *vec, int n_vec) noexcept nogil
# The memory stays the caller's, unchanged, until cleanup(data, datlen, extra) is called.
cdef int evbuffer_add_reference(evbuffer *buf, const void *data, size_t datlen,
                                evbuffer_ref_cleanup_cb cleanup, void *extra) noexcept nogil
# The same for the part that begins at `offset`; datlen counts from there.
cdef int evbuffer_add_reference_with_offset(evbuffer *buf, const void *data, size_t offset,
                                            size_t datlen, evbuffer_ref_cleanup_cb cleanup,
                                            void *extra) noexcept nogil
cdef int evbuffer_prepend(evbuffer *buf, const void *data, size_t size) noexcept nogil

cdef int evbuffer_drain(evbuffer *buf, size_t len) noexcept nogil
# These return how many bytes they copied; -1 also when a file does not give its bytes (errno tells).
cdef int evbuffer_remove(evbuffer *buf, void *data, size_t datlen) noexcept nogil
cdef ev_ssize_t evbuffer_copyout(evbuffer *buf, void *data, size_t datlen) noexcept nogil
cdef ev_ssize_t evbuffer_copyout_from(evbuffer *buf, const evbuffer_ptr *pos, void *data,
                                      size_t datlen) noexcept nogil

# With the lock held, by the other modules of this room. Those that change the buffer count for callbacks
# but leave it to their caller to invoke them.
cdef int evbuffer_append_nolock_(evbuffer *buf, const void *data, size_t datlen) noexcept nogil
cdef void evbuffer_discard_nolock_(evbuffer *buf, size_t len) noexcept nogil
# Copies datlen bytes that are there, beginning `skip` bytes into `chain`. -1 when a file does not give its
# bytes.
cdef int evbuffer_copy_nolock_(evbuffer_chain *chain, size_t skip, void *data,
                               size_t datlen) noexcept nogil

# Empty chains at the end go, with the space that was reserved in them. Returns where the next chain belongs.
cdef evbuffer_chain **evbuffer_drop_empty_(evbuffer *buf) noexcept nogil
# Puts a chain at the end.
cdef void evbuffer_chain_insert_(evbuffer *buf, evbuffer_chain *chain) noexcept nogil
