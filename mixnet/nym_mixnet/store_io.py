"""What a client keeps between runs: keys, registrations, reply keys (docs/protocol/04 §6).

A data folder (mode 0700) with the key files in PEM, as the reference lays them out, and ``state.sqlite``.
One process at a time: ``lock`` is held from `open()` to `close()`. Every call returns after its change
would survive ``kill -9``. All blocking work runs in one thread, so calls take effect in the order in which
they are made.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from nym_mixnet.errors import StoreError, StoreInUse
from nym_mixnet.keys import ClientKeys, read_key_files, write_key_files
from nym_mixnet.store_db import (
    GatewayRegistration,
    ReplyKeyRecord,
    ReplyKeyRow,
    StateDatabase,
    peek_active_gateway,
)
from nym_sphinx.rng import SYSTEM_RNG

__all__ = [
    "ClientStore",
    "GatewayRegistration",
    "MemoryStore",
    "ReplyKeyRecord",
    "ReplyKeyRow",
    "remembered_gateway",
]

_STATE_FILE = "state.sqlite"
_LOCK_FILE = "lock"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_Result = TypeVar("_Result")


def remembered_gateway(folder: str | Path) -> bytes | None:
    """The gateway that the client of this folder uses, also while it runs; None if there is none or it cannot be told.

    Only reads, for those who want to look.
    """
    path = Path(folder) / _STATE_FILE
    return peek_active_gateway(path) if path.exists() else None


def _boot_id() -> str | None:
    """A text that differs from one start of the machine to the next; None where there is none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip() or None
    except OSError:
        return None


