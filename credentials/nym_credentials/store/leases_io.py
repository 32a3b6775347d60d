"""Leases: which replicas of a shared store are alive, by the clock of the database.

A replica renews its lease while it runs. When it has run out, others settle what the replica had: tickets that were
only reserved go back, tickets that were handed out are given up. Should the replica be alive after all (it was stopped
for a while, or could not reach the database), nothing breaks: a reservation that was taken away cannot be confirmed,
and what became of a ticket that was given up is recorded late.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
from typing import Final

from sqlalchemy import Float, cast, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from nym_credentials.errors import StoreError
from nym_credentials.store.core_io import StoreCore
from nym_credentials.store.ledger_io import settle_index, settle_left_behind
from nym_credentials.store.records import Replica, Settlement
from nym_credentials.store.tables_io import ReplicaRow, TicketRow

_LOG = logging.getLogger(__name__)

LEASE_SECONDS: Final = 60.0
"""How long a replica may be silent before it is taken for dead."""
_RENEWALS: Final = 4
"""How often a lease is renewed before it would run out."""
_NAME_CHARACTERS: Final = 100


def _now_ms() -> ColumnElement[float]:
    return cast(func.extract("epoch", func.clock_timestamp()), Float) * 1000


async def anybody_alive(connection: AsyncConnection) -> bool:
    """Whether some replica has a lease."""
    statement = select(func.count()).where(ReplicaRow.lease_until_ms > _now_ms())
    return bool((await connection.execute(statement)).scalar_one())


async def replicas(connection: AsyncConnection) -> list[Replica]:
    """All that have a lease, or had one until somebody notices that it has run out."""
    rows = await connection.execute(
        select(
            ReplicaRow.session,
            ReplicaRow.name,
            ReplicaRow.joined_unix,
            ((ReplicaRow.lease_until_ms - _now_ms()) / 1000).label("left"),
        ).order_by(ReplicaRow.joined_unix, ReplicaRow.session)
    )
    return [Replica(row.session, row.name, row.joined_unix, float(row.left)) for row in rows]


async def renew(connection: AsyncConnection, core: StoreCore, lease_seconds: float) -> None:
    """Makes the lease of this process last from now on, or begin."""
    until = func.floor(_now_ms() + lease_seconds * 1000)
    done = await connection.execute(
        update(ReplicaRow).where(ReplicaRow.session == core.session).values(lease_until_ms=until)
    )
    if not done.rowcount:
        await connection.execute(
            insert(ReplicaRow).values(
                session=core.session,
                name=f"{platform.node()}:{os.getpid()}"[-_NAME_CHARACTERS:],
                joined_unix=core.now(),
                lease_until_ms=until,
            )
        )


async def settle_dead(connection: AsyncConnection, core: StoreCore) -> int:
    """Settles what replicas had whose leases ran out; returns how many tickets were given up.

    Rows that somebody else works on at this moment are left to them.
    """
    ended = (
        select(ReplicaRow.session)
        .where(ReplicaRow.lease_until_ms <= _now_ms())
        .with_for_update(skip_locked=True)
    )
    dead = list((await connection.execute(ended)).scalars())
    if dead:
        await connection.execute(delete(ReplicaRow).where(ReplicaRow.session.in_(dead)))
    known = select(ReplicaRow.session)
    given_up = await settle_left_behind(
        connection, core, or_(TicketRow.session.in_(dead), TicketRow.session.not_in(known))
    )
    if dead:
        _LOG.warning("%d replica(s) have gone silent; %d ticket(s) given up", len(dead), given_up)
    return given_up


async def leave(connection: AsyncConnection, core: StoreCore) -> None:
    """This process goes: nobody has to wait for its lease to run out."""
    await connection.execute(delete(ReplicaRow).where(ReplicaRow.session == core.session))
    await settle_left_behind(connection, core, TicketRow.session == core.session)


class Lease:
    """Renews a lease in the background, settles what others leave behind, and what this process owes."""

    def __init__(self, core: StoreCore, lease_seconds: float) -> None:
        self._core = core
        self.seconds = lease_seconds
        self.given_up = 0
        """Tickets of dead replicas that this one has given up."""
        self._owed: dict[tuple[int, int], str] = {}
        self._leaving = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def owe(self, book_id: int, index: int, claim: str) -> None:
        """A ticket that was not handed out, and could not be put back yet."""
        self._owed[book_id, index] = claim

    def start(self) -> None:
        """From now on the lease is kept."""
        self._task = self._core.tasks.start(self._keep())

    async def _keep(self) -> None:
        while not self._leaving.is_set():
            try:
                async with asyncio.timeout(self.seconds / _RENEWALS):
                    await self._leaving.wait()
            except TimeoutError:
                try:
                    await self.renew()
                except StoreError as error:
                    _LOG.warning("the lease on the ticket store could not be renewed: %s", error)

    async def renew(self) -> None:
        """Now. Raises `StoreError`."""
        await self._core.transact(lambda connection: renew(connection, self._core, self.seconds))
        await self._pay_back()
        self.given_up += await self._core.transact(lambda connection: settle_dead(connection, self._core))

    async def _pay_back(self) -> None:
        for (book_id, index), claim in list(self._owed.items()):

            async def work(
                connection: AsyncConnection, book_id: int = book_id, index: int = index, claim: str = claim
            ) -> None:
                await settle_index(connection, self._core, book_id, index, claim, Settlement.UNSENT)

            await self._core.transact(work)
            del self._owed[book_id, index]

    async def end(self) -> None:
        """Ends the lease. Where that cannot be told to the database, it runs out by itself."""
        self._leaving.set()
        if self._task is None:
            return
        await asyncio.wait([self._task])
        try:
            await self._pay_back()
            await self._core.transact(lambda connection: leave(connection, self._core))
        except StoreError as error:
            _LOG.warning("the lease on the ticket store could not be ended: %s", error)
