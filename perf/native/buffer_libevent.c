/* libevent's evbuffer behind buffer_api. */

#include <event2/buffer.h>
#include <event2/event.h>

#include "buffer_api.h"

static char *
read_line(void *buf, size_t *n)
{
    return evbuffer_readln(buf, n, EVBUFFER_EOL_CRLF);
}

static int64_t
search(void *buf, const char *what, size_t n)
{
    return evbuffer_search(buf, what, n, NULL).pos;
}

static int
add_file(void *buf, int fd, int64_t offset, int64_t n)
{
    /* libevent's condition for sendfile(). */
    evbuffer_set_flags(buf, EVBUFFER_FLAG_DRAINS_TO_FD);
    return evbuffer_add_file(buf, fd, offset, n);
}

static void *create(void) { return evbuffer_new(); }
static void destroy(void *buf) { evbuffer_free(buf); }
static int add(void *buf, const void *data, size_t n) { return evbuffer_add(buf, data, n); }
static int drain(void *buf, size_t n) { return evbuffer_drain(buf, n); }
static int add_buffer(void *to, void *from) { return evbuffer_add_buffer(to, from); }
static int remove_buffer(void *from, void *to, size_t n) { return evbuffer_remove_buffer(from, to, n); }
static size_t length(const void *buf) { return evbuffer_get_length(buf); }
static int write_out(void *buf, int fd) { return evbuffer_write(buf, fd); }

const struct buffer_api *
buffer_libevent(void)
{
    static const struct buffer_api api = {
        create, destroy, add, drain, add_buffer, remove_buffer, length, read_line, search, add_file, write_out,
    };
    return &api;
}
