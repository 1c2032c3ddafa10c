"""What EvBuffer makes for with-statements: reserved space and frozen ends.

Facts about reserved space: what is written there becomes part of the buffer later, and until then anybody may
change the buffer: the with-block itself, a callback, the loop that reads from a socket. A memoryview cannot be
taken back either, for a slice of it lives on when it is released.

So the space that Python writes into is a chain of its own, in no buffer before it is committed. Nobody else's
bytes can be overwritten, and a commit always appends, whatever happened meanwhile. If somebody kept a slice, or
the bytes are few and fit behind the buffer's last ones, the bytes are copied; otherwise the chain moves in.
"""

cimport cython
from cyevent.buffer.callbacks cimport evbuffer_invoke_callbacks_
from cyevent.buffer.chain cimport *
from cyevent.buffer.evbuffer cimport EVBUFFER_MAX, evbuffer_add, evbuffer_chain_insert_
from cyevent.buffer.pybytes cimport frozen_or_memory, look_at
from cyevent.buffer.types cimport evbuffer
from cyevent.core.arguments cimport integer
from cyevent.core.threads cimport EVLOCK_UNLOCK

cdef enum:
    # So few bytes are rather copied than left alone in a chain.
    COPY_MOST = 1024


# --- reserved space ---------------------------------------------------------------------------------

@cython.final
cdef class Reservation:
    """Space for bytes to be written and then added to a buffer; what `EvBuffer.reserve` returns.

    The with-statement gives a list of writable memoryviews, as its len() and items are. Its end commits the
    whole space, unless `commit` was called before or an exception ends the block: then nothing more is added.
    The views end with the space: using one afterwards is a ValueError. The space keeps its buffer alive, and
    may be forgotten.
    """

    def __init__(self):
        raise TypeError("Reservation is made by EvBuffer.reserve")

    def __dealloc__(self):
        if self.chain != NULL:
            evbuffer_chain_free_(self.chain)

    cdef bint close(self) noexcept:
        cdef bint ours = True
        for view in self.views:
            try:
                view.release()
            except BufferError:
                # A bytes-like object was made of it.
                ours = False
        self.views = []
        if self.look is not None:
            ours = ours and self.look.exports == 0
            self.look.readonly = True
            self.look = None
        if self.buffer_ is not None and self.buffer_.reserved is self:
            self.buffer_.reserved = None
        self.buffer_ = None
        return ours

    cdef int take(self, Py_ssize_t n) except -1:
        cdef EvBuffer buffer = self.buffer_
        cdef evbuffer_chain *chain = self.chain
        cdef evbuffer_chain *last
        cdef evbuffer *buf
        cdef bint ours
        if buffer is None:
            raise RuntimeError("the reserved space is committed or given up")
        if n > self.size:
            raise ValueError(f"n must be at most the space reserved, {self.size}, not {n}")
        buf = buffer.enter()
        try:
            if buf.freeze_end:
                frozen_or_memory(buf, False)
            ours = self.close()
            last = buf.last_with_datap[0]
            if n == 0:
                return 0
            if ours and (n > COPY_MOST or last == NULL or chain_space(last) < <size_t>n) \
                    and <size_t>n <= EVBUFFER_MAX - buf.total_len:
                self.chain = NULL
                chain.off = n
                evbuffer_chain_insert_(buf, chain)
                evbuffer_invoke_callbacks_(buf)
            elif evbuffer_add(buf, chain.buffer, n) < 0:
                raise MemoryError()
        finally:
            EVLOCK_UNLOCK(buf.lock)
        return 0

    def commit(self, n=None):
        """Adds the first n bytes of the space to the end of the buffer, all by default, and ends the views.
        ValueError for more than there are, RuntimeError when the space is committed or given up already,
        BufferError when the buffer's end is frozen."""
        cdef Py_ssize_t count = self.size
        if n is not None:
            count = <Py_ssize_t>integer(n, "n", 0, EVBUFFER_MAX)
        self.take(count)

    def __enter__(self):
        return list(self.views)

    def __exit__(self, exc_type, exc, traceback):
        try:
            if exc_type is None and self.buffer_ is not None:
                self.take(self.size)
        finally:
            self.close()

    def __len__(self):
        return len(self.views)

    def __getitem__(self, index):
        return self.views[index]


cdef Reservation reserve_space(EvBuffer buffer, Py_ssize_t n):
    cdef Reservation self = Reservation.__new__(Reservation)
    cdef evbuffer *buf = buffer.enter()
    cdef bint frozen = buf.freeze_end
    EVLOCK_UNLOCK(buf.lock)
    if frozen:
        frozen_or_memory(buf, False)
    self.views = []
    self.size = n
    if n:
        self.chain = evbuffer_chain_new_(n)
        if self.chain == NULL:
            raise MemoryError()
        self.look = look_at(self.chain, self.chain.buffer, n, False)
        self.views.append(memoryview(self.look))
    self.buffer_ = buffer
    return self


# --- frozen ends ------------------------------------------------------------------------------------

@cython.final
cdef class Frozen:
    """An end of a buffer that is frozen in a with-block; what `EvBuffer.frozen` returns."""

    def __init__(self):
        raise TypeError("Frozen is made by EvBuffer.frozen")

    def __enter__(self):
        cdef evbuffer *buf = self.buffer_.enter()
        self.before.append(buf.freeze_start if self.front else buf.freeze_end)
        if self.front:
            buf.freeze_start = True
        else:
            buf.freeze_end = True
        EVLOCK_UNLOCK(buf.lock)
        return self.buffer_

    def __exit__(self, exc_type, exc, traceback):
        cdef evbuffer *buf = self.buffer_.enter()
        cdef bint frozen = self.before.pop()
        if self.front:
            buf.freeze_start = frozen
        else:
            buf.freeze_end = frozen
        EVLOCK_UNLOCK(buf.lock)


cdef Frozen frozen_end(EvBuffer buffer, bint front):
    cdef Frozen self = Frozen.__new__(Frozen)
    self.buffer_ = buffer
    self.front = front
    self.before = []
    return self
