"""Open TLS sockets over io_uring: many at once, whose sends leave together with the next wait, and what ends,
disables and limits those.
"""

import os
import socket
import threading

import pytest
from tls_peers import Log, client_context, run_until, server_context

from cyevent import (
    BEV_EVENT_CONNECTED,
    BEV_EVENT_EOF,
    BEV_EVENT_READING,
    BEV_EVENT_TIMEOUT,
    BEV_FINISHED,
    BEV_FLUSH,
    READ,
    WRITE,
    EventBase,
    SSLBufferEvent,
)

PAIRS = 6  # so many in one turn that sends are queued
PIECE = bytes(range(256)) * 4


def has_ring():
    with EventBase(completion=True) as base:
        return base.completion == "io_uring"


pytestmark = pytest.mark.skipif(not has_ring(), reason="no io_uring here")


@pytest.fixture
def ring():
    problems = []
    with EventBase(completion=True) as base:
        base.set_exception_handler(lambda error, callback: problems.append(error))
        yield base
    assert not problems


@pytest.fixture
def many(ring, authority, good):
    """Connected clients and servers: (client, its log, server, its log)."""
    made = []
    contexts = client_context(authority), server_context(good)
    for _ in range(PAIRS):
        row = []
        for sock, context in zip(socket.socketpair(), contexts, strict=True):
            sock.setblocking(False)
            log = Log()
            names = {"server_side": True} if row else {"server_hostname": "localhost"}
            row += [SSLBufferEvent(ring, sock, context, **names, **log.callbacks), log]
            row[-2].enable(READ)
        made.append(tuple(row))
    run_until(
        ring,
        lambda: all(log.events == [BEV_EVENT_CONNECTED] for row in made for log in row[1::2]),
    )
    yield made
    for client, _, server, _ in made:
        client.close()
        server.close()


def watched_by_epoll():
    """The descriptors that epoll instances of this process watch."""
    found = set()
    for name in os.listdir("/proc/self/fdinfo"):
        try:
            with open(f"/proc/self/fdinfo/{name}") as file:
                found |= {int(line.split()[1]) for line in file if line.startswith("tfd:")}
        except FileNotFoundError:
            pass  # that of the directory
    return found


def test_an_open_connection_is_the_rings(many):
    descriptors = {bev.fd for row in many for bev in row[::2]}
    assert len(descriptors) == 2 * PAIRS
    assert not descriptors & watched_by_epoll()


def test_without_a_ring_it_is_epolls(authority, good, pair):
    with EventBase("epoll", completion=False) as base:
        logs = Log(), Log()
        client = SSLBufferEvent(
            base,
            pair[0],
            client_context(authority),
            server_hostname="localhost",
            **logs[0].callbacks,
        )
        server = SSLBufferEvent(
            base, pair[1], server_context(good), server_side=True, **logs[1].callbacks
        )
        client.enable(READ)
        server.enable(READ)
        run_until(base, lambda: logs[0].events and logs[1].events)
        assert {client.fd, server.fd} <= watched_by_epoll()


def test_echoes_at_once(ring, many):
    def echo(bev):
        bev.write(bev.read())

    for client, _, server, _ in many:
        server.set_callbacks(read=echo)
        client.write(PIECE)
    for round_trips in range(1, 20):
        run_until(ring, lambda n=round_trips: all(len(r[1].received) == n * 1024 for r in many))
        for client, _, _, _ in many:
            client.write(PIECE)
    run_until(ring, lambda: all(len(r[1].received) == 20 * 1024 for r in many))
    assert all(log.received == PIECE * 20 for _, log, _, _ in many)


def test_where_much_comes_at_once_epoll_tells_of_it(ring, many):
    for _, _, server, _ in many:
        server.write(PIECE * 256)
    run_until(ring, lambda: all(len(row[1].received) == 256 * 1024 for row in many))
    watched = watched_by_epoll()
    for client, _, server, _ in many:
        assert client.fd in watched
        assert server.fd not in watched
    # Both go on as before.
    for client, _, _, _ in many:
        client.write(PIECE)
    run_until(ring, lambda: all(row[3].received == PIECE for row in many))
    for _, _, server, _ in many:
        server.write(PIECE)
        server.flush(WRITE, BEV_FINISHED)
    run_until(ring, lambda: all(len(row[1].events) == 2 for row in many))
    assert all(row[1].received == PIECE * 257 for row in many)
    assert all(row[1].events[1] == BEV_EVENT_EOF | BEV_EVENT_READING for row in many)


