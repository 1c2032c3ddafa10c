"""Bufferevents through libevent's names: sockets, pairs, filters, timeouts."""

from libc.string cimport memset

from cyevent cimport (
    BEV_ERROR, BEV_EVENT_EOF, BEV_EVENT_READING, BEV_EVENT_TIMEOUT, BEV_EVENT_WRITING, BEV_FINISHED,
    BEV_FLUSH, BEV_NEED_MORE, BEV_NORMAL, BEV_OK, BEV_OPT_CLOSE_ON_FREE, BEV_OPT_DEFER_CALLBACKS,
    BEV_OPT_THREADSAFE, BEV_OPT_UNLOCK_CALLBACKS, bufferevent, bufferevent_data_cb,
    bufferevent_decref, bufferevent_disable, bufferevent_enable, bufferevent_event_cb,
    bufferevent_filter_cb, bufferevent_filter_new, bufferevent_filter_result, bufferevent_flush,
    bufferevent_flush_mode,
    bufferevent_free, bufferevent_get_enabled, bufferevent_get_input, bufferevent_get_output,
    bufferevent_get_underlying, bufferevent_getcb, bufferevent_getfd, bufferevent_getwatermark,
    bufferevent_incref, bufferevent_lock, bufferevent_pair_get_partner, bufferevent_pair_new,
    bufferevent_read, bufferevent_read_buffer, bufferevent_set_timeouts, bufferevent_setcb,
    bufferevent_setwatermark, bufferevent_socket_new, bufferevent_unlock, bufferevent_write,
    ev_ssize_t, EV_READ, EV_WRITE, evbuffer, evbuffer_add, evbuffer_drain,
    evbuffer_free, evbuffer_freeze, evbuffer_get_length, evbuffer_new, evbuffer_pullup,
    evbuffer_remove, evbuffer_remove_buffer, event_base, event_base_dispatch, event_base_loop,
    event_base_loopexit, event_pending, EVLOOP_NONBLOCK, EVLOOP_ONCE, timeval,
)
from rig cimport Rig, milliseconds, now

# What callbacks note.
cdef struct Notes:
    int reads
    int writes
    int events
    int what                   # of the last event
    size_t size                # read so far, or wanted
    int filtered
    int wrote_in_filter
    double read_timeout
    double write_timeout
    bufferevent *other
    event_base *base


cdef class Link:
    """Two connected bufferevents: sockets, or a pair."""

    cdef Rig rig
    cdef bufferevent *left
    cdef bufferevent *right
    cdef Notes notes

    def __cinit__(self, str method, str kind, int options=0):
        cdef bufferevent *pair[2]
        self.rig = Rig(method)
        memset(&self.notes, 0, sizeof(self.notes))
        if kind == "pair":
            assert bufferevent_pair_new(self.rig.base, options, pair) == 0
            self.left = pair[0]
            self.right = pair[1]
        else:
            self.left = bufferevent_socket_new(self.rig.base, self.rig.pair[0], options)
            self.right = bufferevent_socket_new(self.rig.base, self.rig.pair[1], options)
        assert self.left != NULL and self.right != NULL

    def __dealloc__(self):
        # Before the base goes.
        if self.left != NULL:
            bufferevent_free(self.left)
        if self.right != NULL:
            bufferevent_free(self.right)

    cdef int filter(self, bufferevent_filter_cb output, bufferevent_filter_cb input,
                    void *context) except -1:
        self.left = bufferevent_filter_new(self.left, NULL, output, BEV_OPT_CLOSE_ON_FREE, NULL, context)
        self.right = bufferevent_filter_new(self.right, input, NULL, BEV_OPT_CLOSE_ON_FREE, NULL, context)
        assert self.left != NULL and self.right != NULL
        return 0


KINDS = ("socket", "pair")


