"""Sending without copying: what the kernel's notifications do, who tells owners, and failing allocations."""

import os

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

from cyevent cimport (
    BEV_OPT_CLOSE_ON_FREE, EV_READ, bufferevent, bufferevent_enable, bufferevent_free,
    bufferevent_get_output, bufferevent_socket_new, evbuffer, evbuffer_add, evbuffer_add_reference,
    evbuffer_drain, EVBUFFER_FLAG_ZEROCOPY, evbuffer_free,
    evbuffer_get_length, evbuffer_get_zerocopy_stats, evbuffer_get_zerocopy_threshold, evbuffer_new,
    evbuffer_set_flags, evbuffer_set_zerocopy_limits, evbuffer_set_zerocopy_threshold,
    evbuffer_write, EVBUFFER_ZEROCOPY_SOCKETS, EVBUFFER_ZEROCOPY_THRESHOLD, evbuffer_zerocopy_stats,
    event_base_free, event_base_loop, event_base_get_num_events,
    EVENT_BASE_COUNT_ADDED, EVLOOP_NONBLOCK, event_set_mem_functions, timeval,
)
from cyevent.buffer.chain cimport evbuffer_pool_clear_
from cyevent.buffer.zerosockets cimport (
    zerocopy_done_, zerocopy_entry, zerocopy_forget_, zerocopy_in_range, zerocopy_owing_,
    zerocopy_socket,
)
from cyevent.core.sys cimport ev_add_int, ev_load_int, ev_store_int
from cyevent.core.threads cimport evthread_id_
from rig cimport make_base, milliseconds, now, sleep_ms
from zerocopy_peers import receive, tcp_pair

FORKED = ("test_allocations_that_fail",)

DATA = os.urandom(100_000)


cdef struct Owner:
    int calls
    unsigned long thread
    const void *data
    size_t size


cdef void given_back(const void *data, size_t datlen, void *extra) noexcept nogil:
    cdef Owner *owner = <Owner *>extra
    owner.thread = evthread_id_()
    owner.data = data
    owner.size = datlen
    # Last, and in order with what it stands for: others wait for it.
    ev_add_int(&owner.calls, 1)


cdef int wait_for(Owner *owner) except -1:
    cdef double start = now()
    while ev_add_int(&owner.calls, 0) == 0:
        sleep_ms(1)
        assert now() - start < 20, "the memory was not given back"
    return 0


cdef evbuffer *new_buffer() except NULL:
    cdef evbuffer *buf = evbuffer_new()
    assert buf != NULL
    assert evbuffer_set_flags(buf, EVBUFFER_FLAG_ZEROCOPY) == 0
    return buf


# --- numbers ------------------------------------------------------------------------------------------

def test_ranges():
    cdef uint32_t top = 0xffffffff
    assert zerocopy_in_range(0, 0, 0)
    assert not zerocopy_in_range(1, 0, 0)
    assert not zerocopy_in_range(top, 0, 0)
    assert zerocopy_in_range(7, 5, 9) and zerocopy_in_range(5, 5, 9) and zerocopy_in_range(9, 5, 9)
    assert not zerocopy_in_range(4, 5, 9) and not zerocopy_in_range(10, 5, 9)
    # Past 2**32.
    assert zerocopy_in_range(top, top - 1, 1) and zerocopy_in_range(0, top - 1, 1)
    assert zerocopy_in_range(1, top - 1, 1)
    assert not zerocopy_in_range(2, top - 1, 1) and not zerocopy_in_range(top - 2, top - 1, 1)
    assert zerocopy_in_range(top, top, top)
    assert not zerocopy_in_range(0, top, top)


cdef list owed(zerocopy_socket *sock):
    numbers = []
    cdef zerocopy_entry *entry = sock.first
    cdef zerocopy_entry *last = NULL
    while entry != NULL:
        numbers.append(entry.number)
        last = entry
        entry = entry.next
    assert sock.last == last
    return numbers


