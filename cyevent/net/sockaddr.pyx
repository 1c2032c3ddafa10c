"""Addresses as text.

Facts:
- Systems write the same IPv6 address in different ways: ::1:0 is ::0.1.0.0 in glibc, and some BSDs write a lone
  zero word as "::".
- inet_aton() and its like read 010.0.0.1 as octal, others as decimal: a filter and a connection may disagree
  about the address. inet_pton() lets neither through.
- An interface's index is the machine's, and may change with each start; its name can be gone at any moment.

So formatting is done here, parsing is inet_pton()'s, and a zone is written as the number that the socket
address holds.
"""

from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcmp, memcpy, memset, strchr, strlen
from cyevent.core.sys cimport *
from cyevent.core.sys cimport sockaddr
from cyevent.net.sys cimport *
from cyevent.net.sys cimport in6_addr, in_addr, sockaddr_in, sockaddr_in6
from cyevent.net.text cimport EVUTIL_ISDIGIT_
from cyevent.net.types cimport evutil_snprintf

cdef enum:
    # An address without brackets and port; interface names have at most 255 bytes on any system.
    HOST_MAX = 320
    WORDS = 8


# --- to text ----------------------------------------------------------------------------------------

# Where the longest run of zero words begins, the first of equals; -1 if none is longer than one word.
cdef int longest_gap(const uint16_t *words, int *length) noexcept nogil:
    cdef int best = -1
    cdef int begin = -1
    cdef int i
    length[0] = 1
    for i in range(WORDS):
        if words[i]:
            begin = -1
            continue
        if begin < 0:
            begin = i
        if i - begin + 1 > length[0]:
            best = begin
            length[0] = i - begin + 1
    return best


cdef void format_v6(const unsigned char *address, char *out, size_t room) noexcept nogil:
    cdef uint16_t[WORDS] words
    cdef int gap, length, i
    cdef size_t n = 0
    cdef const unsigned char *last = address + 12
    for i in range(WORDS):
        words[i] = <uint16_t>(address[2 * i] << 8 | address[2 * i + 1])
    gap = longest_gap(words, &length)
    if gap == 0 and length == 6 and words[6] and words[7]:
        evutil_snprintf(out, room, b"::%d.%d.%d.%d", last[0], last[1], last[2], last[3])
        return
    if gap == 0 and length == 5 and words[5] == 0xffff:
        evutil_snprintf(out, room, b"::ffff:%d.%d.%d.%d", last[0], last[1], last[2], last[3])
        return
    i = 0
    while i < WORDS:
        if i == gap:
            n += evutil_snprintf(out + n, room - n, b"::")
            i += length
            continue
        if i and i != gap + length:
            n += evutil_snprintf(out + n, room - n, b":")
        n += evutil_snprintf(out + n, room - n, b"%x", <unsigned>words[i])
        i += 1


cdef const char *evutil_inet_ntop(int af, const void *src, char *dst, size_t len) noexcept nogil:
    cdef const unsigned char *address = <const unsigned char *>src
    cdef char[64] text
    if af == AF_INET:
        evutil_snprintf(text, sizeof(text), b"%d.%d.%d.%d", address[0], address[1], address[2],
                        address[3])
    elif af == AF_INET6:
        format_v6(address, text, sizeof(text))
    else:
        set_errno(EV_EAFNOSUPPORT)
        return NULL
    if strlen(text) >= len:
        set_errno(ENOSPC)
        return NULL
    memcpy(dst, text, strlen(text) + 1)
    return dst


cdef const char *evutil_format_sockaddr_port_(const sockaddr *address, char *out,
                                              size_t outlen) noexcept nogil:
    cdef const sockaddr_in *v4 = <const sockaddr_in *>address
    cdef const sockaddr_in6 *v6 = <const sockaddr_in6 *>address
    cdef char[64] host
    if address.sa_family == AF_INET:
        evutil_inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host))
        evutil_snprintf(out, outlen, b"%s:%d", host, <int>ntohs(v4.sin_port))
    elif address.sa_family == AF_INET6:
        evutil_inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host))
        if v6.sin6_scope_id:
            evutil_snprintf(out, outlen, b"[%s%%%u]:%d", host, <unsigned>v6.sin6_scope_id,
                            <int>ntohs(v6.sin6_port))
        else:
            evutil_snprintf(out, outlen, b"[%s]:%d", host, <int>ntohs(v6.sin6_port))
    else:
        evutil_snprintf(out, outlen, b"<addr with socktype %d>", <int>address.sa_family)
    return out


# --- from text --------------------------------------------------------------------------------------

cdef int evutil_inet_pton(int af, const char *src, void *dst) noexcept nogil:
    if af != AF_INET and af != AF_INET6:
        set_errno(EV_EAFNOSUPPORT)
        return -1
    return inet_pton(af, src, dst)


# -1: neither an interface's name nor a number.
cdef int parse_zone(const char *text, unsigned *index) noexcept nogil:
    cdef unsigned long long number = if_nametoindex(text)
    if number == 0:
        if text[0] == 0:
            return -1
        while text[0]:
            if not EVUTIL_ISDIGIT_(text[0]):
                return -1
            number = number * 10 + <unsigned>(text[0] - 48)
            if number > 0xffffffffu:
                return -1
            text += 1
    index[0] = <unsigned>number
    return 0


