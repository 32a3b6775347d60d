"""Which exit of one mixnet identity is in use, and which are at hand: candidates, questions, searches, messages.

Opening streams over them is ``exit_pool_io``.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from nym_exit.codec import ConnectionRefused, NetworkData, ResponseMessage
from nym_exit.errors import ExitGone, ExitSilent, StreamIdle, WireError
from nym_exit.options import ExitOptions
from nym_exit.ports import ClientPort
from nym_exit.stream_io import MixStream
from nym_mixnet.client_records import ReceivedMessage
from nym_mixnet.errors import MixnetError
from nym_mixnet.link_state import LinkState
from nym_mixnet.tasks_io import TaskSet
from nym_sphinx import Recipient, b58encode
from nymgate.errors import NoUsableExit
from nymgate.exits.choice import ExitCandidate
from nymgate.exits.member_io import LINK_CHECK_SECONDS, Member, said
from nymgate.exits.pool import (
    SHORT_ID_CHARACTERS,
    Event,
    ExitRecord,
    ExitState,
    PoolLimits,
    ask_at,
    in_turn,
    is_gone,
    state_of,
)

log = structlog.get_logger("nymgate.exits.choice")

TICK_SECONDS: Final = 1.0
RACE_SECONDS: Final = 40.0
"""A search that nobody waits for ends after so long."""
SEARCH_AGAIN_SECONDS: Final = 3.0
"""After a search without a result, streams are refused at once for so long."""
SEARCH_PAUSE_SECONDS: Final = 60.0
"""Without an exit the search is repeated by itself, at the latest after so long."""

Reread = Callable[[], Awaitable[Sequence[ExitCandidate]]]


@dataclass(slots=True)
class PoolStats:
    """Counters since start."""

    questions: int = 0
    searches: int = 0
    changes: int = 0
    """Times that another exit came into use."""
    streams_moved: int = 0
    """Streams that one exit did not open and another one was asked for."""
    refused_beforehand: int = 0
    """Streams refused because the policies of all exits say so."""


class Roster:
    """The exits that may be used, and the one that is."""

    def __init__(
        self,
        client: ClientPort,
        candidates: Sequence[ExitCandidate],
        *,
        reachable: Callable[[], Collection[bytes]],
        options: ExitOptions,
        limits: PoolLimits,
        named: bool,
        reread: Reread | None,
        others: Callable[[], Collection[Recipient]],
        rng: random.Random,
    ) -> None:
        """See ``exit_pool_io.ExitPool``."""
        self.limits = limits
        self.named = named
        self.stats = PoolStats()
        self.current: Member | None = None
        """The exit in use."""
        self.members: dict[Recipient, Member] = {}
        """All that are open."""
        self.awake: Callable[[], bool] = lambda: True
        self.closed = False
        self._client = client
        self._options = options
        self._reachable = reachable
        self._reread_candidates = reread
        self._others = others
        self._rng = rng
        self._tasks = TaskSet("exits")
        self._records: dict[Recipient, ExitRecord] = {}
        self._adopted_at = self._read_at = asyncio.get_running_loop().time()
        self._ever_adopted = False
        self._search: asyncio.Task[None] | None = None
        self._searched_at: float | None = None
        self._fruitless_searches = 0
        self._rereading: asyncio.Task[None] | None = None
        self._next = client.on_message
        self._started = False
        self._list(candidates)

    # ---- life ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Returns when an exit has answered. Raises NoUsableExit if none does."""
        self._started = True
        self._next = self._client.on_message
        self._client.on_message = self._on_message
        self._tasks.spawn(self._watch(), name="watch")
        if self.named:
            named = self.member(next(iter(self._records.values())))
            self._adopt(named)
            self.ask(named)  # a wrong address should show at the start
        elif not await self.searching():
            raise self.none_left()

    async def close(self, grace_seconds: float) -> None:
        """Close all exits."""
        if self.closed:
            return
        self.closed = True
        await self._tasks.close()
        async with TaskSet("close exits") as tasks:
            for member in self.members.values():
                tasks.spawn(member.close(grace_seconds), name="close")
            await tasks.wait()
        self.members.clear()
        self.current = None
        if self._started and self._client.on_message == self._on_message:
            self._client.on_message = self._next

    # ---- what others see ----------------------------------------------------------------------------------

    @property
    def recipient(self) -> Recipient:
        """The address of the exit in use, or of one that was or may be."""
        if self.current is not None:
            return self.current.record.recipient
        return next(iter(self.members or self._records))

    @property
    def streams(self) -> int:
        """Streams that are open or opening, over all exits."""
        return sum(member.client.streams for member in self.members.values())

    def exits(self) -> list[ExitState]:
        """All exits that the configuration allows, the one in use first, then those that were asked."""
        now = asyncio.get_running_loop().time()
        states = []
        for recipient, record in self._records.items():
            member = self.members.get(recipient)
            states.append(
                state_of(
                    record,
                    now,
                    in_use=member is not None and member is self.current,
                    is_open=member is not None,
                    streams=member.client.streams if member is not None else 0,
                )
            )
        states.sort(key=lambda state: (state.state != "in use", -state.streams, state.probed_seconds is None))
        return states

    def none_left(self) -> NoUsableExit:
        """What is wrong when no exit answers."""
        tried = sum(record.asked_at is not None for record in self._records.values())
        if not self._records:
            return NoUsableExit(
                "The directory lists no exit that mixnet.exit allows.",
                "See `nymgate exits` for those that there are, or try again later.",
            )
        if not tried:
            return NoUsableExit(
                "Every exit that may be used is at the entry gateway or cannot be reached.",
                "Name another one with --exit, or another entry with --entry.",
            )
        return NoUsableExit(
            f"None of {tried} exits answers, of {len(self._records)} that may be used.",
            "They are tried again by themselves; name one with --exit, or try again later.",
        )

    # ---- choosing -----------------------------------------------------------------------------------------

    def _list(self, candidates: Sequence[ExitCandidate]) -> None:
        for candidate in candidates:
            record = self._records.get(candidate.recipient)
            if record is None:
                self._records[candidate.recipient] = ExitRecord(candidate)
            else:
                record.candidate = candidate
        listed = {candidate.recipient for candidate in candidates} | self.members.keys()
        self._records = {known: record for known, record in self._records.items() if known in listed}

    def usable(self) -> list[ExitRecord]:
        """Never one at the entry gateway, which knows who asks."""
        usable = [record for record in self._records.values() if self.may_use(record)]
        current = self.current
        if current is not None and current.record not in usable:
            self.current = None
            log.warning("exit.unlisted", exit=_short(current))
        return usable

    def may_use(self, record: ExitRecord) -> bool:
        """Whether packets can be routed to it, and it is not where the entry is."""
        gateway = record.recipient.gateway
        return self.named or (gateway != self._client.address.gateway and gateway in self._reachable())

    def member(self, record: ExitRecord) -> Member:
        """An exit, opened if it is not."""
        member = self.members.get(record.recipient)
        if member is None:
            member = self.members[record.recipient] = Member(
                self._client,
                record,
                self._options,
                self.limits,
                rng=self._rng,
                awake=lambda: self.awake(),
                on_stream_ended=self._stream_ended,
            )
        return member

    def ask(self, member: Member) -> "asyncio.Task[bool | None]":
        """Ask whether it is alive; if it is the one in use and is not, another one is looked for."""
        if member.asking:
            return member.ask()
        self.stats.questions += 1
        question = member.ask()
        question.add_done_callback(lambda task: self._answered(member, task))
        return question

    def _answered(self, member: Member, question: "asyncio.Task[bool | None]") -> None:
        if self.closed or said(question) is not False:
            return
        if member is self.current:
            log.warning("exit.silent", layer="exit", exit=_short(member), streams=member.client.streams)
            if not self.named:
                self.current = None
                self.look()

    def doubt(self, member: Member, why: str) -> None:
        """It answers, and is no good: new streams use it only until there is another one."""
        now = asyncio.get_running_loop().time()
        member.record.happened(Event.STALLED, now, self._rng, self.limits)
        if member is self.current and not self.named and not self.closed:
            log.warning("exit.doubtful", layer="exit", exit=_short(member), reason=why)
            self.look()

    def look(self) -> "asyncio.Task[None]":
        """Look for a new exit to use, unless somebody does already."""
        if self._search is None:
            self._search = self._tasks.spawn(self._find(), name="search")
            self._search.add_done_callback(self._looked)
        return self._search

    def _looked(self, _search: "asyncio.Task[None]") -> None:
        self._search = None

    async def searching(self, deadline: float | None = None) -> bool:
        """Whether there is an exit to use, after a search if need be."""
        if self.closed:
            return False
        now = asyncio.get_running_loop().time()
        lately = self._searched_at is not None and now < self._searched_at + SEARCH_AGAIN_SECONDS
        if self._search is None and lately and self._fruitless_searches:
            return False
        limit = None if deadline is None else max(0.0, deadline - now)
        await asyncio.wait((self.look(),), timeout=limit)
        return self.current is not None

    async def _find(self) -> None:
        loop = asyncio.get_running_loop()
        self.stats.searches += 1
        before = self.current
        found = await self.race([r for r in self.usable() if before is None or r is not before.record])
        self._searched_at = loop.time()
        self._fruitless_searches = (
            0 if found is not None or before is not None else self._fruitless_searches + 1
        )
        if found is not None:
            self._adopt(found)
        elif before is None:
            log.warning("exit.none", layer="exit", reason=self.none_left().what)

    async def race(self, records: Sequence[ExitRecord], deadline: float | None = None) -> Member | None:
        """The first of these to say that it is alive; three are asked at a time, in a random order.

        One that another identity uses waits a little for one that nobody does.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + RACE_SECONDS if deadline is None else deadline
        while self._client.link_state is not LinkState.READY and loop.time() < end:  # noqa: ASYNC110 - no event
            await asyncio.sleep(LINK_CHECK_SECONDS)
        queue = in_turn(records, loop.time(), self._rng, self.limits, last=self._others())
        queue = queue[: self.limits.at_most]
        asked: dict[asyncio.Task[bool | None], Member] = {}
        shared: Member | None = None
        while asked or (queue and not self.closed):
            while queue and len(asked) < self.limits.at_once and not self.closed:
                member = self.member(queue.pop(0))
                asked[self.ask(member)] = member
            done, _ = await asyncio.wait(
                asked, timeout=max(0.0, end - loop.time()), return_when=asyncio.FIRST_COMPLETED
            )
            if self.closed:
                return None
            if not done:
                break
            taken = self._others()  # as it is now: others may be choosing at the same time
            answers = [(said(question), asked.pop(question)) for question in done]
            for alive, member in answers:
                if alive and member.record.recipient not in taken:
                    return member
                if alive and shared is None:
                    shared = member
                    end = min(end, loop.time() + self.limits.ask_least)
            if shared is not None:
                asked = {task: one for task, one in asked.items() if one.record.recipient not in taken}
                queue = [record for record in queue if record.recipient not in taken]
        return shared

    def _adopt(self, member: Member) -> None:
        before, self.current = self.current, member
        if before is member:
            return
        for other in self.members.values():
            other.client.supply(other is member)
        now = self._adopted_at = asyncio.get_running_loop().time()
        record = member.record
        if self._ever_adopted:
            self.stats.changes += 1
            log.info("exit.changed", exit=_short(member), country=record.candidate.country)
        self._ever_adopted = True
        if record.policy_at is None or now > record.policy_at + self.limits.reread:
            member.read_policy()

    async def _reread(self, read: Reread) -> None:
        try:
            self._list(await read())
        except MixnetError as error:
            log.info("exits.not.read", layer=getattr(error, "layer", "directory"), reason=str(error))
        finally:
            self._rereading = None

    def _stream_ended(self, member: Member, stream: MixStream) -> None:
        ready = self._client.link_state is LinkState.READY
        if ready and isinstance(stream.error, StreamIdle) and not isinstance(stream.error, ExitGone):
            self.doubt(member, "a stream over it has stalled")
        elif isinstance(stream.error, ExitSilent) and not self.closed:
            self.ask(member)

    # ---- keeping watch ------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = loop.time()
            sends = self.awake() and self._client.link_state is LinkState.READY
            for member in list(self.members.values()):
                self._look_after(member, now, sends=sends)
            if not sends or self.named:
                continue
            if self.current is None:
                pause = min(
                    SEARCH_PAUSE_SECONDS, self.limits.back_off_first * 2.0 ** min(self._fruitless_searches, 8)
                )
                if self._searched_at is None or now >= self._searched_at + pause:
                    self.look()
            elif now >= self._adopted_at + self.limits.rotate:
                self._adopted_at = now
                self.look()
            # Never by a search, which would wait for it: without an exit there may be no way to the directory.
            age = self.limits.reread if self.current is not None else self.limits.reread_in_need
            if self._reread_candidates and self._rereading is None and now >= self._read_at + age:
                self._read_at = now
                self._rereading = self._tasks.spawn(
                    self._reread(self._reread_candidates), name="read the list"
                )

    def _look_after(self, member: Member, now: float, *, sends: bool) -> None:
        record, in_use = member.record, member is self.current
        streams = member.client.streams
        due = ask_at(record, now, self.limits, in_use=in_use, streams=streams, awake=sends)
        if due is not None and now >= due:
            self.ask(member)
        if streams and sends and is_gone(record, now, self.limits):
            log.warning("exit.gone", layer="exit", exit=_short(member), streams=streams)
            heard = record.heard_at if record.heard_at is not None else record.silent_since
            member.client.fail_streams(ExitGone(now - (heard or now)))
        if in_use or not member.idle:
            member.idle_since = now
        elif now >= member.idle_since + self.limits.linger:
            del self.members[record.recipient]
            self._tasks.spawn(member.close(), name="close")

    # ---- messages -----------------------------------------------------------------------------------------

    def _on_message(self, message: ReceivedMessage) -> None:
        member = self.members.get(message.via) if message.via is not None else self._writer(message)
        if member is None:
            self._next(message)
        else:
            member.heard(message, asyncio.get_running_loop().time())

    def _writer(self, message: ReceivedMessage) -> Member | None:
        """Whose plain message it is: exits that know our address write such, named by their connection's id only."""
        if self._options.anonymous or message.sender_tag is not None:
            return None
        try:
            content = ResponseMessage.decode(message.data).content
        except WireError:
            return None
        if not isinstance(content, NetworkData | ConnectionRefused):
            return None
        for member in self.members.values():
            if member.client.knows(content.connection_id):
                return member
        return None


def _short(member: Member) -> str:
    return b58encode(member.record.recipient.gateway)[:SHORT_ID_CHARACTERS]
