# The arithmetic of token buckets. All times are monotonic nanoseconds.

from libc.stdint cimport int64_t
from cyevent.core.sys cimport timeval
from cyevent.bufferevent.types cimport ev_token_bucket, ev_token_bucket_cfg

# tick_len NULL: a second; it counts in milliseconds. NULL for a rate of 0, a burst below the rate, or a tick of
# no or of too much time.
cdef ev_token_bucket_cfg *ev_token_bucket_cfg_new(size_t read_rate, size_t read_burst,
                                                  size_t write_rate, size_t write_burst,
                                                  const timeval *tick_len) noexcept nogil
# Not while a bufferevent uses it.
cdef void ev_token_bucket_cfg_free(ev_token_bucket_cfg *cfg) noexcept nogil

# Begins with one tick's tokens; again: with what is left.
cdef void bucket_begin_(ev_token_bucket *bucket, const ev_token_bucket_cfg *cfg, int64_t now,
                        bint again) noexcept nogil
# Credits the ticks that have gone by. True if there were any.
cdef bint bucket_fill_(ev_token_bucket *bucket, const ev_token_bucket_cfg *cfg, int64_t now) noexcept nogil
# Time until the first of the directions that wait has tokens.
cdef int64_t bucket_wait_(const ev_token_bucket *bucket, const ev_token_bucket_cfg *cfg, bint reading,
                          bint writing, int64_t now) noexcept nogil
