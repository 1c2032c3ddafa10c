/* An emulation of /dev/poll (poll(7D) of Solaris and illumos) for the tests, over epoll; see emulated.h.
 *
 * As there: events written for a descriptor that is in the set already are added to its own, only POLLREMOVE
 * takes it out; a descriptor that was closed stays and is told with POLLNVAL; one whose number is used again is
 * watched anew; another process may not write. */
#ifndef CYEVENT_TESTS_SYS_DEVPOLL_H
#define CYEVENT_TESTS_SYS_DEVPOLL_H

#include "../emulated.h"

#undef POLLREMOVE
#define POLLREMOVE 0x0800
#define DP_POLL 0xd001

typedef struct dvpoll {
    struct pollfd *dp_fds;
    unsigned long dp_nfds;
    int dp_timeout;
} dvpoll_t;

struct emu_devpoll {
    struct emu_object object;
    struct emu_bytes wanted;       /* poll()'s events, compressed: see emu_compress() */
    pid_t pid;
};

static int emu_compress(short events) {
    return 0x80 | (events & POLLIN ? 1 : 0) | (events & POLLOUT ? 2 : 0) | (events & POLLRDHUP ? 4 : 0);
}

static short emu_expand(int value) {
    return (short)((value & 1 ? POLLIN : 0) | (value & 2 ? POLLOUT : 0) | (value & 4 ? POLLRDHUP : 0));
}

static void emu_devpoll_release(void *self) {
    free(((struct emu_devpoll *)self)->wanted.values);
    (close)(((struct emu_devpoll *)self)->object.fd);
}

static int emu_open(const char *path, int flags) {
    struct emu_devpoll *set;
    if (strcmp(path, "/dev/poll") != 0)
        return (open)(path, flags);
    set = (struct emu_devpoll *)calloc(1, sizeof(*set));
    set->object.release = emu_devpoll_release;
    set->object.fd = epoll_create1(EPOLL_CLOEXEC);
    set->pid = getpid();
    if (set->object.fd < 0 || emu_enter(&set->object) < 0) {
        emu_devpoll_release(set);
        free(set);
        errno = EMFILE;
        return -1;
    }
    return set->object.fd;
}

static ssize_t emu_change(int fd, const void *data, size_t n, off_t offset) {
    struct emu_devpoll *set = (struct emu_devpoll *)emu_find(fd);
    const struct pollfd *entries = (const struct pollfd *)data;
    size_t i;
    (void)offset;
    if (set == NULL)
        return -1;
    if (set->pid != getpid()) {
        errno = EACCES;
        return -1;
    }
    for (i = 0; i < n / sizeof(*entries); i++) {
        if (entries[i].events & POLLREMOVE) {
            emu_put(&set->wanted, entries[i].fd, 0);
            emu_unwatch(fd, entries[i].fd);
        } else {
            emu_put(&set->wanted, entries[i].fd,
                    emu_get(&set->wanted, entries[i].fd) | emu_compress(entries[i].events));
        }
    }
    return (ssize_t)n;
}

/* Brings the set in order, since descriptors may have changed behind its back; what is ready at once. */
static int emu_devpoll_look(struct emu_devpoll *set, struct dvpoll *argument) {
    int fd, value, error, n = 0;
    for (fd = 0; fd < set->wanted.n && n < (int)argument->dp_nfds; fd++) {
        value = emu_get(&set->wanted, fd);
        if (value == 0)
            continue;
        /* epoll's and poll()'s bits are the same. */
        error = emu_watch(set->object.fd, fd, (uint32_t)emu_expand(value));
        if (error == 0)
            continue;
        argument->dp_fds[n].fd = fd;
        argument->dp_fds[n].events = emu_expand(value);
        argument->dp_fds[n].revents =
            (short)(error == EBADF ? POLLNVAL : emu_expand(value) & (POLLIN | POLLOUT));
        n += argument->dp_fds[n].revents != 0;
    }
    return n;
}

static int emu_dp_poll(int fd, unsigned long request, struct dvpoll *argument) {
    struct emu_devpoll *set = (struct emu_devpoll *)emu_find(fd);
    struct epoll_event ready[EMU_BATCH];
    int i, n, got, room;
    if (set == NULL || request != DP_POLL) {
        errno = EINVAL;
        return -1;
    }
    n = emu_devpoll_look(set, argument);
    room = (int)argument->dp_nfds - n;
    if (room == 0)
        return n;
    got = epoll_wait(fd, ready, room < EMU_BATCH ? room : EMU_BATCH, n ? 0 : argument->dp_timeout);
    if (got < 0 && n == 0)
        return -1;
    for (i = 0; i < got; i++, n++) {
        argument->dp_fds[n].fd = ready[i].data.fd;
        argument->dp_fds[n].events = 0;
        argument->dp_fds[n].revents = (short)ready[i].events;
    }
    return n;
}

static ssize_t emu_pwrite(int fd, const void *data, size_t n, off_t offset) {
    EMU_RESULT(ssize_t, emu_change(fd, data, n, offset));
}

static int emu_ioctl(int fd, unsigned long request, struct dvpoll *argument) {
    EMU_RESULT(int, emu_dp_poll(fd, request, argument));
}

#define open emu_open
#define pwrite emu_pwrite
#define ioctl emu_ioctl
#define close emu_close

#endif
