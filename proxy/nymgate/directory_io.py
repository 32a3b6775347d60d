"""The directory for people who want to look at it: the topology's source, plus what routing has no use for."""

from nym_mixnet.nym_api import PATH_ENTRY_GATEWAYS
from nym_mixnet.topology_io import FileSource, NymApiSource


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
