"""Buffers when memory, disks and peers fail, and what chains leave behind."""

import ctypes
import os
import resource
import signal
import socket
import tempfile
import threading

from libc.errno cimport EFBIG, ENOSPC, EPIPE, errno
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from cyevent cimport (
    EVBUF_FS_DISABLE_MMAP, EVBUF_FS_DISABLE_SENDFILE, evbuffer, evbuffer_add, evbuffer_add_buffer,
    evbuffer_add_buffer_reference, evbuffer_add_cb, evbuffer_add_file, evbuffer_add_file_segment,
    evbuffer_add_iovec, evbuffer_add_printf, evbuffer_add_reference,
    evbuffer_add_reference_with_offset, evbuffer_cb_info, evbuffer_chain, evbuffer_copyout,
    evbuffer_copyout_from, evbuffer_defer_callbacks, evbuffer_drain, evbuffer_enable_locking,
    EVBUFFER_EOL_LF, evbuffer_expand, evbuffer_file_segment, evbuffer_file_segment_free,
    evbuffer_file_segment_new, evbuffer_free, evbuffer_iovec, evbuffer_new, evbuffer_peek,
    evbuffer_prepend, evbuffer_prepend_buffer, evbuffer_ptr, evbuffer_ptr_set, EVBUFFER_PTR_SET,
    evbuffer_pullup, evbuffer_read, evbuffer_readln, evbuffer_remove, evbuffer_remove_buffer,
    evbuffer_reserve_space, evbuffer_search, evbuffer_search_eol, evbuffer_search_range,
    evbuffer_write, event_set_mem_functions,
)
from cyevent.buffer.chain cimport (
    evbuffer_chain_free_, evbuffer_chain_new_, evbuffer_pool_clear_,
)
from bufrig import in_each_mode
from bufrig cimport add, content, lend, new_buffer, validate
from rig cimport Rig

# They change the whole process: its allocator, its limits, what its signals do.
FORKED = (
    "test_each_allocation_fails", "test_memory_functions_replaced_midway", "test_pool_gives_back",
    "test_writing_where_there_is_no_room", "test_no_signal_from_sendfile",
)


# --- memory -----------------------------------------------------------------------------------------

cdef long alive = 0            # what is allocated and not freed
cdef long until_failure = -1   # how many allocations still succeed; negative: all
cdef long failures = 0


cdef void *counted_malloc(size_t size) noexcept nogil:
    global alive, failures, until_failure
    if until_failure == 0:
        failures += 1
        return NULL
    until_failure -= 1
    alive += 1
    return malloc(size)


cdef void *counted_realloc(void *memory, size_t size) noexcept nogil:
    return realloc(memory, size) if memory != NULL else counted_malloc(size)


cdef void counted_free(void *memory) noexcept nogil:
    global alive
    alive -= 1
    free(memory)