def test_notifications_past_the_last_number():
    """In any order, for one call or many, some of them for calls that nobody knows any more."""
    cdef zerocopy_socket sock
    cdef zerocopy_entry *entry
    cdef int i
    memset(&sock, 0, sizeof(sock))
    sock.fd = sock.epfd = -1
    numbers = [(0xfffffffc + i) % (1 << 32) for i in range(9)]
    for number in numbers:
        entry = <zerocopy_entry *>calloc(1, sizeof(zerocopy_entry))
        entry.number = number
        if sock.first == NULL:
            sock.first = entry
        else:
            sock.last.next = entry
        sock.last = entry
    assert owed(&sock) == numbers
    # A later one first.
    zerocopy_done_(&sock, 2, 2, True)
    assert owed(&sock) == numbers[:6] + numbers[7:]
    zerocopy_done_(&sock, 0xfffffffd, 0, False)
    assert owed(&sock) == [0xfffffffc, 1, 3, 4]
    zerocopy_done_(&sock, 4, 4, True)
    assert owed(&sock) == [0xfffffffc, 1, 3]
    zerocopy_done_(&sock, 5, 70, True)
    assert owed(&sock) == [0xfffffffc, 1, 3]
    zerocopy_done_(&sock, 0xfffffff0, 3, False)
    assert owed(&sock) == []
    assert sock.stats.done == 9
    assert sock.stats.copied == 2


# --- owners -------------------------------------------------------------------------------------------

def test_owner_is_told_once():
    """In the thread, after the buffer has gone; of a part, with the whole memory."""
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer_zerocopy_stats stats
    cdef Owner owner
    cdef bytes data = DATA
    memset(&owner, 0, sizeof(owner))
    left, right = tcp_pair()
    assert evbuffer_get_zerocopy_stats(buf, &stats) == -1
    assert stats.sent == 0
    assert evbuffer_add_reference(buf, <char *>data, 100_000, given_back, &owner) == 0
    assert evbuffer_drain(buf, 1000) == 0
    assert evbuffer_write(buf, left.fileno()) == 99_000
    assert evbuffer_get_length(buf) == 0
    assert evbuffer_get_zerocopy_stats(buf, &stats) == 0
    assert stats.sent == 1
    evbuffer_free(buf)
    left.close()
    assert receive(right, 99_000) == data[1000:]
    wait_for(&owner)
    sleep_ms(20)
    assert ev_add_int(&owner.calls, 0) == 1
    assert owner.data == <const void *><char *>data and owner.size == 100_000
    assert owner.thread != evthread_id_()
    right.close()


def test_owner_is_told_by_the_loop(method):
    """A base without a lock has nobody else's thread in its bufferevents' owners."""
    cdef bytes data = DATA
    cdef Owner owner
    cdef bufferevent *bev
    cdef int fd
    for flags in (0, 1):       # EVENT_BASE_FLAG_NOLOCK
        memset(&owner, 0, sizeof(owner))
        left, right = tcp_pair()
        base = make_base(method, flags, -1, 0)
        fd = left.detach()
        bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE)
        assert bev != NULL
        evbuffer_set_flags(bufferevent_get_output(bev), EVBUFFER_FLAG_ZEROCOPY)
        evbuffer_add(bufferevent_get_output(bev), b"head", 4)
        evbuffer_add_reference(bufferevent_get_output(bev), <char *>data, 100_000, given_back, &owner)
        event_base_loop(base, EVLOOP_NONBLOCK)
        event_base_loop(base, EVLOOP_NONBLOCK)
        assert evbuffer_get_length(bufferevent_get_output(bev)) == 0
        # It is no event of anybody's.
        assert event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED) == 0
        assert receive(right, 100_004) == b"head" + data
        wait_in_loop(bev, &owner)
        assert owner.calls == 1
        bufferevent_free(bev)
        event_base_free(base)
        assert right.recv(1) == b""
        right.close()
        assert owner.calls == 1


cdef int wait_in_loop(bufferevent *bev, Owner *owner) except -1:
    cdef double start = now()
    # Something has to be pending for the loop to run.
    bufferevent_enable(bev, EV_READ)
    while ev_add_int(&owner.calls, 0) == 0:
        event_base_loop(bev.ev_base, EVLOOP_NONBLOCK)
        assert now() - start < 20, "the memory was not given back"
    assert owner.thread == evthread_id_()
    return 0


