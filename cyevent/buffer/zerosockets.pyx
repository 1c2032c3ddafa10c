"""The sockets over which the kernel sends from our memory, and what they owe.

zerocopy.pyx has the facts and the decisions. One lock guards all that is here: it is held for moments, never
while anything is sent or collected, and nothing is called back with it held. A call is noted before it is made,
so that a notification finds it; while it is under way, another thread's call on the same socket copies.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from cyevent.buffer.chain cimport evbuffer_chain_free_
from cyevent.buffer.evbuffer cimport evbuffer_seldom_
from cyevent.buffer.types cimport *
from cyevent.buffer.types cimport evbuffer_zerocopy_stats
from cyevent.buffer.zerocopy cimport *
from cyevent.buffer.zerowait cimport *
from cyevent.core.clock cimport NS_PER_S, monotonic_ns
from cyevent.core.memory cimport mm_calloc, mm_free
from cyevent.core.shutdown cimport event_at_shutdown_
from cyevent.core.sys cimport close, ev_load_int, ev_store_int, evutil_socket_t
from cyevent.core.types cimport event_base

cdef extern from *:
    """
    #if defined(__linux__)
      #include <netinet/in.h>
      #ifndef SO_COOKIE
        #define SO_COOKIE 57
      #endif
      #ifndef SO_ZEROCOPY
        #define SO_ZEROCOPY 60
      #endif
      static pthread_mutex_t zerocopy_mutex = PTHREAD_MUTEX_INITIALIZER;
      static void (*zerocopy_child)(void);
      static void zerocopy_lock(void) { pthread_mutex_lock(&zerocopy_mutex); }
      static void zerocopy_unlock(void) { pthread_mutex_unlock(&zerocopy_mutex); }
      static void zerocopy_forked(void) { zerocopy_child(); zerocopy_unlock(); }
      static void zerocopy_at_fork(void (*child)(void)) {
          zerocopy_child = child;
          pthread_atfork(zerocopy_lock, zerocopy_unlock, zerocopy_forked);
      }
      static int zerocopy_cookie(int fd, uint64_t *cookie) {
          socklen_t n = sizeof(*cookie);
          return getsockopt(fd, SOL_SOCKET, SO_COOKIE, cookie, &n);
      }
      /* A TCP socket on which nobody has sent in this way. */
      static int zerocopy_allow(int fd) {
          int value = 0, one = 1;
          socklen_t n = sizeof(value);
          if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &value, &n) < 0 || value != IPPROTO_TCP)
              return -1;
          n = sizeof(value);
          if (getsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &value, &n) < 0 || value)
              return -1;
          return setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one));
      }
      static int zerocopy_duplicate(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 0); }
      static void zerocopy_reset(int fd) {
          struct sockaddr nobody = {0};
          nobody.sa_family = AF_UNSPEC;
          (void)!connect(fd, &nobody, sizeof(nobody));
      }
    #else
      static void zerocopy_lock(void) {}
      static void zerocopy_unlock(void) {}
      static void zerocopy_at_fork(void (*child)(void)) { (void)child; }
      static int zerocopy_cookie(evutil_socket_t fd, uint64_t *cookie) { (void)fd; (void)cookie; return -1; }
      static int zerocopy_allow(evutil_socket_t fd) { (void)fd; return -1; }
      static int zerocopy_duplicate(evutil_socket_t fd) { (void)fd; return -1; }
      static void zerocopy_reset(int fd) { (void)fd; }
    #endif
    """
    void zerocopy_lock() noexcept nogil
    void zerocopy_unlock() noexcept nogil
    void zerocopy_at_fork(void (*child)() noexcept nogil) noexcept nogil
    int zerocopy_cookie(evutil_socket_t fd, uint64_t *cookie) noexcept nogil
    int zerocopy_allow(evutil_socket_t fd) noexcept nogil
    int zerocopy_duplicate(evutil_socket_t fd) noexcept nogil
    void zerocopy_reset(int fd) noexcept nogil

cdef enum:
    BUCKETS = 256
    IDLE_MOST = 1024           # sockets that are remembered with nothing under way
    LOOKS_AT_ONCE = 256

cdef zerocopy_socket *buckets[BUCKETS]
cdef zerocopy_socket *newest_idle = NULL
cdef zerocopy_socket *oldest_idle = NULL
cdef int idle = 0
cdef int owing = 0             # sockets that owe notifications
cdef int has_forked = False    # into this process, and what the parent had has not been given back yet
cdef int most_owing = EVBUFFER_ZEROCOPY_SOCKETS
cdef int64_t linger_ns = EVBUFFER_ZEROCOPY_LINGER * <int64_t>NS_PER_S


cdef void zerocopy_lock_() noexcept nogil:
    zerocopy_lock()


cdef void zerocopy_unlock_() noexcept nogil:
    zerocopy_unlock()


# --- the table; the lock is held ------------------------------------------------------------------------

cdef inline zerocopy_socket **bucket_of(uint64_t cookie) noexcept nogil:
    return &buckets[cookie % BUCKETS]


cdef zerocopy_socket *find(uint64_t cookie) noexcept nogil:
    cdef zerocopy_socket *socket = bucket_of(cookie)[0]
    while socket != NULL and socket.cookie != cookie:
        socket = socket.next
    return socket


cdef inline bint is_unused(const zerocopy_socket *socket) noexcept nogil:
    return socket.users == 0 and socket.pins == 0 and socket.first == NULL


cdef void leave_idle(zerocopy_socket *socket) noexcept nogil:
    global idle, newest_idle, oldest_idle
    if socket.newer != NULL:
        socket.newer.older = socket.older
    else:
        newest_idle = socket.older
    if socket.older != NULL:
        socket.older.newer = socket.newer
    else:
        oldest_idle = socket.newer
    socket.newer = socket.older = NULL
    idle -= 1


cdef void forget_oldest() noexcept nogil:
    cdef zerocopy_socket *socket = oldest_idle
    cdef zerocopy_socket **slot = bucket_of(socket.cookie)
    leave_idle(socket)
    while slot[0] != socket:
        slot = &slot[0].next
    slot[0] = socket.next
    mm_free(socket)


cdef void join_idle(zerocopy_socket *socket) noexcept nogil:
    global idle, newest_idle, oldest_idle
    socket.older = newest_idle
    if newest_idle != NULL:
        newest_idle.newer = socket
    else:
        oldest_idle = socket
    newest_idle = socket
    idle += 1
    if idle > IDLE_MOST:
        forget_oldest()


cdef void zerocopy_forget_() noexcept nogil:
    zerocopy_lock()
    while oldest_idle != NULL:
        forget_oldest()
    zerocopy_unlock()


event_at_shutdown_(zerocopy_forget_)


# --- what is owed ---------------------------------------------------------------------------------------

cdef void settle(zerocopy_socket *socket) noexcept nogil:
    """After anything that may have been the last of it. The lock is held."""
    global owing
    if socket.fd >= 0 and socket.first == NULL and socket.pins == 0:
        zerocopy_unwatch_(socket)
        close(socket.fd)
        socket.fd = -1
        socket.deadline = 0
        owing -= 1
    if is_unused(socket):
        join_idle(socket)


cdef zerocopy_entry *take(zerocopy_socket *socket, uint32_t first, uint32_t last) noexcept nogil:
    """The entries of a range of calls, which leave the socket's list. The lock is held."""
    cdef zerocopy_entry **slot = &socket.first
    cdef zerocopy_entry *entry
    cdef zerocopy_entry *before = NULL
    cdef zerocopy_entry *taken = NULL
    cdef zerocopy_entry **end = &taken
    while slot[0] != NULL:
        entry = slot[0]
        if not zerocopy_in_range(entry.number, first, last):
            before = entry
            slot = &entry.next
            continue
        slot[0] = entry.next
        if socket.last == entry:
            socket.last = before
        entry.next = NULL
        end[0] = entry
        end = &entry.next
        if entry.number == last:
            break
    return taken


