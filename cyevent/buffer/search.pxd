# Finding bytes and lines. A position that was not found has pos -1. A search ends at a part of a file that
# cannot be had, with errno set by that; without files in the buffer errno is left alone.

from cyevent.buffer.types cimport evbuffer, evbuffer_ptr, evbuffer_eol_style, evbuffer_ptr_how

# NULL starts at the front.
cdef evbuffer_ptr evbuffer_search(evbuffer *buf, const char *what, size_t len,
                                  const evbuffer_ptr *start) noexcept nogil
# The match lies before `end` (NULL: the buffer's end).
cdef evbuffer_ptr evbuffer_search_range(evbuffer *buf, const char *what, size_t len,
                                        const evbuffer_ptr *start, const evbuffer_ptr *end) noexcept nogil
# Where the line ends; eol_len_out: how many bytes its end has.
cdef evbuffer_ptr evbuffer_search_eol(evbuffer *buf, evbuffer_ptr *start, size_t *eol_len_out,
                                      evbuffer_eol_style style) noexcept nogil
# Sets pos to so many bytes from the front, or moves it on by so many. The end of the buffer is a position.
# -1 beyond it.
cdef int evbuffer_ptr_set(evbuffer *buf, evbuffer_ptr *pos, size_t position,
                          evbuffer_ptr_how how) noexcept nogil
# Removes a line. Returns it without its end, with a NUL behind it, to be freed by the caller; NULL when there
# is no whole line.
cdef char *evbuffer_readln(evbuffer *buf, size_t *n_read_out, evbuffer_eol_style style) noexcept nogil
