# How bytes and handshakes of TLS go on. All with the lock held; what calls the user back, with a reference too.

from cyevent.core.sys cimport timeval
from cyevent.core.types cimport event, EV_READ, EV_WRITE
from cyevent.bufferevent.bufferevent cimport BEV_UPCAST
from cyevent.bufferevent.ssl_completion cimport ssl_is_sending_, ssl_over_completions
from cyevent.bufferevent.ssl_records cimport bufferevent_ssl
from cyevent.bufferevent.types cimport bufferevent

# Makes ev_read or ev_write active in the next turn of the loop, or in this one.
cdef void ssl_again_(event *ev, short what) noexcept nogil
cdef void ssl_soon_(event *ev, short what) noexcept nogil
# Waits for the socket; over an underlying bufferevent or completions, just for the timeout.
cdef int ssl_watch_(event *ev, const timeval *tv) noexcept nogil
cdef int ssl_start_reading_(bufferevent_ssl *s) noexcept nogil
cdef void ssl_stop_reading_(bufferevent_ssl *s) noexcept nogil
# Disables directions (EV_*) and tells the event callback, with errno as it is.
cdef void ssl_fail_(bufferevent_ssl *s, short directions, short what) noexcept nogil
# Encrypts and sends until the output is empty, or no more is taken.
cdef void ssl_write_output_(bufferevent_ssl *s) noexcept nogil
# Reading may have made something to write, which leaves soon if nothing else is to be written.
cdef void ssl_answer_(bufferevent_ssl *s) noexcept nogil
cdef void ssl_read_input_(bufferevent_ssl *s) noexcept nogil
# readable: the socket has something.
cdef void ssl_shake_hands_(bufferevent_ssl *s, bint readable) noexcept nogil
# Whether the socket is connected; if that failed, the event callback has heard.
cdef bint ssl_connected_(bufferevent_ssl *s) noexcept nogil


# The kernel has been given what is to be sent.
cdef inline bint ssl_is_leaving(bufferevent_ssl *s) noexcept nogil:
    return ssl_over_completions(s) and ssl_is_sending_(s)


cdef inline bint ssl_can_read(bufferevent *bev) noexcept nogil:
    return bev.enabled & EV_READ and not BEV_UPCAST(bev).read_suspended


cdef inline bint ssl_can_write(bufferevent *bev) noexcept nogil:
    return bev.enabled & EV_WRITE and not BEV_UPCAST(bev).write_suspended
