# The timer heap: a 4-ary min-heap whose keys stand in the heap's own array.
#
# What makes a pointer heap slow with many timers is the cache miss per comparison, so the deadline is
# kept beside the pointer, and a node's four children lie in one 64-byte line: the root is at slot 3,
# node k has its children at 4k-8 .. 4k-5 and its parent at k/4+2. An event's heap_index is written as it
# moves; those stores do not wait for memory. The price is 16 bytes a timer instead of 8, paid back by the
# smaller struct event.

from libc.stdint cimport int64_t, uint32_t
from cyevent.core.types cimport event, timer_heap, timer_slot

cdef enum:
    HEAP_ROOT = 3

# Makes room for one more; 0, or -1 with errno ENOMEM. Pushing then cannot fail.
cdef int timer_heap_reserve(timer_heap *heap) noexcept nogil
cdef void timer_heap_push(timer_heap *heap, event *ev) noexcept nogil
cdef void timer_heap_remove(timer_heap *heap, event *ev) noexcept nogil
# ev is in the heap and its deadline has changed.
cdef void timer_heap_adjust(timer_heap *heap, event *ev) noexcept nogil
cdef void timer_heap_free(timer_heap *heap) noexcept nogil


cdef inline event *timer_heap_top(const timer_heap *heap) noexcept nogil:
    return heap.slots[HEAP_ROOT].ev if heap.count else NULL
