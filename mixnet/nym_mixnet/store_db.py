"""The client's state in SQLite, as plain blocking calls. `store_io` runs them in a thread of their own.

Write-ahead logging makes every commit survive the death of this process. What must also survive the death
of the whole machine (registrations, timestamps) is forced to disk by each commit; reply keys, which are
many and written while data flows, are not: after such a crash the newest may be missing, which
`unclean_os_crash` tells (docs/protocol/04 §4.4a says why the sender tags must go then).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nym_mixnet.errors import StoreError

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE gateways (
    identity BLOB PRIMARY KEY,
    shared_key BLOB NOT NULL,
    urls TEXT NOT NULL,
    registered_unix REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE gateway_sessions (
    identity BLOB PRIMARY KEY,
    last_auth_timestamp INTEGER,
    allowance INTEGER
) WITHOUT ROWID;
CREATE TABLE reply_keys (
    digest BLOB PRIMARY KEY,
    key BLOB NOT NULL,
    created_unix REAL NOT NULL,
    recipient BLOB NOT NULL,
    rotation_id INTEGER NOT NULL,
    issued INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX reply_keys_by_issue ON reply_keys (issued);
CREATE TABLE sender_tags (recipient BLOB PRIMARY KEY, tag BLOB NOT NULL) WITHOUT ROWID;
"""
_RUNNING = "running_since_boot"
_ACTIVE_GATEWAY = "active_gateway"

ReplyKeyRow = tuple[bytes, bytes, float, bytes, int]
"""digest, key, Unix time of issue, recipient (96 bytes), key rotation id."""


@dataclass(frozen=True, slots=True)
class GatewayRegistration:
    """What a registration leaves behind. `urls`: where the gateway was reached."""

    identity: bytes
    shared_key: bytes = field(repr=False)
    urls: tuple[str, ...]
    registered_unix: float


@dataclass(frozen=True, slots=True)
class ReplyKeyRecord:
    """The key of one reply SURB that we gave away."""

    digest: bytes
    key: bytes = field(repr=False)
    created_unix: float
    recipient: bytes = field(repr=False)
    rotation_id: int


