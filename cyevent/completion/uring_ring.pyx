"""A ring of io_uring, and the buffers that it receives into.

Facts about rings:

- With DEFER_TASKRUN the kernel does what has become possible only inside io_uring_enter() of the thread that
  the ring belongs to (SINGLE_ISSUER); any other thread's io_uring_enter() fails with EEXIST. The thread is the
  one that enables a ring which was made disabled.
- A ring's memory is shared with a forked child, which may neither read nor write it: both would take the same
  entries for theirs.
- Submission entries may be reused as soon as io_uring_enter() has taken them (SUBMIT_STABLE), completions that
  do not fit are kept and delivered later (NODROP).
- The kernel uses provided buffers in the order in which they were offered, and the whole of one even for a
  byte.
- With DEFER_TASKRUN a ring's own descriptor is readable too late: not when a receive could go on, but when
  somebody has let it. An eventfd that is registered is told at once, unless a flag in the ring's memory is set.
- What refuses io_uring_setup() says EPERM (kernel.io_uring_disabled, seccomp) or ENOSYS.

What follows: a ring is made when its base is, disabled, so that refusal is known at once, and enabled by the
first loop. Few buffers are offered at a time, and those first that came back last: their memory is still in the
processor's cache, which is worth more than all else (16 KiB into 1 MiB of memory in turns takes half as long
again as into the same 64 KiB). When those were too few for many receivers there will be twice as many; one
receiver to whom much comes gets no more of them, for it had better read by itself. A buffer of 4 KiB goes into
an evbuffer as a chain that refers to it, and comes back, by way of a stack without a lock, when the chain is
freed in whatever thread. The parts of a buffer are not used one after the other (IOU_PBUF_RING_INC): before
Linux 6.16 completions may come in another order than the bytes, and one byte that nobody reads holds up all of
it. Descriptors and the ring itself are not registered: it gained nothing that could be measured.
"""

from libc.errno cimport errno
from libc.string cimport memset
from cyevent.buffer.chain cimport chain_extra, ev_atomic_add, evbuffer_chain_borrow_
from cyevent.buffer.types cimport evbuffer_chain_reference, CHAIN_REFERENCE
from cyevent.completion.uring_abi cimport *
from cyevent.completion.uring_abi cimport uring_buf_reg, uring_params, uring_probe, uring_timespec, uring_wait
from cyevent.core.clock cimport NS_PER_S
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.sys cimport *
from cyevent.core.threads cimport evthread_id_

cdef extern from "sys/eventfd.h":
    int EFD_NONBLOCK, EFD_CLOEXEC
    int eventfd(unsigned count, int flags) noexcept nogil

cdef extern from *:
    int getpid() noexcept nogil

cdef enum:
    SQ_ENTRIES = 256
    CQ_ENTRIES = 4096
    FIRST_DEPTH = 4
    NEEDED = (URING_FEAT_SINGLE_MMAP | URING_FEAT_NODROP | URING_FEAT_SUBMIT_STABLE | URING_FEAT_FAST_POLL
              | URING_FEAT_EXT_ARG | URING_FEAT_CQE_SKIP)


# --- the ring ---------------------------------------------------------------------------------------

cdef int set_up(uring_params *params, unsigned flags) noexcept nogil:
    memset(params, 0, sizeof(uring_params))
    params.flags = (flags | URING_SETUP_CQSIZE | URING_SETUP_CLAMP | URING_SETUP_R_DISABLED
                    | URING_SETUP_SUBMIT_ALL)
    params.cq_entries = CQ_ENTRIES
    return uring_setup(SQ_ENTRIES, params)


cdef bint knows_multishot(int fd) noexcept nogil:
    """Receiving without end has no mark of its own; zero-copy sending came with it, in Linux 6.0."""
    cdef uring_probe probe
    memset(&probe, 0, sizeof(probe))
    return uring_register(fd, URING_REGISTER_PROBE, &probe, 64) == 0 and probe.last_op >= URING_OP_SEND_ZC \
        and probe.ops[URING_OP_SEND_ZC].flags & URING_PROBE_SUPPORTED


