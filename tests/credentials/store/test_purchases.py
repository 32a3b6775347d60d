"""The store as the purchase needs it (`purchase.ports.PurchaseStore`)."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from nym_credentials.errors import BookAlreadyHere, PurchaseConflict, StoreError
from nym_credentials.purchase.ports import PurchaseStore
from nym_credentials.purchase.records import Deposit, Issuance, Purchase, SignedPayment
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.store.records import BookSource, BookState
from nym_credentials.store.store_io import TicketStore
from tests.credentials.books import EPOCH, EXPIRATION, TODAY, TYPE, WORLD, date_signatures, make_book
from zknym import EpochKey, VerificationKey, request_withdrawal


def new_purchase(**changes) -> Purchase:
    base = Purchase(
        id=uuid4(),
        ticket_type=TYPE,
        network="local",
        contract="n1contract",
        account="n1account",
        price=75_000_000,
        denom="unym",
        created_unix=1_000,
        identity_seed=bytes(range(32)),
        user=WORLD.user,
    )
    return replace(base, **changes)


def purchase_on_its_way():
    """A purchase whose signers have answered, how it ends, and the book it ends with."""
    payment = SignedPayment(b"tx bytes", "AB" * 32, 1, 2, 3, 4, "nyx")
    request, info = request_withdrawal(WORLD.user, 1_780_444_800, TYPE)
    purchase = new_purchase().signed(payment).sending().deposited(Deposit(7, 100))
    purchase = purchase.requesting(Issuance(EPOCH, EXPIRATION, request, info))
    return purchase, lambda stored: stored.issued(), make_book().book


@pytest.fixture
async def store(path):
    async with await TicketStore.open(path, clock=lambda: 2_000.0) as store:
        yield store


async def test_the_protocol_is_kept(store):
    purchases: PurchaseStore = store.purchases
    assert await purchases.unfinished_purchases() == []
    assert await purchases.purchase(uuid4()) is None


async def test_a_purchase_is_read_back(store, path):
    purchase, _, _ = purchase_on_its_way()
    stored = await store.purchases.add_purchase(purchase)
    assert stored == replace(purchase, version=1)
    async with await TicketStore.open(path) as other:
        assert await other.purchases.purchase(purchase.id) == stored
    with pytest.raises(StoreError, match="already"):
        await store.purchases.add_purchase(purchase)


async def test_the_seed_is_sealed(store, path):
    seed = b"the seed that nobody else reads!"
    assert len(seed) == 32
    await store.purchases.add_purchase(new_purchase(identity_seed=seed))
    for file in path.parent.iterdir():
        data = file.read_bytes()
        assert seed not in data
        assert seed.hex().encode() not in data


async def test_whoever_is_late_stops(store):
    purchase = await store.purchases.add_purchase(new_purchase())
    first = await store.purchases.save_purchase(purchase.noted("one"))
    assert first.version == 2
    with pytest.raises(PurchaseConflict):
        await store.purchases.save_purchase(purchase.noted("two"))
    with pytest.raises(PurchaseConflict):
        await store.purchases.save_purchase(new_purchase())
    assert await store.purchases.purchase(purchase.id) == first


async def test_lists(store):
    added = [
        await store.purchases.add_purchase(new_purchase(created_unix=1_000 - number)) for number in range(4)
    ]
    dropped = await store.purchases.save_purchase(added[1].given_up("changed my mind"))
    assert await store.purchases.unfinished_purchases() == [added[0], added[2], added[3]]
    assert await store.purchases.purchases() == [added[3], added[2], dropped, added[0]]
    assert await store.purchases.purchases(limit=2) == [added[3], added[2]]


async def test_finishing_brings_the_book_with_it(store):
    purchase, issued, book = purchase_on_its_way()
    stored = await store.purchases.add_purchase(purchase)
    with pytest.raises(StoreError, match="cannot bring a book"):
        await store.purchases.finish_purchase(stored, book)
    done = await store.purchases.finish_purchase(issued(stored), book)
    assert (done.state, done.version) == (PurchaseState.ISSUED, 2)
    assert await store.purchases.unfinished_purchases() == []
    [info] = await store.books()
    assert (info.purchase_id, info.source, info.state, info.remaining) == (
        str(purchase.id),
        BookSource.BOUGHT,
        BookState.ACTIVE,
        50,
    )
    with pytest.raises(PurchaseConflict):
        await store.purchases.finish_purchase(issued(stored), make_book().book)
    assert len(await store.books()) == 1


async def test_a_book_that_cannot_be_kept_leaves_the_purchase_as_it_was(store):
    purchase, issued, book = purchase_on_its_way()
    first = await store.purchases.add_purchase(purchase)
    await store.purchases.finish_purchase(issued(first), book)
    other = await store.purchases.add_purchase(replace(purchase, id=uuid4()))
    with pytest.raises(BookAlreadyHere):
        await store.purchases.finish_purchase(issued(other), book)
    assert await store.purchases.unfinished_purchases() == [other]


async def test_public_data(store, path):
    purchases, dates = store.purchases, date_signatures(EXPIRATION)
    assert await purchases.epoch_key(EPOCH) is None
    assert await purchases.coin_signatures(EPOCH) is None
    assert await purchases.date_signatures(EPOCH, EXPIRATION) is None
    for _ in range(2):
        await purchases.put_epoch_key(WORLD.epoch_key)
        await purchases.put_coin_signatures(WORLD.coin_set)
        await purchases.put_date_signatures(dates)
    async with await TicketStore.open(path) as other:
        for reader in (purchases, other.purchases, other.purchases):
            assert await reader.epoch_key(EPOCH) == WORLD.epoch_key
            assert await reader.coin_signatures(EPOCH) == WORLD.coin_set
            assert await reader.date_signatures(EPOCH, EXPIRATION) == dates
            assert await reader.epoch_key(EPOCH + 1) is None


async def test_an_epoch_has_one_key(store):
    await store.purchases.put_epoch_key(WORLD.epoch_key)
    foreign = VerificationKey.decode(WORLD.signers[0].verification.encode())
    with pytest.raises(StoreError, match="another master key"):
        await store.purchases.put_epoch_key(EpochKey(EPOCH, foreign))
    assert await store.purchases.epoch_key(EPOCH) == WORLD.epoch_key


@pytest.mark.parametrize("planned", [False, True], ids=["before it is planned", "afterwards"])
async def test_what_another_process_has_no_use_for_is_still_there_when_the_book_comes(store, path, planned):
    purchase, issued, book = purchase_on_its_way()
    stored = await store.purchases.add_purchase(purchase) if planned else None
    await store.purchases.put_epoch_key(WORLD.epoch_key)
    await store.purchases.put_coin_signatures(WORLD.coin_set)
    async with await TicketStore.open(path) as other:
        await other.forget_expired(TODAY)
        assert (await other.purchases.epoch_key(EPOCH) is not None) is planned
        await store.purchases.put_date_signatures(date_signatures(EXPIRATION))
        stored = stored or await store.purchases.add_purchase(purchase)
        await store.purchases.finish_purchase(issued(stored), book)
        taken = await other.take(TYPE, TODAY)
        assert (taken.master, taken.coin_signatures) == (WORLD.epoch_key, WORLD.coin_set)
        await other.forget_expired(TODAY)
        assert await other.purchases.for_book(EPOCH, EXPIRATION)
