/* The load of all benchmarks with a server: clients that wait for each answer.
 *
 *   load PORT echo CONNECTIONS BYTES ROUND_TRIPS [tls]
 *   load PORT broadcast CONNECTIONS BYTES MESSAGES
 *   load PORT accept CONNECTIONS BYTES CONNECTS
 *   load PORT fetch CONNECTIONS BYTES FETCHES
 *
 * echo: each client sends a message and waits until it is back, all of them until so many have come back.
 * broadcast: the first client sends a byte, and every client waits for the message that this leads to.
 * accept: each client connects, sends a message, waits until it is back, closes, and connects again.
 * fetch: each client connects, asks for a file as HTTP/1.0 does, and reads to the end, which must be so far off.
 *
 * It says "ready" when all are connected, and begins with a line on its standard input; so the setup is not
 * measured. Then it prints a line: seconds, its own processor seconds, and the 50th and 99th percentile of the
 * operations' times in seconds; and it reads its input again for another round.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "openssl.h"

#define EVENTS 512
/* Closed connections keep their port for a while: so many addresses to connect from have enough of them. */
#define ADDRESSES 64

struct client {
    int fd;
    SSL *ssl;
    int64_t missing;    /* bytes that it waits for */
    double began;
};

static struct sockaddr_in server;
static struct client *clients;
static SSL_CTX *tls;
static float *times;    /* of the operations of a round, in seconds */
static long timed, most_times;
static char data[1 << 20], sink[1 << 16];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double seconds(clockid_t clock) {
    struct timespec ts;
    clock_gettime(clock, &ts);
    return ts.tv_sec + ts.tv_nsec * 1e-9;
}

static double now(void) {
    return seconds(CLOCK_MONOTONIC);
}

static void note(double began) {
    if (timed < most_times)
        times[timed++] = now() - began;
}

static void send_all(struct client *c, const char *bytes, long n) {
    while (n) {
        ssize_t sent = c->ssl ? SSL_write_(c->ssl, bytes, n) : send(c->fd, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0 && (c->ssl || errno != EAGAIN))
            die("send");
        if (sent > 0)
            bytes += sent, n -= sent;
    }
}

static void open_client(struct client *c, int ep, int number) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = c - clients};
    struct sockaddr_in from = {.sin_family = AF_INET};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0)
        die("socket");
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number % ADDRESSES);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    if (bind(c->fd, (struct sockaddr *)&from, sizeof(from)))
        die("bind");
    if (connect(c->fd, (struct sockaddr *)&server, sizeof(server)))
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (tls) {
        c->ssl = SSL_new_(tls);
        if (!c->ssl || !SSL_set_fd_(c->ssl, c->fd) || SSL_connect_(c->ssl) != 1)
            die("TLS handshake");
    }
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &event);
}

static void close_client(struct client *c) {
    if (c->ssl)
        SSL_free_(c->ssl);
    c->ssl = NULL;
    close(c->fd);
}

static void ask(struct client *c, long bytes) {
    c->missing = bytes;
    c->began = now();
    send_all(c, data, bytes);
}

/* Takes what has arrived; returns whether the client has got all. */
static int take(struct client *c) {
    do {
        ssize_t got = c->ssl ? SSL_read_(c->ssl, sink, sizeof(sink)) : recv(c->fd, sink, sizeof(sink), 0);
        if (got <= 0 && (c->ssl || got == 0 || errno != EAGAIN))
            die("recv");
        if (got > 0)
            c->missing -= got;
    } while (c->ssl && SSL_pending_(c->ssl));
    return c->missing == 0;
}

static int wait_for(int ep, struct epoll_event *events) {
    int n = epoll_wait(ep, events, EVENTS, 20000);
    if (n <= 0)
        die("epoll_wait");
    return n;
}

static void echo(int ep, int connections, long bytes, long total) {
    struct epoll_event events[EVENTS];
    long begun = 0, done = 0;
    int i;
    for (i = 0; i < connections && begun < total; i++, begun++)
        ask(&clients[i], bytes);
    while (done < total) {
        int n = wait_for(ep, events);
        for (i = 0; i < n; i++) {
            struct client *c = &clients[events[i].data.u32];
            if (!take(c))
                continue;
            note(c->began);
            done++;
            if (begun < total) {
                begun++;
                ask(c, bytes);
            }
        }
    }
}

