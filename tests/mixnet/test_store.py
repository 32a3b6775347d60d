"""The client's store: what it keeps, how it survives, and who may use it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nym_mixnet import store_io
from nym_mixnet.errors import StoreError, StoreInUse
from nym_mixnet.store_db import StateDatabase
from nym_mixnet.store_io import ClientStore, GatewayRegistration, MemoryStore, ReplyKeyRecord
from tests.mixnet.store_crashes import CHANGES, state_of

GATEWAY = bytes(range(32))
RECIPIENT = bytes(range(96))
REGISTRATION = GatewayRegistration(GATEWAY, b"s" * 32, ("ws://127.0.0.1:9000",), 1234.5)


def row(number: int, created: float = 100.0) -> tuple[bytes, bytes, float, bytes, int]:
    return number.to_bytes(32, "big"), number.to_bytes(16, "little"), created, RECIPIENT, 7


@pytest.fixture(params=["folder", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ClientStore | MemoryStore]:
    made = ClientStore(tmp_path / "data") if request.param == "folder" else MemoryStore()
    async with made:
        yield made


async def reopened(store: ClientStore | MemoryStore) -> ClientStore | MemoryStore:
    await store.close()
    await store.open()
    return store


async def test_registrations(store: ClientStore | MemoryStore) -> None:
    assert await store.get_registration(GATEWAY) is None
    await store.put_registration(REGISTRATION)
    store = await reopened(store)
    assert await store.get_registration(GATEWAY) == REGISTRATION
    assert "s" * 32 not in repr(REGISTRATION)
    newer = GatewayRegistration(GATEWAY, b"t" * 32, (), 2000.0)
    await store.put_registration(newer)
    assert await store.get_registration(GATEWAY) == newer
    assert await store.get_registration(bytes(32)) is None


async def test_timestamps_and_allowances_outlive_a_registration(store: ClientStore | MemoryStore) -> None:
    assert await store.get_last_auth_timestamp(GATEWAY) is None
    assert await store.get_allowance(GATEWAY) is None
    await store.put_registration(REGISTRATION)
    await store.put_last_auth_timestamp(GATEWAY, 5)
    assert await store.get_allowance(GATEWAY) is None
    await store.put_allowance(GATEWAY, -2_000_000_000)
    await store.delete_registration(GATEWAY)
    store = await reopened(store)
    assert await store.get_registration(GATEWAY) is None
    assert await store.get_last_auth_timestamp(GATEWAY) == 5
    assert await store.get_allowance(GATEWAY) == -2_000_000_000
    await store.put_allowance(GATEWAY, None)
    assert await store.get_allowance(GATEWAY) is None


async def test_the_active_gateway(store: ClientStore | MemoryStore) -> None:
    assert await store.active_gateway() is None
    await store.put_active_gateway(GATEWAY)
    await store.put_active_gateway(bytes(32))
    store = await reopened(store)
    assert await store.active_gateway() == bytes(32)


async def test_reply_keys_keep_their_order(store: ClientStore | MemoryStore) -> None:
    await store.add_reply_keys([])
    await store.add_reply_keys([row(9), row(3)])
    await store.add_reply_keys([row(5), row(1)])
    store = await reopened(store)
    assert [record.digest[-1] for record in await store.load_reply_keys()] == [9, 3, 5, 1]
    assert (await store.load_reply_keys())[0] == ReplyKeyRecord(*row(9))
    await store.remove_reply_keys(r.digest for r in await store.load_reply_keys() if r.digest[-1] in (3, 5))
    await store.remove_reply_keys([])
    assert [record.digest[-1] for record in await store.load_reply_keys()] == [9, 1]


async def test_old_reply_keys_are_purged(store: ClientStore | MemoryStore) -> None:
    await store.add_reply_keys([row(1, 10.0), row(2, 20.0), row(3, 30.0)])
    assert await store.purge_reply_keys(20.0) == 1
    assert [record.digest[-1] for record in await store.load_reply_keys()] == [2, 3]


async def test_sender_tags(store: ClientStore | MemoryStore) -> None:
    assert await store.get_sender_tag(RECIPIENT) is None
    await store.put_sender_tag(RECIPIENT, b"t" * 16)
    store = await reopened(store)
    assert await store.get_sender_tag(RECIPIENT) == b"t" * 16
    assert await store.load_sender_tags() == {RECIPIENT: b"t" * 16}
    await store.drop_sender_tags()
    assert await store.load_sender_tags() == {}


async def test_keys_are_made_once(store: ClientStore | MemoryStore) -> None:
    keys = await store.load_or_create_keys(random.Random(1))
    store = await reopened(store)
    assert await store.load_or_create_keys(random.Random(2)) == keys


async def test_unused_stores_say_that_they_are_not_open(tmp_path: Path) -> None:
    for store in (ClientStore(tmp_path), MemoryStore()):
        with pytest.raises(StoreError, match="not open"):
            await store.active_gateway()
        await store.close()


# ---- the folder -----------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_nobody_else_may_look(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    previous = os.umask(0)
    try:
        async with ClientStore(folder) as store:
            await store.load_or_create_keys(random.Random(1))
            await store.add_reply_keys([row(1)])
            assert mode(folder) == 0o700
            names = {path.name for path in folder.iterdir()}
            assert {"lock", "state.sqlite", "state.sqlite-wal", "state.sqlite-shm"} <= names
            assert {mode(path) for path in folder.iterdir()} == {0o600}
    finally:
        os.umask(previous)


async def test_a_folder_that_others_could_read_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    async with ClientStore(folder):
        assert mode(folder) == 0o700


async def test_a_folder_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(StoreError, match=str(path)):
        await ClientStore(path).open()


async def test_opening_twice(tmp_path: Path) -> None:
    async with ClientStore(tmp_path) as store:
        with pytest.raises(StoreError, match="open already"):
            await store.open()
        assert await store.active_gateway() is None


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    async with ClientStore(tmp_path):
        second = ClientStore(tmp_path)
        with pytest.raises(StoreInUse) as caught:
            await second.open()
        assert str(tmp_path) in str(caught.value)
        assert f"process {os.getpid()}" in str(caught.value)
    async with second:
        assert not second.unclean_os_crash


async def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    async with ClientStore(tmp_path) as store:
        keys = await store.load_or_create_keys(random.Random(1))
    (tmp_path / "state.sqlite").write_bytes(b"this is no database, however long one looks at it" * 100)
    with pytest.raises(StoreError, match=r"state\.sqlite is damaged .*move it away"):
        await ClientStore(tmp_path).open()
    (tmp_path / "state.sqlite").unlink()
    async with ClientStore(tmp_path) as store:
        assert await store.load_or_create_keys() == keys


async def test_a_state_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    async with ClientStore(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "state.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="newer version"):
        await ClientStore(tmp_path).open()


async def test_a_wrong_key_file_is_named(tmp_path: Path) -> None:
    async with ClientStore(tmp_path) as store:
        await store.load_or_create_keys(random.Random(1))
        (tmp_path / "ack_key.pem").unlink()
        with pytest.raises(StoreError, match="ack_key"):
            await store.load_or_create_keys()


async def test_an_error_in_a_transaction_takes_it_back(tmp_path: Path) -> None:
    async with ClientStore(tmp_path) as store:
        with pytest.raises(StoreError):
            await store.add_reply_keys([row(1), (b"d", b"k", 1.0, b"r", None)])  # type: ignore[list-item]
        assert await store.load_reply_keys() == []
        await store.add_reply_keys([row(2)])


async def test_calls_of_many_tasks_take_turns(tmp_path: Path) -> None:
    async with ClientStore(tmp_path) as store:
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(store.add_reply_keys([row(number)]))
                group.create_task(store.get_sender_tag(RECIPIENT))
        assert [r.digest[-1] for r in await store.load_reply_keys()] == list(range(50))


# ---- crashes --------------------------------------------------------------------------------------------

CRASHES = Path(__file__).with_name("store_crashes.py")


def crash(what: str, folder: Path) -> list[int | None]:
    """Let a program die by SIGKILL at each of its steps, every time in a folder of its own (`store_crashes`)."""
    arguments = [sys.executable, "-m", f"tests.mixnet.{CRASHES.stem}", what, str(folder)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, cwd=CRASHES.parents[2])
    results = json.loads(done.stdout)
    assert isinstance(results, list)
    return results


def states_after_each_change(folder: Path) -> list[list[object]]:
    """What a database holds after none, one, two, ... of the changes."""
    db = StateDatabase(folder / "undisturbed.sqlite", "this boot")
    states = [state_of(db)]
    for name, arguments in CHANGES:
        getattr(db, name)(*arguments)
        states.append(state_of(db))
    db.close()
    return states


def test_killed_at_each_statement(tmp_path: Path) -> None:
    """Every change happens as a whole or not at all, and the finished ones have happened."""
    results = crash("statements", tmp_path)
    states = states_after_each_change(tmp_path)
    assert results[-1] is None
    assert len(results) > 3 * len(CHANGES)
    for number, finished in enumerate(results):
        db = StateDatabase(tmp_path / str(number) / "state.sqlite", "this boot")
        found = state_of(db)
        db.close()
        if finished is None:
            assert found == states[-1]
        else:
            assert found in (states[finished], states[finished + 1])


async def test_killed_after_each_call(tmp_path: Path) -> None:
    """What a call promised by returning is there, and the folder can be used by the next process."""
    results = await asyncio.to_thread(crash, "calls", tmp_path)
    states = states_after_each_change(tmp_path)
    assert results == list(range(len(CHANGES) + 1))
    keys = await MemoryStore().load_or_create_keys(random.Random(1))
    for number, state in enumerate(states):
        async with ClientStore(tmp_path / str(number)) as store:
            assert state_of(store._db) == state
            assert await store.load_or_create_keys() == keys
            assert not store.unclean_os_crash  # only a process died, not the machine


async def crashed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, boot_before: str | None, boot_after: str | None
) -> bool:
    """Leave a store without closing it in one boot and open it in another; whether that is seen as a crash."""
    monkeypatch.setattr(store_io, "_boot_id", lambda: boot_before)
    store = ClientStore(folder)
    await store.open()
    await store.put_sender_tag(RECIPIENT, b"t" * 16)
    await store.add_reply_keys([row(1)])
    assert store._database is not None
    await store._run(store._database.discard)  # everything is written, but the mark of a clean end is missing
    assert store._lock is not None
    os.close(store._lock)
    assert store._thread is not None
    store._thread.shutdown()
    monkeypatch.setattr(store_io, "_boot_id", lambda: boot_after)
    async with ClientStore(folder) as store:
        assert len(await store.load_reply_keys()) == 1  # kept in any case
        assert bool(await store.load_sender_tags()) is not store.unclean_os_crash
        return store.unclean_os_crash


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [("a", "a", False), ("a", "b", True), (None, None, True), ("a", None, True), (None, "a", True)],
)
async def test_a_crash_of_the_machine_is_told_from_one_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None, after: str | None, expected: bool
) -> None:
    assert await crashed(tmp_path, monkeypatch, before, after) is expected
    async with ClientStore(tmp_path) as store:
        assert not store.unclean_os_crash  # the run after that ended well


def test_this_machine_has_a_boot_id_or_none() -> None:
    assert store_io._boot_id() is None or len(str(store_io._boot_id())) > 10


def test_no_boot_id_where_there_is_no_such_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(store_io, "_BOOT_ID", tmp_path / "missing")
    assert store_io._boot_id() is None


async def test_used_keys_do_not_linger_in_the_file(tmp_path: Path) -> None:
    secret = b"SECRET-KEY-BYTES"
    async with ClientStore(tmp_path) as store:
        await store.add_reply_keys([(bytes(32), secret, 1.0, RECIPIENT, 1)])
        await store.remove_reply_keys([bytes(32)])
    assert all(secret not in path.read_bytes() for path in tmp_path.iterdir())
