"""What all parts of an open store share: transactions that are never cut short, the seal, the generation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from sqlalchemy import inspect, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.errors import BackupRestored, StoreInUse, StoreUnreachable, StoreUnusable
from nym_credentials.store.database_io import Database
from nym_credentials.store.postgres_io import lock_in_transaction, next_generation, read_place
from nym_credentials.store.sealing import SealBroken, Sealer
from nym_credentials.store.tables_io import MetaRow, Table
from nym_credentials.store.tasks_io import Unbroken
from nym_credentials.store.witness_io import StoreFiles

_Result = TypeVar("_Result")

META_GENERATION: Final = "generation"
RETRY_SECONDS: Final = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0)
"""After which waits a transaction is begun anew when its connection has broken."""


def no_point(_name: str) -> None:
    """The hook `at` of a store that nobody watches."""


def nobody_counts(_seconds: float) -> None:
    """The hook `took` of a store that nobody watches."""


@dataclass(slots=True)
class StoreCore:
    """An open store without its tables."""

    database: Database
    files: StoreFiles
    data_key: bytes = field(repr=False)
    sealer: Sealer = field(repr=False)
    store_id: str
    session: str
    clock: Callable[[], float]
    at: Callable[[str], None] = no_point
    """Called with each of `records.POINTS`: tests kill the process there."""
    took: Callable[[float], None] = nobody_counts
    """Told how long each transaction took, waiting for its turn included; seconds."""
    tasks: Unbroken = field(default_factory=Unbroken)
    place: str = ""
    """Where the database was when the store was opened (`postgres_io.Place`)."""
    generation: int = -1
    """The highest that this process has seen: a database that gives a lower one is an older one."""
    turn: int | None = None
    """Number of the turn to buy that this process believes to have (`turns_io`)."""
    buyer: asyncio.Task[Any] | None = None
    """The task that has it."""

    def now(self) -> int:
        """Unix seconds."""
        return int(self.clock())

    async def run(
        self, work: Callable[[AsyncConnection], Awaitable[_Result]], *, repeatable: bool = True
    ) -> _Result:
        """`work` in one transaction, which goes on when the caller is cancelled."""
        return await self.tasks.run(self.transact(work, repeatable=repeatable))

    async def transact(
        self, work: Callable[[AsyncConnection], Awaitable[_Result]], *, repeatable: bool = True
    ) -> _Result:
        """`work` in one transaction, for callers that cannot be cancelled themselves.

        Where the connection breaks it is begun anew. `repeatable`: also if it may have been done already.
        """
        for delay in RETRY_SECONDS:
            try:
                return await self._once(work)
            except (StoreUnreachable, StoreInUse) as error:
                unclear = isinstance(error, StoreUnreachable) and error.unclear
                overloaded = isinstance(error.__cause__, PoolTimeout)
                if not self.database.shared or overloaded or (unclear and not repeatable):
                    raise
            await asyncio.sleep(delay)
        return await self._once(work)

    async def _once(self, work: Callable[[AsyncConnection], Awaitable[_Result]]) -> _Result:
        started = time.monotonic()
        try:
            async with self.database.transaction() as connection:
                return await work(connection)
        finally:
            self.took(time.monotonic() - started)

    async def advance(self, connection: AsyncConnection) -> int:
        """Raises the generation: from here on, older backups are older. Call `witness` after the commit.

        Raises `BackupRestored` if the database is not the one that the store was opened on.
        """
        if self.database.shared:
            return await self._advance_shared(connection)
        statement = select(MetaRow.value).where(MetaRow.name == META_GENERATION)
        generation = int((await connection.execute(statement)).scalar_one()) + 1
        await connection.execute(
            update(MetaRow).where(MetaRow.name == META_GENERATION).values(value=str(generation).encode())
        )
        return generation

    async def _advance_shared(self, connection: AsyncConnection) -> int:
        seen = self.generation  # before asking: others of this process ask at the same time
        generation = await next_generation(connection)
        place = await read_place(connection)
        if not place.kept or place.noted != self.place or generation <= seen:
            why = (
                place.difference()
                if not place.kept
                else "others have decided what to do about a restored one"
            )
            if place.kept and place.noted == self.place:
                why = "it has gone back to an earlier state"
            raise BackupRestored(
                f"The ticket store {self.database.name} is not as it was: {why}. "
                "Spending from it could spend tickets twice, which gateways punish and which reveals the buyer.",
                "Stop all replicas and start one of them: it says what can be done.",
            )
        return generation

    async def witness(self, generation: int) -> None:
        """Tells the witness file. Nothing that depends on the change may leave the process before this returns."""
        # Not before the commit: after a crash of the server a generation that was not committed comes again.
        self.generation = max(self.generation, generation)
        await asyncio.to_thread(self.files.write_witness, self.store_id, generation)

    async def alone_in(self, connection: AsyncConnection, lock: int) -> None:
        """Until the end of the transaction no other one is here. SQLite's transactions are alone anyway."""
        if self.database.shared:
            await lock_in_transaction(connection, lock)

    def open_sealed(self, place: str, sealed: bytes) -> bytes:
        """A sealed column. Raises `StoreUnusable`."""
        try:
            return self.sealer.open(place, sealed)
        except SealBroken as error:
            raise StoreUnusable(
                f"The ticket store is damaged: {error}.", "Keep the file and restore a backup of it."
            ) from error

    async def put(
        self,
        connection: AsyncConnection,
        table: type[Table],
        values: dict[str, object],
        *,
        keep: bool = False,
    ) -> None:
        """Inserts a row, or replaces the one with the same primary key, whoever else does so at this moment.

        `keep`: leaves the one that is there.
        """
        keys = [column.name for column in inspect(table).primary_key]
        statement: Any = (postgresql if self.database.shared else sqlite).insert(table).values(**values)
        changes = {name: statement.excluded[name] for name in values if name not in keys}
        await connection.execute(
            statement.on_conflict_do_nothing(index_elements=keys)
            if keep
            else statement.on_conflict_do_update(index_elements=keys, set_=changes)
        )
