"""Parts of files in a buffer.

Facts. sendfile(2) takes pages from the file's cache to a socket, a pipe or a file; the bytes never enter the
process. It takes at most 0x7ffff000 at a time, returns 0 at the end of the file, EINVAL for a file or a
target that it cannot serve, and raises SIGPIPE: there is no MSG_NOSIGNAL for it. To a pipe it is splice(2)
inside the kernel since Linux 5.12, so there is no second path for pipes here. A mapping shows what the file
holds at each moment; touching a page behind the file's end is SIGBUS. A system call that is given such a page
fails with EFAULT.

Hazards. Anybody may shrink the file while it is queued. The descriptor's number may be closed by its owner and
given to another file; that the caller must not do.

Decision. A chain remembers where in the file its bytes are, nothing else, until somebody needs them in memory
(`chain_ready`), whether or not the buffer drains to a descriptor: a file that passes through a buffer on its
way to a bufferevent's output still leaves by sendfile(). Loading maps the whole segment once for all its
chains; without mmap() it reads it. Before mapped bytes are touched fstat() asks whether the file still has
them, each time; EIO is the answer if not, and the buffer keeps the chain, for its owner to drain. What
remains is the moment between that question and the touch, and memory that was handed out (pulled up, peeked
at): a file that shrinks then means SIGBUS. Who cannot trust the file's other users passes
EVBUF_FS_DISABLE_MMAP, which closes that gap at the price of a copy. Where sendfile() refuses, a part of fixed
size is read and written.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t
from cyevent.buffer.callbacks cimport evbuffer_invoke_callbacks_
from cyevent.buffer.chain cimport *
from cyevent.buffer.evbuffer cimport EVBUFFER_MAX, evbuffer_chain_insert_
from cyevent.buffer.types cimport *
from cyevent.buffer.types cimport evbuffer_chain_file_segment
from cyevent.core.memory cimport mm_calloc, mm_free, mm_malloc
from cyevent.core.sys cimport *
from cyevent.core.threads cimport (
    EVLOCK_LOCK, EVLOCK_UNLOCK, evthread_lock_alloc_, evthread_lock_free_,
)

cdef extern from *:
    """
    #ifdef _WIN32
      #include <io.h>
      #include <sys/stat.h>
      static int ev_file_stat(int fd, int64_t *size, int *regular) {
          struct _stat64 st;
          int failed;
          EV_WITH_DESCRIPTOR(failed = _fstat64(fd, &st));
          if (failed) return -1;
          *size = st.st_size;
          *regular = (st.st_mode & _S_IFMT) == _S_IFREG;
          return 0;
      }
      /* The view outlives the handle of its mapping. */
      static void *ev_file_map(int fd, int64_t offset, size_t n) {
          HANDLE mapping = CreateFileMappingW(ev_handle_of(fd), NULL, PAGE_READONLY, 0, 0, NULL);
          void *p = NULL;
          if (mapping != NULL) {
              p = MapViewOfFile(mapping, FILE_MAP_READ, (DWORD)((uint64_t)offset >> 32), (DWORD)offset, n);
              CloseHandle(mapping);
          }
          return p;
      }
      static void ev_file_unmap(void *p, size_t n) { (void)n; UnmapViewOfFile(p); }
      /* Where a view may begin. */
      static long ev_page_size(void) { return 65536; }
      #define ev_pread ev_read_file
    #else
      #include <sys/mman.h>
      #include <sys/stat.h>
      static int ev_file_stat(int fd, int64_t *size, int *regular) {
          struct stat st;
          if (fstat(fd, &st) < 0) return -1;
          *size = st.st_size;
          *regular = S_ISREG(st.st_mode);
          return 0;
      }
      static void *ev_file_map(int fd, int64_t offset, size_t n) {
          void *p = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, (off_t)offset);
          return p == MAP_FAILED ? NULL : p;
      }
      static void ev_file_unmap(void *p, size_t n) { munmap(p, n); }
      static long ev_page_size(void) { return sysconf(_SC_PAGESIZE); }
      #define ev_pread(fd, p, n, offset) pread(fd, p, n, (off_t)(offset))
    #endif

    #if defined(__linux__)
      #include <sys/sendfile.h>
      static ssize_t ev_sendfile_raw(int to, int from, int64_t offset, size_t n) {
          off_t at = (off_t)offset;
          return sendfile(to, from, &at, n);
      }
    #elif defined(__APPLE__)
      static ssize_t ev_sendfile_raw(int to, int from, int64_t offset, size_t n) {
          off_t done = (off_t)n;
          if (sendfile(from, to, (off_t)offset, &done, NULL, 0) < 0 && done == 0) return -1;
          return (ssize_t)done;
      }
    #elif defined(__FreeBSD__) || defined(__DragonFly__)
      static ssize_t ev_sendfile_raw(int to, int from, int64_t offset, size_t n) {
          off_t done = 0;
          if (sendfile(from, to, (off_t)offset, n, NULL, &done, 0) < 0 && done == 0) return -1;
          return (ssize_t)done;
      }
    #else
      #define EV_NO_SENDFILE
      static ssize_t ev_sendfile_raw(int to, int from, int64_t offset, size_t n) {
          (void)to; (void)from; (void)offset; (void)n;
          errno = ENOSYS;
          return -1;
      }
    #endif

    #if defined(EV_NO_SENDFILE) || defined(__APPLE__)
      #define ev_sendfile ev_sendfile_raw      /* its sockets have SO_NOSIGPIPE */
    #else
      /* Without SIGPIPE: a program that did not ask for it is not to die of it. */
      static ssize_t ev_sendfile(int to, int from, int64_t offset, size_t n) {
          struct sigaction action;
          struct timespec now = {0, 0};
          sigset_t pipes, before, pending;
          ssize_t result;
          int code;
          if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
              return ev_sendfile_raw(to, from, offset, n);
          sigemptyset(&pipes);
          sigaddset(&pipes, SIGPIPE);
          sigemptyset(&pending);
          pthread_sigmask(SIG_BLOCK, &pipes, &before);
          sigpending(&pending);
          result = ev_sendfile_raw(to, from, offset, n);
          code = errno;
          if (result < 0 && code == EPIPE && !sigismember(&pending, SIGPIPE))
              while (sigtimedwait(&pipes, NULL, &now) < 0 && errno == EINTR) {}
          pthread_sigmask(SIG_SETMASK, &before, NULL);
          errno = code;
          return result;
      }
    #endif
    """
    int EIO, EOVERFLOW, EOPNOTSUPP
    int ev_file_stat(int fd, int64_t *size, int *regular) noexcept nogil
    void *ev_file_map(int fd, int64_t offset, size_t n) noexcept nogil
    void ev_file_unmap(void *memory, size_t n) noexcept nogil
    long ev_page_size() noexcept nogil
    ssize_t ev_pread(int fd, void *data, size_t n, int64_t offset) noexcept nogil
    ssize_t ev_sendfile(int to, int fd, int64_t offset, size_t n) noexcept nogil

cdef enum:
    # What is read and written at a time where sendfile() does not work.
    COPY_AT_ONCE = 32768


# --- segments ---------------------------------------------------------------------------------------

cdef evbuffer_file_segment *evbuffer_file_segment_new(int fd, ev_off_t offset, ev_off_t length,
                                                      unsigned flags) noexcept nogil:
    cdef evbuffer_file_segment *seg
    cdef int64_t size = 0
    cdef int regular = 0
    if ev_file_stat(fd, &size, &regular) < 0:
        return NULL
    if offset < 0 or length < -1:
        set_errno(EINVAL)
        return NULL
    if regular:
        if offset > size or length > size - offset:
            set_errno(EINVAL)
            return NULL
        if length < 0:
            length = size - offset
    elif length < 0 or length > <ev_off_t>EVBUFFER_MAX - offset:
        set_errno(EINVAL)
        return NULL
    if <ev_off_t><size_t>length != length:
        # More than the address space holds, and so more than a length in a buffer says.
        set_errno(EOVERFLOW)
        return NULL
    seg = <evbuffer_file_segment *>mm_calloc(1, sizeof(evbuffer_file_segment))
    if seg == NULL:
        set_errno(ENOMEM)
        return NULL
    if not flags & EVBUF_FS_DISABLE_LOCKING:
        set_errno(0)
        seg.lock = evthread_lock_alloc_()
        if seg.lock == NULL and errno == ENOMEM:
            # Rather than that locking was taken away.
            mm_free(seg)
            return NULL
    seg.refcnt = 1
    seg.flags = flags
    seg.can_sendfile = not flags & EVBUF_FS_DISABLE_SENDFILE
    seg.is_regular = regular
    seg.fd = fd
    seg.file_offset = offset
    seg.length = length
    return seg


cdef void evbuffer_file_segment_add_cleanup_cb(evbuffer_file_segment *seg,
                                               evbuffer_file_segment_cleanup_cb cb,
                                               void *arg) noexcept nogil:
    EVLOCK_LOCK(seg.lock)
    seg.cleanup_cb = cb
    seg.cleanup_cb_arg = arg
    EVLOCK_UNLOCK(seg.lock)


cdef void evbuffer_file_segment_free(evbuffer_file_segment *seg) noexcept nogil:
    cdef int left
    if seg == NULL:
        return
    EVLOCK_LOCK(seg.lock)
    seg.refcnt -= 1
    left = seg.refcnt
    EVLOCK_UNLOCK(seg.lock)
    if left > 0:
        return
    if seg.is_mapping:
        ev_file_unmap(seg.contents - seg.mmap_offset, <size_t>(seg.length + seg.mmap_offset))
    else:
        mm_free(seg.contents)
    if seg.flags & EVBUF_FS_CLOSE_ON_FREE:
        ev_close_file(seg.fd)
    if seg.cleanup_cb != NULL:
        seg.cleanup_cb(seg, <int>seg.flags, seg.cleanup_cb_arg)
    evthread_lock_free_(seg.lock)
    mm_free(seg)


cdef void map_file(evbuffer_file_segment *seg) noexcept nogil:
    cdef ev_off_t rest = seg.file_offset % ev_page_size()
    cdef char *memory
    if seg.length > <ev_off_t>EVBUFFER_MAX - rest or <ev_off_t><size_t>(seg.length + rest) != seg.length + rest:
        return
    memory = <char *>ev_file_map(seg.fd, seg.file_offset - rest, <size_t>(seg.length + rest))
    if memory == NULL:
        return
    seg.mmap_offset = rest
    seg.contents = memory + rest
    seg.is_mapping = True


cdef int read_file(evbuffer_file_segment *seg) noexcept nogil:
    cdef char *memory = <char *>mm_malloc(<size_t>seg.length)
    cdef size_t done = 0
    cdef ssize_t n
    cdef int code
    if memory == NULL:
        set_errno(ENOMEM)
        return -1
    while done < <size_t>seg.length:
        n = ev_pread(seg.fd, memory + done, <size_t>seg.length - done, seg.file_offset + <ev_off_t>done)
        if n > 0:
            done += n
        elif n == 0 or errno != EINTR:
            code = EIO if n == 0 else errno
            mm_free(memory)
            set_errno(code)
            return -1
    seg.contents = memory
    return 0


cdef int still_there(evbuffer_file_segment *seg, ev_off_t end) noexcept nogil:
    """Whether the file reaches to `end`, counted from the segment's first byte."""
    cdef int64_t size = 0
    cdef int regular = 0
    if ev_file_stat(seg.fd, &size, &regular) < 0:
        return -1
    if seg.is_regular and size < seg.file_offset + end:
        set_errno(EIO)
        return -1
    return 0


