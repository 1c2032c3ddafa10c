/* The chain with libevent's own library.
 *
 * Debian builds it with _FORTIFY_SOURCE, under which FD_SET() ends the process for descriptors from
 * FD_SETSIZE on, although libevent's sets are made long enough. So that select can be measured with more, the
 * check is replaced by the one below, which only divides; this library is loaded with RTLD_DEEPBIND, so that
 * libevent finds ours first.
 */

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/thread.h>

#include "ring.h"

struct peer {
    struct event_base *base;
    struct event *events;
    int pipes;
};

static struct ring ring;

long
__fdelt_chk(long fd)
{
    return fd / (8 * (long)sizeof(long));
}

static void
readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    ring_step(&ring, fd, (int)(intptr_t)arg);
}

/* From now on new bases have a lock, unless they ask for none. It cannot be undone. */
int
chain_use_threads(void)
{
    return evthread_use_pthreads();
}

void
chain_close(struct peer *peer)
{
    if (peer->base)
        event_base_free(peer->base);
    free(peer->events);
    free(peer);
}

struct peer *
chain_open(const char *method, int locked, int pipes)
{
    const char **name;
    struct event_config *config;
    struct peer *peer = calloc(1, sizeof(*peer));
    if (peer == NULL)
        return NULL;
    config = event_config_new();
    if (config) {
        for (name = event_get_supported_methods(); *name; name++) {
            if (strcmp(*name, method))
                event_config_avoid_method(config, *name);
        }
        event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
        if (!locked)
            event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
        peer->base = event_base_new_with_config(config);
        event_config_free(config);
    }
    peer->events = calloc(pipes, sizeof(struct event));
    peer->pipes = pipes;
    if (peer->base == NULL || peer->events == NULL) {
        chain_close(peer);
        return NULL;
    }
    return peer;
}

/* 0, or -1 when something was not read or not written. */
int
chain_round(struct peer *peer, const int *fds, int active, int stride, int writes,
            struct ring_times *times)
{
    int i, failed = 0;
    long turns, limit;
    int64_t cpu, start = ring_clock();
    ring = (struct ring){fds, peer->pipes, active, stride, writes, 0, 0, 0};
    limit = ring_turn_limit(&ring);
    for (i = 0; i < peer->pipes; i++) {
        event_assign(&peer->events[i], peer->base, fds[2 * i], EV_READ | EV_PERSIST, readable,
                     (void *)(intptr_t)i);
        failed |= event_add(&peer->events[i], NULL);
    }
    event_base_loop(peer->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    times->setup = ring_clock() - start;

    ring_start(&ring);
    cpu = ring_cpu();
    start = ring_clock();
    turns = 0;
    do {
        event_base_loop(peer->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    } while (ring.read != ring.written && ++turns < limit);
    times->loop = ring_clock() - start;
    times->cpu = ring_cpu() - cpu;

    start = ring_clock();
    for (i = 0; i < peer->pipes; i++)
        failed |= event_del(&peer->events[i]);
    times->removal = ring_clock() - start;
    return failed || ring.failures || ring.read != writes + active ? -1 : 0;
}