cdef void whole(bufferevent *bev, void *arg) noexcept nogil:
    """Reads when all of it is there, and ends reading."""
    cdef Notes *notes = <Notes *>arg
    cdef evbuffer *buf
    if evbuffer_get_length(bufferevent_get_input(bev)) != 8333:
        return
    buf = evbuffer_new()
    bufferevent_read_buffer(bev, buf)
    bufferevent_disable(bev, EV_READ)
    if evbuffer_get_length(buf) == 8333:
        notes.reads += 1
    evbuffer_free(buf)


cdef void emptied(bufferevent *bev, void *arg) noexcept nogil:
    if evbuffer_get_length(bufferevent_get_output(bev)) == 0:
        (<Notes *>arg).writes += 1


cdef void happened(bufferevent *bev, short what, void *arg) noexcept nogil:
    (<Notes *>arg).events += 1
    (<Notes *>arg).what = what


cdef char eight_thousand[8333]
cdef int at
for at in range(8333):
    eight_thousand[at] = <char>at


cdef int transfer(str method, str kind, int mode) except -1:
    """libevent's test_bufferevent_impl()."""
    cdef Link link = Link(method, kind)
    cdef Notes *notes = &link.notes
    cdef bufferevent_data_cb read = NULL
    cdef bufferevent_data_cb write = NULL
    cdef bufferevent_event_cb event = NULL
    cdef void *argument = NULL
    bufferevent_setcb(link.left, whole, emptied, happened, notes)
    bufferevent_setcb(link.right, whole, emptied, happened, notes)
    assert bufferevent_get_underlying(link.left) == NULL
    if kind == "pair":
        assert bufferevent_getfd(link.left) == -1
        assert bufferevent_pair_get_partner(link.left) == link.right
        assert bufferevent_pair_get_partner(link.right) == link.left
    else:
        assert bufferevent_getfd(link.left) == link.rig.pair[0]
        assert bufferevent_pair_get_partner(link.left) == NULL
    bufferevent_getcb(link.left, &read, &write, &event, &argument)
    assert read == whole and write == emptied and event == happened and argument == notes
    bufferevent_disable(link.left, EV_READ)
    bufferevent_enable(link.right, EV_READ)
    assert bufferevent_get_enabled(link.left) == EV_WRITE
    assert bufferevent_get_enabled(link.right) == EV_READ | EV_WRITE
    assert bufferevent_write(link.left, eight_thousand, 8333) == 0
    if mode >= 0:
        assert bufferevent_flush(link.left, EV_WRITE, <bufferevent_flush_mode>mode) >= 0
    event_base_dispatch(link.rig.base)
    assert notes.reads == 1
    assert notes.writes == 1
    if kind == "pair" and mode == BEV_FINISHED:
        assert notes.events == 1 and notes.what == BEV_EVENT_EOF | BEV_EVENT_READING
    else:
        assert notes.events == 0
    bufferevent_free(link.right)
    link.right = NULL
    assert bufferevent_pair_get_partner(link.left) == NULL
    return 0


def test_bufferevent(method):
    transfer(method, "socket", -1)


def test_bufferevent_pair(method):
    transfer(method, "pair", -1)


def test_bufferevent_flush(method):
    for mode in (BEV_NORMAL, BEV_FLUSH, BEV_FINISHED):
        transfer(method, "socket", mode)


def test_bufferevent_pair_flush_modes(method):
    for mode in (BEV_NORMAL, BEV_FLUSH, BEV_FINISHED):
        transfer(method, "pair", mode)


def test_bufferevent_pair_flush(method):
    cdef Link link = Link(method, "pair")
    assert bufferevent_enable(link.left, EV_WRITE) == 0
    assert bufferevent_enable(link.right, EV_READ) == 0
    bufferevent_setcb(link.right, NULL, NULL, happened, &link.notes)
    assert bufferevent_flush(link.left, EV_WRITE, BEV_FINISHED) == 0
    event_base_loop(link.rig.base, EVLOOP_ONCE)
    assert link.notes.what == BEV_EVENT_READING | BEV_EVENT_EOF


