"""Connecting to a host by its name.

Facts: getaddrinfo() blocks, for seconds if a name server is silent, and cannot be interrupted. A base may be
made without a lock, and then nobody but its loop may touch it.

What follows: getaddrinfo() runs in a thread, of which there are a few at most, and all that the thread does to
the base is to write a byte to a socket that the base watches. A look-up belongs to the thread and to the
bufferevent, and goes with the second of them to let go: to cancel one is to let go of it. The loop may be about
to run a look-up's callback while another thread cancels it; then the bufferevent is held until the loop is past
that. In a forked child look-ups that were under way never end.
"""

from libc.stdio cimport snprintf
from libc.string cimport memcpy, memset, strlen
from cyevent.buffer.chain cimport ev_atomic_add, ev_atomic_load
from cyevent.bufferevent.bufferevent cimport *
from cyevent.bufferevent.socket cimport bufferevent_socket_connect
from cyevent.bufferevent.types cimport *
from cyevent.bufferevent.types cimport bufferevent_lookup, evdns_base
from cyevent.core.debug cimport debug_teardown_, EVENT_GONE_FREED_
from cyevent.core.event cimport event_add, event_assign, event_del_noblock
from cyevent.core.finalize cimport event_finalize
from cyevent.core.log cimport debugging_
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.queue cimport in_loop_thread
from cyevent.core.sys cimport *
from cyevent.core.types cimport *
from cyevent.core.types cimport event, event_base
from cyevent.net.sys cimport IPPROTO_TCP, addrinfo, freeaddrinfo, getaddrinfo

cdef extern from *:
    """
    #ifdef _WIN32
      #include <process.h>
      #ifndef EAI_SYSTEM
        #define EAI_SYSTEM -11
      #endif
      static SRWLOCK lookup_mutex = SRWLOCK_INIT;
      static void *(*lookup_run)(void *);
      static void lookup_lock(void) { AcquireSRWLockExclusive(&lookup_mutex); }
      static void lookup_unlock(void) { ReleaseSRWLockExclusive(&lookup_mutex); }
      static unsigned __stdcall lookup_begin(void *arg) { lookup_run(arg); return 0; }
      /* It is always the same function. */
      static int lookup_thread(void *(*run)(void *)) {
          uintptr_t thread;
          lookup_run = run;
          thread = _beginthreadex(NULL, 0, lookup_begin, NULL, 0, NULL);
          if (thread == 0)
              return -1;
          CloseHandle((HANDLE)thread);
          return 0;
      }
      static void lookup_at_fork(void (*child)(void)) { (void)child; }
    #else
      #include <pthread.h>
      #include <signal.h>
      static pthread_mutex_t lookup_mutex = PTHREAD_MUTEX_INITIALIZER;
      static void (*lookup_child)(void);
      static void lookup_lock(void) { pthread_mutex_lock(&lookup_mutex); }
      static void lookup_unlock(void) { pthread_mutex_unlock(&lookup_mutex); }
      static void lookup_forked(void) { pthread_mutex_unlock(&lookup_mutex); lookup_child(); }
      static void lookup_at_fork(void (*child)(void)) {
          lookup_child = child;
          pthread_atfork(lookup_lock, lookup_unlock, lookup_forked);
      }
      /* The program's signals are not for this thread. */
      static int lookup_thread(void *(*run)(void *)) {
          sigset_t all, old;
          pthread_t thread;
          pthread_attr_t attributes;
          int failed;
          if (pthread_attr_init(&attributes))
              return -1;
          pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
          sigfillset(&all);
          pthread_sigmask(SIG_SETMASK, &all, &old);
          failed = pthread_create(&thread, &attributes, run, NULL);
          pthread_sigmask(SIG_SETMASK, &old, NULL);
          pthread_attr_destroy(&attributes);
          return failed ? -1 : 0;
      }
    #endif
    """
    void lookup_lock() noexcept nogil
    void lookup_unlock() noexcept nogil
    void lookup_at_fork(void (*child)() noexcept nogil) noexcept nogil
    int lookup_thread(void *(*run)(void *) noexcept nogil) noexcept nogil
    int EAI_SYSTEM

cdef struct lookup:
    bufferevent_lookup head    # must be first
    lookup *next               # in the line of those that no thread has taken
    int refs                   # atomic: the thread's and the bufferevent's
    int cancelled              # atomic
    int waits                  # there is an event that a byte is awaited with
    bufferevent *bev           # referenced until it has heard of the outcome or cancels
    void *request              # a resolver's own; NULL for a thread's
    event ready
    evutil_socket_t fds[2]
    addrinfo hints
    addrinfo *found
    int result
    char service[8]
    char name[1]               # as long as it is

