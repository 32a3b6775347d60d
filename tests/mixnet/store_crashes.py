"""A program that dies by SIGKILL in the middle of writing, for `test_crashes`.

It forks, because a process of its own per death would take seconds: each child works on a folder of its own
and kills itself at its n-th step; the results are judged by the tests. Usage: ``store_crashes.py WHAT FOLDER``.
Prints a JSON list: per child what it had been told is finished, or null for one that came to its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from nym_mixnet.keys import ClientKeys, write_key_files
from nym_mixnet.store_db import GatewayRegistration, StateDatabase
from nym_mixnet.store_io import ClientStore

GATEWAY = bytes(range(32))
OTHER_GATEWAY = bytes(range(32, 64))
RECIPIENT = bytes(range(96))
REGISTRATION = GatewayRegistration(GATEWAY, b"\x07" * 32, ("ws://127.0.0.1:9000",), 1000.25)
ROWS = [(bytes((i,)) * 32, bytes((i + 1,)) * 16, 100.0 + i, RECIPIENT, i % 3) for i in range(6)]
TAG = b"\x05" * 16


#: One change after another: names of calls that `StateDatabase` and `ClientStore` share, and what they are given.
CHANGES: list[tuple[str, tuple[object, ...]]] = [
    ("put_registration", (REGISTRATION,)),
    ("put_last_auth_timestamp", (GATEWAY, 1_767_225_600)),
    ("put_allowance", (GATEWAY, -5)),
    ("put_active_gateway", (GATEWAY,)),
    ("add_reply_keys", (ROWS,)),
    ("put_sender_tag", (RECIPIENT, TAG)),
    ("remove_reply_keys", ([ROWS[1][0], ROWS[3][0]],)),
    ("purge_reply_keys", (ROWS[1][2],)),
    ("put_active_gateway", (OTHER_GATEWAY,)),
    ("drop_sender_tags", ()),
    ("delete_registration", (GATEWAY,)),
]


def state_of(db: StateDatabase) -> list[object]:
    """Everything in it, comparable."""
    registration = db.registration(GATEWAY)
    active = db.active_gateway()
    return [
        registration and [registration.shared_key.hex(), *registration.urls, registration.registered_unix],
        db.last_auth_timestamp(GATEWAY),
        db.allowance(GATEWAY),
        active and active.hex(),
        [[r.digest.hex(), r.key.hex(), r.created_unix, r.rotation_id] for r in db.load_reply_keys()],
        {recipient.hex(): tag.hex() for recipient, tag in db.load_sender_tags().items()},
    ]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Callable[[Callable[[], None]], None]) -> int | None:
    """Fork and do `work`, which calls its argument after each finished step: how many there were.

    None if the child was not killed.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        work(lambda: os.write(writer, b".") and None)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        finished = len(pipe.read())
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return finished
    assert status == 0, f"the child failed with {status}"
    return None


def at_each_statement(folder: Path) -> list[int | None]:
    """Die at the n-th statement that SQLite is given."""
    results: list[int | None] = []
    while not results or results[-1] is not None:
        own = folder / str(len(results))
        own.mkdir()

        def work(note: Callable[[], None], own: Path = own) -> None:
            db = StateDatabase(own / "state.sqlite", "this boot")
            left = len(results)

            def on_statement(_: str) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    die()

            db._db.set_trace_callback(on_statement)
            for name, arguments in CHANGES:
                getattr(db, name)(*arguments)
                note()
            os._exit(0)

        results.append(killed(work))
    return results


def after_each_call(folder: Path) -> list[int | None]:
    """Die as soon as the n-th call of a `ClientStore` has returned."""

    def work(note: Callable[[], None], own: Path, last: int) -> None:
        async def run() -> None:
            store = ClientStore(own)
            await store.open()
            await store.load_or_create_keys(random.Random(1))
            for name, arguments in CHANGES[:last]:
                await getattr(store, name)(*arguments)
                note()
            die()

        asyncio.run(run())

    def one(last: int) -> int | None:
        return killed(lambda note: work(note, folder / str(last), last))

    return [one(last) for last in range(len(CHANGES) + 1)]


def at_each_key_file_call(folder: Path) -> list[int | None]:
    """Die at the n-th call to the system while key files are written."""
    results: list[int | None] = []
    while not results or results[-1] is not None:
        own = folder / str(len(results))
        own.mkdir()

        def work(note: Callable[[], None], own: Path = own) -> None:
            left = len(results)
            for name in ("open", "fsync", "rename", "close"):
                real = getattr(os, name)

                def step(*args: object, real: Callable[..., object] = real, **options: object) -> object:
                    nonlocal left
                    left -= 1
                    if left < 0:
                        die()
                    return real(*args, **options)

                setattr(os, name, step)
            write_key_files(own, ClientKeys.generate(random.Random(2)))
            note()

        results.append(killed(work))
    return results


if __name__ == "__main__":
    what = {
        "statements": at_each_statement,
        "calls": after_each_call,
        "keys": at_each_key_file_call,
    }[sys.argv[1]]
    print(json.dumps(what(Path(sys.argv[2]))))
