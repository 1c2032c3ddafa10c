"""Events on descriptors through libevent's names, without the interpreter in any callback."""

from libc.string cimport memcmp, memset
from posix.unistd cimport close, dup, dup2, read, write

from cyevent cimport (
    EV_CLOSED, EV_ET, EV_FEATURE_EARLY_CLOSE, EV_FEATURE_ET, EV_PERSIST, EV_READ, EV_SIGNAL,
    EV_TIMEOUT, EV_WRITE, EVLOOP_NONBLOCK, EVLOOP_ONCE, event, event_active, event_add,
    event_assign, event_base_dispatch, event_base_get_features, event_base_loop,
    event_base_loopexit, event_base_once, event_del, event_free, event_new, event_pending, timeval,
)
from rig cimport Rig, count, milliseconds, note, nothing

cdef extern from "<sys/socket.h>" nogil:
    int AF_INET, AF_UNIX, SOCK_DGRAM, SOCK_STREAM, SOCK_NONBLOCK, SHUT_WR
    int socket(int domain, int kind, int protocol)
    int socketpair(int domain, int kind, int protocol, int *fds)
    int shutdown(int fd, int how)


# --- reading and writing -------------------------------------------------------------------------

cdef struct reading:
    event ev
    int calls
    int bytes
    int ended


cdef void read_until_end(int fd, short what, void *arg) noexcept nogil:
    cdef reading *state = <reading *>arg
    cdef char buf[256]
    cdef ssize_t n = read(fd, buf, sizeof(buf))
    state.calls += 1
    if n > 0:
        state.bytes += n
        if not state.ev.events & EV_PERSIST:
            event_add(&state.ev, NULL)
    elif n == 0:
        state.ended = 1
        event_del(&state.ev)


def test_simpleread(method):
    cdef Rig rig = Rig(method)
    cdef reading state
    memset(&state, 0, sizeof(state))
    rig.send(0, b"this is a test")
    shutdown(rig.pair[0], SHUT_WR)
    assert event_assign(&state.ev, rig.base, rig.pair[1], EV_READ, read_until_end, &state) == 0
    assert event_add(&state.ev, NULL) == 0
    assert event_base_dispatch(rig.base) == 1
    assert (state.calls, state.bytes, state.ended) == (2, 14, 1)


def test_event_base_new(method):
    cdef Rig rig = Rig(method)
    cdef reading state
    memset(&state, 0, sizeof(state))
    rig.send(0, b"this is a test")
    shutdown(rig.pair[0], SHUT_WR)
    event_assign(&state.ev, rig.base, rig.pair[1], EV_READ | EV_PERSIST, read_until_end, &state)
    event_add(&state.ev, NULL)
    assert event_base_loop(rig.base, 0) == 1
    assert (state.calls, state.bytes, state.ended) == (2, 14, 1)


def test_simpleread_multiple(method):
    cdef Rig rig = Rig(method)
    cdef int called = 0
    cdef event one, two
    rig.send(0, b"x")
    shutdown(rig.pair[0], SHUT_WR)
    event_assign(&one, rig.base, rig.pair[1], EV_READ, count, &called)
    event_assign(&two, rig.base, rig.pair[1], EV_READ, count, &called)
    assert event_add(&one, NULL) == 0 == event_add(&two, NULL)
    event_base_dispatch(rig.base)
    assert called == 2


cdef void write_word(int fd, short what, void *arg) noexcept nogil:
    (<ssize_t *>arg)[0] = write(fd, b"word", 4)


def test_simplewrite(method):
    cdef Rig rig = Rig(method)
    cdef event ev
    cdef ssize_t written = 0
    event_assign(&ev, rig.base, rig.pair[0], EV_WRITE, write_word, &written)
    event_add(&ev, NULL)
    event_base_dispatch(rig.base)
    assert written == 4


cdef struct transfer:
    event reader
    event writer
    unsigned char sent[25600]
    unsigned char received[25600]
    size_t woff
    size_t roff


cdef void transfer_write(int fd, short what, void *arg) noexcept nogil:
    cdef transfer *t = <transfer *>arg
    cdef size_t n = sizeof(t.sent) - t.woff
    cdef ssize_t done = write(fd, t.sent + t.woff, n if n < 128 else 128)
    if done > 0:
        t.woff += done
    if done < 0 or t.woff == sizeof(t.sent):
        shutdown(fd, SHUT_WR)
        event_del(&t.writer)
    elif not t.writer.events & EV_PERSIST:
        event_add(&t.writer, NULL)


