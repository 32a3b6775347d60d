"""Paying over gRPC and REST, for operators who have such endpoints."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest

from nym_credentials.chain.client_io import ChainClient
from nym_credentials.chain.grpc_transport_io import GrpcTransport
from nym_credentials.chain.records import Included, Price
from nym_credentials.chain.rest_transport_io import RestTransport
from nym_credentials.chain.sdk_service import BROADCAST_PATH, GET_TX_PATH, GET_TXS_PATH, LATEST_BLOCK_PATH
from nym_credentials.chain.smartcontract_io import SmartContractSource
from nym_credentials.chain.transport import Transport
from nym_credentials.errors import (
    AccountUnfunded,
    ChainUnreachable,
    MalformedChainData,
    NodeStale,
    PriceChanged,
    QueryRefused,
    SequenceMismatch,
    SubmissionUnclear,
    WrongChain,
)
from nym_credentials.money import Coin
from nym_credentials.networks import Contracts
from tests.credentials.chain.bridges import Trouble, grpc_bridge, rest_bridge
from tests.credentials.chain.world import PRICE, STRANGER, WALLET, World, chain_world

FULL_PRICE = Coin("unym", PRICE)
KINDS: dict[str, tuple[Any, Any]] = {
    "grpc": (grpc_bridge, GrpcTransport),
    "rest": (rest_bridge, RestTransport),
}
LATEST_URL = "/cosmos/base/tendermint/v1beta1/blocks/latest"
TXS_URL = "/cosmos/tx/v1beta1/txs"


@asynccontextmanager
async def bridged(
    kind: str, world: World, **options: Any
) -> AsyncIterator[tuple[Transport, ChainClient, Trouble]]:
    """The same chain by another way."""
    trouble = Trouble()
    bridge, transport_of = KINDS[kind]
    async with bridge(world.server.url, trouble) as url, transport_of(url, **options) as transport:
        yield transport, ChainClient(world.network, transport), trouble


@pytest.mark.parametrize("kind", KINDS)
async def test_the_whole_way(kind: str) -> None:
    async with chain_world(reduced=PRICE // 2) as world, bridged(kind, world) as (_, client, _trouble):
        source = SmartContractSource(client, WALLET, poll_seconds=0.02)
        assert await client.price_for(WALLET.address) == Price(FULL_PRICE, Coin("unym", PRICE // 2))
        assert (await source.quote()).fee_is_simulated
        keys = [secrets.token_bytes(32) for _ in range(2)]
        prepared = await source.prepare(keys, FULL_PRICE)
        assert await source.outcome(prepared) is None
        await source.submit(prepared)
        outcome = await source.wait(prepared, 30)
        assert isinstance(outcome, Included)
        assert outcome.deposit_ids == (0, 1)
        assert outcome.gas_used > 0
        assert [each.deposit_id for each in await client.find_deposits(keys)] == [0, 1]
        assert [tx.tx_hash for tx in await client.transactions_of(WALLET.address)] == [prepared.tx_hash]
        account = await client.account(WALLET.address)
        assert account is not None
        assert (account.sequence, account.public_key) == (1, WALLET.public_key)
        later = await source.prepare(keys, FULL_PRICE)
        await source.submit(later)
        assert isinstance(await source.wait(later, 30), Included)
        with pytest.raises(SequenceMismatch):
            await client.broadcast((await _stale(world, later.sequence)).tx_bytes)


async def _stale(world: World, sequence: int) -> Any:
    """A deposit signed for a sequence that is used up."""
    prepared = await world.client.prepare_deposit(WALLET, [bytes(32)], FULL_PRICE)
    assert prepared.sequence > sequence
    spare = await world.client.prepare_deposit(WALLET, [secrets.token_bytes(32)], FULL_PRICE)
    await world.client.broadcast(spare.tx_bytes)
    await world.server.included(spare.tx_hash)
    return prepared


@pytest.mark.parametrize("kind", KINDS)
async def test_refusals(kind: str) -> None:
    async with chain_world() as world, bridged(kind, world) as (transport, client, _):
        assert await client.account(STRANGER.address) is None
        assert await client.balance(STRANGER.address) == Coin("unym", 0)
        with pytest.raises(AccountUnfunded):
            await client.prepare_deposit(STRANGER, [bytes(32)], FULL_PRICE)
        with pytest.raises(PriceChanged):
            await client.prepare_deposit(WALLET, [bytes(32)], Coin("unym", PRICE - 1))
        assert await transport.tx("AB" * 32) is None
        elsewhere = replace(world.network, contracts=Contracts(WALLET.address, WALLET.address))
        with pytest.raises(QueryRefused):  # an account is no contract
            await ChainClient(elsewhere, transport).price_for(WALLET.address)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_node_has_to_be_right_and_up_to_date(kind: str) -> None:
    async with chain_world() as world, bridged(kind, world) as (transport, client, trouble):
        assert (await client.status()).chain_id == "nyx"
        trouble.block_age = 1000
        with pytest.raises(NodeStale):
            await client.status()
        trouble.block_age, trouble.syncing = 0, True
        with pytest.raises(NodeStale):
            await transport.status(fresh=True)
        trouble.syncing, trouble.chain_id = False, "other"
        with pytest.raises(WrongChain):
            await client.balance(WALLET.address)
    async with chain_world() as world, bridged(kind, world, chain_id="expected") as (_, client, _):
        with pytest.raises(WrongChain, match="expected"):
            await client.price_for(WALLET.address)


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_there(kind: str) -> None:
    async with KINDS[kind][1]("http://127.0.0.1:1", timeout_seconds=5) as transport:
        with pytest.raises(ChainUnreachable, match=r"127\.0\.0\.1:1"):
            await transport.status()


@pytest.mark.parametrize(
    "kind, path, answer",
    [
        ("grpc", BROADCAST_PATH, grpc.StatusCode.UNAVAILABLE),
        ("grpc", BROADCAST_PATH, grpc.StatusCode.INTERNAL),
        ("grpc", BROADCAST_PATH, b"\xff"),
        ("grpc", BROADCAST_PATH, b""),
        ("rest", TXS_URL, 502),
        ("rest", TXS_URL, []),
        ("rest", TXS_URL, {"tx_response": 5}),
        ("rest", TXS_URL, {"tx_response": {"txhash": "AB" * 32}}),
    ],
)
async def test_unclear_answers_to_a_transaction(kind: str, path: str, answer: Any) -> None:
    async with chain_world() as world, bridged(kind, world) as (transport, _, trouble):
        trouble.answers[path] = answer
        with pytest.raises(SubmissionUnclear):
            await transport.broadcast(b"x")


@pytest.mark.parametrize(
    "kind, path, answer, error",
    [
        ("grpc", LATEST_BLOCK_PATH, grpc.StatusCode.INTERNAL, ChainUnreachable),
        ("grpc", LATEST_BLOCK_PATH, b"\xff", MalformedChainData),
        ("grpc", LATEST_BLOCK_PATH, b"", MalformedChainData),
        ("grpc", GET_TX_PATH, grpc.StatusCode.INTERNAL, ChainUnreachable),
        ("grpc", GET_TX_PATH, b"", MalformedChainData),
        ("grpc", GET_TXS_PATH, grpc.StatusCode.INTERNAL, ChainUnreachable),
        ("rest", LATEST_URL, 500, ChainUnreachable),
        ("rest", LATEST_URL, [], MalformedChainData),
        ("rest", LATEST_URL, {"block": {"header": {"height": "x"}}}, MalformedChainData),
        ("rest", LATEST_URL, {}, MalformedChainData),
        ("rest", TXS_URL + "/{hash}", 500, ChainUnreachable),
        ("rest", TXS_URL + "/{hash}", {"tx_response": {"txhash": "CD" * 32}}, MalformedChainData),
        ("rest", TXS_URL, {"tx_responses": 5}, MalformedChainData),
        ("rest", TXS_URL, {"tx_responses": [], "total": 5}, MalformedChainData),
    ],
)
async def test_answers_that_make_no_sense(kind: str, path: str, answer: Any, error: type[Exception]) -> None:
    async with chain_world() as world, bridged(kind, world) as (transport, _, trouble):
        trouble.answers[path] = answer
        with pytest.raises(error):
            await _ask_everything(transport)


async def _ask_everything(transport: Transport) -> None:
    await transport.tx("AB" * 32)
    await transport.tx_search("message.sender='n1'")
