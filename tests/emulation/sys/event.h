/* An emulation of kqueue(2) for the tests, over epoll, eventfd and signal handlers; see emulated.h.
 *
 * As on the BSDs: reading and writing are two registrations; changes that fail are entries of the result, and
 * then nothing is waited for; EV_ADD looks at the descriptor again; a child does not inherit a kqueue; a pipe
 * whose reader is gone cannot be added (EPIPE); regular files are always ready.
 * Not as there: a closed descriptor's registration stays while a duplicate is open, EV_CLEAR follows every
 * EV_ADD, and a signal is missed when a handler is installed after EV_ADD. */
#ifndef CYEVENT_TESTS_SYS_EVENT_H
#define CYEVENT_TESTS_SYS_EVENT_H

#include "../emulated.h"

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EVFILT_SIGNAL (-6)
#define EVFILT_USER (-11)
#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_CLEAR 0x0020
#define EV_ERROR 0x4000
#define EV_EOF 0x8000
#define NOTE_EOF 0x0002
#define NOTE_TRIGGER 0x01000000
#define EMU_NSIG 65

struct kevent {
    uintptr_t ident;
    short filter;
    unsigned short flags;
    unsigned fflags;
    int64_t data;
    void *udata;
};

#define EV_SET(kev, a, b, c, d, e, f) do { \
    (kev)->ident = (a); (kev)->filter = (short)(b); (kev)->flags = (unsigned short)(c); \
    (kev)->fflags = (d); (kev)->data = (e); (kev)->udata = (f); \
} while (0)

/* Filters of descriptors, as indices. */
enum { EMU_READ, EMU_WRITE };

struct emu_kqueue {
    struct emu_object object;      /* its descriptor is a set of all that follow */
    int sets[2];
    int user;                      /* eventfd */
    int signals;                   /* eventfd: there is something in counts */
    int user_added;
    int turn;                      /* which filter comes first */
    struct emu_bytes always[2];    /* ready without being asked */
    int nalways;
    void **udata[2];
    int nudata;
    volatile int watched[EMU_NSIG];
    int counts[EMU_NSIG];
};

static struct sigaction emu_previous[EMU_NSIG];
static volatile int emu_installed[EMU_NSIG];

static void emu_kqueue_release(void *self) {
    struct emu_kqueue *kq = (struct emu_kqueue *)self;
    int i;
    for (i = 0; i < 2; i++) {
        (close)(kq->sets[i]);
        free(kq->always[i].values);
        free(kq->udata[i]);
    }
    (close)(kq->user);
    (close)(kq->signals);
    (close)(kq->object.fd);
}

static void emu_kqueues_of_the_parent(void) {
    int i;
    for (i = 0; i < EMU_MAX; i++) {
        struct emu_object *object = emu_objects[i];
        emu_objects[i] = NULL;
        if (object != NULL) {
            object->release(object);
            free(object);
        }
    }
}

static int kqueue(void) {
    static int prepared;
    struct emu_kqueue *kq = (struct emu_kqueue *)calloc(1, sizeof(*kq));
    int i;
    if (!prepared) {
        prepared = 1;
        pthread_atfork(NULL, NULL, emu_kqueues_of_the_parent);
    }
    kq->object.release = emu_kqueue_release;
    kq->object.fd = epoll_create1(EPOLL_CLOEXEC);
    for (i = 0; i < 2; i++)
        kq->sets[i] = epoll_create1(EPOLL_CLOEXEC);
    kq->user = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    kq->signals = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (kq->object.fd < 0 || kq->sets[0] < 0 || kq->sets[1] < 0 || kq->user < 0 || kq->signals < 0
        || emu_enter(&kq->object) < 0) {
        emu_kqueue_release(kq);
        free(kq);
        errno = EMFILE;
        return -1;
    }
    emu_watch(kq->object.fd, kq->sets[0], EPOLLIN);
    emu_watch(kq->object.fd, kq->sets[1], EPOLLIN);
    emu_watch(kq->object.fd, kq->user, EPOLLIN);
    emu_watch(kq->object.fd, kq->signals, EPOLLIN);
    return kq->object.fd;
}

