"""An exit in a host: its mixnet client, its requester, and what survives a restart."""

from __future__ import annotations

import random
from pathlib import Path

from nym_exit.exit_policy import ExitPolicy
from nym_localnet.counters import ExitCounters, Faults
from nym_localnet.host_io import HostSettings
from nym_localnet.plan import NodePlan, Ports
from nym_localnet.requester_io import Requester
from nym_localnet.sphinx_keys import exit_keys
from nym_mixnet.client_io import MixnetClient
from nym_mixnet.keys import ClientKeys
from nym_mixnet.profiles import UNCOVERED
from nym_mixnet.store_io import ClientStore, MemoryStore
from nym_mixnet.topology_io import NymApiSource
from nym_sphinx import SYSTEM_RNG, Recipient


class _KnownKeys(MemoryStore):
    """A store in memory whose keys were decided before."""

    def __init__(self, keys: ClientKeys) -> None:
        super().__init__()
        self._decided = keys

    async def load_or_create_keys(self, rng: random.Random = SYSTEM_RNG) -> ClientKeys:
        return self._decided


class _KnownKeysOnDisk(ClientStore):
    """A store in the network's folder whose keys were decided before."""

    def __init__(self, folder: Path, keys: ClientKeys) -> None:
        super().__init__(folder)
        self._decided = keys

    async def load_or_create_keys(self, rng: random.Random = SYSTEM_RNG) -> ClientKeys:
        return self._decided


class HostedExit:
    """An exit as an ordinary client of the network, without cover traffic."""

    def __init__(
        self, plan: NodePlan, settings: HostSettings, nym_api_url: str, gateway_identity: bytes
    ) -> None:
        self.plan = plan
        self.faults = Faults()
        self._settings = settings
        self._nym_api_url = nym_api_url
        self._gateway_identity = gateway_identity
        self._keys = exit_keys(plan.seed)
        self._memory = _KnownKeys(self._keys)
        self._counters = ExitCounters()
        policy = settings.exit_policies.get(plan.name, settings.exit_policy)
        self._policy = ExitPolicy.parse(policy) if policy else ExitPolicy.open()
        self._client: MixnetClient | None = None
        self._requester: Requester | None = None

    @property
    def address(self) -> str:
        """The exit's Nym address."""
        keys = self._keys
        return str(Recipient(keys.identity_public, keys.encryption_public, self._gateway_identity))

    async def start(self) -> Ports:
        store: MemoryStore | ClientStore = self._memory
        if self._settings.durable:
            store = _KnownKeysOnDisk(Path(self._settings.data_dir) / self.plan.name, self._keys)
        self._client = MixnetClient(
            source=NymApiSource([self._nym_api_url]),
            store=store,
            entry=self._gateway_identity,
            profile=UNCOVERED,
        )
        self._requester = Requester(
            self._client,
            policy=self._policy,
            allow_local_ips=self._settings.exit_allow_local_ips,
            faults=self.faults,
            counters=self._counters,
        )
        await self._client.start()
        return Ports()

    async def close(self) -> None:
        if self._requester is not None:
            await self._requester.close()
        if self._client is not None:
            await self._client.close()
        self._client = self._requester = None

    def apply_faults(self) -> None:
        if self._requester is not None:
            self._requester.set_stall(self.faults.stall)

    def counters(self) -> dict[str, dict[str, int]]:
        return {"exit": self._counters.as_dict()}

    def rotate(self, rotation_id: int) -> None:
        """An exit has no Sphinx key."""

    async def refresh(self) -> None:
        """Ask the directory at once instead of within minutes, as any client does."""
        if self._client is not None:
            await self._client.refresh_topology()
