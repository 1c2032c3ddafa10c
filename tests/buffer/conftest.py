"""What the tests of buffers share."""

import pytest

from cyevent.buffer import pyevbuffer


@pytest.fixture(params=[0, 1, 7], ids=["usual chains", "chains of 1", "chains of 7"])
def chain_size(request):
    """Runs a test with the usual chains and with tiny ones, so that everything crosses chain borders."""
    pyevbuffer._set_min_chain(request.param)
    yield request.param
    pyevbuffer._set_min_chain(0)


@pytest.fixture(params=[False, True], ids=["no lock", "lock"])
def threadsafe(request):
    return request.param


@pytest.fixture
def make(chain_size, threadsafe):
    """Makes the buffers of a test: with and without a lock, with chains of every size."""
    import cyevent

    return lambda data=None: cyevent.EvBuffer(data, threadsafe=threadsafe)