# --- chains -----------------------------------------------------------------------------------------

cdef inline evbuffer_file_segment *segment_of(evbuffer_chain *chain) noexcept nogil:
    return (<evbuffer_chain_file_segment *>chain_extra(chain)).segment


cdef evbuffer_chain *evbuffer_file_chain_new_(evbuffer_file_segment *seg, size_t offset,
                                              size_t length) noexcept nogil:
    cdef evbuffer_chain *chain = evbuffer_chain_borrow_(sizeof(evbuffer_chain_file_segment))
    if chain == NULL:
        return NULL
    chain.flags |= CHAIN_FILESEGMENT
    if seg.can_sendfile:
        chain.flags |= CHAIN_SENDFILE
    chain.misalign = offset
    chain.off = length
    chain.buffer_len = offset + length
    (<evbuffer_chain_file_segment *>chain_extra(chain)).segment = seg
    EVLOCK_LOCK(seg.lock)
    seg.refcnt += 1
    EVLOCK_UNLOCK(seg.lock)
    return chain


cdef evbuffer_chain *evbuffer_file_chain_share_(evbuffer_chain *chain, size_t length) noexcept nogil:
    return evbuffer_file_chain_new_(segment_of(chain), chain.misalign, length)


cdef int evbuffer_file_chain_load_(evbuffer_chain *chain) noexcept nogil:
    cdef evbuffer_file_segment *seg = segment_of(chain)
    cdef int result = 0
    EVLOCK_LOCK(seg.lock)
    if seg.contents == NULL:
        if not seg.flags & EVBUF_FS_DISABLE_MMAP:
            map_file(seg)
        if seg.contents == NULL:
            result = read_file(seg)
    if result == 0 and seg.is_mapping:
        result = still_there(seg, <ev_off_t>(chain.misalign + chain.off))
    if result == 0:
        chain.buffer = <unsigned char *>seg.contents
    EVLOCK_UNLOCK(seg.lock)
    return result


