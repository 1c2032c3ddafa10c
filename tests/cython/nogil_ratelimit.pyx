"""Rate limits through libevent's names."""

from libc.limits cimport INT_MAX, LONG_MAX
from libc.stdint cimport uint64_t
from libc.string cimport memset
from libc.time cimport time_t

from cyevent cimport (
    bufferevent, bufferevent_add_to_rate_limit_group, bufferevent_decrement_read_limit,
    bufferevent_decrement_write_limit, bufferevent_enable, bufferevent_free,
    bufferevent_get_input, bufferevent_get_max_to_read, bufferevent_get_max_to_write,
    bufferevent_get_output, bufferevent_get_read_limit, bufferevent_get_token_bucket_cfg,
    bufferevent_get_write_limit, bufferevent_rate_limit_group,
    bufferevent_rate_limit_group_decrement_read, bufferevent_rate_limit_group_decrement_write,
    bufferevent_rate_limit_group_free, bufferevent_rate_limit_group_get_read_limit,
    bufferevent_rate_limit_group_get_totals, bufferevent_rate_limit_group_get_write_limit,
    bufferevent_rate_limit_group_new, bufferevent_rate_limit_group_reset_totals,
    bufferevent_rate_limit_group_set_cfg, bufferevent_rate_limit_group_set_min_share,
    bufferevent_remove_from_rate_limit_group, bufferevent_set_max_single_read,
    bufferevent_set_rate_limit, bufferevent_setcb, bufferevent_socket_new, bufferevent_write,
    BEV_OPT_CLOSE_ON_FREE, BEV_OPT_THREADSAFE, ev_token_bucket_cfg, ev_token_bucket_cfg_free,
    ev_token_bucket_cfg_new, EV_RATE_LIMIT_MAX, EV_READ, EV_WRITE, evbuffer_drain,
    evbuffer_get_length, event_base_loop, event_base_loopexit, event_pending,
    EVLOOP_ONCE, evutil_socketpair, timeval,
)
from rig cimport Rig, milliseconds, now

cdef extern from "<sys/socket.h>" nogil:
    int AF_UNIX, SOCK_STREAM, SOCK_NONBLOCK


cdef ev_token_bucket_cfg *configure(size_t rate, size_t burst, long tick_ms) except NULL:
    cdef timeval tick = milliseconds(tick_ms)
    cdef ev_token_bucket_cfg *cfg = ev_token_bucket_cfg_new(rate, burst, rate, burst, &tick)
    assert cfg != NULL
    return cfg


def test_bufferevent_ratelimit_div_by_zero():
    cdef timeval tick = milliseconds(0)
    assert ev_token_bucket_cfg_new(1, 1, 1, 1, &tick) == NULL
    tick.tv_usec = 999
    assert ev_token_bucket_cfg_new(1, 1, 1, 1, &tick) == NULL


