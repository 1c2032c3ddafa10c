"""Debug mode and debug messages.

The table's key is an event's address. What was freed stays in it for a while as a grave, so that its use
can be reported with where it was made; the oldest graves go first. Nothing in a report about such an event
is read from its memory, which may be another's by now.
"""

from libc.errno cimport errno
from libc.stdint cimport uintptr_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, memset
from cyevent.core.log cimport *
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.sys cimport *
from cyevent.core.threads cimport (
    EVLOCK_LOCK, EVLOCK_UNLOCK, evthread_global_lock_, evthread_set_strict_,
)
from cyevent.core.types cimport *
from cyevent.core.types cimport event

cdef extern from *:
    """
    #ifndef _WIN32
      #include <dlfcn.h>
    #endif
    #if defined(__GLIBC__) || defined(__APPLE__) || defined(__FreeBSD__)
      #include <execinfo.h>
    #else
      #define backtrace(frames, n) 0
    #endif
    /* "function+0x1f (library)" as far as the dynamic symbols tell. */
    static int cyevent_symbol(const void *address, char *text, size_t size) {
    #ifdef _WIN32
        return snprintf(text, size, "%p", address);
    #else
        Dl_info info;
        if (!dladdr(address, &info) || !info.dli_fname)
            return snprintf(text, size, "%p", address);
        const char *name = strrchr(info.dli_fname, '/');
        name = name ? name + 1 : info.dli_fname;
        if (info.dli_sname)
            return snprintf(text, size, "%s+0x%lx (%s)", info.dli_sname,
                            (unsigned long)((const char *)address - (const char *)info.dli_saddr), name);
        return snprintf(text, size, "%s+0x%lx", name,
                        (unsigned long)((const char *)address - (const char *)info.dli_fbase));
    #endif
    }
    """
    int backtrace(void **frames, int n) noexcept nogil
    int cyevent_symbol(const void *address, char *text, size_t size) noexcept nogil

cdef enum:
    EV_IO = 0x86               # EV_READ | EV_WRITE | EV_CLOSED
    MESSAGE_SIZE = 1024
    ORIGIN_SIZE = 200
    FRAMES = 7
    OWN_FRAMES = 3             # backtrace()'s callers within this library that every event has
    FIRST_BUCKETS = 256
    MAX_GRAVES = 4096

cdef struct debug_entry:
    debug_entry *next          # of the bucket
    debug_entry *later         # the next younger grave
    debug_entry *earlier
    const event *ev
    int gone                   # EVENT_GONE_*; 0 while it is set up
    bint added
    evutil_socket_t fd
    short events
    event_callback_fn callback
    void *frames[FRAMES]
    int nframes
    char origin[ORIGIN_SIZE]   # from a language binding; empty if it knows nothing

cdef debug_entry **buckets = NULL
cdef size_t nbuckets = 0
cdef size_t nentries = 0
cdef debug_entry *oldest = NULL
cdef debug_entry *youngest = NULL
cdef int ngraves = 0
# Memory ran out for an entry: from then on an unknown event may be a good one.
cdef bint incomplete = False
cdef event_origin_fn origin_of = NULL
cdef void *table_lock = NULL


# --- the table, with its lock held ------------------------------------------------------------------

cdef inline size_t bucket_of(const event *ev) noexcept nogil:
    # The low bits are equal by alignment.
    return ((<uintptr_t>ev >> 4) * <uintptr_t>0x9e3779b1 >> 7) & (nbuckets - 1)


cdef debug_entry *find(const event *ev) noexcept nogil:
    cdef debug_entry *entry
    if nbuckets == 0:
        return NULL
    entry = buckets[bucket_of(ev)]
    while entry != NULL and entry.ev != ev:
        entry = entry.next
    return entry


