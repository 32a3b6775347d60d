"""Reads key files, and makes the one beside a new store."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from nym_credentials.errors import StoreKeyWrong
from nym_credentials.store.keys import StoreKey


def read_key_file(path: Path) -> StoreKey:
    """The key in a file of 64 hex digits. Raises `StoreKeyWrong`."""
    try:
        text = path.read_text(encoding="ascii")
    except UnicodeDecodeError:
        text = ""
    except OSError as error:
        raise StoreKeyWrong(f"The key file {path} cannot be read: {error.strerror}.") from error
    return StoreKey.from_text(text, f"The file {path}")


def key_from_environment(environment: Mapping[str, str], variable: str) -> StoreKey:
    """The key in a variable, 64 hex digits. Raises `StoreKeyWrong`."""
    text = environment.get(variable, "")
    if not text:
        raise StoreKeyWrong(f"The variable {variable} should hold the store's key and is empty.")
    return StoreKey.from_text(text, f"The variable {variable}")


def own_key(path: Path, *, may_create: bool) -> StoreKey:
    """The key file beside a store, made if the store is new. Raises `StoreKeyWrong`."""
    if not path.exists():
        if not may_create:
            raise StoreKeyWrong(
                f"The key file {path} of the ticket store is missing.",
                "Put it back, or give the key or passphrase that the store was made with.",
            )
        _write_new(path, StoreKey.generate())
    key = read_key_file(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise StoreKeyWrong(f"The key file {path} can be read by others.", f"Run: chmod 600 {path}")
    return key


def _write_new(path: Path, key: StoreKey) -> None:
    draft = path.with_name(path.name + ".new")
    try:
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, key.to_text().encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        draft.rename(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StoreKeyWrong(f"The key file {path} cannot be made: {error.strerror}.") from error
