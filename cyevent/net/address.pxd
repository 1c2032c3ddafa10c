# Addresses between Python's tuples and the system's structs.

from cyevent.core.sys cimport sockaddr, sockaddr_storage

# (host, port[, flow, scope]), or a path as str, bytes or os.PathLike; a leading NUL makes an abstract name.
# Host names are looked up only if `resolve`, which may block; "" and None then mean every address. Returns the
# length used. Raises naming the argument.
cdef int address_from_object(object address, sockaddr_storage *out, bint resolve, str name) except -1
# As socket.getpeername() gives them.
cdef object address_to_object(const sockaddr *address, int length)
