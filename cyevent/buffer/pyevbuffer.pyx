"""EvBuffer: the evbuffer for Python."""

cimport cython
from cpython.bytes cimport PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.errno cimport errno
from cyevent.buffer.chain cimport *
from cyevent.buffer.evbuffer cimport *
from cyevent.buffer.evbuffer cimport evbuffer_decref_and_unlock_
from cyevent.buffer.file cimport evbuffer_add_file_segment
from cyevent.buffer.io cimport *
from cyevent.buffer.pyarguments import EOL_ANY, EOL_CRLF, EOL_CRLF_STRICT, EOL_LF, EOL_NUL  # no-cython-lint
from cyevent.buffer.pyarguments cimport PY_SSIZE_T_MAX, check_eol, count_argument, size_argument
from cyevent.buffer.pybytes cimport (
    add_object, add_object_reference, frozen_or_memory, hold_bytes, prepend_object, take_bytes, take_into,
)
from cyevent.buffer.pycallbacks import BufferCallback  # no-cython-lint
from cyevent.buffer.pycallbacks cimport BufferCallback as Callback, add_buffer_callback
from cyevent.buffer.pycontexts import Frozen, Reservation  # no-cython-lint
from cyevent.buffer.pycontexts cimport Reservation as Space, frozen_end, reserve_space
from cyevent.buffer.pyfile cimport FileSegment, add_descriptor, close_descriptor, descriptor_of_our_own
from cyevent.buffer.pylook cimport *
from cyevent.buffer.pytransfer cimport move_bytes, take_from
from cyevent.buffer.pyzerocopy cimport zerocopy_stats
from cyevent.buffer.reserve cimport *
from cyevent.buffer.transfer cimport *
from cyevent.buffer.types cimport *
from cyevent.buffer.zerocopy cimport *
from cyevent.core.arguments cimport check_callable, descriptor, integer, os_error
from cyevent.core.log cimport debugging_
from cyevent.core.sys cimport ev_load_ulong, set_errno
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK, evthread_id_
from cyevent.core.types cimport event_base

# From this size on a bytes object is held rather than copied, where it has no room to be copied to.
cdef Py_ssize_t hold_least = 1024


cdef int check_thread(evbuffer *buf) except -1:
    cdef event_base *base = buf.cb_queue
    if buf.lock == NULL and base != NULL and base.running_loop and ev_load_ulong(&base.owner) != evthread_id_():
        raise RuntimeError("the buffer has no lock, and the loop that works on it runs in another thread")
    return 0


# --- the buffer -------------------------------------------------------------------------------------

cdef EvBuffer evbuffer_view(evbuffer *buf, EventBase owner):
    cdef EvBuffer self = EvBuffer.__new__(EvBuffer)
    self.buf = buf
    self.borrowed = self.looped = True
    self.owner = owner
    return self


