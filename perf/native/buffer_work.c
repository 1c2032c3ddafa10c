/* What perf.buffer makes evbuffers do. Each function returns 0, or -1 when something went wrong. */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "buffer_api.h"

static int
writable(int fd)
{
    struct pollfd wait = {fd, POLLOUT, 0};
    return poll(&wait, 1, 60000) == 1 ? 0 : -1;
}

/* Adds and drains `rounds` times `batch` pieces of n bytes; so many are in the buffer at most. */
int
work_add_drain(const struct buffer_api *api, void *buf, const char *data, size_t n, int batch, int rounds)
{
    int i, failed = 0;
    while (rounds-- > 0) {
        for (i = 0; i < batch; i++)
            failed |= api->add(buf, data, n);
        for (i = 0; i < batch; i++)
            failed |= api->drain(buf, n);
    }
    return failed || api->length(buf) ? -1 : 0;
}

/* Fills a buffer with `total` bytes, in pieces of at most n that repeat the data. */
int
work_fill(const struct buffer_api *api, void *buf, const char *data, size_t n, size_t total)
{
    while (total) {
        size_t piece = n < total ? n : total;
        if (api->add(buf, data, piece) < 0)
            return -1;
        total -= piece;
    }
    return 0;
}

/* Moves everything from one buffer to the other and back, `rounds` times. */
int
work_move_all(const struct buffer_api *api, void *one, void *two, int rounds)
{
    int failed = 0;
    while (rounds-- > 0) {
        failed |= api->add_buffer(two, one);
        failed |= api->add_buffer(one, two);
    }
    return failed ? -1 : 0;
}

/* Moves everything from one buffer to the other in parts of n bytes. */
int
work_move_parts(const struct buffer_api *api, void *from, void *to, size_t n)
{
    while (api->length(from)) {
        if (api->remove_buffer(from, to, n) <= 0)
            return -1;
    }
    return 0;
}

/* Takes lines until there is none, and returns their number. */
int64_t
work_lines(const struct buffer_api *api, void *buf)
{
    int64_t lines = 0;
    size_t n;
    char *line;
    while ((line = api->readln(buf, &n)) != NULL) {
        lines++;
        free(line);
    }
    return lines;
}

int
work_search(const struct buffer_api *api, void *buf, const char *what, size_t n)
{
    return api->search(buf, what, n) == -1 ? 0 : -1;
}

/* Sends n bytes of a file through a buffer to a non-blocking socket. */
int
work_file(const struct buffer_api *api, void *buf, int file, int to, int64_t n)
{
    int own = dup(file);
    if (own < 0 || api->add_file(buf, own, 0, n) < 0)
        return -1;
    while (api->length(buf)) {
        if (api->write(buf, to) < 0 && (errno != EAGAIN || writable(to) < 0))
            return -1;
    }
    return 0;
}

/* The same without a buffer. */
int
work_sendfile(int file, int to, int64_t n)
{
    off_t at = 0;
    while (at < n) {
        ssize_t sent = sendfile(to, file, &at, n - at);
        if (sent == 0 || (sent < 0 && (errno != EAGAIN || writable(to) < 0)))
            return -1;
    }
    return 0;
}

/* What adding comes to at least: copies to places as good as any, the one used last first. The places stay for
 * the next call; a negative number of rounds gives them back. */
int
work_copy(const char *data, size_t n, int batch, int rounds)
{
    static char *memory;
    size_t room = (n + 4096 + 63) & ~(size_t)63;
    int i, turn = 0;
    if (rounds < 0) {
        free(memory);
        memory = NULL;
        return 0;
    }
    if (memory == NULL && (memory = aligned_alloc(64, room * batch)) == NULL)
        return -1;
    for (; rounds-- > 0; turn = !turn) {
        for (i = 0; i < batch; i++) {
            char *to = memory + ((size_t)data & 63) + room * (turn ? batch - 1 - i : i);
            memcpy(to, data, n);
            __asm__ volatile("" ::"r"(to) : "memory");
        }
    }
    return 0;
}

/* So many pieces of n bytes, each a copy of the data; NULL without memory. */
char **
work_pieces(const char *data, size_t n, int count)
{
    char **pieces = malloc(count * sizeof(*pieces));
    int i;
    for (i = 0; pieces != NULL && i < count; i++) {
        pieces[i] = malloc(n + 4096);
        if (pieces[i] == NULL)
            abort();
        memcpy(pieces[i], data, n);
    }
    return pieces;
}

/* What searching in vain comes to at least: the first byte is in none of them. */
int
work_scan(char **pieces, size_t n, int count, int first)
{
    int i;
    for (i = 0; i < count; i++) {
        if (memchr(pieces[i], first, n) != NULL)
            return -1;
    }
    return 0;
}

void
work_pieces_free(char **pieces, int count)
{
    while (count-- > 0)
        free(pieces[count]);
    free(pieces);
}
