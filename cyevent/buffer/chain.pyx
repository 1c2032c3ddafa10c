"""Chains: making, sharing and freeing them.

A connection that answers a request makes and frees a chain or two each time, so small chains go through a
pool per thread: it needs no lock, and an idle connection's empty buffers hold no memory. A chain may be
freed in another thread than the one that made it; it then joins that thread's pool. A pool keeps at most
CHAIN_POOL_DEPTH chains of a size, 224 KiB in all, and is freed with its thread.

What is in a pool always comes from the C library and goes back there: while a program's own memory functions are
in force chains do not go through the pool, so whatever is replaced at whatever time, nothing is given to functions
that it did not come from on the pool's account.
"""

from libc.stdlib cimport free, malloc

from cyevent.buffer.types cimport *
from cyevent.buffer.types cimport (
    evbuffer_chain, evbuffer_chain_file_segment, evbuffer_chain_reference, evbuffer_multicast_parent,
)
from cyevent.buffer.file cimport evbuffer_file_segment_free
from cyevent.core.memory cimport mm_free, mm_is_default_, mm_malloc
from cyevent.core.sys cimport set_errno, ENOMEM

cdef extern from *:
    """
    #if defined(_MSC_VER)
      #define EV_THREAD_LOCAL __declspec(thread)
    #else
      #define EV_THREAD_LOCAL __thread
    #endif
    #if defined(__SANITIZE_ADDRESS__)
      #define CHAIN_POOL_DEPTH 0     /* a sanitizer has to see every chain's end */
    #elif defined(__has_feature)
      #if __has_feature(address_sanitizer)
        #define CHAIN_POOL_DEPTH 0
      #endif
    #endif
    #ifndef CHAIN_POOL_DEPTH
      #define CHAIN_POOL_DEPTH 32
    #endif
    #define CHAIN_POOL_CLASSES 3     /* 1, 2 and 4 KiB */

    struct chain_pool_class { void *first; int count; };
    struct chain_pool { struct chain_pool_class classes[CHAIN_POOL_CLASSES]; int state; int epoch; };
    static EV_THREAD_LOCAL struct chain_pool chain_pool_here;
    static inline struct chain_pool *chain_pool_get(void) { return &chain_pool_here; }
    """
    int CHAIN_POOL_DEPTH
    int CHAIN_POOL_CLASSES

    struct chain_pool_class:
        void *first
        int count

    struct chain_pool:
        chain_pool_class *classes
        int state              # POOL_*
        int epoch              # of the last clearing that it followed

    chain_pool *chain_pool_get() noexcept nogil

cdef extern from *:
    """
    #ifdef _WIN32
      static int chain_pool_key;
      static int pool_key_create(void (*f)(void *)) { (void)f; return 0; }
      static void pool_key_set(void *pool) { (void)pool; }
    #else
      #include <pthread.h>
      static pthread_key_t chain_pool_key;
      static int pool_key_create(void (*f)(void *)) { return pthread_key_create(&chain_pool_key, f); }
      static void pool_key_set(void *pool) { pthread_setspecific(chain_pool_key, pool); }
    #endif
    """
    int pool_key_create(void (*f)(void *) noexcept nogil) noexcept nogil
    void pool_key_set(void *pool) noexcept nogil

cdef enum:
    POOL_NEW = 0
    POOL_REGISTERED = 1        # pool_thread_ends will be called
    POOL_ENDED = 2             # nothing is kept any more

cdef size_t min_alloc = CHAIN_MIN_ALLOC
cdef int pool_depth = CHAIN_POOL_DEPTH
cdef int pool_epoch = 0            # atomic


cdef void pool_empty(chain_pool *pool) noexcept nogil:
    cdef evbuffer_chain *chain
    cdef int i
    for i in range(CHAIN_POOL_CLASSES):
        while pool.classes[i].first != NULL:
            chain = <evbuffer_chain *>pool.classes[i].first
            pool.classes[i].first = chain.next
            free(chain)
        pool.classes[i].count = 0
    pool.epoch = ev_atomic_load(&pool_epoch)


cdef void pool_thread_ends(void *arg) noexcept nogil:
    # Other destructors may still free chains.
    (<chain_pool *>arg).state = POOL_ENDED
    pool_empty(<chain_pool *>arg)


if pool_key_create(pool_thread_ends) != 0:
    pool_depth = 0


cdef void evbuffer_pool_clear_() noexcept nogil:
    ev_atomic_add(&pool_epoch, 1)
    pool_empty(chain_pool_get())


