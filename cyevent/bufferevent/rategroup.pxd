# Rate limits that several bufferevents share.

from libc.stdint cimport uint64_t
from cyevent.core.types cimport event_base
from cyevent.buffer.types cimport ev_ssize_t
from cyevent.bufferevent.types cimport (
    bufferevent, bufferevent_private, bufferevent_rate_limit, bufferevent_rate_limit_group,
    ev_token_bucket_cfg,
)

cdef enum:
    MIN_SHARE_DEFAULT = 64

# The members share the group's tokens evenly; what some do not use the others get.
cdef bufferevent_rate_limit_group *bufferevent_rate_limit_group_new(
    event_base *base, const ev_token_bucket_cfg *cfg) noexcept nogil
cdef int bufferevent_rate_limit_group_set_cfg(bufferevent_rate_limit_group *group,
                                              const ev_token_bucket_cfg *cfg) noexcept nogil
# The least that a member passes at once (default 64 bytes, at most one tick's tokens): fairness in larger
# pieces. For it the bucket may be overdrawn.
cdef int bufferevent_rate_limit_group_set_min_share(bufferevent_rate_limit_group *group,
                                                    size_t share) noexcept nogil
# It must have no members.
cdef void bufferevent_rate_limit_group_free(bufferevent_rate_limit_group *group) noexcept nogil
cdef int bufferevent_add_to_rate_limit_group(bufferevent *bev,
                                             bufferevent_rate_limit_group *group) noexcept nogil
cdef int bufferevent_remove_from_rate_limit_group(bufferevent *bev) noexcept nogil
cdef ev_ssize_t bufferevent_rate_limit_group_get_read_limit(
    bufferevent_rate_limit_group *group) noexcept nogil
cdef ev_ssize_t bufferevent_rate_limit_group_get_write_limit(
    bufferevent_rate_limit_group *group) noexcept nogil
cdef int bufferevent_rate_limit_group_decrement_read(bufferevent_rate_limit_group *group,
                                                     ev_ssize_t decr) noexcept nogil
cdef int bufferevent_rate_limit_group_decrement_write(bufferevent_rate_limit_group *group,
                                                      ev_ssize_t decr) noexcept nogil
# Bytes that members passed, since the beginning or the last reset.
cdef void bufferevent_rate_limit_group_get_totals(bufferevent_rate_limit_group *group,
                                                  uint64_t *total_read_out,
                                                  uint64_t *total_written_out) noexcept nogil
cdef void bufferevent_rate_limit_group_reset_totals(bufferevent_rate_limit_group *group) noexcept nogil

# --- with the bufferevent's lock held ---

# What the bufferevent has for its limits; made when it is needed, NULL without memory.
cdef bufferevent_rate_limit *bufferevent_limits_(bufferevent_private *p) noexcept nogil
# What a member may pass now. 0: it is suspended.
cdef ev_ssize_t group_share_(bufferevent_private *p, bint reading) noexcept nogil
# Takes its bytes from the group's bucket; may suspend it.
cdef void group_take_(bufferevent_private *p, bint reading, ev_ssize_t bytes) noexcept nogil
