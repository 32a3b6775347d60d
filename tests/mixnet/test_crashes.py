"""Death at any moment: what a killed process leaves of its keys and its lock (its state: `test_store`)
(docs/protocol/04 §6).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nym_mixnet.errors import ErrorKind, StoreInUse
from nym_mixnet.keys import ClientKeys, read_key_files, write_key_files
from nym_mixnet.store_db import StateDatabase
from nym_mixnet.store_io import ClientStore
from tests.mixnet.store_crashes import CHANGES, GATEWAY, state_of


def crash(what, folder):
    """The results of `store_crashes`: per run what it had been told is finished before it was killed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.mixnet.store_crashes", what, str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return json.loads(done.stdout)


def states():
    """The state after each number of changes."""
    db = StateDatabase(None, None)
    found = [state_of(db)]
    for name, arguments in CHANGES:
        getattr(db, name)(*arguments)
        found.append(state_of(db))
    db.close()
    return found


def test_every_change_shows():
    assert all(before != after for before, after in itertools.pairwise(states()))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_killed_at_each_step_of_writing_keys(tmp_path):
    """No moment of death leaves keys that are not all there, nor a file that stands in the way."""
    results = crash("keys", tmp_path)
    assert results[-1] is None
    written = ClientKeys.generate(random.Random(2))
    later = ClientKeys.generate(random.Random(3))
    every = sorted(written.pem_files())
    assert len(results) > 3 * len(every)
    there = []
    for number in range(len(results)):
        folder = tmp_path / str(number)
        found = read_key_files(folder)
        assert found in (None, written)
        assert names(folder) == ([] if found is None else every)
        if found is None:
            write_key_files(folder, later)
            assert read_key_files(folder) == later
        there.append(found is not None)
    assert there == sorted(there)  # from some moment on they are there
    assert {*there} == {False, True}


OPEN_AND_SAY = """
import asyncio, sys
from nym_mixnet.errors import StoreInUse
from nym_mixnet.store_io import ClientStore

async def main():
    try:
        await ClientStore(sys.argv[1]).open()
    except StoreInUse as error:
        print("in use:", error)
        return
    print("open", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


async def second_process(folder):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OPEN_AND_SAY, str(folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def test_a_second_process_is_told_who_has_the_folder(tmp_path):
    async with ClientStore(tmp_path):
        said, _ = await (await second_process(tmp_path)).communicate()
    assert said.startswith(b"in use:")
    assert str(tmp_path).encode() in said
    assert b"process %d" % os.getpid() in said


async def test_the_lock_of_a_killed_process_is_free(tmp_path):
    holder = await second_process(tmp_path)
    assert holder.stdout is not None
    try:
        assert await holder.stdout.readline() == b"open\n"
        with pytest.raises(StoreInUse, match=f"process {holder.pid}") as caught:
            await ClientStore(tmp_path).open()
        assert caught.value.kind is ErrorKind.CONFIG
        assert caught.value.retryable
    finally:
        holder.kill()
        await holder.communicate()
    async with ClientStore(tmp_path):
        pass


async def test_a_cancelled_call_that_has_begun_is_finished(tmp_path):
    begun, go_on = threading.Event(), threading.Event()
    async with ClientStore(tmp_path) as store:

        def work():
            begun.set()
            assert go_on.wait(60)
            store._db.put_active_gateway(GATEWAY)

        call = asyncio.get_running_loop().create_task(store._run(work))
        assert await asyncio.to_thread(begun.wait, 60)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go_on.set()
        assert await store.active_gateway() == GATEWAY