cdef void transfer_read(int fd, short what, void *arg) noexcept nogil:
    cdef transfer *t = <transfer *>arg
    cdef ssize_t n = read(fd, t.received + t.roff, sizeof(t.received) - t.roff)
    if n <= 0:
        event_del(&t.reader)
        return
    t.roff += n
    if not t.reader.events & EV_PERSIST:
        event_add(&t.reader, NULL)


cdef int run_transfer(str method, short flags) except -1:
    cdef Rig rig = Rig(method)
    cdef transfer t
    cdef size_t i
    memset(&t, 0, sizeof(t))
    for i in range(sizeof(t.sent)):
        t.sent[i] = i & 0xff
    event_assign(&t.writer, rig.base, rig.pair[0], EV_WRITE | flags, transfer_write, &t)
    event_assign(&t.reader, rig.base, rig.pair[1], EV_READ | flags, transfer_read, &t)
    event_add(&t.writer, NULL)
    event_add(&t.reader, NULL)
    event_base_dispatch(rig.base)
    assert t.woff == t.roff == sizeof(t.sent)
    assert memcmp(t.sent, t.received, sizeof(t.sent)) == 0
    rig.free()
    return 0


def test_multiple(method):
    run_transfer(method, 0)


def test_persistent(method):
    run_transfer(method, EV_PERSIST)


cdef struct half:
    event ev
    int left


cdef void combined_write(int fd, short what, void *arg) noexcept nogil:
    cdef half *h = <half *>arg
    cdef char buf[128]
    cdef ssize_t n
    if h.left == 0:
        shutdown(fd, SHUT_WR)
        return
    memset(buf, c"q", sizeof(buf))
    n = write(fd, buf, h.left if h.left < 128 else 128)
    if n > 0:
        h.left -= n
    event_add(&h.ev, NULL)


cdef void combined_read(int fd, short what, void *arg) noexcept nogil:
    cdef half *h = <half *>arg
    cdef char buf[128]
    cdef ssize_t n = read(fd, buf, sizeof(buf))
    if n > 0:
        h.left += n
        event_add(&h.ev, NULL)


def test_combined(method):
    cdef Rig rig = Rig(method)
    cdef half readers[2]
    cdef half writers[2]
    cdef int i
    for i in range(2):
        readers[i].left = 0
        writers[i].left = 4096 * (i + 1)
        event_assign(&readers[i].ev, rig.base, rig.pair[i], EV_READ, combined_read, &readers[i])
        event_assign(&writers[i].ev, rig.base, rig.pair[i], EV_WRITE, combined_write, &writers[i])
        event_add(&readers[i].ev, NULL)
        event_add(&writers[i].ev, NULL)
    event_base_dispatch(rig.base)
    assert (readers[0].left, readers[1].left) == (8192, 4096)


def test_multiple_events_for_same_fd(method):
    cdef Rig rig = Rig(method)
    cdef event reader, writer
    cdef int seen = 0
    event_assign(&reader, rig.base, rig.pair[0], EV_READ, note, &seen)
    event_assign(&writer, rig.base, rig.pair[0], EV_WRITE, note, &seen)
    event_add(&reader, NULL)
    event_add(&writer, NULL)
    event_base_loop(rig.base, EVLOOP_ONCE)
    assert seen == EV_WRITE
    event_del(&writer)
    rig.send(1, b"x")
    event_base_loop(rig.base, EVLOOP_ONCE)
    event_del(&reader)
    assert seen == EV_READ | EV_WRITE


def test_want_only_once(method):
    cdef Rig rig = Rig(method)
    cdef event ev
    cdef int called = 0
    cdef timeval soon = milliseconds(30)
    rig.send(0, b"never read")
    event_base_loopexit(rig.base, &soon)
    event_assign(&ev, rig.base, rig.pair[1], EV_READ, count, &called)
    event_add(&ev, NULL)
    event_base_dispatch(rig.base)
    assert called == 1
    assert not event_pending(&ev, EV_READ, NULL)


cdef struct readded:
    event *other
    event **last
    int *calls


cdef void readd_other(int fd, short what, void *arg) noexcept nogil:
    cdef readded *r = <readded *>arg
    cdef char buf[16]
    read(fd, buf, sizeof(buf))
    event_add(r.other, NULL)
    r.last[0] = r.other
    r.calls[0] += 1


