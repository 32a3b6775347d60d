"""Taking tickets and settling them: the ledger of every index of every book (docs/protocol/10 §4.3).

A ticket is taken in two transactions. The first reserves an index for one call: should the process die now, it is
certain that nothing was sent, and the index is put back. The second says that it is handed out; it is on disk, and told
to the witness file, before anybody can make a payment of it. From then on the index is used again only after
`Settlement.UNSENT`, which only the call that has it can say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from sqlalchemy import Row, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.errors import OutOfTickets, StoreError, StoreInUse
from nym_credentials.store.core_io import StoreCore
from nym_credentials.store.records import (
    LATE_TRANSITIONS,
    SUSPECT_AFTER,
    TICKET_TRANSITIONS,
    BookState,
    Settlement,
    TicketEntry,
    TicketState,
    TicketTotals,
)
from nym_credentials.store.tables_io import BookRow, TicketRow
from zknym import TicketType, default_expiration

_CHOICES: Final = 20
"""How often a book is chosen anew because others were faster. Each time one of those got a ticket."""


@dataclass(frozen=True, slots=True)
class Draw:
    """A ticket that is reserved for one call."""

    book_id: int
    index: int
    claim: str
    epoch_id: int
    expiration: date
    fingerprint: bytes
    revision: int
    sealed: bytes = field(repr=False)


async def reserve(
    connection: AsyncConnection,
    core: StoreCore,
    claim: str,
    ticket_type: TicketType,
    today: date,
    gateway: bytes | None,
) -> Draw:
    """Draws a ticket for one call, from the book that expires first. The same claim gets the same ticket again.

    Raises `OutOfTickets`.
    """
    mine = select(TicketRow.book_id, TicketRow.ticket_index).where(
        TicketRow.claim == claim, TicketRow.state == TicketState.RESERVED
    )
    had = (await connection.execute(mine)).first()
    if had is not None:
        book = (await connection.execute(select(*_CHOSEN).where(BookRow.id == had.book_id))).one()
        return _draw(book, had.ticket_index, claim)
    book = await _lock_book(connection, ticket_type, today)
    return _draw(book, await _take_index(connection, core, book, claim, gateway), claim)


async def confirm(connection: AsyncConnection, core: StoreCore, draw: Draw) -> bool:
    """From here on a payment may be sent. False if the ticket is not reserved for this call any more.

    The row's lock decides between this call and whoever takes this process for dead.
    """
    done = await connection.execute(
        update(TicketRow)
        .where(
            TicketRow.book_id == draw.book_id,
            TicketRow.ticket_index == draw.index,
            TicketRow.claim == draw.claim,
            TicketRow.session == core.session,
            TicketRow.state.in_((TicketState.RESERVED, TicketState.TAKEN)),
        )
        .values(state=TicketState.TAKEN, taken_unix=core.now())
    )
    return bool(done.rowcount)


_CHOSEN: Final = (
    BookRow.id,
    BookRow.epoch_id,
    BookRow.expiration,
    BookRow.next_ticket,
    BookRow.fingerprint,
    BookRow.sealed,
    BookRow.revision,
)


def _draw(book: Row[Any], index: int, claim: str) -> Draw:
    return Draw(
        book.id, index, claim, book.epoch_id, book.expiration, book.fingerprint, book.revision, book.sealed
    )


async def _lock_book(connection: AsyncConnection, ticket_type: TicketType, today: date) -> Row[Any]:
    """Of the books with tickets that can be spent today, one of those that expire first; its row is ours for now.

    Replicas pass one another where several books expire on that day; with one book they wait. What a lock was
    waited for may have changed meanwhile, so it is looked at again.
    """
    usable = (
        BookRow.ticket_type == ticket_type.label,
        BookRow.state == BookState.ACTIVE,
        BookRow.expiration.between(today, default_expiration(today)),
        or_(BookRow.next_ticket < BookRow.end_ticket, _reverted().exists()),
    )
    order = (BookRow.expiration, BookRow.id)
    for _ in range(_CHOICES):
        first = (
            await connection.execute(
                select(BookRow.id, BookRow.expiration).where(*usable).order_by(*order).limit(1)
            )
        ).first()
        if first is None:
            raise OutOfTickets(*await _why_none(connection, ticket_type, today))
        free = select(BookRow.id).where(*usable, BookRow.expiration == first.expiration)
        chosen = (
            await connection.execute(free.order_by(*order).limit(1).with_for_update(skip_locked=True))
        ).scalar_one_or_none()
        if chosen is None:
            chosen = first.id
            await connection.execute(select(BookRow.id).where(BookRow.id == chosen).with_for_update())
        book = (await connection.execute(select(*_CHOSEN).where(BookRow.id == chosen, *usable))).first()
        if book is not None:
            return book
    raise StoreInUse("Too many draw tickets at once.", "Try again.")


async def _take_index(
    connection: AsyncConnection, core: StoreCore, book: Row[Any], claim: str, gateway: bytes | None
) -> int:
    """Reserves the next index of a book that is locked: one that was put back, else a fresh one."""
    again: int | None = (
        await connection.execute(
            select(func.min(TicketRow.ticket_index)).where(
                TicketRow.book_id == book.id, TicketRow.state == TicketState.REVERTED
            )
        )
    ).scalar_one()
    changes = {
        "state": TicketState.RESERVED,
        "settlement": None,
        "session": core.session,
        "claim": claim,
        "gateway": gateway,
        "taken_unix": core.now(),
        "settled_unix": None,
    }
    if again is not None:
        done = await connection.execute(
            update(TicketRow)
            .where(
                TicketRow.book_id == book.id,
                TicketRow.ticket_index == again,
                TicketRow.state == TicketState.REVERTED,
            )
            .values(attempts=TicketRow.attempts + 1, **changes)
        )
    else:
        done = await connection.execute(
            update(BookRow)
            .where(BookRow.id == book.id, BookRow.next_ticket == book.next_ticket)
            .values(next_ticket=book.next_ticket + 1)
        )
    if done.rowcount != 1:
        raise StoreInUse(f"Book {book.id} was changed in spite of its lock.", "Try again.")
    if again is not None:
        return int(again)
    index = int(book.next_ticket)
    await connection.execute(
        insert(TicketRow).values(book_id=book.id, ticket_index=index, attempts=1, **changes)
    )
    return index


async def settle_index(
    connection: AsyncConnection, core: StoreCore, book_id: int, index: int, claim: str, settlement: Settlement
) -> bool:
    """Records what became of a taken ticket; False if that was recorded before. Another one raises `StoreError`."""
    this = (TicketRow.book_id == book_id, TicketRow.ticket_index == index)
    statement = select(TicketRow.state, TicketRow.settlement, TicketRow.claim).where(*this).with_for_update()
    row = (await connection.execute(statement)).first()
    if row is None:
        raise StoreError(f"Ticket {index} of book {book_id} was never taken.")
    if row.claim != claim:
        if settlement is Settlement.UNSENT:
            return False  # it was recorded before, and the ticket has gone to another call since
        raise StoreError(f"Ticket {index} of book {book_id} was put back, and taken by another call.")
    if row.settlement == settlement:
        return False
    state = TICKET_TRANSITIONS.get((TicketState(row.state), settlement))
    if row.settlement == Settlement.CRASHED:
        state = LATE_TRANSITIONS.get(settlement)
    if state is None:
        raise StoreError(
            f"Ticket {index} of book {book_id} is {row.state} already: it cannot become {settlement}."
        )
    await connection.execute(
        update(TicketRow).where(*this).values(state=state, settlement=settlement, settled_unix=core.now())
    )
    if settlement is Settlement.SPENT:
        await _count_spent(connection, book_id)
    return True


async def settle_left_behind(connection: AsyncConnection, core: StoreCore, *living: Any) -> int:
    """Settles what dead processes had: what was handed out is given up, what was only reserved is put back.

    `living`: conditions that spare tickets of others. Without any, only for a process that is alone. Returns how many
    were given up.
    """
    counts = []
    for before, settlement in (
        (TicketState.RESERVED, Settlement.UNSENT),
        (TicketState.TAKEN, Settlement.CRASHED),
    ):
        done = await connection.execute(
            update(TicketRow)
            .where(TicketRow.state == before, *living)
            .values(
                state=TICKET_TRANSITIONS[before, settlement],
                settlement=settlement,
                settled_unix=core.now(),
            )
        )
        counts.append(int(done.rowcount))
    return counts[1]


async def entries(connection: AsyncConnection) -> list[TicketEntry]:
    """The whole ledger of tickets."""
    rows = await connection.execute(
        select(
            TicketRow.book_id,
            TicketRow.ticket_index,
            TicketRow.state,
            TicketRow.settlement,
            TicketRow.attempts,
            TicketRow.taken_unix,
            TicketRow.settled_unix,
            TicketRow.gateway,
        ).order_by(TicketRow.book_id, TicketRow.ticket_index)
    )
    return [
        TicketEntry(
            row.book_id,
            row.ticket_index,
            TicketState(row.state),
            None if row.settlement is None else Settlement(row.settlement),
            row.attempts,
            row.taken_unix,
            row.settled_unix,
            row.gateway,
        )
        for row in rows
    ]


async def totals(connection: AsyncConnection) -> TicketTotals:
    """Counts for metrics."""
    states = select(TicketRow.state, func.count()).group_by(TicketRow.state)
    settlements = (
        select(TicketRow.settlement, func.count())
        .where(TicketRow.settlement.is_not(None))
        .group_by(TicketRow.settlement)
    )
    return TicketTotals(
        {TicketState(state): count for state, count in await connection.execute(states)},
        {Settlement(name): count for name, count in await connection.execute(settlements)},
    )


def _reverted() -> Any:
    return select(TicketRow.ticket_index).where(
        TicketRow.book_id == BookRow.id, TicketRow.state == TicketState.REVERTED
    )


async def _count_spent(connection: AsyncConnection, book_id: int) -> None:
    """A fresh ticket was called spent: the second one makes the book suspect."""
    await connection.execute(
        update(BookRow).where(BookRow.id == book_id).values(spent_answers=BookRow.spent_answers + 1)
    )
    await connection.execute(
        update(BookRow)
        .where(
            BookRow.id == book_id, BookRow.spent_answers >= SUSPECT_AFTER, BookRow.state == BookState.ACTIVE
        )
        .values(state=BookState.SUSPECT)
    )


async def _why_none(connection: AsyncConnection, ticket_type: TicketType, today: date) -> tuple[str, str]:
    held = (
        await connection.execute(
            select(func.count()).where(
                BookRow.ticket_type == ticket_type.label,
                BookRow.state.in_((BookState.SUSPECT, BookState.EXHAUSTED)),
                BookRow.expiration >= today,
                BookRow.next_ticket < BookRow.end_ticket,
            )
        )
    ).scalar_one()
    if held:
        return (
            f"There are no {ticket_type.label} tickets to spend; {held} book(s) with tickets are held back.",
            "Buy a ticketbook; or trust those books, if no copy of them is in use.",
        )
    return f"There are no {ticket_type.label} tickets left.", "Buy a ticketbook."
