"""cyevent: libevent rebuilt in Cython."""

import os as _os

from cyevent._version import __version__
from cyevent.core.constants import *  # noqa: F403
from cyevent.core.events import Event, Signal, Timer
from cyevent.core.reactor import Duration, EventBase
from cyevent.core.watch import CheckWatcher, PrepareWatcher


def get_include() -> str:
    """Returns the directory of the C headers, for a compiler's include path."""
    return _os.path.join(_os.path.dirname(__file__), "include")
