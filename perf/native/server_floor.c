/* Servers of the bare system calls. What a loop cannot be below.
 *
 *   server_floor echo          epoll_wait(), recv(), send(); a single byte is answered to everybody, with 1 KiB
 *   server_floor tls CERT KEY  the same with SSL_read() and SSL_write(), a system call for each record; so for
 *                              messages of one
 *   server_floor file PATH     blocking: accept(), recv(), send(), sendfile(), one connection after the other
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "openssl.h"

#define RECORD 16384

static char buffer[1 << 16], message[1024];
static char text[1 << 20];
static int clients[1 << 15], nclients;
static SSL_CTX *tls;
static SSL *connections[1 << 15];    /* by descriptor */

static void forget(int fd) {
    int i;
    for (i = 0; i < nclients; i++)
        if (clients[i] == fd)
            clients[i] = clients[--nclients];
    close(fd);
}

static void send_files(int listening, const char *path) {
    static const char header[] = "HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n";
    int file = open(path, O_RDONLY);
    struct stat st;
    if (file < 0 || fstat(file, &st))
        exit(1);
    for (;;) {
        int fd = accept(listening, NULL, NULL);
        off_t offset = 0;
        size_t got = 0;
        if (fd < 0)
            continue;
        while (got < 4 || memcmp(buffer + got - 4, "\r\n\r\n", 4)) {
            ssize_t n = recv(fd, buffer + got, sizeof(buffer) - got, 0);
            if (n <= 0)
                break;
            got += n;
        }
        send(fd, header, sizeof(header) - 1, MSG_NOSIGNAL | MSG_MORE);
        while (offset < st.st_size && sendfile(fd, file, &offset, st.st_size - offset) > 0)
            ;
        close(fd);
    }
}

static void write_all(int fd, SSL *ssl, int n) {
    int done = 0;
    while (done < n) {
        int part = n - done > RECORD ? RECORD : n - done, result;
        ERR_clear_error_();
        result = SSL_write_(ssl, text + done, part);
        if (result > 0)
            done += result;
        else if (SSL_get_error_(ssl, result) == OPENSSL_WANT_WRITE)
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        else
            return;
    }
}

/* Answers with all that has come; returns whether the connection goes on. */
static int speak_tls(int fd) {
    SSL *ssl = connections[fd];
    int n, got = 0;
    do {
        ERR_clear_error_();
        n = SSL_read_(ssl, text + got, sizeof(text) - got);
        if (n > 0)
            got += n;
    } while (n > 0 && got < (int)sizeof(text) && SSL_has_pending_(ssl));
    if (got)
        write_all(fd, ssl, got);
    if (n > 0 || SSL_get_error_(ssl, n) == OPENSSL_WANT_READ)
        return 1;
    SSL_free_(ssl);
    return 0;
}

static void use_tls(const char *cert, const char *key) {
    openssl_load();
    signal(SIGPIPE, SIG_IGN);
    tls = SSL_CTX_new_(TLS_server_method_());
    if (!tls || SSL_CTX_use_certificate_file_(tls, cert, OPENSSL_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file_(tls, key, OPENSSL_PEM) != 1)
        exit(1);
    SSL_CTX_ctrl_(tls, OPENSSL_SET_READ_AHEAD, 1, NULL);
}

int main(int argc, char **argv) {
    struct sockaddr_in sin = {.sin_family = AF_INET};
    socklen_t size = sizeof(sin);
    struct epoll_event events[64], event = {.events = EPOLLIN};
    struct rlimit limit;
    int files = argc == 3 && !strcmp(argv[1], "file"), ep = epoll_create1(0), on = 1, i;
    int listening = socket(AF_INET, SOCK_STREAM | (files ? 0 : SOCK_NONBLOCK), 0);
    if (argc == 4 && !strcmp(argv[1], "tls"))
        use_tls(argv[2], argv[3]);
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
    if (files)
        send_files(listening, argv[2]);
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
                if (tls && (fd >= (int)(sizeof(connections) / sizeof(*connections)) ||
                            !(connections[fd] = SSL_new_(tls)) || !SSL_set_fd_(connections[fd], fd))) {
                    close(fd);
                    continue;
                }
                if (tls)
                    SSL_set_accept_state_(connections[fd]);
                event.data.fd = fd;
                epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
                if (nclients < (int)(sizeof(clients) / sizeof(*clients)))
                    clients[nclients++] = fd;
                continue;
            }
            if (tls) {
                if (!speak_tls(fd))
                    forget(fd);
                continue;
            }
            got = recv(fd, buffer, sizeof(buffer), 0);
            /* A message fits in the socket's buffer. */
            if (got == 1) {
                int k;
                for (k = 0; k < nclients; k++)
                    send(clients[k], message, sizeof(message), MSG_NOSIGNAL);
            } else if (got > 0)
                send(fd, buffer, got, MSG_NOSIGNAL);
            else if (got == 0 || errno != EAGAIN)
                forget(fd);
        }
    }
}
