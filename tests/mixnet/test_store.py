"""The client's store: what it keeps, how it survives, and who may use it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nym_mixnet import store_io
from nym_mixnet.errors import StoreError, StoreInUse
from nym_mixnet.store_io import ClientStore, GatewayRegistration, MemoryStore, ReplyKeyRecord

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

VICTIM = """
import asyncio, random, sys
from nym_mixnet.store_io import ClientStore, GatewayRegistration

async def main(folder):
    store = ClientStore(folder)
    await store.open()
    await store.load_or_create_keys(random.Random(1))
    print("keys", flush=True)
    gateway = bytes(32)
    number = 0
    while True:
        number += 1
        await store.put_registration(GatewayRegistration(gateway, bytes([number % 256]) * 32, (), float(number)))
        print("registration", number, flush=True)
        await store.put_last_auth_timestamp(gateway, number)
        print("timestamp", number, flush=True)
        await store.put_allowance(gateway, number)
        print("allowance", number, flush=True)
        await store.put_sender_tag(bytes(96), number.to_bytes(16, "big"))
        print("tag", number, flush=True)
        await store.add_reply_keys(
            [((number * 10 + i).to_bytes(32, "big"), bytes(16), 1.0, bytes(96), 1) for i in range(10)]
        )
        print("keys_added", number, flush=True)
        await store.remove_reply_keys([(number * 10).to_bytes(32, "big")])
        print("key_removed", number, flush=True)

asyncio.run(main(sys.argv[1]))
"""


def killed_after(folder: Path, line: str) -> dict[str, int]:
    """Run the victim until it says `line`, kill it at once; what it said last of each kind."""
    said: dict[str, int] = {}
    with subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for text in process.stdout:
            kind, _, number = text.strip().partition(" ")
            said[kind] = int(number or 0)
            if text.strip() == line:
                os.kill(process.pid, signal.SIGKILL)
                break
        for text in process.stdout:  # what was already on its way counts as well
            kind, _, number = text.strip().partition(" ")
            if text.endswith("\n"):
                said[kind] = int(number or 0)
    assert process.returncode == -signal.SIGKILL
    return said


@pytest.mark.parametrize(
    "line",
    ["keys", "registration 3", "timestamp 4", "allowance 5", "tag 6", "keys_added 7", "key_removed 8"],
)
async def test_what_was_promised_survives_kill_9(tmp_path: Path, line: str) -> None:
    said = await asyncio.to_thread(killed_after, tmp_path, line)
    gateway = bytes(32)
    async with ClientStore(tmp_path) as store:
        assert not store.unclean_os_crash  # only a process died, not the machine
        assert await store.load_or_create_keys() == await MemoryStore().load_or_create_keys(random.Random(1))
        registration = await store.get_registration(gateway)
        # the write after the last promise may or may not have happened
        assert (registration.registered_unix if registration else 0) - said.get("registration", 0) in (0, 1)
        assert (await store.get_last_auth_timestamp(gateway) or 0) - said.get("timestamp", 0) in (0, 1)
        assert (await store.get_allowance(gateway) or 0) - said.get("allowance", 0) in (0, 1)
        tag = await store.get_sender_tag(bytes(96))
        assert int.from_bytes(tag or b"", "big") - said.get("tag", 0) in (0, 1)
        numbers = [int.from_bytes(record.digest, "big") for record in await store.load_reply_keys()]
        added, removed = said.get("keys_added", 0), said.get("key_removed", 0)
        for batch in range(1, added + 2):
            there = [number for number in numbers if number // 10 == batch]
            if batch <= removed:
                assert there == [batch * 10 + i for i in range(1, 10)]
            elif batch <= added:
                assert there in ([batch * 10 + i for i in range(10)], [batch * 10 + i for i in range(1, 10)])
            else:
                assert there in ([], [batch * 10 + i for i in range(10)])  # whole or not at all


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
