# Bytes from one buffer to another, by moving or sharing their chains.

from cyevent.buffer.types cimport evbuffer

# Moves everything to the end of outbuf.
cdef int evbuffer_add_buffer(evbuffer *outbuf, evbuffer *inbuf) noexcept nogil
# Moves everything to the front of outbuf.
cdef int evbuffer_prepend_buffer(evbuffer *outbuf, evbuffer *inbuf) noexcept nogil
# Moves the first datlen bytes of src to the end of dst; copies less than one chain, of a file nothing.
# Returns how many, or -1.
cdef int evbuffer_remove_buffer(evbuffer *src, evbuffer *dst, size_t datlen) noexcept nogil
# Shows the bytes of inbuf at the end of outbuf too, without copying; both go their own ways afterwards. Files
# are shown by both. -1 when inbuf holds such borrowed bytes itself, or is outbuf.
cdef int evbuffer_add_buffer_reference(evbuffer *outbuf, evbuffer *inbuf) noexcept nogil
