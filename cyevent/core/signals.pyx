"""Signal delivery.

Facts: a signal handler may do next to nothing (signal-safety(7)); a write() of one byte is allowed. A
handler is one per process and signal, while there may be many bases. A forked child shares the parent's
pipe. sigaction() replaces what others had installed.

What follows: the handler looks its signal up in a table of descriptors, one per signal number, and writes
the number there; each base has a socket pair whose other end is an internal event. Two bases can so wait
for different signals; of two that wait for the same, the one whose loop was entered last gets it, and when
it loses interest another. What was installed before is saved by the first base that waits for a signal and
put back by the last, whatever their order. The tables are the process's and have a lock of their own.

A backend that is told of signals by the kernel (event_op.signal_add) needs no pipe; the handler is installed
all the same, and does nothing then. Ignoring the signal, as libevent does there,
would be inherited by the programs
that a child executes, and children whose parent ignores SIGCHLD leave no status.

With EVENT_BASE_FLAG_USE_SIGNALFD the signals are blocked and read from a signalfd(2) instead: no handler
runs at all, but the block belongs to the thread that adds the event, and a child inherits it.
"""

from libc.errno cimport errno
from libc.stdint cimport uint32_t
from libc.string cimport memset
from cyevent.core.debug cimport event_debug_unassign
from cyevent.core.event cimport event_add_nolock_, event_assign, event_del_nolock_
from cyevent.core.fdmap cimport evmap_signal_active_
from cyevent.core.sys cimport *
from cyevent.core.sys cimport sigaction_t
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK, evthread_global_lock_
from cyevent.core.types cimport *
from cyevent.backends.vtable cimport backend_host, event_op

cdef extern from *:
    """
    #ifdef __linux__
      #include <sys/signalfd.h>
      #define CYEVENT_HAVE_SIGNALFD 1
      static inline void cyevent_drop_pending(const ev_sigset_t *set) {
          const struct timespec at_once = {0, 0};
          while (sigtimedwait(set, NULL, &at_once) > 0)
              ;
      }
    #else
      #define CYEVENT_HAVE_SIGNALFD 0
      #define SFD_NONBLOCK 0
      #define SFD_CLOEXEC 0
      struct signalfd_siginfo { uint32_t ssi_signo; };
      static inline int signalfd(int fd, const ev_sigset_t *mask, int flags) {
          (void)fd; (void)mask; (void)flags;
          errno = ENOSYS;
          return -1;
      }
      static inline void cyevent_drop_pending(const ev_sigset_t *set) { (void)set; }
    #endif
    #define CYEVENT_MAX_SIGNAL 128
    static volatile int cyevent_signal_fd[CYEVENT_MAX_SIGNAL];
    static volatile int cyevent_handlers;
    #if defined(__GNUC__) || defined(__clang__)
      static inline int cyevent_signal_fd_get(int n) {
          return __atomic_load_n(&cyevent_signal_fd[n], __ATOMIC_SEQ_CST) - 1;
      }
      static inline void cyevent_signal_fd_set(int n, int fd) {
          __atomic_store_n(&cyevent_signal_fd[n], fd + 1, __ATOMIC_SEQ_CST);
      }
      static inline void cyevent_handlers_add(int n) {
          __atomic_add_fetch(&cyevent_handlers, n, __ATOMIC_SEQ_CST);
      }
      static inline int cyevent_handlers_get(void) {
          return __atomic_load_n(&cyevent_handlers, __ATOMIC_SEQ_CST);
      }
    #else
      static inline int cyevent_signal_fd_get(int n) { return cyevent_signal_fd[n] - 1; }
      static inline void cyevent_signal_fd_set(int n, int fd) { cyevent_signal_fd[n] = fd + 1; }
      static inline void cyevent_handlers_add(int n) { cyevent_handlers += n; }
      static inline int cyevent_handlers_get(void) { return cyevent_handlers; }
    #endif
    """
    int CYEVENT_HAVE_SIGNALFD
    int CYEVENT_MAX_SIGNAL
    int SFD_NONBLOCK, SFD_CLOEXEC
    struct signalfd_siginfo:
        uint32_t ssi_signo
    int signalfd(int fd, const sigset_t *mask, int flags) noexcept nogil
    void cyevent_drop_pending(const sigset_t *signals) noexcept nogil
    # The descriptor that a signal's handler writes to, -1 for none. The handler reads it, so it is
    # volatile, which Cython cannot say.
    int cyevent_signal_fd_get(int signum) noexcept nogil
    void cyevent_signal_fd_set(int signum, int fd) noexcept nogil
    # How many handlers run now, in all threads: one may hold a descriptor that is no longer set.
    void cyevent_handlers_add(int n) noexcept nogil
    int cyevent_handlers_get() noexcept nogil

