"""Debug mode, debug messages, fatal errors and the global shutdown.

Each test runs in a child. A misuse must end it: the fatal callback leaves with success when the message is
the one that was waited for.
"""

import os
import signal
import subprocess
import sys

from libc.stdio cimport fprintf, stderr
from libc.string cimport memset, strstr
from posix.unistd cimport _exit, pipe

from cyevent cimport (
    EV_ET, EV_PERSIST, EV_READ, EV_TIMEOUT, EV_WRITE, EVENT_DBG_ALL, EVENT_DBG_NONE, EVENT_LOG_DEBUG,
    EVENT_LOG_WARN, EVLOOP_NONBLOCK, bufferevent, bufferevent_enable, bufferevent_free,
    bufferevent_socket_new, event, event_active, event_add, event_assign, event_base, event_base_dispatch,
    event_base_free, event_base_init_common_timeout, event_base_loop, event_base_new, event_base_once,
    event_base_set, event_debug_unassign, event_del, event_enable_debug_logging, event_enable_debug_mode,
    event_finalize, event_free, event_free_finalize, event_get_fd, event_new, event_pending,
    event_priority_set, event_remove_timer, event_set_fatal_callback, event_set_log_callback,
    event_set_mem_functions, evsignal_new, evtimer_assign, evtimer_new, libevent_global_shutdown, timeval,
)
from cyevent.core.debug cimport event_debug_count_
from libc.stdlib cimport free, malloc, realloc
from rig cimport Rig, milliseconds, nothing

cdef extern from "<signal.h>" nogil:
    int SIGUSR1

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t *thread, void *attr, void *(*start)(void *) noexcept nogil, void *arg)
    int pthread_join(pthread_t thread, void **result)

FORKED = (
    "test_assigning_an_added_event", "test_assigning_an_added_timer_in_place",
    "test_an_event_made_without_the_interpreter", "test_adding_without_assigning",
    "test_adding_after_unassign", "test_deleting_a_freed_event", "test_freeing_twice",
    "test_unassigning_an_added_event", "test_each_function_looks_first", "test_adding_a_finalized_event",
    "test_a_finalized_event_may_be_freed", "test_a_finalizer_may_assign_again", "test_blocking_descriptor",
    "test_enabling_twice", "test_enabling_too_late", "test_mixed_edges_name_both_events",
    "test_good_programs_leave_no_entry", "test_graves_are_bounded", "test_many_threads",
    "test_debug_logging", "test_log_severities", "test_shutdown_frees_everything",
    "test_out_of_memory_for_the_table",
)

cdef const char *expected = NULL
cdef const char *also = b""
cdef int expected_code = 0
cdef char last_message[2048]
cdef int messages[4]
cdef bint matched = False


cdef void keep(int severity, const char *message) noexcept nogil:
    global matched
    cdef int i = 0
    messages[severity] += 1
    while message[i] and i < 2047:
        last_message[i] = message[i]
        i += 1
    last_message[i] = 0
    if expected != NULL and strstr(message, expected) != NULL and strstr(message, also) != NULL:
        matched = True


cdef void fatal(int code) noexcept nogil:
    if not matched:
        fprintf(stderr, b"%s\n", last_message)
    _exit(0 if matched and code == expected_code else 3)


cdef int expect(const char *text, const char *more) except -1:
    global expected, also, expected_code
    expected = text
    also = more
    expected_code = -559038737      # EVENT_ERR_ABORT_
    event_set_log_callback(keep)
    event_set_fatal_callback(fatal)
    return 0


cdef int enable() except -1:
    # This process has had bases.
    libevent_global_shutdown()
    event_enable_debug_mode()
    return 0


cdef int not_caught() except -1:
    raise AssertionError(f"not caught; the last message was {last_message.decode()!r}")


# --- misuse ----------------------------------------------------------------------------------------

def test_assigning_an_added_event():
    enable()
    cdef Rig rig = Rig("poll")
    cdef event ev
    event_assign(&ev, rig.base, rig.pair[0], EV_READ, nothing, NULL)
    assert event_add(&ev, NULL) == 0
    # Where it was made: Python called this function.
    expect(b"event_assign called on an already added event", b", made at ")
    event_assign(&ev, rig.base, rig.pair[1], EV_READ, nothing, NULL)
    not_caught()


def test_assigning_an_added_timer_in_place():
    enable()
    cdef Rig rig = Rig("poll")
    cdef event ev
    cdef timeval later = milliseconds(10000)
    evtimer_assign(&ev, rig.base, nothing, NULL)
    event_add(&ev, &later)
    event_del(&ev)
    # Not added any more: fine.
    evtimer_assign(&ev, rig.base, nothing, NULL)
    event_add(&ev, &later)
    expect(b"already added", b"(events: 0x0, fd: -1")
    evtimer_assign(&ev, rig.base, nothing, NULL)
    not_caught()


