"""Debug mode: what a loop works on without a lock, used from another thread, raises and changes nothing."""

PROGRAM = """
import socket, tempfile, threading
import cyevent
from cyevent import *

cyevent.enable_debug_mode()
base = EventBase()
left, right = socket.socketpair()
bev = SocketBufferEvent(base, left)
bev.enable(READ)
other, _peer = bufferevent_pair(base)
deferred = EvBuffer(b"one\\ntwo")
deferred.defer_callbacks(base)
callback = deferred.add_callback(lambda *_: None)
space = deferred.reserve(10)
file = tempfile.TemporaryFile()
file.write(b"a file")
file.flush()
segment = FileSegment(file)
mine = EvBuffer(b"mine")
pipe = socket.socketpair()
pipe[1].send(b"something to read")

running = threading.Event()
hold = Timer(base, lambda: None, persist=True)
hold.add(0.05)
base.call_soon(running.set)
loop = threading.Thread(target=base.dispatch)
loop.start()
assert running.wait(20)

METHODS = {
    "add": (b"x",), "add_reference": (b"x",), "add_file": (file,), "add_file_segment": (segment,),
    "prepend": (b"x",), "add_buffer": (mine,), "prepend_buffer": (mine,), "add_buffer_reference": (mine,),
    "reserve": (5,), "commit": (1,), "expand": (10,), "remove": (1,), "readinto": (bytearray(3),),
    "copyout": (), "drain": (1,), "move_to": (mine,), "readline": (), "search": (b"o",), "search_eol": (),
    "pullup": (1,), "peek": (), "read": (pipe[0],), "write": (pipe[0],), "defer_callbacks": (base,),
    "__iter__": (), "__len__": (), "__bool__": (), "__bytes__": (),
}
ARGUMENTS = {"add_callback": (lambda *_: None,)}
KEYWORDS = {"freeze": {"front": True}, "unfreeze": {"front": True}}
PROPERTIES = ("contiguous", "chains", "max_read", "zerocopy", "zerocopy_threshold", "zerocopy_stats")
SETTERS = {"max_read": 5, "zerocopy": True, "zerocopy_threshold": 5}

# Nothing is left out.
known = {*METHODS, *ARGUMENTS, *KEYWORDS, *PROPERTIES, "frozen"}
assert {name for name in dir(EvBuffer) if not name.startswith("_")} <= known, set(dir(EvBuffer)) - known


def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except RuntimeError as error:
        assert "another thread" in str(error), (call, error)
    else:
        raise AssertionError((call, args))


for buf in (deferred, bev.input, bev.output, other.input):
    for name, args in {**METHODS, **ARGUMENTS}.items():
        refused(getattr(buf, name), *args)
    for name, kwargs in KEYWORDS.items():
        refused(getattr(buf, name), **kwargs)
    for name in PROPERTIES:
        refused(getattr, buf, name)
    for name, value in SETTERS.items():
        refused(setattr, buf, name, value)
    refused(buf.frozen(front=True).__enter__)
    assert repr(buf) == "<cyevent.EvBuffer in use>"
# From and to a buffer of one's own, too.
for name in ("add_buffer", "prepend_buffer", "add_buffer_reference"):
    refused(getattr(mine, name), bev.output)
refused(mine.move_to, bev.output)
refused(callback.remove)
refused(setattr, callback, "enabled", False)
refused(setattr, callback, "nodefer", True)
refused(space.commit)
for call, args in (
    (bev.write, (b"x",)), (bev.write, (bytearray(b"x"),)), (bev.write_reference, (b"x",)),
    (bev.write_reference, (mine,)), (bev.write_buffer, (mine,)), (bev.read, ()), (bev.read_buffer, (mine,)),
    (bev.enable, (WRITE,)), (bev.disable, (READ,)), (bev.trigger, (READ,)), (bev.flush, (READ,)),
    (bev.set_watermark, (READ, 5)),
):
    refused(call, *args)

base.call_soon(base.loopbreak)
loop.join(20)
assert not loop.is_alive()
# And nothing has changed.
assert bytes(mine) == b"mine"
assert bytes(deferred) == b"one\\ntwo"
assert len(bev.input) == len(bev.output) == len(other.input) == 0
assert deferred.max_read == 4096 and not deferred.zerocopy and callback.enabled and not callback.nodefer
assert bev.enabled == READ | WRITE
space[0][:] = b"0123456789"
deferred.commit(3)
assert bytes(deferred) == b"one\\ntwo012"
bev.close()
other.close()
# With a lock anybody may.
safe = SocketBufferEvent(base, right, BEV_OPT_THREADSAFE)
loop = threading.Thread(target=base.dispatch)
running.clear()
base.call_soon(running.set)
loop.start()
assert running.wait(20)
safe.write(b"from another thread")
safe.output.add(b"!")
assert safe.enabled == WRITE
base.call_soon(base.loopbreak)
loop.join(20)
"""


def test_another_thread_without_a_lock(run_python):
    run_python(PROGRAM)
