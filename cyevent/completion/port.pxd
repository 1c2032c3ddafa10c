# Completion ports: what bufferevents and listeners ask of io_uring and IOCP alike.
#
# An operation is a `completion`, made once by its owner and submitted again and again. Submitting only notes
# it, or starts it, and never blocks; when the kernel is done, the operation's callback runs from the loop like
# any deferred callback, at the operation's priority, without a lock. Nothing calls back from within a
# submission.
#
#     completion_new_            the owner has it, idle
#     completion_receive_ ...    it is under way, and keeps the loop running
#     done(op, arg)              the owner takes what has come (completion_take_, completion_accepted_,
#                                readable, result) and submits again what is idle
#     completion_free_           the owner lets go; done does not come any more
#
# Receiving and accepting may be multishot: the operation stays under way while done is called for what has
# come, until `ended` says why nothing more will. A receive may also turn idle with `readable` set: its owner
# then reads the descriptor itself, for there is no memory to receive into, or a limit to keep that changes
# while it waits.
#
# All functions here may be called from any thread if the base has a lock. They take the base's lock, and so
# must be called without it; a bufferevent's or a listener's own lock is taken before.
#
# An implementation is one file that fills a completion_ops, and is the only one to know its kernel. Its struct
# for a port begins with completion_port, that for an operation with completion.

from libc.stdint cimport int64_t, uint8_t, uint16_t
from cyevent.buffer.types cimport evbuffer, evbuffer_chain
from cyevent.completion.vtable cimport completion_loop, completion_loop_ops
from cyevent.core.sys cimport evutil_socket_t, iovec, sockaddr
from cyevent.core.types cimport event_base, event_callback

cdef enum completion_kind:
    COMPLETION_NONE = 0
    COMPLETION_RECEIVE = 1
    COMPLETION_SEND = 2
    COMPLETION_SENDFILE = 3
    COMPLETION_ACCEPT = 4
    COMPLETION_CONNECT = 5
    COMPLETION_WRITABLE = 6

cdef enum completion_state:
    COMPLETION_IDLE = 0
    COMPLETION_UNDER_WAY = 1           # submitted; done will be called
    COMPLETION_CANCELLING = 2          # nobody waits for it, but the kernel is not done with it

cdef enum completion_events:
    COMPLETION_EVENTS_NEVER = 0        # the port tells of readiness at least as well
    COMPLETION_EVENTS_MUCH = 1         # who reads as much as fits
    COMPLETION_EVENTS_ALWAYS = 2       # whoever reads by itself

cdef enum:
    # The most pieces of memory that one send takes.
    COMPLETION_PIECES = 8

ctypedef void (*completion_fn)(completion *op, void *arg) noexcept nogil

cdef struct completion:
    event_callback done                # active while something has come that its owner has not been told of
    completion_fn fn
    completion_port *port
    completion *next                   # neighbors among the port's operations that are not idle
    completion *prev
    completion *next_queued            # a list of the implementation's own
    completion *prev_queued
    evutil_socket_t fd
    uint8_t kind                       # COMPLETION_RECEIVE, ...
    uint8_t state                      # COMPLETION_IDLE, ...
    uint8_t ended                      # receive, accept: `result` says why nothing more comes
    uint8_t readable                   # receive: something is there, bytes or the end, for the owner to read
    uint8_t bytes                      # receive: as asked for
    uint8_t again                      # submitted again, or awaited, before cancelling was over
    uint8_t orphan                     # freed by its owner: its memory goes when the kernel is done
    uint8_t marks                      # the implementation's own
    uint8_t lost                       # the kernel never said that it is done: its memory is not used again
    uint16_t n_pieces                  # send: of `pieces` and `pinned`
    # Bytes sent, 0 for connected; or -errno. Of what ended a receive 0 is the peer's end.
    int64_t result
    size_t most                        # send: bytes that were offered; accept: the flags
    # What was received and not taken, oldest first. Chains of the implementation's own memory say so in their
    # cleanup, and may be freed in any thread and after the port.
    evbuffer_chain *first
    evbuffer_chain *last
    size_t total
    # What was accepted and not taken.
    evutil_socket_t *accepted
    int n_accepted
    int first_accepted
    int room_accepted

# A send's operation: chains of the output, which are held until the kernel is done with their bytes.
cdef struct completion_send:
    completion op                      # must be first
    # Something follows the pieces that had best share their packet: a file, or memory that is not to be copied.
    bint more
    iovec pieces[COMPLETION_PIECES]
    evbuffer_chain *pinned[COMPLETION_PIECES]

