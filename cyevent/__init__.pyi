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
from cyevent.core.events import Event as Event
from cyevent.core.events import Signal as Signal
from cyevent.core.events import Timer as Timer
from cyevent.core.reactor import Duration as Duration
from cyevent.core.reactor import EventBase as EventBase
from cyevent.core.watch import CheckWatcher as CheckWatcher
from cyevent.core.watch import PrepareWatcher as PrepareWatcher
from cyevent.net.listener import Listener as Listener

def get_include() -> str: ...
