"""The public data of epochs: keys and signatures that every spender needs (docs/protocol/09 §4).

What is put here was verified by whoever fetched it. It is decoded once and kept in memory: that takes longer than
a payment may wait.
"""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

from sqlalchemy import Row, Select, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.errors import PublicDataMissing, StoreError
from nym_credentials.store.core_io import StoreCore
from nym_credentials.store.postgres_io import LOCK_PUBLIC_DATA
from nym_credentials.store.tables_io import (
    BookRow,
    CoinSignaturesRow,
    DateSignaturesRow,
    EpochKeyRow,
    PurchaseRow,
)
from zknym import CoinSignatureSet, DateSignatureSet, EpochKey

PublicData = tuple[EpochKey, CoinSignatureSet, DateSignatureSet]


class StoredPublicData:
    """Reads and keeps public data: `purchase.ports.GlobalDataStore`."""

    def __init__(self, core: StoreCore) -> None:
        self._core = core
        self._keys: dict[int, EpochKey] = {}
        self._coins: dict[int, CoinSignatureSet] = {}
        self._dates: dict[tuple[int, date], DateSignatureSet] = {}

    async def epoch_key(self, epoch_id: int) -> EpochKey | None:
        """The master verification key of an epoch, if known."""
        if epoch_id not in self._keys:
            statement = select(EpochKeyRow.data, EpochKeyRow.revision).where(EpochKeyRow.epoch_id == epoch_id)
            row = await self._core.run(lambda connection: _first(connection, statement))
            if row is None:
                return None
            self._keys[epoch_id] = await asyncio.to_thread(EpochKey.decode, *row)
        return self._keys[epoch_id]

    async def put_epoch_key(self, key: EpochKey) -> None:
        """Keeps a key. The same one again is no error; another one for the same epoch is (`StoreError`)."""
        await self._core.run(lambda connection: keep_epoch_key(connection, self._core, key))
        self._keys[key.epoch_id] = key

    async def coin_signatures(self, epoch_id: int) -> CoinSignatureSet | None:
        """The coin-index signatures of an epoch, if known."""
        if epoch_id not in self._coins:
            table = CoinSignaturesRow
            statement = select(table.data, table.revision).where(table.epoch_id == epoch_id)
            row = await self._core.run(lambda connection: _first(connection, statement))
            if row is None:
                return None
            self._coins[epoch_id] = await asyncio.to_thread(CoinSignatureSet.decode, *row)
        return self._coins[epoch_id]

    async def put_coin_signatures(self, signatures: CoinSignatureSet) -> None:
        """Keeps them; replaces those of the same epoch."""
        await self._core.run(lambda connection: keep_coin_signatures(connection, self._core, signatures))
        self._coins[signatures.epoch_id] = signatures

    async def date_signatures(self, epoch_id: int, expiration: date) -> DateSignatureSet | None:
        """The signatures of an epoch for one expiration date, if known."""
        which = (epoch_id, expiration)
        if which not in self._dates:
            table = DateSignaturesRow
            statement = select(table.data, table.revision).where(
                table.epoch_id == epoch_id, table.expiration == expiration
            )
            row = await self._core.run(lambda connection: _first(connection, statement))
            if row is None:
                return None
            self._dates[which] = await asyncio.to_thread(DateSignatureSet.decode, *row)
        return self._dates[which]

    async def put_date_signatures(self, signatures: DateSignatureSet) -> None:
        """Keeps them; replaces those of the same epoch and date."""
        await self._core.run(lambda connection: keep_date_signatures(connection, self._core, signatures))
        self._dates[signatures.epoch_id, signatures.expiration] = signatures

    async def for_book(self, epoch_id: int, expiration: date) -> PublicData:
        """All that is needed to spend a book. Raises `PublicDataMissing`, which names what is missing."""
        key = await self.epoch_key(epoch_id)
        coins = await self.coin_signatures(epoch_id)
        dates = await self.date_signatures(epoch_id, expiration)
        if key is None or coins is None or dates is None:
            parts = (
                ("the master key", key),
                ("the coin-index signatures", coins),
                (f"the signatures for expiration date {expiration}", dates),
            )
            missing = ", ".join(name for name, part in parts if part is None)
            raise PublicDataMissing(
                f"The store lacks public data of epoch {epoch_id}: {missing}.",
                "Fetch it from the signers, or import a file that brings it.",
            )
        return key, coins, dates

    async def keep_known(self, connection: AsyncConnection, epoch_id: int, expiration: date) -> None:
        """Inside of the transaction that brings a book: what is known here of its public data.

        It was kept before, but another process may have seen no use for it until now.
        """
        if (key := self._keys.get(epoch_id)) is not None:
            await keep_epoch_key(connection, self._core, key)
        if (coins := self._coins.get(epoch_id)) is not None:
            await keep_coin_signatures(connection, self._core, coins)
        if (dates := self._dates.get((epoch_id, expiration))) is not None:
            await keep_date_signatures(connection, self._core, dates)

    async def forget_unused(self, today: date) -> None:
        """Drops date signatures that no book of today needs, and all data of epochs without books.

        While something is being bought nothing of epochs is dropped: it may be for a book that is about to come.
        """

        async def work(connection: AsyncConnection) -> None:
            await self._core.alone_in(connection, LOCK_PUBLIC_DATA)
            await connection.execute(delete(DateSignaturesRow).where(DateSignaturesRow.expiration < today))
            in_use = select(BookRow.epoch_id).where(BookRow.expiration >= today)
            dated = select(DateSignaturesRow.epoch_id)
            buying = select(PurchaseRow.id).where(PurchaseRow.finished.is_(False)).exists()
            for table in (CoinSignaturesRow, EpochKeyRow):
                await connection.execute(
                    delete(table).where(table.epoch_id.not_in(in_use), table.epoch_id.not_in(dated), ~buying)
                )

        await self._core.run(work)
        for cache in (self._keys, self._coins, self._dates):
            cache.clear()


async def keep_epoch_key(connection: AsyncConnection, core: StoreCore, key: EpochKey) -> None:
    """Inside of a larger transaction. Raises `StoreError` if the epoch has another key already."""
    data = key.encode()
    statement = select(EpochKeyRow.data).where(EpochKeyRow.epoch_id == key.epoch_id)
    known = await _first(connection, statement)
    if known is None:
        values = {"epoch_id": key.epoch_id, "revision": EpochKey.REVISION, "data": data}
        await core.put(connection, EpochKeyRow, values)
    elif known[0] != data:
        raise StoreError(
            f"Epoch {key.epoch_id} has another master key in this store.",
            "One of the two is of another network, or false: nothing was changed.",
        )


async def keep_coin_signatures(
    connection: AsyncConnection, core: StoreCore, signatures: CoinSignatureSet
) -> None:
    """Inside of a larger transaction."""
    values = {
        "epoch_id": signatures.epoch_id,
        "revision": CoinSignatureSet.REVISION,
        "data": signatures.encode(),
    }
    await core.put(connection, CoinSignaturesRow, values)


async def keep_date_signatures(
    connection: AsyncConnection, core: StoreCore, signatures: DateSignatureSet
) -> None:
    """Inside of a larger transaction."""
    values = {
        "epoch_id": signatures.epoch_id,
        "expiration": signatures.expiration,
        "revision": DateSignatureSet.REVISION,
        "data": signatures.encode(),
    }
    await core.put(connection, DateSignaturesRow, values)


async def _first(connection: AsyncConnection, statement: Select[Any]) -> Row[Any] | None:
    return (await connection.execute(statement)).first()
