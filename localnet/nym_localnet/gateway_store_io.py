"""What a gateway must not forget: registrations, allowances, spent tickets, and payloads for absent clients.

docs/protocol/03 §7.4 and §11. SQLite in one worker thread: every statement runs there, in order, so a
method that returned is on record and a later one sees it. Payloads are written in batches, since a client
that leaves in the middle of a download leaves hundreds of them behind within a second.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from nym_mixnet.tasks_io import TaskSet

RETENTION_SECONDS: Final = 24 * 3600.0
"""docs/protocol/03 §7.4"""
RETRIEVAL_BATCH: Final = 100
MAX_STORED_PER_CLIENT: Final = 20_000
"""payloads, about 33 MB; upstream has no bound"""

T = TypeVar("T")

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS clients (
    address BLOB PRIMARY KEY,           -- Ed25519 public key
    shared_key BLOB NOT NULL,
    last_auth_unix INTEGER,             -- NULL until the first authentication
    available_bytes INTEGER NOT NULL DEFAULT 0,
    expires_unix INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    address BLOB NOT NULL,
    payload BLOB NOT NULL,
    stored_unix REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_by_address ON messages (address, id);
CREATE TABLE IF NOT EXISTS tickets (serial BLOB PRIMARY KEY, spent_unix REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """One registered client."""

    address: bytes
    shared_key: bytes = field(repr=False)
    last_auth_unix: int | None
    available_bytes: int
    expires_unix: int
    """midnight UTC; docs/protocol/03 §9.1"""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A payload that waits for its client."""

    id: int
    payload: bytes


@dataclass(slots=True)
class _Pending:
    address: bytes
    payload: bytes
    stored: Callable[[], None] | None


