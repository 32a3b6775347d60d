"""Books in the store: adding, listing, importing, exporting, giving up (docs/protocol/10 §4.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import date
from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.errors import BookAlreadyHere, BookRefused, BookUsed
from nym_credentials.store.bookfile import BookForm, read_book_file, write_book_file
from nym_credentials.store.core_io import StoreCore
from nym_credentials.store.postgres_io import LOCK_PUBLIC_DATA
from nym_credentials.store.public_data_io import (
    StoredPublicData,
    keep_coin_signatures,
    keep_date_signatures,
    keep_epoch_key,
)
from nym_credentials.store.records import BookInfo, BookSource, BookState, TicketState
from nym_credentials.store.sealing import Sealer
from nym_credentials.store.tables_io import BookRow, TicketRow
from zknym import TICKETS_PER_BOOK, EcashError, ImportableTicketBook, TicketBook, TicketType

_LIVE = (BookState.ACTIVE, BookState.SUSPECT)


class StoredBooks:
    """All books, spent ones included."""

    def __init__(self, core: StoreCore, public: StoredPublicData) -> None:
        self._core = core
        self._public = public

    async def all(self) -> list[BookInfo]:
        """Every book, those that expire first in front."""
        return await self._core.run(_infos)

    async def get(self, book_id: int) -> BookInfo:
        """One book. Raises `BookRefused` if there is none with that number."""
        return await self._core.run(lambda connection: _info(connection, book_id))

    async def import_file(
        self,
        data: bytes,
        today: date,
        *,
        form: BookForm | None = None,
        used: int | None = None,
        end: int = TICKETS_PER_BOOK,
        reclaim: bool = False,
    ) -> BookInfo:
        """Takes a book from a file, with all the public data that it brings, and verifies everything.

        A book counts as unspent unless it says itself that tickets are gone: then `used` has to say how many were
        spent elsewhere, the first `used` of the book. Tickets `used` … `end` - 1 will be spent here. `reclaim` takes
        a book back that was exported from this store. Raises `BookRefused`, `BookAlreadyHere`, `BookUsed`.
        """
        content = (await asyncio.to_thread(read_book_file, data, form)).content
        book = content.book
        if book.expired(today):
            raise BookRefused(f"The book has expired on {book.expiration}: it is worth nothing.")
        first = book.spent_tickets if reclaim and used is None else _first_ticket(book, used)
        if not 0 <= first < end <= TICKETS_PER_BOOK:
            raise BookRefused(f"Tickets {first} to {end - 1} are no part of a book with tickets to spend.")
        content = await self._complete(content)
        await asyncio.to_thread(_verify, content)

        async def work(connection: AsyncConnection) -> tuple[int, int]:
            await self._core.alone_in(connection, LOCK_PUBLIC_DATA)
            known = await _known(connection, self._core.sealer, book)
            if known is None:
                await _keep_public(connection, self._core, content)
                book_id = await add_book(
                    connection, self._core, book, source=BookSource.IMPORTED, first=first, end=end
                )
            else:
                book_id = await self._take_back(connection, known, first, end, reclaim=reclaim)
            self._core.at("import:begun")
            return book_id, await self._core.advance(connection)

        async def whole() -> int:
            book_id, generation = await self._core.transact(work, repeatable=False)
            self._core.at("import:committed")
            await self._core.witness(generation)
            return book_id

        return await self.get(await self._core.tasks.run(whole()))

    async def _complete(self, content: ImportableTicketBook) -> ImportableTicketBook:
        """With what the store knows already. Raises `BookRefused` if there is not enough to spend the book."""
        book = content.book
        key = content.master_key or await self._public.epoch_key(book.epoch_id)
        coins = content.coin_signatures or await self._public.coin_signatures(book.epoch_id)
        dates = content.date_signatures or await self._public.date_signatures(book.epoch_id, book.expiration)
        if key is None or coins is None or dates is None:
            raise BookRefused(
                f"The file lacks public data of epoch {book.epoch_id} and of {book.expiration}, as does this store.",
                "Export the book with all its parts (`--include-…` of upstream's command line).",
            )
        return ImportableTicketBook(book, dates, coins, key)

    async def _take_back(
        self, connection: AsyncConnection, known: Row[Any], first: int, end: int, *, reclaim: bool
    ) -> int:
        if known.state != BookState.EXPORTED or not reclaim:
            raise BookAlreadyHere(
                f"This very book is in the store already, as number {known.id} ({known.state}).",
                "If it was exported from here and comes back, ask for reclaiming."
                if known.state == BookState.EXPORTED
                else "",
            )
        first = max(first, known.next_ticket)
        if first >= end:
            raise BookUsed("The book comes back without tickets to spend here.")
        await connection.execute(
            update(BookRow)
            .where(BookRow.id == known.id)
            .values(state=BookState.ACTIVE, next_ticket=first, end_ticket=end)
        )
        return int(known.id)

    async def export_file(
        self, book_id: int, *, form: BookForm = BookForm.FULL, base58: bool = False, again: bool = False
    ) -> bytes:
        """A file with the book; before it is returned, the book is given up here for good.

        The file says how many tickets are gone; tickets that were taken and put back count as gone. `again` repeats
        the file of a book that was exported before, for when that was lost. Raises `BookRefused`: no such book,
        tickets in use, nothing left.
        """
        info = await self.get(book_id)
        public = await self._public.for_book(info.epoch_id, info.expiration)
        allowed = (*_LIVE, BookState.EXPORTED) if again else _LIVE

        async def work(connection: AsyncConnection) -> tuple[bytes, int, int]:
            await _lock(connection, book_id)
            now = await _info(connection, book_id)
            if now.state not in allowed or now.next >= now.end:
                raise BookRefused(
                    f"Book {book_id} has no tickets to export: it is {now.state}.",
                    "If the file of before got lost, ask for it again."
                    if now.state is BookState.EXPORTED
                    else "",
                )
            if now.taken:
                raise BookRefused(f"A ticket of book {book_id} is in use.", "Try again in a moment.")
            if now.end != TICKETS_PER_BOOK:
                raise BookRefused(
                    f"Of book {book_id} only tickets up to {now.end - 1} belong to this store, which a file cannot say."
                )
            await connection.execute(
                update(BookRow).where(BookRow.id == book_id).values(state=BookState.EXPORTED)
            )
            row = (await connection.execute(_sealed_of(book_id))).one()
            self._core.at("export:begun")
            return open_book(self._core, row).encode(), now.next, await self._core.advance(connection)

        async def whole() -> bytes:
            data, spent, generation = await self._core.transact(work, repeatable=False)
            self._core.at("export:committed")
            await self._core.witness(generation)
            return await asyncio.to_thread(
                write_book_file, TicketBook.decode(data), spent, public, form, base58=base58
            )

        return await self._core.tasks.run(whole())

    async def give_up(self, book_id: int) -> BookInfo:
        """Nothing is taken from the book any more. `trust` takes it back."""
        return await self._change(book_id, _LIVE, BookState.EXHAUSTED)

    async def trust(self, book_id: int) -> BookInfo:
        """The operator says that nobody else spends a book that is suspect or was given up."""
        return await self._change(book_id, (BookState.SUSPECT, BookState.EXHAUSTED), BookState.ACTIVE)

    async def _change(self, book_id: int, allowed: tuple[BookState, ...], state: BookState) -> BookInfo:
        async def work(connection: AsyncConnection) -> BookInfo:
            info = await _info(connection, book_id)
            if info.state not in allowed:
                raise BookRefused(f"Book {book_id} is {info.state}.")
            await connection.execute(
                update(BookRow).where(BookRow.id == book_id).values(state=state, spent_answers=0)
            )
            return await _info(connection, book_id)

        return await self._core.run(work)

    async def forget_expired(self, today: date) -> int:
        """Removes the secrets of books whose last day is over; returns of how many. Their counts stay."""

        async def work(connection: AsyncConnection) -> int:
            done = await connection.execute(
                update(BookRow)
                .where(BookRow.expiration < today, BookRow.state != BookState.EXPIRED)
                .values(state=BookState.EXPIRED, sealed=None)
            )
            return int(done.rowcount)

        return await self._core.run(work)


async def add_book(
    connection: AsyncConnection,
    core: StoreCore,
    book: TicketBook,
    *,
    source: BookSource,
    first: int = 0,
    end: int = TICKETS_PER_BOOK,
    state: BookState = BookState.ACTIVE,
    purchase_id: str | None = None,
) -> int:
    """Inside of a larger transaction; returns the book's number. Raises `BookAlreadyHere`."""
    fingerprint = _fingerprint(core.sealer, book)
    try:
        done = await connection.execute(
            insert(BookRow)
            .values(
                fingerprint=fingerprint,
                ticket_type=book.ticket_type.label,
                expiration=book.expiration,
                epoch_id=book.epoch_id,
                state=state,
                source=source,
                first_ticket=first,
                next_ticket=first,
                end_ticket=end,
                spent_answers=0,
                added_unix=core.now(),
                purchase_id=purchase_id,
                revision=TicketBook.REVISION,
                sealed=core.sealer.seal(_place(fingerprint), book.encode()),
            )
            .returning(BookRow.id)
        )
    except IntegrityError as error:
        raise BookAlreadyHere("This very book is in the store already.") from error
    return int(done.scalar_one())


