# Chains: making, sharing and freeing them.

from libc.string cimport memmove
from cyevent.buffer.types cimport evbuffer_chain, CHAIN_IMMUTABLE

cdef extern from *:
    """
    #ifndef CYEVENT_ATOMIC_INT
    #define CYEVENT_ATOMIC_INT
    #if defined(_MSC_VER)
      #include <intrin.h>
      static __inline int ev_atomic_load(int *p) { return *(volatile int *)p; }
      static __inline int ev_atomic_add(int *p, int n) { return _InterlockedExchangeAdd((long *)p, n) + n; }
    #else
      static inline int ev_atomic_load(int *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
      static inline int ev_atomic_add(int *p, int n) { return __atomic_add_fetch(p, n, __ATOMIC_ACQ_REL); }
    #endif
    /* No enumerator: to some compilers each is an int. */
    #define CYEVENT_CHAIN_MAX ((size_t)-1 >> 1)
    #endif
    """
    const size_t CHAIN_MAX "CYEVENT_CHAIN_MAX"
    int ev_atomic_load(int *p) noexcept nogil
    # Returns the new value.
    int ev_atomic_add(int *p, int n) noexcept nogil

cdef enum:
    CHAIN_MIN_ALLOC = 1024         # header included
    CHAIN_AUTO_ALLOC = 4096        # chains that grow by themselves stop at this
    CHAIN_LINE = 64                # bytes in a cache line
    # Moving so many bytes to a chain's start is cheaper than another chain.
    CHAIN_REALIGN_MOST = 2048

# A chain with at least `size` bytes of its own memory; NULL without memory.
cdef evbuffer_chain *evbuffer_chain_new_(size_t size) noexcept nogil
# A chain for borrowed memory, with `extra` bytes behind its header.
cdef evbuffer_chain *evbuffer_chain_borrow_(size_t extra) noexcept nogil
# Gives up one reference; the last one returns the memory, own or borrowed.
cdef void evbuffer_chain_free_(evbuffer_chain *chain) noexcept nogil
# Frees `chain` and all that follow it.
cdef void evbuffer_chain_free_all_(evbuffer_chain *chain) noexcept nogil
# Gives back what the pools keep: at once in this thread, in others when they next free a chain or end.
cdef void evbuffer_pool_clear_() noexcept nogil
# How large chains are when nothing demands more; 0 restores the default. For tests: small chains make every
# operation meet chain borders.
cdef void evbuffer_set_min_chain_(size_t size) noexcept nogil


cdef inline void *chain_extra(evbuffer_chain *chain) noexcept nogil:
    return <char *>chain + sizeof(evbuffer_chain)


cdef inline void chain_ref(evbuffer_chain *chain) noexcept nogil:
    ev_atomic_add(&chain.refcnt, 1)


# True while nobody else refers to the chain; then nobody else can begin to.
cdef inline bint chain_is_ours(evbuffer_chain *chain) noexcept nogil:
    return ev_atomic_load(&chain.refcnt) == 1


cdef inline unsigned char *chain_data(evbuffer_chain *chain) noexcept nogil:
    return chain.buffer + chain.misalign


cdef inline unsigned char *chain_space_ptr(evbuffer_chain *chain) noexcept nogil:
    return chain.buffer + chain.misalign + chain.off


cdef inline size_t chain_space(evbuffer_chain *chain) noexcept nogil:
    if chain.flags & CHAIN_IMMUTABLE:
        return 0
    return chain.buffer_len - chain.misalign - chain.off


# Makes room for datlen bytes behind the chain's own by moving those to its start, where that is cheap.
cdef inline bint chain_realign(evbuffer_chain *chain, size_t datlen) noexcept nogil:
    if chain.flags & CHAIN_IMMUTABLE or chain.misalign == 0 \
            or chain.buffer_len - chain.off < datlen \
            or chain.off > chain.buffer_len / 2 or chain.off > CHAIN_REALIGN_MOST \
            or not chain_is_ours(chain):
        return False
    memmove(chain.buffer, chain_data(chain), chain.off)
    chain.misalign = 0
    return True