cdef enum:
    PATIENCE = 1000

cdef event_op selfpipe_ops
cdef event_op signalfd_ops
cdef event_op queued_ops

# The process's: which bases wait for signals, and what their handler replaced.
cdef event_base *bases
cdef sigaction_t saved_actions[128]
cdef void *tables_lock = NULL


cdef void handle_signal(int signum) noexcept nogil:
    cdef int saved = errno
    cdef unsigned char byte = <unsigned char>signum
    cdef int fd
    cyevent_handlers_add(1)
    ev_handle_again(signum, handle_signal)
    fd = cyevent_signal_fd_get(signum)
    if fd >= 0:
        # A full pipe has the signal in it already, or plenty to wake for.
        send(fd, &byte, 1, MSG_NOSIGNAL)
    cyevent_handlers_add(-1)
    set_errno(saved)


cdef void wait_for_handlers() noexcept nogil:
    """Lets the handlers end that may be about to write to a descriptor whose number is soon another's."""
    cdef int _i
    # Not for ever: in a forked child the count may stand for threads that are not there.
    for _i in range(PATIENCE):
        if cyevent_handlers_get() == 0:
            break
        sched_yield()


# --- the self-pipe ----------------------------------------------------------------------------------

cdef void pipe_readable(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef event_base *base = <event_base *>arg
    cdef unsigned char bytes[1024]
    cdef int caught[128]
    cdef ssize_t n
    cdef int i
    memset(caught, 0, sizeof(caught))
    while True:
        n = recv(fd, bytes, sizeof(bytes), 0)
        if n < 0 and errno == EINTR:
            continue
        if n <= 0:
            break
        for i in range(<int>n):
            if bytes[i] < 128:
                caught[bytes[i]] += 1
        if n < <ssize_t>sizeof(bytes):
            break
    EVLOCK_LOCK(base.lock)
    for i in range(1, NSIG):
        if caught[i]:
            evmap_signal_active_(base, i, caught[i])
    EVLOCK_UNLOCK(base.lock)


cdef int open_pipe(event_base *base) noexcept nogil:
    if ev_wake_pair(base.sig.fds) < 0:
        return -1
    return watch(base, pipe_readable)


cdef int watch(event_base *base, void (*readable)(evutil_socket_t, short, void *) noexcept nogil) \
        noexcept nogil:
    event_assign(&base.sig.pipe_event, base, base.sig.fds[0], EV_READ | EV_PERSIST, readable, base)
    base.sig.pipe_event.evcb.flags |= EVLIST_INTERNAL
    base.sig.pipe_event.evcb.priority = 0
    if event_add_nolock_(&base.sig.pipe_event, -1, False, 0) < 0:
        close_descriptors(base)
        return -1
    base.sig.pipe_added = True
    return 0


cdef void close_descriptors(event_base *base) noexcept nogil:
    if base.sig.pipe_added:
        event_del_nolock_(&base.sig.pipe_event, EVENT_DEL_NOBLOCK)
        event_debug_unassign(&base.sig.pipe_event)
        base.sig.pipe_added = False
    wait_for_handlers()
    ev_close_wake_pair(base.sig.fds)


cdef inline bint is_active(event_base *base, int signum) noexcept nogil:
    return (base.sig.active[signum >> 6] >> (signum & 63) & 1) != 0


cdef void set_active(event_base *base, int signum, bint active) noexcept nogil:
    """Notes the interest, and keeps the list of the bases that have any."""
    cdef uint64_t bit = <uint64_t>1 << (signum & 63)
    cdef bint had = (base.sig.active[0] | base.sig.active[1]) != 0
    cdef bint has
    global bases
    if active:
        base.sig.active[signum >> 6] |= bit
    else:
        base.sig.active[signum >> 6] &= ~bit
    has = (base.sig.active[0] | base.sig.active[1]) != 0
    if has and not had:
        base.sig.prev_base = NULL
        base.sig.next_base = bases
        if bases != NULL:
            bases.sig.prev_base = base
        bases = base
    elif had and not has:
        if base.sig.prev_base != NULL:
            base.sig.prev_base.sig.next_base = base.sig.next_base
        else:
            bases = base.sig.next_base
        if base.sig.next_base != NULL:
            base.sig.next_base.sig.prev_base = base.sig.prev_base


cdef event_base *other_base(int signum, bint with_pipe) noexcept nogil:
    cdef event_base *base = bases
    while base != NULL and not (is_active(base, signum) and (base.sig.fds[1] >= 0 or not with_pipe)):
        base = base.sig.next_base
    return base


cdef int take(event_base *base, int signum) noexcept nogil:
    """Makes the handler ours, for the base's pipe if it has one; without a pipe nothing is written."""
    cdef sigaction_t action
    cdef int result = 0
    if signum >= CYEVENT_MAX_SIGNAL:
        set_errno(EINVAL)
        return -1
    EVLOCK_LOCK(tables_lock)
    if other_base(signum, False) == NULL:
        memset(&action, 0, sizeof(action))
        action.sa_handler = handle_signal
        action.sa_flags = SA_RESTART
        sigfillset(&action.sa_mask)
        # The descriptor first: the signal may come at once.
        cyevent_signal_fd_set(signum, base.sig.fds[1])
        result = sigaction(signum, &action, &saved_actions[signum])
        if result < 0:
            cyevent_signal_fd_set(signum, -1)
    if result == 0:
        if base.sig.fds[1] >= 0:
            cyevent_signal_fd_set(signum, base.sig.fds[1])
        set_active(base, signum, True)
        base.sig.count += 1
    EVLOCK_UNLOCK(tables_lock)
    return result


cdef int give_back(event_base *base, int signum) noexcept nogil:
    cdef event_base *other
    cdef int result = 0
    EVLOCK_LOCK(tables_lock)
    set_active(base, signum, False)
    base.sig.count -= 1
    if other_base(signum, False) == NULL:
        result = sigaction(signum, &saved_actions[signum], NULL)
        cyevent_signal_fd_set(signum, -1)
    elif cyevent_signal_fd_get(signum) == base.sig.fds[1]:
        other = other_base(signum, True)
        cyevent_signal_fd_set(signum, other.sig.fds[1] if other != NULL else -1)
    EVLOCK_UNLOCK(tables_lock)
    return result


cdef int selfpipe_add(backend_host *host, void *backend, evutil_socket_t signum, short before,
                      short events, uint64_t *fdinfo) noexcept nogil:
    cdef event_base *base = <event_base *>host
    if signum < CYEVENT_MAX_SIGNAL and base.sig.fds[0] < 0 and open_pipe(base) < 0:
        return -1
    return take(base, signum)


cdef int selfpipe_delete(backend_host *host, void *backend, evutil_socket_t signum, short before,
                         short events, uint64_t *fdinfo) noexcept nogil:
    return give_back(<event_base *>host, signum)


# --- the backend's own ------------------------------------------------------------------------------

cdef int queued_add(backend_host *host, void *backend, evutil_socket_t signum, short before,
                    short events, uint64_t *fdinfo) noexcept nogil:
    cdef event_base *base = <event_base *>host
    if take(base, signum) < 0:
        return -1
    if base.ops.signal_add(host, backend, signum) < 0:
        give_back(base, signum)
        return -1
    return 0


cdef int queued_delete(backend_host *host, void *backend, evutil_socket_t signum, short before,
                       short events, uint64_t *fdinfo) noexcept nogil:
    cdef event_base *base = <event_base *>host
    cdef int result = base.ops.signal_delete(host, backend, signum)
    if give_back(base, signum) < 0:
        result = -1
    return result


# --- signalfd ---------------------------------------------------------------------------------------

cdef void signalfd_readable(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef event_base *base = <event_base *>arg
    cdef signalfd_siginfo infos[16]
    cdef ssize_t n
    cdef int i
    while True:
        n = read(fd, infos, sizeof(infos))
        if n < <ssize_t>sizeof(signalfd_siginfo):
            break
        EVLOCK_LOCK(base.lock)
        for i in range(<int>(n // <ssize_t>sizeof(signalfd_siginfo))):
            evmap_signal_active_(base, infos[i].ssi_signo, 1)
        EVLOCK_UNLOCK(base.lock)


cdef int signalfd_add(backend_host *host, void *backend, evutil_socket_t signum, short before,
                      short events, uint64_t *fdinfo) noexcept nogil:
    cdef event_base *base = <event_base *>host
    cdef sigset_t one
    cdef int fd
    sigemptyset(&one)
    if sigaddset(&one, signum) < 0:
        return -1
    if base.sig.count == 0 and base.sig.fds[0] < 0:
        sigemptyset(&base.sig.mask)
    sigaddset(&base.sig.mask, signum)
    fd = signalfd(base.sig.fds[0], &base.sig.mask, SFD_NONBLOCK | SFD_CLOEXEC)
    if fd < 0:
        sigdelset(&base.sig.mask, signum)
        return -1
    if base.sig.fds[0] < 0:
        base.sig.fds[0] = fd
        if watch(base, signalfd_readable) < 0:
            return -1
    if pthread_sigmask(SIG_BLOCK, &one, NULL) != 0:
        return -1
    base.sig.count += 1
    return 0


cdef int signalfd_delete(backend_host *host, void *backend, evutil_socket_t signum, short before,
                         short events, uint64_t *fdinfo) noexcept nogil:
    cdef event_base *base = <event_base *>host
    cdef sigset_t one
    sigdelset(&base.sig.mask, signum)
    base.sig.count -= 1
    sigemptyset(&one)
    sigaddset(&one, signum)
    # One that came for the event, and that no loop has read, would now do what it does without: end the
    # process, perhaps.
    cyevent_drop_pending(&one)
    pthread_sigmask(SIG_UNBLOCK, &one, NULL)
    if base.sig.fds[0] >= 0 and signalfd(base.sig.fds[0], &base.sig.mask, SFD_NONBLOCK) < 0:
        return -1
    return 0


# --- life -------------------------------------------------------------------------------------------

cdef int evsig_init_(event_base *base) noexcept nogil:
    base.sig.fds[0] = base.sig.fds[1] = -1
    if base.flags & EVENT_BASE_FLAG_USE_SIGNALFD and CYEVENT_HAVE_SIGNALFD:
        base.sigops = &signalfd_ops
    elif base.ops.signal_add != NULL:
        base.sigops = &queued_ops
    else:
        base.sigops = &selfpipe_ops
    return 0


cdef const char *evsig_method_(event_base *base) noexcept nogil:
    return base.ops.signal_name if base.sigops == &queued_ops else base.sigops.name


cdef void evsig_claim_(event_base *base) noexcept nogil:
    cdef int signum
    if base.sigops != &selfpipe_ops:
        return
    EVLOCK_LOCK(tables_lock)
    for signum in range(1, base.nsignals):
        if is_active(base, signum):
            cyevent_signal_fd_set(signum, base.sig.fds[1])
    EVLOCK_UNLOCK(tables_lock)


cdef void evsig_dealloc_(event_base *base) noexcept nogil:
    cdef int signum
    for signum in range(1, base.nsignals):
        if base.signals[signum].first != NULL:
            base.sigops.delete(&base.host, base.backend, signum, 0, EV_SIGNAL, NULL)
            base.signals[signum].first = NULL
    close_descriptors(base)


cdef void evsig_leave_(event_base *base) noexcept nogil:
    # A signalfd's mask is the open file's, so the parent's, too.
    if base.sigops == &signalfd_ops:
        close_descriptors(base)


cdef int evsig_reinit_(event_base *base) noexcept nogil:
    cdef int signum
    # The descriptors are shared with the parent: a byte written here would wake it. The handlers stay.
    close_descriptors(base)
    if base.sigops == &selfpipe_ops:
        if open_pipe(base) < 0:
            return -1
        evsig_claim_(base)
        return 0
    if base.sigops == &queued_ops:
        # The new backend knows of none yet.
        for signum in range(1, base.nsignals):
            if is_active(base, signum) and base.ops.signal_add(&base.host, base.backend, signum) < 0:
                return -1
        return 0
    base.sig.count = 0
    for signum in range(1, base.nsignals):
        if base.signals[signum].first != NULL \
                and signalfd_add(&base.host, NULL, signum, 0, EV_SIGNAL, NULL) < 0:
            return -1
    return 0


evthread_global_lock_(&tables_lock)
selfpipe_ops.name = b"signal"
selfpipe_ops.add = selfpipe_add
selfpipe_ops.delete = selfpipe_delete
signalfd_ops.name = b"signalfd_signal"
signalfd_ops.add = signalfd_add
signalfd_ops.delete = signalfd_delete
queued_ops.add = queued_add
queued_ops.delete = queued_delete
