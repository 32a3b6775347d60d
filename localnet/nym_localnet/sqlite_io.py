"""A SQLite database that lives in one thread: what was executed is done when the call returns, in order."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Database:
    """`path` None keeps everything in memory. Not `durable`: fast, and gone with the power."""

    def __init__(self, schema: str, path: Path | None, *, durable: bool, name: str) -> None:
        self._schema = schema
        self._path = path
        self._durable = durable
        self._name = name
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Open or create it."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        await self._run(self._open)

    async def close(self) -> None:
        """Safe to call twice."""
        if self._thread is None:
            return
        await self._run(self._close)
        self._thread.shutdown(wait=True)
        self._thread = None

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run something in one transaction."""

        def run() -> T:
            assert self._connection is not None, "the database is not open"
            with self._connection:
                return work(self._connection)

        return await self._run(run)

    async def _run(self, work: Callable[[], T]) -> T:
        assert self._thread is not None, "the database is not open"
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._connection = sqlite3.connect(self._path or ":memory:", check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
        self._connection.executescript(self._schema)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