/* --- signals --- */

static void emu_on_signal(int signum) {
    int saved = errno, i;
    uint64_t one = 1;
    for (i = 0; i < EMU_MAX; i++) {
        struct emu_kqueue *kq = (struct emu_kqueue *)emu_objects[i];
        if (kq != NULL && kq->watched[signum]) {
            __atomic_add_fetch(&kq->counts[signum], 1, __ATOMIC_SEQ_CST);
            if (write(kq->signals, &one, sizeof(one)) < 0)
                break;
        }
    }
    if (emu_previous[signum].sa_handler != SIG_DFL && emu_previous[signum].sa_handler != SIG_IGN)
        emu_previous[signum].sa_handler(signum);
    errno = saved;
}

static int emu_signal_change(struct emu_kqueue *kq, int signum, int add) {
    struct sigaction action;
    int i;
    if (signum < 1 || signum >= EMU_NSIG)
        return EINVAL;
    if (!add && !kq->watched[signum])
        return ENOENT;
    kq->watched[signum] = add;
    if (add && !emu_installed[signum]) {
        memset(&action, 0, sizeof(action));
        action.sa_handler = emu_on_signal;
        action.sa_flags = SA_RESTART;
        sigfillset(&action.sa_mask);
        emu_installed[signum] = 1;
        return sigaction(signum, &action, &emu_previous[signum]) < 0 ? errno : 0;
    }
    for (i = 0; i < EMU_MAX; i++)
        if (emu_objects[i] != NULL && ((struct emu_kqueue *)emu_objects[i])->watched[signum])
            return 0;
    if (sigaction(signum, NULL, &action) == 0 && action.sa_handler == emu_on_signal)
        sigaction(signum, &emu_previous[signum], NULL);
    emu_installed[signum] = 0;
    return 0;
}

/* --- changes --- */

static int emu_io_change(struct emu_kqueue *kq, int which, int fd, const struct kevent *change) {
    uint32_t events = which == EMU_READ ? EPOLLIN | EPOLLRDHUP : EPOLLOUT;
    struct pollfd entry;
    struct stat status;
    int error;
    if (fcntl(fd, F_GETFD) < 0)
        return EBADF;
    if (change->flags & EV_DELETE) {
        if (emu_get(&kq->always[which], fd)) {
            emu_put(&kq->always[which], fd, 0);
            kq->nalways--;
            return 0;
        }
        error = emu_unwatch(kq->sets[which], fd);
        return error == EPERM ? ENOENT : error;
    }
    entry.fd = fd;
    entry.events = POLLOUT;
    if (which == EMU_WRITE && fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode)
        && poll(&entry, 1, 0) == 1 && entry.revents & POLLERR)
        return EPIPE;
    if (fd >= kq->nudata) {
        int i, n = 2 * fd + 64;
        for (i = 0; i < 2; i++) {
            kq->udata[i] = (void **)realloc(kq->udata[i], (size_t)n * sizeof(void *));
            memset(kq->udata[i] + kq->nudata, 0, (size_t)(n - kq->nudata) * sizeof(void *));
        }
        kq->nudata = n;
    }
    kq->udata[which][fd] = change->udata;
    error = emu_watch(kq->sets[which], fd, events | (change->flags & EV_CLEAR ? EPOLLET : 0));
    if (error != EPERM)
        return error;
    if (!emu_get(&kq->always[which], fd)) {
        emu_put(&kq->always[which], fd, 1);
        kq->nalways++;
    }
    return 0;
}

static int emu_change(struct emu_kqueue *kq, const struct kevent *change) {
    uint64_t one = 1;
    switch (change->filter) {
    case EVFILT_READ:
        return emu_io_change(kq, EMU_READ, (int)change->ident, change);
    case EVFILT_WRITE:
        return emu_io_change(kq, EMU_WRITE, (int)change->ident, change);
    case EVFILT_SIGNAL:
        return emu_signal_change(kq, (int)change->ident, (change->flags & EV_ADD) != 0);
    case EVFILT_USER:
        if (change->flags & EV_ADD)
            kq->user_added = 1;
        if (!kq->user_added)
            return ENOENT;
        if (change->fflags & NOTE_TRIGGER && write(kq->user, &one, sizeof(one)) < 0)
            return errno;
        return 0;
    }
    return EINVAL;
}

