"""Memory that the kernel sends from where it is.

Facts about MSG_ZEROCOPY (Linux 4.14, TCP):
- It has to be allowed for the socket (SO_ZEROCOPY). From then on the kernel counts the calls that took bytes
  with the flag, in 32 bits, beginning with 0; a call that failed is not counted.
- The pages are pinned, and read when a packet leaves, or leaves again. On the socket's error queue the kernel
  says that it is done, for a range of calls at a time. A range may pass 2**32, may stand for many calls, and
  may come before an earlier one's, for instance after a reset. SO_EE_CODE_ZEROCOPY_COPIED says that it has
  copied the bytes after all: it always does over loopback, and where a device cannot gather.
- What is queued there makes epoll, poll and select report the socket as ready for everything that is asked
  for, although reading and writing fail with EAGAIN, until it has been taken.
- The room for notifications, and the memory that may be pinned, are limited: ENOBUFS (net.core.optmem_max,
  RLIMIT_MEMLOCK).
- Closing the last descriptor of a socket ends its notifications, but not its sending.
- connect() to AF_UNSPEC resets a connection and throws away what is queued, with the socket still open: the
  notifications arrive at once.

Hazards. Memory that is changed too early corrupts the stream; memory that is freed too early sends to the peer
whatever is in it next. A notification that somebody else takes from the queue is lost to us, and one
that we take is lost to others. The count cannot be asked for. A forked child shares the error queue. A socket
that is ready and has nothing to read or to write would keep a loop busy.

Decision. Each call has an entry that refers to its chains, and a chain to which somebody refers keeps its bytes
and its place: memory outlives buffer, bufferevent and descriptor. It is given back on no other ground
than a notification. While a socket owes some there is a duplicate of its descriptor, so that closing the others
does not end them; there are at most EVBUFFER_ZEROCOPY_SOCKETS of these, and what more sockets send is copied.
The peer sees the end of a connection only when it has acknowledged what was sent in this way. If a bufferevent
has closed the socket, that may last EVBUFFER_ZEROCOPY_LINGER seconds; then the connection is reset, which
brings the notifications. Of other sockets nobody knows who still has them, so only TCP's own limits hold there
(TCP_USER_TIMEOUT sets them).

Sockets are known by SO_COOKIE, which is never used again, so that buffers may take turns on one; the number of
its next call is remembered for a while. A socket that allowed SO_ZEROCOPY before, and that is not among those,
is somebody else's: it copies. For the same reason nobody else may use the flag, or read the error queue, of a
socket that sends in this way; other messages on that are thrown away.

A call never waits. On a socket that blocks, what it does not take is copied, and waits as usual.

Who waits for notifications. An epoll instance with an edge for each duplicate, and no event but the error,
hears of them and of nothing else. For a base's bufferevents there is one in the base, watched like any other
descriptor by whatever backend, as an event of the highest priority: the queue is empty again before the turn is
over. For all other buffers, and for what is left when a buffer goes, a thread waits in one. It sees after a
second that a base's loop does not run, and does its work; it ends a second after the last socket. Owners
are told without any lock held that is from here.

A forked child has copies of the memory and none of the duties: it closes the duplicates, gives its copies back
when it next sends, and copies what it sends over its parent's sockets.
"""

from libc.errno cimport errno
from libc.stdint cimport uint32_t
from libc.string cimport memset
from cyevent.buffer.chain cimport chain_data, chain_ref
from cyevent.buffer.types cimport *
from cyevent.buffer.zerosockets cimport *
from cyevent.buffer.zerosockets cimport zerocopy_entry, zerocopy_socket
from cyevent.core.clock cimport timeval_to_ns
from cyevent.core.memory cimport mm_malloc
from cyevent.core.sys cimport EAGAIN, EINVAL, ENOBUFS, EWOULDBLOCK, set_errno
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK

cdef extern from *:
    """
    #if defined(__linux__)
      #include <linux/errqueue.h>
      #include <netinet/in.h>
      #include <string.h>
      #ifndef MSG_ZEROCOPY
        #define MSG_ZEROCOPY 0x4000000
      #endif
      #ifndef SO_EE_ORIGIN_ZEROCOPY
        #define SO_EE_ORIGIN_ZEROCOPY 5
        #define SO_EE_CODE_ZEROCOPY_COPIED 1
      #endif
      static ssize_t zerocopy_send(int fd, struct iovec *vec, int n) {
          struct msghdr message = {0};
          message.msg_iov = vec;
          message.msg_iovlen = n;
          return sendmsg(fd, &message, MSG_ZEROCOPY | MSG_DONTWAIT | MSG_NOSIGNAL);
      }
      static int zerocopy_blocks(int fd) { return !(fcntl(fd, F_GETFL) & O_NONBLOCK); }
      /* 1 and a range of calls; 0 for a message of another kind; -1 when the queue is empty. */
      static int zerocopy_notice(int fd, uint32_t *first, uint32_t *last, int *copied) {
          union { char bytes[512]; struct cmsghdr align; } control;
          struct msghdr message = {0};
          struct sock_extended_err error;
          struct cmsghdr *part;
          message.msg_control = &control;
          message.msg_controllen = sizeof(control);
          if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
              return errno == EINTR ? 0 : -1;
          for (part = CMSG_FIRSTHDR(&message); part != NULL; part = CMSG_NXTHDR(&message, part)) {
              if (!(part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_RECVERR)
                  && !(part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == IPV6_RECVERR))
                  continue;
              memcpy(&error, CMSG_DATA(part), sizeof(error));
              if (error.ee_errno == 0 && error.ee_origin == SO_EE_ORIGIN_ZEROCOPY) {
                  *first = error.ee_info;
                  *last = error.ee_data;
                  *copied = error.ee_code & SO_EE_CODE_ZEROCOPY_COPIED;
                  return 1;
              }
          }
          return 0;
      }
    #else
      /* Never called: no socket can be joined. */
      static ssize_t zerocopy_send(int fd, void *vec, int n) { (void)fd; (void)vec; (void)n; return -1; }
      static int zerocopy_blocks(int fd) { (void)fd; return 0; }
      static int zerocopy_notice(int fd, uint32_t *first, uint32_t *last, int *copied) {
          (void)fd; (void)first; (void)last; (void)copied; return -1;
      }
    #endif
    """
    int EOPNOTSUPP
    ssize_t zerocopy_send(int fd, iovec *vec, int n) noexcept nogil
    bint zerocopy_blocks(int fd) noexcept nogil
    int zerocopy_notice(int fd, uint32_t *first, uint32_t *last, int *copied) noexcept nogil