class _Store:
    """The calls that both stores offer."""

    def __init__(self) -> None:
        self._database: StateDatabase | None = None

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        raise NotImplementedError

    async def open(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def load_or_create_keys(self, rng: random.Random = SYSTEM_RNG) -> ClientKeys:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _db(self) -> StateDatabase:
        if self._database is None:
            raise StoreError("the store is not open")
        return self._database

    @property
    def unclean_os_crash(self) -> bool:
        """True if the machine went down during the last run: the newest reply keys may be missing.

        The sender tags have been dropped then, because a tag whose keys are gone leads to silence.
        """
        return self._db.unclean_os_crash

    async def get_registration(self, identity: bytes) -> GatewayRegistration | None:
        """The registration at the gateway with that identity."""
        return await self._run(lambda: self._db.registration(identity))

    async def put_registration(self, registration: GatewayRegistration) -> None:
        await self._run(lambda: self._db.put_registration(registration))

    async def delete_registration(self, identity: bytes) -> None:
        """Forget the shared key; the last timestamp stays."""
        await self._run(lambda: self._db.delete_registration(identity))

    async def get_last_auth_timestamp(self, identity: bytes) -> int | None:
        """Unix seconds of the last authentication at that gateway."""
        return await self._run(lambda: self._db.last_auth_timestamp(identity))

    async def put_last_auth_timestamp(self, identity: bytes, timestamp: int) -> None:
        await self._run(lambda: self._db.put_last_auth_timestamp(identity, timestamp))

    async def get_allowance(self, identity: bytes) -> int | None:
        """The last known allowance at that gateway, in bytes."""
        return await self._run(lambda: self._db.allowance(identity))

    async def put_allowance(self, identity: bytes, remaining: int | None) -> None:
        await self._run(lambda: self._db.put_allowance(identity, remaining))

    async def active_gateway(self) -> bytes | None:
        """Identity of the gateway that is part of our address."""
        return await self._run(lambda: self._db.active_gateway())

    async def put_active_gateway(self, identity: bytes) -> None:
        await self._run(lambda: self._db.put_active_gateway(identity))

    async def add_reply_keys(self, rows: Sequence[ReplyKeyRow]) -> None:
        """Keep keys of SURBs that are about to be sent: (digest, key, Unix time, recipient, rotation id)."""
        if rows:
            await self._run(lambda: self._db.add_reply_keys(rows))

    async def remove_reply_keys(self, digests: Iterable[bytes]) -> None:
        gone = list(digests)
        if gone:
            await self._run(lambda: self._db.remove_reply_keys(gone))

    async def load_reply_keys(self) -> list[ReplyKeyRecord]:
        """All of them, in the order in which they were added."""
        return await self._run(lambda: self._db.load_reply_keys())

    async def purge_reply_keys(self, created_before_unix: float) -> int:
        """Drop keys made before that time; returns how many."""
        return await self._run(lambda: self._db.purge_reply_keys(created_before_unix))

    async def get_sender_tag(self, recipient: bytes) -> bytes | None:
        """The tag (16 bytes) under which we write anonymously to a recipient (96 bytes)."""
        return await self._run(lambda: self._db.sender_tag(recipient))

    async def put_sender_tag(self, recipient: bytes, tag: bytes) -> None:
        await self._run(lambda: self._db.put_sender_tag(recipient, tag))

    async def load_sender_tags(self) -> dict[bytes, bytes]:
        """Recipient → tag."""
        return await self._run(lambda: self._db.load_sender_tags())

    async def drop_sender_tags(self) -> None:
        await self._run(lambda: self._db.drop_sender_tags())


class ClientStore(_Store):
    """A store in a folder."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(folder)
        self._lock: int | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        if self._thread is None:
            raise StoreError("the store is not open")
        # A cancelled caller does not take back what was begun: the thread finishes it.
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def open(self) -> None:
        """Create or open the folder. `StoreInUse` if another process has it, `StoreError` if it is unusable."""
        if self._thread is not None:
            raise StoreError("the store is open already")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="client-store")
        try:
            await self._run(self._open)
        except BaseException:
            await self.close()
            raise

    def _open(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            self._take_lock()
            state = self.folder / _STATE_FILE
            # made here so that it, and the files SQLite puts beside it, are nobody else's from the start
            os.close(os.open(state, os.O_WRONLY | os.O_CREAT, 0o600))
        except OSError as error:
            raise StoreError(f"the data folder {self.folder} cannot be used: {error.strerror}") from error
        self._database = StateDatabase(state, _boot_id())

    def _take_lock(self) -> None:
        lock = os.open(self.folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            named = os.read(lock, 20).decode("ascii", "replace").partition("\n")[0]
            os.close(lock)
            process = f"process {named}" if named.isdigit() else "another process"
            raise StoreInUse(
                f"the data folder {self.folder} is in use by {process}: stop it, or choose another folder"
            ) from None
        self._lock = lock
        holder = f"{os.getpid()}\n".encode("ascii")
        os.pwrite(lock, holder, 0)  # never empty: others read who it is at any time
        os.ftruncate(lock, len(holder))

    async def close(self) -> None:
        """Finish what is under way and let the folder go. Safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
        finally:
            thread.shutdown(wait=False)

    def _close(self) -> None:
        try:
            if self._database is not None:
                self._database.close()
        finally:
            self._database = None
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    async def load_or_create_keys(self, rng: random.Random = SYSTEM_RNG) -> ClientKeys:
        """The client's keys, made at the first call. `StoreError` names a key file that is missing or wrong."""

        def work() -> ClientKeys:
            try:
                keys = read_key_files(self.folder)
                if keys is None:
                    keys = ClientKeys.generate(rng)
                    write_key_files(self.folder, keys)
            except OSError as error:
                raise StoreError(
                    f"the keys in {self.folder} cannot be read or written: {error.strerror}"
                ) from error
            return keys

        return await self._run(work)


class MemoryStore(_Store):
    """A store that is gone with the process: for tests and for clients that should leave no trace."""

    def __init__(self) -> None:
        super().__init__()
        self._keys: ClientKeys | None = None

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        return work()

    async def open(self) -> None:
        """Opening again after `close()` finds everything as it was left."""
        if self._database is None:
            self._database = StateDatabase(None, "memory")
            weakref.finalize(self, self._database.discard)

    async def close(self) -> None:
        """Does nothing: what is in memory stays until this object goes."""

    async def load_or_create_keys(self, rng: random.Random = SYSTEM_RNG) -> ClientKeys:
        if self._keys is None:
            self._keys = ClientKeys.generate(rng)
        return self._keys
