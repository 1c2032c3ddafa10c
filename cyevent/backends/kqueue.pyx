"""kqueue(2), of macOS and the BSDs.

Facts about kqueue:

- A registration is a descriptor number together with a filter: reading and writing are two. Closing the
  descriptor removes both, whatever duplicates there are.
- One kevent() call takes any number of changes and then waits. A change that fails is an entry of the result
  with EV_ERROR, which has the change's udata but no longer its flags; when there is such an entry the call
  neither waits nor tells what is ready. Changes are made even when the wait is interrupted.
- EV_ADD for a registration that exists looks at the descriptor again, and gives it a new udata and new fflags;
  whether it takes EV_CLEAR on or off differs between systems.
- EV_EOF comes with EVFILT_READ as soon as the peer has closed, data or not, and with EVFILT_WRITE when nobody
  can read any more. What EVFILT_READ says of a regular file at its end is nothing, unless NOTE_EOF (OpenBSD,
  NetBSD) or NOTE_FILE_POLL (FreeBSD) ask for poll()'s answer; macOS has neither.
- Adding a pipe whose other end is closed fails: with EPIPE or EPERM, on NetBSD with EBADF. Deleting from a
  descriptor that was closed fails with EBADF, with ENOENT if its number is used again, on FreeBSD also with
  ENOTCAPABLE or EINVAL. macOS has devices without kqueue: adding them fails with EINVAL.
- EVFILT_SIGNAL counts the signals sent to the process, before and beside their handlers. On macOS one that is
  sent to a thread (raise(), pthread_kill()) is not counted.
- EVFILT_USER, which any thread may trigger, exists everywhere but on old OpenBSD and NetBSD.
- A forked child does not inherit a kqueue: the number is free there, and may soon be another file's.

What follows: changes are collected and go with the wait, so that a turn is one system call. udata tells an
addition, which somebody waits for, from a deletion, which nobody does: a deletion's failure says only that the
kernel has forgotten the descriptor, and an addition's is told to readers and writers, whose next system call
gives the reason; except where the descriptor is not there, or the kernel cannot say more than EINVAL, which
libevent passes over too. So a bad descriptor is no error of adding it. After failed changes a second call
waits. Where EV_CLEAR changes, the old registration is deleted first.

EV_CLOSED without EV_READ is a read filter that is told of each arrival once (EV_CLEAR), or else unread data
would end every wait; once the end has come it is added again each time it is told, since it stays true.

Each base with a kqueue that wants a signal gets it. Waits have nanoseconds. The kqueue is closed only by the
process that made it.
"""

from libc.errno cimport errno
from libc.limits cimport INT_MAX
from libc.stdint cimport int64_t, intptr_t, uint64_t, uintptr_t
from cyevent.backends.changes cimport (
    change, change_list, changes_done, free_changes, is_change, note_change,
)
from cyevent.backends.registry cimport backend_register
from cyevent.backends.room cimport make_room
from cyevent.backends.vtable cimport backend_host, event_op
from cyevent.core.clock cimport NS_PER_S
from cyevent.core.log cimport event_warn_, event_warn_fd_
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.sys cimport *
from cyevent.core.sys cimport timespec
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport *

