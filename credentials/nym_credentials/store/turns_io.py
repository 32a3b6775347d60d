"""Whose turn it is to buy: of all processes on one store at most one (docs/protocol/08 §7).

SQLite: a lock on a file beside it. PostgreSQL: an advisory lock on a connection of its own; the server lets it go when
the connection or the process dies. A process that has lost its connection without knowing could go on for a moment, so
every turn has a number, and purchases are stored only by the process with the latest one: before a payment is sent it
is stored that it is being sent, so that is as good as not paying.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Any, Final

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.errors import PurchaseConflict
from nym_credentials.store.core_io import StoreCore
from nym_credentials.store.postgres_io import LOCK_TURN
from nym_credentials.store.tables_io import MetaRow

_TURN: Final = "turn"
_GOODBYE_SECONDS: Final = 2.0
"""How long a server may take to close a connection."""
_LOST: Final = (
    "The turn to buy was lost: the connection to the ticket store broke.",
    "Purchases under way are taken up again; nothing is paid twice.",
)


class SharedTurn:
    """`async with`: raises `PurchaseConflict` at once if another process has its turn.

    The body is cancelled, and `PurchaseConflict` raised, when the turn is lost.
    """

    def __init__(self, core: StoreCore) -> None:
        self._core = core
        self._connection: AsyncConnection | None = None
        self._body: asyncio.Task[Any] | None = None
        self._cancelled_before = 0
        self._lost = False

    async def __aenter__(self) -> None:
        core = self._core
        connection = await core.database.connect_apart()
        try:
            with core.database.mapped(lambda: False):
                statement = text("SELECT pg_try_advisory_lock(:key)")
                mine = (await connection.execute(statement, {"key": LOCK_TURN})).scalar_one()
                raw = await connection.get_raw_connection()
            if not mine:
                raise PurchaseConflict(
                    "Another replica is buying into this store.",
                    "Try again when it is done; nothing was paid.",
                )
            core.turn = await core.run(_next_turn)
        except BaseException:
            await _close(connection)
            raise
        self._connection, self._body, self._lost = connection, asyncio.current_task(), False
        assert self._body is not None
        self._cancelled_before = self._body.cancelling()
        driver = raw.driver_connection
        assert driver is not None
        driver.add_termination_listener(self._terminated)
        if driver.is_closed():  # it will not be told any more
            self._connection = self._body = None
            core.turn = None
            await _close(connection)
            raise PurchaseConflict(*_LOST)

    def _terminated(self, _connection: object) -> None:
        if self._connection is not None and self._body is not None:
            self._lost = True
            self._body.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        body, self._body = self._body, None
        self._core.turn = None
        if connection is not None:
            await _close(connection)
        if self._lost and body is not None:
            ours = body.uncancel() <= self._cancelled_before  # else somebody else wants it to end as well
            if ours and kind is asyncio.CancelledError:
                raise PurchaseConflict(*_LOST) from error


class StoreTurn:
    """A turn of either kind; who has it already may enter again within the same task."""

    def __init__(self, core: StoreCore, turn: AbstractAsyncContextManager[None]) -> None:
        self._core = core
        self._turn: AbstractAsyncContextManager[None] | None = turn

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        if self._turn is None or self._core.buyer is task:
            self._turn = None  # nothing to leave either
            return
        await self._turn.__aenter__()
        self._core.buyer = task

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._turn is None:
            return None
        self._core.buyer = None
        return await self._turn.__aexit__(kind, error, trace)


async def check_turn(connection: AsyncConnection, core: StoreCore) -> None:
    """Inside of a transaction that stores a purchase. Raises `PurchaseConflict` if somebody else has had a turn since.

    Processes that have not taken a turn at all are not held back: they change no purchase of others.
    """
    if core.turn is None or not core.database.shared:
        return
    statement = select(MetaRow.value).where(MetaRow.name == _TURN).with_for_update(read=True)
    if int((await connection.execute(statement)).scalar_one()) != core.turn:
        raise PurchaseConflict(*_LOST)


async def _next_turn(connection: AsyncConnection) -> int:
    await connection.execute(
        insert(MetaRow).values(name=_TURN, value=b"0").on_conflict_do_nothing(index_elements=["name"])
    )
    statement = select(MetaRow.value).where(MetaRow.name == _TURN).with_for_update()
    number = int((await connection.execute(statement)).scalar_one()) + 1
    await connection.execute(update(MetaRow).where(MetaRow.name == _TURN).values(value=str(number).encode()))
    return number


async def _close(connection: AsyncConnection) -> None:
    """The server lets the lock go with the connection, so it does not matter how it ends."""
    try:
        async with asyncio.timeout(_GOODBYE_SECONDS):
            await connection.close()
    except Exception:
        with suppress(InvalidRequestError):  # it is closed as far as we can
            await connection.invalidate()