class GatewayStore:
    """The database of one gateway. `path` None keeps everything in memory."""

    def __init__(self, path: Path | None = None, *, durable: bool = True) -> None:
        self._path = path
        self._durable = durable
        self._db: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._pending: list[_Pending] = []
        self._settled = asyncio.Event()
        self._settled.set()
        self._stored: Counter[bytes] = Counter()
        self._known: set[bytes] = set()
        self._tasks = TaskSet("gateway store")

    async def open(self) -> None:
        """Open or create the database."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gateway-store")
        stored, known = await self._run(self._open)
        self._stored = Counter(stored)
        self._known = set(known)

    async def close(self) -> None:
        """Finish what is being written and close."""
        if self._thread is None:
            return
        await self.settled()
        await self._tasks.close()
        await self._run(self._close)
        self._thread.shutdown(wait=True)
        self._thread = None

    # Clients

    async def client(self, address: bytes) -> ClientRecord | None:
        """The record of a client, None when it never registered (or asked to be forgotten)."""

        def read(db: sqlite3.Connection) -> ClientRecord | None:
            row = db.execute(
                "SELECT address, shared_key, last_auth_unix, available_bytes, expires_unix"
                " FROM clients WHERE address = ?",
                (address,),
            ).fetchone()
            return None if row is None else ClientRecord(*row)

        return await self._with_db(read)

    def knows(self, address: bytes) -> bool:
        """True for a registered client; answers at once."""
        return address in self._known

    async def register(self, address: bytes, shared_key: bytes) -> None:
        """Store or replace the key; an allowance survives a new registration (docs/protocol/03 §4)."""
        self._known.add(address)
        await self._execute(
            "INSERT INTO clients (address, shared_key) VALUES (?, ?)"
            " ON CONFLICT (address) DO UPDATE SET shared_key = excluded.shared_key",
            (address, shared_key),
        )

    async def set_last_auth(self, address: bytes, timestamp_unix: int) -> None:
        """Remember the newest authentication of a client."""
        await self._execute(
            "UPDATE clients SET last_auth_unix = ? WHERE address = ?", (timestamp_unix, address)
        )

    async def set_allowance(self, address: bytes, available_bytes: int, expires_unix: int) -> None:
        """Replace the allowance of a client."""
        await self._execute(
            "UPDATE clients SET available_bytes = ?, expires_unix = ? WHERE address = ?",
            (available_bytes, expires_unix, address),
        )

    async def forget(self, address: bytes) -> None:
        """Delete everything about a client: key, allowance, waiting payloads."""
        self._known.discard(address)
        await self.settled()

        def delete(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM clients WHERE address = ?", (address,))
            db.execute("DELETE FROM messages WHERE address = ?", (address,))

        await self._with_db(delete)
        del self._stored[address]

    async def spend_ticket(self, serial: bytes) -> bool:
        """Record the serial number of a ticket; False when it is known already."""

        def insert(db: sqlite3.Connection) -> bool:
            cursor = db.execute(
                "INSERT INTO tickets (serial, spent_unix) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (serial, time.time()),
            )
            return cursor.rowcount == 1

        return await self._with_db(insert)

    # Payloads of absent clients

    def put_message(self, address: bytes, payload: bytes, stored: Callable[[], None] | None = None) -> bool:
        """Queue a payload for writing; `stored()` is called when it is on record.

        False, and no call, when too much waits for that client already.
        """
        if self._stored[address] >= MAX_STORED_PER_CLIENT:
            return False
        self._stored[address] += 1
        self._pending.append(_Pending(address, payload, stored))
        if self._settled.is_set():
            self._settled.clear()
            self._tasks.spawn(self._write_pending(), name="write payloads")
        return True

    async def settled(self) -> None:
        """Wait until everything put so far is on record."""
        await self._settled.wait()

    async def messages(self, address: bytes, limit: int = RETRIEVAL_BATCH) -> list[StoredMessage]:
        """The oldest waiting payloads of a client."""

        def read(db: sqlite3.Connection) -> list[StoredMessage]:
            rows = db.execute(
                "SELECT id, payload FROM messages WHERE address = ? ORDER BY id LIMIT ?", (address, limit)
            )
            return [StoredMessage(*row) for row in rows]

        return await self._with_db(read)

    async def delete_messages(self, address: bytes, ids: Iterable[int]) -> None:
        """Remove payloads that were handed to their client."""
        rows = [(message_id,) for message_id in ids]

        def delete(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM messages WHERE id = ?", rows)

        await self._with_db(delete)
        self._stored[address] = max(0, self._stored[address] - len(rows))

    async def purge(self, before_unix: float) -> int:
        """Delete payloads stored before an instant; returns how many."""

        def delete(db: sqlite3.Connection) -> tuple[int, dict[bytes, int]]:
            gone = db.execute("DELETE FROM messages WHERE stored_unix < ?", (before_unix,)).rowcount
            return gone, dict(db.execute("SELECT address, COUNT(*) FROM messages GROUP BY address"))

        await self.settled()
        gone, left = await self._with_db(delete)
        self._stored = Counter(left)
        return gone

    def waiting(self, address: bytes) -> int:
        """Payloads that wait for a client."""
        return self._stored[address]

    # Inside

    async def _write_pending(self) -> None:
        try:
            while self._pending:
                batch, self._pending = self._pending, []
                now = time.time()
                rows = [(item.address, item.payload, now) for item in batch]

                def write(db: sqlite3.Connection, rows: list[tuple[bytes, bytes, float]] = rows) -> None:
                    db.executemany(
                        "INSERT INTO messages (address, payload, stored_unix) VALUES (?, ?, ?)", rows
                    )

                await self._with_db(write)
                for item in batch:
                    if item.stored is not None:
                        item.stored()
        finally:
            self._settled.set()

    async def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        def run(db: sqlite3.Connection) -> None:
            db.execute(statement, values)

        await self._with_db(run)

    async def _with_db(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            assert self._db is not None, "the store is not open"
            with self._db:
                return work(self._db)

        return await self._run(run)

    async def _run(self, work: Callable[[], T]) -> T:
        assert self._thread is not None, "the store is not open"
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> tuple[dict[bytes, int], list[bytes]]:
        if self._path is not None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._db = sqlite3.connect(self._path or ":memory:", check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {'NORMAL' if self._durable else 'OFF'}")
        self._db.executescript(SCHEMA)
        stored = dict(self._db.execute("SELECT address, COUNT(*) FROM messages GROUP BY address"))
        return stored, [address for (address,) in self._db.execute("SELECT address FROM clients")]

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
