# Checking what Python callers pass, and the errors that name it.

# Seconds (a number or a timedelta) as nanoseconds; -1 for None.
cdef long long duration_ns(object value, str name) except -2
# The descriptor that an int or an object with fileno() stands for.
cdef int descriptor(object value, str name) except -2
# An int within bounds.
cdef long long integer(object value, str name, long long low, long long high) except? -1
# The EV_* bits of `what`.
cdef short event_bits(object what) except -1
# callback itself.
cdef object check_callable(object callback, str name)
# What an errno says.
cdef str error_text(int code)
# The OSError for errno, to be raised; `what` says what failed.
cdef object os_error(str what)
