# Bufferevents on sockets.
#
# What is added to the output is not announced to the backend: it is tried first. Inside a callback that the
# loop made for this bufferevent it leaves when the callback returns, otherwise in a callback of its own in the
# same turn of the loop, so that many small writes make one call. Only what the socket does not take waits for
# EV_WRITE.

from cyevent.core.sys cimport evutil_socket_t, sockaddr
from cyevent.core.types cimport event_base
from cyevent.bufferevent.types cimport bufferevent

# fd is -1 for one that will connect, or get its descriptor later; otherwise it does not block. NULL without
# memory, or for contradicting options.
cdef bufferevent *bufferevent_socket_new(event_base *base, evutil_socket_t fd, int options) noexcept nogil
# Connects its descriptor, or a new one, which belongs to the bufferevent if BEV_OPT_CLOSE_ON_FREE is set. The
# event callback hears of the outcome. NULL: the descriptor is connecting already. -1 with errno.
cdef int bufferevent_socket_connect(bufferevent *bev, const sockaddr *address, int socklen) noexcept nogil
cdef int bufferevent_priority_set(bufferevent *bev, int priority) noexcept nogil
# -1 for one that is no socket's, whose events are pending, or that has a callback due. What is deferred of its
# buffers goes along.
cdef int bufferevent_base_set(event_base *base, bufferevent *bev) noexcept nogil
cdef bint bufferevent_is_socket_(bufferevent *bev) noexcept nogil
