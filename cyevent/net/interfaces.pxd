# What the machine's interfaces let it reach.

# Sets each flag to whether an interface has an address of the family that is of use beyond the machine and its
# links. -1 if it cannot be told.
cdef int evutil_check_interfaces_(bint *has_ipv4, bint *has_ipv6) noexcept nogil
