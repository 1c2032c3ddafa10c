"""What no public name reaches: deferred and finalizing callbacks, virtual events, the next turn, the heap."""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc, rand, srand
from libc.string cimport memset

from cyevent cimport (
    EV_PERSIST, EV_READ, EV_TIMEOUT, EVENT_BASE_COUNT_ACTIVE, EVENT_BASE_COUNT_ADDED,
    EVENT_BASE_COUNT_VIRTUAL, EVLOOP_ONCE, event, event_active, event_add, event_assign, event_base,
    event_base_dispatch, event_base_get_max_events, event_base_get_num_events, event_base_got_break,
    event_base_loop, event_base_loopbreak, event_base_once, event_del, event_free, event_new, timeval,
)
from cyevent.core.finalize cimport event_callback_finalize_, event_callback_finalize_many_
from cyevent.core.queue cimport (
    event_active_later_, event_base_add_virtual_, event_base_del_virtual_, event_callback_activate_nolock_,
    event_deferred_cb_cancel_, event_deferred_cb_init_, event_deferred_cb_schedule_,
)
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK
from cyevent.core.timers cimport (
    HEAP_ROOT, timer_heap_adjust, timer_heap_free, timer_heap_push, timer_heap_remove, timer_heap_reserve,
    timer_heap_top,
)
from cyevent.core.types cimport event_callback, timer_heap
from rig cimport Rig, count, milliseconds

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t *thread, void *attr, void *(*start)(void *) noexcept nogil, void *arg)
    int pthread_join(pthread_t thread, void **result)

cdef enum:
    LOADERS = 8
    EACH = 128
    HEAP_SIZE = 1024


# --- deferred callbacks ----------------------------------------------------------------------------

cdef void deferred_ran(event_callback *cb, void *arg) noexcept nogil:
    (<int *>arg)[0] += 1


cdef void deferred_finalized(event_callback *cb, void *arg) noexcept nogil:
    (<int *>arg)[0] += 100


def test_a_deferred_callback_runs_once(method):
    cdef Rig rig = Rig(method)
    cdef event_callback one, two
    cdef int ran = 0
    event_deferred_cb_init_(&one, 0, deferred_ran, &ran)
    event_deferred_cb_init_(&two, 0, deferred_ran, &ran)
    assert event_deferred_cb_schedule_(rig.base, &one) == 1
    assert event_deferred_cb_schedule_(rig.base, &one) == 0
    assert event_deferred_cb_schedule_(rig.base, &two) == 1
    event_deferred_cb_cancel_(rig.base, &two)
    event_base_dispatch(rig.base)
    assert ran == 1


cdef struct relay:
    event_callback cb
    event_base *base
    long hops


cdef void run_again(event_callback *cb, void *arg) noexcept nogil:
    cdef relay *me = <relay *>arg
    me.hops += 1
    event_deferred_cb_schedule_(me.base, cb)


cdef void break_loop(int fd, short what, void *arg) noexcept nogil:
    event_base_loopbreak(<event_base *>arg)


def test_deferred_cb_skew(method):
    """Callbacks that defer each other without end do not hold up a timer or a descriptor."""
    cdef Rig rig = Rig(method, 0, 16, 0)
    cdef relay relays[4]
    cdef timeval soon = milliseconds(30)
    cdef event *reader
    cdef int i, reads = 0
    for i in range(4):
        relays[i].base = rig.base
        relays[i].hops = 0
        event_deferred_cb_init_(&relays[i].cb, 0, run_again, &relays[i])
        event_deferred_cb_schedule_(rig.base, &relays[i].cb)
    reader = event_new(rig.base, rig.pair[0], EV_READ, count, &reads)
    event_add(reader, NULL)
    rig.send(1, b"x")
    event_base_once(rig.base, -1, EV_TIMEOUT, break_loop, rig.base, &soon)
    event_base_dispatch(rig.base)
    assert event_base_got_break(rig.base)
    assert reads == 1
    assert all([relays[i].hops > 0 for i in range(4)])
    for i in range(4):
        event_deferred_cb_cancel_(rig.base, &relays[i].cb)
    event_free(reader)


cdef struct loader:
    event_callback cbs[EACH]
    event_base *base
    int *ran


cdef void *load(void *arg) noexcept nogil:
    cdef loader *me = <loader *>arg
    cdef int i
    for i in range(EACH):
        event_deferred_cb_init_(&me.cbs[i], 0, deferred_ran, me.ran)
        event_deferred_cb_schedule_(me.base, &me.cbs[i])
    return NULL


