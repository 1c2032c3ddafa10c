"""Text, numbers, limits and dates through libevent's names."""

import calendar
from time import strptime

from libc.errno cimport errno
from libc.string cimport memset, strlen
from libc.time cimport time as libc_time

from cyevent cimport (
    EV_INT8_MAX, EV_INT8_MIN, EV_INT16_MAX, EV_INT16_MIN, EV_INT32_MAX, EV_INT32_MIN, EV_INT64_MAX,
    EV_INT64_MIN, EV_SIZE_MAX, EV_SSIZE_MAX, EV_SSIZE_MIN, EV_UINT8_MAX, EV_UINT16_MAX, EV_UINT32_MAX,
    EV_UINT64_MAX,
    ev_int8_t, ev_int16_t, ev_int32_t, ev_int64_t, ev_intptr_t, ev_off_t, ev_ssize_t, ev_uint8_t, ev_uint16_t,
    ev_uint32_t, ev_uint64_t, ev_uintptr_t, evutil_ascii_strcasecmp, evutil_ascii_strncasecmp,
    evutil_date_rfc1123, evutil_snprintf, evutil_strtoll, evutil_timeradd, evutil_timerclear,
    evutil_timerisset, evutil_timersub, evutil_vsnprintf, timeval, tm, va_list,
)
from cyevent.core.sys cimport set_errno
from cyevent.net.text cimport EVUTIL_ISDIGIT_, EVUTIL_TOLOWER_, evutil_rtrim_lws_

cdef extern from "<errno.h>" nogil:
    int EINVAL, ERANGE

cdef extern from * nogil:
    """
    #include <stdarg.h>
    static int (*ev_vsnprintf_under_test)(char *, size_t, const char *, va_list);
    static int through_va_list(char *out, size_t n, const char *format, ...) {
        va_list arguments;
        int length;
        va_start(arguments, format);
        length = ev_vsnprintf_under_test(out, n, format, arguments);
        va_end(arguments);
        return length;
    }
    """
    int (*ev_vsnprintf_under_test)(char *, size_t, const char *, va_list) noexcept nogil
    int through_va_list(char *out, size_t n, const char *format, ...) noexcept nogil


# --- for the tests in Python -------------------------------------------------------------------------

def strtoll(bytes text, int base):
    """The number, how many bytes it has, and errno."""
    cdef char *end = NULL
    cdef const char *begin = text
    cdef ev_int64_t value
    set_errno(0)
    value = evutil_strtoll(begin, &end, base)
    error = errno
    return value, end - begin, error


def casecmp(bytes a, bytes b):
    return evutil_ascii_strcasecmp(a, b)


def ncasecmp(bytes a, bytes b, size_t n):
    return evutil_ascii_strncasecmp(a, b, n)


def date(fields, size_t room=40):
    """(the text, the result) for a time.struct_time; None: now."""
    cdef tm t
    cdef char[40] out
    cdef int result
    memset(out, 120, sizeof(out))
    if fields is None:
        result = evutil_date_rfc1123(out, room, NULL)
    else:
        memset(&t, 0, sizeof(t))
        t.tm_year = fields.tm_year - 1900
        t.tm_mon = fields.tm_mon - 1
        t.tm_mday = fields.tm_mday
        t.tm_hour = fields.tm_hour
        t.tm_min = fields.tm_min
        t.tm_sec = fields.tm_sec
        t.tm_wday = (fields.tm_wday + 1) % 7 if fields.tm_wday >= 0 else fields.tm_wday
        result = evutil_date_rfc1123(out, room, &t)
    if room == 0 or result < 0:
        return out[0], result
    return out[:strlen(out)].decode(), result


# --- libevent's cases --------------------------------------------------------------------------------

def test_evutil_snprintf():
    cdef char[16] out
    cdef ev_uint64_t u64 = 200000000000
    cdef ev_int64_t i64 = -200000000000
    cdef size_t size = 8000
    cdef ev_ssize_t ssize = -9000
    assert evutil_snprintf(out, sizeof(out), b"%d %d", 50, 100) == 6
    assert out == b"50 100"
    # Cut, and told what it would have been.
    assert evutil_snprintf(out, sizeof(out), b"longish %d", 1234567890) == 18
    assert out == b"longish 1234567"
    assert evutil_snprintf(out, sizeof(out), b"%llu", <unsigned long long>u64) == 12
    assert out == b"200000000000"
    assert evutil_snprintf(out, sizeof(out), b"%lld", <long long>i64) == 13
    assert out == b"-200000000000"
    assert evutil_snprintf(out, sizeof(out), b"%zu %zd", size, ssize) == 10
    assert out == b"8000 -9000"
    assert evutil_snprintf(out, sizeof(out), b"%s", b"0123456789abcde_0123456") == 23
    assert out == b"0123456789abcde"
    assert evutil_snprintf(out, 1, b"%s", b"abc") == 3
    assert out[0] == 0
    # libevent's own: no room, no length.
    out[0] = 120
    assert evutil_snprintf(out, 0, b"%s", b"abc") == 0
    assert out[0] == 120