cdef lookup *first_in_line = NULL
cdef lookup *last_in_line = NULL
cdef int threads = 0
cdef lookup_resolver_ resolver
memset(&resolver, 0, sizeof(resolver))


cdef void bufferevent_set_resolver_(const lookup_resolver_ *other) noexcept nogil:
    resolver.start = other.start
    resolver.cancel = other.cancel
    resolver.free = other.free


cdef void forked() noexcept nogil:
    global threads, first_in_line, last_in_line
    threads = 0
    first_in_line = last_in_line = NULL


lookup_at_fork(forked)


cdef void let_go(lookup *self) noexcept nogil:
    if ev_atomic_add(&self.refs, -1) > 0:
        return
    if debugging_():
        debug_teardown_(&self.ready, EVENT_GONE_FREED_)
    if self.found != NULL:
        freeaddrinfo(self.found)
    if self.fds[0] >= 0:
        ev_close_wake_pair(self.fds)
    mm_free(self)


# --- the threads' side --------------------------------------------------------------------------------

cdef void *run(void *arg) noexcept nogil:
    global threads, first_in_line, last_in_line
    cdef lookup *self
    cdef char byte = 0
    while True:
        lookup_lock()
        self = first_in_line
        if self == NULL:
            threads -= 1
            lookup_unlock()
            return NULL
        first_in_line = self.next
        if first_in_line == NULL:
            last_in_line = NULL
        lookup_unlock()
        if not ev_atomic_load(&self.cancelled):
            self.result = getaddrinfo(self.name, self.service, &self.hints, &self.found)
            # The byte orders nothing but itself, as far as the language knows: answered() loads this first.
            ev_atomic_add(&self.cancelled, 0)
            write(self.fds[1], &byte, 1)
        let_go(self)


cdef int stand_in_line(lookup *self) noexcept nogil:
    global threads, first_in_line, last_in_line
    cdef int result = 0
    lookup_lock()
    if threads < MAX_LOOKUP_THREADS and lookup_thread(run) == 0:
        # It waits for the lock.
        threads += 1
    if threads == 0:
        result = -1
    else:
        if last_in_line != NULL:
            last_in_line.next = self
        else:
            first_in_line = self
        last_in_line = self
    lookup_unlock()
    return result


# --- the bufferevent's --------------------------------------------------------------------------------

cdef void finish(bufferevent *bev, int result, addrinfo *found) noexcept nogil:
    """The lock is held."""
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    p.dns_request = NULL
    p.dns_error = result
    bufferevent_unsuspend_write_(bev, BEV_SUSPEND_LOOKUP)
    bufferevent_unsuspend_read_(bev, BEV_SUSPEND_LOOKUP)
    if result != 0:
        if result != EAI_SYSTEM:
            set_errno(0)
        bufferevent_run_eventcb_(bev, BEV_EVENT_ERROR, 0)
    elif bufferevent_socket_connect(bev, found.ai_addr, <int>found.ai_addrlen) < 0:
        bufferevent_run_eventcb_(bev, BEV_EVENT_ERROR, 0)


