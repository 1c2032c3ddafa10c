"""libevent's memory functions, with each n-th allocation failing: what tests/lib/every_nth.py stands on."""

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from cyevent cimport event_set_mem_functions
from cyevent.core.sys cimport ev_add_int, ev_load_int, ev_store_int

cdef int blocks = 0
cdef int allocations = 0
cdef int every = 0             # 0 for none
cdef int failed = 0


cdef bint fails() noexcept nogil:
    cdef int n = ev_load_int(&every)
    if n == 0 or ev_add_int(&allocations, 1) % n:
        return False
    ev_add_int(&failed, 1)
    return True


cdef void *failing_malloc(size_t n) noexcept nogil:
    cdef void *memory
    if fails():
        return NULL
    memory = malloc(n)
    if memory != NULL:
        # What is read before it is written shows.
        memset(memory, 0xa5, n)
        ev_add_int(&blocks, 1)
    return memory


cdef void *failing_realloc(void *memory, size_t n) noexcept nogil:
    if fails():
        return NULL
    if memory == NULL:
        ev_add_int(&blocks, 1)
    return realloc(memory, n)


cdef void counting_free(void *memory) noexcept nogil:
    if memory != NULL:
        ev_add_int(&blocks, -1)
    free(memory)


def install():
    """Before the first base is made, and for good."""
    event_set_mem_functions(failing_malloc, failing_realloc, counting_free)


def fail_every(n):
    """From now on, beginning to count; 0 for none. Returns how many have failed since the last call."""
    ev_store_int(&every, 0)
    before = ev_load_int(&failed)
    ev_store_int(&failed, 0)
    ev_store_int(&allocations, 0)
    ev_store_int(&every, n)
    return before


def outstanding():
    """How many blocks are in use."""
    return ev_load_int(&blocks)
