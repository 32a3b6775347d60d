"""The ticket store (docs/protocol/10 §4, §9).

One SQLite file with three small ones beside it: ``.key`` (unless the key comes from elsewhere), ``.witness`` and
``.lock``. Several processes of one machine may have it open; what they must not share is a copy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.errors import StoreUnusable
from nym_credentials.store.bookfile import BookForm
from nym_credentials.store.books_io import StoredBooks, open_book
from nym_credentials.store.core_io import StoreCore, no_point
from nym_credentials.store.database_io import Database, parse_url, sqlite_url
from nym_credentials.store.gateways_io import account, gateway_hash, note_allowance, note_settlement
from nym_credentials.store.keys import StoreKey
from nym_credentials.store.ledger_io import choose_book, settle_index, take_index, totals
from nym_credentials.store.opening_io import Opening, change_key, open_core
from nym_credentials.store.purchases_io import StoredPurchases
from nym_credentials.store.records import (
    BookInfo,
    GatewayAccount,
    Restored,
    Settlement,
    TakenTicket,
    TicketTotals,
)
from nym_credentials.store.tables_io import GatewayRow, SecretRow
from nym_credentials.store.witness_io import StoreFiles
from zknym import TICKETS_PER_BOOK, TicketType


class TicketStore:
    """An open store; `open` makes one, `close` (or `async with`) lets it go."""

    def __init__(self, core: StoreCore, left_behind: int) -> None:
        self._core = core
        self.left_behind = left_behind
        """Tickets that were in use when a process died, given up when this store was opened."""
        self.purchases = StoredPurchases(core)
        """The `PurchaseStore` of `nym_credentials.purchase`, and the public data of epochs."""
        self._books = StoredBooks(core, self.purchases)

    @classmethod
    async def open(
        cls,
        where: str | Path,
        *,
        key: StoreKey | None = None,
        network: str | None = None,
        restored: Restored = Restored.REFUSE,
        clock: Callable[[], float] = time.time,
        at: Callable[[str], None] = no_point,
    ) -> TicketStore:
        """Opens a store, and makes it where there is none.

        `where`: a path, or a URL `sqlite+aiosqlite:///…`. `key` None: the key file beside the database. `network`:
        a name that the store remembers. `restored`: what to do if this is an old backup or a copy. `clock`: Unix
        time. Raises `StoreUnusable`, `StoreInUse`, `StoreKeyWrong`, `BackupRestored`, `StoreOfAnotherNetwork`.
        """
        files = StoreFiles(_path(where))
        await asyncio.to_thread(files.create)
        database = Database(sqlite_url(files.path), str(files.path))
        try:
            alone = await asyncio.to_thread(files.lock)
            opening = Opening(key, network, restored, clock, at)
            core, left_behind = await open_core(files, database, opening, alone=alone)
            await asyncio.to_thread(files.share)
        except BaseException:
            await database.close()
            files.unlock()
            raise
        return cls(core, left_behind)

    def at(self, point: str) -> None:
        """For parts of the store that live outside of this class: see `StoreCore.at`."""
        self._core.at(point)

    async def close(self) -> None:
        """Finishes what is under way and lets the files go. Safe to call twice."""
        await self._core.tasks.settled()
        await self._core.database.close()
        self._core.files.unlock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def change_key(self, new: StoreKey) -> None:
        """From now on `new` opens the store. A key file beside it stays behind: remove it."""
        await change_key(self._core, new)

    # ---- tickets -----------------------------------------------------------------------------------------

    async def take(
        self, ticket_type: TicketType, today: date, *, gateway: bytes | None = None
    ) -> TakenTicket:
        """A ticket that nobody else gets, durably, from the book that expires first. Settle it exactly once.

        `today`: the UTC day. `gateway`: the account it is meant for: identity of the gateway, 32 bytes, perhaps
        followed by the client's. A cancelled call puts its ticket back. Raises `OutOfTickets`, `PublicDataMissing`,
        `StoreError`.
        """
        task = self._core.tasks.start(self._take(ticket_type, today, gateway))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._core.tasks.start(self._put_back(task))
            raise

    async def _take(self, ticket_type: TicketType, today: date, gateway: bytes | None) -> TakenTicket:
        core = self._core
        by_hash = gateway_hash(core, gateway)
        book = await core.transact(lambda connection: choose_book(connection, ticket_type, today))
        public = await self.purchases.for_book(book.epoch_id, book.expiration)

        async def work(connection: AsyncConnection) -> tuple[Any, int, int] | None:
            chosen = await choose_book(connection, ticket_type, today)
            if chosen.id != book.id:
                return None  # another process was faster: its public data has not been looked at
            index = await take_index(connection, core, chosen, by_hash)
            core.at("take:begun")
            return chosen, index, await core.advance(connection)

        taken = await core.transact(work)
        if taken is None:
            return await self._take(ticket_type, today, gateway)
        chosen, index, generation = taken
        core.at("take:committed")
        try:
            await core.witness(generation)
            core.at("take:witnessed")
            content = await asyncio.to_thread(open_book, core, chosen)
        except Exception:
            await self._settle(book.id, index, by_hash, Settlement.UNSENT, None)
            raise
        return TakenTicket(
            book_id=book.id,
            index=index,
            ticket_type=ticket_type,
            expiration=book.expiration,
            book=replace(content, spent_tickets=index),
            master=public[0],
            coin_signatures=public[1],
            date_signatures=public[2],
            gateway=gateway,
        )

    async def _put_back(self, task: asyncio.Task[TakenTicket]) -> None:
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            await self.settle(task.result(), Settlement.UNSENT)

    async def settle(
        self, taken: TakenTicket, settlement: Settlement, *, available_total: int | None = None
    ) -> None:
        """Records durably what became of a ticket. `available_total`: the allowance in bytes that was stated.

        The same settlement again is no error; another one raises `StoreError`.
        """
        by_hash = gateway_hash(self._core, taken.gateway)
        await self._core.tasks.run(
            self._settle(taken.book_id, taken.index, by_hash, settlement, available_total)
        )

    async def _settle(
        self,
        book_id: int,
        index: int,
        gateway: bytes | None,
        settlement: Settlement,
        available_total: int | None,
    ) -> None:
        async def work(connection: AsyncConnection) -> None:
            changed = await settle_index(connection, self._core, book_id, index, settlement)
            if changed and gateway is not None:
                await note_settlement(connection, self._core, gateway, settlement, available_total)
            self._core.at("settle:begun")

        await self._core.transact(work)
        self._core.at("settle:committed")

    async def totals(self) -> TicketTotals:
        """Counts of tickets over the life of the store."""
        return await self._core.run(totals)

    # ---- gateways ----------------------------------------------------------------------------------------

    async def gateway(self, identity: bytes) -> GatewayAccount:
        """What is remembered of a gateway."""
        by_hash = gateway_hash(self._core, identity)
        assert by_hash is not None
        return await self._core.run(lambda connection: account(connection, by_hash))

    async def note_allowance(self, identity: bytes, allowance: int) -> None:
        """Remembers what a gateway stated; bytes, negative after a revoked ticket."""
        by_hash = gateway_hash(self._core, identity)
        assert by_hash is not None
        await self._core.run(lambda connection: note_allowance(connection, self._core, by_hash, allowance))

    async def forget_gateway(self, identity: bytes) -> None:
        """The account there is gone: another client identity starts from nothing."""
        by_hash = gateway_hash(self._core, identity)
        await self._core.run(
            lambda connection: connection.execute(delete(GatewayRow).where(GatewayRow.gateway == by_hash))
        )

    # ---- books -------------------------------------------------------------------------------------------

    async def books(self) -> list[BookInfo]:
        """Every book the store has or had, those that expire first in front."""
        return await self._books.all()

    async def remaining(self, ticket_type: TicketType, today: date) -> int:
        """Tickets that can be taken on that UTC day."""
        return sum(book.usable(today) for book in await self.books() if book.ticket_type is ticket_type)

    async def import_book(
        self,
        data: bytes,
        today: date,
        *,
        form: BookForm | None = None,
        used: int | None = None,
        end: int = TICKETS_PER_BOOK,
        reclaim: bool = False,
    ) -> BookInfo:
        """Takes a book from a file; see `StoredBooks.import_file`."""
        return await self._books.import_file(data, today, form=form, used=used, end=end, reclaim=reclaim)

    async def export_book(
        self, book_id: int, *, form: BookForm = BookForm.FULL, base58: bool = False, again: bool = False
    ) -> bytes:
        """See `StoredBooks.export_file`: the book is given up here before the file is returned."""
        return await self._books.export_file(book_id, form=form, base58=base58, again=again)

    async def give_up_book(self, book_id: int) -> BookInfo:
        """Nothing is taken from the book any more."""
        return await self._books.give_up(book_id)

    async def trust_book(self, book_id: int) -> BookInfo:
        """The operator says that nobody else spends a book that was suspect or given up."""
        return await self._books.trust(book_id)

    async def forget_expired(self, today: date) -> int:
        """Removes secrets of expired books, and public data nobody needs; returns how many books it were."""
        count = await self._books.forget_expired(today)
        await self.purchases.forget_unused(today)
        return count

    # ---- secrets -----------------------------------------------------------------------------------------

    async def put_secret(self, name: str, value: bytes) -> None:
        """Keeps a secret, such as the phrase of an account, sealed."""
        sealed = self._core.sealer.seal(f"secrets/{name}", value)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(SecretRow).where(SecretRow.name == name))
            await connection.execute(insert(SecretRow).values(name=name, sealed=sealed))

        await self._core.run(work)

    async def secret(self, name: str) -> bytes | None:
        """A secret, or None."""

        async def work(connection: AsyncConnection) -> bytes | None:
            statement = select(SecretRow.sealed).where(SecretRow.name == name)
            return (await connection.execute(statement)).scalar_one_or_none()

        sealed = await self._core.run(work)
        return None if sealed is None else self._core.open_sealed(f"secrets/{name}", sealed)

    async def forget_secret(self, name: str) -> bool:
        """Removes a secret; returns whether there was one."""

        async def work(connection: AsyncConnection) -> bool:
            done = await connection.execute(delete(SecretRow).where(SecretRow.name == name))
            return bool(done.rowcount)

        return await self._core.run(work)


def _path(where: str | Path) -> Path:
    if isinstance(where, Path) or "://" not in where:
        return Path(where).absolute()
    url = parse_url(where)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise StoreUnusable(
            "The ticket store can be kept in an SQLite file only.", "Give a path, or sqlite+aiosqlite:///…"
        )
    return Path(url.database).absolute()
