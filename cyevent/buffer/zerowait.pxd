# Who waits for the kernel's notifications: a base for its bufferevents' sockets, a thread for all others.

from cyevent.core.types cimport event_base
from cyevent.buffer.zerosockets cimport zerocopy_base, zerocopy_socket

# With the sockets' lock held. False when nobody can wait.
cdef bint zerocopy_watch_(zerocopy_socket *socket) noexcept nogil
cdef void zerocopy_unwatch_(zerocopy_socket *socket) noexcept nogil
# Whether its loop does not run, or it has been freed.
cdef bint zerocopy_base_is_idle_(const zerocopy_base *self) noexcept nogil
# The socket leaves its base; what it owes is the thread's. Returns what is to be ended without the lock, or
# NULL.
cdef zerocopy_base *zerocopy_leave_base_(zerocopy_socket *socket) noexcept nogil
# In a forked child.
cdef void zerocopy_wait_forked_() noexcept nogil

# Without the lock.
cdef void zerocopy_join_base_(zerocopy_socket *socket, event_base *base) noexcept nogil
cdef void zerocopy_end_base_(zerocopy_base *self) noexcept nogil
