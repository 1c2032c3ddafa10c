"""Edge-triggered events, and what becomes of the flag where a method has only levels."""

import socket

import pytest

import cyevent
from cyevent import ET, PERSIST, READ, WRITE, Event

TURN = cyevent.EVLOOP_NONBLOCK | cyevent.EVLOOP_ONCE


def has_edges(base):
    return bool(base.features & cyevent.EV_FEATURE_ET)


def test_edge_triggered_read_is_told_once(base):
    # A pair of TCP sockets: reading a part of what a Unix socket holds counts as an edge to Linux.
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
    with left, right:
        seen = []
        left.sendall(b"test string")
        left.shutdown(socket.SHUT_WR)
        right.setblocking(False)
        # Both the data and the end are there before the event is, so there is one edge only.
        while len(right.recv(100, socket.MSG_PEEK)) < len(b"test string"):
            pass

        def on_read(fd, what):
            seen.append(what)
            right.recv(1)

        ev = Event(base, right, READ | ET | PERSIST, on_read)
        ev.add()
        assert base.loop(TURN) == 0
        assert base.loop(TURN) == 0
        ev.delete()
        assert seen == ([READ | ET] if has_edges(base) else [READ, READ])


def test_mixing_edges_and_levels_on_one_descriptor_fails(base, pair):
    edge = Event(base, pair[0], READ | ET, print)
    level = Event(base, pair[0], READ, print)
    edge.add()
    with pytest.raises((OSError, ValueError)):
        level.add()
    assert edge.pending(READ)
    assert not level.pending(READ)
    edge.delete()
    level.add()
    with pytest.raises((OSError, ValueError)):
        edge.add()
    assert level.pending(READ)
    assert not edge.pending(READ)


def test_two_edge_triggered_events_on_one_descriptor(base, pair):
    if not has_edges(base):
        pytest.skip(f"{base.method} is not edge-triggered")
    left, right = pair
    seen = []
    left.send(b"A")
    reader = Event(base, right, READ | ET | PERSIST, lambda fd, what: seen.append(what))
    writer = Event(base, right, WRITE | ET | PERSIST, lambda fd, what: seen.append(what))
    reader.add()
    writer.add()
    base.loop(TURN)
    base.loop(TURN)
    assert sorted(seen) == sorted([READ | ET, WRITE | ET])
    reader.delete()
    seen.clear()
    # Something happens on the descriptor: the writer is told, and still once only.
    left.close()
    base.loop(TURN)
    base.loop(TURN)
    assert seen == [WRITE | ET]


def test_new_data_is_a_new_edge(base, pair):
    if not has_edges(base):
        pytest.skip(f"{base.method} is not edge-triggered")
    left, right = pair
    seen = []
    Event(base, right, READ | ET | PERSIST, lambda fd, what: seen.append(what)).add()
    for n in range(1, 4):
        left.send(b"x")
        base.loop(TURN)
        base.loop(TURN)
        assert seen == [READ | ET] * n


def test_an_edge_event_without_persist(base, pair):
    left, right = pair
    left.send(b"x")
    seen = []
    ev = Event(base, right, READ | ET, lambda fd, what: seen.append(what & READ))
    ev.add()
    base.loop(TURN)
    assert seen == [READ]
    assert not ev.pending()
    # Added anew, the data that is still there is told anew.
    ev.add()
    base.loop(TURN)
    assert seen == [READ, READ]
