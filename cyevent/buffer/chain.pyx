"""Chains: making, sharing and freeing them.

A connection that answers a request makes and frees a chain or two each time, so chains go through a pool per
thread: it needs no lock, and an idle connection's empty buffers hold no memory. A chain may be freed in
another thread than the one that made it; it then joins that thread's pool. A pool keeps at most
CHAIN_POOL_DEPTH chains of 1, 2 and 4 KiB each, 224 KiB in all, as many of those that have no memory of their
own, and at most CHAIN_POOL_LARGE bytes in larger ones; it is freed with its thread. The larger ones are what a
stream of 64 KiB pieces runs through: malloc() would give their memory back to the system and fault it in again
each time, which costs twenty times the copying.

What is in a pool always comes from the C library and goes back there. A program's own memory functions see
all chains that the pool does not have, and what they gave does not get into it; so whatever is replaced at
whatever time, the pool gives nothing to functions that it did not come from.

Linux is asked for huge pages under a chain of 32 MiB and more: what limits reading through so much is the
translation of addresses, and with 2 MiB for each it takes a third less. From that size on malloc() always has
the memory from mmap() and gives it back, so that the advice ends with the chain.
"""

from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free, malloc

from cyevent.buffer.types cimport *
from cyevent.buffer.types cimport (
    evbuffer_chain, evbuffer_chain_file_segment, evbuffer_chain_reference, evbuffer_multicast_parent,
)
from cyevent.buffer.file cimport evbuffer_file_segment_free
from cyevent.core.memory cimport mm_free, mm_is_default_, mm_malloc
from cyevent.core.shutdown cimport event_at_shutdown_
from cyevent.core.sys cimport set_errno, ENOMEM

cdef extern from *:
    """
    #if defined(_MSC_VER)
      #define EV_THREAD_LOCAL __declspec(thread)
    #elif defined(__GLIBC__)
      /* A fixed offset from the thread's register, rather than a call; for one pointer there is always room. */
      #define EV_THREAD_LOCAL __thread __attribute__((tls_model("initial-exec")))
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
    #define CHAIN_POOL_LARGE (2 << 20)
    #define CHAIN_POOL_SMALL 3       /* 1, 2 and 4 KiB; then 8, 12, ... 128 KiB */
    #define CHAIN_POOL_BORROWED 34   /* headers of borrowed memory */
    #define CHAIN_POOL_CLASSES 35

    struct chain_pool_class { void *first; int count; };
    struct chain_pool { struct chain_pool_class classes[CHAIN_POOL_CLASSES]; int epoch; size_t large; };
    static struct chain_pool chain_pool_ended;
    static EV_THREAD_LOCAL struct chain_pool *chain_pool_here;
    static inline struct chain_pool *chain_pool_get(void) { return chain_pool_here; }
    static inline void chain_pool_set(struct chain_pool *pool) { chain_pool_here = pool; }

    #define CHAIN_HUGE (32 << 20)
    #if defined(__linux__)
      #include <sys/mman.h>
      static inline void advise_huge(void *memory, size_t n) {
          const uintptr_t page = 2 << 20;
          uintptr_t begin = ((uintptr_t)memory + page - 1) & ~(page - 1);
          uintptr_t end = ((uintptr_t)memory + n) & ~(page - 1);
          int code = errno;
          /* Not every kernel has them, and none has to give them. */
          madvise((void *)begin, end - begin, MADV_HUGEPAGE);
          errno = code;
      }
    #else
      static inline void advise_huge(void *memory, size_t n) { (void)memory; (void)n; }
    #endif

    #ifdef _WIN32
      static int pool_key_create(void (*f)(void *)) { (void)f; return -1; }
      static int pool_key_set(void *pool) { (void)pool; return -1; }
    #else
      #include <pthread.h>
      static pthread_key_t chain_pool_key;
      static int pool_key_create(void (*f)(void *)) { return pthread_key_create(&chain_pool_key, f); }
      static int pool_key_set(void *pool) { return pthread_setspecific(chain_pool_key, pool); }
    #endif
    """
    size_t CHAIN_HUGE
    void advise_huge(void *memory, size_t n) noexcept nogil
    int CHAIN_POOL_DEPTH
    int CHAIN_POOL_LARGE
    int CHAIN_POOL_SMALL
    int CHAIN_POOL_BORROWED
    int CHAIN_POOL_CLASSES

    struct chain_pool_class:
        void *first
        int count

    struct chain_pool:
        chain_pool_class *classes
        int epoch              # of the last clearing that it followed
        size_t large           # bytes in the large classes

    # The pool of a thread that ends: nothing is kept any more.
    chain_pool chain_pool_ended
    # NULL in a thread that has freed no chain yet.
    chain_pool *chain_pool_get() noexcept nogil
    void chain_pool_set(chain_pool *pool) noexcept nogil
    int pool_key_create(void (*f)(void *) noexcept nogil) noexcept nogil
    int pool_key_set(void *pool) noexcept nogil

