# A list of descriptors whose registration is to be brought up to date before the next wait: what epoll (when
# asked for), kqueue and /dev/poll collect. An event that is added and deleted again costs no system call, and
# several changes to one descriptor are one.
#
# A descriptor's change is found through its fdinfo word: the batch in the upper half, 1 + its index in the
# lower; a word of an earlier batch means none. A backend with such a list so has to set fdinfo_len to 8.

from libc.stdint cimport uint32_t, uint64_t
from cyevent.backends.room cimport make_room
from cyevent.core.memory cimport mm_free
from cyevent.core.sys cimport set_errno, ENOMEM

cdef struct change:
    int fd
    short known                # what the kernel was told
    short wanted               # EV_ET included
    bint added                 # told even when it looks the same: the number may be a new descriptor's

cdef struct change_list:
    change *entries
    uint32_t batch
    int n
    int allocated


cdef inline int note_change(change_list *changes, int fd, short known, short wanted, bint added,
                            uint64_t *fdinfo) noexcept nogil:
    cdef change *entry
    if (fdinfo[0] >> 32) != changes.batch or <uint32_t>fdinfo[0] == 0:
        if not make_room(<void **>&changes.entries, &changes.allocated, changes.n + 1, sizeof(change)):
            set_errno(ENOMEM)
            return -1
        entry = &changes.entries[changes.n]
        entry.fd = fd
        entry.known = known
        entry.added = False
        changes.n += 1
        fdinfo[0] = <uint64_t>changes.batch << 32 | <uint64_t>changes.n
    entry = &changes.entries[<uint32_t>fdinfo[0] - 1]
    entry.wanted = wanted
    entry.added = entry.added or added
    return 0


cdef inline bint is_change(const change *entry) noexcept nogil:
    return entry.known != entry.wanted or entry.added


# After all of them were told.
cdef inline void changes_done(change_list *changes) noexcept nogil:
    changes.n = 0
    changes.batch += 1


cdef inline void free_changes(change_list *changes) noexcept nogil:
    mm_free(changes.entries)