def test_nonpersist_readd(method):
    cdef Rig rig = Rig(method)
    cdef event events[2]
    cdef readded args[2]
    cdef event *last = NULL
    cdef int calls = 0
    cdef int i
    for i in range(2):
        args[i].other = &events[1 - i]
        args[i].last = &last
        args[i].calls = &calls
        event_assign(&events[i], rig.base, rig.pair[i], EV_READ, readd_other, &args[i])
        rig.send(i, b"Hello")
    for i in range(2):
        event_add(&events[i], NULL)
    assert event_base_loop(rig.base, EVLOOP_ONCE) == 0
    assert calls == 2
    assert last != NULL
    for i in range(2):
        assert bool(event_pending(&events[i], EV_READ, NULL)) == (last == &events[i])


# --- a peer that goes away -----------------------------------------------------------------------

cdef struct closing:
    int ends[2]
    int done


cdef void close_both(int fd, short what, void *arg) noexcept nogil:
    cdef closing *c = <closing *>arg
    close(c.ends[0])
    close(c.ends[1])
    c.done = 1


cdef struct watching:
    closing *c
    int seen
    int premature


cdef void watch(int fd, short what, void *arg) noexcept nogil:
    cdef watching *w = <watching *>arg
    w.seen |= what
    if not w.c.done:
        w.premature = 1


def test_simpleclose_rw(method):
    cdef Rig rig = Rig(method)
    cdef int one[2]
    cdef int two[2]
    cdef closing c
    cdef watching reading_end, writing_end
    cdef event closer, reader, writer
    cdef char buf[1024]
    cdef timeval soon = milliseconds(10)
    assert socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, one) == 0
    assert socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, two) == 0
    memset(buf, 99, sizeof(buf))
    while write(two[1], buf, sizeof(buf)) > 0:
        pass
    c.ends[0], c.ends[1], c.done = one[0], two[0], 0
    reading_end.c = writing_end.c = &c
    reading_end.seen = writing_end.seen = reading_end.premature = writing_end.premature = 0
    event_assign(&closer, rig.base, -1, EV_TIMEOUT, close_both, &c)
    event_assign(&reader, rig.base, one[1], EV_READ, watch, &reading_end)
    event_assign(&writer, rig.base, two[1], EV_WRITE, watch, &writing_end)
    event_add(&closer, &soon)
    event_add(&reader, NULL)
    event_add(&writer, NULL)
    event_base_loop(rig.base, 0)
    close(one[1])
    close(two[1])
    assert reading_end.seen == EV_READ
    assert writing_end.seen == EV_WRITE
    assert not reading_end.premature and not writing_end.premature


cdef int run_simpleclose(str method, bint closes, short flags) except -1:
    cdef Rig rig = Rig(method)
    cdef event ev
    cdef int seen = 0
    cdef timeval soon = milliseconds(5)
    cdef int features = event_base_get_features(rig.base)
    if not features & EV_FEATURE_EARLY_CLOSE or flags & EV_ET and not features & EV_FEATURE_ET:
        return 0
    event_assign(&ev, rig.base, rig.pair[0], EV_CLOSED | flags, note, &seen)
    assert event_add(&ev, NULL) == 0
    if closes:
        rig.close_end(1)
    else:
        shutdown(rig.pair[1], SHUT_WR)
    if flags & EV_PERSIST and not flags & EV_ET:
        event_base_loopexit(rig.base, &soon)
    assert event_base_loop(rig.base, EVLOOP_NONBLOCK) == (0 if flags & EV_PERSIST else 1)
    assert seen == EV_CLOSED | (flags & EV_ET)
    rig.free()
    return 0


def test_simpleclose_close(method):
    run_simpleclose(method, True, 0)


def test_simpleclose_shutdown(method):
    run_simpleclose(method, False, 0)


def test_simpleclose_close_persist(method):
    run_simpleclose(method, True, EV_PERSIST)


def test_simpleclose_shutdown_persist(method):
    run_simpleclose(method, False, EV_PERSIST)


def test_simpleclose_close_et(method):
    run_simpleclose(method, True, EV_ET)


def test_simpleclose_shutdown_et(method):
    run_simpleclose(method, False, EV_ET)


def test_simpleclose_close_persist_et(method):
    run_simpleclose(method, True, EV_PERSIST | EV_ET)


def test_simpleclose_shutdown_persist_et(method):
    run_simpleclose(method, False, EV_PERSIST | EV_ET)


# --- once ----------------------------------------------------------------------------------------

cdef void add_if_read(int fd, short what, void *arg) noexcept nogil:
    (<int *>arg)[0] += 1 if what == EV_READ else 1000000


cdef void add_hundred(int fd, short what, void *arg) noexcept nogil:
    (<int *>arg)[0] += 100 if what == EV_TIMEOUT else 1000000


