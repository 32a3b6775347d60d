"""The data folder: for this user only, and for one instance at a time, from its start to its end.

The client of an identity locks its own folder as well, but only while it lives: an instance that waits for tickets or
for a gateway has none.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nymgate.errors import DataFolderError, StoreBusy

LOCK_NAME: Final = "instance.lock"
MOST_DIGITS: Final = 20


def private_folder(folder: Path) -> None:
    """Make it and the folder that it is in, both for this user only. OSError if that cannot be done."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def cannot_be_made(folder: Path, error: OSError) -> DataFolderError:
    """What is told of a data folder that is not to be had."""
    return DataFolderError(
        f"The data folder {folder} cannot be made: {error.strerror}.",
        "Choose another with --data-dir, or correct its permissions.",
    )


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Make it, and keep other instances out of it. Raises DataFolderError, StoreBusy."""
    try:
        private_folder(folder)
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise cannot_be_made(folder, error) from error
    try:
        _take(lock, folder)
        yield
    finally:
        os.close(lock)


def _take(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        named = os.pread(lock, MOST_DIGITS, 0).decode("ascii", "replace").strip()
        process = f"process {named}" if named.isdigit() else "another process"
        raise StoreBusy(
            f"The data folder {folder} is in use by {process}.",
            "Stop that one first, or give this one its own folder with --data-dir.",
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)
