"""Bufferevents and buffers that move from one base to another."""

from cyevent cimport (
    BEV_OPT_DEFER_CALLBACKS, bufferevent, bufferevent_base_set, bufferevent_disable, bufferevent_enable,
    bufferevent_free, bufferevent_get_base, bufferevent_get_input, bufferevent_get_output,
    bufferevent_pair_new, bufferevent_setcb, bufferevent_socket_new, bufferevent_write, EV_READ, EV_WRITE,
    evbuffer, evbuffer_add, evbuffer_add_cb, evbuffer_cb_info, evbuffer_defer_callbacks, evbuffer_free,
    evbuffer_get_length, evbuffer_new, event_base_dispatch, event_base_loop, EVLOOP_NONBLOCK,
)
from rig cimport Rig

ctypedef size_t[2] Changes


cdef void count(evbuffer *buf, const evbuffer_cb_info *info, void *arg) noexcept nogil:
    (<size_t *>arg)[0] += 1
    (<size_t *>arg)[1] += info.n_added


cdef void end(bufferevent *bev, void *arg) noexcept nogil:
    (<size_t *>arg)[0] += 1
    bufferevent_disable(bev, EV_READ)


def test_bufferevent_outlives_the_base_it_came_from(method):
    cdef Rig old = Rig(method)
    cdef Rig new = Rig(method)
    cdef Changes changed = [0, 0]
    cdef Changes read = [0, 0]
    cdef bufferevent *bev = bufferevent_socket_new(old.base, old.pair[0], BEV_OPT_DEFER_CALLBACKS)
    bufferevent_disable(bev, EV_WRITE)
    assert evbuffer_defer_callbacks(bufferevent_get_output(bev), old.base) == 0
    evbuffer_add_cb(bufferevent_get_output(bev), count, &changed)
    bufferevent_write(bev, b"waits", 5)
    assert bufferevent_base_set(new.base, bev) == 0
    assert bufferevent_get_base(bev) == new.base
    old.free()
    # What was due is still told, once, by the loop that it moved to.
    assert changed[0] == 0
    event_base_loop(new.base, EVLOOP_NONBLOCK)
    assert changed[0] == 1 and changed[1] == 5
    bufferevent_setcb(bev, end, NULL, NULL, &read)
    bufferevent_enable(bev, EV_READ | EV_WRITE)
    old.send(1, b"hello")
    event_base_dispatch(new.base)
    assert read[0] == 1
    assert evbuffer_get_length(bufferevent_get_input(bev)) == 5
    assert evbuffer_get_length(bufferevent_get_output(bev)) == 0
    bufferevent_free(bev)


def test_bufferevent_stays_while_something_is_due(method):
    cdef Rig old = Rig(method)
    cdef Rig new = Rig(method)
    cdef Changes read = [0, 0]
    cdef bufferevent *pair[2]
    cdef bufferevent *bev = bufferevent_socket_new(old.base, old.pair[0], BEV_OPT_DEFER_CALLBACKS)
    bufferevent_setcb(bev, end, NULL, NULL, &read)
    bufferevent_enable(bev, EV_READ)
    # An event is pending.
    assert bufferevent_base_set(new.base, bev) == -1
    assert bufferevent_get_base(bev) == old.base
    old.send(1, b"x")
    event_base_dispatch(old.base)
    assert read[0] == 1
    assert bufferevent_base_set(new.base, bev) == 0
    bufferevent_free(bev)
    # Only a socket's can move.
    assert bufferevent_pair_new(old.base, 0, pair) == 0
    assert bufferevent_base_set(new.base, pair[0]) == -1
    assert bufferevent_get_base(pair[0]) == old.base
    bufferevent_free(pair[0])
    bufferevent_free(pair[1])


def test_buffer_is_deferred_to_another_base_while_queued(method):
    cdef Rig old = Rig(method)
    cdef Rig new = Rig(method)
    cdef Changes changed = [0, 0]
    cdef evbuffer *buf = evbuffer_new()
    evbuffer_add_cb(buf, count, &changed)
    assert evbuffer_defer_callbacks(buf, old.base) == 0
    evbuffer_add(buf, b"abc", 3)
    assert evbuffer_defer_callbacks(buf, new.base) == 0
    evbuffer_add(buf, b"de", 2)
    event_base_loop(old.base, EVLOOP_NONBLOCK)
    assert changed[0] == 0
    event_base_loop(new.base, EVLOOP_NONBLOCK)
    assert changed[0] == 1 and changed[1] == 5
    old.free()
    evbuffer_add(buf, b"f", 1)
    evbuffer_free(buf)
    # It had been queued again: that was forgotten with it.
    event_base_loop(new.base, EVLOOP_NONBLOCK)
    assert changed[0] == 1
