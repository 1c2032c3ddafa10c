# The extension classes of rate limits.

from cyevent.bufferevent.types cimport bufferevent_rate_limit_group, ev_token_bucket_cfg
from cyevent.core.reactor cimport EventBase


cdef class TokenBucket:
    cdef ev_token_bucket_cfg *cfg      # owned


cdef class RateLimitGroup:
    cdef bufferevent_rate_limit_group *group       # owned; each member refers to this object
    cdef EventBase owner
    cdef TokenBucket limit_
    cdef object __weakref__

    cdef bufferevent_rate_limit_group *live(self) except NULL
