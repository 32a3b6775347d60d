"""Nodes in a worker process, as the orchestration sees them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nym_localnet.control import MAX_LINE_BYTES, Answer, Command
from nym_localnet.errors import LocalnetError, StartFailed, WorkerLost
from nym_localnet.host_io import HostSettings
from nym_localnet.plan import NodePlan, Ports
from nym_mixnet.tasks_io import TaskSet

logger = logging.getLogger(__name__)

WORKER_MODULE: Final = "nym_localnet.worker"
COMMAND_SECONDS: Final = 30.0
END_SECONDS: Final = 5.0


class WorkerHost:
    """A `Host` in another process. The process ends when this one does, whatever way."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.name = name
        self._process = process
        self._input = process.stdin
        self._output = process.stdout
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tasks = TaskSet(name)
        self._closing = False
        self.lost = asyncio.Event()
        """set when the process has ended without being told to"""
        self._tasks.spawn(self._read_answers(), name="answers")

    @classmethod
    async def spawn(cls, settings: HostSettings, name: str) -> WorkerHost:
        """Start a worker process."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            WORKER_MODULE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
            start_new_session=True,  # an interrupt from the terminal reaches the parent, which then stops us
        )
        worker = cls(process, name)
        worker._input.write(json.dumps(settings.to_json()).encode() + b"\n")
        return worker

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    async def start(self, plans: Sequence[NodePlan]) -> dict[str, Ports]:
        """See `Host`."""
        try:
            result = await self._ask("start", plans=[plan.to_json() for plan in plans])
        except LocalnetError as error:
            raise StartFailed(str(error)) from error
        return {name: Ports(*ports) for name, ports in result.items()}

    async def start_exit(self, plan: NodePlan, nym_api_url: str, gateway_identity: bytes) -> str:
        """See `Host`."""
        address: str = await self._ask(
            "start_exit",
            plan=plan.to_json(),
            nym_api_url=nym_api_url,
            gateway_identity=gateway_identity.hex(),
        )
        return address

    async def restart(self, name: str) -> None:
        """See `Host`."""
        await self._ask("restart", name=name)

    async def rotate(self, rotation_id: int) -> None:
        """See `Host`."""
        await self._ask("rotate", rotation_id=rotation_id)

    async def refresh(self) -> None:
        """See `Host`."""
        await self._ask("refresh")

    async def counters(self, name: str) -> dict[str, dict[str, int]]:
        """See `Host`."""
        counters: dict[str, dict[str, int]] = await self._ask("counters", name=name)
        return counters

    def set_faults(self, name: str, changes: Mapping[str, Any]) -> None:
        """See `Host`. Commands are carried out in order, so a later `counters` sees the change."""
        self._tell(Command("set_faults", {"name": name, "changes": dict(changes)}))

    async def close(self) -> None:
        """See `Host`."""
        self._closing = True
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._input.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            logger.warning("%s does not end, it is killed", self.name)
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        with contextlib.suppress(ConnectionError):
            await self._input.wait_closed()
        await self._tasks.close()

    def _tell(self, command: Command) -> None:
        if self.lost.is_set() or self._closing:
            raise WorkerLost(f"{self.name} has ended")
        self._input.write(command.encode())

    async def _ask(self, do: str, **args: Any) -> Any:
        number = next(self._numbers)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = reply
        try:
            self._tell(Command(do, args, number))
            async with asyncio.timeout(COMMAND_SECONDS):
                return await reply
        except TimeoutError:
            raise WorkerLost(f"{self.name} does not answer to {do}") from None
        finally:
            del self._waiting[number]

    async def _read_answers(self) -> None:
        while line := await self._output.readline():
            answer = Answer.decode(line)
            reply = self._waiting.get(answer.id)
            if reply is None or reply.done():
                continue
            if answer.error is None:
                reply.set_result(answer.result)
            else:
                reply.set_exception(LocalnetError(answer.error))
        if not self._closing:
            self.lost.set()
        for reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(WorkerLost(f"{self.name} has ended"))
