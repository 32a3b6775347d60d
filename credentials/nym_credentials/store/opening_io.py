"""Opening a store: schema, key, guard, and what a dead process has left behind."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.errors import (
    BackupRestored,
    StoreInUse,
    StoreKeyWrong,
    StoreMoved,
    StoreOfAnotherNetwork,
    StoreUnusable,
)
from nym_credentials.store.core_io import META_GENERATION, StoreCore
from nym_credentials.store.database_io import Database
from nym_credentials.store.keyfile_io import own_key
from nym_credentials.store.keys import KeyDerivation, StoreKey
from nym_credentials.store.leases_io import anybody_alive
from nym_credentials.store.ledger_io import settle_left_behind
from nym_credentials.store.postgres_io import (
    LOCK_OPENING,
    Place,
    durable,
    last_generation,
    note_place,
    read_place,
    set_generation,
)
from nym_credentials.store.records import BookState, Restored
from nym_credentials.store.sealing import KEY_BYTES, SealBroken, Sealer
from nym_credentials.store.tables_io import BookRow, MetaRow, PurchaseRow
from nym_credentials.store.witness_io import ADVICE, DANGER, StoreFiles

_LOG = logging.getLogger(__name__)

STORE_ID: Final = "store_id"
DERIVATION: Final = "key_derivation"
SEALED_KEY: Final = "sealed_key"
META_MOVED: Final = "moved_to"
"""Present once the content is in another store, or on its way there."""
_NETWORK: Final = "network"
_LEAP: Final = 1_000_000
"""How far the generation leaps when an operator has decided about a restored database: past what any replica saw."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a store is to be opened; see `store_io.TicketStore.open`."""

    key: StoreKey | None
    network: str | None
    restored: Restored
    clock: Callable[[], float]
    at: Callable[[str], None]
    moving: bool = False
    """Also if the content was moved elsewhere: to go on with that."""


async def open_core(
    files: StoreFiles, database: Database, opening: Opening, *, alone: bool
) -> tuple[StoreCore, int]:
    """The open store, and how many tickets of dead processes were given up.

    `alone`: whether no other process has the store open. Raises what `TicketStore.open` raises.
    """
    await database.migrate(alone=alone)
    async with database.transaction() as connection:
        facts = await facts_of(connection)
        founded = not facts
        if founded:
            facts = await _found(connection, files, opening)
            if database.shared:
                await note_place(connection)
            opening.at("open:begun")
    opening.at("open:committed")
    store_id = facts[STORE_ID].decode()
    data_key = await _data_key(files, facts, opening.key)
    await _check_network(database, facts, opening.network)
    if not opening.moving:
        await _check_moved(database, facts, opening.restored, files.name)
    core = StoreCore(
        database, files, data_key, Sealer(data_key), store_id, str(uuid4()), opening.clock, opening.at
    )
    left_behind = 0
    if database.shared:
        await _guard_shared(core, opening.restored, alone=alone)
    elif alone:
        generation = int(facts[META_GENERATION])
        anew = founded or await _guard(core, generation, opening.restored)
        left_behind = await core.transact(lambda connection: settle_left_behind(connection, core))
        await asyncio.to_thread(files.write_witness, store_id, generation, anew=anew)
    return core, left_behind


@asynccontextmanager
async def opening_lock(database: Database) -> AsyncIterator[None]:
    """One replica of a shared store opens it at a time. Raises `StoreInUse`, `StoreUnreachable`."""
    connection = await database.connect_apart()
    try:
        with database.mapped(lambda: False):
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_OPENING})
        yield
    finally:
        with suppress(Exception):
            await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_OPENING})
        await connection.close()


async def nobody_else(database: Database) -> bool:
    """Whether no replica has a lease on a shared store. With the lock for opening it stays so."""
    if await database.revision() in (None, "0001"):
        return True
    async with database.transaction() as connection:
        return not await anybody_alive(connection)


async def change_key(core: StoreCore, new: StoreKey) -> None:
    """Wraps the data key anew."""

    async def work(connection: AsyncConnection) -> None:
        derivation = new.new_derivation()
        wrapping = await asyncio.to_thread(new.unlock, derivation)
        for name, value in (
            (DERIVATION, derivation.encode()),
            (SEALED_KEY, Sealer(wrapping).seal(key_place(core.store_id), core.data_key)),
        ):
            await connection.execute(update(MetaRow).where(MetaRow.name == name).values(value=value))

    await core.run(work)


async def facts_of(connection: AsyncConnection) -> dict[str, bytes]:
    """What the store says of itself; nothing if it is new."""
    rows = await connection.execute(select(MetaRow.name, MetaRow.value))
    return {row.name: row.value for row in rows}


