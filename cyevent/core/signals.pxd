# Signals: from the kernel into a base.

from cyevent.core.types cimport event_base

# Makes the base, whose backend is chosen, ready for signals; nothing is opened before the first is added.
# 0 or -1.
cdef int evsig_init_(event_base *base) noexcept nogil
# The base that runs last is the one that its signals are delivered to.
cdef void evsig_claim_(event_base *base) noexcept nogil
cdef void evsig_dealloc_(event_base *base) noexcept nogil
# In a forked child whose parent keeps the base: what that reads its signals from is not changed from now on.
cdef void evsig_leave_(event_base *base) noexcept nogil
# After a fork: descriptors of its own for a base that has signals. 0 or -1.
cdef int evsig_reinit_(event_base *base) noexcept nogil
cdef const char *evsig_method_(event_base *base) noexcept nogil
