"""Messages of the library, debug mode, and what is said before the process ends."""

import logging
import os
import socket
import sys
import threading

import pytest

import cyevent


@pytest.fixture
def messages():
    """What the log callback was told."""
    seen = []
    cyevent.set_log_callback(lambda severity, message: seen.append((severity, message)))
    yield seen
    cyevent.set_log_callback(None)
    cyevent.enable_debug_logging(False)


def warn(base, pair):
    """Has the library warn of mixed triggers."""
    level = cyevent.Event(base, pair[0], cyevent.READ, print)
    edge = cyevent.Event(base, pair[0], cyevent.READ | cyevent.ET, print)
    level.add()
    with pytest.raises(OSError):
        edge.add()
    level.delete()


def test_log_callback_gets_warnings(base, pair, messages):
    warn(base, pair)
    assert cyevent.flush_log()
    (severity, message) = messages[0]
    assert severity == cyevent.EVENT_LOG_WARN
    assert "edge-triggered" in message


def test_messages_keep_their_order(base, pair, messages):
    cyevent.enable_debug_logging()
    event = cyevent.Event(base, pair[0], cyevent.READ, print)
    for _ in range(200):
        event.add()
        event.delete()
    assert cyevent.flush_log()
    kinds = [message.split(":")[0] for _, message in messages if message.startswith("event_")]
    added = [kind for kind in kinds if kind == "event_add"]
    assert len(added) == 200
    assert kinds.index("event_add") < kinds.index("event_del")


def test_debug_logging_ends(base, pair, messages):
    cyevent.enable_debug_logging()
    cyevent.enable_debug_logging(False)
    event = cyevent.Event(base, pair[0], cyevent.READ, print)
    event.add()
    event.delete()
    assert cyevent.flush_log()
    assert messages == []


def test_a_callback_may_use_the_base(base, pair, messages):
    """Nothing that the library holds is held while the callback runs."""
    done = threading.Event()

    def callback(severity, message):
        base.num_events()
        cyevent.Timer(base, print).add(100)
        done.set()

    cyevent.set_log_callback(callback)
    warn(base, pair)
    assert cyevent.flush_log()
    assert done.is_set()


def test_messages_from_a_loop_while_others_hold_the_interpreter(base, messages):
    """The loop logs with its lock held and without the GIL; others want the lock with the GIL held."""
    cyevent.enable_debug_logging()
    timer = cyevent.Timer(base, lambda: None, persist=True)
    timer.add(0)
    stop = threading.Event()

    def bother():
        while not stop.is_set():
            other = cyevent.Timer(base, print)
            other.add(100)
            other.delete()

    threads = [threading.Thread(target=bother) for _ in range(3)]
    for thread in threads:
        thread.start()
    base.loopexit(0.3)
    base.dispatch()
    stop.set()
    for thread in threads:
        thread.join()
    cyevent.enable_debug_logging(False)
    assert cyevent.flush_log(60)
    # Which of them found room in the queue is chance.
    assert messages
    timer.delete()


def test_an_exception_in_the_callback_is_reported(base, pair, capfd):
    def callback(severity, message):
        raise ValueError("from the callback")

    cyevent.set_log_callback(callback)
    try:
        warn(base, pair)
        assert cyevent.flush_log()
        warn(base, pair)
        assert cyevent.flush_log()
    finally:
        cyevent.set_log_callback(None)
    assert capfd.readouterr().err.count("from the callback") >= 2


