"""A ticket store for the vector tests: with public data put into it, and read as it lies in the database."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text

from nym_credentials.store.store_io import TicketStore
from zknym import (
    CoinSignatureSet,
    EpochKey,
)


@asynccontextmanager
async def store_with(folder, *public: Any):
    """A store that knows these parts of public data."""
    async with await TicketStore.open(folder / "tickets.sqlite") as store:
        for part in public:
            if isinstance(part, EpochKey):
                await store.purchases.put_epoch_key(part)
            elif isinstance(part, CoinSignatureSet):
                await store.purchases.put_coin_signatures(part)
            else:
                await store.purchases.put_date_signatures(part)
        yield store


async def columns(store: TicketStore, table: str) -> list[tuple[int, bytes]]:
    """Revision and bytes of a table of public data, as they lie in the database."""
    async with store._core.database.transaction() as connection:
        rows = await connection.execute(text(f"SELECT revision, data FROM {table}"))
        return [(row.revision, row.data) for row in rows]
