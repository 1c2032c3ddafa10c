# io_uring's system calls and the memory that it shares with programs. The structs and numbers are the kernel's
# ABI, which does not change, and are declared here rather than taken from <linux/io_uring.h>: what that knows
# is as old as the headers of the machine that compiles, and says nothing of the kernel that runs.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #ifndef CYEVENT_URING_ABI
    #define CYEVENT_URING_ABI
    #include <errno.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    #ifndef SYS_io_uring_setup
      #define SYS_io_uring_setup 425
      #define SYS_io_uring_enter 426
      #define SYS_io_uring_register 427
    #endif
    struct uring_sqe {
        uint8_t opcode, flags;
        uint16_t ioprio;
        int32_t fd;
        uint64_t off, addr;
        uint32_t len, op_flags;
        uint64_t user_data;
        uint16_t buf_group, personality;
        int32_t file_index;
        uint64_t addr3, padding;
    };
    struct uring_cqe { uint64_t user_data; int32_t res; uint32_t flags; };
    struct uring_offsets { uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, resv1;
                           uint64_t user_addr; };
    struct uring_cq_offsets { uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, resv1;
                              uint64_t user_addr; };
    struct uring_params {
        uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, resv[3];
        struct uring_offsets sq_off;
        struct uring_cq_offsets cq_off;
    };
    struct uring_timespec { int64_t tv_sec; long long tv_nsec; };
    struct uring_wait { uint64_t sigmask; uint32_t sigmask_sz, min_wait_usec; uint64_t ts; };
    struct uring_buf { uint64_t addr; uint32_t len; uint16_t bid, resv; };
    /* The first one's resv is the tail. */
    struct uring_buf_reg { uint64_t ring_addr; uint32_t ring_entries; uint16_t bgid, flags; uint64_t resv[3]; };
    struct uring_rsrc_update { uint32_t offset, resv; uint64_t data; };
    struct uring_probe_op { uint8_t op, resv; uint16_t flags; uint32_t resv2; };
    struct uring_probe { uint8_t last_op, ops_len; uint16_t resv; uint32_t resv2[3];
                         struct uring_probe_op ops[64]; };

    static inline int uring_setup(unsigned entries, struct uring_params *params) {
        return (int)syscall(SYS_io_uring_setup, entries, params);
    }
    static inline int uring_register(int fd, unsigned what, void *argument, unsigned n) {
        return (int)syscall(SYS_io_uring_register, fd, what, argument, n);
    }
    /* As for epoll_wait(): libc's syscall() is a function to return from, when the processor has just forgotten
     * where functions return to. */
    #if defined(__x86_64__) && defined(__LP64__) \\
        && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    static inline int uring_enter(int fd, unsigned submit, unsigned complete, unsigned flags,
                                  const void *argument, size_t size) {
        long result;
        register long fourth __asm__("r10") = flags;
        register const void *fifth __asm__("r8") = argument;
        register size_t sixth __asm__("r9") = size;
        __asm__ volatile("syscall" : "=a"(result)
                         : "a"((long)SYS_io_uring_enter), "D"((long)fd), "S"((long)submit), "d"((long)complete),
                           "r"(fourth), "r"(fifth), "r"(sixth)
                         : "rcx", "r11", "memory");
        if (result < 0) {
            errno = (int)-result;
            return -1;
        }
        return (int)result;
    }
    #else
    static inline int uring_enter(int fd, unsigned submit, unsigned complete, unsigned flags,
                                  const void *argument, size_t size) {
        return (int)syscall(SYS_io_uring_enter, fd, submit, complete, flags, argument, size);
    }
    #endif
    static inline uint32_t uring_load(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void uring_store(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    /* Also before whatever is read afterwards. */
    static inline void uring_publish(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST);
                                                                __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    static inline void uring_store_tail(struct uring_buf *ring, uint16_t tail) {
        __atomic_store_n(&ring->resv, tail, __ATOMIC_RELEASE);
    }
    /* A stack of numbers that any thread pushes to, and one takes whole: 0 is the empty one. */
    static inline void uring_push(int32_t *head, int32_t *links, int32_t number) {
        int32_t first = __atomic_load_n(head, __ATOMIC_RELAXED);
        do
            links[number] = first;
        while (!__atomic_compare_exchange_n(head, &first, number, 1, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
    }
    static inline int32_t uring_take_all(int32_t *head) {
        return __atomic_load_n(head, __ATOMIC_RELAXED) ? __atomic_exchange_n(head, 0, __ATOMIC_ACQUIRE) : 0;
    }
    #endif
    """
    struct uring_sqe:
        uint8_t opcode
        uint8_t flags
        uint16_t ioprio
        int32_t fd
        uint64_t off
        uint64_t addr
        uint32_t len
        uint32_t op_flags
        uint64_t user_data
        uint16_t buf_group
    struct uring_cqe:
        uint64_t user_data
        int32_t res
        uint32_t flags
    struct uring_offsets:
        uint32_t head
        uint32_t tail
        uint32_t ring_mask
        uint32_t flags
        uint32_t array
    struct uring_cq_offsets:
        uint32_t head
        uint32_t tail
        uint32_t ring_mask
        uint32_t cqes
        uint32_t flags
    struct uring_params:
        uint32_t sq_entries
        uint32_t cq_entries
        uint32_t flags
        uint32_t features
        uring_offsets sq_off
        uring_cq_offsets cq_off
    struct uring_timespec:
        int64_t tv_sec
        long long tv_nsec
    struct uring_wait:
        uint64_t sigmask
        uint32_t sigmask_sz
        uint32_t min_wait_usec
        uint64_t ts
    struct uring_buf:
        uint64_t addr
        uint32_t len
        uint16_t bid
    struct uring_buf_reg:
        uint64_t ring_addr
        uint32_t ring_entries
        uint16_t bgid
    struct uring_rsrc_update:
        uint32_t offset
        uint64_t data
    struct uring_probe_op:
        uint16_t flags
    struct uring_probe:
        uint8_t last_op
        uring_probe_op *ops

    int uring_setup(unsigned entries, uring_params *params) noexcept nogil
    int uring_register(int fd, unsigned what, void *argument, unsigned n) noexcept nogil
    # Without a sigmask; `argument` is a uring_wait.
    int uring_enter(int fd, unsigned submit, unsigned complete, unsigned flags, const void *argument,
                    size_t size) noexcept nogil
    uint32_t uring_load(const uint32_t *p) noexcept nogil
    void uring_store(uint32_t *p, uint32_t value) noexcept nogil
    void uring_publish(uint32_t *p, uint32_t value) noexcept nogil
    void uring_store_tail(uring_buf *ring, uint16_t tail) noexcept nogil
    void uring_push(int32_t *head, int32_t *links, int32_t number) noexcept nogil
    int32_t uring_take_all(int32_t *head) noexcept nogil

    void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset) noexcept nogil
    int munmap(void *address, size_t length) noexcept nogil
    void *MAP_FAILED
    int PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_POPULATE, MAP_NORESERVE

cdef enum:
    URING_OFF_SQ_RING = 0
    URING_OFF_SQES = 0x10000000

    URING_SETUP_CQSIZE = 1 << 3
    URING_SETUP_CLAMP = 1 << 4
    URING_SETUP_R_DISABLED = 1 << 6
    URING_SETUP_SUBMIT_ALL = 1 << 7
    URING_SETUP_COOP_TASKRUN = 1 << 8
    URING_SETUP_TASKRUN_FLAG = 1 << 9
    URING_SETUP_SINGLE_ISSUER = 1 << 12
    URING_SETUP_DEFER_TASKRUN = 1 << 13
    URING_SETUP_NO_SQARRAY = 1 << 16

    URING_FEAT_SINGLE_MMAP = 1 << 0
    URING_FEAT_NODROP = 1 << 1
    URING_FEAT_SUBMIT_STABLE = 1 << 2
    URING_FEAT_FAST_POLL = 1 << 5
    URING_FEAT_EXT_ARG = 1 << 8
    URING_FEAT_CQE_SKIP = 1 << 11

    URING_ENTER_GETEVENTS = 1 << 0
    URING_ENTER_EXT_ARG = 1 << 3
    URING_ENTER_REGISTERED_RING = 1 << 4

    URING_SQ_CQ_OVERFLOW = 1 << 1
    URING_SQ_TASKRUN = 1 << 2

    URING_CQ_EVENTFD_DISABLED = 1 << 0

    URING_REGISTER_EVENTFD = 4
    URING_REGISTER_PROBE = 8
    URING_REGISTER_ENABLE_RINGS = 12
    URING_REGISTER_RING_FDS = 20
    URING_REGISTER_PBUF_RING = 22

    URING_OP_POLL_ADD = 6
    URING_OP_SENDMSG = 9
    URING_OP_ACCEPT = 13
    URING_OP_ASYNC_CANCEL = 14
    URING_OP_CONNECT = 16
    URING_OP_SEND = 26
    URING_OP_RECV = 27
    URING_OP_SEND_ZC = 47

    URING_PROBE_SUPPORTED = 1 << 0

    URING_SQE_BUFFER_SELECT = 1 << 5
    URING_SQE_CQE_SKIP_SUCCESS = 1 << 6

    URING_ACCEPT_MULTISHOT = 1 << 0
    URING_RECV_MULTISHOT = 1 << 1
    URING_CANCEL_ALL = 1 << 0
    URING_CANCEL_ANY = 1 << 2

    URING_CQE_BUFFER = 1 << 0
    URING_CQE_MORE = 1 << 1
    URING_CQE_BUFFER_SHIFT = 16