def test_logging(base, pair, caplog):
    with caplog.at_level(logging.DEBUG, "cyevent"):
        cyevent.use_logging()
        try:
            warn(base, pair)
            assert cyevent.flush_log()
        finally:
            cyevent.set_log_callback(None)
    (record,) = [record for record in caplog.records if "edge-triggered" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert record.name == "cyevent"


def test_logging_to_a_logger_of_ones_own(base, pair, caplog):
    with caplog.at_level(logging.DEBUG, "mine"):
        cyevent.use_logging(logging.getLogger("mine"))
        try:
            warn(base, pair)
            assert cyevent.flush_log()
        finally:
            cyevent.set_log_callback(None)
    assert "mine" in {record.name for record in caplog.records}


def test_standard_error_without_a_callback(run_python):
    done = run_python(
        "import cyevent, socket\n"
        "base = cyevent.EventBase()\n"
        "left, right = socket.socketpair()\n"
        "cyevent.Event(base, left, cyevent.READ, print).add()\n"
        "try:\n"
        "    cyevent.Event(base, left, cyevent.READ | cyevent.ET, print).add()\n"
        "except OSError:\n"
        "    pass\n"
    )
    assert "[warn] Tried to mix" in done.stderr


def test_messages_at_exit_are_not_lost(run_python):
    done = run_python(
        "import cyevent, socket\n"
        "cyevent.set_log_callback(lambda severity, message: print(severity, message, flush=True))\n"
        "cyevent.enable_debug_logging()\n"
        "base = cyevent.EventBase()\n"
        "cyevent.Timer(base, print).add(1)\n"
    )
    assert "event_add" in done.stdout


def test_a_child_goes_on_logging(base, pair, messages, in_child):
    def child():
        messages.clear()
        warn(base, pair)
        assert cyevent.flush_log()
        assert messages

    in_child(child)
    warn(base, pair)
    assert cyevent.flush_log()
    assert messages


@pytest.mark.parametrize("wrong", [3, "print"])
def test_log_callback_must_be_callable(wrong):
    with pytest.raises(TypeError, match="callback"):
        cyevent.set_log_callback(wrong)


def test_bad_arguments():
    with pytest.raises(TypeError, match="logger"):
        cyevent.use_logging(3)
    with pytest.raises(ValueError, match="timeout"):
        cyevent.flush_log(-1)


# --- debug mode -----------------------------------------------------------------------------------

PROGRAM = """
import socket
import cyevent
cyevent.enable_debug_mode()
cyevent.enable_debug_mode()
assert cyevent.debug_mode()
left, right = socket.socketpair()
base = cyevent.EventBase()
try:
    cyevent.Event(base, left, cyevent.READ, print)
except ValueError as error:
    print(error)
left.setblocking(False)
right.setblocking(False)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell what blocks")
def test_debug_mode_refuses_a_blocking_descriptor(run_python):
    done = run_python(PROGRAM)
    assert "fd" in done.stdout and "must be non-blocking" in done.stdout


def test_debug_mode_names_where_an_event_was_made(run_python):
    done = run_python(
        PROGRAM
        + "seen = []\n"
        + "cyevent.set_log_callback(lambda severity, message: seen.append(message))\n"
        + "def make(what):\n"
        + "    return cyevent.Event(base, left, what, print)\n"
        + "make(cyevent.READ).add()\n"
        + "try:\n"
        + "    make(cyevent.READ | cyevent.ET).add()\n"
        + "except OSError:\n"
        + "    pass\n"
        + "cyevent.flush_log()\n"
        + "print([message for message in seen if 'made at' in message])\n"
    )
    assert "made at <string>:" in done.stdout and "in make" in done.stdout


def test_debug_mode_lets_everything_pass(run_python):
    """Each kind of object is made, used, and freed: the table is told of each event's end."""
    done = run_python(
        PROGRAM
        + "import gc, os, signal\n"
        + "def use():\n"
        + "    base = cyevent.EventBase()\n"
        + "    cyevent.Event(base, left, cyevent.READ, print).add(0.001)\n"
        + "    cyevent.Timer(base, lambda: None).add(base.common_timeout(0.001))\n"
        + "    cyevent.Signal(base, signal.SIGUSR1, lambda n: None, persist=False).add()\n"
        + "    os.kill(os.getpid(), signal.SIGUSR1)\n"
        + "    base.once(None, cyevent.TIMEOUT, lambda *a: None, timeout=0.001)\n"
        + "    final = cyevent.Timer(base, print)\n"
        + "    final.finalize(lambda event: None)\n"
        + "    watcher = cyevent.PrepareWatcher(base, lambda timeout: None)\n"
        + "    bev = cyevent.SocketBufferEvent(base, right)\n"
        + "    bev.enable(cyevent.READ)\n"
        + "    listener = cyevent.Listener(base, ('127.0.0.1', 0), print)\n"
        + "    base.loopexit(0.02)\n"
        + "    base.dispatch()\n"
        + "    listener.close()\n"
        + "    bev.close()\n"
        + "    base.close()\n"
        + "for _ in range(20):\n"
        + "    left, right = socket.socketpair()\n"
        + "    left.setblocking(False)\n"
        + "    use()\n"
        + "    gc.collect()\n"
        + "print('all well')\n"
    )
    assert "all well" in done.stdout


WRONG_THREAD = """
import socket, sys, threading
import cyevent
if sys.argv[1] == "debug":
    cyevent.enable_debug_mode()
base = cyevent.EventBase(threadsafe=sys.argv[2] == "base")
left, right = socket.socketpair()
right.setblocking(False)
options = cyevent.BEV_OPT_THREADSAFE if sys.argv[3] == "bufferevent" else 0
bev = cyevent.SocketBufferEvent(base, right, options)
other = cyevent.EvBuffer(b"other")
uses = (
    lambda: bev.output.add(b"x"), lambda: bev.output.add_buffer(other), lambda: bev.input.remove(),
    lambda: bev.input.search(b"x"), lambda: bev.input.move_to(other), lambda: other.move_to(bev.output),
)

def outcome(use):
    try:
        use()
    except RuntimeError as error:
        return str(error)
    return "fine"

running, done = threading.Event(), threading.Event()
mine = []

def in_loop():
    mine.extend(outcome(use) for use in uses)
    running.set()
    done.wait(30)
    base.loopexit(0)

cyevent.Timer(base, in_loop).add(0)
thread = threading.Thread(target=base.dispatch)
thread.start()
assert running.wait(30)
theirs = [outcome(use) for use in uses]
done.set()
thread.join()
print(set(mine), set(theirs), {outcome(use) for use in uses}, sep="\\n")
"""


@pytest.mark.parametrize("mode", ["debug", "usual"])
@pytest.mark.parametrize("base", ["base", "no lock"])
@pytest.mark.parametrize("bufferevent", ["bufferevent", "no lock"])
def test_debug_mode_knows_the_thread_of_a_buffer_without_a_lock(
    run_python, mode, base, bufferevent
):
    mine, theirs, afterwards = run_python(WRONG_THREAD, mode, base, bufferevent).stdout.splitlines()
    assert mine == afterwards == "{'fine'}"
    if mode == "debug" and bufferevent == "no lock":
        assert "runs in another thread" in theirs and "fine" not in theirs
    else:
        assert theirs == "{'fine'}"


def test_debug_mode_too_late(run_python):
    done = run_python(
        "import cyevent\n"
        "base = cyevent.EventBase()\n"
        "try:\n"
        "    cyevent.enable_debug_mode()\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
        "assert not cyevent.debug_mode()\n"
    )
    assert "before the first EventBase" in done.stdout


def test_debug_mode_from_the_environment(run_python, monkeypatch, package_env):
    package_env["CYEVENT_DEBUG_MODE"] = "1"
    try:
        run_python("import cyevent\nassert cyevent.debug_mode()")
        package_env["CYEVENT_DEBUG_MODE"] = "0"
        run_python("import cyevent\nassert not cyevent.debug_mode()")
    finally:
        del package_env["CYEVENT_DEBUG_MODE"]


def test_debug_mode_is_off_by_default():
    assert not cyevent.debug_mode() or os.environ.get("CYEVENT_DEBUG_MODE")
    left, right = socket.socketpair()
    with left, right, cyevent.EventBase() as base:
        # A blocking descriptor is the user's business.
        cyevent.Event(base, left, cyevent.READ, print).add()
