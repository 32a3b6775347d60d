"""The database itself: engine, transactions, migrations, and what errors of it mean.

SQLite: one connection, so transactions of a process follow each other; those of several processes on one file do so
too, because each begins with the lock for writing (`BEGIN IMMEDIATE`). A commit is on disk when it returns
(`synchronous = FULL`): this is where money is kept. PostgreSQL: a few connections; see ``postgres_io``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import URL, Connection, event, inspect, make_url, text
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from nym_credentials.errors import StoreInUse, StoreUnreachable, StoreUnusable
from nym_credentials.store import postgres_io

SCHEMA_HEAD: Final = "0002"
"""The newest migration: known here, so that Alembic is loaded only when there is something to do."""

_BUSY_SECONDS: Final = 20
"""How long to wait for another process's transaction."""
_POSTGRES_CONNECTIONS: Final = 4
"""Of one process, for its transactions; opening and buying have one of their own."""
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def sqlite_url(path: Path) -> URL:
    """The URL of a database file."""
    return URL.create("sqlite+aiosqlite", database=str(path))


def parse_url(url: str) -> URL:
    """A database URL. Raises `StoreUnusable`; the message does not repeat it, there may be a password in it."""
    try:
        parsed = make_url(url)
    except SQLAlchemyError:
        raise StoreUnusable("The URL of the ticket store cannot be read.", _WHICH_URLS) from None
    if parsed.drivername in ("postgresql", "postgres", "postgresql+asyncpg"):
        if not parsed.database:
            raise StoreUnusable("The URL of the ticket store names no database.", _WHICH_URLS)
        return parsed.set(drivername="postgresql+asyncpg")
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite+aiosqlite")
    raise StoreUnusable("The ticket store can be kept in SQLite or PostgreSQL only.", _WHICH_URLS)


_WHICH_URLS: Final = "Give a path, sqlite+aiosqlite:///path, or postgresql+asyncpg://user@host/database."


