/* Waking a loop from another thread: what the programs for libevent and for cyevent share.
 *
 * The producer numbers what it asks for and the callback, in the loop's thread, notes the last number it sees, so
 * that a wake-up that was lost shows: the loop sleeps and the last number is never seen. The producer waits for
 * that at the end of each burst, and gives up after LIMIT seconds. Bursts of one are a ping-pong.
 */
#ifndef CYEVENT_PERF_WAKEUP_H
#define CYEVENT_PERF_WAKEUP_H

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <time.h>

#define WAKEUP_LIMIT 30

struct wakeup {
    void *event;                /* what is activated */
    void *base;
    void (*activate)(void *event);
    void (*stop)(void *base);   /* ends the loop, from the producer's thread */
    long count;                 /* how many wake-ups there are in all */
    long burst;                 /* how many between two waits */
    long asked;                 /* the last number asked for */
    long seen;                  /* the last number that the callback saw */
    long wanted;                /* what the producer waits for */
    long calls;                 /* how often the callback ran */
    int lost;
    sem_t answer;
};

static inline void
wakeup_callback(struct wakeup *w)
{
    long asked = __atomic_load_n(&w->asked, __ATOMIC_ACQUIRE);
    w->calls++;
    if (w->seen < asked) {
        long wanted = __atomic_load_n(&w->wanted, __ATOMIC_ACQUIRE);
        int answer = w->seen < wanted && asked >= wanted;
        w->seen = asked;
        if (answer)
            sem_post(&w->answer);
    }
}

static inline int
wakeup_wait(struct wakeup *w)
{
    struct timespec until;
    while (sem_trywait(&w->answer) != 0) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += WAKEUP_LIMIT;
        if (sem_timedwait(&w->answer, &until) == 0)
            break;
        if (errno != EINTR)
            return -1;
    }
    return 0;
}

static void *
wakeup_produce(void *arg)
{
    struct wakeup *w = arg;
    long number = 0;
    while (number < w->count) {
        long end = number + w->burst < w->count ? number + w->burst : w->count;
        __atomic_store_n(&w->wanted, end, __ATOMIC_RELEASE);
        while (number < end) {
            __atomic_store_n(&w->asked, ++number, __ATOMIC_RELEASE);
            w->activate(w->event);
        }
        if (wakeup_wait(w) < 0) {
            w->lost = 1;
            break;
        }
    }
    w->stop(w->base);
    return NULL;
}

static inline void
wakeup_init(struct wakeup *w, void *base, void *event, void (*activate)(void *), void (*stop)(void *))
{
    w->base = base;
    w->event = event;
    w->activate = activate;
    w->stop = stop;
}

static inline int
wakeup_begin(struct wakeup *w, long count, long burst, pthread_t *producer)
{
    w->count = count;
    w->burst = burst;
    w->asked = w->seen = w->wanted = w->calls = 0;
    w->lost = 0;
    if (sem_init(&w->answer, 0, 0) != 0)
        return -1;
    return pthread_create(producer, NULL, wakeup_produce, w) == 0 ? 0 : -1;
}

/* Returns how often the callback ran, or -1 when a wake-up was lost. */
static inline long
wakeup_end(struct wakeup *w, pthread_t producer)
{
    pthread_join(producer, NULL);
    sem_destroy(&w->answer);
    return w->lost ? -1 : w->calls;
}

#endif
