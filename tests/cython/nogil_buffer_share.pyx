"""Buffers through libevent's names: callbacks, shared bytes, the front, frozen ends."""

import os
import tempfile

from libc.stdlib cimport free
from libc.string cimport memset
from posix.unistd cimport close

from cyevent cimport (
    event_base_loop, event_set_mem_functions, EVLOOP_NONBLOCK,
    evbuffer, evbuffer_add, evbuffer_add_buffer, evbuffer_add_buffer_reference,
    evbuffer_add_cb, evbuffer_add_file, evbuffer_add_iovec, evbuffer_add_printf,
    evbuffer_add_reference, evbuffer_add_reference_with_offset, evbuffer_cb_clear_flags,
    evbuffer_cb_entry, EVBUFFER_CB_ENABLED, evbuffer_cb_info, EVBUFFER_CB_NODEFER,
    evbuffer_cb_set_flags, evbuffer_cb_suspend, evbuffer_cb_unsuspend, evbuffer_commit_space,
    evbuffer_defer_callbacks, evbuffer_drain, EVBUFFER_EOL_LF, evbuffer_free, evbuffer_freeze,
    evbuffer_get_length, evbuffer_iovec, evbuffer_prepend, evbuffer_prepend_buffer,
    evbuffer_read, evbuffer_readln, evbuffer_remove, evbuffer_remove_buffer,
    evbuffer_remove_cb, evbuffer_remove_cb_entry, evbuffer_reserve_space, evbuffer_unfreeze,
    evbuffer_write, evbuffer_write_atmost,
)
from bufrig import in_each_mode
from bufrig cimport add, content, lend, new_buffer, pulled, usual, validate
from rig cimport Rig

FORKED = ("test_callbacks_without_memory",)


# --- callbacks --------------------------------------------------------------------------------------

