# poll()'s bits, which /dev/poll and event ports speak too, and what they mean in EV_*.
#
# POLLERR, POLLHUP and POLLNVAL are told whether asked for or not, and to readers and writers alike: the
# next system call gives the reason. POLLNVAL is a descriptor that is closed, and so ends a wait for EV_CLOSED.

from cyevent.core.types cimport EV_CLOSED, EV_READ, EV_WRITE

cdef extern from *:
    """
    #ifndef CYEVENT_POLLBITS_H
    #define CYEVENT_POLLBITS_H
    #include <poll.h>
    #ifdef POLLRDHUP
      #define CYEVENT_HAVE_POLLRDHUP 1
    #else
      #define CYEVENT_HAVE_POLLRDHUP 0
      #define POLLRDHUP 0
    #endif
    #endif
    """
    short POLLIN, POLLOUT, POLLERR, POLLHUP, POLLNVAL, POLLRDHUP
    bint CYEVENT_HAVE_POLLRDHUP


cdef inline short to_poll(short what) noexcept nogil:
    cdef short events = 0
    if what & EV_READ:
        events |= POLLIN
    if what & EV_WRITE:
        events |= POLLOUT
    if what & EV_CLOSED:
        events |= POLLRDHUP
    return events


cdef inline short from_poll(int events) noexcept nogil:
    cdef short what = 0
    if events & (POLLERR | POLLHUP | POLLNVAL):
        what = EV_READ | EV_WRITE
        if events & POLLNVAL:
            what |= EV_CLOSED
    if events & POLLIN:
        what |= EV_READ
    if events & POLLOUT:
        what |= EV_WRITE
    if CYEVENT_HAVE_POLLRDHUP and events & POLLRDHUP:
        what |= EV_CLOSED
    return what