def test_settings():
    cdef evbuffer *buf = evbuffer_new()
    cdef timeval tv = milliseconds(100)
    assert evbuffer_get_zerocopy_threshold(buf) == EVBUFFER_ZEROCOPY_THRESHOLD
    assert evbuffer_set_zerocopy_threshold(buf, 10) == 0
    assert evbuffer_get_zerocopy_threshold(buf) == 10
    assert evbuffer_set_zerocopy_threshold(buf, <size_t>1 << 32) == -1
    assert evbuffer_get_zerocopy_threshold(buf) == 10
    assert evbuffer_set_zerocopy_threshold(buf, 0) == 0
    assert evbuffer_get_zerocopy_threshold(buf) == EVBUFFER_ZEROCOPY_THRESHOLD
    assert evbuffer_set_zerocopy_limits(-1, NULL) == -1
    tv.tv_sec = -1
    assert evbuffer_set_zerocopy_limits(1, &tv) == -1
    assert evbuffer_set_zerocopy_limits(EVBUFFER_ZEROCOPY_SOCKETS, NULL) == 0
    evbuffer_free(buf)


# --- memory -------------------------------------------------------------------------------------------

# The thread that gives back allocates, too.
cdef int alive = 0             # what is allocated and not freed
cdef int until_failure = -1    # how many allocations still succeed; negative: all
cdef int failures = 0


cdef void *counted_malloc(size_t size) noexcept nogil:
    if ev_load_int(&until_failure) == 0:
        ev_add_int(&failures, 1)
        return NULL
    ev_add_int(&until_failure, -1)
    ev_add_int(&alive, 1)
    return malloc(size)


cdef void *counted_realloc(void *memory, size_t size) noexcept nogil:
    return realloc(memory, size) if memory != NULL else counted_malloc(size)


cdef void counted_free(void *memory) noexcept nogil:
    ev_add_int(&alive, -1 if memory != NULL else 0)
    free(memory)


def test_allocations_that_fail():
    """Then the bytes are copied; they arrive, their owner is told once, and nothing is lost."""
    cdef evbuffer *buf
    cdef bufferevent *bev
    cdef Owner owner
    cdef evbuffer_zerocopy_stats stats
    cdef bytes data = DATA
    cdef int before
    cdef int n
    evbuffer_pool_clear_()
    event_set_mem_functions(counted_malloc, counted_realloc, counted_free)
    for in_base in (False, True):
        n = 0
        while True:
            zerocopy_forget_()
            before = ev_load_int(&alive)
            memset(&owner, 0, sizeof(owner))
            left, right = tcp_pair()
            base = make_base("poll", 0, -1, 0)
            event_base_loop(base, EVLOOP_NONBLOCK)
            bev = NULL
            if in_base:
                bev = bufferevent_socket_new(base, left.fileno(), 0)
                buf = bufferevent_get_output(bev)
                # Written by hand, so that each failure is one of sending.
                buf.freeze_start = False
                bev.enabled = 0
            else:
                buf = evbuffer_new()
            evbuffer_set_flags(buf, EVBUFFER_FLAG_ZEROCOPY)
            assert evbuffer_add_reference(buf, <char *>data, 100_000, given_back, &owner) == 0
            ev_store_int(&failures, 0)
            ev_store_int(&until_failure, n)
            assert evbuffer_write(buf, left.fileno()) == 100_000
            ev_store_int(&until_failure, -1)
            done = ev_load_int(&failures) == 0
            evbuffer_get_zerocopy_stats(buf, &stats)
            assert done <= stats.sent
            assert receive(right, 100_000) == data
            if bev != NULL:
                bufferevent_free(bev)
            else:
                evbuffer_free(buf)
            wait_for(&owner)
            event_base_free(base)
            start = now()
            while zerocopy_owing_():
                sleep_ms(1)
                assert now() - start < 20
            zerocopy_forget_()
            assert ev_add_int(&owner.calls, 0) == 1
            # The pool of the thread that gave back may hold a header.
            evbuffer_pool_clear_()
            assert ev_load_int(&alive) == before, (in_base, n)
            left.close()
            right.close()
            if done:
                break
            n += 1
        assert n >= 2
    event_set_mem_functions(NULL, NULL, NULL)
