# Addresses as text and what kind they are of.

from cyevent.core.sys cimport sockaddr
from cyevent.net.sys cimport in_addr, in6_addr

# AF_INET or AF_INET6. The text of an address is the same on every system: RFC 5952's, with the dotted form for
# what holds an IPv4 address. NULL with errno where len has no room for it and its NUL, or for another family.
cdef const char *evutil_inet_ntop(int af, const void *src, char *dst, size_t len) noexcept nogil
# 1; 0: not an address; -1: no such family. Neither blanks nor, in IPv4, leading zeros are let through.
cdef int evutil_inet_pton(int af, const char *src, void *dst) noexcept nogil
# The same for "fe80::1%eth0": *indexp is the interface's index, by its name or by number, or 0. A name that no
# interface has is not an address.
cdef int evutil_inet_pton_scope(int af, const char *src, void *dst, unsigned *indexp) noexcept nogil
# "1.2.3.4", "1.2.3.4:80", "::1", "[::1]", "[::1]:80", "[fe80::1%eth0]:80". Without a port it is 0. outlen: the
# room in *out, then the length used. -1 for what is none of these, has no port from 1 to 65535 where there
# should be one, or does not fit.
cdef int evutil_parse_sockaddr_port(const char *text, sockaddr *out, int *outlen) noexcept nogil
# Orders addresses; with or without their ports. Zones are left out. Not 0 for families other than IP.
cdef int evutil_sockaddr_cmp(const sockaddr *a, const sockaddr *b, int include_port) noexcept nogil

# Room for every text of evutil_format_sockaddr_port_(): 45, the zone's number, brackets, port and NUL.
cdef enum:
    SOCKADDR_TEXT_SIZE = 72

# The text that evutil_parse_sockaddr_port() reads, in `out`, which is returned; cut to outlen. A zone stands
# there by its number. Another family gives "<addr with socktype 1>".
cdef const char *evutil_format_sockaddr_port_(const sockaddr *address, char *out,
                                              size_t outlen) noexcept nogil
# 127.0.0.0/8 or ::1
cdef bint evutil_sockaddr_is_loopback_(const sockaddr *address) noexcept nogil
# Whether packets to the address stay within reach of the machine's own links, and so an interface that has it
# says nothing about the rest of the net: unspecified, loopback, link-local, multicast; for IPv6 also
# site-local, unique local, and all that begins with 64 zero bits.
cdef bint evutil_v4addr_is_local_(const in_addr *address) noexcept nogil
cdef bint evutil_v6addr_is_local_(const in6_addr *address) noexcept nogil
