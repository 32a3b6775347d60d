"""A fleet of processes that spend from one store, as tests see it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from tests.credentials.books import EXPIRATION
from tests.credentials.store.fleet_process import LEASE_SECONDS

PROGRAM = Path(__file__).with_name("fleet_process.py")


class Fleet:
    """The processes."""

    def __init__(self, process):
        self._process = process
        self.alive = []
        self.kills = self.pauses = 0
        self._paused = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, where, port, processes, threads, *gateways):
        """Until the end of the block; then they leave in order."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            where,
            str(port),
            EXPIRATION.isoformat(),
            str(processes),
            str(threads),
            *(gateway.hex() for gateway in gateways),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONWARNINGS": "error"},
        )
        fleet = cls(process)
        reading = asyncio.get_running_loop().create_task(fleet._read())
        try:
            yield fleet
        finally:
            fleet.wake()
            process.terminate()
            async with asyncio.timeout(60):
                await process.wait()
            await reading

    async def _read(self):
        while line := await self._process.stdout.readline():
            self.alive.append(int(line))

    def kill(self, dice):
        """One of them, in the middle of whatever it does."""
        if self.alive:
            victim = self.alive.pop(dice.randrange(len(self.alive)))
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                self.kills += 1

    def pause(self, dice):
        """One of them stands still, for longer than its lease lasts, and then goes on where it was."""
        if self.alive:
            victim = dice.choice(self.alive)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGSTOP)
                self.pauses += 1
                self._paused[victim] = time.monotonic() + 2 * LEASE_SECONDS

    def wake(self, *, due=float("inf")):
        """Those whose time is over."""
        for victim, until in list(self._paused.items()):
            if until <= due:
                del self._paused[victim]
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGCONT)
