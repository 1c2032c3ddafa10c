# Every allocation below the line goes through these, so that an embedding program can put its own
# allocator in their place.

cdef void *mm_malloc(size_t size) noexcept nogil
cdef void *mm_calloc(size_t count, size_t size) noexcept nogil
cdef void *mm_realloc(void *memory, size_t size) noexcept nogil
cdef void mm_free(void *memory) noexcept nogil
cdef char *mm_strdup(const char *text) noexcept nogil

# Replaces malloc, realloc and free for all of cyevent; a NULL function stands for the C library's.
# Call it before anything else: memory is given back to the functions in force at that time.
cdef void event_set_mem_functions(void *(*malloc_fn)(size_t) noexcept nogil,
                                  void *(*realloc_fn)(void *, size_t) noexcept nogil,
                                  void (*free_fn)(void *) noexcept nogil) noexcept nogil
# Whether the C library's functions are in force.
cdef bint mm_is_default_() noexcept nogil
