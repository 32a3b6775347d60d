"""What the reference's order of buying loses, and ours does not (docs/protocol/10 §2, docs/protocol/08 §10.4).

One test for each line of those lists. That its tool keeps nothing at all when it writes to a file has no
counterpart: a buyer without a store cannot be made.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from nym_credentials.errors import (
    EpochKeysInconsistent,
    IssuanceIncomplete,
    PaymentFailed,
    PaymentUnconfirmed,
    PriceChanged,
    QuorumMissing,
)
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.purchase.steps import Point
from nym_credentials.signers.epoch import SignerSet
from tests.credentials.purchase.stores import open_store, usable_books
from tests.credentials.purchase.world import make_buyer
from zknym import TicketType

ENTRY, EXIT = TicketType.MIXNET_ENTRY, TicketType.MIXNET_EXIT
DAY = 86_400


class Crash(Exception):
    """The process ends."""


def crash_at(point):
    def at(reached):
        if reached is point:
            raise Crash

    return at


async def test_a_crash_after_paying_loses_the_deposit(world):
    with pytest.raises(Crash):
        await world.buyer(crash_at(Point.SENT)).buy(ENTRY)
    assert world.deposits == 1
    await world.buyer().resume()
    world.check_books(1)


async def test_a_time_out_loses_the_deposit(world):
    world.chain.hold = True
    with pytest.raises(PaymentUnconfirmed):
        await world.buyer().buy(ENTRY)
    world.chain.include_all()
    await world.buyer().resume()
    world.check_books(1)


async def test_an_unreadable_broadcast_answer_loses_the_deposit(world):
    world.chain.hold = True
    world.chain.faults.add("answer-lost")
    with pytest.raises(PaymentUnconfirmed):
        await world.buyer().buy(ENTRY)
    world.chain.include_all()
    await world.buyer().resume()
    world.check_books(1)


async def test_it_pays_although_the_epoch_has_no_threshold(world):
    class WithoutThreshold:
        async def current(self):
            found = world.network.signer_set()
            rows = [(s.index, s.key.encode(), s.url, s.owner, True, None) for s in found.signers]
            return SignerSet.of_shares(found.epoch_id, None, rows)

        of_epoch = current

    buyer = world.buyer()
    buyer._epochs._directory = WithoutThreshold()
    with pytest.raises(EpochKeysInconsistent, match="no are needed"):
        await buyer.buy(ENTRY)
    world.check_books(0)


async def test_it_pays_with_two_of_three_signers_down(world):
    for index in (1, 2):
        world.spoil("down", only=index)
    with pytest.raises(QuorumMissing):
        await world.buyer().buy(ENTRY)
    world.check_books(0)


async def test_an_unverified_share_stops_everything(world):
    """Upstream refuses the whole list for one share that is not verified yet, or cannot be read."""
    real = world.network.signer_set()
    rows = [(s.index, s.key.encode(), s.url, s.owner, s.index != 2, s.identity) for s in real.signers]
    found = SignerSet.of_shares(real.epoch_id, 2, rows)
    assert [signer.index for signer in found.signers] == [1, 3]
    rows[1] = (2, b"garbage", "", "", True, None)
    assert SignerSet.of_shares(real.epoch_id, 2, rows) == found


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_the_secrets_of_the_request_are_not_kept(world, lost):
    """Signers answered, the answers were lost: another request would get the same answers, and never a book."""
    for index in range(1, lost + 1):
        world.spoil("answer-lost", only=index)
    for index in range(lost + 1, 4):
        world.spoil("leaves", only=index)
    with pytest.raises(Crash):
        await world.buyer(crash_at(Point.SHARE_RECEIVED)).buy(ENTRY)
    world.heal()
    (resumed,) = await world.buyer().resume()
    assert resumed.error is None
    world.check_books(1)
    assert all(len(requests) == 1 for signer in world.signers for requests in signer.seen.values())


async def test_a_pending_purchase_cannot_be_stored(world):
    """The real store keeps one, with everything that is needed."""
    for index in (1, 2):
        world.spoil("down-after-quorum", only=index)
    now = world.network.now
    async with open_store("sqlite", world.folder, now) as store:
        with pytest.raises(IssuanceIncomplete):
            await make_buyer(store, world.chain_url, lambda: now).buy(ENTRY)
    world.heal()
    async with open_store("sqlite", world.folder, now) as store:
        (pending,) = await store.unfinished_purchases()
        assert pending.state is PurchaseState.REQUESTING
        (resumed,) = await make_buyer(store, world.chain_url, lambda: now).resume()
        assert resumed.error is None
    assert await usable_books("sqlite", world.folder, now) == [ENTRY]
    assert world.deposits == 1


async def test_a_pending_book_of_another_type_counts_as_success(world):
    with pytest.raises(Crash):
        await world.buyer(crash_at(Point.DEPOSITED)).buy(EXIT)
    await world.buyer().buy(ENTRY)
    assert sorted(book.ticket_type for book in world.store.books()) == [ENTRY, EXIT]
    world.check_books(2)


async def test_public_data_is_stored_without_a_look_at_it(world):
    world.spoil("wrong-epoch", "wrong-date")
    await world.buyer().buy(ENTRY)
    (book,) = world.store.books()
    stored = await world.store.date_signatures(book.epoch_id, book.expiration)
    assert (stored.epoch_id, stored.expiration) == (book.epoch_id, book.expiration)
    stored.verify(world.network.keys.master)
    (await world.store.coin_signatures(book.epoch_id)).verify(world.network.keys.master)


async def test_price_raised_before_the_simulation(world):
    def at(point):
        if point is Point.QUORUM:
            world.chain.price += 1

    with pytest.raises(PriceChanged):
        await world.buyer(at).buy(ENTRY)
    world.check_books(0)
    assert world.chain.balance == 1_000_000_000


async def test_failure_inside_the_block(world):
    world.chain.faults.add("fails-in-block")
    with pytest.raises(PaymentFailed, match="fee is spent"):
        await world.buyer().buy(ENTRY)
    world.chain.faults.clear()
    await world.buyer().buy(ENTRY)
    world.check_books(1)


async def test_a_deposit_that_no_signer_has_seen_takes_a_fresh_date(world):
    with pytest.raises(Crash):
        await world.buyer(crash_at(Point.DEPOSITED)).buy(ENTRY)
    world.network.now += 20 * DAY
    await world.buyer().resume()
    world.check_books(1)
    assert world.store.books()[0].expiration == world.network.today + timedelta(days=6)


async def test_a_request_keeps_its_date_while_it_is_worth_something(world):
    with pytest.raises(Crash):
        await world.buyer(crash_at(Point.REQUESTING)).buy(ENTRY)
    expiration = world.network.today + timedelta(days=6)
    world.network.now += 6 * DAY
    await world.buyer().resume()
    world.check_books(1)
    assert world.store.books()[0].expiration == expiration


async def test_an_expired_request_is_replaced(world):
    """A book of it would be worth nothing. Who answered it repeats that answer; the others make the book."""
    for index in (2, 3):
        world.spoil("down-after-quorum", only=index)
    with pytest.raises(IssuanceIncomplete):
        await world.buyer().buy(ENTRY)
    world.network.now += 7 * DAY
    world.heal()
    world.spoil("down-after-quorum", only=3)
    (resumed,) = await world.buyer().resume()
    assert isinstance(resumed.error, IssuanceIncomplete)
    assert "answered another request" in str(resumed.error)
    world.heal()
    (resumed,) = await world.buyer().resume()
    assert resumed.error is None
    world.check_books(1)
    assert world.store.books()[0].expiration == world.network.today + timedelta(days=6)


async def test_an_expired_request_that_all_answered_waits_until_signers_forget(world):
    with pytest.raises(Crash):
        await world.buyer(crash_at(Point.REQUESTING)).buy(ENTRY)
    await world.ask_behind_its_back(1, 2, 3)
    world.network.now += 7 * DAY
    buyer = world.buyer()
    (resumed,) = await buyer.resume()
    assert isinstance(resumed.error, IssuanceIncomplete)
    assert resumed.error.retryable
    assert resumed.error.shares == 0
    world.network.now += 3 * DAY
    for signer in world.signers:
        signer.answered.clear()  # rows are deleted two days after the expiration date
    (resumed,) = await buyer.resume()
    assert resumed.error is None
    world.check_books(1)
