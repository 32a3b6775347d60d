"""Books move out of an upstream client's database: each is spent in one place."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from nym_credentials.errors import BookRefused, StoreUnusable
from nym_credentials.store.client_database_io import move_client_books
from nym_credentials.store.store_io import TicketStore
from tests.credentials.books import EXPIRATION, TODAY, TYPE, WORLD, date_signatures, make_book
from tests.credentials.store.client_databases import client_spends, write_client_database


@pytest.fixture
async def store(path):
    async with await TicketStore.open(path) as store:
        yield store


@pytest.fixture
def client(tmp_path):
    return tmp_path / "credentials_database.db"


async def test_books_with_tickets_move(store, client):
    fresh, used, empty = make_book(), make_book(), make_book()
    expired = make_book(TODAY - timedelta(days=1))
    write_client_database(client, [(fresh, 0, 50), (used, 7, 50), (empty, 50, 50), (expired, 0, 50)])
    moved = await move_client_books(store, client, TODAY)
    assert [(info.first, info.end) for info in moved] == [(0, 50), (7, 50)]
    assert await store.remaining(TYPE, TODAY) == 93
    assert await store.purchases.date_signatures(WORLD.coin_set.epoch_id, EXPIRATION) == date_signatures(
        EXPIRATION
    )
    with closing(sqlite3.connect(client)) as database:
        rows = database.execute(
            "SELECT used_tickets, total_tickets FROM ecash_ticketbook ORDER BY id"
        ).fetchall()
    assert rows == [(0, 0), (7, 7), (50, 50), (0, 50)]
    assert client_spends(client, 1) == [0], "the expired book is left alone"
    assert await move_client_books(store, client, TODAY) == []


async def test_a_book_that_does_not_verify_moves_nothing(store, client):
    good, bad = make_book(), make_book()
    foreign = replace(bad.book.wallet, wallet_secret=bad.book.wallet.wallet_secret + 1)
    bad = replace(bad, book=replace(bad.book, wallet=foreign))
    write_client_database(client, [(good, 0, 50), (bad, 0, 50)])
    with pytest.raises(BookRefused, match=r"Book 2 .* does not verify"):
        await move_client_books(store, client, TODAY)
    assert await store.books() == []
    assert client_spends(client, 1) == [0]


async def test_rows_of_the_first_revision(store, client):
    content = make_book()
    write_client_database(client, [(content, 0, 50)])
    with closing(sqlite3.connect(client)) as database, database:
        database.execute("UPDATE master_verification_key SET serialised_key = ?", (WORLD.master.encode(),))
        for table, start in (("coin_indices_signatures", 1), ("expiration_date_signatures", 12)):
            # without the epoch (one byte here), and the date with its length
            [(data,)] = database.execute(f"SELECT serialised_signatures FROM {table}").fetchall()
            database.execute(f"UPDATE {table} SET serialised_signatures = ?", (data[start:],))
        for table in ("master_verification_key", "coin_indices_signatures", "expiration_date_signatures"):
            database.execute(f"UPDATE {table} SET serialization_revision = 1")
    assert len(await move_client_books(store, client, TODAY)) == 1


async def test_what_is_no_client_database(store, client):
    with pytest.raises(StoreUnusable, match="no database"):
        await move_client_books(store, client, TODAY)
    client.write_bytes(b"")
    with pytest.raises(StoreUnusable, match="no such table"):
        await move_client_books(store, client, TODAY)


@pytest.mark.parametrize(
    "change", ["ticketbook_data = x'00'", "serialization_revision = 9", "expiration_date = 'x'"]
)
async def test_rows_that_cannot_be_read(store, client, change):
    write_client_database(client, [(make_book(), 0, 50)])
    with closing(sqlite3.connect(client)) as database, database:
        database.execute(f"UPDATE ecash_ticketbook SET {change}")
    with pytest.raises(BookRefused, match="cannot be read"):
        await move_client_books(store, client, TODAY)
