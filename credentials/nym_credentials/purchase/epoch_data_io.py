"""The public data of an epoch: looked up in the store, else fetched, verified and stored (docs/protocol/09 §4)."""

from __future__ import annotations

import asyncio
from datetime import date

from nym_credentials.errors import EpochKeysInconsistent, IssuanceHalted
from nym_credentials.purchase.ports import GlobalDataStore, SignerDirectory
from nym_credentials.signers.epoch import SignerSet
from nym_credentials.signers.pool_io import SignerPool
from zknym import EpochKey


class EpochData:
    """What has to be known of an epoch before a book of it is worth anything."""

    def __init__(self, store: GlobalDataStore, directory: SignerDirectory) -> None:
        self._store = store
        self._directory = directory

    async def issuing_signers(self) -> SignerSet:
        """The signers of the current epoch. Raises `IssuanceHalted` while they issue nothing."""
        signers = await self._directory.current()
        if not signers.issuing:
            raise IssuanceHalted(signers.wait_seconds)
        return signers

    async def signers_of(self, epoch_id: int, current: SignerSet) -> SignerSet:
        """The signers of an epoch, which may be an earlier one."""
        return current if epoch_id == current.epoch_id else await self._directory.of_epoch(epoch_id)

    async def ensure(self, pool: SignerPool, signers: SignerSet, expiration: date) -> EpochKey:
        """Key, coin-index and date signatures are in the store when this returns; all of them verified.

        Raises `EpochKeysInconsistent`, `EpochDataUnavailable`, and what the store raises.
        """
        epoch = signers.epoch_id
        key = await self._store.epoch_key(epoch)
        if key is None:
            key = await pool.master_key(signers)
            await self._store.put_epoch_key(key)
        elif await asyncio.to_thread(signers.master_key) != key.key:
            raise EpochKeysInconsistent(
                f"The chain names another key for epoch {epoch} than the one known here.",
                "Ask another RPC endpoint. If the network was set up anew, use a new ticket store.",
            )
        if await self._store.coin_signatures(epoch) is None:
            await self._store.put_coin_signatures(await pool.coin_signatures(signers, key.key))
        if await self._store.date_signatures(epoch, expiration) is None:
            found = await pool.date_signatures(signers, expiration, key.key)
            await self._store.put_date_signatures(found)
        return key