cdef void add_thousand(int fd, short what, void *arg) noexcept nogil:
    (<int *>arg)[0] += 1000 if what == EV_TIMEOUT else 1000000


def test_event_once(method):
    cdef Rig rig = Rig(method)
    cdef timeval soon = milliseconds(10)
    cdef timeval zero = milliseconds(0)
    cdef int sum = 0
    assert event_base_once(rig.base, rig.pair[0], EV_READ, add_if_read, &sum, NULL) == 0
    assert event_base_once(rig.base, -1, EV_TIMEOUT, add_hundred, &sum, &soon) == 0
    assert event_base_once(rig.base, -1, 0, add_hundred, &sum, NULL) < 0
    assert event_base_once(rig.base, 1, EV_SIGNAL, add_hundred, &sum, NULL) < 0
    assert event_base_once(rig.base, -1, EV_TIMEOUT | EV_PERSIST, add_hundred, &sum, NULL) < 0
    assert event_base_once(rig.base, -1, EV_TIMEOUT, add_thousand, &sum, NULL) == 0
    assert event_base_once(rig.base, -1, EV_TIMEOUT, add_thousand, &sum, &zero) == 0
    rig.send(1, b"x")
    shutdown(rig.pair[1], SHUT_WR)
    event_base_dispatch(rig.base)
    assert sum == 2101


def test_event_once_never(method):
    cdef Rig rig = Rig(method)
    cdef timeval far = milliseconds(10000)
    cdef timeval soon = milliseconds(10)
    cdef int sum = 0
    event_base_once(rig.base, -1, EV_TIMEOUT, add_hundred, &sum, &far)
    event_base_loopexit(rig.base, &soon)
    event_base_dispatch(rig.base)
    assert sum == 0


# --- descriptor numbers --------------------------------------------------------------------------

def test_dup_fd(method):
    cdef Rig rig = Rig(method)
    cdef int fd = rig.pair[1]
    cdef int copy = dup(fd)
    cdef int one = 0
    cdef int two = 0
    cdef event *ev1 = event_new(rig.base, fd, EV_READ | EV_PERSIST, note, &one)
    cdef event *ev2 = event_new(rig.base, copy, EV_READ | EV_PERSIST, note, &two)
    rig.send(0, b"Hello world")
    event_add(ev1, NULL)
    event_add(ev2, NULL)
    event_base_loop(rig.base, EVLOOP_ONCE)
    assert (one, two) == (EV_READ, EV_READ)
    close(copy)
    event_del(ev2)
    one = two = 0
    event_base_loop(rig.base, EVLOOP_ONCE)
    assert (one, two) == (EV_READ, 0)
    assert dup2(fd, copy) == copy
    event_free(ev2)
    ev2 = event_new(rig.base, copy, EV_WRITE | EV_PERSIST, note, &two)
    assert event_add(ev2, NULL) == 0
    one = two = 0
    event_base_loop(rig.base, EVLOOP_ONCE)
    assert (one, two) == (EV_READ, EV_WRITE)
    event_free(ev1)
    event_free(ev2)
    close(copy)


def test_event_closed_fd(method):
    """poll looks at the number on each call and says so; with the others the timeout is the end."""
    cdef Rig rig = Rig(method)
    cdef int seen = 0
    cdef timeval wait = milliseconds(600000 if method == "poll" else 20)
    cdef event *ev = event_new(rig.base, rig.pair[0], EV_READ, note, &seen)
    event_add(ev, &wait)
    assert event_pending(ev, EV_READ, NULL)
    rig.close_end(0)
    assert event_base_loop(rig.base, EVLOOP_ONCE) == 0
    if method == "poll":
        assert seen == EV_READ
    else:
        assert seen in (EV_READ, EV_TIMEOUT)
    event_free(ev)


cdef int run_many(str method, bint one_at_a_time) except -1:
    cdef Rig rig = Rig(method)
    cdef int fds[70]
    cdef int called[70]
    cdef event *events[70]
    cdef int i
    cdef int flags = EVLOOP_NONBLOCK | (EVLOOP_ONCE if one_at_a_time else 0)
    memset(called, 0, sizeof(called))
    for i in range(70):
        fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)
        events[i] = event_new(rig.base, fds[i], EV_WRITE | (EV_PERSIST if one_at_a_time else 0),
                              count, &called[i])
        event_add(events[i], NULL)
        if one_at_a_time:
            event_base_loop(rig.base, flags)
    event_base_loop(rig.base, flags)
    result = [called[i] for i in range(70)]
    for i in range(70):
        event_free(events[i])
        close(fds[i])
    assert result == ([70 - i + 1 for i in range(70)] if one_at_a_time else [1] * 70)
    return 0


