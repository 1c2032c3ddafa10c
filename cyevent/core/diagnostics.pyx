"""Messages, debug mode and what is said before the process ends.

A message of the core may come with a base's lock held, from a thread with or without the GIL. Code that
waits for the GIL there can wait for ever: another thread may hold the GIL and want that lock. So a message
is copied into a queue, and a thread of ours, which holds no lock, takes the GIL for the callback. What
follows: messages keep their order but come a moment after what they tell of (`flush_log` waits for them),
and a callback may use cyevent freely. A fatal error cannot wait; its message also goes to standard error,
with the traceback of each thread.
"""

import atexit
import logging as _logging
import os
import signal
import sys
import threading

cimport cython
from libc.stdio cimport fprintf, snprintf, stderr
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, strlen
from cyevent.core.debug cimport event_debug_enable_, event_debug_set_origin_, EVENT_DEBUG_TOO_LATE_
from cyevent.core.log cimport *
from cyevent.core.log cimport event_set_last_words_
from cyevent.core.arguments cimport check_callable
from cyevent.core.sys cimport *
from cyevent.core.sys cimport pthread_cond_t, pthread_mutex_t, timespec

cdef extern from "Python.h":
    int PyGILState_Check() noexcept nogil

cdef extern from *:
    """
    /* Py_FatalError() adds the traceback of each thread and ends the process; a macro in some versions. */
    static void cyevent_die(const char *message) { Py_FatalError(message); }
    """
    void cyevent_die(const char *message) noexcept nogil

cdef enum:
    MOST_MESSAGES = 4096       # what waits for a slow callback; later ones are counted and dropped
    LONGEST = 1024

cdef struct log_message:
    log_message *next
    int severity
    char text[1]               # as long as it is

# The queue, under its own mutex: never held while anything else is waited for.
cdef pthread_mutex_t queue_mutex
cdef pthread_cond_t queue_changed
cdef log_message *first_message = NULL
cdef log_message *last_message = NULL
cdef int nmessages = 0
cdef int ndropped = 0
cdef bint delivering = False   # the thread is in the callback
cdef bint stopping = False     # the thread is to end when the queue is empty


# --- below the line ---------------------------------------------------------------------------------

cdef void enqueue(int severity, const char *text) noexcept nogil:
    global first_message, last_message, nmessages, ndropped
    cdef size_t n = strlen(text)
    cdef log_message *message
    if severity == EVENT_LOG_ERR:
        fprintf(stderr, b"[err] %s\n", text)
    # The C library's: a message about the memory functions must not come back here.
    message = <log_message *>malloc(sizeof(log_message) + n)
    pthread_mutex_lock(&queue_mutex)
    if message == NULL or nmessages >= MOST_MESSAGES:
        ndropped += 1
        free(message)
    else:
        message.next = NULL
        message.severity = severity
        memcpy(message.text, text, n + 1)
        if last_message != NULL:
            last_message.next = message
        else:
            first_message = message
        last_message = message
        nmessages += 1
    pthread_cond_broadcast(&queue_changed)
    pthread_mutex_unlock(&queue_mutex)


cdef log_message *dequeue(int *dropped) noexcept nogil:
    """Waits for a message; NULL when the thread is to end."""
    global first_message, last_message, nmessages, ndropped, delivering
    cdef log_message *message
    pthread_mutex_lock(&queue_mutex)
    delivering = False
    if first_message == NULL:
        pthread_cond_broadcast(&queue_changed)
    while first_message == NULL and not stopping:
        pthread_cond_wait(&queue_changed, &queue_mutex)
    message = first_message
    dropped[0] = 0
    if message != NULL:
        first_message = message.next
        if first_message == NULL:
            last_message = NULL
        nmessages -= 1
        if nmessages == 0:
            dropped[0] = ndropped
            ndropped = 0
        delivering = True
    pthread_mutex_unlock(&queue_mutex)
    return message