def peek_active_gateway(path: Path) -> bytes | None:
    """What another process may be using at the same time: it is read and never written. None for no answer."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as db:
            row = db.execute("SELECT value FROM meta WHERE name = ?", (_ACTIVE_GATEWAY,)).fetchone()
        return None if row is None else bytes.fromhex(row[0])
    except (sqlite3.Error, ValueError, TypeError):
        return None


class StateDatabase:
    """All of it in one connection. Raises `StoreError` for whatever SQLite does not like."""

    def __init__(self, path: Path | None, boot_id: str | None) -> None:
        """`path` None keeps everything in memory. `boot_id` None: it cannot be known whether the machine
        crashed.
        """
        self._name = str(path or "the store in memory")
        with self._mapped():
            # used by one thread at a time, though not always by the one that opened it
            self._db = sqlite3.connect(
                path or ":memory:", isolation_level=None, check_same_thread=False, timeout=10.0
            )
        try:
            with self._mapped():
                self._prepare()
                self.unclean_os_crash = self._note_start(boot_id)
        except BaseException:
            self._db.close()
            raise

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreError(f"{self._name} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{self._name} is damaged ({error}): move it away; the client then registers again and "
                "keeps its address"
            ) from error

    @contextmanager
    def _transaction(self, *, to_disk: bool) -> Iterator[sqlite3.Connection]:
        with self._mapped():
            self._db.execute(f"PRAGMA synchronous = {'FULL' if to_disk else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA secure_delete = ON")  # used keys shall not linger in free pages
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise StoreError(f"{self._name} was written by a newer version of this program: update it")
        if version < SCHEMA_VERSION:
            with self._transaction(to_disk=True) as db:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _note_start(self, boot_id: str | None) -> bool:
        running = self._meta(_RUNNING)
        # the mark of a run that never ended: harmless if the machine has been up since, as commits reached it
        crashed = running is not None and (boot_id is None or running != boot_id)
        with self._transaction(to_disk=True) as db:
            self._put_meta(db, _RUNNING, boot_id or "unknown")
            if crashed:
                db.execute("DELETE FROM sender_tags")
        return crashed

    def close(self) -> None:
        """Leave the mark of a clean end."""
        try:
            with self._transaction(to_disk=True) as db:
                db.execute("DELETE FROM meta WHERE name = ?", (_RUNNING,))
        finally:
            self._db.close()

    def discard(self) -> None:
        """Let go without a mark."""
        self._db.close()

    def _meta(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    @staticmethod
    def _put_meta(db: sqlite3.Connection, name: str, value: str) -> None:
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    # ---- gateways ----------------------------------------------------------------------------------------

    def registration(self, identity: bytes) -> GatewayRegistration | None:
        with self._mapped():
            row = self._db.execute(
                "SELECT shared_key, urls, registered_unix FROM gateways WHERE identity = ?", (identity,)
            ).fetchone()
        if row is None:
            return None
        return GatewayRegistration(identity, bytes(row[0]), tuple(json.loads(row[1])), float(row[2]))

    def put_registration(self, registration: GatewayRegistration) -> None:
        row = (
            registration.identity,
            registration.shared_key,
            json.dumps(registration.urls),
            registration.registered_unix,
        )
        with self._transaction(to_disk=True) as db:
            db.execute("INSERT OR REPLACE INTO gateways VALUES (?, ?, ?, ?)", row)

    def delete_registration(self, identity: bytes) -> None:
        with self._transaction(to_disk=True) as db:
            db.execute("DELETE FROM gateways WHERE identity = ?", (identity,))

    def _session_value(self, column: str, identity: bytes) -> int | None:
        query = f"SELECT {column} FROM gateway_sessions WHERE identity = ?"  # noqa: S608 - our own two names
        with self._mapped():
            row = self._db.execute(query, (identity,)).fetchone()
        return None if row is None or row[0] is None else int(row[0])

    def _put_session_value(self, column: str, identity: bytes, value: int | None, *, to_disk: bool) -> None:
        statement = (
            f"INSERT INTO gateway_sessions (identity, {column}) VALUES (?, ?) "  # noqa: S608 - see above
            f"ON CONFLICT (identity) DO UPDATE SET {column} = excluded.{column}"
        )
        with self._transaction(to_disk=to_disk) as db:
            db.execute(statement, (identity, value))

    def last_auth_timestamp(self, identity: bytes) -> int | None:
        return self._session_value("last_auth_timestamp", identity)

    def put_last_auth_timestamp(self, identity: bytes, timestamp: int) -> None:
        self._put_session_value("last_auth_timestamp", identity, timestamp, to_disk=True)

    def allowance(self, identity: bytes) -> int | None:
        return self._session_value("allowance", identity)

    def put_allowance(self, identity: bytes, remaining: int | None) -> None:
        self._put_session_value("allowance", identity, remaining, to_disk=False)

    def active_gateway(self) -> bytes | None:
        with self._mapped():
            value = self._meta(_ACTIVE_GATEWAY)
        return None if value is None else bytes.fromhex(value)

    def put_active_gateway(self, identity: bytes) -> None:
        with self._transaction(to_disk=True) as db:
            self._put_meta(db, _ACTIVE_GATEWAY, identity.hex())

    # ---- reply keys and sender tags ----------------------------------------------------------------------

    def add_reply_keys(self, rows: Sequence[ReplyKeyRow]) -> None:
        with self._transaction(to_disk=False) as db:
            (last,) = db.execute("SELECT COALESCE(MAX(issued), 0) FROM reply_keys").fetchone()
            db.executemany(
                "INSERT OR REPLACE INTO reply_keys VALUES (?, ?, ?, ?, ?, ?)",
                [(*row, last + number) for number, row in enumerate(rows, start=1)],
            )

    def remove_reply_keys(self, digests: Iterable[bytes]) -> None:
        with self._transaction(to_disk=False) as db:
            db.executemany("DELETE FROM reply_keys WHERE digest = ?", [(digest,) for digest in digests])

    def load_reply_keys(self) -> list[ReplyKeyRecord]:
        """In the order in which they were added."""
        with self._mapped():
            rows = self._db.execute(
                "SELECT digest, key, created_unix, recipient, rotation_id FROM reply_keys ORDER BY issued"
            ).fetchall()
        return [ReplyKeyRecord(bytes(d), bytes(k), float(c), bytes(r), int(i)) for d, k, c, r, i in rows]

    def purge_reply_keys(self, created_before_unix: float) -> int:
        with self._transaction(to_disk=False) as db:
            return db.execute(
                "DELETE FROM reply_keys WHERE created_unix < ?", (created_before_unix,)
            ).rowcount

    def sender_tag(self, recipient: bytes) -> bytes | None:
        with self._mapped():
            row = self._db.execute("SELECT tag FROM sender_tags WHERE recipient = ?", (recipient,)).fetchone()
        return None if row is None else bytes(row[0])

    def put_sender_tag(self, recipient: bytes, tag: bytes) -> None:
        with self._transaction(to_disk=False) as db:
            db.execute("INSERT OR REPLACE INTO sender_tags VALUES (?, ?)", (recipient, tag))

    def load_sender_tags(self) -> dict[bytes, bytes]:
        with self._mapped():
            rows = self._db.execute("SELECT recipient, tag FROM sender_tags").fetchall()
        return {bytes(recipient): bytes(tag) for recipient, tag in rows}

    def drop_sender_tags(self) -> None:
        with self._transaction(to_disk=False) as db:
            db.execute("DELETE FROM sender_tags")
