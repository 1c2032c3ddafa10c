"""Who waits for the kernel's notifications.

An epoll instance, with an edge for each duplicate and no event but the error, hears of notifications and of
nothing else (zerocopy.pyx). That of a base is a descriptor that becomes readable, whatever the base's backend;
that of the thread is what the thread sleeps in. Each second the thread also looks after bases whose loop
does not run, and resets connections whose time is over. It ends when a second has passed without anything owed.
"""

from libc.stdint cimport int64_t, uint64_t
from cyevent.buffer.zerosockets cimport *
from cyevent.buffer.zerosockets cimport zerocopy_base, zerocopy_socket
from cyevent.core.clock cimport NS_PER_MS, monotonic_ns
from cyevent.core.debug cimport debug_teardown_, EVENT_GONE_FREED_
from cyevent.core.event cimport event_add, event_assign
from cyevent.core.finalize cimport event_finalize
from cyevent.core.log cimport debugging_
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.sys cimport close, evutil_socket_t
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.types cimport EV_PERSIST, EV_READ, EVLIST_INSERTED, EVLIST_INTERNAL, event, event_base

cdef extern from *:
    """
    #if defined(__linux__)
      #include <sys/epoll.h>
      /* The program's signals are not for this thread. */
      static int zerocopy_thread(void *(*run)(void *)) {
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
      static int zerocopy_epoll(void) {
          int epfd = epoll_create1(EPOLL_CLOEXEC);
          /* It never waits for a read, but debug mode asks. */
          if (epfd >= 0) fcntl(epfd, F_SETFL, O_NONBLOCK);
          return epfd;
      }
      /* In a forked child: an instance of its own under the same number. */
      static void zerocopy_renew(int epfd) {
          int fresh = epoll_create1(EPOLL_CLOEXEC);
          if (fresh >= 0) { dup3(fresh, epfd, O_CLOEXEC); close(fresh); }
      }
      static int zerocopy_watch(int epfd, int fd, uint64_t cookie) {
          struct epoll_event wanted;
          wanted.events = EPOLLET;        /* and EPOLLERR, which cannot be left out */
          wanted.data.u64 = cookie;
          return epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &wanted);
      }
      static void zerocopy_unwatch(int epfd, int fd) {
          struct epoll_event ignored;
          epoll_ctl(epfd, EPOLL_CTL_DEL, fd, &ignored);
      }
      static int zerocopy_wait(int epfd, uint64_t *cookies, int n, int timeout) {
          struct epoll_event events[64];
          int i;
          n = epoll_wait(epfd, events, n < 64 ? n : 64, timeout);
          for (i = 0; i < n; i++) cookies[i] = events[i].data.u64;
          return n < 0 && errno == EINTR ? 0 : n;
      }
    #else
      static int zerocopy_thread(void *(*run)(void *)) { (void)run; return -1; }
      static int zerocopy_epoll(void) { return -1; }
      static void zerocopy_renew(int epfd) { (void)epfd; }
      static int zerocopy_watch(int epfd, int fd, uint64_t cookie) {
          (void)epfd; (void)fd; (void)cookie; return -1;
      }
      static void zerocopy_unwatch(int epfd, int fd) { (void)epfd; (void)fd; }
      static int zerocopy_wait(int epfd, uint64_t *cookies, int n, int timeout) {
          (void)epfd; (void)cookies; (void)n; (void)timeout; return -1;
      }
    #endif
    """
    int zerocopy_thread(void *(*run)(void *) noexcept nogil) noexcept nogil
    int zerocopy_epoll() noexcept nogil
    void zerocopy_renew(int epfd) noexcept nogil
    int zerocopy_watch(int epfd, int fd, uint64_t cookie) noexcept nogil
    void zerocopy_unwatch(int epfd, int fd) noexcept nogil
    int zerocopy_wait(int epfd, uint64_t *cookies, int n, int timeout) noexcept nogil

cdef enum:
    SOCKETS_AT_ONCE = 64
    TICK_MS = 1000

cdef zerocopy_base *bases = NULL
cdef int thread_epfd = -1
cdef bint thread_runs = False


cdef int look(int epfd, int timeout) noexcept nogil:
    """Takes the notifications of the sockets that an epoll instance watches. How many had some; -1."""
    cdef uint64_t cookies[SOCKETS_AT_ONCE]
    cdef int i
    cdef int n = zerocopy_wait(epfd, cookies, SOCKETS_AT_ONCE, timeout)
    for i in range(n):
        zerocopy_look_(cookies[i])
    return n


cdef void zerocopy_unwatch_(zerocopy_socket *socket) noexcept nogil:
    if socket.epfd >= 0:
        zerocopy_unwatch(socket.epfd, socket.fd)
    socket.epfd = -1


cdef bint zerocopy_watch_(zerocopy_socket *socket) noexcept nogil:
    # For a base the thread is there in case that the loop does not run.
    cdef bint has_thread = start_thread()
    if socket.base != NULL and zerocopy_watch(socket.base.epfd, socket.fd, socket.cookie) == 0:
        socket.epfd = socket.base.epfd
        return True
    if not has_thread or zerocopy_watch(thread_epfd, socket.fd, socket.cookie) < 0:
        return False
    socket.epfd = thread_epfd
    return True