def test_deferred_callbacks_from_many_threads(method):
    """None is lost and none runs twice; only the loop's thread counts."""
    cdef Rig rig = Rig(method, 0, 16, 0)
    cdef loader *loaders = <loader *>malloc(LOADERS * sizeof(loader))
    cdef pthread_t threads[LOADERS]
    cdef int i, ran = 0
    event_base_add_virtual_(rig.base)
    with nogil:
        for i in range(LOADERS):
            loaders[i].base = rig.base
            loaders[i].ran = &ran
            pthread_create(&threads[i], NULL, load, &loaders[i])
        while ran < LOADERS * EACH:
            event_base_loop(rig.base, EVLOOP_ONCE)
        for i in range(LOADERS):
            pthread_join(threads[i], NULL)
    event_base_del_virtual_(rig.base)
    event_base_dispatch(rig.base)
    assert ran == LOADERS * EACH
    free(loaders)


# --- finalizing callbacks --------------------------------------------------------------------------

def test_fin_cb_invoked(method):
    cdef Rig rig = Rig(method)
    cdef event_callback cb
    cdef int ran = 0
    event_deferred_cb_init_(&cb, 0, deferred_ran, &ran)
    # Idle.
    event_callback_finalize_(rig.base, 0, &cb, deferred_finalized)
    assert event_deferred_cb_schedule_(rig.base, &cb) == 0
    event_base_dispatch(rig.base)
    assert ran == 100
    # Active: only the finalizer runs.
    ran = 0
    event_deferred_cb_init_(&cb, 0, deferred_ran, &ran)
    EVLOCK_LOCK(rig.base.lock)
    assert event_callback_activate_nolock_(rig.base, &cb) == 1
    EVLOCK_UNLOCK(rig.base.lock)
    event_callback_finalize_(rig.base, 0, &cb, deferred_finalized)
    event_base_dispatch(rig.base)
    assert ran == 100
    assert event_base_get_num_events(rig.base, EVENT_BASE_COUNT_ACTIVE | EVENT_BASE_COUNT_ADDED) == 0


def test_finalize_many(method):
    """One finalizer for all; none of them runs."""
    cdef Rig rig = Rig(method)
    cdef event ev
    cdef event_callback one, two
    cdef event_callback *all_of[3]
    cdef timeval later = milliseconds(100000)
    cdef int ran = 0
    event_assign(&ev, rig.base, rig.pair[0], EV_READ, count, &ran)
    event_add(&ev, &later)
    event_deferred_cb_init_(&one, 0, deferred_ran, &ran)
    event_deferred_cb_init_(&two, 0, deferred_ran, &ran)
    event_deferred_cb_schedule_(rig.base, &one)
    event_deferred_cb_schedule_(rig.base, &two)
    event_active(&ev, EV_READ, 1)
    all_of[0] = &ev.evcb
    all_of[1] = &one
    all_of[2] = &two
    event_callback_finalize_many_(rig.base, 3, all_of, deferred_finalized)
    event_base_dispatch(rig.base)
    assert ran == 100


cdef struct within:
    event_callback cb
    event_callback other
    event_base *base
    int calls


cdef void finalize_within(event_callback *cb, void *arg) noexcept nogil:
    cdef within *me = <within *>arg
    cdef event_callback *both[2]
    me.calls += 1
    both[0] = &me.other
    both[1] = cb
    event_callback_finalize_many_(me.base, 2, both, within_finalized)


cdef void within_finalized(event_callback *cb, void *arg) noexcept nogil:
    # The one that ran: what it was given may go now.
    (<within *>arg).calls += 100 if cb == &(<within *>arg).cb else 1000


def test_finalize_many_from_one_of_them(method):
    cdef Rig rig = Rig(method)
    cdef within it
    it.base = rig.base
    it.calls = 0
    event_deferred_cb_init_(&it.cb, 0, finalize_within, &it)
    event_deferred_cb_init_(&it.other, 0, finalize_within, &it)
    event_deferred_cb_schedule_(rig.base, &it.cb)
    event_deferred_cb_schedule_(rig.base, &it.other)
    event_base_dispatch(rig.base)
    assert it.calls == 101


# --- virtual events, the next turn -----------------------------------------------------------------