def test_much_leaves_part_by_part(ring, many):
    lengths = [[] for _ in many]
    size = 1 << 20
    for number, (client, _, server, _) in enumerate(many):
        client.disable(READ)

        def written(bev, number=number):
            lengths[number].append(len(bev.output))

        server.set_callbacks(write=written)
        server.set_watermark(WRITE, size, 0)
        server.write(PIECE * 1024)
    run_until(ring, lambda: all(lengths))
    assert all(len(server.output) for _, _, server, _ in many)
    for client, _, _, _ in many:
        client.enable(READ)
    run_until(ring, lambda: all(len(log.received) == size for _, log, _, _ in many))
    run_until(ring, lambda: all(seen[-1] == 0 for seen in lengths))
    assert all(log.received == PIECE * 1024 for _, log, _, _ in many)
    # Not all of it at the end.
    assert all(len(seen) > 3 and sorted(seen, reverse=True) == seen for seen in lengths)


def test_disabled_while_sending_and_enabled_again(ring, many):
    for client, _, server, _ in many:
        client.disable(READ)
        server.write(PIECE * 1024)
    for _ in range(5):
        ring.loop(2)
        for _, _, server, _ in many:
            server.disable(WRITE)
            server.write(PIECE)
        ring.loop(2)
        for client, _, server, _ in many:
            server.enable(WRITE)
            client.enable(READ)
    run_until(ring, lambda: all(len(row[1].received) == 1029 * 1024 for row in many))
    assert all(log.received == PIECE * 1029 for _, log, _, _ in many)


def test_closed_while_a_send_is_queued(ring, many):
    """By another one's callback, before the wait that would have sent it."""
    answered = []

    def answer(bev):
        bev.write(bev.read())
        answered.append(bev)
        if len(answered) == PAIRS:
            for other in answered[:-1]:
                other.close()

    for client, _, server, _ in many:
        server.set_callbacks(read=answer)
        client.write(PIECE)
    run_until(ring, lambda: sum(len(row[1].received) == 1024 for row in many) == PAIRS)
    run_until(ring, lambda: sum(len(row[1].events) == 2 for row in many) == PAIRS - 1)
    ends = {row[1].events[-1] for row in many if len(row[1].events) == 2}
    assert ends == {BEV_EVENT_READING | BEV_EVENT_EOF}


def test_flush_sends_at_once(ring, many):
    left = []

    def answer(bev):
        bev.write(bev.read())
        bev.flush(WRITE, BEV_FLUSH)
        left.append(len(bev.output))

    for client, _, server, _ in many:
        server.set_callbacks(read=answer)
        client.write(PIECE)
    run_until(ring, lambda: len(left) == PAIRS)
    assert left == [0] * PAIRS
    run_until(ring, lambda: all(log.received == PIECE for _, log, _, _ in many))


def test_read_timeout(ring, many):
    client, log, server, _ = many[0]
    server.write(PIECE)
    client.set_timeouts(read=0.05)
    run_until(ring, lambda: len(log.events) == 2)
    assert log.events[1] == BEV_EVENT_READING | BEV_EVENT_TIMEOUT
    assert log.received == PIECE


def test_high_watermark(ring, many):
    for client, _, server, _ in many:
        client.set_callbacks()
        client.set_watermark(READ, 0, 4096)
        server.write(PIECE * 256)
    run_until(ring, lambda: all(len(row[0].input) == 4096 for row in many))
    ring.loop(2)
    assert all(len(client.input) == 4096 for client, _, _, _ in many)
    got = [bytearray() for _ in many]

    def drain():
        for data, (client, _, _, _) in zip(got, many, strict=True):
            data += client.read()
        return all(len(data) == 256 * 1024 for data in got)

    run_until(ring, drain)
    assert all(data == PIECE * 256 for data in got)


def test_reading_stops_and_what_came_meanwhile_is_not_lost(ring, many):
    for client, _, server, _ in many:
        client.disable(READ)
        server.write(PIECE)
    run_until(ring, lambda: all(not len(row[2].output) for row in many))
    ring.loop(2)
    assert not any(log.received for _, log, _, _ in many)
    for client, _, _, _ in many:
        client.enable(READ)
    run_until(ring, lambda: all(log.received == PIECE for _, log, _, _ in many))


def test_a_loop_that_moves_to_another_thread(ring, many):
    for client, _, server, _ in many:
        server.write(PIECE)
        client.write(PIECE)

    def arrived():
        return all(log.received == PIECE for row in many for log in row[1::2])

    thread = threading.Thread(target=run_until, args=(ring, arrived))
    thread.start()
    thread.join(30)
    assert arrived()