cdef class EvBuffer:
    """A queue of bytes: added at the end, removed at the front, copied as little as possible.

    data: a bytes-like object to begin with; its bytes are added as `add` does.
    threadsafe: gives the buffer a lock, which each method holds.
    zerocopy: see the attribute.

    Sizes and offsets count bytes. A size of -1 means everything; a negative one otherwise, and an offset beyond
    the end, is a ValueError. Data that is not bytes-like is a TypeError, memory that runs out a MemoryError. A
    frozen end makes what works on it raise BufferError; the end of a bufferevent's input and the front of its
    output are frozen. Bytes that cannot be had from a file (see `add_file`) make what needs them raise OSError.

    A buffer without a lock raises RuntimeError while another thread reads or writes with it. So does, in debug
    mode, one that belongs to a bufferevent or has deferred callbacks, while the loop runs in another thread.
    """

    def __cinit__(self):
        self.callbacks = []

    def __init__(self, data=None, *, bint threadsafe=False, bint zerocopy=False):
        if self.buf != NULL or self.borrowed:
            raise RuntimeError("EvBuffer.__init__() was called twice")
        self.buf = evbuffer_new()
        if self.buf == NULL or (threadsafe and evbuffer_enable_locking(self.buf, NULL) < 0):
            raise MemoryError()
        if zerocopy:
            evbuffer_set_flags(self.buf, EVBUFFER_FLAG_ZEROCOPY)
        if data is not None:
            add_object(self.buf, data, "data")

    def __del__(self):
        self.detach()

    def __dealloc__(self):
        if self.buf != NULL and not self.borrowed:
            evbuffer_free(self.buf)

    cdef void detach(self) noexcept:
        cdef Callback callback
        for callback in self.callbacks:
            callback.drop()
        self.callbacks = []
        if self.borrowed:
            self.buf = NULL
            self.detached = True

    cdef int unusable(self) except -1:
        if self.busy:
            raise RuntimeError("the buffer is in use by another thread")
        raise ValueError("the buffer is closed")

    cdef evbuffer *enter(self) except NULL:
        cdef evbuffer *buf = self.buf
        if buf == NULL:
            self.unusable()
        if buf.lock != NULL:
            # Its holder may be waiting for the GIL.
            with nogil:
                EVLOCK_LOCK(buf.lock)
        elif self.looped and debugging_():
            check_thread(buf)
        return buf

    # In.

    @cython.binding(False)
    @cython.embedsignature.format("clinic")
    def add(self, data):
        """Puts a bytes-like object's bytes at the end.

        They are copied, but for a bytes object of 1024 bytes and more, which never changes: it may be held
        instead, until its last byte has left.
        """
        cdef evbuffer *buf = self.buf
        if buf == NULL or buf.lock != NULL or self.looped:
            buf = self.enter()
        try:
            if PyBytes_CheckExact(data) and PyBytes_GET_SIZE(data) >= hold_least and not self.borrowed \
                    and (buf.last == NULL or chain_space(buf.last) < <size_t>PyBytes_GET_SIZE(data)):
                hold_bytes(buf, data)
            else:
                add_object(buf, data, "data")
        finally:
            EVLOCK_UNLOCK(buf.lock)

    def add_reference(self, data, offset=0, length=-1):
        """Puts a bytes-like object's bytes, or a part of them, at the end without copying.

        offset, length: the part; -1 for the rest of the object. ValueError when it does not have it.

        The object is held, and its bytes must not change, until the last of them has left every buffer that
        they were moved or referred to. It may refer to the buffer; the cyclic collector sees that if the buffer
        has no lock and is no bufferevent's, the object is no memoryview, and no view shows its bytes.
        """
        cdef Py_ssize_t begin = count_argument(offset, "offset")
        cdef Py_ssize_t n = size_argument(length, "length")
        cdef evbuffer *buf = self.enter()
        try:
            add_object_reference(buf, data, begin, n)
        finally:
            EVLOCK_UNLOCK(buf.lock)

    def prepend(self, data):
        """Copies a bytes-like object's bytes to the front."""
        cdef evbuffer *buf = self.enter()
        try:
            prepend_object(buf, data)
        finally:
            EVLOCK_UNLOCK(buf.lock)

    def add_file(self, file, offset=0, length=-1):
        """Puts a part of a file at the end, without copying.

        file: a regular file or its descriptor, of which the buffer makes one of its own: it may be closed at
        once.
        offset, length: the part, in bytes; -1 for the rest of the file. ValueError when the file does not have
        it.

        The bytes stay in the file. They go by sendfile(2) where the buffer is written to a socket, and are
        mapped (mmap(2)) where somebody looks at them. If the file becomes shorter, what needs the bytes raises
        OSError (EIO), and views of them must not be touched. OSError for a descriptor that is bad.
        """
        cdef long long begin = integer(offset, "offset", 0, PY_SSIZE_T_MAX)
        cdef Py_ssize_t n = size_argument(length, "length")
        cdef int fd = descriptor_of_our_own(file, "file")
        cdef evbuffer *buf
        try:
            buf = self.enter()
        except BaseException:
            close_descriptor(fd)
            raise
        try:
            add_descriptor(buf, fd, begin, n)
        finally:
            EVLOCK_UNLOCK(buf.lock)

    def add_file_segment(self, FileSegment segment not None, offset=0, length=-1):
        """Puts a part of a FileSegment at the end, in the way of `add_file`.

        offset, length: the part, counted from the segment's beginning; -1 for the rest of it. ValueError when
        the segment does not have it, or is closed. The buffer keeps what it needs of the segment.
        """
        cdef long long begin = segment.check_part(offset, length)
        cdef Py_ssize_t n = size_argument(length, "length")
        cdef evbuffer *buf = self.enter()
        try:
            if evbuffer_add_file_segment(buf, segment.segment, begin, n) < 0:
                frozen_or_memory(buf, False)
        finally:
            EVLOCK_UNLOCK(buf.lock)

    def add_buffer(self, EvBuffer other not None):
        """Moves everything from `other` to the end, without copying; `other` is empty then. BufferError for a
        frozen end of either."""
        self.from_other(other, evbuffer_add_buffer, False, True)

    def prepend_buffer(self, EvBuffer other not None):
        """Moves everything from `other` to the front, without copying; `other` is empty then. BufferError for a
        frozen front of either."""
        self.from_other(other, evbuffer_prepend_buffer, True, True)

    def add_buffer_reference(self, EvBuffer other not None):
        """Puts what `other` holds at the end as well, without copying; both stay usable.

        This is how one message goes to many receivers. ValueError when `other` holds bytes that it got in
        this way itself, or is this buffer.
        """
        self.from_other(other, evbuffer_add_buffer_reference, False, False)

    cdef int from_other(self, EvBuffer other,
                        int (*function)(evbuffer *, evbuffer *) noexcept nogil,
                        bint at_front, bint moves) except -1:
        cdef evbuffer *buf = self.buf
        cdef evbuffer *source = other.buf
        if buf == NULL:
            self.unusable()
        if source == NULL:
            other.unusable()
        if debugging_():
            check_thread(buf)
            check_thread(source)
        return take_from(buf, source, function, at_front, moves)

    def reserve(self, n):
        """Returns space for n bytes, to be written and then added at the end: a Reservation.

        `with buf.reserve(n) as vectors:` gives writable memoryviews, n bytes together. The end of the block
        adds them all, `buf.commit(k)` in the block only the first k, and an exception none. The buffer may
        change meanwhile: the bytes come to the end that it has when they are committed.
        The space is not cleared; write what you commit.
        """
        cdef Space space = reserve_space(self, count_argument(n, "n"))
        self.reserved = space
        return space

    def commit(self, n):
        """Adds the first n bytes of what was reserved last, and ends its views. RuntimeError when that is
        already done, ValueError for more than was reserved."""
        cdef Py_ssize_t count = count_argument(n, "n")
        EVLOCK_UNLOCK(self.enter().lock)
        if self.reserved is None:
            raise RuntimeError("no space is reserved")
        (<Space>self.reserved).take(count)

    def expand(self, n):
        """Makes room, so that adding n bytes will not allocate."""
        cdef Py_ssize_t count = count_argument(n, "n")
        cdef evbuffer *buf = self.enter()
        cdef int result = evbuffer_expand(buf, count)
        EVLOCK_UNLOCK(buf.lock)
        if result < 0:
            raise MemoryError()

    # Out.

    @cython.binding(False)
    @cython.embedsignature.format("clinic")
    def remove(self, n=-1):
        """Removes and returns the first n bytes, or as many as there are, as bytes."""
        cdef Py_ssize_t count = size_argument(n, "n")
        cdef evbuffer *buf = self.buf
        if buf != NULL and buf.lock == NULL and not self.looped:
            return take_bytes(buf, count)
        buf = self.enter()
        try:
            return take_bytes(buf, count)
        finally:
            EVLOCK_UNLOCK(buf.lock)

    def readinto(self, target):
        """Moves bytes from the front into a writable bytes-like object, as many as there are and fit. Returns
        how many; TypeError for what cannot be written to."""
        cdef evbuffer *buf = self.enter()
        try:
            return take_into(buf, target)
        finally:
            EVLOCK_UNLOCK(buf.lock)

    def copyout(self, n=-1, offset=0):
        """Returns n bytes from `offset` on, or as many as there are, as bytes, and leaves them where they
        are."""
        cdef Py_ssize_t count = size_argument(n, "n")
        cdef evbuffer *buf = self.enter()
        cdef evbuffer_ptr first
        try:
            if buf.freeze_start:
                frozen_or_memory(buf, True)
            position(buf, offset, "offset", &first)
            return copy_bytes(buf, count, &first)
        finally:
            EVLOCK_UNLOCK(buf.lock)

    @cython.binding(False)
    @cython.embedsignature.format("clinic")
    def drain(self, n=-1):
        """Throws the first n bytes away, or as many as there are."""
        cdef Py_ssize_t count = size_argument(n, "n")
        cdef evbuffer *buf = self.enter()
        try:
            if evbuffer_drain(buf, <size_t>count if count >= 0 else buf.total_len) < 0:
                frozen_or_memory(buf, True)
        finally:
            EVLOCK_UNLOCK(buf.lock)

    def move_to(self, EvBuffer other not None, n=-1):
        """Moves the first n bytes, or as many as there are, to the end of `other`. Returns how many; whole
        chains are moved, at most one is copied in part. ValueError for this buffer itself."""
        cdef evbuffer *buf = self.buf
        cdef evbuffer *target = other.buf
        cdef Py_ssize_t count = size_argument(n, "n")
        if buf == NULL:
            self.unusable()
        if target == NULL:
            other.unusable()
        if debugging_():
            check_thread(buf)
            check_thread(target)
        if buf == target:
            raise ValueError("other must not be this buffer")
        return move_bytes(buf, target, count)

    def readline(self, eol=EVBUFFER_EOL_CRLF):
        """Removes a line and returns it without its end, as bytes; None when there is no whole line.

        eol: EOL_CRLF (LF, with or without CR), EOL_CRLF_STRICT, EOL_LF, EOL_NUL, or EOL_ANY (any run of CR
        and LF).

        There is no limit on a line's length but memory.
        """
        cdef evbuffer_eol_style style = check_eol(eol)
        cdef evbuffer *buf = self.enter()
        try:
            return take_line(buf, style)
        finally:
            EVLOCK_UNLOCK(buf.lock)

    # Looking.

    def search(self, what, start=0, end=None):
        """Returns where the bytes `what` are first found, whole, between the positions start and end (None: the
        end of the buffer); -1 if they are not. An empty `what` is found at start."""
        cdef evbuffer *buf = self.enter()
        cdef evbuffer_ptr first, last
        try:
            position(buf, start, "start", &first)
            if end is not None:
                position(buf, end, "end", &last)
            return find_bytes(buf, what, &first, &last if end is not None else NULL)
        finally:
            EVLOCK_UNLOCK(buf.lock)

    def search_eol(self, start=0, eol=EVBUFFER_EOL_CRLF):
        """Returns where the first line end from `start` on is and how many bytes it has, a tuple; None if there
        is none. eol: as for `readline`."""
        cdef evbuffer_eol_style style = check_eol(eol)
        cdef evbuffer *buf = self.enter()
        cdef evbuffer_ptr first
        try:
            position(buf, start, "start", &first)
            return find_line(buf, &first, style)
        finally:
            EVLOCK_UNLOCK(buf.lock)

    def pullup(self, n=-1):
        """Puts the first n bytes in one piece, copying what is not, and returns a read-only memoryview of them.
        ValueError when there are fewer. The view keeps its bytes, whatever happens to the buffer."""
        cdef Py_ssize_t count = size_argument(n, "n")
        cdef evbuffer *buf = self.enter()
        try:
            if count < 0:
                count = <Py_ssize_t>buf.total_len
            if <size_t>count > buf.total_len:
                raise ValueError(f"n must be at most the buffer's length, {buf.total_len}, not {n}")
            return pull_up(buf, count)
        finally:
            EVLOCK_UNLOCK(buf.lock)

    def peek(self, n=-1, offset=0):
        """Returns n bytes from `offset` on, or as many as there are, as a list of read-only memoryviews,
        without copying. The views keep their bytes, whatever happens to the buffer."""
        cdef Py_ssize_t count = size_argument(n, "n")
        cdef evbuffer *buf = self.enter()
        cdef evbuffer_ptr first
        try:
            position(buf, offset, "offset", &first)
            return view_bytes(buf, count, &first)
        finally:
            EVLOCK_UNLOCK(buf.lock)

    def __iter__(self):
        """The buffer's bytes as read-only memoryviews, one for each chain."""
        return iter(self.peek())

    def __len__(self):
        cdef evbuffer *buf = self.buf
        if buf == NULL:
            self.unusable()
        if self.looped and debugging_():
            check_thread(buf)
        return <Py_ssize_t>buf.total_len

    def __bool__(self):
        return len(self) != 0

    def __bytes__(self):
        """Returns a copy of everything."""
        return self.copyout()

    @property
    def contiguous(self):
        """How many bytes stand together at the front."""
        cdef evbuffer *buf = self.enter()
        cdef size_t result = evbuffer_get_contiguous_space(buf)
        EVLOCK_UNLOCK(buf.lock)
        return result

    @property
    def chains(self):
        """How many pieces the bytes are in."""
        cdef evbuffer *buf = self.enter()
        cdef Py_ssize_t n = count_chains(buf)
        EVLOCK_UNLOCK(buf.lock)
        return n

    # Descriptors.

    @property
    def max_read(self):
        """The most bytes that one `read` takes, 4096 at first; it can be set, to at least 1."""
        cdef evbuffer *buf = self.enter()
        cdef size_t result = evbuffer_get_max_read(buf)
        EVLOCK_UNLOCK(buf.lock)
        return result

    @max_read.setter
    def max_read(self, n):
        cdef size_t count = integer(n, "max_read", 1, 0x7fffffff)
        cdef evbuffer *buf = self.enter()
        evbuffer_set_max_read(buf, count)
        EVLOCK_UNLOCK(buf.lock)

    @property
    def zerocopy(self):
        """Whether large pieces leave to a TCP socket without being copied; Linux alone can.

        Their memory is given back when the kernel says that it is done, which may be long after they have left
        the buffer, and in another thread. Nobody else may use MSG_ZEROCOPY on such a socket, or read its error
        queue. A bufferevent's `output` may have it set.
        """
        cdef evbuffer *buf = self.enter()
        cdef bint result = buf.flags & EVBUFFER_FLAG_ZEROCOPY != 0
        EVLOCK_UNLOCK(buf.lock)
        return result

    @zerocopy.setter
    def zerocopy(self, bint wanted):
        cdef evbuffer *buf = self.enter()
        if wanted:
            evbuffer_set_flags(buf, EVBUFFER_FLAG_ZEROCOPY)
        else:
            evbuffer_clear_flags(buf, EVBUFFER_FLAG_ZEROCOPY)
        EVLOCK_UNLOCK(buf.lock)

    @property
    def zerocopy_threshold(self):
        """The fewest bytes in one piece that are not copied."""
        cdef evbuffer *buf = self.enter()
        cdef size_t result = evbuffer_get_zerocopy_threshold(buf)
        EVLOCK_UNLOCK(buf.lock)
        return result

    @zerocopy_threshold.setter
    def zerocopy_threshold(self, n):
        cdef size_t count = integer(n, "zerocopy_threshold", 1, 0xffffffff)
        cdef evbuffer *buf = self.enter()
        evbuffer_set_zerocopy_threshold(buf, count)
        EVLOCK_UNLOCK(buf.lock)

    @property
    def zerocopy_stats(self):
        """What became of it, on the socket that the buffer was last written to: a ZerocopyStats."""
        cdef evbuffer *buf = self.enter()
        try:
            return zerocopy_stats(buf)
        finally:
            EVLOCK_UNLOCK(buf.lock)

    def read(self, fd, n=-1):
        """Reads once from a descriptor to the end, as by readv(2): at most n bytes, and at most `max_read`.
        Returns how many; 0 at the end of the stream. BlockingIOError when nothing is there, another OSError
        when it fails. A descriptor that blocks makes it wait, without the GIL."""
        return self.transfer(descriptor(fd, "fd"), size_argument(n, "n"), False)

    def write(self, fd, n=-1):
        """Writes once from the front to a descriptor, as by writev(2), or by sendfile(2) where a file is at the
        front: at most n bytes. Drains what was written and returns how many. BlockingIOError when the
        descriptor takes nothing now, another OSError when it fails."""
        cdef Py_ssize_t count = size_argument(n, "n")
        cdef int target = descriptor(fd, "fd")
        if len(self) == 0 or count == 0:
            return 0
        return self.transfer(target, count, True)

    cdef object transfer(self, int fd, Py_ssize_t n, bint out):
        cdef evbuffer *buf = self.enter()
        cdef int result, code
        if buf.freeze_start if out else buf.freeze_end:
            EVLOCK_UNLOCK(buf.lock)
            frozen_or_memory(buf, out)
        if n > 0x7fffffff:
            n = 0x7fffffff
        # Other threads get an exception rather than a buffer that changes under their hands.
        buf.refcnt += 1
        self.busy = True
        self.buf = NULL
        EVLOCK_UNLOCK(buf.lock)
        with nogil:
            if out:
                result = evbuffer_write_atmost(buf, fd, n)
            else:
                result = evbuffer_read(buf, fd, <int>n)
            code = errno
            EVLOCK_LOCK(buf.lock)
            evbuffer_decref_and_unlock_(buf)
        self.busy = False
        if not self.detached:
            self.buf = buf
        if result < 0:
            set_errno(code)
            raise os_error("write" if out else "read")
        return result

    # Callbacks.

    def add_callback(self, callback, *, bint nodefer=False):
        """Calls callback(buffer, original_length, added, removed) after each change of the length, in the
        thread that made it; the numbers count bytes.

        nodefer: called at once even when callbacks are deferred.

        Returns a BufferCallback, with which the calls are ended; they also end with the buffer, which keeps the
        callback alive. What it raises is reported through `sys.unraisablehook`, or by a bufferevent's base. It
        may change the buffer.
        """
        check_callable(callback, "callback")
        return add_buffer_callback(self, callback, nodefer)

    def defer_callbacks(self, EventBase base not None):
        """From now on callbacks run from the base's loop, once for all changes in between. ValueError for
        another base than that of the bufferevent, or than before."""
        cdef evbuffer *buf = self.enter()
        try:
            if self.owner is not None and self.owner is not base:
                raise ValueError("base must be the EventBase that the buffer belongs to")
            if not buf.deferred_cbs:
                evbuffer_defer_callbacks(buf, base.checked())
                self.owner = base
                self.looped = True
        finally:
            EVLOCK_UNLOCK(buf.lock)

    # Frozen ends.

    def freeze(self, *, bint front):
        """Freezes the front (nothing can be removed or prepended) or, with front=False, the end (nothing can be
        added): BufferError then."""
        cdef evbuffer *buf = self.enter()
        evbuffer_freeze(buf, front)
        EVLOCK_UNLOCK(buf.lock)

    def unfreeze(self, *, bint front):
        """Undoes `freeze` of that end. What a bufferevent has frozen should be left so."""
        cdef evbuffer *buf = self.enter()
        evbuffer_unfreeze(buf, front)
        EVLOCK_UNLOCK(buf.lock)

    def frozen(self, *, bint front):
        """For a with-statement: that end is frozen in the block, and afterwards as it was before."""
        return frozen_end(self, front)

    def __repr__(self):
        if self.buf == NULL:
            return f"<cyevent.EvBuffer {'in use' if self.busy else 'closed'}>"
        try:
            n = len(self)
            chains = self.chains
        except RuntimeError:
            return "<cyevent.EvBuffer in use>"
        frozen = ("", ", end frozen", ", front frozen", ", both ends frozen")
        return (f"<cyevent.EvBuffer {n} byte{'' if n == 1 else 's'} in {chains} "
                f"chain{'' if chains == 1 else 's'}"
                f"{frozen[2 * self.buf.freeze_start + self.buf.freeze_end]}>")


def _set_min_chain(Py_ssize_t n):
    """For tests: makes new chains as small as n bytes, so that operations meet chain borders; 0 undoes it."""
    global hold_least
    evbuffer_set_min_chain_(n)
    hold_least = PY_SSIZE_T_MAX if n else 1024


# The class is there now.
import cyevent.buffer.pycycles  # no-cython-lint  # noqa: E402