cdef int evutil_inet_pton_scope(int af, const char *src, void *dst, unsigned *indexp) noexcept nogil:
    cdef char[HOST_MAX] host
    cdef const char *percent
    cdef int result
    indexp[0] = 0
    if af != AF_INET6:
        return evutil_inet_pton(af, src, dst)
    percent = strchr(src, 37)
    if percent == NULL:
        return evutil_inet_pton(af, src, dst)
    if percent - src >= HOST_MAX:
        return 0
    memcpy(host, src, percent - src)
    host[percent - src] = 0
    # The address first: a name that is none should not cost a call about interfaces.
    result = evutil_inet_pton(af, host, dst)
    if result == 1 and parse_zone(percent + 1, indexp) < 0:
        return 0
    return result


# From 1 to 65535, or -1.
cdef int parse_port(const char *text) noexcept nogil:
    cdef int port = 0
    while EVUTIL_ISDIGIT_(text[0]):
        port = port * 10 + text[0] - 48
        if port > 65535:
            return -1
        text += 1
    return port if port > 0 and text[0] == 0 else -1


# Splits at the colon before the port. host gets a copy of what is before it, without brackets.
cdef int split(const char *text, char *host, int *family, int *port) noexcept nogil:
    cdef const char *begin = text
    cdef const char *end
    cdef const char *port_text = NULL
    cdef const char *colon = strchr(text, 58)
    family[0] = AF_INET6
    if text[0] == 91:                              # [
        begin = text + 1
        end = strchr(begin, 93)
        if end == NULL:
            return -1
        if end[1] == 58:
            port_text = end + 2
        elif end[1]:
            return -1
    elif colon == NULL:
        family[0] = AF_INET
        end = text + strlen(text)
    elif strchr(colon + 1, 58) != NULL:
        end = text + strlen(text)
    else:
        family[0] = AF_INET
        end = colon
        port_text = colon + 1
    if end - begin >= HOST_MAX:
        return -1
    memcpy(host, begin, end - begin)
    host[end - begin] = 0
    port[0] = 0 if port_text == NULL else parse_port(port_text)
    return -1 if port[0] < 0 else 0


cdef int evutil_parse_sockaddr_port(const char *text, sockaddr *out, int *outlen) noexcept nogil:
    cdef char[HOST_MAX] host
    cdef sockaddr_in v4
    cdef sockaddr_in6 v6
    cdef unsigned zone = 0
    cdef int family, port
    if split(text, host, &family, &port) < 0:
        return -1
    if family == AF_INET6:
        memset(&v6, 0, sizeof(v6))
        ev_set_sa_len(<sockaddr *>&v6, sizeof(v6))
        if evutil_inet_pton_scope(AF_INET6, host, &v6.sin6_addr, &zone) != 1 \
                or outlen[0] < <int>sizeof(v6):
            return -1
        v6.sin6_family = AF_INET6
        v6.sin6_port = htons(<uint16_t>port)
        v6.sin6_scope_id = zone
        memcpy(out, &v6, sizeof(v6))
        outlen[0] = sizeof(v6)
        return 0
    memset(&v4, 0, sizeof(v4))
    ev_set_sa_len(<sockaddr *>&v4, sizeof(v4))
    if evutil_inet_pton(AF_INET, host, &v4.sin_addr) != 1 or outlen[0] < <int>sizeof(v4):
        return -1
    v4.sin_family = AF_INET
    v4.sin_port = htons(<uint16_t>port)
    memcpy(out, &v4, sizeof(v4))
    outlen[0] = sizeof(v4)
    return 0


# --- comparing, kinds -------------------------------------------------------------------------------

cdef int evutil_sockaddr_cmp(const sockaddr *a, const sockaddr *b, int include_port) noexcept nogil:
    cdef const sockaddr_in *a4 = <const sockaddr_in *>a
    cdef const sockaddr_in *b4 = <const sockaddr_in *>b
    cdef const sockaddr_in6 *a6 = <const sockaddr_in6 *>a
    cdef const sockaddr_in6 *b6 = <const sockaddr_in6 *>b
    cdef int result = <int>a.sa_family - <int>b.sa_family
    if result:
        return result
    if a.sa_family == AF_INET:
        result = memcmp(&a4.sin_addr, &b4.sin_addr, sizeof(a4.sin_addr))
        if result == 0 and include_port:
            result = <int>ntohs(a4.sin_port) - <int>ntohs(b4.sin_port)
        return result
    if a.sa_family == AF_INET6:
        result = memcmp(&a6.sin6_addr, &b6.sin6_addr, sizeof(a6.sin6_addr))
        if result == 0 and include_port:
            result = <int>ntohs(a6.sin6_port) - <int>ntohs(b6.sin6_port)
        return result
    return 1


cdef bint evutil_sockaddr_is_loopback_(const sockaddr *address) noexcept nogil:
    cdef const unsigned char *bytes6
    cdef int i
    if address.sa_family == AF_INET:
        return ntohl((<const sockaddr_in *>address).sin_addr.s_addr) >> 24 == 127
    if address.sa_family != AF_INET6:
        return False
    bytes6 = <const unsigned char *>&(<const sockaddr_in6 *>address).sin6_addr
    for i in range(15):
        if bytes6[i]:
            return False
    return bytes6[15] == 1


cdef bint evutil_v4addr_is_local_(const in_addr *address) noexcept nogil:
    cdef uint32_t host = ntohl(address.s_addr)
    return host == 0 or host >> 24 == 127 or host >> 16 == 0xa9fe or host >> 28 == 0xe


cdef bint evutil_v6addr_is_local_(const in6_addr *address) noexcept nogil:
    cdef const unsigned char *a = <const unsigned char *>address
    if a[0] == 0xff or a[0] & 0xfe == 0xfc or (a[0] == 0xfe and a[1] & 0x80):
        return True
    return not (a[0] or a[1] or a[2] or a[3] or a[4] or a[5] or a[6] or a[7])
