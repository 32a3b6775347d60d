"""Byte streams over whichever exit is fit: the same exit as long as it is well, another one when it is not.

    pool = ExitPool(client, candidates, reachable=..., options=..., rng=...)
    await pool.start()                        # returns when an exit has answered
    stream = await pool.open("example.org", 443)

New streams go to the exit in use as long as it is well (``exit_pool`` says what that means). When it is silent, or does
not permit the port, they go to another one; nothing has been sent to the destination by then, so nothing is sent twice.
Old streams stay where they are until they end, or until the exit has been silent for so long that they are ended with
its layer. Only the exit in use has a bank of reply SURBs.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Final

from nym_exit.control import BinaryInfo
from nym_exit.errors import (
    ConnectFailed,
    ExitError,
    ExitRefused,
    ExitSilent,
    TargetSilent,
)
from nym_exit.options import ExitOptions
from nym_exit.ports import ClientPort
from nym_exit.stream_io import MixStream
from nym_mixnet.tasks_io import TaskSet
from nym_sphinx import SYSTEM_RNG, Recipient
from nymgate.errors import Reply, StreamRefused
from nymgate.exits.choice import ExitCandidate, Verdict
from nymgate.exits.member_io import Member, said
from nymgate.exits.pool import (
    Answer,
    Event,
    ExitRecord,
    ExitState,
    PoolLimits,
    Standing,
    on_refusal,
    suspect_after,
    to_try,
)
from nymgate.exits.roster_io import PoolStats, Reread, Roster

POLICY_WAIT_SECONDS: Final = 5.0
"""A refusal waits so long for the policy that explains it."""
OVERTIME_SECONDS: Final = 1.0
"""A request that does not end in time by itself is ended so much later."""
UNDER_WAY_SECONDS: Final = 1.0
"""What is heard so soon after a request may have been sent before it."""
SIGN_OF_LIFE_SECONDS: Final = 20.0
"""An exit that was heard so lately is not what keeps a stream waiting."""


class ExitPool:
    """Opens streams through whichever exit is fit. Use ``start`` before and ``close`` after."""

    def __init__(
        self,
        client: ClientPort,
        candidates: Sequence[ExitCandidate],
        *,
        reachable: Callable[[], Collection[bytes]],
        options: ExitOptions,
        limits: PoolLimits | None = None,
        named: bool = False,
        reread: Reread | None = None,
        others: Callable[[], Collection[Recipient]] = tuple,
        rng: random.Random = SYSTEM_RNG,
    ) -> None:
        """Nothing is sent before ``start``.

        Args:
            client: the mixnet client that all exits share; it has to be running.
            candidates: exits that the configuration allows.
            reachable: identities of the gateways that packets can be routed to now.
            named: the only candidate was named by a person: it is used without asking, and has no substitute.
            reread: asks the directory for the candidates again. MixnetError when that fails.
            others: exits that other identities use; they are taken only when there is nobody else.
        """
        self.options = options
        self.limits = limits or PoolLimits()
        self.roster = Roster(
            client,
            candidates,
            reachable=reachable,
            options=options,
            limits=self.limits,
            named=named,
            reread=reread,
            others=others,
            rng=rng,
        )
        self._rng = rng
        self._tasks = TaskSet("streams")
        self._doubted_at: float | None = None

    async def start(self) -> None:
        """Returns when an exit has answered. Raises NoUsableExit if none does."""
        await self.roster.start()

    async def close(self, grace_seconds: float = 3.0) -> None:
        """End all streams, give their last messages some time to leave, and stop."""
        await self._tasks.close()
        await self.roster.close(grace_seconds)

    # ---- what others see ----------------------------------------------------------------------------------

    @property
    def stats(self) -> PoolStats:
        """Counters since start."""
        return self.roster.stats

    @property
    def recipient(self) -> Recipient:
        """The address of the exit in use, or of one that was or may be."""
        return self.roster.recipient

    @property
    def in_use(self) -> Recipient | None:
        """The address of the exit in use, if one is."""
        current = self.roster.current
        return current.record.recipient if current is not None else None

    @property
    def streams(self) -> int:
        """Streams that are open or opening, over all exits."""
        return self.roster.streams

    @property
    def usable(self) -> bool:
        """Whether an exit is in use."""
        return self.roster.current is not None

    def exits(self) -> list[ExitState]:
        """All exits that the configuration allows, the one in use first, then those that were asked."""
        return self.roster.exits()

    def sleeps_by(self, awake: Callable[[], bool]) -> None:
        """``awake`` says whether the client sends at the moment: one that does not is asked nothing."""
        self.roster.awake = awake

    async def binary_info(self) -> BinaryInfo:
        """Ask the exit in use what program it runs."""
        if self.roster.current is None:
            raise ExitSilent("a request for its version", 0.0)
        return await self.roster.current.client.binary_info()

    # ---- streams ------------------------------------------------------------------------------------------

    async def open(
        self,
        host: str,
        port: int,
        *,
        early: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - also limits an early stream, long after this returns
    ) -> MixStream:
        """Open a TCP connection from an exit to ``host:port``.

        Args and errors as ``nym_exit.ExitClient.open``; also StreamRefused when no exit is left (E_NO_EXIT), or
        when the policies of all refuse the port (E_EXIT_POLICY).
        """
        loop = asyncio.get_running_loop()
        limit = self.options.open_timeout_seconds if timeout is None else timeout
        deadline = loop.time() + limit
        tried: list[ExitRecord] = []
        refused_by: list[ExitRecord] = []
        last: ExitError | None = None
        while True:
            try:
                member = await self._choose(host, port, tried, deadline, looking_again=bool(refused_by))
            except (StreamRefused, ExitError):
                if last is not None:
                    raise last from None
                raise
            record = member.record
            tried.append(record)
            try:
                stream = await self._attempt(member, host, port, early=early, deadline=deadline, limit=limit)
            except ExitRefused as error:
                last = error
                await self._explain(member, deadline)
                now = loop.time()
                answer = on_refusal(record, host, port, now, self.limits)
                another = answer is Answer.ANOTHER and len(tried) < self.limits.ports_tried
                look = answer is Answer.SECOND_LOOK and not refused_by
                if self.roster.named or not (another or look) or now >= deadline:
                    raise
                if look:
                    record.second_looks[port] = now
                refused_by.append(record)
            except ExitSilent as error:
                last = error
                if self.roster.named or record.standing is not Standing.DOWN or loop.time() >= deadline:
                    raise
            else:
                record.opened_ports[port] = loop.time()
                for other in refused_by:
                    other.refused_ports[port] = loop.time()
                return stream
            self.stats.streams_moved += 1

    async def _choose(
        self, host: str, port: int, tried: Sequence[ExitRecord], deadline: float, *, looking_again: bool
    ) -> Member:
        """The exit for a stream. Raises StreamRefused, ExitRefused or ExitSilent when there is none in time."""
        loop = asyncio.get_running_loop()
        if self.roster.closed:
            raise self._refusal()
        denied = 0
        while True:
            now, limits = loop.time(), self.limits
            current = self.roster.current
            if current is not None and self._fits(current.record, host, port, tried, now):
                return current
            left = [record for record in self.roster.usable() if record not in tried]
            fit = to_try(left, host, port, now, limits)
            current = self.roster.current  # none, if it cannot be reached any more
            if (left and not fit) or denied >= limits.ports_tried:
                self.stats.refused_beforehand += 1
                raise ExitRefused
            at_hand = [
                member
                for member in self.roster.members.values()
                if member.record in fit and member.record.standing is Standing.UP and not self.roster.named
            ]
            if not left:
                raise self._refusal()
            if at_hand:
                found = max(at_hand, key=lambda member: member.client.streams)
            elif current is None:
                if not await self.roster.searching(deadline):
                    raise (
                        self._refusal()
                        if loop.time() < deadline
                        else ExitSilent("a health request", self.options.open_timeout_seconds)
                    )
                continue
            else:  # the exit in use is well, but not for this: another one beside it
                patience = min(deadline, now + POLICY_WAIT_SECONDS) if looking_again else deadline
                first = await self.roster.race(fit, patience)
                if first is None:
                    raise self._refusal()
                found = first
            if current is not None:  # it was passed over for its policy
                await self._explain(found, deadline)
            if to_try([found.record], host, port, loop.time(), limits):
                return found
            denied += 1

    def _fits(
        self, record: ExitRecord, host: str, port: int, tried: Sequence[ExitRecord], now: float
    ) -> bool:
        """The same for one exit: most streams need no list."""
        if record in tried or not self.roster.may_use(record):
            return False
        return record.permits(host, port, now, self.limits) is not Verdict.DENIED

    async def _attempt(
        self, member: Member, host: str, port: int, *, early: bool, deadline: float, limit: float
    ) -> MixStream:
        loop = asyncio.get_running_loop()
        started, record = loop.time(), member.record
        member.idle_since = started
        left = max(0.1, deadline - started)
        if early:
            stream = await member.client.open(host, port, early=True, timeout=left)
            self._tasks.spawn(self._suspect(member, started), name="suspect")
            return stream
        member.opening += 1
        opening = self._tasks.spawn(_outcome(member.client.open(host, port, timeout=left)), name="open")
        handed_over = False
        try:
            await self._or_silence(opening, member, deadline)
            outcome = await opening
            if isinstance(outcome, MixStream):
                took = loop.time() - started
                if record.latency is None or took < record.latency:
                    record.answered(took)
                record.happened(Event.OPENED, loop.time(), self._rng, self.limits)
                handed_over = True
                return outcome
            if isinstance(outcome, ExitSilent):
                if record.heard_since(max(started + UNDER_WAY_SECONDS, loop.time() - SIGN_OF_LIFE_SECONDS)):
                    outcome = TargetSilent(limit)
                else:
                    self.roster.ask(member)  # perhaps it was the destination after all
            self._came_to_nothing(member, outcome)
            raise outcome
        finally:
            member.opening -= 1
            if not opening.done():
                opening.cancel()
            elif not handed_over and not opening.cancelled():
                _abort(opening.result())

    async def _or_silence(
        self, opening: "asyncio.Task[MixStream | ExitError]", member: Member, deadline: float
    ) -> None:
        """Wait for the answer to a request. Raises ExitSilent once the exit proves to be silent altogether."""
        loop = asyncio.get_running_loop()
        started, patience = loop.time(), suspect_after(member.record, self.limits)
        while True:
            last = deadline + OVERTIME_SECONDS - loop.time()
            await asyncio.wait((opening,), timeout=max(0.0, min(patience, last)))
            if opening.done():
                return
            if last <= patience:  # not even sent: the request itself ends in time once it is
                raise ExitSilent("a connection request", round(loop.time() - started, 1))
            asked = loop.time()
            lives = member.record.heard_since(asked - patience + UNDER_WAY_SECONDS)
            if not lives:
                question = self.roster.ask(member)
                await asyncio.wait(
                    (opening, question),
                    timeout=max(0.0, deadline + OVERTIME_SECONDS - asked),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not opening.done() and question.done() and said(question) is False:
                    raise ExitSilent("a health request", round(loop.time() - started, 1))
                lives = member.record.heard_since(asked)  # the question may be an older one
            patience = self.limits.ask_most if lives else self.limits.suspect_least

    async def _suspect(self, member: Member, since: float) -> None:
        """What an early stream leaves behind: nobody waits for its answer, but new streams will."""
        await asyncio.sleep(suspect_after(member.record, self.limits))
        if not member.record.heard_since(since) and member.record.recipient in self.roster.members:
            self.roster.ask(member)

    async def _explain(self, member: Member, deadline: float) -> None:
        """Have the policy of an exit, if it comes in time."""
        if member.record.policy_at is None:
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            await asyncio.wait((member.read_policy(),), timeout=min(POLICY_WAIT_SECONDS, left))

    def _came_to_nothing(self, member: Member, error: ExitError) -> None:
        record = member.record
        if isinstance(error, ExitRefused):
            record.refusals += 1
        if isinstance(error, ExitRefused | ConnectFailed | TargetSilent):
            record.fruitless += 1
            now = asyncio.get_running_loop().time()
            lately = self._doubted_at is not None and now < self._doubted_at + self.limits.doubt_again
            if record.fruitless >= self.limits.fruitless and not lately:
                record.fruitless, self._doubted_at = 0, now
                self.roster.doubt(member, "nothing it is asked to connect to comes up")

    def _refusal(self) -> StreamRefused:
        none = self.roster.none_left()
        return StreamRefused(
            none.what, none.todo, code=none.code, layer=none.layer, socks_reply=Reply.NETWORK_UNREACHABLE
        )


async def _outcome(opening: Coroutine[Any, Any, MixStream]) -> MixStream | ExitError:
    """An error as a value: nobody may be left to take it."""
    try:
        return await opening
    except ExitError as error:
        return error


def _abort(outcome: MixStream | ExitError) -> None:
    if isinstance(outcome, MixStream):
        outcome.abort()
