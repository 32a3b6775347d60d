"""Several replicas on one PostgreSQL: leases, broken connections, one buyer at a time, caps for all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import replace
from uuid import uuid4

import pytest

from nym_credentials.errors import (
    OutOfTickets,
    PurchaseConflict,
    StoreInUse,
    StoreKeyWrong,
    StoreUnreachable,
    StoreUnusable,
)
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.store import books_io, database_io, leases_io
from nym_credentials.store.keys import StoreKey
from nym_credentials.store.records import Settlement, TicketState
from nym_credentials.store.store_io import TicketStore
from nym_credentials.store.turns_io import _next_turn
from nym_mixnet.tasks_io import TaskSet
from tests.credentials.books import EXPIRATION, GATEWAY, TODAY, TYPE, WORLD, book_file, make_book
from tests.credentials.store.conftest import KEY
from tests.credentials.store.postgres import postgres_server
from tests.credentials.store.test_purchases import purchase_on_its_way


def database_of(url):
    return url.partition("/")[2].partition("?")[0].rpartition("/")[2]


@pytest.fixture
async def replica(url):
    """Opens replicas; all are closed at the end."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**options):
            return await stack.enter_async_context(await TicketStore.open(url, key=KEY, **options))

        yield start


async def silence(store):
    """As if the process had stopped: it renews nothing any more, and its lease has run out."""
    store._lease._leaving.set()
    await asyncio.wait([store._lease._task])
    async with store._core.database.transaction() as connection:
        await connection.exec_driver_sql(
            f"UPDATE replicas SET lease_until_ms = 0 WHERE session = '{store.session}'"
        )


async def test_replicas_draw_from_the_same_books(replica):
    first, second = await replica(), await replica()
    await first.import_book(book_file(), TODAY)
    await first.import_book(make_book().encode(), TODAY)
    taken = await asyncio.gather(*(s.take(TYPE, TODAY, gateway=GATEWAY) for s in (first, second) * 4))
    assert len({(ticket.book_id, ticket.index) for ticket in taken}) == 8
    await asyncio.gather(*(first.settle(ticket, Settlement.ACCEPTED) for ticket in taken))
    assert (await second.gateway(GATEWAY)).accepted == 8
    assert (await second.totals()).by_state == {TicketState.ACCEPTED: 8}
    assert {r.session for r in await first.replicas()} == {first.session, second.session}
    assert await first.remaining(TYPE, TODAY) == 92


async def test_every_ticket_of_a_book_and_no_more(replica):
    stores = [await replica() for _ in range(3)]
    await stores[0].import_book(book_file(), EXPIRATION, used=35)

    async def draw(store):
        got = []
        with contextlib.suppress(OutOfTickets):
            while True:
                got.append((await store.take(TYPE, EXPIRATION)).index)
        return got

    drawn = await asyncio.gather(*(draw(store) for store in stores))
    assert sorted(index for got in drawn for index in got) == list(range(35, 50))


async def test_a_dead_replica_returns_only_what_it_never_sent(replica):
    dead, other = await replica(), await replica()
    await dead.import_book(book_file(), TODAY)
    sent = await dead.take(TYPE, TODAY)
    reserved = await dead._reserve(TYPE, TODAY, None)
    await other._lease.renew()
    assert (await other.totals()).by_state == {TicketState.TAKEN: 1, TicketState.RESERVED: 1}, "it is alive"
    await silence(dead)
    await other._lease.renew()
    assert (await other.totals()).by_settlement == {Settlement.CRASHED: 1, Settlement.UNSENT: 1}
    assert other.left_behind == 1
    again = await other.take(TYPE, TODAY)
    assert again.index == reserved.index != sent.index

    # It was not dead.
    assert await dead._confirm(reserved) is None, "another one has that ticket"
    await dead.settle(sent, Settlement.ACCEPTED)
    assert (await dead.take(TYPE, TODAY)).index == 2
    states = {entry.index: entry.state for entry in await other.ledger()}
    assert states == {0: TicketState.ACCEPTED, 1: TicketState.TAKEN, 2: TicketState.TAKEN}


async def test_a_replica_that_was_taken_for_dead_goes_on(replica, monkeypatch):
    slow, other = await replica(), await replica()
    await slow.import_book(book_file(), TODAY)
    once = [True]
    original = slow._confirm

    async def late(draw):
        if once:
            once.clear()
            await silence(slow)
            await other._lease.renew()
        return await original(draw)

    monkeypatch.setattr(slow, "_confirm", late)
    assert (await slow.take(TYPE, TODAY)).index == 0
    [entry] = await other.ledger()
    assert (entry.state, entry.attempts) == (TicketState.TAKEN, 2)
    assert slow.session in {r.session for r in await other.replicas()}, "it has a lease again"


async def test_who_leaves_in_order_leaves_nothing_behind(replica, url):
    stays = await replica()
    await stays.import_book(book_file(), TODAY)
    async with await TicketStore.open(url, key=KEY) as leaves:
        await leaves._reserve(TYPE, TODAY, None)
        await leaves.take(TYPE, TODAY)
    assert len(await stays.replicas()) == 1
    assert (await stays.totals()).by_state == {TicketState.REVERTED: 1, TicketState.GIVEN_UP: 1}


