"""Moves books out of the database of an upstream client, which must be stopped (docs/protocol/10 §4.1, §5).

A book must not be spent in two places, and two databases have no common transaction. So: the books are written down
in our store (sealed); then the client's rows are closed, in one transaction, by lowering `total_tickets` to
`used_tickets`, which nothing else does; then the books are taken in; then the note is dropped. Whatever breaks off in
between is taken up again by the next call.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.errors import BookAlreadyHere, BookRefused, StoreUnusable
from nym_credentials.store.client_database import TABLES, ClientBook, Row, read_client_books
from nym_credentials.store.database_io import Database, sqlite_url
from nym_credentials.store.records import BookInfo
from nym_credentials.store.store_io import TicketStore
from zknym import EcashError, ImportableTicketBook


async def move_client_books(store: TicketStore, path: Path, today: date) -> list[BookInfo]:
    """Takes every book with tickets for that UTC day out of the client's database and into the store.

    Raises `BookRefused`, `StoreUnusable`, `StoreInUse`.
    """
    try:
        note = f"moving {(await asyncio.to_thread(path.stat)).st_ino}"
    except OSError as error:
        raise StoreUnusable(f"There is no database {path}: {error.strerror}.") from error
    database = Database(sqlite_url(path), str(path))
    try:
        moved = await _take_in(store, note, await _closed(database, _load(await store.secret(note))), today)

        async def close_rows(connection: AsyncConnection) -> list[ClientBook]:
            books = read_client_books({name: await _rows(connection, name) for name in TABLES}, today)
            await asyncio.to_thread(_verify, books)
            if books:
                await store.put_secret(note, _save(books))
                store.at("move:noted")
            for book in books:
                await connection.execute(_CLOSE, {"id": book.row_id, "used": book.used})
            return books

        async with database.transaction() as connection:
            books = await close_rows(connection)
        store.at("move:committed")
        return moved + await _take_in(store, note, books, today)
    finally:
        await database.close()


_CLOSE = text(
    "UPDATE ecash_ticketbook SET total_tickets = used_tickets WHERE id = :id AND used_tickets = :used"
)


def _verify(books: Sequence[ClientBook]) -> None:
    """Before anything is closed."""
    for book in books:
        try:
            book.content.verify()
        except EcashError as error:
            raise BookRefused(
                f"Book {book.row_id} of the client's database does not verify: {error}."
            ) from error


async def _take_in(store: TicketStore, note: str, books: Sequence[ClientBook], today: date) -> list[BookInfo]:
    moved = []
    for book in books:
        if book.content.book.expired(today):
            continue
        data = book.content.encode()
        try:
            moved.append(await store.import_book(data, today, used=book.used, end=book.total))
        except BookAlreadyHere:
            continue  # before it broke off
    await store.forget_secret(note)
    return moved


async def _closed(database: Database, books: Sequence[ClientBook]) -> list[ClientBook]:
    """Those of a move that broke off whose rows were closed: the client cannot spend them any more."""
    if not books:
        return []
    async with database.transaction() as connection:
        rows = {row["id"]: row for row in await _rows(connection, "ecash_ticketbook")}
    return [
        book
        for book in books
        if book.row_id in rows
        and rows[book.row_id]["used_tickets"] == rows[book.row_id]["total_tickets"] == book.used
    ]


async def _rows(connection: AsyncConnection, table: str) -> list[Row]:
    result = await connection.execute(text(f"SELECT * FROM {table}"))  # noqa: S608  (a constant of ours)
    return [dict(row) for row in result.mappings()]


def _save(books: Sequence[ClientBook]) -> bytes:
    return json.dumps(
        [
            [book.row_id, book.used, book.total, base64.b64encode(book.content.encode()).decode()]
            for book in books
        ]
    ).encode()


def _load(saved: bytes | None) -> list[ClientBook]:
    return [
        ClientBook(row_id, used, total, ImportableTicketBook.decode(base64.b64decode(data)))
        for row_id, used, total, data in json.loads(saved or b"[]")
    ]
