# The extension class of listeners.

from cyevent.core.reactor cimport EventBase
from cyevent.net.listener cimport evconnlistener


cdef class Listener:
    cdef evconnlistener *lev   # owned; NULL once closed
    cdef EventBase owner
    cdef object callback_
    cdef object error_
    cdef object unlink_path    # the Unix socket's file, removed by close()
    cdef int users             # calls that use `lev` without the GIL
    cdef evconnlistener *doomed    # closed meanwhile: the last of them frees it
    cdef object __weakref__

    cdef evconnlistener *live(self) except NULL
    # Between them the struct stays, whoever closes the listener. What takes its lock runs without the GIL:
    # the holder of the lock may be waiting for the GIL.
    cdef evconnlistener *enter(self) except NULL
    cdef void leave(self) noexcept
