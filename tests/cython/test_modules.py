"""Runs the Cython test modules beside this file: each function test_* of each is one test.

A function that takes `method` runs once for each mechanism; test_slow_* are marked slow. The names are
read from the sources, since compiling has to wait until the tests run. A module's FORKED names those that
change the whole process and so run in a child. Those of OVER_COMPLETIONS run once more, over completions.
"""

import re
from pathlib import Path

import pytest

import cyevent

with cyevent.EventBase(completion=True) as _base:
    HAS_COMPLETION = _base.completion is not None

HERE = Path(__file__).parent
OVER_COMPLETIONS = (
    "nogil_bufferevent",
    "nogil_connect",
    "nogil_listener",
    "nogil_ratelimit",
    "nogil_ssl",
)
TEST = re.compile(r"^def (test_\w+)\((method)?\):", re.MULTILINE)


def pytest_generate_tests(metafunc):
    cases = []
    for source in sorted(HERE.glob("*.pyx")):
        for name, takes_method in TEST.findall(source.read_text()):
            methods = cyevent.EventBase.supported_methods() if takes_method else (None,)
            marks = (pytest.mark.slow,) if name.startswith("test_slow_") else ()
            ways = [(method, method, False) for method in methods]
            if takes_method and source.stem in OVER_COMPLETIONS and HAS_COMPLETION:
                ways.append((f"{methods[0]}-completion", methods[0], True))
            cases += [
                pytest.param(
                    source.stem,
                    name,
                    method,
                    completion,
                    marks=marks,
                    id="-".join(filter(None, (source.stem, name, way))),
                )
                for way, method, completion in ways
            ]
    metafunc.parametrize(
        ("module", "function", "mechanism", "over_completions"),
        cases,
        indirect=["over_completions"],
    )


def test_nogil(over_completions, cython_modules, in_child, module, function, mechanism):
    loaded = cython_modules.get(module)
    if loaded is None:
        pytest.skip("this module is for POSIX systems")
    arguments = () if mechanism is None else (mechanism,)
    call = getattr(loaded, function)
    if function in getattr(loaded, "FORKED", ()):
        in_child(call, *arguments)
    else:
        call(*arguments)