cdef void nothing(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept nogil:
    pass


LARGE = b"L" * 5000
FILE = b"the file's first line\nits second\n" * 3


cdef class Scene:
    """A buffer with a chain of each kind, and what operations need beside it."""
    cdef evbuffer *buf
    cdef evbuffer *other
    cdef evbuffer_file_segment *seg
    cdef Rig rig
    cdef object file

    def __cinit__(self):
        self.rig = Rig("poll")
        self.file = tempfile.TemporaryFile(buffering=0)
        self.file.write(FILE)
        self.buf = new_buffer()
        self.other = new_buffer()
        self.seg = evbuffer_file_segment_new(self.file.fileno(), 0, -1, EVBUF_FS_DISABLE_MMAP)
        assert self.seg != NULL
        add(self.buf, b"own bytes ")
        lend(self.buf, b"lent bytes ")
        assert evbuffer_add_file_segment(self.buf, self.seg, 0, -1) == 0
        add(self.buf, b" the tail")
        add(self.other, b"another buffer's bytes")
        lend(self.other, b", and more")

    def __dealloc__(self):
        evbuffer_free(self.buf)
        evbuffer_free(self.other)
        evbuffer_file_segment_free(self.seg)


cdef bint operation(Scene scene, int number) except -1:
    """Does one; returns whether it succeeded, or raises IndexError after the last."""
    cdef evbuffer *buf = scene.buf
    cdef evbuffer *other = scene.other
    cdef evbuffer *fresh
    cdef evbuffer_file_segment *seg
    cdef evbuffer_iovec vec[4]
    cdef bytes large = LARGE
    cdef char data[512]
    cdef char *text
    cdef evbuffer_ptr pos
    cdef evbuffer_ptr end
    cdef int fd
    cdef bint done
    if number == 0:
        return evbuffer_add(buf, b"x", 1) == 0
    if number == 1:
        return evbuffer_add(buf, <char *>large, 5000) == 0
    if number == 2:
        for i in range(3):
            vec[i].iov_base = <char *>large
            vec[i].iov_len = 3000
        done = evbuffer_add_iovec(buf, vec, 3) == 9000
        return done
    if number == 3:
        return evbuffer_add_reference(buf, <char *>large, 5000, NULL, NULL) == 0
    if number == 4:
        return evbuffer_prepend(buf, <char *>large, 5000) == 0
    if number == 5:
        return evbuffer_add_buffer_reference(other, buf) == 0
    if number == 6:
        # Into the file; 50: into what is in front of it.
        return evbuffer_remove_buffer(buf, other, 50) == 50
    if number == 7:
        return evbuffer_remove_buffer(buf, other, 15) == 15
    if number == 8:
        return evbuffer_pullup(buf, -1) != NULL
    if number == 9:
        return evbuffer_expand(buf, 10000) == 0
    if number == 10:
        return evbuffer_reserve_space(buf, 10000, vec, 4) > 0
    if number == 11:
        return evbuffer_reserve_space(buf, 10000, vec, 1) == 1
    if number == 12:
        return evbuffer_add_printf(buf, b"%5000s", b"printed") == 5000
    if number == 13:
        text = evbuffer_readln(buf, NULL, EVBUFFER_EOL_LF)
        if text != NULL:
            counted_free(text)
        return text != NULL
    if number == 14:
        os.write(scene.rig.pair[0], b"read" * 500)
        return evbuffer_read(buf, scene.rig.pair[1], -1) > 0
    if number == 15:
        return evbuffer_add_file_segment(buf, scene.seg, 3, 10) == 0
    if number == 16:
        fd = os.dup(scene.file.fileno())
        done = evbuffer_add_file(buf, fd, 0, -1) == 0
        if not done:
            os.close(fd)
        return done
    if number == 17:
        seg = evbuffer_file_segment_new(scene.file.fileno(), 0, -1, 0)
        evbuffer_file_segment_free(seg)
        return seg != NULL
    if number == 18:
        return evbuffer_add_cb(buf, nothing, NULL) != NULL
    if number == 19:
        fresh = evbuffer_new()
        if fresh == NULL:
            return False
        done = evbuffer_enable_locking(fresh, NULL) == 0
        evbuffer_free(fresh)
        return done
    if number == 20:
        return evbuffer_copyout(buf, data, 512) > 0
    if number == 21:
        return evbuffer_search(buf, b"second", 6, NULL).pos > 0
    if number == 22:
        return evbuffer_peek(buf, -1, NULL, vec, 4) > 0
    if number == 23:
        return evbuffer_remove(buf, data, 512) > 0
    if number == 24:
        return evbuffer_prepend_buffer(other, buf) == 0 and evbuffer_add_buffer(buf, other) == 0
    if number == 25:
        return evbuffer_write(buf, scene.rig.pair[0]) > 0
    if number == 26:
        return evbuffer_add_reference_with_offset(buf, <char *>large, 10, 4000, NULL, NULL) == 0
    if number == 27:
        evbuffer_ptr_set(buf, &pos, 15, EVBUFFER_PTR_SET)
        return evbuffer_copyout_from(buf, &pos, data, 40) == 40
    if number == 28:
        return evbuffer_search_eol(buf, NULL, NULL, EVBUFFER_EOL_LF).pos > 0
    if number == 29:
        evbuffer_ptr_set(buf, &pos, 5, EVBUFFER_PTR_SET)
        evbuffer_ptr_set(buf, &end, 70, EVBUFFER_PTR_SET)
        return evbuffer_search_range(buf, b"second", 6, &pos, &end).pos > 0
    if number == 30:
        # In place of what is reserved already.
        return evbuffer_reserve_space(buf, 100, vec, 2) > 0 and evbuffer_reserve_space(buf, 30000, vec, 2) > 0
    if number == 31:
        fresh = evbuffer_new()
        if fresh == NULL:
            return False
        done = evbuffer_remove_buffer(buf, fresh, 5) == 5
        evbuffer_free(fresh)
        return done
    if number == 32:
        return evbuffer_pullup(buf, 12) != NULL
    if number == 33:
        # What cannot be sent from the file is read for it.
        seg = evbuffer_file_segment_new(scene.file.fileno(), 0, -1, EVBUF_FS_DISABLE_SENDFILE)
        done = seg != NULL and evbuffer_add_file_segment(other, seg, 0, -1) == 0 \
            and evbuffer_write(other, scene.rig.pair[0]) > 0
        evbuffer_file_segment_free(seg)
        return done
    if number == 34:
        text = evbuffer_readln(other, NULL, EVBUFFER_EOL_LF)
        return text == NULL
    if number == 35:
        return evbuffer_defer_callbacks(other, scene.rig.base) == 0
    raise IndexError


# These need no memory; 0, 7 and 32 only when chains have the usual size. All other functions of buffer.h that
# change or look at a buffer are wrappers of what is above (add_vprintf, write_atmost) or never allocate: drain,
# commit_space, ptr_set, freeze and unfreeze, the flags and limits, lock and unlock, the removal of callbacks.
NEED_NO_MEMORY = {0, 7, 24, 25, 32, 34, 35}


@in_each_mode
def test_each_allocation_fails():
    """The buffers are then as they were, and nothing is lost."""
    global alive, failures, until_failure
    cdef Scene scene
    cdef int number = 0
    cdef int n
    cdef bint done
    needed_none = set()
    # So that every chain is asked for.
    evbuffer_pool_clear_()
    event_set_mem_functions(counted_malloc, counted_realloc, counted_free)
    try:
        while True:
            before = alive
            n = 0
            while True:
                scene = Scene()
                # The contents are read elsewhere: reading them here would load the file.
                whole = b"own bytes lent bytes " + FILE + b" the tail"
                other = b"another buffer's bytes, and more"
                failures = 0
                until_failure = n
                try:
                    done = operation(scene, number)
                except IndexError:
                    until_failure = -1
                    assert number == 36
                    assert needed_none <= NEED_NO_MEMORY, needed_none
                    return
                finally:
                    until_failure = -1
                validate(scene.buf)
                validate(scene.other)
                if failures == 0:
                    assert done, number
                    break
                if not done:
                    assert content(scene.buf) == whole, number
                    assert content(scene.other) == other, number
                del scene
                assert alive == before, number
                n += 1
            del scene
            assert alive == before, number
            if n == 0:
                needed_none.add(number)
            number += 1
    finally:
        event_set_mem_functions(NULL, NULL, NULL)


cdef void other_free(void *memory) noexcept nogil:
    global alive
    # From counted_malloc through other_malloc, and so with something in front.
    alive -= 1
    free(<char *>memory - 64)


cdef void *other_malloc(size_t size) noexcept nogil:
    cdef char *memory = <char *>malloc(size + 64)
    global alive
    alive += 1
    return memory + 64


cdef void *other_realloc(void *memory, size_t size) noexcept nogil:
    return NULL


def test_memory_functions_replaced_midway():
    """What the pool keeps from before is not given to functions that it did not come from."""
    global alive
    cdef evbuffer *buf
    cdef int i
    for _ in range(3):
        for i in range(100):
            # Into the pool and out again.
            buf = evbuffer_new()
            add(buf, b"x" * (1 + i % 5 * 900))
            add(buf, b"x" * 1000)
            evbuffer_free(buf)
        alive = 0
        event_set_mem_functions(other_malloc, other_realloc, other_free)
        for i in range(100):
            buf = evbuffer_new()
            add(buf, b"y" * (1 + i % 5 * 900))
            add(buf, b"y" * 1000)
            evbuffer_free(buf)
        # Not kept, either.
        assert alive == 0
        event_set_mem_functions(NULL, NULL, NULL)
    evbuffer_pool_clear_()


# --- the pool ---------------------------------------------------------------------------------------

class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
        "keepcost",
    )]


