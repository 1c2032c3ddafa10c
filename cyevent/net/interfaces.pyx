"""Interfaces.

Facts:
- Every machine has ::1 and most have a link-local IPv6 address, also where no IPv6 packet gets through: that a
  family is there says nothing, only an address of wider reach does.
- Interfaces come and go: a laptop wakes up in another network, a tunnel goes down.
- getifaddrs() takes some tens of microseconds. Where it is forbidden (some sandboxes) connecting a UDP socket,
  which sends nothing, shows which address the kernel would send from.

So nothing is remembered: who asks is about to look up a name, which takes longer.
"""

from libc.string cimport memset
from cyevent.core.sys cimport *
from cyevent.core.sys cimport ev_socklen_t, sockaddr, sockaddr_storage
from cyevent.net.sockaddr cimport (
    evutil_parse_sockaddr_port, evutil_v4addr_is_local_, evutil_v6addr_is_local_,
)
from cyevent.net.sys cimport SOCK_CLOEXEC, connect, getsockname, sockaddr_in, sockaddr_in6
from cyevent.net.util cimport evutil_closesocket, evutil_socket_

cdef extern from *:
    """
    typedef void (*ev_found_address)(const struct sockaddr *address, void *arg);
    #ifdef _WIN32
      #include <iphlpapi.h>
      #include <stdlib.h>
      static int ev_each_address(ev_found_address found, void *arg) {
          const ULONG flags = GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_MULTICAST | GAA_FLAG_SKIP_DNS_SERVER;
          ULONG size = 15 * 1024, result = ERROR_BUFFER_OVERFLOW;
          IP_ADAPTER_ADDRESSES *list = NULL, *i;
          IP_ADAPTER_UNICAST_ADDRESS *a;
          int tries;
          for (tries = 0; tries < 3 && result == ERROR_BUFFER_OVERFLOW; tries++) {
              free(list);
              list = (IP_ADAPTER_ADDRESSES *)malloc(size);
              if (list == NULL)
                  return -1;
              result = GetAdaptersAddresses(AF_UNSPEC, flags, NULL, list, &size);
          }
          if (result == NO_ERROR)
              for (i = list; i != NULL; i = i->Next)
                  for (a = i->FirstUnicastAddress; a != NULL; a = a->Next)
                      found(a->Address.lpSockaddr, arg);
          free(list);
          return result == NO_ERROR ? 0 : -1;
      }
    #else
      #include <ifaddrs.h>
      static int ev_each_address(ev_found_address found, void *arg) {
          struct ifaddrs *list = NULL, *i;
          if (getifaddrs(&list) < 0)
              return -1;
          for (i = list; i != NULL; i = i->ifa_next)
              if (i->ifa_addr != NULL)
                  found(i->ifa_addr, arg);
          freeifaddrs(list);
          return 0;
      }
    #endif
    """
    ctypedef void (*ev_found_address)(const sockaddr *address, void *arg) noexcept nogil
    int ev_each_address(ev_found_address found, void *arg) noexcept nogil

cdef struct reach:
    bint ipv4
    bint ipv6


cdef void note_address(const sockaddr *address, void *arg) noexcept nogil:
    cdef reach *found = <reach *>arg
    if address.sa_family == AF_INET:
        if not evutil_v4addr_is_local_(&(<const sockaddr_in *>address).sin_addr):
            found.ipv4 = True
    elif address.sa_family == AF_INET6:
        if not evutil_v6addr_is_local_(&(<const sockaddr_in6 *>address).sin6_addr):
            found.ipv6 = True


# Notes the address from which the kernel would send to `destination`. -1 if not even a socket could be made.
cdef int note_source(const char *destination, reach *found) noexcept nogil:
    cdef sockaddr_storage address
    cdef int n = sizeof(address)
    cdef ev_socklen_t length = sizeof(address)
    cdef evutil_socket_t sock
    evutil_parse_sockaddr_port(destination, <sockaddr *>&address, &n)
    sock = evutil_socket_(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    if sock < 0:
        return -1
    if connect(sock, <sockaddr *>&address, n) == 0 \
            and getsockname(sock, <sockaddr *>&address, &length) == 0:
        note_address(<sockaddr *>&address, found)
    evutil_closesocket(sock)
    return 0


cdef int evutil_check_interfaces_(bint *has_ipv4, bint *has_ipv6) noexcept nogil:
    cdef reach found
    cdef int result
    memset(&found, 0, sizeof(found))
    result = ev_each_address(note_address, &found)
    if result < 0:
        # Addresses of a root name server: any that is routed everywhere would do.
        result = note_source(b"198.41.0.4:53", &found)
        if note_source(b"[2001:503:ba3e::2:30]:53", &found) == 0:
            result = 0
    has_ipv4[0] = found.ipv4
    has_ipv6[0] = found.ipv6
    return result
