/* An echo server of the bare system calls: epoll_wait(), recv(), send(). What a loop cannot be below. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[1 << 16];

int main(void) {
    struct sockaddr_in sin = {.sin_family = AF_INET};
    socklen_t size = sizeof(sin);
    struct epoll_event events[64], event = {.events = EPOLLIN};
    struct rlimit limit;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), ep = epoll_create1(0), on = 1, i;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listening, (struct sockaddr *)&sin, sizeof(sin)) || listen(listening, SOMAXCONN))
        return 1;
    getsockname(listening, (struct sockaddr *)&sin, &size);
    event.data.fd = listening;
    epoll_ctl(ep, EPOLL_CTL_ADD, listening, &event);
    printf("%d\n", ntohs(sin.sin_port));
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(ep, events, 64, -1);
        for (i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            ssize_t got;
            if (fd == listening) {
                fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
                if (fd < 0)
                    continue;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
                event.data.fd = fd;
                epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
                continue;
            }
            got = recv(fd, buffer, sizeof(buffer), 0);
            if (got > 0)
                /* A message fits in the socket's buffer. */
                got = send(fd, buffer, got, MSG_NOSIGNAL);
            else if (got == 0 || errno != EAGAIN)
                close(fd);
        }
    }
}
