"""Random bytes.

Facts:
- A generator inside the process has to be locked, to notice a fork (two children must not draw the same bytes),
  and to be wiped; each has gone wrong somewhere.
- getrandom(2), arc4random_buf(3) and BCryptGenRandom() have none of these troubles, need no descriptor, and
  work in a chroot. A call is a system call, and costs more only with the number of bytes.
- getrandom() gives up to 256 bytes whole; more may be interrupted by a signal.

So there is no generator here, and no state: every byte is the kernel's, in a child as in its parent.
"""

from libc.errno cimport errno
from cyevent.core.log cimport event_errx_
from cyevent.core.sys cimport EINTR

cdef extern from *:
    """
    #if defined(_WIN32)
      #include <windows.h>
      #include <bcrypt.h>
      #include <errno.h>
      static Py_ssize_t ev_random(void *buf, size_t n) {
          ULONG part = n > 0x10000000 ? 0x10000000 : (ULONG)n;
          if (BCryptGenRandom(NULL, (PUCHAR)buf, part, BCRYPT_USE_SYSTEM_PREFERRED_RNG) == 0)
              return (Py_ssize_t)part;
          errno = EIO;
          return -1;
      }
    #elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__NetBSD__) \\
        || defined(__DragonFly__)
      #include <stdlib.h>
      static Py_ssize_t ev_random(void *buf, size_t n) {
          arc4random_buf(buf, n);
          return (Py_ssize_t)n;
      }
    #else
      #include <sys/random.h>
      #define ev_random(buf, n) getrandom(buf, n, 0)
    #endif
    """
    Py_ssize_t ev_random(void *buf, size_t n) noexcept nogil


cdef int fill(char *buf, size_t n) noexcept nogil:
    cdef Py_ssize_t got
    while n:
        got = ev_random(buf, n)
        if got < 0 and errno != EINTR:
            return -1
        if got > 0:
            buf += got
            n -= <size_t>got
    return 0


cdef void evutil_secure_rng_get_bytes(void *buf, size_t n) noexcept nogil:
    if fill(<char *>buf, n) < 0:
        event_errx_(b"the system has no random bytes for us")


cdef int evutil_secure_rng_init() noexcept nogil:
    cdef char byte
    return fill(&byte, 1)


cdef int evutil_secure_rng_set_urandom_device_file(char *fname) noexcept nogil:
    return -1


cdef void evutil_secure_rng_add_bytes(const char *dat, size_t datlen) noexcept nogil:
    pass