cdef bint drained(double seconds) noexcept nogil:
    """Waits until every message was delivered; False when the time was over first."""
    cdef timespec until
    cdef bint empty
    clock_gettime(CLOCK_REALTIME, &until)
    until.tv_sec += <long>seconds
    until.tv_nsec += <long>((seconds - <long>seconds) * 1e9)
    if until.tv_nsec >= 1000000000:
        until.tv_sec += 1
        until.tv_nsec -= 1000000000
    pthread_mutex_lock(&queue_mutex)
    while first_message != NULL or delivering:
        if pthread_cond_timedwait(&queue_changed, &queue_mutex, &until) == ETIMEDOUT:
            break
    empty = first_message == NULL and not delivering
    pthread_mutex_unlock(&queue_mutex)
    return empty


cdef void set_stopping(bint value) noexcept nogil:
    global stopping
    pthread_mutex_lock(&queue_mutex)
    stopping = value
    pthread_cond_broadcast(&queue_changed)
    pthread_mutex_unlock(&queue_mutex)


cdef int describe_origin(char *text, size_t size) noexcept nogil:
    # Without the GIL there is no frame to be seen; taking it here could wait for ever.
    if not PyGILState_Check():
        return 0
    return (<int (*)(char *, size_t) noexcept nogil>python_origin)(text, size)


cdef int python_origin(char *text, size_t size) noexcept:
    """file:line in function, of the Python code that runs now."""
    cdef bytes line
    try:
        frame = sys._getframe(0)
        code = frame.f_code
        line = f"{code.co_filename}:{frame.f_lineno} in {code.co_name}".encode("utf-8", "replace")
        # The end of a long path tells more than its beginning.
        line = line[-<Py_ssize_t>(size - 1):]
        snprintf(text, size, b"%s", <const char *>line)
        return 1
    except BaseException:
        return 0


# --- the thread -------------------------------------------------------------------------------------

cdef class Route:
    """Where messages go, and the thread that takes them there."""
    cdef object callback
    cdef object thread
    cdef object lock           # of changes: start() and stop() wait for the thread

    def __cinit__(self):
        self.lock = threading.Lock()

    cdef object current(self):
        with cython.critical_section(self):
            return self.callback

    cdef int start(self) except -1:
        set_stopping(False)
        self.thread = threading.Thread(target=self.deliver, name="cyevent-log", daemon=True)
        # Signals are for the program's own threads; signalfd needs them blocked in all others.
        unblocked = None
        if hasattr(signal, "pthread_sigmask"):
            unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self.thread.start()
        finally:
            if unblocked is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        return 0

    def change(self, callback):
        with self.lock:
            if callback is None:
                event_set_log_callback(NULL)
                if self.thread is not None:
                    set_stopping(True)
                    if self.thread is not threading.current_thread():
                        self.thread.join()
                    self.thread = None
            with cython.critical_section(self):
                self.callback = callback
            if callback is not None:
                if self.thread is None:
                    self.start()
                event_set_log_callback(enqueue)

    def deliver(self):
        cdef log_message *message
        cdef int dropped = 0
        while True:
            with nogil:
                message = dequeue(&dropped)
            if message == NULL:
                return
            severity = message.severity
            text = (<bytes>message.text).decode("utf-8", "replace")
            free(message)
            self.tell(severity, text)
            if dropped:
                self.tell(EVENT_LOG_WARN, f"{dropped} messages were dropped: the log callback is too slow")

    def tell(self, severity, text):
        callback = self.current()
        if callback is None:
            return
        try:
            callback(severity, text)
        except BaseException:
            sys.excepthook(*sys.exc_info())

    def before_fork(self):
        self.lock.acquire()
        with nogil:
            pthread_mutex_lock(&queue_mutex)

    def after_fork_in_parent(self):
        pthread_mutex_unlock(&queue_mutex)
        self.lock.release()

    def after_fork_in_child(self):
        global delivering
        # The thread stayed in the parent, perhaps waiting for the condition.
        delivering = False
        pthread_cond_init(&queue_changed, NULL)
        pthread_mutex_unlock(&queue_mutex)
        if self.thread is not None:
            self.start()
        self.lock.release()


