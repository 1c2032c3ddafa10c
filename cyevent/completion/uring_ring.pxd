# A ring, and the buffers that it receives into. It knows nothing of operations.

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t
from cyevent.buffer.types cimport evbuffer_chain
from cyevent.completion.uring_abi cimport uring_buf, uring_cqe, uring_sqe

cdef enum:
    URING_BUFFER = 4096                # bytes in one
    URING_BUFFERS = 1024               # of a ring, at most: a power of two

# The memory of a ring's buffers. It outlives the ring while chains with received bytes are in somebody's hands.
cdef struct uring_pool:
    int refs                           # atomic: the ring's own, and one for each such chain
    int32_t returned                   # a stack: numbers of buffers that came back, from any thread
    bint abandoned                     # the kernel may still write to the memory, which is never used again
    char *memory                       # URING_BUFFERS buffers, touched when first used; numbers begin with 1
    int32_t links[URING_BUFFERS + 1]

cdef struct uring_ring:
    int fd                             # -1: there is none
    int pid                            # of the process that has it
    unsigned long thread               # that alone may enter it; 0 until that is decided
    unsigned setup                     # URING_SETUP_*
    uint32_t *sq_head
    uint32_t *sq_tail
    uint32_t *sq_flags
    uint32_t sq_mask
    uint32_t sq_entries
    uint32_t tail                      # ours; the kernel learns of it with the next enter
    uint32_t *cq_head
    uint32_t *cq_tail
    uint32_t *cq_flags
    uint32_t cq_mask
    int bell                           # an eventfd that the kernel adds to, when told to; -1: none yet
    uring_sqe *sqes
    uring_cqe *cqes
    void *memory
    size_t memory_len
    size_t sqes_len
    uring_pool *pool
    uring_buf *offered                 # what the kernel may receive into
    uint16_t offered_tail
    int n_offered
    int depth                          # how many are to be offered
    int carved                         # buffers that were ever used
    int32_t free                       # a stack of those that are neither offered nor in a chain

# Without a thread yet. -1 with errno where the kernel is too old, or does not allow it.
cdef int uring_ring_open_(uring_ring *ring) noexcept nogil
# Makes the calling thread the ring's.
cdef int uring_ring_enable_(uring_ring *ring) noexcept nogil
# abandon: the kernel may still write into the buffers, whose memory is then never used again.
cdef void uring_ring_close_(uring_ring *ring, bint abandon) noexcept nogil
# The ring's bell, made when first asked for: a descriptor that is readable when something has completed, or
# could complete in io_uring_enter(), since uring_ring_bell_on_(). -1 with errno. By the ring's thread.
cdef int uring_ring_bell_(uring_ring *ring) noexcept nogil
# What has happened before does not ring it: it is to be looked for afterwards.
cdef void uring_ring_bell_on_(uring_ring *ring) noexcept nogil
cdef void uring_ring_bell_off_(uring_ring *ring) noexcept nogil
# A zeroed entry; NULL when the kernel does not take those before it.
cdef uring_sqe *uring_get_sqe_(uring_ring *ring) noexcept nogil
# Tells the kernel what is new and lets it work; with `wait` until something has completed, or for timeout ns
# (-1: without end). -1 with errno.
cdef int uring_submit_(uring_ring *ring, bint wait, int64_t timeout) noexcept nogil
# Offers buffers to the kernel, up to the depth.
cdef void uring_offer_(uring_ring *ring) noexcept nogil
# There were too few. True if there will be more.
cdef bint uring_starved_(uring_ring *ring) noexcept nogil
# The kernel has put n bytes in the buffer of an entry with these flags. NULL without memory, or for n of 0:
# then the buffer is free again.
cdef evbuffer_chain *uring_filled_(uring_ring *ring, uint32_t flags, uint32_t n) noexcept nogil


cdef inline uint32_t uring_unsubmitted_(uring_ring *ring) noexcept nogil:
    return ring.tail - ring.sq_head[0]