def test_many_events(method):
    run_many(method, False)


def test_many_events_slow_add(method):
    run_many(method, True)


def test_free_active_base(method):
    cdef Rig rig = Rig(method)
    cdef event ev
    event_assign(&ev, rig.base, rig.pair[1], EV_READ, nothing, NULL)
    event_add(&ev, NULL)
    rig.free()
    rig = Rig(method)
    event_assign(&ev, rig.base, rig.pair[0], 0, nothing, NULL)
    event_active(&ev, EV_READ, 1)
    rig.free()


# --- edges ---------------------------------------------------------------------------------------

cdef struct edges:
    event *ev
    int calls
    int told


cdef void read_a_byte(int fd, short what, void *arg) noexcept nogil:
    cdef edges *e = <edges *>arg
    cdef char byte
    e.calls += 1
    e.told |= what
    if read(fd, &byte, 1) == 0:
        event_del(e.ev)


def test_et(method):
    """A second look at data that is still there is told by levels and not by edges."""
    cdef Rig rig = Rig(method)
    cdef edges e
    cdef bint has_edges = event_base_get_features(rig.base) & EV_FEATURE_ET
    memset(&e, 0, sizeof(e))
    rig.send(0, b"test string")
    e.ev = event_new(rig.base, rig.pair[1], EV_READ | EV_ET | EV_PERSIST, note, &e.told)
    assert event_add(e.ev, NULL) == 0
    assert event_base_loop(rig.base, EVLOOP_NONBLOCK | EVLOOP_ONCE) == 0
    assert e.told == EV_READ | (EV_ET if has_edges else 0)
    e.told = 0
    assert event_base_loop(rig.base, EVLOOP_NONBLOCK | EVLOOP_ONCE) == 0
    assert e.told == (0 if has_edges else EV_READ)
    event_free(e.ev)
    e.told = 0
    e.ev = event_new(rig.base, rig.pair[1], EV_READ | EV_ET | EV_PERSIST, read_a_byte, &e)
    event_add(e.ev, NULL)
    event_base_loop(rig.base, EVLOOP_NONBLOCK | EVLOOP_ONCE)
    assert e.calls == 1
    event_free(e.ev)


def test_et_mix_error(method):
    cdef Rig rig = Rig(method)
    cdef event *edge = event_new(rig.base, rig.pair[0], EV_READ | EV_ET, nothing, NULL)
    cdef event *level = event_new(rig.base, rig.pair[0], EV_READ, nothing, NULL)
    assert event_add(edge, NULL) == 0
    assert event_add(level, NULL) == -1
    assert event_pending(edge, EV_READ, NULL) == EV_READ
    assert event_pending(level, EV_READ, NULL) == 0
    assert event_del(edge) == 0
    assert event_add(level, NULL) == 0
    assert event_add(edge, NULL) == -1
    assert event_pending(level, EV_READ, NULL) == EV_READ
    assert event_pending(edge, EV_READ, NULL) == 0
    event_free(edge)
    event_free(level)


cdef void count_edges(int fd, short what, void *arg) noexcept nogil:
    (<edges *>arg).calls += 1
    (<edges *>arg).told |= what


def test_et_multiple_events(method):
    cdef Rig rig = Rig(method)
    cdef edges reads, writes
    cdef event *reader
    cdef event *writer
    cdef int turn = EVLOOP_NONBLOCK | EVLOOP_ONCE
    if not event_base_get_features(rig.base) & EV_FEATURE_ET:
        return
    memset(&reads, 0, sizeof(reads))
    memset(&writes, 0, sizeof(writes))
    rig.send(0, b"A")
    reader = event_new(rig.base, rig.pair[1], EV_READ | EV_ET | EV_PERSIST, count_edges, &reads)
    writer = event_new(rig.base, rig.pair[1], EV_WRITE | EV_ET | EV_PERSIST, count_edges, &writes)
    event_add(reader, NULL)
    event_add(writer, NULL)
    event_base_loop(rig.base, turn)
    event_base_loop(rig.base, turn)
    assert (reads.calls, reads.told) == (1, EV_READ | EV_ET)
    assert (writes.calls, writes.told) == (1, EV_WRITE | EV_ET)
    event_del(reader)
    rig.close_end(0)
    event_base_loop(rig.base, turn)
    event_base_loop(rig.base, turn)
    assert (writes.calls, writes.told) == (2, EV_WRITE | EV_ET)
    event_free(reader)
    event_free(writer)
