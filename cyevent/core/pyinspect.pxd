# What is in a base, for Python.

from cyevent.core.types cimport event_base

# The Events that are pending or active, each once; not those made in C.
cdef list list_events(event_base *base)
# event_base_dump_events() as text.
cdef str dump_text(event_base *base)
