/* What the emulations of the tests have in common: a table from a descriptor to what stands behind it, and
 * waiting. None of this is part of the package: a build with CYEVENT_EMULATE=1 finds these headers where another
 * system has its own, and the names of the methods made with them end in -emulated.
 *
 * An emulation shows that a backend makes its system calls in the right order with the right arguments, and
 * what it makes of the answers. It does not show that a real kernel answers so, nor what anything costs. */
#ifndef CYEVENT_TESTS_EMULATED_H
#define CYEVENT_TESTS_EMULATED_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EMU_MAX 512          /* kernel objects at a time */
#define EMU_BATCH 4096       /* events of one epoll_wait() */

struct emu_object {
    int fd;
    void (*release)(void *self);
};

static struct emu_object *volatile emu_objects[EMU_MAX];
static pthread_mutex_t emu_mutex = PTHREAD_MUTEX_INITIALIZER;

static inline int emu_enter(struct emu_object *object) {
    int i, result = -1;
    pthread_mutex_lock(&emu_mutex);
    for (i = 0; i < EMU_MAX && result < 0; i++) {
        if (emu_objects[i] == NULL) {
            emu_objects[i] = object;
            result = 0;
        }
    }
    pthread_mutex_unlock(&emu_mutex);
    return result;
}

static inline void *emu_find(int fd) {
    struct emu_object *found = NULL;
    int i;
    pthread_mutex_lock(&emu_mutex);
    for (i = 0; i < EMU_MAX && found == NULL; i++)
        if (emu_objects[i] != NULL && emu_objects[i]->fd == fd)
            found = emu_objects[i];
    pthread_mutex_unlock(&emu_mutex);
    if (found == NULL)
        errno = EBADF;
    return found;
}

static inline int emu_close(int fd) {
    struct emu_object *found = (struct emu_object *)emu_find(fd);
    int i;
    if (found == NULL)
        return (close)(fd);
    pthread_mutex_lock(&emu_mutex);
    for (i = 0; i < EMU_MAX; i++)
        if (emu_objects[i] == found)
            emu_objects[i] = NULL;
    pthread_mutex_unlock(&emu_mutex);
    found->release(found);
    free(found);
    return 0;
}

static inline int64_t emu_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Waits until fd is readable or `deadline` (ns, -1: never) has come; 1, 0 or -1 with errno. */
static inline int emu_wait(int fd, int64_t deadline) {
    struct pollfd entry;
    struct timespec ts;
    int64_t left = deadline < 0 ? -1 : deadline - emu_now();
    entry.fd = fd;
    entry.events = POLLIN;
    if (deadline >= 0 && left < 0)
        left = 0;
    ts.tv_sec = left / 1000000000;
    ts.tv_nsec = left % 1000000000;
    return (int)syscall(SYS_ppoll, &entry, 1, deadline < 0 ? NULL : &ts, NULL, 8);
}

/* 0, or the errno with which the set refuses; EPERM: what cannot be waited for, since it is always ready. */
static inline int emu_watch(int set, int fd, uint32_t events) {
    struct epoll_event registration;
    memset(&registration, 0, sizeof(registration));
    registration.events = events;
    registration.data.fd = fd;
    if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &registration) == 0)
        return 0;
    if (errno == EEXIST && epoll_ctl(set, EPOLL_CTL_MOD, fd, &registration) == 0)
        return 0;
    return errno;
}

static inline int emu_unwatch(int set, int fd) {
    struct epoll_event unused;
    memset(&unused, 0, sizeof(unused));
    return epoll_ctl(set, EPOLL_CTL_DEL, fd, &unused) == 0 ? 0 : errno;
}

/* A system call that succeeds leaves errno alone. */
#define EMU_RESULT(type, call) do { \
    int emu_saved = errno; \
    type emu_result = (call); \
    if (emu_result >= 0) \
        errno = emu_saved; \
    return emu_result; \
} while (0)

/* A byte per descriptor number, for what epoll cannot remember. */
struct emu_bytes {
    unsigned char *values;
    int n;
};

static inline int emu_get(const struct emu_bytes *bytes, int fd) {
    return fd >= 0 && fd < bytes->n ? bytes->values[fd] : 0;
}

static inline void emu_put(struct emu_bytes *bytes, int fd, int value) {
    if (fd < 0 || (fd >= bytes->n && value == 0))
        return;
    if (fd >= bytes->n) {
        int n = 2 * fd + 64;
        bytes->values = (unsigned char *)realloc(bytes->values, (size_t)n);
        memset(bytes->values + bytes->n, 0, (size_t)(n - bytes->n));
        bytes->n = n;
    }
    bytes->values[fd] = (unsigned char)value;
}

#endif
