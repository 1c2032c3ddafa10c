"""select(2).

Facts about select:

- The sets are bit arrays that the kernel reads and writes as far as the highest descriptor; glibc's fd_set
  ends at FD_SETSIZE, the system call does not.
- The kernel looks at each descriptor that is set, and passes over empty words; the sets are overwritten.
- One descriptor closed behind our back fails the whole call with EBADF, without telling which.

What follows: the sets are our own, of any size, and are read a word at a time; words without a ready
descriptor cost one comparison. After EBADF each descriptor is tested, and a bad one is told to its readers
and writers, whose next system call gives the reason. As in the poll backend, and for the same reasons, a
small window around what was ready last is asked first when little is ready among many.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset
from cyevent.backends.registry cimport backend_register
from cyevent.backends.vtable cimport backend_host, event_op
from cyevent.core.clock cimport NS_PER_US
from cyevent.core.log cimport event_warn_
from cyevent.core.memory cimport mm_calloc, mm_free, mm_realloc
from cyevent.core.sys cimport *
from cyevent.core.sys cimport timeval
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport *

cdef extern from *:
    """
    #include <sys/select.h>
    static inline int cyevent_select(int n, unsigned long *readable, unsigned long *writable,
                                     struct timeval *timeout) {
        return select(n, (fd_set *)readable, (fd_set *)writable, NULL, timeout);
    }
    """
    int cyevent_select(int n, unsigned long *readable, unsigned long *writable,
                       timeval *timeout) noexcept nogil

cdef enum:
    WORD = 8 * sizeof(unsigned long)
    WINDOW_WORDS = 2
    TURNS_BETWEEN_FULL = 16
    MAX_WAIT_US = 35 * 60 * 1000000

cdef struct select_state:
    unsigned long *wanted[2]   # readers, writers
    unsigned long *result[2]   # what the kernel works on; as long
    int words
    int result_words
    int nfds                   # highest descriptor + 1
    int count[2]               # bits set
    int last_word              # where something was ready last
    int sparse_turns

cdef event_op select_ops


cdef void *select_init(backend_host *host) noexcept nogil:
    return mm_calloc(1, sizeof(select_state))


cdef int grow(select_state *state, int fd) noexcept nogil:
    cdef int words = state.words if state.words else 16
    cdef int i
    cdef unsigned long *bits
    while words * WORD <= fd:
        words *= 2
    for i in range(2):
        bits = <unsigned long *>mm_realloc(state.wanted[i], words * sizeof(unsigned long))
        if bits == NULL:
            set_errno(ENOMEM)
            return -1
        memset(bits + state.words, 0, (words - state.words) * sizeof(unsigned long))
        state.wanted[i] = bits
    # The results are filled for each call, and are grown by the loop's thread then: it may be waiting in
    # one on them now.
    state.words = words
    return 0


cdef int select_add(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
                    uint64_t *fdinfo) noexcept nogil:
    cdef select_state *state = <select_state *>backend
    cdef int i
    cdef unsigned long bit = <unsigned long>1 << (fd % WORD)
    cdef short[2] which = [EV_READ, EV_WRITE]
    if not ((old | events) & (EV_READ | EV_WRITE)):
        # EV_CLOSED alone could never be told.
        set_errno(ENOTSUP)
        return -1
    if fd >= state.words * WORD and grow(state, fd) < 0:
        return -1
    for i in range(2):
        if events & which[i] and not (state.wanted[i][fd // WORD] & bit):
            state.wanted[i][fd // WORD] |= bit
            state.count[i] += 1
    if fd >= state.nfds:
        state.nfds = fd + 1
    return 0


cdef int select_delete(backend_host *host, void *backend, evutil_socket_t fd, short old,
                       short events, uint64_t *fdinfo) noexcept nogil:
    cdef select_state *state = <select_state *>backend
    cdef int i
    cdef unsigned long bit = <unsigned long>1 << (fd % WORD)
    cdef short[2] which = [EV_READ, EV_WRITE]
    if fd >= state.words * WORD:
        return 0
    for i in range(2):
        if events & which[i] and state.wanted[i][fd // WORD] & bit:
            state.wanted[i][fd // WORD] &= ~bit
            state.count[i] -= 1
    if fd + 1 == state.nfds:
        i = fd // WORD
        while i >= 0 and not (state.wanted[0][i] | state.wanted[1][i]):
            i -= 1
        state.nfds = (i + 1) * WORD if (i + 1) * WORD < state.nfds else state.nfds
    return 0


cdef void report(backend_host *host, select_state *state, unsigned long **sets, int first,
                 int words) noexcept nogil:
    cdef int i, fd
    cdef unsigned long readable, writable, either
    cdef short what
    for i in range(first, first + words):
        readable = sets[0][i] if sets[0] != NULL else 0
        writable = sets[1][i] if sets[1] != NULL else 0
        either = readable | writable
        if either:
            state.last_word = i
        while either:
            fd = ev_ctz64(either)
            what = 0
            if readable >> fd & 1:
                what |= EV_READ
            if writable >> fd & 1:
                what |= EV_WRITE
            either &= either - 1
            host.ready(host, i * WORD + fd, what)


cdef void report_bad(backend_host *host, select_state *state) noexcept nogil:
    cdef int i, fd
    cdef unsigned long either
    for i in range((state.nfds + WORD - 1) // WORD):
        either = state.wanted[0][i] | state.wanted[1][i]
        while either:
            fd = i * WORD + ev_ctz64(either)
            either &= either - 1
            if fcntl(fd, F_GETFD) < 0 and errno == EBADF:
                host.ready(host, fd, EV_READ | EV_WRITE)


cdef int ask(backend_host *host, select_state *state, int first, int words,
             int64_t timeout) noexcept nogil:
    """Asks about `words` words of the sets and reports what is ready; how much, or -1."""
    cdef timeval tv
    cdef unsigned long *sets[2]
    cdef int i, ready
    cdef int nfds = (first + words) * WORD
    if nfds > state.nfds:
        nfds = state.nfds
    for i in range(2):
        # An empty set is left out: the kernel then copies nothing for it.
        sets[i] = state.result[i] if state.count[i] else NULL
        if sets[i] != NULL:
            memset(sets[i], 0, first * sizeof(unsigned long))
            memcpy(sets[i] + first, state.wanted[i] + first, words * sizeof(unsigned long))
    if timeout >= 0:
        if timeout > MAX_WAIT_US * <int64_t>NS_PER_US:
            timeout = MAX_WAIT_US * <int64_t>NS_PER_US
        # Rounded up: a timer must not fire early, nor the loop spin until it does.
        timeout = (timeout + NS_PER_US - 1) // NS_PER_US
        tv.tv_sec = timeout // 1000000
        tv.tv_usec = timeout % 1000000
    EVLOCK_UNLOCK(host.lock)
    ready = cyevent_select(nfds, sets[0], sets[1], &tv if timeout >= 0 else NULL)
    EVLOCK_LOCK(host.lock)
    if ready > 0:
        report(host, state, sets, first, words)
    return ready


cdef int select_dispatch(backend_host *host, void *backend, int64_t timeout) noexcept nogil:
    cdef select_state *state = <select_state *>backend
    cdef int words = (state.nfds + WORD - 1) // WORD
    cdef int i, ready
    cdef unsigned long *bits
    if state.words:
        for i in range(2):
            if state.result_words < state.words:
                bits = <unsigned long *>mm_realloc(state.result[i],
                                                   state.words * sizeof(unsigned long))
                if bits == NULL:
                    event_warn_(b"select: no memory for the result sets")
                    set_errno(ENOMEM)
                    return -1
                memset(bits, 0, state.words * sizeof(unsigned long))
                state.result[i] = bits
        state.result_words = state.words
    if state.sparse_turns and state.sparse_turns < TURNS_BETWEEN_FULL and host.npriorities == 1 \
            and state.last_word + WINDOW_WORDS < words:
        ready = ask(host, state, state.last_word, WINDOW_WORDS, 0)
        if ready > 0:
            state.sparse_turns += 1
            return 0
        if (state.nfds + WORD - 1) // WORD != words:
            # Others changed the sets while the lock was theirs.
            return 0
    ready = ask(host, state, 0, words, timeout)
    if ready < 0:
        if errno == EINTR:
            host.interrupted = True
            return 0
        if errno == EBADF:
            report_bad(host, state)
            return 0
        event_warn_(b"select")
        return -1
    state.sparse_turns = 1 if ready and ready * 16 < state.count[0] + state.count[1] else 0
    return 0


cdef void select_dealloc(backend_host *host, void *backend) noexcept nogil:
    cdef select_state *state = <select_state *>backend
    cdef int i
    for i in range(2):
        mm_free(state.wanted[i])
        mm_free(state.result[i])
    mm_free(state)


select_ops.name = b"select"
select_ops.init = select_init
select_ops.add = select_add
select_ops.delete = select_delete
select_ops.dispatch = select_dispatch
select_ops.dealloc = select_dealloc
select_ops.need_reinit = False
select_ops.features = EV_FEATURE_FDS
select_ops.fdinfo_len = 0
backend_register(&select_ops)
