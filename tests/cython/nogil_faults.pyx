"""Memory that runs out: each operation, with each of its allocations failing in turn.

A scenario makes what it uses and frees it again. It runs with its first allocation failing, then its
second, and so on until none fails any more: with that one failing alone, with all later ones too, and
with each n-th. It may fail then, by saying so; it must not crash, leak, or leave a base that does not work.
"""

from libc.stdio cimport FILE, fclose, fopen
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset, strcmp
from posix.unistd cimport close, write

from cyevent cimport (
    BEV_OPT_DEFER_CALLBACKS, BEV_OPT_THREADSAFE, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST, EV_PERSIST, EV_READ,
    EV_TIMEOUT, EV_WRITE, EVBUFFER_EOL_LF, EVLOOP_NONBLOCK, EVLOOP_ONCE, LEV_OPT_CLOSE_ON_FREE,
    LEV_OPT_THREADSAFE, bufferevent, bufferevent_enable, bufferevent_free, bufferevent_setcb,
    bufferevent_socket_new, bufferevent_write, evbuffer, evbuffer_add, evbuffer_add_buffer,
    evbuffer_add_reference, evbuffer_drain, evbuffer_enable_locking, evbuffer_free, evbuffer_get_length,
    evbuffer_new, evbuffer_prepend, evbuffer_pullup, evbuffer_readln, evconnlistener, evconnlistener_free,
    evconnlistener_new_bind, event, event_active, event_add, event_assign, event_base,
    event_base_dump_events, event_base_foreach_event, event_base_free, event_base_init_common_timeout,
    event_base_loop, event_base_new_with_config, event_base_once, event_base_priority_init, event_config,
    event_config_avoid_method, event_config_free, event_config_new, event_del, event_finalize, event_free,
    event_free_finalize, event_get_supported_methods, event_new, event_priority_set, event_reinit,
    event_set_log_callback, event_set_mem_functions, evsignal_new, evtimer_new, evwatch,
    evwatch_check_cb_info, evwatch_check_new, evwatch_free, evwatch_prepare_cb_info, evwatch_prepare_new,
    sockaddr, timeval,
)
from cyevent.core.queue cimport event_deferred_cb_init_, event_deferred_cb_schedule_
from cyevent.core.types cimport event_callback
from rig cimport make_base, milliseconds, nothing

cdef extern from "<sys/socket.h>" nogil:
    int AF_UNIX, AF_INET, SOCK_STREAM, SOCK_NONBLOCK
    int socketpair(int domain, int kind, int protocol, int *fds)

cdef extern from "<netinet/in.h>" nogil:
    struct sockaddr_in:
        unsigned short sin_family

cdef extern from "<signal.h>" nogil:
    int SIGUSR2

cdef extern from "<fcntl.h>" nogil:
    int F_DUPFD
    int fcntl(int fd, int command, int argument)

cdef enum:
    MANY_TIMERS = 300          # the heap grows several times
    MANY_COMMON = 20           # and so does the table of common timeouts
    TOO_MANY = 20000           # allocations that no scenario reaches
    MANY_CHANGES = 200         # more than a list of changes has room for at first

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t *thread, void *attr, void *(*start)(void *) noexcept nogil, void *arg)
    int pthread_join(pthread_t thread, void **result)

cdef enum failing:
    ALONE                      # the one at fail_at
    ONWARDS                    # and all that follow
    EACH                       # and all whose number is a multiple of it

ctypedef int (*scenario)(event_base *base, int *fds) noexcept nogil

cdef int outstanding = 0
cdef int allocations = 0
cdef int fail_at = 0
cdef failing fail_how = ALONE
cdef int failures = 0


# --- an allocator that fails on demand -----------------------------------------------------------

cdef bint fails() noexcept nogil:
    global allocations, failures
    cdef bint failed
    allocations += 1
    if fail_at == 0:
        return False
    if fail_how == ALONE:
        failed = allocations == fail_at
    elif fail_how == ONWARDS:
        failed = allocations >= fail_at
    else:
        failed = allocations % fail_at == 0
    failures += failed
    return failed