cdef extern from *:
    """
    #include <sys/event.h>
    #define CYEVENT_KQUEUE "kqueue" CYEVENT_METHOD_SUFFIX
    #ifdef NOTE_EOF
      #define CYEVENT_NOTE_EOF NOTE_EOF
    #elif defined(NOTE_FILE_POLL)
      #define CYEVENT_NOTE_EOF NOTE_FILE_POLL
    #else
      #define CYEVENT_NOTE_EOF 0
    #endif
    #if defined(EVFILT_USER) && defined(NOTE_TRIGGER)
      #define CYEVENT_HAVE_USER 1
    #else
      #define CYEVENT_HAVE_USER 0
      #define EVFILT_USER 0
      #define NOTE_TRIGGER 0
    #endif
    /* The types of the fields differ between the systems. */
    static inline void cyevent_set(struct kevent *kev, uintptr_t ident, int filter, int flags,
                                   unsigned fflags, intptr_t tag) {
        EV_SET(kev, ident, filter, flags, fflags, 0, (__typeof__(kev->udata))tag);
    }
    static inline intptr_t cyevent_tag(const struct kevent *kev) { return (intptr_t)kev->udata; }
    """
    const char *CYEVENT_KQUEUE
    int EVFILT_READ, EVFILT_WRITE, EVFILT_SIGNAL, EVFILT_USER
    # Changes'; the names in quotes would be mistaken for those of events.
    int KQ_ADD "EV_ADD"
    int KQ_DELETE "EV_DELETE"
    int KQ_CLEAR "EV_CLEAR"
    int KQ_EOF "EV_EOF"
    int KQ_ERROR "EV_ERROR"
    unsigned NOTE_TRIGGER, CYEVENT_NOTE_EOF
    bint CYEVENT_HAVE_USER
    struct kevent_t "kevent":
        uintptr_t ident
        int filter
        int flags
        int64_t data
    int kqueue() noexcept nogil
    int kevent(int kq, const kevent_t *changes, int nchanges, kevent_t *events, int nevents,
               const timespec *timeout) noexcept nogil
    void cyevent_set(kevent_t *kev, uintptr_t ident, int filter, int flags, unsigned fflags,
                     intptr_t tag) noexcept nogil
    intptr_t cyevent_tag(const kevent_t *kev) noexcept nogil
    int getpid() noexcept nogil

cdef enum:
    FIRST_NEVENTS = 64
    MAX_NEVENTS = 4096
    CHANGES_PER_DESCRIPTOR = 4     # both filters deleted and added again
    NOTIFY_IDENT = 0
    MAX_WAIT_S = 35 * 60

cdef enum:
    # A registration's udata.
    TAG_NONE = 0                   # in a change: a deletion
    TAG_ADDED = 1
    TAG_CLOSED = 2                 # for EV_CLOSED alone, without EV_ET: added again once it has come

cdef struct kqueue_state:
    int kq
    int pid                        # of the process that made it
    change_list changes
    kevent_t *events               # the changes on the way in, what happened on the way out
    int nevents

cdef event_op kqueue_ops


cdef void *kqueue_init(backend_host *host) noexcept nogil:
    cdef kqueue_state *state
    cdef int kq = kqueue()
    if kq < 0:
        event_warn_(b"kqueue")
        return NULL
    fcntl(kq, F_SETFD, FD_CLOEXEC)
    state = <kqueue_state *>mm_calloc(1, sizeof(kqueue_state))
    if state == NULL:
        close(kq)
        return NULL
    state.kq = kq
    state.pid = getpid()
    state.events = <kevent_t *>mm_calloc(FIRST_NEVENTS, sizeof(kevent_t))
    state.nevents = FIRST_NEVENTS
    if state.events == NULL:
        kqueue_dealloc(host, state)
        return NULL
    return state


cdef int change_now(int kq, uintptr_t ident, int filter, int flags, unsigned fflags,
                    intptr_t tag) noexcept nogil:
    cdef kevent_t kev
    cdef timespec zero
    zero.tv_sec = zero.tv_nsec = 0
    cyevent_set(&kev, ident, filter, flags, fflags, tag)
    return kevent(kq, &kev, 1, NULL, 0, &zero)


# --- descriptors ------------------------------------------------------------------------------------

cdef int kqueue_add(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
                    uint64_t *fdinfo) noexcept nogil:
    # What is there already is there as it is asked for now: edges and levels are not mixed.
    return note_change(&(<kqueue_state *>backend).changes, fd, old | (events & EV_ET if old else 0),
                       old | events, True, fdinfo)


cdef inline intptr_t read_tag(short what) noexcept nogil:
    """The read filter's udata for what is wanted; TAG_NONE: there is no such filter."""
    if what & EV_READ or what & EV_CLOSED and what & EV_ET:
        return TAG_ADDED
    return TAG_CLOSED if what & EV_CLOSED else TAG_NONE


cdef inline intptr_t write_tag(short what) noexcept nogil:
    return TAG_ADDED if what & EV_WRITE else TAG_NONE


