# Every struct of the reactor, and the constants and callback types of its API.
#
# One event moves through these structs like this: event_add() puts it in its descriptor's list
# (io_slot) or its signal's list (signal_slot) and, with a timeout, in the timer heap or a common
# timeout queue; readiness, a signal or a deadline moves its event_callback to the active queue of its
# priority; the loop takes it from there, and persistent events stay in their lists.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from cyevent.core.sys cimport evutil_socket_t, timeval, sigset_t
from cyevent.backends.vtable cimport backend_host, event_op
from cyevent.completion.vtable cimport completion_loop

cdef enum:
    # What an event waits for, and what its callback is told.
    EV_TIMEOUT = 0x01
    EV_READ = 0x02
    EV_WRITE = 0x04
    EV_SIGNAL = 0x08
    EV_PERSIST = 0x10     # stays added when it fires
    EV_ET = 0x20          # edge triggered, where the backend has it
    EV_FINALIZE = 0x40    # event_del() never waits for a running callback; see event_finalize()
    EV_CLOSED = 0x80      # the peer closed its end, told without reading

cdef enum:
    # event_base_loop() flags.
    EVLOOP_ONCE = 0x01
    EVLOOP_NONBLOCK = 0x02
    EVLOOP_NO_EXIT_ON_EMPTY = 0x04

cdef enum event_method_feature:
    EV_FEATURE_ET = 0x01
    EV_FEATURE_O1 = 0x02
    EV_FEATURE_FDS = 0x04
    EV_FEATURE_EARLY_CLOSE = 0x08

cdef enum event_base_config_flag:
    EVENT_BASE_FLAG_NOLOCK = 0x01
    EVENT_BASE_FLAG_IGNORE_ENV = 0x02
    EVENT_BASE_FLAG_STARTUP_IOCP = 0x04
    EVENT_BASE_FLAG_NO_CACHE_TIME = 0x08
    EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST = 0x10
    EVENT_BASE_FLAG_PRECISE_TIMER = 0x20
    EVENT_BASE_FLAG_EPOLL_DISALLOW_TIMERFD = 0x40
    EVENT_BASE_FLAG_USE_SIGNALFD = 0x80
    EVENT_BASE_FLAG_COMPLETION = 0x10000   # ours: sockets over io_uring, where it is to be had

cdef enum:
    # event_base_get_num_events() and event_base_get_max_events() flags.
    EVENT_BASE_COUNT_ACTIVE = 1
    EVENT_BASE_COUNT_VIRTUAL = 2
    EVENT_BASE_COUNT_ADDED = 4

cdef enum:
    EVENT_MAX_PRIORITIES = 256

cdef enum:
    # event_callback.flags: the lists an event is in.
    EVLIST_TIMEOUT = 0x01
    EVLIST_INSERTED = 0x02
    EVLIST_SIGNAL = 0x04
    EVLIST_ACTIVE = 0x08
    EVLIST_INTERNAL = 0x10
    EVLIST_ACTIVE_LATER = 0x20
    EVLIST_FINALIZING = 0x40
    EVLIST_BINDING = 0x100   # the callback's argument is a language binding's own struct
    EVLIST_INIT = 0x80       # set for a struct event, clear for a bare event_callback

cdef enum:
    # event_callback.closure: how the loop runs it.
    EV_CLOSURE_EVENT = 0
    EV_CLOSURE_EVENT_SIGNAL = 1
    EV_CLOSURE_EVENT_PERSIST = 2
    EV_CLOSURE_CB_SELF = 3
    EV_CLOSURE_CB_FINALIZE = 4
    EV_CLOSURE_EVENT_FINALIZE = 5
    EV_CLOSURE_EVENT_FINALIZE_FREE = 6

cdef enum:
    # event_del_nolock_()'s answer to "the callback is running in the loop's thread".
    EVENT_DEL_NOBLOCK = 0
    EVENT_DEL_BLOCK = 1
    EVENT_DEL_AUTOBLOCK = 2
    EVENT_DEL_EVEN_IF_FINALIZING = 3

ctypedef void (*event_callback_fn)(evutil_socket_t fd, short what, void *arg) noexcept nogil
ctypedef void (*event_finalize_callback_fn)(event *ev, void *arg) noexcept nogil
ctypedef void (*deferred_cb_fn)(event_callback *cb, void *arg) noexcept nogil
ctypedef int (*event_base_foreach_event_cb)(const event_base *base, const event *ev,
                                            void *arg) noexcept nogil
ctypedef void (*evwatch_prepare_cb)(evwatch *watcher, const evwatch_prepare_cb_info *info,
                                    void *arg) noexcept nogil
ctypedef void (*evwatch_check_cb)(evwatch *watcher, const evwatch_check_cb_info *info,
                                  void *arg) noexcept nogil

cdef union event_callback_target:
    event_callback_fn callback
    deferred_cb_fn selfcb
    event_finalize_callback_fn evfinalize
    deferred_cb_fn cbfinalize

# What an active queue holds: an event's first member, or a deferred callback on its own.
cdef struct event_callback:
    event_callback *next
    event_callback *prev
    uint16_t flags             # EVLIST_*
    uint8_t priority           # 0 is the most urgent
    uint8_t closure            # EV_CLOSURE_*
    uint16_t ncalls            # signals: how often the callback is still to be called
    uint16_t common_index      # timeouts: 0 in the heap, else 1 + the common timeout's index
    event_callback_target cb
    void *arg

cdef struct timer_links:
    event *next
    event *prev

cdef union timer_position:
    uint32_t heap_index        # slot in timer_heap
    timer_links common         # neighbours in a common timeout queue

