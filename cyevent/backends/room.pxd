# A backend's arrays, which grow by doubling.

from cyevent.core.memory cimport mm_realloc

cdef enum:
    FIRST_ROOM_ = 64


# Makes room for at least `wanted` entries of `size` bytes; NULL and 0 are an empty array. False without
# memory: the array is as it was.
cdef inline bint make_room(void **entries, int *allocated, int wanted, size_t size) noexcept nogil:
    cdef int n = allocated[0] if allocated[0] else FIRST_ROOM_
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