static void broadcast(int ep, int connections, long bytes, long total) {
    struct epoll_event events[EVENTS];
    long done;
    for (done = 0; done < total; done++) {
        int i, waiting = connections;
        double began = now();
        for (i = 0; i < connections; i++)
            clients[i].missing = bytes;
        send_all(&clients[0], data, 1);
        while (waiting) {
            int n = wait_for(ep, events);
            for (i = 0; i < n; i++)
                if (take(&clients[events[i].data.u32])) {
                    note(began);
                    waiting--;
                }
        }
    }
}

static void accept_again(int ep, int connections, long bytes, long total) {
    struct epoll_event events[EVENTS];
    static int number;
    long begun = 0, done = 0;
    int i;
    for (i = 0; i < connections && begun < total; i++, begun++) {
        double began = now();
        open_client(&clients[i], ep, number++);
        ask(&clients[i], bytes);
        clients[i].began = began;
    }
    while (done < total) {
        int n = wait_for(ep, events);
        for (i = 0; i < n; i++) {
            struct client *c = &clients[events[i].data.u32];
            double began;
            if (!take(c))
                continue;
            note(c->began);
            done++;
            close_client(c);
            if (begun == total)
                continue;
            begun++;
            began = now();
            open_client(c, ep, number++);
            ask(c, bytes);
            c->began = began;
        }
    }
}

static void fetch(int ep, int connections, long bytes, long total) {
    static const char request[] = "GET /file HTTP/1.0\r\nHost: localhost\r\n\r\n";
    struct epoll_event events[EVENTS];
    long begun = 0, done = 0;
    int i;
    while (done < total) {
        int n;
        for (i = 0; i < connections && begun < total; i++)
            if (clients[i].fd < 0) {
                double began = now();
                open_client(&clients[i], ep, i);
                clients[i].missing = bytes;
                clients[i].began = began;
                send_all(&clients[i], request, sizeof(request) - 1);
                begun++;
            }
        n = wait_for(ep, events);
        for (i = 0; i < n; i++) {
            struct client *c = &clients[events[i].data.u32];
            /* The bytes are thrown away by the kernel: copying them is not what is measured. */
            ssize_t got = recv(c->fd, NULL, 1 << 30, MSG_TRUNC | MSG_DONTWAIT);
            if (got < 0 && errno != EAGAIN)
                die("recv");
            if (got > 0)
                c->missing -= got;
            if (got == 0) {
                if (c->missing > 0) {
                    fprintf(stderr, "%ld bytes are missing\n", (long)c->missing);
                    exit(1);
                }
                note(c->began);
                close_client(c);
                c->fd = -1;
                done++;
            }
        }
    }
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(double part) {
    return timed ? times[(long)(part * (timed - 1) + 0.5)] : 0;
}

int main(int argc, char **argv) {
    struct rlimit limit;
    char line[16];
    int i, ep, connections, many;
    long bytes, total;
    const char *mode;
    if (argc != 6 && (argc != 7 || strcmp(argv[6], "tls")))
        return 2;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    signal(SIGPIPE, SIG_IGN);
    server.sin_family = AF_INET;
    server.sin_port = htons(atoi(argv[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    mode = argv[2];
    connections = atoi(argv[3]);
    bytes = atol(argv[4]);
    total = atol(argv[5]);
    if (argc == 7) {
        openssl_load();
        tls = SSL_CTX_new_(TLS_client_method_());
    }
    clients = calloc(connections, sizeof(*clients));
    most_times = total * (!strcmp(mode, "broadcast") ? connections : 1);
    times = calloc(most_times + 1, sizeof(*times));
    ep = epoll_create1(0);
    many = !strcmp(mode, "echo") || !strcmp(mode, "broadcast");
    for (i = 0; i < connections; i++)
        clients[i].fd = -1;
    for (i = 0; i < connections && many; i++)
        open_client(&clients[i], ep, i);
    /* Connected is not yet accepted. */
    for (i = 0; i < connections && many; i++) {
        struct client *c = &clients[i];
        c->missing = 2;
        send_all(c, data, 2);
        while (!take(c))
            ;
    }
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin)) {
        double start = now(), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
        timed = 0;
        if (!strcmp(mode, "broadcast"))
            broadcast(ep, connections, bytes, total);
        else if (!strcmp(mode, "accept"))
            accept_again(ep, connections, bytes, total);
        else if (!strcmp(mode, "fetch"))
            fetch(ep, connections, bytes, total);
        else
            echo(ep, connections, bytes, total);
        start = now() - start;
        cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        qsort(times, timed, sizeof(*times), by_size);
        printf("%.9f %.9f %.9f %.9f\n", start, cpu, percentile(0.5), percentile(0.99));
        fflush(stdout);
    }
    return 0;
}