/* --- waiting --- */

static int emu_collect_io(struct emu_kqueue *kq, int which, struct kevent *events, int room) {
    struct epoll_event ready[EMU_BATCH];
    short filter = which == EMU_READ ? EVFILT_READ : EVFILT_WRITE;
    int i, fd, n = 0, got;
    for (fd = 0; kq->nalways && fd < kq->always[which].n && n < room; fd++) {
        if (!emu_get(&kq->always[which], fd))
            continue;
        if (fcntl(fd, F_GETFD) < 0) {
            emu_put(&kq->always[which], fd, 0);
            kq->nalways--;
            continue;
        }
        EV_SET(&events[n], (uintptr_t)fd, filter, 0, 0, 1, kq->udata[which][fd]);
        n++;
    }
    if (n == room)
        return n;
    got = epoll_wait(kq->sets[which], ready, room - n < EMU_BATCH ? room - n : EMU_BATCH, 0);
    for (i = 0; i < got; i++) {
        uint32_t what = ready[i].events;
        uint32_t end = EPOLLHUP | EPOLLERR | (which == EMU_READ ? EPOLLRDHUP : 0);
        fd = ready[i].data.fd;
        EV_SET(&events[n], (uintptr_t)fd, filter, what & end ? EV_EOF : 0, 0, 1, kq->udata[which][fd]);
        n++;
    }
    return n;
}

static int emu_collect(struct emu_kqueue *kq, struct kevent *events, int room) {
    uint64_t count;
    int n = 0, i;
    if (n < room && read(kq->user, &count, sizeof(count)) > 0) {
        EV_SET(&events[n], 0, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
        n++;
    }
    if (read(kq->signals, &count, sizeof(count)) > 0) {
        for (i = 1; i < EMU_NSIG && n < room; i++) {
            int times = __atomic_exchange_n(&kq->counts[i], 0, __ATOMIC_SEQ_CST);
            if (times && kq->watched[i]) {
                EV_SET(&events[n], (uintptr_t)i, EVFILT_SIGNAL, EV_CLEAR, 0, times, NULL);
                n++;
            }
        }
    }
    for (i = 0; i < 2 && n < room; i++)
        n += emu_collect_io(kq, i ^ kq->turn, events + n, room - n);
    kq->turn ^= 1;
    return n;
}

static int emu_kevent(int fd, const struct kevent *changes, int nchanges, struct kevent *events, int nevents,
                      const struct timespec *timeout) {
    struct emu_kqueue *kq = (struct emu_kqueue *)emu_find(fd);
    int64_t deadline = -1;
    int i, n = 0;
    if (kq == NULL)
        return -1;
    for (i = 0; i < nchanges; i++) {
        /* The arrays may be one. */
        struct kevent change = changes[i];
        int error = emu_change(kq, &change);
        if (error && n < nevents) {
            EV_SET(&events[n], change.ident, change.filter, EV_ERROR, change.fflags, error, change.udata);
            n++;
        } else if (error) {
            errno = error;
            return -1;
        }
    }
    if (n || nevents == 0)
        return n;
    if (timeout != NULL)
        deadline = emu_now() + (int64_t)timeout->tv_sec * 1000000000 + timeout->tv_nsec;
    while (1) {
        n = emu_collect(kq, events, nevents);
        if (n)
            return n;
        i = emu_wait(fd, deadline);
        if (i <= 0)
            return i;
    }
}

static int kevent(int fd, const struct kevent *changes, int nchanges, struct kevent *events, int nevents,
                  const struct timespec *timeout) {
    EMU_RESULT(int, emu_kevent(fd, changes, nchanges, events, nevents, timeout));
}

#define close emu_close

#endif
