"""Completion ports: the kernel does what it is asked, and tells when it is done.

``ORDER`` is the table of implementations, best first. Each module registers itself when it is imported; those
that this platform does not have were not built.
"""

from importlib import import_module
from importlib.util import find_spec

ORDER = ("uring", "iocp")

for _name in ORDER:
    if find_spec(f"{__name__}.{_name}") is not None:
        import_module(f"{__name__}.{_name}")
del _name