cdef int map_ring(uring_ring *ring, uring_params *params) noexcept nogil:
    cdef uint32_t *array
    cdef uint32_t i
    cdef char *memory
    ring.memory_len = params.cq_off.cqes + params.cq_entries * sizeof(uring_cqe)
    if params.sq_off.array + params.sq_entries * sizeof(uint32_t) > ring.memory_len:
        ring.memory_len = params.sq_off.array + params.sq_entries * sizeof(uint32_t)
    ring.sqes_len = params.sq_entries * sizeof(uring_sqe)
    ring.memory = mmap(NULL, ring.memory_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd,
                       URING_OFF_SQ_RING)
    if ring.memory == MAP_FAILED:
        ring.memory = NULL
        return -1
    ring.sqes = <uring_sqe *>mmap(NULL, ring.sqes_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                                  ring.fd, URING_OFF_SQES)
    if ring.sqes == <uring_sqe *>MAP_FAILED:
        ring.sqes = NULL
        return -1
    memory = <char *>ring.memory
    ring.sq_head = <uint32_t *>(memory + params.sq_off.head)
    ring.sq_tail = <uint32_t *>(memory + params.sq_off.tail)
    ring.sq_flags = <uint32_t *>(memory + params.sq_off.flags)
    ring.sq_mask = (<uint32_t *>(memory + params.sq_off.ring_mask))[0]
    ring.sq_entries = params.sq_entries
    ring.cq_head = <uint32_t *>(memory + params.cq_off.head)
    ring.cq_tail = <uint32_t *>(memory + params.cq_off.tail)
    ring.cq_flags = <uint32_t *>(memory + params.cq_off.flags)
    ring.cq_mask = (<uint32_t *>(memory + params.cq_off.ring_mask))[0]
    ring.cqes = <uring_cqe *>(memory + params.cq_off.cqes)
    if not params.flags & URING_SETUP_NO_SQARRAY:
        array = <uint32_t *>(memory + params.sq_off.array)
        for i in range(params.sq_entries):
            array[i] = i
    return 0