# One kind of port. All are called with the base's lock held, on an operation whose fd, kind and arguments are
# set and whose state is UNDER_WAY. 0 or -1 with errno: then it is idle again, and nothing was begun.
cdef struct completion_ops:
    completion_loop_ops loop           # must be first
    size_t receive_size                # of the structs, which begin with completion, or with completion_send
    size_t send_size
    # op.bytes: what arrives is handed over by completion_received_, until it ends or is cancelled, or once, as
    # the implementation sees fit. Without, the operation ends when the descriptor is readable.
    int (*receive)(completion *op) noexcept nogil
    # op.pieces; may send less than all of them.
    int (*send)(completion_send *op) noexcept nogil
    # The part of a file that the chain pinned[0] shows, at most op.most bytes of it.
    int (*sendfile)(completion_send *op) noexcept nogil
    # Until it ends or is cancelled; `flags` as accept4()'s.
    int (*accept)(completion *op, int flags) noexcept nogil
    # The address is copied.
    int (*connect)(completion *op, const sockaddr *address, int length) noexcept nogil
    # Ends when the descriptor can be written to, or has an error.
    int (*writable)(completion *op) noexcept nogil
    # The operation's state is CANCELLING. Ends in completion_over_(): now, if the kernel does not know of it,
    # or when the kernel is done.
    void (*cancel)(completion *op) noexcept nogil
    # Its memory is about to be freed; the port may be closed. NULL where that means nothing.
    void (*release)(completion *op) noexcept nogil

cdef struct completion_port:
    completion_loop loop               # must be first; its ops are the first member of a completion_ops
    event_base *base
    completion *first                  # all operations that are not idle
    # Set by the implementation for each turn: so little has completed that a system call at once costs less
    # than one with the next wait. Writers then write themselves first.
    bint sparse
    # Who receives pieces of this size and above had better read by itself. 0: nobody.
    size_t large
    # Who had better wait for its reading with an event of the base's. Changes with the load.
    uint8_t reading_events             # COMPLETION_EVENTS_NEVER, ...
    # The kernel tells of a descriptor's end only when nothing of ours refers to it any more: operations have to
    # be cancelled before it is closed.
    bint holds_descriptors
    # Operations are begun by whoever submits them, so that no wait has to be ended for them.
    bint begins_at_once
    # completion_connect_() does what connect() and a wait for the outcome would.
    bint connects
    # Files are sent by completion_send_() alone: what a writer does himself is to copy them.
    bint sends_files

# --- for the owners ---

# The base's port; NULL for one without.
cdef completion_port *completion_port_of_(event_base *base) noexcept nogil
# `kind`: COMPLETION_RECEIVE, COMPLETION_ACCEPT, or COMPLETION_SEND for all others in turn. NULL without memory.
cdef completion *completion_new_(completion_port *port, completion_kind kind, int priority, completion_fn fn,
                                 void *arg) noexcept nogil
# Cancels it. op may be NULL. Not to be used any more.
cdef void completion_free_(completion *op) noexcept nogil
cdef void completion_set_priority_(completion *op, int priority) noexcept nogil

# The operation must be idle, or be cancelling: then it begins when that is over. 0, or -1 with errno. bytes:
# they are received as they come; without, the owner only hears that there are some.
cdef int completion_receive_(completion *op, evutil_socket_t fd, bint bytes) noexcept nogil
# Sends from the front of `output`, at most `most` bytes of its first chains, which are held meanwhile; draining
# what was sent is the caller's. A file at the front goes by itself. The front has to stay as it is: frozen.
cdef int completion_send_(completion *op, evutil_socket_t fd, evbuffer *output, size_t most) noexcept nogil
cdef int completion_accept_(completion *op, evutil_socket_t fd, int flags) noexcept nogil
cdef int completion_connect_(completion *op, evutil_socket_t fd, const sockaddr *address,
                             int length) noexcept nogil
# Tells when the descriptor can be written to, or has an error: for one that is connecting already, or is no
# socket.
cdef int completion_writable_(completion *op, evutil_socket_t fd) noexcept nogil
# Nothing more will be begun, and done is not called unless something has come. What was received or accepted
# stays to be taken, also what comes until the kernel has stopped.
cdef void completion_cancel_(completion *op) noexcept nogil
# A send that was cancelled may have sent something: done will be called when that is known.
cdef void completion_await_(completion *op) noexcept nogil
# Calls done in the next turn of the loop, as if something had come: for what was left untaken.
cdef void completion_wake_(completion *op) noexcept nogil
# Moves at most `most` received bytes (0: all) to the end of `into`, whose lock is held. Returns how many. By
# the loop's callbacks alone.
cdef ssize_t completion_take_(completion *op, evbuffer *into, size_t most) noexcept nogil
# The next accepted descriptor, which is the caller's; -1 for none.
cdef evutil_socket_t completion_accepted_(completion *op) noexcept nogil

# --- for the implementations; with the base's lock held ---

cdef void completion_port_init_(completion_port *port, event_base *base,
                                const completion_ops *ops) noexcept nogil
# A chain with bytes has come. The caller tells of it with completion_tell_.
cdef void completion_received_(completion *op, evbuffer_chain *chain) noexcept nogil
# A descriptor was accepted; closes it without memory.
cdef void completion_add_accepted_(completion *op, evutil_socket_t fd) noexcept nogil
# Something has come: done will be called, unless nobody waits for it.
cdef void completion_tell_(completion *op) noexcept nogil
# Nobody waits for it any more, and its owner's cancelling is not to come: the port closes.
cdef void completion_dismiss_(completion *op) noexcept nogil
# The kernel is done with it: idle again, or begun again if its owner wishes, or its memory is freed.
cdef void completion_over_(completion *op, int64_t result) noexcept nogil
