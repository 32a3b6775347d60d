"""One exit that the pool holds open: its part of the mixnet client, and whether it is alive."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Final

from nym_exit.client_io import ExitClient
from nym_exit.errors import ExitError, ExitSilent, MixnetDown
from nym_exit.exit_policy import ExitPolicy
from nym_exit.options import ExitOptions
from nym_exit.ports import BankPort, ClientPort, SendingPort
from nym_exit.stream_io import MixStream
from nym_mixnet.client_records import ReceivedMessage
from nym_mixnet.lanes import Lane
from nym_mixnet.link_state import LinkState
from nym_mixnet.tasks_io import TaskSet
from nym_sphinx import Recipient
from nymgate.exits.pool import Event, ExitRecord, PoolLimits, answer_within

LINK_CHECK_SECONDS: Final = 0.25


class Tap:
    """The mixnet client as one exit's client sees it: with messages of that exit only."""

    def __init__(self, client: ClientPort) -> None:
        self._client = client
        self.on_message: Callable[[ReceivedMessage], None] = lambda message: None

    @property
    def address(self) -> Recipient:
        return self._client.address

    @property
    def link_state(self) -> LinkState:
        return self._client.link_state

    async def send_plain(self, recipient: Recipient, data: bytes, *, lane: int = Lane.GENERAL) -> SendingPort:
        return await self._client.send_plain(recipient, data, lane=lane)

    async def send_anonymous(
        self, recipient: Recipient, data: bytes, *, surbs: int, lane: int = Lane.GENERAL
    ) -> SendingPort:
        return await self._client.send_anonymous(recipient, data, surbs=surbs, lane=lane)

    def close_lane(self, lane: int) -> None:
        self._client.close_lane(lane)

    def lane_queued(self, lane: int) -> int:
        return self._client.lane_queued(lane)

    async def wait_lane(
        self, lane: int, *, queued_below: int | None = None, unacked_below: int | None = None
    ) -> None:
        await self._client.wait_lane(lane, queued_below=queued_below, unacked_below=unacked_below)

    def bank(self, recipient: Recipient) -> BankPort:
        return self._client.bank(recipient)


def said(question: "asyncio.Task[bool | None]") -> bool | None:
    """What came of a question that is over. One that was broken off, since the exit was closed, tells nothing."""
    return None if question.cancelled() else question.result()


class Member:
    """An exit with its client. ``close`` it when it is not needed any more."""

    def __init__(
        self,
        client: ClientPort,
        record: ExitRecord,
        options: ExitOptions,
        limits: PoolLimits,
        *,
        rng: random.Random,
        awake: Callable[[], bool],
        on_stream_ended: Callable[["Member", MixStream], None],
    ) -> None:
        self.record = record
        self.tap = Tap(client)
        self.client = ExitClient(self.tap, record.recipient, options, rng=rng, supplied=False)
        self.client.on_stream_ended = lambda stream: on_stream_ended(self, stream)
        self.client.start()
        self.opening = 0
        """Requests that have no answer yet."""
        self.idle_since: float = asyncio.get_running_loop().time()
        self._limits = limits
        self._awake = awake
        self._rng = rng
        self._tasks = TaskSet("exit")
        self._asking: asyncio.Task[bool | None] | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def asking(self) -> bool:
        """Whether a question to it is under way."""
        return self._asking is not None

    @property
    def idle(self) -> bool:
        """Whether nobody needs it at the moment."""
        return not (self.opening or self.client.streams or self._asking or self._reading)

    def heard(self, message: ReceivedMessage, now: float) -> None:
        """A message of the exit, of whatever kind."""
        self.record.happened(Event.HEARD, now, self._rng, self._limits)
        self.tap.on_message(message)

    def ask(self) -> "asyncio.Task[bool | None]":
        """Ask whether it is alive; whoever asks meanwhile gets the same answer.

        True: it is. False: it kept silent although our link was up all the time. None: nobody can tell.
        """
        if self._asking is None:
            self._asking = self._tasks.spawn(self._ask(), name="question")
            self._asking.add_done_callback(self._asked)
        return self._asking

    def _asked(self, _task: "asyncio.Task[bool | None]") -> None:
        self._asking = None

    async def _ask(self) -> bool | None:
        loop = asyncio.get_running_loop()
        record, started = self.record, loop.time()
        record.asked_at = started
        async with TaskSet("question") as tasks:
            asking = tasks.spawn(self._health(), name="health")
            deadline = started + answer_within(record, self._limits)
            while not asking.done() and loop.time() < deadline:
                if self.tap.link_state is not LinkState.READY or not self._awake():
                    return True if record.heard_since(started) else None
                await asyncio.wait((asking,), timeout=min(LINK_CHECK_SECONDS, deadline - loop.time()))
            answer = asking.result() if asking.done() else False
        if answer is False and record.heard_since(started):
            return True
        if answer is False:
            record.happened(Event.MISSED, loop.time(), self._rng, self._limits)
        return answer

    async def _health(self) -> bool | None:
        try:
            self.record.answered(await self.client.health())
        except ExitSilent:
            return False
        except MixnetDown:
            return None
        except ExitError:
            pass  # an error is an answer
        return True

    def read_policy(self) -> "asyncio.Task[None]":
        """Ask for its policy, in the background."""
        if self._reading is None:
            self._reading = self._tasks.spawn(self._read_policy(), name="policy")
            self._reading.add_done_callback(self._policy_read)
        return self._reading

    def _policy_read(self, _task: "asyncio.Task[None]") -> None:
        self._reading = None

    async def _read_policy(self) -> None:
        record = self.record
        if not record.candidate.uses_exit_policy:
            record.policy = ExitPolicy.open()
        else:
            with contextlib.suppress(ExitError):
                answer = await self.client.query_exit_policy()
                if answer.policy is not None:
                    record.policy = answer.policy
        record.policy_at = asyncio.get_running_loop().time()

    async def close(self, grace_seconds: float = 0.0) -> None:
        """End its streams and let go of it."""
        await self._tasks.close()
        await self.client.close(grace_seconds)
