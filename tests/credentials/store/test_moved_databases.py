"""PostgreSQL restored, copied, recovered or promoted: noticed, like an SQLite file that was (docs/protocol/10 §9)."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess

import pytest

from nym_credentials.errors import BackupRestored, StoreInUse
from nym_credentials.store.records import BookState, Restored, Settlement
from nym_credentials.store.store_io import TicketStore
from tests.credentials.books import TODAY, TYPE, book_file
from tests.credentials.store.conftest import KEY
from tests.credentials.store.postgres import postgres_server
from tests.credentials.store.test_fleet import database_of


@pytest.fixture
async def used(url):
    """A store from which a ticket was spent."""
    async with await TicketStore.open(url, key=KEY) as store:
        await store.import_book(book_file(), TODAY)
        await store.settle(await store.take(TYPE, TODAY), Settlement.ACCEPTED)
    return url


def dump(server, url):
    """As operators make backups."""
    path = server.folder / f"{database_of(url)}.dump"
    server.run("pg_dump", "-h", str(server.folder), "-U", "nymgate", "-Fc", "-f", str(path), database_of(url))
    return path


def restore(server, path, database, *options):
    server.run(
        "pg_restore", "-h", str(server.folder), "-U", "nymgate", "-d", database, "-e", *options, str(path)
    )


async def refused(url, what, **options):
    for _ in range(2):
        with pytest.raises(BackupRestored, match=what):
            await TicketStore.open(url, key=KEY, **options)


async def test_opening_again_is_fine(used):
    async with await TicketStore.open(used, key=KEY) as store:
        assert (await store.take(TYPE, TODAY)).index == 1


async def test_a_dump_restored_over_it(used, server):
    backup = dump(server, used)
    async with await TicketStore.open(used, key=KEY) as store:
        await store.take(TYPE, TODAY)
    restore(server, backup, database_of(used), "--clean")
    await refused(used, r"restored from a dump\. .*given up\.")


async def test_a_dump_restored_into_another_database(used, server):
    other = await server.database()
    restore(server, dump(server, used), other)
    await refused(server.url(other), "another database")
    async with await TicketStore.open(used, key=KEY) as original:
        assert (await original.take(TYPE, TODAY)).index == 1


async def test_a_dump_restored_on_another_server(used, server, tmp_path):
    backup = dump(server, used)
    with postgres_server() as elsewhere:
        name = await elsewhere.database()
        moved = elsewhere.folder / "dump"
        shutil.copyfile(backup, moved)
        moved.chmod(0o644)
        restore(elsewhere, moved, name)
        await refused(elsewhere.url(name), "another server")


async def test_a_database_made_from_a_template(used, server):
    copy = await server.database(template=database_of(used))
    await refused(server.url(copy), "another database")


async def test_rows_restored_under_open_connections(used, server):
    """A replica notices before it hands out the next ticket."""
    backup = dump(server, used)
    async with await TicketStore.open(used, key=KEY) as store:
        await store.take(TYPE, TODAY)
        connection = await server.connect(database_of(used))
        tables = await connection.fetchval(
            "SELECT string_agg(tablename, ',') FROM pg_tables WHERE schemaname = 'public'"
        )
        await connection.execute(f"TRUNCATE {tables}")
        await connection.close()
        restore(server, backup, database_of(used), "--data-only", "--disable-triggers")
        with pytest.raises(BackupRestored, match="dump"):
            await store.take(TYPE, TODAY)
    await refused(used, "dump")


async def test_files_rolled_back(tmp_path):
    """The server's files as a whole: nothing inside of them tells, but a replica that keeps files remembers."""
    with postgres_server() as own:
        url = own.url(await own.database())
        async with await TicketStore.open(url, key=KEY, folder=tmp_path) as store:
            await store.import_book(book_file(), TODAY)
        own.stop()
        copy_tree(own, "data", "backup")
        own.start()
        async with await TicketStore.open(url, key=KEY, folder=tmp_path) as store:
            for _ in range(3):
                await store.settle(await store.take(TYPE, TODAY), Settlement.ACCEPTED)
        own.stop(signal.SIGQUIT)
        shutil.rmtree(own.data)
        copy_tree(own, "backup", "data")
        own.start()
        await refused(url, "steps behind", folder=tmp_path)


def copy_tree(server, source, target):
    """With its owners and modes."""
    subprocess.run(["cp", "-a", server.folder / source, server.folder / target], check=True)


async def test_a_crash_of_the_server_is_no_restore(tmp_path):
    """Its processes die, the machine does not: what was handed out stays handed out."""
    with postgres_server() as own:
        url = own.url(await own.database())
        async with contextlib.AsyncExitStack() as stack:
            store = await stack.enter_async_context(await TicketStore.open(url, key=KEY, folder=tmp_path))
            await store.import_book(book_file(), TODAY)
            indices = [(await store.take(TYPE, TODAY)).index for _ in range(3)]
            own.stop(signal.SIGQUIT)
            own.start()
            indices.append((await store.take(TYPE, TODAY)).index)
            assert indices == [0, 1, 2, 3]
        async with await TicketStore.open(url, key=KEY, folder=tmp_path) as store:
            assert (await store.take(TYPE, TODAY)).index == 4


async def test_the_operator_decides(used, server):
    other = server.url(await server.database())
    restore(server, dump(server, used), database_of(other))
    async with await TicketStore.open(other, key=KEY, restored=Restored.EXHAUST) as store:
        assert [book.state for book in await store.books()] == [BookState.EXHAUSTED]
        await store.trust_book(1)
        assert (await store.take(TYPE, TODAY)).index == 1
    async with await TicketStore.open(other, key=KEY) as store:
        assert (await store.take(TYPE, TODAY)).index == 2


async def test_nobody_decides_while_others_run(used, server):
    """And those who ran before somebody decided have to start again."""
    async with await TicketStore.open(used, key=KEY) as old:
        connection = await server.connect(database_of(used))
        await connection.execute(
            "UPDATE meta SET value = value WHERE name = 'place'"
        )  # another transaction's row
        await connection.close()
        with pytest.raises(StoreInUse, match="Stop all"):
            await TicketStore.open(used, key=KEY, restored=Restored.TRUST)
        connection = await server.connect(database_of(used))
        await connection.execute("DELETE FROM replicas")
        await connection.close()
        async with await TicketStore.open(used, key=KEY, restored=Restored.TRUST) as new:
            assert (await new.take(TYPE, TODAY)).index == 1
            with pytest.raises(BackupRestored, match="decided"):
                await old.take(TYPE, TODAY)
            assert (await new.take(TYPE, TODAY)).index == 2
