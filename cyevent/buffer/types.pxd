# The evbuffer's structs, constants and callback types.
#
# An evbuffer is a list of chains, and a chain is a piece of memory with bytes in its middle:
#
#     buffer        misalign              off                  free space
#     |-------------|XXXXXXXXXXXXXXXXXXXXXX|------------------------------|
#     buffer_len bytes
#
# The bytes of a chain's own memory stand behind its header; a chain of borrowed memory has a description of
# the lender there instead, and is never written to. The bytes of a file segment's chain are in the file until
# somebody needs them (file.pxd): before its bytes are touched such a chain has to be loaded.
#
# Invariants, between any two calls:
# - first == NULL if and only if last == NULL, and then last_with_datap == &first;
# - *last_with_datap is the last chain that holds data, or `first` when none does;
# - chains before it are not empty; chains after it are, and are there because space was reserved;
# - an empty chain has misalign 0, unless somebody else refers to it;
# - a chain to which somebody else refers (refcnt > 1: a view, or a chain of another buffer that shows the
#   same bytes) stays where it is in memory, and the bytes up to misalign + off do not change. The space
#   behind them belongs to the buffer that has the chain in its list.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from cyevent.core.sys cimport evutil_socket_t, iovec
from cyevent.core.types cimport event_base, event_callback

ctypedef ssize_t ev_ssize_t
ctypedef int64_t ev_off_t
ctypedef iovec evbuffer_iovec

cdef enum:
    EVBUFFER_IOVEC_IS_NATIVE_ = 1  # an evbuffer_iovec is the system's struct iovec

cdef enum evbuffer_eol_style:
    EVBUFFER_EOL_ANY = 0           # any run of CR and LF
    EVBUFFER_EOL_CRLF = 1          # LF, with or without CR before it
    EVBUFFER_EOL_CRLF_STRICT = 2   # CR LF
    EVBUFFER_EOL_LF = 3
    EVBUFFER_EOL_NUL = 4

cdef enum evbuffer_ptr_how:
    EVBUFFER_PTR_SET = 0
    EVBUFFER_PTR_ADD = 1

cdef enum:
    # evbuffer_set_flags(): the buffer's bytes only ever leave to a descriptor, never to memory. A hint that
    # nothing here needs: a file goes by sendfile() whenever it is written, and to memory whenever it is read.
    EVBUFFER_FLAG_DRAINS_TO_FD = 1
    # Written to a TCP socket, large chains leave without being copied (zerocopy.pxd). Not libevent's.
    EVBUFFER_FLAG_ZEROCOPY = 0x10000

cdef enum:
    # A buffer callback's flags.
    EVBUFFER_CB_ENABLED = 1
    EVBUFFER_CB_NODEFER = 2        # called at once even when the buffer's callbacks are deferred
    CB_SUSPENDED = 0x100  # not called until it is unsuspended
    CB_MISSED = 0x200     # the buffer changed meanwhile
    CB_EMBEDDED = 0x400   # part of somebody's struct, and not freed
    EVBUFFER_CB_DEAD = 0x40000000  # removed while callbacks run; freed afterwards

cdef enum:
    # evbuffer_file_segment_new() flags.
    EVBUF_FS_CLOSE_ON_FREE = 0x01
    EVBUF_FS_DISABLE_MMAP = 0x02
    EVBUF_FS_DISABLE_SENDFILE = 0x04
    EVBUF_FS_DISABLE_LOCKING = 0x08

cdef enum:
    # evbuffer_chain.flags
    CHAIN_IMMUTABLE = 0x01         # borrowed memory: not written to, and no space behind its bytes
    CHAIN_REFERENCE = 0x02         # extra is an evbuffer_chain_reference
    CHAIN_MULTICAST = 0x04         # extra is an evbuffer_multicast_parent
    CHAIN_FILESEGMENT = 0x08       # extra is an evbuffer_chain_file_segment
    CHAIN_SENDFILE = 0x10          # a file segment that may leave by sendfile()
    CHAIN_POOL_SHIFT = 24          # top bits: size class + 1 of a chain that came from the pool

cdef struct evbuffer_chain:
    evbuffer_chain *next
    size_t buffer_len
    size_t misalign
    size_t off
    unsigned flags                 # CHAIN_*
    int refcnt                     # atomic; the list that holds it has one, each other user one
    unsigned char *buffer

ctypedef void (*evbuffer_ref_cleanup_cb)(const void *data, size_t datalen, void *extra) noexcept nogil
ctypedef void (*evbuffer_file_segment_cleanup_cb)(const evbuffer_file_segment *segment, int flags,
                                                  void *arg) noexcept nogil

