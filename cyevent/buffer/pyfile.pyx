"""FileSegment: a part of a file for Python.

Fact: a segment needs its descriptor for as long as any buffer shows a part of it. Hazard: a Python file object
closes its descriptor when it is collected, and the next file that is opened gets that number. Decision: a
segment works with a duplicate, so that it depends on nobody; the cost is one system call for each segment, not
for each use of it.
"""

cimport cython
import os

from cpython.ref cimport PyObject, Py_INCREF, Py_XDECREF
from libc.errno cimport errno
from libc.limits cimport LLONG_MAX
from cyevent.buffer.file cimport *
from cyevent.buffer.pybytes cimport frozen_or_memory, return_to_lender
from cyevent.buffer.types cimport *
from cyevent.buffer.types cimport evbuffer_file_segment
from cyevent.core.arguments cimport check_callable, descriptor, error_text, integer
from cyevent.core.sys cimport EINVAL, ENOMEM, ev_close_file, set_errno


cdef int descriptor_of_our_own(object file, str name) except -1:
    return os.dup(descriptor(file, name))


cdef void close_descriptor(int fd) noexcept:
    ev_close_file(fd)


cdef int no_segment(int code, long long offset, long long length) except -1:
    if code == EINVAL:
        what = "up to the end" if length < 0 else f"of {length} bytes"
        raise ValueError(f"offset and length must be a part of the file: it has none {what} at {offset}")
    if code == 0 or code == ENOMEM:
        raise MemoryError()
    raise OSError(code, f"file: {error_text(code)}")


cdef int add_descriptor(evbuffer *buf, int fd, long long offset, long long length) except -1:
    cdef int code
    set_errno(0)
    if evbuffer_add_file(buf, fd, offset, length) < 0:
        code = errno
        ev_close_file(fd)
        if buf.freeze_end:
            frozen_or_memory(buf, False)
        no_segment(code, offset, length)
    return 0


cdef void segment_gone(const evbuffer_file_segment *segment, int flags, void *arg) noexcept nogil:
    return_to_lender(run_cleanup, arg)


cdef void run_cleanup(void *arg) noexcept:
    cdef object callback = <object><PyObject *>arg
    Py_XDECREF(<PyObject *>arg)
    # What it raises is reported and goes no further.
    callback()


@cython.final
cdef class FileSegment:
    """A part of a file that any number of buffers may show, any number of times.

    file: a regular file, or its descriptor, of which the segment makes one of its own; it may be closed
    afterwards.
    offset, length: the part, in bytes; -1 for the rest of the file. ValueError when the file does not have it.
    mmap: with False the bytes are not mapped by mmap(2) but read, and a file that becomes shorter later cannot
    harm.
    sendfile: with False they are not sent by sendfile(2).
    cleanup: called without arguments when the segment is closed or forgotten and the last of its bytes has left
    every buffer, in the thread in which that happens. What it raises is reported by `sys.unraisablehook`.

    OSError for a descriptor that is bad. One descriptor and at most one mapping serve all uses. A segment may
    be used from several threads, and in a with-statement, which closes it.
    """

    def __init__(self, file, offset=0, length=-1, *, bint mmap=True, bint sendfile=True, cleanup=None):
        cdef long long begin = integer(offset, "offset", 0, LLONG_MAX)
        cdef long long n = integer(length, "length", -1, LLONG_MAX)
        cdef unsigned flags = EVBUF_FS_CLOSE_ON_FREE
        cdef int fd
        cdef int code
        if self.segment != NULL:
            raise RuntimeError("FileSegment.__init__() was called twice")
        if cleanup is not None:
            check_callable(cleanup, "cleanup")
        if not mmap:
            flags |= EVBUF_FS_DISABLE_MMAP
        if not sendfile:
            flags |= EVBUF_FS_DISABLE_SENDFILE
        fd = descriptor_of_our_own(file, "file")
        set_errno(0)
        self.segment = evbuffer_file_segment_new(fd, begin, n, flags)
        if self.segment == NULL:
            code = errno
            close_descriptor(fd)
            no_segment(code, begin, n)
        if cleanup is not None:
            Py_INCREF(cleanup)
            evbuffer_file_segment_add_cleanup_cb(self.segment, segment_gone, <void *>cleanup)

    def __dealloc__(self):
        if self.segment != NULL:
            evbuffer_file_segment_free(self.segment)

    cdef evbuffer_file_segment *live(self) except NULL:
        if self.segment == NULL:
            raise ValueError("the segment is closed")
        return self.segment

    cdef long long check_part(self, object offset, object length) except -1:
        cdef long long whole = self.live().length
        cdef long long begin = integer(offset, "offset", 0, whole)
        integer(length, "length", -1, whole - begin)
        return begin

    def close(self):
        """Gives the segment up: adding it to a buffer is a ValueError then. Buffers that show it keep what they
        need. Harmless when repeated."""
        cdef evbuffer_file_segment *segment = self.segment
        self.segment = NULL
        if segment != NULL:
            evbuffer_file_segment_free(segment)

    def __enter__(self):
        self.live()
        return self

    def __exit__(self, exc_type, exc, traceback):
        self.close()

    @property
    def closed(self):
        """True after `close`."""
        return self.segment == NULL

    @property
    def offset(self):
        """Where in the file the segment begins, in bytes."""
        return self.live().file_offset

    @property
    def length(self):
        """How many bytes it has."""
        return self.live().length

    def __repr__(self):
        if self.segment == NULL:
            return "<cyevent.FileSegment closed>"
        return f"<cyevent.FileSegment {self.segment.length} bytes at {self.segment.file_offset}>"