cdef int evbuffer_load_nolock_(evbuffer_chain *chain, size_t skip, size_t len) noexcept nogil:
    cdef size_t n
    while len:
        if not chain_ready(chain):
            return -1
        n = chain.off - skip
        if n >= len:
            break
        len -= n
        skip = 0
        chain = chain.next
    return 0


# --- in ---------------------------------------------------------------------------------------------

cdef int add_nolock(evbuffer *buf, evbuffer_file_segment *seg, ev_off_t offset,
                    ev_off_t length) noexcept nogil:
    cdef evbuffer_chain *chain
    if offset < 0 or offset > seg.length or length < -1 or length > seg.length - offset:
        set_errno(EINVAL)
        return -1
    if length < 0:
        length = seg.length - offset
    if length == 0:
        return 0
    if <size_t>length > EVBUFFER_MAX - buf.total_len:
        set_errno(ENOMEM)
        return -1
    chain = evbuffer_file_chain_new_(seg, <size_t>offset, <size_t>length)
    if chain == NULL:
        return -1
    evbuffer_chain_insert_(buf, chain)
    return 0


cdef int evbuffer_add_file_segment(evbuffer *buf, evbuffer_file_segment *seg, ev_off_t offset,
                                   ev_off_t length) noexcept nogil:
    cdef int result = -1
    EVLOCK_LOCK(buf.lock)
    if not buf.freeze_end:
        result = add_nolock(buf, seg, offset, length)
        evbuffer_invoke_callbacks_(buf)
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef int evbuffer_add_file(evbuffer *buf, int fd, ev_off_t offset, ev_off_t length) noexcept nogil:
    cdef evbuffer_file_segment *seg = evbuffer_file_segment_new(fd, offset, length, EVBUF_FS_CLOSE_ON_FREE)
    cdef int result
    if seg == NULL:
        return -1
    result = evbuffer_add_file_segment(buf, seg, 0, -1)
    if result < 0:
        # Nobody else has it.
        seg.flags &= ~<unsigned>EVBUF_FS_CLOSE_ON_FREE
    evbuffer_file_segment_free(seg)
    return result