async def _found(connection: AsyncConnection, files: StoreFiles, opening: Opening) -> dict[str, bytes]:
    """Makes a new store, in the transaction that found it empty."""
    store_id = str(uuid4())
    key = opening.key
    if key is None:
        key = await asyncio.to_thread(own_key, files.key_file(), may_create=True)
    derivation = key.new_derivation()
    wrapping = await asyncio.to_thread(key.unlock, derivation)
    facts = {
        STORE_ID: store_id.encode(),
        META_GENERATION: b"0",
        DERIVATION: derivation.encode(),
        SEALED_KEY: Sealer(wrapping).seal(key_place(store_id), secrets.token_bytes(KEY_BYTES)),
    }
    await connection.execute(
        insert(MetaRow), [{"name": name, "value": value} for name, value in facts.items()]
    )
    return facts


async def _data_key(files: StoreFiles, facts: dict[str, bytes], key: StoreKey | None) -> bytes:
    try:
        derivation = KeyDerivation.decode(facts[DERIVATION])
        sealed, place = facts[SEALED_KEY], key_place(facts[STORE_ID].decode())
    except (KeyError, ValueError) as error:
        raise StoreUnusable(f"The ticket store {files.name} is damaged: it does not know its key.") from error
    if key is None:
        if derivation.salt:
            raise StoreKeyWrong(f"The ticket store {files.name} is opened with a passphrase.", "Give it.")
        key = await asyncio.to_thread(own_key, files.key_file(), may_create=False)
    wrapping = await asyncio.to_thread(key.unlock, derivation)
    try:
        return Sealer(wrapping).open(place, sealed)
    except SealBroken:
        raise StoreKeyWrong(
            f"The key does not open the ticket store {files.name}.",
            "Give the key or passphrase that it was made with. Without it, its books are lost.",
        ) from None


def key_place(store_id: str) -> str:
    """Where the data key is sealed."""
    return f"meta/{SEALED_KEY}/{store_id}"


async def _check_network(database: Database, facts: dict[str, bytes], network: str | None) -> None:
    if network is None:
        return
    known = facts.get(_NETWORK)
    if known is None:
        async with database.transaction() as connection:
            await connection.execute(insert(MetaRow).values(name=_NETWORK, value=network.encode()))
    elif known != network.encode():
        raise StoreOfAnotherNetwork(
            f"The ticket store belongs to the network {known.decode()}, not to {network}.",
            "Use another store for each network.",
        )


async def _check_moved(database: Database, facts: dict[str, bytes], restored: Restored, name: str) -> None:
    """A store that was copied into another one is spent from only if the operator says so."""
    if META_MOVED not in facts:
        return
    if restored is Restored.REFUSE:
        raise StoreMoved(
            f"The content of the ticket store {name} was moved to {facts[META_MOVED].decode()}.",
            "Use that one. If copying was cut short, repeat it.",
        )
    async with database.transaction() as connection:
        if restored is Restored.EXHAUST:
            await give_up_everything(connection)
        await connection.execute(delete(MetaRow).where(MetaRow.name == META_MOVED))


async def _guard(core: StoreCore, generation: int, restored: Restored) -> bool:
    """Checks the witness. True if it has to be written anew, because the operator decided what to do."""
    try:
        await asyncio.to_thread(core.files.check, core.store_id, generation)
    except BackupRestored:
        if restored is Restored.REFUSE:
            raise
        if restored is Restored.EXHAUST:
            await core.transact(give_up_everything)
        return True
    return False


async def _guard_shared(core: StoreCore, restored: Restored, *, alone: bool) -> None:
    """Checks where the database is, and the witness if this replica has one."""
    async with core.database.transaction() as connection:
        place, generation = await read_place(connection), await last_generation(connection)
        if not await durable(connection):
            _LOG.warning("%s runs with fsync off: a crash of its machine can lose money", core.files.name)
    try:
        if not place.kept:
            raise BackupRestored(
                f"The ticket store {core.files.name} seems to be a restored backup or a copy: "
                f"{place.difference()}. {DANGER}",
                ADVICE,
            )
        await asyncio.to_thread(core.files.check, core.store_id, generation)
    except BackupRestored:
        if restored is Restored.REFUSE:
            raise
        if not alone:
            raise StoreInUse(
                f"The ticket store {core.files.name} seems to be restored, and replicas are using it.",
                "Stop all of them before you decide what to do.",
            ) from None
        place, generation = await core.transact(lambda connection: _start_over(connection, restored))
        await asyncio.to_thread(core.files.write_witness, core.store_id, generation, anew=True)
    core.place, core.generation = place.noted, generation
    await asyncio.to_thread(core.files.write_witness, core.store_id, generation)


async def _start_over(connection: AsyncConnection, restored: Restored) -> tuple[Place, int]:
    """The operator has decided: from now on this is the database."""
    if restored is Restored.EXHAUST:
        await give_up_everything(connection)
    await note_place(connection)
    await set_generation(connection, await last_generation(connection) + _LEAP)
    return await read_place(connection), await last_generation(connection)


async def give_up_everything(connection: AsyncConnection) -> None:
    """Nothing is spent from here any more, unless the operator trusts a book."""
    await connection.execute(
        update(BookRow)
        .where(BookRow.state.in_((BookState.ACTIVE, BookState.SUSPECT)))
        .values(state=BookState.EXHAUSTED)
    )
    await connection.execute(update(PurchaseRow).where(PurchaseRow.finished.is_(False)).values(suspect=True))
