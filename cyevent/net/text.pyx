"""Text of protocols."""

from libc.stdint cimport int64_t
from libc.stdlib cimport strtoll
from libc.string cimport strlen
from cyevent.core.sys cimport EINVAL, set_errno, time_t
from cyevent.net.types cimport evutil_snprintf

cdef extern from *:
    """
    #include <time.h>
    #ifdef _WIN32
      #define ev_gmtime(t, tm) (gmtime_s(tm, t) == 0 ? (tm) : NULL)
    #else
      #define ev_gmtime(t, tm) gmtime_r(t, tm)
    #endif
    static const char ev_days[] = "Sun\\0Mon\\0Tue\\0Wed\\0Thu\\0Fri\\0Sat";
    static const char ev_months[] = "Jan\\0Feb\\0Mar\\0Apr\\0May\\0Jun\\0Jul\\0Aug\\0Sep\\0Oct\\0Nov\\0Dec";
    """
    const char *ev_days
    const char *ev_months
    tm *ev_gmtime(const time_t *t, tm *out) noexcept nogil
    time_t time(time_t *t) noexcept nogil


cdef int evutil_ascii_strcasecmp(const char *a, const char *b) noexcept nogil:
    return evutil_ascii_strncasecmp(a, b, <size_t>-1)


cdef int evutil_ascii_strncasecmp(const char *a, const char *b, size_t n) noexcept nogil:
    cdef unsigned char x, y
    cdef size_t i
    for i in range(n):
        x = EVUTIL_TOLOWER_(a[i])
        y = EVUTIL_TOLOWER_(b[i])
        if x != y:
            return -1 if x < y else 1
        if x == 0:
            return 0
    return 0


cdef int64_t evutil_strtoll(const char *s, char **endptr, int base) noexcept nogil:
    return strtoll(s, endptr, base)


cdef int evutil_date_rfc1123(char *date, size_t datelen, const tm *date_time) noexcept nogil:
    cdef time_t now
    cdef tm utc
    cdef const tm *t = date_time
    if t == NULL:
        now = time(NULL)
        t = ev_gmtime(&now, &utc)
    if t == NULL or not 0 <= t.tm_wday <= 6 or not 0 <= t.tm_mon <= 11:
        set_errno(EINVAL)
        return -1
    # By hand rather than with strftime(), whose names are those of the locale.
    return evutil_snprintf(date, datelen, b"%s, %02d %s %4d %02d:%02d:%02d GMT", ev_days + 4 * t.tm_wday,
                           t.tm_mday, ev_months + 4 * t.tm_mon, 1900 + t.tm_year, t.tm_hour, t.tm_min,
                           t.tm_sec)


cdef void evutil_rtrim_lws_(char *text) noexcept nogil:
    cdef size_t n
    if text == NULL:
        return
    n = strlen(text)
    while n and (text[n - 1] == 32 or text[n - 1] == 9):
        n -= 1
    text[n] = 0
