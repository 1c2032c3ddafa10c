"""The front door: what `import cyevent` gives."""

from cyevent._version import __version__ as __version__
from cyevent.buffer.pyevbuffer import EOL_ANY as EOL_ANY
from cyevent.buffer.pyevbuffer import EOL_CRLF as EOL_CRLF
from cyevent.buffer.pyevbuffer import EOL_CRLF_STRICT as EOL_CRLF_STRICT
from cyevent.buffer.pyevbuffer import EOL_LF as EOL_LF
from cyevent.buffer.pyevbuffer import EOL_NUL as EOL_NUL
from cyevent.buffer.pyevbuffer import BufferCallback as BufferCallback
from cyevent.buffer.pyevbuffer import EvBuffer as EvBuffer
from cyevent.buffer.pyevbuffer import Reservation as Reservation
from cyevent.buffer.pyfile import FileSegment as FileSegment
from cyevent.buffer.pyzerocopy import ZerocopyStats as ZerocopyStats
from cyevent.buffer.pyzerocopy import set_zerocopy_limits as set_zerocopy_limits
from cyevent.bufferevent.constants import *
from cyevent.bufferevent.pybase import BufferEvent as BufferEvent
from cyevent.bufferevent.pybufferevent import SocketBufferEvent as SocketBufferEvent
from cyevent.bufferevent.pyfilter import FilterBufferEvent as FilterBufferEvent
from cyevent.bufferevent.pypair import PairBufferEvent as PairBufferEvent
from cyevent.bufferevent.pypair import bufferevent_pair as bufferevent_pair
from cyevent.bufferevent.pyratelimit import RateLimitGroup as RateLimitGroup
from cyevent.bufferevent.pyratelimit import TokenBucket as TokenBucket
from cyevent.bufferevent.pyssl import SSLBufferEvent as SSLBufferEvent
from cyevent.bufferevent.pyssl import SSLError as SSLError
from cyevent.core.constants import *
from cyevent.core.diagnostics import debug_mode as debug_mode
from cyevent.core.diagnostics import enable_debug_logging as enable_debug_logging
from cyevent.core.diagnostics import enable_debug_mode as enable_debug_mode
from cyevent.core.diagnostics import flush_log as flush_log
from cyevent.core.diagnostics import set_log_callback as set_log_callback
from cyevent.core.diagnostics import use_logging as use_logging
from cyevent.core.events import Event as Event
from cyevent.core.events import Signal as Signal
from cyevent.core.events import Timer as Timer
from cyevent.core.reactor import Duration as Duration
from cyevent.core.reactor import EventBase as EventBase
from cyevent.core.watch import CheckWatcher as CheckWatcher
from cyevent.core.watch import PrepareWatcher as PrepareWatcher
from cyevent.net.pylistener import Listener as Listener

def get_include() -> str: ...
