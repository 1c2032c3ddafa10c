# How much a bufferevent reads and writes at once.

from cyevent.buffer.types cimport ev_ssize_t
from cyevent.bufferevent.types cimport bufferevent

cdef enum:
    # What the getters say while nobody has set anything, as in libevent. Then a read takes up to READ_AT_ONCE
    # if so much arrives, and a write as much as the socket takes.
    MAX_SINGLE_READ_DEFAULT = 16384
    MAX_SINGLE_WRITE_DEFAULT = 16384
    READ_AT_ONCE = 65536
    # How often a socket is read in one turn while each read is full.
    READS_AT_ONCE = 4

# The most that is read or written at once; 0 restores the default.
cdef int bufferevent_set_max_single_read(bufferevent *bev, size_t size) noexcept nogil
cdef int bufferevent_set_max_single_write(bufferevent *bev, size_t size) noexcept nogil
cdef ev_ssize_t bufferevent_get_max_single_read(bufferevent *bev) noexcept nogil
cdef ev_ssize_t bufferevent_get_max_single_write(bufferevent *bev) noexcept nogil
