"""An idle client with cover traffic reads when it is awake anyway; nothing may get lost or late by that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from nym_localnet import Localnet, LocalnetOptions
from nym_mixnet import PROFILES, MemoryStore, MixnetClient, NymApiSource, ReceivedMessage, client_io
from nym_mixnet.gateway_io import GatewayLink
from tests.localnet.harness import until


@pytest.fixture
async def network() -> AsyncIterator[Localnet]:
    async with Localnet(LocalnetOptions(exits=0)) as net:
        yield net


@pytest.fixture
def holds(monkeypatch: pytest.MonkeyPatch) -> list[GatewayLink]:
    """The links that held their reading back, once for each time."""
    held: list[GatewayLink] = []
    hold = GatewayLink.hold_reading

    def counted(link: GatewayLink) -> None:
        held.append(link)
        hold(link)

    monkeypatch.setattr(GatewayLink, "hold_reading", counted)
    return held


def client(network: Localnet, profile: str = "standard") -> MixnetClient:
    return MixnetClient(
        source=NymApiSource([network.nym_api_url]), store=MemoryStore(), profile=PROFILES[profile]
    )


async def test_cover_and_its_acks_come_back_while_nothing_else_happens(
    network: Localnet, holds: list[GatewayLink]
) -> None:
    async with client(network) as idle:
        await until(
            lambda: idle.stats.cover_received > 60 and idle.stats.cover_acks_received > 60,
            "cover and its acks",
        )
        assert len(holds) > 30
        assert idle.stats.undecodable == 0
        assert idle.stats.sent_cover - idle.stats.cover_received < 60


async def test_a_message_that_nobody_expects_arrives(network: Localnet, holds: list[GatewayLink]) -> None:
    async with client(network) as idle, client(network, "uncovered") as sender:
        messages: list[ReceivedMessage] = []
        idle.on_message = messages.append
        await until(lambda: holds, "the reading is held back")
        for number in range(20):
            await sender.send_plain(idle.address, b"%d" % number)
        await until(lambda: len(messages) == 20, "all messages")
        assert {message.data for message in messages} == {b"%d" % number for number in range(20)}


async def test_a_client_that_goes_to_sleep_goes_on_reading(
    network: Localnet, holds: list[GatewayLink]
) -> None:
    async with client(network) as idle, client(network, "uncovered") as sender:
        messages: list[ReceivedMessage] = []
        idle.on_message = messages.append
        await until(lambda: holds, "the reading is held back")
        await idle.pause()
        await sender.send_plain(idle.address, b"wake up")
        await until(lambda: messages, "the message")


async def test_who_goes_to_sleep_while_it_reads_holds_nothing_back(
    network: Localnet, holds: list[GatewayLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_io, "ROUNDS_TO_READ", 5_000)  # it reads for most of the time
    async with client(network) as idle:
        await until(lambda: holds, "the reading is held back")
        await asyncio.sleep(0.01)
        await idle.pause()
        before = len(holds)
        await asyncio.sleep(1.0)
        assert len(holds) == before


async def test_a_stream_that_waits_is_not_held_back(network: Localnet, holds: list[GatewayLink]) -> None:
    async with client(network) as idle:
        await until(lambda: holds, "the reading is held back")
        bank = idle.bank(idle.address)
        bank.demand(True)
        received = idle.stats.frames_received
        await until(lambda: idle.stats.frames_received > received + 5, "frames")
        holds.clear()
        await until(lambda: idle.stats.frames_received > received + 50, "frames")
        assert holds == []
        bank.demand(False)
        await until(lambda: holds, "the reading is held back")


async def test_an_unshaped_client_is_never_held_back(network: Localnet, holds: list[GatewayLink]) -> None:
    async with client(network, "uncovered") as one:
        messages: list[ReceivedMessage] = []
        one.on_message = messages.append
        for _ in range(5):
            await one.send_plain(one.address, b"to myself")
        await until(lambda: len(messages) == 5, "all messages")
        assert holds == []


async def test_a_gateway_that_goes_away_meanwhile_is_found_again(
    network: Localnet, holds: list[GatewayLink]
) -> None:
    async with client(network) as idle:
        await until(lambda: holds, "the reading is held back")
        home = idle.topology.gateway(idle.address.gateway)
        await network.nodes[f"gateway{network.gateways.index(home) + 1}"].restart()
        received = idle.stats.cover_received
        await until(lambda: idle.link_stats.sessions == 2, "a new session")
        await until(lambda: idle.stats.cover_received > received + 20, "cover again")
