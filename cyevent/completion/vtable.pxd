# What the reactor knows of a completion port: how to make one for a base, and when it has its turns. What the
# users of ports know is in port.pxd.

from libc.stdint cimport int64_t

# The part of a port that the reactor sees; a port's struct begins with it. Everything but `open` is called with
# the base's lock held.
cdef struct completion_loop:
    const completion_loop_ops *ops

cdef struct completion_loop_ops:
    const char *name
    # A port for `base` (an event_base whose backend is made), or NULL where the kernel, or a sandbox, does not
    # give one: the base then does without, and says nothing. `flags` are the base's, EVENT_BASE_FLAG_*.
    completion_loop *(*open)(void *base, int flags) noexcept nogil
    # event_base_loop() begins, in the thread that dispatch will be called in. 0, or -1 with errno: it fails.
    int (*begin)(completion_loop *port) noexcept nogil
    # Takes the place of the backend's dispatch: tells the kernel what is queued, waits at most timeout ns (-1:
    # without end, 0: not at all) for completions and for the backend's descriptors alike, and reports both.
    # NULL for a port whose completions come by threads of its own: then the backend waits as ever.
    int (*dispatch)(completion_loop *port, int64_t timeout) noexcept nogil
    # event_base_loop() ends; what is queued must not wait for the next one.
    void (*end)(completion_loop *port) noexcept nogil
    # In a child after fork(), when the backend has been made anew: what was under way begins again in the
    # child. 0 or -1.
    int (*reinit)(completion_loop *port) noexcept nogil
    # The base goes: cancels everything and gives the kernel's objects back. Memory that the kernel may still
    # write to, or somebody still reads from, lasts until they are done. The port's own is freed by the reactor
    # with mm_free(), later: operations refer to it.
    void (*close)(completion_loop *port) noexcept nogil

# Called when its module is imported. One implementation a system.
cdef void completion_register_(const completion_loop_ops *ops) noexcept nogil
# NULL where there is none.
cdef const completion_loop_ops *completion_registered_() noexcept nogil
