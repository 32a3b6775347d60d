"""Many processes on one store, killed and cut off at random: no ticket is sent twice, none is unaccounted for.

What was sent is known from a recorder that the processes report to before anything else, not from the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter

import pytest

from nym_credentials.store.records import Settlement, TicketState
from nym_credentials.store.store_io import TicketStore
from tests.credentials.books import EXPIRATION, TYPE, make_book
from tests.credentials.store.conftest import KEY
from tests.credentials.store.fleet import Fleet
from tests.credentials.store.fleet_process import CAP, LEASE_SECONDS
from tests.credentials.store.test_fleet import database_of

SEED = int(os.environ.get("FLEET_SEED", "0")) or random.SystemRandom().randrange(2**32)
TICKETS = 50


class Recorder:
    """What gateways would have seen."""

    def __init__(self):
        self.sent = Counter()
        self.wallets = {}
        self._senders = set()

    @contextlib.asynccontextmanager
    async def listening(self):
        """The port."""
        server = await asyncio.start_server(self._record, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for writer in self._senders:
                writer.close()

    async def _record(self, reader, writer):
        self._senders.add(writer)
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                wallet, book, index = line.decode().split()
                self.sent[int(book), int(index)] += 1
                self.wallets.setdefault(int(book), set()).add(wallet)
                writer.write(b"\n")


async def check(store, recorder):
    """The books of the recorder and of the store agree."""
    twice = {ticket: count for ticket, count in recorder.sent.items() if count > 1}
    assert not twice, f"sent more than once: {twice}"
    assert all(len(wallets) == 1 for wallets in recorder.wallets.values())
    entries = {(entry.book_id, entry.index): entry for entry in await store.ledger()}
    states = Counter(entry.state for entry in entries.values())
    assert set(states) <= {TicketState.ACCEPTED, TicketState.GIVEN_UP, TicketState.REVERTED}, "all is settled"
    gone = {TicketState.ACCEPTED, TicketState.GIVEN_UP}
    assert all(entries[ticket].state in gone for ticket in recorder.sent), "what was sent is never used again"
    accepted = {ticket for ticket, entry in entries.items() if entry.state is TicketState.ACCEPTED}
    assert accepted <= set(recorder.sent)
    # What was given up and never sent was lost to a crash in between, as it has to be.
    lost = {ticket for ticket, entry in entries.items() if entry.state in gone} - set(recorder.sent)
    assert {entries[ticket].settlement for ticket in lost} <= {Settlement.CRASHED}
    for book in await store.books():
        of_book = [entry for (number, _), entry in entries.items() if number == book.book_id]
        assert sorted(entry.index for entry in of_book) == list(range(book.first, book.next))
        assert book.taken == 0
        assert book.accepted + book.given_up + book.remaining == book.total == TICKETS
    totals = await store.totals()
    assert sum(totals.by_settlement.values()) == len(entries)
    at_gateways = [(await store.gateway(bytes([number] * 32))).accepted for number in range(3)]
    assert sum(at_gateways) == len(accepted)
    spendings = await store.purchases.spendings()
    assert {spending.purchase_id for spending in spendings} == {
        str(purchase.id) for purchase in await store.purchases.purchases()
    }
    assert 0 < sum(spending.price for spending in spendings) <= CAP, "the cap holds for all of them"
    return totals, lost


async def under_fire(where, target, seconds, processes, threads, books, server=None):
    """Lets a fleet spend until `target` tickets were sent; returns what happened."""
    dice = random.Random(SEED)
    print(f"FLEET_SEED={SEED}")
    async with await TicketStore.open(where, key=KEY) as store:
        for _ in range(books):
            await store.import_book(make_book().encode(), EXPIRATION)
    recorder, cuts, kills = Recorder(), 0, 0
    async with recorder.listening() as port, Fleet.running(where, port, processes, threads) as fleet:
        deadline = asyncio.get_running_loop().time() + seconds
        while len(recorder.sent) < target or fleet.kills < 3 or (server is not None and not cuts):
            assert asyncio.get_running_loop().time() < deadline, f"only {len(recorder.sent)} were sent"
            await asyncio.sleep(dice.uniform(0.2, 0.8))
            fleet.wake(due=time.monotonic())
            if server is not None and dice.random() < 0.1 and recorder.sent:
                fleet.pause(dice)
            elif server is not None and dice.random() < 0.5:
                cuts += await server.cut_one(database_of(where), dice)
            elif recorder.sent:
                fleet.kill(dice)
        kills, pauses = fleet.kills, fleet.pauses
    async with await TicketStore.open(where, key=KEY) as store:
        async with asyncio.timeout(60):
            while store.shared and len(await store.replicas()) > 1:
                await asyncio.sleep(LEASE_SECONDS / 4)
                await store._lease.renew()
        totals, lost = await check(store, recorder)
        left = await store.remaining(TYPE, EXPIRATION)
    fire = f"{kills} kills, {pauses} pauses, {cuts} cuts"
    print(f"{len(recorder.sent)} sent, {len(lost)} lost, {left} left, {fire}, {totals}")
    assert kills > 0
    assert totals.accepted > 0
    return cuts


@pytest.mark.slow
async def test_eight_processes_on_postgresql(server, url):
    assert await under_fire(url, 60, 60, 8, 1, 4, server) > 0


async def test_threads_and_processes_on_sqlite(path):
    await under_fire(str(path), 60, 60, 3, 2, 3)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_eight_processes_on_postgresql_for_long(server, url):
    assert await under_fire(url, 5_000, 800, 8, 2, 140, server) > 0


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_threads_and_processes_on_sqlite_for_long(path):
    await under_fire(str(path), 3_000, 800, 4, 2, 90)
