# What Python sees of sending without copying. `buf` is locked.

from cyevent.buffer.types cimport evbuffer

# A ZerocopyStats.
cdef object zerocopy_stats(evbuffer *buf)
