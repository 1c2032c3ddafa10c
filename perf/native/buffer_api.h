/* An evbuffer behind function pointers, so that the same work is done with libevent's and with cyevent's. */
#ifndef CYEVENT_PERF_BUFFER_API_H
#define CYEVENT_PERF_BUFFER_API_H

#include <stddef.h>
#include <stdint.h>

struct buffer_api {
    void *(*create)(void);
    void (*destroy)(void *buf);
    int (*add)(void *buf, const void *data, size_t n);
    int (*drain)(void *buf, size_t n);
    int (*add_buffer)(void *to, void *from);
    int (*remove_buffer)(void *from, void *to, size_t n);
    size_t (*length)(const void *buf);
    char *(*readln)(void *buf, size_t *n);
    int64_t (*search)(void *buf, const char *what, size_t n); /* -1: not found */
    int (*add_file)(void *buf, int fd, int64_t offset, int64_t n);
    int (*write)(void *buf, int fd);
};

#endif
