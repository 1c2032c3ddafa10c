# The array that a backend's kernel call reports in, which grows by doubling.

from cyevent.core.memory cimport mm_realloc


# Makes room for at least `wanted` entries of `size` bytes. False without memory: the array is as it was.
cdef inline bint make_room(void **entries, int *allocated, int wanted, size_t size) noexcept nogil:
    cdef int n = allocated[0]
    cdef void *grown
    while n < wanted:
        n *= 2
    if n != allocated[0]:
        grown = mm_realloc(entries[0], n * size)
        if grown == NULL:
            return False
        entries[0] = grown
        allocated[0] = n
    return True
