"""Finding bytes and lines.

Inside a chain the C library's memchr and memmem do the work; what is written here is the seams between
chains, and which of the two it is. memchr, looking for the first byte, is as fast as memory is read, but each
place where that byte begins something else costs as much as some hundred bytes. glibc's memmem looks at pairs
of bytes, whatever they are, and takes two (from memory) to eight times (from cache) as long. So memchr may be
wrong once in FALSE_HIT bytes; what exceeds that is memmem's.
"""

from libc.string cimport memchr, memcmp
from cyevent.buffer.callbacks cimport evbuffer_invoke_callbacks_
from cyevent.buffer.chain cimport *
from cyevent.buffer.evbuffer cimport EVBUFFER_MAX, evbuffer_copy_nolock_, evbuffer_discard_nolock_
from cyevent.buffer.file cimport chain_ready
from cyevent.buffer.types cimport *
from cyevent.core.memory cimport mm_free, mm_malloc
from cyevent.core.threads cimport EVLOCK_LOCK, EVLOCK_UNLOCK

cdef extern from *:
    """
    #ifdef _WIN32
    static void *ev_memmem(const void *hay, size_t n, const void *needle, size_t len) {
        const char *p = (const char *)hay, *end = p + n;
        while ((size_t)(end - p) >= len && (p = memchr(p, *(const char *)needle, end - p - len + 1))) {
            if (!memcmp(p, needle, len)) return (void *)p;
            p++;
        }
        return NULL;
    }
    #else
      /* A GNU and BSD function that is declared only on demand. */
      extern void *memmem(const void *, size_t, const void *, size_t);
      #define ev_memmem memmem
    #endif
    #if defined(__GNUC__) || defined(__clang__)
      static inline void ev_prefetch(const unsigned char *p, size_t n) {
          for (size_t i = 0; i < n; i += 64) __builtin_prefetch(p + i);
      }
    #else
      static inline void ev_prefetch(const unsigned char *p, size_t n) { (void)p; (void)n; }
    #endif
    """
    void ev_prefetch(const unsigned char *p, size_t n) noexcept nogil
    void *ev_memmem(const void *hay, size_t n, const void *needle, size_t len) noexcept nogil

cdef enum:
    FALSE_HIT = 256            # bytes that memmem searches in the time that memchr loses with one
    AHEAD = 1024               # of the next chain: the processor cannot guess where that is


cdef inline evbuffer_ptr start_of(evbuffer *buf, const evbuffer_ptr *start) noexcept nogil:
    cdef evbuffer_ptr it
    if start != NULL:
        return start[0]
    it.pos = 0
    it.internal_.chain = buf.first
    it.internal_.pos_in_chain = 0
    return it


cdef inline void not_found(evbuffer_ptr *it) noexcept nogil:
    it.pos = -1
    it.internal_.chain = NULL
    it.internal_.pos_in_chain = 0


cdef int evbuffer_ptr_set(evbuffer *buf, evbuffer_ptr *pos, size_t position,
                          evbuffer_ptr_how how) noexcept nogil:
    cdef evbuffer_chain *chain
    cdef size_t left = position
    cdef size_t offset = 0
    cdef int result = 0
    EVLOCK_LOCK(buf.lock)
    if how == EVBUFFER_PTR_ADD:
        if pos.pos < 0 or position > <size_t>EVBUFFER_MAX - <size_t>pos.pos:
            EVLOCK_UNLOCK(buf.lock)
            return -1
        chain = <evbuffer_chain *>pos.internal_.chain
        offset = pos.internal_.pos_in_chain
        pos.pos += <ev_ssize_t>position
    else:
        if position > EVBUFFER_MAX:
            not_found(pos)
            EVLOCK_UNLOCK(buf.lock)
            return -1
        chain = buf.first
        pos.pos = <ev_ssize_t>position
    while chain != NULL and offset + left >= chain.off:
        left -= chain.off - offset
        offset = 0
        chain = chain.next
    if chain != NULL:
        pos.internal_.chain = chain
        pos.internal_.pos_in_chain = offset + left
    elif left == 0:
        pos.internal_.chain = NULL
        pos.internal_.pos_in_chain = 0
    else:
        not_found(pos)
        result = -1
    EVLOCK_UNLOCK(buf.lock)
    return result


cdef bint matches(evbuffer_chain *chain, size_t offset, const char *what, size_t len) noexcept nogil:
    cdef size_t n
    while chain != NULL and chain_ready(chain):
        n = chain.off - offset
        if n >= len:
            return memcmp(chain_data(chain) + offset, what, len) == 0
        if memcmp(chain_data(chain) + offset, what, n) != 0:
            return False
        what += n
        len -= n
        offset = 0
        chain = chain.next
    return False