def in_use():
    """How much the C library has given out. What the process has of the system depends on all tests before."""
    function = ctypes.CDLL(None).mallinfo2
    function.restype = Mallinfo2
    info = function()
    return info.uordblks + info.hblkhd


def test_pool_gives_back():
    """After a crowd of chains all but a little of their memory is free again."""
    cdef evbuffer *buf = evbuffer_new()
    # A sanitizer's allocator is not the one that is asked.
    if not hasattr(ctypes.CDLL(None), "mallinfo2") or os.environ.get("CYEVENT_SANITIZE"):
        evbuffer_free(buf)
        return
    start = in_use()
    for _ in range(50_000):
        lend(buf, b"a border")
        add(buf, b"x" * 900)
    crowd = in_use() - start
    assert crowd > 50_000_000
    evbuffer_drain(buf, <size_t>-1)
    # What is kept for the next chains is bounded.
    assert in_use() - start < crowd * 0.02
    evbuffer_pool_clear_()
    assert in_use() - start < crowd * 0.02
    add(buf, b"the pool is in use again")
    evbuffer_free(buf)


cdef struct Handed:
    evbuffer_chain *chains[512]


def test_pool_in_many_threads():
    """Chains that end in another thread than they began in, threads that end, and clearing meanwhile."""
    errors = []

    def work(seed):
        cdef Handed mine
        cdef int i
        cdef int j
        try:
            for j in range(50):
                with nogil:
                    for i in range(512):
                        mine.chains[i] = evbuffer_chain_new_(100 + (i % 4) * 1000)
                        memset(mine.chains[i].buffer, i & 255, mine.chains[i].buffer_len)
                    for i in range(512):
                        if mine.chains[i].buffer[mine.chains[i].buffer_len - 1] != (i & 255):
                            with gil:
                                errors.append("two users of one chain")
                        evbuffer_chain_free_(mine.chains[i])
                    if j % 10 == 0:
                        evbuffer_pool_clear_()
        except BaseException as error:
            errors.append(error)

    for _ in range(3):
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors


