"""Kill −9 at every point of the store, then start again: no ticket twice, no book lost (docs/protocol/10 §9)."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nym_credentials.store.client_database_io import move_client_books
from nym_credentials.store.records import POINTS, BookState, Settlement
from nym_credentials.store.store_io import TicketStore
from tests.credentials.books import EXPIRATION, TYPE, book_file
from tests.credentials.store.client_databases import client_spends, write_client_database
from tests.credentials.store.test_purchases import purchase_on_its_way
from zknym import ImportableTicketBook

PROGRAM = Path(__file__).with_name("dying_process.py")


def die(path, book_path, action, point, settlement=Settlement.ACCEPTED):
    """Runs the process; it has to die by the signal, at that point."""
    command = [sys.executable, str(PROGRAM), str(path), str(book_path), action, point, settlement]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr


@pytest.fixture
def book_path(tmp_path):
    path = tmp_path / "book"
    path.write_bytes(book_file())
    return path


def points(action, *more):
    """All of that action. The last one of a store is always tried, the others in `make check`."""
    found = [point for point in POINTS if point.startswith(f"{action}:")]
    assert found
    *others, last = found
    return [*(pytest.param(point, marks=pytest.mark.slow) for point in (*others, *more)), last]


def test_every_point_is_here():
    assert {point.partition(":")[0] for point in POINTS} == {
        "open",
        "take",
        "settle",
        "finish",
        "import",
        "export",
        "move",
        "copy",
    }


@pytest.mark.parametrize("point", points("open"))
async def test_while_making_a_store(path, book_path, point):
    die(path, book_path, "open", point)
    for _ in range(2):
        async with await TicketStore.open(path) as store:
            await store.put_secret("phrase", b"only this")
    async with await TicketStore.open(path) as store:
        assert await store.secret("phrase") == b"only this"


@pytest.mark.parametrize("point", points("take"))
async def test_while_taking(path, book_path, point):
    async with await TicketStore.open(path) as store:
        await store.import_book(book_file(), EXPIRATION)
        await store.settle(await store.take(TYPE, EXPIRATION), Settlement.ACCEPTED)
    die(path, book_path, "take", point)
    async with await TicketStore.open(path) as store:
        lost = 1 if point in ("take:committed", "take:witnessed") else 0
        totals = await store.totals()
        assert (store.left_behind, totals.given_up, totals.accepted, totals.in_use) == (lost, lost, 1, 0)
        assert totals.by_settlement.get(Settlement.CRASHED, 0) == lost
        put_back = totals.by_settlement.get(Settlement.UNSENT, 0)
        assert put_back == (point in ("take:reserved", "take:confirming")), "it was certainly not sent"
        assert (await store.take(TYPE, EXPIRATION)).index == 1 + lost
        assert not (book_path.parent / "sent").exists(), "it died before anybody had the ticket"


@pytest.mark.parametrize(
    "settlement",
    [
        s if s is Settlement.ACCEPTED else pytest.param(s, marks=pytest.mark.slow)
        for s in Settlement
        if s is not Settlement.CRASHED
    ],
)
@pytest.mark.parametrize("point", points("settle", "idle"))
async def test_while_settling(path, book_path, point, settlement):
    async with await TicketStore.open(path) as store:
        await store.import_book(book_file(), EXPIRATION)
    die(path, book_path, "settle", point, settlement)
    assert (book_path.parent / "sent").read_text() == "0"
    async with await TicketStore.open(path) as store:
        totals = await store.totals()
        recorded = Settlement.CRASHED if point == "settle:begun" else settlement
        assert totals.by_settlement == {recorded: 1}
        assert store.left_behind == int(point == "settle:begun")
        index = (await store.take(TYPE, EXPIRATION)).index
        assert index == (0 if recorded is Settlement.UNSENT else 1)


@pytest.mark.parametrize("point", points("finish"))
async def test_while_finishing_a_purchase(path, book_path, point):
    before, _, _ = purchase_on_its_way()
    async with await TicketStore.open(path) as store:
        await store.import_book(book_file(), EXPIRATION)  # brings the public data
        before = await store.purchases.add_purchase(before)
    # Another book than the imported one.
    _, _, book = purchase_on_its_way()
    book_path.write_bytes(replace(ImportableTicketBook.decode(book_file()), book=book).encode())
    die(path, book_path, "finish", point)
    async with await TicketStore.open(path) as store:
        unfinished = await store.purchases.unfinished_purchases()
        if point == "finish:begun":
            assert unfinished == [before]
            assert len(await store.books()) == 1
            await store.purchases.finish_purchase(before.issued(), book)
        assert await store.purchases.unfinished_purchases() == []
        assert [info.state for info in await store.books()] == [BookState.ACTIVE] * 2
        assert await store.remaining(TYPE, EXPIRATION) == 100


@pytest.mark.parametrize("point", points("import"))
async def test_while_importing(path, book_path, point):
    die(path, book_path, "import", point)
    async with await TicketStore.open(path) as store:
        assert len(await store.books()) == int(point != "import:begun")
        if point == "import:begun":
            await store.import_book(book_file(), EXPIRATION)
        assert await store.remaining(TYPE, EXPIRATION) == 50


@pytest.mark.parametrize("point", points("export", "idle"))
async def test_while_exporting(path, book_path, point):
    async with await TicketStore.open(path) as store:
        await store.import_book(book_file(), EXPIRATION)
    die(path, book_path, "export", point)
    exported = (book_path.parent / "exported").exists()
    async with await TicketStore.open(path) as store:
        [info] = await store.books()
        assert info.state is (BookState.ACTIVE if point == "export:begun" else BookState.EXPORTED)
        assert exported is (point == "idle"), "no file exists while the book can still be spent here"
        if (
            point == "export:committed"
        ):  # the file was never written: the operator asks again, or takes it back
            assert await store.export_book(1, again=True) == book_file()
            assert (await store.import_book(book_file(), EXPIRATION, reclaim=True)).remaining == 50


@pytest.mark.parametrize("goes_on", [False, True], ids=["client stays off", "client goes on"])
@pytest.mark.parametrize("point", points("move"))
async def test_while_moving_books_out_of_a_clients_database(path, book_path, point, goes_on):
    client = path.with_name("credentials_database.db")
    path.parent.mkdir()
    write_client_database(client, [(ImportableTicketBook.decode(book_file()), 3, 50)])
    die(path, book_path, "move", point)
    spent_there = client_spends(client, 2) if goes_on else []
    assert spent_there == ([3, 4] if goes_on and point == "move:noted" else [])
    async with await TicketStore.open(path) as store:
        assert len(await move_client_books(store, client, EXPIRATION)) == 1
        assert (await store.take(TYPE, EXPIRATION)).index == 3 + len(spent_there)
        assert await move_client_books(store, client, EXPIRATION) == []
    assert client_spends(client, 1) == []


@pytest.mark.slow
async def test_several_processes_at_once(path, book_path):
    """Three processes take from one book; one of them dies. Every index leaves once."""
    async with await TicketStore.open(path) as store:
        await store.import_book(book_file(), EXPIRATION)
        command = [sys.executable, str(PROGRAM), str(path), str(book_path), "share"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        async with asyncio.TaskGroup() as group:
            outputs = [
                group.create_task(_output(await asyncio.create_subprocess_exec(*command, last, **pipes)))
                for last in ("idle", "-", "-")
            ]
        taken = [int(index) for task in outputs for index in task.result().split()]
        mine = [(await store.take(TYPE, EXPIRATION)).index for _ in range(5)]
        assert sorted(taken + mine) == list(range(35))
        totals = await store.totals()
        assert (totals.accepted, totals.in_use) == (20, 15), "those of the dead one wait for the last to go"
    async with await TicketStore.open(path) as store:
        assert store.left_behind == 15


async def _output(process):
    stdout, stderr = await process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), stderr
    return stdout.decode()
