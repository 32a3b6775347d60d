"""The tickets that a gateway has taken, and how far the signers are with each (docs/protocol/03 §9.5).

A ticket is on record before its bytes are granted, and stays: a rejected one is not good a second time, unlike at the
reference's gateways.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from nym_localnet.ecash.ticket_rules import Standing
from nym_localnet.sqlite_io import Database

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS taken (
    serial BLOB PRIMARY KEY,
    client BLOB NOT NULL,               -- the identity that was credited
    credential BLOB NOT NULL,
    granted_bytes INTEGER NOT NULL,
    taken_unix REAL NOT NULL,
    asked TEXT NOT NULL DEFAULT '[]',   -- numbers of signers
    accepted TEXT NOT NULL DEFAULT '[]',
    rejected TEXT NOT NULL DEFAULT '[]',
    standing TEXT NOT NULL DEFAULT 'pending'
);
"""
_COLUMNS: Final = "serial, client, credential, granted_bytes, taken_unix, asked, accepted, rejected, standing"


@dataclass(frozen=True, slots=True)
class TakenTicket:
    """One ticket. Signers are named by their number."""

    serial: bytes
    client: bytes
    credential: bytes = field(repr=False)
    granted_bytes: int
    taken_unix: float
    asked: frozenset[int] = frozenset()
    """sent to at least once, whether an answer came or not"""
    accepted: frozenset[int] = frozenset()
    rejected: frozenset[int] = frozenset()
    standing: Standing = Standing.PENDING

    @property
    def answered(self) -> frozenset[int]:
        """Signers that have said what they think."""
        return self.accepted | self.rejected

    def asking(self, signers: Iterable[int]) -> TakenTicket:
        """Before it is sent to these signers."""
        return replace(self, asked=self.asked | frozenset(signers))


class DeskStore:
    """The database of one gateway's tickets. `path` None keeps everything in memory."""

    def __init__(self, path: Path | None = None, *, durable: bool = True) -> None:
        self._database = Database(SCHEMA, path, durable=durable, name="ticket-desk")

    async def open(self) -> None:
        """Open or create it."""
        await self._database.open()

    async def close(self) -> None:
        """Close it."""
        await self._database.close()

    async def knows(self, serial: bytes) -> bool:
        """Whether a ticket was taken before."""

        def read(db: sqlite3.Connection) -> bool:
            return db.execute("SELECT 1 FROM taken WHERE serial = ?", (serial,)).fetchone() is not None

        return await self._database.do(read)

    async def take(self, ticket: TakenTicket) -> bool:
        """Put a new ticket on record; False when it is there already."""

        def insert(db: sqlite3.Connection) -> bool:
            cursor = db.execute(
                "INSERT INTO taken (serial, client, credential, granted_bytes, taken_unix)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (ticket.serial, ticket.client, ticket.credential, ticket.granted_bytes, ticket.taken_unix),
            )
            return cursor.rowcount == 1

        return await self._database.do(insert)

    async def update(self, ticket: TakenTicket) -> None:
        """Write down how far the signers are."""

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE taken SET asked = ?, accepted = ?, rejected = ?, standing = ? WHERE serial = ?",
                (
                    _numbers(ticket.asked),
                    _numbers(ticket.accepted),
                    _numbers(ticket.rejected),
                    ticket.standing.value,
                    ticket.serial,
                ),
            )

        await self._database.do(write)

    async def tickets(self, standing: Standing | None = None) -> list[TakenTicket]:
        """All tickets, or those of one standing, oldest first."""

        def read(db: sqlite3.Connection) -> list[TakenTicket]:
            where = "" if standing is None else "WHERE standing = ?"
            values = () if standing is None else (standing.value,)
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM taken {where} ORDER BY taken_unix, rowid",  # noqa: S608
                values,
            )
            return [_ticket(row) for row in rows]

        return await self._database.do(read)


def _numbers(signers: frozenset[int]) -> str:
    return json.dumps(sorted(signers))


def _ticket(row: tuple[bytes, bytes, bytes, int, float, str, str, str, str]) -> TakenTicket:
    serial, client, credential, granted, taken, asked, accepted, rejected, standing = row
    return TakenTicket(
        serial,
        client,
        credential,
        granted,
        taken,
        asked=frozenset(json.loads(asked)),
        accepted=frozenset(json.loads(accepted)),
        rejected=frozenset(json.loads(rejected)),
        standing=Standing(standing),
    )
