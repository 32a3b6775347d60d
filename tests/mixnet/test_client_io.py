"""The mixnet client around its core: what it does with the directory, against a gateway on a real websocket."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable

from nym_mixnet.client_io import MixnetClient
from nym_mixnet.nym_api import KeyRotationInfo
from nym_mixnet.profiles import UNCOVERED
from nym_mixnet.store_io import MemoryStore
from nym_mixnet.topology import Topology
from tests.mixnet.mini_gateway import MiniGateway
from tests.mixnet.simnet import SimNet


class Directory:
    """A network whose entry is one `MiniGateway`, wherever it listens at the moment."""

    def __init__(self, gateway: MiniGateway) -> None:
        self._topology = SimNet().topology
        self._gateway = gateway
        self.listed = True
        self.with_addresses = True

    async def fetch(self) -> Topology:
        nodes = dict(self._topology.nodes)
        if self.listed:
            node = self._gateway.node()
            nodes[4] = dataclasses.replace(node, node_id=4, entry=node.entry if self.with_addresses else None)
        return dataclasses.replace(self._topology, nodes=nodes)

    async def key_rotation_info(self) -> KeyRotationInfo | None:
        return None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the conditions are about the other side
            await asyncio.sleep(0.005)


def client_at(gateway: MiniGateway, directory: Directory) -> MixnetClient:
    return MixnetClient(
        source=directory,
        store=MemoryStore(),
        profile=UNCOVERED,
        entry=gateway.identity.public,
        rng=random.Random(5),
    )


async def test_a_gateway_that_moves_is_found_at_its_new_address() -> None:
    async with MiniGateway() as gateway:
        directory = Directory(gateway)
        async with client_at(gateway, directory) as client:
            before = gateway.connections
            await gateway.stop()
            gateway.port = 0
            await gateway.start()
            assert await client.refresh_topology()
            await until(lambda: gateway.connections > before)
            await until(lambda: client.link_state.name == "READY")


async def test_a_gateway_that_is_not_listed_any_more_is_kept() -> None:
    async with MiniGateway() as gateway:
        directory = Directory(gateway)
        async with client_at(gateway, directory) as client:
            for directory.listed, directory.with_addresses in ((False, True), (True, False)):
                assert await client.refresh_topology()
                gateway.cut()
                sessions = gateway.connections
                await until(lambda: gateway.connections > sessions)  # noqa: B023 - awaited in the same turn
                await until(lambda: client.link_state.name == "READY")
