# Messages from below the line. Without a log callback they go to standard error.

ctypedef void (*event_log_cb)(int severity, const char *message) noexcept nogil
ctypedef void (*event_fatal_cb)(int err) noexcept nogil

cdef enum:
    EVENT_LOG_DEBUG = 0
    EVENT_LOG_MSG = 1
    EVENT_LOG_WARN = 2
    EVENT_LOG_ERR = 3
    # What event_errx passes to the fatal callback.
    EVENT_ERR_ABORT_ = -559038737      # 0xdeaddead

# NULL restores the default.
cdef void event_set_log_callback(event_log_cb callback) noexcept nogil
# Called instead of abort() when the library cannot go on; it must not return.
cdef void event_set_fatal_callback(event_fatal_cb callback) noexcept nogil

# The x form leaves out the text of errno.
cdef void event_warn_(const char *what) noexcept nogil
cdef void event_warnx_(const char *what) noexcept nogil
cdef void event_warn_fd_(const char *what, long long fd) noexcept nogil
cdef void event_msgx_(const char *what) noexcept nogil
cdef void event_errx_(const char *what) noexcept nogil
