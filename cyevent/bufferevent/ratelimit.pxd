# Rate limits of single bufferevents; rategroup has those of groups, tokens the configurations.
#
# A bucket gains its rate of tokens each tick, up to its burst; each byte takes one. A socket bufferevent whose
# bucket, or whose group's, is empty waits for the tick that fills it. Limits bind sockets and TLS; to limit a
# filter, limit what is below it.

from cyevent.buffer.types cimport ev_ssize_t
from cyevent.bufferevent.types cimport bufferevent, bufferevent_private, ev_token_bucket_cfg

# cfg NULL: no limit. A new bucket begins with one tick's tokens; when limits change, what is left stays, up to
# the new burst.
cdef int bufferevent_set_rate_limit(bufferevent *bev, ev_token_bucket_cfg *cfg) noexcept nogil
cdef const ev_token_bucket_cfg *bufferevent_get_token_bucket_cfg(const bufferevent *bev) noexcept nogil
# The bucket's tokens; EV_RATE_LIMIT_MAX without one. Negative after an overdraft.
cdef ev_ssize_t bufferevent_get_read_limit(bufferevent *bev) noexcept nogil
cdef ev_ssize_t bufferevent_get_write_limit(bufferevent *bev) noexcept nogil
# Takes tokens away; negative: gives some. The bufferevent must have a limit of its own.
cdef int bufferevent_decrement_read_limit(bufferevent *bev, ev_ssize_t decr) noexcept nogil
cdef int bufferevent_decrement_write_limit(bufferevent *bev, ev_ssize_t decr) noexcept nogil
# What may be read or written at once now.
cdef ev_ssize_t bufferevent_get_max_to_read(bufferevent *bev) noexcept nogil
cdef ev_ssize_t bufferevent_get_max_to_write(bufferevent *bev) noexcept nogil

# --- for the kinds of bufferevents; with the lock held ---

# The most that may be read now. 0: the bufferevent is suspended.
cdef ev_ssize_t bufferevent_get_read_max_(bufferevent_private *p) noexcept nogil
cdef ev_ssize_t bufferevent_get_write_max_(bufferevent_private *p) noexcept nogil
# After reading or writing so many bytes. May suspend the bufferevent.
cdef int bufferevent_decrement_read_buckets_(bufferevent_private *p, ev_ssize_t bytes) noexcept nogil
cdef int bufferevent_decrement_write_buckets_(bufferevent_private *p, ev_ssize_t bytes) noexcept nogil