cdef void *failing_malloc(size_t n) noexcept nogil:
    global outstanding
    cdef void *memory
    if fails():
        return NULL
    memory = malloc(n)
    # What is read before it is written shows.
    memset(memory, 0xa5, n)
    outstanding += 1
    return memory


cdef void *failing_realloc(void *memory, size_t n) noexcept nogil:
    global outstanding
    if fails():
        return NULL
    if memory == NULL:
        outstanding += 1
    return realloc(memory, n)


cdef void counting_free(void *memory) noexcept nogil:
    global outstanding
    if memory != NULL:
        outstanding -= 1
    free(memory)


cdef void silence(int severity, const char *message) noexcept nogil:
    pass


cdef event_base *new_base(const char *method) noexcept nogil:
    cdef event_config *config = event_config_new()
    cdef const char **names = event_get_supported_methods()
    cdef event_base *base = NULL
    cdef bint fine = config != NULL
    if config == NULL:
        return NULL
    while names[0] != NULL and fine:
        if strcmp(names[0], method) != 0 and event_config_avoid_method(config, names[0]) < 0:
            fine = False
        names += 1
    if fine:
        base = event_base_new_with_config(config)
    event_config_free(config)
    return base


cdef int attempt(const char *method, scenario run, int *fds) noexcept nogil:
    """0 when all went well, -1 when something failed, -2 for a base that does not work afterwards."""
    cdef event_base *base = new_base(method)
    global fail_at
    cdef int result, called = 0
    cdef event after
    if base == NULL:
        return -1
    result = run(base, fds)
    # Whatever failed, the base goes on when there is memory again.
    fail_at = 0
    event_assign(&after, base, -1, 0, called_back, &called)
    event_active(&after, EV_TIMEOUT, 1)
    if event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK) < 0 or called != 1:
        result = -2
    event_base_free(base)
    return result


cdef void called_back(int fd, short what, void *arg) noexcept nogil:
    (<int *>arg)[0] += 1


cdef struct task:
    const char *method
    scenario run
    int *fds
    int result


cdef void *in_thread(void *arg) noexcept nogil:
    cdef task *work = <task *>arg
    work.result = attempt(work.method, work.run, work.fds)
    return NULL


cdef int exercise(str method, scenario run) except -1:
    """Returns how many allocations the scenario makes."""
    global fail_at, fail_how, allocations, failures
    cdef bytes name = method.encode()
    cdef task work
    cdef pthread_t thread
    cdef int fds[2]
    cdef int result, n
    cdef failing how
    work.method = name
    work.run = run
    work.fds = fds
    for how in (ALONE, ONWARDS, EACH):
        for n in range(1, TOO_MANY):
            assert socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0
            with nogil:
                fail_at = n
                fail_how = how
                allocations = failures = 0
                event_set_log_callback(silence)
                event_set_mem_functions(failing_malloc, failing_realloc, counting_free)
                # In a thread of its own: what a thread keeps for later is freed with it.
                pthread_create(&thread, NULL, in_thread, &work)
                pthread_join(thread, NULL)
                result = work.result
                event_set_mem_functions(NULL, NULL, NULL)
                event_set_log_callback(NULL)
            close(fds[0])
            close(fds[1])
            assert result != -2, f"allocation {n}: the base does not work any more"
            assert outstanding == 0, f"allocation {n}: {outstanding} blocks are left"
            if not failures:
                assert result == 0
                break
        else:
            raise AssertionError("it never succeeds")
    return n - 1


# --- scenarios -----------------------------------------------------------------------------------

cdef int base_alone(event_base *base, int *fds) noexcept nogil:
    return 0


def test_base(method):
    assert exercise(method, base_alone) >= 5


cdef int io_events(event_base *base, int *fds) noexcept nogil:
    cdef event *ev[3]
    cdef timeval soon = milliseconds(1)
    cdef int i, result = 0
    ev[0] = event_new(base, fds[0], EV_READ | EV_PERSIST, nothing, NULL)
    ev[1] = event_new(base, fds[0], EV_WRITE, nothing, NULL)
    ev[2] = event_new(base, fds[1], EV_READ | EV_WRITE | EV_PERSIST, nothing, NULL)
    for i in range(3):
        if ev[i] == NULL or event_add(ev[i], &soon) < 0:
            result = -1
    if event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK) < 0:
        result = -1
    for i in range(3):
        if ev[i] != NULL:
            event_free(ev[i])
    return result


