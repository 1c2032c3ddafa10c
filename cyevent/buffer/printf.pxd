# Formatted text at a buffer's end. Returns how many bytes were added; -1 without memory, with a frozen end,
# and for a format that vsnprintf() does not take; then nothing was.

from cyevent.buffer.types cimport evbuffer
from cyevent.core.sys cimport va_list

cdef int evbuffer_add_printf(evbuffer *buf, const char *fmt, ...) noexcept nogil
# Leaves `ap` as va_end() needs it.
cdef int evbuffer_add_vprintf(evbuffer *buf, const char *fmt, va_list ap) noexcept nogil
