# Filters: a bufferevent whose bytes pass through functions of the user's on their way from and to another one.
#
# Bytes that the underlying bufferevent has read go through input_filter into the filter's input; those in the
# filter's output go through output_filter into the underlying one's output. The underlying one's callbacks,
# watermarks and reading belong to the filter from then on, and filters can be put on filters.

from cyevent.bufferevent.types cimport bufferevent, bufferevent_filter_cb

# A NULL filter passes everything on. options: BEV_OPT_CLOSE_ON_FREE frees the underlying bufferevent with the
# filter; otherwise that stays, without callbacks. free_context(ctx) is called at the filter's end. A lock is
# shared with the underlying one. NULL without memory.
cdef bufferevent *bufferevent_filter_new(bufferevent *underlying, bufferevent_filter_cb input_filter,
                                         bufferevent_filter_cb output_filter, int options,
                                         void (*free_context)(void *ctx) noexcept nogil,
                                         void *ctx) noexcept nogil
