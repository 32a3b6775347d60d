"""Background tasks with an owner.

The event loop keeps only weak references to tasks, and an exception in a task nobody awaits is lost. A
`TaskSet` holds its tasks, logs each crash, hands the first one to whoever waits for it, and cancels all of
them on `close()`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

_LOG = logging.getLogger(__name__)


class TaskSet:
    """A bag of named tasks. Use it as an async context manager, or call `close()`."""

    def __init__(self, name: str, *, on_crash: Callable[[str, Exception], None] | None = None) -> None:
        self._name = name
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_crash = on_crash
        self._crashed = asyncio.Event()
        self._crash: Exception | None = None
        self._closed = False

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Start `work`. After `close()` nothing can be started any more."""
        if self._closed:
            work.close()
            raise RuntimeError(f"task set {self._name} is closed")
        task = asyncio.get_running_loop().create_task(work, name=f"{self._name}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def crash(self) -> Exception | None:
        """The first exception that ended a task, if any."""
        return self._crash

    async def wait_crash(self) -> None:
        """Wait until a task crashes and raise its exception."""
        await self._crashed.wait()
        assert self._crash is not None
        raise self._crash

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if not isinstance(error, Exception):
            return
        _LOG.error("background task %s failed", task.get_name(), exc_info=error)
        if self._crash is None:
            self._crash = error
            self._crashed.set()
        if self._on_crash is not None:
            self._on_crash(task.get_name(), error)

    async def wait(self) -> None:
        """Wait until all tasks have ended by themselves."""
        while self._tasks:
            await asyncio.wait(self._tasks)
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Cancel everything and wait until it has ended. Safe to call twice, and from one of the tasks.

        Who is cancelled here waits all the same: what tidies up must not be left alone, with its store closed.
        """
        self._closed = True
        own = asyncio.current_task()
        told: set[asyncio.Task[Any]] = set()
        interrupted: asyncio.CancelledError | None = None
        while tasks := {task for task in self._tasks if task is not own}:
            for task in tasks - told:
                task.cancel()
            told |= tasks
            try:
                await asyncio.wait(tasks)
                await asyncio.sleep(0)  # let the callbacks take the finished ones out of the set
            except asyncio.CancelledError as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
