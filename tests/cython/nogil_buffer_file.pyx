"""Parts of files in buffers, through libevent's names."""

import os
import tempfile

from libc.errno cimport EAGAIN, EBADF, EINVAL, EIO, errno
from libc.stdlib cimport free
from libc.string cimport memset
from posix.unistd cimport close, pipe, read

from cyevent cimport (
    event_base_dispatch, event_base_loopexit, event_free, event_new, event, event_base, event_add,
    EV_PERSIST, EV_READ, EV_WRITE, evbuffer, evbuffer_add_buffer, evbuffer_add_buffer_reference,
    evbuffer_add_file, evbuffer_add_file_segment, evbuffer_copyout, evbuffer_drain,
    EVBUFFER_EOL_LF, EVBUFFER_EOL_CRLF, evbuffer_file_segment,
    evbuffer_file_segment_add_cleanup_cb, evbuffer_file_segment_free, evbuffer_file_segment_new,
    EVBUFFER_FLAG_DRAINS_TO_FD, evbuffer_free, evbuffer_freeze, evbuffer_get_length,
    evbuffer_iovec, evbuffer_peek, evbuffer_prepend, evbuffer_ptr, evbuffer_ptr_set,
    EVBUFFER_PTR_SET, evbuffer_pullup, evbuffer_read, evbuffer_readln, evbuffer_remove,
    evbuffer_remove_buffer, evbuffer_search, evbuffer_search_eol, evbuffer_set_flags,
    evbuffer_copyout_from, evbuffer_write, evbuffer_write_atmost, EVBUF_FS_CLOSE_ON_FREE,
    EVBUF_FS_DISABLE_LOCKING, EVBUF_FS_DISABLE_MMAP, EVBUF_FS_DISABLE_SENDFILE,
)
from bufrig import in_each_mode
from bufrig cimport add, content, lend, new_buffer, pulled, validate
from rig cimport Rig

cdef enum:
    LINEAR = 6                 # EVBUF_FS_DISABLE_MMAP | EVBUF_FS_DISABLE_SENDFILE


def temporary(data):
    """An open file without a name that holds these bytes."""
    file = tempfile.TemporaryFile(buffering=0)
    file.write(data)
    return file


