"""Schemas up and down, and stores that move from one database to another: nothing is lost, nothing is spent twice."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
from sqlalchemy import select

from nym_credentials.errors import OutOfTickets, StoreInUse, StoreMoved, StoreUnusable
from nym_credentials.store.database_io import SCHEMA_HEAD
from nym_credentials.store.keys import StoreKey
from nym_credentials.store.records import POINTS, BookState, Restored, Settlement
from nym_credentials.store.store_io import TicketStore
from nym_credentials.store.tables_io import MetaRow, ReplicaRow, Table
from nym_credentials.store.upkeep_io import StoreAt, copy_store, schema_of, upgrade_store
from tests.credentials.books import GATEWAY, TODAY, TYPE, book_file, make_book
from tests.credentials.store.conftest import KEY
from tests.credentials.store.test_purchases import purchase_on_its_way

NEW_KEY = StoreKey.from_bytes(bytes(range(50, 82)))


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, path):
    """An empty place of each kind."""
    if request.param == "sqlite":
        return str(path)
    return request.getfixturevalue("url")


@pytest.fixture
def elsewhere(request, where, tmp_path):
    """An empty place of the other kind."""
    if "://" in where:
        return str(tmp_path / "elsewhere" / "tickets.sqlite")
    return request.getfixturevalue("url")


@cache
def issued_once():
    """Two purchases: one that is finished in `fill`, and one that stays open."""
    return purchase_on_its_way(), purchase_on_its_way()[0]


async def fill(where, key=KEY):
    """Some of everything; returns what `content` will say of it."""
    (before, issued, book), open_purchase = issued_once()
    async with await TicketStore.open(where, key=key, network="test") as store:
        await store.import_book(book_file(), TODAY)
        for settlement in Settlement:
            await store.settle(await store.take(TYPE, TODAY, gateway=GATEWAY), settlement)
        await store.put_secret("phrase", b"only this")
        stored = await store.purchases.add_purchase(before)
        await store.purchases.finish_purchase(issued(stored), book)
        await store.purchases.add_purchase(open_purchase)
    return await content(where, key)


async def content(where, key=KEY):
    """All that can be asked of a store."""
    async with await TicketStore.open(where, key=key) as store:
        return {
            "books": await store.books(),
            "ledger": await store.ledger(),
            "totals": await store.totals(),
            "gateway": await store.gateway(GATEWAY),
            "secret": await store.secret("phrase"),
            "purchases": await store.purchases.purchases(),
            "unfinished": await store.purchases.unfinished_purchases(),
            "spendings": await store.purchases.spendings(),
            "public": [await store.purchases.for_book(b.epoch_id, b.expiration) for b in await store.books()],
            "id": store._core.store_id,
        }


async def raw(where, key=KEY):
    """Every row of every table but what belongs to one place."""
    async with await TicketStore.open(where, key=key) as store:
        found = {}
        async with store._core.database.transaction() as connection:
            for table in Table.metadata.sorted_tables:
                if table.name not in (MetaRow.__tablename__, ReplicaRow.__tablename__):
                    rows = await connection.execute(select(table))
                    found[table.name] = sorted(map(tuple, rows), key=repr)
        return found


async def test_down_and_up_again_with_everything_in_it(where):
    before = await fill(where)
    place = StoreAt(where, KEY)
    assert await upgrade_store(place, to="0001") == (SCHEMA_HEAD, "0001")
    assert await schema_of(place) == "0001"
    assert await upgrade_store(place) == ("0001", SCHEMA_HEAD)
    after = await content(where)
    # When a deposit was first seen is known to the second schema only.
    seen = [(s.purchase_id, s.state, s.price, s.fee, s.tx_hash) for s in after["spendings"]]
    assert seen == [(s.purchase_id, s.state, s.price, s.fee, s.tx_hash) for s in before["spendings"]]
    assert {**after, "spendings": []} == {**before, "spendings": []}
    async with await TicketStore.open(where, key=KEY) as store:
        taken = await store.take(TYPE, TODAY)
        [entry] = [e for e in await store.ledger() if (e.book_id, e.index) == (taken.book_id, taken.index)]
        assert entry.attempts in (1, 2)


async def test_opening_upgrades(where):
    before = await fill(where)
    await upgrade_store(StoreAt(where, KEY), to="0001")
    assert (await content(where))["ledger"] == before["ledger"]
    assert await schema_of(StoreAt(where, KEY)) == SCHEMA_HEAD


async def test_upgrading_needs_a_store_and_nobody_in_it(where):
    assert await schema_of(StoreAt(where, KEY)) is None
    with pytest.raises(StoreUnusable, match="There is no ticket store"):
        await upgrade_store(StoreAt(where, KEY), to="0815")
    async with await TicketStore.open(where, key=KEY):
        with pytest.raises(StoreInUse, match="in use"):
            await upgrade_store(StoreAt(where, KEY), to="0001")
    with pytest.raises(StoreUnusable, match="no schema 0815"):
        await upgrade_store(StoreAt(where, KEY), to="0815")


async def test_moving_to_the_other_database_and_back(where, elsewhere, tmp_path, server):
    before, rows = await fill(where), await raw(where)
    done = await copy_store(StoreAt(where, KEY), StoreAt(elsewhere, NEW_KEY))
    assert done.rows["books"] == 2
    assert done.rows["tickets"] == len(before["ledger"])
    assert not done.resumed
    assert await content(elsewhere, NEW_KEY) == before
    assert await raw(elsewhere, NEW_KEY) == rows
    with pytest.raises(StoreMoved, match="was moved to"):
        await TicketStore.open(where, key=KEY)
    async with await TicketStore.open(elsewhere, key=NEW_KEY) as store:
        taken = await store.take(TYPE, TODAY)
        await store.import_book(make_book().encode(), TODAY)
        assert [book.book_id for book in await store.books()] == [1, 2, 3]
        await store.settle(taken, Settlement.ACCEPTED)
    third = (
        server.url(await server.database()) if "://" in where else str(tmp_path / "third" / "tickets.sqlite")
    )
    before = await content(elsewhere, NEW_KEY)
    await copy_store(StoreAt(elsewhere, NEW_KEY), StoreAt(third, KEY))
    assert await content(third) == before
    for old, key in ((where, KEY), (elsewhere, NEW_KEY)):
        with pytest.raises(StoreMoved):
            await TicketStore.open(old, key=key)


async def test_between_files(tmp_path):
    """The key file of the new one is made."""
    old, new = tmp_path / "old", tmp_path / "new"
    before = await fill(old, None)
    await copy_store(StoreAt(old), StoreAt(new))
    assert await content(new, None) == before
    assert (tmp_path / "old.key").read_bytes() != (tmp_path / "new.key").read_bytes()


class CutShort(Exception):
    """Instead of the end of the process."""


POINTS_OF_COPY = [point for point in POINTS if point.startswith("copy:")]


@pytest.mark.parametrize("point", POINTS_OF_COPY)
async def test_a_copy_that_breaks_off_is_taken_up(where, elsewhere, point, tmp_path):
    before = await fill(where)
    source, target = StoreAt(where, KEY), StoreAt(elsewhere, NEW_KEY)

    def at(name):
        if name == point:
            raise CutShort

    for _ in range(2):
        with pytest.raises(CutShort):
            await copy_store(source, target, at=at)
        with pytest.raises(StoreMoved):
            await TicketStore.open(where, key=KEY)
    with pytest.raises(StoreMoved, match="Copy it there again"):
        await copy_store(source, StoreAt(tmp_path / "another"))
    assert (await copy_store(source, target)).resumed == (point == "copy:committed")
    assert await content(elsewhere, NEW_KEY) == before


async def test_no_copy_into_a_store_or_onto_itself_or_while_in_use(where, elsewhere):
    await fill(where)
    async with await TicketStore.open(elsewhere, key=NEW_KEY):
        pass
    source, target = StoreAt(where, KEY), StoreAt(elsewhere, NEW_KEY)
    with pytest.raises(StoreUnusable, match="already"):
        await copy_store(source, target)
    with pytest.raises(StoreUnusable, match="itself"):
        await copy_store(source, source)
    async with await TicketStore.open(where, key=KEY) as store:
        with pytest.raises(StoreInUse):
            await copy_store(source, target)
        assert await store.remaining(TYPE, TODAY) > 0, "nothing was closed"


async def test_a_source_that_is_trusted_again_spends_nothing_by_itself(where, elsewhere):
    """The operator's word opens it; its books stay given up until each is trusted."""
    await fill(where)
    await copy_store(StoreAt(where, KEY), StoreAt(elsewhere, NEW_KEY))
    async with await TicketStore.open(where, key=KEY, restored=Restored.TRUST) as store:
        assert {book.state for book in await store.books()} == {BookState.EXHAUSTED}
        with pytest.raises(OutOfTickets):
            await store.take(TYPE, TODAY)
    async with await TicketStore.open(where, key=KEY):
        pass


def test_the_points_are_known():
    assert [point for point, _ in itertools.groupby(POINTS_OF_COPY)] == [
        "copy:closed",
        "copy:begun",
        "copy:committed",
    ]