def open_book(core: StoreCore, row: Any) -> TicketBook:
    """The book of a row with `fingerprint`, `sealed` and `revision`. Some milliseconds."""
    return TicketBook.decode(core.open_sealed(_place(row.fingerprint), row.sealed), row.revision)


def _place(fingerprint: bytes) -> str:
    return f"books/{fingerprint.hex()}"


def _fingerprint(sealer: Sealer, book: TicketBook) -> bytes:
    """What makes a book itself: its wallet secret. The signature could be written in other ways."""
    return sealer.hash("book", book.wallet.wallet_secret.to_bytes(32, "little") + book.user.encode())


async def _known(connection: AsyncConnection, sealer: Sealer, book: TicketBook) -> Row[Any] | None:
    statement = (
        select(BookRow.id, BookRow.state, BookRow.next_ticket)
        .where(BookRow.fingerprint == _fingerprint(sealer, book))
        .with_for_update()
    )
    return (await connection.execute(statement)).first()


def _first_ticket(book: TicketBook, used: int | None) -> int:
    if used is None:
        if book.spent_tickets:
            raise BookUsed(
                f"The book says that {book.spent_tickets} of its tickets are spent.",
                "If nobody else spends it any more, say how many tickets are used.",
            )
        return 0
    if used < book.spent_tickets:
        raise BookUsed(
            f"The book says itself that {book.spent_tickets} of its tickets are spent, not {used}."
        )
    return used