cdef int put_filter(kevent_t *out, const change *entry, int filter, unsigned fflags, intptr_t known,
                    intptr_t wanted) noexcept nogil:
    """Writes what turns one registration into another; returns how many changes that took."""
    cdef int n = 0
    cdef bint clear = wanted == TAG_CLOSED or entry.wanted & EV_ET
    cdef bint was_clear = known == TAG_CLOSED or entry.known & EV_ET
    if known and (not wanted or clear != was_clear):
        cyevent_set(&out[n], <uintptr_t>entry.fd, filter, KQ_DELETE, 0, TAG_NONE)
        n += 1
    if wanted and (entry.added or wanted != known or clear != was_clear):
        cyevent_set(&out[n], <uintptr_t>entry.fd, filter, KQ_ADD | (KQ_CLEAR if clear else 0), fflags,
                    wanted)
        n += 1
    return n


cdef inline int put_changes_of(kevent_t *out, const change *entry) noexcept nogil:
    cdef int n = put_filter(out, entry, EVFILT_READ, CYEVENT_NOTE_EOF, read_tag(entry.known),
                            read_tag(entry.wanted))
    return n + put_filter(out + n, entry, EVFILT_WRITE, 0, write_tag(entry.known), write_tag(entry.wanted))


cdef int kqueue_delete(backend_host *host, void *backend, evutil_socket_t fd, short old, short events,
                       uint64_t *fdinfo) noexcept nogil:
    cdef kqueue_state *state = <kqueue_state *>backend
    cdef short edge = events & EV_ET
    cdef short wanted = old & ~events
    cdef change now
    cdef timespec zero
    cdef kevent_t changes[CHANGES_PER_DESCRIPTOR]
    cdef int i, n
    now.fd = fd
    now.known = old | edge
    now.wanted = wanted | edge if wanted else 0
    now.added = False
    if note_change(&state.changes, fd, now.known, now.wanted, False, fdinfo) == 0:
        return 0
    # No memory to note it: done at once, or else the kernel would go on to tell it.
    zero.tv_sec = zero.tv_nsec = 0
    n = put_changes_of(changes, &now)
    for i in range(n):
        kevent(state.kq, &changes[i], 1, NULL, 0, &zero)
    return 0


cdef int put_changes(kqueue_state *state) noexcept nogil:
    """Writes the collected changes into the array; returns how many there are, or -1 without memory."""
    cdef const change *entry
    cdef int i, n = 0
    # Each may fail and need an entry of the result: there is room for as many.
    if not make_room(<void **>&state.events, &state.nevents, state.changes.n * CHANGES_PER_DESCRIPTOR,
                     sizeof(kevent_t)):
        set_errno(ENOMEM)
        return -1
    for i in range(state.changes.n):
        entry = &state.changes.entries[i]
        if is_change(entry):
            n += put_changes_of(&state.events[n], entry)
    changes_done(&state.changes)
    return n


# --- waiting ----------------------------------------------------------------------------------------

cdef bint report_error(backend_host *host, const kevent_t *kev) noexcept nogil:
    """Whether it was told to anybody."""
    cdef int error = <int>kev.data
    cdef int fd = <int>kev.ident
    if cyevent_tag(kev) == TAG_NONE or error == ENOENT or error == EINVAL:
        return False
    if error == EBADF and fcntl(fd, F_GETFD) < 0:
        return False
    if error != EPERM and error != EPIPE and error != EBADF:
        set_errno(error)
        event_warn_fd_(b"kevent: adding", fd)
    host.ready(host, fd, EV_READ | EV_WRITE)
    return True


cdef inline void report(backend_host *host, kqueue_state *state, const kevent_t *kev) noexcept nogil:
    cdef short what
    if kev.filter == EVFILT_READ:
        what = EV_READ | EV_ET
        if kev.flags & KQ_EOF:
            what |= EV_CLOSED
            if cyevent_tag(kev) == TAG_CLOSED:
                change_now(state.kq, kev.ident, EVFILT_READ, KQ_ADD | KQ_CLEAR, CYEVENT_NOTE_EOF,
                           TAG_CLOSED)
        host.ready(host, <int>kev.ident, what)
    elif kev.filter == EVFILT_WRITE:
        host.ready(host, <int>kev.ident, EV_WRITE | EV_ET)
    elif kev.filter == EVFILT_SIGNAL:
        host.signaled(host, <int>kev.ident, <int>kev.data if kev.data < INT_MAX else INT_MAX)
    elif CYEVENT_HAVE_USER and kev.filter == EVFILT_USER:
        host.notified(host)


