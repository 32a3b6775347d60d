"""Buying when everything is well, and what a buyer tells meanwhile."""

from __future__ import annotations

import pytest

from nym_credentials.errors import InsufficientFunds, PurchaseDeclined
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.purchase.steps import PERSISTENCE_POINTS, Point, Step
from zknym import TicketType

ENTRY, EXIT = TicketType.MIXNET_ENTRY, TicketType.MIXNET_EXIT


async def test_one_book(world):
    seen, steps = [], []
    buyer = world.buyer(seen.append)
    (bought,) = await buyer.buy(ENTRY, watch=lambda progress: steps.append(progress.step))
    world.check_books(1)
    (book,) = world.store.books()
    assert bought.state is PurchaseState.ISSUED
    assert book.ticket_type is ENTRY
    assert (book.expiration - world.network.today).days == 6
    assert world.chain.balance == 1_000_000_000 - 75_000_000 - 4_000
    # Points that come once per share come twice: the threshold is two.
    assert [point for i, point in enumerate(seen) if point not in seen[:i]] == list(PERSISTENCE_POINTS)
    assert seen.count(Point.SHARE_STORED) == 2
    assert steps[0] is Step.CHECK
    assert steps[-1] is Step.DONE
    assert await buyer.pending() == []


async def test_books_of_a_batch_are_strangers(world):
    """One purchase each: no key, request or user is used twice."""
    bought = await world.buyer().buy(EXIT, 3)
    world.check_books(3)
    assert len({p.identity_key for p in bought}) == 3
    assert len({p.user.scalar for p in bought}) == 3
    assert len({p.sign_request().request.encode() for p in bought}) == 3
    assert [p.payment.sequence for p in bought] == [0, 1, 2]


async def test_a_signer_that_never_answers_is_not_waited_for(world):
    """All are asked at once, and two answers are enough."""

    def at(point):
        if point is Point.REQUESTING:
            world.spoil("silent", only=2)

    await world.buyer(at).buy(ENTRY)
    world.check_books(1)
    assert world.signers[1].answered == {}


async def test_quote_and_question(world):
    asked = []

    async def no(quote):
        asked.append(quote)
        return False

    with pytest.raises(PurchaseDeclined):
        await world.buyer().buy(ENTRY, 2, confirm=no)
    assert asked[0].total.amount == 2 * 75_004_000
    world.check_books(0)
    assert not await world.store.purchases()


async def test_too_little_money(world):
    world.chain.balance = 100_000_000
    with pytest.raises(InsufficientFunds, match=r"150\.008 NYM.*enough for 1"):
        await world.buyer().buy(ENTRY, 2)
    world.check_books(0)


async def test_less_than_one_book(world):
    with pytest.raises(ValueError, match="at least one"):
        await world.buyer().buy(ENTRY, 0)


async def test_secrets_stay_out_of_sight(world):
    await world.buyer().buy(ENTRY)
    (purchase,) = await world.store.purchases()
    text = repr(purchase)
    for secret in (
        purchase.identity_seed.hex(),
        repr(purchase.identity_seed),
        str(purchase.user.scalar),
        str(purchase.issuance.info.wallet_secret),
        repr(purchase.payment.tx_bytes),
    ):
        assert secret not in text
