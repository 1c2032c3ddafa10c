# Parts of files, for Python.

from cyevent.buffer.types cimport evbuffer_file_segment

# A duplicate of the descriptor of something that has one; OSError when it cannot be made.
cdef int descriptor_of_our_own(object file, str name) except -1
cdef void close_descriptor(int fd) noexcept
# Raises for a segment that could not be made.
cdef int no_segment(int code, long long offset, long long length) except -1


cdef class FileSegment:
    cdef evbuffer_file_segment *segment    # referenced; NULL once closed
    # Checks that the segment has a part, and returns its offset.
    cdef long long check_part(self, object offset, object length) except -1
    cdef evbuffer_file_segment *live(self) except NULL