cdef uring_pool *new_pool() noexcept nogil:
    cdef uring_pool *pool = <uring_pool *>mm_calloc(1, sizeof(uring_pool))
    cdef void *memory
    if pool == NULL:
        return NULL
    memory = mmap(NULL, URING_BUFFERS * URING_BUFFER, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if memory == MAP_FAILED:
        mm_free(pool)
        return NULL
    pool.memory = <char *>memory
    pool.refs = 1
    return pool


cdef inline void release_pool(uring_pool *pool) noexcept nogil:
    if ev_atomic_add(&pool.refs, -1) == 0:
        if not pool.abandoned:
            munmap(pool.memory, URING_BUFFERS * URING_BUFFER)
        mm_free(pool)


cdef int provide(uring_ring *ring) noexcept nogil:
    cdef uring_buf_reg registration
    cdef void *memory
    ring.pool = new_pool()
    if ring.pool == NULL:
        return -1
    memory = mmap(NULL, URING_BUFFERS * sizeof(uring_buf), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0)
    if memory == MAP_FAILED:
        return -1
    ring.offered = <uring_buf *>memory
    ring.depth = FIRST_DEPTH
    memset(&registration, 0, sizeof(registration))
    registration.ring_addr = <uint64_t>memory
    registration.ring_entries = URING_BUFFERS
    return uring_register(ring.fd, URING_REGISTER_PBUF_RING, &registration, 1)


cdef int uring_ring_open_(uring_ring *ring) noexcept nogil:
    cdef uring_params params
    cdef unsigned[3] choices
    cdef int code
    cdef int i
    # From the best on: as of Linux 6.6, 6.1, 6.0.
    choices[0] = (URING_SETUP_SINGLE_ISSUER | URING_SETUP_DEFER_TASKRUN | URING_SETUP_TASKRUN_FLAG
                  | URING_SETUP_NO_SQARRAY)
    choices[1] = URING_SETUP_SINGLE_ISSUER | URING_SETUP_DEFER_TASKRUN | URING_SETUP_TASKRUN_FLAG
    choices[2] = URING_SETUP_SINGLE_ISSUER | URING_SETUP_COOP_TASKRUN | URING_SETUP_TASKRUN_FLAG
    memset(ring, 0, sizeof(uring_ring))
    ring.fd = ring.bell = -1
    for i in range(3):
        ring.fd = set_up(&params, choices[i])
        if ring.fd >= 0 or errno != EINVAL:
            break
    if ring.fd < 0:
        return -1
    ring.pid = getpid()
    ring.setup = params.flags
    if params.features & NEEDED != NEEDED or not knows_multishot(ring.fd):
        set_errno(ENOSYS)
    elif map_ring(ring, &params) == 0 and provide(ring) == 0:
        return 0
    code = errno
    uring_ring_close_(ring, False)
    set_errno(code)
    return -1


cdef int uring_ring_enable_(uring_ring *ring) noexcept nogil:
    if uring_register(ring.fd, URING_REGISTER_ENABLE_RINGS, NULL, 0) < 0:
        return -1
    ring.thread = evthread_id_()
    return 0


cdef int uring_ring_bell_(uring_ring *ring) noexcept nogil:
    cdef int fd
    if ring.bell >= 0:
        return ring.bell
    fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    if fd < 0:
        return -1
    uring_store(ring.cq_flags, URING_CQ_EVENTFD_DISABLED)
    if uring_register(ring.fd, URING_REGISTER_EVENTFD, &fd, 1) < 0:
        close(fd)
        return -1
    ring.bell = fd
    return fd


cdef void uring_ring_bell_on_(uring_ring *ring) noexcept nogil:
    uring_publish(ring.cq_flags, 0)


cdef void uring_ring_bell_off_(uring_ring *ring) noexcept nogil:
    cdef uint64_t count
    uring_publish(ring.cq_flags, URING_CQ_EVENTFD_DISABLED)
    read(ring.bell, &count, sizeof(count))


cdef void uring_ring_close_(uring_ring *ring, bint abandon) noexcept nogil:
    if ring.bell >= 0:
        close(ring.bell)
    if ring.fd >= 0:
        close(ring.fd)
    if ring.memory != NULL:
        munmap(ring.memory, ring.memory_len)
    if ring.sqes != NULL:
        munmap(ring.sqes, ring.sqes_len)
    if ring.offered != NULL and not abandon:
        munmap(ring.offered, URING_BUFFERS * sizeof(uring_buf))
    if ring.pool != NULL:
        ring.pool.abandoned = abandon
        release_pool(ring.pool)
    memset(ring, 0, sizeof(uring_ring))
    ring.fd = ring.bell = -1


cdef uring_sqe *uring_get_sqe_(uring_ring *ring) noexcept nogil:
    cdef uring_sqe *sqe
    if ring.tail - uring_load(ring.sq_head) >= ring.sq_entries:
        uring_store(ring.sq_tail, ring.tail)
        uring_enter(ring.fd, uring_unsubmitted_(ring), 0, 0, NULL, 0)
        if ring.tail - uring_load(ring.sq_head) >= ring.sq_entries:
            return NULL
    sqe = &ring.sqes[ring.tail & ring.sq_mask]
    memset(sqe, 0, sizeof(uring_sqe))
    ring.tail += 1
    return sqe


cdef int uring_submit_(uring_ring *ring, bint wait, int64_t timeout) noexcept nogil:
    cdef uring_wait argument
    cdef uring_timespec ts
    uring_store(ring.sq_tail, ring.tail)
    if not wait or timeout < 0:
        return uring_enter(ring.fd, uring_unsubmitted_(ring), wait, URING_ENTER_GETEVENTS, NULL, 0)
    ts.tv_sec = timeout // NS_PER_S
    ts.tv_nsec = timeout % NS_PER_S
    argument.sigmask = 0
    argument.sigmask_sz = 0
    argument.min_wait_usec = 0
    argument.ts = <uint64_t>&ts
    return uring_enter(ring.fd, uring_unsubmitted_(ring), 1, URING_ENTER_GETEVENTS | URING_ENTER_EXT_ARG,
                       &argument, sizeof(argument))


# --- the buffers ------------------------------------------------------------------------------------

cdef inline int32_t take_buffer(uring_ring *ring) noexcept nogil:
    """0: none is left."""
    cdef int32_t number = ring.free
    if number == 0:
        number = ring.free = uring_take_all(&ring.pool.returned)
    if number:
        ring.free = ring.pool.links[number]
        return number
    if ring.carved == URING_BUFFERS:
        return 0
    ring.carved += 1
    return ring.carved


cdef void uring_offer_(uring_ring *ring) noexcept nogil:
    cdef uring_buf *entry
    cdef int32_t number
    if ring.n_offered >= ring.depth:
        return
    while ring.n_offered < ring.depth:
        number = take_buffer(ring)
        if number == 0:
            break
        entry = &ring.offered[ring.offered_tail & (URING_BUFFERS - 1)]
        entry.addr = <uint64_t>(ring.pool.memory + <size_t>(number - 1) * URING_BUFFER)
        entry.len = URING_BUFFER
        entry.bid = <uint16_t>number
        ring.offered_tail += 1
        ring.n_offered += 1
    uring_store_tail(ring.offered, ring.offered_tail)


cdef bint uring_starved_(uring_ring *ring) noexcept nogil:
    if ring.depth < URING_BUFFERS:
        ring.depth *= 2
    uring_offer_(ring)
    return ring.n_offered > 0


cdef void give_back(const void *data, size_t length, void *arg) noexcept nogil:
    """In any thread, perhaps after the ring."""
    cdef uring_pool *pool = <uring_pool *>arg
    uring_push(&pool.returned, pool.links,
               <int32_t>((<const char *>data - pool.memory) // URING_BUFFER) + 1)
    release_pool(pool)


cdef evbuffer_chain *uring_filled_(uring_ring *ring, uint32_t flags, uint32_t n) noexcept nogil:
    cdef int32_t number = <int32_t>(flags >> URING_CQE_BUFFER_SHIFT)
    cdef evbuffer_chain *chain = NULL
    cdef evbuffer_chain_reference *reference
    ring.n_offered -= 1
    if n:
        chain = evbuffer_chain_borrow_(sizeof(evbuffer_chain_reference))
    if chain == NULL:
        ring.pool.links[number] = ring.free
        ring.free = number
        return NULL
    reference = <evbuffer_chain_reference *>chain_extra(chain)
    reference.cleanup = give_back
    reference.arg = ring.pool
    ev_atomic_add(&ring.pool.refs, 1)
    chain.flags |= CHAIN_REFERENCE
    chain.buffer = <unsigned char *>ring.pool.memory + <size_t>(number - 1) * URING_BUFFER
    chain.buffer_len = n
    chain.off = n
    return chain
