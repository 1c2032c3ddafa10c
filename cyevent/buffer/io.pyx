"""Between buffers and descriptors.

Reading: asking the kernel how much there is (FIONREAD) would cost a call each time. Instead the space that is
offered follows what arrives: it grows when a read filled it, and shrinks when little came twice in a row
(once may be the rest of a message that just did not fit). A read goes into the rest of the last chain and
into a new one, which goes back to the pool if it was not needed.

Writing: everything up to IOV_MAX chains leaves in one call. Sockets are written to with MSG_NOSIGNAL, for a
program that did not ask for it is not to die of SIGPIPE; a descriptor that turns out to be no socket is
remembered. A part of a file takes a call of its own (file.pyx), and so do large chains that are not copied
(zerocopy.pyx). What stands before them, such as a response's head, leaves with MSG_MORE and they follow in the
same evbuffer_write(): the two share a packet.
"""

from libc.errno cimport errno
from libc.stdint cimport uint32_t
from libc.string cimport memset
from cyevent.buffer.callbacks cimport evbuffer_invoke_callbacks_
from cyevent.buffer.chain cimport *
from cyevent.buffer.evbuffer cimport (
    EVBUFFER_MAX, evbuffer_chain_insert_, evbuffer_discard_nolock_,
)
from cyevent.buffer.file cimport (
    evbuffer_file_chain_in_memory_, evbuffer_file_chain_load_, evbuffer_file_chain_write_,
)
from cyevent.buffer.types cimport *
from cyevent.buffer.zerocopy cimport ZEROCOPY_NOT, evbuffer_zerocopy_write_, leaves_uncopied
from cyevent.core.sys cimport EINTR, MSG_NOSIGNAL, read, readv, recv, write, writev, send
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK

cdef extern from *:
    """
    #ifndef MSG_MORE
      #define MSG_MORE 0
    #endif
    #ifdef _WIN32
      struct ev_msghdr { struct iovec *msg_iov; size_t msg_iovlen; };
      static inline ssize_t ev_sendmsg(evutil_socket_t fd, const struct ev_msghdr *message, int flags) {
          DWORD done = 0;
          (void)flags;
          if (WSASend((SOCKET)fd, (WSABUF *)message->msg_iov, (DWORD)message->msg_iovlen, &done, 0, NULL,
                      NULL) == 0)
              return (ssize_t)done;
          return (ssize_t)ev_failed(-1);
      }
    #else
      #define ev_msghdr msghdr
      #define ev_sendmsg sendmsg
    #endif
    """
    int MSG_MORE

    struct msghdr "ev_msghdr":
        iovec *msg_iov
        size_t msg_iovlen

    int ENOTSOCK
    ssize_t sendmsg "ev_sendmsg"(evutil_socket_t fd, const msghdr *message, int flags) noexcept nogil

cdef enum:
    READ_SIZE_LEAST = 1024
    READ_SIZE_MOST = 65536
    LITTLE_CAME = 1            # in read_size, whose values are powers of two
    VECTORS = 1024             # Linux's IOV_MAX


cdef inline void adapt(evbuffer *buf, size_t n, bint filled) noexcept nogil:
    cdef uint32_t size = buf.read_size & ~<uint32_t>LITTLE_CAME
    if filled:
        buf.read_size = size * 2 if size < READ_SIZE_MOST else size
    elif n >= size // 4 or size == READ_SIZE_LEAST:
        buf.read_size = size
    elif buf.read_size & LITTLE_CAME:
        buf.read_size = size // 2
    else:
        buf.read_size = size | LITTLE_CAME


cdef inline ssize_t read_one(evbuffer *buf, evutil_socket_t fd, void *data, size_t n) noexcept nogil:
    """recv() is the shorter way through the kernel."""
    cdef ssize_t result
    if not buf.plain_fd:
        result = recv(fd, data, n, 0)
        if result >= 0 or errno != ENOTSOCK:
            return result
        buf.plain_fd = True
    return read(fd, data, n)


cdef int read_nolock(evbuffer *buf, evutil_socket_t fd, size_t limit) noexcept nogil:
    cdef evbuffer_chain *chain = buf.last_with_datap[0]
    cdef evbuffer_chain *fresh = NULL
    cdef iovec vec[2]
    cdef size_t space = 0
    cdef size_t wanted = (buf.read_size & ~<uint32_t>LITTLE_CAME) - sizeof(evbuffer_chain)
    cdef size_t offered
    cdef ssize_t n
    if wanted > limit:
        wanted = limit
    if chain != NULL:
        space = chain_space(chain)
        if space > limit:
            space = limit
    offered = space
    if space < wanted:
        fresh = evbuffer_chain_new_(wanted - space)
        if fresh == NULL:
            return -1
        vec[1].iov_base = fresh.buffer
        vec[1].iov_len = fresh.buffer_len
        if vec[1].iov_len > limit - space:
            vec[1].iov_len = limit - space
        offered += vec[1].iov_len
    while True:
        if fresh == NULL:
            n = read_one(buf, fd, chain_space_ptr(chain), space)
        elif space == 0:
            n = read_one(buf, fd, vec[1].iov_base, vec[1].iov_len)
        else:
            vec[0].iov_base = chain_space_ptr(chain)
            vec[0].iov_len = space
            n = readv(fd, vec, 2)
        if n >= 0 or errno != EINTR:
            break
    buf.read_filled = n > 0 and <size_t>n == offered
    if n <= 0:
        if fresh != NULL:
            evbuffer_chain_free_(fresh)
        return <int>n
    if space:
        if <size_t>n < space:
            space = <size_t>n
        chain.off += space
        buf.total_len += space
        buf.n_add_for_cb += space
    if fresh != NULL:
        if <size_t>n > space:
            fresh.off = <size_t>n - space
            evbuffer_chain_insert_(buf, fresh)
        else:
            evbuffer_chain_free_(fresh)
    adapt(buf, <size_t>n, buf.read_filled)
    evbuffer_invoke_callbacks_(buf)
    return <int>n


