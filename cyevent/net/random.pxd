# Random bytes that cannot be guessed, for identifiers, keys and masks.

# Fills buf. Does not return if the system refuses: bytes that can be guessed would be worse.
cdef void evutil_secure_rng_get_bytes(void *buf, size_t n) noexcept nogil
# Whether there will be random bytes: 0, or -1 with errno. Waits, early in a machine's start, until its
# generator is seeded. Need not be called.
cdef int evutil_secure_rng_init() noexcept nogil
# -1: the bytes come from the system itself, and no file can stand in for it.
cdef int evutil_secure_rng_set_urandom_device_file(char *fname) noexcept nogil
# Nothing: there is no generator of our own to which bytes could be added.
cdef void evutil_secure_rng_add_bytes(const char *dat, size_t datlen) noexcept nogil
