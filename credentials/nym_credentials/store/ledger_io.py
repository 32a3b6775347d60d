"""Taking tickets and settling them: the ledger of every index of every book (docs/protocol/10 §4.3).

A ticket is taken in one transaction, which is on disk, and told to the witness file, before anybody can make a
payment of it. An index is used again only after `Settlement.UNSENT`.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import Row, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.errors import OutOfTickets, StoreError
from nym_credentials.store.core_io import StoreCore
from nym_credentials.store.records import (
    SUSPECT_AFTER,
    TICKET_TRANSITIONS,
    BookState,
    Settlement,
    TicketState,
    TicketTotals,
)
from nym_credentials.store.tables_io import BookRow, TicketRow
from zknym import TicketType, default_expiration


async def choose_book(connection: AsyncConnection, ticket_type: TicketType, today: date) -> Row[Any]:
    """Of the books with tickets that can be spent today, the one that expires first. Raises `OutOfTickets`."""
    statement = (
        select(
            BookRow.id,
            BookRow.epoch_id,
            BookRow.expiration,
            BookRow.next_ticket,
            BookRow.fingerprint,
            BookRow.sealed,
            BookRow.revision,
        )
        .where(
            BookRow.ticket_type == ticket_type.label,
            BookRow.state == BookState.ACTIVE,
            BookRow.expiration.between(today, default_expiration(today)),
            or_(BookRow.next_ticket < BookRow.end_ticket, _reverted().exists()),
        )
        .order_by(BookRow.expiration, BookRow.id)
        .limit(1)
        .with_for_update()
    )
    row = (await connection.execute(statement)).first()
    if row is None:
        raise OutOfTickets(*await _why_none(connection, ticket_type, today))
    return row


async def take_index(
    connection: AsyncConnection, core: StoreCore, book: Row[Any], gateway: bytes | None
) -> int:
    """Takes the next index of a chosen book: one that was put back, else a fresh one."""
    again: int | None = (
        await connection.execute(
            select(func.min(TicketRow.ticket_index)).where(
                TicketRow.book_id == book.id, TicketRow.state == TicketState.REVERTED
            )
        )
    ).scalar_one()
    changes = {
        "state": TicketState.TAKEN,
        "settlement": None,
        "session": core.session,
        "gateway": gateway,
        "taken_unix": core.now(),
        "settled_unix": None,
    }
    if again is not None:
        await connection.execute(
            update(TicketRow)
            .where(TicketRow.book_id == book.id, TicketRow.ticket_index == again)
            .values(attempts=TicketRow.attempts + 1, **changes)
        )
        return int(again)
    index = int(book.next_ticket)
    await connection.execute(update(BookRow).where(BookRow.id == book.id).values(next_ticket=index + 1))
    await connection.execute(
        insert(TicketRow).values(book_id=book.id, ticket_index=index, attempts=1, **changes)
    )
    return index


async def settle_index(
    connection: AsyncConnection, core: StoreCore, book_id: int, index: int, settlement: Settlement
) -> bool:
    """Records what became of a taken ticket; False if that was recorded before. Another one raises `StoreError`."""
    this = (TicketRow.book_id == book_id, TicketRow.ticket_index == index)
    statement = select(TicketRow.state, TicketRow.settlement).where(*this).with_for_update()
    row = (await connection.execute(statement)).first()
    if row is None:
        raise StoreError(f"Ticket {index} of book {book_id} was never taken.")
    if row.settlement == settlement:
        return False
    state = TICKET_TRANSITIONS.get((TicketState(row.state), settlement))
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


async def settle_left_behind(connection: AsyncConnection, core: StoreCore) -> int:
    """Gives up what dead processes had in use; returns how many. Only for a process that is alone."""
    done = await connection.execute(
        update(TicketRow)
        .where(TicketRow.state == TicketState.TAKEN)
        .values(
            state=TICKET_TRANSITIONS[TicketState.TAKEN, Settlement.CRASHED],
            settlement=Settlement.CRASHED,
            settled_unix=core.now(),
        )
    )
    return int(done.rowcount)


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