cdef unsigned char *find(unsigned char *data, size_t n, const char *what, size_t len,
                         ssize_t *patience) noexcept nogil:
    """Where all of it stands together. patience: what memchr may still lose, in bytes."""
    cdef unsigned char *hit
    while n >= len:
        if patience[0] <= 0:
            # The next chain may be another kind of text: memchr gets a small part of this one as a new start.
            patience[0] += <ssize_t>(n / 16)
            return <unsigned char *>ev_memmem(data, n, what, len)
        hit = <unsigned char *>memchr(data, what[0], n - len + 1)
        if hit == NULL:
            patience[0] += <ssize_t>n
            return NULL
        if memcmp(hit + 1, what + 1, len - 1) == 0:
            return hit
        hit += 1
        patience[0] += hit - data - FALSE_HIT
        n -= hit - data
        data = hit
    return NULL


cdef evbuffer_ptr search_nolock(evbuffer *buf, const char *what, size_t len,
                                const evbuffer_ptr *start, const evbuffer_ptr *end) noexcept nogil:
    cdef evbuffer_ptr it = start_of(buf, start)
    cdef evbuffer_chain *chain = <evbuffer_chain *>it.internal_.chain
    cdef size_t offset = it.internal_.pos_in_chain
    cdef unsigned char *data
    cdef unsigned char *hit
    cdef size_t limit          # where the last match may begin, as a position in the buffer
    cdef size_t stop
    cdef size_t n
    cdef ssize_t patience = 8 * FALSE_HIT
    if len == 0:
        return it
    if it.pos < 0:
        return it
    limit = <size_t>end.pos if end != NULL and end.pos >= 0 else buf.total_len
    if limit < len:
        not_found(&it)
        return it
    limit -= len
    while chain != NULL and <size_t>it.pos <= limit and chain_ready(chain):
        data = chain_data(chain)
        hit = NULL
        if chain.next != NULL and chain.off >= AHEAD:
            ev_prefetch(chain_data(chain.next), AHEAD)
        if chain.off - offset >= len:
            n = chain.off - offset
            if n > limit - <size_t>it.pos + len:
                n = limit - <size_t>it.pos + len
            hit = find(data + offset, n, what, len, &patience)
            stop = chain.off - len + 1
        else:
            stop = offset
        if hit == NULL:
            # What begins among the last len - 1 bytes goes on in the next chain.
            while stop < chain.off:
                hit = <unsigned char *>memchr(data + stop, what[0], chain.off - stop)
                if hit == NULL:
                    break
                stop = hit - data
                if chain.next != NULL and matches(chain, stop, what, len):
                    break
                hit = NULL
                stop += 1
        if hit != NULL:
            it.pos += (hit - data) - <ev_ssize_t>offset
            if <size_t>it.pos > limit:
                break
            it.internal_.chain = chain
            it.internal_.pos_in_chain = hit - data
            return it
        it.pos += <ev_ssize_t>(chain.off - offset)
        offset = 0
        chain = chain.next
    not_found(&it)
    return it


cdef evbuffer_ptr evbuffer_search_range(evbuffer *buf, const char *what, size_t len,
                                        const evbuffer_ptr *start,
                                        const evbuffer_ptr *end) noexcept nogil:
    cdef evbuffer_ptr it
    EVLOCK_LOCK(buf.lock)
    it = search_nolock(buf, what, len, start, end)
    EVLOCK_UNLOCK(buf.lock)
    return it


cdef evbuffer_ptr evbuffer_search(evbuffer *buf, const char *what, size_t len,
                                  const evbuffer_ptr *start) noexcept nogil:
    return evbuffer_search_range(buf, what, len, start, NULL)


# --- lines ------------------------------------------------------------------------------------------

cdef bint find_char(evbuffer_ptr *it, int c, evbuffer_chain **before) noexcept nogil:
    """Moves to the next c. before: the chain in front of the one it is in, if that was passed."""
    cdef evbuffer_chain *chain = <evbuffer_chain *>it.internal_.chain
    cdef size_t offset = it.internal_.pos_in_chain
    cdef unsigned char *data
    cdef unsigned char *hit
    before[0] = NULL
    while chain != NULL and chain.off and chain_ready(chain):
        data = chain_data(chain)
        hit = <unsigned char *>memchr(data + offset, c, chain.off - offset)
        if hit != NULL:
            it.pos += (hit - data) - <ev_ssize_t>offset
            it.internal_.chain = chain
            it.internal_.pos_in_chain = hit - data
            return True
        it.pos += <ev_ssize_t>(chain.off - offset)
        offset = 0
        before[0] = chain
        chain = chain.next
    return False