cdef int grow() noexcept nogil:
    global buckets, nbuckets
    cdef size_t i, n = nbuckets * 2 if nbuckets else FIRST_BUCKETS
    cdef size_t before = nbuckets
    cdef debug_entry **old = buckets
    cdef debug_entry **fresh = <debug_entry **>mm_calloc(n, sizeof(debug_entry *))
    cdef debug_entry *entry
    if fresh == NULL:
        return -1 if old == NULL else 0
    buckets = fresh
    nbuckets = n
    for i in range(before):
        while old[i] != NULL:
            entry = old[i]
            old[i] = entry.next
            entry.next = fresh[bucket_of(entry.ev)]
            fresh[bucket_of(entry.ev)] = entry
    mm_free(old)
    return 0


cdef void leave_grave(debug_entry *entry) noexcept nogil:
    global oldest, youngest, ngraves
    if entry.earlier != NULL:
        entry.earlier.later = entry.later
    else:
        oldest = entry.later
    if entry.later != NULL:
        entry.later.earlier = entry.earlier
    else:
        youngest = entry.earlier
    entry.earlier = entry.later = NULL
    ngraves -= 1


cdef void remove(debug_entry *entry) noexcept nogil:
    global nentries
    cdef debug_entry **place = &buckets[bucket_of(entry.ev)]
    while place[0] != entry:
        place = &place[0].next
    place[0] = entry.next
    nentries -= 1
    mm_free(entry)


cdef void bury(debug_entry *entry, int why) noexcept nogil:
    global oldest, youngest, ngraves
    cdef debug_entry *first
    if entry.gone:
        entry.gone = why
        return
    entry.gone = why
    entry.added = False
    entry.earlier = youngest
    entry.later = NULL
    if youngest != NULL:
        youngest.later = entry
    else:
        oldest = entry
    youngest = entry
    ngraves += 1
    if ngraves > MAX_GRAVES:
        first = oldest
        leave_grave(first)
        remove(first)


cdef debug_entry *enter(const event *ev) noexcept nogil:
    global nentries
    cdef debug_entry *entry = find(ev)
    if entry != NULL:
        if entry.gone:
            leave_grave(entry)
        entry.gone = 0
        return entry
    if nentries >= nbuckets and grow() < 0:
        return NULL
    entry = <debug_entry *>mm_calloc(1, sizeof(debug_entry))
    if entry == NULL:
        return NULL
    entry.ev = ev
    entry.next = buckets[bucket_of(ev)]
    buckets[bucket_of(ev)] = entry
    nentries += 1
    return entry


# --- reports ----------------------------------------------------------------------------------------

cdef inline int room(int used) noexcept nogil:
    return MESSAGE_SIZE - used if used < MESSAGE_SIZE else 0


cdef int describe(char *text, int used, const debug_entry *entry, const event *ev) noexcept nogil:
    """Appends what is known of an event; entry may be NULL."""
    cdef int i
    if entry == NULL:
        used += snprintf(text + used, room(used), b" %p (events: 0x%x, fd: %d, flags: 0x%x)", <void *>ev,
                         <unsigned><unsigned short>ev.events, <int>ev.fd, <unsigned>ev.evcb.flags)
        return used if used < MESSAGE_SIZE else MESSAGE_SIZE - 1
    used += snprintf(text + used, room(used), b" %p (events: 0x%x, fd: %d", <void *>entry.ev,
                     <unsigned><unsigned short>entry.events, <int>entry.fd)
    if used < MESSAGE_SIZE and not entry.gone:
        used += snprintf(text + used, room(used), b", flags: 0x%x", <unsigned>ev.evcb.flags)
    if used < MESSAGE_SIZE:
        used += snprintf(text + used, room(used), b"), callback ")
    if used < MESSAGE_SIZE:
        used += cyevent_symbol(<const void *>entry.callback, text + used, room(used))
    if used < MESSAGE_SIZE and entry.origin[0]:
        # The frames of the library and the interpreter would add nothing.
        used += snprintf(text + used, room(used), b", made at %s", entry.origin)
        return used if used < MESSAGE_SIZE else MESSAGE_SIZE - 1
    for i in range(OWN_FRAMES if entry.nframes > OWN_FRAMES else 0, entry.nframes):
        if used < MESSAGE_SIZE:
            used += snprintf(text + used, room(used), b"%s",
                             <const char *>(b", made by " if i == OWN_FRAMES or i == 0 else b" < "))
        if used < MESSAGE_SIZE:
            used += cyevent_symbol(entry.frames[i], text + used, room(used))
    return used if used < MESSAGE_SIZE else MESSAGE_SIZE - 1