cdef size_t min_alloc = CHAIN_MIN_ALLOC
cdef int pool_depth = CHAIN_POOL_DEPTH
cdef int pool_epoch = 0            # atomic


# --- the pool ---------------------------------------------------------------------------------------

cdef inline bint pool_is_large(int index) noexcept nogil:
    return index >= CHAIN_POOL_SMALL and index != CHAIN_POOL_BORROWED


cdef inline size_t pool_size(int index) noexcept nogil:
    """Of a large class."""
    return <size_t>(index - CHAIN_POOL_SMALL + 2) * CHAIN_AUTO_ALLOC


cdef inline int pool_index(size_t alloc) noexcept nogil:
    """The class of chains larger than CHAIN_AUTO_ALLOC, whose sizes are multiples of that; -1 beyond them."""
    cdef size_t index = alloc / CHAIN_AUTO_ALLOC + CHAIN_POOL_SMALL - 2
    return <int>index if index < <size_t>CHAIN_POOL_BORROWED else -1


cdef void pool_empty(chain_pool *pool, int begin) noexcept nogil:
    """From the class `begin` on."""
    cdef evbuffer_chain *chain
    cdef int i
    for i in range(begin, CHAIN_POOL_CLASSES):
        while pool.classes[i].first != NULL:
            chain = <evbuffer_chain *>pool.classes[i].first
            pool.classes[i].first = chain.next
            free(chain)
        pool.classes[i].count = 0
    pool.large = 0


cdef void pool_thread_ends(void *arg) noexcept nogil:
    cdef chain_pool *pool = <chain_pool *>arg
    # Other destructors may still free chains.
    chain_pool_set(&chain_pool_ended)
    pool_empty(pool, 0)
    free(pool)


if pool_key_create(pool_thread_ends) != 0:
    pool_depth = 0
event_at_shutdown_(evbuffer_pool_clear_)


cdef chain_pool *pool_make() noexcept nogil:
    cdef chain_pool *pool
    if pool_depth == 0:
        return NULL
    pool = <chain_pool *>calloc(1, sizeof(chain_pool))
    if pool == NULL:
        return NULL
    if pool_key_set(pool) != 0:
        free(pool)
        return NULL
    pool.epoch = ev_atomic_load(&pool_epoch)
    chain_pool_set(pool)
    return pool


cdef void evbuffer_pool_clear_() noexcept nogil:
    cdef chain_pool *pool = chain_pool_get()
    ev_atomic_add(&pool_epoch, 1)
    if pool == NULL or pool == &chain_pool_ended:
        return
    pool_key_set(NULL)
    chain_pool_set(NULL)
    pool_empty(pool, 0)
    free(pool)


cdef inline evbuffer_chain *pool_take(int index) noexcept nogil:
    cdef chain_pool *pool = chain_pool_get()
    cdef evbuffer_chain *chain
    if pool == NULL or pool.classes[index].first == NULL:
        return NULL
    chain = <evbuffer_chain *>pool.classes[index].first
    pool.classes[index].first = chain.next
    pool.classes[index].count -= 1
    if pool_is_large(index):
        pool.large -= pool_size(index)
    return chain


cdef inline bint pool_has_room(chain_pool *pool, int index) noexcept nogil:
    if not pool_is_large(index):
        return pool.classes[index].count < CHAIN_POOL_DEPTH
    if pool.large + pool_size(index) > <size_t>CHAIN_POOL_LARGE:
        if pool.classes[index].count:
            return False
        # Full of sizes that nobody seems to want any more.
        pool_empty(pool, CHAIN_POOL_SMALL)
    pool.large += pool_size(index)
    return True


cdef void pool_give(evbuffer_chain *chain, int index) noexcept nogil:
    cdef chain_pool *pool = chain_pool_get()
    if pool == NULL:
        pool = pool_make()
    if pool == NULL or pool == &chain_pool_ended:
        free(chain)
        return
    if pool.epoch != ev_atomic_load(&pool_epoch):
        pool_empty(pool, 0)
        pool.epoch = ev_atomic_load(&pool_epoch)
    if not pool_has_room(pool, index):
        free(chain)
        return
    chain.next = <evbuffer_chain *>pool.classes[index].first
    pool.classes[index].first = chain
    pool.classes[index].count += 1