cdef struct evbuffer_chain_reference:
    evbuffer_ref_cleanup_cb cleanup    # called with the whole memory when the last user is gone; may be NULL
    void *arg

cdef struct evbuffer_multicast_parent:
    evbuffer_chain *parent             # referenced; whose bytes these are

# One file, one descriptor and at most one mapping, whatever number of chains shows parts of it. The lock guards
# refcnt and what says where the bytes are; the rest does not change.
cdef struct evbuffer_file_segment:
    void *lock                         # NULL with EVBUF_FS_DISABLE_LOCKING
    int refcnt                         # the creator's, and one for each chain
    unsigned flags                     # EVBUF_FS_*
    bint can_sendfile
    bint is_regular                    # its size says how far it can be read
    bint is_mapping
    int fd
    char *contents                     # the segment's first byte in memory; NULL while only in the file
    ev_off_t mmap_offset               # from the mapping's start to the segment's first byte
    ev_off_t file_offset
    ev_off_t length
    evbuffer_file_segment_cleanup_cb cleanup_cb
    void *cleanup_cb_arg

# A chain's misalign counts from the segment's first byte, so that draining is the same wherever the bytes are;
# its buffer is the segment's contents, or NULL while the chain is not loaded.

cdef struct evbuffer_chain_file_segment:
    evbuffer_file_segment *segment

# What has become of the calls that were to send without copying, over the socket that a buffer was last written
# to, whichever buffer made them.
cdef struct evbuffer_zerocopy_stats:
    uint64_t sent                  # the kernel got the memory
    uint64_t done                  # and has given it back
    uint64_t copied                # of these: it had copied the bytes after all, as it does over loopback
    uint64_t refused               # it did not want the memory (ENOBUFS), and the bytes were copied

cdef struct evbuffer_cb_info:
    size_t orig_size               # length before the change
    size_t n_added
    size_t n_deleted

ctypedef void (*evbuffer_cb_func)(evbuffer *buffer, const evbuffer_cb_info *info,
                                  void *arg) noexcept nogil

cdef struct evbuffer_cb_entry:
    evbuffer_cb_entry *next        # newest first
    evbuffer_cb_entry *prev
    evbuffer_cb_func cb
    void *cbarg
    unsigned flags                 # EVBUFFER_CB_*
    size_t suspended_size          # the length when it was suspended

cdef struct evbuffer_ptr_internal:
    void *chain                    # NULL: not found, or the end of the buffer
    size_t pos_in_chain

# A position in a buffer; valid until the buffer changes.
cdef struct evbuffer_ptr:
    ev_ssize_t pos                 # -1: not found
    evbuffer_ptr_internal internal_

# What few buffers have, so that an idle connection's are small.
cdef struct evbuffer_seldom:
    event_callback deferred        # in use once callbacks are deferred
    void *zerocopy                 # the socket that it last sent to without copying, or NULL

cdef struct evbuffer:
    evbuffer_chain *first
    evbuffer_chain *last
    evbuffer_chain **last_with_datap
    size_t total_len
    uint32_t max_read              # most bytes that one evbuffer_read() takes
    uint32_t zerocopy_threshold    # bytes; shorter chains are always copied
    uint32_t read_size             # memory that the next evbuffer_read() offers; follows what arrives
    uint32_t flags                 # EVBUFFER_FLAG_*
    size_t n_add_for_cb            # bytes added and removed since the callbacks last heard of it
    size_t n_del_for_cb
    evbuffer_cb_entry *callbacks
    void *lock
    unsigned char own_lock
    unsigned char freeze_start
    unsigned char freeze_end
    unsigned char deferred_cbs
    unsigned char deferred_ref     # what is queued in the base holds a reference
    unsigned char read_filled      # the last evbuffer_read() filled what it offered: more may be there
    unsigned char plain_fd         # its descriptor turned out to be no socket
    unsigned char dead_callbacks   # some are to be freed when walking is 0 again
    unsigned short walking         # depth of callbacks that run
    int refcnt
    void *parent                   # the bufferevent whose buffer this is, or NULL
    event_base *cb_queue           # where deferred callbacks run; a bufferevent's base in any case
    evbuffer_seldom *seldom        # owned; NULL until it is needed


cdef inline void *zerocopy_of(const evbuffer *buf) noexcept nogil:
    return buf.seldom.zerocopy if buf.seldom != NULL else NULL