cdef void zerocopy_give_back_(zerocopy_entry *entry) noexcept nogil:
    cdef zerocopy_entry *following
    cdef int i
    while entry != NULL:
        following = entry.next
        for i in range(entry.n):
            evbuffer_chain_free_(entry.chains[i])
        mm_free(entry)
        entry = following


cdef void zerocopy_done_(zerocopy_socket *socket, uint32_t first, uint32_t last, bint copied) noexcept nogil:
    cdef zerocopy_entry *done
    cdef zerocopy_entry *entry
    zerocopy_lock()
    done = entry = take(socket, first, last)
    while entry != NULL:
        socket.stats.done += 1
        socket.stats.copied += copied
        entry = entry.next
    zerocopy_unlock()
    zerocopy_give_back_(done)


cdef void zerocopy_look_(uint64_t cookie) noexcept nogil:
    cdef zerocopy_socket *socket
    zerocopy_lock()
    socket = find(cookie)
    if socket == NULL or socket.fd < 0:
        zerocopy_unlock()
        return
    socket.pins += 1
    zerocopy_unlock()
    zerocopy_collect_(socket, socket.fd)
    zerocopy_lock()
    socket.pins -= 1
    settle(socket)
    zerocopy_unlock()


cdef void zerocopy_tick_(int64_t now) noexcept nogil:
    cdef uint64_t cookies[LOOKS_AT_ONCE]
    cdef zerocopy_socket *socket
    cdef int i
    cdef int n = 0
    zerocopy_lock()
    for i in range(BUCKETS):
        socket = buckets[i]
        while socket != NULL:
            if socket.deadline and socket.deadline <= now:
                socket.deadline = 0
                zerocopy_reset(socket.fd)
            if n < LOOKS_AT_ONCE and socket.fd >= 0 and socket.base != NULL \
                    and zerocopy_base_is_idle_(socket.base):
                cookies[n] = socket.cookie
                n += 1
            socket = socket.next
    zerocopy_unlock()
    for i in range(n):
        zerocopy_look_(cookies[i])


