"""Hostile and broken answers: a clear error, and money and books accounted for (docs/protocol/09 §3.2–§6)."""

from __future__ import annotations

import pytest

from nym_credentials.errors import (
    EpochDataUnavailable,
    EpochKeysInconsistent,
    IssuanceHalted,
    IssuanceIncomplete,
    PriceChanged,
    PurchaseDeclined,
    QuorumMissing,
)
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.purchase.steps import Point
from tests.credentials.signers.mini_signers import epoch_keys
from zknym import EpochKey, TicketType

ENTRY = TicketType.MIXNET_ENTRY
ILL = {
    "down": "refused with 503",
    "stale-clock": "its clock differs from ours by 3600 s",
    "disabled": "switched off",
    "no-signer": "not among the signers",
    "no-keys": "no signing keys",
    "behind": "it signs for epoch 4, not for 5",
    "forged-status": "not signed by the signer's key",
    "not-json": "not JSON",
    "flood": "far too much",
    "redirect": "refused with 302",
}
BAD_SHARES = {
    "garbage": "does not verify",
    "another-request": "answered another request",
    "down-after-quorum": "refused with 503",
    "leaves": "not an active ecash signer",
}

SIGNERS = [1, *(pytest.param(index, marks=pytest.mark.slow) for index in (2, 3))]
"""The first one is always tried, the others in `make check`."""


def fully(world, *faults):
    """The faults at two signers of three: too many for a book."""
    for index in (1, 3):
        world.spoil(*faults, only=index)


@pytest.mark.parametrize("fault", ILL)
async def test_without_a_quorum_nothing_is_paid(world, fault):
    buyer = world.buyer()
    await buyer.buy(ENTRY)  # so that the epoch's data is there, and only the status matters
    fully(world, fault)
    with pytest.raises(QuorumMissing, match=ILL[fault]) as caught:
        await buyer.buy(ENTRY)
    assert caught.value.well == 1
    assert set(caught.value.ill) == {world.signers[i].url.rstrip("/") for i in (0, 2)}
    world.check_books(1)
    assert not await buyer.pending()


@pytest.mark.parametrize("fault", [*ILL, "lying", "wrong-epoch", "wrong-date", "no-aggregates", "bincode"])
@pytest.mark.parametrize("index", SIGNERS)
async def test_one_bad_signer_costs_nothing(world, fault, index):
    world.spoil(fault, only=index)
    await world.buyer().buy(ENTRY)
    world.check_books(1)


@pytest.mark.parametrize("fault", BAD_SHARES)
@pytest.mark.parametrize("index", SIGNERS)
async def test_one_bad_share_costs_nothing(world, fault, index):
    world.spoil(fault, only=index)
    told = []
    await world.buyer().buy(ENTRY, watch=told.append)
    world.check_books(1)
    # Named if it was among the first to answer: nobody waits for it otherwise.
    bad = world.signers[index - 1].url.rstrip("/")
    assert all(bad in item.problem and BAD_SHARES[fault] in item.problem for item in told if item.problem)


async def test_a_signer_that_is_not_well_is_named(world):
    world.spoil("disabled", only=2)
    told = []
    await world.buyer().buy(ENTRY, watch=told.append)
    (problem,) = [item.problem for item in told if item.problem]
    assert problem == f"{world.signers[1].url} is not well: signing is switched off there"


@pytest.mark.parametrize("fault", BAD_SHARES)
async def test_too_few_good_shares_are_named_and_waited_for(world, fault):
    fully(world, fault)
    buyer = world.buyer()
    with pytest.raises(IssuanceIncomplete, match=BAD_SHARES[fault]) as caught:
        await buyer.buy(ENTRY)
    assert caught.value.shares == 1
    assert set(caught.value.problems) == {world.signers[i].url.rstrip("/") for i in (0, 2)}
    world.check_books(0, deposits=1)
    (pending,) = await buyer.pending()
    assert pending.state is PurchaseState.REQUESTING
    assert "Deposit 0 is paid and has 1 of 2 shares" in pending.problem
    # Buying more of the same is refused until this one is done: the money would go the same way.
    with pytest.raises(IssuanceIncomplete):
        await buyer.buy(ENTRY)
    assert world.deposits == 1
    world.heal()
    (resumed,) = await buyer.resume()
    assert resumed.error is None
    world.check_books(1)
    assert all(len(requests) == 1 for signer in world.signers for requests in signer.seen.values())


async def test_a_signer_whose_chain_lags_is_asked_again(world):
    world.spoil("lagging")
    await world.buyer().buy(ENTRY)
    world.check_books(1)


