"""The list of nodes of a running client: by the mixnet once there is one, and directly when there is none."""

import socket

import aiohttp
import pytest

from nym_mixnet.errors import NymApiError
from nym_mixnet.topology_io import NymApiOptions, NymApiSource
from nymgate.ways.directory_io import DIRECT_AFTER_FAILURES, MAX_AGE_SECONDS, RunningDirectory
from tests.nymgate.mixnet_world import identity, node, topology

NODES = topology(node(1, identity(1)))


@pytest.fixture
def nobody():
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


async def test_it_is_asked_through_the_mixnet_until_that_is_hopeless(nobody):
    source = NymApiSource([f"http://127.0.0.1:{nobody}/"], options=NymApiOptions(attempts=1))
    running = RunningDirectory(source, NODES)
    assert await running.fetch() is NODES, "known already"
    used = []

    def route():
        used.append(len(used))
        return aiohttp.TCPConnector()

    running.go_through(route, lambda: True)
    for _ in range(DIRECT_AFTER_FAILURES + 2):
        with pytest.raises(NymApiError):
            await running.fetch()
    assert len(used) == DIRECT_AFTER_FAILURES


async def test_what_is_known_from_before_a_long_sleep_is_void(nobody, monkeypatch):
    source = NymApiSource([f"http://127.0.0.1:{nobody}/"], options=NymApiOptions(attempts=1))
    running = RunningDirectory(source, NODES)
    await running.fetch()

    def route():
        raise AssertionError("no way into the mixnet")

    running.go_through(route, lambda: True)
    monkeypatch.setattr(running, "fetched", running.fetched - MAX_AGE_SECONDS - 1)
    with pytest.raises(NymApiError):
        await running.fetch()
