"""Who may spend from this database file: the lock, and the witness beside it (docs/protocol/10 §9).

A ticket must not be spent from an old backup or from a copy. SQLite cannot tell, so a small file beside the database
witnesses how far it has come: the store's id, a generation that rises with every ticket taken, and the file's inode.
The database is committed first and the witness written second, before the ticket is handed out; so a database behind
its witness is an older one, another inode is another file, and no witness at all is a file that was brought here.

What this cannot see: a folder rolled back as a whole, together with its inodes (snapshots of a volume or a machine).
Then the gateways' "already spent" is the only sign, and the book becomes suspect (`records.SUSPECT_AFTER`).

The lock lets several processes of one machine share a store. Who is alone at opening checks the witness and settles
the tickets that a dead process has left behind.

On PostgreSQL the database itself notices most of this (``postgres_io.Place``).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nym_credentials.errors import BackupRestored, StoreInUse, StoreKeyWrong, StoreUnusable

_WITNESS_BYTES: Final = 256
"""Fixed, and less than a disk's sector: rewriting it in place cannot tear it."""
DANGER: Final = (
    "Spending from it could spend tickets twice, which gateways punish and which reveals the buyer."
)
ADVICE: Final = (
    "If nothing was spent since and no copy is in use, confirm that it can be trusted; "
    "else open it once with all its books given up."
)
_LOCK_SECONDS: Final = 20.0
_LOCK_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Witness:
    """What the file says."""

    store_id: str
    generation: int
    inode: int

    def encode(self) -> bytes:
        """Exactly `_WITNESS_BYTES`, a line of text."""
        value = {"store": self.store_id, "generation": self.generation, "inode": self.inode}
        return json.dumps(value).encode().ljust(_WITNESS_BYTES - 1) + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Witness | None:
        """The inverse of `encode`; None for what cannot be read, which witnesses nothing."""
        try:
            value = json.loads(data)
            return cls(str(value["store"]), int(value["generation"]), int(value["inode"]))
        except (ValueError, KeyError, TypeError):
            return None


class StoreFiles:
    """The files of one SQLite store. All calls block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key_path = path.with_name(path.name + ".key")
        self._witness_path = path.with_name(path.name + ".witness")
        self._lock_path = path.with_name(path.name + ".lock")
        self._lock: int | None = None

    @property
    def name(self) -> str:
        """What messages call the store."""
        return str(self.path)

    def key_file(self) -> Path:
        """Where the key is if none is given."""
        return self.key_path

    def create(self) -> None:
        """Makes folder and database file where they are missing: nobody else's from the start."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreUnusable(
                f"The ticket store {self.path} cannot be made or written: {error.strerror}.",
                "Check the permissions of its folder.",
            ) from error

    def lock(self) -> bool:
        """Takes the lock; returns whether no other process has the store open. Call `share` when ready."""
        self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            for mode in (fcntl.LOCK_EX, fcntl.LOCK_SH):
                try:
                    fcntl.flock(self._lock, mode | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                return mode == fcntl.LOCK_EX
            if time.monotonic() > deadline:
                self.unlock()
                raise StoreInUse(
                    f"The ticket store {self.path} is being opened by another process all the time."
                )
            time.sleep(_LOCK_POLL_SECONDS)

    def share(self) -> None:
        """Lets other processes in."""
        assert self._lock is not None
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def unlock(self) -> None:
        """Lets the lock go."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def inode(self) -> int:
        """Of the database file."""
        return self.path.stat().st_ino

    def read_witness(self) -> Witness | None:
        """What the witness says, if there is one."""
        try:
            return Witness.decode(self._witness_path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnusable(f"{self._witness_path} cannot be read: {error.strerror}.") from error

    def check(self, store_id: str, generation: int) -> None:
        """Raises `BackupRestored` unless the database is the one that was here last, and as new."""
        witness = self.read_witness()
        if witness is None:
            if generation == 0:
                return  # made a moment ago: nothing was taken from it yet
            why = f"its witness file {self._witness_path.name} is missing or unreadable"
        elif witness.store_id != store_id:
            why = "the witness file beside it belongs to another store"
        elif witness.generation > generation:
            why = f"it is {witness.generation - generation} steps behind its witness file"
        elif witness.inode != self.inode():
            why = "it is another file than the one that was used last"
        else:
            return
        raise BackupRestored(
            f"The ticket store {self.path} seems to be a restored backup or a copy: {why}. {DANGER}", ADVICE
        )

    def write_witness(self, store_id: str, generation: int, *, anew: bool = False) -> None:
        """Makes the witness say so, durably. It never goes back, unless it is written `anew`."""
        try:
            new = not self._witness_path.exists()
            file = os.open(self._witness_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                old = Witness.decode(os.pread(file, _WITNESS_BYTES, 0))
                if not anew and old is not None and old.store_id == store_id and old.generation >= generation:
                    return
                os.pwrite(file, Witness(store_id, generation, self.inode()).encode(), 0)
                os.ftruncate(file, _WITNESS_BYTES)
                os.fsync(file)
            finally:
                os.close(file)
            if new:
                _sync_folder(self._witness_path.parent)
        except OSError as error:
            raise StoreUnusable(
                f"{self._witness_path} cannot be written: {error.strerror}.",
                "Check the disk and its permissions.",
            ) from error


class ReplicaFiles(StoreFiles):
    """The files that a replica of a shared store may have in a folder of its own: a key and a witness.

    The witness only says how far the database had come: that is how a replica notices that the whole server went back
    to an earlier state, as its files were restored. A replica without a folder remembers it while it runs.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        super().__init__((folder or Path("/nonexistent")) / "shared-tickets")
        self._kept = folder is not None
        self._name = name

    def create(self) -> None:
        """Makes the folder."""
        if self._kept:
            try:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise StoreUnusable(
                    f"The folder {self.path.parent} cannot be made: {error.strerror}."
                ) from error

    @property
    def name(self) -> str:
        """What messages call the store."""
        return self._name

    def key_file(self) -> Path:
        """Where the key is if none is given. Raises `StoreKeyWrong` if it has to be given."""
        if not self._kept:
            raise StoreKeyWrong(
                f"The ticket store {self._name} needs a key.",
                "Give the same key or passphrase to every replica.",
            )
        return self.key_path

    def inode(self) -> int:
        """There is no file."""
        return 0

    def check(self, store_id: str, generation: int) -> None:
        """Raises `BackupRestored` if the database had come further than it is now."""
        witness = self.read_witness() if self._kept else None
        if witness is not None and witness.store_id == store_id and witness.generation > generation:
            raise BackupRestored(
                f"The ticket store {self._name} seems to be a restored backup: "
                f"it is {witness.generation - generation} steps behind what this replica has seen. {DANGER}",
                ADVICE,
            )

    def write_witness(self, store_id: str, generation: int, *, anew: bool = False) -> None:
        """As for a file; nothing without a folder."""
        if self._kept:
            super().write_witness(store_id, generation, anew=anew)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
