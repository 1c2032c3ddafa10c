"""The kernel mechanisms that tell which descriptors are ready.

``ORDER`` is the table of backends, best first. Each module registers its vtable when it is imported; those
that this platform does not have were not built.
"""

from importlib import import_module
from importlib.util import find_spec

ORDER = ("epoll", "kqueue", "evport", "devpoll", "afd", "poll", "select", "win32")

for _name in ORDER:
    if find_spec(f"{__name__}.{_name}") is not None:
        import_module(f"{__name__}.{_name}")
del _name
