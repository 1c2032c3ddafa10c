"""What this build of cyevent can do on this machine."""

import json
import platform
import ssl
import sys
import time
from importlib import import_module
from typing import Any

from cyevent import (
    EV_FEATURE_EARLY_CLOSE,
    EV_FEATURE_ET,
    EV_FEATURE_FDS,
    EV_FEATURE_O1,
    EventBase,
    __version__,
)

FEATURES = {
    EV_FEATURE_ET: "edge-triggered events",
    EV_FEATURE_O1: "cost independent of idle descriptors",
    EV_FEATURE_FDS: "any kind of descriptor",
    EV_FEATURE_EARLY_CLOSE: "early close",
}


def tls_library() -> str | None:
    """Names the TLS library that is to be had: pyOpenSSL's OpenSSL, else the standard library's."""
    try:
        openssl = import_module("OpenSSL")
    except ImportError:
        return f"{ssl.OPENSSL_VERSION} (ssl)"
    version = import_module("OpenSSL.SSL").SSLeay_version(0).decode()
    return f"{version} (pyOpenSSL {openssl.__version__})"


def collect() -> dict[str, Any]:
    """Returns what `print_info` prints."""
    methods = []
    for name in EventBase.supported_methods():
        with EventBase(name, ignore_env=True) as base:
            methods.append(
                {
                    "name": name,
                    "features": [text for bit, text in FEATURES.items() if base.features & bit],
                }
            )
    with EventBase() as base:
        default, signals = base.method, base.signal_method
    clock = time.get_clock_info("monotonic")
    return {
        "version": __version__,
        "default": default,
        "methods": methods,
        "signals": signals,
        "clock": {"name": clock.implementation, "resolution": clock.resolution},
        "tls": tls_library(),
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
    }


def print_info(as_json: bool = False) -> None:
    """Prints the version, the backends with their features, the clock and the TLS library."""
    facts = collect()
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    print(f"cyevent   {facts['version']}")
    print(f"python    {facts['python']} on {facts['platform']}")
    for i, method in enumerate(facts["methods"]):
        label = "methods" if i == 0 else ""
        default = " (default)" if method["name"] == facts["default"] else ""
        print(f"{label:9} {method['name']}{default}: {', '.join(method['features'])}")
    print(f"signals   {facts['signals']}")
    print(f"clock     {facts['clock']['name']}, {facts['clock']['resolution']:g} s")
    print(f"tls       {facts['tls'] or 'none'}")