def test_bufferevent_pair_release_lock(method):
    """Either end may go first; the lock goes with the second."""
    cdef Link link
    for first in (0, 1):
        link = Link(method, "pair", BEV_OPT_THREADSAFE)
        bufferevent_free(link.right if first else link.left)
        if first:
            link.right = NULL
            bufferevent_lock(link.left)
            bufferevent_unlock(link.left)
        else:
            link.left = NULL
            bufferevent_lock(link.right)
            bufferevent_unlock(link.right)


def test_pair_waits_for_a_reader(method):
    cdef Link link = Link(method, "pair")
    bufferevent_setcb(link.right, whole, NULL, happened, &link.notes)
    bufferevent_write(link.left, eight_thousand, 8333)
    assert evbuffer_get_length(bufferevent_get_output(link.left)) == 8333
    bufferevent_enable(link.right, EV_READ)
    # At once, though the callback comes from the loop.
    assert evbuffer_get_length(bufferevent_get_output(link.left)) == 0
    assert link.notes.reads == 0
    event_base_dispatch(link.rig.base)
    assert link.notes.reads == 1
    assert bufferevent_write(link.left, b"x", 1) == 0
    bufferevent_free(link.right)
    link.right = NULL
    assert bufferevent_flush(link.left, EV_WRITE, BEV_FLUSH) == -1


# --- watermarks -----------------------------------------------------------------------------------

cdef void between(bufferevent *bev, void *arg) noexcept nogil:
    cdef Notes *notes = <Notes *>arg
    cdef evbuffer *buf = evbuffer_new()
    cdef size_t n = evbuffer_get_length(bufferevent_get_input(bev))
    if n < 10 or n > 20:
        notes.events += 100
    bufferevent_read_buffer(bev, buf)
    notes.size += n
    if notes.size == 65000:
        bufferevent_disable(bev, EV_READ)
        notes.reads += 1
    evbuffer_free(buf)


cdef void low(bufferevent *bev, void *arg) noexcept nogil:
    if evbuffer_get_length(bufferevent_get_output(bev)) > 100:
        (<Notes *>arg).events += 100
    emptied(bev, arg)


def test_bufferevent_watermarks(method):
    cdef Link link
    cdef size_t lowest = 1
    cdef size_t highest = 1
    cdef bytes data = bytes(65000)
    for kind in KINDS:
        link = Link(method, kind)
        bufferevent_setcb(link.left, NULL, low, happened, &link.notes)
        bufferevent_setcb(link.right, between, NULL, happened, &link.notes)
        bufferevent_enable(link.right, EV_READ)
        assert bufferevent_getwatermark(link.left, EV_READ, &lowest, NULL) == 0 and lowest == 0
        bufferevent_setwatermark(link.right, EV_READ, 10, 20)
        assert bufferevent_getwatermark(link.right, EV_READ, &lowest, &highest) == 0
        assert (lowest, highest) == (10, 20)
        bufferevent_setwatermark(link.left, EV_WRITE, 100, 2000)
        assert bufferevent_getwatermark(link.left, EV_WRITE, &lowest, &highest) == 0
        assert (lowest, highest) == (100, 2000)
        assert bufferevent_getwatermark(link.left, EV_READ | EV_WRITE, &lowest, &highest) != 0
        bufferevent_write(link.left, <char *>data, 65000)
        event_base_dispatch(link.rig.base)
        assert link.notes.size == 65000
        assert (link.notes.reads, link.notes.writes, link.notes.events) == (1, 1, 0)
        assert not event_pending(&link.left.ev_write, EV_WRITE, NULL)


# --- filters --------------------------------------------------------------------------------------

cdef bufferevent_filter_result strip(evbuffer *source, evbuffer *destination, ev_ssize_t limit,
                                     bufferevent_flush_mode mode, void *ctx) noexcept nogil:
    """Takes the x before each byte away."""
    cdef size_t n = evbuffer_get_length(source)
    cdef unsigned char *data = evbuffer_pullup(source, -1)
    cdef size_t i
    for i in range(0, n, 2):
        if data[i] != c"x":
            (<Notes *>ctx).events += 100
        evbuffer_add(destination, data + i + 1, 1)
    evbuffer_drain(source, n)
    return BEV_OK


