# How the output of a socket bufferevent leaves over completions: the half of completion.pyx that writes. All
# with the bufferevent's lock held, but for the callbacks of events and operations.
#
#     output changes -> wanted, until the callback returns, or ev_write active
#         -> written at once, or handed to the port -> the port is done -> the rest

from cyevent.bufferevent.types cimport bufferevent
from cyevent.completion.port cimport COMPLETION_UNDER_WAY, completion, completion_port, completion_port_of_
from cyevent.core.sys cimport evutil_socket_t, timeval

cdef enum:
    ACTIVE = 0x28              # EVLIST_ACTIVE | EVLIST_ACTIVE_LATER

# The output's callback, when something was added.
cdef void sending_output_changed_(bufferevent *bev) noexcept nogil
# Makes sure that there is an operation. False without memory.
cdef bint sending_make_(bufferevent *bev) noexcept nogil
# Whether something may be written now. Takes away what a cancelled send has sent, or waits to hear of it.
cdef bint sending_may_write_(bufferevent *bev) noexcept nogil
# Takes away what was sent, if its callback is still to come.
cdef void sending_settle_(bufferevent *bev) noexcept nogil
# Writes at once what the kernel has not begun to send.
cdef void sending_push_(bufferevent *bev) noexcept nogil
# ev_write's callback.
cdef void sending_due_(evutil_socket_t fd, short what, void *arg) noexcept nogil
# The end of each callback of the loop's: writes what the user has added, and lets go.
cdef void sending_after_callback_(bufferevent *bev) noexcept nogil


cdef inline completion_port *port_of(bufferevent *bev) noexcept nogil:
    return completion_port_of_(bev.ev_base)


cdef inline bint is_set(const timeval *tv) noexcept nogil:
    return tv.tv_sec != 0 or tv.tv_usec != 0


cdef inline bint is_under_way(const completion *op) noexcept nogil:
    return op != NULL and op.state == COMPLETION_UNDER_WAY


# Under way, or over and nobody has taken away yet what it has sent.
cdef inline bint is_busy(const completion *op) noexcept nogil:
    return op != NULL and (op.state == COMPLETION_UNDER_WAY or op.done.flags & ACTIVE)
