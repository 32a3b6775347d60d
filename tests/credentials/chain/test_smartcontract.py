"""The payment source on the test network's chain, through crashes and lost answers (docs/protocol/08 §7)."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import Any

import pytest

from nym_credentials.chain.records import Failed, Included
from nym_credentials.chain.rpc import AbciAnswer
from nym_credentials.chain.smartcontract_io import FEE_RESERVE, SmartContractSource, deposit_keys
from nym_credentials.chain.source import PaymentSource, Quote, Recovered, Recovery
from nym_credentials.errors import (
    ChainUnreachable,
    DepositIdsUnclear,
    NodeStale,
    PriceChanged,
    RpcRefused,
    SequenceMismatch,
    SignatureRefused,
    SubmissionUnclear,
)
from nym_credentials.money import Coin
from tests.credentials.chain.world import PRICE, RICH, WALLET, World, chain_world

FULL_PRICE = Coin("unym", PRICE)


def fresh_key() -> bytes:
    """Stands for an Ed25519 key."""
    return secrets.token_bytes(32)


async def next_blocks(world: World, count: int = 2) -> None:
    """Waits for some blocks."""
    for _ in range(count):
        await world.server.next_block()


async def test_the_whole_way() -> None:
    async with chain_world(reduced=PRICE // 2) as world:
        source: PaymentSource = world.source
        assert source.name == "smartcontract"
        quote = await source.quote(2)
        assert quote.price.best.amount == PRICE // 2
        assert quote.fee_is_simulated
        assert quote.total == Coin("unym", 2 * (PRICE // 2 + quote.fee.amount))
        assert quote.affordable == RICH // (PRICE // 2 + quote.fee.amount)
        keys = [fresh_key(), fresh_key()]
        prepared = await source.prepare(keys, quote.price.best)
        assert deposit_keys(prepared) == keys
        assert await source.outcome(prepared) is None
        await source.submit(prepared)
        outcome = await source.wait(prepared, 30)
        assert isinstance(outcome, Included)
        assert [world.nyx.ecash.deposit_key(number) for number in outcome.deposit_ids] == keys
        assert await source.recover(prepared, keys) == Recovered(
            Recovery.INCLUDED, outcome.height, outcome.deposit_ids
        )


async def test_quotes_without_money() -> None:
    async with chain_world(balance=None) as world:
        quote = await world.source.quote()
        assert (quote.balance.amount, quote.fee.amount, quote.fee_is_simulated) == (0, FEE_RESERVE, False)
        assert quote.affordable == 0
        assert quote.address == WALLET.address


async def test_quoting_deposits_nothing_and_reuses_no_key() -> None:
    async with chain_world() as world:
        first: Quote = await world.source.quote()
        assert first == await world.source.quote()
        await next_blocks(world)
        assert world.nyx.ecash.deposits == 0
        assert world.balance(WALLET.address) == RICH


async def test_a_crash_before_sending() -> None:
    async with chain_world() as world:
        keys = [fresh_key()]
        prepared = await world.source.prepare(keys, FULL_PRICE)
        assert (await world.source.recover(prepared, keys)).what is Recovery.RESUBMIT
        await world.source.submit(prepared)
        assert isinstance(await world.source.wait(prepared, 30), Included)
        assert world.nyx.ecash.deposits == 1


async def test_a_crash_while_it_waits_in_the_mempool() -> None:
    async with chain_world() as world:
        keys = [fresh_key()]
        prepared = await world.source.prepare(keys, FULL_PRICE)
        world.nyx.faults.hold_mempool = True
        await world.source.submit(prepared)
        assert await world.source.wait(prepared, 0.1) is None
        assert (await world.source.recover(prepared, keys)).what is Recovery.RESUBMIT
        await world.source.submit(prepared)
        world.nyx.faults.hold_mempool = False
        assert isinstance(await world.source.wait(prepared, 30), Included)
        assert world.nyx.ecash.deposits == 1


async def test_a_transaction_that_was_lost_is_sent_again() -> None:
    async with chain_world() as world:
        keys = [fresh_key()]
        prepared = await world.source.prepare(keys, FULL_PRICE)
        world.nyx.faults.lose_transactions = True
        await world.source.submit(prepared)
        await next_blocks(world)
        world.nyx.faults.lose_transactions = False
        assert await world.source.outcome(prepared) is None
        assert (await world.source.recover(prepared, keys)).what is Recovery.RESUBMIT
        await world.source.submit(prepared)
        assert isinstance(await world.source.wait(prepared, 30), Included)


async def test_an_unreadable_answer_loses_nothing() -> None:
    async with chain_world() as world:
        keys = [fresh_key()]
        prepared = await world.source.prepare(keys, FULL_PRICE)
        world.nyx.faults.unreadable_broadcast = True
        with pytest.raises(SubmissionUnclear) as caught:
            await world.source.submit(prepared)
        assert caught.value.retryable
        assert isinstance(await world.source.wait(prepared, 30), Included)


async def test_sending_again_what_is_included_is_harmless() -> None:
    async with chain_world() as world:
        prepared = await world.source.prepare([fresh_key()], FULL_PRICE)
        for _ in range(2):
            await world.source.submit(prepared)
            assert isinstance(await world.source.wait(prepared, 30), Included)
            await next_blocks(world)
        assert world.nyx.ecash.deposits == 1


async def test_another_transaction_took_its_place() -> None:
    async with chain_world() as world:
        lost_keys, keys = [fresh_key()], [fresh_key()]
        lost = await world.source.prepare(lost_keys, FULL_PRICE)
        other = await world.source.prepare(keys, FULL_PRICE)
        await world.source.submit(other)
        assert isinstance(await world.source.wait(other, 30), Included)
        with pytest.raises(SequenceMismatch):
            await world.source.submit(lost)
        assert await world.source.recover(lost, lost_keys) == Recovered(Recovery.IMPOSSIBLE)
        assert world.nyx.ecash.deposits == 1


async def test_a_node_that_forgot_its_transactions_is_no_loss() -> None:
    """The hash is unknown and the sequence used up: the contract's own list has the deposit."""
    async with chain_world() as world:
        keys = [fresh_key()]
        prepared = await world.source.prepare(keys, FULL_PRICE)
        await world.source.submit(prepared)
        included = await world.source.wait(prepared, 30)
        assert isinstance(included, Included)
        unknown = replace(prepared, tx_hash="AB" * 32)
        assert await world.source.recover(unknown, keys) == Recovered(
            Recovery.INCLUDED, None, included.deposit_ids
        )