cdef Route route = Route()


# --- above the line ---------------------------------------------------------------------------------

def set_log_callback(callback):
    """Calls callback(severity, message) for each message of the library; None: standard error again.

    severity: EVENT_LOG_DEBUG, EVENT_LOG_MSG, EVENT_LOG_WARN or EVENT_LOG_ERR.
    message: a str without a line end.

    The callback runs in a thread of its own, in the order of the messages and a moment after them; `flush_log`
    waits until it has seen all. At most 4096 messages wait for it. An exception in it goes to `sys.excepthook`.
    TypeError for what cannot be called.
    """
    if callback is not None:
        check_callable(callback, "callback")
    route.change(callback)


LEVELS = {
    EVENT_LOG_DEBUG: _logging.DEBUG,
    EVENT_LOG_MSG: _logging.INFO,
    EVENT_LOG_WARN: _logging.WARNING,
    EVENT_LOG_ERR: _logging.ERROR,
}


def use_logging(logger="cyevent"):
    """Sends the library's messages to a logger of `logging`, or the one of that name, as DEBUG, INFO, WARNING
    and ERROR. It takes the place of what `set_log_callback` was given; TypeError for anything else."""
    if isinstance(logger, str):
        logger = _logging.getLogger(logger)
    elif not isinstance(logger, (_logging.Logger, _logging.LoggerAdapter)):
        raise TypeError(f"logger must be a Logger or the name of one, not {type(logger).__name__}")

    def callback(severity, message):
        logger.log(LEVELS.get(severity, _logging.ERROR), "%s", message)

    route.change(callback)


def flush_log(timeout=5.0):
    """Waits until the log callback has seen every message so far, and returns True; False if it has not in
    `timeout` seconds. ValueError for a time that is negative or beyond 1e9."""
    cdef double seconds = timeout
    cdef bint empty
    if not 0 <= seconds <= 1e9:
        raise ValueError(f"timeout must be 0 to 1e9 seconds, not {timeout}")
    if route.thread is None or route.thread is threading.current_thread():
        return True
    with nogil:
        empty = drained(seconds)
    return empty


def enable_debug_logging(bint enable=True):
    """Tells of each event that is added, deleted or becomes active and of each wait, or no longer."""
    event_enable_debug_logging(EVENT_DBG_ALL if enable else EVENT_DBG_NONE)


def enable_debug_mode():
    """Checks from now on how events are used.

    Below the line a misuse then ends the process with a message that names the event and where it was made,
    and the traceback of each thread; in Python, which prevents most of it, it is an exception (ValueError for
    an event on a blocking descriptor). It costs memory and time for each event.

    Call it before the first EventBase is made, or set CYEVENT_DEBUG_MODE=1 in the environment: RuntimeError
    when it is too late. Calling it again is harmless.
    """
    if event_debug_enable_() == EVENT_DEBUG_TOO_LATE_:
        raise RuntimeError("debug mode must be enabled before the first EventBase or event is made")


def debug_mode():
    """True when debug mode is on."""
    return (ev_load_int(&event_debug_flags_) & EVENT_DEBUG_CHECK_) != 0


pthread_mutex_init(&queue_mutex, NULL)
pthread_cond_init(&queue_changed, NULL)
event_set_last_words_(cyevent_die)
event_debug_set_origin_(describe_origin)
atexit.register(flush_log)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=route.before_fork, after_in_parent=route.after_fork_in_parent,
                        after_in_child=route.after_fork_in_child)
if os.environ.get("CYEVENT_DEBUG_MODE", "0") not in ("", "0"):
    enable_debug_mode()
