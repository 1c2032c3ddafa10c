/* The chain with the bare system calls: what no library can go below without asking the kernel less.
 *
 * The sets of select are arrays of words of our own, because fd_set and its macros end at FD_SETSIZE.
 */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <unistd.h>

#include "ring.h"

#define BATCH 1024
#define WORD_BITS (8 * (int)sizeof(unsigned long))

struct peer {
    int pipes;
    const int *fds;
    int *index_of;                /* by descriptor */
    int (*watch)(struct peer *, int fd, int index);
    void (*unwatch)(struct peer *, int fd);
    int (*turn)(struct peer *);   /* waits once, without blocking, and runs what is ready */
    int epfd;
    struct epoll_event ready[BATCH];
    struct pollfd *pollfds;
    unsigned long *wanted, *result;
    int nfds;
};

static struct ring ring;

static int
epoll_watch(struct peer *peer, int fd, int index)
{
    struct epoll_event event = {.events = EPOLLIN};
    event.data.u64 = (uint64_t)index << 32 | (uint32_t)fd;
    return epoll_ctl(peer->epfd, EPOLL_CTL_ADD, fd, &event);
}

static void
epoll_unwatch(struct peer *peer, int fd)
{
    epoll_ctl(peer->epfd, EPOLL_CTL_DEL, fd, NULL);
}

static int
epoll_turn(struct peer *peer)
{
    int i, n = epoll_wait(peer->epfd, peer->ready, BATCH, 0);
    for (i = 0; i < n; i++)
        ring_step(&ring, (int)(uint32_t)peer->ready[i].data.u64, (int)(peer->ready[i].data.u64 >> 32));
    return n;
}

static int
poll_watch(struct peer *peer, int fd, int index)
{
    peer->pollfds[index] = (struct pollfd){.fd = fd, .events = POLLIN};
    return 0;
}

static void
poll_unwatch(struct peer *peer, int fd)
{
    (void)peer, (void)fd;
}

static int
poll_turn(struct peer *peer)
{
    int i, left, n = poll(peer->pollfds, peer->pipes, 0);
    for (i = 0, left = n; left > 0 && i < peer->pipes; i++) {
        if (peer->pollfds[i].revents) {
            ring_step(&ring, peer->pollfds[i].fd, i);
            left--;
        }
    }
    return n;
}

static int
select_watch(struct peer *peer, int fd, int index)
{
    peer->wanted[fd / WORD_BITS] |= 1UL << fd % WORD_BITS;
    peer->index_of[fd] = index;
    return 0;
}

static void
select_unwatch(struct peer *peer, int fd)
{
    peer->wanted[fd / WORD_BITS] &= ~(1UL << fd % WORD_BITS);
}

static int
select_turn(struct peer *peer)
{
    struct timeval zero = {0, 0};
    int i, n, words = (peer->nfds + WORD_BITS - 1) / WORD_BITS;
    memcpy(peer->result, peer->wanted, words * sizeof(unsigned long));
    n = select(peer->nfds, (fd_set *)(void *)peer->result, NULL, NULL, &zero);
    for (i = 0; n > 0 && i < words; i++) {
        unsigned long bits = peer->result[i];
        for (; bits; bits &= bits - 1) {
            int fd = i * WORD_BITS + __builtin_ctzl(bits);
            ring_step(&ring, fd, peer->index_of[fd]);
        }
    }
    return n;
}

void
chain_close(struct peer *peer)
{
    if (peer->epfd >= 0)
        close(peer->epfd);
    free(peer->pollfds);
    free(peer->wanted);
    free(peer->result);
    free(peer->index_of);
    free(peer);
}

struct peer *
chain_open(const char *method, int locked, int pipes)
{
    struct peer *peer = calloc(1, sizeof(*peer));
    (void)locked;
    if (peer == NULL)
        return NULL;
    peer->pipes = pipes;
    peer->epfd = -1;
    if (!strcmp(method, "epoll")) {
        peer->watch = epoll_watch;
        peer->unwatch = epoll_unwatch;
        peer->turn = epoll_turn;
        peer->epfd = epoll_create1(EPOLL_CLOEXEC);
        if (peer->epfd >= 0)
            return peer;
    } else if (!strcmp(method, "poll")) {
        peer->watch = poll_watch;
        peer->unwatch = poll_unwatch;
        peer->turn = poll_turn;
        peer->pollfds = calloc(pipes, sizeof(struct pollfd));
        if (peer->pollfds)
            return peer;
    } else if (!strcmp(method, "select")) {
        peer->watch = select_watch;
        peer->unwatch = select_unwatch;
        peer->turn = select_turn;
        return peer;
    } else {
        errno = EINVAL;
    }
    chain_close(peer);
    return NULL;
}

/* Makes the sets of select long enough for the highest descriptor. */
static int
size_sets(struct peer *peer, const int *fds)
{
    int i, words;
    if (peer->turn != select_turn || peer->fds == fds)
        return 0;
    peer->nfds = 0;
    for (i = 0; i < peer->pipes; i++) {
        if (fds[2 * i] >= peer->nfds)
            peer->nfds = fds[2 * i] + 1;
    }
    words = (peer->nfds + WORD_BITS - 1) / WORD_BITS;
    free(peer->wanted);
    free(peer->result);
    free(peer->index_of);
    peer->wanted = calloc(words, sizeof(unsigned long));
    peer->result = calloc(words, sizeof(unsigned long));
    peer->index_of = calloc(peer->nfds, sizeof(int));
    peer->fds = fds;
    return peer->wanted && peer->result && peer->index_of ? 0 : -1;
}

/* 0, or -1 when something was not read or not written. */
int
chain_round(struct peer *peer, const int *fds, int active, int stride, int writes,
            struct ring_times *times)
{
    int i, failed = 0;
    long turns, limit;
    int64_t cpu, start;
    ring = (struct ring){fds, peer->pipes, active, stride, writes, 0, 0, 0};
    limit = ring_turn_limit(&ring);
    if (size_sets(peer, fds) < 0)
        return -1;
    start = ring_clock();
    for (i = 0; i < peer->pipes; i++)
        failed |= peer->watch(peer, fds[2 * i], i);
    peer->turn(peer);
    times->setup = ring_clock() - start;

    ring_start(&ring);
    cpu = ring_cpu();
    start = ring_clock();
    turns = 0;
    do {
        peer->turn(peer);
    } while (ring.read != ring.written && ++turns < limit);
    times->loop = ring_clock() - start;
    times->cpu = ring_cpu() - cpu;

    start = ring_clock();
    for (i = 0; i < peer->pipes; i++)
        peer->unwatch(peer, fds[2 * i]);
    times->removal = ring_clock() - start;
    return failed || ring.failures || ring.read != writes + active ? -1 : 0;
}