def test_an_event_made_without_the_interpreter():
    enable()
    cdef Rig rig = Rig("poll")
    cdef event ev
    # There is no Python frame to name, but the functions that called; a sanitizer puts its own before them.
    expect(b"event_del called on an event that was unassigned",
           b", made by " if os.environ.get("CYEVENT_SANITIZE") else b", made by nogil_debug")
    with nogil:
        event_assign(&ev, rig.base, -1, 0, nothing, NULL)
        event_debug_unassign(&ev)
        event_del(&ev)
    not_caught()


def test_adding_without_assigning():
    enable()
    cdef event ev
    memset(&ev, 0x5a, sizeof(ev))
    expect(b"event_add called on a non-initialized event", b"0x")
    event_add(&ev, NULL)
    not_caught()


def test_adding_after_unassign():
    enable()
    cdef Rig rig = Rig("poll")
    cdef event ev
    event_assign(&ev, rig.base, rig.pair[0], EV_READ, nothing, NULL)
    event_debug_unassign(&ev)
    expect(b"event_add called on an event that was unassigned", b"(events: 0x2")
    event_add(&ev, NULL)
    not_caught()


def test_deleting_a_freed_event():
    enable()
    cdef Rig rig = Rig("poll")
    cdef event *ev = event_new(rig.base, rig.pair[0], EV_READ | EV_PERSIST, nothing, NULL)
    event_add(ev, NULL)
    event_free(ev)
    # Named from the table, not from memory that is somebody else's.
    expect(b"event_del called on an event that was freed", b"(events: 0x12")
    event_del(ev)
    not_caught()


def test_freeing_twice():
    enable()
    cdef Rig rig = Rig("poll")
    cdef event *ev = evtimer_new(rig.base, nothing, NULL)
    event_free(ev)
    expect(b"event_free called on an event that was freed", b", callback ")
    event_free(ev)
    not_caught()


def test_unassigning_an_added_event():
    enable()
    cdef Rig rig = Rig("poll")
    cdef event ev
    event_assign(&ev, rig.base, rig.pair[0], EV_READ, nothing, NULL)
    event_add(&ev, NULL)
    expect(b"event_debug_unassign called on an already added event", b"")
    event_debug_unassign(&ev)
    not_caught()


cdef void use(int which, event *ev, event_base *base) noexcept nogil:
    if which == 0:
        event_active(ev, EV_TIMEOUT, 1)
    elif which == 1:
        event_pending(ev, EV_TIMEOUT, NULL)
    elif which == 2:
        event_get_fd(ev)
    elif which == 3:
        event_priority_set(ev, 0)
    elif which == 4:
        event_remove_timer(ev)
    elif which == 5:
        event_base_set(base, ev)
    else:
        event_finalize(0, ev, NULL)


def test_each_function_looks_first():
    enable()
    cdef Rig rig = Rig("poll")
    cdef event ev
    names = (b"event_active", b"event_pending", b"event_get_fd", b"event_priority_set", b"event_remove_timer",
             b"event_base_set", b"event_finalize")
    cdef int i
    event_assign(&ev, rig.base, -1, 0, nothing, NULL)
    event_debug_unassign(&ev)
    for i in range(7):
        pid = os.fork()
        if pid == 0:
            name = names[i] + b" called on"
            expect(name, b"unassigned")
            use(i, &ev, rig.base)
            os._exit(4)
        assert os.waitpid(pid, 0)[1] == 0, names[i]


cdef void finalized(event *ev, void *arg) noexcept nogil:
    (<int *>arg)[0] += 1


cdef int finalize_one(Rig rig, event **ev) except -1:
    cdef int calls = 0
    ev[0] = event_new(rig.base, -1, EV_TIMEOUT, nothing, &calls)
    event_add(ev[0], NULL)
    assert event_finalize(0, ev[0], finalized) == 0
    event_base_dispatch(rig.base)
    assert calls == 1
    return 0


def test_adding_a_finalized_event():
    enable()
    cdef Rig rig = Rig("poll")
    cdef event *ev
    finalize_one(rig, &ev)
    expect(b"event_add called on an event that was finalized", b"")
    event_add(ev, NULL)
    not_caught()


def test_a_finalized_event_may_be_freed():
    enable()
    cdef Rig rig = Rig("poll")
    cdef event *ev
    finalize_one(rig, &ev)
    event_free(ev)
    expect(b"event_free called on an event that was freed", b"")
    event_free(ev)
    not_caught()


cdef void assign_again(event *ev, void *arg) noexcept nogil:
    cdef int *calls = <int *>arg
    calls[0] += event_assign(ev, calls_base, -1, EV_TIMEOUT, nothing, arg) == 0


cdef void hand_on(event *ev, void *arg) noexcept nogil:
    free(ev)
    (<int *>arg)[0] += 1


