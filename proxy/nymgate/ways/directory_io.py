"""Directories with more than routing has a use for: the topology's source for people, and one that hides who asks."""

import asyncio
from collections.abc import Callable
from typing import Final

import aiohttp

from nym_mixnet.errors import MixnetError
from nym_mixnet.nym_api import PATH_ENTRY_GATEWAYS, KeyRotationInfo
from nym_mixnet.topology import Topology
from nym_mixnet.topology_io import FileSource, NymApiSource
from nymgate.exits.choice import ExitCandidate, listed_exits

DIRECT_AFTER_FAILURES: Final = 3
BUSY_POLL_SECONDS: Final = 1.0
MAX_AGE_SECONDS: Final = 6 * 3600.0
"""Older than that, the list of nodes may have no route left that works."""


class ApiDirectory(NymApiSource):
    """A nym-api."""

    async def performances(self) -> dict[bytes, int]:
        """Measured performance of entry gateways by identity, in percent (docs/protocol/04 §10.2)."""
        page = await self._with_fail_over(lambda api: api.nodes(PATH_ENTRY_GATEWAYS))
        return {node.identity: node.performance_percent for node in page.nodes}


class FileDirectory(FileSource):
    """A network.json."""

    async def performances(self) -> dict[bytes, int]:
        """Nobody measured these."""
        return {}


class RunningDirectory:
    """The topology source of a running client. Its first answer is known already: the gateway was chosen from it.

    Once it has a route, a nym-api is asked through the mixnet only; while nobody uses the client it is not asked,
    since that would keep the client awake. Without any way through the mixnet it is asked directly, as at the start:
    when that failed several times in a row, and after so long a sleep that what is known of the network is void.
    """

    def __init__(self, source: NymApiSource | FileSource, topology: Topology) -> None:
        self._source = source
        self._first: Topology | None = topology
        self._route: Callable[[], aiohttp.BaseConnector] | None = None
        self._wanted: Callable[[], bool] = lambda: True
        self._failures = 0
        self.fetched = asyncio.get_running_loop().time()
        """When the newest answer came, on the loop's clock."""

    def go_through(self, route: Callable[[], aiohttp.BaseConnector], wanted: Callable[[], bool]) -> None:
        """From now on by this way. ``wanted``: whether the client is in use."""
        self._route, self._wanted = route, wanted

    async def fetch(self) -> Topology:
        """See ``TopologySource``."""
        if self._first is not None:
            topology, self._first = self._first, None
            return topology
        loop = asyncio.get_running_loop()
        while self._route is not None and not self._wanted():  # noqa: ASYNC110 - sleepers have no event for others
            await asyncio.sleep(BUSY_POLL_SECONDS)
        self._choose_way(loop.time())
        try:
            topology = await self._source.fetch()
        except MixnetError:
            self._failures += 1
            raise
        self._failures, self.fetched = 0, loop.time()
        return topology

    async def exits(self) -> list[ExitCandidate]:
        """All exits that are listed now, by the same way. Raises MixnetError."""
        self._choose_way(asyncio.get_running_loop().time())
        try:
            nodes = await self._source.described_nodes()
        except MixnetError:
            self._failures += 1
            raise
        return listed_exits(nodes, self._source.gateway_scores)

    async def key_rotation_info(self) -> KeyRotationInfo | None:
        """See ``TopologySource``."""
        return await self._source.key_rotation_info()

    def _choose_way(self, now: float) -> None:
        if not isinstance(self._source, NymApiSource):
            return
        lost = self._failures >= DIRECT_AFTER_FAILURES or now - self.fetched > MAX_AGE_SECONDS
        self._source.connector_factory = None if lost else self._route
