# The bufferevent's structs, constants and callback types.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from cyevent.core.sys cimport evutil_socket_t, timeval
from cyevent.core.types cimport event, event_base, event_callback
from cyevent.buffer.types cimport evbuffer, evbuffer_cb_entry, ev_ssize_t
from cyevent.completion.port cimport completion
from cyevent.net.sys cimport sockaddr_in, sockaddr_in6
from cyevent.net.types cimport EV_SSIZE_MAX

cdef extern from *:
    """
    struct evdns_base;
    struct ssl_st;
    """
    # A resolver.
    struct evdns_base:
        pass
    # OpenSSL's SSL.
    struct ssl_st:
        pass

cdef enum:
    # What an event callback is told.
    BEV_EVENT_READING = 0x01
    BEV_EVENT_WRITING = 0x02
    BEV_EVENT_EOF = 0x10
    BEV_EVENT_ERROR = 0x20
    BEV_EVENT_TIMEOUT = 0x40
    BEV_EVENT_CONNECTED = 0x80

cdef enum bufferevent_options:
    BEV_OPT_CLOSE_ON_FREE = 1
    BEV_OPT_THREADSAFE = 2
    BEV_OPT_DEFER_CALLBACKS = 4        # callbacks run from the loop, never out of a call of the user's
    BEV_OPT_UNLOCK_CALLBACKS = 8       # and without the bufferevent's lock

cdef enum bufferevent_flush_mode:
    BEV_NORMAL = 0
    BEV_FLUSH = 1
    BEV_FINISHED = 2

cdef enum bufferevent_trigger_options:
    BEV_TRIG_IGNORE_WATERMARKS = 0x10000
    BEV_TRIG_DEFER_CALLBACKS = 4

cdef enum bufferevent_filter_result:
    BEV_OK = 0
    BEV_NEED_MORE = 1
    BEV_ERROR = 2

cdef enum:
    # bufferevent_private.read_suspended, write_suspended: why nothing is read or written.
    BEV_SUSPEND_WM = 0x01              # the input's high watermark
    BEV_SUSPEND_BW = 0x02              # the bufferevent's rate limit
    BEV_SUSPEND_BW_GROUP = 0x04        # its group's
    BEV_SUSPEND_LOOKUP = 0x08          # a host name is being looked up
    BEV_SUSPEND_FILT_READ = 0x10       # a filter does not want more

cdef enum bufferevent_ctrl_op:
    BEV_CTRL_SET_FD = 0
    BEV_CTRL_GET_FD = 1
    BEV_CTRL_GET_UNDERLYING = 2
    BEV_CTRL_CANCEL_ALL = 3

cdef union bufferevent_ctrl_data:
    void *ptr
    evutil_socket_t fd

ctypedef void (*bufferevent_data_cb)(bufferevent *bev, void *arg) noexcept nogil
ctypedef void (*bufferevent_event_cb)(bufferevent *bev, short what, void *arg) noexcept nogil
# Moves bytes from source to destination, at most dst_limit (-1: no limit) if that is possible. BEV_OK:
# something was written; BEV_NEED_MORE: more input, or room, is needed; BEV_ERROR: nothing can be done.
ctypedef bufferevent_filter_result (*bufferevent_filter_cb)(
    evbuffer *source, evbuffer *destination, ev_ssize_t dst_limit, bufferevent_flush_mode mode,
    void *ctx) noexcept nogil

# One kind of bufferevent. All are called with the lock held.
cdef struct bufferevent_ops:
    const char *type
    size_t mem_offset                  # of the bufferevent in what mm_free() takes
    int (*enable)(bufferevent *bev, short events) noexcept nogil
    int (*disable)(bufferevent *bev, short events) noexcept nogil
    void (*unlink)(bufferevent *bev) noexcept nogil      # the last reference is gone; or NULL
    void (*destruct)(bufferevent *bev) noexcept nogil    # nothing of it runs any more; or NULL
    int (*adj_timeouts)(bufferevent *bev) noexcept nogil
    int (*flush)(bufferevent *bev, short iotype, bufferevent_flush_mode mode) noexcept nogil
    int (*ctrl)(bufferevent *bev, bufferevent_ctrl_op op, bufferevent_ctrl_data *data) noexcept nogil

cdef struct event_watermark:
    size_t low
    size_t high                        # 0: none

