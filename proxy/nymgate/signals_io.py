"""SIGTERM and SIGINT as events, SIGHUP as a call, and work that goes on until one of them comes."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self

from nym_mixnet.tasks_io import TaskSet

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """SIGTERM and SIGINT as events: the first asks for a clean end, the second for an immediate one.

    ``on_hangup`` is called at each SIGHUP; without it that signal does what it always does.
    """

    def __init__(self, on_hangup: Callable[[], None] | None = None) -> None:
        self._on_hangup = on_hangup
        self.first = asyncio.Event()
        self.second = asyncio.Event()

    def __enter__(self) -> Self:
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._come)
        if self._on_hangup is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._on_hangup)
        return self

    def __exit__(self, *_error: object) -> None:
        for number in SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)
        if self._on_hangup is not None:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)

    def _come(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


async def until_signal(work: Coroutine[Any, Any, object]) -> None:
    """Do this until a signal comes; its error is raised."""
    with Signals() as signals:
        await unless(signals.first, work)


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Wait for the work or for the event; True if the work was done. Its error is raised."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def finish() -> None:
        try:
            await work
        except Exception as error:
            done.set_exception(error)  # an error of the configuration is an answer, not a crash of the task
        else:
            done.set_result(None)

    async with TaskSet("run") as tasks:
        tasks.spawn(finish(), name="work")
        waiting = tasks.spawn(event.wait(), name="signal")
        await asyncio.wait((done, waiting), return_when=asyncio.FIRST_COMPLETED)
    if done.done():
        done.result()
        return True
    return False
