"""Payments that do not go as they should (docs/protocol/08 §4.5, §7)."""

from __future__ import annotations

import json

import pytest

from nym_credentials.errors import (
    PaymentFailed,
    PaymentUnconfirmed,
    PurchaseConflict,
    QuorumMissing,
    TransactionRefused,
)
from nym_credentials.purchase.buyer_io import Payer
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.purchase.steps import Point
from nym_credentials.purchase.turn_io import FileTurn
from tests.credentials.purchase.mini_chain import ACCOUNT, CONTRACT
from tests.credentials.purchase.world import make_buyer
from zknym import TicketType

ENTRY, EXIT = TicketType.MIXNET_ENTRY, TicketType.MIXNET_EXIT


async def test_refused_by_the_node(world):
    world.chain.faults.add("refuses")
    with pytest.raises(TransactionRefused):
        await world.buyer().buy(ENTRY)
    (purchase,) = await world.store.purchases()
    assert purchase.state is PurchaseState.FAILED
    world.check_books(0)
    assert world.chain.balance == 1_000_000_000
    world.chain.faults.clear()
    await world.buyer().buy(ENTRY)
    world.check_books(1)


async def test_failed_inside_the_block(world):
    world.chain.faults.add("fails-in-block")
    with pytest.raises(PaymentFailed, match="out of luck"):
        await world.buyer().buy(ENTRY)
    (purchase,) = await world.store.purchases()
    assert purchase.state is PurchaseState.FAILED
    assert world.chain.balance == 1_000_000_000 - 4_000
    world.check_books(0)


async def test_answer_to_the_broadcast_is_lost(world):
    world.chain.faults.add("answer-lost")
    await world.buyer().buy(ENTRY)
    world.check_books(1)


async def test_included_after_the_time_out(world):
    world.chain.hold = True
    buyer = world.buyer()
    with pytest.raises(PaymentUnconfirmed):
        await buyer.buy(ENTRY)
    # No second payment while the first one is open, whatever the type.
    for ticket_type in (ENTRY, EXIT):
        with pytest.raises(PaymentUnconfirmed):
            await buyer.buy(ticket_type)
    assert len(set(world.chain.submissions)) == 1, "the same bytes, never others"
    world.chain.include_all()
    await buyer.buy(ENTRY)
    world.check_books(1)


async def test_a_node_that_swallows_the_transaction(world):
    world.chain.faults.add("swallows")
    buyer = world.buyer()
    with pytest.raises(PaymentUnconfirmed):
        await buyer.buy(ENTRY)
    world.chain.faults.clear()
    (resumed,) = await buyer.resume()
    assert resumed.error is None
    assert len(world.chain.submissions) == 2
    assert len(set(world.chain.submissions)) == 1
    world.check_books(1)


async def test_another_transaction_takes_its_place(world):
    world.chain.faults.add("swallows")
    buyer = world.buyer()
    with pytest.raises(PaymentUnconfirmed):
        await buyer.buy(ENTRY)
    world.chain.faults.clear()
    world.chain.sequence += 1
    # At once this could be a node that lags behind: the purchase is kept.
    (resumed,) = await buyer.resume()
    assert isinstance(resumed.error, PaymentUnconfirmed)
    assert resumed.purchase.state is PurchaseState.BROADCAST
    world.network.now += 1_000
    (resumed,) = await buyer.resume()
    assert isinstance(resumed.error, PaymentFailed)
    assert resumed.purchase.state is PurchaseState.FAILED
    await buyer.buy(ENTRY)
    world.check_books(1)


async def test_the_deposit_is_found_by_its_key_when_the_node_forgot_the_hash(world):
    world.chain.hold = True
    buyer = world.buyer()
    with pytest.raises(PaymentUnconfirmed):
        await buyer.buy(ENTRY)
    world.chain.include_all()
    world.chain.blocks.clear()
    (resumed,) = await buyer.resume()
    assert resumed.error is None
    world.check_books(1)


async def test_refused_when_sent_again(world):
    """Money that went elsewhere meanwhile, say. A new payment may pass it, with the same sequence only."""
    world.chain.faults.add("swallows")
    buyer = world.buyer()
    with pytest.raises(PaymentUnconfirmed):
        await buyer.buy(ENTRY)
    world.chain.faults = {"refuses"}
    (resumed,) = await buyer.resume()
    assert isinstance(resumed.error, PaymentUnconfirmed)
    assert resumed.error.refused
    assert "no" in resumed.purchase.problem
    refused = world.chain.submissions[-1]

    def at(point):
        if point is Point.SIGNED:
            world.chain.faults.clear()

    await world.buyer(at).buy(ENTRY)
    assert world.chain.submissions[-1] != refused
    world.check_books(1)
    purchases = {p.payment.tx_hash: p for p in await world.store.purchases()}
    assert purchases[refused].payment.sequence == purchases[world.chain.submissions[-1]].payment.sequence


async def test_an_inclusion_that_does_not_tell_the_deposit(world):
    """Its key is searched in the contract."""
    world.chain.faults.add("no-ids")
    await world.buyer().buy(ENTRY)
    world.check_books(1)


async def test_failed_inside_the_block_while_nobody_looked(world):
    world.chain.hold = True
    with pytest.raises(PaymentUnconfirmed):
        await world.buyer().buy(ENTRY)
    world.chain.faults.add("fails-in-block")
    world.chain.include_all()
    (resumed,) = await world.buyer().resume()
    assert isinstance(resumed.error, PaymentFailed)
    assert resumed.purchase.state is PurchaseState.FAILED
    world.check_books(0)


