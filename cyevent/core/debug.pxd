# Debug mode: a table of every struct event that is set up, which catches what would otherwise corrupt a base
# silently, and the debug messages. Off, it costs one branch on event_debug_flags_ (log.pxd) per call:
#
#     if debugging_():
#         debug_active_(ev, what)
#
# What is caught ends the process, as in libevent, with a message that names the event and where it was made:
# assigning an event that is added, or one for a blocking descriptor; using, adding or deleting one that was
# never assigned, was unassigned, freed or finalized; enabling debug mode when there are events already.

from libc.stdint cimport int64_t
from cyevent.core.sys cimport evutil_socket_t
from cyevent.core.types cimport event, event_base, event_callback_fn

cdef enum:
    # event_debug_enable_()'s answers beside 0.
    EVENT_DEBUG_ON_ALREADY_ = 1
    EVENT_DEBUG_TOO_LATE_ = 2

cdef enum:
    # Why an event is no longer set up.
    EVENT_GONE_UNASSIGNED_ = 1
    EVENT_GONE_FREED_ = 2
    EVENT_GONE_FINALIZED_ = 3

# Call it once, before any event or base is made.
cdef void event_enable_debug_mode() noexcept nogil
# Tells debug mode that an event made with event_assign() is no longer used; it must not be added.
cdef void event_debug_unassign(event *ev) noexcept nogil

# The same as event_enable_debug_mode(), but tells what is wrong.
cdef int event_debug_enable_() noexcept nogil
# Empties the table and leaves debug mode; it can be enabled again.
cdef void event_debug_disable_() noexcept nogil
# How many events are set up, as far as debug mode knows.
cdef int event_debug_count_() noexcept nogil
# Describes the place in a language binding's program that is making an event; 0 if there is none.
ctypedef int (*event_origin_fn)(char *text, size_t size) noexcept nogil
cdef void event_debug_set_origin_(event_origin_fn fn) noexcept nogil

# What the core calls when debugging_(). The functions' names are for the report.
cdef void debug_base_() noexcept nogil
cdef void debug_assign_(const event *ev, evutil_socket_t fd, short events,
                        event_callback_fn callback) noexcept nogil
cdef void debug_use_(const event *ev, const char *function) noexcept nogil
cdef void debug_add_(const event *ev, int64_t timeout) noexcept nogil
cdef void debug_added_(const event *ev) noexcept nogil
cdef void debug_delete_(const event *ev) noexcept nogil
cdef void debug_active_(const event *ev, int what) noexcept nogil
cdef void debug_run_(const event *ev) noexcept nogil
cdef void debug_last_use_(const event *ev, const char *function) noexcept nogil
cdef void debug_teardown_(const event *ev, int why) noexcept nogil
cdef void debug_mixed_(const event *there, const event *ev) noexcept nogil
cdef void debug_wait_(const event_base *base, int64_t timeout) noexcept nogil
cdef void debug_backend_(const event_base *base, const char *what, evutil_socket_t fd, short before,
                         short events) noexcept nogil