def url_name(url: URL) -> str:
    """What messages call a database: no password, no user, no options."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    where = url.host or url.query.get("host") or "localhost"
    return f"{url.database} on {where}{f':{url.port}' if url.port else ''}"


class Database:
    """One database. `name` is what messages call it."""

    def __init__(self, url: URL, name: str) -> None:
        self._name = name
        self._closed = False
        self.shared = url.get_backend_name() == "postgresql"
        """Whether several machines may use it at once: PostgreSQL, not SQLite."""
        self._engine = create_async_engine(
            url,
            hide_parameters=True,  # error texts must not hold what is stored
            poolclass=AsyncAdaptedQueuePool,
            pool_size=_POSTGRES_CONNECTIONS if self.shared else 1,
            max_overflow=0,
            pool_timeout=_BUSY_SECONDS * 3,
            connect_args=postgres_io.CONNECT_ARGUMENTS if self.shared else {},
        )
        if not self.shared:
            event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self._engine.sync_engine, "begin", _begin_immediate)
        self._apart = (
            create_async_engine(
                url,
                hide_parameters=True,
                poolclass=NullPool,
                connect_args=postgres_io.CONNECT_ARGUMENTS,
                isolation_level="AUTOCOMMIT",
            )
            if self.shared
            else None
        )
        self._drivers: WeakSet[Any] = WeakSet()
        """The connections to a server as its driver has them."""
        for engine in (self._engine, self._apart):
            if self.shared and engine is not None:
                event.listen(engine.sync_engine, "connect", self._note)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._name

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """All or nothing, on disk when it ends. Raises `StoreInUse`, `StoreUnusable`; `IntegrityError` as it is.

        `StoreUnreachable.unclear` tells that the connection broke while it was told to commit: then nobody knows.
        """
        if self._closed:
            raise StoreUnusable(f"The ticket store {self._name} is closed.")
        committing = False
        with self.mapped(lambda: committing):
            async with self._engine.begin() as connection:
                yield connection
                committing = True

    async def connect_apart(self) -> AsyncConnection:
        """PostgreSQL only: a connection of its own, without transactions, for locks that live as long as it does.

        Close it. Raises `StoreUnreachable`, `StoreUnusable`.
        """
        assert self._apart is not None
        with self.mapped(lambda: False):
            return await self._apart.connect().start()

    @contextmanager
    def mapped(self, committing: Callable[[], bool]) -> Iterator[None]:
        """Errors of the libraries as ours."""
        try:
            yield
        except IntegrityError:
            raise
        except PoolTimeout as error:
            raise StoreInUse(f"The ticket store {self._name} has too much to do.", "Try again.") from error
        except Exception as error:
            ours = isinstance(error, SQLAlchemyError) or (
                # While a connection is made the driver's own errors come through.
                self.shared and (isinstance(error, OSError) or postgres_io.of_driver(error))
            )
            explained = self._explained(error, committing=committing()) if ours else error
            if explained is error:
                raise
            raise explained from error

    def _explained(self, error: Exception, *, committing: bool) -> Exception:
        if self.shared:
            return self._explained_postgres(error, committing=committing)
        if isinstance(error, OperationalError):
            if "locked" in str(error.orig) or "busy" in str(error.orig):
                return StoreInUse(
                    f"The ticket store {self._name} is busy with another process.",
                    "Try again when that is done.",
                )
            return StoreUnusable(
                f"The ticket store {self._name} cannot be used: {error.orig}.",
                "Check the disk and the permissions of its folder.",
            )
        if isinstance(error, DatabaseError):
            return StoreUnusable(
                f"The ticket store {self._name} is damaged: {error.orig}.",
                "Keep the file: it may hold paid books. Repair it, or restore a backup and read about restoring first.",
            )
        return error

    def _explained_postgres(self, error: Exception, *, committing: bool) -> Exception:
        if postgres_io.lost(error):
            what = "broke while it was told to commit" if committing else "could not be made, or broke"
            return StoreUnreachable(
                f"A connection to the ticket store {self._name} {what}.",
                "Check the database server and the way to it; what was begun is not lost.",
                unclear=committing,
            )
        if postgres_io.undone(error):
            return StoreInUse(f"The ticket store {self._name} is busy with another replica.", "Try again.")
        cause = getattr(error, "orig", None) or error
        # The first line: more could repeat what is stored.
        detail = str(cause).partition("\n")[0].removeprefix(f"{type(cause)}: ")
        return StoreUnusable(
            f"The ticket store {self._name} cannot be used: {detail}.",
            "Check the URL, the role's password and its permissions: it has to own the tables.",
        )

    async def revision(self) -> str | None:
        """The schema that the database has; None if it has none."""
        async with self.transaction() as connection:
            return await connection.run_sync(_current_revision)

    async def migrate(self, *, alone: bool, target: str | None = None) -> None:
        """Brings the schema up (or back) to `target`, by default up to the newest.

        Raises `StoreUnusable` for a newer one, `StoreInUse` if others are at work.
        """
        target = target or SCHEMA_HEAD
        async with self.transaction() as connection:
            current = await connection.run_sync(_current_revision)
            if current == target:
                return
            if not alone and current is not None:
                raise StoreInUse(
                    f"The ticket store {self._name} has another schema, and another process is using it.",
                    "Stop that process; versions of this program must not be mixed.",
                )
            await connection.run_sync(self._migrate, current, target)

    def _migrate(self, connection: Connection, current: str | None, target: str) -> None:
        # Here, because they are slow to import and rarely needed.
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
        if current is not None and current not in known:
            raise StoreUnusable(
                f"The ticket store {self._name} was written by a newer version of this program.",
                "Update the program; it cannot be downgraded.",
            )
        if target not in known:
            raise StoreUnusable(f"There is no schema {target}.", f"There are: {', '.join(sorted(known))}.")
        if current is None or known.index(target) < known.index(current):  # newest first
            command.upgrade(config, target)
        else:
            command.downgrade(config, target)

    async def close(self) -> None:
        """Lets the file go, or the server."""
        self._closed = True
        await self._engine.dispose()
        if self._apart is not None:
            await self._apart.dispose()

    def drop(self) -> None:
        """Breaks every connection to a server that does not answer, and makes no more. Call `close` afterwards."""
        self._closed = True
        for driver in list(self._drivers):
            driver.terminate()

    def _note(self, connection: Any, _record: Any) -> None:
        self._drivers.add(connection.driver_connection)


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