# --- out --------------------------------------------------------------------------------------------

cdef bint evbuffer_file_chain_in_memory_(evbuffer_chain *chain) noexcept nogil:
    cdef evbuffer_file_segment *seg = segment_of(chain)
    if chain.flags & CHAIN_SENDFILE and (chain.buffer == NULL or seg.is_mapping):
        return False
    # Without a mapping a large file is not to be read whole only because it is written.
    return chain.buffer != NULL or not seg.flags & EVBUF_FS_DISABLE_MMAP


cdef int evbuffer_file_chain_place_(evbuffer_chain *chain, ev_off_t *offset) noexcept nogil:
    cdef evbuffer_file_segment *seg = segment_of(chain)
    offset[0] = seg.file_offset + <ev_off_t>chain.misalign
    return seg.fd


cdef ssize_t copy_part(evbuffer_file_segment *seg, ev_off_t offset, evutil_socket_t fd,
                       size_t n) noexcept nogil:
    cdef char data[COPY_AT_ONCE]
    cdef ssize_t got
    cdef ssize_t result
    if n > COPY_AT_ONCE:
        n = COPY_AT_ONCE
    got = ev_pread(seg.fd, data, n, offset)
    if got == 0:
        set_errno(EIO)
        return -1
    if got < 0:
        return -1
    result = send(fd, data, got, MSG_NOSIGNAL)
    if result < 0 and errno == ENOTSOCK:
        result = write(fd, data, got)
    return result


cdef ssize_t evbuffer_file_chain_write_(evbuffer_chain *chain, evutil_socket_t fd, size_t n) noexcept nogil:
    cdef evbuffer_file_segment *seg = segment_of(chain)
    cdef ev_off_t offset = seg.file_offset + <ev_off_t>chain.misalign
    cdef ssize_t result
    if n > chain.off:
        n = chain.off
    if chain.flags & CHAIN_SENDFILE:
        result = ev_sendfile(fd, seg.fd, offset, n)
        if result == 0:
            set_errno(EIO)
            return -1
        if result > 0 or (errno != EINVAL and errno != ENOSYS and errno != EOPNOTSUPP and errno != ENOTSOCK):
            return result
        # Not from this file or not to that target: the chain will not try again.
        chain.flags &= ~<unsigned>CHAIN_SENDFILE
    return copy_part(seg, offset, fd, n)