# --- buffers --------------------------------------------------------------------------------------------

cdef inline event_base *base_of(const evbuffer *buf) noexcept nogil:
    """Of a bufferevent's buffer; NULL of another one."""
    return buf.cb_queue if buf.parent != NULL else NULL


cdef zerocopy_socket *join(uint64_t cookie, evutil_socket_t fd) noexcept nogil:
    cdef zerocopy_socket *socket
    zerocopy_lock()
    socket = find(cookie)
    if socket != NULL:
        if is_unused(socket):
            leave_idle(socket)
        socket.users += 1
    else:
        socket = <zerocopy_socket *>mm_calloc(1, sizeof(zerocopy_socket))
        if socket != NULL:
            socket.cookie = cookie
            socket.fd = socket.epfd = -1
            socket.users = 1
            socket.refused = zerocopy_allow(fd) < 0
            socket.next = bucket_of(cookie)[0]
            bucket_of(cookie)[0] = socket
    zerocopy_unlock()
    return socket


cdef zerocopy_socket *zerocopy_join_(evbuffer *buf, evutil_socket_t fd) noexcept nogil:
    cdef zerocopy_socket *socket = <zerocopy_socket *>zerocopy_of(buf)
    cdef uint64_t cookie = 0
    if ev_load_int(&has_forked):
        give_back_copies()
    if zerocopy_cookie(fd, &cookie) < 0:
        return NULL
    if socket != NULL:
        if socket.cookie == cookie:
            return socket
        evbuffer_zerocopy_leave_(buf)
    if evbuffer_seldom_(buf) == NULL:
        return NULL
    socket = join(cookie, fd)
    if socket != NULL:
        buf.seldom.zerocopy = socket
        if base_of(buf) != NULL and not socket.refused:
            zerocopy_join_base_(socket, base_of(buf))
    return socket


cdef void evbuffer_zerocopy_leave_(evbuffer *buf) noexcept nogil:
    cdef zerocopy_socket *socket = <zerocopy_socket *>zerocopy_of(buf)
    cdef zerocopy_base *unused = NULL
    buf.seldom.zerocopy = NULL
    zerocopy_lock()
    if base_of(buf) != NULL and socket.base != NULL:
        unused = zerocopy_leave_base_(socket)
    socket.users -= 1
    settle(socket)
    zerocopy_unlock()
    zerocopy_end_base_(unused)


