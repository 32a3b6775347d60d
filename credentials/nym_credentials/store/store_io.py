"""The ticket store (docs/protocol/10 §4, §9).

One SQLite file with small ones beside it: ``.key`` (unless the key comes from elsewhere), ``.witness``, ``.lock`` and
``.turn``. Several processes of one machine may have it open; what they must not share is a copy. Or a PostgreSQL
database, which replicas on many machines share (``leases_io``, ``turns_io``, ``postgres_io``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

from sqlalchemy import URL, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.errors import StoreError, StoreInUse
from nym_credentials.purchase.turn_io import FileTurn
from nym_credentials.store.bookfile import BookForm
from nym_credentials.store.books_io import StoredBooks, open_book
from nym_credentials.store.core_io import StoreCore, no_point
from nym_credentials.store.database_io import Database, parse_url, sqlite_url, url_name
from nym_credentials.store.gateways_io import account, gateway_hash, note_allowance, note_settlement
from nym_credentials.store.keys import StoreKey
from nym_credentials.store.leases_io import LEASE_SECONDS, Lease, replicas
from nym_credentials.store.ledger_io import Draw, confirm, entries, reserve, settle_index, totals
from nym_credentials.store.opening_io import Opening, change_key, nobody_else, open_core, opening_lock
from nym_credentials.store.purchases_io import StoredPurchases
from nym_credentials.store.records import (
    BookInfo,
    GatewayAccount,
    Replica,
    Restored,
    Settlement,
    TakenTicket,
    TicketEntry,
    TicketTotals,
)
from nym_credentials.store.tables_io import GatewayRow, SecretRow
from nym_credentials.store.turns_io import SharedTurn, StoreTurn
from nym_credentials.store.witness_io import ReplicaFiles, StoreFiles
from zknym import TICKETS_PER_BOOK, TicketType

_LOG = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 10.0
"""How long a shared store is waited for in the end."""
_DRAWS: Final = 5
"""How often a ticket is drawn anew because the lease ran out meanwhile."""


class TicketStore:
    """An open store; `open` makes one, `close` (or `async with`) lets it go."""

    def __init__(self, core: StoreCore, left_behind: int, lease: Lease | None = None) -> None:
        self._core = core
        self._lease = lease
        self._left_behind = left_behind
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
        folder: Path | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> TicketStore:
        """Opens a store, and makes it where there is none.

        `where`: a path, or a URL `sqlite+aiosqlite:///…` or `postgresql+asyncpg://…`. `key` None: the key file beside
        the database, or in `folder`. `network`: a name that the store remembers. `restored`: what to do if this is an
        old backup or a copy. `clock`: Unix time. Of PostgreSQL only: `folder`, where this replica may keep files of
        its own; `lease_seconds`, how long it may be silent. Raises `StoreUnusable`, `StoreUnreachable`, `StoreInUse`,
        `StoreKeyWrong`, `StoreMoved`, `BackupRestored`, `StoreOfAnotherNetwork`.
        """
        opening = Opening(key, network, restored, clock, at)
        url = store_url(where)
        if url.get_backend_name() == "postgresql":
            return await cls._open_shared(url, opening, folder, lease_seconds)
        files = StoreFiles(Path(str(url.database)))
        await asyncio.to_thread(files.create)
        database = Database(url, str(files.path))
        try:
            alone = await asyncio.to_thread(files.lock)
            core, left_behind = await open_core(files, database, opening, alone=alone)
            store = cls(core, left_behind)
            if alone:
                await store.purchases.fill_spendings()
            await asyncio.to_thread(files.share)
        except BaseException:
            await database.close()
            files.unlock()
            raise
        return store

    @classmethod
    async def _open_shared(
        cls, url: URL, opening: Opening, folder: Path | None, lease_seconds: float
    ) -> TicketStore:
        name = url_name(url)
        files = ReplicaFiles(folder, name)
        await asyncio.to_thread(files.create)
        database = Database(url, name)
        try:
            async with opening_lock(database):
                alone = await nobody_else(database)
                core, _ = await open_core(files, database, opening, alone=alone)
                lease = Lease(core, lease_seconds)
                store = cls(core, 0, lease)
                await store.purchases.fill_spendings()
                await lease.renew()
                lease.start()
        except BaseException:
            await database.close()
            raise
        return store

    @property
    def left_behind(self) -> int:
        """Tickets that were in use when a process died, given up by this one: when it opened the store, or since."""
        return self._left_behind + (self._lease.given_up if self._lease is not None else 0)

    @property
    def shared(self) -> bool:
        """Whether several machines may use the store at once."""
        return self._core.database.shared

    @property
    def session(self) -> str:
        """By what the store knows this process: the name of its lease."""
        return self._core.session

    async def replicas(self) -> list[Replica]:
        """The processes on a shared store; none for SQLite, where only its lock knows."""
        return await self._core.run(replicas) if self.shared else []

    def turn(self) -> AbstractAsyncContextManager[None]:
        """`async with store.turn():` one process of all may buy; the hook `turn` of `purchase.buyer_io.Buyer`.

        Raises `PurchaseConflict` at once if another one does.
        """
        files = self._core.files
        own = (
            SharedTurn(self._core)
            if self.shared
            else FileTurn(files.path.with_name(files.path.name + ".turn"))
        )
        return StoreTurn(self._core, own)

    def time_transactions(self, took: Callable[[float], None]) -> None:
        """`took` is told from now on how long each transaction took, in seconds."""
        self._core.took = took

    def at(self, point: str) -> None:
        """For parts of the store that live outside of this class: see `StoreCore.at`."""
        self._core.at(point)

    async def close(self) -> None:
        """Finishes what is under way, ends the lease, and lets the files go. Safe to call twice.

        A server that does not answer is not waited for: to the others this process looks as if it had died.
        """
        lease, self._lease = self._lease, None
        core = self._core
        try:
            async with asyncio.timeout(CLOSE_SECONDS if self.shared else None):
                if lease is not None:
                    self._left_behind += lease.given_up
                    await lease.end()
                await core.tasks.settled()
                await core.database.close()
        except TimeoutError:
            _LOG.warning("the ticket store %s does not answer, and is left as it is", core.database.name)
            core.database.drop()
            await core.tasks.cut_short()
            await core.database.close()
        core.files.unlock()

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
        for _ in range(_DRAWS):
            draw = await self._reserve(ticket_type, today, by_hash)
            try:
                public = await self.purchases.for_book(draw.epoch_id, draw.expiration)
                content = await asyncio.to_thread(open_book, core, draw)
                generation = await self._confirm(draw)
                if generation is None:  # we were taken for dead; nobody was given what was ours
                    if self._lease is not None:
                        await self._lease.renew()
                    continue
                core.at("take:committed")
                await core.witness(generation)
                core.at("take:witnessed")
            except Exception:
                await self._undo(draw, by_hash)
                raise
            return TakenTicket(
                book_id=draw.book_id,
                index=draw.index,
                ticket_type=ticket_type,
                expiration=draw.expiration,
                book=replace(content, spent_tickets=draw.index),
                claim=draw.claim,
                master=public[0],
                coin_signatures=public[1],
                date_signatures=public[2],
                gateway=gateway,
            )
        raise StoreInUse(
            "The lease on the ticket store runs out faster than a ticket is taken.", "Make it longer."
        )

    async def _reserve(self, ticket_type: TicketType, today: date, by_hash: bytes | None) -> Draw:
        claim = str(uuid4())

        async def work(connection: AsyncConnection) -> Draw:
            draw = await reserve(connection, self._core, claim, ticket_type, today, by_hash)
            self._core.at("take:begun")
            return draw

        draw = await self._core.transact(work)
        self._core.at("take:reserved")
        return draw

    async def _confirm(self, draw: Draw) -> int | None:
        async def work(connection: AsyncConnection) -> int | None:
            if not await confirm(connection, self._core, draw):
                return None
            self._core.at("take:confirming")
            return await self._core.advance(connection)

        return await self._core.transact(work)

    async def _undo(self, draw: Draw, by_hash: bytes | None) -> None:
        """Nobody has got this ticket: it goes back, now or when the database can be reached."""
        try:
            await self._settle(draw.book_id, draw.index, draw.claim, by_hash, Settlement.UNSENT, None)
        except StoreError:
            if self._lease is not None:
                self._lease.owe(draw.book_id, draw.index, draw.claim)

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
            self._settle(taken.book_id, taken.index, taken.claim, by_hash, settlement, available_total)
        )

    async def _settle(
        self,
        book_id: int,
        index: int,
        claim: str,
        gateway: bytes | None,
        settlement: Settlement,
        available_total: int | None,
    ) -> None:
        async def work(connection: AsyncConnection) -> None:
            changed = await settle_index(connection, self._core, book_id, index, claim, settlement)
            if changed and gateway is not None:
                await note_settlement(connection, self._core, gateway, settlement, available_total)
            self._core.at("settle:begun")

        await self._core.transact(work)
        self._core.at("settle:committed")

    async def totals(self) -> TicketTotals:
        """Counts of tickets over the life of the store."""
        return await self._core.run(totals)

    async def ledger(self) -> list[TicketEntry]:
        """Every ticket that was drawn at least once, for exports and audits."""
        return await self._core.run(entries)

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

        await self._core.run(
            lambda connection: self._core.put(connection, SecretRow, {"name": name, "sealed": sealed})
        )

    async def add_secret(self, name: str, value: bytes) -> bool:
        """The same unless there is one of that name, whoever else keeps one at this moment; returns whether it is."""
        sealed = self._core.sealer.seal(f"secrets/{name}", value)

        async def work(connection: AsyncConnection) -> bool:
            await self._core.put(connection, SecretRow, {"name": name, "sealed": sealed}, keep=True)
            statement = select(SecretRow.sealed).where(SecretRow.name == name)
            return (await connection.execute(statement)).scalar_one_or_none() == sealed

        return await self._core.run(work)

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


def store_url(where: str | Path) -> URL:
    """The URL of a path or a URL; paths become absolute. Raises `StoreUnusable`."""
    if isinstance(where, Path) or "://" not in where:
        return sqlite_url(Path(where).absolute())
    url = parse_url(where)
    if url.get_backend_name() == "sqlite":
        return sqlite_url(Path(str(url.database)).absolute())
    return url
