"""The clock that event loops measure time with, as Python shows it.

On Windows that is the performance counter; before Python 3.13 time.monotonic() counts the system's ticks there.
"""

import sys
import time

monotonic = time.perf_counter if sys.platform == "win32" else time.monotonic
