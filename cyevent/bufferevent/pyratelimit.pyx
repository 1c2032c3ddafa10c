"""TokenBucket and RateLimitGroup."""

from libc.stdint cimport uint64_t
from cyevent.bufferevent.bufferevent cimport BEV_UNLOCK
from cyevent.bufferevent.pybase cimport BufferEvent
from cyevent.bufferevent.rategroup cimport *
from cyevent.bufferevent.tokens cimport *
from cyevent.bufferevent.types cimport *
from cyevent.core.arguments cimport duration_ns, integer
from cyevent.core.clock cimport NS_PER_MS, ns_to_timeval
from cyevent.core.sys cimport timeval
from cyevent.core.types cimport event_base

cdef long long MOST = EV_RATE_LIMIT_MAX
cdef long long LONGEST_TICK = 2147483000000000     # ns; what libevent's milliseconds hold


cdef object rate(object value, str name):
    return MOST if value is None else integer(value, name, 1, MOST)


cdef class TokenBucket:
    """How many bytes may pass: `rate` each tick, and up to `burst` of what was not used before.

    read_rate, write_rate: bytes a tick, at least 1; None for no limit.
    read_burst, write_burst: bytes, at least the rate; None for the rate.
    tick: seconds (or a timedelta), at least 0.001.

    ValueError for what is out of these ranges. It does not change, and can serve any number of bufferevents and
    groups, each of which has a bucket of its own.
    """

    def __cinit__(self, read_rate=None, read_burst=None, write_rate=None, write_burst=None, tick=1.0):
        cdef timeval tv
        cdef long long ns = duration_ns(tick, "tick")
        cdef object reading = rate(read_rate, "read_rate")
        cdef object writing = rate(write_rate, "write_rate")
        cdef object read_most = reading if read_burst is None else rate(read_burst, "read_burst")
        cdef object write_most = writing if write_burst is None else rate(write_burst, "write_burst")
        if read_most < reading:
            raise ValueError(f"read_burst must be at least read_rate, not {read_most}")
        if write_most < writing:
            raise ValueError(f"write_burst must be at least write_rate, not {write_most}")
        if not NS_PER_MS <= ns <= LONGEST_TICK:
            raise ValueError(f"tick must be 0.001 to {LONGEST_TICK // 10**9} seconds, not {tick}")
        ns_to_timeval(ns, &tv)
        self.cfg = ev_token_bucket_cfg_new(reading, read_most, writing, write_most, &tv)
        if self.cfg == NULL:
            raise MemoryError()

    def __dealloc__(self):
        ev_token_bucket_cfg_free(self.cfg)

    @property
    def read_rate(self):
        """Bytes a tick that may be read."""
        return self.cfg.read_rate

    @property
    def read_burst(self):
        """The most bytes that may be read at once."""
        return self.cfg.read_maximum

    @property
    def write_rate(self):
        """Bytes a tick that may be written."""
        return self.cfg.write_rate

    @property
    def write_burst(self):
        """The most bytes that may be written at once."""
        return self.cfg.write_maximum

    @property
    def tick(self):
        """How long a tick is, in seconds."""
        return self.cfg.tick / 1e9

    def __repr__(self):
        return (f"TokenBucket({self.read_rate}, {self.read_burst}, {self.write_rate}, "
                f"{self.write_burst}, tick={self.tick})")


cdef class RateLimitGroup:
    """Bufferevents that share one bucket evenly. What some do not use the others get.

    limit: a TokenBucket, of which the group has a bucket of its own; it can be changed.

    A bufferevent is in one group at most, and leaves it when it is closed. Members keep the group alive.
    """

    def __init__(self, EventBase base not None, TokenBucket limit not None):
        cdef event_base *native = base.checked()
        if self.group != NULL:
            raise RuntimeError("RateLimitGroup.__init__() was called twice")
        self.group = bufferevent_rate_limit_group_new(native, limit.cfg)
        if self.group == NULL:
            raise MemoryError()
        self.owner = base
        self.limit_ = limit

    def __del__(self):
        cdef bufferevent_rate_limit_group *group = self.group
        self.group = NULL
        if group == NULL:
            return
        with nogil:
            # Members refer to this object: there are some only when the collector takes all of them together.
            while group.first != NULL:
                bufferevent_remove_from_rate_limit_group(<bufferevent *>group.first.wake.arg)
            bufferevent_rate_limit_group_free(group)

    cdef bufferevent_rate_limit_group *live(self) except NULL:
        if self.group == NULL:
            raise ValueError("the group is not initialized")
        return self.group

    def add(self, BufferEvent bev not None):
        """Makes a bufferevent a member; it leaves the group that it was in. Its own limit stays. ValueError
        when it is closed."""
        cdef bufferevent_rate_limit_group *group = self.live()
        cdef int result
        bev.enter()
        result = bufferevent_add_to_rate_limit_group(bev.bev, group)
        BEV_UNLOCK(bev.bev)
        if result < 0:
            raise MemoryError()
        bev.group = self

    def remove(self, BufferEvent bev not None):
        """Lets a member go. ValueError if it is none."""
        bev.live()
        if bev.group is not self:
            raise ValueError("bev must be a member of the group")
        bev.enter()
        bufferevent_remove_from_rate_limit_group(bev.bev)
        BEV_UNLOCK(bev.bev)
        bev.group = None

    def __len__(self):
        return self.live().n_members

    def __contains__(self, bev):
        return isinstance(bev, BufferEvent) and (<BufferEvent>bev).group is self

    def __bool__(self):
        return True

    @property
    def limit(self):
        """The TokenBucket; it can be set. A new one leaves what is in the bucket, up to its burst."""
        return self.limit_

    @limit.setter
    def limit(self, TokenBucket limit not None):
        bufferevent_rate_limit_group_set_cfg(self.live(), limit.cfg)
        self.limit_ = limit

    @property
    def min_share(self):
        """The least bytes that a member passes at once, though never more than a tick's tokens; 64 at first. It
        can be set."""
        return self.live().configured_min_share

    @min_share.setter
    def min_share(self, n):
        bufferevent_rate_limit_group_set_min_share(
            self.live(), integer(n, "min_share", 0, MOST))

    @property
    def read_limit(self):
        """The tokens, in bytes, that reading has left."""
        return bufferevent_rate_limit_group_get_read_limit(self.live())

    @property
    def write_limit(self):
        """The tokens, in bytes, that writing has left."""
        return bufferevent_rate_limit_group_get_write_limit(self.live())

    def decrement_read_limit(self, n):
        """Takes n tokens from reading, as if so many bytes had been read; gives them if negative."""
        bufferevent_rate_limit_group_decrement_read(
            self.live(), integer(n, "n", -MOST, MOST))

    def decrement_write_limit(self, n):
        """Takes n tokens from writing, as if so many bytes had been written; gives them if negative."""
        bufferevent_rate_limit_group_decrement_write(
            self.live(), integer(n, "n", -MOST, MOST))

    @property
    def totals(self):
        """The bytes that members have (read, written) since the beginning, or since `reset_totals`."""
        cdef uint64_t read = 0
        cdef uint64_t written = 0
        bufferevent_rate_limit_group_get_totals(self.live(), &read, &written)
        return read, written

    def reset_totals(self):
        """Sets `totals` to (0, 0)."""
        bufferevent_rate_limit_group_reset_totals(self.live())

    @property
    def base(self):
        """The EventBase that it was made with."""
        return self.owner

    def __repr__(self):
        return f"<cyevent.RateLimitGroup of {len(self)} with {self.limit_!r}>"