def test_io_events(method):
    assert exercise(method, io_events) > exercise(method, base_alone)


cdef int timers(event_base *base, int *fds) noexcept nogil:
    cdef event ev[MANY_TIMERS]
    cdef timeval later
    cdef int i, added = 0
    for i in range(MANY_TIMERS):
        event_assign(&ev[i], base, -1, EV_PERSIST if i % 3 == 0 else 0, nothing, NULL)
        later = milliseconds(1000 + (i * 7919) % 1000)
        if event_add(&ev[i], &later) == 0:
            added += 1
    event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK)
    for i in range(MANY_TIMERS):
        event_del(&ev[i])
    return 0 if added == MANY_TIMERS else -1


def test_timers(method):
    assert exercise(method, timers) >= 4


cdef int signals(event_base *base, int *fds) noexcept nogil:
    cdef event *ev = evsignal_new(base, SIGUSR2, nothing, NULL)
    cdef int result = 0
    if ev == NULL:
        return -1
    if event_add(ev, NULL) < 0:
        result = -1
    # A second one, whether the first could be added or not.
    if event_del(ev) < 0 or event_add(ev, NULL) < 0:
        result = -1
    event_free(ev)
    return result


def test_signals(method):
    exercise(method, signals)


# Not on the stack: those that never fire are in the base when the function has returned.
cdef int once_calls


cdef int once_events(event_base *base, int *fds) noexcept nogil:
    cdef timeval late = milliseconds(100000)
    cdef int result = 0
    if event_base_once(base, fds[0], EV_READ, called_back, &once_calls, &late) < 0:
        result = -1
    if event_base_once(base, -1, EV_TIMEOUT, called_back, &once_calls, NULL) < 0:
        result = -1
    if event_base_once(base, -1, EV_TIMEOUT, called_back, &once_calls, &late) < 0:
        result = -1
    if event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK) < 0:
        result = -1
    # Those that never fire are freed with the base.
    return result


def test_once(method):
    exercise(method, once_events)


cdef int common_timeouts(event_base *base, int *fds) noexcept nogil:
    cdef event ev[MANY_COMMON]
    cdef timeval duration
    cdef const timeval *common
    cdef int i, result = 0
    for i in range(MANY_COMMON):
        event_assign(&ev[i], base, fds[0] if i % 2 else -1, EV_READ | EV_PERSIST if i % 2 else 0, nothing, NULL)
        duration = milliseconds(5000 + i)
        common = event_base_init_common_timeout(base, &duration)
        if common == NULL or event_add(&ev[i], common) < 0:
            result = -1
    # From a common timeout to the heap and back.
    duration = milliseconds(100)
    if event_add(&ev[0], &duration) < 0:
        result = -1
    event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK)
    for i in range(MANY_COMMON):
        event_del(&ev[i])
    return result


def test_common_timeouts(method):
    assert exercise(method, common_timeouts) > MANY_COMMON


cdef int priorities(event_base *base, int *fds) noexcept nogil:
    cdef int result = event_base_priority_init(base, 8)
    cdef event *ev = evtimer_new(base, nothing, NULL)
    if ev == NULL:
        return -1
    if event_priority_set(ev, 7) < 0:
        result = -1
    event_active(ev, EV_TIMEOUT, 1)
    event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK)
    event_free(ev)
    return result


def test_priorities(method):
    exercise(method, priorities)


cdef void prepared(evwatch *watcher, const evwatch_prepare_cb_info *info, void *arg) noexcept nogil:
    pass


cdef void checked(evwatch *watcher, const evwatch_check_cb_info *info, void *arg) noexcept nogil:
    pass


cdef int watchers(event_base *base, int *fds) noexcept nogil:
    cdef evwatch *one = evwatch_prepare_new(base, prepared, NULL)
    cdef evwatch *two = evwatch_check_new(base, checked, NULL)
    event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK)
    if one != NULL:
        evwatch_free(one)
    # The other is freed with the base.
    return 0 if one != NULL and two != NULL else -1