# --- chains -----------------------------------------------------------------------------------------

cdef evbuffer_chain *allocate_unpooled(size_t alloc) noexcept nogil:
    cdef evbuffer_chain *chain = <evbuffer_chain *>mm_malloc(alloc)
    if alloc >= CHAIN_HUGE and chain != NULL and mm_is_default_():
        advise_huge(chain, alloc)
    return chain


cdef inline evbuffer_chain *allocate(size_t alloc, int index, unsigned *flags) noexcept nogil:
    """From the pool's class `index`, if that is one."""
    cdef evbuffer_chain *chain
    flags[0] = 0
    if index < 0 or min_alloc != CHAIN_MIN_ALLOC:
        return allocate_unpooled(alloc)
    chain = pool_take(index)
    if chain == NULL:
        if not mm_is_default_():
            return <evbuffer_chain *>mm_malloc(alloc)
        chain = <evbuffer_chain *>malloc(alloc)
    flags[0] = <unsigned>(index + 1) << CHAIN_POOL_SHIFT
    return chain


cdef evbuffer_chain *evbuffer_chain_new_(size_t size) noexcept nogil:
    cdef evbuffer_chain *chain
    cdef size_t alloc = min_alloc
    cdef int index = 0
    cdef unsigned flags
    cdef unsigned char *buffer
    if size > CHAIN_MAX - CHAIN_AUTO_ALLOC - sizeof(evbuffer_chain) - CHAIN_LINE:
        set_errno(ENOMEM)
        return NULL
    size += sizeof(evbuffer_chain)
    if size <= CHAIN_AUTO_ALLOC:
        while alloc < size:
            alloc <<= 1
            index += 1
    else:
        # Doubling large sizes would waste as much as it uses.
        alloc = (size + CHAIN_LINE - 1 + CHAIN_AUTO_ALLOC - 1) & ~<size_t>(CHAIN_AUTO_ALLOC - 1)
        index = pool_index(alloc)
    chain = allocate(alloc, index, &flags)
    if chain == NULL:
        set_errno(ENOMEM)
        return NULL
    buffer = <unsigned char *>chain + sizeof(evbuffer_chain)
    if size > CHAIN_AUTO_ALLOC:
        # Copying much to where no cache line begins takes up to a quarter longer.
        buffer += -<uintptr_t>buffer & (CHAIN_LINE - 1)
    chain.next = NULL
    chain.buffer_len = alloc - <size_t>(buffer - <unsigned char *>chain)
    chain.misalign = 0
    chain.off = 0
    chain.flags = flags
    chain.refcnt = 1
    chain.buffer = buffer
    return chain


cdef evbuffer_chain *evbuffer_chain_borrow_(size_t extra) noexcept nogil:
    cdef evbuffer_chain *chain
    cdef int index = CHAIN_POOL_BORROWED
    cdef unsigned flags
    if extra > sizeof(evbuffer_chain_reference):
        index = -1
    else:
        extra = sizeof(evbuffer_chain_reference)
    chain = allocate(sizeof(evbuffer_chain) + extra, index, &flags)
    if chain == NULL:
        set_errno(ENOMEM)
        return NULL
    chain.next = NULL
    chain.buffer_len = 0
    chain.misalign = 0
    chain.off = 0
    chain.flags = flags | CHAIN_IMMUTABLE
    chain.refcnt = 1
    chain.buffer = NULL
    return chain


cdef void evbuffer_chain_free_(evbuffer_chain *chain) noexcept nogil:
    cdef evbuffer_chain *parent = NULL
    cdef evbuffer_chain_reference *reference
    # The only reference there is: nobody else can change the count.
    if not chain_is_ours(chain) and ev_atomic_add(&chain.refcnt, -1) > 0:
        return
    if not chain.flags & CHAIN_IMMUTABLE:
        pass
    elif chain.flags & CHAIN_REFERENCE:
        reference = <evbuffer_chain_reference *>chain_extra(chain)
        if reference.cleanup != NULL:
            reference.cleanup(chain.buffer, chain.buffer_len, reference.arg)
    elif chain.flags & CHAIN_FILESEGMENT:
        evbuffer_file_segment_free((<evbuffer_chain_file_segment *>chain_extra(chain)).segment)
    elif chain.flags & CHAIN_MULTICAST:
        parent = (<evbuffer_multicast_parent *>chain_extra(chain)).parent
    if chain.flags >> CHAIN_POOL_SHIFT:
        pool_give(chain, <int>(chain.flags >> CHAIN_POOL_SHIFT) - 1)
    else:
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