cdef int evbuffer_read(evbuffer *buf, evutil_socket_t fd, int howmuch) noexcept nogil:
    cdef size_t limit
    cdef int result = -1
    EVLOCK_LOCK(buf.lock)
    if not buf.freeze_end:
        limit = buf.max_read
        if howmuch >= 0 and <size_t>howmuch < limit:
            limit = <size_t>howmuch
        if limit > EVBUFFER_MAX - buf.total_len:
            limit = EVBUFFER_MAX - buf.total_len
        result = read_nolock(buf, fd, limit) if limit else 0
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef inline bint leaves_as_file(const evbuffer_chain *chain) noexcept nogil:
    return chain.flags & CHAIN_FILESEGMENT and not evbuffer_file_chain_in_memory_(<evbuffer_chain *>chain)


cdef ssize_t write_one(evbuffer *buf, evutil_socket_t fd, const void *data, size_t n, int flags) noexcept nogil:
    cdef ssize_t result
    if not buf.plain_fd:
        result = send(fd, data, n, flags)
        if result >= 0 or errno != ENOTSOCK:
            return result
        buf.plain_fd = True
    return write(fd, data, n)


cdef ssize_t write_memory(evbuffer *buf, evutil_socket_t fd, size_t howmuch, size_t *offered) noexcept nogil:
    """Writes what is in memory, up to the first part of a file that is not."""
    cdef iovec vec[VECTORS]
    cdef msghdr message
    cdef evbuffer_chain *chain = buf.first
    cdef ssize_t result
    cdef int flags = MSG_NOSIGNAL
    cdef int n = 0
    offered[0] = 0
    while chain != NULL and howmuch and n < VECTORS:
        if n and leaves_uncopied(buf, chain, howmuch):
            flags |= MSG_MORE
            break
        if chain.flags & CHAIN_FILESEGMENT:
            if not evbuffer_file_chain_in_memory_(chain):
                flags |= MSG_MORE
                break
            if evbuffer_file_chain_load_(chain) < 0:
                if n == 0:
                    return -1
                break
        vec[n].iov_base = chain_data(chain)
        vec[n].iov_len = chain.off if chain.off < howmuch else howmuch
        howmuch -= vec[n].iov_len
        offered[0] += vec[n].iov_len
        n += 1
        chain = chain.next
    if n == 1:
        return write_one(buf, fd, vec[0].iov_base, vec[0].iov_len, flags)
    if not buf.plain_fd:
        memset(&message, 0, sizeof(message))
        message.msg_iov = vec
        message.msg_iovlen = n
        result = sendmsg(fd, &message, flags)
        if result >= 0 or errno != ENOTSOCK:
            return result
        buf.plain_fd = True
    return writev(fd, vec, n)


cdef ssize_t write_front(evbuffer *buf, evutil_socket_t fd, size_t howmuch, size_t *offered) noexcept nogil:
    """One system call's worth. offered: how much it could have taken."""
    cdef evbuffer_chain *chain = buf.first
    cdef ssize_t n
    while True:
        n = ZEROCOPY_NOT
        if leaves_uncopied(buf, chain, howmuch):
            n = evbuffer_zerocopy_write_(buf, fd, howmuch, offered)
        if n != ZEROCOPY_NOT:
            pass
        elif leaves_as_file(chain):
            offered[0] = 0
            n = evbuffer_file_chain_write_(chain, fd, howmuch)
        elif chain.off >= howmuch and not chain.flags & CHAIN_FILESEGMENT:
            offered[0] = howmuch
            n = write_one(buf, fd, chain_data(chain), howmuch, MSG_NOSIGNAL)
        else:
            n = write_memory(buf, fd, howmuch, offered)
        if n >= 0 or errno != EINTR:
            return n


cdef int evbuffer_write_atmost(evbuffer *buf, evutil_socket_t fd, ev_ssize_t howmuch) noexcept nogil:
    cdef ssize_t n = -1
    cdef size_t limit
    cdef size_t offered = 0
    cdef size_t done = 0
    cdef bint alone
    cdef bint follows
    EVLOCK_LOCK(buf.lock)
    limit = buf.total_len
    if howmuch >= 0 and <size_t>howmuch < limit:
        limit = <size_t>howmuch
    if limit > 0x7ffff000:
        # More than that Linux does not write at once.
        limit = 0x7ffff000
    if limit and not buf.freeze_start:
        alone = leaves_uncopied(buf, buf.first, limit)
        n = write_front(buf, fd, limit, &offered)
        while n > 0:
            evbuffer_discard_nolock_(buf, <size_t>n)
            done += <size_t>n
            if <size_t>n != offered or done == limit:
                break
            # What could not share the call follows: a head went with MSG_MORE. If it fails the next call tells.
            follows = alone or leaves_as_file(buf.first)
            alone = leaves_uncopied(buf, buf.first, limit - done)
            if not follows and not alone:
                break
            n = write_front(buf, fd, limit - done, &offered)
        if done:
            n = <ssize_t>done
            evbuffer_invoke_callbacks_(buf)
    EVLOCK_UNLOCK(buf.lock)
    return <int>n


cdef int evbuffer_write(evbuffer *buf, evutil_socket_t fd) noexcept nogil:
    return evbuffer_write_atmost(buf, fd, -1)
