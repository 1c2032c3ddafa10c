# The extension class of TLS bufferevents.

from cyevent.bufferevent.pybase cimport BufferEvent
from cyevent.bufferevent.pybufferevent cimport SocketBufferEvent


cdef class SSLBufferEvent(SocketBufferEvent):
    # pyOpenSSL's Connection, which owns the SSL. The struct gets it when it is freed, for it may last longer.
    cdef object connection_
    cdef BufferEvent below             # the underlying one; None for a socket
    cdef bint close_below              # it is closed with this one
    cdef object problem                # what a verification callback raised
    cdef bint server_side_
    cdef object server_hostname_
