"""What all parts of an open store share: transactions that are never cut short, the seal, the generation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.errors import StoreUnusable
from nym_credentials.store.database_io import Database
from nym_credentials.store.sealing import SealBroken, Sealer
from nym_credentials.store.tables_io import MetaRow
from nym_credentials.store.tasks_io import Unbroken
from nym_credentials.store.witness_io import StoreFiles

_Result = TypeVar("_Result")

META_GENERATION: Final = "generation"


def no_point(_name: str) -> None:
    """The hook `at` of a store that nobody watches."""


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
    tasks: Unbroken = field(default_factory=Unbroken)

    def now(self) -> int:
        """Unix seconds."""
        return int(self.clock())

    async def run(self, work: Callable[[AsyncConnection], Awaitable[_Result]]) -> _Result:
        """`work` in one transaction, which goes on when the caller is cancelled."""
        return await self.tasks.run(self.transact(work))

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[_Result]]) -> _Result:
        """`work` in one transaction, for callers that cannot be cancelled themselves."""
        async with self.database.transaction() as connection:
            return await work(connection)

    async def advance(self, connection: AsyncConnection) -> int:
        """Raises the generation: from here on, older backups are older. Call `witness` after the commit."""
        statement = select(MetaRow.value).where(MetaRow.name == META_GENERATION)
        generation = int((await connection.execute(statement)).scalar_one()) + 1
        await connection.execute(
            update(MetaRow).where(MetaRow.name == META_GENERATION).values(value=str(generation).encode())
        )
        return generation

    async def witness(self, generation: int) -> None:
        """Tells the witness file. Nothing that depends on the change may leave the process before this returns."""
        await asyncio.to_thread(self.files.write_witness, self.store_id, generation)

    def open_sealed(self, place: str, sealed: bytes) -> bytes:
        """A sealed column. Raises `StoreUnusable`."""
        try:
            return self.sealer.open(place, sealed)
        except SealBroken as error:
            raise StoreUnusable(
                f"The ticket store is damaged: {error}.", "Keep the file and restore a backup of it."
            ) from error
