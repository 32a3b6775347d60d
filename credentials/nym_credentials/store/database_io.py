"""The database itself: engine, transactions, migrations, and what errors of it mean.

One connection, so transactions of a process follow each other; those of several processes on one SQLite file do so
too, because each begins with the lock for writing (`BEGIN IMMEDIATE`). A commit is on disk when it returns
(`synchronous = FULL`): this is where money is kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, event, inspect, make_url, text
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from nym_credentials.errors import StoreInUse, StoreUnusable

SCHEMA_HEAD: Final = "0001"
"""The newest migration: known here, so that Alembic is loaded only when there is something to do."""

_BUSY_SECONDS: Final = 20
"""How long to wait for another process's transaction."""
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def sqlite_url(path: Path) -> URL:
    """The URL of a database file."""
    return URL.create("sqlite+aiosqlite", database=str(path))


def parse_url(url: str) -> URL:
    """A database URL. Raises `StoreUnusable`; the message does not repeat it, there may be a password in it."""
    try:
        return make_url(url)
    except SQLAlchemyError:
        raise StoreUnusable(
            "The URL of the ticket store cannot be read.", "Give a path, or sqlite+aiosqlite:///…"
        ) from None


class Database:
    """One database. `name` is what messages call it."""

    def __init__(self, url: URL, name: str) -> None:
        self._name = name
        self._closed = False
        self._engine = create_async_engine(
            url,
            hide_parameters=True,  # error texts must not hold what is stored
            poolclass=AsyncAdaptedQueuePool,
            pool_size=1,
            max_overflow=0,
            pool_timeout=_BUSY_SECONDS * 3,
        )
        if url.get_backend_name() == "sqlite":
            event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self._engine.sync_engine, "begin", _begin_immediate)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """All or nothing, on disk when it ends. Raises `StoreInUse`, `StoreUnusable`; `IntegrityError` as it is."""
        if self._closed:
            raise StoreUnusable(f"The ticket store {self._name} is closed.")
        with self._mapped():
            async with self._engine.begin() as connection:
                yield connection

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except PoolTimeout as error:
            raise StoreInUse(f"The ticket store {self._name} has too much to do.", "Try again.") from error
        except OperationalError as error:
            if "locked" in str(error.orig) or "busy" in str(error.orig):
                raise StoreInUse(
                    f"The ticket store {self._name} is busy with another process.",
                    "Try again when that is done.",
                ) from error
            raise StoreUnusable(
                f"The ticket store {self._name} cannot be used: {error.orig}.",
                "Check the disk and the permissions of its folder.",
            ) from error
        except DatabaseError as error:
            raise StoreUnusable(
                f"The ticket store {self._name} is damaged: {error.orig}.",
                "Keep the file: it may hold paid books. Repair it, or restore a backup and read about restoring first.",
            ) from error

    async def migrate(self, *, alone: bool) -> None:
        """Brings the schema up to date. Raises `StoreUnusable` for a newer one, `StoreInUse` if others are at work."""
        async with self.transaction() as connection:
            current = await connection.run_sync(_current_revision)
            if current == SCHEMA_HEAD:
                return
            if not alone:
                raise StoreInUse(
                    f"The ticket store {self._name} has another schema, and another process is using it.",
                    "Stop that process; versions of this program must not be mixed.",
                )
            await connection.run_sync(self._upgrade, current)

    def _upgrade(self, connection: Connection, current: str | None) -> None:
        # Here, because they are slow to import and rarely needed.
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if current is not None and current not in known:
            raise StoreUnusable(
                f"The ticket store {self._name} was written by a newer version of this program.",
                "Update the program; it cannot be downgraded.",
            )
        command.upgrade(config, SCHEMA_HEAD)

    async def close(self) -> None:
        """Lets the file go."""
        self._closed = True
        await self._engine.dispose()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by `_begin_immediate`
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {_BUSY_SECONDS * 1000}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "secure_delete = ON",  # secrets of dead books shall not linger in free pages
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _current_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
