"""Everything at once, by chance: faults, crashes, new epochs, days that pass. In the end the accounts agree."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from nym_credentials.errors import CredentialsError
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.purchase.steps import PERSISTENCE_POINTS
from tests.credentials.purchase.mini_chain import FEE
from zknym import TicketType

DAY = 86_400
ROUNDS = 8
SEEDS = 10
SIGNER_FAULTS = (
    "down",
    "down-after-quorum",
    "garbage",
    "another-request",
    "leaves",
    "lagging",
    "answer-lost",
    "disabled",
    "no-aggregates",
    "wrong-epoch",
    "bincode",
)
CHAIN_FAULTS = ("refuses", "fails-in-block", "swallows", "answer-lost", "deaf", "no-ids")


class Crash(BaseException):
    """The process ends. Not an `Exception`, so that nobody on the way can handle it."""


def crash_at(chance: random.Random):
    point = chance.choice(PERSISTENCE_POINTS) if chance.random() < 0.5 else None

    def at(reached):
        if reached is point:
            raise Crash

    return at


async def one_round(world, chance: random.Random) -> None:
    world.heal()
    for signer in world.signers:
        if chance.random() < 0.4:
            signer.faults.add(chance.choice(SIGNER_FAULTS))
    world.chain.faults = {chance.choice(CHAIN_FAULTS)} if chance.random() < 0.4 else set()
    world.chain.hold = chance.random() < 0.2
    if chance.random() < 0.2:
        world.network.epoch_id += 1
    if chance.random() < 0.3:
        world.network.now += chance.choice((600, DAY, 3 * DAY, 8 * DAY))
    if chance.random() < 0.15:
        world.chain.sequence += 1  # another wallet with the same phrase
        world.chain.balance -= FEE
        world.others += 1
    buyer = world.buyer(crash_at(chance))
    try:
        if chance.random() < 0.6:
            await buyer.buy(chance.choice((TicketType.MIXNET_ENTRY, TicketType.WIREGUARD_EXIT)))
        else:
            await buyer.resume()
    except (Crash, CredentialsError):
        pass
    except BaseExceptionGroup as group:
        if group.split(Crash)[1] is not None:
            raise
    if chance.random() < 0.5:
        world.chain.include_all()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_nothing_is_lost_and_nothing_is_paid_twice(world, seed):
    chance = random.Random(seed)
    world.others = 0
    for _ in range(ROUNDS):
        await one_round(world, chance)
    # Peace: everybody is well, and enough time has passed for signers to forget expired requests.
    world.heal()
    world.chain.faults, world.chain.hold = set(), False
    world.chain.include_all()
    for _ in range(4):
        world.network.now += 10 * DAY
        for signer in world.signers:
            signer.answered.clear()
        results = await world.buyer().resume()
        if all(item.error is None for item in results):
            break
    purchases = await world.store.purchases()
    states = Counter(purchase.state for purchase in purchases)
    assert set(states) <= {PurchaseState.ISSUED, PurchaseState.FAILED}, states
    issued = [purchase for purchase in purchases if purchase.state is PurchaseState.ISSUED]
    assert sorted(world.network.deposits) == sorted(purchase.identity_key for purchase in issued)
    world.check_books(len(issued))
    failed_in_block = sum(bool(block["code"]) for block in world.chain.blocks.values())
    fees = (len(issued) + failed_in_block + world.others) * FEE
    assert world.chain.balance == 1_000_000_000 - len(issued) * world.chain.price - fees
    hashes = {purchase.payment.tx_hash for purchase in purchases if purchase.payment}
    assert set(world.chain.submissions) <= hashes, "nothing is sent that was not stored"
