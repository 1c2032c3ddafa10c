"""EventBase.call_soon(): calls from any thread, each run once, in order."""

import gc
import threading
import weakref

import pytest

import cyevent
from cyevent import READ, Event, EventBase, Timer

WAIT = 30.0


def test_calls_run_once_each_in_order(base):
    ran = []
    for i in range(1000):
        base.call_soon(ran.append, i)
    assert base.dispatch() == 1
    assert ran == list(range(1000))


def test_nothing_runs_before_the_loop(base):
    ran = []
    base.call_soon(ran.append, 1)
    assert ran == []
    assert base.num_events() == 1
    base.dispatch()
    assert ran == [1]
    assert base.num_events() == 0


def test_all_arguments_arrive(base):
    got = []
    base.call_soon(lambda *args: got.append(args))
    base.call_soon(lambda *args: got.append(args), 1, "two", None, 4.0)
    base.dispatch()
    assert got == [(), (1, "two", None, 4.0)]


def test_it_takes_no_keywords(base):
    with pytest.raises(TypeError):
        base.call_soon(print, end="")


def test_what_cannot_be_called_is_refused(base):
    with pytest.raises(TypeError, match="callback"):
        base.call_soon(7)
    assert base.dispatch() == 1


def test_a_call_made_by_a_callback_is_for_the_next_turn(base, pair):
    """So that calls that ask for further calls do not starve the descriptors."""
    left, right = pair
    order = []

    def again():
        order.append("call")
        if "read" not in order and len(order) < 1000:
            base.call_soon(again)

    Event(base, left, READ, lambda fd, what: order.append("read")).add()
    base.call_soon(again)
    right.send(b"x")
    base.dispatch()
    assert "read" in order
    assert len(order) <= 4


def test_once_is_one_turn(base):
    ran = []

    def first():
        ran.append(1)
        base.call_soon(ran.append, 2)

    base.call_soon(first)
    base.loop(cyevent.EVLOOP_NONBLOCK)
    assert ran[:1] == [1]
    base.dispatch()
    assert ran == [1, 2]


def test_an_exception_goes_to_the_handler_and_the_rest_runs(base):
    caught, ran = [], []

    def fail():
        raise ZeroDivisionError

    base.set_exception_handler(lambda error, callback: caught.append((type(error), callback)))
    base.call_soon(fail)
    base.call_soon(ran.append, 1)
    base.dispatch()
    assert caught == [(ZeroDivisionError, fail)]
    assert ran == [1]


def test_loopbreak_leaves_the_rest_for_the_next_loop(base):
    ran = []
    base.call_soon(ran.append, 1)
    base.call_soon(base.loopbreak)
    base.call_soon(ran.append, 2)
    base.call_soon(ran.append, 3)
    assert base.dispatch() == 0
    assert ran == [1]
    base.call_soon(ran.append, 4)
    assert base.dispatch() == 1
    assert ran == [1, 2, 3, 4]


def test_an_interrupt_leaves_the_rest_for_the_next_loop(base):
    ran = []

    def interrupt():
        raise KeyboardInterrupt

    base.call_soon(interrupt)
    base.call_soon(ran.append, 1)
    with pytest.raises(KeyboardInterrupt):
        base.dispatch()
    assert ran == []
    base.dispatch()
    assert ran == [1]


def test_a_call_wakes_the_loop_from_another_thread(base):
    """The loop sleeps with nothing else to wake for."""
    main = threading.get_ident()
    ran = []

    def call():
        for i in range(100):
            done = threading.Event()
            base.call_soon(lambda: (ran.append(threading.get_ident()), done.set()))
            assert done.wait(WAIT), f"call {i} was lost"
        base.call_soon(base.loopbreak)

    thread = threading.Thread(target=call)
    thread.start()
    assert base.loop(cyevent.EVLOOP_NO_EXIT_ON_EMPTY) == 0
    thread.join(WAIT)
    assert ran == [main] * 100


def test_many_threads_lose_nothing_and_keep_their_order(base):
    nthreads, ncalls = 6, 5000
    got = [[] for _ in range(nthreads)]
    left = [nthreads]

    def end():
        left[0] -= 1
        if not left[0]:
            base.loopbreak()

    def work(i):
        for n in range(ncalls):
            base.call_soon(got[i].append, n)
        base.call_soon(end)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(nthreads)]
    for thread in threads:
        thread.start()
    assert base.loop(cyevent.EVLOOP_NO_EXIT_ON_EMPTY) == 0
    for thread in threads:
        thread.join(WAIT)
    assert got == [list(range(ncalls))] * nthreads


def test_without_a_lock(method):
    with EventBase(method, threadsafe=False) as base:
        ran = []
        base.call_soon(ran.append, 1)
        base.call_soon(base.call_soon, ran.append, 2)
        assert base.dispatch() == 1
        assert ran == [1, 2]


def test_a_closed_base_refuses(base):
    base.close()
    with pytest.raises(ValueError, match="closed"):
        base.call_soon(print)


class Thing:
    def method(self):
        pass


def test_close_drops_calls_that_wait(base):
    thing = Thing()
    gone = weakref.ref(thing)
    base.call_soon(thing.method)
    base.close()
    del thing
    assert gone() is None


def test_a_base_dropped_with_calls_that_refer_to_it_is_collected(method):
    base = EventBase(method)
    base.call_soon(base.loopbreak)
    gone = weakref.ref(base)
    del base
    gc.collect()
    assert gone() is None


def test_arguments_are_let_go_once_used(base):
    thing = Thing()
    gone = weakref.ref(thing)
    seen = []
    base.call_soon(thing.method)
    base.call_soon(lambda: seen.append(gone()))
    del thing
    base.dispatch()
    assert seen == [None]


def test_calls_have_the_middle_priority(base):
    base.priorities = 3
    order = []
    with EventBase(base.method, priorities=3) as other:
        other.call_soon(order.append, "call")
        for name, priority in (("last", 2), ("first", 0)):
            Timer(other, order.append, name, priority=priority).activate(cyevent.TIMEOUT)
        other.dispatch()
    assert order == ["first", "call", "last"]
