# Linked pairs: what one end writes the other reads, without a system call and without a copy.
#
# Bytes move when they are written, if the other end reads and has room; otherwise when it begins to. Callbacks
# come from the loop.

from cyevent.core.types cimport event_base
from cyevent.bufferevent.types cimport bufferevent

# 0 and both ends in pair[], or -1.
cdef int bufferevent_pair_new(event_base *base, int options, bufferevent **pair) noexcept nogil
# NULL when the other end was freed, or for another kind of bufferevent.
cdef bufferevent *bufferevent_pair_get_partner(bufferevent *bev) noexcept nogil
