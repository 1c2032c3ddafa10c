# Socket bufferevents of a base with a completion port: the kernel receives and sends, and tells when it has.
#
# They are made by bufferevent_socket_new(), and all that bufferevent.pxd and socket.pxd say is true of them.

from cyevent.bufferevent.types cimport bufferevent, bufferevent_ops
from cyevent.core.sys cimport evutil_socket_t, sockaddr
from cyevent.core.types cimport event_base

cdef const bufferevent_ops *completion_socket_ops_() noexcept nogil
# What bufferevent_socket_new() does for such a base, once the buffers are made.
cdef void completion_socket_assign_(bufferevent *bev, evutil_socket_t fd) noexcept nogil
# Whether bufferevent_socket_connect() is to leave it to the next, because the kernel connects as an operation.
cdef bint completion_socket_connects_(bufferevent *bev) noexcept nogil
cdef int completion_socket_connect_(bufferevent *bev, const sockaddr *address, int socklen) noexcept nogil
# Begins, or goes on, to receive: the descriptor is connected, reading enabled and not suspended. 0 or -1.
cdef int completion_socket_receive_(bufferevent *bev) noexcept nogil
# Something is under way.
cdef bint completion_socket_is_busy_(bufferevent *bev) noexcept nogil
# Takes the bufferevent out of its port, for another base.
cdef void completion_socket_leave_(bufferevent *bev) noexcept nogil