async def _keep_public(connection: AsyncConnection, core: StoreCore, content: ImportableTicketBook) -> None:
    if content.master_key is not None:
        await keep_epoch_key(connection, core, content.master_key)
    if content.coin_signatures is not None:
        await keep_coin_signatures(connection, core, content.coin_signatures)
    if content.date_signatures is not None:
        await keep_date_signatures(connection, core, content.date_signatures)


def _verify(content: ImportableTicketBook) -> None:
    try:
        content.verify()
    except EcashError as error:
        raise BookRefused(f"The book or what came with it does not verify: {error}.") from error


async def _lock(connection: AsyncConnection, book_id: int) -> None:
    """Until the end of the transaction nobody draws from this book, or changes it."""
    await connection.execute(select(BookRow.id).where(BookRow.id == book_id).with_for_update())


def _sealed_of(book_id: int) -> Any:
    return select(BookRow.fingerprint, BookRow.sealed, BookRow.revision).where(BookRow.id == book_id)


async def _infos(connection: AsyncConnection) -> list[BookInfo]:
    counts: dict[int, dict[str, int]] = {}
    statement = select(TicketRow.book_id, TicketRow.state, func.count()).group_by(
        TicketRow.book_id, TicketRow.state
    )
    for book_id, state, count in await connection.execute(statement):
        counts.setdefault(book_id, {})[state] = count
    rows = await connection.execute(select(*_COLUMNS).order_by(BookRow.expiration, BookRow.id))
    return [_to_info(row, counts.get(row.id, {})) for row in rows]


async def _info(connection: AsyncConnection, book_id: int) -> BookInfo:
    row = (await connection.execute(select(*_COLUMNS).where(BookRow.id == book_id))).first()
    if row is None:
        raise BookRefused(f"There is no book number {book_id} in this store.")
    statement = (
        select(TicketRow.state, func.count().label("tickets"))
        .where(TicketRow.book_id == book_id)
        .group_by(TicketRow.state)
    )
    return _to_info(row, {row.state: row.tickets for row in await connection.execute(statement)})


_COLUMNS = (
    BookRow.id,
    BookRow.ticket_type,
    BookRow.expiration,
    BookRow.epoch_id,
    BookRow.state,
    BookRow.source,
    BookRow.first_ticket,
    BookRow.next_ticket,
    BookRow.end_ticket,
    BookRow.added_unix,
    BookRow.purchase_id,
)


def _to_info(row: Row[Any], counts: Mapping[str, int]) -> BookInfo:
    return BookInfo(
        book_id=row.id,
        ticket_type=TicketType.from_label(row.ticket_type),
        expiration=row.expiration,
        epoch_id=row.epoch_id,
        state=BookState(row.state),
        source=BookSource(row.source),
        first=row.first_ticket,
        next=row.next_ticket,
        end=row.end_ticket,
        taken=counts.get(TicketState.TAKEN, 0) + counts.get(TicketState.RESERVED, 0),
        accepted=counts.get(TicketState.ACCEPTED, 0),
        given_up=counts.get(TicketState.GIVEN_UP, 0),
        reverted=counts.get(TicketState.REVERTED, 0),
        added_unix=row.added_unix,
        purchase_id=row.purchase_id,
    )
