/* An echo server on libevent's listener and bufferevents, as its book writes it. */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/resource.h>

static void echo(struct bufferevent *bev, void *arg) {
    (void)arg;
    bufferevent_write_buffer(bev, bufferevent_get_input(bev));
}

static void end(struct bufferevent *bev, short what, void *arg) {
    (void)what;
    (void)arg;
    bufferevent_free(bev);
}

static void on_accept(struct evconnlistener *lev, evutil_socket_t fd, struct sockaddr *address, int n,
                      void *arg) {
    struct bufferevent *bev =
        bufferevent_socket_new(evconnlistener_get_base(lev), fd, BEV_OPT_CLOSE_ON_FREE);
    int on = 1;
    (void)address;
    (void)n;
    (void)arg;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    bufferevent_setcb(bev, echo, NULL, end, NULL);
    bufferevent_enable(bev, EV_READ);
}

int main(void) {
    struct sockaddr_in sin = {.sin_family = AF_INET};
    socklen_t size = sizeof(sin);
    struct event_base *base = event_base_new();
    struct evconnlistener *lev;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    lev = evconnlistener_new_bind(base, on_accept, NULL, LEV_OPT_CLOSE_ON_FREE, -1,
                                  (struct sockaddr *)&sin, sizeof(sin));
    if (!lev)
        return 1;
    getsockname(evconnlistener_get_fd(lev), (struct sockaddr *)&sin, &size);
    printf("%d\n", ntohs(sin.sin_port));
    fflush(stdout);
    return event_base_dispatch(base);
}
