"""The nogil buffer tests' common ground."""

import functools

from cpython.bytes cimport PyBytes_FromStringAndSize

from cyevent cimport (
    evbuffer, evbuffer_add, evbuffer_add_reference, evbuffer_chain, evbuffer_copyout,
    evbuffer_enable_locking, evbuffer_get_length, evbuffer_new, evbuffer_pullup,
)
from cyevent.buffer.chain cimport evbuffer_set_min_chain_

cdef bint tiny = False
cdef bint with_locks = False


def in_each_mode(test):
    @functools.wraps(test)
    def run():
        global tiny, with_locks
        try:
            for size in (0, 1, 7):
                evbuffer_set_min_chain_(size)
                tiny = size != 0
                for locks in (False, True):
                    with_locks = locks
                    test()
        finally:
            evbuffer_set_min_chain_(0)
            tiny = with_locks = False
    return run


cdef bint usual() noexcept:
    return not tiny


cdef bint locked() noexcept:
    return with_locks


cdef evbuffer *new_buffer() except NULL:
    cdef evbuffer *buf = evbuffer_new()
    assert buf != NULL
    if with_locks:
        assert evbuffer_enable_locking(buf, NULL) == 0
        assert buf.lock != NULL
    return buf


cdef bytes content(evbuffer *buf):
    cdef bytes data = PyBytes_FromStringAndSize(NULL, evbuffer_get_length(buf))
    assert evbuffer_copyout(buf, <char *>data, len(data)) == len(data)
    return data


cdef bytes pulled(evbuffer *buf):
    cdef unsigned char *data = evbuffer_pullup(buf, -1)
    if data == NULL:
        return b""
    return (<char *>data)[:evbuffer_get_length(buf)]


cdef int add(evbuffer *buf, bytes data) except -1:
    assert evbuffer_add(buf, <char *>data, len(data)) == 0
    return 0


cdef int lend(evbuffer *buf, bytes data) except -1:
    assert evbuffer_add_reference(buf, <char *>data, len(data), NULL, NULL) == 0
    return 0


cdef int validate(evbuffer *buf) except -1:
    cdef evbuffer_chain *chain = buf.first
    cdef evbuffer_chain **slot = &buf.first
    cdef evbuffer_chain **last_with_data = &buf.first
    cdef evbuffer_chain *last = NULL
    cdef size_t total = 0
    cdef bint empty_seen = False
    while chain != NULL:
        assert chain.refcnt >= 1
        assert chain.misalign + chain.off <= chain.buffer_len
        if chain.off:
            assert not empty_seen, "an empty chain before one with data"
            last_with_data = slot
        else:
            empty_seen = True
            assert chain.misalign == 0 or chain.refcnt > 1
        total += chain.off
        last = chain
        slot = &chain.next
        chain = chain.next
    assert buf.last == last
    assert buf.last_with_datap == last_with_data
    assert buf.total_len == total == evbuffer_get_length(buf)
    return 0


cdef (size_t, size_t, size_t) waste(evbuffer *buf) noexcept:
    cdef evbuffer_chain *chain = buf.first
    cdef size_t allocated = 0
    cdef size_t wasted = 0
    cdef size_t used = 0
    while chain != NULL and chain.off:
        allocated += chain.buffer_len
        used += chain.off
        if chain != buf.first:
            wasted += chain.misalign
        if chain.next != NULL and chain.next.off:
            wasted += chain.buffer_len - chain.misalign - chain.off
        chain = chain.next
    while chain != NULL:
        allocated += chain.buffer_len
        chain = chain.next
    return allocated, wasted, used
