/* An emulation of event ports (port_create(3C) of Solaris and illumos) for the tests, over epoll and eventfd;
 * see emulated.h.
 *
 * As there: an association is gone once its event was delivered; associating again replaces the events; the
 * event of a bad descriptor is EBADFD; port_getn() waits for *nget events and says ETIME when they do not come,
 * be it with some; a closed descriptor's association is gone. Not as there: events of a time-out are left in the
 * port, rather than delivered with ETIME. */
#ifndef CYEVENT_TESTS_PORT_H
#define CYEVENT_TESTS_PORT_H

#include "emulated.h"

#define PORT_SOURCE_USER 3
#define PORT_SOURCE_FD 4

typedef struct port_event {
    int portev_events;
    unsigned short portev_source;
    unsigned short portev_pad;
    uintptr_t portev_object;
    void *portev_user;
} port_event_t;

struct emu_port {
    struct emu_object object;      /* its descriptor is a set of the two that follow */
    int set;
    int user;                      /* eventfd */
    struct emu_bytes always;       /* ready without being asked: 1 POLLIN, 2 POLLOUT */
    int nalways;
};

static void emu_port_release(void *self) {
    struct emu_port *port = (struct emu_port *)self;
    free(port->always.values);
    (close)(port->set);
    (close)(port->user);
    (close)(port->object.fd);
}

static int port_create(void) {
    struct emu_port *port = (struct emu_port *)calloc(1, sizeof(*port));
    port->object.release = emu_port_release;
    port->object.fd = epoll_create1(EPOLL_CLOEXEC);
    port->set = epoll_create1(EPOLL_CLOEXEC);
    port->user = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE);
    if (port->object.fd < 0 || port->set < 0 || port->user < 0 || emu_enter(&port->object) < 0) {
        emu_port_release(port);
        free(port);
        errno = EMFILE;
        return -1;
    }
    emu_watch(port->object.fd, port->set, EPOLLIN);
    emu_watch(port->object.fd, port->user, EPOLLIN);
    return port->object.fd;
}

static int emu_port_answer(int error) {
    if (error == 0)
        return 0;
    errno = error == EBADF ? EBADFD : error;
    return -1;
}

static void emu_port_forget(struct emu_port *port, int fd) {
    if (emu_get(&port->always, fd)) {
        emu_put(&port->always, fd, 0);
        port->nalways--;
    }
}

static int emu_associate(int fd, int source, uintptr_t object, int events, void *user) {
    struct emu_port *port = (struct emu_port *)emu_find(fd);
    int error;
    if (port == NULL)
        return -1;
    if (source != PORT_SOURCE_FD || user != NULL) {
        errno = EINVAL;
        return -1;
    }
    emu_port_forget(port, (int)object);
    /* epoll's and poll()'s bits are the same. */
    error = emu_watch(port->set, (int)object, (uint32_t)events | EPOLLONESHOT);
    if (error == EPERM) {
        emu_put(&port->always, (int)object, (events & POLLIN ? 1 : 0) | (events & POLLOUT ? 2 : 0));
        port->nalways += emu_get(&port->always, (int)object) != 0;
        return 0;
    }
    return emu_port_answer(error);
}

static int emu_dissociate(int fd, int source, uintptr_t object) {
    struct emu_port *port = (struct emu_port *)emu_find(fd);
    if (port == NULL)
        return -1;
    (void)source;
    if (emu_get(&port->always, (int)object)) {
        emu_port_forget(port, (int)object);
        return 0;
    }
    return emu_port_answer(emu_unwatch(port->set, (int)object));
}

static int port_send(int fd, int events, void *user) {
    struct emu_port *port = (struct emu_port *)emu_find(fd);
    uint64_t one = 1;
    (void)events;
    (void)user;
    if (port == NULL)
        return -1;
    return write(port->user, &one, sizeof(one)) == (ssize_t)sizeof(one) ? 0 : -1;
}

static void emu_port_event(port_event_t *out, int source, int fd, int events) {
    memset(out, 0, sizeof(*out));
    out->portev_source = (unsigned short)source;
    out->portev_object = (uintptr_t)fd;
    out->portev_events = events;
}

static int emu_port_collect(struct emu_port *port, port_event_t *list, int room) {
    struct epoll_event ready[EMU_BATCH];
    uint64_t count;
    int i, fd, got, n = 0;
    while (n < room && read(port->user, &count, sizeof(count)) > 0)
        emu_port_event(&list[n++], PORT_SOURCE_USER, 0, 0);
    for (fd = 0; port->nalways && fd < port->always.n && n < room; fd++) {
        int value = emu_get(&port->always, fd);
        if (value == 0)
            continue;
        emu_port_forget(port, fd);
        emu_port_event(&list[n++], PORT_SOURCE_FD, fd, (value & 1 ? POLLIN : 0) | (value & 2 ? POLLOUT : 0));
    }
    if (n == room)
        return n;
    got = epoll_wait(port->set, ready, room - n < EMU_BATCH ? room - n : EMU_BATCH, 0);
    for (i = 0; i < got; i++) {
        fd = ready[i].data.fd;
        emu_unwatch(port->set, fd);
        emu_port_event(&list[n++], PORT_SOURCE_FD, fd, (int)ready[i].events);
    }
    return n;
}

static int emu_getn(int fd, port_event_t *list, unsigned max, unsigned *nget,
                    const struct timespec *timeout) {
    struct emu_port *port = (struct emu_port *)emu_find(fd);
    int64_t deadline = -1;
    int n, woken;
    *nget = 0;
    if (port == NULL)
        return -1;
    if (timeout != NULL)
        deadline = emu_now() + (int64_t)timeout->tv_sec * 1000000000 + timeout->tv_nsec;
    while (1) {
        n = emu_port_collect(port, list, (int)max);
        if (n) {
            *nget = (unsigned)n;
            return 0;
        }
        woken = emu_wait(fd, deadline);
        if (woken == 0)
            errno = ETIME;
        if (woken <= 0)
            return -1;
    }
}

static int port_associate(int fd, int source, uintptr_t object, int events, void *user) {
    EMU_RESULT(int, emu_associate(fd, source, object, events, user));
}

static int port_dissociate(int fd, int source, uintptr_t object) {
    EMU_RESULT(int, emu_dissociate(fd, source, object));
}

static int port_getn(int fd, port_event_t *list, unsigned max, unsigned *nget,
                     const struct timespec *timeout) {
    EMU_RESULT(int, emu_getn(fd, list, max, nget, timeout));
}

#define close emu_close

#endif