async def test_a_failure_in_the_block() -> None:
    async with chain_world() as world:
        keys = [fresh_key()]
        prepared = await world.source.prepare(keys, FULL_PRICE)
        world.nyx.faults.fail_in_block = "Unauthorized: execute wasm contract failed"
        await world.source.submit(prepared)
        failed = await world.source.wait(prepared, 30)
        assert isinstance(failed, Failed)
        recovered = await world.source.recover(prepared, keys)
        assert (recovered.what, recovered.failure) == (Recovery.FAILED, failed)


async def test_a_price_that_changed_on_the_way() -> None:
    async with chain_world() as world:
        quote = await world.source.quote()
        world.nyx.ecash.price = Coin("unym", PRICE * 2)
        with pytest.raises(PriceChanged):
            await world.source.prepare([fresh_key()], quote.price.best)
        again = await world.source.quote()
        prepared = await world.source.prepare([fresh_key()], again.price.best)
        await world.source.submit(prepared)
        assert isinstance(await world.source.wait(prepared, 30), Included)


async def test_waiting_sits_out_a_node_that_is_down() -> None:
    async with chain_world() as world:
        prepared = await world.source.prepare([fresh_key()], FULL_PRICE)
        await world.source.submit(prepared)
        world.nyx.faults.down = True
        with pytest.raises(ChainUnreachable):
            await world.source.wait(prepared, 0.05)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(world.source.wait(prepared, 30))
            await next_blocks(world)
            world.nyx.faults.down = False
        assert isinstance(waiting.result(), Included)


async def test_a_node_that_is_behind_decides_nothing() -> None:
    async with chain_world() as world:
        keys = [fresh_key()]
        prepared = await world.source.prepare(keys, FULL_PRICE)
        world.nyx.faults.age_seconds = 1000.0
        with pytest.raises(NodeStale):
            await world.source.recover(prepared, keys)
        world.nyx.faults.age_seconds = 0.0
        world.nyx.faults.catching_up = True
        with pytest.raises(NodeStale):
            await world.source.recover(prepared, keys)