cdef void log_change(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept nogil:
    evbuffer_add_printf(<evbuffer *>arg, b"%lu->%lu; ", <unsigned long>info.orig_size,
                        <unsigned long>(info.orig_size + info.n_added - info.n_deleted))


cdef void drain_all(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept nogil:
    if info.n_added > info.n_deleted:
        evbuffer_drain(buf, info.orig_size + info.n_added)


cdef bytes taken(evbuffer *buf):
    data = content(buf)
    evbuffer_drain(buf, len(data))
    return data


@in_each_mode
def test_callbacks():
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer *one = new_buffer()
    cdef evbuffer *two = new_buffer()
    cdef evbuffer_cb_entry *first = evbuffer_add_cb(buf, log_change, one)
    cdef evbuffer_cb_entry *second = evbuffer_add_cb(buf, log_change, two)
    evbuffer_add_printf(buf, b"The %d magic words are spotty pudding", 2)
    validate(buf)
    evbuffer_cb_clear_flags(buf, second, EVBUFFER_CB_ENABLED)
    evbuffer_drain(buf, 10)
    evbuffer_prepend(buf, b"Hello", 5)
    evbuffer_cb_set_flags(buf, second, EVBUFFER_CB_ENABLED)
    lend(buf, b"Goodbye")
    evbuffer_remove_cb_entry(buf, first)
    evbuffer_drain(buf, evbuffer_get_length(buf))
    assert evbuffer_remove_cb(buf, log_change, NULL) == -1
    add(buf, b"X")
    assert evbuffer_remove_cb(buf, log_change, two) == 0
    assert evbuffer_remove_cb(buf, log_change, two) == -1
    assert taken(one) == b"0->36; 36->26; 26->31; 31->38; "
    assert taken(two) == b"0->36; 31->38; 38->0; 0->1; "
    # One that takes what comes: the others hear of the outcome too.
    evbuffer_drain(buf, 1)
    evbuffer_add_cb(buf, drain_all, NULL)
    add(buf, b"gone at once")
    assert evbuffer_get_length(buf) == 0
    assert evbuffer_remove_cb(buf, drain_all, NULL) == 0
    add(buf, b"not this")
    assert content(buf) == b"not this"
    validate(buf)
    evbuffer_drain(buf, 100)
    # Nothing changes, nothing is said.
    evbuffer_add_cb(buf, log_change, one)
    add(buf, b"")
    evbuffer_drain(buf, 10)
    lend(buf, b"")
    assert taken(one) == b""
    evbuffer_free(buf)
    evbuffer_free(one)
    evbuffer_free(two)


@in_each_mode
def test_callbacks_suspended():
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer *one = new_buffer()
    cdef evbuffer *two = new_buffer()
    cdef evbuffer_cb_entry *first = evbuffer_add_cb(buf, log_change, one)
    cdef evbuffer_cb_entry *second = evbuffer_add_cb(buf, log_change, two)
    evbuffer_cb_suspend(buf, second)
    evbuffer_cb_suspend(buf, second)
    evbuffer_prepend(buf, b"Hello world", 11)
    evbuffer_cb_suspend(buf, first)
    add(buf, b"more")
    evbuffer_cb_unsuspend(buf, second)
    evbuffer_cb_unsuspend(buf, second)
    evbuffer_drain(buf, 4)
    evbuffer_cb_unsuspend(buf, first)
    evbuffer_drain(buf, 100)
    assert taken(one) == b"0->11; 11->11; 11->0; "
    assert taken(two) == b"0->15; 15->11; 11->0; "
    # Nothing happened meanwhile.
    evbuffer_cb_suspend(buf, first)
    evbuffer_cb_unsuspend(buf, first)
    assert taken(one) == b""
    evbuffer_free(buf)
    evbuffer_free(one)
    evbuffer_free(two)


cdef void remove_both(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept nogil:
    evbuffer_remove_cb(buf, remove_both, arg)
    evbuffer_remove_cb(buf, log_change, arg)
    evbuffer_add(<evbuffer *>arg, b"removed", 7)


@in_each_mode
def test_callbacks_removed_by_one():
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer *notes = new_buffer()
    cdef evbuffer_cb_entry *entry
    evbuffer_add_cb(buf, log_change, notes)
    # Called first, as it was added last.
    evbuffer_add_cb(buf, remove_both, notes)
    add(buf, b"x")
    add(buf, b"y")
    assert taken(notes) == b"removed"
    assert buf.callbacks == NULL
    # The same by unsuspending.
    entry = evbuffer_add_cb(buf, remove_both, notes)
    evbuffer_cb_suspend(buf, entry)
    add(buf, b"z")
    evbuffer_cb_unsuspend(buf, entry)
    assert taken(notes) == b"removed"
    assert buf.callbacks == NULL
    evbuffer_free(buf)
    evbuffer_free(notes)


def test_callbacks_deferred(method):
    cdef Rig rig = Rig(method)
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer *later = new_buffer()
    cdef evbuffer *at_once = new_buffer()
    cdef evbuffer_cb_entry *entry
    evbuffer_add_cb(buf, log_change, later)
    entry = evbuffer_add_cb(buf, log_change, at_once)
    evbuffer_cb_set_flags(buf, entry, EVBUFFER_CB_NODEFER)
    assert evbuffer_defer_callbacks(buf, rig.base) == 0
    add(buf, b"abc")
    add(buf, b"de")
    evbuffer_drain(buf, 1)
    assert content(later) == b""
    # Those that do not wait hear the sum of what the others wait for.
    assert taken(at_once) == b"0->3; 0->5; 0->4; "
    event_base_loop(rig.base, EVLOOP_NONBLOCK)
    assert taken(later) == b"0->4; "
    add(buf, b"f")
    # Freed while its callbacks wait.
    evbuffer_free(buf)
    event_base_loop(rig.base, EVLOOP_NONBLOCK)
    assert taken(later) == b""
    evbuffer_free(later)
    evbuffer_free(at_once)


cdef void *no_memory(size_t size) noexcept nogil:
    return NULL


def test_callbacks_without_memory():
    cdef evbuffer *buf = new_buffer()
    event_set_mem_functions(no_memory, NULL, NULL)
    assert evbuffer_add_cb(buf, drain_all, NULL) == NULL
    event_set_mem_functions(NULL, NULL, NULL)
    add(buf, b"x")
    assert content(buf) == b"x"
    evbuffer_free(buf)


# --- shared bytes -----------------------------------------------------------------------------------

cdef struct Returned:
    int times
    const void *data
    size_t length
    void *arg


cdef Returned note


cdef void returned(const void *data, size_t length, void *arg) noexcept nogil:
    note.times += 1
    note.data = data
    note.length = length
    note.arg = arg


cdef bytes removed(evbuffer *buf, int n):
    cdef char data[256]
    cdef int got = evbuffer_remove(buf, data, n)
    assert got >= 0
    return data[:got]


cdef int references(size_t skip) except -1:
    """Both texts begin with `skip` bytes that are not shown."""
    cdef evbuffer *one = new_buffer()
    cdef evbuffer *two
    cdef bytes first = b"|" * skip + b"If you have found the answer to such a problem"
    cdef bytes second = b"|" * skip + b"you ought to write it up for publication"
    cdef bytes third = b"ketchup bottle"
    cdef size_t n = len(first) - skip
    cdef size_t m = len(second) - skip
    memset(&note, 0, sizeof(note))
    assert evbuffer_add_reference_with_offset(
        one, <char *>first, skip, n, returned, <void *>111) == 0
    add(one, b", ")
    assert evbuffer_add_reference_with_offset(
        one, <char *>second, skip, m, returned, <void *>222) == 0
    assert evbuffer_get_length(one) == n + m + 2
    assert removed(one, 6) == b"If you"
    assert removed(one, 5) == b" have"
    # What is put in front does not go into the borrowed memory.
    evbuffer_prepend(one, b"I have ", 7)
    assert first[skip:].startswith(b"If you have")
    validate(one)
    evbuffer_drain(one, 7)
    evbuffer_drain(one, n - 11 - 1)
    assert note.times == 0
    assert removed(one, 1) == b"m"
    assert note.times == 1 and note.arg == <void *>111
    # It is told of all the memory.
    assert note.data == <void *><char *>first and note.length == n + skip
    evbuffer_drain(one, 6)
    two = new_buffer()
    add(two, b"I ")
    evbuffer_add_buffer(two, one)
    assert note.times == 1
    assert removed(two, 16) == b"I ought to write"
    evbuffer_drain(two, evbuffer_get_length(two))
    assert note.times == 2 and note.arg == <void *>222
    add(one, b"You shake and shake the ")
    assert evbuffer_add_reference(one, <char *>third, 14, returned, <void *>3333) == 0
    add(one, b". Nothing comes and then a lot'll.")
    evbuffer_free(one)
    assert note.times == 3 and note.arg == <void *>3333
    evbuffer_free(two)
    return 0


@in_each_mode
def test_add_reference():
    references(0)


@in_each_mode
def test_add_reference_with_offset():
    references(9)


@in_each_mode
def test_multicast():
    cdef evbuffer *one = new_buffer()
    cdef evbuffer *two = new_buffer()
    cdef evbuffer *third = new_buffer()
    text = b"If you have found the answer to such a problem, you ought to write it up"
    add(one, text[:46])
    add(one, text[46:48])
    add(one, text[48:])
    assert evbuffer_add_buffer_reference(two, one) == 0
    # Not itself, and not what is shared already.
    assert evbuffer_add_buffer_reference(two, two) == -1
    assert evbuffer_add_buffer_reference(one, two) == -1
    assert evbuffer_add_buffer_reference(third, one) == 0
    assert content(one) == content(two) == content(third) == text
    assert removed(one, 6) == b"If you"
    assert removed(one, 5) == b" have"
    evbuffer_prepend(one, b"I have ", 7)
    validate(one)
    assert removed(two, 6) == b"If you"
    assert removed(two, 5) == b" have"
    evbuffer_prepend(two, b"I have ", 7)
    validate(two)
    # The source goes on by itself: it may be added to, and goes first.
    add(one, b"!")
    assert content(one) == b"I have " + text[11:] + b"!"
    evbuffer_free(one)
    assert content(two) == b"I have " + text[11:]
    assert removed(two, 6) == b"I have"
    assert content(third) == text
    evbuffer_free(two)
    assert pulled(third) == text
    evbuffer_free(third)


@in_each_mode
def test_multicast_drain():
    cdef evbuffer *one = new_buffer()
    cdef evbuffer *two = new_buffer()
    add(one, b"If you have found the answer")
    add(one, b", ")
    assert evbuffer_add_buffer_reference(two, one) == 0
    assert evbuffer_get_length(two) == 30
    assert evbuffer_drain(one, 30) == 0
    assert content(two) == b"If you have found the answer, "
    assert evbuffer_drain(two, 30) == 0
    validate(one)
    validate(two)
    evbuffer_free(one)
    evbuffer_free(two)


# --- the front --------------------------------------------------------------------------------------

cdef void check_prepend(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept nogil:
    if info.orig_size == 3 and info.n_added == 8096 and info.n_deleted == 0:
        (<int *>arg)[0] += 1


@in_each_mode
def test_prepend():
    cdef evbuffer *one = new_buffer()
    cdef evbuffer *two = new_buffer()
    cdef bytes large = b"A" * 8096
    cdef int calls = 0
    evbuffer_prepend(one, b"This string has 29 characters", 29)
    validate(one)
    evbuffer_prepend(one, b"Short.", 6)
    validate(one)
    evbuffer_drain(one, 6 + 11)
    evbuffer_prepend(one, b"it", 2)
    validate(one)
    if usual():
        # Into the room that was drained.
        assert one.first.off == len(b"it has 29 characters")
    evbuffer_prepend(one, b"It is no longer true to say ", 28)
    validate(one)
    assert removed(one, 127) == b"It is no longer true to say it has 29 characters"
    evbuffer_add_printf(one, b"Here is string %d. ", 999)
    evbuffer_prepend_buffer(two, one)
    validate(two)
    evbuffer_add_printf(one, b"Here is string %d. ", 1000)
    evbuffer_prepend_buffer(two, one)
    validate(one)
    validate(two)
    assert removed(two, 127) == b"Here is string 1000. Here is string 999. "
    evbuffer_prepend(two, b"foo", 3)
    evbuffer_add_cb(two, check_prepend, &calls)
    evbuffer_prepend(two, <char *>large, 8096)
    assert calls == 1
    evbuffer_remove_cb(two, check_prepend, &calls)
    validate(two)
    assert pulled(two) == large + b"foo"
    evbuffer_free(one)
    evbuffer_free(two)


@in_each_mode
def test_empty_reference_prepend():
    cdef evbuffer *buf = new_buffer()
    lend(buf, b"")
    validate(buf)
    evbuffer_prepend(buf, b"foo", 3)
    validate(buf)
    assert pulled(buf) == b"foo"
    validate(buf)
    evbuffer_free(buf)


@in_each_mode
def test_empty_reference_prepend_buffer():
    cdef evbuffer *one = new_buffer()
    cdef evbuffer *two = new_buffer()
    lend(one, b"")
    add(two, b"foo")
    assert evbuffer_prepend_buffer(two, one) == 0
    validate(one)
    validate(two)
    assert pulled(two) == b"foo"
    assert pulled(one) == b""
    evbuffer_free(one)
    evbuffer_free(two)


@in_each_mode
def test_add_iovec():
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer_iovec vec[4]
    cdef bytes text
    cdef int i
    texts = [b"Guilt resembles a sword with two edges.", b"", b"On the one hand, " * 200, b"x"]
    for i in range(4):
        text = texts[i]
        vec[i].iov_base = <char *>text
        vec[i].iov_len = len(text)
    assert evbuffer_add_iovec(buf, vec, 4) == sum(map(len, texts))
    validate(buf)
    assert content(buf) == b"".join(texts)
    assert evbuffer_add_iovec(buf, vec, 0) == 0
    # More than a length can say.
    vec[1].iov_len = vec[2].iov_len = 0x7fffffffffffffff
    assert evbuffer_add_iovec(buf, vec, 4) == 0
    assert content(buf) == b"".join(texts)
    evbuffer_freeze(buf, 0)
    assert evbuffer_add_iovec(buf, vec, 1) == 0
    evbuffer_free(buf)


# --- frozen ends ------------------------------------------------------------------------------------

cdef int frozen(bint start, Rig rig) except -1:
    """Each operation at a frozen end fails, those at the other end work."""
    cdef evbuffer *buf = new_buffer()
    cdef evbuffer *two = new_buffer()
    cdef evbuffer *other = new_buffer()
    cdef evbuffer_iovec vec
    cdef char data[64]
    cdef char *text
    cdef int fd, result
    whole = b"I've known the wind by water banks to shake\nThe late leaves down\n" * 3
    add(buf, whole)
    add(two, b"abc")
    add(other, b"xyz")
    evbuffer_freeze(buf, start)
    evbuffer_freeze(two, start)

    assert evbuffer_add(buf, b"abc", 0) == (0 if start else -1)
    result = evbuffer_reserve_space(buf, 10, &vec, 1)
    assert result == (1 if start else -1)
    if start:
        memset(vec.iov_base, c"X", 10)
        vec.iov_len = 10
    assert evbuffer_commit_space(buf, &vec, 1) == (0 if start else -1)
    assert evbuffer_add_reference(buf, b"lent", 4, NULL, NULL) == (0 if start else -1)
    assert evbuffer_add_printf(buf, b"Hello %s", b"world") == (11 if start else -1)
    assert evbuffer_add_buffer(buf, other) == (0 if start else -1)
    assert evbuffer_get_length(other) == (0 if start else 3)
    with tempfile.TemporaryFile() as file:
        file.write(b"a file")
        file.flush()
        fd = os.dup(file.fileno())
        result = evbuffer_add_file(buf, fd, 0, 6)
        assert result == (0 if start else -1)
        if result < 0:
            # Still ours.
            close(fd)
    if start:
        add(other, b"xyz")
    evbuffer_write(other, rig.pair[0])
    assert evbuffer_read(buf, rig.pair[1], -1) == (3 if start else -1)
    if start:
        whole += b"X" * 10 + b"lent" + b"Hello world" + b"xyz" + b"a file" + b"xyz"
        evbuffer_unfreeze(buf, 1)
        assert content(buf) == whole
        evbuffer_freeze(buf, 1)
    else:
        assert content(buf) == whole

    assert evbuffer_remove(buf, data, 1) == (-1 if start else 1)
    assert evbuffer_drain(buf, 3) == (-1 if start else 0)
    assert evbuffer_prepend(buf, b"dummy", 5) == (-1 if start else 0)
    text = evbuffer_readln(buf, NULL, EVBUFFER_EOL_LF)
    assert (text == NULL) == start
    free(text)
    add(other, b"xyz")
    assert evbuffer_remove_buffer(buf, other, 3) == (-1 if start else 3)
    assert evbuffer_drain(buf, 3) == (-1 if start else 0)
    assert evbuffer_prepend_buffer(buf, other) == (-1 if start else 0)
    assert evbuffer_get_length(other) == (3 if start else 0)
    validate(buf)
    n = evbuffer_get_length(buf)
    assert evbuffer_write(buf, rig.pair[0]) == (-1 if start else n)
    assert evbuffer_write_atmost(two, rig.pair[0], -1) == (-1 if start else 3)
    if start:
        assert evbuffer_get_length(buf) == len(whole)
    # Both ends are free again.
    evbuffer_unfreeze(buf, start)
    add(buf, b"!")
    assert evbuffer_drain(buf, 1) == 0
    evbuffer_free(buf)
    evbuffer_free(two)
    evbuffer_free(other)
    return 0


@in_each_mode
def test_freeze_start():
    frozen(True, Rig("poll"))


@in_each_mode
def test_freeze_end():
    frozen(False, Rig("poll"))
