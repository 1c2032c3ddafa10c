/* Cross-thread wake-ups in libevent. */

#include <stdlib.h>

#include <event2/event.h>
#include <event2/thread.h>

#include "wakeup.h"

struct peer {
    struct wakeup wakeup;
    struct event_base *base;
    struct event *event;
};

static void
called(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    wakeup_callback(&((struct peer *)arg)->wakeup);
}

static void
activate(void *event)
{
    event_active(event, EV_TIMEOUT, 1);
}

static void
stop(void *base)
{
    event_base_loopbreak(base);
}

struct peer *
wakeup_open(void)
{
    struct peer *peer = calloc(1, sizeof(*peer));
    struct event_config *config = event_config_new();
    if (peer == NULL || config == NULL || evthread_use_pthreads() != 0)
        return NULL;
    event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
    peer->base = event_base_new_with_config(config);
    event_config_free(config);
    if (peer->base)
        peer->event = event_new(peer->base, -1, 0, called, peer);
    if (peer->event == NULL)
        return NULL;
    wakeup_init(&peer->wakeup, peer->base, peer->event, activate, stop);
    return peer;
}

/* Returns how often the callback ran, or -1 when a wake-up was lost. */
long
wakeup_run(struct peer *peer, long count, long burst)
{
    pthread_t producer;
    if (wakeup_begin(&peer->wakeup, count, burst, &producer) < 0)
        return -1;
    event_base_loop(peer->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return wakeup_end(&peer->wakeup, producer);
}

void
wakeup_close(struct peer *peer)
{
    event_free(peer->event);
    event_base_free(peer->base);
    free(peer);
}