cdef bufferevent_filter_result once(evbuffer *source, evbuffer *destination, ev_ssize_t limit,
                                    bufferevent_flush_mode mode, void *ctx) noexcept nogil:
    """Puts an x before each byte, the first time; then it refuses."""
    cdef Notes *notes = <Notes *>ctx
    cdef size_t n = evbuffer_get_length(source)
    cdef unsigned char *data
    cdef size_t i
    notes.filtered += 1
    if notes.filtered > 1:
        return BEV_ERROR
    data = evbuffer_pullup(source, -1)
    for i in range(n):
        evbuffer_add(destination, b"x", 1)
        evbuffer_add(destination, data + i, 1)
    evbuffer_drain(source, n)
    if notes.other != NULL:
        # Does not enter the filter a second time.
        bufferevent_write(notes.other, b"-", 1)
        notes.wrote_in_filter = notes.filtered
    return BEV_OK


def test_bufferevent_filters(method):
    cdef Link link
    cdef bufferevent *below
    for kind in KINDS:
        for disabled in (False, True):
            link = Link(method, kind)
            below = link.left
            link.filter(once, strip, &link.notes)
            assert bufferevent_get_underlying(link.left) == below
            assert bufferevent_getfd(link.left) == bufferevent_getfd(below)
            if disabled:
                link.notes.other = link.left
            bufferevent_setcb(link.left, NULL, emptied, happened, &link.notes)
            bufferevent_setcb(link.right, whole, NULL, happened, &link.notes)
            bufferevent_disable(link.left, EV_READ)
            bufferevent_enable(link.right, EV_READ)
            bufferevent_write(link.left, eight_thousand, 8333)
            event_base_dispatch(link.rig.base)
            assert link.notes.reads == 1
            assert link.notes.events == 0
            if disabled:
                assert link.notes.wrote_in_filter == 1
                assert link.notes.filtered > 1
                assert link.notes.writes == 0
            else:
                assert (link.notes.filtered, link.notes.writes) == (1, 1)


def test_bufferevent_socket_filter_inactive(method):
    cdef Rig rig = Rig(method)
    cdef bufferevent *bev = bufferevent_socket_new(rig.base, -1, 0)
    cdef bufferevent *filter = bufferevent_filter_new(bev, NULL, NULL, 0, NULL, NULL)
    assert filter != NULL
    bufferevent_free(filter)
    bufferevent_free(bev)


cdef void swallow(bufferevent *bev, void *arg) noexcept nogil:
    cdef evbuffer *buf = bufferevent_get_input(bev)
    (<Notes *>arg).size += evbuffer_get_length(buf)
    evbuffer_drain(buf, evbuffer_get_length(buf))


cdef bufferevent_filter_result with_header(evbuffer *source, evbuffer *destination, ev_ssize_t limit,
                                           bufferevent_flush_mode mode, void *ctx) noexcept nogil:
    cdef Notes *notes = <Notes *>ctx
    cdef size_t n = evbuffer_get_length(source)
    if not notes.filtered:
        notes.filtered = 1
        evbuffer_add(destination, eight_thousand, 20)
        limit -= 20
    if n > <size_t>limit:
        n = <size_t>limit
    if <size_t>evbuffer_remove_buffer(source, destination, n) != n:
        notes.events += 100
    return BEV_OK


