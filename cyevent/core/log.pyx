"""Messages and fatal errors of the nogil core."""

from libc.errno cimport errno
from libc.stdio cimport fprintf, snprintf, stderr
from libc.stdlib cimport abort, exit
from cyevent.core.sys cimport ev_clear_bits, ev_error_text, ev_set_bits, set_errno

cdef event_log_cb log_callback = NULL
cdef event_fatal_cb fatal_callback = NULL
cdef void (*last_words)(const char *) noexcept nogil

event_debug_flags_ = EVENT_DEBUG_OPEN_

cdef enum:
    MESSAGE_SIZE = 1024


cdef void event_set_log_callback(event_log_cb callback) noexcept nogil:
    global log_callback
    log_callback = callback


cdef void event_set_fatal_callback(event_fatal_cb callback) noexcept nogil:
    global fatal_callback
    fatal_callback = callback


cdef void event_set_last_words_(void (*fn)(const char *) noexcept nogil) noexcept nogil:
    global last_words
    last_words = fn


cdef void event_enable_debug_logging(uint32_t which) noexcept nogil:
    if which:
        ev_set_bits(&event_debug_flags_, EVENT_DEBUG_LOG_)
    else:
        ev_clear_bits(&event_debug_flags_, EVENT_DEBUG_LOG_)


cdef void deliver(int severity, const char *message) noexcept nogil:
    cdef const char *name
    # Once: another thread may take it away.
    cdef event_log_cb callback = log_callback
    if callback != NULL:
        callback(severity, message)
        return
    if severity == EVENT_LOG_DEBUG:
        name = b"debug"
    elif severity == EVENT_LOG_MSG:
        name = b"msg"
    elif severity == EVENT_LOG_WARN:
        name = b"warn"
    else:
        name = b"err"
    fprintf(stderr, b"[%s] %s\n", name, message)


cdef void event_warn_(const char *what) noexcept nogil:
    cdef char message[MESSAGE_SIZE]
    cdef int saved = errno
    snprintf(message, MESSAGE_SIZE, b"%s: %s", what, ev_error_text(saved))
    deliver(EVENT_LOG_WARN, message)
    set_errno(saved)


cdef void event_warn_fd_(const char *what, long long fd) noexcept nogil:
    cdef char message[MESSAGE_SIZE]
    cdef int saved = errno
    snprintf(message, MESSAGE_SIZE, b"%s (fd %lld): %s", what, fd, ev_error_text(saved))
    deliver(EVENT_LOG_WARN, message)
    set_errno(saved)


cdef void event_warnx_(const char *what) noexcept nogil:
    deliver(EVENT_LOG_WARN, what)


cdef void event_msgx_(const char *what) noexcept nogil:
    deliver(EVENT_LOG_MSG, what)


cdef void event_debugx_(const char *what) noexcept nogil:
    cdef int saved = errno
    if ev_load_int(&event_debug_flags_) & EVENT_DEBUG_LOG_:
        deliver(EVENT_LOG_DEBUG, what)
    set_errno(saved)


cdef void event_exit_(int err, const char *what) noexcept nogil:
    cdef event_fatal_cb callback = fatal_callback
    deliver(EVENT_LOG_ERR, what)
    if callback != NULL:
        callback(err)
        exit(err)
    if err != EVENT_ERR_ABORT_:
        exit(err)
    if last_words != NULL:
        last_words(what)
    abort()


cdef void event_errx_(const char *what) noexcept nogil:
    event_exit_(EVENT_ERR_ABORT_, what)


last_words = NULL
