"""Several workers as one proxy: asks each by its control socket, and puts their answers together.

What a worker has counted stays counted when it is gone or restarted, so that the sums never go back.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from nymgate import __version__
from nymgate.watch.asking_io import NotRunning, ask_folder
from nymgate.watch.health import LAYERS, Health, Layer, State
from nymgate.watch.snapshot import Snapshot, gone, merge
from nymgate.watch.snapshot_json import from_json

LIMIT_SECONDS: Final = 3.0
"""A worker whose event loop hangs for so long counts as not there."""


class Fleet:
    """The workers whose data folders are given."""

    def __init__(
        self,
        folders: Callable[[], Sequence[Path]],
        *,
        clock: Callable[[], float] = time.time,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        """``folders``: one for each worker that there should be. ``clock``: Unix time."""
        self._folders = folders
        self._clock = clock
        self._limit = limit_seconds
        self._last: dict[Path, Snapshot] = {}
        self._gone: Snapshot | None = None
        self._turn = asyncio.Lock()

    async def snapshot(self) -> Snapshot:
        """All of them together."""
        async with self._turn:
            folders = list(self._folders())
            answers = await asyncio.gather(*(asyncio.to_thread(self._ask, folder) for folder in folders))
            there = []
            for folder, answer in zip(folders, answers, strict=True):
                before = self._last.get(folder)
                if answer is not None:
                    if before is not None and before.started_unix != answer.started_unix:
                        self._bury(before)
                    self._last[folder] = answer
                    there.append(answer)
                elif before is not None:
                    there.append(gone(before))  # it may answer again
            for folder in self._last.keys() - set(folders):
                self._bury(self._last.pop(folder))
            if self._gone is not None:
                there.append(self._gone)
            return self._together(there, len(folders))

    async def health(self) -> Health:
        """One verdict on all of them."""
        return (await self.snapshot()).health or nobody(self._clock(), len(self._folders()))

    def _together(self, found: list[Snapshot], expected: int) -> Snapshot:
        if not any(one.workers for one in found):
            now = self._clock()
            health = nobody(now, expected)
            found = [*found, Snapshot(now, now, __version__, workers=0, health=health)]
        return merge(found, expected=expected)

    def _bury(self, snapshot: Snapshot) -> None:
        counted = gone(snapshot)
        self._gone = counted if self._gone is None else merge([self._gone, counted])

    def _ask(self, folder: Path) -> Snapshot | None:
        try:
            answer = ask_folder(folder, "/snapshot", limit_seconds=self._limit)
            return from_json(answer.body) if answer.status == 200 else None
        except (NotRunning, ValueError):
            return None


def nobody(now_unix: float, expected: int) -> Health:
    """The verdict where no worker answers."""
    return Health(
        state=State.FAILING,
        code="E_NO_WORKER",
        what="No worker answers.",
        todo="They are started again by themselves; see the log.",
        layers=tuple(Layer(name) for name in LAYERS),
        checked_unix=now_unix,
        workers=expected,
    )