cdef bint is_open(int fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


cdef evbuffer_file_segment *segment(object file, long offset, long length, unsigned flags) except NULL:
    cdef evbuffer_file_segment *seg = evbuffer_file_segment_new(file.fileno(), offset, length, flags)
    assert seg != NULL
    return seg


# --- through a socket, in every way -----------------------------------------------------------------

cdef struct Transfer:
    event_base *base
    evbuffer *source
    evbuffer *target
    size_t written
    int failure


cdef void write_more(int fd, short what, void *arg) noexcept nogil:
    cdef Transfer *t = <Transfer *>arg
    cdef int n
    while evbuffer_get_length(t.source):
        n = evbuffer_write(t.source, fd)
        if n < 0:
            if errno != EAGAIN:
                t.failure = errno
                event_base_loopexit(t.base, NULL)
            return
        t.written += n


cdef void read_more(int fd, short what, void *arg) noexcept nogil:
    cdef Transfer *t = <Transfer *>arg
    while evbuffer_read(t.target, fd, 1024) > 0:
        pass
    if evbuffer_get_length(t.source) == 0 and evbuffer_get_length(t.target) >= t.written:
        event_base_loopexit(t.base, NULL)


cdef bytes transferred(Rig rig, evbuffer *source):
    """What arrives at the other end of a socket pair."""
    cdef Transfer t
    cdef event *writing
    cdef event *reading
    memset(&t, 0, sizeof(t))
    t.base = rig.base
    t.source = source
    t.target = new_buffer()
    writing = event_new(rig.base, rig.pair[0], EV_WRITE | EV_PERSIST, write_more, &t)
    reading = event_new(rig.base, rig.pair[1], EV_READ | EV_PERSIST, read_more, &t)
    event_add(writing, NULL)
    event_add(reading, NULL)
    event_base_dispatch(rig.base)
    event_free(writing)
    event_free(reading)
    assert t.failure == 0, os.strerror(t.failure)
    validate(source)
    validate(t.target)
    data = pulled(t.target)
    evbuffer_free(t.target)
    return data


cdef int through_socket(str method, unsigned flags, bint use_segment, bint big, bint part_of_file,
                        bint part_of_segment) except -1:
    cdef Rig rig = Rig(method)
    cdef evbuffer *source = new_buffer()
    cdef evbuffer_file_segment *seg = NULL
    cdef long offset = 0, length = -1, begin = 0, count = -1
    data = os.urandom(512 * 1024) if big else b"here is a relatively small string."
    expected = data
    if part_of_file:
        offset = len(data) // 4 + 1
        length = len(data) // 2 - 1
        expected = data[offset:offset + length]
    if part_of_segment:
        begin = len(expected) // 3
        count = len(expected) // 2
        expected = expected[begin:begin + count]
    evbuffer_set_flags(source, EVBUFFER_FLAG_DRAINS_TO_FD)
    with temporary(data) as file:
        if use_segment:
            seg = segment(file, offset, length, flags)
            assert evbuffer_add_file_segment(source, seg, begin, count) == 0
        else:
            assert evbuffer_add_file(source, os.dup(file.fileno()), offset, length) == 0
        validate(source)
        assert evbuffer_get_length(source) == len(expected)
        assert transferred(rig, source) == expected
        if seg != NULL:
            # It was mapped only where nothing else works, and never read whole.
            assert seg.is_mapping == (flags == EVBUF_FS_DISABLE_SENDFILE)
            assert (seg.contents != NULL) == seg.is_mapping
            assert seg.refcnt == 1
            evbuffer_file_segment_free(seg)
            assert is_open(file.fileno())
    evbuffer_free(source)
    return 0


def test_add_file_sendfile(method):
    through_socket(method, EVBUF_FS_DISABLE_MMAP, True, False, False, False)


def test_add_file_mmap(method):
    through_socket(method, EVBUF_FS_DISABLE_SENDFILE, True, False, False, False)


def test_add_file_linear(method):
    through_socket(method, LINEAR, True, False, False, False)


def test_add_file_nosegment(method):
    through_socket(method, 0, False, False, False, False)


def test_add_big_file_sendfile(method):
    through_socket(method, EVBUF_FS_DISABLE_MMAP, True, True, False, False)


def test_add_big_file_mmap(method):
    through_socket(method, EVBUF_FS_DISABLE_SENDFILE, True, True, False, False)


def test_add_big_file_linear(method):
    through_socket(method, LINEAR, True, True, False, False)


def test_add_big_file_nosegment(method):
    through_socket(method, 0, False, True, False, False)


def test_add_file_offset_sendfile(method):
    through_socket(method, EVBUF_FS_DISABLE_MMAP, True, True, True, False)


def test_add_file_offset_mmap(method):
    through_socket(method, EVBUF_FS_DISABLE_SENDFILE, True, True, True, False)


def test_add_file_offset_linear(method):
    through_socket(method, LINEAR, True, True, True, False)


def test_add_file_offset_nosegment(method):
    through_socket(method, 0, False, True, True, False)


def test_add_file_offset2_sendfile(method):
    through_socket(method, EVBUF_FS_DISABLE_MMAP, True, True, False, True)


def test_add_file_offset2_mmap(method):
    through_socket(method, EVBUF_FS_DISABLE_SENDFILE, True, True, False, True)


def test_add_file_offset2_linear(method):
    through_socket(method, LINEAR, True, True, False, True)


def test_add_file_offset3_sendfile(method):
    through_socket(method, EVBUF_FS_DISABLE_MMAP, True, True, True, True)


def test_add_file_offset3_mmap(method):
    through_socket(method, EVBUF_FS_DISABLE_SENDFILE, True, True, True, True)


def test_add_file_offset3_linear(method):
    through_socket(method, LINEAR, True, True, True, True)


# --- ownership --------------------------------------------------------------------------------------

def test_add_file_leak1():
    """A descriptor that is closed, and an empty file."""
    cdef evbuffer *buf = new_buffer()
    cdef int fd
    with temporary(b"") as file:
        fd = os.dup(file.fileno())
        os.close(fd)
        assert evbuffer_add_file(buf, fd, 0, 0) == -1
        assert errno == EBADF
        validate(buf)
        # Nothing to send is sent already.
        fd = os.dup(file.fileno())
        assert evbuffer_add_file(buf, fd, 0, -1) == 0
        assert evbuffer_get_length(buf) == 0
        assert not is_open(fd)
    evbuffer_free(buf)


cdef struct Cleaned:
    int times
    const evbuffer_file_segment *seg
    int flags
    bint was_open
    int fd


cdef void cleaned(const evbuffer_file_segment *seg, int flags, void *arg) noexcept nogil:
    cdef Cleaned *note = <Cleaned *>arg
    note.times += 1
    note.seg = seg
    note.flags = flags
    with gil:
        note.was_open = is_open(note.fd)


@in_each_mode
def test_file_segment_add_cleanup_cb():
    cdef evbuffer *one
    cdef evbuffer *two
    cdef evbuffer_file_segment *seg
    cdef Cleaned note
    cdef unsigned flags
    for flags in (0, EVBUF_FS_CLOSE_ON_FREE, EVBUF_FS_DISABLE_LOCKING):
        one = new_buffer()
        two = new_buffer()
        memset(&note, 0, sizeof(note))
        with temporary(b"file_segment_test_file") as file:
            note.fd = os.dup(file.fileno())
            seg = evbuffer_file_segment_new(note.fd, 0, -1, flags)
            assert (seg.lock == NULL) == (flags == EVBUF_FS_DISABLE_LOCKING)
            evbuffer_file_segment_add_cleanup_cb(seg, cleaned, &note)
            for _ in range(3):
                assert evbuffer_add_file_segment(one, seg, 0, -1) == 0
            assert seg.refcnt == 4
            evbuffer_file_segment_free(seg)
            assert evbuffer_add_buffer_reference(two, one) == 0
            validate(two)
            assert content(two) == b"file_segment_test_file" * 3
            evbuffer_free(one)
            assert note.times == 0
            evbuffer_drain(two, 65)
            assert note.times == 0 and is_open(note.fd)
            assert content(two) == b"e"
            evbuffer_drain(two, 1)
            assert note.times == 1 and note.seg == seg and note.flags == <int>flags
            # Closed before, where that is the segment's to do.
            assert note.was_open == (flags != EVBUF_FS_CLOSE_ON_FREE)
            assert is_open(note.fd) == note.was_open
            if note.was_open:
                os.close(note.fd)
        evbuffer_free(two)


@in_each_mode
def test_bad_parts():
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer_file_segment *seg
    cdef int ends[2]
    cdef int fd
    with temporary(b"0123456789") as file:
        fd = file.fileno()
        for offset, length in ((-1, 5), (0, -2), (0, 11), (5, 6), (11, 0), (11, -1),
                               (5, 0x7fffffffffffffff), (0x7fffffffffffffff, 5)):
            assert evbuffer_file_segment_new(fd, offset, length, 0) == NULL
            assert errno == EINVAL
            assert evbuffer_add_file(buf, fd, offset, length) == -1
        seg = segment(file, 2, 6, 0)
        for offset, length in ((-1, 1), (0, -2), (0, 7), (3, 4), (7, 0), (7, -1),
                               (3, 0x7fffffffffffffff)):
            assert evbuffer_add_file_segment(buf, seg, offset, length) == -1
            assert errno == EINVAL
        validate(buf)
        assert evbuffer_get_length(buf) == 0 and seg.refcnt == 1
        assert evbuffer_add_file_segment(buf, seg, 6, -1) == 0
        assert evbuffer_get_length(buf) == 0
        assert evbuffer_add_file_segment(buf, seg, 1, 3) == 0
        assert evbuffer_add_file_segment(buf, seg, 5, -1) == 0
        assert content(buf) == b"3457"
        evbuffer_freeze(buf, 0)
        assert evbuffer_add_file_segment(buf, seg, 0, 1) == -1
        assert seg.refcnt == 3
        evbuffer_file_segment_free(seg)
        assert is_open(fd)
    # What has no size cannot be added without one, and what has no positions gives nothing.
    assert pipe(ends) == 0
    assert evbuffer_file_segment_new(ends[0], 0, -1, 0) == NULL
    seg = evbuffer_file_segment_new(ends[0], 0, 5, EVBUF_FS_CLOSE_ON_FREE)
    evbuffer_free(buf)
    buf = new_buffer()
    assert evbuffer_add_file_segment(buf, seg, 0, -1) == 0
    evbuffer_file_segment_free(seg)
    assert evbuffer_pullup(buf, -1) == NULL
    assert evbuffer_write(buf, ends[1]) == -1
    assert evbuffer_get_length(buf) == 5
    evbuffer_free(buf)
    close(ends[1])


# --- in memory --------------------------------------------------------------------------------------

@in_each_mode
def test_each_use_loads():
    """Every operation that needs a file's bytes gets them, between others that are in memory."""
    cdef evbuffer *buf
    cdef evbuffer *other
    cdef evbuffer_file_segment *seg
    cdef evbuffer_iovec vec[8]
    cdef evbuffer_ptr pos
    cdef size_t n
    cdef unsigned flags
    cdef char data[64]
    cdef char *text
    for use in range(11):
        for flags in (0, EVBUF_FS_DISABLE_MMAP, EVBUF_FS_DISABLE_SENDFILE, LINEAR):
            buf = new_buffer()
            other = new_buffer()
            with temporary(b"..file one\nfile two\n..") as file:
                seg = segment(file, 2, 18, flags)
                add(buf, b"head ")
                assert evbuffer_add_file_segment(buf, seg, 0, -1) == 0
                evbuffer_file_segment_free(seg)
                lend(buf, b" tail")
                whole = b"head file one\nfile two\n tail"
                assert seg.contents == NULL
                if use == 0:
                    assert content(buf) == whole
                elif use == 1:
                    assert pulled(buf) == whole
                elif use == 2:
                    assert evbuffer_remove(buf, data, 64) == len(whole)
                    assert data[:len(whole)] == whole
                    whole = b""
                elif use == 3:
                    n = evbuffer_peek(buf, -1, NULL, vec, 8)
                    assert b"".join([(<char *>vec[i].iov_base)[:vec[i].iov_len]
                                     for i in range(n)]) == whole
                elif use == 4:
                    assert evbuffer_search(buf, b"one\nfile", 8, NULL).pos == 10
                elif use == 5:
                    assert evbuffer_search(buf, b"two\n tail", 9, NULL).pos == 19
                elif use == 6:
                    assert evbuffer_search_eol(buf, NULL, &n, EVBUFFER_EOL_CRLF).pos == 13
                elif use == 7:
                    text = evbuffer_readln(buf, NULL, EVBUFFER_EOL_LF)
                    assert text[:13] == b"head file one"
                    free(text)
                    whole = whole[14:]
                elif use == 8:
                    assert evbuffer_ptr_set(buf, &pos, 15, EVBUFFER_PTR_SET) == 0
                    assert evbuffer_copyout_from(buf, &pos, data, 10) == 10
                    assert data[:10] == whole[15:25]
                elif use == 9:
                    # Moved, whole or in part, it is still in the file only.
                    assert evbuffer_remove_buffer(buf, other, 9) == 9
                    assert seg.contents == NULL
                    validate(other)
                    assert content(other) == whole[:9]
                    whole = whole[9:]
                elif use == 10:
                    assert evbuffer_add_buffer(other, buf) == 0
                    assert seg.contents == NULL
                    evbuffer_drain(other, 7)
                    evbuffer_prepend(other, b"NEW he", 6)
                    assert pulled(other) == b"NEW he" + whole[7:]
                    assert file_is(file, b"..file one\nfile two\n..")
                    whole = b""
                validate(buf)
                assert content(buf) == whole
            evbuffer_free(buf)
            evbuffer_free(other)


def file_is(file, data):
    return os.pread(file.fileno(), 1000, 0) == data


def test_one_mapping():
    """However often a segment is added, from wherever."""
    cdef evbuffer *one = new_buffer()
    cdef evbuffer *two = new_buffer()
    cdef evbuffer_file_segment *seg
    cdef evbuffer_iovec vec[4]
    cdef char *start
    page = os.sysconf("SC_PAGESIZE")
    data = os.urandom(3 * page)
    with temporary(data) as file:
        # Not at the start of a page.
        seg = segment(file, 100, 2 * page, 0)
        assert evbuffer_add_file_segment(one, seg, 0, 1000) == 0
        assert evbuffer_add_file_segment(two, seg, page, 50) == 0
        assert evbuffer_add_file_segment(one, seg, 500, -1) == 0
        assert evbuffer_peek(one, -1, NULL, vec, 4) == 2
        start = <char *>vec[0].iov_base
        assert start == seg.contents and seg.is_mapping
        assert vec[1].iov_base == <void *>(start + 500)
        assert evbuffer_peek(two, -1, NULL, vec, 4) == 1
        assert vec[0].iov_base == <void *>(start + <long>page)
        assert content(one) == data[100:1100] + data[600:100 + 2 * page]
        assert content(two) == data[100 + page:150 + page]
        evbuffer_file_segment_free(seg)
    evbuffer_free(one)
    evbuffer_free(two)


@in_each_mode
def test_past_four_gibibytes():
    """In a sparse file: offsets and lengths that 32 bits do not hold."""
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer *target = new_buffer()
    cdef evbuffer_file_segment *seg
    cdef evbuffer_ptr pos
    cdef Rig rig = Rig("poll")
    cdef char data[8]
    cdef unsigned flags
    far = 6 << 30
    with tempfile.TemporaryFile(buffering=0) as file:
        os.pwrite(file.fileno(), b"begin", 0)
        os.pwrite(file.fileno(), b"far away", far)
        for flags in (0, EVBUF_FS_DISABLE_MMAP, EVBUF_FS_DISABLE_SENDFILE, LINEAR):
            seg = segment(file, far, -1, flags)
            assert evbuffer_add_file_segment(buf, seg, 4, 4) == 0
            assert evbuffer_write(buf, rig.pair[0]) == 4
            assert read(rig.pair[1], data, 8) == 4 and data[:4] == b"away"
            assert evbuffer_add_file_segment(buf, seg, 0, -1) == 0
            assert pulled(buf) == b"far away"
            evbuffer_drain(buf, 8)
            evbuffer_file_segment_free(seg)
        # All of it, twice.
        seg = segment(file, 0, -1, 0)
        assert seg.length == far + 8
        for _ in range(2):
            assert evbuffer_add_file_segment(buf, seg, 0, -1) == 0
        evbuffer_file_segment_free(seg)
        assert evbuffer_get_length(buf) == 2 * (far + 8)
        assert evbuffer_ptr_set(buf, &pos, far, EVBUFFER_PTR_SET) == 0
        assert evbuffer_copyout_from(buf, &pos, data, 8) == 8 and data[:8] == b"far away"
        assert evbuffer_ptr_set(buf, &pos, far + 6, EVBUFFER_PTR_SET) == 0
        assert evbuffer_search(buf, b"aybegin", 7, &pos).pos == far + 6
        assert evbuffer_drain(buf, far + 4) == 0
        assert evbuffer_remove_buffer(buf, target, 9) == 9
        assert content(target) == b"awaybegin"
        assert evbuffer_drain(buf, far - 5) == 0
        assert evbuffer_write(buf, rig.pair[0]) == 8
        assert read(rig.pair[1], data, 8) == 8 and data[:8] == b"far away"
        validate(buf)
        assert evbuffer_get_length(buf) == 0
    evbuffer_free(buf)
    evbuffer_free(target)


# --- what goes wrong --------------------------------------------------------------------------------

@in_each_mode
def test_file_shrinks():
    """While it is queued: EIO for who wants the lost bytes, the others are there."""
    cdef Rig rig = Rig("poll")
    cdef evbuffer *buf
    cdef evbuffer_file_segment *seg
    cdef evbuffer_iovec vec[4]
    cdef char data[64]
    cdef bint load_first
    cdef unsigned flags
    page = os.sysconf("SC_PAGESIZE")
    for flags in (0, EVBUF_FS_DISABLE_MMAP, EVBUF_FS_DISABLE_SENDFILE, LINEAR):
        for load_first in (False, True):
            if load_first and flags & EVBUF_FS_DISABLE_MMAP:
                # Once it is in memory, it stays there.
                continue
            buf = new_buffer()
            with temporary(b"x" * 2 * page) as file:
                seg = segment(file, 0, -1, flags)
                lend(buf, b"head")
                evbuffer_add_file_segment(buf, seg, 0, -1)
                evbuffer_file_segment_free(seg)
                lend(buf, b"tail")
                if load_first:
                    assert evbuffer_search(buf, b"tail", 4, NULL).pos == 4 + 2 * page
                    assert seg.is_mapping
                file.truncate(10)
                n = evbuffer_get_length(buf)
                assert evbuffer_pullup(buf, -1) == NULL and errno == EIO
                assert evbuffer_copyout(buf, data, 64) == -1 and errno == EIO
                assert evbuffer_remove(buf, data, 64) == -1 and errno == EIO
                assert evbuffer_peek(buf, -1, NULL, vec, 4) == -1 and errno == EIO
                assert evbuffer_search(buf, b"tail", 4, NULL).pos == -1 and errno == EIO
                assert evbuffer_readln(buf, NULL, EVBUFFER_EOL_LF) == NULL and errno == EIO
                # Those in front of it are to be had, and the buffer has not changed.
                assert evbuffer_copyout(buf, data, 4) == 4 and data[:4] == b"head"
                validate(buf)
                assert evbuffer_get_length(buf) == n
                # Writing gives what there is, then fails.
                got = b""
                while evbuffer_write(buf, rig.pair[0]) > 0:
                    got += data[:read(rig.pair[1], data, 64)]
                assert errno == EIO
                assert got == b"head" + (b"" if flags == EVBUF_FS_DISABLE_SENDFILE else b"x" * 10)
                assert evbuffer_get_length(buf) == n - len(got)
                # The owner gives the rest up.
                evbuffer_drain(buf, evbuffer_get_length(buf) - 4)
                assert content(buf) == b"tail"
            evbuffer_free(buf)


@in_each_mode
def test_file_vanishes():
    """A file without a name is still a file; one whose descriptor is closed is not."""
    cdef evbuffer *buf = new_buffer()
    cdef char data[8]
    cdef int fd
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"vanished")
        file.flush()
        fd = os.dup(file.fileno())
        assert evbuffer_add_file(buf, fd, 0, -1) == 0
    assert content(buf) == b"vanished"
    # Against the rules.
    os.close(fd)
    assert evbuffer_copyout(buf, data, 8) == -1 and errno == EBADF
    assert evbuffer_write(buf, 1) == -1 and errno == EBADF
    assert evbuffer_get_length(buf) == 8
    evbuffer_free(buf)


