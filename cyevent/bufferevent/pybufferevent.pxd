# The extension class of socket bufferevents.

from cyevent.bufferevent.pybase cimport BufferEvent


cdef class SocketBufferEvent(BufferEvent):
    pass
