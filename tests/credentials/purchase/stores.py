"""The stores that purchases are tested with: the smallest one, and the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nym_credentials.store.records import BookState
from nym_credentials.store.store_io import TicketStore
from tests.credentials.purchase.file_store import FileStore
from zknym import TicketType

KINDS = ("file", "sqlite")


@asynccontextmanager
async def open_store(kind: str, folder: Path, now: float) -> AsyncIterator[Any]:
    """A `PurchaseStore`."""
    if kind == "file":
        yield FileStore(folder / "store.json")
        return
    async with await TicketStore.open(folder / "store.db", clock=lambda: now) as store:
        yield store.purchases


async def usable_books(kind: str, folder: Path, now: float) -> list[TicketType]:
    """The types of the books that tickets can be taken from."""
    if kind == "file":
        return [book.ticket_type for book in FileStore(folder / "store.json").books()]
    async with await TicketStore.open(folder / "store.db", clock=lambda: now) as store:
        return [book.ticket_type for book in await store.books() if book.state is BookState.ACTIVE]
