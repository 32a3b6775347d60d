"""Opening a store: schema, key, guard, and what a dead process has left behind."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.errors import BackupRestored, StoreKeyWrong, StoreOfAnotherNetwork, StoreUnusable
from nym_credentials.store.core_io import META_GENERATION, StoreCore
from nym_credentials.store.database_io import Database
from nym_credentials.store.keyfile_io import own_key
from nym_credentials.store.keys import KeyDerivation, StoreKey
from nym_credentials.store.ledger_io import settle_left_behind
from nym_credentials.store.records import BookState, Restored
from nym_credentials.store.sealing import KEY_BYTES, SealBroken, Sealer
from nym_credentials.store.tables_io import BookRow, MetaRow, PurchaseRow
from nym_credentials.store.witness_io import StoreFiles

_STORE_ID: Final = "store_id"
_DERIVATION: Final = "key_derivation"
_SEALED_KEY: Final = "sealed_key"
_NETWORK: Final = "network"


@dataclass(frozen=True, slots=True)
class Opening:
    """How a store is to be opened; see `store_io.TicketStore.open`."""

    key: StoreKey | None
    network: str | None
    restored: Restored
    clock: Callable[[], float]
    at: Callable[[str], None]


async def open_core(
    files: StoreFiles, database: Database, opening: Opening, *, alone: bool
) -> tuple[StoreCore, int]:
    """The open store, and how many tickets of dead processes were given up.

    `alone`: whether no other process has the store open. Raises what `TicketStore.open` raises.
    """
    await database.migrate(alone=alone)
    async with database.transaction() as connection:
        facts = await _facts(connection)
        founded = not facts
        if founded:
            facts = await _found(connection, files, opening)
            opening.at("open:begun")
    opening.at("open:committed")
    store_id = facts[_STORE_ID].decode()
    data_key = await _data_key(files, facts, opening.key)
    await _check_network(database, facts, opening.network)
    core = StoreCore(
        database, files, data_key, Sealer(data_key), store_id, str(uuid4()), opening.clock, opening.at
    )
    left_behind = 0
    if alone:
        generation = int(facts[META_GENERATION])
        anew = founded or await _guard(core, generation, opening.restored)
        left_behind = await core.transact(lambda connection: settle_left_behind(connection, core))
        await asyncio.to_thread(files.write_witness, store_id, generation, anew=anew)
    return core, left_behind


async def change_key(core: StoreCore, new: StoreKey) -> None:
    """Wraps the data key anew."""

    async def work(connection: AsyncConnection) -> None:
        derivation = new.new_derivation()
        wrapping = await asyncio.to_thread(new.unlock, derivation)
        for name, value in (
            (_DERIVATION, derivation.encode()),
            (_SEALED_KEY, Sealer(wrapping).seal(_key_place(core.store_id), core.data_key)),
        ):
            await connection.execute(update(MetaRow).where(MetaRow.name == name).values(value=value))

    await core.run(work)


async def _facts(connection: AsyncConnection) -> dict[str, bytes]:
    rows = await connection.execute(select(MetaRow.name, MetaRow.value))
    return {row.name: row.value for row in rows}


async def _found(connection: AsyncConnection, files: StoreFiles, opening: Opening) -> dict[str, bytes]:
    """Makes a new store, in the transaction that found it empty."""
    store_id = str(uuid4())
    key = opening.key
    if key is None:
        key = await asyncio.to_thread(own_key, files.key_path, may_create=True)
    derivation = key.new_derivation()
    wrapping = await asyncio.to_thread(key.unlock, derivation)
    facts = {
        _STORE_ID: store_id.encode(),
        META_GENERATION: b"0",
        _DERIVATION: derivation.encode(),
        _SEALED_KEY: Sealer(wrapping).seal(_key_place(store_id), secrets.token_bytes(KEY_BYTES)),
    }
    await connection.execute(
        insert(MetaRow), [{"name": name, "value": value} for name, value in facts.items()]
    )
    return facts


async def _data_key(files: StoreFiles, facts: dict[str, bytes], key: StoreKey | None) -> bytes:
    try:
        derivation = KeyDerivation.decode(facts[_DERIVATION])
        sealed, place = facts[_SEALED_KEY], _key_place(facts[_STORE_ID].decode())
    except (KeyError, ValueError) as error:
        raise StoreUnusable(f"The ticket store {files.path} is damaged: it does not know its key.") from error
    if key is None:
        if derivation.salt:
            raise StoreKeyWrong(f"The ticket store {files.path} is opened with a passphrase.", "Give it.")
        key = await asyncio.to_thread(own_key, files.key_path, may_create=False)
    wrapping = await asyncio.to_thread(key.unlock, derivation)
    try:
        return Sealer(wrapping).open(place, sealed)
    except SealBroken:
        raise StoreKeyWrong(
            f"The key does not open the ticket store {files.path}.",
            "Give the key or passphrase that it was made with. Without it, its books are lost.",
        ) from None


def _key_place(store_id: str) -> str:
    return f"meta/{_SEALED_KEY}/{store_id}"


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


async def _guard(core: StoreCore, generation: int, restored: Restored) -> bool:
    """Checks the witness. True if it has to be written anew, because the operator decided what to do."""
    try:
        await asyncio.to_thread(core.files.check, core.store_id, generation)
    except BackupRestored:
        if restored is Restored.REFUSE:
            raise
        if restored is Restored.EXHAUST:
            await core.transact(_give_up_everything)
        return True
    return False


async def _give_up_everything(connection: AsyncConnection) -> None:
    await connection.execute(
        update(BookRow)
        .where(BookRow.state.in_((BookState.ACTIVE, BookState.SUSPECT)))
        .values(state=BookState.EXHAUSTED)
    )
    await connection.execute(update(PurchaseRow).where(PurchaseRow.finished.is_(False)).values(suspect=True))