def test_targets_that_sendfile_refuses():
    """A file that is appended to: what has been read is written instead."""
    cdef evbuffer *buf = new_buffer()
    cdef bytes data = os.urandom(100_000)
    cdef int ends[2]
    with temporary(data) as file, tempfile.NamedTemporaryFile() as named:
        target = os.open(named.name, os.O_WRONLY | os.O_APPEND)
        assert evbuffer_add_file(buf, os.dup(file.fileno()), 0, -1) == 0
        while evbuffer_get_length(buf):
            assert evbuffer_write(buf, target) > 0
        os.close(target)
        assert named.read() == data
        # To a pipe.
        assert pipe(ends) == 0
        assert evbuffer_add_file(buf, os.dup(file.fileno()), 5, 20) == 0
        add(buf, b"!")
        assert evbuffer_write(buf, ends[1]) >= 20
        if evbuffer_get_length(buf):
            assert evbuffer_write(buf, ends[1]) == 1
        assert os.read(ends[0], 100) == data[5:25] + b"!"
        os.close(ends[0])
        os.close(ends[1])
    evbuffer_free(buf)


def test_head_and_file_share_a_call():
    cdef Rig rig = Rig("poll")
    cdef evbuffer *buf = new_buffer()
    with temporary(b"the file") as file:
        lend(buf, b"head, ")
        assert evbuffer_add_file(buf, os.dup(file.fileno()), 0, -1) == 0
        assert evbuffer_write(buf, rig.pair[0]) == 14
        assert evbuffer_get_length(buf) == 0
        assert os.read(rig.pair[1], 100) == b"head, the file"
        # Not beyond what may be written.
        lend(buf, b"head, ")
        assert evbuffer_add_file(buf, os.dup(file.fileno()), 0, -1) == 0
        assert evbuffer_write_atmost(buf, rig.pair[0], 9) == 9
        assert os.read(rig.pair[1], 100) == b"head, the"
        assert content(buf) == b" file"
    evbuffer_free(buf)
