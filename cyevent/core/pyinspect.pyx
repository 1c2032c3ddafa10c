"""What is in a base, for Python."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport PyObject
from libc.stdio cimport FILE
from libc.stdlib cimport free
from cyevent.core.inspect cimport event_base_dump_events, event_base_foreach_event
from cyevent.core.interpreter cimport py_event
from cyevent.core.types cimport EVLIST_BINDING, event, event_base

cdef extern from *:
    """
    #include <stdio.h>
    #include <stdlib.h>
    #ifdef _WIN32
      /* There are no streams in memory. */
      static FILE *ev_open_text(char **text, size_t *size) { *text = NULL; *size = 0; return tmpfile(); }
      static int ev_close_text(FILE *stream, char **text, size_t *size) {
          long n = ftell(stream);
          *text = n < 0 ? NULL : (char *)malloc((size_t)n + 1);
          rewind(stream);
          *size = *text == NULL ? 0 : fread(*text, 1, (size_t)n, stream);
          return fclose(stream);
      }
    #else
      #define ev_open_text open_memstream
      #define ev_close_text(stream, text, size) fclose(stream)
    #endif
    """
    FILE *ev_open_text(char **text, size_t *size) noexcept nogil
    # The text is to be freed.
    int ev_close_text(FILE *stream, char **text, size_t *size) noexcept nogil


cdef int collect_event(const event_base *base, const event *ev, void *arg) noexcept nogil:
    if ev.evcb.flags & EVLIST_BINDING:
        (<void (*)(void *, PyObject *) noexcept nogil>append_event)(
            arg, (<py_event *>ev.evcb.arg).object)
    return 0


cdef void append_event(void *events, PyObject *thing) noexcept:
    try:
        (<list>events).append(<object>thing)
    except MemoryError:
        pass


cdef list list_events(event_base *base):
    cdef list events = []
    event_base_foreach_event(base, collect_event, <void *>events)
    return events


cdef str dump_text(event_base *base):
    cdef char *text = NULL
    cdef size_t size = 0
    cdef FILE *stream = ev_open_text(&text, &size)
    if stream == NULL:
        raise MemoryError()
    event_base_dump_events(base, stream)
    ev_close_text(stream, &text, &size)
    try:
        return PyBytes_FromStringAndSize(text, size).decode()
    finally:
        free(text)
