# Text of protocols: ASCII whatever the locale is.

from libc.stdint cimport int64_t

cdef extern from "<time.h>" nogil:
    struct tm:
        int tm_sec
        int tm_min
        int tm_hour
        int tm_mday
        int tm_mon
        int tm_year
        int tm_wday
        int tm_yday
        int tm_isdst

# Letters A to Z are equal to a to z, all other bytes differ; -1, 0 or 1, by bytes from 0 to 255.
cdef int evutil_ascii_strcasecmp(const char *a, const char *b) noexcept nogil
# At most n bytes of each.
cdef int evutil_ascii_strncasecmp(const char *a, const char *b, size_t n) noexcept nogil
# As strtol(): base 2 to 36, or 0 for C's prefixes; endptr may be NULL. Beyond 64 bits: the nearest, and ERANGE.
cdef int64_t evutil_strtoll(const char *s, char **endptr, int base) noexcept nogil
# "Thu, 01 Jan 1970 00:00:00 GMT", for HTTP; date_time is in UTC, NULL: now. Returns the length of the whole
# text; datelen or more says that it was cut. -1 with EINVAL if its month or day of the week is none.
cdef int evutil_date_rfc1123(char *date, size_t datelen, const tm *date_time) noexcept nogil

# Cuts blanks and tabs off the end.
cdef void evutil_rtrim_lws_(char *text) noexcept nogil


cdef inline bint EVUTIL_ISDIGIT_(char c) noexcept nogil:
    return <unsigned char>c - 48u < 10


cdef inline unsigned char EVUTIL_TOLOWER_(char c) noexcept nogil:
    cdef unsigned char byte = <unsigned char>c
    return byte + 32 if byte - 65u < 26 else byte