cdef bint find_either(evbuffer_ptr *it) noexcept nogil:
    """Moves to the next CR or LF."""
    cdef evbuffer_chain *chain = <evbuffer_chain *>it.internal_.chain
    cdef size_t offset = it.internal_.pos_in_chain
    cdef unsigned char *data
    cdef unsigned char *hit
    cdef unsigned char *earlier
    while chain != NULL and chain.off and chain_ready(chain):
        data = chain_data(chain)
        hit = <unsigned char *>memchr(data + offset, 10, chain.off - offset)
        # No need to look for a CR behind the LF.
        earlier = <unsigned char *>memchr(
            data + offset, 13, <size_t>(hit - data) - offset if hit != NULL else chain.off - offset)
        if earlier != NULL:
            hit = earlier
        if hit != NULL:
            it.pos += (hit - data) - <ev_ssize_t>offset
            it.internal_.chain = chain
            it.internal_.pos_in_chain = hit - data
            return True
        it.pos += <ev_ssize_t>(chain.off - offset)
        offset = 0
        chain = chain.next
    return False


cdef size_t eol_run(const evbuffer_ptr *it) noexcept nogil:
    """How many CRs and LFs stand here."""
    cdef evbuffer_chain *chain = <evbuffer_chain *>it.internal_.chain
    cdef size_t offset = it.internal_.pos_in_chain
    cdef size_t n = 0
    cdef unsigned char c
    while chain != NULL and chain_ready(chain):
        while offset < chain.off:
            c = chain_data(chain)[offset]
            if c != 10 and c != 13:
                return n
            n += 1
            offset += 1
        offset = 0
        chain = chain.next
    return n


cdef evbuffer_ptr search_eol_nolock(evbuffer *buf, const evbuffer_ptr *start, size_t *eol_len,
                                    evbuffer_eol_style style) noexcept nogil:
    cdef evbuffer_ptr it = start_of(buf, start)
    cdef ev_ssize_t begin = it.pos
    cdef evbuffer_chain *before
    eol_len[0] = 0
    if begin < 0 or it.internal_.chain == NULL:
        not_found(&it)
    elif style == EVBUFFER_EOL_ANY:
        if find_either(&it):
            eol_len[0] = eol_run(&it)
        else:
            not_found(&it)
    elif style == EVBUFFER_EOL_CRLF_STRICT:
        it = search_nolock(buf, b"\r\n", 2, &it, NULL)
        if it.pos >= 0:
            eol_len[0] = 2
    elif style == EVBUFFER_EOL_NUL or style == EVBUFFER_EOL_LF:
        if find_char(&it, 0 if style == EVBUFFER_EOL_NUL else 10, &before):
            eol_len[0] = 1
        else:
            not_found(&it)
    elif style == EVBUFFER_EOL_CRLF:
        if not find_char(&it, 10, &before):
            not_found(&it)
            return it
        eol_len[0] = 1
        if it.pos == begin:
            return it
        if it.internal_.pos_in_chain == 0:
            if chain_data(before)[before.off - 1] == 13:
                it.internal_.chain = before
                it.internal_.pos_in_chain = before.off - 1
                it.pos -= 1
                eol_len[0] = 2
        elif chain_data(<evbuffer_chain *>it.internal_.chain)[it.internal_.pos_in_chain - 1] == 13:
            it.internal_.pos_in_chain -= 1
            it.pos -= 1
            eol_len[0] = 2
    else:
        not_found(&it)
    return it


cdef evbuffer_ptr evbuffer_search_eol(evbuffer *buf, evbuffer_ptr *start, size_t *eol_len_out,
                                      evbuffer_eol_style style) noexcept nogil:
    cdef evbuffer_ptr it
    cdef size_t eol_len
    EVLOCK_LOCK(buf.lock)
    it = search_eol_nolock(buf, start, &eol_len, style)
    EVLOCK_UNLOCK(buf.lock)
    if eol_len_out != NULL:
        eol_len_out[0] = eol_len
    return it


cdef char *evbuffer_readln(evbuffer *buf, size_t *n_read_out,
                           evbuffer_eol_style style) noexcept nogil:
    cdef evbuffer_ptr it
    cdef size_t eol_len
    cdef char *line = NULL
    if n_read_out != NULL:
        n_read_out[0] = 0
    EVLOCK_LOCK(buf.lock)
    if not buf.freeze_start:
        it = search_eol_nolock(buf, NULL, &eol_len, style)
        if it.pos >= 0:
            line = <char *>mm_malloc(<size_t>it.pos + 1)
        if line != NULL and evbuffer_copy_nolock_(buf.first, 0, line, <size_t>it.pos) < 0:
            mm_free(line)
            line = NULL
        if line != NULL:
            line[it.pos] = 0
            evbuffer_discard_nolock_(buf, <size_t>it.pos + eol_len)
            if n_read_out != NULL:
                n_read_out[0] = <size_t>it.pos
            evbuffer_invoke_callbacks_(buf)
    EVLOCK_UNLOCK(buf.lock)
    return line