# --- the thread -----------------------------------------------------------------------------------------

cdef void *run(void *arg) noexcept nogil:
    global thread_runs
    cdef int64_t last = 0
    cdef int64_t now
    cdef int n
    cdef bint ends = False
    while not ends:
        n = look(thread_epfd, TICK_MS)
        now = monotonic_ns()
        if n <= 0 or now - last >= TICK_MS * <int64_t>NS_PER_MS:
            last = now
            zerocopy_tick_(now)
        if n <= 0:
            zerocopy_lock_()
            ends = zerocopy_owing_nolock_() == 0 or n < 0
            thread_runs = not ends
            zerocopy_unlock_()
    return NULL


cdef bint start_thread() noexcept nogil:
    """The lock is held."""
    global thread_epfd, thread_runs
    if thread_epfd < 0:
        thread_epfd = zerocopy_epoll()
    if not thread_runs and thread_epfd >= 0:
        thread_runs = zerocopy_thread(run) == 0
    return thread_runs


# --- bases ----------------------------------------------------------------------------------------------

cdef void base_ready(evutil_socket_t fd, short what, void *arg) noexcept nogil:
    look(fd, 0)


cdef void free_base(event *ev, void *arg) noexcept nogil:
    cdef zerocopy_base *self = <zerocopy_base *>arg
    if debugging_():
        debug_teardown_(ev, EVENT_GONE_FREED_)
    close(self.epfd)
    mm_free(self)


cdef void zerocopy_end_base_(zerocopy_base *self) noexcept nogil:
    """Without the lock."""
    cdef bint closed
    if self == NULL:
        return
    EVLOCK_LOCK(self.base.lock)
    closed = self.base.closed
    EVLOCK_UNLOCK(self.base.lock)
    if closed:
        free_base(&self.ready, self)
    else:
        # The loop may be looking.
        event_finalize(0, &self.ready, free_base)


cdef zerocopy_base *find_base(event_base *base) noexcept nogil:
    """The lock is held."""
    cdef zerocopy_base *self = bases
    # One whose event is gone is that of a base that was freed before its bufferevents.
    while self != NULL and not (self.base == base and self.ready.evcb.flags & EVLIST_INSERTED):
        self = self.next
    return self


cdef zerocopy_base *make_base(event_base *base) noexcept nogil:
    """Without the lock. NULL when something is lacking; the thread does it, then."""
    cdef zerocopy_base *self = <zerocopy_base *>mm_calloc(1, sizeof(zerocopy_base))
    if self == NULL:
        return NULL
    self.base = base
    self.epfd = zerocopy_epoll()
    if self.epfd < 0:
        mm_free(self)
        return NULL
    event_assign(&self.ready, base, self.epfd, EV_READ | EV_PERSIST, base_ready, self)
    # The loop does not go on for its sake, and looks before it calls a bufferevent that has nothing to read.
    self.ready.evcb.flags |= EVLIST_INTERNAL
    self.ready.evcb.priority = 0
    if event_add(&self.ready, NULL) < 0:
        free_base(&self.ready, self)
        return NULL
    return self


cdef void zerocopy_join_base_(zerocopy_socket *socket, event_base *base) noexcept nogil:
    """The socket is a bufferevent's."""
    global bases
    cdef zerocopy_base *fresh = NULL
    cdef zerocopy_base *self
    zerocopy_lock_()
    self = find_base(base)
    if self == NULL:
        zerocopy_unlock_()
        fresh = make_base(base)
        zerocopy_lock_()
        self = find_base(base)
        if self == NULL and fresh != NULL:
            self = fresh
            fresh = NULL
            self.next = bases
            bases = self
    if self != NULL and socket.base == NULL:
        socket.base = self
        self.users += 1
    zerocopy_unlock_()
    zerocopy_end_base_(fresh)


cdef bint zerocopy_base_is_idle_(const zerocopy_base *self) noexcept nogil:
    return not self.ready.evcb.flags & EVLIST_INSERTED or not self.base.running_loop


cdef zerocopy_base *zerocopy_leave_base_(zerocopy_socket *socket) noexcept nogil:
    """What the socket owes is the thread's from now on. The base that has no other socket. The lock is held."""
    global bases
    cdef zerocopy_base *self = socket.base
    cdef zerocopy_base **slot = &bases
    socket.base = NULL
    if socket.fd >= 0 and socket.epfd == self.epfd:
        zerocopy_unwatch_(socket)
        # Without a thread the memory stays until somebody sends over the socket again.
        zerocopy_watch_(socket)
    self.users -= 1
    if self.users:
        return NULL
    while slot[0] != self:
        slot = &slot[0].next
    slot[0] = self.next
    return self


# --- after a fork ---------------------------------------------------------------------------------------

cdef void zerocopy_wait_forked_() noexcept nogil:
    global thread_epfd, thread_runs
    cdef zerocopy_base *self = bases
    # The instances are shared with the parent, whose registrations they hold.
    while self != NULL:
        zerocopy_renew(self.epfd)
        self = self.next
    if thread_epfd >= 0:
        close(thread_epfd)
    thread_epfd = -1
    thread_runs = False