cdef event_base *calls_base = NULL


def test_a_finalizer_may_assign_again():
    """finalize/debug_use_after_free: the table is told before the finalizer, not after."""
    global calls_base
    enable()
    cdef Rig rig = Rig("poll")
    cdef int calls = 0
    cdef event *ev = <event *>malloc(sizeof(event))
    calls_base = rig.base
    event_assign(ev, rig.base, -1, EV_TIMEOUT, nothing, &calls)
    assert event_add(ev, NULL) == 0
    assert event_finalize(0, ev, assign_again) == 0
    event_base_dispatch(rig.base)
    assert calls == 1
    assert event_add(ev, NULL) == 0
    assert event_finalize(0, ev, hand_on) == 0
    event_base_dispatch(rig.base)
    assert calls == 2


def test_blocking_descriptor():
    enable()
    cdef Rig rig = Rig("poll")
    cdef event ev
    cdef int fds[2]
    assert pipe(fds) == 0
    # A signal's number is not a descriptor.
    event_assign(&ev, rig.base, fds[0], EV_TIMEOUT | 0x08, nothing, NULL)
    expect(b"event_assign called for a blocking descriptor", b"(events: 0x2, fd:")
    event_assign(&ev, rig.base, fds[0], EV_READ, nothing, NULL)
    not_caught()


def test_enabling_twice():
    global expected_code
    enable()
    expect(b"was called twice", b"")
    expected_code = 1
    event_enable_debug_mode()
    not_caught()


def test_enabling_too_late():
    global expected_code
    libevent_global_shutdown()
    event_base_free(event_base_new())
    expect(b"must be called *before* creating any events", b"")
    expected_code = 1
    event_enable_debug_mode()
    not_caught()


def test_mixed_edges_name_both_events():
    enable()
    cdef Rig rig = Rig("epoll" if "epoll" in __import__("cyevent").EventBase.supported_methods() else "poll")
    cdef event one, two
    event_assign(&one, rig.base, rig.pair[0], EV_READ, nothing, NULL)
    event_assign(&two, rig.base, rig.pair[0], EV_WRITE | EV_ET, nothing, NULL)
    assert event_add(&one, NULL) == 0
    expect(b"edge- and level-triggered", b"; there is event")
    assert event_add(&two, NULL) == -1
    assert matched
    event_set_log_callback(NULL)


# --- good use --------------------------------------------------------------------------------------

def test_good_programs_leave_no_entry():
    enable()
    for method in __import__("cyevent").EventBase.supported_methods():
        rig = Rig(method)
        exercise(rig)
        (<Rig>rig).free()
        assert event_debug_count_() == 0, method


cdef int exercise(Rig rig) except -1:
    cdef event *io = event_new(rig.base, rig.pair[0], EV_READ | EV_WRITE | EV_PERSIST, nothing, NULL)
    cdef event *usr1 = evsignal_new(rig.base, SIGUSR1, nothing, NULL)
    cdef event *gone = evtimer_new(rig.base, nothing, NULL)
    cdef timeval soon = milliseconds(1)
    cdef timeval later = milliseconds(100000)
    cdef event timer
    cdef int calls = 0
    cdef bufferevent *bev = bufferevent_socket_new(rig.base, rig.pair[1], 0)
    bufferevent_enable(bev, EV_READ)
    evtimer_assign(&timer, rig.base, nothing, NULL)
    assert event_add(io, &later) == 0
    assert event_add(usr1, NULL) == 0
    assert event_add(&timer, event_base_init_common_timeout(rig.base, &soon)) == 0
    assert event_base_once(rig.base, -1, EV_TIMEOUT, nothing, NULL, &later) == 0
    assert event_base_once(rig.base, -1, EV_TIMEOUT, nothing, NULL, NULL) == 0
    gone.evcb.arg = &calls
    event_free_finalize(0, gone, finalized)
    os.kill(os.getpid(), signal.SIGUSR1)
    for _ in range(3):
        event_base_loop(rig.base, 0x01)
    assert calls == 1
    assert event_debug_count_() > 5
    event_del(io)
    event_free(io)
    event_free(usr1)
    event_del(&timer)
    event_debug_unassign(&timer)
    bufferevent_free(bev)
    event_base_loop(rig.base, EVLOOP_NONBLOCK)
    return 0


cdef int blocks = 0


cdef void *count_malloc(size_t n) noexcept nogil:
    global blocks
    blocks += 1
    return malloc(n)


cdef void *count_realloc(void *memory, size_t n) noexcept nogil:
    global blocks
    blocks += memory == NULL
    return realloc(memory, n)


cdef void count_free(void *memory) noexcept nogil:
    global blocks
    blocks -= memory != NULL
    free(memory)


