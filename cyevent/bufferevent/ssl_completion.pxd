# TLS sockets over completions: the ciphertext, once the handshake is done. With the bufferevent's lock held.
#
# All but ssl_go_over_ and ssl_over_completions are for those that have gone over.

from cyevent.bufferevent.ssl_records cimport bufferevent_ssl
from cyevent.completion.port cimport completion_fn

# What ssl_sending_ finds.
cdef enum ssl_sending:
    SSL_SENT = 0               # all that it was given
    SSL_SENDING = 1            # some of it is on its way; the operation's callback follows
    SSL_UNSENT = 2             # errno says why it cannot be sent

# Whether a port's operations are worth it for TLS, and the bufferevent may go over to them.
cdef bint ssl_may_go_over_(bufferevent_ssl *s) noexcept nogil
# -1 without memory: then readiness goes on. The events must be timers afterwards.
cdef int ssl_go_over_(bufferevent_ssl *s, completion_fn received, completion_fn sent) noexcept nogil
# Much comes at once, and nothing is on its way: readiness costs less then, and serves as well.
cdef bint ssl_had_better_come_back_(const bufferevent_ssl *s) noexcept nogil
# Lets go of all operations; what was received and not looked at is lost.
cdef void ssl_come_back_(bufferevent_ssl *s) noexcept nogil

# Has the kernel receive, or go on; tells in the next turn of what is there already.
cdef int ssl_start_receiving_(bufferevent_ssl *s) noexcept nogil
cdef void ssl_stop_receiving_(bufferevent_ssl *s) noexcept nogil
# Moves what was received to `arrived`. -2: it has to be read from the socket; else as recv().
cdef ssize_t ssl_take_received_(bufferevent_ssl *s) noexcept nogil

cdef bint ssl_is_sending_(const bufferevent_ssl *s) noexcept nogil
# Looks at what became of `leaving`, and goes on with it.
cdef ssl_sending ssl_go_on_sending_(bufferevent_ssl *s) noexcept nogil
# Gives the kernel what is in `leaving`, which was empty before.
cdef ssl_sending ssl_give_(bufferevent_ssl *s) noexcept nogil
# It goes on with ssl_go_on_sending_.
cdef void ssl_stop_sending_(bufferevent_ssl *s) noexcept nogil
# Whether the ciphertext had better be written at once.
cdef bint ssl_sends_at_once_(bufferevent_ssl *s) noexcept nogil
# The socket took no more: its callback tells when it does.
cdef int ssl_await_room_(bufferevent_ssl *s) noexcept nogil
# Writes at once what the kernel has not begun to send. True when nothing is left in `leaving`.
cdef bint ssl_push_leaving_(bufferevent_ssl *s) noexcept nogil


cdef inline bint ssl_over_completions(const bufferevent_ssl *s) noexcept nogil:
    return s.leaving != NULL
