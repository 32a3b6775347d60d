"""What is particular to PostgreSQL: how connections are made, what their errors mean, and where a database is.

A commit is on disk when it returns, whatever the defaults of server and role are. A server or a network that has
gone silent is noticed: statements, waits for locks and idle transactions end by themselves.

`PLACE` is how a restored dump is noticed. The row names the cluster, its timeline, the database, and the transaction
that wrote the row: whatever puts a copy of that row somewhere (a dump restored here or elsewhere, a database made from
a template, a recovery to a point in time, a standby that was promoted) changes one of them.

What this cannot see: the files of a whole server, stopped and rolled back, or copied and started twice. A replica that
runs meanwhile, or keeps a witness in a folder of its own, notices if it was further; else the gateways' "already spent"
is the only sign, and the book becomes suspect (`records.SUSPECT_AFTER`).

Poolers that hand a connection to another client after each transaction do not go together with advisory locks of
sessions: connect to the server itself, or to a pooler in session mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

PLACE: Final = "place"
"""Name of the row in `meta`."""

_STATEMENT_SECONDS: Final = 60
_LOCK_SECONDS: Final = 30
_IDLE_SECONDS: Final = 15
"""Of a transaction whose client does not go on: then its locks are free again."""

CONNECT_ARGUMENTS: Final[dict[str, Any]] = {
    "timeout": 10,
    "command_timeout": _STATEMENT_SECONDS + 10,
    "server_settings": {
        "application_name": "nymgate",
        "synchronous_commit": "on",
        "default_transaction_isolation": "read committed",
        "statement_timeout": f"{_STATEMENT_SECONDS}s",
        "lock_timeout": f"{_LOCK_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{_IDLE_SECONDS}s",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    },
}

LOCK_OPENING: Final = 0x6E796D01
"""Advisory locks, each with a key of its own: held while a replica opens the store,"""
LOCK_TURN: Final = 0x6E796D02
"""while one buys,"""
LOCK_MONEY: Final = 0x6E796D03
"""inside of transactions that add to what is paid,"""
LOCK_PUBLIC_DATA: Final = 0x6E796D04
"""and inside of those that throw public data away, or bring books that nobody sees before."""

_LOST_CLASSES: Final = ("08", "57P")
"""SQLSTATE: connection exceptions; the server is shutting down, starting, or has ended the session."""
_CHAIN: Final = 8
"""How many causes of an error are looked at."""
_UNDONE: Final = frozenset({"40001", "40P01", "55P03"})
"""Serialization failures, deadlocks, locks that were waited for too long: the transaction was undone."""


def lost(error: BaseException) -> bool:
    """Whether the connection is gone, or there was none to be had: repeating may help."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or _state(error).startswith(_LOST_CLASSES) or _lost_inside(error)
    return _lost_inside(error)


def undone(error: BaseException) -> bool:
    """Whether the server has undone the transaction because of others: repeating helps."""
    return isinstance(error, DBAPIError) and _state(error) in _UNDONE


def _state(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")


def _lost_inside(error: BaseException) -> bool:
    cause: BaseException | None = error
    for _ in range(_CHAIN):
        if cause is None:
            return False
        if of_driver(cause):
            state = getattr(cause, "sqlstate", None)
            # Without one it is the driver's own: the connection is closed. A ValueError is a wrong option.
            return str(state).startswith(_LOST_CLASSES) if state else not isinstance(cause, ValueError)
        if isinstance(cause, OSError):  # time-outs too
            return True
        cause = cause.orig if isinstance(cause, DBAPIError) else cause.__cause__
    return False


def of_driver(error: BaseException) -> bool:
    """Whether it is an error of the driver itself, which is loaded only if there is such a database."""
    return type(error).__module__.partition(".")[0] == "asyncpg"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the database is, and whether the row that says so was written there."""

    noted: str
    found: str

    @property
    def kept(self) -> bool:
        """Whether nothing was restored, copied or promoted."""
        return self.noted == self.found

    def difference(self) -> str:
        """For people: what happened."""
        noted, found = self.noted.split("/"), self.found.split("/")
        for before, now, what in zip(
            noted,
            found,
            (
                "it is on another server than before",
                "the server was recovered to an earlier point, or a standby took its place",
                "it is another database than before",
                "its tables were restored from a dump",
            ),
            strict=False,
        ):
            if before != now:
                return what
        return "it does not know where it was"


_HERE: Final = (
    "(SELECT system_identifier FROM pg_control_system())"
    " || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"
    " || '/' || (SELECT oid FROM pg_database WHERE datname = current_database()) || '/'"
)
_READ_PLACE: Final = text(
    f"SELECT convert_from(value, 'UTF8'), {_HERE} || xmin::text FROM meta WHERE name = '{PLACE}'"  # noqa: S608
)
_NOTE_PLACE: Final = text(
    f"INSERT INTO meta (name, value) VALUES ('{PLACE}',"  # noqa: S608  (constants of ours)
    f" convert_to({_HERE} || (txid_current() & 4294967295)::text, 'UTF8'))"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)


async def read_place(connection: AsyncConnection) -> Place:
    """Where we are. Cheap enough for every ticket: tables can be restored under open connections."""
    row = (await connection.execute(_READ_PLACE)).first()
    return Place("", "nowhere") if row is None else Place(str(row[0]), str(row[1]))


async def note_place(connection: AsyncConnection) -> None:
    """From now on this is the place. Not inside of a savepoint."""
    await connection.execute(_NOTE_PLACE)


async def next_generation(connection: AsyncConnection) -> int:
    """Rises with every call, without waiting for others; on disk when the transaction is."""
    return int((await connection.execute(text("SELECT nextval('store_generation')"))).scalar_one())


async def last_generation(connection: AsyncConnection) -> int:
    """How far it has come."""
    return int((await connection.execute(text("SELECT last_value FROM store_generation"))).scalar_one())


async def set_generation(connection: AsyncConnection, generation: int) -> None:
    """Never backwards."""
    await connection.execute(
        text(
            "SELECT setval('store_generation', greatest(:generation, (SELECT last_value FROM store_generation)))"
        ),
        {"generation": generation},
    )


async def durable(connection: AsyncConnection) -> bool:
    """Whether the server's commits survive a crash of its machine at all."""
    return str((await connection.execute(text("SHOW fsync"))).scalar_one()) == "on"


async def lock_in_transaction(connection: AsyncConnection, key: int) -> None:
    """Until the end of the transaction nobody else has this lock."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
