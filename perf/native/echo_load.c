/* The load of perf.echo: clients that wait for each answer.
 *
 *   echo_load PORT echo CONNECTIONS BYTES ROUND_TRIPS
 *   echo_load PORT broadcast CONNECTIONS BYTES ROUNDS
 *
 * echo: each client sends a message and waits until it is back, all of them until so many have come back.
 * broadcast: the first client sends a byte, and every client waits for the message that this leads to.
 * It says "ready" when all are connected, and begins with a line on its standard input; so the setup is not
 * measured. Then it prints the seconds that it took, and reads its input again for another round.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 512

static int *fds;
static long *missing;                   /* bytes of the message that each client waits for */
static char data[1 << 20], sink[1 << 16];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec + ts.tv_nsec * 1e-9;
}

static void send_all(int fd, const char *bytes, long n) {
    while (n) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            die("send");
        if (sent > 0)
            bytes += sent, n -= sent;
    }
}

static void run(int ep, int connections, long bytes, long total, int broadcast) {
    struct epoll_event events[EVENTS];
    long begun = 0, done = 0, waiting = 0;
    int i;
    if (!broadcast) {
        for (i = 0; i < connections && begun < total; i++, begun++) {
            missing[i] = bytes;
            send_all(fds[i], data, bytes);
        }
    }
    while (done < total) {
        int n;
        if (broadcast && !waiting) {
            for (i = 0; i < connections; i++)
                missing[i] = bytes;
            waiting = connections;
            send_all(fds[0], data, 1);
        }
        n = epoll_wait(ep, events, EVENTS, 20000);
        if (n <= 0)
            die("epoll_wait");
        for (i = 0; i < n; i++) {
            int c = events[i].data.u32;
            ssize_t got = recv(fds[c], sink, sizeof(sink), 0);
            if (got == 0 || (got < 0 && errno != EAGAIN))
                die("recv");
            if (got < 0)
                continue;
            missing[c] -= got;
            if (missing[c])
                continue;
            if (broadcast) {
                if (--waiting == 0)
                    done++;
            } else {
                done++;
                if (begun < total) {
                    begun++;
                    missing[c] = bytes;
                    send_all(fds[c], data, bytes);
                }
            }
        }
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in sin = {.sin_family = AF_INET};
    struct rlimit limit;
    char line[16];
    int i, ep, on = 1, connections;
    if (argc != 6)
        return 2;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    sin.sin_port = htons(atoi(argv[1]));
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connections = atoi(argv[3]);
    fds = calloc(connections, sizeof(int));
    missing = calloc(connections, sizeof(long));
    ep = epoll_create1(0);
    for (i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (fds[i] < 0 || connect(fds[i], (struct sockaddr *)&sin, sizeof(sin)))
            die("connect");
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &event);
    }
    /* Connected is not yet accepted. */
    for (i = 0; i < connections; i++) {
        send_all(fds[i], data, 2);
        if (recv(fds[i], sink, 2, MSG_WAITALL) != 2)
            die("recv");
    }
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin)) {
        double start = now();
        run(ep, connections, atol(argv[4]), atol(argv[5]), !strcmp(argv[2], "broadcast"));
        printf("%.9f\n", now() - start);
        fflush(stdout);
    }
    return 0;
}