cdef int wait(backend_host *host, kqueue_state *state, int nchanges, int64_t timeout) noexcept nogil:
    cdef timespec ts
    cdef int n
    if timeout >= 0:
        ts.tv_sec = timeout // NS_PER_S
        ts.tv_nsec = timeout % NS_PER_S
        if ts.tv_sec > MAX_WAIT_S:
            ts.tv_sec = MAX_WAIT_S
    EVLOCK_UNLOCK(host.lock)
    n = kevent(state.kq, state.events, nchanges, state.events, state.nevents,
               &ts if timeout >= 0 else NULL)
    EVLOCK_LOCK(host.lock)
    return n


cdef int kqueue_dispatch(backend_host *host, void *backend, int64_t timeout) noexcept nogil:
    cdef kqueue_state *state = <kqueue_state *>backend
    cdef int i, n
    n = put_changes(state)
    if n < 0:
        event_warn_(b"kqueue: no memory for the changes")
        return -1
    n = wait(host, state, n, timeout)
    if n > 0 and state.events[0].flags & KQ_ERROR:
        for i in range(n):
            if report_error(host, &state.events[i]):
                timeout = 0
        n = wait(host, state, 0, timeout)
    if n < 0:
        if errno == EINTR:
            host.interrupted = True
            return 0
        event_warn_(b"kevent")
        return -1
    for i in range(n):
        report(host, state, &state.events[i])
    if n == state.nevents and n < MAX_NEVENTS:
        # All room was used, so there may have been more. Without memory there is room for less.
        make_room(<void **>&state.events, &state.nevents, 2 * n, sizeof(kevent_t))
    return 0


cdef void kqueue_dealloc(backend_host *host, void *backend) noexcept nogil:
    cdef kqueue_state *state = <kqueue_state *>backend
    if state.pid == getpid():
        close(state.kq)
    mm_free(state.events)
    free_changes(&state.changes)
    mm_free(state)


# --- wake-ups and signals ---------------------------------------------------------------------------

cdef int kqueue_notify_init(backend_host *host, void *backend) noexcept nogil:
    if not CYEVENT_HAVE_USER:
        return -1
    return change_now((<kqueue_state *>backend).kq, NOTIFY_IDENT, EVFILT_USER, KQ_ADD | KQ_CLEAR, 0, TAG_NONE)


cdef int kqueue_notify(void *backend) noexcept nogil:
    return change_now((<kqueue_state *>backend).kq, NOTIFY_IDENT, EVFILT_USER, 0, NOTE_TRIGGER, TAG_NONE)


# At once rather than with the next wait: a signal may come before it.
cdef int kqueue_signal_add(backend_host *host, void *backend, int signum) noexcept nogil:
    return change_now((<kqueue_state *>backend).kq, signum, EVFILT_SIGNAL, KQ_ADD, 0, TAG_NONE)


cdef int kqueue_signal_delete(backend_host *host, void *backend, int signum) noexcept nogil:
    return change_now((<kqueue_state *>backend).kq, signum, EVFILT_SIGNAL, KQ_DELETE, 0, TAG_NONE)


kqueue_ops.name = CYEVENT_KQUEUE
kqueue_ops.init = kqueue_init
kqueue_ops.add = kqueue_add
kqueue_ops.delete = kqueue_delete
kqueue_ops.dispatch = kqueue_dispatch
kqueue_ops.dealloc = kqueue_dealloc
kqueue_ops.need_reinit = True
kqueue_ops.features = EV_FEATURE_ET | EV_FEATURE_O1 | EV_FEATURE_FDS | EV_FEATURE_EARLY_CLOSE
kqueue_ops.fdinfo_len = sizeof(uint64_t)
kqueue_ops.notify_init = kqueue_notify_init
kqueue_ops.notify = kqueue_notify
kqueue_ops.signal_name = b"kqueue_signal"
kqueue_ops.signal_add = kqueue_signal_add
kqueue_ops.signal_delete = kqueue_signal_delete
backend_register(&kqueue_ops)