def test_bufferevent_filter_data_stuck(method):
    """What did not fit in the filter's input comes when there is room."""
    cdef Link link = Link(method, "pair", BEV_OPT_CLOSE_ON_FREE)
    bufferevent_setwatermark(link.left, EV_READ, 0, 4096)
    bufferevent_setwatermark(link.right, EV_READ, 0, 4096)
    link.right = bufferevent_filter_new(link.right, with_header, NULL,
                                        BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS, NULL, &link.notes)
    bufferevent_setcb(link.right, swallow, NULL, NULL, &link.notes)
    assert bufferevent_enable(link.right, EV_READ | EV_WRITE) == 0
    bufferevent_setwatermark(link.right, EV_READ, 0, 4096)
    assert bufferevent_write(link.left, eight_thousand, 4096) == 0
    event_base_dispatch(link.rig.base)
    assert link.notes.size == 4096 + 20
    assert link.notes.events == 0


def test_filter_that_does_not_read_leaves_bytes_below(method):
    """And gets them when it is enabled again, though nothing new arrives."""
    cdef Link link
    for kind in KINDS:
        link = Link(method, kind)
        link.filter(NULL, NULL, NULL)
        bufferevent_setcb(link.right, swallow, NULL, NULL, &link.notes)
        bufferevent_enable(link.right, EV_READ)
        bufferevent_write(link.left, eight_thousand, 100)
        while not link.notes.size:
            event_base_loop(link.rig.base, EVLOOP_ONCE)
        bufferevent_disable(link.right, EV_READ)
        bufferevent_write(link.left, eight_thousand, 50)
        event_base_loop(link.rig.base, EVLOOP_NONBLOCK)
        assert link.notes.size == 100
        bufferevent_enable(link.right, EV_READ)
        while link.notes.size < 150:
            event_base_loop(link.rig.base, EVLOOP_ONCE)
        assert link.notes.size == 150


cdef bufferevent_filter_result by_threes(evbuffer *source, evbuffer *destination, ev_ssize_t limit,
                                         bufferevent_flush_mode mode, void *ctx) noexcept nogil:
    """Passes on threes alone; when finished, what is left."""
    cdef size_t n = evbuffer_get_length(source)
    (<Notes *>ctx).what = mode
    if mode != BEV_FINISHED:
        n -= n % 3
    if n == 0:
        return BEV_NEED_MORE
    evbuffer_remove_buffer(source, destination, n)
    return BEV_OK


def test_filter_needs_more_and_flush_modes(method):
    cdef Link link = Link(method, "pair")
    link.filter(by_threes, NULL, &link.notes)
    bufferevent_setcb(link.right, swallow, NULL, happened, &link.notes)
    bufferevent_enable(link.right, EV_READ)
    bufferevent_write(link.left, b"12345678", 8)
    event_base_loop(link.rig.base, EVLOOP_NONBLOCK)
    assert link.notes.size == 6
    assert bufferevent_flush(link.left, EV_WRITE, BEV_FLUSH) == 0
    assert link.notes.what == BEV_FLUSH
    event_base_loop(link.rig.base, EVLOOP_NONBLOCK)
    assert link.notes.size == 6
    assert bufferevent_flush(link.left, EV_WRITE, BEV_FINISHED) == 1
    event_base_loop(link.rig.base, EVLOOP_NONBLOCK)
    assert link.notes.size == 8
    # The flush went down to the pair, whose other end was told, and its filter passed that on.
    assert link.notes.events == 1
    assert link.notes.what == BEV_EVENT_EOF | BEV_EVENT_READING


cdef bufferevent_filter_result plus_one(evbuffer *source, evbuffer *destination, ev_ssize_t limit,
                                        bufferevent_flush_mode mode, void *ctx) noexcept nogil:
    cdef unsigned char data[256]
    cdef int n = evbuffer_remove(source, data, sizeof(data))
    cdef int i
    if n <= 0:
        return BEV_NEED_MORE
    for i in range(n):
        data[i] += 1
    evbuffer_add(destination, data, n)
    return BEV_OK


cdef void ended(void *ctx) noexcept nogil:
    (<Notes *>ctx).filtered += 1