async def test_leases_are_renewed(replica):
    store = await replica(lease_seconds=2.0)
    left = [(await store.replicas())[0].lease_seconds]
    async with asyncio.timeout(60):
        while left[-1] <= left[0]:
            await asyncio.sleep(0.05)
            left.append((await store.replicas())[0].lease_seconds)
            left[0] = min(left)
    assert left[-1] <= 2.0


@pytest.mark.slow
async def test_connections_that_are_cut(replica, server, url):
    """While tickets are drawn: nothing is lost, and nobody notices."""
    store = await replica()
    for _ in range(2):
        await store.import_book(make_book().encode(), TODAY)
    cuts = 0

    async def cut():
        nonlocal cuts
        while True:
            cuts += await server.terminate(database_of(url))
            await asyncio.sleep(0.2)

    async def draw():
        got = []
        for _ in range(5):
            taken = await store.take(TYPE, TODAY)
            await store.settle(taken, Settlement.ACCEPTED)
            got.append((taken.book_id, taken.index))
        return got

    async with asyncio.TaskGroup() as group:
        cutter = group.create_task(cut())
        drawn = await asyncio.gather(*(draw() for _ in range(4)))
        cutter.cancel()
    assert cuts > 0
    flat = [ticket for got in drawn for ticket in got]
    assert len(set(flat)) == len(flat) == 20
    assert (await store.totals()).by_state.get(TicketState.ACCEPTED) == 20


async def test_a_server_that_goes_away(monkeypatch):
    """Restarts in the middle; while it is away there is a clear error, and no ticket is lost."""
    monkeypatch.setattr("nym_credentials.store.core_io.RETRY_SECONDS", (0.01,))
    with postgres_server() as own:
        name = await own.database()
        async with await TicketStore.open(own.url(name), key=KEY) as store:
            await store.import_book(book_file(), TODAY)
            await store.take(TYPE, TODAY)
            draw = await store._reserve(TYPE, TODAY, None)
            own.stop()
            with pytest.raises(StoreUnreachable) as caught:
                await store.take(TYPE, TODAY)
            assert caught.value.retryable
            await store._undo(draw, None)
            own.start()
            await store._lease.renew()
            assert (await store.take(TYPE, TODAY)).index == draw.index == 1
            assert (await store.totals()).in_use == 2


async def test_one_replica_buys_at_a_time(replica, server, url):
    first, second = await replica(), await replica()
    async with first.turn():
        with pytest.raises(PurchaseConflict, match="Another replica"):
            async with second.turn():
                pass
        async with first.turn():
            pass  # whoever has it may enter again
        with pytest.raises(PurchaseConflict):
            async with second.turn():
                pass
    async with second.turn():
        pass


async def test_a_turn_that_is_lost(replica, server, url):
    """The body ends, and cannot store purchases any more even if it did not notice."""
    first, second = await replica(), await replica()
    before, _, _ = purchase_on_its_way()

    async def lose():
        async with first.turn():
            await server.terminate(database_of(url))
            await asyncio.sleep(30)

    with pytest.raises(PurchaseConflict, match="lost"):
        await lose()
    async with first.turn():
        stored = await first.purchases.add_purchase(before)
        async with stolen_turn(second):
            with pytest.raises(PurchaseConflict, match="lost"):
                await first.purchases.save_purchase(stored.noted("too late"))
            await second.purchases.save_purchase(stored.noted("in time"))
    assert (await first.purchases.purchase(before.id)).problem == "in time"


async def test_who_is_told_to_end_ends_although_its_turn_is_lost_as_well(replica, server, url):
    """The database and who uses it are stopped together: the end must not become one more failed purchase."""
    first = await replica()
    inside = asyncio.Event()

    async def buying():
        async with first.turn():
            try:
                inside.set()
                await asyncio.sleep(30)
            finally:
                await server.terminate(database_of(url))
                await asyncio.sleep(30)

    async with TaskSet("test") as tasks:
        task = tasks.spawn(buying(), name="buying")
        await inside.wait()
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()


@contextlib.asynccontextmanager
async def stolen_turn(store):
    """The turn of a replica while another one believes to have it: its lock is gone, and it does not know."""
    store._core.turn = await store._core.run(_next_turn)
    yield
    store._core.turn = None


async def test_caps_hold_for_all_replicas(replica):
    """Of many replicas that plan at once only as many get through as the cap allows."""
    stores = [await replica() for _ in range(4)]
    plan, _, _ = purchase_on_its_way()
    cap = plan.price * 3

    def check(purchase, others):
        if sum(s.price for s in others if s.state is not PurchaseState.FAILED) + purchase.price > cap:
            raise PurchaseConflict("over the cap")

    for store in stores:
        store.purchases.check = check

    async def buy(store):
        fresh = replace(plan, id=uuid4(), state=PurchaseState.PLANNED)
        try:
            return await store.purchases.add_purchase(fresh)
        except PurchaseConflict:
            return None

    results = await asyncio.gather(*(buy(store) for store in stores * 4))
    planned = [purchase for purchase in results if purchase is not None]
    assert len(planned) == 3
    spendings = await stores[0].purchases.spendings()
    assert {s.purchase_id for s in spendings} == {str(p.id) for p in planned}
    assert {s.state for s in spendings} == {PurchaseState.PLANNED}
    await stores[1].purchases.save_purchase(planned[0].given_up("not needed"))
    assert await buy(stores[2]) is not None