cdef tuple numbers(event_base *base):
    return tuple([event_base_get_num_events(base, flag) for flag in (
        EVENT_BASE_COUNT_ACTIVE, EVENT_BASE_COUNT_VIRTUAL, EVENT_BASE_COUNT_ADDED,
        EVENT_BASE_COUNT_ACTIVE | EVENT_BASE_COUNT_VIRTUAL | EVENT_BASE_COUNT_ADDED)])


cdef void end_virtual(int fd, short what, void *arg) noexcept nogil:
    event_base_del_virtual_(<event_base *>arg)


def test_virtual_events_count_and_keep_the_loop(method):
    cdef Rig rig = Rig(method)
    cdef timeval soon = milliseconds(5)
    event_base_add_virtual_(rig.base)
    event_base_add_virtual_(rig.base)
    assert numbers(rig.base) == (0, 2, 0, 2)
    event_base_del_virtual_(rig.base)
    assert numbers(rig.base) == (0, 1, 0, 1)
    assert event_base_get_max_events(rig.base, EVENT_BASE_COUNT_VIRTUAL, 1) == 2
    assert event_base_get_max_events(rig.base, EVENT_BASE_COUNT_VIRTUAL, 0) == 0
    # It alone keeps the loop waiting, until the timer ends it.
    event_base_once(rig.base, -1, EV_TIMEOUT, end_virtual, rig.base, &soon)
    assert event_base_dispatch(rig.base) == 1
    assert numbers(rig.base) == (0, 0, 0, 0)


cdef struct couple:
    event one
    event two
    event reader
    event_base *base
    int calls
    int reads


cdef void to_other(int fd, short what, void *arg) noexcept nogil:
    cdef couple *it = <couple *>arg
    it.calls += 1
    event_active_later_(&it.two if fd == -1 else &it.one, EV_READ)


cdef void read_once(int fd, short what, void *arg) noexcept nogil:
    cdef couple *it = <couple *>arg
    it.reads += 1
    event_base_loopbreak(it.base)


def test_active_later(method):
    """Two events that activate each other for the next turn leave this one to the descriptors."""
    cdef Rig rig = Rig(method)
    cdef couple it
    it.base = rig.base
    it.calls = it.reads = 0
    event_assign(&it.one, rig.base, -1, 0, to_other, &it)
    event_assign(&it.two, rig.base, -2, 0, to_other, &it)
    event_assign(&it.reader, rig.base, rig.pair[0], EV_READ | EV_PERSIST, read_once, &it)
    event_add(&it.reader, NULL)
    rig.send(1, b"x")
    event_active_later_(&it.one, EV_READ)
    event_base_dispatch(rig.base)
    assert it.reads == 1
    assert 1 <= it.calls <= 2
    event_del(&it.one)
    event_del(&it.two)
    event_del(&it.reader)


# --- the heap --------------------------------------------------------------------------------------

cdef int check_heap(timer_heap *heap) except -1:
    cdef unsigned k, parent
    for k in range(HEAP_ROOT, heap.count + HEAP_ROOT):
        assert heap.slots[k].ev.timer.heap_index == k
        assert heap.slots[k].deadline == heap.slots[k].ev.deadline
        if k > HEAP_ROOT:
            parent = (k >> 2) + 2
            assert heap.slots[parent].deadline <= heap.slots[k].deadline
    return 0


def test_heap_is_a_heap():
    """heap/randomized: after each change every node is later than its parent, and they leave in order."""
    cdef timer_heap heap
    cdef event *events = <event *>malloc(HEAP_SIZE * sizeof(event))
    cdef int i
    cdef int64_t last = -1
    memset(&heap, 0, sizeof(heap))
    memset(events, 0, HEAP_SIZE * sizeof(event))
    srand(7)
    assert timer_heap_top(&heap) == NULL
    for i in range(HEAP_SIZE):
        events[i].deadline = rand() % 500
        assert timer_heap_reserve(&heap) == 0
        timer_heap_push(&heap, &events[i])
        check_heap(&heap)
    for i in range(0, HEAP_SIZE, 3):
        events[i].deadline = rand() % 500
        timer_heap_adjust(&heap, &events[i])
        check_heap(&heap)
    for i in range(1, HEAP_SIZE, 3):
        timer_heap_remove(&heap, &events[i])
        check_heap(&heap)
    while heap.count:
        assert timer_heap_top(&heap).deadline >= last
        last = timer_heap_top(&heap).deadline
        timer_heap_remove(&heap, timer_heap_top(&heap))
    assert timer_heap_top(&heap) == NULL
    timer_heap_free(&heap)
    free(events)
