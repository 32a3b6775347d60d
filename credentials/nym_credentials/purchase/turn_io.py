"""One buying process at a time per store: a lock on a file beside it, which the kernel lets go when a process dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from nym_credentials.errors import PurchaseConflict


class FileTurn:
    """`async with FileTurn(path)`: raises `PurchaseConflict` at once if another process has its turn."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._handle: int | None = None

    async def __aenter__(self) -> None:
        handle = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise PurchaseConflict(
                "Another process is buying into this store.", "Try again when it is done; nothing was paid."
            ) from None
        self._handle = handle

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