async def test_the_chain_is_out_of_reach_while_waiting(world):
    def at(point):
        if point is Point.SENT:
            world.chain.faults.add("deaf")

    with pytest.raises(PaymentUnconfirmed, match="no answer"):
        await world.buyer(at).buy(ENTRY)
    world.chain.faults.clear()
    (resumed,) = await world.buyer().resume()
    assert resumed.error is None
    world.check_books(1)


async def test_signed_and_never_sent_waits_for_a_quorum_as_well(world):
    class Crash(Exception):
        pass

    def at(point):
        if point is Point.SIGNED:
            raise Crash

    with pytest.raises(Crash):
        await world.buyer(at).buy(ENTRY)
    for index in (1, 2):
        world.spoil("down", only=index)
    (resumed,) = await world.buyer().resume()
    assert isinstance(resumed.error, QuorumMissing)
    assert resumed.purchase.state is PurchaseState.SIGNED
    with pytest.raises(QuorumMissing):
        await world.buyer().buy(ENTRY)
    world.check_books(0)
    world.heal()
    await world.buyer().buy(ENTRY)
    world.check_books(1)


async def test_a_new_payment_cannot_pass_a_refused_one_of_another_sequence(world):
    world.chain.faults.add("swallows")
    buyer = world.buyer()
    with pytest.raises(PaymentUnconfirmed):
        await buyer.buy(ENTRY)
    world.chain.faults = {"refuses"}

    def at(point):
        if point is Point.QUORUM:  # the account pays something else meanwhile
            world.chain.sequence += 1

    with pytest.raises(PaymentUnconfirmed, match="could not replace it"):
        await world.buyer(at).buy(ENTRY)
    assert sorted(p.state for p in await world.store.purchases()) == [
        PurchaseState.BROADCAST,
        PurchaseState.FAILED,
    ]
    world.check_books(0)


async def test_one_process_at_a_time(world, tmp_path):
    """A process of its own would be the same: the lock belongs to the open file."""
    path = tmp_path / "turn"
    async with FileTurn(path):
        buyer = make_buyer(
            world.store, world.chain_url, lambda: world.network.now, turn=lambda: FileTurn(path)
        )
        with pytest.raises(PurchaseConflict, match="Another process"):
            await buyer.buy(ENTRY)
    await buyer.buy(ENTRY)
    await buyer.resume()
    world.check_books(1)
    assert path.stat().st_mode & 0o077 == 0


async def test_a_payment_of_another_wallet_is_not_judged_by_this_one(world):
    """The sequence of the wrong account would make it look as if it could never be included."""
    world.chain.hold = True
    with pytest.raises(PaymentUnconfirmed):
        await world.buyer().buy(ENTRY)
    world.network.now += 10_000
    waiting, world.chain.mempool, world.chain.hold = world.chain.mempool, {}, False
    world.chain.sequence += 5  # MiniSource knows one account: these stand for payments of the other wallet
    other = world.buyer()
    other._payer = Payer("mini", CONTRACT, "n1another")
    (resumed,) = await other.resume()
    assert isinstance(resumed.error, PaymentUnconfirmed)
    assert resumed.purchase.state is PurchaseState.BROADCAST
    # It does not keep the other wallet from buying either.
    await other.buy(ENTRY)
    assert len(world.store.books()) == 1
    world.chain.sequence = 0
    world.chain.mempool = waiting
    world.chain.include_all()
    (resumed,) = await other.resume()
    assert resumed.error is None
    world.check_books(2)


async def test_a_purchase_of_another_contract_is_left_alone(world):
    world.chain.hold = True
    with pytest.raises(PaymentUnconfirmed):
        await world.buyer().buy(ENTRY)
    other = world.buyer()
    other._payer = Payer("mini", "n1other-contract", ACCOUNT)
    assert await other.resume() == []


async def test_another_process_pays_from_the_same_account(world):
    """Its transaction came first: begun anew, paid once."""
    taken = []

    def at(point):
        if point is Point.SIGNED and not taken:
            taken.append(True)
            world.chain.sequence += 1

    await world.buyer(at).buy(ENTRY)
    world.check_books(1)
    states = sorted(purchase.state for purchase in await world.store.purchases())
    assert states == [PurchaseState.FAILED, PurchaseState.ISSUED]


async def test_two_processes_take_up_the_same_purchase(world):
    """The store lets one of the two win; the other one stops without harm."""
    world.chain.hold = True
    with pytest.raises(PaymentUnconfirmed):
        await world.buyer().buy(ENTRY)
    world.chain.hold = False
    other = []

    def at(point):
        if point is Point.INCLUDED and not other:
            other.append(True)
            store = world.store
            value = store._load()
            (row,) = value["purchases"].values()
            row["version"] += 1
            store._write(value)

    (resumed,) = await world.buyer(at).resume()
    assert isinstance(resumed.error, PurchaseConflict)
    (resumed,) = await world.buyer().resume()
    assert resumed.error is None
    world.check_books(1)


async def test_nothing_but_the_deposit_key_is_on_the_chain(world):
    bought = await world.buyer().buy(ENTRY, 2)
    for purchase in bought:
        tx = json.loads(purchase.payment.tx_bytes)
        assert tx["keys"] == [purchase.identity_key.hex()]
        for secret in (purchase.identity_seed, purchase.user.encode(), purchase.user.public_key().encode()):
            assert secret not in purchase.payment.tx_bytes
            assert secret.hex().encode() not in purchase.payment.tx_bytes
