"""Purchases in the store: `purchase.ports.PurchaseStore` (docs/protocol/08 §7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.errors import PurchaseConflict, StoreError
from nym_credentials.purchase.records import Purchase
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.store.books_io import add_book
from nym_credentials.store.core_io import StoreCore
from nym_credentials.store.postgres_io import LOCK_MONEY
from nym_credentials.store.public_data_io import StoredPublicData
from nym_credentials.store.records import BookSource, BookState, Spending
from nym_credentials.store.spendings_io import COMMITTING, note_spending, read_spendings
from nym_credentials.store.tables_io import BookRow, MetaRow, PurchaseRow, SpendingRow
from nym_credentials.store.turns_io import check_turn
from zknym import TicketBook

_FILLED: Final = "spendings_filled"
_COLUMNS = (PurchaseRow.id, PurchaseRow.version, PurchaseRow.sealed)


class StoredPurchases(StoredPublicData):
    """Purchases, and the public data that belongs to them. Everything is durable when a call returns."""

    def __init__(self, core: StoreCore) -> None:
        super().__init__(core)
        self._core = core
        self.check: Callable[[Purchase, Sequence[Spending]], None] | None = None
        """Asked before a purchase is planned, and before it is stored as signed, with the ledger of all others; it
        refuses by raising. No replica adds to the ledger meanwhile, so a cap that it keeps holds for all of them."""

    async def add_purchase(self, purchase: Purchase) -> Purchase:
        """Keeps a new purchase; returns it with its version. Raises `StoreError` if there is one with that id."""

        again = _Repetition()

        async def work(connection: AsyncConnection) -> Purchase:
            await self._core.alone_in(connection, LOCK_MONEY)
            await check_turn(connection, self._core)
            version, repeated = 1, again()
            if repeated and await self._is_stored(connection, purchase, version):
                return replace(purchase, version=version)
            serial = (await connection.execute(select(func.max(PurchaseRow.serial)))).scalar_one() or 0
            await self._permit(connection, purchase)
            try:
                await connection.execute(
                    insert(PurchaseRow).values(
                        id=str(purchase.id),
                        serial=serial + 1,
                        suspect=False,
                        created_unix=purchase.created_unix,
                        changed_unix=self._core.now(),
                        **self._columns(purchase, version),
                    )
                )
            except IntegrityError as error:
                raise StoreError(f"Purchase {purchase.id} is in the store already.") from error
            await note_spending(connection, purchase, self._core.now())
            return replace(purchase, version=version)

        return await self._core.run(work)

    async def _permit(self, connection: AsyncConnection, purchase: Purchase) -> None:
        if self.check is not None and purchase.state in COMMITTING:
            spendings = await read_spendings(connection)
            others = [spending for spending in spendings if spending.purchase_id != str(purchase.id)]
            self.check(purchase, others)

    async def _is_stored(self, connection: AsyncConnection, purchase: Purchase, version: int) -> bool:
        """Whether this very record is there under this version."""
        statement = select(PurchaseRow.sealed).where(
            PurchaseRow.id == str(purchase.id), PurchaseRow.version == version
        )
        sealed = (await connection.execute(statement)).scalar_one_or_none()
        return (
            sealed is not None
            and self._core.open_sealed(_place(str(purchase.id), version), sealed) == purchase.to_bytes()
        )

    async def spendings(self, *, since_unix: int = 0) -> list[Spending]:
        """The ledger of money: what every purchase that changed since then costs, oldest first."""
        return await self._core.run(lambda connection: read_spendings(connection, since_unix=since_unix))

    async def fill_spendings(self) -> None:
        """Once for stores that were made before there was a ledger: lines of their purchases."""

        async def work(connection: AsyncConnection) -> None:
            await self._core.alone_in(connection, LOCK_MONEY)
            if (
                await connection.execute(select(MetaRow.name).where(MetaRow.name == _FILLED))
            ).first() is not None:
                return
            rows = (
                await connection.execute(
                    select(*_COLUMNS, PurchaseRow.changed_unix).where(
                        PurchaseRow.id.not_in(select(SpendingRow.purchase_id))
                    )
                )
            ).all()
            for row in rows:
                await note_spending(connection, self._opened(row), row.changed_unix)
            await self._core.put(connection, MetaRow, {"name": _FILLED, "value": b"1"})

        await self._core.run(work)

    async def save_purchase(self, purchase: Purchase) -> Purchase:
        """Replaces the record if its version is still `purchase.version`. Raises `PurchaseConflict`."""

        again = _Repetition()

        async def work(connection: AsyncConnection) -> Purchase:
            await self._core.alone_in(connection, LOCK_MONEY)
            return await self._save(connection, purchase, again=again())

        return await self._core.run(work)

    async def purchase(self, purchase_id: UUID) -> Purchase | None:
        """One purchase."""
        found = await self._select(select(*_COLUMNS).where(PurchaseRow.id == str(purchase_id)))
        return found[0] if found else None

    async def unfinished_purchases(self) -> list[Purchase]:
        """All whose state is not finished, oldest first."""
        return await self._select(
            select(*_COLUMNS).where(PurchaseRow.finished.is_(False)).order_by(PurchaseRow.serial)
        )

    async def purchases(self, *, limit: int = 100) -> list[Purchase]:
        """The most recent ones of every state, newest first."""
        return await self._select(select(*_COLUMNS).order_by(PurchaseRow.serial.desc()).limit(limit))

    async def finish_purchase(self, purchase: Purchase, book: TicketBook) -> Purchase:
        """In one transaction: the purchase, which is ISSUED, its book, unspent, and the public data it is spent with.

        A purchase that comes from an old backup may have been finished, and spent from, before: its book is suspect.
        Raises `PurchaseConflict`, `BookAlreadyHere`.
        """
        if purchase.state is not PurchaseState.ISSUED:
            raise StoreError(f"Purchase {purchase.id} is {purchase.state}: it cannot bring a book.")

        again = _Repetition()

        async def work(connection: AsyncConnection) -> tuple[Purchase, int]:
            await self._core.alone_in(connection, LOCK_MONEY)
            repeated = again()
            saved = await self._save(connection, purchase, again=repeated)
            here = select(BookRow.id).where(BookRow.purchase_id == str(purchase.id))
            if repeated and (await connection.execute(here)).first() is not None:
                return saved, await self._core.advance(connection)
            statement = select(PurchaseRow.suspect).where(PurchaseRow.id == str(purchase.id))
            suspect = (await connection.execute(statement)).scalar_one()
            await add_book(
                connection,
                self._core,
                book,
                source=BookSource.BOUGHT,
                state=BookState.SUSPECT if suspect else BookState.ACTIVE,
                purchase_id=str(purchase.id),
            )
            await self.keep_known(connection, book.epoch_id, book.expiration)
            self._core.at("finish:begun")
            return saved, await self._core.advance(connection)

        async def whole() -> Purchase:
            saved, generation = await self._core.transact(work)
            self._core.at("finish:committed")
            await self._core.witness(generation)
            return saved

        return await self._core.tasks.run(whole())

    async def _save(self, connection: AsyncConnection, purchase: Purchase, *, again: bool) -> Purchase:
        version = purchase.version + 1
        await check_turn(connection, self._core)
        if purchase.state is PurchaseState.SIGNED:
            await self._permit(connection, purchase)
        done = await connection.execute(
            update(PurchaseRow)
            .where(PurchaseRow.id == str(purchase.id), PurchaseRow.version == purchase.version)
            .values(changed_unix=self._core.now(), **self._columns(purchase, version))
        )
        if not done.rowcount:
            if again and await self._is_stored(connection, purchase, version):
                return replace(purchase, version=version)
            raise PurchaseConflict(
                f"Purchase {purchase.id} was changed by another process.", "That one goes on with it."
            )
        await note_spending(connection, purchase, self._core.now())
        return replace(purchase, version=version)

    def _columns(self, purchase: Purchase, version: int) -> dict[str, object]:
        sealed = self._core.sealer.seal(_place(str(purchase.id), version), purchase.to_bytes())
        return {
            "state": purchase.state,
            "finished": purchase.state.finished,
            "version": version,
            "sealed": sealed,
        }

    async def _select(self, statement: Select[Any]) -> list[Purchase]:
        async def work(connection: AsyncConnection) -> list[Purchase]:
            rows = (await connection.execute(statement)).all()
            return [self._opened(row) for row in rows]

        return await self._core.run(work)

    def _opened(self, row: Row[Any]) -> Purchase:
        sealed = self._core.open_sealed(_place(row.id, row.version), row.sealed)
        return Purchase.from_bytes(sealed, version=row.version)


class _Repetition:
    """Whether a transaction is begun anew: then it may have been done before the connection broke."""

    def __init__(self) -> None:
        self._begun = False

    def __call__(self) -> bool:
        begun, self._begun = self._begun, True
        return begun


def _place(purchase_id: str, version: int) -> str:
    return f"purchases/{purchase_id}/{version}"
