# Messages from below the line. Without a log callback they go to standard error.
#
# A message may come while a base's lock is held: a log callback must not wait for a thread that may want one.

from libc.stdint cimport uint32_t
from cyevent.core.sys cimport EV_UNLIKELY, ev_load_int

ctypedef void (*event_log_cb)(int severity, const char *message) noexcept nogil
ctypedef void (*event_fatal_cb)(int err) noexcept nogil

cdef enum:
    EVENT_LOG_DEBUG = 0
    EVENT_LOG_MSG = 1
    EVENT_LOG_WARN = 2
    EVENT_LOG_ERR = 3
    # What event_errx_ passes to the fatal callback.
    EVENT_ERR_ABORT_ = -559038737      # 0xdeaddead

# event_enable_debug_logging()'s argument.
cdef extern from *:
    """
    /* No enumerator: to some compilers each is an int. */
    #define EVENT_DBG_ALL 0xffffffffu
    """
    const uint32_t EVENT_DBG_ALL

cdef enum:
    EVENT_DBG_NONE = 0

cdef enum:
    # Why a function of the hot path takes its slow way; see debug.pxd.
    EVENT_DEBUG_CHECK_ = 1     # debug mode is on
    EVENT_DEBUG_LOG_ = 2       # debug messages are wanted
    EVENT_DEBUG_OPEN_ = 4      # nothing was made yet: debug mode may still be enabled

# The one word that hot paths look at. Read it with debugging_().
cdef int event_debug_flags_


cdef inline int debugging_() noexcept nogil:
    return EV_UNLIKELY(ev_load_int(&event_debug_flags_) != 0)


# NULL restores the default.
cdef void event_set_log_callback(event_log_cb callback) noexcept nogil
# Called with the exit status, or EVENT_ERR_ABORT_, when the library cannot go on. It must not return: the
# process ends if it does.
cdef void event_set_fatal_callback(event_fatal_cb callback) noexcept nogil
# EVENT_DBG_ALL: tell of each addition, deletion and activation, and of each wait. EVENT_DBG_NONE: no more.
cdef void event_enable_debug_logging(uint32_t which) noexcept nogil

# The x form leaves out the text of errno.
cdef void event_warn_(const char *what) noexcept nogil
cdef void event_warnx_(const char *what) noexcept nogil
cdef void event_warn_fd_(const char *what, long long fd) noexcept nogil
cdef void event_msgx_(const char *what) noexcept nogil
# Nothing unless debug messages are wanted.
cdef void event_debugx_(const char *what) noexcept nogil
# Ends the process: by abort(), or with the exit status `err`.
cdef void event_errx_(const char *what) noexcept nogil
cdef void event_exit_(int err, const char *what) noexcept nogil
# What a language binding has done instead of a bare abort(), with the message.
cdef void event_set_last_words_(void (*fn)(const char *message) noexcept nogil) noexcept nogil
