"""Opening a store: files, keys, networks, schemas, damage."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from nym_credentials.errors import StoreInUse, StoreKeyWrong, StoreOfAnotherNetwork, StoreUnusable
from nym_credentials.store import database_io
from nym_credentials.store.keys import StoreKey
from nym_credentials.store.store_io import TicketStore
from nym_credentials.store.tables_io import Table
from tests.credentials.books import GATEWAY, TODAY, TYPE, book_file
from zknym import ImportableTicketBook


async def test_all_files_are_nobody_elses(path):
    async with await TicketStore.open(path) as store:
        await store.import_book(book_file(), TODAY)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {"tickets.sqlite", "tickets.sqlite.key", "tickets.sqlite.witness", "tickets.sqlite.lock"} <= set(
        modes
    )
    assert set(modes.values()) == {0o600}


async def test_a_store_opens_again_by_path_and_url(path):
    async with await TicketStore.open(path) as store:
        await store.put_secret("phrase", b"only this")
    async with await TicketStore.open(str(path)) as store:
        assert await store.secret("phrase") == b"only this"
    async with await TicketStore.open(f"sqlite+aiosqlite:///{path}") as store:
        assert await store.secret("phrase") == b"only this"
        await store.put_secret("phrase", b"another")
        assert await store.secret("phrase") == b"another"
        assert await store.forget_secret("phrase")
        assert not await store.forget_secret("phrase")
        assert await store.secret("phrase") is None


@pytest.mark.parametrize(
    "url",
    ["mysql+aiomysql://u:hidden@h/d", "postgresql://u:hidden@h", "sqlite+aiosqlite://", "not a url://hidden"],
)
async def test_other_databases_are_refused_without_repeating_the_password(url):
    with pytest.raises(StoreUnusable) as caught:
        await TicketStore.open(url)
    assert "hidden" not in str(caught.value)


async def test_nothing_secret_is_readable_in_the_files(path):
    content = ImportableTicketBook.decode(book_file())
    async with await TicketStore.open(path) as store:
        await store.import_book(book_file(), TODAY)
        await store.take(TYPE, TODAY, gateway=GATEWAY)
        await store.put_secret("phrase", b"abandon abandon about")
        files = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    files |= {file.name: file.read_bytes() for file in path.parent.iterdir()}
    everything = b"".join(data for name, data in files.items() if not name.endswith(".key"))
    secret = content.book.wallet.wallet_secret.to_bytes(32, "little")
    for needle in (
        secret,
        secret[::-1],
        content.book.user.encode(),
        b"abandon",
        GATEWAY,
        content.book.encode(),
    ):
        assert needle not in everything
    assert content.master_key is not None
    assert content.master_key.encode() in everything, "public data is found, so the search works"


async def test_the_wrong_key_is_a_clear_error(path):
    key = StoreKey.generate()
    async with await TicketStore.open(path, key=key) as store:
        await store.put_secret("phrase", b"only this")
    assert not path.with_name("tickets.sqlite.key").exists()
    with pytest.raises(StoreKeyWrong, match="does not open"):
        await TicketStore.open(path, key=StoreKey.generate())
    with pytest.raises(StoreKeyWrong, match=r"tickets\.sqlite\.key .* is missing"):
        await TicketStore.open(path)
    with pytest.raises(StoreKeyWrong, match="but a passphrase was given"):
        await TicketStore.open(path, key=StoreKey.from_passphrase("correct horse", scrypt_n=2**4))
    async with await TicketStore.open(path, key=key) as store:
        assert await store.secret("phrase") == b"only this"


async def test_a_passphrase_and_a_change_of_keys(path):
    old = StoreKey.from_passphrase("correct horse", scrypt_n=2**4)
    async with await TicketStore.open(path, key=old) as store:
        await store.put_secret("phrase", b"only this")
    with pytest.raises(StoreKeyWrong, match="passphrase"):
        await TicketStore.open(path)
    new = StoreKey.generate()
    async with await TicketStore.open(path, key=old) as store:
        await store.change_key(new)
    with pytest.raises(StoreKeyWrong):
        await TicketStore.open(path, key=old)
    async with await TicketStore.open(path, key=new) as store:
        assert await store.secret("phrase") == b"only this"


async def test_a_store_keeps_to_its_network(path):
    async with await TicketStore.open(path):
        pass
    for _ in range(2):
        async with await TicketStore.open(path, network="sandbox"):
            pass
    async with await TicketStore.open(path):
        pass
    with pytest.raises(StoreOfAnotherNetwork, match="sandbox, not to mainnet"):
        await TicketStore.open(path, network="mainnet")


async def test_files_that_are_no_store(path, tmp_path):
    path.parent.mkdir()
    path.write_bytes(b"This is no database, and it is longer than a header of one hundred bytes." * 3)
    with pytest.raises(StoreUnusable, match="damaged"):
        await TicketStore.open(path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnusable, match="cannot be made"):
        await TicketStore.open(tmp_path / "file" / "tickets.sqlite")


async def test_a_damaged_row_is_a_clear_error(path):
    async with await TicketStore.open(path) as store:
        await store.put_secret("phrase", b"only this")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE secrets SET sealed = zeroblob(40)")
    async with await TicketStore.open(path) as store:
        with pytest.raises(StoreUnusable, match="damaged"):
            await store.secret("phrase")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM meta WHERE name = 'sealed_key'")
    with pytest.raises(StoreUnusable, match="does not know its key"):
        await TicketStore.open(path)


async def test_a_newer_schema_is_a_clear_error(path):
    async with await TicketStore.open(path):
        pass
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnusable, match="newer version"):
        await TicketStore.open(path)


async def test_nobody_migrates_a_store_that_others_use(path, monkeypatch):
    async with await TicketStore.open(path):
        monkeypatch.setattr(database_io, "SCHEMA_HEAD", "0003")
        with pytest.raises(StoreInUse, match="another schema"):
            await TicketStore.open(path)


async def test_tables_and_migrations_agree(path):
    async with await TicketStore.open(path):
        pass
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []
    engine.dispose()
    scripts = ScriptDirectory(str(database_io._MIGRATIONS))
    assert scripts.get_heads() == [database_io.SCHEMA_HEAD]


async def test_settings_of_the_connection(path):
    async with await TicketStore.open(path) as store, store._core.database.transaction() as connection:
        found = {
            name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}


async def test_closing_twice(path):
    store = await TicketStore.open(path)
    await store.close()
    await store.close()


async def test_a_closed_store_does_nothing(path):
    store = await TicketStore.open(path)
    await store.close()
    with pytest.raises(StoreUnusable, match="closed"):
        await store.books()


async def test_a_busy_database_is_a_clear_error(path, monkeypatch):
    monkeypatch.setattr(database_io, "_BUSY_SECONDS", 0.05)
    async with await TicketStore.open(path) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreInUse, match="busy") as caught:
                await store.books()
            assert caught.value.retryable
            other.execute("ROLLBACK")
        assert await store.books() == []


async def test_a_lost_table_is_a_clear_error(path):
    async with await TicketStore.open(path) as store:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("DROP TABLE secrets")
        with pytest.raises(StoreUnusable, match="no such table"):
            await store.secret("phrase")


@pytest.mark.parametrize("table", list(Table.metadata.sorted_tables), ids=str)
def test_the_tables_can_be_kept_in_postgresql(table):
    assert str(CreateTable(table).compile(dialect=postgresql.dialect()))