def test_graves_are_bounded():
    enable()
    cdef Rig rig = Rig("poll")
    cdef event *many = <event *>malloc(20000 * sizeof(event))
    cdef int i, before
    event_set_mem_functions(count_malloc, count_realloc, count_free)
    before = blocks
    for i in range(20000):
        evtimer_assign(&many[i], rig.base, nothing, NULL)
        event_debug_unassign(&many[i])
    # One is kept for each of the last 4096, and the table itself.
    assert 4096 <= blocks - before < 4200
    free(many)


cdef void *churn(void *arg) noexcept nogil:
    cdef event_base *base = <event_base *>arg
    cdef event *ev
    cdef timeval later = milliseconds(100000)
    for _ in range(3000):
        ev = evtimer_new(base, nothing, NULL)
        event_add(ev, &later)
        event_active(ev, EV_TIMEOUT, 1)
        event_del(ev)
        event_free(ev)
    return NULL


def test_many_threads():
    enable()
    cdef Rig rig = Rig("poll")
    cdef pthread_t threads[4]
    cdef int i, before = event_debug_count_()
    with nogil:
        for i in range(4):
            pthread_create(&threads[i], NULL, churn, rig.base)
        for i in range(4):
            pthread_join(threads[i], NULL)
    assert event_debug_count_() == before


cdef void *no_memory(size_t n) noexcept nogil:
    return NULL


def test_out_of_memory_for_the_table():
    """Debug mode goes on and no longer reports what it may not know."""
    enable()
    cdef Rig rig = Rig("poll")
    cdef event ev
    expect(b"no memory to note an event", b"")
    event_set_mem_functions(no_memory, realloc, free)
    event_assign(&ev, rig.base, -1, 0, nothing, NULL)
    event_set_mem_functions(NULL, NULL, NULL)
    assert matched
    event_active(&ev, EV_TIMEOUT, 1)
    event_del(&ev)
    event_set_log_callback(NULL)


# --- messages --------------------------------------------------------------------------------------

def test_debug_logging():
    cdef Rig rig = Rig("poll")
    cdef event ev
    event_set_log_callback(keep)
    for on in (True, False):
        event_enable_debug_logging(EVENT_DBG_ALL if on else EVENT_DBG_NONE)
        for text in (b"event_add: event: ", b"add fd ", b"event_active: ", b"event_process_active", b"waits",
                     b"event_del: ", b"delete fd "):
            memset(messages, 0, sizeof(messages))
            speak(rig, &ev, text)
            assert matched == on, text
            assert (messages[EVENT_LOG_DEBUG] > 0) == on
            assert messages[EVENT_LOG_WARN] == 0


cdef int speak(Rig rig, event *ev, const char *text) except -1:
    global expected, matched
    expected = text
    matched = False
    event_assign(ev, rig.base, rig.pair[0], EV_READ | EV_PERSIST, nothing, NULL)
    event_add(ev, NULL)
    event_active(ev, EV_READ, 1)
    event_base_loop(rig.base, EVLOOP_NONBLOCK)
    event_del(ev)
    return 0


def test_log_severities():
    cdef event ev
    event_set_log_callback(keep)
    memset(&ev, 0, sizeof(ev))
    assert event_add(&ev, NULL) == -1
    assert messages[EVENT_LOG_WARN] == 1
    assert last_message == b"event_add: event has no event_base set"
    event_set_log_callback(NULL)


def test_shutdown_frees_everything():
    # What this process has from before would count as freed.
    libevent_global_shutdown()
    cdef int round
    event_set_mem_functions(count_malloc, count_realloc, count_free)
    for round in range(3):
        event_enable_debug_mode()
        exercise(Rig("poll"))
        libevent_global_shutdown()
        assert blocks == 0, round
        libevent_global_shutdown()
        assert blocks == 0, round
    # And a base made afterwards works, signals included.
    exercise_once()


cdef int exercise_once() except -1:
    cdef Rig rig = Rig("poll")
    cdef event *ev = evsignal_new(rig.base, SIGUSR1, nothing, NULL)
    assert event_add(ev, NULL) == 0
    os.kill(os.getpid(), signal.SIGUSR1)
    assert event_base_loop(rig.base, 0x01) == 0
    event_free(ev)
    return 0


def misuse():
    cdef event ev
    memset(&ev, 0, sizeof(ev))
    event_enable_debug_mode()
    event_add(&ev, NULL)


def test_abort_shows_the_traceback():
    """Without a fatal callback the process ends by abort(), and says where Python was."""
    path = [os.path.dirname(__file__), *sys.path]
    program = f"import sys; sys.path[:0] = {path!r}; import nogil_debug\ndef f(): nogil_debug.misuse()\nf()"
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == -signal.SIGABRT
    assert "[err] event_add called on a non-initialized event" in done.stderr
    assert "Fatal Python error" in done.stderr
    assert 'line 2 in f\n' in done.stderr
