# The sockets over which the kernel sends from our memory, and what they owe. zerocopy.pyx says why.
#
# join -> begin -> (the call) -> finish, any number of times -> leave. Notifications come in between, and
# afterwards.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from cyevent.core.sys cimport evutil_socket_t
from cyevent.core.types cimport event, event_base
from cyevent.buffer.types cimport evbuffer, evbuffer_chain, evbuffer_zerocopy_stats

# One call's chains, referenced.
cdef struct zerocopy_entry:
    zerocopy_entry *next
    uint32_t number
    int n
    evbuffer_chain *chains[1]      # n of them

# A base's epoll instance, as long as one of its bufferevents sends in this way.
cdef struct zerocopy_base:
    zerocopy_base *next
    event_base *base
    int epfd
    int users                      # sockets
    event ready

# A socket, while a buffer sends over it or it owes notifications; then for a while, to know its next number.
cdef struct zerocopy_socket:
    zerocopy_socket *next          # in its bucket
    zerocopy_socket *newer         # among the idle ones
    zerocopy_socket *older
    uint64_t cookie
    evbuffer_zerocopy_stats stats
    zerocopy_entry *first          # what it owes, in the order of the calls
    zerocopy_entry *last
    zerocopy_base *base            # whose loop watches it; NULL: the thread does
    int64_t deadline               # when it is reset, in monotonic ns; 0: never
    uint32_t number                # of the next call
    int users                      # buffers
    int pins                       # who uses fd just now, so that it must not be closed
    int fd                         # the duplicate; -1 while nothing is owed
    int epfd                       # where that is watched; -1: nowhere
    bint sending                   # a call is under way
    bint refused                   # it does not take memory, or not from us

# The buffer's socket: the one that it had, or one that it joins. NULL when fd is none, and without memory.
cdef zerocopy_socket *zerocopy_join_(evbuffer *buf, evutil_socket_t fd) noexcept nogil
# The buffer, which has one, has no more to do with it.
cdef void evbuffer_zerocopy_leave_(evbuffer *buf) noexcept nogil
# A bufferevent is about to close the socket of its output, which has one.
cdef void evbuffer_zerocopy_closing_(evbuffer *buf) noexcept nogil
# False when the socket must not send in this way now. The entry is the socket's if it may.
cdef bint zerocopy_begin_(zerocopy_socket *socket, evutil_socket_t fd, zerocopy_entry *entry) noexcept nogil
# The call that was begun last has sent something, or has failed; no_room: with ENOBUFS.
cdef void zerocopy_finish_(zerocopy_socket *socket, bint sent, bint no_room) noexcept nogil
# Takes what notifications there are of a socket, if it owes some.
cdef void zerocopy_look_(uint64_t cookie) noexcept nogil
# Resets the connections whose time is over, and looks at the sockets of bases whose loop does not run.
cdef void zerocopy_tick_(int64_t now) noexcept nogil
cdef void zerocopy_lock_() noexcept nogil
cdef void zerocopy_unlock_() noexcept nogil
# A notification for a range of calls.
cdef void zerocopy_done_(zerocopy_socket *socket, uint32_t first, uint32_t last, bint copied) noexcept nogil
# Without the lock, for owners are told.
cdef void zerocopy_give_back_(zerocopy_entry *entry) noexcept nogil
cdef void zerocopy_refuse_(zerocopy_socket *socket) noexcept nogil
cdef void zerocopy_stats_(zerocopy_socket *socket, evbuffer_zerocopy_stats *stats) noexcept nogil

cdef void zerocopy_limit_(int sockets, int64_t linger) noexcept nogil
# How many sockets owe notifications.
cdef int zerocopy_owing_() noexcept nogil
cdef int zerocopy_owing_nolock_() noexcept nogil
# What is remembered of sockets on which nothing is under way goes. For tests, which count what is allocated.
cdef void zerocopy_forget_() noexcept nogil


# Whether a call is among those from `first` to `last`, which may have passed 2**32.
cdef inline bint zerocopy_in_range(uint32_t number, uint32_t first, uint32_t last) noexcept nogil:
    return <uint32_t>(number - first) <= <uint32_t>(last - first)
