"""Databases as upstream's clients keep them (docs/protocol/10 §4.1), and what such a client does with one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from zknym import CoinSignatureSet, DateSignatureSet, EpochKey, ImportableTicketBook, TicketBook

SCHEMA = """
CREATE TABLE master_verification_key (
    epoch_id INTEGER PRIMARY KEY NOT NULL, serialised_key BLOB NOT NULL, serialization_revision INTEGER NOT NULL);
CREATE TABLE coin_indices_signatures (
    epoch_id INTEGER PRIMARY KEY NOT NULL, serialised_signatures BLOB NOT NULL,
    serialization_revision INTEGER NOT NULL);
CREATE TABLE expiration_date_signatures (
    expiration_date DATE NOT NULL, epoch_id INTEGER NOT NULL, serialization_revision INTEGER NOT NULL,
    serialised_signatures BLOB NOT NULL, PRIMARY KEY (epoch_id, expiration_date));
CREATE TABLE ecash_ticketbook (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, serialization_revision INTEGER NOT NULL,
    ticketbook_type TEXT NOT NULL, ticketbook_data BLOB NOT NULL UNIQUE, expiration_date DATE NOT NULL,
    epoch_id INTEGER NOT NULL, total_tickets INTEGER NOT NULL, used_tickets INTEGER NOT NULL,
    FOREIGN KEY (epoch_id) REFERENCES coin_indices_signatures (epoch_id),
    FOREIGN KEY (expiration_date, epoch_id)
        REFERENCES expiration_date_signatures (expiration_date, epoch_id));
"""
"""The tables that hold books. The last foreign key names its columns in another order than the key: so does theirs."""


def make_client_database(path: Path, tables: dict[str, Sequence[dict[str, Any]]]) -> None:
    """With these rows, parents first."""
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(SCHEMA)
        for table, rows in tables.items():
            for row in rows:
                names = ", ".join(row)
                marks = ", ".join(f":{name}" for name in row)
                database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", row)


def write_client_database(path: Path, books: Sequence[tuple[ImportableTicketBook, int, int]]) -> None:
    """With books, how many tickets of each are used, and how many it has."""
    tables: dict[str, dict[Any, dict[str, Any]]] = {
        name: {}
        for name in (
            "master_verification_key",
            "coin_indices_signatures",
            "expiration_date_signatures",
            "ecash_ticketbook",
        )
    }
    for content, used, total in books:
        book, key, coins, dates = (
            content.book,
            content.master_key,
            content.coin_signatures,
            content.date_signatures,
        )
        assert key is not None
        assert coins is not None
        assert dates is not None
        epoch, day = {"epoch_id": book.epoch_id}, {"expiration_date": book.expiration.isoformat()}
        tables["master_verification_key"][book.epoch_id] = epoch | {
            "serialised_key": key.encode(),
            "serialization_revision": EpochKey.REVISION,
        }
        tables["coin_indices_signatures"][book.epoch_id] = epoch | {
            "serialised_signatures": coins.encode(),
            "serialization_revision": CoinSignatureSet.REVISION,
        }
        tables["expiration_date_signatures"][book.epoch_id, book.expiration] = (
            epoch
            | day
            | {
                "serialised_signatures": dates.encode(),
                "serialization_revision": DateSignatureSet.REVISION,
            }
        )
        tables["ecash_ticketbook"][book.encode()] = (
            epoch
            | day
            | {
                "serialization_revision": TicketBook.REVISION,
                "ticketbook_type": book.ticket_type.label,
                "ticketbook_data": book.encode(),
                "total_tickets": total,
                "used_tickets": used,
            }
        )
    make_client_database(path, {name: list(rows.values()) for name, rows in tables.items()})


def client_spends(path: Path, count: int) -> list[int]:
    """The indices that a client which goes on spends from its first book (docs/protocol/10 §4.3)."""
    indices = []
    with closing(sqlite3.connect(path)) as database, database:
        for _ in range(count):
            row = database.execute(
                "SELECT id, used_tickets FROM ecash_ticketbook WHERE used_tickets + 1 <= total_tickets LIMIT 1"
            ).fetchone()
            if row is None:
                break
            database.execute(
                "UPDATE ecash_ticketbook SET used_tickets = used_tickets + 1 WHERE id = ?", (row[0],)
            )
            indices.append(row[1])
    return indices
