"""The timer heap."""

from libc.stdint cimport uintptr_t
from libc.string cimport memmove
from cyevent.core.memory cimport mm_realloc, mm_free
from cyevent.core.sys cimport set_errno, ENOMEM

cdef enum:
    FIRST_CAPACITY = 64
    LINE = 64


cdef inline timer_slot *aligned(void *memory) noexcept nogil:
    return <timer_slot *>((<uintptr_t>memory + LINE - 1) & ~<uintptr_t>(LINE - 1))


cdef int timer_heap_reserve(timer_heap *heap) noexcept nogil:
    cdef uint32_t capacity
    cdef size_t offset
    cdef char *memory
    if heap.count < heap.capacity:
        return 0
    capacity = heap.capacity * 2 if heap.capacity else FIRST_CAPACITY
    if capacity < heap.capacity:
        set_errno(ENOMEM)
        return -1
    offset = <char *>heap.slots - <char *>heap.memory
    memory = <char *>mm_realloc(heap.memory,
                                (<size_t>capacity + HEAP_ROOT) * sizeof(timer_slot) + LINE)
    if memory == NULL:
        set_errno(ENOMEM)
        return -1
    heap.memory = memory
    heap.slots = aligned(memory)
    # A large block moves by pages and keeps its alignment, so this copies small ones only.
    if heap.count and <char *>heap.slots - memory != <ssize_t>offset:
        memmove(heap.slots + HEAP_ROOT, memory + offset + HEAP_ROOT * sizeof(timer_slot),
                heap.count * sizeof(timer_slot))
    heap.capacity = capacity
    return 0


cdef inline void put(timer_slot *slots, uint32_t k, int64_t deadline, event *ev) noexcept nogil:
    slots[k].deadline = deadline
    slots[k].ev = ev
    ev.timer.heap_index = k


cdef inline void sift_up(timer_slot *slots, uint32_t k, int64_t deadline, event *ev) noexcept nogil:
    cdef uint32_t parent
    while k > HEAP_ROOT:
        parent = (k >> 2) + 2
        if slots[parent].deadline <= deadline:
            break
        put(slots, k, slots[parent].deadline, slots[parent].ev)
        k = parent
    put(slots, k, deadline, ev)


cdef inline void sift_down(timer_slot *slots, uint32_t end, uint32_t k, int64_t deadline,
                           event *ev) noexcept nogil:
    cdef uint32_t child, best, last
    while True:
        child = 4 * k - 8
        if child >= end:
            break
        best = child
        last = child + 4 if child + 4 < end else end
        child += 1
        while child < last:
            if slots[child].deadline < slots[best].deadline:
                best = child
            child += 1
        if slots[best].deadline >= deadline:
            break
        put(slots, k, slots[best].deadline, slots[best].ev)
        k = best
    put(slots, k, deadline, ev)


cdef void timer_heap_push(timer_heap *heap, event *ev) noexcept nogil:
    heap.count += 1
    sift_up(heap.slots, heap.count - 1 + HEAP_ROOT, ev.deadline, ev)


cdef void timer_heap_remove(timer_heap *heap, event *ev) noexcept nogil:
    cdef uint32_t k = ev.timer.heap_index
    cdef uint32_t last
    cdef timer_slot *slots = heap.slots
    heap.count -= 1
    last = heap.count + HEAP_ROOT
    if k == last:
        return
    if k > HEAP_ROOT and slots[(k >> 2) + 2].deadline > slots[last].deadline:
        sift_up(slots, k, slots[last].deadline, slots[last].ev)
    else:
        sift_down(slots, last, k, slots[last].deadline, slots[last].ev)


cdef void timer_heap_adjust(timer_heap *heap, event *ev) noexcept nogil:
    cdef uint32_t k = ev.timer.heap_index
    cdef timer_slot *slots = heap.slots
    if k > HEAP_ROOT and slots[(k >> 2) + 2].deadline > ev.deadline:
        sift_up(slots, k, ev.deadline, ev)
    else:
        sift_down(slots, heap.count + HEAP_ROOT, k, ev.deadline, ev)


cdef void timer_heap_free(timer_heap *heap) noexcept nogil:
    if heap.memory != NULL:
        mm_free(heap.memory)
    heap.memory = NULL
    heap.slots = NULL
    heap.count = heap.capacity = 0
