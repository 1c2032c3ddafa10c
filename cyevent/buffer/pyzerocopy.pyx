"""What Python sees of sending without copying."""

from collections import namedtuple

from cyevent.buffer.types cimport *
from cyevent.buffer.types cimport evbuffer_zerocopy_stats
from cyevent.buffer.zerocopy cimport *
from cyevent.core.arguments cimport duration_ns, integer
from cyevent.core.clock cimport ns_to_timeval
from cyevent.core.sys cimport timeval

ZerocopyStats = namedtuple("ZerocopyStats", ("sent", "done", "copied", "refused"), module=__name__)
ZerocopyStats.__doc__ = """What became of the calls that were to send without copying.

sent: the kernel got the memory.  done: and has given it back.  copied: of these, it copied the bytes after
all, as it always does over loopback.  refused: it did not want the memory, and the bytes were copied.
"""


cdef object zerocopy_stats(evbuffer *buf):
    cdef evbuffer_zerocopy_stats stats
    evbuffer_get_zerocopy_stats(buf, &stats)
    return ZerocopyStats(stats.sent, stats.done, stats.copied, stats.refused)


def set_zerocopy_limits(sockets=EVBUFFER_ZEROCOPY_SOCKETS, linger=EVBUFFER_ZEROCOPY_LINGER):
    """Limits what buffers with `zerocopy` set may leave to the kernel, for the whole process.

    sockets: how many may have something under way at a time, each with a descriptor of its own; what more of
    them send is copied.  linger: how long, after a bufferevent has closed its socket, the peer may take to
    acknowledge what was sent; then the connection is reset. The defaults are the limits without this call.
    """
    cdef int most = <int>integer(sockets, "sockets", 0, 0x7fffffff)
    cdef long long ns = duration_ns(linger, "linger")
    cdef timeval tv
    if ns < 0:
        raise TypeError("linger must be a number of seconds, not None")
    ns_to_timeval(ns, &tv)
    evbuffer_set_zerocopy_limits(most, &tv)
