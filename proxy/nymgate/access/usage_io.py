"""Keeps what users have used up in a small database, so that a restart does not give it back.

A few rows: user, period, bytes. Each proxy adds what it has carried and reads the sums, so that several of one machine
can share the file. Rows of months gone by are dropped.
"""

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from nymgate.access.usage import Row, Usage, periods

log = structlog.get_logger("nymgate.access.judge")

STORE_EVERY_SECONDS: Final = 5.0
BUSY_SECONDS: Final = 5.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS usage (
    user TEXT NOT NULL, period TEXT NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (user, period)
) WITHOUT ROWID
"""
_ADD: Final = """
INSERT INTO usage (user, period, bytes) VALUES (?, ?, ?)
ON CONFLICT (user, period) DO UPDATE SET bytes = bytes + excluded.bytes
"""


def add_and_read(path: Path, added: Mapping[Row, int], now: float) -> dict[Row, int]:
    """Add these, and return the sums of today and this month. Blocks; raises sqlite3.Error."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # before SQLite makes it readable for others
    os.close(descriptor)
    day, month = periods(now)
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as database, database:
        database.execute(_SCHEMA)
        database.executemany(_ADD, [(user, period, count) for (user, period), count in added.items()])
        database.execute("DELETE FROM usage WHERE substr(period, 1, 7) < ?", (month,))
        rows = database.execute(
            "SELECT user, period, bytes FROM usage WHERE period IN (?, ?)", (day, month)
        ).fetchall()
    return {(user, period): count for user, period, count in rows}


class UsageKeeper:
    """Brings a :class:`Usage` and its database together, now and then and at the end."""

    def __init__(self, usage: Usage, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.usage = usage
        self._path = path
        self._clock = clock
        self._lock = asyncio.Lock()

    async def sync(self) -> bool:
        """Store what was added and read the sums. False if that did not work; it is tried again next time."""
        async with self._lock:
            taken = self.usage.take()
            try:
                sums = await asyncio.to_thread(add_and_read, self._path, taken, self._clock())
            except (sqlite3.Error, OSError) as error:
                log.warning("usage.not.stored", reason=type(error).__name__)
                return False
            self.usage.stored(taken, sums)
            return True

    async def keep(self) -> None:
        """Store for ever."""
        while True:
            await asyncio.sleep(STORE_EVERY_SECONDS)
            await self.sync()
