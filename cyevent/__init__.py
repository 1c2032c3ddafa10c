"""cyevent: libevent rebuilt in Cython."""

import os as _os
import sys as _sys

from cyevent._version import __version__ as __version__
from cyevent.buffer.pyevbuffer import (
    EOL_ANY,
    EOL_CRLF,
    EOL_CRLF_STRICT,
    EOL_LF,
    EOL_NUL,
    BufferCallback,
    EvBuffer,
    Reservation,
)
from cyevent.buffer.pyfile import FileSegment
from cyevent.buffer.pyzerocopy import ZerocopyStats, set_zerocopy_limits
from cyevent.bufferevent.constants import *  # noqa: F403
from cyevent.bufferevent.pybase import BufferEvent
from cyevent.bufferevent.pybufferevent import SocketBufferEvent
from cyevent.bufferevent.pyfilter import FilterBufferEvent
from cyevent.bufferevent.pypair import PairBufferEvent, bufferevent_pair
from cyevent.bufferevent.pyratelimit import RateLimitGroup, TokenBucket
from cyevent.bufferevent.pyssl import SSLBufferEvent, SSLError
from cyevent.core.constants import *  # noqa: F403
from cyevent.core.diagnostics import (
    debug_mode,
    enable_debug_logging,
    enable_debug_mode,
    flush_log,
    set_log_callback,
    use_logging,
)
from cyevent.core.events import Event, Signal, Timer
from cyevent.core.reactor import Duration, EventBase
from cyevent.core.watch import CheckWatcher, PrepareWatcher
from cyevent.net.pylistener import Listener

if _sys.platform == "win32":
    # Puts Windows' locks in force.
    import cyevent.core.winthreads as _winthreads  # noqa: F401

__all__ = [
    "EOL_ANY",
    "EOL_CRLF",
    "EOL_CRLF_STRICT",
    "EOL_LF",
    "EOL_NUL",
    "BufferCallback",
    "BufferEvent",
    "CheckWatcher",
    "Duration",
    "EvBuffer",
    "Event",
    "EventBase",
    "FileSegment",
    "FilterBufferEvent",
    "Listener",
    "PairBufferEvent",
    "PrepareWatcher",
    "RateLimitGroup",
    "Reservation",
    "SSLBufferEvent",
    "SSLError",
    "Signal",
    "SocketBufferEvent",
    "Timer",
    "TokenBucket",
    "ZerocopyStats",
    "bufferevent_pair",
    "debug_mode",
    "enable_debug_logging",
    "enable_debug_mode",
    "flush_log",
    "get_include",
    "set_log_callback",
    "set_zerocopy_limits",
    "use_logging",
]
__all__ += [_name for _name in dir() if _name.isupper() and _name not in __all__]


def get_include() -> str:
    """Returns the directory of the C headers, for a compiler's include path."""
    return _os.path.join(_os.path.dirname(__file__), "include")