cdef void fail(const char *function, const char *problem, const debug_entry *entry,
               const event *ev) noexcept nogil:
    cdef char text[MESSAGE_SIZE]
    cdef int used = snprintf(text, MESSAGE_SIZE, b"%s %s", function, problem)
    describe(text, used, entry, ev)
    EVLOCK_UNLOCK(table_lock)
    event_errx_(text)


cdef bint fit(const event *ev, const char *function) noexcept nogil:
    """Whether ev is set up, with the lock held; if not, the end."""
    cdef debug_entry *entry = find(ev)
    if entry == NULL:
        if not incomplete:
            fail(function, b"called on a non-initialized event", NULL, ev)
        return False
    if entry.gone == EVENT_GONE_UNASSIGNED_:
        fail(function, b"called on an event that was unassigned:", entry, ev)
    elif entry.gone == EVENT_GONE_FREED_:
        fail(function, b"called on an event that was freed:", entry, ev)
    elif entry.gone == EVENT_GONE_FINALIZED_:
        fail(function, b"called on an event that was finalized:", entry, ev)
    return entry.gone == 0


# --- debug mode -------------------------------------------------------------------------------------

cdef inline bint checking() noexcept nogil:
    return (ev_load_int(&event_debug_flags_) & EVENT_DEBUG_CHECK_) != 0


cdef inline bint logging() noexcept nogil:
    return (ev_load_int(&event_debug_flags_) & EVENT_DEBUG_LOG_) != 0


cdef int event_debug_enable_() noexcept nogil:
    cdef int flags = ev_load_int(&event_debug_flags_)
    if flags & EVENT_DEBUG_CHECK_:
        return EVENT_DEBUG_ON_ALREADY_
    if not flags & EVENT_DEBUG_OPEN_:
        return EVENT_DEBUG_TOO_LATE_
    if table_lock == NULL:
        evthread_global_lock_(&table_lock)
    evthread_set_strict_(True)
    ev_set_bits(&event_debug_flags_, EVENT_DEBUG_CHECK_)
    ev_clear_bits(&event_debug_flags_, EVENT_DEBUG_OPEN_)
    return 0


cdef void event_enable_debug_mode() noexcept nogil:
    cdef int result = event_debug_enable_()
    if result == EVENT_DEBUG_ON_ALREADY_:
        event_exit_(1, b"event_enable_debug_mode was called twice!")
    elif result == EVENT_DEBUG_TOO_LATE_:
        event_exit_(1, b"event_enable_debug_mode must be called *before* creating any events or event_bases")


cdef void event_debug_disable_() noexcept nogil:
    global buckets, nbuckets, nentries, oldest, youngest, ngraves, incomplete
    cdef size_t i
    cdef debug_entry *entry
    ev_clear_bits(&event_debug_flags_, EVENT_DEBUG_CHECK_)
    ev_set_bits(&event_debug_flags_, EVENT_DEBUG_OPEN_)
    evthread_set_strict_(False)
    EVLOCK_LOCK(table_lock)
    for i in range(nbuckets):
        while buckets[i] != NULL:
            entry = buckets[i]
            buckets[i] = entry.next
            mm_free(entry)
    mm_free(buckets)
    buckets = NULL
    oldest = youngest = NULL
    nbuckets = nentries = 0
    ngraves = 0
    incomplete = False
    EVLOCK_UNLOCK(table_lock)


cdef int event_debug_count_() noexcept nogil:
    cdef int n
    EVLOCK_LOCK(table_lock)
    n = <int>nentries - ngraves
    EVLOCK_UNLOCK(table_lock)
    return n


cdef void event_debug_set_origin_(event_origin_fn fn) noexcept nogil:
    global origin_of
    origin_of = fn