cdef struct bufferevent:
    event_base *ev_base
    const bufferevent_ops *be_ops
    # Sockets: readiness. Other kinds use only their timeouts.
    event ev_read
    # Pending while the socket does not take what is in `output`; active (and not pending) while there is
    # something that has not been tried.
    event ev_write
    evbuffer *input                    # end frozen, except while bytes arrive
    evbuffer *output                   # front frozen, except while bytes leave
    event_watermark wm_read
    event_watermark wm_write
    bufferevent_data_cb readcb
    bufferevent_data_cb writecb
    bufferevent_event_cb errorcb
    void *cbarg
    timeval timeout_read               # zero: none
    timeval timeout_write
    short enabled                      # EV_READ | EV_WRITE, as the user wants it

cdef union bufferevent_address:
    sockaddr_in v4
    sockaddr_in6 v6

cdef extern from *:
    """
    #define EV_RATE_LIMIT_MAX EV_SSIZE_MAX
    """
    const ssize_t EV_RATE_LIMIT_MAX

# Rates and bursts in bytes, rates per tick. It must outlive the bufferevents that use it; groups copy it.
cdef struct ev_token_bucket_cfg:
    size_t read_rate
    size_t read_maximum
    size_t write_rate
    size_t write_maximum
    timeval tick_timeout
    int64_t tick                       # ns

cdef struct ev_token_bucket:
    ev_ssize_t read_limit              # bytes that may pass now; negative after an overdraft
    ev_ssize_t write_limit
    int64_t refilled                   # monotonic ns of the last tick that was credited

# One direction of a group.
cdef struct group_direction:
    ev_ssize_t quantum                 # what a member may pass in this round
    uint32_t round
    bint suspended                     # the bucket is empty
    bint waiting                       # a member has used up its quantum
    bint progress                      # bytes have passed since the round was last looked at

cdef struct bufferevent_rate_limit_group:
    void *lock                         # taken after a bufferevent's, before a base's
    bufferevent_rate_limit *first      # members
    bufferevent_rate_limit *last
    int n_members
    ev_token_bucket bucket
    ev_token_bucket_cfg cfg
    group_direction reading
    group_direction writing
    ev_ssize_t min_share
    size_t configured_min_share
    uint64_t total_read
    uint64_t total_written
    event refill                       # a timer, added only while a direction is suspended
    event_callback next_round

cdef struct member_direction:
    ev_ssize_t left                    # of the quantum
    uint32_t round
    bint waiting                       # suspended until the group goes on

# What a bufferevent with limits has.
cdef struct bufferevent_rate_limit:
    void (*leave)(bufferevent_private *p) noexcept nogil     # the group, before the bufferevent goes
    const ev_token_bucket_cfg *cfg     # NULL: no limit of its own
    ev_token_bucket bucket
    bufferevent_rate_limit_group *group
    bufferevent_rate_limit *next
    bufferevent_rate_limit *prev
    member_direction reading
    member_direction writing
    event refill                       # a timer, added while BEV_SUSPEND_BW is set
    event_callback wake                # the group goes on

# A name's look-up begins with this.
cdef struct bufferevent_lookup:
    void (*cancel)(bufferevent *bev) noexcept nogil

cdef struct bufferevent_private:
    bufferevent bev                    # must be first
    evbuffer_cb_entry *read_watermarks_cb
    unsigned char own_lock
    unsigned char readcb_pending       # deferred and not yet called
    unsigned char writecb_pending
    unsigned char connecting
    unsigned char connection_refused   # found out by the reading side
    unsigned char in_callback          # the loop is inside a callback of ours, and writes after it
    unsigned char write_wanted         # something was added meanwhile
    unsigned char events_work          # ev_read and ev_write do the work, and not just time out
    unsigned char finalizing           # refcnt was 0; memory goes when nothing can be running
    short eventcb_pending
    unsigned short read_suspended      # BEV_SUSPEND_*
    unsigned short write_suspended
    int errno_pending                  # errno of the event that is pending, or was reported last
    int dns_error
    int options                        # BEV_OPT_*
    int refcnt
    event_callback deferred
    void *lock
    ev_ssize_t max_single_read         # 0: nobody has set it
    ev_ssize_t max_single_write
    bufferevent_rate_limit *rate_limiting    # NULL without limits
    bufferevent_address conn_address   # the peer's, once connected
    bufferevent_lookup *dns_request    # NULL: none is under way
    completion *receiving              # operations of the completion-driven kind; NULL while there are none
    completion *sending                # also connects
