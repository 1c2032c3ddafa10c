/* The chain of one benchmark round, the same for every C peer: a ring of socket pairs, in which whoever
 * reads a byte writes one to the next pair, until a given number of writes has been made.
 *
 * The callbacks' work is here, so that all peers do the same system calls in the same order.
 */
#ifndef CYEVENT_PERF_RING_H
#define CYEVENT_PERF_RING_H

#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

struct ring {
    const int *fds;   /* read end, write end, read end, ... */
    int pipes;
    int active;       /* chains that run at once */
    int stride;       /* a byte read from pair i is passed on to pair i + stride */
    int writes;       /* still to be made by callbacks */
    long read;        /* bytes read */
    long written;     /* bytes written; the round is over when as many have been read */
    int failures;
};

/* Nanoseconds. */
struct ring_times {
    int64_t setup;    /* adding all events, and one turn of the loop that finds nothing */
    int64_t loop;     /* from the first bytes written to the last one read */
    int64_t removal;  /* deleting all events */
    int64_t cpu;      /* of the loop: the thread's user and system time */
};

static inline int64_t
ring_clock(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Not getrusage(), whose figures may be as old as the last tick. */
static inline int64_t
ring_cpu(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Writes the first bytes, spread evenly over the ring. */
static inline void
ring_start(struct ring *ring)
{
    int i, space = ring->pipes / ring->active;
    ring->read = ring->written = ring->failures = 0;
    for (i = 0; i < ring->active; i++) {
        if (send(ring->fds[2 * i * space + 1], "e", 1, 0) != 1)
            ring->failures++;
        ring->written++;
    }
}

/* What each callback does. */
static inline void
ring_step(struct ring *ring, int fd, int index)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    if (n == 1)
        ring->read++;
    else
        ring->failures++;
    if (ring->writes) {
        int next = index + ring->stride;
        if (next >= ring->pipes)
            next -= ring->pipes;
        if (send(ring->fds[2 * next + 1], "e", 1, 0) != 1)
            ring->failures++;
        ring->writes--;
        ring->written++;
    }
}

/* More turns than any round takes: a byte was lost. */
static inline long
ring_turn_limit(const struct ring *ring)
{
    return 100L * (ring->writes + ring->active) + 1000;
}

#endif
