"""Warnings and fatal errors of the nogil core."""

from libc.errno cimport errno
from libc.stdio cimport fprintf, snprintf, stderr
from libc.stdlib cimport abort
from libc.string cimport strerror
from cyevent.core.sys cimport set_errno

cdef event_log_cb log_callback = NULL
cdef event_fatal_cb fatal_callback = NULL

cdef enum:
    MESSAGE_SIZE = 1024


cdef void event_set_log_callback(event_log_cb callback) noexcept nogil:
    global log_callback
    log_callback = callback


cdef void event_set_fatal_callback(event_fatal_cb callback) noexcept nogil:
    global fatal_callback
    fatal_callback = callback


cdef void deliver(int severity, const char *message) noexcept nogil:
    cdef const char *name
    if log_callback != NULL:
        log_callback(severity, message)
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
    snprintf(message, MESSAGE_SIZE, b"%s: %s", what, strerror(saved))
    deliver(EVENT_LOG_WARN, message)
    set_errno(saved)


cdef void event_warn_fd_(const char *what, long long fd) noexcept nogil:
    cdef char message[MESSAGE_SIZE]
    cdef int saved = errno
    snprintf(message, MESSAGE_SIZE, b"%s (fd %lld): %s", what, fd, strerror(saved))
    deliver(EVENT_LOG_WARN, message)
    set_errno(saved)


cdef void event_warnx_(const char *what) noexcept nogil:
    deliver(EVENT_LOG_WARN, what)


cdef void event_msgx_(const char *what) noexcept nogil:
    deliver(EVENT_LOG_MSG, what)


cdef void event_errx_(const char *what) noexcept nogil:
    deliver(EVENT_LOG_ERR, what)
    if fatal_callback != NULL:
        fatal_callback(EVENT_ERR_ABORT_)
    abort()