cdef void answered(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    cdef lookup *self = <lookup *>arg
    cdef bufferevent *bev = self.bev
    bufferevent_lock_in_loop_(bev)
    if ev_atomic_load(&self.cancelled):
        # Who cancelled it left the rest to given_up().
        BEV_UNLOCK(bev)
        return
    finish(bev, self.result, self.found)
    bufferevent_decref_and_unlock_(bev)
    let_go(self)


cdef void given_up(event *ev, void *arg) noexcept nogil:
    cdef lookup *self = <lookup *>arg
    bufferevent_decref(self.bev)
    let_go(self)


cdef void resolved(int result, addrinfo *found, void *arg) noexcept nogil:
    """From a resolver."""
    cdef lookup *self = <lookup *>arg
    cdef bufferevent *bev = self.bev
    BEV_LOCK(bev)
    if not self.cancelled:
        finish(bev, result, found)
    bufferevent_decref_and_unlock_(bev)
    if found != NULL:
        resolver.free(found)
    let_go(self)


cdef void cancel(bufferevent *bev) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef lookup *self = <lookup *>p.dns_request
    cdef event_base *base = bev.ev_base
    p.dns_request = NULL
    ev_atomic_add(&self.cancelled, 1)
    if not self.waits:
        if self.request != NULL:
            resolver.cancel(self.request)
        return
    if base.running_loop and not base.closed and not in_loop_thread(base):
        event_finalize(0, &self.ready, given_up)
        return
    event_del_noblock(&self.ready)
    # Whoever calls this holds another one.
    p.refcnt -= 1
    let_go(self)


cdef lookup *lookup_new(bufferevent *bev, const addrinfo *hints, const char *name, int port) noexcept nogil:
    cdef size_t n = strlen(name)
    cdef lookup *self = <lookup *>mm_calloc(1, sizeof(lookup) + n)
    if self == NULL:
        return NULL
    self.refs = 1
    self.head.cancel = cancel
    self.fds[0] = self.fds[1] = -1
    self.bev = bev
    self.hints.ai_flags = hints.ai_flags
    self.hints.ai_family = hints.ai_family
    self.hints.ai_socktype = hints.ai_socktype
    self.hints.ai_protocol = hints.ai_protocol
    memcpy(self.name, name, n)
    snprintf(self.service, sizeof(self.service), "%d", port)
    return self


cdef int ask_thread(lookup *self) noexcept nogil:
    """Blocks for lack of threads rather than failing."""
    cdef char byte = 0
    if ev_wake_pair(self.fds) < 0:
        return -1
    event_assign(&self.ready, self.bev.ev_base, self.fds[0], EV_READ, answered, self)
    if event_add(&self.ready, NULL) < 0:
        return -1
    self.waits = True
    ev_atomic_add(&self.refs, 1)
    if stand_in_line(self) < 0:
        self.result = getaddrinfo(self.name, self.service, &self.hints, &self.found)
        write(self.fds[1], &byte, 1)
        let_go(self)
    return 0


cdef int bufferevent_socket_connect_hostname_hints(bufferevent *bev, evdns_base *dns,
                                                   const addrinfo *hints, const char *hostname,
                                                   int port) noexcept nogil:
    cdef bufferevent_private *p = BEV_UPCAST(bev)
    cdef lookup *self
    cdef void *request
    cdef int result = 0
    if (hints.ai_family != AF_INET and hints.ai_family != AF_INET6 and hints.ai_family != AF_UNSPEC) \
            or port < 1 or port > 65535:
        set_errno(EINVAL)
        return -1
    BEV_LOCK(bev)
    if p.dns_request != NULL or bev.ev_base == NULL:
        set_errno(EALREADY if p.dns_request != NULL else EINVAL)
        BEV_UNLOCK(bev)
        return -1
    self = lookup_new(bev, hints, hostname, port)
    if self == NULL:
        BEV_UNLOCK(bev)
        return -1
    p.dns_error = 0
    p.refcnt += 1
    p.dns_request = &self.head
    bufferevent_suspend_write_(bev, BEV_SUSPEND_LOOKUP)
    bufferevent_suspend_read_(bev, BEV_SUSPEND_LOOKUP)
    if dns != NULL and resolver.start != NULL:
        ev_atomic_add(&self.refs, 1)
        request = resolver.start(dns, self.name, self.service, &self.hints, resolved, self)
        self.request = request
        let_go(self)
    elif ask_thread(self) < 0:
        result = -1
        p.dns_request = NULL
        p.refcnt -= 1
        bufferevent_unsuspend_write_(bev, BEV_SUSPEND_LOOKUP)
        bufferevent_unsuspend_read_(bev, BEV_SUSPEND_LOOKUP)
        let_go(self)
    BEV_UNLOCK(bev)
    return result


cdef int bufferevent_socket_connect_hostname(bufferevent *bev, evdns_base *dns, int family,
                                             const char *hostname, int port) noexcept nogil:
    cdef addrinfo hints
    memset(&hints, 0, sizeof(hints))
    hints.ai_family = family
    hints.ai_socktype = SOCK_STREAM
    hints.ai_protocol = IPPROTO_TCP
    return bufferevent_socket_connect_hostname_hints(bev, dns, &hints, hostname, port)


cdef int bufferevent_socket_get_dns_error(bufferevent *bev) noexcept nogil:
    cdef int code
    BEV_LOCK(bev)
    code = BEV_UPCAST(bev).dns_error
    BEV_UNLOCK(bev)
    return code
