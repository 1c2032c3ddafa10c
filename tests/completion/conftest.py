"""What the tests of completions share."""

import pytest

from cyevent import EventBase


@pytest.fixture
def base():
    base = EventBase(completion=True)
    unexpected = []
    base.set_exception_handler(lambda exc, callback: unexpected.append((callback, exc)))
    yield base
    if not base.closed:
        base.close()
    assert unexpected == []