async def test_a_refused_signature_is_definite() -> None:
    async with chain_world() as world:
        world.nyx.faults.reported_chain_id = "other"
        keys = [fresh_key()]
        prepared = await world.source.prepare(keys, FULL_PRICE)
        assert prepared.chain_id == "other"
        with pytest.raises(SignatureRefused):
            await world.source.submit(prepared)
        await next_blocks(world)
        assert world.nyx.ecash.deposits == 0
        assert world.balance(WALLET.address) == RICH


def answered(world: World, method: str, answer: Any) -> None:
    """Lets the transport answer one call otherwise; ``answer`` gets the right answer."""
    right = getattr(world.transport, method)

    async def call(*arguments: Any, **options: Any) -> Any:
        return answer(await right(*arguments, **options))

    setattr(world.transport, method, call)


async def test_ids_that_the_transaction_does_not_tell_are_looked_up() -> None:
    async with chain_world() as world:
        keys = [fresh_key(), fresh_key()]
        prepared = await world.source.prepare(keys, FULL_PRICE)
        await world.source.submit(prepared)
        right = await world.source.wait(prepared, 30)
        assert isinstance(right, Included)
        answered(world, "tx", lambda found: replace(found, data=b"", events=()))
        assert await world.source.outcome(prepared) == replace(right, gas_used=0)
        assert (await world.source.recover(prepared, keys)).deposit_ids == right.deposit_ids
        other = replace(prepared, tx_bytes=(await world.source.prepare([fresh_key()], FULL_PRICE)).tx_bytes)
        with pytest.raises(DepositIdsUnclear):
            await world.source.outcome(other)


async def test_a_node_without_an_index_of_transactions() -> None:
    async with chain_world() as world:
        keys, lost_keys = [fresh_key()], [fresh_key()]
        prepared = await world.source.prepare(keys, FULL_PRICE)
        lost = await world.source.prepare(lost_keys, FULL_PRICE)
        await world.source.submit(prepared)
        assert isinstance(await world.source.wait(prepared, 30), Included)

        async def refuse(_: str) -> Any:
            raise RpcRefused("http://x", "tx", -32603, "Internal error", "transaction indexing is disabled")

        world.transport.tx = refuse  # type: ignore[method-assign]
        assert await world.source.recover(prepared, keys) == Recovered(Recovery.INCLUDED, None, (0,))
        assert await world.source.recover(lost, lost_keys) == Recovered(Recovery.IMPOSSIBLE)
        assert await world.source.wait(prepared, 30) == Included(0, (0,), 0)
        assert await world.source.wait(lost, 0.1) is None
        with pytest.raises(RpcRefused):  # not a refusal of the transaction: what became of it is open
            await world.source.submit(lost)


async def test_an_answer_of_a_lower_height_decides_nothing() -> None:
    async with chain_world() as world:
        lost_keys = [fresh_key()]
        lost = await world.source.prepare(lost_keys, FULL_PRICE)
        other = await world.source.prepare([fresh_key()], FULL_PRICE)
        await world.source.submit(other)
        assert isinstance(await world.source.wait(other, 30), Included)
        heights = iter(range(1000, 0, -1))
        answered(world, "status", lambda status: replace(status, height=next(heights)))
        with pytest.raises(NodeStale, match="height"):
            await world.source.recover(lost, lost_keys)


async def test_an_account_that_vanishes_between_two_answers() -> None:
    async with chain_world() as world:
        answered(
            world,
            "abci_query",
            lambda found: AbciAnswer(code=22, log="not found") if b"BaseAccount" in found.value else found,
        )
        quote = await world.source.quote()
        assert (quote.fee.amount, quote.fee_is_simulated) == (FEE_RESERVE, False)


async def test_it_is_found_at_the_second_look() -> None:
    async with chain_world() as world:
        keys = [fresh_key()]
        prepared = await world.source.prepare(keys, FULL_PRICE)
        world.nyx.faults.fail_in_block = "Unauthorized: execute wasm contract failed"
        await world.source.submit(prepared)
        failed = await world.source.wait(prepared, 30)
        assert isinstance(failed, Failed)
        looks = iter([None])
        answered(world, "tx", lambda found: next(looks, found))
        assert (await world.source.recover(prepared, keys)).failure == failed


def test_the_source_is_a_payment_source() -> None:
    source: type[PaymentSource] = SmartContractSource
    assert source