cdef void evbuffer_zerocopy_closing_(evbuffer *buf) noexcept nogil:
    cdef zerocopy_socket *socket = <zerocopy_socket *>zerocopy_of(buf)
    zerocopy_lock()
    if socket.fd >= 0:
        socket.deadline = monotonic_ns() + linger_ns
    zerocopy_unlock()


cdef bint zerocopy_begin_(zerocopy_socket *socket, evutil_socket_t fd, zerocopy_entry *entry) noexcept nogil:
    global owing
    cdef bint watched = False
    zerocopy_lock()
    if not socket.sending and not socket.refused:
        if socket.fd < 0 and owing < most_owing:
            socket.fd = zerocopy_duplicate(fd)
            owing += socket.fd >= 0
        if socket.fd >= 0:
            watched = socket.epfd >= 0 or zerocopy_watch_(socket)
    if watched:
        socket.sending = True
        entry.number = socket.number
        if socket.first == NULL:
            socket.first = entry
        else:
            socket.last.next = entry
        socket.last = entry
    else:
        settle(socket)
    zerocopy_unlock()
    return watched


cdef void zerocopy_finish_(zerocopy_socket *socket, bint sent, bint no_room) noexcept nogil:
    cdef zerocopy_entry *failed = NULL
    zerocopy_lock()
    socket.sending = False
    socket.stats.refused += no_room
    if sent:
        socket.number += 1
        socket.stats.sent += 1
    else:
        # It was not counted, and nobody is notified of it.
        failed = take(socket, socket.number, socket.number)
    settle(socket)
    zerocopy_unlock()
    zerocopy_give_back_(failed)


cdef void zerocopy_refuse_(zerocopy_socket *socket) noexcept nogil:
    zerocopy_lock()
    socket.refused = True
    zerocopy_unlock()


cdef void zerocopy_stats_(zerocopy_socket *socket, evbuffer_zerocopy_stats *stats) noexcept nogil:
    zerocopy_lock()
    stats[0] = socket.stats
    zerocopy_unlock()


cdef int zerocopy_owing_nolock_() noexcept nogil:
    return owing


cdef int zerocopy_owing_() noexcept nogil:
    cdef int result
    zerocopy_lock()
    result = owing
    zerocopy_unlock()
    return result


cdef void zerocopy_limit_(int sockets, int64_t linger) noexcept nogil:
    global most_owing, linger_ns
    zerocopy_lock()
    most_owing = sockets
    if linger >= 0:
        linger_ns = linger
    zerocopy_unlock()


# --- after a fork ---------------------------------------------------------------------------------------

cdef void forked() noexcept nogil:
    """In the child, with the lock held. No more than closing descriptors is safe here."""
    global owing
    cdef zerocopy_socket *socket
    cdef int i
    for i in range(BUCKETS):
        socket = buckets[i]
        while socket != NULL:
            if socket.fd >= 0:
                close(socket.fd)
            socket.fd = socket.epfd = -1
            # Who had them was another thread, and is not here.
            socket.pins = 0
            socket.sending = False
            socket.deadline = 0
            socket.refused = True
            if socket.first != NULL:
                ev_store_int(&has_forked, True)
            socket = socket.next
    owing = 0
    zerocopy_wait_forked_()


zerocopy_at_fork(forked)


cdef void give_back_copies() noexcept nogil:
    """The memory that the parent's kernel has, and this process a copy of."""
    cdef zerocopy_entry *entries = NULL
    cdef zerocopy_socket *socket
    cdef int i
    zerocopy_lock()
    ev_store_int(&has_forked, False)
    for i in range(BUCKETS):
        socket = buckets[i]
        while socket != NULL:
            if socket.first != NULL and socket.fd < 0:
                socket.last.next = entries
                entries = socket.first
                socket.first = socket.last = NULL
                settle(socket)
            socket = socket.next
    zerocopy_unlock()
    zerocopy_give_back_(entries)