def test_evutil_vsnprintf():
    cdef char[16] out
    global ev_vsnprintf_under_test
    ev_vsnprintf_under_test = evutil_vsnprintf
    assert through_va_list(out, sizeof(out), b"%s %d", b"x", 7) == 3
    assert out == b"x 7"
    assert through_va_list(out, 3, b"%s %d", b"x", 7) == 3
    assert out == b"x "


def test_evutil_strtoll():
    assert strtoll(b"5000000000", 10) == (5000000000, 10, 0)
    assert strtoll(b"-5000000000", 10) == (-5000000000, 11, 0)
    assert strtoll(b" 99999stuff", 10) == (99999, 6, 0)
    assert strtoll(b"foo", 10)[:2] == (0, 0)
    assert strtoll(b"0x1f", 0) == (31, 4, 0)
    assert strtoll(b"zz", 36) == (35 * 36 + 35, 2, 0)
    assert strtoll(b"9223372036854775808", 10) == (2**63 - 1, 19, ERANGE)
    assert strtoll(b"-9223372036854775809", 10) == (-2**63, 20, ERANGE)
    assert strtoll(b"-9223372036854775808", 10) == (-2**63, 20, 0)
    assert evutil_strtoll(b"12", NULL, 10) == 12


def test_evutil_casecmp():
    assert casecmp(b"ABC", b"ABC") == 0
    assert casecmp(b"ABC", b"abc") == 0
    assert casecmp(b"ABC", b"abcd") < 0
    assert casecmp(b"ABC", b"abb") > 0
    assert casecmp(b"ABCd", b"abc") > 0
    assert casecmp(b"", b"") == 0
    assert ncasecmp(b"Libevent", b"LibEvEnT", 100) == 0
    assert ncasecmp(b"Libevent", b"LibEvEnT", 4) == 0
    assert ncasecmp(b"Libevent", b"LibEXXXX", 4) == 0
    assert ncasecmp(b"Libevent", b"LibE", 4) == 0
    assert ncasecmp(b"Libe", b"LibEvEnT", 4) == 0
    assert ncasecmp(b"Lib", b"LibEvEnT", 4) < 0
    assert ncasecmp(b"abc", b"def", 99) < 0
    assert ncasecmp(b"Z", b"qrst", 1) > 0
    assert ncasecmp(b"a", b"b", 0) == 0
    # The characters between the cases and beyond ASCII are not letters.
    assert casecmp(b"[\\]^_`", b"{|}~\x7f@") != 0
    assert casecmp(b"@", b"`") != 0
    assert casecmp(b"\xc4", b"\xe4") < 0 < casecmp(b"\xe4", b"z")


cdef bytes trimmed(bytes text):
    cdef char[64] out
    assert len(text) < 64
    evutil_snprintf(out, sizeof(out), b"%s", <const char *>text)
    evutil_rtrim_lws_(out)
    return out[:strlen(out)]


def test_evutil_rtrim():
    for text in (b"", b"a", b"abcdef ghi", b" ", b"  ", b"a ", b"abcdef  gH       ", b"\t\t", b" \t", b"\t",
                 b"a \t", b"a\t ", b"a\t", b"abcdef  gH    \t  ", b" a", b"a\r\n", b"a\n "):
        assert trimmed(text) == text.rstrip(b" \t"), text
    evutil_rtrim_lws_(NULL)


def test_EVUTIL_IS_():
    for byte in range(256):
        assert EVUTIL_ISDIGIT_(<char>byte) == (byte in b"0123456789"), byte
        assert EVUTIL_TOLOWER_(<char>byte) == bytes([byte]).lower()[0], byte


