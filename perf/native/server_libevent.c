/* Servers on libevent's listener and bufferevents, as its book writes them.
 *
 *   server_libevent echo
 *   server_libevent tls CERT KEY
 *   server_libevent file PATH
 */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "openssl.h"

static const char header[] = "HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n";
static struct evbuffer_file_segment *segment;
static SSL_CTX *tls;

static void echo(struct bufferevent *bev, void *arg) {
    (void)arg;
    bufferevent_write_buffer(bev, bufferevent_get_input(bev));
}

static void end(struct bufferevent *bev, short what, void *arg) {
    (void)arg;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        bufferevent_free(bev);
}

static void close_it(struct bufferevent *bev, void *arg) {
    (void)arg;
    bufferevent_free(bev);
}

/* Answers when the empty line after a request's headers is there. */
static void send_file(struct bufferevent *bev, void *arg) {
    struct evbuffer *input = bufferevent_get_input(bev);
    size_t n;
    char *line;
    (void)arg;
    while ((line = evbuffer_readln(input, &n, EVBUFFER_EOL_CRLF))) {
        free(line);
        if (n == 0) {
            bufferevent_write(bev, header, sizeof(header) - 1);
            evbuffer_add_file_segment(bufferevent_get_output(bev), segment, 0, -1);
            bufferevent_setcb(bev, NULL, close_it, end, NULL);
        }
    }
}

static void on_accept(struct evconnlistener *lev, evutil_socket_t fd, struct sockaddr *address, int n,
                      void *arg) {
    struct event_base *base = evconnlistener_get_base(lev);
    struct bufferevent *bev;
    int on = 1;
    (void)address;
    (void)n;
    (void)arg;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (tls)
        bev = bufferevent_openssl_socket_new(base, fd, SSL_new_(tls), BUFFEREVENT_SSL_ACCEPTING,
                                             BEV_OPT_CLOSE_ON_FREE);
    else
        bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(bev, segment ? send_file : echo, NULL, end, NULL);
    bufferevent_enable(bev, EV_READ);
}

int main(int argc, char **argv) {
    struct sockaddr_in sin = {.sin_family = AF_INET};
    socklen_t size = sizeof(sin);
    struct event_base *base = event_base_new();
    struct evconnlistener *lev;
    struct rlimit limit;
    if (argc < 2)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(argv[1], "tls") && argc == 4) {
        openssl_load();
        tls = SSL_CTX_new_(TLS_server_method_());
        if (!tls || SSL_CTX_use_certificate_file_(tls, argv[2], OPENSSL_PEM) != 1 ||
            SSL_CTX_use_PrivateKey_file_(tls, argv[3], OPENSSL_PEM) != 1)
            return 1;
    }
    if (!strcmp(argv[1], "file") && argc == 3) {
        segment = evbuffer_file_segment_new(open(argv[2], O_RDONLY), 0, -1, EVBUF_FS_CLOSE_ON_FREE);
        if (!segment)
            return 1;
    }
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
