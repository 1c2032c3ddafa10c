# The AFD backend waits in a completion port. Whoever has operations of his own may have them complete there:
# then one wait is for descriptors and for operations alike.

from cyevent.backends.afd_abi cimport HANDLE
from cyevent.core.types cimport event_base

# Its address is the key with which a handle is tied to the port. It has to last as long as the port.
cdef struct afd_guest:
    # An operation of the guest's is done. Called by the backend's dispatch, with the base's lock held.
    void (*completed)(afd_guest *guest, void *overlapped) noexcept nogil

# NULL for a base with another backend.
cdef HANDLE afd_port_(const event_base *base) noexcept nogil
