/* Many timers in libevent. Each function that does something to all of them returns nanoseconds, or -1. */

#include <stdlib.h>

#include <event2/event.h>

#include "timing.h"

struct peer {
    struct event_base *base;
    struct event **timers;
    int n;
    long fired;
};

static void
due(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    ((struct peer *)arg)->fired++;
}

long
timers_struct_size(void)
{
    return (long)event_get_struct_event_size();
}

void
timers_close(struct peer *peer)
{
    int i;
    for (i = 0; i < peer->n; i++) {
        if (peer->timers[i])
            event_free(peer->timers[i]);
    }
    if (peer->base)
        event_base_free(peer->base);
    free(peer->timers);
    free(peer);
}

struct peer *
timers_open(int n)
{
    struct event_config *config = event_config_new();
    struct peer *peer = calloc(1, sizeof(*peer));
    if (peer == NULL || config == NULL)
        return NULL;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
    peer->base = event_base_new_with_config(config);
    event_config_free(config);
    peer->timers = calloc(n, sizeof(*peer->timers));
    if (peer->base && peer->timers) {
        for (; peer->n < n; peer->n++) {
            peer->timers[peer->n] = event_new(peer->base, -1, 0, due, peer);
            if (peer->timers[peer->n] == NULL)
                break;
        }
        if (peer->n == n)
            return peer;
    }
    timers_close(peer);
    return NULL;
}

/* Adds the timers of `order` (NULL: all, as they were made), or moves those that are added. */
int64_t
timers_add(struct peer *peer, const int *order, const int64_t *microseconds, int n)
{
    int i, failed = 0;
    int64_t start = timing_clock();
    for (i = 0; i < n; i++) {
        struct timeval tv = timing_timeval(microseconds[i]);
        failed |= event_add(peer->timers[order ? order[i] : i], &tv);
    }
    return failed ? -1 : timing_clock() - start;
}

int64_t
timers_delete(struct peer *peer, const int *order, int n)
{
    int i, failed = 0;
    int64_t start = timing_clock();
    for (i = 0; i < n; i++)
        failed |= event_del(peer->timers[order ? order[i] : i]);
    return failed ? -1 : timing_clock() - start;
}

/* Runs what is due, which must be n timers. */
int64_t
timers_expire(struct peer *peer, int n)
{
    int64_t start;
    peer->fired = 0;
    start = timing_clock();
    event_base_loop(peer->base, EVLOOP_NONBLOCK);
    start = timing_clock() - start;
    return peer->fired == n ? start : -1;
}