def test_watchers(method):
    exercise(method, watchers)


cdef int reinit(event_base *base, int *fds) noexcept nogil:
    cdef event ev
    cdef int result
    event_assign(&ev, base, fds[0], EV_READ, nothing, NULL)
    result = event_add(&ev, NULL)
    if event_reinit(base) < 0:
        result = -1
    event_del(&ev)
    return result


cdef int reinit_and_loop(event_base *base, int *fds) noexcept nogil:
    return reinit(base, fds)


def test_reinit(method):
    exercise(method, reinit_and_loop)


cdef int visit(const event_base *base, const event *ev, void *arg) noexcept nogil:
    (<int *>arg)[0] += 1
    return 0


cdef int inspect(event_base *base, int *fds) noexcept nogil:
    cdef event one, two
    cdef timeval later = milliseconds(100000)
    cdef int n = 0
    cdef int result
    cdef FILE *sink = fopen(b"/dev/null", b"w")
    event_assign(&one, base, fds[0], EV_READ, nothing, NULL)
    event_assign(&two, base, -1, 0, nothing, NULL)
    result = event_add(&one, &later)
    if event_add(&two, &later) < 0:
        result = -1
    event_base_foreach_event(base, visit, &n)
    event_base_dump_events(base, sink)
    fclose(sink)
    event_del(&one)
    event_del(&two)
    return 0 if result == 0 and n == 2 else -1


def test_inspect(method):
    exercise(method, inspect)


cdef void finalized(event *ev, void *arg) noexcept nogil:
    pass


cdef int finalizers(event_base *base, int *fds) noexcept nogil:
    global fail_at
    cdef event *one = evtimer_new(base, nothing, NULL)
    cdef event *two = evtimer_new(base, nothing, NULL)
    cdef event_callback deferred
    cdef int result = 0 if one != NULL and two != NULL else -1
    event_deferred_cb_init_(&deferred, 0, ran, NULL)
    event_deferred_cb_schedule_(base, &deferred)
    if one != NULL:
        event_free_finalize(0, one, finalized)
    if two != NULL:
        event_finalize(0, two, finalized)
    if event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK) < 0:
        # What is queued stays queued, until there is memory again.
        result = -1
        fail_at = 0
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK)
    if two != NULL:
        event_free(two)
    return result


cdef void ran(event_callback *cb, void *arg) noexcept nogil:
    pass


def test_finalizers(method):
    exercise(method, finalizers)


cdef void cleaned(const void *data, size_t n, void *arg) noexcept nogil:
    (<int *>arg)[0] += 1


cdef int buffers(event_base *base, int *fds) noexcept nogil:
    cdef evbuffer *one = evbuffer_new()
    cdef evbuffer *two = evbuffer_new()
    cdef char block[5000]
    cdef char *line
    cdef size_t n
    cdef size_t before
    cdef int references = 0
    cdef int result = 0
    if one == NULL or two == NULL:
        if one != NULL:
            evbuffer_free(one)
        if two != NULL:
            evbuffer_free(two)
        return -1
    memset(block, b'x', sizeof(block))
    if evbuffer_enable_locking(one, NULL) < 0:
        result = -1
    if evbuffer_add(one, b"first\nsecond", 12) < 0:
        result = -1
    before = evbuffer_get_length(one)
    if evbuffer_add(one, block, sizeof(block)) < 0:
        result = -1
        if evbuffer_get_length(one) != before:
            result = -2
    if evbuffer_prepend(one, block, 2000) < 0:
        result = -1
    if evbuffer_add_reference(two, b"reference", 9, cleaned, &references) < 0:
        # The caller keeps it.
        result = -1
        references += 1
    if evbuffer_add_buffer(one, two) < 0:
        result = -1
    if evbuffer_get_length(one) and evbuffer_pullup(one, -1) == NULL:
        result = -1
    line = evbuffer_readln(one, &n, EVBUFFER_EOL_LF)
    if line != NULL:
        counting_free(line)
    elif evbuffer_get_length(one):
        result = -1
    evbuffer_drain(one, 100)
    evbuffer_free(one)
    evbuffer_free(two)
    if references != 1:
        result = -2
    return result