async def test_the_ledger_follows_a_purchase(replica):
    store = await replica()
    before, issued, book = purchase_on_its_way()
    await store.import_book(book_file(), TODAY)
    stored = await store.purchases.add_purchase(before)
    [line] = await store.purchases.spendings()
    assert (line.price, line.state, line.ticket_type) == (before.price, before.state, before.ticket_type)
    assert (line.paid_unix is not None) == before.state.paid
    await store.purchases.finish_purchase(issued(stored), book)
    [line] = await store.purchases.spendings()
    assert line.state is PurchaseState.ISSUED
    assert line.paid_unix is not None
    assert line.deposit_id == before.deposit.deposit_id


async def test_what_an_imported_book_is_spent_with_is_not_thrown_away_by_another_replica(
    replica, monkeypatch
):
    """The other one sees neither the book, which is being stored, nor any other of its epoch."""
    first, second = await replica(), await replica()
    await first.purchases.put_epoch_key(WORLD.epoch_key)
    await first.purchases.put_coin_signatures(WORLD.coin_set)
    stored, may_end = asyncio.Event(), asyncio.Event()
    add_book = books_io.add_book

    async def add_slowly(*args, **options):
        book_id = await add_book(*args, **options)
        stored.set()
        await may_end.wait()
        return book_id

    monkeypatch.setattr(books_io, "add_book", add_slowly)
    async with TaskSet("import and tidy up") as tasks:
        importing = tasks.spawn(first.import_book(book_file(), TODAY), name="import")
        await stored.wait()
        tidying = tasks.spawn(second.forget_expired(TODAY), name="tidy up")
        await asyncio.wait([tidying], timeout=0.5)
        may_end.set()
        await asyncio.gather(importing, tidying)
    assert await (await replica()).take(TYPE, TODAY)


async def test_all_replicas_need_the_key(url, tmp_path):
    with pytest.raises(StoreKeyWrong, match="every replica"):
        await TicketStore.open(url)
    async with await TicketStore.open(url, key=KEY):
        with pytest.raises(StoreKeyWrong, match="does not open"):
            await TicketStore.open(url, key=StoreKey.generate())
        (tmp_path / "shared-tickets.key").write_text(KEY.to_text())
        (tmp_path / "shared-tickets.key").chmod(0o600)
        async with await TicketStore.open(url, folder=tmp_path) as store:
            assert len(await store.replicas()) == 2
    assert (tmp_path / "shared-tickets.witness").exists()


@contextlib.contextmanager
def frozen(server, pids):
    """It keeps its connections, takes new ones, and answers nothing."""
    stopped = [server.process.pid, *pids]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("under_way", ["nothing", "reading", "buying"])
async def test_a_server_that_does_not_answer_is_not_waited_for_in_the_end(monkeypatch, under_way):
    monkeypatch.setattr("nym_credentials.store.store_io.CLOSE_SECONDS", 0.5)
    with postgres_server() as own:
        name = await own.database()
        store = await TicketStore.open(own.url(name), key=KEY)
        await asyncio.gather(store.books(), store.totals())
        async with contextlib.AsyncExitStack() as turns, asyncio.timeout(50), TaskSet("reading") as reading:
            if under_way == "buying":
                await turns.enter_async_context(store.turn())
            with frozen(own, await own.backends(name)):
                if under_way == "reading":
                    reading.spawn(store.books(), name="books")
                    await asyncio.sleep(0.1)
                await turns.aclose()
                await store.close()
        async with await TicketStore.open(own.url(name), key=KEY) as again, again.turn():
            assert await again.books() == []


async def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(StoreUnreachable):
        await TicketStore.open(f"postgresql://u:hidden@/d?host={tmp_path}", key=KEY)


async def test_a_database_that_is_not_there(server):
    with pytest.raises(StoreUnusable, match="does not exist") as caught:
        await TicketStore.open(server.url("nothing"), key=KEY)
    assert "nymgate@" not in str(caught.value)


async def test_many_open_at_once(replica):
    stores = await asyncio.gather(*(replica() for _ in range(5)))
    assert len({store._core.store_id for store in stores}) == 1
    assert len(await stores[0].replicas()) == 5


async def test_nobody_migrates_under_others(replica, url, monkeypatch):
    await replica()
    monkeypatch.setattr(database_io, "SCHEMA_HEAD", "0003")
    with pytest.raises(StoreInUse, match="another schema"):
        await TicketStore.open(url, key=KEY)


def test_a_lease_is_renewed_often_enough():
    assert leases_io._RENEWALS >= 3