def test_filters_three_deep(method):
    """Freed from the top, each frees the one below and its context."""
    cdef Link link
    cdef unsigned char out[1000]
    for kind in KINDS:
        for options in (0, BEV_OPT_THREADSAFE, BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS,
                        BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS | BEV_OPT_UNLOCK_CALLBACKS):
            link = Link(method, kind, options)
            for _ in range(3):
                link.right = bufferevent_filter_new(link.right, plus_one, plus_one,
                                                    BEV_OPT_CLOSE_ON_FREE | options, ended, &link.notes)
                assert link.right != NULL
            bufferevent_setwatermark(link.right, EV_READ, 1000, 0)
            bufferevent_setcb(link.right, count_read, NULL, happened, &link.notes)
            bufferevent_enable(link.right, EV_READ)
            bufferevent_write(link.left, eight_thousand, 1000)
            while not link.notes.reads:
                event_base_loop(link.rig.base, EVLOOP_ONCE)
            assert bufferevent_read(link.right, out, sizeof(out)) == 1000
            assert all(out[i] == (i + 3) % 256 for i in range(1000))
            link.notes.reads = 0
            bufferevent_setwatermark(link.left, EV_READ, 1000, 0)
            bufferevent_setcb(link.left, count_read, NULL, happened, &link.notes)
            bufferevent_enable(link.left, EV_READ)
            bufferevent_write(link.right, eight_thousand, 1000)
            while not link.notes.reads:
                event_base_loop(link.rig.base, EVLOOP_ONCE)
            assert bufferevent_read(link.left, out, sizeof(out)) == 1000
            assert all(out[i] == (i + 3) % 256 for i in range(1000))
            bufferevent_free(link.right)
            link.right = NULL
            event_base_loop(link.rig.base, EVLOOP_NONBLOCK)
            assert link.notes.filtered == 3
            if kind == "pair":
                assert bufferevent_pair_get_partner(link.left) == NULL


cdef void count_read(bufferevent *bev, void *arg) noexcept nogil:
    (<Notes *>arg).reads += 1


cdef void free_me(bufferevent *bev, void *arg) noexcept nogil:
    (<Notes *>arg).reads += 1
    bufferevent_free(bev)


def test_filter_freed_in_its_callback(method):
    cdef Link link
    for kind in KINDS:
        for options in (0, BEV_OPT_DEFER_CALLBACKS, BEV_OPT_THREADSAFE):
            link = Link(method, kind)
            link.right = bufferevent_filter_new(link.right, plus_one, NULL,
                                                BEV_OPT_CLOSE_ON_FREE | options, ended, &link.notes)
            bufferevent_setcb(link.right, free_me, NULL, NULL, &link.notes)
            bufferevent_enable(link.right, EV_READ)
            bufferevent_write(link.left, eight_thousand, 1000)
            while not link.notes.filtered:
                event_base_loop(link.rig.base, EVLOOP_ONCE)
            link.right = NULL
            assert link.notes.reads == 1 and link.notes.filtered == 1


def test_filter_taken_off(method):
    """Without BEV_OPT_CLOSE_ON_FREE the one below goes on by itself."""
    cdef Link link = Link(method, "socket")
    cdef bufferevent *below = link.right
    cdef bufferevent *filter = bufferevent_filter_new(below, plus_one, NULL, 0, NULL, NULL)
    bufferevent_free(filter)
    bufferevent_setcb(below, swallow, NULL, NULL, &link.notes)
    bufferevent_write(link.left, eight_thousand, 10)
    while link.notes.size < 10:
        event_base_loop(link.rig.base, EVLOOP_ONCE)
    # The references are what they were: this is the last one.
    bufferevent_incref(below)
    assert bufferevent_decref(below) == 0


# --- timeouts -------------------------------------------------------------------------------------

cdef void timed_out(bufferevent *bev, short what, void *arg) noexcept nogil:
    cdef Notes *notes = <Notes *>arg
    notes.events += 1
    if what == BEV_EVENT_READING | BEV_EVENT_TIMEOUT:
        notes.read_timeout = now()
    if what == BEV_EVENT_WRITING | BEV_EVENT_TIMEOUT:
        notes.write_timeout = now()