def test_evbuffers(method):
    exercise(method, buffers)


cdef void bev_event(bufferevent *bev, short what, void *arg) noexcept nogil:
    pass


cdef int bufferevents(event_base *base, int *fds) noexcept nogil:
    cdef bufferevent *bev = bufferevent_socket_new(base, fds[0], BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS)
    cdef char block[20000]
    cdef int result = 0
    if bev == NULL:
        return -1
    memset(block, b'x', sizeof(block))
    bufferevent_setcb(bev, NULL, NULL, bev_event, NULL)
    if bufferevent_enable(bev, EV_READ | EV_WRITE) < 0:
        result = -1
    if bufferevent_write(bev, block, sizeof(block)) < 0:
        result = -1
    event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK)
    event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK)
    bufferevent_free(bev)
    event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK)
    return result


def test_bufferevents(method):
    exercise(method, bufferevents)


cdef int listeners(event_base *base, int *fds) noexcept nogil:
    cdef sockaddr_in address
    cdef evconnlistener *lev
    memset(&address, 0, sizeof(address))
    address.sin_family = AF_INET
    lev = evconnlistener_new_bind(base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_THREADSAFE, -1,
                                  <sockaddr *>&address, sizeof(address))
    if lev == NULL:
        return -1
    evconnlistener_free(lev)
    return 0


def test_listeners(method):
    exercise(method, listeners)


# --- a deletion without memory to note it --------------------------------------------------------

cdef void count_turn(evwatch *watcher, const evwatch_prepare_cb_info *info, void *arg) noexcept nogil:
    (<int *>arg)[0] += 1


cdef int delete_without_memory(event_base *base, int *fds, int *turns) noexcept nogil:
    """Returns the deletion's result, or -2 where nothing needed memory."""
    global fail_at, fail_how, allocations
    cdef event gone
    cdef event others[MANY_CHANGES]
    cdef event timer
    cdef timeval soon = milliseconds(30)
    cdef int n = 0, high, result
    # So large that the map of descriptors does not grow any more.
    high = fcntl(fds[1], F_DUPFD, 2 * MANY_CHANGES)
    event_assign(&others[0], base, high, EV_READ, nothing, NULL)
    event_add(&others[0], NULL)
    event_del(&others[0])
    close(high)
    event_assign(&gone, base, fds[0], EV_READ | EV_PERSIST, nothing, NULL)
    event_add(&gone, NULL)
    event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK)
    allocations = 0
    fail_at = 1
    fail_how = ONWARDS
    while n < MANY_CHANGES:
        event_assign(&others[n], base, fcntl(fds[1], F_DUPFD, 0), EV_READ, nothing, NULL)
        if event_add(&others[n], NULL) < 0:
            close(others[n].fd)
            break
        n += 1
    result = event_del(&gone)
    if n == MANY_CHANGES:
        result = -2
    fail_at = 0
    while n:
        n -= 1
        event_del(&others[n])
        close(others[n].fd)
    # There is something to read, which nobody wants to hear of any more.
    turns[0] = 0
    event_assign(&timer, base, -1, 0, nothing, NULL)
    event_add(&timer, &soon)
    evwatch_prepare_new(base, count_turn, turns)
    event_base_loop(base, EVLOOP_ONCE)
    return result


def test_deletion_without_memory(method):
    cdef int fds[2]
    cdef int result, turns = 0
    cdef event_base *base
    assert socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0
    assert write(fds[1], b"x", 1) == 1
    event_set_log_callback(silence)
    event_set_mem_functions(failing_malloc, failing_realloc, counting_free)
    base = make_base(method, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST, -1, 0)
    result = delete_without_memory(base, fds, &turns)
    event_base_free(base)
    event_set_mem_functions(NULL, NULL, NULL)
    event_set_log_callback(NULL)
    close(fds[0])
    close(fds[1])
    assert outstanding == 0, outstanding
    # The mechanisms whose arrays are as large already, or that keep nothing, have nothing to fail.
    assert result == 0 or result == -2 and not method.startswith(("epoll", "kqueue", "devpoll"))
    assert 0 < turns < 10
