"""Work on the database that a cancelled caller does not cut short.

A transaction that was begun is finished, whoever still waits for it: cutting one short in the middle of a commit would
leave the caller not knowing what is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class Unbroken:
    """Runs coroutines to their end and knows those under way."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        """Starts `work`; wait for it with `asyncio.shield`, or with `settled`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: whoever asked may have stopped waiting, which is no mistake to be logged

    async def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """The result of `work`, which goes on when the caller is cancelled."""
        return await asyncio.shield(self.start(work))

    async def settled(self) -> None:
        """Waits until nothing is under way. Errors went to whoever asked for the work."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def cut_short(self) -> None:
        """Ends what is under way as if the process had died: for a database that does not answer."""
        for task in self._tasks:
            task.cancel()
        await self.settled()
