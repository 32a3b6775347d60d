"""Purchases in the store: `purchase.ports.PurchaseStore` (docs/protocol/08 §7)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.errors import PurchaseConflict, StoreError
from nym_credentials.purchase.records import Purchase
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.store.books_io import add_book
from nym_credentials.store.core_io import StoreCore
from nym_credentials.store.public_data_io import StoredPublicData
from nym_credentials.store.records import BookSource, BookState
from nym_credentials.store.tables_io import PurchaseRow
from zknym import TicketBook

_COLUMNS = (PurchaseRow.id, PurchaseRow.version, PurchaseRow.sealed)


class StoredPurchases(StoredPublicData):
    """Purchases, and the public data that belongs to them. Everything is durable when a call returns."""

    def __init__(self, core: StoreCore) -> None:
        super().__init__(core)
        self._core = core

    async def add_purchase(self, purchase: Purchase) -> Purchase:
        """Keeps a new purchase; returns it with its version. Raises `StoreError` if there is one with that id."""

        async def work(connection: AsyncConnection) -> Purchase:
            serial = (await connection.execute(select(func.max(PurchaseRow.serial)))).scalar_one() or 0
            now, version = self._core.now(), 1
            try:
                await connection.execute(
                    insert(PurchaseRow).values(
                        id=str(purchase.id),
                        serial=serial + 1,
                        suspect=False,
                        created_unix=purchase.created_unix,
                        changed_unix=now,
                        **self._columns(purchase, version),
                    )
                )
            except IntegrityError as error:
                raise StoreError(f"Purchase {purchase.id} is in the store already.") from error
            return replace(purchase, version=version)

        return await self._core.run(work)

    async def save_purchase(self, purchase: Purchase) -> Purchase:
        """Replaces the record if its version is still `purchase.version`. Raises `PurchaseConflict`."""
        return await self._core.run(lambda connection: self._save(connection, purchase))

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
        """In one transaction: the purchase, which is ISSUED, and its book, unspent.

        A purchase that comes from an old backup may have been finished, and spent from, before: its book is suspect.
        Raises `PurchaseConflict`, `BookAlreadyHere`.
        """
        if purchase.state is not PurchaseState.ISSUED:
            raise StoreError(f"Purchase {purchase.id} is {purchase.state}: it cannot bring a book.")

        async def work(connection: AsyncConnection) -> tuple[Purchase, int]:
            saved = await self._save(connection, purchase)
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
            self._core.at("finish:begun")
            return saved, await self._core.advance(connection)

        async def whole() -> Purchase:
            saved, generation = await self._core.transact(work)
            self._core.at("finish:committed")
            await self._core.witness(generation)
            return saved

        return await self._core.tasks.run(whole())

    async def _save(self, connection: AsyncConnection, purchase: Purchase) -> Purchase:
        version = purchase.version + 1
        done = await connection.execute(
            update(PurchaseRow)
            .where(PurchaseRow.id == str(purchase.id), PurchaseRow.version == purchase.version)
            .values(changed_unix=self._core.now(), **self._columns(purchase, version))
        )
        if not done.rowcount:
            raise PurchaseConflict(
                f"Purchase {purchase.id} was changed by another process.", "That one goes on with it."
            )
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
            return [
                Purchase.from_bytes(
                    self._core.open_sealed(_place(row.id, row.version), row.sealed), version=row.version
                )
                for row in rows
            ]

        return await self._core.run(work)


def _place(purchase_id: str, version: int) -> str:
    return f"purchases/{purchase_id}/{version}"