cdef void event_debug_unassign(event *ev) noexcept nogil:
    cdef debug_entry *entry
    if debugging_() and checking():
        EVLOCK_LOCK(table_lock)
        entry = find(ev)
        if entry != NULL and entry.added:
            fail(b"event_debug_unassign", b"called on an already added event", entry, ev)
        if entry != NULL:
            bury(entry, EVENT_GONE_UNASSIGNED_)
        EVLOCK_UNLOCK(table_lock)
    ev.evcb.flags &= ~EVLIST_INIT


cdef void debug_base_() noexcept nogil:
    ev_clear_bits(&event_debug_flags_, EVENT_DEBUG_OPEN_)


cdef void check_descriptor(const event *ev, evutil_socket_t fd, short events,
                           event_callback_fn callback) noexcept nogil:
    cdef debug_entry about
    if fd < 0 or events & EV_SIGNAL or not ev_is_blocking(fd):
        return
    memset(&about, 0, sizeof(about))
    about.ev = ev
    about.fd = fd
    about.events = events
    about.callback = callback
    about.gone = EVENT_GONE_UNASSIGNED_
    note_origin(&about)
    EVLOCK_LOCK(table_lock)
    fail(b"event_assign", b"called for a blocking descriptor:", &about, ev)


cdef void note_origin(debug_entry *entry) noexcept nogil:
    entry.origin[0] = 0
    if origin_of == NULL or not origin_of(entry.origin, ORIGIN_SIZE):
        entry.origin[0] = 0
    entry.nframes = backtrace(entry.frames, FRAMES)


cdef void debug_assign_(const event *ev, evutil_socket_t fd, short events,
                        event_callback_fn callback) noexcept nogil:
    global incomplete
    cdef debug_entry *entry
    cdef debug_entry made
    cdef int saved = errno
    debug_base_()
    if not checking():
        return
    check_descriptor(ev, fd, events, callback)
    # Not with the lock held: it may enter an interpreter.
    note_origin(&made)
    EVLOCK_LOCK(table_lock)
    entry = find(ev)
    if entry != NULL and entry.added:
        fail(b"event_assign", b"called on an already added event", entry, ev)
    entry = enter(ev)
    if entry == NULL:
        incomplete = True
        EVLOCK_UNLOCK(table_lock)
        event_warnx_(b"debug mode: no memory to note an event; unknown events are no longer reported")
        set_errno(saved)
        return
    entry.added = False
    entry.fd = fd
    entry.events = events
    entry.callback = callback
    memcpy(entry.origin, made.origin, sizeof(made.origin))
    memcpy(entry.frames, made.frames, sizeof(made.frames))
    entry.nframes = made.nframes
    EVLOCK_UNLOCK(table_lock)
    set_errno(saved)


cdef void debug_use_(const event *ev, const char *function) noexcept nogil:
    if not checking():
        return
    EVLOCK_LOCK(table_lock)
    fit(ev, function)
    EVLOCK_UNLOCK(table_lock)


cdef void note_added(const event *ev, const char *function, bint added) noexcept nogil:
    EVLOCK_LOCK(table_lock)
    if fit(ev, function):
        find(ev).added = added
    EVLOCK_UNLOCK(table_lock)


cdef void debug_added_(const event *ev) noexcept nogil:
    if checking():
        note_added(ev, b"event_add", True)


cdef void debug_delete_(const event *ev) noexcept nogil:
    cdef debug_entry *entry
    cdef bint finalized
    if checking():
        EVLOCK_LOCK(table_lock)
        entry = find(ev)
        # A finalized event may be deleted, and freed: its memory is still the user's.
        finalized = entry != NULL and entry.gone == EVENT_GONE_FINALIZED_
        EVLOCK_UNLOCK(table_lock)
        if finalized:
            return
        note_added(ev, b"event_del", False)
    log_event(b"event_del", ev, -1)