def test_evutil_integers():
    cdef ev_uint64_t u64 = EV_UINT64_MAX
    cdef ev_uint32_t u32 = EV_UINT32_MAX
    cdef ev_uint16_t u16 = EV_UINT16_MAX
    cdef ev_uint8_t u8 = EV_UINT8_MAX
    cdef ev_ssize_t ssize = EV_SSIZE_MAX
    cdef ev_intptr_t iptr
    cdef ev_uintptr_t uptr
    assert (sizeof(ev_uint64_t), sizeof(ev_uint32_t), sizeof(ev_uint16_t), sizeof(ev_uint8_t)) == (8, 4, 2, 1)
    assert (sizeof(ev_int64_t), sizeof(ev_int32_t), sizeof(ev_int16_t), sizeof(ev_int8_t)) == (8, 4, 2, 1)
    assert sizeof(ev_ssize_t) == sizeof(size_t) and sizeof(ev_off_t) == 8
    assert sizeof(ev_intptr_t) == sizeof(void *) == sizeof(ev_uintptr_t)
    assert EV_UINT64_MAX == 2**64 - 1 and EV_INT64_MAX == 2**63 - 1 and EV_INT64_MIN == -2**63
    assert EV_UINT32_MAX == 2**32 - 1 and EV_INT32_MAX == 2**31 - 1 and EV_INT32_MIN == -2**31
    assert EV_UINT16_MAX == 65535 and EV_INT16_MAX == 32767 and EV_INT16_MIN == -32768
    assert EV_UINT8_MAX == 255 and EV_INT8_MAX == 127 and EV_INT8_MIN == -128
    assert EV_SIZE_MAX == 2**(8 * sizeof(size_t)) - 1
    assert EV_SSIZE_MAX == EV_SIZE_MAX // 2 and EV_SSIZE_MIN == -EV_SSIZE_MAX - 1
    u64 += 1
    u32 += 1
    u16 += 1
    u8 += 1
    assert u64 == 0 and u32 == 0 and u16 == 0 and u8 == 0
    iptr = <ev_intptr_t>&ssize
    uptr = <ev_uintptr_t>&ssize
    assert <void *>iptr == &ssize and <void *>uptr == &ssize
    iptr = -1
    assert iptr < 0


def test_timeval_arithmetic():
    cdef timeval a, b, c
    a.tv_sec, a.tv_usec = 1, 900000
    b.tv_sec, b.tv_usec = 2, 200000
    evutil_timeradd(&a, &b, &c)
    assert (c.tv_sec, c.tv_usec) == (4, 100000)
    evutil_timersub(&b, &a, &c)
    assert (c.tv_sec, c.tv_usec) == (0, 300000)
    evutil_timersub(&a, &b, &c)
    assert (c.tv_sec, c.tv_usec) == (-1, 700000)
    evutil_timeradd(&a, &a, &a)
    assert (a.tv_sec, a.tv_usec) == (3, 800000)
    assert evutil_timerisset(&a)
    a.tv_sec = 0
    assert evutil_timerisset(&a)
    evutil_timerclear(&a)
    assert not evutil_timerisset(&a) and (a.tv_sec, a.tv_usec) == (0, 0)


def test_date_rfc1123():
    import time
    for seconds, text in [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (946684799, "Fri, 31 Dec 1999 23:59:59 GMT"),
        (946684800, "Sat, 01 Jan 2000 00:00:00 GMT"),
        (981072000, "Fri, 02 Feb 2001 00:00:00 GMT"),
        (1015113600, "Sun, 03 Mar 2002 00:00:00 GMT"),
        (1049414400, "Fri, 04 Apr 2003 00:00:00 GMT"),
        (1083715200, "Wed, 05 May 2004 00:00:00 GMT"),
        (1118016000, "Mon, 06 Jun 2005 00:00:00 GMT"),
        (1152230400, "Fri, 07 Jul 2006 00:00:00 GMT"),
        (1186531200, "Wed, 08 Aug 2007 00:00:00 GMT"),
        (1220918400, "Tue, 09 Sep 2008 00:00:00 GMT"),
        (1255132800, "Sat, 10 Oct 2009 00:00:00 GMT"),
        (1289433600, "Thu, 11 Nov 2010 00:00:00 GMT"),
        (1323648000, "Mon, 12 Dec 2011 00:00:00 GMT"),
        (4294967296, "Sun, 07 Feb 2106 06:28:16 GMT"),
        (253402300799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (1456704000, "Mon, 29 Feb 2016 00:00:00 GMT"),
        (1435708800, "Wed, 01 Jul 2015 00:00:00 GMT"),
        (1481866376, "Fri, 16 Dec 2016 05:32:56 GMT"),
    ]:
        assert date(time.gmtime(seconds)) == (text, 29)
    # Cut, but whole: 29 characters and the end.
    assert date(time.gmtime(0), 8) == ("Thu, 01", 29)
    assert date(time.gmtime(0), 29) == ("Thu, 01 Jan 1970 00:00:00 GM", 29)
    assert date(time.gmtime(0), 30) == ("Thu, 01 Jan 1970 00:00:00 GMT", 29)
    assert date(time.gmtime(0), 0) == (120, 0)


def test_date_rfc1123_of_now():
    # Python's clock may be in the next second already.
    before = libc_time(NULL)
    text, result = date(None)
    after = libc_time(NULL)
    then = calendar.timegm(strptime(text, "%a, %d %b %Y %H:%M:%S GMT"))
    assert before <= then <= after and result == 29


def test_date_rfc1123_of_no_date():
    cdef tm t
    cdef char[40] out
    memset(&t, 0, sizeof(t))
    for field, value in (("mon", 12), ("mon", -1), ("wday", 7), ("wday", -1)):
        t.tm_mon = value if field == "mon" else 0
        t.tm_wday = value if field == "wday" else 0
        assert evutil_date_rfc1123(out, sizeof(out), &t) == -1
        assert errno == EINVAL