cdef enum:
    CHAINS_AT_ONCE = 64


# --- sending ------------------------------------------------------------------------------------------

cdef zerocopy_entry *make_entry(evbuffer *buf, size_t howmuch, iovec *vec, size_t *offered) noexcept nogil:
    """For the large chains at the front."""
    cdef evbuffer_chain *chain = buf.first
    cdef zerocopy_entry *entry
    cdef int i
    cdef int n = 0
    offered[0] = 0
    while n < CHAINS_AT_ONCE and chain != NULL and leaves_uncopied(buf, chain, howmuch - offered[0]):
        vec[n].iov_base = chain_data(chain)
        vec[n].iov_len = chain.off if chain.off < howmuch - offered[0] else howmuch - offered[0]
        offered[0] += vec[n].iov_len
        n += 1
        chain = chain.next
    entry = <zerocopy_entry *>mm_malloc(sizeof(zerocopy_entry) + n * sizeof(evbuffer_chain *))
    if entry == NULL:
        return NULL
    entry.next = NULL
    entry.n = n
    chain = buf.first
    for i in range(n):
        chain_ref(chain)
        entry.chains[i] = chain
        chain = chain.next
    return entry


cdef ssize_t evbuffer_zerocopy_write_(evbuffer *buf, evutil_socket_t fd, size_t howmuch,
                                      size_t *offered) noexcept nogil:
    cdef zerocopy_socket *socket = zerocopy_join_(buf, fd)
    cdef zerocopy_entry *entry
    cdef iovec vec[CHAINS_AT_ONCE]
    cdef ssize_t n
    cdef int pieces
    cdef int code
    if socket == NULL or socket.refused:
        return ZEROCOPY_NOT
    entry = make_entry(buf, howmuch, vec, offered)
    if entry == NULL:
        return ZEROCOPY_NOT
    # Once begun, the entry is the socket's: whoever hears from the kernel first gives it back.
    pieces = entry.n
    if not zerocopy_begin_(socket, fd, entry):
        zerocopy_give_back_(entry)
        return ZEROCOPY_NOT
    n = zerocopy_send(fd, vec, pieces)
    code = errno
    zerocopy_finish_(socket, n > 0, n < 0 and code == ENOBUFS)
    if n > 0:
        return n
    if code == ENOBUFS:
        # What was taken makes room for the next call.
        zerocopy_look_(socket.cookie)
        return ZEROCOPY_NOT
    if code == EOPNOTSUPP or code == EINVAL:
        # Of a protocol above TCP.
        zerocopy_refuse_(socket)
        return ZEROCOPY_NOT
    if (code == EAGAIN or code == EWOULDBLOCK) and zerocopy_blocks(fd):
        return ZEROCOPY_NOT
    set_errno(code)
    return -1


cdef void zerocopy_collect_(void *socket, int fd) noexcept nogil:
    cdef uint32_t first = 0
    cdef uint32_t last = 0
    cdef int copied = 0
    cdef int kind = 0
    while kind >= 0:
        kind = zerocopy_notice(fd, &first, &last, &copied)
        if kind > 0:
            zerocopy_done_(<zerocopy_socket *>socket, first, last, copied)


# --- settings -----------------------------------------------------------------------------------------

cdef int evbuffer_set_zerocopy_threshold(evbuffer *buf, size_t threshold) noexcept nogil:
    if threshold > <size_t>0xffffffff:
        set_errno(EINVAL)
        return -1
    EVLOCK_LOCK(buf.lock)
    buf.zerocopy_threshold = <uint32_t>threshold if threshold else <uint32_t>EVBUFFER_ZEROCOPY_THRESHOLD
    EVLOCK_UNLOCK(buf.lock)
    return 0


cdef size_t evbuffer_get_zerocopy_threshold(evbuffer *buf) noexcept nogil:
    cdef size_t result
    EVLOCK_LOCK(buf.lock)
    result = buf.zerocopy_threshold
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef int evbuffer_get_zerocopy_stats(evbuffer *buf, evbuffer_zerocopy_stats *stats) noexcept nogil:
    cdef int result = -1
    EVLOCK_LOCK(buf.lock)
    memset(stats, 0, sizeof(stats[0]))
    if zerocopy_of(buf) != NULL:
        zerocopy_stats_(<zerocopy_socket *>zerocopy_of(buf), stats)
        result = 0
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef int evbuffer_set_zerocopy_limits(int sockets, const timeval *linger) noexcept nogil:
    if sockets < 0 or (linger != NULL and (linger.tv_sec < 0 or linger.tv_usec < 0)):
        set_errno(EINVAL)
        return -1
    zerocopy_limit_(sockets, timeval_to_ns(linger) if linger != NULL else -1)
    return 0