def test_bufferevent_ratelimit_overflow():
    cdef timeval tick
    cdef ev_token_bucket_cfg *cfg
    tick.tv_usec = 0
    for seconds in (LONG_MAX, INT_MAX, INT_MAX // 1000 + 1, -1):
        tick.tv_sec = <time_t>seconds
        assert ev_token_bucket_cfg_new(1, 1, 1, 1, &tick) == NULL
    for seconds in (INT_MAX // 1000, INT_MAX // 1000 - 1):
        tick.tv_sec = <time_t>seconds
        cfg = ev_token_bucket_cfg_new(1, 1, 1, 1, &tick)
        assert cfg != NULL
        ev_token_bucket_cfg_free(cfg)


def test_configurations_that_make_no_sense():
    assert ev_token_bucket_cfg_new(0, 1, 1, 1, NULL) == NULL
    assert ev_token_bucket_cfg_new(1, 1, 0, 1, NULL) == NULL
    assert ev_token_bucket_cfg_new(2, 1, 1, 1, NULL) == NULL
    assert ev_token_bucket_cfg_new(1, 1, 2, 1, NULL) == NULL
    assert ev_token_bucket_cfg_new(1, <size_t>EV_RATE_LIMIT_MAX + 1, 1, 1, NULL) == NULL
    cdef ev_token_bucket_cfg *cfg = ev_token_bucket_cfg_new(
        EV_RATE_LIMIT_MAX, EV_RATE_LIMIT_MAX, 1, 1, NULL)
    assert cfg != NULL
    ev_token_bucket_cfg_free(cfg)


cdef struct Member:
    bufferevent *bev
    uint64_t passed


cdef void swallow(bufferevent *bev, void *arg) noexcept nogil:
    cdef Member *member = <Member *>arg
    member.passed += evbuffer_get_length(bufferevent_get_input(bev))
    evbuffer_drain(bufferevent_get_input(bev), -1)


cdef void feed(bufferevent *bev, void *arg) noexcept nogil:
    cdef char data[4096]
    memset(data, 0, sizeof(data))
    while evbuffer_get_length(bufferevent_get_output(bev)) < 200000:
        bufferevent_write(bev, data, sizeof(data))


cdef class Crowd:
    """Pairs of sockets, the receivers limited or not, the senders always ready."""

    cdef Rig rig
    cdef Member senders[20]
    cdef Member receivers[20]
    cdef int n

    def __cinit__(self, str method, int n, int options=0):
        cdef int fds[2]
        cdef int i
        self.rig = Rig(method)
        self.n = n
        for i in range(n):
            assert evutil_socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0
            self.senders[i].bev = bufferevent_socket_new(self.rig.base, fds[0], BEV_OPT_CLOSE_ON_FREE)
            self.receivers[i].bev = bufferevent_socket_new(self.rig.base, fds[1],
                                                           BEV_OPT_CLOSE_ON_FREE | options)
            self.receivers[i].passed = 0
            bufferevent_setcb(self.senders[i].bev, NULL, feed, NULL, NULL)
            bufferevent_setcb(self.receivers[i].bev, swallow, NULL, NULL, &self.receivers[i])
            bufferevent_enable(self.receivers[i].bev, EV_READ)

    def __dealloc__(self):
        for i in range(self.n):
            bufferevent_free(self.senders[i].bev)
            bufferevent_free(self.receivers[i].bev)

    cdef uint64_t total(self):
        return sum(self.receivers[i].passed for i in range(self.n))

    cdef int start(self, int n) except -1:
        for i in range(n):
            feed(self.senders[i].bev, NULL)
        return 0

    cdef int run(self, long ms) except -1:
        cdef timeval tv = milliseconds(ms)
        event_base_loopexit(self.rig.base, &tv)
        with nogil:
            event_base_loop(self.rig.base, 0)
        return 0


def test_reading_is_limited(method):
    """To the byte: one tick's tokens at once, and as many again with each tick."""
    cdef Crowd crowd = Crowd(method, 1)
    cdef ev_token_bucket_cfg *cfg = configure(10000, 10000, 50)
    cdef bufferevent *bev = crowd.receivers[0].bev
    cdef double start = now()
    cdef double end
    assert bufferevent_set_rate_limit(bev, cfg) == 0
    assert bufferevent_get_token_bucket_cfg(bev) == cfg
    assert bufferevent_get_max_to_read(bev) == 10000
    crowd.start(1)
    crowd.run(525)
    end = now()
    # A machine that is busy may miss ticks, and what a full bucket overflows by is lost.
    assert crowd.receivers[0].passed <= 10000 * (1 + (end - start) // 0.05)
    assert crowd.receivers[0].passed >= 80000
    assert crowd.receivers[0].passed % 10000 == 0
    assert bufferevent_get_read_limit(bev) == 0 or bufferevent_get_read_limit(bev) == 10000
    bufferevent_set_rate_limit(bev, NULL)
    assert bufferevent_get_token_bucket_cfg(bev) == NULL
    assert bufferevent_get_read_limit(bev) == EV_RATE_LIMIT_MAX
    assert bufferevent_get_max_to_read(bev) == 16384
    crowd.run(50)
    assert crowd.receivers[0].passed > 1000000
    ev_token_bucket_cfg_free(cfg)


def test_writing_is_limited(method):
    cdef Crowd crowd = Crowd(method, 1)
    cdef ev_token_bucket_cfg *cfg = configure(1000, 3000, 50)
    cdef bufferevent *bev = crowd.senders[0].bev
    cdef double start = now()
    cdef double end
    assert bufferevent_set_rate_limit(bev, cfg) == 0
    assert bufferevent_get_write_limit(bev) == 1000
    crowd.start(1)
    crowd.run(275)
    end = now()
    assert 3000 <= crowd.receivers[0].passed <= 1000 * (1 + (end - start) // 0.05)
    # The rest of it is not lost, and is not waited for at the socket.
    assert evbuffer_get_length(bufferevent_get_output(bev)) > 0
    assert not event_pending(&bev.ev_write, EV_WRITE, NULL)
    bufferevent_set_rate_limit(bev, NULL)
    crowd.run(30)
    assert crowd.receivers[0].passed > 100000
    ev_token_bucket_cfg_free(cfg)


def test_a_burst_saves_up(method):
    cdef Crowd crowd = Crowd(method, 1)
    cdef ev_token_bucket_cfg *cfg = configure(1000, 5000, 20)
    bufferevent_set_rate_limit(crowd.receivers[0].bev, cfg)
    assert bufferevent_get_read_limit(crowd.receivers[0].bev) == 1000
    crowd.run(200)
    assert bufferevent_get_read_limit(crowd.receivers[0].bev) == 5000
    assert bufferevent_get_max_to_read(crowd.receivers[0].bev) == 5000
    bufferevent_set_rate_limit(crowd.receivers[0].bev, NULL)
    ev_token_bucket_cfg_free(cfg)


def test_suspended_without_a_busy_loop(method):
    """With a tick of a minute the loop waits, though both sides are ready."""
    cdef Crowd crowd = Crowd(method, 2)
    cdef ev_token_bucket_cfg *cfg = configure(100, 100, 60000)
    cdef bufferevent_rate_limit_group *group = bufferevent_rate_limit_group_new(crowd.rig.base, cfg)
    cdef int turns = 0
    bufferevent_set_rate_limit(crowd.receivers[0].bev, cfg)
    bufferevent_add_to_rate_limit_group(crowd.receivers[1].bev, group)
    crowd.start(2)
    crowd.run(50)
    assert crowd.receivers[0].passed == 100
    assert 100 <= crowd.receivers[1].passed < 200
    cdef timeval tv = milliseconds(100)
    event_base_loopexit(crowd.rig.base, &tv)
    cdef double end = now() + 0.1
    while now() < end:
        event_base_loop(crowd.rig.base, EVLOOP_ONCE)
        turns += 1
    assert turns <= 3
    bufferevent_remove_from_rate_limit_group(crowd.receivers[1].bev)
    bufferevent_rate_limit_group_free(group)
    bufferevent_set_rate_limit(crowd.receivers[0].bev, NULL)
    ev_token_bucket_cfg_free(cfg)


def test_manual_decrement(method):
    cdef Crowd crowd = Crowd(method, 1)
    cdef ev_token_bucket_cfg *cfg = configure(1000, 1000, 60000)
    cdef bufferevent *bev = crowd.receivers[0].bev
    assert bufferevent_decrement_read_limit(bev, 1) == -1
    bufferevent_set_rate_limit(bev, cfg)
    assert bufferevent_decrement_read_limit(bev, 1300) == 0
    assert bufferevent_get_read_limit(bev) == -300
    assert bufferevent_get_max_to_read(bev) == 0
    assert bufferevent_decrement_write_limit(bev, 400) == 0
    assert bufferevent_get_write_limit(bev) == bufferevent_get_max_to_write(bev) == 600
    crowd.start(1)
    crowd.run(30)
    assert crowd.receivers[0].passed == 0
    assert bufferevent_decrement_read_limit(bev, -800) == 0
    crowd.run(30)
    assert crowd.receivers[0].passed == 500
    ev_token_bucket_cfg_free(cfg)


def test_limits_changed_while_suspended(method):
    cdef Crowd crowd = Crowd(method, 1)
    cdef ev_token_bucket_cfg *slow = configure(1000, 1000, 60000)
    cdef ev_token_bucket_cfg *fast = configure(1000, 1000, 20)
    cdef ev_token_bucket_cfg *small = configure(10, 10, 60000)
    cdef bufferevent *bev = crowd.receivers[0].bev
    bufferevent_set_rate_limit(bev, slow)
    crowd.start(1)
    crowd.run(30)
    assert crowd.receivers[0].passed == 1000
    # The new tick counts, not the one that the old limit waited for.
    bufferevent_set_rate_limit(bev, fast)
    crowd.run(100)
    assert crowd.receivers[0].passed >= 3000
    crowd.run(10)
    bufferevent_decrement_read_limit(bev, -500)
    bufferevent_set_rate_limit(bev, small)
    assert bufferevent_get_read_limit(bev) <= 10
    cdef uint64_t before = crowd.receivers[0].passed
    crowd.run(60)
    assert crowd.receivers[0].passed - before <= 10
    bufferevent_set_rate_limit(bev, NULL)
    crowd.run(20)
    assert crowd.receivers[0].passed > before + 10000
    ev_token_bucket_cfg_free(slow)
    ev_token_bucket_cfg_free(fast)
    ev_token_bucket_cfg_free(small)


def test_a_group_shares_evenly(method):
    cdef Crowd crowd
    cdef ev_token_bucket_cfg *cfg = configure(20000, 20000, 20)
    cdef bufferevent_rate_limit_group *group
    cdef uint64_t read, written, total
    for options in (0, BEV_OPT_THREADSAFE):
        crowd = Crowd(method, 20, options)
        group = bufferevent_rate_limit_group_new(crowd.rig.base, cfg)
        for i in range(20):
            assert bufferevent_add_to_rate_limit_group(crowd.receivers[i].bev, group) == 0
        crowd.start(20)
        crowd.run(610)
        total = crowd.total()
        assert 400000 <= total <= 20000 * 33
        assert min(crowd.receivers[i].passed for i in range(20)) >= total // 20 * 0.9
        assert max(crowd.receivers[i].passed for i in range(20)) <= total // 20 * 1.1
        bufferevent_rate_limit_group_get_totals(group, &read, &written)
        assert read == total and written == 0
        bufferevent_rate_limit_group_reset_totals(group)
        bufferevent_rate_limit_group_get_totals(group, &read, &written)
        assert read == written == 0
        for i in range(20):
            assert bufferevent_remove_from_rate_limit_group(crowd.receivers[i].bev) == 0
        bufferevent_rate_limit_group_free(group)
    ev_token_bucket_cfg_free(cfg)


def test_writers_in_a_group_share_evenly(method):
    cdef Crowd crowd = Crowd(method, 20)
    cdef ev_token_bucket_cfg *cfg = configure(20000, 20000, 20)
    cdef bufferevent_rate_limit_group *group = bufferevent_rate_limit_group_new(crowd.rig.base, cfg)
    cdef uint64_t total
    for i in range(20):
        bufferevent_add_to_rate_limit_group(crowd.senders[i].bev, group)
    crowd.start(20)
    crowd.run(610)
    total = crowd.total()
    assert 400000 <= total <= 20000 * 33
    assert min(crowd.receivers[i].passed for i in range(20)) >= total // 20 * 0.9
    assert max(crowd.receivers[i].passed for i in range(20)) <= total // 20 * 1.1
    for i in range(20):
        bufferevent_remove_from_rate_limit_group(crowd.senders[i].bev)
    bufferevent_rate_limit_group_free(group)
    ev_token_bucket_cfg_free(cfg)


def test_the_busy_get_what_the_idle_leave(method):
    cdef Crowd crowd = Crowd(method, 20)
    cdef ev_token_bucket_cfg *cfg = configure(20000, 20000, 20)
    cdef bufferevent_rate_limit_group *group = bufferevent_rate_limit_group_new(crowd.rig.base, cfg)
    for i in range(20):
        bufferevent_add_to_rate_limit_group(crowd.receivers[i].bev, group)
    crowd.start(2)
    crowd.run(310)
    assert crowd.total() >= 200000
    assert crowd.receivers[0].passed >= crowd.total() // 2 * 0.9
    assert crowd.receivers[1].passed >= crowd.total() // 2 * 0.9
    # And the newly busy are not kept waiting.
    crowd.start(20)
    crowd.run(100)
    for i in range(2, 20):
        assert crowd.receivers[i].passed > 0
    for i in range(20):
        bufferevent_remove_from_rate_limit_group(crowd.receivers[i].bev)
    bufferevent_rate_limit_group_free(group)
    ev_token_bucket_cfg_free(cfg)


def test_group_settings(method):
    cdef Crowd crowd = Crowd(method, 2)
    cdef ev_token_bucket_cfg *cfg = configure(1000, 2000, 60000)
    cdef ev_token_bucket_cfg *other = configure(500, 500, 20)
    cdef bufferevent_rate_limit_group *group = bufferevent_rate_limit_group_new(crowd.rig.base, cfg)
    cdef bufferevent *bev = crowd.receivers[0].bev
    assert bufferevent_rate_limit_group_set_cfg(group, NULL) == -1
    assert bufferevent_rate_limit_group_set_min_share(group, <size_t>-1) == -1
    assert bufferevent_rate_limit_group_get_read_limit(group) == 1000
    assert bufferevent_rate_limit_group_decrement_write(group, 300) == 0
    assert bufferevent_rate_limit_group_get_write_limit(group) == 700
    bufferevent_add_to_rate_limit_group(bev, group)
    # A second time changes nothing; a bufferevent is in one group at most.
    assert bufferevent_add_to_rate_limit_group(bev, group) == 0
    bufferevent_add_to_rate_limit_group(crowd.receivers[1].bev, group)
    assert bufferevent_get_max_to_read(bev) == 500
    assert bufferevent_rate_limit_group_set_min_share(group, 600) == 0
    bufferevent_remove_from_rate_limit_group(bev)
    bufferevent_add_to_rate_limit_group(bev, group)
    assert bufferevent_get_max_to_read(bev) == 600
    assert bufferevent_rate_limit_group_decrement_read(group, 1000) == 0
    crowd.start(2)
    crowd.run(30)
    assert crowd.total() == 0
    assert bufferevent_get_max_to_read(bev) == 0
    assert bufferevent_rate_limit_group_decrement_read(group, -400) == 0
    crowd.run(30)
    assert crowd.total() >= 400
    assert bufferevent_rate_limit_group_set_cfg(group, other) == 0
    crowd.run(100)
    assert crowd.total() >= 1000
    # Out of the group it is free.
    bufferevent_remove_from_rate_limit_group(bev)
    crowd.run(30)
    assert crowd.receivers[0].passed > 100000
    bufferevent_remove_from_rate_limit_group(crowd.receivers[1].bev)
    bufferevent_rate_limit_group_free(group)
    ev_token_bucket_cfg_free(cfg)
    ev_token_bucket_cfg_free(other)


def test_own_limit_and_a_groups(method):
    """The smaller of the two holds; freeing a suspended member leaves the group."""
    cdef Crowd crowd = Crowd(method, 2, BEV_OPT_THREADSAFE)
    cdef ev_token_bucket_cfg *wide = configure(1000, 1000, 60000)
    cdef ev_token_bucket_cfg *narrow = configure(100, 100, 60000)
    cdef bufferevent_rate_limit_group *group = bufferevent_rate_limit_group_new(crowd.rig.base, wide)
    bufferevent_add_to_rate_limit_group(crowd.receivers[0].bev, group)
    bufferevent_add_to_rate_limit_group(crowd.receivers[1].bev, group)
    bufferevent_set_rate_limit(crowd.receivers[0].bev, narrow)
    crowd.start(2)
    crowd.run(50)
    assert crowd.receivers[0].passed == 100
    assert 900 <= crowd.receivers[1].passed <= 963
    crowd.n = 0
    for i in range(2):
        bufferevent_free(crowd.senders[i].bev)
        bufferevent_free(crowd.receivers[i].bev)
    bufferevent_rate_limit_group_free(group)
    ev_token_bucket_cfg_free(wide)
    ev_token_bucket_cfg_free(narrow)


def test_max_single_read_and_limits(method):
    cdef Crowd crowd = Crowd(method, 1)
    bufferevent_set_max_single_read(crowd.receivers[0].bev, 100)
    assert bufferevent_get_max_to_read(crowd.receivers[0].bev) == 100
