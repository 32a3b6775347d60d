"""Puts the mixnet client to sleep and wakes it, as ``sleep`` says."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from nym_mixnet.tasks_io import TaskSet
from nymgate.ways.sleep import Rest, SleepCore

log = logging.getLogger(__name__)


class Sleepy(Protocol):
    """The part of the mixnet client that this needs."""

    async def pause(self) -> None:
        """Send nothing any more, cover traffic included."""

    async def resume(self) -> None:
        """Send again."""


class Sleeper:
    """Counts streams for one client. ``opened`` before each stream, ``closed`` once after it."""

    def __init__(self, client: Sleepy, sleep_after_seconds: float) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._core = SleepCore(sleep_after_seconds, self._loop.time())
        self._turn = asyncio.Lock()  # pause and resume never overlap
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = TaskSet("sleep")
        self.on_change: Callable[[Rest], None] | None = None
        self._set_timer()

    @property
    def state(self) -> Rest:
        """Awake, busy or asleep."""
        return self._core.state

    async def opened(self) -> None:
        """A stream is wanted: returns when the client is awake."""
        wake = self._core.opened()
        if wake:
            log.info("waking up")
        async with self._turn:  # also for the second stream, while the first one wakes the client
            if wake:
                await self._client.resume()
        self._set_timer()

    def closed(self) -> None:
        """A stream has ended, or never came up."""
        self._core.closed(self._loop.time())
        self._set_timer()

    def reload(self, sleep_after_seconds: float) -> None:
        """From now on sleep after so long."""
        self._core.sleep_after_seconds = sleep_after_seconds
        self._set_timer()

    async def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._tasks.close()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        at = self._core.timer()
        self._timer = self._loop.call_at(at, self._due) if at is not None else None

    def _due(self) -> None:
        self._timer = None
        if self._core.due(self._loop.time()):
            self._tasks.spawn(self._sleep(), name="go to sleep")
        else:
            self._set_timer()

    async def _sleep(self) -> None:
        async with self._turn:
            if self._core.state is Rest.ASLEEP:  # unless a stream came meanwhile
                log.info(
                    "no streams for a while: going to sleep, no cover traffic and no cost until the next one"
                )
                await self._client.pause()