def test_bytes_from_thread_to_thread():
    """A buffer with a lock, filled by some and emptied by others."""
    cdef evbuffer *shared = evbuffer_new()
    assert evbuffer_enable_locking(shared, NULL) == 0
    cdef unsigned long address = <unsigned long>shared
    total = 4 * 3000 * 100
    got = []

    def fill():
        cdef evbuffer *buf = <evbuffer *><unsigned long>address
        cdef evbuffer *mine = new_buffer()
        cdef bytes data = bytes(range(100))
        cdef char *text = data
        cdef int i
        with nogil:
            for i in range(3000):
                if i % 3 == 0:
                    evbuffer_add(mine, text, 100)
                    evbuffer_add_buffer(buf, mine)
                else:
                    evbuffer_add(buf, text, 100)
        evbuffer_free(mine)

    def empty():
        cdef evbuffer *buf = <evbuffer *><unsigned long>address
        cdef evbuffer *mine = new_buffer()
        cdef char data[150]
        cdef long n = 0
        cdef int _i
        cdef int some
        while sum(got) < total:
            n = 0
            with nogil:
                for _i in range(1000):
                    some = evbuffer_remove_buffer(buf, mine, 70)
                    if some > 0:
                        n += some
                    some = evbuffer_remove(buf, data, 150)
                    if some > 0:
                        n += some
            validate(mine)
            got.append(n)
        evbuffer_free(mine)

    threads = [threading.Thread(target=f) for f in (fill, fill, fill, fill, empty, empty)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == total
    validate(shared)
    evbuffer_free(shared)


# --- disks and peers --------------------------------------------------------------------------------

@in_each_mode
def test_writing_where_there_is_no_room():
    cdef evbuffer *buf = new_buffer()
    cdef int fd
    whole = b"x" * 3000
    rest = whole[1000:]
    add(buf, whole[:1000])
    lend(buf, rest)
    if os.path.exists("/dev/full"):
        fd = os.open("/dev/full", os.O_WRONLY)
        assert evbuffer_write(buf, fd) == -1
        assert errno == ENOSPC
        os.close(fd)
        validate(buf)
        assert content(buf) == whole
    # As far as the limit lets, and then not at all.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    try:
        with tempfile.TemporaryFile(buffering=0) as target:
            assert evbuffer_write(buf, target.fileno()) == 2000
            assert evbuffer_write(buf, target.fileno()) == -1
            assert errno == EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    validate(buf)
    assert content(buf) == whole[2000:]
    evbuffer_free(buf)


def test_no_signal_from_sendfile():
    """To a peer that is gone, in a program that did not say what SIGPIPE is to do."""
    cdef evbuffer *buf = evbuffer_new()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    left, right = socket.socketpair()
    right.close()
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b"not to be had")
        for head in (b"", b"head"):
            lend(buf, head)
            assert evbuffer_add_file(buf, os.dup(file.fileno()), 0, -1) == 0
            assert evbuffer_write(buf, left.fileno()) == -1
            assert errno == EPIPE
            assert content(buf) == head + b"not to be had"
            evbuffer_drain(buf, 100)
    # Nothing is left pending, and who waits for the signal gets his own.
    assert signal.SIGPIPE not in signal.sigpending()
    assert signal.SIGPIPE not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGPIPE,))
    os.kill(os.getpid(), signal.SIGPIPE)
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b"nor this")
        assert evbuffer_add_file(buf, os.dup(file.fileno()), 0, -1) == 0
        assert evbuffer_write(buf, left.fileno()) == -1
        assert errno == EPIPE
    assert signal.SIGPIPE in signal.sigpending()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    left.close()
    evbuffer_free(buf)