cdef void debug_last_use_(const event *ev, const char *function) noexcept nogil:
    """Before a function reads anything that a finalized event, too, may be passed to."""
    cdef debug_entry *entry
    if not checking():
        return
    EVLOCK_LOCK(table_lock)
    entry = find(ev)
    if entry == NULL or entry.gone != EVENT_GONE_FINALIZED_:
        fit(ev, function)
    EVLOCK_UNLOCK(table_lock)


cdef void debug_teardown_(const event *ev, int why) noexcept nogil:
    cdef debug_entry *entry
    if not checking():
        return
    EVLOCK_LOCK(table_lock)
    entry = find(ev)
    if entry != NULL:
        bury(entry, why)
    EVLOCK_UNLOCK(table_lock)


cdef void debug_mixed_(const event *there, const event *ev) noexcept nogil:
    cdef char text[MESSAGE_SIZE]
    cdef int used
    if not checking():
        return
    EVLOCK_LOCK(table_lock)
    used = snprintf(text, MESSAGE_SIZE, b"event_add: edge- and level-triggered: event")
    used = describe(text, used, find(ev), ev)
    used += snprintf(text + used, room(used), b"; there is event")
    if used < MESSAGE_SIZE:
        describe(text, used, find(there), there)
    EVLOCK_UNLOCK(table_lock)
    event_warnx_(text)


# --- debug messages ---------------------------------------------------------------------------------

cdef void log_event(const char *function, const event *ev, int res) noexcept nogil:
    cdef char text[MESSAGE_SIZE]
    if not logging():
        return
    if res < 0:
        snprintf(text, MESSAGE_SIZE, b"%s: %p (fd %d), callback %p", function, <void *>ev, <int>ev.fd,
                 <void *>ev.evcb.cb.callback)
    else:
        snprintf(text, MESSAGE_SIZE, b"%s: %p (fd %d), res %d, callback %p", function, <void *>ev, <int>ev.fd,
                 res, <void *>ev.evcb.cb.callback)
    event_debugx_(text)


cdef inline const char *when(short events, short bit, const char *name) noexcept nogil:
    if events & bit:
        return name
    return b""


cdef void debug_add_(const event *ev, int64_t timeout) noexcept nogil:
    cdef char text[MESSAGE_SIZE]
    debug_use_(ev, b"event_add")
    if not logging():
        return
    snprintf(text, MESSAGE_SIZE, b"event_add: event: %p (fd %d), %s%s%s%scall %p", <void *>ev, <int>ev.fd,
             when(ev.events, EV_READ, b"EV_READ "), when(ev.events, EV_WRITE, b"EV_WRITE "),
             when(ev.events, EV_CLOSED, b"EV_CLOSED "),
             <const char *>(b"EV_TIMEOUT " if timeout >= 0 else b""), <void *>ev.evcb.cb.callback)
    event_debugx_(text)


cdef void debug_active_(const event *ev, int what) noexcept nogil:
    debug_use_(ev, b"event_active")
    log_event(b"event_active", ev, what & 0xff)


cdef void debug_run_(const event *ev) noexcept nogil:
    log_event(b"event_process_active: event", ev, ev.res & 0xff)


cdef void debug_wait_(const event_base *base, int64_t timeout) noexcept nogil:
    cdef char text[MESSAGE_SIZE]
    if not logging():
        return
    if timeout < 0:
        snprintf(text, MESSAGE_SIZE, b"event_base_loop: %p: %s waits", <void *>base, base.host.name)
    else:
        snprintf(text, MESSAGE_SIZE, b"event_base_loop: %p: %s waits at most %lld ns", <void *>base,
                 base.host.name, <long long>timeout)
    event_debugx_(text)


cdef void debug_backend_(const event_base *base, const char *what, evutil_socket_t fd, short before,
                         short events) noexcept nogil:
    cdef char text[MESSAGE_SIZE]
    if not logging():
        return
    snprintf(text, MESSAGE_SIZE, b"%s: %s fd %d, events 0x%x (there were 0x%x)", base.host.name, what,
             <int>fd, <unsigned>(events & 0xff), <unsigned>(before & 0xff))
    event_debugx_(text)
