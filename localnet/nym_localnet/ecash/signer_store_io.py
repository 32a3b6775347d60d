"""What a signer must not forget: the books it issued and the tickets it saw (docs/protocol/09 §3.2, §7).

A signer that forgot a ticket would let it be spent twice; one that forgot a book would issue a second one for the
same deposit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from nym_localnet.sqlite_io import Database
from zknym import BlindedSignature, IssuedRecord, TicketType
from zknym.constants import G1_BYTES
from zknym.curve import decode_g1, encode_g1

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS issued (
    deposit_id INTEGER PRIMARY KEY,
    epoch_id INTEGER NOT NULL,
    share BLOB NOT NULL,                -- the blinded signature
    commitments BLOB NOT NULL,          -- of the private attributes
    expiration TEXT NOT NULL,
    ticket_type INTEGER NOT NULL,
    issued TEXT NOT NULL,               -- the day
    position INTEGER NOT NULL           -- among those of the same expiration date
);
CREATE TABLE IF NOT EXISTS tickets (
    serial BLOB PRIMARY KEY,
    pay_info BLOB NOT NULL,
    gateway TEXT NOT NULL,              -- its account
    spend_date TEXT NOT NULL,
    ticket_type INTEGER NOT NULL,
    verified_unix REAL NOT NULL
);
"""
_ISSUED_COLUMNS: Final = "deposit_id, epoch_id, share, commitments, expiration, ticket_type"


@dataclass(frozen=True, slots=True)
class StoredTicket:
    """A ticket that was found good."""

    serial: bytes
    pay_info: bytes
    gateway: str
    spend_date: date
    ticket_type: int
    verified_unix: float


@dataclass(frozen=True, slots=True)
class DayCount:
    """So many books were issued on one day for one expiration date."""

    issued: date
    expiration: date
    count: int


class SignerStore:
    """The database of one signer. `path` None keeps everything in memory."""

    def __init__(self, path: Path | None = None, *, durable: bool = True) -> None:
        self._database = Database(SCHEMA, path, durable=durable, name="signer-store")

    async def open(self) -> None:
        """Open or create it."""
        await self._database.open()

    async def close(self) -> None:
        """Close it."""
        await self._database.close()

    # Books

    async def issued(self, deposit_id: int) -> IssuedRecord | None:
        """What was issued for a deposit."""

        def read(db: sqlite3.Connection) -> IssuedRecord | None:
            row = db.execute(
                f"SELECT {_ISSUED_COLUMNS} FROM issued WHERE deposit_id = ?",  # noqa: S608
                (deposit_id,),
            ).fetchone()
            return None if row is None else _record(row)

        return await self._database.do(read)

    async def put_issued(self, record: IssuedRecord, today: date) -> bool:
        """Keep a share; False when there is one for that deposit already."""
        first, second = record.attribute_commitments
        values = (
            record.deposit_id,
            record.epoch_id,
            record.blinded_signature.encode(),
            encode_g1(first) + encode_g1(second),
            record.expiration.isoformat(),
            int(record.ticket_type),
            today.isoformat(),
            record.expiration.isoformat(),
        )

        def insert(db: sqlite3.Connection) -> bool:
            cursor = db.execute(
                "INSERT INTO issued VALUES (?, ?, ?, ?, ?, ?, ?,"
                " (SELECT COUNT(*) FROM issued WHERE expiration = ?)) ON CONFLICT DO NOTHING",
                values,
            )
            return cursor.rowcount == 1

        return await self._database.do(insert)

    async def issued_for(self, expiration: date) -> list[IssuedRecord]:
        """All books of an expiration date, in order of issuance."""

        def read(db: sqlite3.Connection) -> list[IssuedRecord]:
            rows = db.execute(
                f"SELECT {_ISSUED_COLUMNS} FROM issued WHERE expiration = ? ORDER BY position",  # noqa: S608
                (expiration.isoformat(),),
            )
            return [_record(row) for row in rows]

        return await self._database.do(read)

    async def issued_counts(self) -> list[DayCount]:
        """How many books, by day of issuance and expiration date."""

        def read(db: sqlite3.Connection) -> list[DayCount]:
            rows = db.execute("SELECT issued, expiration, COUNT(*) FROM issued GROUP BY 1, 2 ORDER BY 1, 2")
            return [DayCount(date.fromisoformat(a), date.fromisoformat(b), count) for a, b, count in rows]

        return await self._database.do(read)

    # Tickets

    async def ticket(self, serial: bytes) -> StoredTicket | None:
        """A ticket by its serial number."""

        def read(db: sqlite3.Connection) -> StoredTicket | None:
            row = db.execute(
                "SELECT serial, pay_info, gateway, spend_date, ticket_type, verified_unix FROM tickets"
                " WHERE serial = ?",
                (serial,),
            ).fetchone()
            if row is None:
                return None
            number, pay_info, gateway, day, kind, when = row
            return StoredTicket(number, pay_info, gateway, date.fromisoformat(day), kind, when)

        return await self._database.do(read)

    async def put_ticket(self, ticket: StoredTicket) -> bool:
        """Keep a ticket; False when it is there already."""

        def insert(db: sqlite3.Connection) -> bool:
            cursor = db.execute(
                "INSERT INTO tickets VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    ticket.serial,
                    ticket.pay_info,
                    ticket.gateway,
                    ticket.spend_date.isoformat(),
                    ticket.ticket_type,
                    ticket.verified_unix,
                ),
            )
            return cursor.rowcount == 1

        return await self._database.do(insert)

    async def knows_tickets(self, serials: Sequence[bytes], gateway: str) -> bytes | None:
        """The first of these serial numbers that this gateway did not submit; None when it submitted all."""

        def read(db: sqlite3.Connection) -> bytes | None:
            known = {
                serial for (serial,) in db.execute("SELECT serial FROM tickets WHERE gateway = ?", (gateway,))
            }
            return next((serial for serial in serials if serial not in known), None)

        return await self._database.do(read)

    async def ticket_counts(self) -> dict[str, int]:
        """How many tickets each gateway submitted, by its account."""

        def read(db: sqlite3.Connection) -> dict[str, int]:
            return dict(db.execute("SELECT gateway, COUNT(*) FROM tickets GROUP BY gateway ORDER BY gateway"))

        return await self._database.do(read)

    async def book_count(self) -> int:
        """How many shares of books were issued."""

        def read(db: sqlite3.Connection) -> int:
            (count,) = db.execute("SELECT COUNT(*) FROM issued").fetchone()
            return int(count)

        return await self._database.do(read)


def _record(row: tuple[int, int, bytes, bytes, str, int]) -> IssuedRecord:
    deposit_id, epoch_id, share, commitments, expiration, ticket_type = row
    return IssuedRecord(
        deposit_id,
        epoch_id,
        BlindedSignature.decode(share),
        (decode_g1(commitments[:G1_BYTES]), decode_g1(commitments[G1_BYTES:])),
        date.fromisoformat(expiration),
        TicketType(ticket_type),
    )