class TestPublicData:
    @pytest.mark.parametrize("fault", ["wrong-epoch", "wrong-date", "no-aggregates"])
    async def test_no_aggregates_are_made_out_of_shares(self, world, fault):
        world.spoil(fault)
        await world.buyer().buy(ENTRY)
        world.check_books(1)
        stored = await world.store.date_signatures(5, world.store.books()[0].expiration)
        stored.verify(world.network.keys.master)

    async def test_all_lie_about_the_key(self, world):
        world.spoil("lying")
        with pytest.raises(EpochKeysInconsistent, match="another key for epoch 5 than the chain"):
            await world.buyer().buy(ENTRY)
        world.check_books(0)

    async def test_all_lie_about_signatures(self, world):
        await world.store.put_epoch_key(await _key(world))
        world.spoil("lying")
        with pytest.raises(EpochDataUnavailable, match="do not verify"):
            await world.buyer().buy(ENTRY)
        world.check_books(0)
        assert await world.store.coin_signatures(5) is None

    async def test_another_key_than_the_known_one(self, world):
        """Signers that were set up anew under the same epoch."""
        await world.store.put_epoch_key(EpochKey(5, epoch_keys(99).master))
        with pytest.raises(EpochKeysInconsistent, match="another key for epoch 5 than the one known"):
            await world.buyer().buy(ENTRY)
        world.check_books(0)


async def _key(world):
    return EpochKey(5, world.network.keys.master)


async def test_our_own_clock_is_wrong(world):
    buyer = world.buyer()
    buyer._clock = lambda: world.network.now + 1_000
    with pytest.raises(QuorumMissing, match="clock differs from ours by 1000 s"):
        await buyer.buy(ENTRY)
    world.check_books(0)


async def test_no_books_while_keys_are_made(world):
    world.network.issuing = False
    with pytest.raises(IssuanceHalted) as caught:
        await world.buyer().buy(ENTRY)
    assert caught.value.wait_seconds == 600
    world.check_books(0)


class TestPrice:
    async def test_rises_after_the_question(self, world):
        answers = []

        async def confirm(quote):
            answers.append(quote.price.best.amount)
            world.chain.price = 80_000_000
            return True

        await world.buyer().buy(ENTRY, confirm=confirm)
        assert answers == [75_000_000, 80_000_000], "a higher price is agreed to again"
        world.check_books(1)
        assert world.chain.balance == 1_000_000_000 - 80_000_000 - 4_000

    async def test_the_higher_price_is_declined(self, world):
        async def confirm(quote):
            world.chain.price = 80_000_000
            return quote.price.best.amount < 80_000_000

        with pytest.raises(PurchaseDeclined):
            await world.buyer().buy(ENTRY, confirm=confirm)
        world.check_books(0)

    @pytest.mark.parametrize("price, paid", [(80_000_000, False), (70_000_000, True)])
    async def test_without_anybody_to_ask(self, world, price, paid):
        def at(point):
            if point is Point.QUORUM:
                world.chain.price = price

        if paid:
            await world.buyer(at).buy(ENTRY)
            world.check_books(1)
        else:
            with pytest.raises(PriceChanged, match="80 NYM"):
                await world.buyer(at).buy(ENTRY)
            world.check_books(0)
        assert world.chain.balance == 1_000_000_000 - paid * (price + 4_000)


class TestEpochChange:
    async def test_between_payment_and_request(self, world):
        def at(point):
            if point is Point.DEPOSITED:
                world.network.epoch_id = 6

        await world.buyer(at).buy(ENTRY)
        world.check_books(1)
        assert world.store.books()[0].epoch_id == 6
        assert await world.store.date_signatures(6, world.store.books()[0].expiration)

    async def test_shares_of_two_epochs_never_mix(self, world):
        for index in (2, 3):
            world.spoil("down-after-quorum", only=index)
        buyer = world.buyer()
        with pytest.raises(IssuanceIncomplete):
            await buyer.buy(ENTRY)
        world.network.epoch_id = 6
        world.heal()
        world.spoil("down-after-quorum", only=3)
        # Signer 1 repeats its answer of epoch 5, signer 2 answers with its key of epoch 6: one share each.
        (resumed,) = await buyer.resume()
        assert isinstance(resumed.error, IssuanceIncomplete)
        assert resumed.error.shares == 1
        assert {share.epoch_id for share in resumed.purchase.shares} == {5, 6}
        world.check_books(0, deposits=1)
        world.heal()
        (resumed,) = await buyer.resume()
        assert resumed.error is None
        world.check_books(1)
        assert world.store.books()[0].epoch_id == 6

    async def test_a_request_answered_under_the_old_key_is_finished_under_it(self, world):
        """Signers repeat their first answer, whatever key they have now."""
        for index in (1, 2, 3):
            world.spoil("down-after-quorum", only=index)
        buyer = world.buyer()
        with pytest.raises(IssuanceIncomplete):
            await buyer.buy(ENTRY)
        world.heal()
        await world.ask_behind_its_back(1, 2)
        world.network.epoch_id = 6
        (resumed,) = await buyer.resume()
        assert resumed.error is None
        world.check_books(1)
        assert world.store.books()[0].epoch_id == 5
