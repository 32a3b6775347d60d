"""Upkeep of a whole store, by a process that is alone with it: another schema, or another database.

Two databases have no common transaction, and a ticket must not be spendable in two places. So `copy_store` first
closes the source (it says where its content goes, and opens for nobody), then fills the target in one transaction, then
gives up the books of the source. Whatever breaks off in between is taken up by calling it again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.errors import StoreError, StoreInUse, StoreMoved, StoreUnusable
from nym_credentials.store.core_io import META_GENERATION, StoreCore, no_point
from nym_credentials.store.database_io import SCHEMA_HEAD, Database, url_name
from nym_credentials.store.keyfile_io import own_key
from nym_credentials.store.keys import StoreKey
from nym_credentials.store.ledger_io import settle_left_behind
from nym_credentials.store.opening_io import (
    DERIVATION,
    META_MOVED,
    SEALED_KEY,
    STORE_ID,
    Opening,
    facts_of,
    give_up_everything,
    key_place,
    nobody_else,
    open_core,
    opening_lock,
)
from nym_credentials.store.postgres_io import last_generation, note_place, set_generation
from nym_credentials.store.records import Restored
from nym_credentials.store.sealing import Sealer
from nym_credentials.store.store_io import store_url
from nym_credentials.store.tables_io import MetaRow, ReplicaRow, Table
from nym_credentials.store.witness_io import ReplicaFiles, StoreFiles

_COPY: Final = "copy"
"""The number of a copying, in the source and in the target."""
_OF_ONE_PLACE: Final = frozenset(
    {STORE_ID, META_GENERATION, DERIVATION, SEALED_KEY, META_MOVED, _COPY, "place", "turn"}
)
"""What a store says of itself that does not go along as it is."""
_TABLES: Final = tuple(
    table
    for table in Table.metadata.sorted_tables
    if table.name not in (MetaRow.__tablename__, ReplicaRow.__tablename__)
)
_BATCH_ROWS: Final = 500


@dataclass(frozen=True, slots=True)
class StoreAt:
    """A store as an operator names it. `where`, `key` and `folder` as for `TicketStore.open`."""

    where: str | Path
    key: StoreKey | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Copied:
    """What `copy_store` has done."""

    source: str
    target: str
    rows: Mapping[str, int]
    """In the target, by table."""
    resumed: bool
    """It was done before, and only the source had to be closed."""


async def schema_of(place: StoreAt) -> str | None:
    """The schema of a store; None if there is none yet. Raises `StoreInUse` if any process has it open."""
    url = store_url(place.where)
    if url.get_backend_name() == "sqlite" and not await asyncio.to_thread(Path(url_name(url)).exists):
        return None
    async with _alone_with(place, must_exist=True) as (database, _):
        return await database.revision()


async def upgrade_store(place: StoreAt, *, to: str = SCHEMA_HEAD) -> tuple[str, str]:
    """Brings the schema up, or back to an older one; returns what it was and what it is.

    Raises `StoreInUse` if any process has the store open, `StoreUnusable` if there is no store or no such schema.
    """
    async with _alone_with(place, must_exist=True) as (database, _):
        before = await database.revision()
        if before is None:
            raise StoreUnusable(f"There is no ticket store in {database.name}.", "Check its name.")
        await database.migrate(alone=True, target=to)
        return before, to


async def copy_store(
    source: StoreAt,
    target: StoreAt,
    *,
    clock: Callable[[], float] = time.time,
    at: Callable[[str], None] = no_point,
) -> Copied:
    """Moves everything from one store into a new one; only the new one can be spent from afterwards.

    Repeat it if it is cut short. Raises `StoreInUse` if any process has one of them open, `StoreUnusable` if the
    target holds something else, `StoreMoved` if the source was moved somewhere else, and what opening raises.
    """
    if url_name(store_url(source.where)) == url_name(store_url(target.where)):
        raise StoreUnusable("A ticket store cannot be copied onto itself.", "Name another one as the target.")
    async with (
        _alone_with(source, must_exist=True) as (database, files),
        _alone_with(target, must_exist=False) as (new_database, new_files),
    ):
        opening = Opening(source.key, None, Restored.REFUSE, clock, at, moving=True)
        if await database.revision() is None:
            raise StoreUnusable(f"There is no ticket store in {database.name}.", "Check its name.")
        core, _ = await open_core(files, database, opening, alone=True)
        await core.transact(lambda connection: settle_left_behind(connection, core))
        await new_database.migrate(alone=True)
        held, known = await _facts(new_database), await _facts(database)
        resumed = _COPY in held and held[_COPY] == known.get(_COPY)
        if held and not resumed:
            raise StoreUnusable(
                f"The target {new_database.name} is a ticket store already.", "Name an empty database."
            )
        copy = await core.transact(lambda connection: _close(connection, core, new_database.name))
        at("copy:closed")
        async with new_database.transaction() as connection:
            if not resumed:
                await _fill(connection, core, new_files, target.key, copy, shared=new_database.shared)
                at("copy:begun")
            rows = {table.name: await _count(connection, table.name) for table in _TABLES}
            generation = (
                await last_generation(connection)
                if new_database.shared
                else int((await facts_of(connection))[META_GENERATION])
            )
        at("copy:committed")
        await asyncio.to_thread(new_files.write_witness, core.store_id, generation, anew=not resumed)
        await core.transact(give_up_everything)
        return Copied(files.name, new_files.name, rows, resumed)


@asynccontextmanager
async def _alone_with(place: StoreAt, *, must_exist: bool) -> AsyncIterator[tuple[Database, StoreFiles]]:
    """The database and the files of a store that nobody else has open, nor will."""
    url = store_url(place.where)
    name = url_name(url)
    busy = StoreInUse(
        f"The ticket store {name} is in use by another process.", "Stop every process that uses it first."
    )
    if url.get_backend_name() == "postgresql":
        files: StoreFiles = ReplicaFiles(place.folder, name)
        await asyncio.to_thread(files.create)
        database = Database(url, name)
        try:
            async with opening_lock(database):
                if not await nobody_else(database):
                    raise busy
                yield database, files
        finally:
            await database.close()
        return
    files = StoreFiles(Path(name))
    if must_exist and not await asyncio.to_thread(files.path.exists):
        raise StoreUnusable(f"There is no ticket store {name}.", "Check the path.")
    await asyncio.to_thread(files.create)
    database = Database(url, name)
    try:
        if not await asyncio.to_thread(files.lock):
            raise busy
        yield database, files
    finally:
        await database.close()
        files.unlock()


async def _facts(database: Database) -> Mapping[str, bytes]:
    async with database.transaction() as connection:
        return await facts_of(connection)


async def _close(connection: AsyncConnection, core: StoreCore, target: str) -> bytes:
    """From here on nobody opens the source. Returns the number of this copying."""
    facts = await facts_of(connection)
    if META_MOVED in facts:
        if facts[META_MOVED] != target.encode() or _COPY not in facts:
            raise StoreMoved(
                f"The content of {core.files.name} was moved to {facts[META_MOVED].decode()}, or is on its way there.",
                "Copy it there again. If that one is lost and was never used, open this one once as trusted.",
            )
        return facts[_COPY]
    copy = str(uuid4()).encode()
    await core.put(connection, MetaRow, {"name": META_MOVED, "value": target.encode()})
    await core.put(connection, MetaRow, {"name": _COPY, "value": copy})
    return copy


async def _fill(
    connection: AsyncConnection,
    core: StoreCore,
    files: StoreFiles,
    key: StoreKey | None,
    copy: bytes,
    *,
    shared: bool,
) -> None:
    """Everything, in the one transaction of the target."""
    if key is None:
        key = await asyncio.to_thread(own_key, files.key_file(), may_create=True)
    derivation = key.new_derivation()
    wrapping = await asyncio.to_thread(key.unlock, derivation)
    async with core.database.transaction() as source:
        facts = await facts_of(source)
        generation = (
            await last_generation(source) if core.database.shared else int(facts[META_GENERATION])
        ) + 1
        kept = {name: value for name, value in facts.items() if name not in _OF_ONE_PLACE}
        kept |= {
            STORE_ID: core.store_id.encode(),
            META_GENERATION: str(generation).encode(),
            DERIVATION: derivation.encode(),
            SEALED_KEY: Sealer(wrapping).seal(key_place(core.store_id), core.data_key),
            _COPY: copy,
        }
        await connection.execute(
            insert(MetaRow), [{"name": name, "value": value} for name, value in kept.items()]
        )
        for table in _TABLES:
            stream = await source.stream(select(table))
            async for rows in stream.mappings().partitions(_BATCH_ROWS):
                await connection.execute(insert(table), [dict(row) for row in rows])
            if await _count(source, table.name) != await _count(connection, table.name):
                raise StoreError(f"Rows of {table.name} were lost on the way; nothing was copied.")
    if shared:
        await note_place(connection)
        await set_generation(connection, generation)
        await connection.execute(
            text(
                "SELECT setval(pg_get_serial_sequence('books', 'id'), greatest((SELECT max(id) FROM books), 1))"
            )
        )


async def _count(connection: AsyncConnection, table: str) -> int:
    statement = select(func.count()).select_from(Table.metadata.tables[table])
    return int((await connection.execute(statement)).scalar_one())