# An event: the caller's memory (event_assign) or ours (event_new). While it is added it must not move.
cdef struct event:
    event_callback evcb        # must be first: an event_callback with EVLIST_INIT is an event
    event_base *base
    evutil_socket_t fd         # descriptor, or signal number
    short events               # EV_* asked for
    short res                  # EV_* that happened
    int64_t deadline           # monotonic ns at which the timeout fires
    int64_t interval           # ns; the timeout of a persistent event, 0 for none
    timer_position timer
    event *next                # neighbours in the descriptor's or the signal's list
    event *prev

cdef struct event_queue:
    event_callback *first
    event_callback *last

# One per descriptor number; kept in one array so that readiness costs one look-up.
cdef struct io_slot:
    event *first
    uint16_t nread             # how many events of the list ask for each
    uint16_t nwrite
    uint16_t nclosed
    uint16_t nedge
    uint64_t fdinfo            # the backend's own word for this descriptor

cdef struct signal_slot:
    event *first

cdef struct timer_slot:
    int64_t deadline           # beside the pointer, so that sifting touches no event
    event *ev

cdef struct timer_heap:
    timer_slot *slots          # the root is at HEAP_ROOT; see timers.pxd
    void *memory               # what was allocated; slots is aligned within it
    uint32_t count
    uint32_t capacity

# Events that share one duration: a queue in order of deadline, with one heap timer for its head.
cdef struct common_timeout:
    event *first
    event *last
    int64_t duration           # ns
    timeval tv                 # the duration with its index and magic in tv_usec's high bits
    event timeout_event
    event_base *base

cdef struct evsig_info:
    evutil_socket_t fds[2]     # self-pipe: [1] is written by the signal handler; or fds[0] a signalfd
    event pipe_event
    bint pipe_added
    int count                  # signals with at least one event
    uint64_t active[2]         # the same as bits, under the signal tables' lock
    event_base *next_base      # all bases with signals, under that lock
    event_base *prev_base
    sigset_t mask              # signalfd: the signals it delivers

cdef struct evwatch_prepare_cb_info:
    const timeval *timeout

cdef struct evwatch_check_cb_info:
    void *unused

cdef union evwatch_callback:
    evwatch_prepare_cb prepare
    evwatch_check_cb check

cdef struct evwatch:
    evwatch *next
    evwatch *prev
    event_base *base
    int kind                   # EVWATCH_PREPARE or EVWATCH_CHECK
    evwatch_callback cb
    void *arg

cdef enum:
    EVWATCH_PREPARE = 0
    EVWATCH_CHECK = 1
    EVWATCH_MAX = 2

cdef struct event_once:
    event ev
    event_callback_fn cb
    void *arg
    event_once *next
    event_once *prev
    void (*release)(void *arg) noexcept nogil   # for an argument that is never delivered; or NULL

cdef struct event_config_entry:
    event_config_entry *next
    char *avoid_method

cdef struct event_config:
    event_config_entry *avoided
    int n_cpus_hint
    int64_t max_dispatch_interval      # ns, -1 for none
    int max_dispatch_callbacks
    int limit_callbacks_after_prio
    int require_features
    int flags

cdef struct event_base:
    backend_host host          # must be first: what the backend sees of us
    const event_op *ops
    void *backend
    completion_loop *port      # NULL: sockets are watched for readiness alone
    const event_op *sigops
    evsig_info sig
    bint need_reinit_after_fork

    io_slot *io
    int nio                    # slots allocated
    signal_slot *signals
    int nsignals

    event_queue *queues        # one per priority
    int nqueues
    int queues_allocated       # at least nqueues: events keep the priorities they have when there are fewer
    event_queue later          # made active at the next turn of the loop
    int event_count            # internal events not counted, here and in the maxima
    int event_count_max
    int event_count_active
    int event_count_active_max
    int virtual_event_count
    int virtual_event_count_max

    timer_heap heap
    common_timeout **common
    int ncommon
    int common_allocated

    int64_t cached_ns          # this turn's time, 0 when unknown
    bint time_cacheable        # inside a turn, after the wait
    int64_t wall_offset        # wall clock minus monotonic, ns
    int64_t wall_offset_at     # monotonic ns of the last look at the wall clock

    bint gotterm
    bint event_break
    bint event_continue
    bint running_loop
    bint waiting               # the loop sleeps or is about to: what happens now must end its wait
    int running_priority
    int ndeferreds_queued
    event_callback *current_event
    uint16_t *current_ncalls   # while a signal's calls are being made: those left
    int current_event_waiters
    unsigned wait_round        # how often waiters were released; see wait_for_callback_()
    evwatch *current_watcher

    int64_t max_dispatch_interval
    int max_dispatch_callbacks
    int limit_callbacks_after_prio
    int flags                  # EVENT_BASE_FLAG_*
    int is_notify_pending      # a notification was made and not yet heard of; set with the lock
    bint notify_later          # inside notify_later(): whoever unlocks wakes the loop,
    bint notify_due            # if this is set by then
    int notifying              # threads that are about to write to notify_fds, without the lock
    long process               # whose the kernel's objects are: not ours in a forked child, until it reinits
    unsigned long owner        # thread id of the loop
    void *lock                 # NULL: not thread-safe
    void *current_event_cond
    evutil_socket_t notify_fds[2]
    event notify_event
    bint notifiable

    evwatch *watchers[2]       # by EVWATCH_*, in the order in which they were made
    evwatch *last_watcher[2]
    evwatch *next_watcher      # the one to be called next, so that a callback may free it
    event_once *once_events

    # Called by the loop before it may block, without the lock; set by a language binding that holds
    # a resource (an interpreter lock) while a batch of callbacks runs.
    void (*before_wait)(void *arg) noexcept nogil
    # Called when a signal interrupted the wait.
    void (*interrupted)(void *arg) noexcept nogil
    void *binding              # the argument of both
    bint closed                # shut: nothing can be added any more
