"""Replaceable memory functions."""

from libc.stdlib cimport malloc, calloc, realloc, free
from libc.string cimport memcpy, memset, strlen
from cyevent.core.sys cimport set_errno, EINVAL, ENOMEM

cdef void *(*custom_malloc)(size_t) noexcept nogil
cdef void *(*custom_realloc)(void *, size_t) noexcept nogil
cdef void (*custom_free)(void *) noexcept nogil
custom_malloc = NULL
custom_realloc = NULL
custom_free = NULL


cdef void event_set_mem_functions(void *(*malloc_fn)(size_t) noexcept nogil,
                                  void *(*realloc_fn)(void *, size_t) noexcept nogil,
                                  void (*free_fn)(void *) noexcept nogil) noexcept nogil:
    global custom_malloc, custom_realloc, custom_free
    custom_malloc = malloc_fn
    custom_realloc = realloc_fn
    custom_free = free_fn


cdef bint mm_is_default_() noexcept nogil:
    return custom_malloc == NULL and custom_free == NULL


cdef void *mm_malloc(size_t size) noexcept nogil:
    if size == 0:
        return NULL
    if custom_malloc != NULL:
        return custom_malloc(size)
    return malloc(size)


cdef void *mm_calloc(size_t count, size_t size) noexcept nogil:
    cdef void *memory
    if count == 0 or size == 0:
        return NULL
    if custom_malloc == NULL:
        return calloc(count, size)
    if count > (<size_t>-1) // size:
        set_errno(ENOMEM)
        return NULL
    memory = custom_malloc(count * size)
    if memory != NULL:
        memset(memory, 0, count * size)
    return memory


cdef void *mm_realloc(void *memory, size_t size) noexcept nogil:
    if custom_realloc != NULL:
        return custom_realloc(memory, size)
    return realloc(memory, size)


cdef void mm_free(void *memory) noexcept nogil:
    if memory == NULL:
        return
    if custom_free != NULL:
        custom_free(memory)
    else:
        free(memory)


cdef char *mm_strdup(const char *text) noexcept nogil:
    cdef size_t size
    cdef char *copy
    if text == NULL:
        set_errno(EINVAL)
        return NULL
    size = strlen(text) + 1
    copy = <char *>mm_malloc(size)
    if copy == NULL:
        set_errno(ENOMEM)
        return NULL
    memcpy(copy, text, size)
    return copy