cdef inline evbuffer_chain *pool_take(int index) noexcept nogil:
    cdef chain_pool_class *slot = &chain_pool_get().classes[index]
    cdef evbuffer_chain *chain = <evbuffer_chain *>slot.first
    if chain == NULL:
        return <evbuffer_chain *>malloc(<size_t>CHAIN_MIN_ALLOC << index)
    slot.first = chain.next
    slot.count -= 1
    return chain


cdef inline void pool_give(evbuffer_chain *chain, int index) noexcept nogil:
    cdef chain_pool *pool = chain_pool_get()
    cdef chain_pool_class *slot = &pool.classes[index]
    if pool.epoch != ev_atomic_load(&pool_epoch):
        pool_empty(pool)
    if slot.count >= pool_depth or pool.state == POOL_ENDED:
        free(chain)
        return
    if pool.state == POOL_NEW:
        pool.state = POOL_REGISTERED
        pool_key_set(pool)
    chain.next = <evbuffer_chain *>slot.first
    slot.first = chain
    slot.count += 1


cdef evbuffer_chain *evbuffer_chain_new_(size_t size) noexcept nogil:
    cdef evbuffer_chain *chain
    cdef size_t alloc = min_alloc
    cdef int index = 0
    cdef unsigned flags = 0
    if size > <size_t>CHAIN_MAX - CHAIN_AUTO_ALLOC - sizeof(evbuffer_chain):
        set_errno(ENOMEM)
        return NULL
    size += sizeof(evbuffer_chain)
    if size <= CHAIN_AUTO_ALLOC:
        while alloc < size:
            alloc <<= 1
            index += 1
    else:
        # Doubling large sizes would waste as much as it uses.
        alloc = (size + CHAIN_AUTO_ALLOC - 1) & ~<size_t>(CHAIN_AUTO_ALLOC - 1)
        index = CHAIN_POOL_CLASSES
    if index < CHAIN_POOL_CLASSES and min_alloc == CHAIN_MIN_ALLOC and mm_is_default_():
        chain = pool_take(index)
        flags = <unsigned>(index + 1) << CHAIN_POOL_SHIFT
    else:
        chain = <evbuffer_chain *>mm_malloc(alloc)
    if chain == NULL:
        set_errno(ENOMEM)
        return NULL
    chain.next = NULL
    chain.buffer_len = alloc - sizeof(evbuffer_chain)
    chain.misalign = 0
    chain.off = 0
    chain.flags = flags
    chain.refcnt = 1
    chain.buffer = <unsigned char *>chain + sizeof(evbuffer_chain)
    return chain


cdef evbuffer_chain *evbuffer_chain_borrow_(size_t extra) noexcept nogil:
    cdef evbuffer_chain *chain = <evbuffer_chain *>mm_malloc(sizeof(evbuffer_chain) + extra)
    if chain == NULL:
        set_errno(ENOMEM)
        return NULL
    chain.next = NULL
    chain.buffer_len = 0
    chain.misalign = 0
    chain.off = 0
    chain.flags = CHAIN_IMMUTABLE
    chain.refcnt = 1
    chain.buffer = NULL
    return chain


cdef void evbuffer_chain_free_(evbuffer_chain *chain) noexcept nogil:
    cdef evbuffer_chain *parent = NULL
    cdef evbuffer_chain_reference *reference
    # The only reference there is: nobody else can change the count.
    if not chain_is_ours(chain) and ev_atomic_add(&chain.refcnt, -1) > 0:
        return
    if chain.flags >> CHAIN_POOL_SHIFT:
        pool_give(chain, <int>(chain.flags >> CHAIN_POOL_SHIFT) - 1)
        return
    if chain.flags & CHAIN_REFERENCE:
        reference = <evbuffer_chain_reference *>chain_extra(chain)
        if reference.cleanup != NULL:
            reference.cleanup(chain.buffer, chain.buffer_len, reference.arg)
    elif chain.flags & CHAIN_FILESEGMENT:
        evbuffer_file_segment_free((<evbuffer_chain_file_segment *>chain_extra(chain)).segment)
    elif chain.flags & CHAIN_MULTICAST:
        parent = (<evbuffer_multicast_parent *>chain_extra(chain)).parent
    mm_free(chain)
    if parent != NULL:
        # Parents are never multicast themselves: this goes one level deep.
        evbuffer_chain_free_(parent)


cdef void evbuffer_chain_free_all_(evbuffer_chain *chain) noexcept nogil:
    cdef evbuffer_chain *following
    while chain != NULL:
        following = chain.next
        evbuffer_chain_free_(chain)
        chain = following


cdef void evbuffer_set_min_chain_(size_t size) noexcept nogil:
    global min_alloc
    min_alloc = size + sizeof(evbuffer_chain) if size else <size_t>CHAIN_MIN_ALLOC
