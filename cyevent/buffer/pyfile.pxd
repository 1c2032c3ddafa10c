# Parts of files, for Python.

from cyevent.buffer.types cimport evbuffer, evbuffer_file_segment

# A duplicate of the descriptor of something that has one; OSError when it cannot be made.
cdef int descriptor_of_our_own(object file, str name) except -1
cdef void close_descriptor(int fd) noexcept
# Puts a part of a file, whose descriptor it takes in any case, at the end of a buffer that is locked.
cdef int add_descriptor(evbuffer *buf, int fd, long long offset, long long length) except -1


cdef class FileSegment:
    cdef evbuffer_file_segment *segment    # referenced; NULL once closed
    # Checks that the segment has a part, and returns its offset.
    cdef long long check_part(self, object offset, object length) except -1
    cdef evbuffer_file_segment *live(self) except NULL
