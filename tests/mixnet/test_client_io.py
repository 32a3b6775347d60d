"""The mixnet client around its core: what it does with the directory, against a gateway on a real websocket."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest

from nym_mixnet import client_io
from nym_mixnet.client_io import MixnetClient
from nym_mixnet.errors import StoreError
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
        self.with_key = True
        """Without, no packet can be made for it."""

    async def fetch(self) -> Topology:
        nodes = dict(self._topology.nodes)
        if self.listed:
            node = self._gateway.node()
            nodes[4] = dataclasses.replace(
                node,
                node_id=4,
                entry=node.entry if self.with_addresses else None,
                sphinx_key=nodes[4].sphinx_key if self.with_key else node.sphinx_key,
            )
        return dataclasses.replace(self._topology, nodes=nodes)

    async def key_rotation_info(self) -> KeyRotationInfo | None:
        return None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the conditions are about the other side
            await asyncio.sleep(0.005)


def client_at(gateway: MiniGateway, directory: Directory, store: MemoryStore | None = None) -> MixnetClient:
    return MixnetClient(
        source=directory,
        store=store or MemoryStore(),
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


class FullDisk(MemoryStore):
    """Nothing can be written while it is full."""

    full = False

    async def add_reply_keys(self, rows: Any) -> None:
        self._check()
        await super().add_reply_keys(rows)

    async def remove_reply_keys(self, digests: Any) -> None:
        self._check()
        await super().remove_reply_keys(digests)

    def _check(self) -> None:
        if self.full:
            raise StoreError("the disk is full")


async def test_a_disk_that_was_full_for_a_while_ends_no_supply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_io, "STORE_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(client_io, "FLUSH_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(client_io, "DRAIN_SECONDS", 0.1)
    store = FullDisk()
    async with MiniGateway() as gateway, client_at(gateway, Directory(gateway), store) as client:
        store.full = True
        client.core.used_digests.append(bytes(16))
        want_surbs(client)
        await until(lambda: client.stats.surbs_made > 0)
        await asyncio.sleep(0.1)
        assert not await store.load_reply_keys()
        assert client.core.used_digests
        store.full = False
        await until(lambda: not client.core.used_digests)
        await supplied(store)
        client.core.used_digests.append(bytes(16))
        store.full = True  # and it can be left


async def test_a_node_without_a_usable_key_ends_no_supply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_io, "DRAIN_SECONDS", 0.1)
    store = MemoryStore()
    async with MiniGateway() as gateway:
        directory = Directory(gateway)
        directory.with_key = False
        async with client_at(gateway, directory, store) as client:
            want_surbs(client)
            await asyncio.sleep(0.1)
            assert not await store.load_reply_keys()
            directory.with_key = True
            assert await client.refresh_topology()
            await supplied(store)


def want_surbs(client: MixnetClient) -> None:
    bank = client.bank(client.address)
    bank.set_target(3)
    bank.demand(True)


async def supplied(store: MemoryStore) -> None:
    async with asyncio.timeout(60):
        while len(await store.load_reply_keys()) < 3:  # noqa: ASYNC110 - it is supplied in its own time
            await asyncio.sleep(0.005)