cdef int time_out(str method, bint use_pair, bint use_filter) except -1:
    """libevent's test_bufferevent_timeouts(): its sockets have no descriptors."""
    cdef Rig rig = Rig(method)
    cdef bufferevent *ends[2]
    cdef Notes notes[2]
    cdef timeval write_time = milliseconds(100)
    cdef timeval read_time = milliseconds(150)
    cdef timeval limit = milliseconds(350)
    cdef double start
    cdef int i
    memset(notes, 0, sizeof(notes))
    if use_pair:
        assert bufferevent_pair_new(rig.base, 0, ends) == 0
    else:
        for i in range(2):
            ends[i] = bufferevent_socket_new(rig.base, -1, 0)
    if use_filter:
        for i in range(2):
            ends[i] = bufferevent_filter_new(ends[i], NULL, NULL, BEV_OPT_CLOSE_ON_FREE, NULL, NULL)
    bufferevent_disable(ends[1], EV_READ)
    start = now()
    bufferevent_setcb(ends[0], NULL, NULL, timed_out, &notes[0])
    bufferevent_set_timeouts(ends[0], &read_time, &write_time)
    bufferevent_write(ends[0], b"ABCDEFG", 7)
    bufferevent_enable(ends[0], EV_READ | EV_WRITE)
    bufferevent_setcb(ends[1], NULL, NULL, timed_out, &notes[1])
    write_time = milliseconds(200)
    bufferevent_set_timeouts(ends[1], &read_time, &write_time)
    bufferevent_enable(ends[1], EV_WRITE)
    event_base_loopexit(rig.base, &limit)
    event_base_dispatch(rig.base)
    assert notes[0].events == 2
    assert notes[0].read_timeout - start >= 0.149
    assert notes[0].write_timeout - start >= 0.099
    # An end of a pair that has nothing to write cannot be late with it.
    assert notes[1].events == (0 if use_pair and not use_filter else 1)
    assert notes[1].read_timeout == 0
    for i in range(2):
        bufferevent_free(ends[i])
    return 0


def test_bufferevent_timeout(method):
    time_out(method, False, False)


def test_bufferevent_timeout_pair(method):
    time_out(method, True, False)


def test_bufferevent_timeout_filter(method):
    time_out(method, False, True)


def test_bufferevent_timeout_filter_pair(method):
    time_out(method, True, True)


# --- others ---------------------------------------------------------------------------------------

cdef void frozen_read(bufferevent *bev, void *arg) noexcept nogil:
    cdef Notes *notes = <Notes *>arg
    cdef char out[16]
    cdef evbuffer *buf = bufferevent_get_input(bev)
    if evbuffer_get_length(buf) == 9 and bufferevent_read(bev, out, 8) == 8:
        notes.reads += 1
    evbuffer_freeze(buf, 1)
    if bufferevent_read(bev, out, 1) == 0 and evbuffer_get_length(buf) == 1:
        notes.reads += 1
    event_base_loopexit(notes.base, NULL)


def test_bufferevent_read_failed(method):
    cdef Link link = Link(method, "socket")
    link.notes.base = link.rig.base
    bufferevent_setcb(link.right, frozen_read, NULL, NULL, &link.notes)
    bufferevent_enable(link.right, EV_READ)
    link.rig.send(0, b"test data")
    event_base_dispatch(link.rig.base)
    assert link.notes.reads == 2


def test_pair_moves_without_copying(method):
    """The bytes are moved, not copied: they stay where they are in memory."""
    cdef Link link = Link(method, "pair")
    cdef unsigned char *before
    bufferevent_write(link.left, eight_thousand, 4000)
    before = evbuffer_pullup(bufferevent_get_output(link.left), 10)
    bufferevent_enable(link.right, EV_READ)
    assert evbuffer_pullup(bufferevent_get_input(link.right), 10) == before
